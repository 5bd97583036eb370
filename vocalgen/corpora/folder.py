"""Anybody's clips: a CSV or JSONL table beside the audio, or one folder per emotion.

Columns (any case; read by name): `file`; `emotion` ("awe", "awe=0.7,fear=0.3", in JSONL also {"awe": 0.7}) or
one intensity column per emotion (`emotion:Awe`, or plain `Awe` if a vocabulary has it; 0 to 1, blank for unknown);
`speaker`; `split`; `id`. Columns that are not used are told.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from vocalgen.corpora.cells import parse_number, scale_hint
from vocalgen.corpora.layout import SPLIT_NAMES, Layout, emotion_folders
from vocalgen.corpora.manifest import EMOTION_PREFIX, SPLITS, Clip, Manifest, is_manifest
from vocalgen.corpora.names import locate
from vocalgen.corpora.table import read_table
from vocalgen.corpora.words import count, some
from vocalgen.emotions import (
    VOCABULARIES,
    Condition,
    Vocabulary,
    condition_from_labels,
    match_vocabulary,
    parse_condition,
    slug,
)
from vocalgen.errors import VocalgenError

SHARES = (0.8, 0.1, 0.1)
"""Share of the speakers in train, validation and test when the table has no split."""

_DRAWS = 100
"""Draws of splits that are compared, where the first leaves a split without some emotion."""

_WEIGHT = re.compile(r"(=\s*\d*),(\d)")

_SYNONYMS = {
    "file": ("file", "filename", "file_name", "path"),
    "emotion": ("emotion", "label"),
    "speaker": ("speaker", "speaker_id", "subject_id"),
    "split": ("split",),
    "id": ("id", "file_id"),
}
_OFFICIAL = {slug(name): name for known in VOCABULARIES.values() for name in known.emotions}


@dataclass(frozen=True)
class _Row:
    number: int
    """Line of the table, counted as an editor does; 0 for a file found in a folder."""
    cells: Mapping[str, Any]
    """Values by lower-case column name, "" where unknown."""
    decimal_comma: bool = False
    """Whether 0,5 is a number."""

    @property
    def where(self) -> str:
        """How messages name it."""
        return f"row {self.number}" if self.number else self.text("file")

    def source(self, column: str) -> str:
        """Name under which the row has a column; "" if it has none."""
        return next((name for name in _SYNONYMS[column] if self.cells.get(name, "") != ""), "")

    def get(self, column: str) -> Any:
        return self.cells.get(self.source(column), "")

    def text(self, column: str) -> str:
        return str(self.get(column)).strip()

    def mixture(self, text: str) -> str:
        """An emotion with decimal points in its weights: "awe=0,7,fear=0,3" -> "awe=0.7,fear=0.3"."""
        return _WEIGHT.sub(r"\1.\2", text) if self.decimal_comma else text


def scan(
    source: str | os.PathLike[str],
    vocabulary: Vocabulary | None = None,
    split: str | None = None,
    seed: int = 0,
) -> Manifest:
    """Make a manifest of a table or a folder without opening a clip; durations stay NaN (see `verify`).

    Args:
        source: a .csv or .jsonl file, a folder that holds exactly one such file, or a folder with one
            subfolder of audio per emotion. Paths in a table are relative to the table.
        vocabulary: names and order of the emotions. None takes the intensity columns, or the names that
            occur: a known vocabulary if they are all of its names, else those names sorted. Plain columns are taken
            where nothing else tells of emotions, or where they are all of a known vocabulary.
        split: put every clip into this split, whatever the table says.
        seed: where the table has no split, speakers are drawn 80/10/10 into train, validation and test with
            this seed.

    Returns:
        Clips in the order of the table or of the folders. A blank emotion is unknown, as blank intensities are.

    Raises:
        VocalgenError: unreadable table, missing column, bad value (with its row), neither split nor speakers; a folder
            without clips, or whose folders are not emotions, see `emotion_folders`.
    """
    path = Path(os.path.abspath(source))
    if split is not None:
        split = _split_name(split, "the split asked for")
    table = table_in(path) if path.is_dir() else path
    notes: tuple[str, ...] = ()
    if table is None:
        layout = emotion_folders(path)
        rows, notes = _walk(layout), layout.left_out
    else:
        rows = _read(table)
    try:
        return _manifest(rows, path if table is None else table.parent, vocabulary, path.stem, split, seed, notes)
    except VocalgenError as error:
        raise VocalgenError(f"{table or path}: {error}") from error


def _manifest(
    rows: list[_Row],
    root: Path,
    vocabulary: Vocabulary | None,
    name: str,
    split: str | None,
    seed: int,
    left_out: tuple[str, ...],
) -> Manifest:
    if vocabulary is None:
        vocabulary = _infer_vocabulary(rows, name)
    named = any(column in row.cells for row in rows for column in _SYNONYMS["emotion"])
    conditions = [_condition(row, vocabulary, rows, named) for row in rows]
    splits, split_notes = _splits(rows, split, seed, [values for values, _ in conditions])
    clips = [
        _clip(row, root, clip_split, values)
        for row, clip_split, (values, _) in zip(rows, splits, conditions, strict=True)
    ]
    by_id: dict[str, _Row] = {}
    for clip, row in zip(clips, rows, strict=True):
        first = by_id.setdefault(clip.id, row)
        if first is not row:
            raise VocalgenError(f"{row.where}: the id {clip.id!r} is taken by {first.where}; rename one, or add ids")
    notes = [
        *left_out,
        *dict.fromkeys(note for _, row_notes in conditions for note in row_notes),
        *split_notes,
        *_unknown(clips),
    ]
    return Manifest(vocabulary, tuple(clips), (*notes, *_unused(rows, vocabulary), *_alike(vocabulary)))


def table_in(folder: Path) -> Path | None:
    tables = sorted(entry for entry in folder.iterdir() if _is_table(entry))
    if len(tables) > 1:
        names = ", ".join(table.name for table in tables[:4])
        raise VocalgenError(f"{folder} holds several tables ({names}); name the one to use")
    return tables[0] if tables else None


def _is_table(file: Path) -> bool:
    """A visible CSV or JSONL file that is not a manifest somebody put beside the clips."""
    suffix = file.suffix.lower()
    if file.name.startswith(".") or not file.is_file():
        return False
    return suffix in (".jsonl", ".ndjson") or (suffix == ".csv" and not is_manifest(file))


def _walk(layout: Layout) -> list[_Row]:
    return [
        _Row(0, {"file": f"{name}/{file.name}", "emotion": name})
        for name, files in layout.clips.items()
        for file in files
    ]


def _read(path: Path) -> list[_Row]:
    table = read_table(path)
    if not any(name in table for name in _SYNONYMS["file"]):
        raise VocalgenError(f"{path} has no column `file` (found: {', '.join(table.columns) or 'nothing'}); add it")
    return [_Row(row.number, row.cells, row.decimal_comma) for row in table]


def _infer_vocabulary(rows: list[_Row], name: str) -> Vocabulary:
    columns = list(dict.fromkeys(column for row in rows for column in row.cells))
    prefixed = [column.removeprefix(EMOTION_PREFIX) for column in columns if column.startswith(EMOTION_PREFIX)]
    if prefixed:
        return match_vocabulary((emotion.title() for emotion in prefixed), otherwise=name)
    for known in VOCABULARIES.values():
        if set(known.slugs) <= {slug(column) for column in columns}:
            return known
    names = {label for row in rows for label in _names(row)}
    if not names:
        plain = dict.fromkeys(_OFFICIAL[slug(column)] for column in columns if slug(column) in _OFFICIAL)
        if not plain:
            unused = _unused(rows, None)
            blank = [column for column in _SYNONYMS["emotion"] if column in columns]
            problem = (
                f"column {blank[0]} is blank in every row; fill it in, or name a vocabulary"
                if blank
                else "the table has neither a column `emotion` nor intensity columns `emotion:<Name>`; add one"
            )
            raise VocalgenError(problem + (f" ({unused[0]})" if unused else ""))
        return match_vocabulary(plain, otherwise=name)
    for known in VOCABULARIES.values():
        if names == set(known.slugs):
            return known
    return Vocabulary(name, tuple(label.replace("-", " ").title() for label in sorted(names)))


def _unused(rows: list[_Row], vocabulary: Vocabulary | None) -> list[str]:
    """A line about the columns that have values and tell nothing here, if there are some."""
    used = {row.source(column) for row in rows for column in _SYNONYMS} | set(_SYNONYMS["split"])
    for row in rows:
        if vocabulary is not None and not row.get("emotion"):
            used.update(_intensity_columns(tuple(row.cells), vocabulary).values())
    filled = dict.fromkeys(name for row in rows for name, value in row.cells.items() if value not in (None, ""))
    unused = [name for name in filled if name not in used]
    return [f"{count(len(unused), 'column')} not used: {', '.join(unused)}"] if unused else []


def _alike(vocabulary: Vocabulary) -> list[str]:
    """Lines about names that may be one, misspelt; those of known vocabularies are meant as they are."""
    names = [name for name in vocabulary.emotions if slug(name) not in _OFFICIAL]
    found = {name: get_close_matches(name, [other for other in vocabulary.emotions if other != name]) for name in names}
    return [
        f"{name} is no known emotion and much like {near[0]}: is it misspelt?" for name, near in found.items() if near
    ]


def _names(row: _Row) -> set[str]:
    emotion = row.get("emotion")
    texts = emotion if isinstance(emotion, Mapping) else row.mixture(str(emotion)).split(",")
    parts = (str(text).partition("=")[0] for text in texts)
    return {slug(str(part)) for part in parts} - {""}


def _condition(
    row: _Row, vocabulary: Vocabulary, rows: list[_Row], named: bool
) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Return the intensities of a row and the notes about approximated names.

    Args:
        named: whether the table has a column of emotions, so that a blank there means an unknown one.
    """
    emotion = row.get("emotion")
    try:
        if emotion:
            condition: Condition = (
                condition_from_labels(emotion, vocabulary)
                if isinstance(emotion, Mapping)
                else parse_condition(row.mixture(str(emotion)), vocabulary)
            )
            return condition.intensities, condition.notes
        columns = _intensity_columns(tuple(row.cells), vocabulary)
        missing = [emotion for emotion in vocabulary.emotions if emotion not in columns]
        if missing and named:
            return (math.nan,) * len(vocabulary), ()
        if missing:
            raise VocalgenError(f"no emotion given, and no intensity column {EMOTION_PREFIX}{missing[0]}")
        return tuple(_intensity(row, columns[name], name, rows) for name in vocabulary.emotions), ()
    except VocalgenError as error:
        raise VocalgenError(f"{row.where}: {error}") from error


def _unknown(clips: list[Clip]) -> list[str]:
    """Return a line about test clips without labels, which challenges withhold; others are told by `incomplete`."""
    blank = [clip.id for clip in clips if clip.split == "test" and all(map(math.isnan, clip.intensities))]
    return [f"{count(len(blank), 'test clip')} with unknown emotions: {some(blank)}"] if blank else []


@cache
def _intensity_columns(columns: tuple[str, ...], vocabulary: Vocabulary) -> dict[str, str]:
    """The column of each emotion; `emotion:<Name>` goes before a plain name."""
    by_slug: dict[str, str] = {}
    for column in sorted(columns, key=lambda column: not column.startswith(EMOTION_PREFIX)):
        by_slug.setdefault(slug(column.removeprefix(EMOTION_PREFIX)), column)
    return {name: by_slug[slug(name)] for name in vocabulary.emotions if slug(name) in by_slug}


def _intensity(row: _Row, column: str, emotion: str, rows: list[_Row]) -> float:
    value = row.cells[column]
    if value == "":
        return math.nan
    try:
        number = parse_number(str(value), row.decimal_comma)
    except ValueError:
        number = math.nan
    if not 0.0 <= number <= 1.0:
        hint = scale_hint(other.cells.get(column) for other in rows)
        raise VocalgenError(f"column {EMOTION_PREFIX}{emotion}: {value!r} is not a number from 0 to 1{hint}")
    return number


def _clip(row: _Row, root: Path, split: str, intensities: tuple[float, ...]) -> Clip:
    file = row.text("file")
    if not file:
        raise VocalgenError(f"row {row.number}, column file is blank; give the path of the audio file")
    return Clip(
        id=row.text("id") or Path(file.replace("\\", "/")).with_suffix("").as_posix(),
        file=locate(root, file),
        split=split,
        speaker=row.text("speaker"),
        seconds=math.nan,
        flags=(),
        intensities=intensities,
    )


def _splits(
    rows: list[_Row], split: str | None, seed: int, intensities: list[tuple[float, ...]]
) -> tuple[list[str], tuple[str, ...]]:
    """Return the split of every row, and a note if it was drawn."""
    if split is not None:
        return [split] * len(rows), ()
    given = [row.text("split") for row in rows]
    if all(given):
        return [_split_name(name, f"row {row.number}") for name, row in zip(given, rows, strict=True)], ()
    if any(given):
        row = rows[given.index("")]
        raise VocalgenError(f"row {row.number}, column split is blank; fill it in every row or leave the column out")
    speakers = [row.text("speaker") for row in rows]
    if not any(speakers):
        raise VocalgenError(
            "the clips have neither a split nor speakers to draw one from; add a column, or name one split"
        )
    if not all(speakers):
        unknown = [clip for clip, speaker in zip(rows, speakers, strict=True) if not speaker]
        raise VocalgenError(
            f"{unknown[0].where}: no split can be drawn without a speaker, which {count(len(unknown), 'clip')} lack; "
            f"fill in the speakers, add a column split, or name one split"
        )
    emotions: dict[str, set[int]] = {}
    for speaker, values in zip(speakers, intensities, strict=True):
        emotions.setdefault(speaker, set()).update(place for place, value in enumerate(values) if value > 0)
    drawn = draw_splits(speakers, seed, emotions)
    share = "/".join(f"{100 * part:.0f}" for part in SHARES)
    return [drawn[speaker] for speaker in speakers], (f"splits drawn by speaker {share} with seed {seed}",)


def draw_splits(
    speakers: Iterable[str], seed: int = 0, emotions: Mapping[str, Collection[int]] | None = None
) -> dict[str, str]:
    """Assign every distinct speaker to one split, in the shares `SHARES` and at least one speaker in each.

    The draw depends on the set of names, their emotions and the seed only, not on their order. Where it leaves a split
    without an emotion that occurs, further draws are tried, and the one that leaves out fewest is taken.

    Args:
        emotions: those that each speaker has clips of; None takes the first draw.

    Raises:
        VocalgenError: fewer than three speakers.
    """
    names = set(speakers)
    if len(names) < len(SPLITS):
        raise VocalgenError(
            f"{count(len(names), 'speaker')} cannot fill three splits; add a column split or give one for all"
        )
    found = _draw(names, str(seed))
    if emotions is None:
        return found
    best = _lacking(found, emotions)
    for attempt in range(1, _DRAWS):
        if not best:
            break
        tried = _draw(names, f"{seed}:{attempt}")
        lacking = _lacking(tried, emotions)
        if lacking < best:
            found, best = tried, lacking
    return found


def _draw(names: Collection[str], salt: str) -> dict[str, str]:
    """Return the splits of speakers in an order that hashes of their names give."""
    order = sorted(names, key=lambda name: hashlib.sha256(f"{salt}:{name}".encode()).digest())
    validation, test = (max(1, round(share * len(order))) for share in SHARES[1:])
    counts = (len(order) - validation - test, validation, test)
    splits = [split for split, number in zip(SPLITS, counts, strict=True) for _ in range(number)]
    return dict(zip(order, splits, strict=True))


def _lacking(drawn: Mapping[str, str], emotions: Mapping[str, Collection[int]]) -> int:
    """Count the emotions that splits lack."""
    every = {emotion for those in emotions.values() for emotion in those}
    of: dict[str, set[int]] = {split: set() for split in SPLITS}
    for speaker, split in drawn.items():
        of[split].update(emotions[speaker])
    return sum(len(every - those) for those in of.values())


def _split_name(name: str, where: str) -> str:
    try:
        return SPLIT_NAMES[name.strip().lower()]
    except KeyError:
        raise VocalgenError(f"{where}: unknown split {name!r}; use {', '.join(SPLITS)}") from None
