"""How far raters agree: Krippendorff's alpha and intraclass correlations."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def krippendorff_alpha(ratings: ArrayLike) -> float:
    """Krippendorff's alpha for interval data (Krippendorff 2011, "Computing Krippendorff's alpha-reliability").

    Args:
        ratings: (raters, items), NaN for what was not rated; items rated once tell nothing and are left out.

    Returns:
        1 for perfect agreement, about 0 for chance, below 0 for systematic disagreement; NaN where all ratings are
        equal or no item was rated twice.

    Examples:
        >>> krippendorff_alpha([[1, 2, 3, np.nan], [1, 2, 3, 5]])
        1.0
    """
    r = _table(ratings)
    counts = np.isfinite(r).sum(axis=0)
    r, counts = r[:, counts > 1], counts[counts > 1]
    n = int(counts.sum())
    if not n:
        return float("nan")
    values = np.nan_to_num(r)
    within = counts * np.square(values).sum(0) - np.square(values.sum(0))  # sum over pairs of squared differences
    observed = (within / (counts - 1)).sum() / n
    pooled = r[np.isfinite(r)]
    expected = (n * np.square(pooled).sum() - pooled.sum() ** 2) / (n * (n - 1))
    return float(1 - observed / expected) if np.ptp(pooled) > 0 else float("nan")


class OneWayICC(NamedTuple):
    """Intraclass correlations of ratings whose raters are not told apart.

    Args:
        icc1: of single ratings.
        icc1k: of the mean of k ratings.
        k: ratings of an item, as the formula averages their number.
    """

    icc1: float
    icc1k: float
    k: float


def icc_one_way(ratings: ArrayLike) -> OneWayICC:
    """One-way intraclass correlations by analysis of variance; items may have different raters, and some more.

    With n items, N ratings, k_i of item i and the mean squares BMS between and WMS within items (n - 1 and N - n
    degrees of freedom): k = (N - sum k_i^2 / N) / (n - 1), ICC(1) = (BMS - WMS) / (BMS + (k - 1) WMS) and
    ICC(1, k) = (BMS - WMS) / BMS (Donner 1986, "A review of inference procedures for the intraclass correlation
    coefficient in the one-way random effects model"). Where all items have k ratings these are the numbers of Shrout
    and Fleiss (1979). NaN where all ratings are equal.

    Args:
        ratings: (raters, items), NaN for what was not rated; items that nobody rated are left out.

    Raises:
        ValueError: fewer than two items were rated, or none of them twice.

    Examples:
        >>> icc_one_way([[1, 5, np.nan], [1, np.nan, 9], [np.nan, 5, 9]]).icc1
        1.0
    """
    r = _table(ratings)
    counts = np.isfinite(r).sum(axis=0)
    r, counts = r[:, counts > 0], counts[counts > 0]
    n, total = len(counts), int(counts.sum())
    if n < 2 or total == n:
        raise ValueError("two rated items, and one of them rated twice, are needed at least")
    grand, means = np.nanmean(r), np.nanmean(r, axis=0)
    bms = (counts * np.square(means - grand)).sum() / (n - 1)
    wms = np.nansum(np.square(r - means)) / (total - n)
    k = float((total - np.square(counts).sum() / total) / (n - 1))
    return OneWayICC(_ratio(bms - wms, bms + (k - 1) * wms), _ratio(bms - wms, bms), k)


class ICC(NamedTuple):
    """Intraclass correlations (Shrout and Fleiss 1979): of single ratings, and of the mean of all raters (k).

    Args:
        icc1, icc1k: every item has raters of its own.
        icc2, icc2k: the raters are a sample, and their different levels count as disagreement.
        icc3, icc3k: the raters are the only ones, and their levels do not count.
    """

    icc1: float
    icc2: float
    icc3: float
    icc1k: float
    icc2k: float
    icc3k: float


def icc(ratings: ArrayLike) -> ICC:
    """Intraclass correlations of complete ratings (raters, items).

    Raises:
        ValueError: a missing rating, fewer than two raters or items.

    Examples:
        >>> table = [[9, 6, 8, 7, 10, 6], [2, 1, 4, 1, 5, 2], [5, 3, 6, 2, 6, 4], [8, 2, 8, 6, 9, 7]]
        >>> [round(value, 2) for value in icc(table)]  # the example of Shrout and Fleiss
        [0.17, 0.29, 0.71, 0.44, 0.62, 0.91]
    """
    r = _table(ratings)
    k, n = r.shape
    if k < 2 or n < 2 or not np.isfinite(r).all():
        raise ValueError(f"complete ratings of two raters and two items at least are needed, got {r.shape}")
    grand = r.mean()
    items, raters = np.square(r.mean(0) - grand).sum() * k, np.square(r.mean(1) - grand).sum() * n
    total = np.square(r - grand).sum()
    bms, jms, ems = items / (n - 1), raters / (k - 1), (total - items - raters) / ((n - 1) * (k - 1))
    one_way = icc_one_way(r)
    return ICC(
        one_way.icc1,
        _ratio(bms - ems, bms + (k - 1) * ems + k * (jms - ems) / n),
        _ratio(bms - ems, bms + (k - 1) * ems),
        one_way.icc1k,
        _ratio(bms - ems, bms + (jms - ems) / n),
        _ratio(bms - ems, bms),
    )


def _ratio(a: float, b: float) -> float:
    return float(a / b) if b else float("nan")


def _table(ratings: ArrayLike) -> Array:
    r = np.asarray(ratings, dtype=np.float64)
    if r.ndim != 2:
        raise ValueError(f"ratings (raters, items) are needed, got shape {r.shape}")
    return r
