"""HEEP, S_GEN, agreement and scores of predictions: published values, independent formulas, policies, refusals."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from vocalgen.metrics import agreement, heep, intervals, prediction, s_gen
from vocalgen.metrics.agreement import icc, icc_one_way, krippendorff_alpha
from vocalgen.metrics.heep import heep_intervals
from vocalgen.metrics.prediction import bootstrap, ccc, mae, pearson, s_mtl, spearman, uar
from vocalgen.metrics.s_gen import SGen

Array = NDArray[np.float64]


@pytest.mark.parametrize("module", [agreement, heep, intervals, prediction, s_gen])
def test_doctests(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0 and result.failed == 0


# --- HEEP ---


def rated(n: int = 40, e: int = 4, seed: int = 0) -> tuple[Array, Array]:
    """One-hot targets and mean ratings that follow them."""
    rng = np.random.default_rng(seed)
    meant = np.eye(e)[np.arange(n) % e]
    return meant, 0.3 * meant + rng.random((n, e))


def test_heep_is_the_correlation_of_the_vectors() -> None:
    t, h = rated()
    found = heep.heep(t, h)
    assert found.overall == pytest.approx(stats.pearsonr(t.ravel(), h.ravel())[0])
    for e in range(4):
        assert found.emotions[e] == pytest.approx(stats.pearsonr(t[:, e], h[:, e])[0])
    rows = heep.heep(t, h, reading="row")
    for e in range(4):
        own = t[:, e] == 1
        assert rows.emotions[e] == pytest.approx(stats.pearsonr(t[own].ravel(), h[own].ravel())[0])
    assert rows.overall == found.overall and not found.reasons
    assert not np.allclose(rows.emotions, found.emotions)


def test_clips_of_emotions_that_are_not_rated_are_in_no_row() -> None:
    t, h = rated()
    asked = heep.heep(t[:, 1:], h[:, 1:], "row")  # ten clips were made for the first emotion
    kept = t[:, 0] == 0
    assert asked.emotions == pytest.approx(heep.heep(t[kept, 1:], h[kept, 1:], "row").emotions)
    assert (asked.elsewhere, heep.heep(t, h).elsewhere) == (10, 0)
    assert asked.overall == pytest.approx(stats.pearsonr(t[:, 1:].ravel(), h[:, 1:].ravel())[0])
    none = heep.heep(np.where(t[:, [1]] > 0, 0, t)[:, 1:], h[:, 1:], "row")
    assert np.isnan(none.emotions[0]) and none.reasons[0] == "no clip was made for it"


def test_heep_does_not_depend_on_the_scale_or_the_order_of_clips() -> None:
    t, h = rated()
    order = np.random.default_rng(1).permutation(40)
    again = heep.heep(t[order], 1 + 99 * h[order])
    assert again.overall == pytest.approx(heep.heep(t, h).overall)
    assert again.emotions == pytest.approx(heep.heep(t, h).emotions)
    assert heep.heep(t, -h).overall == pytest.approx(-heep.heep(t, h).overall)


def test_a_constant_side_is_undefined_with_the_reason() -> None:
    t, h = rated()
    h[:, 1] = 0.5
    t = np.where(t[:, [2]] == 1, np.eye(4)[0], t)  # nothing is made for the third emotion
    found = heep.heep(t, h)
    assert np.isnan(found.emotions[[1, 2]]).all() and np.isfinite(found.emotions[[0, 3]]).all()
    assert found.reasons == {1: "all ratings are equal", 2: "all targets are equal"}
    assert heep.heep(t, h, "row").reasons == {2: "no clip was made for it"}
    flat = heep.heep(t, np.ones_like(t))
    assert np.isnan(flat.overall) and flat.reasons["overall"] == "all ratings are equal"


def raters(n: int, seed: int, count: int = 6) -> tuple[Array, Array]:
    """Targets, and ratings (R, N, E) by raters who hear with noise of their own."""
    rng = np.random.default_rng(seed)
    t = np.eye(3)[np.arange(n) % 3]
    shares = 0.5 * t + 0.4 * rng.normal(size=t.shape)  # what there is to hear in a clip
    return t, shares + 0.3 * rng.normal(size=(count, 1, 1)) + 0.5 * rng.normal(size=(count, *t.shape))


def test_intervals_hold_the_true_value_about_as_often_as_they_say() -> None:
    t, r = raters(6000, 99, 40)
    true = heep.heep(t, r.mean(axis=0)).overall
    hits, widths = 0, []
    for seed in range(60):
        found = heep_intervals(*raters(45, seed, 40), draws=120, confidence=0.9, seed=seed).overall
        hits += found.low <= true <= found.high
        widths.append(found.high - found.low)
    assert 46 <= hits <= 60  # 54 expected, standard deviation 2.3
    narrow = heep_intervals(*raters(180, 0, 40), draws=120, confidence=0.9).overall
    assert narrow.high - narrow.low == pytest.approx(np.mean(widths) / 2, rel=0.35)


def test_intervals_are_of_the_heep_of_so_many_raters() -> None:
    """Quantiles of the resamples hold it 9 times of 40: their means are noisier than those they stand for."""

    def heard(seed: int) -> tuple[Array, Array]:
        rng = np.random.default_rng(seed)
        t = np.eye(12)[np.arange(96) % 12]
        return t, 0.6 * t + 0.15 * rng.normal(size=t.shape) + 0.5 * rng.normal(size=(10, *t.shape))

    expected = np.mean([heep.heep(t, r.mean(axis=0)).overall for t, r in map(heard, range(300))])
    found = [heep_intervals(*heard(seed), draws=40).overall for seed in range(40)]
    assert all(interval.low < interval.value < interval.high for interval in found)
    assert sum(interval.low <= expected <= interval.high for interval in found) >= 36


def test_few_raters_widen_the_intervals() -> None:
    def width(count: int) -> float:
        t = np.eye(3)[np.arange(90) % 3]
        rng = np.random.default_rng(0)
        own = rng.normal(size=(count, 1, 3))  # each rater's habit with each emotion
        limits = heep_intervals(t, np.array(t + 0.1 * rng.normal(size=t.shape)) + own * (t @ rng.normal(size=(3, 3))))
        return limits.overall.high - limits.overall.low

    assert width(3) > 2 * width(48)


def test_missing_ratings_count_as_not_given() -> None:
    t, r = raters(30, 0)
    r[0, ::3] = np.nan
    found = heep_intervals(t, r, draws=50)
    assert found.overall.value == pytest.approx(heep.heep(t, np.nanmean(r, axis=0)).overall)
    assert [interval.value for interval in found.emotions] == pytest.approx(
        heep.heep(t, np.nanmean(r, axis=0)).emotions.tolist()
    )
    assert found == heep_intervals(t, r, draws=50) != heep_intervals(t, r, draws=50, seed=1)
    r[:, 4, 1] = np.nan
    with pytest.raises(ValueError, match="a clip without ratings for an emotion"):
        heep_intervals(t, r)


@pytest.mark.parametrize(
    ("targets", "ratings", "message"),
    [
        (np.eye(3), np.ones((3, 2)), r"of one shape are needed, got \(3, 3\) and \(3, 2\)"),
        (np.empty((0, 3)), np.empty((0, 3)), "of one shape are needed"),
        (np.eye(3), np.full((3, 3), np.nan), "NaN or infinity in targets or ratings"),
    ],
)
def test_bad_matrices_are_refused(targets: Array, ratings: Array, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        heep.heep(targets, ratings)
    with pytest.raises(ValueError, match="targets"):
        heep_intervals(np.eye(3), np.ones((2, 4, 3)))


# --- S_GEN ---

NAMES = ("Awe", "Fear", "Horror")
FID, HEEP = {"Awe": 4.0, "Fear": 0.1}, {"Awe": 0.5, "Fear": float("nan")}


def score(**policies: Any) -> SGen:
    return s_gen.s_gen(FID, HEEP, NAMES, **policies)


def test_the_policies_of_s_gen() -> None:
    official = score()
    assert official.emotions == pytest.approx({"Awe": 0.375, "Fear": 5.0, "Horror": 0.0})
    assert official.total == pytest.approx(5.375 / 3)
    assert official.notes == ["Fear: its HEEP is not defined and counts 0", "Horror has no FID and counts 0"]
    assert score(missing="skip").total == pytest.approx(5.375 / 2)
    capped = score(cap=1.0)
    assert capped.total == pytest.approx((0.375 + 0.5) / 3)
    assert "Fear: 1 / FID 10 was capped at 1" in capped.notes
    assert np.isnan(score(undefined="nan").total)
    with pytest.raises(ValueError, match="Horror has no FID"):
        score(missing="error")
    with pytest.raises(ValueError, match="Fear has no HEEP"):
        s_gen.s_gen(FID, {"Awe": 0.5}, NAMES, missing="error")
    with pytest.raises(ValueError, match="Awe: the Fréchet distance must be positive, got 0"):
        s_gen.s_gen({"Awe": 0.0}, {"Awe": 0.1}, ("Awe",))
    with pytest.raises(ValueError, match="positive, got nan"):
        s_gen.s_gen({"Awe": float("nan")}, {"Awe": 0.1}, ("Awe",))
    with pytest.raises(ValueError, match="no emotion has both"):
        s_gen.s_gen({}, {}, NAMES, missing="skip")


# --- agreement ---


def alpha_by_pairs(r: Array) -> float:
    """One minus observed over expected disagreement, pair by pair."""
    units = [column[np.isfinite(column)] for column in r.T]
    units = [unit for unit in units if len(unit) > 1]
    pooled = np.concatenate(units)
    observed = sum(
        sum((a - b) ** 2 for i, a in enumerate(unit) for j, b in enumerate(unit) if i != j) / (len(unit) - 1)
        for unit in units
    )
    expected = sum((a - b) ** 2 for i, a in enumerate(pooled) for j, b in enumerate(pooled) if i != j)
    return float(1 - (observed / len(pooled)) / (expected / (len(pooled) * (len(pooled) - 1))))


def test_alpha_of_the_published_example() -> None:
    # Krippendorff (2011), "Computing Krippendorff's alpha-reliability", example E with interval differences: .849.
    nan = np.nan
    table = np.array(
        [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, nan, nan, nan],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, nan, 3],
            [nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, nan],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, nan],
        ]
    )
    assert krippendorff_alpha(table) == pytest.approx(0.849, abs=0.0005)
    assert krippendorff_alpha(table) == pytest.approx(alpha_by_pairs(table))
    assert krippendorff_alpha(100 - 7 * table) == pytest.approx(alpha_by_pairs(table))


def test_alpha_of_noise_is_about_zero_and_of_opposites_below() -> None:
    noise = np.random.default_rng(0).normal(size=(5, 400))
    noise[np.random.default_rng(1).random((5, 400)) < 0.3] = np.nan
    assert abs(krippendorff_alpha(noise)) < 0.08
    assert krippendorff_alpha(noise[:, :30]) == pytest.approx(alpha_by_pairs(noise[:, :30]))
    x = np.arange(10.0)
    assert krippendorff_alpha([x, x[::-1]]) < -0.5
    assert np.isnan(krippendorff_alpha(np.ones((3, 4))))
    assert np.isnan(krippendorff_alpha([[1.0, np.nan], [np.nan, 2.0]]))
    with pytest.raises(ValueError, match="ratings"):
        krippendorff_alpha([1.0, 2.0])


SHROUT_FLEISS = np.array([[9, 6, 8, 7, 10, 6], [2, 1, 4, 1, 5, 2], [5, 3, 6, 2, 6, 4], [8, 2, 8, 6, 9, 7]], float)


def test_icc_of_the_published_example() -> None:
    # Shrout and Fleiss (1979), table 4.
    published = {"icc1": 0.17, "icc2": 0.29, "icc3": 0.71, "icc1k": 0.44, "icc2k": 0.62, "icc3k": 0.91}
    assert icc(SHROUT_FLEISS)._asdict() == pytest.approx(published, abs=0.005)


def one_way_by_hand(r: Array) -> tuple[float, float]:
    """Item by item, with the ratings of each as a list."""
    groups = [column[np.isfinite(column)].tolist() for column in r.T if np.isfinite(column).any()]
    pooled = [value for group in groups for value in group]
    grand, n, count = sum(pooled) / len(pooled), len(groups), len(pooled)
    between = sum(len(g) * (sum(g) / len(g) - grand) ** 2 for g in groups) / (n - 1)
    within = sum((value - sum(g) / len(g)) ** 2 for g in groups for value in g) / (count - n)
    k = (count - sum(len(g) ** 2 for g in groups) / count) / (n - 1)
    variance = (between - within) / k
    return variance / (variance + within), variance / (variance + within / k)


def test_one_way_icc_of_unequally_many_ratings() -> None:
    nan = np.nan
    # Items (1, 3), (5), (8, 10, 12): N = 6, n = 3, grand mean 6.5. BMS = (2 * 4.5^2 + 1.5^2 + 3 * 3.5^2) / 2 = 39.75,
    # WMS = (2 + 8) / 3 = 10 / 3, k = (6 - 14 / 6) / 2 = 11 / 6.
    found = icc_one_way([[1, nan, 8], [3, 5, 10], [nan, nan, 12]])
    assert found.k == pytest.approx(11 / 6)
    assert found.icc1 == pytest.approx((39.75 - 10 / 3) / (39.75 + (11 / 6 - 1) * 10 / 3))
    assert found.icc1k == pytest.approx((39.75 - 10 / 3) / 39.75)
    noise = np.random.default_rng(0).normal(size=(8, 40)) + np.random.default_rng(1).normal(size=40)
    noise[np.random.default_rng(2).random((8, 40)) < 0.6] = nan
    assert icc_one_way(noise)[:2] == pytest.approx(one_way_by_hand(noise))
    whole = icc_one_way(SHROUT_FLEISS)
    assert (whole.icc1, whole.icc1k, whole.k) == pytest.approx((icc(SHROUT_FLEISS).icc1, icc(SHROUT_FLEISS).icc1k, 4))


def test_one_way_icc_of_many_ratings_is_the_share_of_the_items() -> None:
    rng = np.random.default_rng(0)
    r = 2 * rng.normal(size=600) + rng.normal(size=(12, 600))  # variances 4 and 1
    r[rng.random(r.shape) < 0.5] = np.nan
    assert icc_one_way(r).icc1 == pytest.approx(0.8, abs=0.03)
    assert np.isnan(icc_one_way([[1.0, 1.0], [1.0, np.nan]]).icc1)
    for bad in ([[1.0, 2.0]], [[1.0], [2.0]], [[1.0, np.nan], [np.nan, 2.0]], [[np.nan, 2.0], [np.nan, 3.0]]):
        with pytest.raises(ValueError, match="two rated items, and one of them rated twice"):
            icc_one_way(bad)


def test_icc_tells_levels_from_consistency() -> None:
    items = np.random.default_rng(0).normal(size=50)
    shifted = icc([items, items + 3, items - 2])
    assert shifted.icc3 == pytest.approx(1) and shifted.icc3k == pytest.approx(1)
    assert shifted.icc2 < 0.3 and shifted.icc1 < shifted.icc2
    k, single = 4, icc(SHROUT_FLEISS).icc3
    assert icc(SHROUT_FLEISS).icc3k == pytest.approx(k * single / (1 + (k - 1) * single))  # Spearman-Brown
    for bad in ([[1.0, 2.0]], [[1.0], [2.0]], [[1.0, np.nan], [1.0, 2.0]]):
        with pytest.raises(ValueError, match="complete ratings of two raters and two items"):
            icc(bad)


# --- predictions ---


def pair(n: int = 80, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    t = rng.normal(2, 1.5, n)
    return t, 0.6 * t + rng.normal(size=n)


def test_ccc_is_pearson_times_the_bias_correction() -> None:
    t, p = pair()
    ratio = t.std() / p.std()
    shift = (t.mean() - p.mean()) / np.sqrt(t.std() * p.std())
    expected = stats.pearsonr(t, p)[0] * 2 / (ratio + 1 / ratio + shift**2)  # Lin 1989, eq. 3
    assert ccc(t, p) == pytest.approx(expected)
    assert ccc(t, t) == pytest.approx(1) and ccc(t, 2 * t.mean() - t) == pytest.approx(-1)
    assert ccc(t, t + 1) == pytest.approx(2 * t.var() / (2 * t.var() + 1))
    assert ccc(t, np.full(80, 2.0)) == 0
    assert np.isnan(ccc([1.0, 1.0], [1.0, 1.0]))


@pytest.mark.parametrize(("n", "expected"), [(50, 0.98), (100, 0.99), (1000, 0.999)])
def test_the_official_ccc_of_a_perfect_prediction(n: int, expected: float) -> None:
    for seed in range(5):
        t = np.random.default_rng(seed).random(n)
        assert ccc(t, t, compat="hume2022") == expected == round((n - 1) / n, 4)


def test_the_official_ccc_exceeds_one_where_labels_are_missing() -> None:
    t = np.random.default_rng(0).random(500)
    p = t.copy()
    t[np.random.default_rng(1).permutation(500)[:100]] = np.nan
    assert ccc(t, p, compat="hume2022") > 1.1
    with pytest.raises(ValueError, match="NaN or infinity in truth or prediction"):
        ccc(t, p)


def test_the_official_ccc_is_rounded_and_biased() -> None:
    t, p = pair()
    n = len(t)
    covariance = ((t - t.mean()) * (p - p.mean())).sum() / n
    official = 2 * covariance / (t.var(ddof=1) + p.var(ddof=1) + (t.mean() - p.mean()) ** 2)
    assert ccc(t, p, compat="hume2022") == round(official, 4) != round(ccc(t, p), 4)


def test_correlations_are_those_of_scipy() -> None:
    t, p = pair()
    p = np.round(p)  # ties
    assert pearson(t, p) == pytest.approx(stats.pearsonr(t, p)[0])
    assert spearman(t, p) == pytest.approx(stats.spearmanr(t, p)[0])
    assert pearson(t + 1e7, p) == pytest.approx(pearson(t, p), abs=1e-7)
    assert np.isnan(pearson(t, np.ones(80))) and np.isnan(spearman(np.ones(80), p))


def test_uar_weighs_classes_alike() -> None:
    truth = np.array(["a"] * 90 + ["b"] * 9 + ["c"])
    assert uar(truth, np.full(100, "a")) == pytest.approx(1 / 3)
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    guess = np.where(rng.random(100) < 0.6, truth, rng.choice(["a", "b", "c"], 100))
    assert uar(truth, guess) == pytest.approx(metrics.balanced_accuracy_score(truth, guess))
    assert uar(truth, np.where(truth == "c", "d", truth)) == pytest.approx(2 / 3)


def test_s_mtl_is_the_harmonic_mean_with_the_inverse_error() -> None:
    assert s_mtl(0.416, 0.506, 4.22) == pytest.approx(stats.hmean([0.416, 0.506, 1 / 4.22]))
    assert round(s_mtl(0.416, 0.506, 4.22), 3) == 0.349
    assert round(s_mtl(0.416, 0.506, 4.22, literal=True), 3) == 0.650
    assert s_mtl(0.416, 0.506, 8.0) < s_mtl(0.416, 0.506, 4.0)
    assert s_mtl(0.416, 0.506, 8.0, literal=True) > s_mtl(0.416, 0.506, 4.0, literal=True)  # why it is not the default
    assert s_mtl(-0.1, 0.5, 4.0) == s_mtl(0.5, 0.0, 4.0) == 0
    for bad in ((0.4, 0.5, -1.0), (float("nan"), 0.5, 4.0), (0.4, 0.5, float("inf"))):
        with pytest.raises(ValueError, match="MAE of at least 0"):
            s_mtl(*bad)


def test_the_bootstrap_interval_is_that_of_theory() -> None:
    rng = np.random.default_rng(0)
    t = rng.normal(size=400)
    p = 0.5 * t + np.sqrt(0.75) * rng.normal(size=400)
    value, low, high = bootstrap(pearson, t, p)
    assert value == pytest.approx(pearson(t, p))
    fisher = np.tanh(np.arctanh(value) + np.array([-1.96, 1.96]) / np.sqrt(397))
    assert [low, high] == pytest.approx(fisher.tolist(), abs=0.02)


def test_the_bootstrap_by_speakers_is_wider() -> None:
    rng = np.random.default_rng(0)
    voices = np.repeat(rng.normal(size=(20, 2)), 15, axis=0)
    t, p = (voices + 0.2 * rng.normal(size=voices.shape)).T
    names = np.repeat([f"s{i}" for i in range(20)], 15).tolist()
    single, whole = bootstrap(pearson, t, p), bootstrap(pearson, t, p, names)
    assert whole.value == single.value
    assert whole.high - whole.low > 2.5 * (single.high - single.low)  # about sqrt(15)
    assert bootstrap(pearson, t, p, names, seed=3) == bootstrap(pearson, t, p, names, seed=3) != whole


def test_the_bootstrap_works_on_labels_and_refuses_what_has_no_score() -> None:
    truth = np.array(["a", "b"] * 40)
    guess = np.where(np.arange(80) < 60, truth, "a")
    value, low, high = bootstrap(uar, truth, guess, draws=300)
    assert value == 0.875 and low < value < high
    with pytest.raises(ValueError, match="79 clusters for 80 values"):
        bootstrap(uar, truth, guess, ["s"] * 79)
    with pytest.raises(ValueError, match="most resamples have no score"):
        bootstrap(pearson, np.zeros(50), np.arange(50.0))


@pytest.mark.parametrize("measure", [ccc, pearson, spearman, mae])
def test_bad_predictions_are_refused(measure: Callable[[Any, Any], float]) -> None:
    for truth, guess, message in (
        ([1.0, 2.0], [1.0], "two lists of one length"),
        ([], [], "two lists of one length"),
        ([[1.0]], [[1.0]], "two lists of one length"),
        ([1.0, np.inf], [1.0, 2.0], "NaN or infinity"),
    ):
        with pytest.raises(ValueError, match=message):
            measure(truth, guess)
    with pytest.raises(ValueError, match="two lists of labels"):
        uar(["a"], [])
