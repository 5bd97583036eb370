"""Fidelity and diversity of sets of embeddings: precision, recall, density, coverage, and the Vendi score."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vocalgen.metrics.kernel import BLOCK, squared_distances

Array = NDArray[np.float64]


class Manifold(NamedTuple):
    """How a generated set lies in and on the real one.

    Args:
        precision: share of generated clips within the k-th neighbour distance of some real clip (arXiv 1904.06991).
        recall: share of real clips within that distance of some generated clip.
        density: real balls a generated clip lies in, divided by k (arXiv 2002.09797, eq. 4); 1 for real clips, and
            more where generated ones crowd together.
        coverage: share of real clips with a generated clip in their ball (eq. 5).
    """

    precision: float
    recall: float
    density: float
    coverage: float


def manifold(generated: ArrayLike, reference: ArrayLike, k: int = 5) -> Manifold:
    """Compare (n, d) generated with (m, d) real embeddings by balls that reach to the k-th nearest neighbour.

    Distances equal to a radius count as inside, so copies of real clips are always inside.

    Raises:
        ValueError: other dimensions, NaN, or not more than k embeddings on a side.

    Examples:
        >>> x = np.random.default_rng(0).normal(size=(300, 2))
        >>> manifold(x, x).coverage, manifold(x + 100, x).coverage
        (1.0, 0.0)
    """
    x, y = (np.asarray(part, dtype=np.float64) for part in (generated, reference))
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"two matrices of one dimension are needed, got shapes {x.shape} and {y.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("NaN or infinity in the embeddings")
    if k < 1 or min(len(x), len(y)) <= k:
        raise ValueError(f"more than k = {k} >= 1 embeddings on each side are needed, got {len(x)} and {len(y)}")
    radius_x, radius_y = _radii(x, k), _radii(y, k)
    inside_y = np.zeros(len(x))
    covered, recalled = np.zeros(len(y), dtype=bool), np.zeros(len(y), dtype=bool)
    for start in range(0, len(x), BLOCK):
        rows = slice(start, start + BLOCK)
        away = _distances(x[rows], y)
        hit = away <= radius_y
        inside_y[rows] = hit.sum(axis=1)
        covered |= hit.any(axis=0)
        recalled |= (away <= radius_x[rows, None]).any(axis=0)
    return Manifold(
        float((inside_y > 0).mean()), float(recalled.mean()), float(inside_y.mean() / k), float(covered.mean())
    )


def vendi_score(embeddings: ArrayLike) -> float:
    """Effective number of different clips (arXiv 2210.02410): exp of the entropy of the eigenvalues of K / n.

    K holds the cosines of (n, d) embeddings; its eigenvalues are those of a d x d matrix, so n may be large. From 1,
    where all point in one direction, to min(n, d).

    Raises:
        ValueError: no embeddings, NaN, or one that is zero and has no direction.

    Examples:
        >>> round(vendi_score(np.eye(4)), 6), round(vendi_score(np.ones((4, 3))), 6)
        (4.0, 1.0)
    """
    x = np.asarray(embeddings, dtype=np.float64)
    if x.ndim != 2 or not len(x) or not np.isfinite(x).all():
        raise ValueError(f"finite embeddings (n, d) are needed, got shape {x.shape}")
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    if not lengths.all():
        raise ValueError(f"{int((lengths == 0).sum())} embeddings are zero and have no direction")
    x = x / lengths
    values = np.linalg.eigvalsh(x.T @ x / len(x))
    values = values[values > 1e-15]
    return float(np.exp(-(values * np.log(values)).sum()))


def _radii(x: Array, k: int) -> Array:
    """(n,) distance of each row to its k-th nearest other row."""
    radii = np.empty(len(x))
    for start in range(0, len(x), BLOCK):
        away = _distances(x[start : start + BLOCK], x)
        away[np.arange(len(away)), np.arange(start, start + len(away))] = -1  # itself comes first
        radii[start : start + BLOCK] = np.partition(away, k, axis=1)[:, k]
    return radii


def _distances(a: Array, b: Array) -> Array:
    """Euclidean distances; those that rounding alone keeps from zero are zero, so that copies are found."""
    away = squared_distances(a, b)
    away[away < 1e-12 * (1 + np.square(a).sum(1)[:, None])] = 0.0
    return np.sqrt(away, out=away)
