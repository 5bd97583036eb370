"""HEEP: how well listeners hear in generated clips the emotion that was meant (ExVo 2022, arXiv 2205.01780)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from vocalgen.metrics.intervals import Interval

Array = NDArray[np.float64]
Reading = Literal["column", "row"]
PERFECT = 1 - 1e-9
"""A correlation above it counts as this much: Fisher's z of 1 is infinite."""


@dataclass(frozen=True)
class Heep:
    """Correlations of targets and mean ratings.

    Args:
        overall: over all clips and emotions.
        emotions: (E,) by emotion, NaN where a side is constant.
        reasons: why, for each emotion (or "overall") whose value is NaN.
        elsewhere: how many clips were made for none of these emotions: all their targets are 0.
    """

    overall: float
    emotions: Array
    reasons: dict[int | str, str]
    elsewhere: int


def heep(targets: ArrayLike, ratings: ArrayLike, reading: Reading = "column") -> Heep:
    """Pearson correlation of the vectorised (N, E) targets with the vectorised (N, E) mean ratings.

    The challenge states this for all emotions together and does not say what it is for one, so there are two readings:
    `column` correlates, over all clips, the ratings for emotion e with the targets for e; `row` correlates, over the
    clips whose strongest target is e, all E ratings with all E targets. Clips that were made for none of the E emotions
    belong to no row; in the other numbers they count as made for something else.

    Args:
        targets: what each clip was made for: one for the targeted emotion, or intensities.
        ratings: mean rating of each clip for each emotion, any scale.

    Raises:
        ValueError: shapes differ, no clip, NaN.

    Examples:
        >>> meant = np.eye(3)[[0, 1, 2, 0]]
        >>> round(heep(meant, 0.2 + 0.5 * meant).overall, 6)
        1.0
        >>> heep(meant, np.ones((4, 3))).reasons["overall"]
        'all ratings are equal'
    """
    t, h = _matrices(targets, ratings)
    reasons: dict[int | str, str] = {}
    overall, reason = _correlation(t.ravel(), h.ravel())
    if reason:
        reasons["overall"] = reason
    emotions = np.full(t.shape[1], np.nan)
    strongest, made = t.argmax(axis=1), (t > 0).any(axis=1)
    for e in range(t.shape[1]):
        rows = made & (strongest == e)
        pair = (t[:, e], h[:, e]) if reading == "column" else (t[rows].ravel(), h[rows].ravel())
        emotions[e], reason = _correlation(*pair)
        if reason:
            reasons[e] = reason
    return Heep(overall, emotions, reasons, int((~made).sum()))


@dataclass(frozen=True)
class HeepIntervals:
    """Intervals of `heep`.

    Args:
        overall: of all clips and emotions.
        emotions: by emotion; limits are NaN where too few resamples had a value.
    """

    overall: Interval
    emotions: tuple[Interval, ...]


def heep_intervals(
    targets: ArrayLike,
    ratings: ArrayLike,
    reading: Reading = "column",
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> HeepIntervals:
    """Intervals of the HEEP of as many raters and clips: both are samples of larger populations.

    The standard error is that of a bootstrap over raters and clips at once (Owen 2007, "The pigeonhole bootstrap"), on
    Fisher's z scale, where the interval is symmetric about the estimate. Quantiles of the resamples would lie too low:
    a resample holds only some two thirds of the raters, so its means are noisier than those it stands for.

    Args:
        targets: (N, E).
        ratings: (R, N, E) of each rater, NaN for what a rater did not rate.

    Raises:
        ValueError: shapes differ, or a clip without any rating.

    Examples:
        >>> meant = np.eye(2)[[0, 1, 0, 1]]
        >>> heep_intervals(meant, np.stack([meant, meant])).overall
        Interval(value=1.0, low=1.0, high=1.0)
    """
    t, r = np.asarray(targets, dtype=np.float64), np.asarray(ratings, dtype=np.float64)
    if r.ndim != 3 or r.shape[1:] != t.shape:
        raise ValueError(f"ratings (raters, clips, emotions) for targets {t.shape} are needed, got {r.shape}")
    given, values = np.isfinite(r), np.nan_to_num(r)
    if not given.any(axis=0).all():
        raise ValueError("a clip without ratings for an emotion has no mean; leave it out")
    whole = heep(t, values.sum(0) / given.sum(0), reading)
    rng = np.random.default_rng(seed)
    found = np.full((draws, 1 + t.shape[1]), np.nan)
    for draw in range(draws):
        weights = np.bincount(rng.integers(0, len(r), len(r)), minlength=len(r)).astype(np.float64)
        clips = rng.integers(0, len(t), len(t))
        counts = np.einsum("r,rne->ne", weights, given)[clips]
        sums = np.einsum("r,rne->ne", weights, values)[clips]
        kept = (counts > 0).all(axis=1)  # clips that none of the drawn raters heard
        if kept.any():
            again = heep(t[clips[kept]], sums[kept] / counts[kept], reading)
            found[draw] = [again.overall, *again.emotions]
    return HeepIntervals(
        _interval(whole.overall, found[:, 0], confidence),
        tuple(_interval(value, found[:, 1 + e], confidence) for e, value in enumerate(whole.emotions)),
    )


def _interval(value: float, draws: Array, confidence: float) -> Interval:
    known = draws[np.isfinite(draws)]
    if len(known) < len(draws) / 2:
        return Interval(float(value), float("nan"), float("nan"))
    z = np.arctanh(np.clip(known, -PERFECT, PERFECT))
    if np.ptp(z) == 0:
        return Interval(float(value), float(value), float(value))
    reach = ndtri((1 + confidence) / 2) * z.std(ddof=1)
    centre = np.arctanh(np.clip(value, -PERFECT, PERFECT))
    return Interval(float(value), float(np.tanh(centre - reach)), float(np.tanh(centre + reach)))


def _correlation(a: Array, b: Array) -> tuple[float, str]:
    """Pearson's r, or NaN and the reason."""
    if not len(a):
        return float("nan"), "no clip was made for it"
    for side, name in ((a, "targets"), (b, "ratings")):
        if np.ptp(side) == 0:
            return float("nan"), f"all {name} are equal"
    x, y = a - a.mean(), b - b.mean()
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1, 1)), ""


def _matrices(targets: ArrayLike, ratings: ArrayLike) -> tuple[Array, Array]:
    t, h = np.asarray(targets, dtype=np.float64), np.asarray(ratings, dtype=np.float64)
    if t.ndim != 2 or t.shape != h.shape or not t.size:
        raise ValueError(f"targets and ratings (clips, emotions) of one shape are needed, got {t.shape} and {h.shape}")
    if not (np.isfinite(t).all() and np.isfinite(h).all()):
        raise ValueError("NaN or infinity in targets or ratings")
    return t, h
