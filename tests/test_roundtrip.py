"""Round-trip measurements and pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from bursts import burst
from numpy.typing import NDArray
from small_corpus import MEL, RATE

from vocalgen.errors import VocalgenError
from vocalgen.evaluation.figures import loss_curves, mel_grid, read_metrics
from vocalgen.evaluation.roundtrip import mel_round_trip, pitch_errors, roundtrip_markdown, vocoder_round_trips
from vocalgen.mel import LogMel

Array = NDArray[np.float32]


def test_a_better_vocoder_has_smaller_distances() -> None:
    waves = [burst(i % 3, 0.4, RATE, seed=i)[: 24 * MEL.hop_length] for i in range(6)]
    log_mel = LogMel(MEL)

    def analyse(wave: Array) -> Array:
        return log_mel(torch.from_numpy(wave)[None])[0].numpy()

    places = {analyse(wave).tobytes(): wave for wave in waves}

    def copy(mel: Array) -> Array:
        return places[mel.tobytes()]

    def hiss(mel: Array) -> Array:
        noise = np.random.default_rng(0).standard_normal(mel.shape[1] * MEL.hop_length)
        return (copy(mel) + 0.05 * noise).astype(np.float32)

    results = vocoder_round_trips(waves, list("aabbcc"), analyse, {"copy": copy, "hiss": hiss}, RATE, MEL.hop_length)
    assert results["copy"]["frechet"] is None
    assert results["copy"]["roughness"] == (1.0, 1.0, 1.0)
    embed = lambda clips: np.array([[wave.std(), np.abs(wave).max()] for wave in clips])  # noqa: E731
    embedded = vocoder_round_trips(waves, list("aabbcc"), analyse, {"copy": copy, "hiss": hiss}, RATE, 256, embed)
    assert embedded["copy"]["frechet"] == pytest.approx(0.0, abs=1e-9)
    assert embedded["hiss"]["frechet"] > 1e-5
    assert results["copy"]["log_mel_l1"] == results["copy"]["stft_log"] == (0.0, 0.0, 0.0)
    assert results["hiss"]["log_mel_l1"].value > 0.3
    assert results["hiss"]["log_mel_l1"].low < results["hiss"]["log_mel_l1"].value
    assert results["copy"]["periodicity"] == results["copy"]["pitch"] == (0.0, 0.0, 0.0)
    assert results["hiss"]["periodicity"].value > 0.05
    assert results["hiss"]["n"] == 6
    halved = mel_round_trip([analyse(wave) for wave in waves], list("aabbcc"), lambda mel: mel + 0.25)
    assert halved["log_mel_l1"].value == pytest.approx(0.25, abs=1e-5)
    report = {"n": 6, "splits": ["test"], "speakers": 3, "threads": 1, "systems": {**results, "ae": halved}}
    text = roundtrip_markdown(report)
    assert "| copy | 0.000 [0.000, 0.000] |" in text
    assert "| ae | 0.250 [0.250, 0.250] | – | – | – |" in text


def test_pitch_errors_count_voiced_frames_alone() -> None:
    time = np.arange(RATE) / RATE
    tone = 0.2 * np.sin(2 * np.pi * 220 * time)
    half = np.where(time < 0.5, tone, 0.0)
    sharp = np.where(time < 0.5, 0.2 * np.sin(2 * np.pi * 240 * time), 0.0)
    periodicity, pitch = pitch_errors(sharp, half, RATE, MEL.hop_length)
    assert periodicity < 0.05
    assert pitch == pytest.approx(1.0, abs=0.05)
    assert np.isnan(pitch_errors(half, np.zeros(RATE), RATE, MEL.hop_length)[1])


def test_mel_grid_draws_a_row_an_emotion(tmp_path: Path) -> None:
    image = pytest.importorskip("matplotlib.image")
    mels = {name: [np.random.rand(24, 20 + i).astype(np.float32) for i in range(2)] for name in ("Awe", "Fear")}
    mel_grid(mels, mels, tmp_path / "two.png", 60.0)
    mel_grid({"Awe": mels["Awe"], "Fear": []}, mels, tmp_path / "one.png", 60.0)
    two, one = image.imread(tmp_path / "two.png"), image.imread(tmp_path / "one.png")
    assert two.shape[0] > one.shape[0] > 50
    assert two.std() > 0.05
    with pytest.raises(VocalgenError, match="no emotion has both"):
        mel_grid(mels, {}, tmp_path / "none.png", 60.0)
    assert {path.name for path in tmp_path.iterdir()} == {"two.png", "one.png"}


def test_loss_curves_read_a_run_folder(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    lines = [
        {"step": 10, "loss": 3.0, "clips_per_second": 5.0},
        {"step": 20, "loss": 2.0},
        {"step": 20, "accuracy": 0.1},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_metrics(tmp_path) == [lines[0], {"step": 20, "loss": 2.0, "accuracy": 0.1}]
    loss_curves(tmp_path, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(VocalgenError, match="holds none of kl"):
        loss_curves(tmp_path, tmp_path / "curves.png", ["kl"])


@pytest.mark.parametrize(("content", "message"), [(None, "cannot read"), ("", "is empty"), ("{", "not JSON lines")])
def test_bad_metrics_are_named(content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "metrics.jsonl").write_text(content)
    with pytest.raises(VocalgenError, match=message):
        read_metrics(tmp_path)
