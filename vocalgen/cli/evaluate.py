"""`vocalgen evaluate`: score folders of generated clips, of any system, and write a report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vocalgen.cli import outputs
from vocalgen.cli.numbers import warn
from vocalgen.cli.options import DeviceOption, OverwriteOption
from vocalgen.emotions import slug
from vocalgen.errors import VocalgenError
from vocalgen.pictures import require_matplotlib

if TYPE_CHECKING:
    from vocalgen.evaluation.anchors import Voice


def evaluate(
    folders: Annotated[
        list[str], typer.Argument(metavar="[NAME=]DIR...", help="Clips as DIR/EMOTION/FILE, one folder per system.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for the report.")],
    reference: Annotated[
        Path, typer.Option(metavar="FILE", help="Manifest of the real clips, from `vocalgen data prepare`.")
    ] = Path("data/emogator.csv"),
    protocol: Annotated[
        str, typer.Option(metavar="NAME", help="emogator, exvo_generate, or a YAML file.")
    ] = "emogator",
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            "--encoder",
            "--classifier",
            metavar="MODEL",
            help="Scorer in place of the protocol's, also a folder of `vocalgen benchmark`; may be repeated, the first "
            "is the main one.",
        ),
    ] = None,
    per_emotion: Annotated[
        int | None, typer.Option("--per-emotion", "-n", metavar="N", help="Clips of an emotion that are used.")
    ] = None,
    emotions: Annotated[
        list[str] | None,
        typer.Option("--emotions", "-e", metavar="NAMES", help="Comma-separated; default: the protocol's."),
    ] = None,
    ratings: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]FILE", help="Human ratings of a system's clips (CSV or NPZ), for HEEP and S_GEN."),
    ] = None,
    vocoder: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Vocoder of the anchors: a folder, or griffin-lim; default: the shipped one."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Of draws, noise and pictures.")] = None,
    device: DeviceOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Score folders of generated clips, of any system, beside real clips and anchors; several systems side by side.

    Example: vocalgen evaluate clips other=their_clips --out report
    """
    from vocalgen.evaluation.protocol import load_protocol

    changes: dict[str, object] = {"encoders": tuple(encoder) if encoder else None, "per_emotion": per_emotion}
    changes |= {"emotions": _names(emotions), "seed": seed}
    chosen = replace(load_protocol(protocol), **{key: value for key, value in changes.items() if value is not None})  # type: ignore[arg-type]
    systems = _named(folders, "evaluate")
    _require_unlike(list(systems))
    # Clips are called alike in all systems, so nothing would show that ratings went to the wrong one.
    rated = _named(ratings or [], "--ratings", next(iter(systems)) if len(systems) == 1 else "")
    if not reference.is_file():
        raise VocalgenError(
            f"{reference}: no such manifest; make one with `vocalgen data prepare`, give it as --reference"
        )
    outputs.require_folder(out)
    require_matplotlib()

    from vocalgen.evaluation.anchors import ANCHORS, HELD_OUT
    from vocalgen.evaluation.published import published
    from vocalgen.evaluation.run import Request, run
    from vocalgen.generation.loading import choose_device
    from vocalgen.tasks.as_encoder import load_scorer

    for name in systems:
        if name in (*ANCHORS, HELD_OUT):
            raise VocalgenError(f"evaluate: {name!r} is what the report calls an anchor; give another NAME=PATH")
    if chosen.published:
        published(chosen.published)  # a task without a table is refused now, not after the measurement
    voice, where = _voice(vocoder), str(choose_device(device))
    evaluation = run(Request(systems, reference, out, chosen, voice, rated, where, overwrite, load_scorer))
    warn(evaluation.report["warnings"])
    print(out / "report.html")


def _names(given: list[str] | None) -> tuple[str, ...] | None:
    return tuple(name.strip() for part in given for name in part.split(",")) if given else None


def _named(given: list[str], what: str, default: str | None = None) -> dict[str, Path]:
    """NAME=PATH entries by name; without a name that of the path, or `default`."""
    found: dict[str, Path] = {}
    for entry in given:
        name, separator, path = entry.partition("=")
        if not separator or Path(entry).exists():
            name, path = Path(entry).resolve().name if default is None else default, entry
        if not name or not path:
            raise VocalgenError(f"{what}: {entry!r} does not say which system it is of; give NAME=PATH")
        if name in found:
            raise VocalgenError(f"{what}: {entry!r}: two entries are called {name!r}; give NAME=PATH")
        found[name] = Path(path)
    return found


def _require_unlike(names: list[str]) -> None:
    """Names that differ in case or punctuation only would share a picture file."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(slug(name), name)
        if other != name:
            raise VocalgenError(f"evaluate: the names {other!r} and {name!r} are too much alike; give NAME=PATH")


def _voice(name: str | None) -> Voice:
    """The vocoder that round trips and class means pass through."""
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from vocalgen.evaluation.anchors import Voice
    from vocalgen.generation.checkpoint import checkpoint_sha256
    from vocalgen.generation.loading import load_vocoder
    from vocalgen.mel import MEL_24K
    from vocalgen.models.griffin_lim import GriffinLim
    from vocalgen.models.vocoder import vocode, vocoder_mel

    if name == "griffin-lim":
        vocoder, label = GriffinLim(MEL_24K.to_dict()), "Griffin-Lim"
    else:
        folder = Path(name) if name else outputs.find_folder(None) / "vocoder"
        vocoder = load_vocoder(folder)
        label = f"{type(vocoder).__name__} {checkpoint_sha256(folder)[:16]}"

    mel = vocoder_mel(vocoder, label)

    def render(log_mel: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            return vocode(vocoder, torch.from_numpy(log_mel)[None])[0].float().numpy()

    return Voice(label, mel, render)
