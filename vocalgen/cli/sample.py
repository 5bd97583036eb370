"""`vocalgen sample`: clips of an emotion or a mixture."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vocalgen.cli import outputs
from vocalgen.cli.options import (
    CheckpointOption,
    DeviceOption,
    DurationOption,
    FormatOption,
    GuidanceOption,
    NoTrimOption,
    OverwriteOption,
    PsiOption,
    SolverOption,
    StepsOption,
)
from vocalgen.emotions import Condition, parse_condition
from vocalgen.errors import VocalgenError
from vocalgen.pictures import is_own_picture, require_matplotlib

if TYPE_CHECKING:
    from vocalgen.generation.synthesis import Synthesis


@dataclass(frozen=True)
class Job:
    """One clip to make."""

    condition: Condition
    seed: int
    path: Path


def sample(
    emotion: Annotated[
        list[str],
        typer.Option(
            "--emotion",
            "-e",
            metavar="EMOTION",
            help='A name or a mixture such as "awe=0.7,fear=0.3"; may be repeated.',
        ),
    ],
    number: Annotated[int, typer.Option("--number", "-n", metavar="N", help="Clips of each emotion.")] = 1,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the first clip of each emotion; later ones count up.")] = 0,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="PATH", help="Folder for EMOTION-SEED.wav, or a file for a single clip."),
    ] = Path("."),
    format: FormatOption = None,
    steps: StepsOption = None,
    guidance: GuidanceOption = None,
    solver: SolverOption = None,
    psi: PsiOption = None,
    duration: DurationOption = None,
    no_trim: NoTrimOption = False,
    checkpoint: CheckpointOption = None,
    device: DeviceOption = None,
    plot: Annotated[
        bool, typer.Option("--plot", metavar="", help="Also draw each clip's log-mel (PNG beside it).")
    ] = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Make clips for an emotion or a mixture and write them.

    Example: vocalgen sample --emotion awe -n 4 --out clips
    """
    from vocalgen.generation.checkpoint import read_settings, read_vocabulary, require_duration_of
    from vocalgen.generation.settings import require_seeds

    # Everything that can be wrong is looked at before torch loads.
    changes: dict[str, Any] = {"steps": steps, "guidance": guidance, "solver": solver, "psi": psi}
    if number < 1:
        raise VocalgenError(f"-n must be at least 1, got {number}")
    require_seeds(seed, number)
    if plot:
        require_matplotlib()
    target = outputs.target(out, format)
    if target.file and (number > 1 or len(emotion) > 1):
        raise VocalgenError(f"--out {out} is a file, but there are several clips; give a folder")
    folder = outputs.find_folder(checkpoint)
    read_settings(folder, **changes)
    require_duration_of(folder, duration)
    vocabulary = read_vocabulary(folder)
    conditions = [parse_condition(text, vocabulary) for text in emotion]
    for note in dict.fromkeys(note for condition in conditions for note in condition.notes):
        print(f"note: {note}", file=sys.stderr)
    conditions = list({condition.label: condition for condition in conditions}.values())  # one spelling is enough
    jobs = [
        Job(condition, i, target.file or target.folder / f"{condition.label}-{i}.{target.format}")
        for condition in conditions
        for i in range(seed, seed + number)
    ]
    outputs.require_folder(target.folder)
    for job in jobs:
        outputs.require_file(job.path, overwrite)
        if plot:
            outputs.require_file(job.path.with_suffix(".png"), overwrite, is_own_picture)

    synthesis = outputs.load(folder, device)
    for start in range(0, len(jobs), synthesis.tile):
        _make(
            synthesis,
            jobs[start : start + synthesis.tile],
            target.format,
            duration,
            not no_trim,
            changes,
            plot,
            overwrite,
        )


def _make(
    synthesis: Synthesis,
    jobs: Sequence[Job],
    format: str,
    duration: float | None,
    trim: bool,
    changes: dict[str, Any],
    plot: bool,
    overwrite: bool,
) -> None:
    """Make a handful of clips, write them and say so."""
    from vocalgen import audio
    from vocalgen.generation.tagging import clip_tags

    settings = synthesis.settings(**changes)
    made = synthesis(
        [job.condition for job in jobs],
        seeds=[job.seed for job in jobs],
        duration=duration,
        trim=trim,
        **changes,
    )
    for job, clip in zip(jobs, made.clips):
        tags = clip_tags(synthesis, job.condition.label, job.seed, settings, duration=duration, trimmed=trim)
        audio.write(job.path, clip, made.sample_rate, format, overwrite, tags)
        print(f"{job.path}  {len(clip) / made.sample_rate:.2f} s  seed {job.seed}", flush=True)
        if plot:
            from vocalgen.generation.picture import draw_mel

            picture = job.path.with_suffix(".png")
            draw_mel(clip, synthesis.mel, picture, f"{job.condition.label}, seed {job.seed}", overwrite)
            print(f"{picture}", flush=True)
