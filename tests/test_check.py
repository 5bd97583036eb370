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
from vocalgen.corpora.check import (
    CORPORA,
    Corpus,
    Counts,
    corpus_of,
    flagged,
    incomplete,
    missing_files,
    problems,
    unseen_emotions,
)
from vocalgen.corpora.hume_vocalburst import CULTURE, LABELS
from vocalgen.corpora.leaks import leaks
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
        "train: 1 speaker, published are 2",
        "test: 0 clips, published are 1",
        f"1 audio file missing, the first: {tmp_path / 'b.wav'}",
        "1 labelled clip without an emotion of intensity 1, the first: a",
    ]
    twice = (*made.rows[:2], replace(made.rows[2], file=made.rows[0].file))
    assert "2 clips with the file of another: a, c" in problems(replace(made, rows=twice), SMALL)


def test_clips_that_are_left_out_are_told(tmp_path: Path) -> None:
    made = two(tmp_path)
    assert flagged(made) == ["no clip was listened to; prepare the corpus without --no-verify"]
    rows = [replace(clip, seconds=1.0, flags=("duplicate", "clipped")) for clip in made.rows[1:]]
    assert flagged(replace(made, rows=(made.rows[0], *rows))) == ["2 clips left out, duplicate: b, c"]


def test_clips_that_lack_what_others_have(tmp_path: Path) -> None:
    whole = vocalburst(tmp_path)
    train = [replace(whole.rows[0], id=f"t{k}", speaker=f"s{k}") for k in range(8)]

    def found(*rows: Clip) -> list[str]:
        made = replace(whole, rows=(*rows, *train[len(rows) :], whole.rows[1]))
        lines = [f"{what}: {', '.join(clips)}" for what, clips in incomplete(made, HUME).items()]
        assert [line for line in problems(made, HUME) if " with unknown " in line] == lines
        return lines

    def labelled(clip: Clip, **labels: str) -> Clip:
        given = dict(zip(LABELS, clip.labels, strict=True)) | labels
        return replace(clip, labels=tuple(given.values()))

    assert found() == []
    assert found(replace(train[0], speaker="")) == ["1 train clip with unknown speaker: t0"]
    holes = (math.nan, *(1.0,) * 9), (math.nan,) * 10
    few = (replace(clip, intensities=values) for clip, values in zip(train, holes, strict=False))
    assert found(*few) == ["2 train clips with unknown emotions: t0, t1"]
    blank = [labelled(train[0], Country="", Arousal=""), labelled(train[1], Voc_Type="", China_Awe="")]
    assert found(*blank) == [f"1 train clip with unknown {k}" for k in ("Country: t0", "Arousal: t0", "Voc_Type: t1")]
    (none,) = found(labelled(train[0], **dict.fromkeys(CULTURE, "")))
    assert none.startswith("1 train clip with unknown China_Awe, ") and none.endswith(" and 35 more: t0")
    unnamed = replace(whole, rows=tuple(replace(clip, speaker="") for clip in (*train, whole.rows[1])))
    assert incomplete(unnamed, HUME) == {}  # no release has speakers in one split only


def vocalburst(folder: Path, **labels: str) -> Manifest:
    """A training and a validation clip; the labels given are those of the training clip, the others can be."""
    known = {
        "Country": "China",
        "Age": "30.5",
        "Voc_Type": "Gasp",
        **dict.fromkeys(("Valence", "Arousal", *CULTURE), "1"),
    }
    rows = []
    for split, own in (("train", {**known, **labels}), ("validation", known)):
        (folder / f"{split}.wav").touch()
        cells = tuple(own[name] for name in LABELS)
        rows.append(Clip(split, folder / f"{split}.wav", split, split, math.nan, (), (1.0,) * 10, cells))
    return Manifest(HUME10, tuple(rows), labels=LABELS)


HUME = replace(CORPORA["hume-vocalburst"], counts={})


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"Age": "121"}, "121 is outside [0, 120]"),
        ({"Valence": "6.5"}, "6.5 is outside [0, 1]"),
        ({"Arousal": "-0.1"}, "-0.1 is outside [0, 1]"),
        ({"China_Surprise": "high"}, "'high' is not a number"),
        ({"Venezuela_Awe": "nan"}, "nan is not a finite number"),
        ({"Country": "Chile"}, "'Chile' is none of China, South Africa, United States, Venezuela"),
        ({"Voc_Type": "Sigh"}, "'Sigh' is none of Gasp, Laugh, Cry, Scream, Grunt, Groan, Pant, Other"),
    ],
)
def test_labels_that_cannot_be(tmp_path: Path, labels: dict[str, str], words: str) -> None:
    (label,) = labels
    assert problems(vocalburst(tmp_path, **labels), HUME) == [
        f"1 clip with impossible {label}, the first: train, {words}"
    ]


def test_labels_that_no_training_clip_has(tmp_path: Path) -> None:
    made = vocalburst(tmp_path)
    assert problems(made, HUME) == []
    tail = ": is a column of the table renamed or empty?"
    for lost in ({"Valence": ""}, {"Age": ""}, dict.fromkeys(CULTURE[:2], "")):
        made = vocalburst(tmp_path, **lost)
        assert problems(made, HUME) == [f"no training clip has {', '.join(lost)}{tail}"]
    train = replace(made.rows[0], intensities=(math.nan, *(1.0,) * 9))
    assert f"no training clip has Awe{tail}" in problems(replace(made, rows=(train, made.rows[1])), HUME)


def test_labels_that_the_release_does_not_carry_are_not_missed(tmp_path: Path) -> None:
    made = vocalburst(tmp_path)
    unknown = (math.nan,) * 10

    def only(*carried: str, intensities: tuple[float, ...] = unknown) -> list[str]:
        rows = []
        for clip in made:
            cells = tuple(t if name in carried else "" for name, t in zip(LABELS, clip.labels, strict=True))
            rows.append(replace(clip, intensities=intensities, labels=cells))
        return problems(replace(made, rows=tuple(rows)), HUME)

    assert only("Valence", "Arousal") == []  # A-VB's two_info.csv
    assert only("Country", "Age", intensities=(1.0,) * 10) == []  # ExVo
    named = "Awe, Excitement, Amusement, Awkwardness, Fear and 5 more"
    nothing = f"no training clip has {named}: is a column of the table renamed or empty?"
    assert only() == [nothing]
    silent = replace(made, rows=tuple(replace(clip, intensities=unknown) for clip in made))
    assert nothing in problems(silent, SMALL)  # a corpus of emotions alone


def test_corpora_by_emotions_or_by_name(tmp_path: Path) -> None:
    assert corpus_of(manifest(tmp_path, True)) is CORPORA["hume-vocalburst"]
    for name, words in (("hume", "unknown corpus 'hume'"), ("emogator", "emotions of hume-10, not those of emogator")):
        with pytest.raises(VocalgenError, match=words):
            corpus_of(manifest(tmp_path, True), name)
    for own in (corpus_of(two(tmp_path)), corpus_of(manifest(tmp_path, True), "folder")):
        assert own.counts == own.values == {}
    assert sum(counts.clips for counts in CORPORA["hume-vocalburst"].counts.values()) == 59_201
    assert sum(counts.clips for counts in CORPORA["emogator"].counts.values()) == 32_130
    assert sum(counts.clips for counts in CORPORA["modulate-sonata"].counts.values()) == 756


def test_the_command(tmp_path: Path) -> None:
    manifest(tmp_path, True).save(tmp_path / "m.csv")
    done = CliRunner().invoke(data_app, ["verify", str(tmp_path / "m.csv")])
    assert done.exit_code == 1
    assert "published are 19,990" in done.output and "warning: file numbers give Country away" in done.output
    assert "Valence" not in done.output  # no clip has it: the release does not carry it
    done = CliRunner().invoke(data_app, ["verify", str(tmp_path / "absent.csv")])
    assert isinstance(done.exception, VocalgenError)


def test_the_command_with_your_own_clips(tmp_path: Path) -> None:
    command = ["verify", str(tmp_path / "own.csv")]
    made = two(tmp_path)
    made.save(tmp_path / "own.csv")
    done = CliRunner().invoke(data_app, command)
    assert done.exit_code == 0 and done.stdout == f"{tmp_path / 'own.csv'}: in order; there are no published counts\n"
    assert "warning: no clip was listened to" in done.output
    (tmp_path / "a.wav").unlink()
    done = CliRunner().invoke(data_app, command)
    assert done.exit_code == 1 and done.stdout == f"1 audio file missing, the first: {tmp_path / 'a.wav'}\n"


def test_unseen_emotions_names_what_a_split_lacks(tmp_path: Path) -> None:
    made = manifest(tmp_path, True, clips=4)
    labels = [("train", "Awe"), ("train", "Fear"), ("validation", "Awe"), ("test", None)]
    rows = [
        replace(clip, split=split, intensities=one_hot(name, HUME10) if name else (math.nan,) * 10)
        for clip, (split, name) in zip(made, labels, strict=True)
    ]
    assert unseen_emotions(replace(made, rows=tuple(rows))) == ["validation has no clip of Fear"]
    assert unseen_emotions(replace(made, rows=tuple(rows[:2]))) == []


def test_missing_files_names_what_is_there_instead(tmp_path: Path) -> None:
    made = manifest(tmp_path, True, clips=3)
    (tmp_path / "1.wav").touch()
    made = replace(made, rows=tuple(replace(clip, file=tmp_path / f"0{k}.wav") for k, clip in enumerate(made)))
    with pytest.raises(VocalgenError, match=r"none of the audio files is there \(3 in all\), the first is .*00\.wav"):
        missing_files(made)
    (tmp_path / "00.wav").touch()
    assert missing_files(made) == [
        f"2 audio files missing, the first: {tmp_path / '01.wav'}; '1.wav' is there: is it meant?"
    ]
    (tmp_path / "01.wav").touch()
    (tmp_path / "02.wav").touch()
    assert missing_files(made) == []


def test_ids_that_lost_their_zeros_are_told(tmp_path: Path) -> None:
    made = vocalburst(tmp_path)
    cut = replace(made, rows=tuple(replace(clip, id=str(place)) for place, clip in enumerate(made)))
    told = f"{len(made)} ids without 5 digits: 0, 1; did a spreadsheet drop zeros?"
    assert problems(cut, HUME) == [told] and problems(made, HUME) == []
