"""Checkpoint folders: find one, ask what it knows and which one it is, all without loading a network."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from vocalgen.emotions import Vocabulary, match_vocabulary
from vocalgen.errors import VocalgenError
from vocalgen.generation.settings import (
    Plain,
    Sampling,
    Settings,
    Truncation,
    require_duration,
    require_no_duration,
    settings,
)
from vocalgen.shipped import file_sha256, shipped_models, weight_files

DEFAULT_MODEL = "emogator-diffusion-24k"
"""Shipped checkpoint that `from_pretrained()` loads."""


class Family(NamedTuple):
    """A kind of generator.

    Args:
        network: the component that knows the emotions.
        parts: all components; an autoencoder may be absent.
        settings: what it can be asked for.
        lengths: whether it can be asked for a length.
    """

    network: str
    parts: tuple[str, ...]
    settings: type[Settings]
    lengths: bool


FAMILIES = {
    "VocalBurstPipeline": Family("transformer", ("transformer", "autoencoder", "vocoder"), Sampling, True),
    "StyleGAN2Pipeline": Family("generator", ("generator", "autoencoder", "vocoder"), Truncation, False),
    "MSGGANPipeline": Family("generator", ("generator", "vocoder"), Plain, False),
}
"""By the class that model_index.json names."""


def resolve_checkpoint(name: str | Path | None = None) -> str:
    """Folder of a shipped model, a local folder, or a hub id, in this order; "diffusion" is `emogator-diffusion-24k`.

    Raises:
        VocalgenError: neither a shipped model, nor a folder, nor of the form owner/name.
    """
    shipped = shipped_models()
    chosen = str(DEFAULT_MODEL if name is None else name)
    if chosen in shipped:
        return str(shipped[chosen])
    if chosen and Path(chosen).is_dir():
        return chosen
    if f"emogator-{chosen}-24k" in shipped:
        return str(shipped[f"emogator-{chosen}-24k"])
    owner, separator, model = chosen.partition("/")
    if separator and owner and model and "/" not in model and not chosen.startswith((".", "~")):
        return chosen
    generators = [name for name, folder in shipped.items() if (folder / "model_index.json").is_file()]
    listed = ", ".join(generators) or "none in this copy"
    raise VocalgenError(f"no checkpoint {chosen!r}: not a folder, not owner/name on the hub; shipped models: {listed}")


def family_of(folder: Path) -> Family:
    """The kind of generator that a checkpoint folder holds.

    Raises:
        VocalgenError: the folder is not a checkpoint of ours.
    """
    name = _read(folder / "model_index.json", folder).get("_class_name")
    if not isinstance(name, str) or name not in FAMILIES:
        raise VocalgenError(
            f"{folder} is not a vocalgen checkpoint for making clips: model_index.json names {name}, "
            f"not one of {', '.join(FAMILIES)}"
        )
    return FAMILIES[name]


def read_vocabulary(folder: Path) -> Vocabulary:
    """The emotions a checkpoint folder can be asked for.

    Raises:
        VocalgenError: the folder is not a checkpoint of ours.
    """
    network = family_of(folder).network
    names = _read(folder / network / "config.json", folder).get("emotions")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise VocalgenError(f"{folder} is not a vocalgen checkpoint: {network}/config.json lists no emotions")
    return match_vocabulary(names)


def read_defaults(folder: Path) -> dict[str, Any]:
    """The settings that a checkpoint folder carries, as they are.

    Raises:
        VocalgenError: the folder is not a checkpoint of ours.
    """
    values = _read(folder / "model_index.json", folder).get("sampling") or {}
    if not isinstance(values, dict):
        raise VocalgenError(f"{folder}: model_index.json says sampling is {values!r}, not settings by name")
    return values


def read_settings(folder: Path, **changes: Any) -> Settings:
    """The settings of a checkpoint folder with `changes`; a change of None keeps the default.

    Raises:
        VocalgenError: the folder is not a checkpoint of ours, or cannot be asked for these changes.
    """
    return settings(family_of(folder).settings, read_defaults(folder), **changes)


def require_duration_of(folder: Path, duration: float | None) -> None:
    """Raise VocalgenError if the kind of generator in a checkpoint folder makes no clips of this length."""
    (require_duration if family_of(folder).lengths else require_no_duration)(duration)


def checkpoint_sha256(folder: Path) -> str:
    """One hash for all weights: SHA-256 of the lines `sha256sum` prints for them, in order of relative path.

    Raises:
        VocalgenError: there are no weights.
    """
    files = weight_files(folder)
    if not files:
        raise VocalgenError(f"{folder} holds no safetensors; it is not a complete checkpoint")
    lines = [f"{file_sha256(file)}  {file.relative_to(folder).as_posix()}\n" for file in files]
    return hashlib.sha256("".join(sorted(lines, key=lambda line: line[66:])).encode()).hexdigest()


def _read(path: Path, folder: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VocalgenError(
            f"{folder} is not a vocalgen checkpoint for making clips: cannot read {path.relative_to(folder)} ({reason})"
        ) from error
    if not isinstance(values, dict):
        raise VocalgenError(f"{folder} is not a vocalgen checkpoint: {path.relative_to(folder)} is no object")
    return values
