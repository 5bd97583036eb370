"""Fréchet distance: agreement with scipy, exact merging, shrinkage, refusals."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import linalg

from vocalgen.metrics import frechet
from vocalgen.metrics.frechet import Statistics, frechet_distance, gaussian_distance


def samples(n: int, d: int, seed: int) -> NDArray[np.float64]:
    """Correlated, skewed samples."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(1).normal(size=(d, d))
    return rng.gamma(1.0 + rng.random(d), size=(n, d)) @ mixing + 0.3 * seed


def by_sqrtm(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    difference = a.mean(0) - b.mean(0)
    first, second = np.cov(a.T), np.cov(b.T)
    root = linalg.sqrtm(first @ second).real
    return float(difference @ difference + np.trace(first + second - 2 * root))


def test_doctests() -> None:
    assert doctest.testmod(frechet).failed == 0


@pytest.mark.parametrize(("n", "d"), [(50, 3), (300, 64), (700, 200)])
def test_agrees_with_the_sqrtm_form(n: int, d: int) -> None:
    a, b = samples(n, d, 0), samples(n + 13, d, 1)
    expected = by_sqrtm(a, b)
    assert frechet_distance(Statistics.of(a), Statistics.of(b)) == pytest.approx(expected, rel=1e-6)


def test_known_value() -> None:
    # Commuting covariances: |m|^2 + sum (sqrt(a) - sqrt(b))^2.
    a, b = np.diag([1.0, 4.0, 9.0]), np.diag([4.0, 1.0, 16.0])
    assert gaussian_distance(np.zeros(3), a, np.array([2.0, 0, 0]), b) == pytest.approx(4 + 1 + 1 + 1)


def test_singular_covariances_give_neither_negative_nor_complex_distances() -> None:
    flat = samples(60, 3, 0) @ np.random.default_rng(2).normal(size=(3, 20))
    statistics = Statistics.of(flat)
    value = frechet_distance(statistics, statistics)
    assert isinstance(value, float)
    assert 0 <= value < 1e-5 * np.trace(statistics.covariance())
    point = Statistics.of(np.ones((30, 20)))
    spread = np.trace(statistics.covariance()) + np.square(statistics.mean - 1).sum()
    assert frechet_distance(point, statistics) == pytest.approx(spread)


@pytest.mark.parametrize("singular", [(), (0,), (1,), (0, 1)])
def test_singular_or_not_the_closed_form_of_commuting_covariances_holds(singular: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    spectra = rng.gamma(1.0, size=(2, 40)) * 10
    for side in singular:
        spectra[side, :15] = 0
    a, b = ((axes * spectrum) @ axes.T for spectrum in spectra)
    expected = np.square(np.sqrt(spectra[0]) - np.sqrt(spectra[1])).sum()
    zero = np.zeros(40)
    for first, second in ((a, b), (b, a)):
        assert gaussian_distance(zero, first, zero, second) == pytest.approx(expected, rel=1e-6)


def test_nearly_singular_covariances_agree_with_the_eigenvalue_form() -> None:
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(30, 30)))[0]
    a = (axes * 10.0 ** np.linspace(-12, 2, 30)) @ axes.T
    b = np.cov(samples(90, 30, 0).T)
    values, vectors = np.linalg.eigh(a)
    root = vectors * np.sqrt(values.clip(min=0)) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ b @ root).clip(min=0)).sum()
    zero = np.zeros(30)
    assert gaussian_distance(zero, a, zero, b) == pytest.approx(np.trace(a + b) - 2 * cross, rel=1e-6)


def test_symmetric_and_zero_on_itself() -> None:
    a, b = Statistics.of(samples(90, 8, 0)), Statistics.of(samples(70, 8, 1))
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(a, b) > 1


def test_merging_parts_equals_all_at_once() -> None:
    x = samples(500, 12, 0) + 1000
    parts = Statistics.merged(Statistics.of(part) for part in np.split(x, [0, 1, 7, 300]))
    whole = Statistics.of(x)
    assert parts.count == 500
    for name in ("mean", "scatter", "cubic", "quartic"):
        got, expected = getattr(parts, name), getattr(whole, name)
        assert np.allclose(got, expected, rtol=1e-7, atol=1e-7 * np.abs(expected).max()), name
    assert np.allclose(whole.covariance(), np.cov(x.T))
    assert parts.ledoit_wolf() == pytest.approx(whole.ledoit_wolf(), rel=1e-6)


@pytest.mark.parametrize(("n", "d"), [(40, 10), (30, 60)])
def test_ledoit_wolf_is_that_of_scikit_learn(n: int, d: int) -> None:
    covariance = pytest.importorskip("sklearn.covariance")
    x = samples(n, d, 0)
    assert Statistics.of(x).ledoit_wolf() == pytest.approx(covariance.ledoit_wolf_shrinkage(x), rel=1e-6)


def test_shrinkage_makes_small_folds_comparable() -> None:
    a, b = Statistics.of(samples(30, 60, 0)), Statistics.of(samples(30, 60, 1))
    with pytest.raises(ValueError, match="30 embeddings of dimension 60 have a singular covariance"):
        frechet_distance(a, b)
    assert np.isfinite(frechet_distance(a, b, "ledoit-wolf"))
    full = a.covariance(1.0)
    assert np.allclose(full, np.eye(60) * np.trace(a.scatter) / 29 / 60)


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        ([[0.0, np.nan], [1.0, 2.0]], "1 of 2 embeddings hold NaN or infinity, the first is row 0"),
        ([1.0, 2.0], "must be a matrix"),
    ],
)
def test_bad_embeddings_are_refused(embeddings: list[object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Statistics.of(embeddings)  # type: ignore[arg-type]


def test_unequal_dimensions_and_bad_shrinkage_are_refused() -> None:
    a, b = Statistics.of(samples(20, 3, 0)), Statistics.of(samples(20, 4, 0))
    with pytest.raises(ValueError, match="differ in dimension: 3 and 4"):
        frechet_distance(a, b)
    with pytest.raises(ValueError, match="differ in dimension"):
        a + b
    with pytest.raises(ValueError, match="shrinkage must lie in"):
        a.covariance(1.5)
    with pytest.raises(ValueError, match="two embeddings at least"):
        Statistics.of([[1.0, 2.0]]).covariance(0.5)
