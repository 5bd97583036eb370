"""Kernel distances of sets of embeddings: KAD, KID, and a permutation test."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Kernel = Callable[[Array, Array], Array]

SCALE = 1000.0
"""Factor of KAD, for readable numbers."""

BLOCK = 2048
"""Rows of a kernel matrix that are held at once."""


def kad(embeddings: ArrayLike, reference: ArrayLike, bandwidth: float | None = None) -> float:
    """Kernel audio distance (arXiv 2502.15602): 1000 times the unbiased squared MMD with a Gaussian kernel.

    Args:
        embeddings: (n, d) of the generated clips.
        reference: (m, d) of the real clips.
        bandwidth: of the kernel exp(-|x - y|^2 / (2 bandwidth^2)); None takes the median distance of the reference.

    Returns:
        about 0 for two samples of one distribution, and then as often below zero as above.

    Raises:
        ValueError: fewer than two rows, other dimensions, NaN, or a bandwidth that is not positive.

    Examples:
        >>> x = np.random.default_rng(0).normal(size=(400, 4))
        >>> abs(kad(x[:200], x[200:])) < 5 < kad(x[:200] + 1, x[200:])
        True
    """
    x, y = _pair(embeddings, reference)
    return SCALE * mmd(x, y, gaussian(median_distance(y) if bandwidth is None else bandwidth))


def kid(embeddings: ArrayLike, reference: ArrayLike) -> float:
    """Kernel inception distance (arXiv 1801.01401): the unbiased squared MMD with the kernel (x y / d + 1)^3.

    Of all clips at once, not of the subsets that image toolkits average.

    Raises:
        ValueError: as `kad`.

    Examples:
        >>> x = np.random.default_rng(0).normal(size=(400, 4))
        >>> abs(kid(x[:200], x[200:])) < 0.2 < kid(x[:200] + 1, x[200:])
        True
    """
    x, y = _pair(embeddings, reference)
    return mmd(x, y, lambda a, b: (a @ b.T / a.shape[1] + 1.0) ** 3)


def mmd(x: Array, y: Array, kernel: Kernel) -> float:
    """Unbiased squared maximum mean discrepancy (Gretton et al. 2012, eq. 3) of (n, d) and (m, d)."""
    n, m = len(x), len(y)
    within_x = _sum(x, x, kernel) - _diagonal(x, kernel)
    within_y = _sum(y, y, kernel) - _diagonal(y, kernel)
    return float(within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2 * _sum(x, y, kernel) / (n * m))


def permutation_test(
    embeddings: ArrayLike,
    reference: ArrayLike,
    clusters: Sequence[object] | None = None,
    permutations: int = 200,
    bandwidth: float | None = None,
    seed: int = 0,
) -> float:
    """Share of random divisions of all clips whose KAD is at least that of the true one, itself counted.

    Args:
        embeddings: (n, d).
        reference: (m, d).
        clusters: n + m clusters, of the embeddings and then of the reference, that are exchanged as wholes; None
            exchanges single clips, which makes p too small where speakers have several clips.
        permutations: random divisions.

    Returns:
        p in [1 / (permutations + 1), 1].

    Raises:
        ValueError: as `kad`; another number of clusters; no permutations.

    Examples:
        >>> x = np.random.default_rng(0).normal(size=(80, 4))
        >>> permutation_test(x[:40], x[40:]) > 0.05 > permutation_test(x[:40] + 1, x[40:])
        True
    """
    x, y = _pair(embeddings, reference)
    if permutations < 1:
        raise ValueError(f"at least one permutation is needed, got {permutations}")
    n, total = len(x), len(x) + len(y)
    names = [str(entry) for entry in (range(total) if clusters is None else clusters)]
    if len(names) != total:
        raise ValueError(f"{len(names)} clusters for {total} embeddings")
    _, group = np.unique(names, return_inverse=True)
    together = np.concatenate([x, y])
    matrix = gaussian(median_distance(y) if bandwidth is None else bandwidth)(together, together)
    np.fill_diagonal(matrix, 0.0)
    rng = np.random.default_rng(seed)
    observed = _divided(matrix, np.arange(total) < n)
    larger = sum(_divided(matrix, _division(group, n, rng)) >= observed for _ in range(permutations))
    return (larger + 1) / (permutations + 1)


def gaussian(bandwidth: float) -> Kernel:
    """The kernel exp(-|x - y|^2 / (2 bandwidth^2))."""
    if not bandwidth > 0:
        raise ValueError(f"the bandwidth must be positive, got {bandwidth}; all reference clips may be equal")
    return lambda a, b: np.exp(-squared_distances(a, b) / (2 * bandwidth**2))


def median_distance(x: ArrayLike, most: int = 2000) -> float:
    """Median Euclidean distance between different rows; of `most` rows, evenly spaced, where there are more."""
    rows = np.asarray(x, dtype=np.float64)
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(int)]
    distances = squared_distances(rows, rows)[np.triu_indices(len(rows), 1)]
    return float(np.sqrt(np.median(distances)))


def squared_distances(a: Array, b: Array) -> Array:
    """(n, d) and (m, d) -> (n, m) squared Euclidean distances, not below zero."""
    away = np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * a @ b.T
    return np.maximum(away, 0.0, out=away)


def _sum(x: Array, y: Array, kernel: Kernel) -> float:
    return float(sum(kernel(x[start : start + BLOCK], y).sum() for start in range(0, len(x), BLOCK)))


def _diagonal(x: Array, kernel: Kernel) -> float:
    return float(sum(np.trace(kernel(x[i : i + 64], x[i : i + 64])) for i in range(0, len(x), 64)))


def _divided(matrix: Array, first: NDArray[np.bool_]) -> float:
    """Unbiased MMD from a kernel matrix without its diagonal, for the division `first` and the rest."""
    side = first.astype(np.float64)
    other = 1 - side
    n, m = side.sum(), other.sum()
    rows = matrix @ side
    total = matrix.sum(axis=1) - rows
    return float(side @ rows / (n * (n - 1)) + other @ total / (m * (m - 1)) - 2 * other @ rows / (n * m))


def _division(group: NDArray[np.int64], n: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Clusters in random order until n clips are reached; at least two clips on either side."""
    order = rng.permutation(group.max() + 1)
    sizes = np.bincount(group)[order]
    taken = max(int(np.searchsorted(np.cumsum(sizes), n, side="right")), 1)
    chosen = np.isin(group, order[:taken])
    return chosen if 2 <= chosen.sum() <= len(group) - 2 else rng.permutation(np.arange(len(group)) < n)


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"two matrices of one dimension are needed, got shapes {x.shape} and {y.shape}")
    if min(len(x), len(y)) < 2:
        raise ValueError(f"two embeddings on each side are needed, got {len(x)} and {len(y)}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("NaN or infinity in the embeddings")
    return x, y
