"""`vocalgen info`, and the tags that each verb writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

from vocalgen import __version__, audio, tags
from vocalgen.generation.tagging import model_name

if TYPE_CHECKING:
    from conftest import Line

WAVE = (0.5 * np.sin(np.arange(12_000) / 20)).astype(np.float32)


def test_info_prints_what_made_a_clip(tmp_path: Path, done: Line) -> None:
    path = tmp_path / "clip.flac"
    audio.write(path, WAVE, 24_000, tags=tags.Tags("my-model", "awe", 7, {"steps": 8, "solver": "dpm++"}))
    lines = [line.split(maxsplit=1) for line in done("info", path).splitlines()]
    assert lines == [
        [str(path)],
        ["model", "my-model"],
        ["emotion", "awe"],
        ["seed", "7"],
        ["settings"],
        ["steps", "8"],
        ["solver", "dpm++"],
        ["licence", "Apache-2.0"],
        ["software", f"vocalgen {__version__}"],
        ["audio", "as vocalgen wrote it"],
    ]


def test_info_tells_edited_and_untagged_files_apart(tmp_path: Path, done: Line) -> None:
    edited, plain = tmp_path / "edited.wav", tmp_path / "plain.wav"
    audio.write(edited, WAVE, 24_000, tags=tags.Tags("my-model", "awe", 7))
    edited.write_bytes(edited.read_bytes()[:-2] + b"\1\1")
    audio.write(plain, WAVE, 24_000)
    shown = done("info", edited, plain)
    assert "changed since vocalgen wrote it" in shown and "no tags of vocalgen" in shown
    first, second = json.loads(done("info", "--json", edited, plain))
    assert (first["tagged"], first["unchanged"], first["seed"]) == (True, False, 7)
    assert second == {"file": str(plain), "tagged": False}


def test_info_names_edited_tags(tmp_path: Path, done: Line) -> None:
    path = tmp_path / "clip.flac"
    audio.write(path, WAVE, 24_000, tags=tags.Tags("my-model", "awe", 7))
    pcm = soundfile.read(path, dtype="int16")[0]
    with soundfile.SoundFile(path) as file:
        texts = file.copy_metadata()
    with soundfile.SoundFile(path, "w", samplerate=24_000, channels=1) as file:
        for name, text in (texts | {"album": "Bursts of a year"}).items():
            setattr(file, name, text)
        file.write(pcm)
    assert "as vocalgen wrote it; tags edited" in done("info", path)
    (entry,) = json.loads(done("info", "--json", path))
    assert (entry["unchanged"], entry["tags_edited"]) == (False, True)


def test_info_refuses_what_is_not_audio(tmp_path: Path, refused: Line) -> None:
    (tmp_path / "notes.txt").write_text("no audio")
    assert "notes.txt" in refused("info", tmp_path / "notes.txt")
    assert "missing.wav" in refused("info", tmp_path / "missing.wav")


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("checkpoints/emogator-diffusion-24k", "emogator-diffusion-24k"),
        ("hub/models--lab--bursts/snapshots/0a1b", "lab/bursts"),
        ("snapshots/0a1b", "0a1b"),
    ],
)
def test_model_name_is_no_path(tmp_path: Path, folder: str, name: str) -> None:
    assert model_name(tmp_path / folder) == name


def test_sample_and_generate_tag_their_clips(debug_checkpoint: Path, tmp_path: Path, done: Line) -> None:
    options = ("--checkpoint", debug_checkpoint, "--device", "cpu", "--steps", 2)
    done("sample", "-e", "awe=0.7,fear=0.3", "--seed", 5, "--format", "opus", "-o", tmp_path / "s", *options)
    done("generate", "-e", "fear", "-n", 1, "-o", tmp_path / "g", "--no-trim", *options)
    (sampled,) = (tmp_path / "s").iterdir()
    first, second = tags.read(sampled), tags.read(tmp_path / "g" / "fear" / "fear-14.wav")
    assert first is not None and second is not None and first.unchanged and second.unchanged
    assert (first.tags.emotion, first.tags.seed) == (sampled.stem.rpartition("-")[0], 5)
    assert first.tags.model == second.tags.model == debug_checkpoint.name
    assert (first.tags.settings["steps"], first.tags.settings["trimmed"]) == (2, True)
    assert (second.tags.emotion, second.tags.seed, second.tags.settings["trimmed"]) == ("fear", 14, False)
