"""Features of a corpus: what is computed again, what is not, and what a stop or damage costs."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from bursts import burst
from small_corpus import EMOTIONS, MEL, RATE, write_corpus

from vocalgen import audio
from vocalgen.cli.main import run
from vocalgen.corpora.manifest import Manifest
from vocalgen.errors import VocalgenError
from vocalgen.models.classifier import MelClassifier
from vocalgen.recognition import features
from vocalgen.recognition.encoders import load_encoder
from vocalgen.recognition.features import features_of
from vocalgen.recognition.scorer import Scorer
from vocalgen.recognition.scores import Scores


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus")


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    MelClassifier(MEL.to_dict(), EMOTIONS.emotions, 4, (4, 6), (16, 24), (1, 1)).save_pretrained(tmp_path / "encoder")
    return str(tmp_path / "encoder")


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many clips every call of an encoder was given."""
    calls: list[int] = []
    score = Scorer.score

    def counted(self: Scorer, waves: Sequence[np.ndarray], batch_size: int = 64) -> Scores:
        calls.append(len(waves))
        return score(self, waves, batch_size)

    monkeypatch.setattr(Scorer, "score", counted)
    monkeypatch.setattr(features, "CHUNK", 5)
    return calls


def clips(manifest: Path) -> int:
    return len(Manifest.load(manifest).usable())


def test_rows_are_the_embeddings_of_the_clips(manifest: Path, encoder: str) -> None:
    found = features_of(manifest, encoder)
    wanted = Manifest.load(manifest).usable()
    assert found.ids == tuple(clip.id for clip in wanted)
    assert found.values.shape == (len(wanted), 4) and found.values.dtype == np.float32
    assert (found.name, len(found.checksum), found.new) == ("encoder", 64, len(wanted))
    scorer = load_encoder(encoder)
    audible = features.WaveCache.of(manifest, features.cache_folder(manifest, scorer.prepare), scorer.prepare)
    for row in (0, len(wanted) - 1):
        embedding = scorer.score([audible.wave(audible.ids.index(found.ids[row]))]).embeddings[0]
        assert np.allclose(found.values[row], embedding, atol=1e-5)
    (file,) = manifest.parent.glob("manifest-features/*.npy")
    assert np.array_equal(np.load(file), found.values)
    assert json.loads(file.with_suffix(".json").read_text())["checksum"] == found.checksum


def test_a_second_call_computes_nothing(manifest: Path, encoder: str, heard: list[int]) -> None:
    first = features_of(manifest, encoder)
    assert sum(heard) == clips(manifest) and max(heard) == 5
    heard.clear()
    second = features_of(manifest, encoder)
    assert heard == [] and second.new == 0
    assert np.array_equal(first.values, second.values)


def test_what_was_computed_before_a_stop_is_not_lost(
    manifest: Path, encoder: str, heard: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = features_of(manifest, encoder).values.copy()
    for file in manifest.parent.glob("manifest-features/*"):
        file.unlink()
    heard.clear()
    embed = features._embed

    def stopped(*arguments: object) -> object:
        if len(heard) == 3:
            raise KeyboardInterrupt
        return embed(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(features, "_embed", stopped)
    with pytest.raises(KeyboardInterrupt):
        features_of(manifest, encoder)
    monkeypatch.setattr(features, "_embed", embed)
    (damaged, *_) = sorted(manifest.parent.glob("manifest-features/*.parts/*.npz"))
    damaged.write_bytes(damaged.read_bytes()[:50])
    heard.clear()
    found = features_of(manifest, encoder)
    assert sum(heard) == found.new == clips(manifest) - 10
    assert np.allclose(found.values, whole, atol=1e-5)
    assert not list(manifest.parent.glob("manifest-features/*.parts"))


KILLED = """
import sys
from vocalgen.recognition import features
features.CHUNK = 5
embed, calls = features._embed, []

def slow(*arguments):
    calls.append(1)
    if len(calls) == 3:
        print("two parts are saved", flush=True)
        import time
        time.sleep(600)
    return embed(*arguments)

features._embed = slow
features.features_of(sys.argv[1], sys.argv[2], progress=False)
"""


def test_a_killed_run_goes_on_where_it_was(manifest: Path, encoder: str, heard: list[int]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(manifest), encoder], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline().startswith("two parts")
    process.kill()
    process.wait()
    found = features_of(manifest, encoder)
    assert found.new == sum(heard) == clips(manifest) - 10
    kept = found.values.copy()
    for file in manifest.parent.glob("manifest-features/*"):
        file.unlink()
    assert np.allclose(features_of(manifest, encoder).values, kept, atol=1e-5)


def test_what_is_complete_is_read_where_nothing_can_be_written(
    manifest: Path, encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = features_of(manifest, encoder)

    def refuse(path: object) -> object:
        raise VocalgenError(f"cannot write {path}")

    monkeypatch.setattr(features, "locked", refuse)
    assert np.array_equal(features_of(manifest, encoder).values, before.values)


def test_no_clip_at_all(manifest: Path, encoder: str) -> None:
    for clip in Manifest.load(manifest).rows:
        clip.file.write_bytes(b"no audio")
    with pytest.raises(VocalgenError, match=r"none of the .* usable clips of the manifest could be read"):
        features_of(manifest, encoder)
    assert not list(manifest.parent.glob("manifest-features/*"))


def test_only_what_changed_is_computed_again(manifest: Path, encoder: str, heard: list[int]) -> None:
    before = features_of(manifest, encoder)
    table = Manifest.load(manifest)
    audio.write(table.rows[2].file, burst(2, 0.7, RATE, seed=99), RATE)
    kept = table.where(row != 4 for row in range(len(table)))
    kept.save(manifest)
    heard.clear()
    after = features_of(manifest, encoder)
    assert sum(heard) == after.new == 1
    assert after.ids == tuple(clip.id for clip in kept)
    rows = {clip: row for row, clip in enumerate(before.ids)}
    same = [clip == table.rows[2].id or np.array_equal(after.values[row], before.values[rows[clip]])
            for row, clip in enumerate(after.ids)]  # fmt: skip
    assert all(same)
    assert not np.allclose(after.values[2], before.values[2])


def test_clips_that_cannot_be_read_have_no_features(
    manifest: Path, encoder: str, caplog: pytest.LogCaptureFixture
) -> None:
    table = Manifest.load(manifest)
    table.rows[1].file.write_bytes(b"no audio")
    caplog.set_level(logging.WARNING)
    found = features_of(manifest, encoder)
    assert f"1 clips cannot be read and have no features, first {table.rows[1].id}" in caplog.text
    assert np.isnan(found.values[1]).all() and np.isfinite(np.delete(found.values, 1, 0)).all()
    assert features_of(manifest, encoder).new == 0


def test_damaged_features_are_computed_again(manifest: Path, encoder: str) -> None:
    whole = features_of(manifest, encoder)
    (file,) = manifest.parent.glob("manifest-features/*.npy")
    content = bytearray(file.read_bytes())
    content[-1] ^= 64
    file.write_bytes(bytes(content))
    again = features_of(manifest, encoder)
    assert again.new == len(whole.ids)
    assert np.isfinite(again.values).all()


def test_encoders_that_fail_are_named(manifest: Path, encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Scorer, waves: Sequence[np.ndarray]) -> Scores:
        return Scores(np.full((len(waves), 4), np.nan), np.zeros((len(waves), 3)))

    monkeypatch.setattr(Scorer, "score", broken)
    first = Manifest.load(manifest).rows[0].id
    with pytest.raises(VocalgenError, match=f"encoder gives NaN or infinity for clip {first}"):
        features_of(manifest, encoder)
    assert not list(manifest.parent.glob("manifest-features/*.npy"))


def test_opensmile_names_its_columns(manifest: Path) -> None:
    pytest.importorskip("opensmile")
    found = features_of(manifest, "eGeMAPSv02")
    assert found.values.shape[1] == 88
    (file,) = manifest.parent.glob("manifest-features/*.json")
    columns = json.loads(file.read_text())["columns"]
    assert len(columns) == 88 and columns[0].startswith("F0semitone")


def test_the_verb(manifest: Path, encoder: str, capsys: pytest.CaptureFixture[str]) -> None:
    count = clips(manifest)
    for new in (count, 0):
        with pytest.raises(SystemExit) as stop:
            run(["data", "features", str(manifest), "--encoder", encoder])
        assert stop.value.code == 0
        assert f"encoder: {count} clips x 4 values, {new} of them new: {manifest.parent}" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        run(["data", "features", str(manifest), "--encoder", "nonsense"])
    assert stop.value.code == 2
    assert "nonsense: no encoder" in capsys.readouterr().err
