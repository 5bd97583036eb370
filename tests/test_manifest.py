"""The manifest table: round trip, and what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vocalgen import VocalgenError
from vocalgen.corpora.manifest import SPLITS, Clip, Manifest
from vocalgen.emotions import HUME10, Vocabulary, one_hot

HEADER = "id,file,split,speaker,seconds,flags,emotion:Awe,emotion:Fear"
ROW = "a,a.wav,train,s1,1.5,,1,0"


def small(folder: Path) -> Manifest:
    rows = [
        Clip("a", folder / "wav" / "a.wav", "train", "s1", 1.25, (), one_hot("awe", HUME10)),
        Clip(
            "b, c",
            folder / "b.wav",
            "validation",
            "s2",
            math.nan,
            ("clipped", "duplicate"),
            (0.123456789,) * 10,
        ),
        Clip("d", Path("/elsewhere/d.wav"), "test", "", 0.5, ("clipped",), (math.nan,) * 10),
    ]
    return Manifest(HUME10, tuple(rows))


def load_error(tmp_path: Path, *lines: str) -> str:
    (tmp_path / "m.csv").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(VocalgenError) as caught:
        Manifest.load(tmp_path / "m.csv")
    assert "\n" not in str(caught.value) and "m.csv" in str(caught.value)
    return str(caught.value)


def test_round_trip(tmp_path: Path) -> None:
    manifest = small(tmp_path)
    manifest.save(tmp_path / "m.csv")
    back = Manifest.load(tmp_path / "m.csv")
    assert back.emotions is HUME10 and len(back) == 3
    assert repr(back.rows) == repr(manifest.rows)  # repr, because NaN differs from itself
    assert np.isnan(back.intensities[2]).all() and back.intensities.shape == (3, 10)
    assert "wav/a.wav" in (tmp_path / "m.csv").read_text().splitlines()[1].split(",")
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.csv"]


def labelled(folder: Path) -> Manifest:
    rows = small(folder).rows
    given = [("China", "31.5", ""), ("", "", "0.25"), ("South, Africa", "20", "x")]
    clips = (replace(clip, labels=labels) for clip, labels in zip(rows, given, strict=True))
    return Manifest(HUME10, tuple(clips), labels=("Country", "Age", "Valence"))


def test_further_labels(tmp_path: Path) -> None:
    labelled(tmp_path).save(tmp_path / "m.csv")
    back = Manifest.load(tmp_path / "m.csv")
    assert repr(back.rows) == repr(labelled(tmp_path).rows) and back.labels == ("Country", "Age", "Valence")
    assert back.texts("Country") == ("China", "", "South, Africa")
    np.testing.assert_array_equal(back.split("train").numbers("Age", "Valence"), [[31.5, math.nan]])
    np.testing.assert_array_equal(back.numbers("Age"), [[31.5], [math.nan], [20.0]])
    assert small(tmp_path).numbers().shape == (3, 0)
    with pytest.raises(VocalgenError, match="clip d, column label:Valence: 'x' is not a number"):
        back.numbers("Age", "Valence")
    with pytest.raises(VocalgenError, match="no label 'Type'; it has Country, Age, Valence"):
        back.texts("Type")
    with pytest.raises(VocalgenError, match="row 2 has 0 labels, the manifest has 1"):
        Manifest(HUME10, small(tmp_path).rows, labels=("Country",))


def test_a_moved_folder_stays_valid(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    small(tmp_path / "old").save(tmp_path / "old" / "m.csv")
    (tmp_path / "old").rename(tmp_path / "new")
    assert Manifest.load(tmp_path / "new" / "m.csv").rows[0].file == tmp_path / "new" / "wav" / "a.wav"


def test_relative_path_of_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small(tmp_path).save("m.csv")
    assert Manifest.load("m.csv").rows[1].file == tmp_path / "b.wav"


def test_columns_are_read_by_name(tmp_path: Path) -> None:
    header = "\ufeffemotion:Fear,note,flags,seconds,speaker,split,file,id,emotion:Awe"
    (tmp_path / "m.csv").write_text(header + "\n0.25,x,,1,s,test,f.wav,a,1\n\n", encoding="utf-8")
    manifest = Manifest.load(tmp_path / "m.csv")
    assert manifest.emotions.emotions == ("Fear", "Awe")
    assert manifest.rows[0].intensities == (0.25, 1.0) and manifest.rows[0].split == "test"


def test_split_usable_and_speakers(tmp_path: Path) -> None:
    manifest = small(tmp_path)
    assert [clip.id for clip in manifest.split("train")] == ["a"]
    assert [clip.id for clip in manifest.usable()] == ["a", "d"]  # a duplicate is out, a clipped clip is not
    assert manifest.speakers == ("s1", "s2")
    with pytest.raises(VocalgenError, match="choose one of train, validation, test"):
        manifest.split("dev")
    assert manifest.usable().split("validation").intensities.shape == (0, 10)


def test_predicted_are_the_usable_clips_and_repeated_test_clips(tmp_path: Path) -> None:
    lone = replace(small(tmp_path).rows[2], labels=("x",))
    flags = {"a": ("duplicate", "short"), "b": ("silent", "duplicate"), "c": ("unreadable",), "d": ()}
    rows = [replace(lone, id=f"{split}-{name}", split=split, flags=flags[name]) for split in SPLITS for name in flags]
    manifest = Manifest(HUME10, tuple(rows), labels=("Type",))
    assert [clip.id for clip in manifest.predicted()] == ["train-d", "validation-d", "test-a", "test-d"]
    assert [clip.id for clip in manifest.usable()] == ["train-d", "validation-d", "test-d"]
    assert manifest.predicted().texts("Type") == ("x",) * 4


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "column id, file"),
        (["id,file,split,speaker,emotion:Awe", "a,a.wav,train,s,1"], "column seconds, flags is missing"),
        (["id,file,split,speaker,seconds,flags", "a,a.wav,train,s,1,"], "no column emotion:"),
        ([HEADER], "no rows"),
        ([HEADER + ",id", ROW + ",a"], "column id appears twice"),
        ([HEADER, "a,a.wav,train,s1,1.5"], "row 2 has 5 cells"),
        ([HEADER, ROW, "b,,train,s1,1.5,,1,0"], "row 3, column file is blank"),
        ([HEADER, ",a.wav,train,s1,1.5,,1,0"], "row 2, column id is blank"),
        ([HEADER, ROW, ROW], "row 3, column id: 'a' is taken by row 2"),
        ([HEADER, "a,a.wav,dev,s1,1.5,,1,0"], "row 2, column split: 'dev'"),
        ([HEADER, "a,a.wav,train,s1,soon,,1,0"], "row 2, column seconds: 'soon'"),
        ([HEADER, "a,a.wav,train,s1,-1,,1,0"], "row 2, column seconds: -1"),
        ([HEADER, "a,a.wav,train,s1,1.5,loud,1,0"], "row 2, column flags: 'loud'"),
        ([HEADER, "a,a.wav,train,s1,1.5,,1,1.5"], "row 2, column emotion:Fear: 1.5 is outside"),
        ([HEADER, ROW, "b,b.wav,test,s1,1.5,,1,0"], "speaker s1 is in train (clip a) and in test (clip b)"),
        (['id,"file'], 'row 1: not readable as CSV (unexpected end of data); is a quote (") opened there'),
        ([HEADER, ROW, 'b,"b.wav,test,s2,1.5,,1,0', "c,c.wav,test,s3,1.5,,1,0"], "row 3: not readable as CSV"),
        ([HEADER.replace(",", ";"), ROW], "its cells seem to be separated by commas, unlike those of the header"),
        ([HEADER, ROW.replace(",", ";")], "row 2 has 1 cell, the header has 8; its cells seem to be separated by semi"),
    ],
)
def test_bad_tables(tmp_path: Path, lines: list[str], message: str) -> None:
    text = load_error(tmp_path, *lines)
    assert message in text


def test_unreadable_manifests(tmp_path: Path) -> None:
    with pytest.raises(VocalgenError, match="No such file"):
        Manifest.load(tmp_path / "missing.csv")
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
    with pytest.raises(
        VocalgenError, match=r"binary\.csv, row 3: a character is not UTF-8; save the manifest as UTF-8"
    ):
        Manifest.load(tmp_path / "binary.csv")
    with pytest.raises(VocalgenError, match=r"cannot read the manifest .*Is a directory"):
        Manifest.load(tmp_path)


def test_missing_files_are_counted(tmp_path: Path) -> None:
    (tmp_path / "b.wav").write_bytes(b"")
    with pytest.raises(VocalgenError, match=r"2 of 3 files .* the first of clip a: .*a\.wav"):
        small(tmp_path).check_files()


def test_the_class_checks_too(tmp_path: Path) -> None:
    manifest = small(tmp_path)
    with pytest.raises(VocalgenError, match="intensities"):
        Manifest(Vocabulary("two", ("A", "B")), manifest.rows)
    with pytest.raises(VocalgenError, match="one split only"):
        Manifest(HUME10, (*manifest.rows, replace(manifest.rows[0], id="z", split="test")))


def test_unwritable_target(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VocalgenError, match="cannot write"):
        small(tmp_path).save(tmp_path / "file" / "m.csv")
