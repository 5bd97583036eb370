"""Metrics of sets of embeddings: worked values, naive formulas, the bias of small sets, and refusals."""

from __future__ import annotations

import csv
import doctest
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist, pdist
from scipy.stats import ortho_group

from vocalgen.metrics import infinity, kernel, manifold, probe
from vocalgen.metrics.frechet import Statistics, frechet_distance
from vocalgen.metrics.infinity import fd_infinity
from vocalgen.metrics.kernel import cubic, gaussian, kad, kid, median_distance, mmd, permutation_test
from vocalgen.metrics.probe import linear_probe

Array = NDArray[np.float64]


def samples(n: int, d: int, seed: int) -> Array:
    """Correlated, skewed samples."""
    rng = np.random.default_rng(seed)
    return rng.gamma(2.0, size=(n, d)) @ np.random.default_rng(99).normal(size=(d, d))


def normal(n: int, d: int, seed: int) -> Array:
    return np.random.default_rng(seed).normal(size=(n, d))


@pytest.mark.parametrize("module", [infinity, kernel, manifold, probe])
def test_doctests(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0 and result.failed == 0


# --- worked values ---


def worked() -> list[dict[str, str]]:
    with open(Path(__file__).parent / "reference" / "set_metrics.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def points(text: str) -> Array:
    return np.array([[float(value) for value in row.split()] for row in text.split(";")])


MEASURES: dict[str, Callable[[Array, Array, Any], float]] = {
    "mmd": lambda x, y, parameter: kad(x, y, bandwidth=parameter, scale=1),
    "kad": lambda x, y, _: kad(x, y),
    "kid": lambda x, y, _: kid(x, y),
    "precision": lambda x, y, k: manifold.manifold(x, y, int(k)).precision,
    "recall": lambda x, y, k: manifold.manifold(x, y, int(k)).recall,
    "density": lambda x, y, k: manifold.manifold(x, y, int(k)).density,
    "coverage": lambda x, y, k: manifold.manifold(x, y, int(k)).coverage,
    "vendi": lambda x, _, __: manifold.vendi_score(x),
    "vendi_gaussian": lambda x, _, bandwidth: manifold.vendi_score(x, bandwidth),
}


def test_every_measure_has_a_worked_value() -> None:
    assert {row["metric"] for row in worked()} == set(MEASURES)


@pytest.mark.parametrize("row", worked(), ids=lambda row: f"{row['metric']} {row['generated']}")
def test_worked_values(row: dict[str, str]) -> None:
    reference = points(row["reference"]) if row["reference"] else np.empty(0)
    parameter = float(row["parameter"]) if row["parameter"] else None
    value = MEASURES[row["metric"]](points(row["generated"]), reference, parameter)
    assert value == pytest.approx(float(row["value"]), rel=1e-12, abs=1e-12)


# --- FD-infinity ---


def with_replacement(x: Array, reference: Statistics) -> float:
    """The extrapolation of the public toolkits."""
    rng = np.random.default_rng(0)
    sizes = np.linspace(0.7 * len(x), len(x), 6).astype(int)
    heights = [
        np.mean([frechet_distance(Statistics.of(x[rng.integers(0, len(x), n)]), reference) for _ in range(8)])
        for n in sizes
    ]
    return float(np.polyfit(1 / sizes, heights, 1)[1])


@pytest.mark.parametrize("true", [0.0, 1.0])
def test_subsets_without_replacement_remove_the_bias_and_subsets_with_it_do_not(true: float) -> None:
    # A standard Gaussian in d = 16 dimensions: the bias at n = 100 is d (d + 5) / 4 n = 0.84 to first order.
    n, d = 100, 16
    exact = Statistics(10**9, np.zeros(d), np.eye(d) * (10**9 - 1), np.zeros(d), 0.0)
    plain, without, repeated = [], [], []
    for seed in range(25):
        x = normal(n, d, seed)
        x[:, 0] += np.sqrt(true)
        plain.append(frechet_distance(Statistics.of(x), exact))
        without.append(fd_infinity(x, exact).value)
        repeated.append(with_replacement(x, exact))
    assert np.mean(plain) - true == pytest.approx(0.84, abs=0.1)
    assert abs(np.mean(without) - true) < 0.15
    assert np.mean(repeated) - true > 0.6
    assert min(without) < true < max(without)  # and is not cut off at zero


def test_subsets_of_both_sides_remove_the_bias_of_the_reference_too() -> None:
    true, values = 0.0, []
    for seed in range(12):
        x, y = normal(150, 16, seed), normal(120, 16, 100 + seed)
        own = fd_infinity(x, Statistics.of(y)).value
        values.append((frechet_distance(Statistics.of(x), Statistics.of(y)), own, fd_infinity(x, y).value))
    plain, one_side, both = np.mean(values, axis=0)
    assert plain > 1.2
    assert 0.6 < one_side < plain - 0.4
    assert abs(both - true) < 0.2


def test_the_line_goes_through_its_points() -> None:
    x, reference = samples(200, 10, 0), Statistics.of(samples(3000, 10, 1))
    line = fd_infinity(x, reference)
    assert line.sizes[0] == 200 and line.sizes[-1] == 140 and len(line.sizes) == len(line.distances) == 6
    assert np.ptp(np.diff(1 / np.array(line.sizes))) < 1e-4  # evenly spaced in 1 / n
    assert line.distances[0] == pytest.approx(frechet_distance(Statistics.of(x), reference))
    assert line.slope > 0 and 0.9 < line.r2 <= 1
    fitted = line.value + line.slope / np.array(line.sizes)
    assert fitted == pytest.approx(line.distances, rel=0.04)
    assert np.sum(fitted - line.distances) == pytest.approx(0, abs=1e-9)
    correlation = np.corrcoef(1 / np.array(line.sizes), line.distances)[0, 1]
    assert line.r2 == pytest.approx(correlation**2)


def test_subsets_repeat_no_clip_and_use_all_alike() -> None:
    x = np.eye(100)  # the mean of a subset shows who is in it
    chosen = [100 * 0.7 * s.mean for s in infinity._subsets(x, 70, 6, np.random.default_rng(0))]
    members = np.round(np.array(chosen) / chosen[0].max(), 6)
    assert set(np.unique(members)) == {0, 1}
    assert (members.sum(axis=1) == 70).all()
    assert set(members.sum(axis=0)) <= {4, 5, 6} and members.sum(axis=0).mean() == 4.2


def test_more_draws_mean_less_noise() -> None:
    x, reference = samples(60, 6, 0), Statistics.of(samples(5000, 6, 1))
    few, many = (
        np.std([fd_infinity(x, reference, draws=draws, seed=seed).value for seed in range(12)]) for draws in (2, 32)
    )
    assert many < few / 2


def test_the_seed_decides_the_draws() -> None:
    x, reference = samples(60, 5, 0), Statistics.of(samples(500, 5, 1))
    assert fd_infinity(x, reference, seed=1) == fd_infinity(x, reference, seed=1)
    assert fd_infinity(x, reference, seed=1) != fd_infinity(x, reference, seed=2)


def test_shrinkage_allows_fewer_clips_than_dimensions() -> None:
    x, reference = samples(20, 30, 0), Statistics.of(samples(500, 30, 1))
    with pytest.raises(ValueError, match="smallest subset has 14 of 20 generated embeddings of dimension 30"):
        fd_infinity(x, reference)
    assert np.isfinite(fd_infinity(x, reference, shrinkage="ledoit-wolf").value)


# --- kernels ---


def mmd_by_loops(x: Array, y: Array, k: Callable[[Array, Array], float]) -> float:
    n, m = len(x), len(y)
    own = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    others = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return float(own + others - 2 * np.mean([[k(a, b) for b in y] for a in x]))


def test_kernel_distances_are_those_of_loops() -> None:
    x, y = samples(13, 4, 0), samples(17, 4, 1)
    width = float(np.median(pdist(y)))
    assert median_distance(y) == pytest.approx(width)

    def bell(a: Array, b: Array) -> float:
        return float(np.exp(-np.square(a - b).sum() / (2 * width**2)))

    assert kad(x, y) == pytest.approx(100 * mmd_by_loops(x, y, bell), rel=1e-9)
    assert kad(x, y, bandwidth=width, scale=1000) == pytest.approx(10 * kad(x, y), rel=1e-9)
    assert kid(x, y) == pytest.approx(mmd_by_loops(x, y, lambda a, b: float((a @ b / 4 + 1) ** 3)), rel=1e-9)


def test_kad_is_unbiased() -> None:
    # E k for two standard Gaussians whose means are `shift` apart: (s / (s + 2))^(d / 2) exp(-shift^2 / (2 (s + 2))).
    d, shift, s = 3, 0.8, 4.0
    true = 2 * (s / (s + 2)) ** (d / 2) * (1 - np.exp(-(shift**2) / (2 * (s + 2))))
    values = []
    for seed in range(400):
        x = normal(20, d, seed)
        x[:10, 0] += shift
        values.append(kad(x[:10], x[10:], bandwidth=2.0, scale=1))
    assert np.mean(values) == pytest.approx(true, abs=4 * np.std(values) / 20)
    assert true > 8 * np.std(values) / 20 and min(values) < 0


def test_kid_of_subsets_has_the_expectation_of_all() -> None:
    x, y = samples(120, 4, 0), samples(90, 4, 1) + 0.5
    assert kid(x, y, subsets=3) == pytest.approx(kid(x, y), rel=1e-9)  # 1000 are all of them
    draws = np.array([kid(x, y, subsets=1, size=30, seed=seed) for seed in range(300)])
    assert draws.mean() == pytest.approx(kid(x, y), abs=4 * draws.std() / np.sqrt(300))
    assert kid(x, y, subsets=40, size=30) == pytest.approx(kid(x, y), abs=4 * draws.std() / np.sqrt(40))


def test_distances_survive_a_large_offset() -> None:
    x, y = samples(30, 4, 0), samples(40, 4, 1)
    assert kad(x + 1e6, y + 1e6) == pytest.approx(kad(x, y), abs=1e-5)
    assert np.allclose(kernel.squared_distances(x + 1e6, y + 1e6), cdist(x, y) ** 2, atol=1e-6)


def test_median_of_many_rows_is_about_that_of_all() -> None:
    x = samples(900, 3, 0)
    assert median_distance(x, most=300) == pytest.approx(float(np.median(pdist(x))), rel=0.05)
    assert median_distance(x, most=300) == median_distance(x[::-1], most=300)


def test_permutation_p_is_that_of_all_divisions() -> None:
    x, y = normal(4, 2, 0), normal(4, 2, 1) + 0.9
    together = np.concatenate([x, y])
    bell = gaussian(float(np.median(pdist(together))))
    values = [mmd(together[list(rows)], np.delete(together, rows, axis=0), bell) for rows in combinations(range(8), 4)]
    exact = float(np.mean(np.array(values) >= values[0] - 1e-12))
    assert 0.02 < exact < 0.5
    assert permutation_test(x, y, permutations=4000) == pytest.approx(exact, abs=0.03)


def test_permutation_p_is_fair_between_equals() -> None:
    p = [permutation_test(normal(15, 3, seed), normal(12, 3, 1000 + seed), permutations=99) for seed in range(100)]
    assert 0.4 < np.mean(p) < 0.6
    assert np.mean(np.array(p) <= 0.1) < 0.2
    assert min(p) >= 0.01


def test_clusters_are_exchanged_as_wholes() -> None:
    names = [f"{side}{speaker}" for side in "ab" for speaker in range(8) for _ in range(6)]
    single, whole = [], []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        voices = np.repeat(rng.normal(size=(16, 3)), 6, axis=0) * 2
        x = voices + rng.normal(size=voices.shape)
        single.append(permutation_test(x[:48], x[48:], permutations=99))
        whole.append(permutation_test(x[:48], x[48:], names, permutations=99))
    assert np.mean(np.array(single) < 0.05) > 0.5  # speakers differ, the sides do not
    assert np.mean(np.array(whole) < 0.05) < 0.2
    assert permutation_test(x[:48] + 6, x[48:], names, permutations=99) == 0.01


def test_divisions_keep_clusters_whole_and_sides_near_their_sizes() -> None:
    group = np.repeat(np.arange(12), [1, 2, 3] * 4)
    rng = np.random.default_rng(0)
    for _ in range(50):
        first = kernel._division(group, 10, rng)
        assert all(len(set(first[group == cluster])) == 1 for cluster in range(12))
        assert abs(first.sum() - 10) <= 1
    lopsided = np.repeat(np.arange(3), [18, 1, 1])
    assert {int(kernel._division(lopsided, 2, rng).sum()) for _ in range(20)} == {2, 18}


# --- manifold and Vendi ---


def manifold_by_loops(x: Array, y: Array, k: int) -> tuple[float, float, float, float]:
    def radius(rows: Array, i: int) -> float:
        return sorted(float(np.sqrt(np.square(rows[i] - row).sum())) for row in np.delete(rows, i, axis=0))[k - 1]

    def inside(a: Array, rows: Array, i: int) -> bool:
        return float(np.sqrt(np.square(a - rows[i]).sum())) <= radius(rows, i)

    hits = np.array([[inside(a, y, j) for j in range(len(y))] for a in x])
    back = np.array([[inside(b, x, i) for i in range(len(x))] for b in y])
    return hits.any(1).mean(), back.any(1).mean(), hits.sum() / (k * len(x)), hits.any(0).mean()


@pytest.mark.parametrize("k", [1, 3, 5])
def test_manifold_is_that_of_loops_with_ties_and_copies(k: int) -> None:
    rng = np.random.default_rng(k)
    x, y = rng.integers(0, 4, (25, 2)) + 2.0, rng.integers(0, 5, (30, 2)) + 0.0
    assert len(np.unique(x, axis=0)) < 25  # copies within
    assert manifold.manifold(x, y, k) == pytest.approx(manifold_by_loops(x, y, k))


def test_copies_of_the_reference_are_all_inside() -> None:
    y = samples(200, 40, 0) + 1e3
    shape = manifold.manifold(y[::-1], y, k=5)
    assert shape.precision == shape.recall == shape.coverage == 1
    # k neighbours and the copy itself on average, whatever the rounding: each ball holds exactly k + 1 clips.
    assert shape.density == pytest.approx(6 / 5, rel=1e-12)


def test_samples_of_the_reference_distribution_have_density_one() -> None:
    shape = manifold.manifold(samples(600, 3, 0), samples(600, 3, 1))
    assert shape.density == pytest.approx(1, abs=0.1)
    assert shape.coverage == pytest.approx(1 - 0.5**5, abs=0.04)  # eq. 9 of the paper for n = m


def test_a_collapsed_generator_is_faithful_and_not_diverse() -> None:
    real = normal(300, 6, 0) + 5
    collapsed = np.tile(real.mean(axis=0), (100, 1))
    shape = manifold.manifold(collapsed, real)
    assert shape.precision == 1 and shape.density > 1
    assert shape.recall == 0 and shape.coverage < 0.5
    assert manifold.vendi_score(collapsed) == pytest.approx(1)
    assert manifold.vendi_score(collapsed, median_distance(real)) == pytest.approx(1)
    assert manifold.vendi_score(real, median_distance(real)) > 5
    assert kad(collapsed, real) > 5 * abs(kad(normal(100, 6, 1) + 5, real))
    assert permutation_test(collapsed, real, permutations=99) == 0.01


def test_vendi_is_the_same_by_clips_and_by_dimensions() -> None:
    for n, d in ((9, 30), (30, 9)):
        x = samples(n, d, 0)
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        values = np.linalg.eigvalsh(unit @ unit.T / n)
        expected = np.exp(-sum(value * np.log(value) for value in values if value > 1e-13))
        assert manifold.vendi_score(x) == pytest.approx(expected, rel=1e-9)
    assert manifold.vendi_score(3 * x) == pytest.approx(expected, rel=1e-9)
    far = manifold.vendi_score(normal(40, 5, 0) * 1000, bandwidth=0.1)
    assert far == pytest.approx(40)


# --- linear probe ---


def test_probe_is_the_nearest_mean_in_the_shrunk_metric() -> None:
    covariance = pytest.importorskip("sklearn.covariance")
    x, other = samples(90, 12, 0), samples(60, 12, 1)
    y, truth = np.arange(90) % 3, np.arange(60) % 3
    x += 1.5 * np.eye(3, 12)[y]
    other += 1.5 * np.eye(3, 12)[truth]
    means = np.stack([x[y == label].mean(axis=0) for label in range(3)])
    shrunk, _ = covariance.ledoit_wolf(x - means[y], assume_centered=True)
    nearest = cdist(other, means, "mahalanobis", VI=np.linalg.inv(shrunk)).argmin(axis=1)
    result = linear_probe(x, y, other, truth)
    assert (result.predictions == nearest).all()
    assert result.accuracy == pytest.approx(np.mean(nearest == truth))
    recalls = [np.mean(nearest[truth == label] == label) for label in range(3)]
    assert result.uar == pytest.approx(np.mean(recalls))


def test_a_class_absent_from_training_counts_as_wrong() -> None:
    x = np.random.default_rng(0).normal(size=(90, 4)) * 0.1 + np.repeat(np.eye(3, 4), 30, axis=0) * 10
    names = np.repeat(["awe", "fear", "joy"], 30)
    assert linear_probe(x, names, x, names)[:2] == (1.0, 1.0)
    seen = names != "joy"
    result = linear_probe(x[seen], names[seen], x[20:], names[20:])
    assert result.accuracy == pytest.approx(40 / 70)
    assert result.uar == pytest.approx(2 / 3)
    assert set(result.predictions) <= {"awe", "fear"}


def test_probe_of_a_collapsed_generator_takes_the_nearest_clip() -> None:
    real = normal(60, 5, 0) * 0.2 + np.repeat(np.eye(3, 5), 20, axis=0)
    labels = np.repeat(np.arange(3), 20)
    collapsed = np.repeat([real[labels == label].mean(axis=0) for label in range(3)], 7, axis=0)
    result = linear_probe(collapsed, np.repeat(np.arange(3), 7), real, labels)
    assert (result.predictions == cdist(real, collapsed[::7]).argmin(axis=1)).all()
    assert result.accuracy > 0.9
    assert linear_probe(np.ones((21, 5)), np.repeat(np.arange(3), 7), real, labels).uar == pytest.approx(1 / 3)


# --- what may change and what may not ---


def every_value(x: Array, y: Array) -> dict[str, float]:
    shape = manifold.manifold(x, y)
    return {
        **shape._asdict(),
        "kad": kad(x, y),
        "kid": kid(x, y),
        "kid of subsets": kid(x, y, subsets=3, size=20),
        "p": permutation_test(x, y, permutations=50),
        "vendi": manifold.vendi_score(x),
        "vendi, Gaussian": manifold.vendi_score(x, median_distance(y)),
        "fd_infinity": fd_infinity(x, Statistics.of(y)).value,
        "fd_infinity of both": fd_infinity(x, y).value,
    }


def test_the_order_of_rows_does_not_matter() -> None:
    x, y = samples(50, 6, 0), samples(60, 6, 1) + 0.5
    x[10:13] = x[0]
    rng = np.random.default_rng(5)
    expected = every_value(x, y)
    assert 0.02 < expected["p"] < 1
    assert every_value(x[rng.permutation(50)], y[rng.permutation(60)]) == pytest.approx(expected, rel=1e-8)


def test_the_size_of_blocks_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = samples(50, 6, 0), samples(61, 6, 1) + 0.5
    expected = every_value(x, y)
    for size in (1, 7, 50):
        monkeypatch.setattr(kernel, "BLOCK", size)
        monkeypatch.setattr(manifold, "BLOCK", size)
        assert every_value(x, y) == pytest.approx(expected, rel=1e-8)


def test_distances_do_not_depend_on_the_axes() -> None:
    x, y = samples(50, 6, 0), samples(60, 6, 1) + 0.5
    rotation = ortho_group.rvs(6, random_state=0)
    drawn = {"p", "kid of subsets", "fd_infinity", "fd_infinity of both"}  # the draws go with the values
    expected, turned, moved = every_value(x, y), every_value(x @ rotation, y @ rotation), every_value(x + 3, y + 3)
    for name in set(expected) - drawn:
        assert turned[name] == pytest.approx(expected[name], rel=1e-8), name
    of_the_origin = {"kid", "vendi"}
    for name in set(expected) - drawn - of_the_origin:
        assert moved[name] == pytest.approx(expected[name], rel=1e-8), name
    for name in of_the_origin:
        assert moved[name] != pytest.approx(expected[name], rel=1e-2), name
    labels = np.arange(50) % 2
    same = linear_probe(x, labels, y, np.arange(60) % 2).predictions
    assert (linear_probe(x @ rotation + 1e4, labels, y @ rotation + 1e4, np.arange(60) % 2).predictions == same).all()


# --- refusals ---

GOOD = normal(20, 3, 0)
BAD = GOOD.copy()
BAD[4, 1] = np.nan


@pytest.mark.parametrize(
    "measure",
    [kad, kid, permutation_test, manifold.manifold, lambda x, y: fd_infinity(x, Statistics.of(GOOD))],
)
def test_nan_is_refused(measure: Callable[[Array, Array], object]) -> None:
    with pytest.raises(ValueError, match=r"1 of 20 .*embeddings hold NaN or infinity, the first is row 4"):
        measure(BAD, GOOD)


LABELS = np.arange(20) % 2

REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "one clip": (lambda: kad(GOOD[:1], GOOD), "2 embeddings on each side are needed, got 1 and 20"),
    "dimensions": (lambda: kad(GOOD[:, :2], GOOD), r"one dimension are needed, got shapes \(20, 2\)"),
    "no dimensions": (lambda: kad(GOOD[:, :0], GOOD[:, :0]), "one dimension are needed"),
    "a vector": (lambda: kid(GOOD[0], GOOD), "two matrices"),
    "NaN in the reference": (lambda: kad(GOOD, BAD), "1 of 20 reference embeddings"),
    "bandwidth": (lambda: kad(GOOD, GOOD, bandwidth=0.0), "bandwidth must be positive"),
    "vanishing bandwidth": (lambda: kad(GOOD, GOOD, bandwidth=1e-300), "bandwidth must be positive"),
    "collapsed reference": (lambda: kad(GOOD, np.ones((9, 3))), "all reference clips may be equal"),
    "no subsets": (lambda: kid(GOOD, GOOD, subsets=0), "one subset of two clips"),
    "small subsets": (lambda: kid(GOOD, GOOD, subsets=1, size=1), "one subset of two clips"),
    "no permutations": (lambda: permutation_test(GOOD, GOOD, permutations=0), "at least one permutation"),
    "clusters": (lambda: permutation_test(GOOD, GOOD, clusters="abc"), "3 clusters for 40 embeddings"),
    "shared clusters": (
        lambda: permutation_test(GOOD, GOOD, clusters=["ann"] * 40),
        "1 clusters are on both sides, the first is ann",
    ),
    "k": (lambda: manifold.manifold(GOOD, GOOD, k=0), "k must be one"),
    "few neighbours": (lambda: manifold.manifold(GOOD[:5], GOOD), "6 embeddings on each side are needed, got 5 and 20"),
    "zero vector": (lambda: manifold.vendi_score(np.zeros((2, 3))), "2 embeddings are zero"),
    "no clips": (lambda: manifold.vendi_score(np.empty((0, 3))), "finite embeddings"),
    "NaN in Vendi": (lambda: manifold.vendi_score(BAD), "finite embeddings"),
    "few clips": (lambda: fd_infinity(GOOD[:7], Statistics.of(GOOD)), "7 generated embeddings are too few"),
    "few real clips": (lambda: fd_infinity(GOOD, GOOD[:6]), "6 real embeddings are too few"),
    "wide": (lambda: fd_infinity(normal(20, 14, 0), Statistics.of(normal(99, 14, 1))), "a singular covariance"),
    "share": (lambda: fd_infinity(GOOD, Statistics.of(GOOD), smallest=1.0), r"must lie in \(0, 1\)"),
    "one size": (lambda: fd_infinity(GOOD, Statistics.of(GOOD), smallest=0.99), "leaves one size only"),
    "points": (lambda: fd_infinity(GOOD, Statistics.of(GOOD), points=1), "points 1 be two"),
    "other dimension": (lambda: fd_infinity(GOOD, Statistics.of(GOOD[:, :2])), "differ in dimension"),
    "lost labels": (lambda: linear_probe(GOOD, LABELS[1:], GOOD, LABELS), "each embedding needs a label"),
    "one class": (lambda: linear_probe(GOOD, LABELS * 0, GOOD, LABELS), "20 embeddings of 1 classes"),
    "a clip a class": (lambda: linear_probe(GOOD, np.arange(20), GOOD, LABELS), "20 embeddings of 20 classes"),
    "NaN in training": (lambda: linear_probe(BAD, LABELS, GOOD, LABELS), "1 of 20 embeddings hold NaN"),
    "NaN in the test": (lambda: linear_probe(GOOD, LABELS, BAD, LABELS), "finite matrices"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    act, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        act()


def test_the_cubic_kernel_is_that_of_the_paper() -> None:
    assert cubic(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])) == pytest.approx(np.array([[(11 / 2 + 1) ** 3]]))
