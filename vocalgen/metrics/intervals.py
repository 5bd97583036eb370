"""Confidence intervals of shares and means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri


class Interval(NamedTuple):
    """An estimate with its confidence limits."""

    value: float
    low: float
    high: float


def wilson(successes: float, trials: int, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a share (Wilson 1927), for independent trials.

    Raises:
        ValueError: no trials, or more successes than trials.

    Examples:
        >>> [round(x, 3) for x in wilson(5, 10)]
        [0.5, 0.237, 0.763]
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials have no share")
    z = float(ndtri(0.5 + confidence / 2))
    share = successes / trials
    scale = 1 + z**2 / trials
    centre = (share + z**2 / (2 * trials)) / scale
    half = z / scale * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return Interval(share, max(float(centre - half), 0.0), min(float(centre + half), 1.0))


def clustered_mean(
    values: ArrayLike, clusters: Sequence[object], draws: int = 2000, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Mean of (n,) values with a percentile interval from a bootstrap over whole clusters, such as speakers.

    Raises:
        ValueError: no values, NaN, or another number of clusters than values.

    Examples:
        >>> clustered_mean([1.0, 1.0, 0.0, 0.0], ["ann", "ann", "bob", "bob"])
        Interval(value=0.5, low=0.0, high=1.0)
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not len(x) or len(x) != len(clusters) or not np.isfinite(x).all():
        raise ValueError(f"finite values (n,) and as many clusters are needed, got {x.shape} and {len(clusters)}")
    _, group = np.unique([str(cluster) for cluster in clusters], return_inverse=True)
    sums, sizes = np.bincount(group, x), np.bincount(group)
    chosen = np.random.default_rng(seed).integers(0, len(sums), (draws, len(sums)))
    means = sums[chosen].sum(axis=1) / sizes[chosen].sum(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(x.mean()), float(low), float(high))


def jackknife(value: float, left_out: ArrayLike, confidence: float = 0.95) -> Interval:
    """Interval of a statistic from its values with one of g blocks left out each (Quenouille, Tukey).

    Unlike a bootstrap it repeats no sample, so it suits statistics that are biased by repetition, such as
    Fréchet distances.

    Raises:
        ValueError: fewer than two blocks, or NaN.

    Examples:
        >>> x = np.array([1.0, 2.0, 3.0, 6.0])
        >>> low_to_high = jackknife(x.mean(), [np.delete(x, i).mean() for i in range(4)])
        >>> [round(limit, 2) for limit in low_to_high]  # the mean and 1.96 standard errors
        [3.0, 0.88, 5.12]
    """
    x = np.asarray(left_out, dtype=np.float64)
    if x.ndim != 1 or len(x) < 2 or not np.isfinite(x).all():
        raise ValueError(f"finite values of two blocks at least are needed, got {x}")
    error = np.sqrt((len(x) - 1) / len(x) * np.square(x - x.mean()).sum())
    half = float(ndtri(0.5 + confidence / 2) * error)
    return Interval(float(value), float(value) - half, float(value) + half)
