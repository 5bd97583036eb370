"""What systems of the benchmark see of a corpus, and the perceptron and linear models against independent formulas."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import LinearSVR
from sklearn.utils.class_weight import compute_class_weight

from vocalgen import VocalgenError
from vocalgen.corpora.hume_vocalburst import COUNTRIES, CULTURE, LABELS
from vocalgen.corpora.manifest import Clip, Manifest
from vocalgen.emotions import EMOGATOR30, HUME10, one_hot
from vocalgen.metrics.prediction import bootstrap, mae, uar
from vocalgen.tasks import mlp
from vocalgen.tasks.linear import LrSettings, SvrSettings, search
from vocalgen.tasks.mlp import MlpSettings, MultiTaskMlp, class_weights, loss_of, train_mlp
from vocalgen.tasks.scaling import scaling
from vocalgen.tasks.scores import intervals
from vocalgen.tasks.system import TaskData, quality, task_data
from vocalgen.tasks.task import TASKS, Array

Float = NDArray[np.float32]
EXVO = TASKS["exvo-multitask"]
SPLITS = ("train", "validation", "test")


def vocalburst(path: Path, each: int = 12, **fixed: Any) -> Path:
    """A manifest of HUME-VOCALBURST with all labels, also of test clips."""
    clips = []
    for number in range(3 * each):
        random = np.random.default_rng(number)
        labels = dict.fromkeys(LABELS, "") | {"Country": COUNTRIES[number % 4], "Age": f"{20 + number % each}"}
        labels |= {name: f"{random.uniform():.3f}" for name in CULTURE} | fixed
        split = SPLITS[number // each]
        values = tuple(random.uniform(0, 1, 10).round(3).tolist())
        clips.append(
            Clip(f"{number:05d}", path.parent / f"{number}.wav", split, f"{split} {number % 3}", 1.0, (), values,
                 tuple(labels.values()))
        )  # fmt: skip
    Manifest(HUME10, tuple(clips), labels=LABELS).save(path)
    return path


def made(task: str, truth: dict[str, Array], splits: list[str]) -> TaskData:
    n = len(splits)
    ids = tuple(map(str, range(n)))
    return TaskData(TASKS[task], Path("made.csv"), ids, ("",) * n, np.array(splits), truth, np.zeros(n, dtype=bool))


def classes(seed: int, each: int = 60, count: int = 3) -> tuple[TaskData, Float]:
    """EmoGator's task with `count` classes that features tell apart."""
    random = np.random.default_rng(seed)
    labels = np.arange(3 * each) % count
    x = random.normal(size=(3 * each, 5)) + 1.5 * np.eye(5)[labels]
    truth = np.where(np.arange(3 * each) >= 2 * each, -1, labels)
    return made("emogator", {"emotion": truth}, [split for split in SPLITS for _ in range(each)]), x.astype(np.float32)


def values(seed: int, each: int = 40) -> tuple[TaskData, Float]:
    """A-VB Two with values that features tell, with noise."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(3 * each, 4)) * [1, 10, 100, 0.1] + 5
    truth = 1 / (1 + np.exp(-(x - 5) / [1, 10, 100, 0.1] @ random.normal(size=(4, 2)) + random.normal(size=(120, 2))))
    truth[2 * each :] = np.nan
    return made("avb-two", {"affect": truth}, [split for split in SPLITS for _ in range(each)]), x.astype(np.float32)


def test_systems_see_no_test_label(tmp_path: Path) -> None:
    data, truth = task_data(EXVO, vocalburst(tmp_path / "m.csv"))
    test = data.rows("test")
    assert len(test) == 12 and np.isfinite(truth["age"][test]).all() and (truth["country"][test] >= 0).all()
    assert np.isnan(data.truth["emotions"][test]).all() and np.isnan(data.truth["age"][test]).all()
    assert (data.truth["country"][test] == -1).all() and not data.support.any()
    for split in ("train", "validation"):
        rows = data.rows(split)
        np.testing.assert_array_equal(data.labelled(split), rows)
        np.testing.assert_array_equal(data.truth["emotions"][rows], truth["emotions"][rows])


def test_few_shot_systems_see_two_clips_of_every_speaker(tmp_path: Path) -> None:
    data, _ = task_data(TASKS["exvo-fewshot"], vocalburst(tmp_path / "m.csv"))
    support = np.flatnonzero(data.support)
    np.testing.assert_array_equal(support, [12, 13, 14, 15, 16, 17, 24, 25, 26, 27, 28, 29])
    np.testing.assert_array_equal(np.flatnonzero(np.isfinite(data.truth["emotions"]).all(axis=1)), np.r_[0:24, 24:30])
    np.testing.assert_array_equal(data.labelled("validation"), np.arange(18, 24))


@pytest.mark.parametrize(
    ("fixed", "task", "words"),
    [
        ({"Age": ""}, "exvo-multitask", "no train clip has a label of Age; nothing could learn it"),
        ({}, "avb-type", "no train clip has the labels of avb-type; prepare the corpus hume-vocalburst"),
        ({"Country": "Atlantis"}, "exvo-multitask", "Country is 'Atlantis' somewhere; it must be one of China"),
        ({}, "emotion-share", "the manifest has no emotion Anger"),
    ],
)
def test_labels_that_are_not_there(tmp_path: Path, fixed: dict[str, str], task: str, words: str) -> None:
    with pytest.raises(VocalgenError, match=words):
        task_data(TASKS[task], vocalburst(tmp_path / "m.csv", **fixed))


def emogator(path: Path, wanted: list[tuple[str, str]]) -> Path:
    clips = [
        Clip(str(k), path.parent / f"{k}.wav", split, f"{split}", 1.0, (), one_hot(name, EMOGATOR30))
        for k, (split, name) in enumerate(wanted)
    ]
    Manifest(EMOGATOR30, tuple(clips)).save(path, overwrite=True)
    return path


def test_a_class_that_nothing_could_learn(tmp_path: Path) -> None:
    wanted = [("train", "Awe"), ("train", "Fear"), ("validation", "Pain")]
    with pytest.raises(VocalgenError, match="Pain occurs in validation, but in no training clip"):
        task_data(TASKS["emogator"], emogator(tmp_path / "m.csv", wanted))
    with pytest.raises(VocalgenError, match="no validation clip has the labels of emogator"):
        task_data(TASKS["emogator"], emogator(tmp_path / "m.csv", wanted[:2]))


@pytest.mark.parametrize("name", ["exvo-multitask", "avb-high", "avb-type", "sonata"])
def test_parameters_of_the_perceptron(name: str) -> None:
    targets = TASKS[name].targets
    trunk = 88 * 128 + 128 + 2 * 128 + 128 * 64 + 64 + 2 * 64
    heads = sum(64 * 32 + 32 + 32 * len(target.columns) + len(target.columns) for target in targets)
    counted = sum(parameter.numel() for parameter in MultiTaskMlp(88, targets).parameters())
    assert counted == trunk + heads + (3 if len(targets) == 3 else 0)


def test_values_are_bounded_and_ages_free() -> None:
    torch.manual_seed(0)
    found = MultiTaskMlp(4, EXVO.targets)(100 * torch.randn(50, 4))
    assert {name: value.shape[1] for name, value in found.items()} == {"emotions": 10, "country": 4, "age": 1}
    assert found["emotions"].min() > 0 and found["emotions"].max() < 1
    assert found["country"].sum(dim=1).std() > 0.01


def test_the_loss_is_weighted_by_uncertainty() -> None:
    random = np.random.default_rng(0)
    network = MultiTaskMlp(4, EXVO.targets)
    with torch.no_grad():
        network.log_variances.copy_(torch.tensor([-0.33, 0.5, 2.0]))
    truth = {
        "emotions": random.uniform(size=(6, 10)),
        "country": np.arange(6) % 4,
        "age": random.uniform(20, 39, (6, 1)),
    }
    guess = {
        "emotions": random.uniform(size=(6, 10)),
        "country": random.normal(size=(6, 4)),
        "age": np.full((6, 1), 30.0),
    }
    truth["emotions"][0, 3] = truth["age"][2, 0] = np.nan
    truth["country"][1] = -1
    with_age, with_country = np.array([0, 1, 3, 4, 5]), np.array([0, 2, 3, 4, 5])
    emotions = sum(np.nanmean((truth["emotions"][:, k] - guess["emotions"][:, k]) ** 2) for k in range(10))
    age = ((truth["age"][with_age] - 30.0) ** 2).mean()
    logits = guess["country"][with_country]
    right = logits[np.arange(5), truth["country"][with_country]]
    country = (np.log(np.exp(logits).sum(axis=1)) - right).mean()
    expected = sum(
        part / (2 * np.exp(s)) + s / 2 for part, s in zip((emotions, country, age), (-0.33, 0.5, 2.0), strict=True)
    )
    found = loss_of(network, EXVO.targets, tensors(truth), tensors(guess))
    assert found.item() == pytest.approx(expected, rel=1e-5)
    without = {**truth, "age": np.full((6, 1), np.nan)}
    part = loss_of(network, EXVO.targets, tensors(without), tensors(guess))
    assert part.item() == pytest.approx(expected - age / (2 * np.exp(2.0)) - 1.0, rel=1e-5)


def tensors(arrays: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {
        name: torch.from_numpy(value.astype(np.int64 if value.dtype == np.int64 else np.float32))
        for name, value in arrays.items()
    }


def test_class_weights_are_balanced() -> None:
    labels = np.array([0, 0, 0, 2, 2, 3, -1])
    expected = compute_class_weight("balanced", classes=np.array([0, 2, 3]), y=labels[:6])
    np.testing.assert_allclose(class_weights(labels, 5), [expected[0], 0, expected[1], expected[2], 0], rtol=1e-6)


def test_selection_is_by_the_multi_task_score(tmp_path: Path) -> None:
    data, truth = task_data(EXVO, vocalburst(tmp_path / "m.csv"))
    rows = data.labelled("validation")
    random = np.random.default_rng(0)
    guess = {
        "emotions": truth["emotions"][rows] * 0.5 + 0.1,
        "country": np.eye(4)[(truth["country"][rows] + (np.arange(12) == 3)) % 4],
        "age": truth["age"][rows] + random.normal(size=(12, 1)),
    }
    agreement = []
    for t, p in zip(truth["emotions"][rows].T, guess["emotions"].T, strict=True):
        covariance = np.cov(t, p, ddof=0)
        agreement.append(2 * covariance[0, 1] / (covariance.trace() + (t.mean() - p.mean()) ** 2))
    recall = recall_score(truth["country"][rows], guess["country"].argmax(axis=1), average="macro")
    error = np.abs(truth["age"][rows] - guess["age"]).mean()
    assert quality(data, rows, guess) == pytest.approx(3 / (1 / np.mean(agreement) + 1 / recall + error))
    assert quality(data, rows, {**guess, "age": np.full((12, 1), np.nan)}) == -np.inf


def test_the_best_epoch_is_kept_and_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    data, x = values(1)
    scores = iter([0.1, 0.5, 0.2, 0.3, 0.9])
    asked: list[float] = []

    def score(*_: Any) -> float:
        asked.append(next(scores))
        return asked[-1]

    monkeypatch.setattr(mlp, "quality", score)
    stopped = train_mlp(data, x, 101, MlpSettings(epochs=9, patience=2)).tensors()
    assert asked == [0.1, 0.5, 0.2, 0.3]
    monkeypatch.setattr(mlp, "quality", lambda *_: float("nan") if not asked else asked.pop())
    asked[:] = [0.5, 0.1]
    second = train_mlp(data, x, 101, MlpSettings(epochs=2)).tensors()
    for name, value in stopped.items():
        np.testing.assert_array_equal(value, second[name])


def test_the_perceptron_learns_and_repeats_itself() -> None:
    data, x = classes(0)
    validation = data.labelled("validation")
    one, again, other = (
        mlp.predicted(train_mlp(data, x, seed, MlpSettings(epochs=4)), x, np.arange(180)) for seed in (101, 101, 102)
    )
    np.testing.assert_allclose(one["emotion"], again["emotion"], atol=1e-5)
    assert not np.allclose(one["emotion"], other["emotion"], atol=1e-3)
    np.testing.assert_allclose(one["emotion"].sum(axis=1), 1, rtol=1e-5)
    assert quality(data, validation, {"emotion": one["emotion"][validation]}) > 0.6


def test_the_bar_of_training_leaves_nothing_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    data, x = values(1)
    train_mlp(data, x, 101, MlpSettings(epochs=1))
    assert capsys.readouterr() == ("", "")


def test_missing_labels_teach_nothing() -> None:
    data, x = values(2)
    fewer = {"affect": data.truth["affect"].copy()}
    fewer["affect"][:10] = np.nan
    left_out = made("avb-two", fewer, data.splits.tolist())
    np.testing.assert_array_equal(left_out.labelled("train"), np.arange(10, 40))
    garbage = x.copy()
    garbage[:10] = 1e6
    found = [train_mlp(left_out, inputs, 101, MlpSettings(epochs=2)).tensors() for inputs in (x, garbage)]
    for name, value in found[0].items():
        np.testing.assert_array_equal(value, found[1][name])


def test_labels_the_perceptron_cannot_reach() -> None:
    data, x = values(3)
    data.truth["affect"][0, 0] = 5.0
    with pytest.raises(VocalgenError, match=r"made\.csv: labels of affect reach from .* to 5; .* in \[0, 1\]"):
        train_mlp(data, x, 101, MlpSettings(epochs=1))


@pytest.mark.parametrize(("kind", "theirs"), [("standard", StandardScaler()), ("min-max", MinMaxScaler())])
def test_scaling_is_that_of_scikit_learn(kind: Any, theirs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vocalgen.tasks.scaling.CHUNK", 7)
    x = (np.random.default_rng(0).normal(size=(40, 3)) * [1, 1e4, 0] + [0, 5, 0.1]).astype(np.float32)
    rows = np.arange(5, 35)
    expected = theirs.fit(x[rows].astype(np.float64)).transform(x.astype(np.float64))
    np.testing.assert_allclose(scaling(kind, x, rows)(x), expected, atol=1e-5)


def test_support_vector_regression_as_published(tmp_path: Path) -> None:
    """The grid against scikit-learn's own search with a predefined split."""
    data, x = values(4)
    settings = SvrSettings(costs=(1e-1, 1e-3))
    selected, final, point = search(data, x, settings, tmp_path)
    pipeline = Pipeline([("scale", StandardScaler()), ("svr", MultiOutputRegressor(LinearSVR(random_state=42)))])
    pipeline.set_params(svr__estimator__max_iter=50_000)
    grid = {
        "scale": [StandardScaler(), MinMaxScaler()],
        "svr__estimator__loss": ["epsilon_insensitive", "squared_epsilon_insensitive"],
        "svr__estimator__C": [1e-1, 1e-3],
    }
    both = np.arange(80)
    folds = PredefinedSplit(np.where(both < 40, -1, 0))
    theirs = GridSearchCV(pipeline, grid, scoring="neg_mean_absolute_error", cv=folds)
    theirs.fit(x[:80], data.truth["affect"][:80])
    chosen = theirs.best_params_
    assert point.cost == chosen["svr__estimator__C"] and point.loss == chosen["svr__estimator__loss"]
    assert (point.scaler == "standard") == isinstance(chosen["scale"], StandardScaler)
    np.testing.assert_allclose(final(x)["affect"], theirs.predict(x), atol=1e-3)
    alone = theirs.best_estimator_.fit(x[:40], data.truth["affect"][:40])
    np.testing.assert_allclose(selected(x)["affect"], alone.predict(x), atol=1e-3)


def test_logistic_regression_as_published(tmp_path: Path) -> None:
    data, x = classes(5)
    selected, final, point = search(data, x, LrSettings(), tmp_path)
    labels = np.arange(180) % 3
    recalls = {}
    for cost in (0.001, 0.01, 0.1, 1.0):
        model = LogisticRegression(C=cost, max_iter=1000).fit(x[:60], labels[:60])
        recalls[cost] = recall_score(labels[60:120], model.predict(x[60:120]), average="macro")
    assert recalls[point.cost] == max(recalls.values())
    model = LogisticRegression(C=point.cost, max_iter=1000)
    expected = model.fit(x[:120], labels[:120]).predict_proba(x)
    found = final(x)["emotion"]
    assert found.shape == (180, 30) and not found[:, 3:].any()
    np.testing.assert_allclose(found[:, :3], expected, atol=1e-4)
    expected = model.fit(x[:60], labels[:60]).predict_proba(x)
    np.testing.assert_allclose(selected(x)["emotion"][:, :3], expected, atol=1e-4)


def test_two_classes_are_told_apart(tmp_path: Path) -> None:
    data, x = classes(6, count=2)
    _, final, point = search(data, x, LrSettings(balanced=True), tmp_path)
    model = LogisticRegression(C=point.cost, max_iter=1000, class_weight="balanced")
    expected = model.fit(x[:120], np.arange(120) % 2).predict_proba(x)
    np.testing.assert_allclose(final(x)["emotion"][:, :2], expected, atol=1e-4)


def test_a_grid_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, x = classes(7)
    search(data, x, LrSettings(costs=(0.1, 1.0)), tmp_path)
    before = (tmp_path / "grid.json").read_text()
    from vocalgen.tasks import linear

    fits: list[float] = []
    fit = linear.fit_point
    monkeypatch.setattr(linear, "fit_point", lambda *given: (fits.append(given[4].cost), fit(*given))[1])
    search(data, x, LrSettings(costs=(0.1, 1.0)), tmp_path)
    assert len(fits) == 2  # the chosen one, alone and with validation
    assert (tmp_path / "grid.json").read_text() == before


def test_cultural_labels_of_a_clip_s_own_country_are_enough(tmp_path: Path) -> None:
    task = TASKS["avb-culture"]
    whole, _ = task_data(task, vocalburst(tmp_path / "m.csv"))
    own = np.array([[name.startswith(COUNTRIES[row % 4]) for name in CULTURE] for row in range(36)])
    path = tmp_path / "own.csv"
    manifest = Manifest.load(tmp_path / "m.csv")
    place = [manifest.labels.index(name) for name in CULTURE]
    clips = []
    for row, clip in enumerate(manifest):
        labels = list(clip.labels)
        for k, at in enumerate(place):
            labels[at] = labels[at] if own[row, k] else ""
        clips.append(replace(clip, labels=tuple(labels)))
    replace(manifest, rows=tuple(clips)).save(path)
    data, _ = task_data(task, path)
    np.testing.assert_array_equal(np.isfinite(data.truth["culture"])[:24], own[:24])
    x = np.random.default_rng(0).normal(size=(36, 3)).astype(np.float32)
    guess = mlp.predicted(train_mlp(data, x, 101, MlpSettings(epochs=1)), x, np.arange(12, 24))
    assert guess["culture"].shape == (12, 40)
    assert np.isfinite(quality(data, np.arange(12, 24), guess))
    assert quality(data, np.arange(12, 24), guess) != quality(whole, np.arange(12, 24), guess)


def test_labels_of_a_column_may_be_missing() -> None:
    target = TASKS["avb-culture"].targets[0]
    random = np.random.default_rng(0)
    truth, guess = random.uniform(size=(2, 20, 40))
    whole = target.score(truth, guess)
    truth[:5, 7] = np.nan
    part = target.score(truth, guess)
    t, p = truth[5:, 7], guess[5:, 7]
    expected = 2 * np.cov(t, p, ddof=0)[0, 1] / (t.var() + p.var() + (t.mean() - p.mean()) ** 2)
    all_of = TASKS["avb-two"].targets[0]
    filled = np.nan_to_num(truth)
    before = all_of.score(filled[5:, [7, 7]], guess[5:, [7, 7]])
    assert before == pytest.approx(expected) and part != whole


def test_a_metric_without_a_number_leaves_the_deciding_ones_interval() -> None:
    random = np.random.default_rng(0)
    truth = {"affect": random.uniform(size=(40, 2))}
    guess = {"affect": truth["affect"] + 0.1 * random.normal(size=(40, 2))}
    truth["affect"][1:, 1] = np.nan  # one value: ours scores it, the official variance of one divides by zero
    speakers = [str(number // 2) for number in range(40)]
    found = intervals(TASKS["avb-two"], truth, guess, speakers, draws=20)
    assert list(found) == ["CCC"] and found["CCC"].low <= found["CCC"].value <= found["CCC"].high


def test_intervals_of_all_metrics_are_those_of_each(tmp_path: Path) -> None:
    """Resampled once for all metrics, they are what a bootstrap of the metric alone gives."""
    _, truth = task_data(EXVO, vocalburst(tmp_path / "m.csv"))
    random = np.random.default_rng(0)
    guess = {
        "emotions": truth["emotions"] + 0.3 * random.normal(size=(36, 10)),
        "country": np.eye(4)[truth["country"]] + random.normal(size=(36, 4)),
        "age": truth["age"] + random.normal(size=(36, 1)),
    }
    speakers = [str(number % 9) for number in range(36)]
    found = intervals(EXVO, truth, guess, speakers, draws=40, seed=3)
    official = ["CCC (official code)", "S_MTL (official code)"]
    assert [*found] == ["S_MTL", "CCC", "UAR", "MAE", official[0], "accuracy", official[1]]
    alone = bootstrap(mae, truth["age"][:, 0], guess["age"][:, 0], speakers, 40, seed=3)
    np.testing.assert_allclose(found["MAE"], alone)
    winners = guess["country"].argmax(axis=1)
    np.testing.assert_allclose(found["UAR"], bootstrap(uar, truth["country"], winners, speakers, 40, seed=3))
    assert found["S_MTL"].value == pytest.approx(EXVO.score(truth, guess)["S_MTL"])
