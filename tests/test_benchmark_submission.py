"""Submissions of `vocalgen benchmark`: a row for every test clip, also for those that are neither learnt nor scored."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from task_corpora import labelled, manifest_of
from test_benchmark_cli import flag, tiny, trained

from vocalgen.corpora.manifest import Manifest

__all__ = ["tiny"]  # a fixture of all tests here

MLP = ("--system", "mlp", "--encoder", "tiny", "epochs=1", "--seeds", "1")
EXVO = "exvo-multitask"


def rows_of(folder: Path, report: dict[str, Any]) -> dict[str, np.ndarray]:
    """The numbers of a submission by clip."""
    with open(folder / report["submission"], newline="") as file:
        header, *lines = csv.reader(file)
    assert header[0] == "File_ID"
    return {line[0].strip("[]"): np.array(line[1:], dtype=np.float64) for line in lines}


def test_clips_that_repeat_others_are_predicted_and_not_scored(
    tmp_path: Path, capsys: Any, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = labelled(manifest_of(EXVO, tmp_path), "exvo")
    clips = Manifest.load(manifest).split("test").rows
    original, repeat = clips[0], clips[-1]
    shutil.copy(original.file, repeat.file)
    reports, numbers = {}, {}
    for name in ("silent", "duplicate"):
        flag(manifest, -1, name)
        reports[name] = trained(capsys, manifest, tmp_path / name, EXVO, *MLP)
        numbers[name] = rows_of(tmp_path / name, reports[name])
        path = tmp_path / name / reports[name]["submission"]
        assert command("submission", "check", path, "--data", manifest).code == 0
    for part in ("summary", "seeds", "best"):
        assert reports["duplicate"][part] == reports["silent"][part]
    np.testing.assert_allclose(numbers["duplicate"][repeat.id], numbers["duplicate"][original.id], rtol=1e-6)
    assert np.abs(numbers["silent"][repeat.id] - numbers["silent"][original.id]).max() > 1e-4
    others = [clip.id for clip in clips[:-1]]
    for entry in others:
        np.testing.assert_array_equal(numbers["duplicate"][entry], numbers["silent"][entry])
    means = np.mean([numbers["silent"][entry] for entry in others], axis=0)
    np.testing.assert_allclose(numbers["silent"][repeat.id][1:], means[1:], rtol=1e-6)  # the first is a class
    assert "1 test clips cannot be used" in " ".join(reports["silent"]["warnings"])
    assert "cannot be used" not in " ".join(reports["duplicate"]["warnings"])

    def broken(*_: Any) -> None:
        from vocalgen import VocalgenError

        raise VocalgenError("features of a corpus")

    monkeypatch.setattr("vocalgen.tasks.submit.load_system", broken)
    report = trained(capsys, manifest, tmp_path / "duplicate", EXVO, *MLP)
    said = " ".join(report["warnings"])
    assert "1 test clips repeat the audio of others and could not be predicted (features of a corpus)" in said
    np.testing.assert_array_equal(rows_of(tmp_path / "duplicate", report)[repeat.id], numbers["silent"][repeat.id])
