"""HUME-PROSODY as the ComParE 2023 Emotion Share challenge ships it: `lab/{train,devel,test}.csv` and `wav/`.

Nine emotions with intensities 0 to 1; the test labels are masked. The tables give no speakers; the splits are the
official ones.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from vocalgen.corpora.manifest import Clip, Manifest
from vocalgen.corpora.table import Row, read_table
from vocalgen.emotions import PROSODY9
from vocalgen.errors import VocalgenError

EXPECTED = {"train": 30_133, "validation": 12_241}
"""Clips of the splits whose size is published (white paper, arXiv 2403.14048)."""

_TABLES = {"train.csv": "train", "devel.csv": "validation", "test.csv": "test", "test.unmasked.csv": "test"}


def scan(folder: str | os.PathLike[str]) -> Manifest:
    """List the corpus without opening a clip; durations stay NaN and flags empty (see `verify`).

    Args:
        folder: the one that holds `lab` and `wav`, or the challenge's folder with both in `data`.

    Returns:
        Clips in the order of train, devel and test, by file name; masked labels are unknown. Where the organisers'
        `test.unmasked.csv` lies beside it, it takes the place of `test.csv`.

    Raises:
        VocalgenError: no official table; a column that is missing; a value that cannot be; a clip in two tables.
    """
    root = Path(os.path.abspath(folder))
    root = root / "data" if (root / "data" / "lab").is_dir() else root
    tables = [root / "lab" / name for name in _TABLES if (root / "lab" / name).is_file()]
    if not tables:
        raise VocalgenError(f"{folder} has no lab/train.csv, devel.csv or test.csv; give the folder of lab and wav")
    if not (root / "wav").is_dir():
        raise VocalgenError(f"{root} has no audio; its clips belong into {root / 'wav'}")
    if root / "lab" / "test.unmasked.csv" in tables:
        tables = [table for table in tables if table.name != "test.csv"]
    clips: dict[str, Clip] = {}
    for table in tables:
        for row in sorted(read_table(table, ("filename", *PROSODY9.emotions)), key=lambda row: row.text("filename")):
            clip = _clip(row, root / "wav", _TABLES[table.name])
            if clip.id in clips:
                raise row.error("filename", f"{row.text('filename')} is in {clips[clip.id].split} already")
            clips[clip.id] = clip
    return Manifest(PROSODY9, tuple(clips.values()), _notes(list(clips.values())))


def _clip(row: Row, audio: Path, split: str) -> Clip:
    name = row.text("filename")
    if not name or name in (".", "..") or any(mark in name for mark in "/\\\0"):
        raise row.error("filename", f"{name!r} is not the name of a file in wav")
    return Clip(
        id=Path(name).stem,
        file=audio / name,
        split=split,
        speaker="",
        seconds=math.nan,
        flags=(),
        intensities=tuple(row.number_of(emotion, 0.0, 1.0) for emotion in PROSODY9.emotions),
    )


def _notes(clips: list[Clip]) -> tuple[str, ...]:
    found = {split: sum(clip.split == split for clip in clips) for split in EXPECTED}
    return tuple(
        f"{found[split]:,} of the {count:,} {split} clips of the full corpus are here"
        for split, count in EXPECTED.items()
        if found[split] != count
    )
