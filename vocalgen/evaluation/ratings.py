"""Human ratings of clips from CSV or NPZ files."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np
from numpy.typing import NDArray

from vocalgen.emotions import VOCABULARIES, Vocabulary
from vocalgen.errors import VocalgenError

LONG = ("rater", "clip", "emotion", "rating")
"""Columns of a long CSV; a wide one has rater, clip and a column an emotion."""


@dataclass(frozen=True)
class Ratings:
    """Ratings of R raters, N clips and E emotions.

    Args:
        raters, clips, emotions: their names.
        values: (R, N, E) in [0, 1], NaN for what was not rated.
        warnings: what is odd but usable.
    """

    raters: tuple[str, ...]
    clips: tuple[str, ...]
    emotions: tuple[str, ...]
    values: NDArray[np.float64]
    warnings: list[str] = field(default_factory=list)

    def mean(self) -> NDArray[np.float64]:
        """(N, E) mean over the raters of each clip; NaN where nobody rated."""
        given = np.isfinite(self.values)
        with np.errstate(invalid="ignore"):
            return np.nan_to_num(self.values).sum(axis=0) / given.sum(axis=0)


def read_ratings(path: str | Path, emotions: Sequence[str], clips: Iterable[str] | None = None) -> Ratings:
    """Read ratings from 0 to 1, or from 1 to 100 (which become (x - 1) / 99).

    A long CSV has the columns rater, clip, emotion, rating; a wide one rater, clip and one for each emotion; blank or
    NaN cells are ratings that were not given. Commas or semicolons part the columns. An NPZ holds `values` (R, N, E)
    and `raters`, `clips`, `emotions`. The scale is 0-1 where no rating is above 1, and 1-100 where none is below 1.

    Args:
        emotions: names that may be rated; the file may have some of them.
        clips: ids that may be rated; None accepts any.

    Raises:
        VocalgenError: a file that cannot be read; unknown clips, emotions or columns; a column or a cell that is given
            twice; a value that is no number or on neither scale.
    """
    path = Path(path)
    cells = _cells(path, emotions)
    if not cells:
        raise VocalgenError(f"{path} holds no ratings")
    raters = tuple(sorted({rater for rater, _, _ in cells}))
    rated = tuple(sorted({clip for _, clip, _ in cells}))
    found = {emotion for _, _, emotion in cells}
    for name in sorted(found - set(emotions)):
        raise VocalgenError(f"{path}: unknown emotion {name!r}{_known_elsewhere(found) or _nearest(name, emotions)}")
    if clips is not None:
        known = set(clips)
        unknown = [clip for clip in rated if clip not in known]
        if unknown:
            raise VocalgenError(
                f"{path}: {len(unknown)} rated clips are not among the generated ones, first {unknown[0]!r}"
                f"{_nearest(unknown[0], sorted(known))}"
            )
    names = tuple(name for name in emotions if name in found)
    place = [{name: i for i, name in enumerate(axis)} for axis in (raters, rated, names)]
    values = np.full((len(raters), len(rated), len(names)), np.nan)
    for key, value in cells.items():
        values[tuple(index[name] for index, name in zip(place, key, strict=True))] = value
    percent, warnings = _scale(cells, path)
    for e, name in enumerate(names):
        given = values[..., e][np.isfinite(values[..., e])]
        if np.ptp(given) == 0:
            warnings.append(f"all ratings of {name} are {given[0]:g}: its HEEP is not defined")
    return Ratings(raters, rated, names, (values - 1) / 99 if percent else values, warnings)


def spoken(path: str | Path) -> list[Vocabulary]:
    """Vocabularies that have all emotions of a file of ratings; none if it cannot be read."""
    every = {name for vocabulary in VOCABULARIES.values() for name in vocabulary.emotions}
    try:
        found = {emotion for _, _, emotion in _cells(Path(path), sorted(every))}
    except VocalgenError:
        return []
    return _having(found)


def delimiter(file: TextIO) -> str:
    """What parts the columns of an open CSV file: a comma, or the semicolon of spreadsheets in much of Europe."""
    head = file.readline()
    file.seek(0)
    return ";" if ";" in head and "," not in head else ","


def require_different(columns: Sequence[str], path: Path) -> None:
    """Refuse a table in which one column would silently hide another.

    Raises:
        VocalgenError: a column is there twice.
    """
    for place, name in enumerate(columns):
        if name in columns[:place]:
            raise VocalgenError(f"{path}: column {name!r} is there twice; keep one")


Key = tuple[str, str, str]
Cells = dict[Key, float]


def _cells(path: Path, emotions: Sequence[str]) -> Cells:
    return _npz(path) if path.suffix == ".npz" else _csv(path, emotions)


def _csv(path: Path, emotions: Sequence[str]) -> Cells:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file, delimiter=delimiter(file))
            columns = table.fieldnames or []
            rows = list(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise VocalgenError(f"cannot read the ratings {path}: {error}") from error
    require_different(columns, path)
    for line, row in enumerate(rows, 2):
        if None in row:
            raise VocalgenError(
                f"{path}, row {line}: more values than the {len(columns)} columns; write decimals with a point"
            )
    cells: Cells = {}
    if set(LONG) <= set(columns):
        for line, row in enumerate(rows, 2):
            _add(cells, (row["rater"], row["clip"], row["emotion"]), row["rating"], f"{path}, row {line}")
        return cells
    rated = [name for name in columns if name in emotions]
    unknown = [name for name in columns if name not in (*emotions, "rater", "clip")]
    if not {"rater", "clip"} <= set(columns) or not rated or unknown:
        hint = _known_elsewhere({*rated, *unknown}) or _nearest(unknown[0], emotions) if unknown else ""
        raise VocalgenError(
            f"{path}: columns {', '.join(columns) or '(none)'}; needed are {', '.join(LONG)}, or rater, clip and one "
            f"for each emotion{hint}"
        )
    for line, row in enumerate(rows, 2):
        for name in rated:
            _add(cells, (row["rater"], row["clip"], name), row[name], f"{path}, row {line}")
    return cells


def _add(cells: Cells, key: Key, text: str | None, where: str) -> None:
    if text is None or not all(key):
        raise VocalgenError(f"{where}: incomplete; every row needs a rater, a clip and its ratings")
    if not text.strip():
        return
    if key in cells:
        raise VocalgenError(f"{where}: {key[0]} rated {key[1]} for {key[2]} twice; keep one")
    try:
        value = float(text)
    except ValueError as error:
        raise VocalgenError(f"{where}: {text!r} is no number") from error
    if not np.isnan(value):
        cells[key] = value


def _npz(path: Path) -> Cells:
    try:
        with np.load(path, allow_pickle=False) as stored:
            values = np.asarray(stored["values"], dtype=np.float64)
            axes = [[str(name) for name in stored[key]] for key in ("raters", "clips", "emotions")]
    except (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, BadZipFile, ZlibError) as error:
        raise VocalgenError(
            f"cannot read the ratings {path} ({error}); needed are values (R, N, E), raters, clips and emotions"
        ) from error
    if values.shape != tuple(map(len, axes)) or any(len(set(axis)) < len(axis) for axis in axes):
        raise VocalgenError(
            f"{path}: values {values.shape} for {', '.join(str(len(axis)) for axis in axes)} raters, clips and "
            f"emotions, whose names must differ"
        )
    return {(axes[0][r], axes[1][n], axes[2][e]): float(values[r, n, e]) for r, n, e in np.argwhere(~np.isnan(values))}


def _scale(cells: Cells, path: Path) -> tuple[bool, list[str]]:
    """Whether ratings are from 1 to 100, and warnings."""
    least, most = min(cells, key=cells.__getitem__), max(cells, key=cells.__getitem__)
    low, high = cells[least], cells[most]
    if low >= 0 and high <= 1:
        return False, ["all ratings are 1: read as the top of the scale 0-1"] if low == 1 else []
    if low >= 1 and high <= 100:
        return True, []
    raise VocalgenError(
        f"{path}: ratings from {low:g} ({', '.join(least)}) to {high:g} ({', '.join(most)}); they must be within 0-1, "
        f"or within 1-100"
    )


def _having(names: Iterable[str]) -> list[Vocabulary]:
    return [vocabulary for vocabulary in VOCABULARIES.values() if all(name in vocabulary.emotions for name in names)]


def _known_elsewhere(names: Iterable[str]) -> str:
    able = [vocabulary.name for vocabulary in _having(names)]
    return f"; all that are rated are of the vocabulary {' and of '.join(able)}: is that meant?" if able else ""


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=2)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
