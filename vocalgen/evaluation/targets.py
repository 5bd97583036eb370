"""What rated clips were made for, and tables of truth and prediction: CSV files that are joined on clip ids."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from vocalgen.emotions import Vocabulary
from vocalgen.errors import VocalgenError
from vocalgen.evaluation.ratings import Ratings, delimiter, require_different


@dataclass(frozen=True)
class Table:
    """A CSV file with one row an id.

    Args:
        path: for messages.
        columns: names.
        rows: by id, each a mapping from column to text.
    """

    path: Path
    columns: tuple[str, ...]
    rows: dict[str, dict[str, str]]

    def require(self, *names: str) -> None:
        """Refuse a table without these columns.

        Raises:
            VocalgenError: it lacks one.
        """
        for name in names:
            if name not in self.columns:
                raise VocalgenError(f"{self.path} has no column {name!r}; it has {', '.join(self.columns) or 'none'}")


def read_table(path: str | Path, key: str) -> Table:
    """Read a CSV file whose column `key` tells its rows apart.

    Raises:
        VocalgenError: it cannot be read, has no such column or one twice, no rows, an incomplete row, or an id twice.
    """
    path = Path(path)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, delimiter=delimiter(file))
            table = Table(path, tuple(reader.fieldnames or ()), {})
            require_different(table.columns, path)
            table.require(key)
            for line, row in enumerate(reader, 2):
                if None in row or None in row.values() or not row[key]:
                    raise VocalgenError(f"{path}, row {line}: {len(table.columns)} values and a {key} are needed")
                if row[key] in table.rows:
                    raise VocalgenError(f"{path}, row {line}: {key} {row[key]} is there twice; keep one")
                table.rows[row[key]] = row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise VocalgenError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if not table.rows:
        raise VocalgenError(f"{path} has no rows")
    return table


def joined(truth: Table, prediction: Table, column: str) -> tuple[list[str], list[str], list[str]]:
    """Ids in the order of the truth, and the column's true and predicted texts; order in the files does not matter.

    Raises:
        VocalgenError: a table lacks the column, or the ids differ.
    """
    truth.require(column)
    prediction.require(column)
    for table, other in ((truth, prediction), (prediction, truth)):
        lacking = [key for key in other.rows if key not in table.rows]
        if lacking:
            raise VocalgenError(f"{table.path} lacks {len(lacking)} ids of {other.path}, the first is {lacking[0]}")
    ids = list(truth.rows)
    return ids, [truth.rows[key][column] for key in ids], [prediction.rows[key][column] for key in ids]


def numbers(texts: Sequence[str], where: str) -> NDArray[np.float64]:
    """Texts as numbers; blank ones are NaN.

    Raises:
        VocalgenError: one is no number.
    """
    values = np.full(len(texts), np.nan)
    for place, text in enumerate(texts):
        try:
            values[place] = float(text) if text.strip() else np.nan
        except ValueError as error:
            raise VocalgenError(f"{where}: {text!r} is no number") from error
    return values


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
    table = read_table(path, "clip")
    lacking = [clip for clip in ratings.clips if clip not in table.rows]
    if lacking:
        raise VocalgenError(f"{path} lacks {len(lacking)} rated clips, the first is {lacking[0]}")
    if "emotion" in table.columns:
        return _one_hot([table.rows[clip]["emotion"] for clip in ratings.clips], ratings, emotions)
    columns = [name for name in table.columns if name != "clip"]
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
            found[:, column] = numbers([table.rows[clip][given] for clip in ratings.clips], f"{path}, {given}")
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
