"""Manifest: one table of which clips exist, who speaks, in which split, and how strong each emotion is.

On disk a UTF-8 CSV, read by column name: `id, file, split, speaker, seconds, flags` and a column
`emotion:<Name>` per emotion (0 to 1, blank for unknown). `file` is absolute or relative to the folder the
manifest lies in. Corpora with other labels have a column `label:<Name>` for each: text or numbers, blank for unknown.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vocalgen.atomic import atomic_write_text
from vocalgen.corpora.cells import known, parse_number
from vocalgen.corpora.names import locate
from vocalgen.corpora.table import delimiter, fit_width, is_blank_row, parse_csv, read_text, separator_hint
from vocalgen.corpora.words import count
from vocalgen.emotions import Vocabulary, match_vocabulary
from vocalgen.errors import VocalgenError

SPLITS = ("train", "validation", "test")
FLAGS = (
    "unreadable", "empty", "truncated", "overrange", "out-of-phase", "silent", "clipped", "short", "duplicate",
)  # fmt: skip
EXCLUDING_FLAGS = frozenset(FLAGS) - {"clipped", "short"}
"""Clips with one of these flags take part in nothing; `clipped` and `short` ones do."""

COLUMNS = ("id", "file", "split", "speaker", "seconds", "flags")
EMOTION_PREFIX = "emotion:"
LABEL_PREFIX = "label:"

_LONGEST_HEADER = 1 << 16
"""Bytes in which the first line of a manifest ends."""


@dataclass(frozen=True)
class Clip:
    """One row.

    Args:
        id: unique name; everything is joined on it.
        file: audio file, absolute after `Manifest.load`.
        split: one of `SPLITS`.
        speaker: who it is; "" when unknown.
        seconds: duration of the decoded file, NaN when not measured yet.
        flags: subset of `FLAGS`.
        intensities: one value in [0, 1] per emotion, NaN when unknown.
        labels: further labels in the order of `Manifest.labels`, as they are written; "" when unknown.
    """

    id: str
    file: Path
    split: str
    speaker: str
    seconds: float
    flags: tuple[str, ...]
    intensities: tuple[float, ...]
    labels: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether training and evaluation may use the clip."""
        return not EXCLUDING_FLAGS.intersection(self.flags)


@dataclass(frozen=True, eq=False)
class Manifest:
    """A checked table of clips.

    Args:
        emotions: names and order of the intensities.
        rows: the clips.
        notes: remarks of whoever made the manifest (files left out, for example); not saved.
        labels: names of the further labels, such as Valence or Country.

    Raises:
        VocalgenError: two clips with one id, a speaker in two splits, an unknown split or flag, a wrong
            number of intensities or labels, or an intensity outside [0, 1]. The message counts rows as the CSV
            does: the header is row 1.
    """

    emotions: Vocabulary
    rows: tuple[Clip, ...]
    notes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check(self)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Clip]:
        return iter(self.rows)

    @cached_property
    def intensities(self) -> NDArray[np.float32]:
        """(N, K) float32 in [0, 1], NaN where unknown."""
        values = [clip.intensities for clip in self.rows]
        return np.array(values, dtype=np.float32).reshape(len(self), len(self.emotions))

    def texts(self, label: str) -> tuple[str, ...]:
        """One further label of every clip, as it is written; "" where unknown.

        Raises:
            VocalgenError: the manifest has no such label.
        """
        if label not in self.labels:
            known = ", ".join(self.labels) or "none"
            raise VocalgenError(f"the manifest has no label {label!r}; it has {known}; prepare the corpus again")
        place = self.labels.index(label)
        return tuple(clip.labels[place] for clip in self.rows)

    def numbers(self, *labels: str) -> NDArray[np.float64]:
        """Further labels as numbers (N, len(labels)), NaN where unknown.

        Raises:
            VocalgenError: no such label, or one that is no finite number; clip and column are named.
        """
        columns = [
            [_label_number(text, clip.id, label) for clip, text in zip(self.rows, self.texts(label), strict=True)]
            for label in labels
        ]
        return np.array(columns, dtype=np.float64).reshape(len(labels), len(self)).T

    @property
    def speakers(self) -> tuple[str, ...]:
        """Known speakers, sorted."""
        return tuple(sorted({clip.speaker for clip in self.rows} - {""}))

    def split(self, name: str) -> Manifest:
        """The clips of one split ("train", "validation" or "test"); may be empty.

        Raises:
            VocalgenError: there is no split of that name.
        """
        if name not in SPLITS:
            raise VocalgenError(f"unknown split {name!r}; choose one of {', '.join(SPLITS)}")
        return self.where(clip.split == name for clip in self.rows)

    def usable(self) -> Manifest:
        """The clips without an excluding flag."""
        return self.where(clip.usable for clip in self.rows)

    def predicted(self) -> Manifest:
        """The usable clips, and test clips that only repeat the audio of another: a submission has a value for each.

        Labels are kept. Such a clip is not `usable`: whatever compares clips by their sound would find its original.
        """
        return self.where(
            clip.usable or (clip.split == "test" and EXCLUDING_FLAGS.intersection(clip.flags) == {"duplicate"})
            for clip in self.rows
        )

    def where(self, keep: Iterable[bool]) -> Manifest:
        """The clips for which `keep`, one truth value a row, is true."""
        return replace(self, rows=tuple(clip for clip, take in zip(self.rows, keep, strict=True) if take))

    def check_files(self) -> None:
        """Raise VocalgenError, naming the first and counting the rest, if files of usable clips are missing."""
        missing = [clip for clip in self.rows if clip.usable and not clip.file.is_file()]
        if missing:
            raise VocalgenError(
                f"{len(missing)} of {len(self)} files of the manifest are missing, the first of clip {missing[0].id}: "
                f"{missing[0].file}; restore them or prepare the manifest again"
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Manifest:
        """Read a manifest; audio files are not looked at.

        Raises:
            VocalgenError: not a readable CSV, missing columns, a bad value (row and column are named), no
                rows, or whatever the class itself refuses.
        """
        source = Path(path)
        text = read_text(source, "manifest")
        table, decimal_comma = parse_csv(text, str(source)), delimiter(text) != ","
        try:
            return _parse(table, Path(os.path.abspath(source.parent)), decimal_comma)
        except VocalgenError as error:
            raise VocalgenError(f"{source}: {error}") from error

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write the CSV atomically; files under the manifest's folder are stored relative to it.

        Raises:
            VocalgenError: a file is there already and may not be overwritten, or it cannot be written.
        """
        folder = Path(os.path.abspath(path)).parent
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        emotions = (EMOTION_PREFIX + emotion for emotion in self.emotions.emotions)
        writer.writerow([*COLUMNS, *emotions, *(LABEL_PREFIX + label for label in self.labels)])
        for clip in self.rows:
            file = Path(os.path.abspath(clip.file))
            stored = file.relative_to(folder) if file.is_relative_to(folder) else file
            flags = "|".join(clip.flags)
            numbers = [_number(value) for value in (round(clip.seconds, 6), *clip.intensities)]
            fixed = [clip.id, stored.as_posix(), clip.split, clip.speaker, numbers[0], flags]
            writer.writerow([*fixed, *numbers[1:], *clip.labels])
        atomic_write_text(path, text.getvalue(), overwrite)


def is_manifest(path: Path) -> bool:
    """Whether the first line of a file has the columns of a manifest, however a spreadsheet saved it.

    Raises:
        VocalgenError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            first = file.readline(_LONGEST_HEADER).decode("utf-8-sig")
        header = _header(parse_csv(first, str(path)))
    except OSError as error:
        raise VocalgenError(f"cannot read {path} ({error.strerror or error})") from error
    except (UnicodeDecodeError, VocalgenError):
        return False
    return set(COLUMNS) <= set(header) and any(name.startswith(EMOTION_PREFIX) for name in header)


def _header(table: list[list[str]]) -> list[str]:
    """Return the columns of a manifest: fixed names and prefixes in lower case, the names behind them as written."""
    header = []
    for cell in table[0] if table else ():
        prefix, colon, name = cell.strip().partition(":")
        header.append(prefix.lower() + colon + name)
    return header


def _parse(table: list[list[str]], folder: Path, decimal_comma: bool) -> Manifest:
    header = _header(table)
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        todo = separator_hint(header) or "make one with `vocalgen data prepare`"
        raise VocalgenError(f"not a manifest: column {', '.join(missing)} is missing; {todo}")
    repeated = sorted({name for name in header if name and header.count(name) > 1})
    if repeated:
        raise VocalgenError(f"column {', '.join(repeated)} appears twice; keep one")
    emotion_columns = [name for name in header if name.startswith(EMOTION_PREFIX)]
    if not emotion_columns:
        raise VocalgenError("not a manifest: it has no column emotion:<Name>; add one per emotion")
    emotions = match_vocabulary(name.removeprefix(EMOTION_PREFIX) for name in emotion_columns)
    at = {name: position for position, name in enumerate(header)}
    emotion_at = [at[name] for name in emotion_columns]
    label_columns = [name for name in header if name.startswith(LABEL_PREFIX)]
    label_at = [at[name] for name in label_columns]

    clips = []
    for row, line in enumerate(table[1:], start=2):
        if is_blank_row(line):
            continue
        cells = fit_width(line, header, f"row {row}")
        if not cells[at["file"]]:
            raise VocalgenError(f"row {row}, column file is blank; give the path of the audio file")
        clips.append(
            Clip(
                id=cells[at["id"]],
                file=locate(folder, cells[at["file"]]),
                split=cells[at["split"]],
                speaker=known(cells[at["speaker"]]),
                seconds=_parse_number(cells[at["seconds"]], row, "seconds", math.inf, decimal_comma),
                flags=tuple(flag for flag in known(cells[at["flags"]]).split("|") if flag),
                intensities=tuple(_parse_number(cells[k], row, header[k], 1.0, decimal_comma) for k in emotion_at),
                # Most of the millions of labels of a large corpus are numbers, which need no look.
                labels=tuple(cells[k] if cells[k][-1:].isdigit() else known(cells[k]) for k in label_at),
            )
        )
    if not clips:
        raise VocalgenError("the manifest has no rows; prepare it again")
    return Manifest(emotions, tuple(clips), labels=tuple(name.removeprefix(LABEL_PREFIX) for name in label_columns))


def _check(manifest: Manifest) -> None:
    row_of_id: dict[str, int] = {}
    first_of_speaker: dict[str, Clip] = {}
    for row, clip in enumerate(manifest.rows, start=2):
        if not clip.id:
            raise VocalgenError(f"row {row}, column id is blank; give every clip a name")
        if not f"{clip.id}{clip.file}".isprintable():
            raise VocalgenError(
                f"row {row}: {clip.file.name!a} has characters that are no text, or line breaks; rename the file"
            )
        if clip.id in row_of_id:
            raise VocalgenError(f"row {row}, column id: {clip.id!r} is taken by row {row_of_id[clip.id]}; rename one")
        row_of_id[clip.id] = row
        if clip.split not in SPLITS:
            raise VocalgenError(f"row {row}, column split: {clip.split!r} is none of {', '.join(SPLITS)}")
        unknown = set(clip.flags).difference(FLAGS)
        if unknown:
            raise VocalgenError(f"row {row}, column flags: {sorted(unknown)[0]!r} is none of {', '.join(FLAGS)}")
        if clip.speaker:
            first = first_of_speaker.setdefault(clip.speaker, clip)
            if first.split != clip.split:
                raise VocalgenError(
                    f"speaker {clip.speaker} is in {first.split} (clip {first.id}) and in {clip.split} "
                    f"(clip {clip.id}); a speaker may be in one split only"
                )
        _check_intensities(row, clip.intensities, manifest.emotions)
        if len(clip.labels) != len(manifest.labels):
            labels = count(len(clip.labels), "label")
            raise VocalgenError(f"row {row} has {labels}, the manifest has {len(manifest.labels)}")


def _check_intensities(row: int, intensities: Sequence[float], emotions: Vocabulary) -> None:
    if len(intensities) != len(emotions):
        raise VocalgenError(
            f"row {row} has {len(intensities)} intensities, {emotions.name} has {len(emotions)} emotions"
        )
    for emotion, value in zip(emotions.emotions, intensities, strict=True):
        if value < 0.0 or value > 1.0:
            raise VocalgenError(f"row {row}, column {EMOTION_PREFIX}{emotion}: {value} is outside [0, 1]; rescale it")


def _number(value: float) -> str:
    if math.isnan(value):
        return ""
    return str(int(value)) if value == int(value) else repr(float(value))


def _parse_number(text: str, row: int, column: str, largest: float, decimal_comma: bool) -> float:
    if text == "0":
        return 0.0
    try:
        value = float(text)
    except ValueError:
        if not known(text):
            return math.nan
        try:
            value = parse_number(text, decimal_comma)
        except ValueError as error:
            raise VocalgenError(f"row {row}, column {column}: {error}") from None
    if math.isnan(value):
        return value
    if not 0.0 <= value <= largest or math.isinf(value):
        raise VocalgenError(f"row {row}, column {column}: {text} is outside [0, {'1' if largest == 1 else 'inf'}]")
    return value


def _label_number(text: str, clip: str, label: str) -> float:
    if not known(text):
        return math.nan
    try:
        # The manifest does not keep how its cells were separated; no label is a list, so a comma is a decimal one.
        value = parse_number(text, decimal_comma=True)
    except ValueError:
        value = math.inf
    if not math.isfinite(value):
        raise VocalgenError(f"clip {clip}, column {LABEL_PREFIX}{label}: {text!r} is not a number")
    return value
