"""Classification accuracy score: what a classifier trained on one set says about another."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg

from vocalgen.metrics.frechet import Statistics


class Probe(NamedTuple):
    """Accuracy of a linear classifier on a test set.

    Args:
        accuracy: share of right answers.
        uar: mean over the classes of the test set of their recalls.
        predictions: (m,) labels.
    """

    accuracy: float
    uar: float
    predictions: NDArray[Any]


def linear_probe(train: ArrayLike, train_labels: ArrayLike, test: ArrayLike, test_labels: ArrayLike) -> Probe:
    """Linear discriminant analysis from (n, d) and (n,) training embeddings and labels on (m, d) and (m,) others.

    Trained on generated and tested on real clips it is the classification accuracy score (arXiv 1905.10887) of a frozen
    encoder. All classes share one covariance, shrunk by Ledoit and Wolf's rule, and are equally likely; a class that is
    absent from training counts as wrong. Where the clips of every class are copies of one, the nearest decides.

    Raises:
        ValueError: lengths or dimensions differ, NaN, fewer than two classes, or no more embeddings than classes.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> labels = np.arange(200) % 2
        >>> x = rng.normal(size=(200, 3)) + 5 * labels[:, None]
        >>> linear_probe(x[:100], labels[:100], x[100:], labels[100:]).accuracy
        1.0
    """
    x, y = np.asarray(train, dtype=np.float64), np.asarray(train_labels)
    other, truth = np.asarray(test, dtype=np.float64), np.asarray(test_labels)
    if x.ndim != 2 or other.ndim != 2 or x.shape[1] != other.shape[1] or not np.isfinite(other).all():
        raise ValueError(f"finite matrices of one dimension are needed, got shapes {x.shape} and {other.shape}")
    if y.shape != (len(x),) or truth.shape != (len(other),) or not len(truth):
        raise ValueError(
            f"each embedding needs a label: {len(x)} and {y.shape} to train, {len(other)} and {truth.shape} to test"
        )
    classes, place = np.unique(y, return_inverse=True)
    if len(classes) < 2 or len(x) <= len(classes):
        raise ValueError(f"{len(x)} embeddings of {len(classes)} classes cannot train a classifier")
    weights, bias = _discriminant(x, place, len(classes))
    predictions = classes[(other @ weights + bias).argmax(axis=1)]
    hits = predictions == truth
    recalls = [hits[truth == label].mean() for label in np.unique(truth)]
    return Probe(float(hits.mean()), float(np.mean(recalls)), predictions)


def _discriminant(
    x: NDArray[np.float64], place: NDArray[np.int64], classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights (d, classes) and biases (classes,) of the linear scores x S^-1 m - m S^-1 m / 2 of class means m."""
    whole = Statistics.of(x)
    centred = x - whole.mean
    means = np.stack([centred[place == row].mean(axis=0) for row in range(classes)])
    within = Statistics.of(centred - means[place]).covariance("ledoit-wolf")
    # Far below the spread of the embeddings a variance is rounding alone, as where the classes are single points.
    least = 1e-12 * float(np.trace(whole.scatter)) / x.size or 1.0
    weights = linalg.solve(within + least * np.eye(x.shape[1]), means.T, assume_a="pos")
    return weights, -0.5 * np.einsum("kd,dk->k", means, weights) - whole.mean @ weights
