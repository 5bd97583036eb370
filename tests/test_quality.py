"""The quality report on bursts whose quality is known: as real, collapsed, wrong emotion."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bursts import burst
from small_corpus import EMOTIONS, PREPARE, RATE, classifier_values, write_corpus

from vocalgen import audio
from vocalgen.config import build
from vocalgen.data import CacheConfig, WaveCache
from vocalgen.emotions import slug
from vocalgen.errors import VocalgenError
from vocalgen.evaluation import anchors
from vocalgen.evaluation.duplicates import compare_neighbours, fingerprint, nearest
from vocalgen.evaluation.measured import measure
from vocalgen.evaluation.quality import Protocol, choose_shrinkage, evaluate
from vocalgen.evaluation.report import number, write_report
from vocalgen.recognition.clips import ClipSet, generated_clips, real_clips
from vocalgen.recognition.scorer import Scorer
from vocalgen.training.classifier import ClassifierConfig, ClassifierObjective
from vocalgen.training.loop import Trainer

PROTOCOL = Protocol(draws=2)
N = 14


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a manifest, its cache and a trained classifier in run/export."""
    folder = write_corpus(tmp_path_factory.mktemp("corpus")).parent
    config = build(ClassifierConfig, classifier_values(folder, folder / "run", 50), "test")
    Trainer(ClassifierObjective(config), config.loop, config).train()
    return folder


@pytest.fixture(scope="module")
def scorer(corpus: Path) -> Scorer:
    return Scorer.load(corpus / "run" / "export")


@pytest.fixture(scope="module")
def real(corpus: Path) -> Callable[[Sequence[str]], ClipSet]:
    cache = WaveCache.of(corpus / "manifest.csv", corpus / "cache", CacheConfig(**PREPARE))
    return lambda splits: real_clips(cache, splits, EMOTIONS)


def write_generated(folder: Path, seed_of: Callable[[int], int], emotion_of: Callable[[int], int]) -> Path:
    for emotion, name in enumerate(EMOTIONS.emotions):
        for clip in range(N):
            wave = burst(emotion_of(emotion), 0.3 + 0.05 * (clip % 4), RATE, seed=seed_of(clip))
            audio.write(folder / slug(name) / f"{clip:03d}.wav", wave, RATE)
    return folder


def report_of(folder: Path, scorer: Scorer, real: Any, **options: Any) -> dict[str, Any]:
    clips = generated_clips(folder, EMOTIONS, CacheConfig(**PREPARE))
    return evaluate(clips, real, scorer, PROTOCOL, **options)


@pytest.fixture(scope="module")
def good(corpus: Path, scorer: Scorer, real: Any) -> dict[str, Any]:
    folder = write_generated(corpus / "good", lambda clip: 500 + clip, lambda emotion: emotion)
    # Half the level before the vocoder, quiet hiss behind it: a round trip that loses something.
    hiss = np.random.default_rng(0)
    return report_of(
        folder, scorer, real, round_trip=lambda w: (w + 0.01 * hiss.standard_normal(len(w))).astype(np.float32)
    )


def test_bursts_like_the_real_ones_are_near_the_floor(good: dict[str, Any]) -> None:
    row = good["rows"]["generated"]
    assert row["n"] == 3 * N
    assert 0.2 < row["mean_ratio"].value < 2.5
    assert row["mean_ratio"].low < row["mean_ratio"].value < row["mean_ratio"].high
    floor = good["rows"]["real clips (floor)"]["emotions"]
    for name, entry in row["emotions"].items():
        assert entry["floor"] == floor[name]["frechet"] > 0
        assert entry["ratio"] == pytest.approx(entry["frechet"].value / entry["floor"])
    ratios = [entry["ratio"] for entry in row["emotions"].values()]
    assert row["mean_ratio"].value == pytest.approx(np.mean(ratios))
    assert row["top1"].value > 0.6
    assert row["top3"].value == 1.0
    assert good["duplicates"]["exact"] == 0
    assert good["n"]["reference"] == dict.fromkeys(EMOTIONS.emotions, 24)
    assert good["n"]["floor"] == dict.fromkeys(EMOTIONS.emotions, N)
    assert good["n"]["floor_draws"] == 2


def test_every_anchor_is_there_and_farther_than_real_clips(good: dict[str, Any]) -> None:
    rows = good["rows"]
    assert list(rows) == [
        "generated",
        "real clips (floor)",
        "vocoder round trip of real clips",
        "class-mean mel",
        "white noise",
        "silence",
        "other-emotion real clips",
    ]
    assert rows["real clips (floor)"]["mean_ratio"] == 1.0
    for name in ("class-mean mel", "white noise", "silence", "other-emotion real clips"):
        assert rows[name]["mean_ratio"] > 1.2, name
        assert rows[name]["mean_ratio"] > rows["generated"]["mean_ratio"].value, name
    assert rows["silence"]["top1"].value == pytest.approx(1 / 3)
    for name, entry in rows["other-emotion real clips"]["emotions"].items():
        assert entry["nearest"] in set(EMOTIONS.emotions) - {name}
        assert entry["nearest_frechet"] <= entry["frechet"]


def test_a_collapsed_generator_is_seen(corpus: Path, scorer: Scorer, real: Any, good: dict[str, Any]) -> None:
    folder = write_generated(corpus / "collapsed", lambda clip: 500 + clip % 2, lambda emotion: emotion)
    report = report_of(folder, scorer, real)
    assert report["duplicates"]["exact"] > N
    assert report["duplicates"]["share"] > 0.5 > good["duplicates"]["share"]
    assert "vocoder round trip of real clips" not in report["rows"]


def test_a_wrong_emotion_is_seen(corpus: Path, scorer: Scorer, real: Any, good: dict[str, Any]) -> None:
    folder = write_generated(corpus / "wrong", lambda clip: 500 + clip, lambda emotion: (emotion + 1) % 3)
    row = report_of(folder, scorer, real)["rows"]["generated"]
    assert row["top1"].value < 0.4
    assert row["mean_ratio"].value > 1.5 * good["rows"]["generated"]["mean_ratio"].value


def test_durations_are_compared(corpus: Path, scorer: Scorer, real: Any, good: dict[str, Any]) -> None:
    folder = corpus / "long"
    for emotion, name in enumerate(EMOTIONS.emotions):
        for clip in range(N):
            audio.write(folder / slug(name) / f"{clip}.wav", burst(emotion, 1.2, RATE, seed=clip), RATE)
    row = report_of(folder, scorer, real)["rows"]["generated"]
    assert row["duration_wasserstein"] > 0.5 > 0.1 > good["rows"]["generated"]["duration_wasserstein"]


def test_report_files_say_what_rule_eight_asks(good: dict[str, Any], tmp_path: Path) -> None:
    write_report({**good, "n": {**good["n"], "skipped": ["awe/9.wav: silent"]}}, tmp_path / "r", ["emotions.png"])
    stored = json.loads((tmp_path / "r" / "report.json").read_text())
    assert stored["rows"]["generated"]["mean_ratio"] == list(good["rows"]["generated"]["mean_ratio"])
    text = (tmp_path / "r" / "report.md").read_text()
    for expected in (
        good["encoder"]["sha256"][:16],
        good["encoder"]["mel"]["fingerprint"],
        "validation + test",
        "4-dimensional",
        "unbiased, no shrinkage",
        "42 generated clips",
        "72 real clips",
        "Surprise (Positive)",
        "![emotions](emotions.png)",
        "awe/9.wav: silent",
    ):
        assert expected in text, expected
    assert number((0.5, 0.25, 0.75), "share") == "0.500 [0.250, 0.750]"
    assert number(None, "share") == "–"


def test_shrinkage_is_chosen_by_the_smallest_fold() -> None:
    assert choose_shrinkage("auto", 110, 64) is None
    assert choose_shrinkage("auto", 70, 64) == "ledoit-wolf"
    assert choose_shrinkage("ledoit-wolf", 1000, 64) == "ledoit-wolf"
    with pytest.raises(VocalgenError, match="only 70 clips, too few for a covariance in 64 dimensions"):
        choose_shrinkage("none", 70, 64)
    with pytest.raises(VocalgenError, match="unknown shrinkage 'some'"):
        choose_shrinkage("some", 70, 64)


def test_tiny_sets_are_refused_by_name(corpus: Path, scorer: Scorer, real: Any, good: dict[str, Any]) -> None:
    everything = generated_clips(corpus / "good", EMOTIONS, CacheConfig(**PREPARE))
    few = everything.select(np.flatnonzero(everything.labels == 0)[:9])
    with pytest.raises(VocalgenError, match="Amusement: 9 generated clips"):
        evaluate(few, real, scorer, PROTOCOL)


def test_generated_clips_are_prepared_as_real_ones(tmp_path: Path) -> None:
    wave = np.concatenate([np.zeros(RATE), 0.1 * burst(1, 0.4, RATE), np.zeros(RATE)]).astype(np.float32)
    audio.write(tmp_path / "awe" / "b.wav", audio.resample(wave, RATE, 16_000), 16_000)
    audio.write(tmp_path / "awe" / "a.flac", wave, RATE)
    audio.write(tmp_path / "Surprise_positive" / "c.wav", wave, RATE)
    audio.write(tmp_path / "horror" / "d.wav", wave, RATE)
    audio.write(tmp_path / "awe" / "silent.wav", np.zeros(RATE, np.float32), RATE)
    (tmp_path / "awe" / "broken.wav").write_bytes(b"RIFF")
    (tmp_path / "awe" / "notes.txt").write_text("no clip")
    clips = generated_clips(tmp_path, EMOTIONS, CacheConfig(**PREPARE))
    assert clips.ids == ["Surprise_positive/c.wav", "awe/a.flac", "awe/b.wav"]
    assert clips.labels.tolist() == [2, 1, 1]
    assert [line.split(":")[0] for line in clips.skipped] == ["awe/broken.wav", "awe/silent.wav"]
    for clip in clips.waves:
        assert len(clip) < 0.6 * RATE
        assert np.abs(clip).max() == pytest.approx(10 ** (-3 / 20), abs=1e-3)


def test_folders_without_clips_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VocalgenError, match="is not a folder"):
        generated_clips(tmp_path / "none", EMOTIONS, CacheConfig(**PREPARE))
    (tmp_path / "horror").mkdir()
    with pytest.raises(VocalgenError, match="holds no readable clips; the layout is DIR/<emotion>"):
        generated_clips(tmp_path, EMOTIONS, CacheConfig(**PREPARE))


def test_real_clips_are_joined_with_their_own_labels(real: Any) -> None:
    clips = real(["validation", "test"])
    assert len(clips) == 72
    for name, label, speaker in zip(clips.ids, clips.labels, clips.speakers):
        assert int(name.split("-")[1]) == label
        assert int(name.split("-")[0]) == int(speaker[1:]) >= 8
    with pytest.raises(VocalgenError, match="are not those of the classifier"):
        cache = clips.waves.waves.cache
        real_clips(cache, ["test"], type(EMOTIONS)("two", EMOTIONS.emotions[:2]))


def test_draws_are_disjoint_and_balanced() -> None:
    labels = np.repeat([0, 1, 2], 30)
    sets = anchors.draws(labels, {0: 10, 2: 7}, 4, seed=0)
    assert len(sets) == 3  # thirty clips hold three disjoint draws of ten
    assert len(np.unique(np.concatenate(sets))) == 3 * 17
    for chosen in sets:
        assert np.bincount(labels[chosen], minlength=3).tolist() == [10, 0, 7]
    with pytest.raises(VocalgenError, match="the floor needs 31 real clips of class 1, there are 30"):
        anchors.draws(labels, {1: 31}, 1, seed=0)


def test_class_mean_is_the_mean_at_the_median_length(real: Any, scorer: Scorer) -> None:
    clips = real(["validation"])
    result = anchors.class_mean(clips, scorer, [0, 1, 2])
    assert len(result) == len(clips)
    for emotion in range(3):
        part = result.of(emotion)
        assert np.ptp(part.scores.embeddings, axis=0).max() == 0
        lengths = [len(clips.waves[i]) / RATE for i in np.flatnonzero(clips.labels == emotion)]
        assert part.seconds[0] == pytest.approx(np.median(lengths), abs=0.03)


def test_neighbours() -> None:
    prints = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 1.2], [9.0, 9.0]], dtype=np.float32)
    assert nearest(prints) == pytest.approx([1.0, 0.1, 0.1, 7.9])
    assert nearest(prints, prints + 1)[0] == pytest.approx(1.0)
    assert np.isinf(nearest(prints[:1])).all()
    found = compare_neighbours(np.array([0.0, 0.0, 0.5, 2.0]), np.linspace(1, 2, 101))
    assert (found.exact, found.share, found.threshold) == (2, 0.75, pytest.approx(1.01))
    with pytest.raises(ValueError, match="two clips of an emotion"):
        compare_neighbours(np.array([np.inf]), np.ones(3))


def test_a_fingerprint_does_not_know_the_length() -> None:
    ramp = np.linspace(0, 1, 30, dtype=np.float32)[None].repeat(4, 0)
    longer = np.linspace(0, 1, 71, dtype=np.float32)[None].repeat(4, 0)
    assert np.allclose(fingerprint(ramp), fingerprint(longer), atol=1e-6)
    assert fingerprint(ramp[:, :1]).shape == fingerprint(longer).shape


def test_measured_clips_keep_their_order(real: Any, scorer: Scorer) -> None:
    clips = real(["test"])
    whole = measure(clips, scorer)
    last = measure(clips.select(np.arange(30, 36)), scorer)
    assert np.allclose(whole.scores.embeddings[30:], last.scores.embeddings, atol=1e-5)
    assert whole.seconds[33] == len(clips.waves[33]) / RATE


@pytest.mark.parametrize("damage", ["none", "no classifier"])
def test_the_command_writes_report_and_pictures(
    damage: str,
    corpus: Path,
    good: dict[str, Any],
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    classifier = tmp_path / "classifier"
    shutil.copytree(corpus / "run" / "export", classifier)
    if damage != "none":
        (classifier / "config.json").unlink()
    arguments = [str(corpus / "good"), "--draws", "2", "--name", "bursts", "--device", "cpu",
                 "--classifier", str(classifier), "--out", str(tmp_path / "out"),
                 "--manifest", str(corpus / "manifest.csv"), "--cache", str(corpus / "cache")]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["quality.py", *arguments])
    if damage != "none":
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(str(root / "eval" / "quality.py"), run_name="__main__")
        assert stopped.value.code == 2
        assert capsys.readouterr().err.startswith("error: ")
        return
    runpy.run_path(str(root / "eval" / "quality.py"), run_name="__main__")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "report.json", "report.md", "emotions.png", "mels.png"
    }  # fmt: skip
    stored = json.loads((tmp_path / "out" / "report.json").read_text())
    expected = good["rows"]["generated"]["mean_ratio"].value
    assert stored["rows"]["bursts"]["mean_ratio"][0] == pytest.approx(expected, rel=1e-3)
