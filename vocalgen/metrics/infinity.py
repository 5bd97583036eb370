"""Fréchet distance without the bias of the sample size: FD-infinity."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vocalgen.metrics.frechet import Shrinkage, Statistics, frechet_distance
from vocalgen.metrics.kernel import in_fixed_order

Array = NDArray[np.float64]


class Extrapolation(NamedTuple):
    """A line through distances of subsets over 1 / n.

    Args:
        value: its height at 1 / n = 0, the distance of endlessly many clips; noise may take it below zero.
        slope: of the line.
        r2: share of the variance of the points that the line explains; NaN where all are equal.
        sizes: clips of the subsets.
        distances: mean distance of the subsets of each size.
    """

    value: float
    slope: float
    r2: float
    sizes: tuple[int, ...]
    distances: tuple[float, ...]


def fd_infinity(
    embeddings: ArrayLike,
    reference: Statistics | ArrayLike,
    shrinkage: Shrinkage = None,
    points: int = 6,
    draws: int = 16,
    smallest: float = 0.7,
    seed: int = 0,
) -> Extrapolation:
    """Fréchet distance of (n, d) embeddings from a reference, extrapolated to infinite n (arXiv 1911.07023).

    The bias of the distance falls with 1 / n, so distances of subsets are fitted by a line over 1 / n. Subsets are
    drawn without replacement: drawn with it, as the toolkits do, each has about the covariance of the whole set, and
    hardly any bias is removed. Terms in 1 / n^2 remain, the more the closer the sizes come to the dimension.

    Args:
        embeddings: (n, d) of the generated clips. Their order does not matter.
        reference: statistics of the real clips, whose own bias, of about the same size at the same n, stays; or their
            embeddings (m, d), of which the same shares are then drawn, so that this bias is extrapolated away too.
        shrinkage: of both covariances; it changes the bias, so the line fits less well.
        points: sizes of subsets, evenly spaced in 1 / n, the largest being all n clips.
        draws: subsets of each smaller size; together they hold each clip about equally often.
        smallest: size of the smallest subset as a share of n; a smaller one lets larger 1 / n^2 terms in.
        seed: of the draws.

    Raises:
        ValueError: fewer than eight embeddings, too few for a covariance of the smallest subset, NaN, other
            dimensions, or a share outside (0, 1).

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> real = Statistics.of(rng.normal(size=(100_000, 8)))
        >>> few = rng.normal(size=(200, 8))
        >>> plain, extrapolated = frechet_distance(Statistics.of(few), real), fd_infinity(few, real).value
        >>> round(plain, 2), abs(extrapolated) < plain / 3
        (0.12, True)
    """
    if not 0 < smallest < 1 or points < 2 or draws < 1:
        raise ValueError(f"smallest {smallest} must lie in (0, 1), points {points} be two, draws {draws} one at least")
    rng = np.random.default_rng(seed)
    x = _checked(embeddings, "generated", smallest, shrinkage)
    if not isinstance(reference, Statistics):
        reference = _checked(reference, "real", smallest, shrinkage)
    sizes = _sizes(len(x), smallest, points)
    if len(sizes) < 2:
        raise ValueError(f"a share of {smallest} of {len(x)} embeddings leaves one size only; take a smaller share")
    distances = []
    for size in sizes:
        turns = 1 if size == len(x) else draws
        own = _subsets(x, size, turns, rng)
        if isinstance(reference, Statistics):
            others: Iterator[Statistics] = repeat(reference, turns)
        else:
            others = _subsets(reference, round(size / len(x) * len(reference)), turns, rng)
        distances.append(float(np.mean([frechet_distance(a, b, shrinkage) for a, b in zip(own, others)])))
    return _line(sizes, distances)


def _sizes(n: int, smallest: float, points: int) -> list[int]:
    """Sizes from n down to its share `smallest`, evenly spaced in 1 / size; equal ones, where n is small, are one."""
    inverses = np.linspace(1 / n, 1 / (smallest * n), points)
    return sorted({int(size) for size in np.round(1 / inverses)}, reverse=True)


def _checked(embeddings: ArrayLike, kind: str, smallest: float, shrinkage: Shrinkage) -> Array:
    """The rows, sorted, so that their order does not matter, if there are enough of them."""
    x = np.asarray(embeddings, dtype=np.float64)
    Statistics.of(x)  # a matrix without NaN
    n, d = x.shape
    if n < 8:
        raise ValueError(f"{n} {kind} embeddings are too few for subsets of several sizes")
    least = round(smallest * n)
    if shrinkage is None and least <= d:
        raise ValueError(
            f"the smallest subset has {least} of {n} {kind} embeddings of dimension {d}: a singular covariance; "
            f"take more clips, a larger share than {smallest}, a smaller embedding, or shrinkage"
        )
    return in_fixed_order(x)


def _subsets(x: Array, size: int, draws: int, rng: np.random.Generator) -> Iterator[Statistics]:
    """Statistics of `draws` subsets without repetition."""
    # Subsets that leave out disjoint pieces of one shuffle hold each clip about equally often, which about halves
    # the noise of independent ones. Another shuffle follows when the pieces are used up.
    n, left = len(x), len(x) - size
    pieces = n // left if left else draws
    for turn in range(draws):
        place = turn % pieces
        if place == 0:
            order = rng.permutation(n)
        yield Statistics.of(x[np.delete(order, slice(place * left, (place + 1) * left))])


def _line(sizes: list[int], distances: list[float]) -> Extrapolation:
    """Least squares over 1 / size."""
    inverses, heights = 1 / np.array(sizes), np.array(distances)
    slope, value = np.polyfit(inverses, heights, 1)
    residual = np.square(heights - value - slope * inverses).sum()
    total = np.square(heights - heights.mean()).sum()
    r2 = float(1 - residual / total) if total > 0 else float("nan")
    return Extrapolation(float(value), float(slope), r2, tuple(sizes), tuple(distances))
