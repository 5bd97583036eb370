"""The rule for DIR/EMOTION/FILE, by itself and in every command that takes such a folder."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from bursts import burst

from vocalgen import VocalgenError, audio
from vocalgen.corpora import folder
from vocalgen.corpora.layout import clips_in, emotion_folders
from vocalgen.emotions import HUME10
from vocalgen.evaluation.embedding import folder_emotions
from vocalgen.rating.freeze import read_sources
from vocalgen.recognition.clips import FolderClips

RATE = 16_000


def fill(root: Path, *names: str) -> Path:
    """Write short clips under these names; libsndfile's formats by suffix."""
    for place, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".wav", ".flac"):
            audio.write(path, burst(place % 30, 0.2, RATE, seed=place), RATE)
        else:
            path.write_bytes(b"x")
    return root


def as_prepare(root: Path) -> list[str]:
    return [f"{clip.file.parent.name}/{clip.file.name}" for clip in folder.scan(root, HUME10, split="test")]


def as_embed(root: Path) -> list[str]:
    return FolderClips(root, folder_emotions(root)).ids


def as_evaluate(root: Path) -> list[str]:
    return FolderClips(root, HUME10).ids


def as_rate(root: Path) -> list[str]:
    return [clip.name for clip in read_sources(root, HUME10)]


VERBS: list[Callable[[Path], list[str]]] = [as_prepare, as_embed, as_evaluate, as_rate]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_takes_the_same_clips(tmp_path: Path, verb: Callable[[Path], list[str]]) -> None:
    taken = ["awe/0.wav", "awe/1.AIFF", "awe/2.oga", "fear/0.flac", "fear/1.webm"]
    fill(tmp_path, *taken, "awe/._0.wav", ".ipynb_checkpoints/0.wav", "__MACOSX/._0.wav", "@eaDir/0.wav", ".0.wav")
    fill(tmp_path, "awe/notes.txt", "awe/3.m4a", "loose.wav", "awe/take2/0.wav", "fear/.DS_Store")
    assert verb(tmp_path) == taken


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train/0.wav", "Test/0.wav"], r"folders of splits \(Test, train\), not of emotions; .* or write a table"),
        (["devel/0.wav"], r"folders of splits \(devel\)"),
        (["train/awe/0.wav", "test/awe/0.wav"], r"one level deeper, such as in test/awe: give .*test \(data prepare"),
        (
            ["system/awe/0.wav"],
            "the layout is .* one level deeper, such as in system/awe: give .*system$",
        ),
        (["0.wav"], "there are audio files in no folder of an emotion, such as 0.wav"),
        (
            [".hidden/0.wav"],
            r"holds no clips; the layout is DIR/<emotion>/\*.wav with emotions such as [\w, ]+$",
        ),
    ],
)
def test_every_verb_says_where_clips_are_instead(
    tmp_path: Path, verb: Callable[[Path], list[str]], names: list[str], message: str
) -> None:
    fill(tmp_path, *names)
    with pytest.raises(VocalgenError, match=message):
        verb(tmp_path)


def test_emotion_folders_says_what_is_left_out(tmp_path: Path) -> None:
    fill(tmp_path, "awe/0.wav", "awe/a.txt", "awe/b.m4a", "awe/c.m4a", "loose.wav", "awe/deep/0.wav", "awe/._0.wav")
    fill(tmp_path, ".git/config", "Thumbs.db", ".DS_Store")
    assert emotion_folders(tmp_path).left_out == (
        "left out 3 files that cannot be read as audio (2 .m4a, 1 .txt)",
        "left out (not in a folder of an emotion): loose.wav",
        "left out (clips one level deeper): awe/deep",
        "left out (hidden or made by the system): .git, awe/._0.wav",
    )
    assert folder.scan(tmp_path, split="test").notes == emotion_folders(tmp_path).left_out
    assert FolderClips(tmp_path, HUME10).remarks() == list(emotion_folders(tmp_path).left_out)


def test_emotion_folders_follows_links_and_keeps_dangling_ones(tmp_path: Path) -> None:
    fill(tmp_path / "there", "awe/0.wav")
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "awe").symlink_to(tmp_path / "there" / "awe")
    (tmp_path / "dir" / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "there" / "awe" / "1.wav").symlink_to(tmp_path / "nowhere.wav")
    assert [file.name for file in emotion_folders(tmp_path / "dir").clips["awe"]] == ["0.wav", "1.wav"]


def test_all_listed_formats_can_be_read(tmp_path: Path) -> None:
    """Suffixes that libsndfile writes; webm, sph and RF64 come from elsewhere."""
    kinds = {"aif": "AIFF", "aiff": "AIFF", "aifc": "AIFF", "au": "AU", "snd": "AU", "caf": "CAF", "oga": "OGG",
             "voc": "VOC", "w64": "W64", "rf64": "RF64", "wave": "WAV", "sph": "NIST"}  # fmt: skip
    assert set(kinds) | set(audio.FORMATS) | {"webm"} == audio.READABLE
    for suffix, kind in kinds.items():
        soundfile.write(tmp_path / f"a.{suffix}", burst(0, 0.2, RATE), RATE, format=kind)
        assert len(audio.read(tmp_path / f"a.{suffix}")[0]) == RATE // 5


def test_clips_in_takes_a_flat_folder_too(tmp_path: Path) -> None:
    fill(tmp_path, "0.wav", "awe/1.wav", ".2.wav", "x.txt")
    files, left_out = clips_in(tmp_path)
    assert [file.name for file in files] == ["0.wav", "1.wav"]
    assert left_out == [
        "left out 1 file that cannot be read as audio (1 .txt)",
        "left out (hidden or made by the system): .2.wav",
    ]
    shutil.rmtree(tmp_path / "awe")
    (tmp_path / "0.wav").unlink()
    with pytest.raises(VocalgenError, match="holds no audio files; give files, or a folder of them"):
        clips_in(tmp_path)


def test_classify_takes_the_clips_of_a_folder(
    tmp_path: Path, done: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path / "clips", "awe/0.wav", "awe/._0.wav", "1.wav")
    done("classify", tmp_path / "clips", "--model", "emogator-classifier-24k", "--out", tmp_path / "p.csv")
    with open(tmp_path / "p.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["file"]).name for row in rows] == ["1.wav", "0.wav"]
    assert np.isfinite([float(value) for row in rows for name, value in row.items() if name != "file"]).all()
