"""Intervals from sums over speakers against a bootstrap that scores every resample's clips themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vocalgen.metrics.prediction import accuracy, bootstrap, ccc, mae, pearson, spearman, uar
from vocalgen.tasks.resamples import OFFICIAL, Resamples, resampled
from vocalgen.tasks.scores import intervals, scores
from vocalgen.tasks.task import TASKS

CLIPS, DRAWS, SEED = 150, 60, 7
Score = Callable[[Any, Any], float]


def clips(task: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], list[str]]:
    """Truth with ties and gaps, predictions that follow it a little, speakers of unequal numbers of clips."""
    random = np.random.default_rng(0)
    truth, guess = {}, {}
    for target in TASKS[task].targets:
        columns = len(target.columns)
        if target.classes:
            labels = random.integers(0, columns, CLIPS)
            truth[target.name] = np.where(random.uniform(size=CLIPS) < 0.1, -1, labels)
            guess[target.name] = np.eye(columns)[labels] + random.normal(size=(CLIPS, columns))
        else:
            values = random.uniform(size=(CLIPS, columns)).round(1)
            guess[target.name] = np.clip(0.5 * values + 0.3 * random.uniform(size=values.shape), 0, 1).round(2)
            truth[target.name] = np.where(random.uniform(size=values.shape) < 0.3, np.nan, values)
    speakers = [f"speaker {int(number)}" if number else "" for number in (random.uniform(size=CLIPS) ** 2 * 20).round()]
    return truth, guess, speakers


def mean_over(single: Score) -> Score:
    """The mean of a score over columns, where labels may be missing."""

    def score(rows: np.ndarray, truth: np.ndarray, guess: np.ndarray) -> float:
        pairs = zip(truth[rows].T, guess[rows].T, strict=True)
        return float(np.mean([single(t[np.isfinite(t)], p[np.isfinite(t)]) for t, p in pairs]))

    return score  # type: ignore[return-value]


def of_classes(single: Score) -> Any:
    def score(rows: np.ndarray, truth: np.ndarray, guess: np.ndarray) -> float:
        known = rows[truth[rows] >= 0]
        return single(truth[known], guess[known])

    return score


def found_among_three(truth: np.ndarray, guess: np.ndarray) -> float:
    return float(np.mean([t in np.argsort(-p)[:3] for t, p in zip(truth, guess, strict=True)]))


def winner(single: Score) -> Score:
    return lambda truth, guess: single(truth, guess.argmax(axis=1))


def official(truth: np.ndarray, guess: np.ndarray) -> float:
    return ccc(truth, guess, compat="hume2022")


@pytest.mark.parametrize(
    ("task", "target", "metric", "single"),
    [
        ("avb-culture", "culture", "CCC", mean_over(ccc)),
        ("avb-culture", "culture", f"CCC{OFFICIAL}", mean_over(official)),
        ("emotion-share", "emotions", "Spearman", mean_over(spearman)),
        ("emotion-share", "emotions", "Pearson", mean_over(pearson)),
        ("exvo-multitask", "age", "MAE", mean_over(mae)),
        ("exvo-multitask", "country", "UAR", of_classes(winner(uar))),
        ("sonata", "emotion", "UAR", of_classes(winner(uar))),
        ("sonata", "emotion", "accuracy", of_classes(winner(accuracy))),
        ("sonata", "emotion", "top-3 accuracy", of_classes(found_among_three)),
    ],
)
def test_sums_over_speakers_score_what_the_clips_themselves_do(
    task: str, target: str, metric: str, single: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vocalgen.tasks.resamples.BLOCK", 7)
    truth, guess, speakers = clips(task)
    rows, clusters = np.arange(CLIPS), [name or f"clip {row}" for row, name in enumerate(speakers)]
    expected = bootstrap(
        lambda chosen, _: single(chosen, truth[target], guess[target]), rows, rows, clusters, DRAWS, seed=SEED
    )
    found = intervals(TASKS[task], truth, guess, speakers, DRAWS, SEED)[metric]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_scores_of_several_targets_are_joined_in_every_resample() -> None:
    task = TASKS["exvo-multitask"]
    truth, guess, speakers = clips(task.name)
    rows, clusters = np.arange(CLIPS), [name or f"clip {row}" for row, name in enumerate(speakers)]
    found = intervals(task, truth, guess, speakers, DRAWS, SEED)
    for metric in ("S_MTL", f"S_MTL{OFFICIAL}"):

        def score(chosen: Any, _: Any, metric: str = metric) -> float:
            of_chosen = ({name: values[chosen] for name, values in both.items()} for both in (truth, guess))
            return scores(task, *of_chosen)[metric]

        expected = bootstrap(score, rows, rows, clusters, DRAWS, seed=SEED)
        np.testing.assert_allclose(found[metric], expected, rtol=0, atol=1e-12)


def test_constants_have_no_score_in_a_resample_whatever_the_rounding() -> None:
    """A speaker whose clips are alike, drawn alone: what is 0 in exact numbers is so here."""
    truth = np.array([[0.1, 0.3]] * 11 + [[0.7, 0.9], [0.2, 0.4]])
    drawn = Resamples.draw(["a"] * 11 + ["b", "c"], 200, 0)
    alone = (drawn.counts > 0).sum(axis=1) == 1
    assert 0 < alone.sum() < 100
    task = TASKS["avb-two"]
    found = resampled(task, {"affect": truth}, {"affect": truth}, drawn)
    for values in found.values():
        np.testing.assert_array_equal(np.isnan(values), alone)
    np.testing.assert_allclose(found["CCC"][~alone], 1)
    with pytest.raises(ValueError, match="nearly constant"):
        intervals(task, {"affect": truth[:7]}, {"affect": truth[:7]}, list("abcdefg"), 40)


@pytest.mark.parametrize(("task", "target"), [("emotion-share", "emotions"), ("avb-culture", "culture")])
def test_predictions_far_from_the_truth_have_intervals(task: str, target: str) -> None:
    truth, guess, speakers = clips(task)
    far = {target: guess[target] + 1e6}
    near, found = (intervals(TASKS[task], truth, values, speakers, DRAWS, SEED) for values in (guess, far))
    if "Pearson" in near:
        np.testing.assert_allclose(found["Pearson"], near["Pearson"], rtol=0, atol=1e-8)
    else:
        value, low, high = found["CCC"]
        assert 0 < low < value < high < 1e-11


def test_one_speaker_has_no_resamples() -> None:
    truth, guess, _ = clips("sonata")
    found = intervals(TASKS["sonata"], truth, guess, ["anna"] * CLIPS)
    assert [*found] == ["UAR", "accuracy", "top-3 accuracy"]
    assert all(np.isnan([low, high]).all() and 0 < value < 1 for value, low, high in found.values())
