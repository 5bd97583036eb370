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
from vocalgen.cli.numbers import warn
from vocalgen.cli.options import DeviceOption, OverwriteOption
from vocalgen.errors import VocalgenError
from vocalgen.ownership import require_replaceable

if TYPE_CHECKING:
    from vocalgen.audio import Wave
    from vocalgen.tasks.system import Recogniser
    from vocalgen.tasks.task import Task

CHUNK = 64
"""Files that are in memory together."""

SHOWN = 3
"""Values of a target that the table shows, the highest."""

Prediction = dict[str, dict[str, float]]
"""Of a clip: by target, by column."""


def classify(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE|DIR...", help="Audio files, or folders DIR/FILE or DIR/EMOTION/FILE.")
    ],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="--out of `vocalgen benchmark`, or a classifier: folder or shipped name.",
        ),
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
    overwrite: OverwriteOption = False,
) -> None:
    """Predict every target of a trained system for audio files: values, or probabilities of classes.

    Files that cannot be read are named and left out; if none is left, that is an error. With --enrol all files are of
    the one speaker whose clips and labels the table has.

    Example: vocalgen classify laugh.wav gasp.wav --model runs/benchmark/emogator/egemaps-mlp
    """
    if out is not None:
        if out.suffix.lower() != ".csv":
            raise VocalgenError(f"{out}: predictions are written as .csv; give such a name to --out")
        require_replaceable(out, overwrite)
        outputs.require_folder(out.parent)

    from vocalgen.generation.loading import choose_device
    from vocalgen.tasks.as_system import load_recogniser

    files = _listed(files)
    system = load_recogniser(model, str(choose_device(device)))
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
        _write(out, found, overwrite)
    if not json_:
        _print(found, system.task)


def _listed(given: Sequence[Path]) -> list[Path]:
    """Return the files, with the clips of a folder in its place; what is left out of a folder is said."""
    from vocalgen.corpora.layout import clips_in

    files: list[Path] = []
    for path in given:
        found, left_out = clips_in(path) if path.is_dir() else ([path], [])
        warn(f"{path}: {line}" for line in left_out)
        files += found
    return files


def _acquainted(system: Recogniser, table: Path) -> Recogniser:
    """The system for the speaker of the clips in a table."""
    from vocalgen.tasks.enrolment import EnrolledRecogniser, read_enrolment

    if not isinstance(system, EnrolledRecogniser):
        raise VocalgenError("this system cannot get to know a speaker; leave --enrol out, or train a -enrolled one")
    if system.indifferent:
        warn(["of this system, validation preferred what it predicts of strangers: --enrol changes nothing"])
    files, truth = read_enrolment(table, system.task)
    return system.enrol([_heard(file) for file in files], truth)


def _predictions(files: Sequence[Path], system: Recogniser) -> Iterator[tuple[Path, Prediction]]:
    """Predictions of the files that can be read and are long enough; the others are named."""
    from vocalgen.tasks.system import has_values

    for start in range(0, len(files), CHUNK):
        readable, clips = [], []
        for file in files[start : start + CHUNK]:
            try:
                clips.append(_heard(file))
            except VocalgenError as error:
                warn([f"left out: {error}"])
                continue
            readable.append(file)
        if clips:
            scores = system.score(clips)
            for row, file in enumerate(readable):
                if not has_values(scores, row):
                    warn([f"left out: {file} is too short for this system"])
                    continue
                yield file, _named(system.task, scores, row)


def _heard(file: Path) -> tuple[Wave, int]:
    """A clip as `audio.read` gives it, with a warning if it is short.

    Raises:
        VocalgenError: it cannot be read, or is silent.
    """
    from vocalgen import audio

    wave, rate = audio.read(file)
    if audio.is_silent(wave):
        raise VocalgenError(f"{file} is silent")
    if len(wave) < audio.SHORT_SECONDS * rate:
        warn([f"{file} lasts {len(wave) / rate:.4f} s only, too short to tell much"])
    return wave, rate


def _named(task: Task, scores: Mapping[str, Any], row: int) -> Prediction:
    return {
        target.name: dict(zip(target.columns, map(float, scores[target.name][row]), strict=True))
        for target in task.targets
    }


def _write(path: Path, found: Sequence[tuple[Path, Prediction]], overwrite: bool) -> None:
    """A row a file, a column TARGET:COLUMN a value."""
    from vocalgen.atomic import atomic_write_text

    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    names = [(target, column) for target, values in found[0][1].items() for column in values]
    writer.writerow(["file", *(f"{target}:{column}" for target, column in names)])
    for file, prediction in found:
        writer.writerow([file, *(f"{prediction[target][column]:.9g}" for target, column in names)])
    atomic_write_text(path, text.getvalue(), overwrite)


def _print(found: Sequence[tuple[Path, Prediction]], task: Task) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    console = Console()
    files = [_shortened(file, console.width // 2) for file, _ in found]
    first = Column("file", no_wrap=True, min_width=max(map(len, files)))
    table = Table(first, *(target.name for target in task.targets), box=box.SIMPLE_HEAD)
    for file, (_, prediction) in zip(files, found):
        table.add_row(escape(file), *(escape(_shown(prediction[target.name])) for target in task.targets))
    console.print(table)


def _shortened(file: Path, most: int) -> str:
    """The end of a path, in whole folders as far as `most` characters go; at least the file's name.

    >>> _shortened(Path("corpus/anger/laugh.wav"), 18)
    '…/anger/laugh.wav'
    """
    text = str(file)
    while len(text) > most and len(parts := Path(text.removeprefix("…/")).parts) > 1:
        text = "/".join(("…", *parts[1:]))
    return text


def _shown(values: Mapping[str, float]) -> str:
    """The only value, all of a few, or the highest of many."""
    if len(values) == 1:
        return f"{next(iter(values.values())):.1f}"
    highest = list(values.items())
    if len(highest) > SHOWN:
        highest = sorted(highest, key=lambda entry: -entry[1])[:SHOWN]
    return ", ".join(f"{name} {value:.2f}" for name, value in highest)
