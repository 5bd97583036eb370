"""Emotions that rated clips were made for, from a table or from the folders in the clips' names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from vocalgen.corpora.names import match_names
from vocalgen.corpora.table import numbers, read_table
from vocalgen.emotions import Vocabulary
from vocalgen.errors import VocalgenError
from vocalgen.evaluation.ratings import Ratings


def complete(ratings: Ratings) -> Ratings:
    """The ratings of those clips that somebody rated for every emotion of the file, with a warning about others.

    Raises:
        VocalgenError: there is no such clip.
    """
    whole: NDArray[np.bool_] = np.all(np.isfinite(ratings.values).any(axis=0), axis=1)
    if whole.all():
        return ratings
    if not whole.any():
        raise VocalgenError("no clip was rated for every emotion of the file")
    note = f"{int((~whole).sum())} clips were not rated for every emotion and are left out"
    clips = tuple(clip for clip, kept in zip(ratings.clips, whole, strict=True) if kept)
    return replace(ratings, clips=clips, values=ratings.values[:, whole], warnings=[*ratings.warnings, note])


def targets(ratings: Ratings, emotions: Vocabulary, path: str | Path | None = None) -> NDArray[np.float64]:
    """What each rated clip was made for, (N, E) in the order of the ratings' clips and emotions.

    Args:
        emotions: names that targets may have, in any spelling the vocabulary knows.
        path: a CSV with the columns clip and emotion, or clip and an intensity from 0 to 1 for emotions; None reads the
            emotion from the clip's folder, `awe/003.wav`.

    Raises:
        VocalgenError: a clip without target, an unknown emotion, an intensity outside [0, 1], a malformed table.
    """
    if path is None:
        return _one_hot([_folder(clip) for clip in ratings.clips], ratings, emotions)
    table = read_table(path, ["clip"])
    rows = table.by("clip")
    same = {clip: name for name, clip in match_names(rows, ratings.clips).items()}
    lacking = [clip for clip in ratings.clips if clip not in same]
    if lacking:
        raise VocalgenError(f"{path} lacks {len(lacking)} rated clips, the first is {lacking[0]}")
    rated = [rows[same[clip]] for clip in ratings.clips]
    if "emotion" in table:
        blank = next((row for row in rated if not row.text("emotion")), None)
        if blank is not None:
            raise blank.error("emotion", "is blank; say what the clip was made for")
        return _one_hot([row.text("emotion") for row in rated], ratings, emotions)
    columns = [name for name in table.columns if name.lower() != "clip"]
    places = {emotions.index(name): name for name in columns}
    if len(places) < len(columns):
        twice = next(name for name in columns if places[emotions.index(name)] != name)
        raise VocalgenError(f"{table.path}: {twice!r} and {places[emotions.index(twice)]!r} are one emotion; keep one")
    if not places:
        raise VocalgenError(f"{path}: a column emotion is needed, or a column for each emotion")
    found = np.zeros((len(ratings.clips), len(ratings.emotions)))
    for column, name in enumerate(ratings.emotions):
        given = places.get(emotions.index(name))
        if given is not None:
            found[:, column] = numbers(rated, given)
    if not ((found >= 0) & (found <= 1)).all():
        raise VocalgenError(f"{path}: every intensity must be a number from 0 to 1")
    return found


def _one_hot(names: Sequence[str], ratings: Ratings, emotions: Vocabulary) -> NDArray[np.float64]:
    meant = [emotions.index(name) for name in names]
    return np.equal.outer(meant, [emotions.index(name) for name in ratings.emotions]).astype(np.float64)


def _folder(clip: str) -> str:
    name = PurePosixPath(clip.replace("\\", "/")).parent.name
    if not name:
        raise VocalgenError(
            f"clip {clip!r} has no emotion folder in its name; say what clips were made for (--targets)"
        )
    return name
