"""Tags of generated clips: stored in every format, read back, and no longer valid once the audio is edited."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from vocalgen import VocalgenError, __version__, audio, tags

TAGS = tags.Tags("emogator-diffusion-24k", "awe=0.7,fear=0.3", 7, {"steps": 8, "trimmed": True, "duration": None})
LOSSLESS = ("wav", "flac")


def burst(seconds: float = 0.5, rate: int = 24_000) -> audio.Wave:
    t = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * 300 * t) * np.hanning(len(t))).astype(np.float32)


@pytest.fixture(params=audio.FORMATS)
def clip(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"clip.{request.param}"
    audio.write(path, burst(), 24_000, tags=TAGS)
    return path


def rewrite(path: Path, wave: np.ndarray, rate: int = 24_000, **changed: str) -> None:
    """Save other audio or other texts with the remaining texts of the old file, as an editor does."""
    with soundfile.SoundFile(path) as file:
        texts, format, subtype = file.copy_metadata(), file.format, file.subtype
    with soundfile.SoundFile(path, "w", samplerate=rate, channels=1, format=format, subtype=subtype) as file:
        for name, text in {**texts, **changed}.items():
            if text:
                setattr(file, name, text)
        file.write(wave)


def test_read_returns_what_write_stored(clip: Path) -> None:
    found = tags.read(clip)
    assert found is not None
    assert found.tags == TAGS and found.tags.software == f"vocalgen {__version__}"
    assert found.tags.licence == "Apache-2.0"
    assert found.unchanged and tags.written_by_vocalgen(clip)


def test_players_see_emotion_and_model(clip: Path) -> None:
    with soundfile.SoundFile(clip) as file:
        texts = file.copy_metadata()
    assert (texts["title"], texts["artist"]) == ("awe=0.7,fear=0.3", "emogator-diffusion-24k")
    assert json.loads(texts["comment"])["vocalgen"]["seed"] == 7
    if clip.suffix != ".mp3":  # libsndfile stores neither in ID3
        assert texts["software"].startswith("vocalgen ")
        assert "Apache-2.0" in (texts.get("license"), texts.get("copyright"))


def test_tags_do_not_change_the_samples(clip: Path) -> None:
    plain = clip.with_name(f"plain{clip.suffix}")
    audio.write(plain, burst(), 24_000)
    assert np.array_equal(audio.read(plain)[0], audio.read(clip)[0])
    assert tags.read(plain) is None and not tags.written_by_vocalgen(plain)


@pytest.mark.parametrize("kind", audio.FORMATS)
def test_write_gives_the_same_bytes_again(tmp_path: Path, kind: str) -> None:
    for name in ("a", "b"):  # libsndfile draws another serial number for every Ogg file
        audio.write(tmp_path / f"{name}.{kind}", burst(), 24_000, tags=TAGS)
    assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_an_edited_clip_is_recognised(clip: Path) -> None:
    wave = audio.read(clip)[0]
    quieter, shorter = 0.98 * wave, wave[:-240]
    for edited in (quieter, shorter):
        rewrite(clip, edited)
        found = tags.read(clip)
        assert found is not None and found.tags == TAGS
        assert found.audio_edited and not found.unchanged and not tags.written_by_vocalgen(clip)


@pytest.mark.parametrize("name", ["title", "artist", "album", "genre", "date", "license", "software"])
def test_written_by_vocalgen_compares_text_fields(tmp_path: Path, name: str) -> None:
    for kind in LOSSLESS:
        path = tmp_path / f"clip.{kind}"
        audio.write(path, burst(), 24_000, tags=TAGS)
        pcm = soundfile.read(path, dtype="int16")[0]
        rewrite(path, pcm)
        assert tags.written_by_vocalgen(path)
        rewrite(path, pcm, **{"copyright" if (kind, name) == ("wav", "license") else name: "mine"})
        found = tags.read(path)
        assert found is not None and found.tags == TAGS
        assert found.tags_edited and not found.audio_edited and not tags.written_by_vocalgen(path)


@pytest.mark.parametrize("name", ["title", "album"])
def test_read_finds_edited_text_fields_in_every_format(clip: Path, name: str) -> None:
    rewrite(clip, audio.read(clip)[0], **{name: "mine"})
    found = tags.read(clip)
    assert found is not None and found.tags_edited


def test_read_finds_removed_text_fields(tmp_path: Path) -> None:
    path = tmp_path / "clip.flac"
    audio.write(path, burst(), 24_000, tags=TAGS)
    rewrite(path, soundfile.read(path, dtype="int16")[0], title="")
    found = tags.read(path)
    assert found is not None and found.tags_edited


def test_one_changed_sample_is_recognised_in_lossless_files(tmp_path: Path) -> None:
    for kind in LOSSLESS:
        path = tmp_path / f"clip.{kind}"
        audio.write(path, burst(), 24_000, tags=TAGS)
        pcm = soundfile.read(path, dtype="int16")[0]
        rewrite(path, pcm)
        assert tags.written_by_vocalgen(path)
        pcm[100] += 1
        rewrite(path, pcm)
        assert not tags.written_by_vocalgen(path)


def test_another_sample_rate_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    audio.write(path, burst(), 24_000, tags=TAGS)
    rewrite(path, soundfile.read(path, dtype="int16")[0], rate=48_000)
    assert not tags.written_by_vocalgen(path)


def test_a_cut_clip_is_recognised(clip: Path) -> None:
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) - len(content) // 4])
    assert not tags.written_by_vocalgen(clip)


def test_names_that_are_not_ascii(clip: Path) -> None:
    named = tags.Tags("modèle", "Émotion", 0)
    audio.write(clip, burst(), 24_000, tags=named)
    found = tags.read(clip)
    assert found is not None and found.tags == named and found.unchanged


@pytest.mark.parametrize(
    "comment",
    [
        "recorded in Graz",
        "[]",
        '{"vocalgen": 1}',
        '{"vocalgen": {"model": "m"}, "audio": {}}',
        '{"vocalgen": {"model": "m", "emotion": "e", "seed": "x", "settings": {}, "licence": "l", "software": "s"}, '
        '"audio": {"frames": 12000, "sample_rate": 24000, "digest": "", "levels": [0]}}',
        "[" * 50_000,
    ],
)
def test_read_of_comments_by_others(tmp_path: Path, comment: str) -> None:
    path = tmp_path / "clip.flac"
    with soundfile.SoundFile(path, "w", samplerate=24_000, channels=1) as file:
        file.comment = comment
        file.write(burst())
    assert tags.read(path) is None


def test_read_of_tags_with_further_values(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    audio.write(path, burst(), 24_000, tags=TAGS)
    with soundfile.SoundFile(path) as file:
        values = json.loads(file.comment)
    values["vocalgen"]["watermark"] = values["later"] = 1
    rewrite(path, soundfile.read(path, dtype="int16")[0], comment=json.dumps(values))
    assert tags.written_by_vocalgen(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no audio")
    for name in ("text.wav", "missing.wav", "."):
        with pytest.raises(VocalgenError, match="cannot read"):
            tags.read(tmp_path / name)
        assert not tags.written_by_vocalgen(tmp_path / name)


def test_import_is_light() -> None:
    code = "import sys, vocalgen.tags; sys.exit(bool({'torch', 'numpy', 'scipy', 'soundfile'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("kind", ["mp3", "ogg", "opus"])
def test_parts_that_changed_places_are_an_edit(kind: str, tmp_path: Path) -> None:
    """Length and level of a lossy file stay as they were."""
    rate = 48_000
    quiet_then_loud = burst(1.0, rate) * np.repeat(np.float32([0.2, 1.0]), rate // 2)
    path = tmp_path / f"clip.{kind}"
    audio.write(path, quiet_then_loud, rate, tags=TAGS)
    with soundfile.SoundFile(path) as file:
        samples = file.read(dtype="float32")
    rewrite(path, np.roll(samples, len(samples) // 2), rate)
    found = tags.read(path)
    assert found is not None and found.audio_edited
