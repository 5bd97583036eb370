"""Kernel distances of sets of embeddings: KAD, KID, and a permutation test."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Kernel = Callable[[Array, Array], Array]

BLOCK = 1024
"""Rows of a kernel matrix that are held at once."""


def kad(embeddings: ArrayLike, reference: ArrayLike, bandwidth: float | None = None, scale: float = 100.0) -> float:
    """Kernel audio distance (arXiv 2502.15602): the unbiased squared MMD with a Gaussian kernel, times 100.

    Args:
        embeddings: (n, d) of the generated clips.
        reference: (m, d) of the real clips.
        bandwidth: of the kernel exp(-|x - y|^2 / (2 bandwidth^2)); None takes the median distance of the reference,
            so that one reference means one kernel. (The authors' toolkit says the same, but its code takes that of
            the evaluated set.)
        scale: the paper's factor, for readable numbers; 1 gives the squared MMD.

    Returns:
        about 0 for two samples of one distribution, and then as often below zero as above.

    Raises:
        ValueError: fewer than two rows, other dimensions, NaN, or a bandwidth that is not positive.

    Examples:
        >>> x = np.random.default_rng(0).normal(size=(400, 4))
        >>> abs(kad(x[:200], x[200:])) < 0.5 < kad(x[:200] + 1, x[200:])
        True
    """
    x, y = two_sets(embeddings, reference)
    return scale * mmd(x, y, gaussian(median_distance(y) if bandwidth is None else bandwidth))


def kid(
    embeddings: ArrayLike, reference: ArrayLike, subsets: int | None = None, size: int = 1000, seed: int = 0
) -> float:
    """Kernel inception distance (arXiv 1801.01401): the unbiased squared MMD with the kernel (x y / d + 1)^3.

    Unlike `kad` it depends on where the origin is.

    Args:
        embeddings: (n, d) of the generated clips.
        reference: (m, d) of the real clips.
        subsets: None compares all clips at once. A number averages over as many pairs of subsets, as image toolkits
            do: the same expectation at less memory and more noise.
        size: clips of a subset of either side, drawn without replacement; all where there are fewer.
        seed: of the draws.

    Raises:
        ValueError: as `kad`; no subsets, or of fewer than two clips.

    Examples:
        >>> x = np.random.default_rng(0).normal(size=(400, 4))
        >>> abs(kid(x[:200], x[200:])) < 0.2 < kid(x[:200] + 1, x[200:])
        True
    """
    x, y = two_sets(embeddings, reference)
    if subsets is None:
        return mmd(x, y, cubic)
    if subsets < 1 or size < 2:
        raise ValueError(f"one subset of two clips at least is needed, got {subsets} of {size}")
    rng = np.random.default_rng(seed)
    x, y = in_fixed_order(x), in_fixed_order(y)
    return float(np.mean([mmd(_some(x, size, rng), _some(y, size, rng), cubic) for _ in range(subsets)]))


def mmd(x: Array, y: Array, kernel: Kernel) -> float:
    """Unbiased squared maximum mean discrepancy (Gretton et al. 2012, eq. 3) of (n, d) and (m, d)."""
    n, m = len(x), len(y)
    between = sum(kernel(x[start : start + BLOCK], y).sum() for start in range(0, n, BLOCK))
    within = _within(x, kernel) / (n * (n - 1)) + _within(y, kernel) / (m * (m - 1))
    return float(within - 2 * between / (n * m))


def permutation_test(
    embeddings: ArrayLike,
    reference: ArrayLike,
    clusters: Sequence[object] | None = None,
    permutations: int = 200,
    bandwidth: float | None = None,
    seed: int = 0,
) -> float:
    """Share of random divisions of all clips whose MMD is at least that of the true one, itself counted.

    Every entry of the kernel matrix is computed once, and the matrix is never held as a whole.

    Args:
        embeddings: (n, d).
        reference: (m, d).
        clusters: n + m clusters, of the embeddings and then of the reference, that are exchanged as wholes, so that
            the sides keep their sizes only about; None exchanges single clips, which makes p too small where speakers
            have several clips.
        permutations: random divisions.
        bandwidth: of the Gaussian kernel; None takes the median distance of all clips together, because the kernel of
            a permutation test may not know which clips are real.
        seed: of the divisions.

    Returns:
        p in [1 / (permutations + 1), 1].

    Raises:
        ValueError: as `kad`; another number of clusters; a cluster on both sides; no permutations.

    Examples:
        >>> x = np.random.default_rng(0).normal(size=(80, 4))
        >>> permutation_test(x[:40], x[40:]) > 0.05 > permutation_test(x[:40] + 1, x[40:])
        True
    """
    x, y = two_sets(embeddings, reference)
    if permutations < 1:
        raise ValueError(f"at least one permutation is needed, got {permutations}")
    together = np.concatenate([x, y])
    kernel = gaussian(median_distance(together) if bandwidth is None else bandwidth)
    group = np.argsort(_order(together)) if clusters is None else _groups(clusters, len(x), len(together))
    rng = np.random.default_rng(seed)
    true = np.arange(len(together)) < len(x)
    divisions = np.stack([true, *(_division(group, len(x), rng) for _ in range(permutations))], axis=1)
    values = _divided(together, divisions.astype(np.float64), kernel)
    tolerance = 1e-12  # kernels are at most 1; the true division, met again, counts in spite of rounding
    return float((values >= values[0] - tolerance).mean())


def gaussian(bandwidth: float) -> Kernel:
    """The kernel exp(-|x - y|^2 / (2 bandwidth^2)).

    Raises:
        ValueError: the bandwidth is not positive.
    """
    if not (bandwidth > 0 and 0 < bandwidth**2 < np.inf):
        raise ValueError(f"the bandwidth must be positive, got {bandwidth}; all reference clips may be equal")
    return lambda a, b: np.exp(-squared_distances(a, b) / (2 * bandwidth**2))


def cubic(a: Array, b: Array) -> Array:
    """The kernel (x y / d + 1)^3 of (n, d) and (m, d)."""
    return np.asarray((a @ b.T / a.shape[1] + 1.0) ** 3)


def median_distance(x: ArrayLike, most: int = 2000) -> float:
    """Median Euclidean distance between different rows of (n, d); of `most` rows where there are more.

    Examples:
        >>> median_distance([[0.0], [1.0], [3.0]])
        2.0
    """
    rows = np.asarray(x, dtype=np.float64)
    if len(rows) > most:
        rows = in_fixed_order(rows)[np.linspace(0, len(rows) - 1, most).astype(int)]
    distances = np.sqrt(squared_distances(rows, rows)[np.triu_indices(len(rows), 1)])
    return float(np.median(distances))


def squared_distances(a: Array, b: Array) -> Array:
    """(n, d) and (m, d) -> (n, m) squared Euclidean distances, not below zero."""
    centre = b.mean(axis=0)  # far from the origin the differences below would drown in rounding
    a, b = a - centre, b - centre
    away = np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * a @ b.T
    return np.maximum(away, 0.0, out=away)


def in_fixed_order(x: Array) -> Array:
    """Rows sorted by their values, so that a random draw of rows does not depend on the order of files."""
    return x[_order(x)]


def two_sets(generated: ArrayLike, reference: ArrayLike, least: int = 2) -> tuple[Array, Array]:
    """Both as float64 matrices (n, d) and (m, d).

    Raises:
        ValueError: other dimensions, NaN or infinity, fewer than `least` rows.
    """
    x, y = np.asarray(generated, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or not x.shape[1] == y.shape[1] > 0:
        raise ValueError(f"two matrices of one dimension are needed, got shapes {x.shape} and {y.shape}")
    if min(len(x), len(y)) < least:
        raise ValueError(f"{least} embeddings on each side are needed, got {len(x)} and {len(y)}")
    for side, rows in (("generated", x), ("reference", y)):
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if len(bad):
            raise ValueError(
                f"{len(bad)} of {len(rows)} {side} embeddings hold NaN or infinity, the first is row {bad[0]}"
            )
    return x, y


def _order(x: Array) -> NDArray[np.int64]:
    # By the bytes of whole rows, which is some fixed order and a hundred times faster than one by numbers.
    rows = np.ascontiguousarray(x + 0.0)  # no -0.0
    return rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).ravel().argsort()


def _some(x: Array, size: int, rng: np.random.Generator) -> Array:
    return x[rng.permutation(len(x))[:size]]


def _within(x: Array, kernel: Kernel) -> float:
    """Sum of the kernel over pairs of different rows."""
    total = 0.0
    for start in range(0, len(x), BLOCK):
        part = kernel(x[start : start + BLOCK], x)
        rows = np.arange(len(part))
        part[rows, start + rows] = 0.0
        total += part.sum()
    return float(total)


def _divided(x: Array, divisions: Array, kernel: Kernel) -> Array:
    """Unbiased MMD of (n, d) rows for each division (n, P) into ones and zeros."""
    first, between, total = np.zeros(divisions.shape[1]), np.zeros(divisions.shape[1]), 0.0
    for start in range(0, len(x), BLOCK):
        part = kernel(x[start : start + BLOCK], x)
        rows = np.arange(len(part))
        part[rows, start + rows] = 0.0
        to_first, own = part @ divisions, divisions[start : start + BLOCK]
        first += (own * to_first).sum(axis=0)
        between += ((1 - own) * to_first).sum(axis=0)
        total += part.sum()
    n = divisions.sum(axis=0)
    m = len(x) - n
    second = total - first - 2 * between
    return np.asarray(first / (n * (n - 1)) + second / (m * (m - 1)) - 2 * between / (n * m))


def _groups(clusters: Sequence[object], n: int, total: int) -> NDArray[np.int64]:
    """(total,) numbers of the clusters, none of which may lie on both sides of n."""
    names = [str(cluster) for cluster in clusters]
    if len(names) != total:
        raise ValueError(f"{len(names)} clusters for {total} embeddings")
    both = sorted(set(names[:n]) & set(names[n:]))
    if both:
        raise ValueError(f"{len(both)} clusters are on both sides, the first is {both[0]}")
    return np.unique(names, return_inverse=True)[1]


def _division(group: NDArray[np.int64], n: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Clusters in random order, cut where the first side comes closest to n clips; two clips at least on each."""
    sizes = np.bincount(group)
    while True:
        order = rng.permutation(len(sizes))
        filled = np.cumsum(sizes[order])
        away = np.where((filled >= 2) & (filled <= len(group) - 2), np.abs(filled - n), len(group))
        cut = int(away.argmin())
        if away[cut] < len(group):  # so it is for some orders, as for the true division
            chosen = np.zeros(len(sizes), dtype=bool)
            chosen[order[: cut + 1]] = True
            return chosen[group]
