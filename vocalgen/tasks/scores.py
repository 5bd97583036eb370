"""All numbers of predictions that a report gives: the task's metrics, the official code's, those of single columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from vocalgen.metrics.intervals import Interval
from vocalgen.metrics.prediction import accuracy, ccc, mae, pearson, s_mtl, spearman
from vocalgen.tasks.resamples import MANY, OFFICIAL, TOP, Resamples, resampled
from vocalgen.tasks.task import Array, Target, Task

LIMITS = (0.025, 0.975)
"""Quantiles of an interval of 95 %."""


def scores(task: Task, truth: Mapping[str, Array], prediction: Mapping[str, Array]) -> dict[str, float]:
    """`Task.score`, the deciding metric first, and `further`.

    Raises:
        ValueError: as `Task.score`.
    """
    decisive = task.score(truth, prediction)
    return {**decisive, **further(task, truth, prediction, decisive)}


def intervals(
    task: Task,
    truth: Mapping[str, Array],
    prediction: Mapping[str, Array],
    speakers: Sequence[str],
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """`scores` with 95 % intervals by bootstrap over speakers, and over clips where a speaker is unknown ("").

    What does not decide is left out where most resamples have no score of it. Of one speaker there are no resamples:
    the limits are NaN.

    Raises:
        ValueError: as `Task.score`; most resamples have no deciding score.
    """
    clusters = [speaker or f"clip {row}" for row, speaker in enumerate(speakers)]
    first, *others = scores(task, truth, prediction).items()
    if len(set(clusters)) < 2:
        return {name: Interval(value, math.nan, math.nan) for name, value in (first, *others)}
    drawn = resampled(task, truth, prediction, Resamples.draw(clusters, draws, seed))
    found = {}
    for name, value in (first, *others):
        known = drawn[name][np.isfinite(drawn[name])]
        if len(known) >= draws / 2:
            found[name] = Interval(value, *map(float, np.quantile(known, LIMITS)))
        elif name == first[0]:
            raise ValueError("most resamples have no score: the values are nearly constant")
    return found


def further(
    task: Task,
    truth: Mapping[str, Array],
    prediction: Mapping[str, Array],
    decisive: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """What does not decide: CCC as the official code of 2022 computes it, Pearson, accuracy and top-3 accuracy.

    S_MTL of the official code is that of its CCC. Missing labels are left out. NaN where there is no number.

    Args:
        decisive: `Task.score` of the same, where it is known.
    """
    found: dict[str, float] = {}
    for target in task.targets:
        found |= _further(target, truth[target.name], prediction[target.name])
    official = found.get(f"CCC{OFFICIAL}")
    if task.metric == "S_MTL" and official is not None and np.isfinite(official):
        others = decisive or task.score(truth, prediction)
        # Its CCC can leave [-1, 1] by its bias.
        found[f"S_MTL{OFFICIAL}"] = s_mtl(float(np.clip(official, -1, 1)), others["UAR"], others["MAE"])
    return found


def _further(target: Target, truth: Array, prediction: Array) -> dict[str, float]:
    if target.classes:
        known = truth >= 0
        labels, scores = truth[known], prediction[known]
        top = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
        found = {"accuracy": accuracy(labels, scores.argmax(axis=1))}
        if len(target.columns) > MANY:
            found[f"top-{TOP} accuracy"] = float((top == labels[:, None]).any(axis=1).mean())
        return found
    pairs = [(t[np.isfinite(t)], p[np.isfinite(t)]) for t, p in zip(truth.T, prediction.T, strict=True)]
    if target.metric == "CCC":
        with np.errstate(all="ignore"):
            return {f"CCC{OFFICIAL}": float(np.mean([ccc(t, p, compat="hume2022") for t, p in pairs]))}
    return {"Pearson": float(np.mean([pearson(t, p) for t, p in pairs]))} if target.metric == "Spearman" else {}


def by_column(task: Task, truth: Mapping[str, Array], prediction: Mapping[str, Array]) -> dict[str, dict[str, float]]:
    """The metric of every column of values, the recall of every class that occurs: by target, then by column."""
    found = {}
    single = {"CCC": ccc, "Spearman": spearman, "MAE": mae}
    for target in task.targets:
        t, p = truth[target.name], prediction[target.name]
        if target.classes:
            hits = p.argmax(axis=1) == t
            found[target.name] = {
                name: float(hits[t == k].mean()) for k, name in enumerate(target.columns) if (t == k).any()
            }
        else:
            known = np.isfinite(t)
            found[target.name] = {
                name: single[target.metric](t[known[:, k], k], p[known[:, k], k])
                for k, name in enumerate(target.columns)
                if known[:, k].any()
            }
    return found
