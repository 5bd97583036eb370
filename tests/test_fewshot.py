"""ExVo-FewShot: calibration in closed form, and the baseline's adaptation, from the same state for every speaker."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from task_corpora import manifest_of

from vocalgen import VocalgenError, audio
from vocalgen.corpora.manifest import Manifest
from vocalgen.metrics.prediction import ccc
from vocalgen.models.emo18 import frames_of
from vocalgen.tasks.enrolment import STRENGTHS, EnrolledRecogniser, EnrolledSystem, calibration, personalised
from vocalgen.tasks.fewshot import LEARNING_RATE, AdaptedSystem, FittedAdapted
from vocalgen.tasks.registry import load_system, make_system
from vocalgen.tasks.system import Options, TaskData, task_data
from vocalgen.tasks.task import TASKS

TASK = TASKS["exvo-fewshot"]
SMALL = ("emo18={hidden: 8}", "data.frames=6", "loop.steps=2", "loop.preview_every=2")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return manifest_of("exvo-fewshot", tmp_path_factory.mktemp("few"))


@pytest.fixture(scope="module")
def data(manifest: Path) -> TaskData:
    return task_data(TASK, manifest)[0]


@pytest.fixture(scope="module")
def adapted(data: TaskData, tmp_path_factory: pytest.TempPathFactory) -> FittedAdapted:
    system = make_system("fewshot", TASK, Options(overrides=SMALL))
    assert isinstance(system, AdaptedSystem)
    return system.fit(data, 101, tmp_path_factory.mktemp("run"))


@pytest.mark.parametrize(("slope", "offset"), [(0.5, 2.0), (1e-3, 1e-3), (30.0, 0.1)])
def test_the_calibration_is_the_least_squares_solution(slope: float, offset: float) -> None:
    """Against numpy's solver on the system with two rows more, one a penalty; a missing label is a missing row."""
    rng = np.random.default_rng(0)
    prediction, truth = rng.uniform(size=(4, 3)), rng.uniform(size=(4, 3))
    truth[1, 2] = np.nan
    a, b = calibration(prediction, truth, slope, offset)
    for column in range(3):
        own = np.isfinite(truth[:, column])
        p, t = prediction[own, column], truth[own, column]
        left = np.vstack([np.stack([p, np.ones_like(p)], 1), np.diag(np.sqrt([slope, offset]))])
        change = np.linalg.lstsq(left, np.concatenate([t - p, [0.0, 0.0]]), rcond=None)[0]
        np.testing.assert_allclose([a[column] - 1, b[column]], change, atol=1e-9)


def test_limits_of_the_penalties() -> None:
    prediction, truth = np.array([[0.2], [0.6]]), np.array([[0.1], [0.9]])
    for found, expected in (
        (calibration(prediction, truth, 1e9, 1e9), (1.0, 0.0)),
        (calibration(prediction, truth, 1e-12, 1e-12), (2.0, -0.3)),  # through both points
        (calibration(prediction, truth, 1e9, 1e-12), (1.0, 0.1)),  # the mean residual
        (calibration(prediction, np.full((2, 1), np.nan), 0.1, 0.1), (1.0, 0.0)),
    ):
        np.testing.assert_allclose(np.ravel(found), expected, atol=1e-6)


def test_personalised_predictions_are_the_speakers_own() -> None:
    prediction = np.tile([0.2, 0.5], (4, 1))
    enrolled = {"a": (np.array([[0.2, 0.5]]), np.array([[0.6, 0.5]])), "x": (prediction[:1], prediction[:1])}
    found = personalised(prediction, ["a", "b", "a", ""], enrolled, 1e9, 1.0)
    np.testing.assert_allclose(found, [[0.4, 0.5], [0.2, 0.5], [0.4, 0.5], [0.2, 0.5]], atol=1e-6)
    high = personalised(prediction, list("aaaa"), {"a": (prediction[:2], prediction[:2] * 9)}, 1e-9, 1e-9)
    assert high.max() == 1.0


class Biased:
    """A system whose predictions are the truth, squeezed and moved for each speaker in another way."""

    name, seeded = "biased", True
    settings: dict[str, Any] = {"recipe": 1}

    def __init__(self, spread: float) -> None:
        self.spread, self.saved = spread, False

    def fit(self, data: TaskData, seed: int, folder: Path) -> Biased:
        self.data = data
        return self

    def predict(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        speakers = sorted(set(self.data.speakers))
        truth = np.nan_to_num(self.data.truth["emotions"][rows], nan=0.5)
        place = np.array([speakers.index(self.data.speakers[row]) for row in rows])[:, None]
        random = np.random.default_rng(0).normal(size=(len(self.data), 10))[rows]
        return {"emotions": np.where(self.spread, 0.5 * truth + 0.05 * place, 0) + 0.5 * random * (self.spread == 0)}

    def save(self, folder: Path) -> None:
        folder.mkdir()
        self.saved = True


def test_enrolment_removes_a_speakers_bias(data: TaskData, tmp_path: Path) -> None:
    inner = Biased(1.0)
    system = EnrolledSystem("biased-enrolled", inner)
    assert system.settings == {"enrolled": "biased", "strengths": list(STRENGTHS), "recipe": 1} and system.seeded
    fitted = system.fit(data, 101, tmp_path)
    rows = data.labelled("validation")
    truth = data.truth["emotions"][rows]

    def score(prediction: dict[str, np.ndarray]) -> float:
        return float(np.mean([ccc(t, p) for t, p in zip(truth.T, prediction["emotions"].T, strict=True)]))

    assert score(fitted.predict(rows)) > score(inner.predict(rows)) + 0.1
    assert fitted.slope < 1 and fitted.offset < 1
    fitted.save(tmp_path / "model")
    written = json.loads((tmp_path / "model" / "support.json").read_text())
    own = np.flatnonzero(data.support & (data.splits == "validation"))
    expected = TASK.score({"emotions": data.truth["emotions"][own]}, fitted.predict(own))["CCC"]
    assert inner.saved and written["validation"] == {"clips": 8, "CCC": pytest.approx(expected)}
    assert written["test"]["clips"] == 8


def test_penalties_are_chosen_on_validation(data: TaskData, tmp_path: Path) -> None:
    """No pair that is tried scores better, whatever was predicted."""
    fitted = EnrolledSystem("noise", Biased(0.0)).fit(data, 101, tmp_path)
    rows = data.labelled("validation")

    def score(slope: float, offset: float) -> float:
        found = replace(fitted, slope=slope, offset=offset).predict(rows)
        return TASK.score({"emotions": data.truth["emotions"][rows]}, found)["CCC"]

    chosen = score(fitted.slope, fitted.offset)
    assert all(chosen >= score(slope, offset) for slope in (0.03, 1.0, 1e9) for offset in (0.03, 1.0, 1e9))


def test_support_labels_are_needed(tmp_path: Path) -> None:
    (tmp_path / "exvo").mkdir()
    data, _ = task_data(TASKS["avb-high"], manifest_of("exvo-multitask", tmp_path / "exvo"))
    with pytest.raises(VocalgenError, match="no labelled clips of known speakers"):
        EnrolledSystem("x", Biased(1.0)).fit(data, 1, tmp_path)


def test_adaptation_is_one_step_of_a_new_optimiser(adapted: FittedAdapted, data: TaskData) -> None:
    """Recomputed here for one speaker: AdamW's first step moves every weight by the rate, after its decay of 1 %."""
    listener = adapted.inner.listener
    network = listener.network
    support = np.flatnonzero(data.support)
    speaker = data.speakers[support[0]]
    pair = [row for row in support if data.speakers[row] == speaker]
    rows = np.array([row for row in range(len(data)) if data.speakers[row] == speaker])
    before = {key: value.clone() for key, value in network.state_dict().items()}
    plain = adapted.inner.predict(rows)["emotions"]
    found = adapted.predict(rows)["emotions"]
    assert np.abs(found - plain).max() > 1e-6
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not any(p.requires_grad for p in network.parameters())

    moving = {key: p for key, p in network.named_parameters() if ".rnn." in key or key.startswith("heads.")}
    for parameter in moving.values():
        parameter.requires_grad_(True)
    frames = [frames_of(torch.from_numpy(adapted.inner.wave(int(row)))) for row in pair]
    outputs = torch.cat([network(clip[None], torch.tensor([len(clip)]))["emotions"] for clip in frames])
    loss = (outputs - torch.from_numpy(data.truth["emotions"][pair]).float()).square().mean()
    gradients = torch.autograd.grad(loss, list(moving.values()))
    with torch.no_grad():
        for parameter, gradient in zip(moving.values(), gradients, strict=True):
            parameter.mul_(1 - 0.01 * LEARNING_RATE).sub_(LEARNING_RATE * gradient / (gradient.abs() + 1e-8))
            parameter.requires_grad_(False)
    expected = adapted.inner.predict(rows)["emotions"]
    network.load_state_dict(before)
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_speakers_do_not_depend_on_each_other(adapted: FittedAdapted, data: TaskData) -> None:
    """Neither on their order, nor on who else is predicted; all clips are, support clips too."""
    rows = np.union1d(data.rows("validation"), data.rows("test"))
    whole = adapted.predict(rows)["emotions"]
    turned = adapted.predict(rows[::-1])["emotions"][::-1]
    np.testing.assert_allclose(whole, turned, atol=1e-6)
    names = np.array(data.speakers)[rows]
    for speaker in np.unique(names):
        alone = adapted.predict(rows[names == speaker])["emotions"]
        np.testing.assert_allclose(whole[names == speaker], alone, atol=1e-6)
    assert np.isfinite(whole).all() and data.support[rows].sum() == 2 * len(np.unique(names))
    plain = adapted.inner.predict(rows)["emotions"]
    assert (np.abs(whole - plain).max(axis=1) > 1e-7).all()  # each clip heard its speaker's own network


def test_training_speakers_are_not_adapted(adapted: FittedAdapted, data: TaskData) -> None:
    rows = data.rows("train")[:3]
    np.testing.assert_array_equal(adapted.predict(rows)["emotions"], adapted.inner.predict(rows)["emotions"])


def test_test_labels_change_nothing_but_support(manifest: Path, data: TaskData, tmp_path: Path) -> None:
    """What is adapted to are the two support clips: no other label of validation or test is looked at."""
    system = make_system("end2you-enrolled", TASK, Options(overrides=SMALL))
    fitted: Any = system.fit(data, 101, tmp_path / "a")
    rows = data.rows("test")
    assert set(fitted.enrolled["emotions"]) == {data.speakers[row] for row in np.flatnonzero(data.support)}
    for predicted, labels in fitted.enrolled["emotions"].values():
        assert predicted.shape == labels.shape == (2, 10) and np.isfinite(labels).all()
    free = rows[~data.support[rows]]
    assert np.isnan(data.truth["emotions"][free]).all()
    assert fitted.predict(rows)["emotions"].shape == (len(rows), 10)
    fitted.save(tmp_path / "model")
    saved = load_system(tmp_path / "model")
    assert isinstance(saved, EnrolledRecogniser)
    speaker = data.speakers[rows[0]]
    own = [row for row in rows if data.speakers[row] == speaker]
    known = [row for row in own if data.support[row]]
    files = {clip.id: clip.file for clip in Manifest.load(manifest)}
    clips = {row: audio.read(files[data.ids[row]]) for row in own}
    strange = np.clip(fitted.inner.predict(np.array(own))["emotions"], 0.0, 1.0)
    np.testing.assert_allclose(saved.score([clips[row] for row in own])["emotions"], strange, atol=1e-5)
    acquainted = saved.enrol([clips[row] for row in known], {"emotions": data.truth["emotions"][known]})
    np.testing.assert_allclose(
        acquainted.score([clips[row] for row in own])["emotions"], fitted.predict(np.array(own))["emotions"], atol=1e-5
    )


def test_predictions_of_strangers_are_in_the_range_of_the_labels() -> None:
    class Wild:
        task = TASK

        def score(self, clips: Any) -> dict[str, np.ndarray]:
            return {"emotions": np.array([[-0.1, 0.4, 1.2]])}

    np.testing.assert_array_equal(EnrolledRecogniser(Wild(), 1.0, 1.0).score([])["emotions"], [[0.0, 0.4, 1.0]])


def test_recipes_that_cannot_be_adapted() -> None:
    with pytest.raises(VocalgenError, match="must be of emo18"):
        make_system("fewshot", TASK, Options(overrides=(*SMALL, "heads.hidden=8")))
