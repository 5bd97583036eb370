"""Human ratings of clips from CSV or NPZ files."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np
from numpy.typing import NDArray

from vocalgen.corpora.names import match_names
from vocalgen.corpora.table import Row, read_table
from vocalgen.emotions import VOCABULARIES, Vocabulary, slug
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

    A long table has the columns rater, clip, emotion, rating; a wide one rater, clip and one for each emotion. Blank
    cells are ratings that were not given. An NPZ holds `values` (R, N, E) and `raters`, `clips`, `emotions`. The scale
    is 0-1 where no rating is above 1, and 1-100 where none is below 1; short scales such as 1-5 are warned of.

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
        known = list(clips)
        same = match_names(rated, known)
        unknown = [clip for clip in rated if clip not in same]
        if unknown:
            raise VocalgenError(
                f"{path}: {len(unknown)} rated clips are not among the generated ones, first {unknown[0]!r}"
                f"{_nearest(unknown[0], sorted(known))}"
            )
        cells = {(rater, same[clip], emotion): value for (rater, clip, emotion), value in cells.items()}
        rated = tuple(sorted({clip for _, clip, _ in cells}))
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


_SHORT_SCALE = 10
"""Ratings that end here or lower are probably from a scale such as 1-5, 1-7 or 1-10."""

Key = tuple[str, str, str]
Cells = dict[Key, float]


def _cells(path: Path, emotions: Sequence[str]) -> Cells:
    return _npz(path) if path.suffix == ".npz" else _csv(path, emotions)


def _csv(path: Path, emotions: Sequence[str]) -> Cells:
    table = read_table(path, what="ratings")
    cells: Cells = {}
    called = {slug(name): name for name in emotions}
    if all(name in table for name in LONG):
        for row in table:
            emotion = row.text("emotion")
            _add(cells, row, called.get(slug(emotion), emotion), "rating")
        return cells
    others = [name for name in table.columns if name.lower() not in ("rater", "clip")]
    rated = {name: called[slug(name)] for name in others if slug(name) in called}
    unknown = [name for name in others if name not in rated]
    if "rater" not in table or "clip" not in table or not rated or unknown:
        hint = _known_elsewhere(others) or _nearest(unknown[0], emotions) if unknown else ""
        raise VocalgenError(
            f"{path}: columns {', '.join(table.columns) or '(none)'}; needed are {', '.join(LONG)}, or rater, clip and "
            f"one for each emotion{hint}"
        )
    if len(set(rated.values())) < len(rated):
        twice = [column for column, name in rated.items() if list(rated.values()).count(name) > 1]
        raise VocalgenError(f"{path}: columns {' and '.join(twice)} are one emotion; keep one")
    for row in table:
        for column, name in rated.items():
            _add(cells, row, name, column)
    return cells


def _add(cells: Cells, row: Row, emotion: str, column: str) -> None:
    key = row.text("rater"), row.text("clip"), emotion
    if not all(key):
        raise VocalgenError(f"{row.where}: incomplete; every row needs a rater, a clip and its ratings")
    value = row.number_of(column)
    if np.isnan(value):
        return
    if key in cells:
        raise VocalgenError(f"{row.where}: {key[0]} rated {key[1]} for {key[2]} twice; keep one")
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
        return True, _short_scale(low, high) if high <= _SHORT_SCALE else []
    raise VocalgenError(
        f"{path}: ratings from {low:g} ({', '.join(least)}) to {high:g} ({', '.join(most)}); they must be within 0-1, "
        f"or within 1-100"
    )


def _short_scale(low: float, high: float) -> list[str]:
    return [
        f"ratings go from {low:g} to {high:g} and are read as 1-100, where {high:g} is {(high - 1) / 99:.2f} of the "
        f"scale; if they are on another one, rescale them to 0-1 or 1-100 (HEEP does not depend on it)"
    ]


def _having(names: Iterable[str]) -> list[Vocabulary]:
    return [vocabulary for vocabulary in VOCABULARIES.values() if all(name in vocabulary.emotions for name in names)]


def _known_elsewhere(names: Iterable[str]) -> str:
    able = [vocabulary.name for vocabulary in _having(names)]
    return f"; all that are rated are of the vocabulary {' and of '.join(able)}: is that meant?" if able else ""


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=2)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
