"""Clips that are too short for an encoder's values: left out and named by everything that embeds clips."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bursts import burst
from conftest import Command

from vocalgen import VocalgenError, audio
from vocalgen.corpora.manifest import Manifest
from vocalgen.data import CacheConfig
from vocalgen.emotions import Vocabulary
from vocalgen.evaluation.embedding import embed
from vocalgen.evaluation.measured import measure
from vocalgen.recognition.clips import FolderClips
from vocalgen.recognition.features import features_of
from vocalgen.recognition.opensmile import OpenSmileEncoder
from vocalgen.recognition.scores import Scores

RATE = 16_000
AWE = Vocabulary("one", ("Awe",))
SHORTEST = 0.1  # seconds


class Demanding:
    """An encoder of four numbers that has no values for clips below `shortest` seconds."""

    emotions = None

    def __init__(self, name: str, shortest: float = SHORTEST) -> None:
        self.name, self.checksum, self.shortest = name, "0" * 64, shortest
        self.prepare = CacheConfig(sample_rate=RATE)

    def score(self, waves: Sequence[np.ndarray]) -> Scores:
        rows = [
            [wave.std(), *np.abs(np.fft.rfft(wave, 512))[[5, 20, 80]]]
            if len(wave) >= self.shortest * RATE
            else [np.nan] * 4
            for wave in waves
        ]
        return Scores(np.array(rows).reshape(-1, 4), np.zeros((len(waves), 0)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three clips, of which the second is short."""
    for number, seconds in enumerate((0.4, 0.04, 0.5)):
        audio.write(tmp_path / "clips" / "awe" / f"{number}.wav", burst(0, seconds, RATE, number), RATE)
    return tmp_path / "clips"


def test_embed_leaves_short_clips_out(folder: Path) -> None:
    found = embed(FolderClips(folder, AWE), Demanding("picky"), AWE)
    assert found.ids.tolist() == ["awe/0.wav", "awe/2.wav"]
    assert np.isfinite(found.embeddings).all()
    assert found.source.skipped == ("awe/1.wav: picky has no values for it; the clip is too short",)
    with pytest.raises(VocalgenError, match="picky gives NaN or infinity for clip awe/0"):
        embed(FolderClips(folder, AWE), Demanding("picky", 9.0), AWE)
    for number in (0, 2):
        (folder / "awe" / f"{number}.wav").unlink()
    with pytest.raises(VocalgenError, match="none of the 1 clips could be embedded; the first: awe/1"):
        embed(FolderClips(folder, AWE), Demanding("picky"), AWE)


def test_measure_leaves_out_clips_that_are_short_for_one_encoder(folder: Path) -> None:
    found = measure(FolderClips(folder, AWE), [Demanding("any", 0.0), Demanding("picky")], "clips")
    assert found.ids.tolist() == ["awe/0.wav", "awe/2.wav"]
    assert len(found.acoustics) == len(found.prints) == len(found.scores["any"]) == len(found.scores["picky"]) == 2
    assert found.skipped == ["awe/1.wav: picky has no values for it; the clip is too short"]


def test_opensmile_has_no_values_for_short_clips() -> None:
    pytest.importorskip("opensmile")
    scores = OpenSmileEncoder("eGeMAPSv02", 1).score([burst(0, 0.04, RATE, 0), burst(0, 0.3, RATE, 0)])
    assert np.isnan(scores.embeddings[0]).all() and np.isfinite(scores.embeddings[1]).all()


@pytest.fixture
def manifest(corpora: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus whose first clip of each split is short."""
    whole = Manifest.load(corpora("avb-high"))
    rows = []
    for clip in whole.rows:
        if clip.split not in {row.split for row in rows}:
            short = tmp_path / f"{clip.id}.wav"
            audio.write(short, burst(0, 0.04, RATE, int(clip.id)), RATE)
            clip = replace(clip, file=short)
        rows.append(clip)
    replace(whole, rows=tuple(rows)).save(tmp_path / "manifest.csv")
    for place in ("vocalgen.recognition.features", "vocalgen.recognition.encoders"):
        monkeypatch.setattr(f"{place}.load_encoder", lambda name, device="cpu": Demanding(name))
    return tmp_path / "manifest.csv"


def test_features_name_short_clips(manifest: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    ids = [Manifest.load(manifest).split(split).rows[0].id for split in ("train", "validation", "test")]
    for _ in range(2):  # computed, then read
        caplog.clear()
        found = features_of(manifest, "picky", progress=False)
        assert (found.silent, sorted(found.short)) == ((), sorted(ids))
        assert "3 clips are too short for values of picky" in caplog.text
        empty = np.isnan(found.values)
        assert [clip for clip, row in zip(found.ids, empty, strict=True) if row.all()] == list(found.short)
        assert empty.any(axis=1).sum() == 3


def test_benchmark_and_classify_leave_short_clips_out(
    manifest: Path, tmp_path: Path, command: Command, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    options = ("--encoder", "picky", "--seeds", 1, "--draws", 50, "--device", "cpu")
    ran = command("benchmark", "avb-high", "--data", manifest, "--out", tmp_path / "out", "--system", "mlp", *options,
                  "epochs=2")  # fmt: skip
    assert ran.code == 0, ran.err
    assert "3 clips are too short for features and are left out, first" in caplog.text
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (tmp_path / "out" / report["submission"]).is_file()
    train = Manifest.load(manifest).split("train").rows
    ran = command("classify", train[0].file, train[1].file, "--model", tmp_path / "out", "--json")
    assert ran.code == 0 and [json.loads(line)["file"] for line in ran.out.splitlines()] == [str(train[1].file)]
    assert f"left out: {train[0].file} is too short for this system" in " ".join(ran.err.split())
