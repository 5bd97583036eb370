"""Features of a corpus: what is computed again, what is not, and what a stop or damage costs."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from bursts import burst
from permissions import needs_posix, read_only
from small_corpus import EMOTIONS, MEL, RATE, write_corpus

from vocalgen import audio
from vocalgen.cli.main import run
from vocalgen.corpora.manifest import Manifest
from vocalgen.data import CacheConfig, WaveCache
from vocalgen.errors import VocalgenError
from vocalgen.models.classifier import MelClassifier
from vocalgen.recognition import features
from vocalgen.recognition.clips import cache_folder
from vocalgen.recognition.encoders import Encoder, load_encoder
from vocalgen.recognition.features import features_of
from vocalgen.recognition.scorer import Scorer
from vocalgen.recognition.scores import Scores

CLIPS = 42


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus with its packed audio, and an encoder beside it."""
    folder = tmp_path_factory.mktemp("made")
    table = Manifest.load(write_corpus(folder / "corpus"))
    table.where(row % 4 == 0 for row in range(len(table))).save(folder / "corpus" / "manifest.csv", overwrite=True)
    prepare = CacheConfig(sample_rate=RATE)
    manifest = folder / "corpus" / "manifest.csv"
    assert len(WaveCache.of(manifest, cache_folder(manifest, prepare), prepare, processes=1)) == CLIPS
    MelClassifier(MEL.to_dict(), EMOTIONS.emotions, 4, (4, 6), (16, 24), (1, 1)).save_pretrained(folder / "encoder")
    return folder


@pytest.fixture
def manifest(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "corpus", tmp_path / "corpus")) / "manifest.csv"


@pytest.fixture
def encoder(made: Path, tmp_path: Path) -> str:
    return str(shutil.copytree(made / "encoder", tmp_path / "encoder"))


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


def features_file(manifest: Path) -> Path:
    (file,) = manifest.parent.glob("manifest-features/*.npy")
    return file


def touched(file: Path) -> None:
    """As if written a second later."""
    found = file.stat()
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns + 10**9))


def test_rows_are_the_embeddings_of_the_clips(manifest: Path, encoder: str) -> None:
    found = features_of(manifest, encoder)
    wanted = Manifest.load(manifest).usable()
    assert found.ids == tuple(clip.id for clip in wanted)
    assert found.values.shape == (len(wanted), 4) and found.values.dtype == np.float32
    assert (found.name, len(found.checksum), found.new) == ("encoder", 64, len(wanted))
    scorer = load_encoder(encoder)
    audible = WaveCache.of(manifest, cache_folder(manifest, scorer.prepare), scorer.prepare)
    for row in (0, len(wanted) - 1):
        embedding = scorer.score([audible.wave(audible.ids.index(found.ids[row]))]).embeddings[0]
        assert np.allclose(found.values[row], embedding, atol=1e-5)
    file = features_file(manifest)
    assert np.array_equal(np.load(file), found.values)
    assert json.loads(file.with_suffix(".json").read_text())["checksum"] == found.checksum


def test_a_second_call_computes_nothing(manifest: Path, encoder: str, heard: list[int]) -> None:
    first = features_of(manifest, encoder)
    assert sum(heard) == CLIPS and max(heard) == 5
    heard.clear()
    second = features_of(manifest, encoder)
    assert heard == [] and (second.new, second.file) == (0, first.file)
    assert np.array_equal(first.values, second.values)


def untouchable(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    for name in names:
        monkeypatch.setattr(features, name, lambda *_: pytest.fail("what is complete needs no such thing"))


@pytest.mark.parametrize("left_behind", [0, 3, CLIPS])
def test_what_is_complete_needs_no_encoder_and_no_audio(
    manifest: Path, encoder: str, left_behind: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even packed audio, nor recordings; what is said of clips that cannot be read is said again."""
    Manifest.load(manifest).rows[1].file.write_bytes(b"no audio")
    before = features_of(manifest, encoder)
    shutil.rmtree(manifest.parent / "manifest-8k")
    for clip in Manifest.load(manifest).rows[:left_behind]:
        clip.file.unlink()
    untouchable(monkeypatch, "load_encoder", "WaveCache", "_mark", "_digest")
    caplog.clear()
    caplog.set_level(logging.WARNING)
    after = features_of(manifest, encoder)
    assert np.array_equal(after.values, before.values, equal_nan=True)
    assert (after.ids, after.name, after.checksum) == (before.ids, before.name, before.checksum)
    assert after.silent == before.silent == (before.ids[1],) and f"first {before.ids[1]}" in caplog.text


def test_features_of_an_earlier_version_are_kept(
    manifest: Path, encoder: str, heard: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have no seal, and get one."""
    before = features_of(manifest, encoder)
    before.file.with_suffix(".seal").unlink()
    heard.clear()
    after = features_of(manifest, encoder)
    assert (heard, after.new) == ([], 0) and np.array_equal(after.values, before.values)
    untouchable(monkeypatch, "load_encoder")
    assert features_of(manifest, encoder).new == 0


@pytest.mark.parametrize("change", ["features", "recording", "manifest", "seal"])
def test_what_was_touched_is_examined(
    change: str, manifest: Path, encoder: str, heard: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And found to be the same."""
    before = features_of(manifest, encoder)
    if change == "manifest":
        manifest.write_text(manifest.read_text().replace(",s1,", ",s99,"))
    elif change == "seal":
        before.file.with_suffix(".seal").write_text('{"origin": []')
    else:
        touched(before.file if change == "features" else Manifest.load(manifest).rows[3].file)
    loaded: list[str] = []

    def load(name: str, device: str) -> Encoder:
        loaded.append(name)
        return load_encoder(name, device)

    monkeypatch.setattr(features, "load_encoder", load)
    heard.clear()
    after = features_of(manifest, encoder)
    assert (after.new, heard, loaded) == (0, [], [encoder])
    assert np.allclose(after.values, before.values, atol=1e-5)
    assert features_of(manifest, encoder).new == 0 and loaded == [encoder]


def test_a_missing_recording_hides_no_other_that_has_changed(manifest: Path, encoder: str) -> None:
    features_of(manifest, encoder)
    missing, changed, *_ = Manifest.load(manifest).rows
    missing.file.unlink()
    touched(changed.file)
    with pytest.raises(VocalgenError, match=rf"1 of {CLIPS} files of the manifest are missing"):
        features_of(manifest, encoder)


def test_another_encoder_of_the_same_name(manifest: Path, encoder: str) -> None:
    before = features_of(manifest, encoder)
    torch.manual_seed(1)
    other = MelClassifier(MEL.to_dict(), EMOTIONS.emotions, 4, (4, 6), (16, 24), (1, 1))
    other.save_pretrained(encoder)
    touched(Path(encoder) / "diffusion_pytorch_model.safetensors")
    after = features_of(manifest, encoder)
    assert after.new == CLIPS and after.checksum != before.checksum and after.file != before.file
    assert not np.allclose(after.values, before.values)


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
    assert sum(heard) == found.new == CLIPS - 10
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
    assert found.new == sum(heard) == CLIPS - 10
    kept = found.values.copy()
    for file in manifest.parent.glob("manifest-features/*"):
        file.unlink()
    assert np.allclose(features_of(manifest, encoder).values, kept, atol=1e-5)


SECOND = """
import sys
from vocalgen.recognition import features
complete = features._complete

def asked(*arguments):
    print("asked", flush=True)
    return complete(*arguments)

features._complete = asked
found = features.features_of(sys.argv[1], sys.argv[2], progress=False)
print(found.new, found.values.tobytes().hex())
"""


def test_two_processes_that_ask_for_the_same_compute_it_once(
    manifest: Path, encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first begins to compute when the second has asked, which then waits."""
    second: list[subprocess.Popen[str]] = []
    embed = features._embed

    def joined(*arguments: object) -> object:
        command = [sys.executable, "-c", SECOND, str(manifest), encoder]
        second.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert second[0].stdout is not None and second[0].stdout.readline() == "asked\n"
        return embed(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(features, "_embed", joined)
    found = features_of(manifest, encoder)
    new, values = second[0].communicate(timeout=120)[0].split()
    assert (found.new, int(new), len(second)) == (CLIPS, 0, 1)
    assert bytes.fromhex(values) == found.values.tobytes()
    assert not list(manifest.parent.glob("manifest-features/*.parts"))


@needs_posix
@pytest.mark.parametrize("sealed", [True, False])
def test_what_is_complete_is_read_where_nothing_can_be_written(made: Path, sealed: bool) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(shutil.copytree(made, place, dirs_exist_ok=True))
        manifest = folder / "corpus" / "manifest.csv"
        before = features_of(manifest, str(folder / "encoder"))
        if not sealed:
            before.file.with_suffix(".seal").unlink()
        names = sorted(folder.rglob("*"))
        with read_only(folder):
            after = features_of(manifest, str(folder / "encoder"))
        assert after.new == 0 and np.array_equal(after.values, before.values)
        assert sorted(folder.rglob("*")) == names
        before.file.unlink()
        with read_only(folder), pytest.raises(VocalgenError, match="cannot write"):
            features_of(manifest, str(folder / "encoder"))


def test_no_clip_at_all(manifest: Path, encoder: str) -> None:
    for clip in Manifest.load(manifest).rows:
        clip.file.write_bytes(b"no audio")
    with pytest.raises(VocalgenError, match=r"none of the .* usable clips of the manifest could be read"):
        features_of(manifest, encoder)
    assert not list(manifest.parent.glob("manifest-features/*"))


def test_only_what_changed_is_computed_again(manifest: Path, encoder: str, heard: list[int]) -> None:
    before = features_of(manifest, encoder)
    table = Manifest.load(manifest)
    audio.write(table.rows[2].file, burst(2, 0.7, RATE, seed=99), RATE, overwrite=True)
    kept = table.where(row != 4 for row in range(len(table)))
    kept.save(manifest, overwrite=True)
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


def flipped(content: bytes) -> bytes:
    """With another last bit but one."""
    return content[:-1] + bytes([content[-1] ^ 64])


@pytest.mark.parametrize("damage", [flipped, lambda content: content[:-100], lambda _: b""])
@pytest.mark.parametrize("suffix", [".npy", ".json"])
def test_damaged_features_are_computed_again(
    suffix: str, damage: Callable[[bytes], bytes], manifest: Path, encoder: str
) -> None:
    whole = features_of(manifest, encoder)
    values, file = whole.values.copy(), whole.file.with_suffix(suffix)
    file.write_bytes(damage(file.read_bytes()))
    touched(whole.file)
    again = features_of(manifest, encoder)
    assert again.new == len(whole.ids) and np.allclose(again.values, values, atol=1e-5)


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
    table = Manifest.load(manifest)
    table.where(row < 3 for row in range(len(table))).save(manifest, overwrite=True)
    found = features_of(manifest, "eGeMAPSv02")
    assert found.values.shape == (3, 88)
    (file,) = manifest.parent.glob("manifest-features/*.json")
    columns = json.loads(file.read_text())["columns"]
    assert len(columns) == 88 and columns[0].startswith("F0semitone")


def test_the_verb(manifest: Path, encoder: str, capsys: pytest.CaptureFixture[str]) -> None:
    for new in (CLIPS, 0):
        with pytest.raises(SystemExit) as stop:
            run(["data", "features", str(manifest), "--encoder", encoder])
        assert stop.value.code == 0
        assert f"encoder: {CLIPS} clips x 4 values, {new} of them new: {manifest.parent}" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        run(["data", "features", str(manifest), "--encoder", "nonsense"])
    assert stop.value.code == 2
    assert "nonsense: no encoder" in capsys.readouterr().err
