"""Folders of generated clips and clips of a manifest: labels, order, preparation, bad input."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from bursts import burst
from small_corpus import EMOTIONS, RATE, write_corpus

from vocalgen import audio
from vocalgen.corpora.manifest import Clip, Manifest
from vocalgen.data import CacheConfig
from vocalgen.emotions import Vocabulary
from vocalgen.errors import VocalgenError
from vocalgen.recognition.clips import UNLABELLED, Changed, FolderClips, Made, RealClips, cache_folder
from vocalgen.recognition.features import features_of

PREPARE = CacheConfig(sample_rate=RATE)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


def write(folder: Path, emotion: str, name: str, seed: int = 0, rate: int = RATE) -> Path:
    path = folder / emotion / name
    audio.write(path, burst(seed % 3, 0.3, rate, seed=seed), rate)
    return path


def test_folder_names_in_any_spelling_and_files_by_name(tmp_path: Path) -> None:
    for emotion in ("surprise-positive", "AWE", "Amusement"):
        for name in ("b.wav", "a.flac", "c.wav"):
            write(tmp_path, emotion, name)
    (tmp_path / "AWE" / "notes.txt").write_text("no audio")
    write(tmp_path, "boredom", "a.wav")
    clips = FolderClips(tmp_path, EMOTIONS)
    assert clips.labels.tolist() == [1] * 3 + [0] * 3 + [2] * 3
    assert clips.ids[:3] == ["AWE/a.flac", "AWE/b.wav", "AWE/c.wav"]
    assert clips.speakers == clips.ids
    assert FolderClips(tmp_path, EMOTIONS, most=2).ids[:2] == ["AWE/a.flac", "AWE/b.wav"]


def test_an_empty_class_folder_is_a_class_without_clips(tmp_path: Path) -> None:
    write(tmp_path, "awe", "a.wav")
    (tmp_path / "amusement").mkdir()
    assert set(FolderClips(tmp_path, EMOTIONS).labels.tolist()) == {1}


def test_two_spellings_of_an_emotion_share_its_clips(tmp_path: Path) -> None:
    for folder in ("AWE", "awe_", "fear"):
        for name in ("a.wav", "b.wav"):
            write(tmp_path, folder, name)
    assert FolderClips(tmp_path, EMOTIONS, most=3).ids == ["AWE/a.wav", "AWE/b.wav", "awe_/a.wav"]
    assert FolderClips(tmp_path, EMOTIONS, most=2).ids == ["AWE/a.wav", "AWE/b.wav"]


def test_fewer_clips_than_asked_are_all_there_are(tmp_path: Path) -> None:
    write(tmp_path, "awe", "a.wav")
    write(tmp_path, "amusement", "b.wav")
    write(tmp_path, "amusement", "c.wav")
    assert FolderClips(tmp_path, EMOTIONS, most=100).labels.tolist() == [0, 0, 1]


def test_hidden_files_do_not_take_the_place_of_clips(tmp_path: Path) -> None:
    real = write(tmp_path, "awe", "a.wav")
    (real.parent / "._a.wav").write_bytes(b"what macOS puts into archives")
    assert FolderClips(tmp_path, EMOTIONS, most=1).ids == ["awe/a.wav"]


def test_rates_and_channels_end_up_alike(tmp_path: Path) -> None:
    wave = burst(1, 0.4, 48_000, seed=1)
    audio.write(tmp_path / "awe" / "a.wav", wave, 48_000)
    soundfile.write(tmp_path / "awe" / "b.wav", np.stack([wave, wave], axis=1), 48_000, subtype="FLOAT")
    audio.write(tmp_path / "awe" / "c.wav", audio.resample(wave, 48_000, RATE), RATE)
    clips = FolderClips(tmp_path, EMOTIONS)
    assert clips.remarks() == []  # nothing was read yet
    mono, stereo, low = (clips.wave(index, PREPARE) for index in range(3))
    assert clips.remarks() == [
        f"clips of different sample rates (1 of {RATE} Hz, 2 of 48000 Hz): distances may tell the rates apart"
    ]
    assert mono.dtype == np.float32 and np.abs(mono).max() == pytest.approx(10 ** (-3 / 20), abs=2e-4)
    np.testing.assert_allclose(stereo, mono, atol=2e-4)
    np.testing.assert_allclose(low[: len(mono)], mono[: len(low)], atol=0.02)


def test_clips_that_cannot_be_measured(tmp_path: Path) -> None:
    folder = tmp_path / "awe"
    folder.mkdir()
    (folder / "broken.wav").write_bytes(b"RIFF and nothing")
    soundfile.write(folder / "nan.wav", np.full(4000, np.nan, dtype=np.float32), RATE, subtype="FLOAT")
    soundfile.write(folder / "silent.wav", np.zeros(4000, dtype=np.float32), RATE)
    soundfile.write(folder / "t-offset.wav", np.full(4000, 0.3, dtype=np.float32), RATE, subtype="FLOAT")
    wave = burst(0, 0.4, RATE, seed=1)
    soundfile.write(folder / "u-opposite.wav", np.stack([wave, -wave], axis=1), RATE, subtype="FLOAT")
    soundfile.write(folder / "v-loud.wav", np.append(wave, 1e9), RATE, subtype="FLOAT")
    clips = FolderClips(tmp_path, EMOTIONS)
    for index, words in enumerate(("broken.wav", "NaN", "silent", "silent", "cancel", "dB above full scale")):
        with pytest.raises(VocalgenError, match=words):
            clips.wave(index, PREPARE)


@pytest.mark.parametrize("make", ["nothing", "file", "empty", "unknown"])
def test_what_is_no_folder_of_clips(make: str, tmp_path: Path) -> None:
    place = tmp_path / "clips"
    if make == "file":
        place.write_text("a file")
    elif make == "empty":
        place.mkdir()
    elif make == "unknown":
        write(place, "boredom", "a.wav")
    words = {
        "empty": "holds no clips; the layout is",
        "unknown": "holds no clips; the layout is .*; its folders are called boredom",
    }.get(make, "is not a folder")
    with pytest.raises(VocalgenError, match=words):
        FolderClips(place, EMOTIONS)


def test_real_clips_keep_speakers_and_strongest_emotion(manifest: Path) -> None:
    clips = RealClips(manifest, ["validation", "test"], EMOTIONS, PREPARE)
    assert len(clips) == 6 * 3 * 4
    assert set(clips.speakers) == {f"s{speaker}" for speaker in range(8, 14)}
    for label, name in zip(clips.labels, clips.ids, strict=True):
        assert name.split("-")[1] == str(label)
    wave = clips.wave(5, PREPARE)
    assert np.abs(wave).max() == pytest.approx(10 ** (-3 / 20), abs=2e-4)


def test_labels_follow_the_asked_vocabulary(manifest: Path) -> None:
    two = Vocabulary("two", ("Fear", "Awe"))
    clips = RealClips(manifest, ["test"], two, PREPARE)
    assert set(clips.labels.tolist()) == {1} and len(clips) == 12
    with pytest.raises(VocalgenError, match="nothing in common with Fear, Anger"):
        RealClips(manifest, ["test"], Vocabulary("others", ("Fear", "Anger")), PREPARE)
    with pytest.raises(VocalgenError, match="no clips in split 'dev'"):
        RealClips(manifest, ["dev"], EMOTIONS, PREPARE)


def test_clips_without_labels_are_left_out(tmp_path: Path) -> None:
    unknown, nothing = (float("nan"),) * 3, (0.0,) * 3
    rows = [("train", (0.2, 0.9, 0.9)), ("train", unknown), ("train", nothing), ("test", unknown)]
    clips = []
    for place, (split, intensities) in enumerate(rows):
        file = write(tmp_path, "audio", f"{place}.wav", seed=place)
        clips.append(Clip(file.stem, file, split, "", 0.3, (), intensities))
    Manifest(EMOTIONS, tuple(clips)).save(tmp_path / "manifest.csv")
    real = RealClips(tmp_path / "manifest.csv", ["train", "test"], EMOTIONS, PREPARE)
    assert (real.ids, real.labels.tolist(), real.speakers) == (["0"], [1], ["clip 0"])
    with pytest.raises(VocalgenError, match="none of the 1 clips in test is labelled"):
        RealClips(tmp_path / "manifest.csv", ["test"], EMOTIONS, PREPARE)


def test_chosen_changed_and_made_clips(manifest: Path) -> None:
    clips = RealClips(manifest, ["test"], EMOTIONS, PREPARE)
    some = Changed(clips.select(np.array([7, 2])), lambda wave, rate: wave[: rate // 10])
    assert some.ids == [clips.ids[7], clips.ids[2]] and some.labels.tolist() == clips.labels[[7, 2]].tolist()
    np.testing.assert_array_equal(some.wave(1, PREPARE), clips.wave(2, PREPARE)[: RATE // 10])
    made = Made(np.array([0, 1]), lambda index: (np.full(2 * RATE, index, dtype=np.float32), 2 * RATE))
    assert len(made.wave(1, PREPARE)) == RATE and len(set(made.speakers)) == 2


def test_packed_audio_lies_beside_the_manifest() -> None:
    manifest = Path("data/emogator.csv")
    assert cache_folder(manifest, CacheConfig(sample_rate=24_000)) == Path("data/emogator-24k")
    assert cache_folder(manifest, CacheConfig(sample_rate=16_000, top_db=np.inf)).name.startswith("emogator-16k-")


def test_unlabelled_clips_are_kept_on_request(manifest: Path, tmp_path: Path) -> None:
    made = Manifest.load(manifest)
    unknown = (float("nan"),) * len(made.emotions)
    rows = [replace(clip, intensities=unknown) if clip.split == "test" else clip for clip in made]
    replace(made, rows=tuple(rows)).save(tmp_path / "m.csv")
    with pytest.raises(VocalgenError, match="none of the 36 clips in test is labelled"):
        RealClips(tmp_path / "m.csv", ["test"], EMOTIONS, PREPARE)
    clips = RealClips(tmp_path / "m.csv", ["test", "validation"], EMOTIONS, PREPARE, unlabelled=True)
    assert (clips.labels == UNLABELLED).sum() == 36 and len(clips) == 72
    assert len(RealClips(tmp_path / "m.csv", ["test", "validation"], EMOTIONS, PREPARE)) == 36


def test_a_cache_that_cannot_be_written_says_what_to_do(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object, **__: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("vocalgen.atomic.os.open", deny)
    message = r"cannot write .*: Permission denied; caches lie beside .* `vocalgen data prepare \.\.\. --out`"
    with pytest.raises(VocalgenError, match=message):
        RealClips(manifest, ["test"], EMOTIONS, CacheConfig(sample_rate=RATE, margin=0.05))
    with pytest.raises(VocalgenError, match=message):
        features_of(manifest, "log-mel", progress=False)
