"""Fidelity and diversity of sets of embeddings: precision, recall, density, coverage, and the Vendi score."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

from vocalgen.metrics.kernel import gaussian, two_sets

Array = NDArray[np.float64]

BLOCK = 1024
"""Rows of a distance matrix that are held at once."""


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

    Distances equal to a radius count as inside, so copies of real clips are always inside. A clip is no neighbour of
    itself, but its copies are: more than k of them have a ball of radius 0, which holds those copies alone.

    Raises:
        ValueError: other dimensions, NaN, or not more than k embeddings on a side.

    Examples:
        >>> x = np.random.default_rng(0).normal(size=(300, 2))
        >>> manifold(x, x).coverage, manifold(x + 100, x).coverage
        (1.0, 0.0)
    """
    if k < 1:
        raise ValueError(f"k must be one neighbour at least, got {k}")
    x, y = two_sets(generated, reference, least=k + 1)
    radius_x, radius_y = _radii(x, k), _radii(y, k)
    balls = np.zeros(len(x))
    covered, recalled = np.zeros(len(y), dtype=bool), np.zeros(len(y), dtype=bool)
    for start in range(0, len(x), BLOCK):
        rows = slice(start, start + BLOCK)
        # Differences are taken entry by entry: a radius and an equal distance are then equal to the last bit.
        away = cdist(x[rows], y)
        inside = away <= radius_y
        balls[rows] = inside.sum(axis=1)
        covered |= inside.any(axis=0)
        recalled |= (away <= radius_x[rows, None]).any(axis=0)
    return Manifold(float((balls > 0).mean()), float(recalled.mean()), float(balls.mean() / k), float(covered.mean()))


def vendi_score(embeddings: ArrayLike, bandwidth: float | None = None) -> float:
    """Effective number of different clips (arXiv 2210.02410): exp of the entropy of the eigenvalues of K / n.

    Args:
        embeddings: (n, d).
        bandwidth: K holds exp(-|x - y|^2 / (2 bandwidth^2)); the median distance of the real clips makes sets
            comparable (`vocalgen.metrics.kernel.median_distance`). None: K holds cosines, which are all near 1, and
            the score too, where embeddings are far from the origin in one direction.

    Returns:
        from 1, where all clips are equal, to n; with cosines to min(n, d).

    Raises:
        ValueError: no embeddings, NaN, a bandwidth that is not positive; without one, an embedding that is zero and
            has no direction.

    Examples:
        >>> round(vendi_score(np.eye(4)), 6), round(vendi_score(np.ones((4, 3))), 6)
        (4.0, 1.0)
        >>> round(vendi_score([[0.0], [0.0], [9.0], [9.0]], bandwidth=1.0), 6)
        2.0
    """
    x = np.asarray(embeddings, dtype=np.float64)
    if x.ndim != 2 or not x.size or not np.isfinite(x).all():
        raise ValueError(f"finite embeddings (n, d) are needed, got shape {x.shape}")
    similarity = _cosines(x) if bandwidth is None else gaussian(bandwidth)(x, x)
    values = np.linalg.eigvalsh(similarity / len(x))
    values = values[values > 1e-15]
    return float(np.exp(-(values * np.log(values)).sum()))


def _cosines(x: Array) -> Array:
    """A matrix with the eigenvalues of the cosines of (n, d) rows: (n, n), or (d, d) where that is smaller."""
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    if not lengths.all():
        raise ValueError(f"{int((lengths == 0).sum())} embeddings are zero and have no direction")
    x = x / lengths
    return x.T @ x if x.shape[1] < len(x) else x @ x.T


def _radii(x: Array, k: int) -> Array:
    """(n,) distance of each row to its k-th nearest other row."""
    radii = np.empty(len(x))
    for start in range(0, len(x), BLOCK):
        away = cdist(x[start : start + BLOCK], x)
        rows = np.arange(len(away))
        away[rows, start + rows] = -1  # itself comes first
        radii[start : start + BLOCK] = np.partition(away, k, axis=1)[:, k]
    return radii
