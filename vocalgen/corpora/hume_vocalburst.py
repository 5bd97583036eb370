"""HUME-VOCALBURST (arXiv 2205.01780, 2207.03572): the release of ExVo 2022 and that of A-VB 2022.

ExVo: `data_info.csv` (or the few-shot `data_info.fewshot.csv`) beside a folder `wav` of `00001.wav` or a folder `webm`.
A-VB: `labels/{high,two,culture,type}_info.csv`, or all in `labels/data_info.csv`, and `audio/wav`.

Both name a clip `[00001]`, and may lie in one folder: all tables found are joined on that name. All is read by column
name: published readers count columns, and miscount. The number of a clip follows country and split, so it is a name
here and nothing else.
"""

from __future__ import annotations

import importlib.util
import math
import operator
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from vocalgen.corpora.cells import Column
from vocalgen.corpora.manifest import Clip, Manifest
from vocalgen.corpora.table import Columns, Row, read_table
from vocalgen.corpora.words import count
from vocalgen.emotions import HUME10
from vocalgen.errors import VocalgenError

T = TypeVar("T")

COUNTRIES = ("China", "South Africa", "United States", "Venezuela")
"""In the order of their official numbers 0 to 3."""

TYPES = ("Gasp", "Laugh", "Cry", "Scream", "Grunt", "Groan", "Pant", "Other")
"""Kinds of vocal burst (A-VB Type)."""

_CULTURES = ("China", "United States", "South Africa", "Venezuela")
CULTURE = tuple(
    f"{country}_{emotion}"
    for emotions in (tuple(name for name in HUME10.emotions if name != "Surprise"), ("Surprise",))
    for country in _CULTURES
    for emotion in emotions
)
"""The forty columns of A-VB Culture in their official order: Surprise comes last, for all four countries."""

VALUES: Mapping[str, Column] = {
    "Country": Column(words=COUNTRIES),
    "Age": Column(0, 120),
    "Valence": Column(),
    "Arousal": Column(),
    "Voc_Type": Column(words=TYPES),
    **dict.fromkeys(CULTURE, Column()),
}
"""Further labels of the manifest, and what they may be."""

LABELS = tuple(VALUES)

ID_DIGITS = 5
"""Length of the clips' ids, which are numbers."""

EXPECTED = {"train": (19_990, 571), "validation": (19_396, 568), "test": (19_815, 563)}
"""Clips and speakers of each split (white paper, arXiv 2403.14048, table 2)."""

_SPLITS = {"train": "train", "val": "validation", "validation": "validation", "devel": "validation", "test": "test"}
_KEYS = ("File_ID", "Split")
_COUNTRY = ("Country_string", "Country")
_EXVO: Columns = (*_KEYS, "Subject_ID", _COUNTRY, "Age", *HUME10.emotions)
_AVB: Mapping[str, Columns] = {
    "labels/data_info.csv": (*_KEYS, _COUNTRY, "Valence", "Arousal", *HUME10.emotions, *CULTURE),
    "labels/high_info.csv": (*_KEYS, *HUME10.emotions),
    "labels/two_info.csv": (*_KEYS, "Valence", "Arousal"),
    "labels/culture_info.csv": (*_KEYS, *CULTURE),
    "labels/type_info.csv": (*_KEYS, "Voc_Type"),
}
"""Columns of each table; of the country one form is enough."""

_ROUNDING = 1e-3
"""By how much two tables may differ in a number."""

_AUDIO = (("wav", ".wav"), ("audio/wav", ".wav"), ("webm", ".webm"), ("audio/webm", ".webm"), ("audio", ".wav"))


def scan(folder: str | os.PathLike[str], fewshot: bool = False) -> Manifest:
    """List either release, or both joined, without opening a clip; durations stay NaN and flags empty (see `verify`).

    Args:
        folder: the one that holds `data_info.csv` or `labels`, or both.
        fewshot: in place of `data_info.csv` read `data_info.fewshot.csv`, in which test speakers have names and two
            labelled clips each.

    Returns:
        Clips sorted by id, with intensities and `LABELS`, unknown where the release does not tell.

    Raises:
        VocalgenError: no official table, or no folder of audio; a column that is missing; a value that cannot be;
            tables that disagree.
    """
    root = Path(os.path.abspath(folder))
    merged: dict[str, list[Row]] = {}
    notes = []
    tables = _tables(root, fewshot)
    for table, columns in tables.items():
        for row in read_table(table, columns):
            rows = merged.setdefault(_id(row), [])
            if rows and rows[-1].table == row.table:
                raise row.error("File_ID", f"{row.text('File_ID')} stands in row {rows[-1].number} too")
            rows.append(row)
    for table in tables:
        absent = sum(all(row.table != table for row in rows) for rows in merged.values())
        notes += [f"{count(absent, 'clip')} of other tables not in {table}"] if absent else []
    audio = _audio(root)
    clips = [_clip(name, merged[name], audio) for name in sorted(merged)]
    try:
        return Manifest(HUME10, tuple(clips), (*notes, *_notes(clips, audio[1])), LABELS)
    except VocalgenError as error:
        raise VocalgenError(f"{' or '.join(map(str, tables))}: {error}") from error


def _tables(root: Path, fewshot: bool) -> dict[Path, Columns]:
    """The tables that are there, with the columns they must have."""
    if not root.is_dir():
        raise VocalgenError(f"{root} is not a folder; give the one that holds data_info.csv or labels/")
    exvo = "data_info.fewshot.csv" if fewshot else "data_info.csv"
    found = {root / name: columns for name, columns in {exvo: _EXVO, **_AVB}.items() if (root / name).is_file()}
    if not found or (fewshot and root / exvo not in found):
        wanted = exvo if fewshot else "data_info.csv, labels/data_info.csv or labels/*_info.csv"
        raise VocalgenError(f"{root} has no {wanted}; give the folder of the ExVo or A-VB release")
    return found


def _audio(root: Path) -> tuple[Path, str]:
    for name, suffix in _AUDIO:
        if (root / name).is_dir():
            return root / name, suffix
    raise VocalgenError(f"{root} has no audio; its clips belong into {root / 'wav'} or {root / 'audio' / 'wav'}")


def _id(row: Row) -> str:
    text = row.text("File_ID")
    name = text.removeprefix("[").removesuffix("]")
    if not (name.isascii() and name.isdigit()):
        raise row.error("File_ID", f"{text!r} is not of the form [00001]")
    return name


def _clip(name: str, rows: Sequence[Row], audio: tuple[Path, str]) -> Clip:
    return Clip(
        id=name,
        file=audio[0] / f"{name}{audio[1]}",
        split=_agreed(rows, "Split", _split) or "",
        speaker=_agreed(rows, "Subject_ID", lambda row: row.text("Subject_ID") or None) or "",
        seconds=math.nan,
        flags=(),
        intensities=tuple(_number(rows, emotion, 1.0) for emotion in HUME10.emotions),
        labels=(
            _agreed(rows, "Country", _country) or "",
            *(_text(_number(rows, column, VALUES[column].high)) for column in ("Age", "Valence", "Arousal")),
            _agreed(rows, "Voc_Type", _type) or "",
            *(_text(_number(rows, column, 1.0)) for column in CULTURE),
        ),
    )


def _agreed(
    rows: Sequence[Row], column: str, read: Callable[[Row], T | None], same: Callable[[T, T], bool] = operator.eq
) -> T | None:
    """What the tables tell of a clip; None if none does."""
    first: tuple[Row, T] | None = None
    for row in rows:
        value = read(row)
        if first is None and value is not None:
            first = row, value
        elif first is not None and value is not None and not same(first[1], value):
            other = f"{first[0].table}, row {first[0].number}"
            problem = f"{row.text('File_ID')} has {value} here and {first[1]} in {other}; the tables disagree"
            raise row.error(column, problem)
    return first[1] if first is not None else None


def _number(rows: Sequence[Row], column: str, high: float) -> float:
    def read(row: Row) -> float | None:
        value = row.number_of(column, 0.0, high)
        return None if math.isnan(value) else value

    value = _agreed(rows, column, read, lambda one, other: abs(one - other) <= _ROUNDING)
    return math.nan if value is None else value


def _text(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def _split(row: Row) -> str:
    text = row.text("Split")
    if text.lower() not in _SPLITS:
        raise row.error("Split", f"{text!r} is none of Train, Val, Test")
    return _SPLITS[text.lower()]


def _country(row: Row) -> str | None:
    """The name, whether a column has names or official numbers."""
    found = []
    for column in _COUNTRY:
        text = row.text(column)
        place = text.removesuffix(".0")
        name = COUNTRIES[int(place)] if place in ("0", "1", "2", "3") else text
        if name and name not in COUNTRIES:
            raise row.error(column, f"{text!r} is none of {', '.join(COUNTRIES)}, nor 0 to 3")
        found += [name] if name else []
    if len(set(found)) > 1:
        raise row.error("Country", f"{row.text('File_ID')} has {found[1]} here and {found[0]} in {_COUNTRY[0]}")
    return found[0] if found else None


def _type(row: Row) -> str | None:
    name = row.text("Voc_Type")
    if name and name not in TYPES:
        raise row.error("Voc_Type", f"{name!r} is none of {', '.join(TYPES)}")
    return name or None


def _notes(clips: Sequence[Clip], suffix: str) -> tuple[str, ...]:
    notes = []
    total = sum(clips for clips, _ in EXPECTED.values())
    if len(clips) != total:
        notes.append(f"{len(clips):,} of the {total:,} clips of the full corpus are here")
    if suffix == ".webm" and importlib.util.find_spec("av") is None:
        notes.append("the audio is webm; to read it install PyAV: pip install 'vocalgen[webm]'")
    return tuple(notes)
