"""The reader of tables: what spreadsheets and pandas make of a table is read alike, and the rest is named."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from vocalgen import VocalgenError
from vocalgen.corpora.cells import known
from vocalgen.corpora.manifest import Manifest, is_manifest
from vocalgen.corpora.table import joined, numbers, read_table

PLAIN = "Clip,Awe,note\na,0.5,x\nb,,y\n"


def write(folder: Path, text: str, name: str = "t.csv", encoding: str = "utf-8") -> Path:
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace(",", ";").replace("0.5", "0,5"),
        PLAIN.replace(",", "\t").replace("0.5", "0,5"),
        PLAIN.replace("\n", "\r\n") + ",,\r\n , ,\r\n",
        "sep=;\n" + PLAIN.replace(",", ";"),
        PLAIN.replace("note\n", "note,,\n").replace("x\n", "x,,\n").replace("y\n", "y,,\n"),
        PLAIN.replace("a,0.5,x\n", "a,0.5,x,,\n"),
        PLAIN.replace("b,,", "b,NaN,"),
        PLAIN.replace("b,,", "b,<NA>,"),
        PLAIN.replace("Clip", "\ufeffCLIP").replace("Awe", " awe "),
    ],
    ids=["plain", "semicolons", "tabs", "blank-rows", "sep", "blank-columns", "long-row", "nan", "pandas-na", "mark"],
)
def test_read_table_reads_what_spreadsheets_write(tmp_path: Path, text: str) -> None:
    table = read_table(write(tmp_path, text), ["clip", "awe"])
    assert [row.text("CLIP") for row in table] == ["a", "b"]
    assert numbers(table.rows, "Awe")[0] == 0.5 and math.isnan(numbers(table.rows, "Awe")[1])
    assert table.rows[0].text("note") == "x" and "NOTE" in table and "other" not in table


def test_read_table_reads_json_lines_up_to_the_line_feed(tmp_path: Path) -> None:
    rows = [{"File": "a\u2028b\x85.wav", "x": math.nan}, {"file": "c.wav", "x": None, "speaker": "NA", "y": 0.5}]
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    table = read_table(write(tmp_path, lines, "T.JSONL"), ["file"])
    assert [row.text("file") for row in table] == ["a\u2028b\x85.wav", "c.wav"]
    assert [row.text(name) for row in table for name in ("x", "speaker")] == [""] * 4
    assert table.rows[1].number_of("y") == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clip,x\na,1\n", "t.csv: column awe is missing; its first line has clip, x"),
        ("clip,awe,AWE\na,1,1\n", "column awe appears twice; keep one"),
        ("clip,awe\na,1,2\n", "row 2 has 3 cells, the header has 2; mend the row, and write decimals with a point"),
        ("clip,awe\na;1\n", "row 2 has 1 cell, .* separated by semicolons, unlike those of the header"),
        ('clip,awe\na,"0,5"\n', "row 2, column awe: '0,5' is not a number; write decimals with a point"),
        ("clip;awe\na;0,5,1\n", "row 2, column awe: '0,5,1' is not a number$"),
        ("clip,awe\n,\n", "has no rows"),
        ("clip,awe\na,1\nNA,1\n", "row 3, column clip: is blank; fill it in"),
        ("clip,awe\na,1\na,1\n", "row 3: clip a is there twice; keep one"),
    ],
)
def test_read_table_names_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(VocalgenError, match=message):
        table = read_table(write(tmp_path, text), ["clip", "awe"])
        numbers(list(table.by("clip").values()), "awe")


def test_joined_matches_ids_that_lost_zeros_or_have_another_normal_form(tmp_path: Path) -> None:
    truth = read_table(write(tmp_path, "clip,x\n00001,1\nawe/002.wav,2\nMu\u0308ller,3\n", "a.csv"))
    other = read_table(write(tmp_path, "clip,x\nM\u00fcller,6\nawe\\2.wav,5\n1,4\n", "b.csv"))
    assert [(row.text("x"), found.text("x")) for row, found in joined(truth, other, "clip")] == [
        ("1", "4"),
        ("2", "5"),
        ("3", "6"),
    ]


def test_joined_refuses_ids_whose_zeros_tell_them_apart(tmp_path: Path) -> None:
    truth = read_table(write(tmp_path, "clip,x\n01,1\n001,2\n", "a.csv"))
    other = read_table(write(tmp_path, "clip,x\n1,4\n01,5\n", "b.csv"))
    assert [row.text("x") for row, _ in joined(truth, truth, "clip")] == ["1", "2"]
    with pytest.raises(VocalgenError, match=r"a\.csv lacks 1 ids of .*b\.csv, the first is 1") as refused:
        joined(read_table(write(tmp_path, "clip,x\n01,1\n001,2\n0001,3\n", "a.csv")), other, "clip")
    assert "\n" not in str(refused.value)


def test_known_keeps_zero_and_false(tmp_path: Path) -> None:
    assert [known(value) for value in (0, False, 0.0, "0", " x ", "None", "n/a", math.nan)] == [
        0, False, 0.0, "0", "x", "", "", "",
    ]  # fmt: skip


def test_manifest_load_reads_what_a_spreadsheet_saved(tmp_path: Path) -> None:
    text = "id,file,split,speaker,seconds,flags,emotion:Awe,label:Age\n1,c/a.wav,train,nan,1.5,,0.25,30.5\n"
    plain = Manifest.load(write(tmp_path, text, "plain.csv"))
    saved = text.replace(",", ";").replace("1.5", "1,5").replace("0.25", "0,25").replace("30.5", "30,5")
    saved = saved.replace("id;file", "ID;File").replace("c/a.wav", "c\\a.wav") + ";;;;;;;\n"
    path = write(tmp_path, saved, "saved.csv", "utf-8-sig")
    assert is_manifest(path) and Manifest.load(path).rows[0].file == tmp_path / "c" / "a.wav"
    assert Manifest.load(path).rows[0].intensities == plain.rows[0].intensities == (0.25,)
    assert Manifest.load(path).rows[0].speaker == "" and Manifest.load(path).rows[0].seconds == 1.5
    assert Manifest.load(path).numbers("Age").tolist() == [[30.5]]
    assert not is_manifest(write(tmp_path, PLAIN, "other.csv"))
