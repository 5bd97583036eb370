"""Submission files of the challenges on HUME-VOCALBURST and HUME-PROSODY: exact headers, names and ids.

Formats: ExVo 2022 and A-VB 2022 as their README files give them; Emotion Share as its scoring reads it.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vocalgen.atomic import atomic_write_text
from vocalgen.corpora.cells import Column
from vocalgen.corpora.hume_vocalburst import COUNTRIES, CULTURE, ID_DIGITS, TYPES
from vocalgen.corpora.manifest import Manifest
from vocalgen.corpora.table import parse_csv, read_text, separator_hint
from vocalgen.corpora.words import count, some
from vocalgen.emotions import HUME10, PROSODY9
from vocalgen.errors import VocalgenError

SHOWN = 5
"""Problems of one kind that are listed."""


@dataclass(frozen=True)
class Format:
    """A challenge's submission file.

    Args:
        prefix: of the file name PREFIX_TEAM_NUMBER.csv.
        key: name of the first column.
        brackets: whether clips are called [00001] there; else by their file names.
        columns: the other columns in order.
    """

    prefix: str
    key: str
    brackets: bool
    columns: Mapping[str, Column]

    @property
    def header(self) -> tuple[str, ...]:
        """The first line."""
        return (self.key, *self.columns)

    def name_of(self, clip: str) -> str:
        """How a clip of this manifest id is called."""
        return f"[{clip}]" if self.brackets else f"{clip}.wav"


_EMOTIONS = dict.fromkeys(HUME10.emotions, Column())
_ANY = Column(-math.inf, math.inf)

FORMATS = {
    "exvo-multitask": Format(
        "ExVo-Multi",
        "File_ID",
        True,
        {"Country": Column(words=tuple(map(str, range(len(COUNTRIES))))), "Age": Column(0, 120), **_EMOTIONS},
    ),
    "exvo-fewshot": Format("ExVo-Few", "File_ID", True, _EMOTIONS),
    "avb-high": Format("A-VB-High", "File_ID", True, _EMOTIONS),
    "avb-two": Format("A-VB-Two", "File_ID", True, {"Valence": Column(), "Arousal": Column()}),
    "avb-culture": Format("A-VB-Culture", "File_ID", True, dict.fromkeys(CULTURE, Column())),
    "avb-type": Format("A-VB-Type", "File_ID", True, {"Voc_Type": Column(words=TYPES)}),
    "emotion-share": Format("Emotion-Share", "filename", False, dict.fromkeys(PROSODY9.emotions, _ANY)),
}
"""By task. Country is a number, 0 to 3 in the order of `COUNTRIES`; shares of emotions are scored by rank."""


def format_of(task: str) -> Format:
    """The format of a task.

    Raises:
        VocalgenError: there is none of that name.
    """
    if task not in FORMATS:
        raise VocalgenError(f"no submission format for task {task!r}; there is one for {', '.join(FORMATS)}")
    return FORMATS[task]


def submission_path(task: str, folder: Path, team: str, number: int) -> Path:
    """File name that the organisers ask for: PREFIX_TEAM_NUMBER.csv."""
    return folder / f"{format_of(task).prefix}_{team}_{number}.csv"


def write_submission(
    task: str, clips: Sequence[str], values: Sequence[Sequence[object]], folder: Path, team: str, number: int
) -> Path:
    """Write PREFIX_TEAM_NUMBER.csv.

    Args:
        clips: manifest ids.
        values: a row for each clip, in the order of the format's columns.

    Raises:
        VocalgenError: unknown task, a team that is no file name, rows that do not fit, or a value that cannot be;
            nothing is written then.
    """
    chosen = format_of(task)
    if not re.fullmatch(r"[A-Za-z0-9-]+", team) or number < 1:
        raise VocalgenError(f"team {team!r}, number {number}: use letters, digits and hyphens, and count from 1")
    if len(clips) != len(values):
        raise VocalgenError(f"{count(len(values), 'row')} of values for {count(len(clips), 'clip')}")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(chosen.header)
    for clip, row in zip(clips, values, strict=True):
        writer.writerow([chosen.name_of(clip), *row])
    found = problems(text.getvalue(), chosen)
    if found:
        raise VocalgenError(f"this is no submission for {task}: {found[0]}")
    path = submission_path(task, folder, team, number)
    atomic_write_text(path, text.getvalue())
    return path


def require_ids(task: str, manifest: Manifest) -> None:
    """Refuse a manifest whose test clips a submission for the task cannot name; other tasks take any.

    Raises:
        VocalgenError: ids that are not of the form the challenge asks for.
    """
    chosen = FORMATS.get(task)
    if chosen is None or not chosen.brackets:
        return
    test = [clip.id for clip in manifest.split("test")]
    wrong = [name for name in test if not re.fullmatch(rf"\d{{{ID_DIGITS}}}", name)]
    if wrong:
        raise VocalgenError(
            f"{count(len(wrong), 'test id')} of {len(test):,} do not fit a submission for {task}: {some(wrong)}; "
            f"ids need five digits, such as 00001, and spreadsheets drop zeros: prepare the manifest again"
        )


def check_submission(path: str | Path, task: str | None = None, manifest: Manifest | None = None) -> list[str]:
    """What is wrong with a submission file; nothing if all is right.

    Args:
        task: None takes it from the file's name.
        manifest: of the corpus: all of its test clips must be there, and no others.

    Raises:
        VocalgenError: it cannot be read, or its name tells no task.
    """
    path = Path(path)
    if task is None:
        task = next((name for name, entry in FORMATS.items() if path.name.startswith(f"{entry.prefix}_")), None)
        if task is None:
            prefixes = ", ".join(entry.prefix for entry in FORMATS.values())
            raise VocalgenError(f"the name of {path} tells no task (it begins with one of {prefixes}); give --task")
    chosen = format_of(task)
    found = problems(read_text(path, "file", "utf-8"), chosen, manifest)
    if not re.fullmatch(rf"{re.escape(chosen.prefix)}_[^_]+_\d+\.csv", path.name):
        found.append(f"the file is called {path.name}, not {chosen.prefix}_TEAM_NUMBER.csv")
    return found


def problems(text: str, chosen: Format, manifest: Manifest | None = None) -> list[str]:
    """What is wrong with the content of a submission file."""
    if text.startswith("\ufeff"):
        return ["it begins with a byte-order mark; save it as plain UTF-8"]
    try:
        lines = parse_csv(text, "file", separator=",")
    except VocalgenError as error:
        return [str(error)]
    header = tuple(lines[0]) if lines else ()
    if header != chosen.header:
        return [_header(header, chosen.header)]
    found: dict[str, list[str]] = {}
    seen: dict[str, int] = {}
    for number, cells in enumerate(lines[1:], start=2):
        if len(cells) != len(header):
            found.setdefault("length", []).append(f"row {number} has {count(len(cells), 'cell')}, not {len(header)}")
            continue
        name = cells[0]
        if chosen.brackets and not re.fullmatch(rf"\[\d{{{ID_DIGITS}}}\]", name):
            found.setdefault("id", []).append(f"row {number}: {name!r} is not of the form [00001]")
        if name in seen:
            found.setdefault("twice", []).append(f"row {number}: {name} stands in row {seen[name]} too")
        seen.setdefault(name, number)
        for (title, column), cell in zip(chosen.columns.items(), cells[1:], strict=True):
            problem = column.problem(cell)
            if problem:
                found.setdefault(title, []).append(f"row {number}, column {title}: {problem}")
    if manifest is not None:
        wanted = {chosen.name_of(clip.id) for clip in manifest.split("test")}
        for kind, names in (("missing", wanted - set(seen)), ("no test clip", set(seen) - wanted)):
            if names:
                found[kind] = [f"{name} is {kind}" for name in sorted(names)]
    elif len(lines) == 1:
        found["rows"] = ["there are no rows"]
    return [line for lines in found.values() for line in _some(lines)]


def _header(found: Sequence[str], wanted: Sequence[str]) -> str:
    hint = separator_hint(found)
    if hint:
        return f"the header is one cell only; {hint}"
    place = next((k for k, (a, b) in enumerate(zip(found, wanted)) if a != b), min(len(found), len(wanted)))
    has = repr(found[place]) if place < len(found) else "nothing"
    should = repr(wanted[place]) if place < len(wanted) else "nothing"
    return f"the header has {has} in column {place + 1}, where {should} belongs; in all: {','.join(wanted)}"


def _some(lines: Sequence[str]) -> list[str]:
    more = len(lines) - SHOWN
    return [*lines[:SHOWN], *([f"... and {more} more of this kind"] if more > 0 else [])]
