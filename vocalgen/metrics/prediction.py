"""Scores of predictions: CCC, correlations, UAR, MAE, and the multi-task score of ExVo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from vocalgen.metrics.intervals import Interval

Array = NDArray[np.float64]


def ccc(truth: ArrayLike, prediction: ArrayLike, compat: Literal["hume2022"] | None = None) -> float:
    """Concordance correlation coefficient (Lin 1989) of (n,) values: 2 cov / (var + var + (difference of means)^2).

    Variances and covariance are those of the sample (ddof 0). The official code of ExVo and A-VB 2022 divides the
    variances by n - 1 and the covariance by n, also where NaN was left out of the sums, and rounds to four decimals;
    `compat="hume2022"` reproduces its numbers, bias and all.

    Returns:
        in [-1, 1] (official: a perfect prediction of 50 values has .98); NaN where both are constant and equal.

    Raises:
        ValueError: lengths differ, no values; NaN without `compat`.

    Examples:
        >>> ccc([1, 2, 3], [1, 2, 3]), ccc([1, 2, 3], [2, 3, 4]) < 1
        (1.0, True)
        >>> ccc(np.arange(50), np.arange(50), compat="hume2022")
        0.98
    """
    if compat == "hume2022":
        return _official_ccc(np.asarray(truth, dtype=np.float64), np.asarray(prediction, dtype=np.float64))
    t, p = _pair(truth, prediction)
    bottom = t.var() + p.var() + (t.mean() - p.mean()) ** 2
    return float(2 * ((t - t.mean()) * (p - p.mean())).mean() / bottom) if bottom > 0 else float("nan")


def _official_ccc(t: Array, p: Array) -> float:
    n = len(t)
    t_mean, p_mean = np.nanmean(t), np.nanmean(p)
    t_var, p_var = (np.nansum(np.square(x - m)) / (n - 1) for x, m in ((t, t_mean), (p, p_mean)))
    covariance = np.nanmean((t - t_mean) * (p - p_mean))
    bottom = t_var + p_var + (t_mean - p_mean) ** 2
    return round(float(2 * covariance / bottom), 4) if bottom > 0 else float("nan")


def pearson(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Pearson correlation of (n,) values; NaN where a side is constant.

    Examples:
        >>> round(pearson([1, 2, 3], [2, 4, 6]), 6)
        1.0
    """
    t, p = _pair(truth, prediction)
    if np.ptp(t) == 0 or np.ptp(p) == 0:
        return float("nan")
    x, y = t - t.mean(), p - p.mean()
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1, 1))


def spearman(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Spearman correlation of (n,) values, ties at their mean rank; NaN where a side is constant.

    Examples:
        >>> round(spearman([1, 2, 3], [1, 10, 100]), 6)
        1.0
    """
    return pearson(rankdata(_pair(truth, prediction)[0]), rankdata(_pair(truth, prediction)[1]))


def mae(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Mean absolute error of (n,) values, in their unit.

    Examples:
        >>> mae([1.0, 2.0], [1.5, 1.0])
        0.75
    """
    t, p = _pair(truth, prediction)
    return float(np.abs(t - p).mean())


def accuracy(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Share of equal labels.

    Examples:
        >>> accuracy(["a", "b"], ["a", "a"])
        0.5
    """
    t, p = _labels(truth, prediction)
    return float((t == p).mean())


def uar(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Unweighted average recall: the mean, over the classes that occur in `truth`, of the share that is found.

    A class that is predicted only does not count as one (scikit-learn would give it a recall of 0).

    Examples:
        >>> uar([0, 0, 0, 1], [0, 0, 0, 2])
        0.5
    """
    t, p = _labels(truth, prediction)
    return float(np.mean([(p[t == label] == label).mean() for label in np.unique(t)]))


def s_mtl(ccc: float, uar: float, mae: float, literal: bool = False) -> float:
    """S_MTL of ExVo-MultiTask: the harmonic mean of CCC (emotions), UAR (country) and 1 / MAE (age, years).

    The paper prints the harmonic mean of CCC, UAR and MAE itself, which would reward errors; the reported scores are
    those of 1 / MAE. `literal=True` computes the printed formula.

    Returns:
        the score; 0 where CCC or UAR is not positive, as the harmonic mean tends to 0 there.

    Raises:
        ValueError: a negative MAE, NaN, a CCC outside [-1, 1], a UAR outside [0, 1].

    Examples:
        >>> round(s_mtl(0.416, 0.506, 4.22), 3)  # ComParE baseline, reported .349
        0.349
    """
    if not all(map(np.isfinite, (ccc, uar, mae))) or mae < 0:
        raise ValueError(f"finite values and an MAE of at least 0 are needed, got {ccc}, {uar}, {mae}")
    if not (-1 <= ccc <= 1 and 0 <= uar <= 1):
        raise ValueError(f"CCC must lie in [-1, 1] and UAR in [0, 1], got {ccc} and {uar}")
    if ccc <= 0 or uar <= 0 or (literal and mae == 0):
        return 0.0
    return float(3 / (1 / ccc + 1 / uar + (1 / mae if literal else mae)))


def bootstrap(
    score: Callable[[Array, Array], float],
    truth: ArrayLike,
    prediction: ArrayLike,
    clusters: Sequence[object] | None = None,
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """A score of (n,) values with a percentile interval from a bootstrap over values, or over whole clusters.

    Raises:
        ValueError: another number of clusters than values; fewer than half of the resamples have a score.

    Examples:
        >>> x = np.random.default_rng(0).normal(size=100)
        >>> interval = bootstrap(pearson, x, x + 1)
        >>> [round(limit, 6) for limit in interval]
        [1.0, 1.0, 1.0]
    """
    if draws < 1:
        raise ValueError(f"an interval needs one resample at least, got {draws}")
    t, p = np.asarray(truth), np.asarray(prediction)
    names = [str(entry) for entry in (range(len(t)) if clusters is None else clusters)]
    if len(names) != len(t):
        raise ValueError(f"{len(names)} clusters for {len(t)} values")
    _, group = np.unique(names, return_inverse=True)
    members = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        rows = np.concatenate([members[index] for index in rng.integers(0, len(members), len(members))])
        found.append(score(t[rows], p[rows]))
    known = np.array(found)[np.isfinite(found)]
    if len(known) < draws / 2:
        raise ValueError("most resamples have no score: the values are nearly constant")
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(score(t, p)), float(low), float(high))


def _pair(truth: ArrayLike, prediction: ArrayLike) -> tuple[Array, Array]:
    t, p = np.asarray(truth, dtype=np.float64), np.asarray(prediction, dtype=np.float64)
    if t.ndim != 1 or t.shape != p.shape or not len(t):
        raise ValueError(f"two lists of one length are needed, got shapes {t.shape} and {p.shape}")
    if not (np.isfinite(t).all() and np.isfinite(p).all()):
        raise ValueError("NaN or infinity in truth or prediction")
    return t, p


def _labels(truth: ArrayLike, prediction: ArrayLike) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    t, p = np.asarray(truth), np.asarray(prediction)
    if t.ndim != 1 or t.shape != p.shape or not len(t):
        raise ValueError(f"two lists of labels of one length are needed, got shapes {t.shape} and {p.shape}")
    for labels in (t, p):
        blank = np.isnan(labels) if labels.dtype.kind == "f" else np.isin(labels.astype(str), ("", "nan", "NaN"))
        if blank.any():
            raise ValueError(f"{int(blank.sum())} labels are blank or NaN, the first is in place {int(blank.argmax())}")
    return t, p
