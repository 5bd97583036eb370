"""Strict and quick loading of a checkpoint folder, without the machinery of diffusers pipelines.

`VocalBurstPipeline.from_pretrained` is the door for users; the command line comes in here. Both refuse weights that do
not fit the configuration: libraries fill what is missing with random numbers and a warning.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from vocalgen.errors import VocalgenError
from vocalgen.generation.checkpoint import read_sampling
from vocalgen.generation.synthesis import Synthesiser
from vocalgen.models.autoencoder import MelAutoencoder, MelFrames
from vocalgen.models.griffin_lim import GriffinLim
from vocalgen.models.transformer import MelTransformer


def _hifigan(config: dict[str, Any]) -> nn.Module:
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig  # a second of imports that Griffin-Lim spares

    return SpeechT5HifiGan(SpeechT5HifiGanConfig(**config))


BUILDERS: dict[str, Callable[[dict[str, Any]], nn.Module]] = {
    "MelTransformer": MelTransformer.from_config,
    "MelAutoencoder": MelAutoencoder.from_config,
    "MelFrames": MelFrames.from_config,
    "GriffinLim": GriffinLim.from_config,
    "SpeechT5HifiGan": _hifigan,
}
"""Parts a checkpoint may consist of, made from their config.json."""


def load_synthesiser(folder: Path) -> Synthesiser:
    """Load a checkpoint folder in float32 on the CPU.

    Raises:
        VocalgenError: files missing, damaged, or of another kind; parts that do not belong together.
    """
    index = _read_json(folder / "model_index.json")
    parts = {}
    for name in ("transformer", "autoencoder", "vocoder"):
        kind = (index.get(name) or [None, None])[-1]
        if kind not in BUILDERS:
            raise VocalgenError(f"{folder}: model_index.json says {name} is {kind}; not a vocalgen checkpoint")
        parts[name] = load_part(folder / name, kind)
    synthesiser = Synthesiser(**parts, sampling=read_sampling(folder))  # type: ignore[arg-type]
    synthesiser.folder = folder
    return synthesiser


def load_part(folder: Path, kind: str) -> Any:
    """A network saved by itself, strictly: in float32, in evaluation mode and frozen.

    Args:
        folder: config.json and safetensors.
        kind: a name of `BUILDERS`.

    Raises:
        VocalgenError: files missing, damaged, or of another kind.
    """
    config = _read_json(folder / "config.json")
    stored: dict[str, torch.Tensor] = {}
    for file in weights_of(folder):
        try:
            stored |= load_file(file)
        except (SafetensorError, OSError) as error:
            raise _damaged(file, error) from error
    try:
        module = BUILDERS[kind](config)
    except (TypeError, ValueError, KeyError) as error:
        raise VocalgenError(f"{folder / 'config.json'} does not describe a network ({error})") from error
    expected = {key: list(value.shape) for key, value in module.state_dict().items()}
    _require_same(folder, {key: list(value.shape) for key, value in stored.items()}, expected)
    module.load_state_dict(stored)  # copies into float32 whatever the file's type
    return module.eval().requires_grad_(False)


def choose_device(name: str | None = None) -> torch.device:
    """A device by name; None takes a GPU where there is one.

    Raises:
        VocalgenError: no such device here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = (str(error).splitlines() or ["not available"])[0]
        raise VocalgenError(f"cannot use device {name!r} ({reason}); try --device cpu") from error
    return device


def require_weights(folder: Path, module: nn.Module) -> None:
    """Raise VocalgenError unless the safetensors in `folder` hold exactly the tensors of `module`."""
    stored: dict[str, list[int]] = {}
    for file in weights_of(folder):
        try:
            with safe_open(file, framework="pt") as opened:
                stored |= {key: opened.get_slice(key).get_shape() for key in opened.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise _damaged(file, error) from error
    _require_same(folder, stored, {key: list(value.shape) for key, value in module.state_dict().items()})


def weights_of(folder: Path) -> list[Path]:
    """The safetensors files directly in `folder`.

    Raises:
        VocalgenError: there are none.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise VocalgenError(f"{folder} holds no safetensors; the checkpoint is incomplete, fetch it again")
    return files


def _require_same(folder: Path, stored: dict[str, list[int]], expected: dict[str, list[int]]) -> None:
    wrong = sorted(key for key in stored.keys() | expected.keys() if stored.get(key) != expected.get(key))
    if wrong:
        key = wrong[0]
        raise VocalgenError(
            f"{folder}: the weights belong to another network: {len(wrong)} tensors differ, first {key} (file "
            f"{stored.get(key, 'lacks it')}, config.json {expected.get(key, 'lacks it')}); fetch the checkpoint again"
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VocalgenError(f"cannot read {path} ({error}); not a vocalgen checkpoint, or an incomplete one") from error
    if not isinstance(values, dict):
        raise VocalgenError(f"{path} is no JSON object; not a vocalgen checkpoint")
    return values


def _damaged(file: Path, error: Exception) -> VocalgenError:
    return VocalgenError(f"{file} is damaged or not a safetensors file ({error}); fetch the checkpoint again")
