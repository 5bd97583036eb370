"""`vocalgen generate`: a balanced set of clips with a manifest, in one or several processes."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vocalgen.cli import outputs
from vocalgen.cli.numbers import warn
from vocalgen.cli.options import (
    CheckpointOption,
    DeviceOption,
    DurationOption,
    FormatOption,
    GuidanceOption,
    NoTrimOption,
    PsiOption,
    SolverOption,
    StepsOption,
)
from vocalgen.corpora.words import count
from vocalgen.errors import VocalgenError
from vocalgen.progress import progress

if TYPE_CHECKING:
    from accelerate import PartialState

    from vocalgen.generation.batch import Run, Timing


def generate(
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder to fill, one sub-folder an emotion.")
    ],
    per_emotion: Annotated[int, typer.Option("--per-emotion", "-n", metavar="N", help="Clips of each emotion.")] = 100,
    emotions: Annotated[
        list[str] | None,
        typer.Option("--emotions", "-e", metavar="NAMES", help="Comma-separated; may be repeated; default: all."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Clip i of emotion k of K has the seed N + i K + k.")] = 0,
    batch_size: Annotated[
        int | None,
        typer.Option(metavar="N", help="Clips between two writes; a kill loses at most these. The clips are the same."),
    ] = None,
    format: FormatOption = None,
    steps: StepsOption = None,
    guidance: GuidanceOption = None,
    solver: SolverOption = None,
    psi: PsiOption = None,
    duration: DurationOption = None,
    no_trim: NoTrimOption = False,
    checkpoint: CheckpointOption = None,
    device: DeviceOption = None,
) -> None:
    """Make a balanced set of clips for evaluation: a folder an emotion, and manifest.jsonl.

    The same command resumes a run that was stopped.

    Several processes share the work, and make the same clips: accelerate launch -m vocalgen generate ...
    """
    from vocalgen.generation.batch import Recipe, Run, plan, prepare
    from vocalgen.generation.checkpoint import (
        checkpoint_sha256,
        read_settings,
        read_vocabulary,
        require_duration_of,
    )

    changes: dict[str, Any] = {"steps": steps, "guidance": guidance, "solver": solver, "psi": psi}
    if per_emotion < 1:
        raise VocalgenError(f"--per-emotion must be at least 1, got {per_emotion}")
    if batch_size is not None and batch_size < 1:
        raise VocalgenError(f"--batch-size must be at least 1, got {batch_size}")
    kind = outputs.require_format(format or "wav")
    folder = outputs.find_folder(checkpoint)
    settings = read_settings(folder, **changes)
    require_duration_of(folder, duration)
    vocabulary = read_vocabulary(folder)
    names = [name.strip() for given in emotions for name in given.split(",")] if emotions else vocabulary.emotions
    jobs = plan(names, per_emotion, vocabulary, seed, kind)
    outputs.require_folder(out)
    recipe = Recipe(checkpoint_sha256(folder), seed, settings, duration, not no_trim, kind)

    state = _launched(device)
    rank, world = (state.process_index, state.num_processes) if state else (0, 1)
    synthesis = outputs.load(folder, device or (str(state.device) if state else None))
    synthesis.require_duration(duration)
    with state.main_process_first() if state else nullcontext():
        prepare(out, recipe, first=rank == 0)  # last: a folder it has marked takes no other settings
    _fill(Run(synthesis, recipe, out, jobs, rank, world, batch_size or 0), state)


def _launched(device: str | None) -> PartialState | None:
    """The state of this process among several, when `accelerate launch` started them."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    from datetime import timedelta

    import torch
    from accelerate import PartialState

    on_cpu = not torch.accelerator.is_available() if device is None else device.startswith("cpu")
    return PartialState(cpu=on_cpu, timeout=timedelta(days=7))  # the slowest process may take long


def _fill(run: Run, state: PartialState | None) -> None:
    from vocalgen.generation.batch import conclude, damaged

    total = sum(len(tile) for batch in run.batches() for tile in batch)
    missing = f"{total} of {len(run.jobs)} clips to make"
    shown = run.rank == 0
    cut = damaged(run.folder) if shown else []
    if cut:
        clips = count(len(cut), "clip")
        warn([f"{run.folder}: {clips} cut or empty, made again; the first: {cut[0]}"])
    if shown and total < len(run.jobs) and run.world == 1:
        print(f"{run.folder}: {missing}", file=sys.stderr)
    with progress("generating", total=total, shown=shown) as (advance,):
        timing = run.fill(advance)
    if state is not None:
        state.wait_for_everyone()
    if shown:
        print(f"{run.folder}: {conclude(run.folder)} clips, {run.folder / 'manifest.jsonl'}")
        _report(timing, run.world)


def _report(timing: Timing, world: int) -> None:
    if not timing.clips or not timing.wall:
        print("nothing was left to do")
        return
    own = "" if world == 1 else f" (the first of {world} processes)"
    shares = ", ".join(
        f"{name} {100 * getattr(timing, name) / timing.wall:.0f} %" for name in ("generator", "vocoder", "writing")
    )
    print(
        f"{timing.clips / timing.wall:.2f} clips a second, {timing.audio / timing.wall:.1f} x real time "
        f"({timing.untrimmed / timing.wall:.1f} x with the silence that was cut){own}: {shares}"
    )
