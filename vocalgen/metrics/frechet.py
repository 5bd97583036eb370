"""Fréchet distance of embeddings: streaming statistics, shrinkage, and the symmetric form of the trace."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg

Array = NDArray[np.float64]
Shrinkage = float | Literal["ledoit-wolf"] | None


@dataclass(frozen=True)
class Statistics:
    """Moments of n embeddings of dimension d, float64. Add two to merge them exactly (Chan et al. 1979).

    Args:
        count: n.
        mean: (d,).
        scatter: (d, d), sum of outer products of deviations from the mean.
        cubic: (d,), sum of |deviation|^2 times deviation.
        quartic: sum of |deviation|^4; with `cubic` it makes Ledoit-Wolf shrinkage possible after merging.
    """

    count: int
    mean: Array
    scatter: Array
    cubic: Array
    quartic: float

    @property
    def dim(self) -> int:
        """Dimension of the embeddings."""
        return len(self.mean)

    @classmethod
    def of(cls, embeddings: ArrayLike) -> Statistics:
        """Statistics of (n, d) embeddings; n may be 0.

        Raises:
            ValueError: not a matrix, or a value is NaN or infinite.

        Examples:
            >>> Statistics.of([[0.0, 1.0], [2.0, 1.0]]).mean
            array([1., 1.])
        """
        x = np.asarray(embeddings, dtype=np.float64)
        if x.ndim != 2:
            raise ValueError(f"embeddings must be a matrix (n, d), got shape {x.shape}")
        if not np.isfinite(x).all():
            rows = np.flatnonzero(~np.isfinite(x).all(axis=1))
            raise ValueError(f"{len(rows)} of {len(x)} embeddings hold NaN or infinity, the first is row {rows[0]}")
        mean = x.mean(axis=0) if len(x) else np.zeros(x.shape[1])
        deviation = x - mean
        squares = np.square(deviation).sum(axis=1)
        return cls(len(x), mean, deviation.T @ deviation, squares @ deviation, float(squares @ squares))

    @classmethod
    def merged(cls, parts: Iterable[Statistics]) -> Statistics:
        """Statistics of several parts together, as if computed at once.

        Examples:
            >>> x = np.random.default_rng(0).normal(size=(100, 3))
            >>> parts = Statistics.merged(Statistics.of(part) for part in np.split(x, 4))
            >>> bool(np.allclose(parts.scatter, Statistics.of(x).scatter))
            True
        """
        return reduce(cls.__add__, parts)

    def __add__(self, other: Statistics) -> Statistics:
        if self.dim != other.dim:
            raise ValueError(f"embeddings differ in dimension: {self.dim} and {other.dim}")
        count = self.count + other.count
        if count == 0:
            return self
        mean = self.mean + (other.mean - self.mean) * (other.count / count)
        a, b = self._moved(mean), other._moved(mean)
        return Statistics(count, mean, a.scatter + b.scatter, a.cubic + b.cubic, a.quartic + b.quartic)

    def _moved(self, centre: Array) -> Statistics:
        """The same moments about another centre: powers of |y + s|, where the deviations y sum to zero."""
        s = self.mean - centre
        square, spread = float(s @ s), float(np.trace(self.scatter))
        twice = 2 * self.scatter @ s
        return Statistics(
            self.count,
            centre,
            self.scatter + self.count * np.outer(s, s),
            self.cubic + s * spread + twice + self.count * square * s,
            self.quartic
            + 4 * float(self.cubic @ s)
            + 2 * square * spread
            + 2 * float(twice @ s)
            + self.count * square**2,
        )

    def covariance(self, shrinkage: Shrinkage = None) -> Array:
        """Unbiased covariance (d, d), moved towards a multiple of the identity if `shrinkage` is given.

        Args:
            shrinkage: None, the share of the identity in [0, 1], or "ledoit-wolf" (see `ledoit_wolf`).

        Raises:
            ValueError: n < 2; n <= d without shrinkage, where the covariance is singular.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs two embeddings at least, got {self.count}")
        if shrinkage is None and self.count <= self.dim:
            raise ValueError(
                f"{self.count} embeddings of dimension {self.dim} have a singular covariance; "
                f"take more clips, a smaller embedding, or shrinkage"
            )
        share = 0.0 if shrinkage is None else self.ledoit_wolf() if shrinkage == "ledoit-wolf" else float(shrinkage)
        if not 0 <= share <= 1:
            raise ValueError(f"shrinkage must lie in [0, 1], got {share}")
        covariance = self.scatter / (self.count - 1)
        variance = np.trace(covariance) / self.dim
        return (1 - share) * covariance + share * variance * np.eye(self.dim)

    def ledoit_wolf(self) -> float:
        """The share of the identity that is best in expected squared error (Ledoit and Wolf 2004, lemma 3.3)."""
        n, d = self.count, self.dim
        sample = self.scatter / n
        variance = np.trace(sample) / d
        norm = float(np.square(sample).sum())
        dispersion = norm - d * variance**2
        error = (self.quartic / n - norm) / n
        return float(min(max(error, 0.0) / dispersion, 1.0)) if dispersion > 0 else 0.0


def frechet_distance(a: Statistics, b: Statistics, shrinkage: Shrinkage = None) -> float:
    """Squared Fréchet distance |mu_a - mu_b|^2 + Tr(A + B - 2 (A B)^(1/2)) of two Gaussians (Dowson, Landau 1982).

    The eigenvalues of A B are those of R^T B R with A = R R^T, which is symmetric: no complex numbers, never
    negative, and singular covariances need no offset.

    Raises:
        ValueError: dimensions differ, or a covariance cannot be computed (see `Statistics.covariance`).

    Examples:
        >>> x = np.random.default_rng(0).normal(size=(200, 4))
        >>> round(frechet_distance(Statistics.of(x), Statistics.of(x + 1)), 9)
        4.0
    """
    if a.dim != b.dim:
        raise ValueError(f"embeddings differ in dimension: {a.dim} and {b.dim}")
    return gaussian_distance(a.mean, a.covariance(shrinkage), b.mean, b.covariance(shrinkage))


def gaussian_distance(mean_a: Array, covariance_a: Array, mean_b: Array, covariance_b: Array) -> float:
    """`frechet_distance` from means (d,) and covariances (d, d).

    Raises:
        ValueError: a covariance that is not symmetric, or has a negative variance.

    Examples:
        >>> gaussian_distance(np.zeros(2), np.eye(2), np.zeros(2), 4 * np.eye(2))
        2.0
    """
    for covariance in (covariance_a, covariance_b):
        _require_covariance(covariance)
    difference = mean_a - mean_b
    total = difference @ difference + np.trace(covariance_a) + np.trace(covariance_b)
    return max(float(total - 2 * np.sqrt(_product_eigenvalues(covariance_a, covariance_b).clip(min=0)).sum()), 0.0)


def _require_covariance(matrix: Array) -> None:
    """Raise ValueError unless a matrix can be a covariance, as far as its entries tell without an eigenvalue."""
    largest = float(np.abs(matrix).max())
    if float(np.abs(matrix - matrix.T).max()) > 1e-6 * largest:
        raise ValueError("a covariance is not symmetric")
    if float(np.diagonal(matrix).min()) < -1e-9 * largest:
        raise ValueError("a covariance has a negative variance on its diagonal")


def _product_eigenvalues(a: Array, b: Array) -> Array:
    """Eigenvalues (d,) of the product of two symmetric positive semidefinite matrices (d, d)."""
    # With a Cholesky factor as R all is done by symmetric solvers and no eigenvector is needed. It exists unless
    # both are singular; then R comes from the eigenvectors, at about twice the time.
    for other, definite in ((b, a), (a, b)):
        try:
            return np.asarray(linalg.eigh(other, definite, type=2, eigvals_only=True, driver="gv"))
        except linalg.LinAlgError:
            continue
    values, vectors = np.linalg.eigh(a)
    root = vectors * np.sqrt(values.clip(min=0))
    return np.asarray(np.linalg.eigvalsh(root.T @ b @ root))
