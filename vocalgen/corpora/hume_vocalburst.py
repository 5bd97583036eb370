"""HUME-VOCALBURST (arXiv 2205.01780, 2207.03572): the release of ExVo 2022 and that of A-VB 2022.

ExVo: `data_info.csv` (or the few-shot `data_info.fewshot.csv`) beside a folder `wav` of `00001.wav` or a folder `webm`.
A-VB: `labels/{high,two,culture,type}_info.csv`, or all in `labels/data_info.csv`, and `audio/wav`.

Both name a clip `[00001]`. All is read by column name: published readers count columns, and miscount. The number of
a clip follows country and split, so it is a name here and nothing else.
"""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from vocalgen.corpora.manifest import Clip, Manifest
from vocalgen.corpora.table import Row, read_table
from vocalgen.emotions import HUME10
from vocalgen.errors import VocalgenError

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

LABELS = ("Country", "Age", "Valence", "Arousal", "Voc_Type", *CULTURE)
"""Further labels of the manifest."""

EXPECTED = {"train": (19_990, 571), "validation": (19_396, 568), "test": (19_815, 563)}
"""Clips and speakers of each split (white paper, arXiv 2403.14048, table 2)."""

_SPLITS = {"train": "train", "val": "validation", "validation": "validation", "devel": "validation", "test": "test"}
_AVB = ("high_info.csv", "two_info.csv", "culture_info.csv", "type_info.csv")
_AUDIO = (("wav", ".wav"), ("audio/wav", ".wav"), ("webm", ".webm"), ("audio/webm", ".webm"), ("audio", ".wav"))


def scan(folder: str | os.PathLike[str], fewshot: bool = False) -> Manifest:
    """List either release without opening a clip; durations stay NaN and flags empty (see `verify`).

    Args:
        folder: the one that holds `data_info.csv` or `labels`.
        fewshot: read `data_info.fewshot.csv`, in which test speakers have names and two labelled clips each.

    Returns:
        Clips sorted by id, with intensities and `LABELS`, unknown where the release does not tell.

    Raises:
        VocalgenError: no official table, or no folder of audio; a column that is missing; a value that cannot be;
            tables that disagree.
    """
    root = Path(os.path.abspath(folder))
    tables = _tables(root, fewshot)
    merged: dict[str, list[Row]] = {}
    for table in tables:
        for row in read_table(table, ("File_ID", "Split")):
            rows = merged.setdefault(_id(row), [])
            if rows and rows[-1].table == row.table:
                raise row.error("File_ID", f"{row.text('File_ID')} stands in row {rows[-1].number} too")
            rows.append(row)
    audio = _audio(root)
    clips = [_clip(name, merged[name], audio) for name in sorted(merged)]
    return Manifest(HUME10, tuple(clips), _notes(clips, audio[1]), LABELS)


def _tables(root: Path, fewshot: bool) -> list[Path]:
    if not root.is_dir():
        raise VocalgenError(f"{root} is not a folder; give the one that holds data_info.csv or labels/")
    if fewshot:
        chosen = [root / "data_info.fewshot.csv"]
    else:
        whole = [root / "data_info.csv", root / "labels" / "data_info.csv"]
        chosen = [table for table in whole if table.is_file()][:1]
        chosen = chosen or [root / "labels" / name for name in _AVB if (root / "labels" / name).is_file()]
    if not chosen or not chosen[0].is_file():
        wanted = "data_info.fewshot.csv" if fewshot else "data_info.csv, labels/data_info.csv or labels/*_info.csv"
        raise VocalgenError(f"{root} has no {wanted}; give the folder of the ExVo or A-VB release")
    return chosen


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
    split = _only(rows, "Split", (row.text("Split") for row in rows)).lower()
    if split not in _SPLITS:
        raise rows[0].error("Split", f"{split!r} is none of Train, Val, Test")
    return Clip(
        id=name,
        file=audio[0] / f"{name}{audio[1]}",
        split=_SPLITS[split],
        speaker=_only(rows, "Subject_ID", (row.text("Subject_ID") for row in rows)),
        seconds=math.nan,
        flags=(),
        intensities=tuple(_number(rows, emotion, 1.0) for emotion in HUME10.emotions),
        labels=(
            _country(rows),
            _text(_number(rows, "Age", 120.0)),
            *(_text(_number(rows, column, 1.0)) for column in ("Valence", "Arousal")),
            _type(rows),
            *(_text(_number(rows, column, 1.0)) for column in CULTURE),
        ),
    )


def _number(rows: Sequence[Row], column: str, high: float) -> float:
    text = _only(rows, column, (_text(row.number_of(column, 0.0, high)) for row in rows))
    return float(text) if text else math.nan


def _text(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def _country(rows: Sequence[Row]) -> str:
    """The name, whether a column has names or official numbers."""
    found = []
    for row in rows:
        for column in ("Country_string", "Country"):
            text = row.text(column)
            place = text.removesuffix(".0")
            name = COUNTRIES[int(place)] if place in ("0", "1", "2", "3") else text
            if name and name not in COUNTRIES:
                raise row.error(column, f"{text!r} is none of {', '.join(COUNTRIES)}, nor 0 to 3")
            found.append(name)
    return _only(rows, "Country", found)


def _type(rows: Sequence[Row]) -> str:
    name = _only(rows, "Voc_Type", (row.text("Voc_Type") for row in rows))
    if name and name not in TYPES:
        raise rows[0].error("Voc_Type", f"{name!r} is none of {', '.join(TYPES)}")
    return name


def _only(rows: Sequence[Row], column: str, values: Iterable[str]) -> str:
    """The one value that several tables give, "" if none does."""
    known = sorted({value for value in values if value})
    if len(known) > 1:
        raise rows[-1].error(column, f"the tables disagree: {' and '.join(known)}")
    return known[0] if known else ""


def _notes(clips: Sequence[Clip], suffix: str) -> tuple[str, ...]:
    notes = []
    total = sum(clips for clips, _ in EXPECTED.values())
    if len(clips) != total:
        notes.append(f"{len(clips):,} of the {total:,} clips of the full corpus are here")
    if suffix == ".webm" and importlib.util.find_spec("av") is None:
        notes.append("the audio is webm; to read it install PyAV: pip install 'vocalgen[webm]'")
    return tuple(notes)
