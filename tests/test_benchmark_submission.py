"""Submissions of `vocalgen benchmark`: a row for every test clip, also for those that are neither learnt nor scored."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from conftest import Command, Line
from safetensors.numpy import load_file
from task_corpora import labelled, manifest_of
from test_benchmark_cli import FEW, OPTIONS, tiny, trained

from vocalgen import audio
from vocalgen.corpora.manifest import Manifest
from vocalgen.corpora.verify import verify
from vocalgen.tasks.runs import read_record
from vocalgen.tasks.submit import originals

__all__ = ["tiny"]  # a fixture of all tests here

MLP = ("--system", "mlp", "--encoder", "tiny", "epochs=1", "--seeds", "1")
EXVO = "exvo-multitask"


def rows_of(folder: Path, report: dict[str, Any]) -> dict[str, np.ndarray]:
    """The numbers of a submission by clip."""
    with open(folder / report["submission"], newline="") as file:
        header, *lines = csv.reader(file)
    assert header[0] == "File_ID"
    return {line[0].strip("[]"): np.array(line[1:], dtype=np.float64) for line in lines}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last test clips repeat a test clip and a training clip, and hold no sound; all have labels."""
    path = labelled(manifest_of(EXVO, tmp_path_factory.mktemp("exvo")), "exvo")
    clips = Manifest.load(path)
    train, test = clips.split("train").rows, clips.split("test").rows
    shutil.copy(test[0].file, test[-3].file)
    shutil.copy(train[5].file, test[-2].file)
    audio.write(test[-1].file, np.zeros(8000), 16_000, overwrite=True)
    verify(clips)[0].save(path, overwrite=True)
    return path


def test_what_repeats_which_clip(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = Manifest.load(manifest)
    train, test = clips.split("train").rows, clips.split("test").rows
    assert [clip.flags for clip in test[-3:]] == [("duplicate",), ("duplicate",), ("silent",)]
    assert originals(clips) == {test[-3].id: test[0].id, test[-2].id: train[5].id}
    inspect = Mock(wraps=audio.inspect)
    monkeypatch.setattr(audio, "inspect", inspect)
    originals(clips)
    heard = [call.args[0] for call in inspect.mock_calls]
    assert len(heard) == len(set(heard)) and test[-1].file not in heard
    apart = replace(clips, rows=tuple(clip for clip in clips if clip.id != train[5].id))
    assert originals(apart) == {test[-3].id: test[0].id}


def assert_close(found: Any, expected: Any) -> None:
    """Equality of nested values; numbers may differ as sums over batches of other sizes do."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_close(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for left, right in zip(found, expected, strict=True):
            assert_close(left, right)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-6, nan_ok=True)
    else:
        assert found == expected


def test_repeated_clips_are_predicted_and_not_scored(
    manifest: Path, tmp_path: Path, capsys: Any, command: Command
) -> None:
    test = Manifest.load(manifest).split("test").rows
    report = trained(capsys, manifest, tmp_path / "out", EXVO, *MLP)
    assert command("submission", "check", tmp_path / "out" / report["submission"], "--data", manifest).code == 0
    sent = rows_of(tmp_path / "out", report)
    np.testing.assert_array_equal(sent[test[-3].id], sent[test[0].id])
    stored = load_file(tmp_path / "out" / "predictions.safetensors")
    ids = read_record(tmp_path / "out" / "seeds" / "seed-101" / "run.json")["ids"]
    at = ids.index(originals(Manifest.load(manifest))[test[-2].id])
    found = [stored["country"][at].argmax(), *stored["age"][at], *stored["emotions"][at]]
    np.testing.assert_allclose(sent[test[-2].id], found, rtol=1e-8)
    means = np.mean([sent[clip.id] for clip in test[:-3]], axis=0)
    np.testing.assert_allclose(sent[test[-1].id][1:], means[1:], rtol=1e-6)  # the first is a class
    assert sum("1 test clips cannot be used" in line for line in report["warnings"]) == 1

    without = manifest.with_name("without.csv")
    clips = Manifest.load(manifest)
    replace(clips, rows=tuple(clip for clip in clips if clip.id not in {entry.id for entry in test[-3:]})).save(without)
    other = trained(capsys, without, tmp_path / "other", EXVO, *MLP)
    assert {*report["summary"]} == {"validation", "test"}
    for part in ("summary", "seeds", "best"):
        assert_close(report[part], other[part])


def test_runs_that_did_not_hear_what_is_repeated(
    manifest: Path, tmp_path: Path, capsys: Any, refused: Line, caplog: pytest.LogCaptureFixture
) -> None:
    """What was fitted before the clip was known to repeat one of training is fitted again, alone and in a fusion."""
    clips = Manifest.load(manifest)
    test = clips.split("test").rows
    changed = manifest.with_name("changed.csv")
    rows = (replace(clip, flags=("silent",)) if clip.id == test[-2].id else clip for clip in clips)
    replace(clips, rows=tuple(rows)).save(changed)
    parts = {"a": MLP, "b": (*MLP, "epochs=2")}
    for name, system in parts.items():
        report = trained(capsys, changed, tmp_path / name, EXVO, *system)
        assert any("2 test clips cannot be used" in line for line in report["warnings"])
    fusion = ("--system", "late-fusion", "--run", str(tmp_path / "a"), "--run", str(tmp_path / "b"))
    trained(capsys, changed, tmp_path / "mean", EXVO, *fusion)

    clips.save(changed, overwrite=True)
    original = originals(clips)[test[-2].id]
    arguments = ("benchmark", EXVO, "--data", changed, "--out", tmp_path / "mean", *fusion, *OPTIONS, *FEW)
    assert f"has no prediction of {original}; run it again" in refused(*arguments)
    for name, system in parts.items():
        caplog.clear()
        report = trained(capsys, changed, tmp_path / name, EXVO, *system)
        assert "now known to repeat; it is fitted again" in caplog.text
        assert any("1 test clips cannot be used" in line for line in report["warnings"])
    caplog.clear()
    trained(capsys, changed, tmp_path / "a", EXVO, *parts["a"])
    assert "fitted again" not in caplog.text
    report = trained(capsys, changed, tmp_path / "mean", EXVO, *fusion)
    a, b, mean = (load_file(tmp_path / name / "predictions.safetensors")["age"] for name in ("a", "b", "mean"))
    np.testing.assert_allclose(mean, (a + b) / 2, rtol=1e-12)
    at = read_record(tmp_path / "mean" / "seeds" / "seed-101" / "run.json")["ids"].index(original)
    np.testing.assert_allclose(rows_of(tmp_path / "mean", report)[test[-2].id][1], mean[at][0], rtol=1e-8)


def test_ids_that_a_submission_cannot_hold_are_named_before_fitting(tmp_path: Path, refused: Line) -> None:
    path = manifest_of("avb-high", tmp_path)
    made = Manifest.load(path)
    rows = [replace(clip, id=str(int(clip.id))) for clip in made]
    replace(made, rows=tuple(rows)).save(tmp_path / "cut.csv")
    said = refused("benchmark", "avb-high", "--data", tmp_path / "cut.csv", *MLP, "--out", tmp_path / "b")
    assert "16 test ids of 16 do not fit a submission for avb-high: 32, 33, 34, 35, 36 and 11 more; ids need" in said
    assert not list(tmp_path.glob("b/*")) and not list(tmp_path.glob("cut-*"))
