"""`eval/pitch.py`: checks before the measurement, and errors of a tracker on signals whose pitch is known."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

from vocalgen.corpora.manifest import Clip, Manifest
from vocalgen.emotions import HUME10
from vocalgen.evaluation.pitch_signals import SIGNALS, signal_errors
from vocalgen.pitch import track_pitch


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    clip = Clip("a", tmp_path / "a.wav", "test", "", 1.0, (), (1.0, *[0.0] * 9))
    Manifest(HUME10, (clip,)).save(tmp_path / "manifest.csv")
    return tmp_path / "manifest.csv"


def error_of(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: object) -> str:
    monkeypatch.setattr("sys.argv", ["pitch.py", *map(str, options)])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(root / "eval" / "pitch.py"), run_name="__main__")
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_pitch_script_refuses_before_it_measures(
    root: Path, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "pitch.md").write_text("mine")

    def said(*options: object) -> str:
        return error_of(root, monkeypatch, capsys, "--manifest", manifest, *options)

    assert "'pitch.md', which vocalgen did not write" in said("--out", notes)
    assert "has no usable clip in the split 'validation'" in said("--out", notes, "--overwrite")
    assert "unknown split 'all'" in said("--out", tmp_path / "new", "--split", "all")
    for option in ("--clips", "--pyin-every", "--repeats"):
        assert "must be at least 1" in said("--out", tmp_path / "new", option, 0)
    assert (notes / "pitch.md").read_text() == "mine" and not (tmp_path / "new").exists()


def test_signal_errors_tell_trackers_apart() -> None:
    title = "tone in white noise, SNR 20 dB"
    assert title in SIGNALS
    right = signal_errors(track_pitch, title)
    assert right["n"] == 60 and right["gross"] < 0.02 and right["median"] < 0.1

    def octave_high(wave: torch.Tensor, rate: int, hop: int) -> tuple[torch.Tensor, torch.Tensor]:
        f0, periodicity = track_pitch(wave, rate, hop)
        return 2 * f0, periodicity

    assert signal_errors(octave_high, title)["median"] == pytest.approx(12, abs=0.1)
