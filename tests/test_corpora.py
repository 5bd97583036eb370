"""EmoGator's layout, anybody's folder, and the verification pass, on synthetic bursts."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
from bursts import burst, write_emogator_tree

from vocalgen import VocalgenError, audio
from vocalgen.corpora import emogator, folder
from vocalgen.corpora.manifest import EXCLUDING_FLAGS, Manifest
from vocalgen.corpora.verify import verify
from vocalgen.emotions import EMOGATOR30, HUME10, one_hot


def test_bursts_are_seeded_and_differ() -> None:
    assert np.array_equal(burst(3, 0.5, 24_000, 7), burst(3, 0.5, 24_000, 7))
    assert burst(3, 0.5, 16_000).shape == (8000,) and burst(3).dtype == np.float32
    for wave in (burst(k, seed=k) for k in range(30)):
        assert np.isfinite(wave).all() and 0.6 < np.abs(wave).max() < 0.8
    assert not np.allclose(burst(3, seed=1), burst(3, seed=2))


def test_emogator_scan(tmp_path: Path) -> None:
    clips = tmp_path / "data" / "mp3"
    write_emogator_tree(clips, speakers=(1, 284, 285, 319, 320, 357), categories=(1, 30), seconds=0.3)
    (clips / "notes.txt").write_text("not a clip")
    (clips / "000358-01-1.mp3").write_text("no such contributor")
    manifest = emogator.scan(tmp_path)
    assert manifest.emotions is EMOGATOR30 and len(manifest) == 12
    assert [len(manifest.split(name)) for name in ("train", "validation", "test")] == [4, 4, 4]
    clip = manifest.rows[1]
    assert (clip.id, clip.speaker, clip.split, clip.flags) == ("000001-30-1", "000001", "train", ())
    assert clip.intensities == one_hot("Triumph", EMOGATOR30) and math.isnan(clip.seconds)
    assert "2 files left out" in manifest.notes[0] and "notes.txt" in manifest.notes[0]
    assert "12 of the 32,130" in manifest.notes[1]
    manifest.check_files()


def test_split_boundaries() -> None:
    splits = [emogator.split_of(contributor) for contributor in range(1, 358)]
    assert [splits.count(name) for name in ("train", "validation", "test")] == [284, 35, 38]


def test_emogator_refuses_other_folders(tmp_path: Path) -> None:
    with pytest.raises(VocalgenError, match="holds no EmoGator clips"):
        emogator.scan(tmp_path)
    with pytest.raises(VocalgenError, match="not a folder"):
        emogator.scan(tmp_path / "missing")


def broken_corpus(tmp_path: Path) -> Manifest:
    """Seven speakers, one clip each: good, copy, silent, clipped, empty, unreadable, NaN."""
    wave = burst(0, 0.3)
    audio.write(tmp_path / "000001-01-1.wav", wave, 24_000)
    audio.write(tmp_path / "000320-02-1.flac", wave, 24_000)
    audio.write(tmp_path / "000002-01-1.mp3", np.zeros(7200), 24_000)
    audio.write(tmp_path / "000003-01-1.wav", 4 * wave, 24_000)
    soundfile.write(tmp_path / "000004-01-1.wav", np.zeros(0), 24_000)
    (tmp_path / "000005-01-1.mp3").write_bytes(b"\xff\xfb" + bytes(99))
    soundfile.write(tmp_path / "000006-01-1.wav", np.full(7200, np.nan), 24_000, subtype="FLOAT")
    return emogator.scan(tmp_path)


def test_verify_marks_and_counts_but_drops_nothing(tmp_path: Path) -> None:
    manifest = broken_corpus(tmp_path)
    ticks: list[int] = []
    marked, report = verify(manifest, progress=ticks.append)
    assert len(marked) == len(manifest) == sum(ticks) == report.clips == 7
    flags = {clip.id: clip.flags for clip in marked}
    assert flags["000001-01-1"] == ()
    assert flags["000320-02-1"] == ("duplicate",)
    assert flags["000002-01-1"] == ("silent",)
    assert flags["000003-01-1"] == ("clipped",)
    assert set(flags["000004-01-1"]) & {"empty", "unreadable"}
    assert flags["000005-01-1"][0] in ("unreadable", "empty")
    assert flags["000006-01-1"] == ("unreadable",)
    assert report.usable == 2 and [clip.id for clip in marked.usable()] == ["000001-01-1", "000003-01-1"]
    assert sum(report.counts.values()) == len(report.problems) == 6
    assert {problem.id for problem in report.problems if problem.flag in EXCLUDING_FLAGS} == {
        clip.id for clip in marked if not clip.usable
    }
    assert marked.rows[0].seconds == pytest.approx(0.3)
    assert any("another split" in note for note in report.notes)
    assert any("another label" in note for note in report.notes)
    json.dumps(report.to_dict())


def test_verify_with_two_processes_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = broken_corpus(tmp_path)
    monkeypatch.setattr("vocalgen.corpora.verify._CHUNK", 2)
    one, two = verify(manifest, 1), verify(manifest, 2)
    assert repr(one[0].rows) == repr(two[0].rows) and one[1] == two[1]
    with pytest.raises(VocalgenError, match="1 or more"):
        verify(manifest, 0)


def table(tmp_path: Path, *lines: str, name: str = "labels.csv") -> Path:
    (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path / name


def test_folder_csv_with_emotion_text(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "File,Emotion,Speaker,Split",
        'wav/a.wav,"awe=0.7,fear=0.3",s1,Train',
        "wav/b.wav,awkwardness,s2,dev",
        "wav/c.wav,surprise,s3,test",
    )
    manifest = folder.scan(path, EMOGATOR30)
    assert [clip.split for clip in manifest] == ["train", "validation", "test"]
    assert manifest.rows[0].id == "wav/a" and manifest.rows[0].file == tmp_path / "wav" / "a.wav"
    assert manifest.rows[0].intensities[EMOGATOR30.index("awe")] == 0.7
    assert sum(manifest.rows[2].intensities) == 2.0
    assert len(manifest.notes) == 2 and all("approximated" in note for note in manifest.notes)
    inferred = folder.scan(tmp_path)
    assert inferred.emotions.emotions == ("Awe", "Awkwardness", "Fear", "Surprise")


def test_folder_csv_with_intensity_columns(tmp_path: Path) -> None:
    names = ",".join(HUME10.emotions)
    path = table(tmp_path, f"filename,{names},Subject_ID,split", "a.wav,1,.5,,0,0,0,0,0,0,0,s1,train")
    manifest = folder.scan(path)
    assert manifest.emotions is HUME10 and manifest.rows[0].speaker == "s1"
    assert manifest.rows[0].intensities[:2] == (1.0, 0.5) and math.isnan(manifest.rows[0].intensities[2])
    own = table(tmp_path, "file,emotion:Joy,emotion:Grief,split", "a.wav,1,0.5,test", name="own.csv")
    assert folder.scan(own).emotions.emotions == ("Joy", "Grief")


def test_folder_jsonl(tmp_path: Path) -> None:
    rows = [
        {
            "file": "a.wav",
            "emotion": {"Awe": 0.4, "Fear": 0.6},
            "speaker": 1,
            "split": "train",
            "id": "first",
        },
        {"file": "b.wav", "emotion": "triumph", "speaker": 2, "split": "test"},
    ]
    path = table(tmp_path, *(json.dumps(row) for row in rows), name="clips.jsonl")
    manifest = folder.scan(path, HUME10)
    assert manifest.rows[0].id == "first" and manifest.rows[0].speaker == "1"
    assert manifest.rows[0].intensities[HUME10.index("fear")] == 0.6


def test_folder_of_folders(tmp_path: Path) -> None:
    for emotion in ("awe", "romantic-love"):
        for take in range(2):
            audio.write(tmp_path / emotion / f"{take}.wav", burst(take, 0.2), 24_000)
    manifest = folder.scan(tmp_path, split="test")
    assert manifest.emotions.emotions == ("Awe", "Romantic Love")
    assert [clip.id for clip in manifest] == ["awe/0", "awe/1", "romantic-love/0", "romantic-love/1"]
    assert manifest.intensities.tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]
    assert folder.scan(tmp_path, EMOGATOR30, split="test").emotions is EMOGATOR30
    with pytest.raises(VocalgenError, match="neither a split nor speakers to draw one from"):
        folder.scan(tmp_path)


def test_splits_are_drawn_by_speaker(tmp_path: Path) -> None:
    lines = [f"{k}.wav,awe,s{k % 20}" for k in range(60)]
    manifest = folder.scan(table(tmp_path, "file,emotion,speaker", *lines))
    assert [len(manifest.split(name).speakers) for name in ("train", "validation", "test")] == [16, 2, 2]
    assert "seed 0" in manifest.notes[0]
    again = folder.draw_splits(reversed([f"s{k}" for k in range(20)]))
    assert {clip.speaker: clip.split for clip in manifest} == again
    assert folder.draw_splits(again, seed=1) != again
    assert set(folder.draw_splits("abc").values()) == {"train", "validation", "test"}
    with pytest.raises(VocalgenError, match="2 speakers cannot fill"):
        folder.draw_splits("ab")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["emotion,split", "awe,train"], "no column `file`"),
        (["file,emotion,split"], "has no rows"),
        (["file,split", "a.wav,train"], "neither a column `emotion`"),
        (["file,emotion,split", "a.wav,joyy,train"], "row 2: unknown emotion 'joyy'"),
        (["file,emotion,split", "a.wav,awe=2,train"], "row 2: .*from 0 to 1"),
        (["file,emotion,split", "a.wav,horror,train"], "row 2: Horror has no counterpart"),
        (["file,split", "a.wav,test"], "no emotion given, and no intensity column"),
        (["file,emotion,split", "a.wav,awe,holdout"], "row 2: unknown split 'holdout'"),
        (["file,emotion,split", "a.wav,awe,train", "b.wav,awe,"], "row 3, column split is blank"),
        (["file,emotion,split", ",awe,train"], "row 2, column file is blank"),
        (["file,emotion,split", "a.wav,awe"], "row 2 has 2 cells"),
        (["file,emotion,split", "a.wav;awe;train"], "row 2 has 1 cell, .* separated by semicolons, unlike"),
        (
            ["file,emotion,split", "a.wav,awe,train", '"b.wav,awe,train', "c.wav,awe,train"],
            "row 3: not readable as CSV",
        ),
        (["file,emotion,split,speaker", "a.wav,awe,train,s", "b.wav,awe,test,s"], r"s is in train \(clip a\)"),
        (["file,emotion,split", "", "a.wav,awe,train", "a.wav,awe,train"], "row 4: the id 'a' is taken by row 3"),
        (["file,split,joy,age", "a.wav,train,1,3"], r"neither a column .*; add one \(2 columns not used: joy, age\)"),
        (["file,emotion,split", "a.wav,,train"], "column emotion is blank in every row"),
    ],
)
def test_bad_folder_tables(tmp_path: Path, lines: list[str], message: str) -> None:
    inferring = "neither" in message or "every row" in message
    with pytest.raises(VocalgenError, match=message) as caught:
        folder.scan(table(tmp_path, *lines), None if inferring else EMOGATOR30)
    assert "\n" not in str(caught.value) and "labels.csv" in str(caught.value)


def test_emotions_that_may_be_misspelt_are_told(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file,emotion,split\n0.wav,Fear,train\n1.wav,Feer,train\n2.wav,Joy,train\n")
    assert folder.scan(tmp_path / "t.csv").notes == ("Feer is no known emotion and much like Fear: is it misspelt?",)


def test_folder_csv_with_plain_columns(tmp_path: Path) -> None:
    path = table(tmp_path, "file,split,Awe,age,romantic love,Joy", "a.wav,train,1,30,.5,x", "b.wav,test,,20,0,")
    manifest = folder.scan(path)
    assert manifest.emotions.emotions == ("Awe", "Romantic Love")
    np.testing.assert_array_equal(manifest.intensities, [[1, 0.5], [math.nan, 0]])
    assert manifest.notes == ("2 columns not used: age, joy",)
    beside = table(tmp_path, "file,split,emotion,Awe,subject_id", "a.wav,train,fear,1,s1", "b.wav,test,,1,s2")
    manifest = folder.scan(beside)
    assert [math.isnan(clip.intensities[0]) for clip in manifest] == [False, True]
    assert manifest.notes == ("1 test clip with unknown emotions: b", "1 column not used: awe")
    beside.write_text(beside.read_text().replace("b.wav,test,,", "b.wav,test,awe,"))
    manifest = folder.scan(beside)
    assert manifest.intensities.tolist() == [[0, 1], [1, 0]] and manifest.notes == ("1 column not used: awe",)
    both = table(tmp_path, "file,split,awe,emotion:Awe,label:Type", "a.wav,train,0.1,0.9,")
    assert folder.scan(both).rows[0].intensities == (0.9,) and folder.scan(both).notes == ("1 column not used: awe",)


def test_folder_ids_are_told_by_the_row_of_their_table(tmp_path: Path) -> None:
    rows = [json.dumps({"file": f"a.{kind}", "emotion": "awe", "split": "test"}) for kind in ("wav", "mp3")]
    with pytest.raises(VocalgenError, match=r"b\.jsonl: row 2: the id 'a' is taken by row 1"):
        folder.scan(table(tmp_path, *rows, name="b.jsonl"))
    for kind in ("wav", "mp3"):
        (tmp_path / "clips" / "awe").mkdir(parents=True, exist_ok=True)
        (tmp_path / "clips" / "awe" / f"a.{kind}").touch()
    with pytest.raises(VocalgenError, match=r"awe/a\.wav: the id 'awe/a' is taken by awe/a\.mp3"):
        folder.scan(tmp_path / "clips", split="test")


@pytest.mark.parametrize("name", ["own.csv", "own.jsonl"])
def test_folder_tables_in_another_encoding(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes("file,emotion\na.wav,awe\nmüll.wav,awe\n".encode("latin-1"))
    with pytest.raises(VocalgenError, match=rf"{name}, row 3: a character is not UTF-8; save the table as UTF-8"):
        folder.scan(tmp_path / name)
    (tmp_path / name).write_text("file,emotion\na.wav,awe\n", encoding="utf-16")
    with pytest.raises(VocalgenError, match=rf"{name}, row 1: a character is not UTF-8"):
        folder.scan(tmp_path / name)


def test_folder_labels_from_1_to_100_are_recognised(tmp_path: Path) -> None:
    path = table(tmp_path, "file,emotion:Awe,emotion:Fear,split", "a.wav,1,0,train", "b.wav,80,,test", "c.wav,9,9,test")
    with pytest.raises(
        VocalgenError, match=r"row 3: .*Awe: '80' is not a number from 0 to 1; the labels look like 1 to"
    ):
        folder.scan(path)


def test_bad_folder_sources(tmp_path: Path) -> None:
    with pytest.raises(VocalgenError, match="cannot read the table"):
        folder.scan(tmp_path / "missing.csv")
    with pytest.raises(VocalgenError, match="holds no clips; the layout is DIR/<emotion>/"):
        folder.scan(tmp_path)
    with pytest.raises(VocalgenError, match="row 1 is not JSON"):
        folder.scan(table(tmp_path, "{", name="a.jsonl"))
    with pytest.raises(VocalgenError, match="row 1 is not a JSON object"):
        folder.scan(table(tmp_path, "[1]", name="a.jsonl"))
    table(tmp_path, "file,emotion", name="b.csv")
    with pytest.raises(VocalgenError, match=r"several tables \(a.jsonl, b.csv\)"):
        folder.scan(tmp_path)


@pytest.mark.parametrize("blank", ["", "nan", "NA", "<NA>", "None"])
def test_scan_takes_blanks_of_pandas_as_unknown(tmp_path: Path, blank: str) -> None:
    lines = [f"0.wav,awe,s0,train,{blank}", f"1.wav,fear,s1,train,{blank}", f"2.wav,{blank},{blank},test,two"]
    manifest = folder.scan(table(tmp_path, "file,emotion,speaker,split,id", *lines, ",,,,"))
    assert manifest.emotions.emotions == ("Awe", "Fear") and manifest.speakers == ("s0", "s1")
    assert [clip.id for clip in manifest] == ["0", "1", "two"]
    assert np.isnan(manifest.intensities[2]).all() and manifest.notes == ("1 test clip with unknown emotions: two",)
    manifest.save(tmp_path / "m.csv")
    assert repr(Manifest.load(tmp_path / "m.csv").rows) == repr(manifest.rows)


def test_scan_takes_nan_of_json_lines_as_unknown(tmp_path: Path) -> None:
    rows = [{"file": "0.wav", "emotion": "awe", "split": "train", "speaker": math.nan},
            {"file": "1.wav", "emotion": math.nan, "split": "train", "speaker": None}]  # fmt: skip
    manifest = folder.scan(table(tmp_path, *map(json.dumps, rows), name="t.jsonl"))
    assert manifest.speakers == () and manifest.emotions.emotions == ("Awe",)


def test_scan_says_which_speakers_are_missing_for_a_draw(tmp_path: Path) -> None:
    lines = [f"{k}.wav,awe,{'nan' if k > 2 else k}" for k in range(5)]
    with pytest.raises(VocalgenError, match=r"row 5: no split can be drawn without a speaker, which 2 clips lack"):
        folder.scan(table(tmp_path, "file,emotion,speaker", *lines))


def test_draw_splits_prefers_splits_that_have_all_emotions(tmp_path: Path) -> None:
    lines = [f"{speaker}-{emotion}.wav,{emotion},{speaker}" for speaker in "abcdef" for emotion in ("awe", "fear")]
    lines += [f"{speaker}.wav,awe,{speaker}" for speaker in "ghijkl"]
    seeds = range(12)
    first = [folder.draw_splits("abcdefghijkl", seed) for seed in seeds]
    assert any("abcdef".find(name) < 0 for drawn in first for name, split in drawn.items() if split == "test")
    path = table(tmp_path, "file,emotion,speaker", *lines)
    for seed in seeds:
        manifest = folder.scan(path, seed=seed)
        assert all(
            (manifest.split(split).intensities.sum(axis=0) > 0).all() for split in ("train", "validation", "test")
        )
        complete = all(drawn in "abcdef" for drawn, split in first[seed].items() if split != "train")
        assert not complete or {clip.speaker: clip.split for clip in manifest} == first[seed]


def test_scan_finds_files_under_other_spellings(tmp_path: Path) -> None:
    (tmp_path / "wav").mkdir()
    (tmp_path / "wav" / "Mu\u0308ller.wav").touch()
    lines = ["wav\\a.wav,awe,train", "wav/M\u00fcller.wav,fear,train"]
    manifest = folder.scan(table(tmp_path, "file,emotion,split", *lines))
    assert [clip.id for clip in manifest] == ["wav/a", "wav/M\u00fcller"]
    assert manifest.rows[0].file == tmp_path / "wav" / "a.wav" and manifest.rows[1].file.is_file()


def test_scan_reads_a_table_beside_hidden_ones(tmp_path: Path) -> None:
    table(tmp_path, "file,emotion,split", "a.wav,awe,test", name="own.csv")
    table(tmp_path, "{}", name=".vocalgen.jsonl")
    table(tmp_path, "x", name="._own.csv")
    assert len(folder.scan(tmp_path)) == 1


def test_scan_reads_mixtures_with_decimal_commas(tmp_path: Path) -> None:
    path = table(tmp_path, "file;emotion;split", "a.wav;awe=0,7,fear= ,3;train", "b.wav;fear;test")
    manifest = folder.scan(path)
    assert manifest.emotions.emotions == ("Awe", "Fear")
    assert manifest.intensities[0].tolist() == pytest.approx([0.7, 0.3])
