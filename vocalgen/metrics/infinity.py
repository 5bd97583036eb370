"""Fréchet distance without the bias of the sample size: FD-infinity."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from vocalgen.metrics.frechet import Shrinkage, Statistics, frechet_distance


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
    reference: Statistics,
    shrinkage: Shrinkage = None,
    points: int = 6,
    draws: int = 4,
    smallest: float = 0.4,
    seed: int = 0,
) -> Extrapolation:
    """Fréchet distance of (n, d) embeddings from a reference, extrapolated to infinite n (arXiv 1911.07023).

    The bias of the distance falls with 1 / n, so distances of subsets are fitted by a line over 1 / n. Subsets are
    drawn without replacement: drawn with it, as the toolkits do, each has about the covariance of the whole set, and
    hardly any bias is removed. The reference's own bias stays.

    Args:
        embeddings: (n, d) of the generated clips, in any order.
        reference: statistics of the real clips.
        shrinkage: of both covariances; it changes the bias, so the line fits less well.
        points: sizes of subsets, evenly spaced in 1 / n, the largest being all n clips.
        draws: subsets of each smaller size.
        smallest: size of the smallest subset as a share of n.

    Raises:
        ValueError: fewer than eight embeddings, too few for a covariance of the smallest subset, NaN, or a share
            outside (0, 1).

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> real = Statistics.of(rng.normal(size=(100_000, 8)))
        >>> few = rng.normal(size=(200, 8))
        >>> plain, extrapolated = frechet_distance(Statistics.of(few), real), fd_infinity(few, real).value
        >>> round(plain, 2), abs(extrapolated) < plain / 3
        (0.12, True)
    """
    x = np.asarray(embeddings, dtype=np.float64)
    Statistics.of(x)  # a matrix without NaN
    n = len(x)
    if not 0 < smallest < 1 or points < 2 or draws < 1:
        raise ValueError(f"smallest {smallest} must lie in (0, 1), points {points} be two, draws {draws} one at least")
    if n < 8:
        raise ValueError(f"{n} embeddings are too few for subsets of several sizes")
    sizes = np.unique(np.round(1 / np.linspace(1 / n, 1 / (smallest * n), points)).astype(int))
    rng = np.random.default_rng(seed)
    distances = []
    for size in sizes:
        chosen = [rng.permutation(n)[:size] for _ in range(1 if size == n else draws)]
        parts = [frechet_distance(Statistics.of(x[rows]), reference, shrinkage) for rows in chosen]
        distances.append(float(np.mean(parts)))
    slope, value = np.polyfit(1 / sizes, distances, 1)
    heights = np.array(distances)
    residual, total = np.square(heights - value - slope / sizes).sum(), np.square(heights - heights.mean()).sum()
    r2 = float(1 - residual / total) if total > 0 else float("nan")
    return Extrapolation(float(value), float(slope), r2, tuple(map(int, sizes)), tuple(distances))
