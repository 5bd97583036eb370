"""Classification accuracy score: what a classifier trained on one set says about another."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vocalgen.metrics.frechet import Statistics


class Probe(NamedTuple):
    """Accuracy of a linear classifier on a test set.

    Args:
        accuracy: share of right answers.
        uar: mean over the classes of the test set of their recalls.
        predictions: (n,) labels.
    """

    accuracy: float
    uar: float
    predictions: NDArray[np.int64]


def linear_probe(train: ArrayLike, train_labels: ArrayLike, test: ArrayLike, test_labels: ArrayLike) -> Probe:
    """Linear discriminant analysis from (n, d) and (n,) training embeddings and labels on (m, d) and (m,) others.

    Trained on generated and tested on real clips it is the classification accuracy score (arXiv 1905.10887) of a frozen
    encoder. All classes share one Ledoit-Wolf-shrunk covariance and are equally likely; a class that is absent from
    training counts as wrong.

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
    if len(x) != len(y) or len(other) != len(truth) or not len(truth):
        raise ValueError(f"{len(x)} embeddings, {len(y)} labels; {len(other)} embeddings, {len(truth)} labels")
    if x.ndim != 2 or other.ndim != 2 or x.shape[1] != other.shape[1] or not np.isfinite(other).all():
        raise ValueError(f"finite matrices of one dimension are needed, got shapes {x.shape} and {other.shape}")
    classes, place = np.unique(y, return_inverse=True)
    if len(classes) < 2 or len(x) <= len(classes):
        raise ValueError(f"{len(x)} embeddings of {len(classes)} classes cannot train a classifier")
    means = np.stack([x[place == row].mean(axis=0) for row in range(len(classes))])
    within = Statistics.of(x - means[place]).covariance("ledoit-wolf")
    if not np.trace(within) > 0:
        raise ValueError("all embeddings of a class are equal; there is no covariance")
    weights = np.linalg.solve(within, means.T)
    scores = other @ weights - 0.5 * np.einsum("kd,dk->k", means, weights)
    predictions = classes[scores.argmax(axis=1)]
    hits = predictions == truth
    recalls = [hits[truth == label].mean() for label in np.unique(truth)]
    return Probe(float(hits.mean()), float(np.mean(recalls)), predictions)
