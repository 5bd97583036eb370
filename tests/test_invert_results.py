"""`vocalgen invert` on a folder that holds results, or other files, already."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from bursts import burst
from conftest import Command, Ran
from safetensors.numpy import load_file, save_file

from vocalgen import audio, tags
from vocalgen.errors import VocalgenError
from vocalgen.generation.inversion_files import RECORDING, recording_of_clip, recording_of_latent, save_latent
from vocalgen.shipped import file_sha256

Invert = Callable[..., Ran]


@pytest.fixture
def invert(debug_gan: Path, command: Command, tmp_path: Path) -> Invert:
    """Run `vocalgen invert` on a recording with one step into `out`."""

    def run(recording: Path, *options: object) -> Ran:
        common = ("-e", "awe", "--steps", 1, "--checkpoint", debug_gan, "--device", "cpu", "--out", tmp_path / "out")
        return command("invert", recording, *common, *options)

    return run


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return record(tmp_path / "here" / "laugh.wav", 0)


def record(path: Path, emotion: int) -> Path:
    audio.write(path, burst(emotion, 0.3), 24_000)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_invert_results_name_their_recording(invert: Invert, recording: Path, tmp_path: Path) -> None:
    assert invert(recording).code == 0
    clip, latent = tmp_path / "out" / "laugh.wav", tmp_path / "out" / "laugh.safetensors"
    written = tags.read(clip)
    assert written is not None and written.tags.settings[RECORDING] == file_sha256(recording)
    assert recording_of_clip(clip) == recording_of_latent(latent) == file_sha256(recording)
    assert load_file(latent)["w"].dtype == np.float32


def test_invert_replaces_results_of_the_same_recording_and_says_so(
    invert: Invert, recording: Path, tmp_path: Path
) -> None:
    first = invert(recording)
    assert first.code == 0 and "replaced" not in first.err
    before = contents(tmp_path / "out")
    copy = tmp_path / "there" / "laugh.wav"
    copy.parent.mkdir()
    shutil.copyfile(recording, copy)  # the recording counts, not its folder
    again = invert(copy, "--seed", 1)
    assert again.code == 0
    for name in ("laugh.wav", "laugh.safetensors"):
        assert f"note: {tmp_path / 'out' / name} is an earlier result for {copy}; it will be replaced" in again.err
    after = contents(tmp_path / "out")
    assert after.keys() == before.keys() and after["laugh.wav"] != before["laugh.wav"]


@pytest.mark.parametrize("missing", ["", "laugh.wav", "laugh.safetensors"])
def test_invert_keeps_results_of_another_recording(
    invert: Invert, recording: Path, tmp_path: Path, missing: str
) -> None:
    assert invert(recording).code == 0
    if missing:
        (tmp_path / "out" / missing).unlink()
    before, other = contents(tmp_path / "out"), record(tmp_path / "there" / "laugh.wav", 3)
    refused = invert(other)
    kept = "laugh.safetensors" if missing == "laugh.wav" else "laugh.wav"
    words = f"{tmp_path / 'out' / kept} was not made from {other}; choose another --out, or pass --overwrite"
    assert refused.code == 2 and words in refused.err and "replaced" not in refused.err
    assert contents(tmp_path / "out") == before
    allowed = invert(other, "--overwrite")
    assert allowed.code == 0 and "replaced" not in allowed.err
    assert recording_of_latent(tmp_path / "out" / "laugh.safetensors") == file_sha256(other)


def edit_clip(out: Path) -> None:
    """As an editor does that keeps the comment: the audio is another."""
    with soundfile.SoundFile(out / "laugh.wav") as file:
        comment, samples, rate = file.comment, file.read(), file.samplerate
    with soundfile.SoundFile(out / "laugh.wav", "w", rate, 1) as file:
        file.comment = comment
        file.write(0.5 * samples)


def edit_latent(out: Path) -> None:
    from safetensors import safe_open

    with safe_open(out / "laugh.safetensors", "np") as file:
        metadata, w = file.metadata(), file.get_tensor("w")
    save_file({"w": w + 1}, out / "laugh.safetensors", metadata)


def write_own_file(out: Path) -> None:
    (out / "laugh.safetensors").write_bytes(b"precious")


@pytest.mark.parametrize("change", [edit_clip, edit_latent, write_own_file])
def test_invert_keeps_changed_results(
    invert: Invert, recording: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    assert invert(recording).code == 0
    change(tmp_path / "out")
    before = contents(tmp_path / "out")
    refused = invert(recording)
    assert refused.code == 2 and "exists and was not written by vocalgen" in refused.err
    assert "replaced" not in refused.err and contents(tmp_path / "out") == before


def test_invert_keeps_a_clip_that_was_not_made_from_a_recording(
    invert: Invert, recording: Path, tmp_path: Path
) -> None:
    clip = tmp_path / "out" / "laugh.wav"
    audio.write(clip, burst(1, 0.3), 24_000, tags=tags.Tags("model", "awe", 0))
    refused = invert(recording)
    assert recording_of_clip(clip) == "" and f"{clip} was not made from {recording}" in refused.err
    assert [path.name for path in clip.parent.iterdir()] == ["laugh.wav"]


def test_invert_refuses_a_folder_in_the_place_of_a_result(invert: Invert, recording: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "laugh.safetensors").mkdir(parents=True)
    refused = invert(recording, "--overwrite")
    assert refused.code == 2 and "laugh.safetensors is a folder, where a file should go" in refused.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["laugh.safetensors"]


def test_save_latent_keeps_other_files_and_repeats_its_bytes(tmp_path: Path) -> None:
    path, w = tmp_path / "w.safetensors", np.arange(6, dtype=np.float32).reshape(3, 2).T
    save_latent(path, w, "1" * 64)
    first = path.read_bytes()
    np.testing.assert_array_equal(load_file(path)["w"], w)
    save_latent(path, w, "1" * 64)
    assert path.read_bytes() == first and recording_of_latent(path) == "1" * 64
    save_file({"w": w.copy()}, path)
    assert recording_of_latent(path) is None
    with pytest.raises(VocalgenError, match="was not written by vocalgen"):
        save_latent(path, w, "1" * 64)
