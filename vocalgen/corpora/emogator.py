"""EmoGator (Buhl 2023, arXiv 2301.00508, Apache-2.0): 357 contributors x 30 categories x 3 takes.

Files: `NNNNNN-EE-I.mp3`: contributor 000001-000357, category 01-30 in the order of `EMOGATOR30`, take 1-3.
The label is the category a contributor was asked to express; nobody rated the clips.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

from vocalgen.corpora.manifest import Clip, Manifest
from vocalgen.corpora.words import count
from vocalgen.emotions import EMOGATOR30, one_hot
from vocalgen.errors import VocalgenError

CLIPS = 32_130
CONTRIBUTORS = 357
LAST_TRAIN, LAST_VALIDATION = 284, 319
"""The split is by contributor: 1-284 train, 285-319 validation, 320-357 test."""

EXPECTED = {"train": (25_560, 284), "validation": (3_150, 35), "test": (3_420, 38)}
"""Clips and contributors of each split."""

_NAME = re.compile(r"(\d{6})-(\d{2})-(\d)\.(mp3|wav|flac|ogg|opus)")
_SUBFOLDERS = ("", "data/mp3", "mp3", "data")
_ONE_HOT = [one_hot(name, EMOGATOR30) for name in EMOGATOR30.emotions]


def split_of(contributor: int) -> str:
    """The split a contributor (1-357) belongs to."""
    if contributor <= LAST_TRAIN:
        return "train"
    return "validation" if contributor <= LAST_VALIDATION else "test"


def scan(folder: str | os.PathLike[str]) -> Manifest:
    """List the corpus without opening a clip; durations stay NaN and flags empty (see `verify`).

    Args:
        folder: the folder of clips, or the repository that holds it as `data/mp3`.

    Returns:
        Clips sorted by name; `notes` tells of files with other names and of clips the full corpus has
        besides.

    Raises:
        VocalgenError: not a folder, or no clip in it has an EmoGator name.
    """
    root = Path(os.path.abspath(folder))
    if not root.is_dir():
        raise VocalgenError(f"{folder} is not a folder; give the one that holds EmoGator's mp3 files")
    for subfolder in _SUBFOLDERS:
        names = _list(root / subfolder)
        clips = [clip for name in names if (clip := _clip(root / subfolder, name))]
        if clips:
            known = {clip.file.name for clip in clips}
            return Manifest(EMOGATOR30, tuple(clips), _notes(clips, [name for name in names if name not in known]))
    raise VocalgenError(
        f"{folder} holds no EmoGator clips (named like 000001-01-1.mp3); give the folder of the mp3 files"
    )


def _list(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_file() and not entry.name.startswith("."))


def _clip(folder: Path, name: str) -> Clip | None:
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    contributor, category, take = (int(match[k]) for k in (1, 2, 3))
    if not (1 <= contributor <= CONTRIBUTORS and 1 <= category <= len(EMOGATOR30) and 1 <= take <= 3):
        return None
    return Clip(
        id=name.rpartition(".")[0],
        file=folder / name,
        split=split_of(contributor),
        speaker=match[1],
        seconds=math.nan,
        flags=(),
        intensities=_ONE_HOT[category - 1],
    )


def _notes(clips: list[Clip], others: list[str]) -> tuple[str, ...]:
    notes = []
    if others:
        notes.append(f"{count(len(others), 'file')} left out, not named as EmoGator's: {', '.join(others)}")
    if len(clips) < CLIPS:
        notes.append(f"{len(clips):,} of the {CLIPS:,} clips of the full corpus are here")
    return tuple(notes)
