"""Evaluations of bursts whose quality is known: as real, collapsed, wrong emotion, copied."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bursts import burst
from small_corpus import EMOTIONS, MEL, RATE, SPEAKERS, classifier_values, write_corpus

from vocalgen import audio
from vocalgen.cli import evaluate as verb
from vocalgen.cli.main import run as vocalgen
from vocalgen.config import build
from vocalgen.emotions import slug
from vocalgen.errors import VocalgenError
from vocalgen.evaluation import anchors, quality
from vocalgen.evaluation.anchors import Voice
from vocalgen.evaluation.distance import choose_shrinkage
from vocalgen.evaluation.measured import measure
from vocalgen.evaluation.protocol import Protocol, load_protocol
from vocalgen.evaluation.run import Request, run
from vocalgen.evaluation.schema import check_report
from vocalgen.models.griffin_lim import griffin_lim
from vocalgen.ownership import INDEX
from vocalgen.recognition.clips import FolderClips, RealClips
from vocalgen.recognition.scorer import Scorer
from vocalgen.training.classifier import ClassifierConfig, ClassifierObjective
from vocalgen.training.loop import Trainer

N = 14
VOICE = Voice("Griffin-Lim", MEL, lambda mel: griffin_lim(torch.from_numpy(mel)[None], MEL, 4)[0].numpy())
ROWS = ["real clips (floor)", "vocoder round trip of real clips", "class-mean mel", "white noise", "silence"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a manifest, its cache and a trained classifier in scorer/."""
    folder = write_corpus(tmp_path_factory.mktemp("corpus")).parent
    config = build(ClassifierConfig, classifier_values(folder, folder / "run", 50), "test")
    Trainer(ClassifierObjective(config), config.loop, config).train()
    shutil.copytree(folder / "run" / "export", folder / "scorer")
    return folder


@pytest.fixture(scope="module")
def protocol(corpus: Path) -> Protocol:
    return Protocol(per_emotion=N, reference=("validation", "test"), draws=2, encoders=(str(corpus / "scorer"),),
                    permutations=20)  # fmt: skip


def write_generated(folder: Path, seed_of: Callable[[int], int], emotion_of: Callable[[int], int]) -> Path:
    for emotion, name in enumerate(EMOTIONS.emotions):
        for clip in range(N):
            wave = burst(emotion_of(emotion), 0.3 + 0.05 * (clip % 4), RATE, seed=seed_of(clip))
            audio.write(folder / slug(name) / f"{clip:03d}.wav", wave, RATE)
    return folder


@pytest.fixture(scope="module")
def evaluated(corpus: Path, protocol: Protocol) -> Callable[..., dict[str, Any]]:
    def evaluate(changes: dict[str, Any] | None = None, **systems: Path) -> dict[str, Any]:
        chosen = replace(protocol, **(changes or {}))
        return run(Request(systems, corpus / "manifest.csv", corpus / "out", chosen, VOICE)).report

    return evaluate


@pytest.fixture(scope="module")
def good(corpus: Path, evaluated: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return evaluated(good=write_generated(corpus / "good", lambda clip: 500 + clip, lambda emotion: emotion))


def overall(report: dict[str, Any], section: str, row: str) -> dict[str, Any]:
    return report["sections"][section]["rows"][row]["overall"]


def test_bursts_like_the_real_ones_are_near_the_floor(good: dict[str, Any]) -> None:
    row = good["sections"]["distance"]["rows"]["good"]
    ratio, low, high = row["overall"]["ratio"]
    assert 0.2 < ratio < 2.5
    assert low < ratio < high
    floor = good["sections"]["distance"]["rows"]["real clips (floor)"]["emotions"]
    for name, entry in row["emotions"].items():
        assert entry["n"] == N
        assert entry["floor"] == pytest.approx(floor[name]["frechet"])
        assert entry["ratio"] == pytest.approx(entry["frechet"][0] / entry["floor"])
    assert ratio == pytest.approx(np.mean([entry["ratio"] for entry in row["emotions"].values()]))
    recognised = overall(good, "recognition", "good")
    assert recognised["top1"][0] > 0.6
    assert recognised["top3"][0] == 1.0
    assert recognised["cas"] > 0.5
    assert recognised["proxy_heep"] > 0.3
    assert overall(good, "memory", "good")["exact"] == 0
    assert abs(row["overall"]["position"]) < 0.3
    assert good["conditions"]["reference"]["clips"] == 72
    assert good["conditions"]["floor"] == {"split": "train", "draws": 2, "clips": 3 * N}


def test_evaluate_warns_of_clips_at_a_lower_rate(
    corpus: Path, good: dict[str, Any], evaluated: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    assert not any("sample rate" in line for line in good["warnings"])
    assert good["conditions"]["sample_rates"]["generated"] == {"good": f"{3 * N} of {RATE} Hz"}
    for path in (corpus / "good").glob("*/*.wav"):
        wave, rate = audio.read(path, RATE // 2)
        audio.write(tmp_path / "low" / path.parent.name / path.name, wave, rate)
    report = evaluated({"memory": False}, low=tmp_path / "low")
    (line,) = [line for line in report["warnings"] if "sample rate" in line]
    assert line.startswith(f"low: {3 * N} of {3 * N} clips have another sample rate ({3 * N} of {RATE // 2} Hz)")
    assert report["conditions"]["sample_rates"]["reference"] == f"72 of {RATE} Hz"
    conditions = (corpus / "out" / "report.md").read_text(encoding="utf-8").partition("## Conditions")[2]
    assert f"low {3 * N} of {RATE // 2} Hz" in conditions or f"low: {3 * N} of {RATE // 2} Hz" in conditions


def test_every_anchor_is_there_and_farther_than_real_clips(good: dict[str, Any]) -> None:
    rows = good["sections"]["distance"]["rows"]
    assert list(rows) == ["good", *ROWS, "other-emotion real clips"]
    assert rows["real clips (floor)"]["overall"]["ratio"] == pytest.approx(1.0)
    assert rows["real clips (floor)"]["overall"]["position"] == pytest.approx(0.0)
    for name in ("class-mean mel", "white noise", "silence", "other-emotion real clips"):
        assert rows[name]["overall"]["ratio"] > max(1.2, rows["good"]["overall"]["ratio"][0]), name
        assert rows[name]["overall"]["position"] > 0, name
    for emotion in EMOTIONS.emotions:
        assert max(rows[name]["emotions"][emotion]["position"] for name in anchors.BAD) == pytest.approx(1.0)
    assert overall(good, "recognition", "silence")["top1"][0] == pytest.approx(1 / 3)
    assert overall(good, "recognition", "silence")["cas"] == pytest.approx(1 / 3)
    assert overall(good, "acoustics", "silence")["pitch"] is None
    assert rows["silence"]["overall"]["vendi"] == pytest.approx(1.0)
    own = np.array(good["between"]["real clips (floor)"])
    assert (own.argmin(axis=1) == np.arange(3)).all()


def test_collapse_wrong_emotions_and_length_are_seen(
    corpus: Path, evaluated: Callable[..., dict[str, Any]], good: dict[str, Any]
) -> None:
    collapsed = write_generated(corpus / "collapsed", lambda clip: 500 + clip % 2, lambda emotion: emotion)
    wrong = write_generated(corpus / "wrong", lambda clip: 500 + clip, lambda emotion: (emotion + 1) % 3)
    for emotion, name in enumerate(EMOTIONS.emotions):
        for clip in range(N):
            audio.write(corpus / "long" / slug(name) / f"{clip}.wav", burst(emotion, 1.2, RATE, seed=clip), RATE)
    report = evaluated(good=corpus / "good", collapsed=collapsed, wrong=wrong, long=corpus / "long")
    assert report["sections"]["distance"]["rows"]["good"] == good["sections"]["distance"]["rows"]["good"]
    assert overall(report, "memory", "collapsed")["exact"] > N
    assert overall(report, "memory", "collapsed")["repeats"] > 0.5 > overall(report, "memory", "good")["repeats"]
    distances = {name: overall(report, "distance", name) for name in ("good", "collapsed", "wrong")}
    assert distances["collapsed"]["vendi"] < distances["good"]["vendi"]
    assert distances["collapsed"]["coverage"] < distances["good"]["coverage"]
    assert overall(report, "recognition", "wrong")["top1"][0] < 0.4
    assert distances["wrong"]["ratio"][0] > 1.5 * distances["good"]["ratio"][0]
    assert overall(report, "acoustics", "long")["seconds_w1"] > 0.5 > overall(report, "acoustics", "good")["seconds_w1"]
    found = {(entry["a"], entry["b"], entry["column"]): entry["value"] for entry in report["differences"]}
    assert len(found) == 12
    value, low, high = found["good", "wrong", "ratio"]
    assert value == pytest.approx(distances["good"]["ratio"][0] - distances["wrong"]["ratio"][0])
    assert low < value < high < 0


def test_copies_of_real_clips_are_named(corpus: Path, evaluated: Callable[..., dict[str, Any]]) -> None:
    folder = shutil.copytree(corpus / "good", corpus / "copied")
    shutil.copyfile(corpus / "03-1-2.wav", folder / "awe" / "000.wav")
    report = evaluated(copied=folder)
    assert any("1 clips are copies of real ones, first awe/000.wav of 03-1-2" in line for line in report["warnings"])
    assert overall(report, "memory", "copied")["copies"] >= 1


def test_what_is_missing_is_said(
    corpus: Path, evaluated: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(corpus / "good", corpus / "partly")
    shutil.rmtree(folder / "amusement")
    for clip in range(11, N):
        (folder / "awe" / f"{clip:03d}.wav").unlink()
    (folder / "awe" / "000.wav").write_bytes(b"RIFF")
    report = evaluated(partly=folder)
    said = "\n".join(report["warnings"])
    assert "partly: no clips of Amusement" in said
    assert "partly: 10 clips of Awe where the protocol asks for 14" in said
    assert "partly: 1 clips left out, first awe/000.wav" in said
    assert report["conditions"]["clips_of_an_emotion"] == 10
    assert set(report["sections"]["distance"]["rows"]["partly"]["emotions"]) == {"Awe", "Surprise (Positive)"}
    (folder / "awe" / "001.wav").write_bytes(b"RIFF")
    with pytest.raises(VocalgenError, match="partly: 9 clips of Awe; a distribution needs 10"):
        evaluated(partly=folder)
    for file in ("000", "001"):
        (folder / "awe" / f"{file}.wav").unlink()
    with monkeypatch.context() as patch, pytest.raises(VocalgenError, match="partly: 9 clips of Awe"):
        patch.setattr(quality, "measure", lambda *_: pytest.fail("measured before looking"))
        evaluated(partly=folder)
    with pytest.raises(VocalgenError, match="partly: no clips of the emotions of the protocol"):
        evaluated({"emotions": ("Amusement",)}, partly=folder)


def test_speakers_on_both_sides_are_named(evaluated: Callable[..., dict[str, Any]], corpus: Path) -> None:
    report = evaluated({"reference": ("train",)}, good=corpus / "good")
    shared = len(SPEAKERS["train"])
    assert any(f"{shared} speakers are in the reference and in the floor split" in line for line in report["warnings"])


def test_measurements_are_kept_and_damaged_ones_made_again(
    corpus: Path, evaluated: Callable[..., dict[str, Any]], good: dict[str, Any]
) -> None:
    folder = corpus / "manifest-measured"
    kept = {file: file.stat().st_mtime_ns for file in folder.glob("*.npz")}
    assert len(kept) >= 6
    damaged = next(iter(kept))
    damaged.write_bytes(damaged.read_bytes()[:100])
    again = evaluated(good=corpus / "good")
    assert again["sections"] == good["sections"]
    changed = {file for file, when in kept.items() if file.stat().st_mtime_ns != when}
    assert changed <= {damaged}


def test_ratings_make_heep_and_s_gen(corpus: Path, protocol: Protocol, good: dict[str, Any], tmp_path: Path) -> None:
    lines = ["rater,clip,emotion,rating"]
    for rater in range(3):
        for meant in EMOTIONS.emotions:
            for clip in range(N):
                heard = {name: 90 - rater if name == meant else 5 + clip % 3 for name in EMOTIONS.emotions}
                lines += [f"r{rater},{slug(meant)}/{clip:03d}.wav,{name},{value}" for name, value in heard.items()]
    (tmp_path / "ratings.csv").write_text("\n".join(lines))
    request = Request({"good": corpus / "good"}, corpus / "manifest.csv", tmp_path / "out", protocol, VOICE,
                      {"good": tmp_path / "ratings.csv"})  # fmt: skip
    report = run(request).report
    row = report["sections"]["ratings"]["rows"]["good"]
    assert row["overall"]["heep"][0] > 0.99
    assert row["overall"]["raters"] == 3
    assert row["overall"]["alpha"] > 0.9
    distances = report["sections"]["distance"]["rows"]["good"]["emotions"]
    for name, entry in row["emotions"].items():
        assert entry["s_gen"] == pytest.approx((1 / distances[name]["frechet"][0] + entry["heep"][0]) / 2)
    assert row["overall"]["s_gen"] == pytest.approx(np.mean([entry["s_gen"] for entry in row["emotions"].values()]))
    with pytest.raises(VocalgenError, match="ratings for 'other', but the systems are good"):
        run(replace(request, ratings={"other": tmp_path / "ratings.csv"}))


def test_draws_are_disjoint_and_balanced() -> None:
    labels = np.repeat([0, 1, 2], 30)
    sets = anchors.draws(labels, {0: 10, 2: 7}, 4, seed=0, names="abc")
    assert len(sets) == 3  # thirty clips hold three disjoint draws of ten
    assert len(np.unique(np.concatenate(sets))) == 3 * 17
    for chosen in sets:
        assert np.bincount(labels[chosen], minlength=3).tolist() == [10, 0, 7]
    with pytest.raises(VocalgenError, match="the floor needs 31 real clips of b, there are 30"):
        anchors.draws(labels, {1: 31}, 1, seed=0, names="abc")


def test_class_means_are_one_wave_an_emotion_of_the_median_length(corpus: Path) -> None:
    scorer = Scorer.load(corpus / "scorer")
    clips = RealClips(corpus / "manifest.csv", ["validation"], EMOTIONS, scorer.prepare)
    means = anchors.class_means(clips, VOICE, scorer.prepare)
    assert len(means) == len(clips)
    for emotion in range(3):
        of_it = np.flatnonzero(clips.labels == emotion)
        waves = [means.wave(int(index), scorer.prepare) for index in of_it]
        assert all(np.array_equal(wave, waves[0]) for wave in waves)
        lengths = [len(clips.wave(int(index), scorer.prepare)) for index in of_it]
        assert len(waves[0]) == pytest.approx(np.median(lengths), abs=0.05 * RATE)


def test_measured_clips_keep_their_order(corpus: Path) -> None:
    scorer = Scorer.load(corpus / "scorer")
    clips = RealClips(corpus / "manifest.csv", ["test"], EMOTIONS, scorer.prepare)
    whole = measure(clips, [scorer], "all")
    last = measure(clips.select(np.arange(30, 36)), [scorer], "some")
    assert np.allclose(whole.scores["scorer"].embeddings[30:], last.scores["scorer"].embeddings, atol=1e-5)
    assert whole.digests[30:].tolist() == last.digests.tolist()
    assert whole.ids[30:].tolist() == last.ids.tolist()
    assert whole.acoustics[33, 0] == len(clips.wave(33, scorer.prepare)) / RATE


def test_nothing_to_measure_is_refused(tmp_path: Path, corpus: Path) -> None:
    (tmp_path / "awe").mkdir()
    (tmp_path / "awe" / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(VocalgenError, match=r"all: none of the 1 clips could be measured; the first: awe/a\.wav"):
        measure(FolderClips(tmp_path, EMOTIONS), [Scorer.load(corpus / "scorer")], "all")


def test_shrinkage_is_chosen_by_the_smallest_fold() -> None:
    assert choose_shrinkage("auto", 110, 64) is None
    assert choose_shrinkage("auto", 70, 64) == "ledoit-wolf"
    assert choose_shrinkage("ledoit-wolf", 1000, 64) == "ledoit-wolf"
    with pytest.raises(VocalgenError, match="only 70 clips, too few for a covariance in 64 dimensions"):
        choose_shrinkage("none", 70, 64)


@pytest.mark.parametrize("name", ["emogator", "exvo_generate"])
def test_shipped_protocols_are_valid(name: str) -> None:
    protocol = load_protocol(name)
    assert protocol.per_emotion == 100
    assert protocol.vocabulary in ("emogator-30", "hume-10")


@pytest.mark.parametrize(
    ("text", "message"),
    [("per_emotion: 0", "per_emotion is 0"), ("shrinkage: some", "shrinkage is 'some'; choose none"),
     ("encoders: []", "at least one reference split and one encoder"), ("n: 3", "unknown key 'n'")],
)  # fmt: skip
def test_wrong_protocols_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(VocalgenError, match=message):
        load_protocol(str(tmp_path / "p.yaml"))
    with pytest.raises(VocalgenError, match="no protocol 'p'; choose emogator, exvo_generate"):
        load_protocol("p")


def test_the_verb_writes_a_report_that_follows_the_schema(
    corpus: Path, protocol: Protocol, good: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(verb, "_voice", lambda name: VOICE)
    (tmp_path / "own.yaml").write_text(f"per_emotion: {N}\nreference: [validation, test]\ndraws: 2\npermutations: 20\n")
    arguments = ["evaluate", f"good={corpus / 'good'}", "--out", str(tmp_path / "out"), "--reference",
                 str(corpus / "manifest.csv"), "--protocol", str(tmp_path / "own.yaml"), "--device", "cpu"]  # fmt: skip
    with pytest.raises(SystemExit) as stopped:
        vocalgen([*arguments, "--encoder", str(corpus / "scorer")])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out" / "report.html")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "report.json", "report.md", "report.html", "distances.png", "confusion.png", "between.png", "mels.png", INDEX
    }  # fmt: skip
    stored = json.loads((tmp_path / "out" / "report.json").read_text())
    check_report(stored)
    assert stored["sections"] == good["sections"]
    text = (tmp_path / "out" / "report.md").read_text()
    for expected in (stored["conditions"]["encoders"][0]["sha256"], "unbiased, no shrinkage", "Griffin-Lim", "seed: 0"):
        assert expected in text, expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--reference", "CORPUS/manifest.csv"], "nowhere is not a folder of generated clips"),
        (["CORPUS/good", "--reference", "none.csv"], "none.csv: no such manifest"),
        (["CORPUS/good", "CORPUS/good"], "two entries are called 'good'"),
        (["CORPUS/good", "--protocol", "unknown"], "no protocol 'unknown'"),
        (["CORPUS/good", "--encoder", "unknown"], "unknown: no encoder"),
        (["CORPUS/good", "-e", "awf"], "awf"),
        (["CORPUS/good", "-n", "0"], "per_emotion is 0"),
        (["CORPUS/good", "--out", "CORPUS/manifest.csv"], "it is a file; choose a folder"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    arguments: list[str], message: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [argument.replace("CORPUS", str(corpus)) for argument in arguments]
    defaults = {"--out": str(tmp_path / "out"), "--encoder": str(corpus / "scorer"),
                "--reference": str(corpus / "manifest.csv")}  # fmt: skip
    for option, value in defaults.items():
        given += [] if option in given else [option, value]
    with pytest.raises(SystemExit) as stopped:
        vocalgen(["evaluate", *given])
    printed = capsys.readouterr().err.strip()
    assert stopped.value.code == 2
    assert printed.startswith("error: ") and len(printed.splitlines()) == 1
    assert message in printed
    assert not list((tmp_path / "out").glob("*"))
