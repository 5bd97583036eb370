"""Anybody's clips: a CSV or JSONL table beside the audio, or one folder per emotion.

Columns (any case; read by name): `file`; `emotion` ("awe", "awe=0.7,fear=0.3", in JSONL also {"awe": 0.7}) or
one intensity column per emotion (`emotion:Awe`, or plain `Awe` if a vocabulary has it; 0 to 1, blank for unknown);
`speaker`; `split`; `id`. Columns that are not used are told.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from vocalgen.corpora.manifest import EMOTION_PREFIX, SPLITS, Clip, Manifest, is_manifest
from vocalgen.corpora.table import check_width, read_csv, read_text, scale_hint, separator_hint
from vocalgen.corpora.words import count
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

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".ogg", ".opus"})

_SYNONYMS = {
    "file": ("file", "filename", "file_name", "path"),
    "emotion": ("emotion", "label"),
    "speaker": ("speaker", "speaker_id", "subject_id"),
    "split": ("split",),
    "id": ("id", "file_id"),
}
_OFFICIAL = {slug(name): name for known in VOCABULARIES.values() for name in known.emotions}
_SPLIT_NAMES = {
    **{name: "train" for name in ("train", "training")},
    **{name: "validation" for name in ("validation", "val", "valid", "dev", "devel", "development")},
    **{name: "test" for name in ("test", "testing", "eval", "evaluation")},
}


@dataclass(frozen=True)
class _Row:
    number: int
    """Line of the table, counted as an editor does; 0 for a file found in a folder."""
    cells: Mapping[str, Any]
    """Values by lower-case column name."""

    @property
    def where(self) -> str:
        """How messages name it."""
        return f"row {self.number}" if self.number else self.text("file")

    def source(self, column: str) -> str:
        """Name under which the row has a column; "" if it has none."""
        return next((name for name in _SYNONYMS[column] if self.cells.get(name) not in (None, "")), "")

    def get(self, column: str) -> Any:
        return self.cells.get(self.source(column), "")

    def text(self, column: str) -> str:
        return str(self.get(column)).strip()


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

    Raises:
        VocalgenError: unreadable table, missing column, bad value (with its row), neither split nor speakers.
    """
    path = Path(os.path.abspath(source))
    if split is not None:
        split = _split_name(split, "the split asked for")
    table = _table_in(path) if path.is_dir() else path
    rows = _walk(path) if table is None else _read(table)
    if not rows:
        raise VocalgenError(f"{source} lists no clips; add rows, or one folder of audio per emotion")
    try:
        return _manifest(rows, path if table is None else table.parent, vocabulary, path.stem, split, seed)
    except VocalgenError as error:
        raise VocalgenError(f"{table or path}: {error}") from error


def _manifest(
    rows: list[_Row], root: Path, vocabulary: Vocabulary | None, name: str, split: str | None, seed: int
) -> Manifest:
    if vocabulary is None:
        vocabulary = _infer_vocabulary(rows, name)
    conditions = [_condition(row, vocabulary, rows) for row in rows]
    splits, split_notes = _splits(rows, split, seed)
    clips = [
        _clip(row, root, clip_split, values)
        for row, clip_split, (values, _) in zip(rows, splits, conditions, strict=True)
    ]
    by_id: dict[str, _Row] = {}
    for clip, row in zip(clips, rows, strict=True):
        first = by_id.setdefault(clip.id, row)
        if first is not row:
            raise VocalgenError(f"{row.where}: the id {clip.id!r} is taken by {first.where}; rename one, or add ids")
    notes = dict.fromkeys(note for _, row_notes in conditions for note in row_notes)
    return Manifest(vocabulary, tuple(clips), (*notes, *split_notes, *_unused(rows, vocabulary), *_alike(vocabulary)))


def _table_in(folder: Path) -> Path | None:
    tables = sorted(entry for entry in folder.iterdir() if _is_table(entry))
    if len(tables) > 1:
        names = ", ".join(table.name for table in tables[:4])
        raise VocalgenError(f"{folder} holds several tables ({names}); name the one to use")
    return tables[0] if tables else None


def _is_table(file: Path) -> bool:
    """A CSV or JSONL file that is not a manifest somebody put beside the clips."""
    suffix = file.suffix.lower()
    return suffix == ".jsonl" or (suffix == ".csv" and not is_manifest(file))


def _walk(folder: Path) -> list[_Row]:
    files = sorted(file for file in folder.glob("*/*") if file.suffix.lower() in AUDIO_SUFFIXES)
    return [_Row(0, {"file": f"{file.parent.name}/{file.name}", "emotion": file.parent.name}) for file in files]


def _read(table: Path) -> list[_Row]:
    return _read_jsonl(table) if table.suffix.lower() == ".jsonl" else _read_csv(table)


def _read_csv(table: Path) -> list[_Row]:
    lines = read_csv(table)
    header = [name.strip().lower() for name in lines[0]] if lines else []
    repeated = sorted({name for name in header if name and header.count(name) > 1})
    if repeated:
        raise VocalgenError(f"{table}: column {', '.join(repeated)} appears twice; keep one")
    if not set(header) & set(_SYNONYMS["file"]):
        todo = separator_hint(header) or "add it"
        raise VocalgenError(f"{table} has no column `file` (found: {', '.join(header) or 'nothing'}); {todo}")
    rows = []
    for number, cells in enumerate(lines[1:], start=2):
        if cells:
            check_width(cells, header, f"{table}: row {number}")
            rows.append(_Row(number, dict(zip(header, cells, strict=True))))
    return rows


def _read_jsonl(table: Path) -> list[_Row]:
    rows = []
    for number, line in enumerate(read_text(table).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", None) or error
            raise VocalgenError(f"{table}: row {number} is not JSON ({reason}); mend it") from error
        if not isinstance(cells, dict):
            raise VocalgenError(f'{table}: row {number} is not a JSON object; write {{"file": ..., "emotion": ...}}')
        rows.append(_Row(number, {str(name).lower(): value for name, value in cells.items()}))
    return rows


def _infer_vocabulary(rows: list[_Row], name: str) -> Vocabulary:
    columns = list(dict.fromkeys(column for row in rows for column in row.cells))
    prefixed = [column.removeprefix(EMOTION_PREFIX) for column in columns if column.startswith(EMOTION_PREFIX)]
    if prefixed:
        return match_vocabulary((emotion.title() for emotion in prefixed), otherwise=name)
    for known in VOCABULARIES.values():
        if set(known.slugs) <= {slug(column) for column in columns}:
            return known
    names = {label for row in rows for label in _names(row.get("emotion"))}
    if not names:
        plain = dict.fromkeys(_OFFICIAL[slug(column)] for column in columns if slug(column) in _OFFICIAL)
        if not plain:
            unused = _unused(rows, None)
            raise VocalgenError(
                "the table has neither a column `emotion` nor intensity columns `emotion:<Name>`; add one"
                + (f" ({unused[0]})" if unused else "")
            )
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


def _names(emotion: Any) -> set[str]:
    parts = emotion if isinstance(emotion, Mapping) else (part.partition("=")[0] for part in str(emotion).split(","))
    return {slug(str(part)) for part in parts} - {""}


def _condition(row: _Row, vocabulary: Vocabulary, rows: list[_Row]) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Intensities of a row and the notes about approximated names."""
    emotion = row.get("emotion")
    try:
        if emotion:
            condition: Condition = (
                condition_from_labels(emotion, vocabulary)
                if isinstance(emotion, Mapping)
                else parse_condition(str(emotion), vocabulary)
            )
            return condition.intensities, condition.notes
        columns = _intensity_columns(tuple(row.cells), vocabulary)
        missing = [emotion for emotion in vocabulary.emotions if emotion not in columns]
        if missing:
            raise VocalgenError(f"no emotion given, and no intensity column {EMOTION_PREFIX}{missing[0]}")
        return tuple(_intensity(row, columns[name], name, rows) for name in vocabulary.emotions), ()
    except VocalgenError as error:
        raise VocalgenError(f"{row.where}: {error}") from error


@cache
def _intensity_columns(columns: tuple[str, ...], vocabulary: Vocabulary) -> dict[str, str]:
    """The column of each emotion; `emotion:<Name>` goes before a plain name."""
    by_slug: dict[str, str] = {}
    for column in sorted(columns, key=lambda column: not column.startswith(EMOTION_PREFIX)):
        by_slug.setdefault(slug(column.removeprefix(EMOTION_PREFIX)), column)
    return {name: by_slug[slug(name)] for name in vocabulary.emotions if slug(name) in by_slug}


def _intensity(row: _Row, column: str, emotion: str, rows: list[_Row]) -> float:
    value = row.cells[column]
    if value is None or str(value).strip().lower() in ("", "nan"):
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError):
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
        id=row.text("id") or Path(file).with_suffix("").as_posix(),
        file=Path(os.path.normpath(root / file)),
        split=split,
        speaker=row.text("speaker"),
        seconds=math.nan,
        flags=(),
        intensities=intensities,
    )


def _splits(rows: list[_Row], split: str | None, seed: int) -> tuple[list[str], tuple[str, ...]]:
    """The split of every row, and a note if it was drawn."""
    if split is not None:
        return [split] * len(rows), ()
    given = [row.text("split") for row in rows]
    if all(given):
        return [_split_name(name, f"row {row.number}") for name, row in zip(given, rows, strict=True)], ()
    if any(given):
        row = rows[given.index("")]
        raise VocalgenError(f"row {row.number}, column split is blank; fill it in every row or leave the column out")
    speakers = [row.text("speaker") for row in rows]
    if not all(speakers):
        raise VocalgenError(
            "the clips have neither a split nor speakers to draw one from; add a column, or name one split"
        )
    drawn = draw_splits(speakers, seed)
    share = "/".join(f"{100 * part:.0f}" for part in SHARES)
    return [drawn[speaker] for speaker in speakers], (f"splits drawn by speaker {share} with seed {seed}",)


def draw_splits(speakers: Iterable[str], seed: int = 0) -> dict[str, str]:
    """Assign every distinct speaker to one split, in the shares `SHARES` and at least one speaker in each.

    The draw depends on the set of names and the seed only, not on their order.

    Raises:
        VocalgenError: fewer than three speakers.
    """
    names = sorted(set(speakers), key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    if len(names) < len(SPLITS):
        raise VocalgenError(
            f"{count(len(names), 'speaker')} cannot fill three splits; add a column split or give one for all"
        )
    validation, test = (max(1, round(share * len(names))) for share in SHARES[1:])
    counts = (len(names) - validation - test, validation, test)
    order = [split for split, count in zip(SPLITS, counts, strict=True) for _ in range(count)]
    return dict(zip(names, order, strict=True))


def _split_name(name: str, where: str) -> str:
    try:
        return _SPLIT_NAMES[name.strip().lower()]
    except KeyError:
        raise VocalgenError(f"{where}: unknown split {name!r}; use {', '.join(SPLITS)}") from None
