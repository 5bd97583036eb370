"""Manifests beside the published tables, and labels that file numbers give away."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from vocalgen import VocalgenError
from vocalgen.cli.data import data_app
from vocalgen.corpora.check import CORPORA, Corpus, Counts, corpus_of, leaks, problems
from vocalgen.corpora.manifest import Clip, Manifest
from vocalgen.emotions import EMOGATOR30, HUME10, Vocabulary, one_hot

COUNTRIES = ("China", "South Africa", "United States", "Venezuela")


def manifest(folder: Path, leaky: bool, clips: int = 400) -> Manifest:
    """Clips whose country and age follow the number, or do not; every second one is of the validation split."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(clips):
        place = number if leaky else int(rng.integers(clips))
        labels = (COUNTRIES[4 * place // clips], repr(20 + 20 * place / clips), "")
        split = ("train", "validation")[int(rng.integers(2))]
        emotion = HUME10.emotions[int(rng.integers(10))]
        file = folder / f"{number:05d}.wav"
        rows.append(Clip(file.stem, file, split, "", math.nan, (), one_hot(emotion, HUME10), labels))
    return Manifest(HUME10, tuple(rows), labels=("Country", "Age", "Valence"))


def test_numbers_that_follow_a_label_are_found(tmp_path: Path) -> None:
    found = {leak.label: leak for leak in leaks(manifest(tmp_path, True))}
    assert set(found) == {"Country", "Age"}
    assert found["Country"].score > 0.95 and found["Country"].split == "validation"
    assert 0.15 < found["Country"].chance < 0.4
    assert found["Age"].score > 0.99 and found["Age"].chance == 0.0
    assert "file numbers give Country away" in str(found["Country"])


def test_numbers_without_meaning_are_not(tmp_path: Path) -> None:
    assert leaks(manifest(tmp_path, False)) == []
    assert leaks(manifest(tmp_path, True, clips=40)) == []  # too few to tell


def test_names_without_numbers_tell_nothing(tmp_path: Path) -> None:
    made = manifest(tmp_path, True)
    letters = str.maketrans("0123456789", "abcdefghij")
    rows = tuple(replace(clip, id=clip.id.translate(letters)) for clip in made)
    assert leaks(replace(made, rows=rows)) == []


def test_a_name_that_spells_the_label(tmp_path: Path) -> None:
    """EmoGator's: contributor, category, take."""
    rows = []
    for contributor in range(1, 21):
        for category, emotion in enumerate(EMOGATOR30.emotions, start=1):
            split = "train" if contributor % 2 else "test"
            name = f"{contributor:06d}-{category:02d}-1"
            rows.append(Clip(name, tmp_path / name, split, str(contributor), 1.0, (), one_hot(emotion, EMOGATOR30)))
    (leak,) = leaks(Manifest(EMOGATOR30, tuple(rows)))
    assert leak.label == "the strongest emotion" and leak.split == "test"


TWO = Vocabulary("two", ("Awe", "Fear"))
SMALL = Corpus(TWO, {"train": Counts(2, 2), "test": Counts(1, None)}, peaked=True)


def two(folder: Path) -> Manifest:
    rows = []
    for name, split, speaker, values in (
        ("a", "train", "s1", (1.0, 0.2)),
        ("b", "train", "s2", (0.0, 1.0)),
        ("c", "test", "", (math.nan, math.nan)),
    ):
        (folder / f"{name}.wav").touch()
        rows.append(Clip(name, folder / f"{name}.wav", split, speaker, math.nan, (), values))
    return Manifest(TWO, tuple(rows))


def test_what_differs_from_the_tables(tmp_path: Path) -> None:
    made = two(tmp_path)
    assert problems(made, SMALL) == []
    (tmp_path / "b.wav").unlink()
    rows = (replace(made.rows[0], intensities=(0.9, 0.2)), replace(made.rows[1], speaker="s1"))
    assert problems(replace(made, rows=rows), SMALL) == [
        "train: 1 speakers, published are 2",
        "test: 0 clips, published are 1",
        f"1 audio files are missing, the first: {tmp_path / 'b.wav'}",
        "1 labelled clips have no emotion of intensity 1, the first: a",
    ]


def test_corpora_by_emotions_or_by_name(tmp_path: Path) -> None:
    assert corpus_of(manifest(tmp_path, True)) is CORPORA["hume-vocalburst"]
    for name, words in (("hume", "unknown corpus 'hume'"), ("emogator", "emotions of hume-10, not those of emogator")):
        with pytest.raises(VocalgenError, match=words):
            corpus_of(manifest(tmp_path, True), name)
    with pytest.raises(VocalgenError, match="no published corpus has these emotions"):
        corpus_of(two(tmp_path))
    assert sum(counts.clips for counts in CORPORA["hume-vocalburst"].counts.values()) == 59_201
    assert sum(counts.clips for counts in CORPORA["emogator"].counts.values()) == 32_130
    assert sum(counts.clips for counts in CORPORA["modulate-sonata"].counts.values()) == 756


def test_the_command(tmp_path: Path) -> None:
    manifest(tmp_path, True).save(tmp_path / "m.csv")
    done = CliRunner().invoke(data_app, ["verify", str(tmp_path / "m.csv")])
    assert done.exit_code == 1
    assert "published are 19,990" in done.output and "warning: file numbers give Country away" in done.output
    done = CliRunner().invoke(data_app, ["verify", str(tmp_path / "absent.csv")])
    assert isinstance(done.exception, VocalgenError)
