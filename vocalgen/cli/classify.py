"""`vocalgen classify`: what a system of the benchmark predicts for audio files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vocalgen.cli import outputs
from vocalgen.cli.options import DeviceOption
from vocalgen.errors import VocalgenError

if TYPE_CHECKING:
    from vocalgen.tasks.system import Recogniser
    from vocalgen.tasks.task import Task

CHUNK = 64
"""Files that are in memory together."""

SHOWN = 3
"""Values of a target that the table shows, the highest."""

Prediction = dict[str, dict[str, float]]
"""Of a clip: by target, by column."""


def classify(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Audio files.")],
    model: Annotated[
        Path, typer.Option("--model", "-m", metavar="FOLDER", help="--out of `vocalgen benchmark`, or its model.")
    ],
    enrol: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="CSV of file and labels of some clips of the speaker, for systems that end in -enrolled.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="Table to write (.csv).")] = None,
    json_: Annotated[bool, typer.Option("--json", metavar="", help="Print an object a file, a line each.")] = False,
    device: DeviceOption = None,
) -> None:
    """Predict every target of a trained system for audio files: values, or probabilities of classes.

    Files that cannot be read are named and left out; if none is left, that is an error. With --enrol all files are of
    the one speaker whose clips and labels the table has.

    Example: vocalgen classify laugh.wav gasp.wav --model runs/benchmark/emogator/egemaps-mlp
    """
    if out is not None:
        if out.suffix.lower() != ".csv":
            raise VocalgenError(f"{out}: predictions are written as .csv; give such a name to --out")
        outputs.require_folder(out.parent)
    if not model.is_dir():
        raise VocalgenError(f"{model}: no such folder; train a system with `vocalgen benchmark`")

    from vocalgen.generation.loading import choose_device
    from vocalgen.tasks.registry import load_system
    from vocalgen.tasks.runs import model_of

    system = load_system(model_of(model), str(choose_device(device)))
    if enrol is not None:
        system = _acquainted(system, enrol)
    found: list[tuple[Path, Prediction]] = []
    for file, prediction in _predictions(files, system):
        found.append((file, prediction))
        if json_:
            print(json.dumps({"file": str(file), **prediction}, ensure_ascii=False), flush=True)
    if not found:
        raise VocalgenError(f"none of the {len(files)} files could be read")
    if out is not None:
        _write(out, found)
    if not json_:
        _print(found, system.task)


def _acquainted(system: Recogniser, table: Path) -> Recogniser:
    """The system for the speaker of the clips in a table."""
    from vocalgen import audio
    from vocalgen.tasks.fewshot import EnrolledRecogniser, read_enrolment

    if not isinstance(system, EnrolledRecogniser):
        raise VocalgenError("this system cannot get to know a speaker; leave --enrol out, or train a -enrolled one")
    files, truth = read_enrolment(table, system.task)
    return system.enrol([audio.read(file) for file in files], truth)


def _predictions(files: Sequence[Path], system: Recogniser) -> Iterator[tuple[Path, Prediction]]:
    """Predictions of the files that can be read; the others are named."""
    from vocalgen import audio

    for start in range(0, len(files), CHUNK):
        readable, clips = [], []
        for file in files[start : start + CHUNK]:
            try:
                wave, rate = audio.read(file)
                if abs(wave).max(initial=0.0) < audio.SILENT_PEAK:
                    raise VocalgenError(f"{file} is silent")
            except VocalgenError as error:
                typer.secho(f"warning: left out {error}", err=True)
                continue
            readable.append(file)
            clips.append((wave, rate))
        if clips:
            scores = system.score(clips)
            for row, file in enumerate(readable):
                yield file, _named(system.task, scores, row)


def _named(task: Task, scores: Mapping[str, Any], row: int) -> Prediction:
    return {
        target.name: dict(zip(target.columns, map(float, scores[target.name][row]), strict=True))
        for target in task.targets
    }


def _write(path: Path, found: Sequence[tuple[Path, Prediction]]) -> None:
    """A row a file, a column TARGET:COLUMN a value."""
    from vocalgen.atomic import atomic_write_text

    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    names = [(target, column) for target, values in found[0][1].items() for column in values]
    writer.writerow(["file", *(f"{target}:{column}" for target, column in names)])
    for file, prediction in found:
        writer.writerow([file, *(f"{prediction[target][column]:.9g}" for target, column in names)])
    atomic_write_text(path, text.getvalue())


def _print(found: Sequence[tuple[Path, Prediction]], task: Task) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("file", *(target.name for target in task.targets), box=box.SIMPLE_HEAD)
    for file, prediction in found:
        table.add_row(escape(str(file)), *(escape(_shown(prediction[target.name])) for target in task.targets))
    Console().print(table)


def _shown(values: Mapping[str, float]) -> str:
    """The only value, all of a few, or the highest of many."""
    if len(values) == 1:
        return f"{next(iter(values.values())):.1f}"
    highest = list(values.items())
    if len(highest) > SHOWN:
        highest = sorted(highest, key=lambda entry: -entry[1])[:SHOWN]
    return ", ".join(f"{name} {value:.2f}" for name, value in highest)
