"""Scores of many bootstrap resamples of speakers at once: each speaker's clips count through their sums alone.

A resample is how often each speaker was drawn. CCC, Pearson's correlation, MAE, accuracies and recalls are functions
of sums over clips, so those of a resample are the speakers' sums times these counts. Ranks are not, but the middle
rank of a value follows from how often the values below it were drawn, without sorting again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocalgen.tasks.task import Array, Target, Task

OFFICIAL = " (official code)"
"""Follows the names of metrics with the bias of the official CCC."""

TOP = 3
"""Classes among which the right one counts as found."""

MANY = 8
"""Classes, of more than which the accuracy of the `TOP` is told."""

BLOCK = 100
"""Resamples that are multiplied together."""

ROUNDING = 1e-13
"""A variance below this share of the mean square is that of a constant."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Resamples:
    """Draws of G clusters out of G, with replacement.

    Args:
        group: (n,) cluster of every clip.
        counts: (draws, G) how often each cluster was drawn.
    """

    group: NDArray[np.int64]
    counts: NDArray[np.uint16]

    @classmethod
    def draw(cls, clusters: Sequence[str], draws: int, seed: int) -> Resamples:
        """The resamples that `metrics.prediction.bootstrap` draws by this seed."""
        _, group = np.unique(clusters, return_inverse=True)
        size, rng = int(group.max()) + 1, np.random.default_rng(seed)
        drawn = (np.bincount(rng.integers(0, size, size), minlength=size) for _ in range(draws))
        return cls(group, np.stack([counts.astype(np.uint16) for counts in drawn]))

    def sums(self, values: Array) -> Floats:
        """(n, k) values of clips -> (draws, k) their sums over each resample."""
        order = np.argsort(self.group, kind="stable")
        starts = np.searchsorted(self.group[order], np.arange(self.counts.shape[1]))
        table = np.add.reduceat(values[order].astype(np.float64), starts, axis=0)
        blocks = (self.counts[start : start + BLOCK] for start in range(0, len(self.counts), BLOCK))
        return np.concatenate([block.astype(np.float64) @ table for block in blocks])


def resampled(
    task: Task, truth: Mapping[str, Array], prediction: Mapping[str, Array], resamples: Resamples
) -> dict[str, Floats]:
    """What `scores.scores` gives, of every resample: (draws,) by metric, NaN where there is no number.

    Args:
        truth: as `Task.truth` gives it.
        prediction: by target, (n, columns): values, or scores of classes.
    """
    found: dict[str, Floats] = {}
    with np.errstate(divide="ignore", invalid="ignore"):
        for target in task.targets:
            of = _of_classes if target.classes else _of_values
            found |= of(target, truth[target.name], prediction[target.name], resamples)
        if task.metric == "S_MTL":
            found["S_MTL"] = _s_mtl(found["CCC"], found["UAR"], found["MAE"])
            official = np.clip(found[f"CCC{OFFICIAL}"], -1, 1)
            found[f"S_MTL{OFFICIAL}"] = _s_mtl(official, found["UAR"], found["MAE"])
    return found


def _of_classes(target: Target, truth: Array, scores: Array, resamples: Resamples) -> dict[str, Floats]:
    known, columns = truth >= 0, len(target.columns)
    is_class = (truth[:, None] == np.arange(columns)) & known[:, None]
    hit = is_class & (scores.argmax(axis=1) == truth)[:, None]
    top = (np.argsort(-scores, axis=1, kind="stable")[:, :TOP] == truth[:, None]).any(axis=1) & known
    sums = resamples.sums(np.hstack([is_class, hit, top[:, None]]))
    clips, hits = sums[:, :columns], sums[:, columns:-1]
    recalls = np.where(clips > 0, hits / clips, np.nan)
    occur = (clips > 0).sum(axis=1)
    found = {"UAR": np.nansum(recalls, axis=1) / occur, "accuracy": hits.sum(axis=1) / clips.sum(axis=1)}
    return found | ({f"top-{TOP} accuracy": sums[:, -1] / clips.sum(axis=1)} if columns > MANY else {})


def _of_values(target: Target, truth: Array, prediction: Array, resamples: Resamples) -> dict[str, Floats]:
    known = np.isfinite(truth)
    if target.metric == "MAE":
        errors = np.where(known, np.abs(truth - prediction), 0.0)
        return {"MAE": (resamples.sums(errors) / resamples.sums(known)).mean(axis=1)}
    # Moved to 0, as small numbers leave small rounding in the variances.
    middles = [np.where(known, values, 0.0).sum(axis=0) / known.sum(axis=0) for values in (truth, prediction)]
    x, y = (np.where(known, values - middle, 0.0) for values, middle in zip((truth, prediction), middles, strict=True))
    sums = (resamples.sums(values) for values in (known, x, y, x * x, y * y, x * y))
    moments = _Moments(middles[0] - middles[1], *sums)
    if target.metric == "CCC":
        official = np.round(moments.ccc(moments.count / (moments.count - 1)), 4)
        return {"CCC": moments.ccc().mean(axis=1), f"CCC{OFFICIAL}": official.mean(axis=1)}
    columns = zip(truth.T, prediction.T, known.T, strict=True)
    ranked = [_spearman(t[k], p[k], resamples.group[k], resamples.counts) for t, p, k in columns]
    return {"Spearman": np.mean(ranked, axis=0), "Pearson": moments.pearson().mean(axis=1)}


class _Moments:
    """Means, variances and covariances (draws, columns) from sums; `apart` (columns,) is how far x was from y."""

    def __init__(self, apart: Floats, count: Floats, x: Floats, y: Floats, xx: Floats, yy: Floats, xy: Floats) -> None:
        self.count, self.difference = count, (x - y) / count + apart
        self.x, self.y = _not_rounding(xx, x, count), _not_rounding(yy, y, count)
        self.covariance = (xy - x * y / count) / count

    def ccc(self, inflation: Floats | float = 1.0) -> Floats:
        """Variances are multiplied by `inflation`."""
        bottom = inflation * (self.x + self.y) + self.difference**2
        return np.where(bottom > 0, 2 * self.covariance / bottom, np.nan)

    def pearson(self) -> Floats:
        """NaN where a side is constant."""
        bottom = np.sqrt(self.x * self.y)
        return np.where(bottom > 0, np.clip(self.covariance / bottom, -1, 1), np.nan)


def _not_rounding(squares: Floats, values: Floats, count: Floats) -> Floats:
    variance = (squares - values * values / count) / count
    return np.where(variance > ROUNDING * squares / count, variance, 0 * variance)


def _spearman(t: Array, p: Array, group: NDArray[np.int64], counts: NDArray[np.uint16]) -> Floats:
    """(draws,) of (n,) values."""
    ranks = [_middle_ranks(values) for values in (t, p)]
    found = np.empty(len(counts))
    for draw, drawn in enumerate(counts):
        weights = drawn[group].astype(np.float64)
        a, b = (rank(weights) - (weights.sum() + 1) / 2 for rank in ranks)
        bottom = np.sqrt((weights * a * a).sum() * (weights * b * b).sum())
        found[draw] = np.clip((weights * a * b).sum() / bottom, -1, 1) if bottom > 0 else np.nan
    return found


def _middle_ranks(values: Array) -> Callable[[Floats], Floats]:
    """What gives the mean rank of (n,) values among those that are taken `weights` (n,) times."""
    distinct, place = np.unique(values, return_inverse=True)

    def ranks(weights: Floats) -> Floats:
        own = np.bincount(place, weights, len(distinct))
        return np.asarray((own.cumsum() - (own - 1) / 2)[place])

    return ranks


def _s_mtl(ccc: Floats, uar: Floats, mae: Floats) -> Floats:
    """As `metrics.prediction.s_mtl`."""
    score = 3 / (1 / ccc + 1 / uar + mae)
    return np.where(np.isfinite(ccc + uar + mae), np.where((ccc > 0) & (uar > 0), score, 0.0), np.nan)
