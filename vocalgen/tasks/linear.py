"""Linear baselines: support vector regression of Emotion Share (ComParE 2023), logistic regression of MODULATE-SONATA.

Both are searched over a grid on validation and fitted once more on training and validation clips for the test.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vocalgen.atomic import atomic_write_text
from vocalgen.errors import VocalgenError
from vocalgen.metrics.prediction import mae
from vocalgen.ownership import FolderKind, begin_index
from vocalgen.progress import track
from vocalgen.tasks.scaling import Inputs, Kind, Scaling, scaling
from vocalgen.tasks.system import Rows, TaskData, quality
from vocalgen.tasks.task import Array, Target

RANDOM_STATE, MOST_ITERATIONS = 42, 50_000
"""Of the support vector regressions, as published."""


STATE = FolderKind("the state of a grid search", cache=True)


@dataclass(frozen=True)
class SvrSettings:
    """Grid of the support vector regression; every combination is tried.

    Args:
        scalers: of the features, fitted to the clips that are trained on.
        losses: epsilon-insensitive, linear or squared.
        costs: C.
    """

    scalers: tuple[Literal["standard", "min-max", "none"], ...] = ("standard", "min-max")
    losses: tuple[Literal["epsilon_insensitive", "squared_epsilon_insensitive"], ...] = (
        "epsilon_insensitive",
        "squared_epsilon_insensitive",
    )
    costs: tuple[float, ...] = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)

    def points(self) -> Iterator[Point]:
        """Every combination."""
        return (Point(*values) for values in product(self.scalers, self.losses, self.costs))


@dataclass(frozen=True)
class LrSettings:
    """Grid of the logistic regression.

    Args:
        scalers: as above; published is none.
        costs: C.
        balanced: weigh classes by the inverse of their number of training clips.
    """

    scalers: tuple[Literal["standard", "min-max", "none"], ...] = ("none",)
    costs: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)
    balanced: bool = False

    def points(self) -> Iterator[Point]:
        """Every combination."""
        loss = "balanced" if self.balanced else "plain"
        return (Point(scaler, loss, cost) for scaler, cost in product(self.scalers, self.costs))


@dataclass(frozen=True)
class Point:
    """One combination of a grid."""

    scaler: Kind
    loss: str
    cost: float


@dataclass(frozen=True)
class Linear:
    """Linear values, or probabilities of classes.

    Args:
        scaling: of the features.
        weights, bias: (columns, d) and (columns,); a class that was never seen has a bias of -inf.
        target: what is predicted.
    """

    scaling: Scaling
    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    target: Target

    def __call__(self, x: NDArray[np.float32]) -> dict[str, Array]:
        """(n, d) features -> by target (n, columns)."""
        values = self.scaling(x).astype(np.float64) @ self.weights.T + self.bias
        if self.target.classes:
            values = np.exp(values - values.max(axis=1, keepdims=True))
            values /= values.sum(axis=1, keepdims=True)
        return {self.target.name: values}

    def tensors(self) -> dict[str, Array]:
        """All that `linear_from` needs."""
        return {"weights": self.weights, "bias": self.bias, **self.scaling.tensors()}


def linear_from(tensors: Mapping[str, Array], target: Target) -> Linear:
    """The model of stored tensors.

    Raises:
        VocalgenError: they are of another one.
    """
    found = Scaling.of(tensors)
    shapes = {name: tensors[name].shape for name in ("weights", "bias") if name in tensors}
    columns = len(target.columns)
    if shapes != {"weights": (columns, len(found.shift)), "bias": (columns,)}:
        raise VocalgenError(f"the weights have shapes {shapes}, which do not suit {target.name}; train the model again")
    return Linear(found, tensors["weights"], tensors["bias"], target)


def search(
    data: TaskData, inputs: Inputs, settings: SvrSettings | LrSettings, folder: Path
) -> tuple[Linear, Linear, Point]:
    """The best model of a grid trained on training clips, and the same point trained on validation clips too.

    Regressions are chosen by their mean absolute error, as published, classifiers by the task's metric. What was
    tried already is read from `folder`.

    Raises:
        VocalgenError: a task of several targets, or one that the model does not suit.
    """
    target = require_single(data, isinstance(settings, LrSettings))
    train, validation = data.labelled("train"), data.labelled("validation")
    tried = _Tried(folder / "grid.json")
    best: tuple[float, Point] | None = None
    for point in _tracked(list(settings.points()), data.task.name):
        score = tried.get(point)
        if score is None:
            model = fit_point(data, target, inputs, train, point)
            score = _score(data, target, validation, model(inputs[validation]))
            tried.add(point, score)
        if best is None or score > best[0]:
            best = score, point
    assert best is not None
    selected = fit_point(data, target, inputs, train, best[1])
    return selected, fit_point(data, target, inputs, np.union1d(train, validation), best[1]), best[1]


def require_single(data: TaskData, classes: bool) -> Target:
    """The only target of a task, of classes or of values.

    Raises:
        VocalgenError: there are several, or it is of the other kind.
    """
    target = data.task.targets[0]
    if len(data.task.targets) > 1 or target.classes != classes:
        other = "mlp" if len(data.task.targets) > 1 else "svr" if classes else "lr"
        kind = "one of several classes" if classes else "values"
        raise VocalgenError(f"{data.task.name} is no task of {kind} alone, which this system predicts; take {other}")
    return target


def fit_point(data: TaskData, target: Target, inputs: Inputs, rows: Rows, point: Point) -> Linear:
    """Train on some clips; those that lack a label of a column are left out of that column."""
    scale = scaling(point.scaler, inputs, rows)
    x, truth = scale(inputs[rows]), data.truth[target.name][rows]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it did not converge shows in the score
        weights, bias = (_logistic if target.classes else _support_vectors)(x, truth, len(target.columns), point)
    return Linear(scale, weights, bias, target)


def _support_vectors(
    x: NDArray[np.float32], truth: Array, columns: int, point: Point
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from sklearn.svm import LinearSVR

    weights, bias = np.zeros((columns, x.shape[1])), np.zeros(columns)
    for column, known in enumerate(np.isfinite(truth).T):
        model = LinearSVR(C=point.cost, loss=point.loss, random_state=RANDOM_STATE, max_iter=MOST_ITERATIONS)
        model.fit(x[known], truth[known, column])
        weights[column], bias[column] = model.coef_, np.asarray(model.intercept_).item()
    return weights, bias


def _logistic(
    x: NDArray[np.float32], truth: Array, columns: int, point: Point
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from sklearn.linear_model import LogisticRegression

    seen = np.unique(truth[truth >= 0])
    if len(seen) < 2:
        raise VocalgenError("all training clips are of one class; nothing can be told apart")
    class_weight = "balanced" if point.loss == "balanced" else None
    model = LogisticRegression(C=point.cost, max_iter=1000, class_weight=class_weight)
    model.fit(x[truth >= 0], truth[truth >= 0])
    coefficients, intercepts = model.coef_, model.intercept_
    if len(seen) == 2:  # one row then, of the second class against the first
        coefficients, intercepts = np.vstack([0 * coefficients, coefficients]), np.append(0.0, intercepts)
    weights, bias = np.zeros((columns, x.shape[1])), np.full(columns, -np.inf)
    weights[seen], bias[seen] = coefficients, intercepts
    return weights, bias


def _score(data: TaskData, target: Target, rows: Rows, prediction: Mapping[str, Array]) -> float:
    """More is better."""
    if target.classes:
        return quality(data, rows, prediction)
    truth, values = data.truth[target.name][rows], prediction[target.name]
    known = np.isfinite(truth)
    return -float(np.mean([mae(t[k], p[k]) for t, p, k in zip(truth.T, values.T, known.T, strict=True) if k.any()]))


class _Tried:
    """Scores of points of a grid, kept in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        begin_index(path.parent, STATE)
        self.scores: dict[str, float] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def get(self, point: Point) -> float | None:
        return self.scores.get(self._key(point))

    def add(self, point: Point, score: float) -> None:
        self.scores[self._key(point)] = score if math.isfinite(score) else -1e9  # JSON has no infinity
        atomic_write_text(self.path, json.dumps(self.scores, indent=1) + "\n")

    @staticmethod
    def _key(point: Point) -> str:
        return json.dumps(asdict(point))


def _tracked(points: list[Point], name: str) -> Any:
    return track(points, f"searching the grid for {name}", len(points), shown=len(points) > 1)
