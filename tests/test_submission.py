"""Submission files: written as the challenges want them, and checked cell by cell."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from conftest import Line
from typer.testing import CliRunner

from vocalgen import VocalgenError
from vocalgen.cli.submission import submission_app
from vocalgen.corpora.manifest import Clip, Manifest
from vocalgen.corpora.submission import FORMATS, check_submission, format_of, write_submission
from vocalgen.emotions import HUME10

HIGH = "File_ID,Awe,Excitement,Amusement,Awkwardness,Fear,Horror,Distress,Triumph,Sadness,Surprise"


def values(task: str) -> list[object]:
    return [column.words[0] if column.words else 0.25 for column in format_of(task).columns.values()]


@pytest.mark.parametrize("task", FORMATS)
def test_what_is_written_is_in_order(tmp_path: Path, task: str) -> None:
    path = write_submission(task, ["10119", "10120"], [values(task)] * 2, tmp_path, "our-team", 2)
    assert path.name == f"{FORMATS[task].prefix}_our-team_2.csv"
    assert check_submission(path) == []


@pytest.mark.parametrize(
    ("task", "header"),
    [
        ("avb-high", HIGH),
        ("exvo-fewshot", HIGH),
        ("exvo-multitask", HIGH.replace("File_ID", "File_ID,Country,Age")),
        ("avb-two", "File_ID,Valence,Arousal"),
        ("avb-type", "File_ID,Voc_Type"),
        (
            "emotion-share",
            "filename,Anger,Boredom,Calmness,Concentration,Determination,Excitement,Interest,Sadness,Tiredness",
        ),
    ],
)
def test_official_headers(task: str, header: str) -> None:
    assert ",".join(format_of(task).header) == header


def test_the_header_of_forty_cultures() -> None:
    header = format_of("avb-culture").header
    assert len(header) == 41 and header[1:4] == ("China_Awe", "China_Excitement", "China_Amusement")
    assert header[9:11] == ("China_Sadness", "United States_Awe") and header[-1] == "Venezuela_Surprise"


def lines(tmp_path: Path, *rows: str, name: str = "A-VB-Two_us_1.csv", header: str = "File_ID,Valence,Arousal") -> Path:
    path = tmp_path / name
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["10119,0.5,0.5"], "row 2: '10119' is not of the form [00001]"),
        (["[10119],0.5,0.5", "[10119],0.5,0.5"], "row 3: [10119] stands in row 2 too"),
        (["[10119],0.5"], "row 2 has 2 cells, not 3"),
        (["[10119],0.5,1.5"], "row 2, column Arousal: 1.5 is outside [0, 1]"),
        (["[10119],nan,0.5"], "row 2, column Valence: nan is not a finite number"),
        (["[10119],high,0.5"], "row 2, column Valence: 'high' is not a number"),
        (["[10119]"], "row 2 has 1 cell, not 3"),
        ([], "there are no rows"),
    ],
)
def test_what_is_wrong_in_a_row(tmp_path: Path, rows: list[str], expected: str) -> None:
    assert check_submission(lines(tmp_path, *rows)) == [expected]


def test_wrong_headers_and_names(tmp_path: Path) -> None:
    swapped = lines(tmp_path, "[10119],0.5,0.5", header="File_ID,Arousal,Valence")
    (problem,) = check_submission(swapped)
    assert problem.startswith("the header has 'Arousal' in column 2, where 'Valence' belongs")
    (problem,) = check_submission(lines(tmp_path, "[10119],0.5,0.5,0", header="File_ID,Valence,Arousal,Split"))
    assert "has 'Split' in column 4, where nothing belongs" in problem
    marked = lines(tmp_path, "[10119],0.5,0.5", header="\ufeffFile_ID,Valence,Arousal")
    assert check_submission(marked) == ["it begins with a byte-order mark; save it as plain UTF-8"]
    (problem,) = check_submission(lines(tmp_path, "[10119];0.5;0.5", header="File_ID;Valence;Arousal"))
    assert problem.endswith("its cells seem to be separated by semicolons: save it with commas")
    (problem,) = check_submission(lines(tmp_path, '"[10119],0.5,0.5', "[10120],0.5,0.5"))
    assert problem.startswith("file, row 2: not readable as CSV")
    foreign = lines(tmp_path, "[10119],0.5,0.5")
    foreign.write_bytes(foreign.read_bytes() + b"[\xe9],0.5,0.5\n")
    with pytest.raises(VocalgenError, match=r"_1\.csv, row 3: a character is not UTF-8; save the file as UTF-8"):
        check_submission(foreign)
    other = lines(tmp_path, "[10119],0.5,0.5", name="final.csv")
    with pytest.raises(VocalgenError, match="tells no task"):
        check_submission(other)
    assert check_submission(other, "avb-two") == ["the file is called final.csv, not A-VB-Two_TEAM_NUMBER.csv"]
    with pytest.raises(VocalgenError, match="no submission format for task 'avb-tow'"):
        check_submission(other, "avb-tow")


def test_types_and_countries_are_words(tmp_path: Path) -> None:
    path = lines(tmp_path, "[10119],Sigh", name="A-VB-Type_us_1.csv", header="File_ID,Voc_Type")
    assert check_submission(path)[0].startswith("row 2, column Voc_Type: 'Sigh' is none of Gasp, Laugh")
    row = [*values("exvo-multitask")]
    row[0] = "China"
    with pytest.raises(VocalgenError, match="column Country: 'China' is none of 0, 1, 2, 3"):
        write_submission("exvo-multitask", ["10119"], [row], tmp_path, "us", 1)


def test_many_problems_of_a_kind_are_counted(tmp_path: Path) -> None:
    rows = [f"[{number:05d}],2,0.5" for number in range(12)]
    found = check_submission(lines(tmp_path, *rows))
    assert len(found) == 6 and found[-1] == "... and 7 more of this kind"


def manifest(folder: Path) -> Manifest:
    known = {"train": ["00001"], "test": ["10119", "10120", "10121"]}
    rows = (
        Clip(name, folder / f"{name}.wav", split, "", math.nan, (), (math.nan,) * 10)
        for split, names in known.items()
        for name in names
    )
    return Manifest(HUME10, tuple(rows))


def test_all_test_clips_and_no_others(tmp_path: Path) -> None:
    manifest(tmp_path).save(tmp_path / "m.csv")
    path = lines(tmp_path, "[10119],0.5,0.5", "[10120],0.5,0.5", "[00001],0.5,0.5")
    assert check_submission(path, manifest=manifest(tmp_path)) == ["[10121] is missing", "[00001] is no test clip"]
    command = ["check", str(path), "--data", str(tmp_path / "m.csv")]
    done = CliRunner().invoke(submission_app, command)
    assert done.exit_code == 1 and "[10121] is missing" in done.output
    lines(tmp_path, "[10119],0.5,0.5", "[10120],0.5,0.5", "[10121],0.5,0.5")
    done = CliRunner().invoke(submission_app, command)
    assert done.exit_code == 0 and "in order" in done.output


def test_what_is_no_file(tmp_path: Path, refused: Line) -> None:
    assert refused("submission", "check", tmp_path / "x.csv") == f"error: {tmp_path / 'x.csv'}: no such file"
    assert "it is a folder; give the CSV file in it" in refused("submission", "check", tmp_path)


def test_shares_are_scored_by_rank(tmp_path: Path, done: Line) -> None:
    """No number is wrong then; it is said, as other challenges have ranges."""
    header = ",".join(format_of("emotion-share").header)
    shares = lines(tmp_path, f"test_1.wav{',-0.5' * 9}", name="Emotion-Share_us_1.csv", header=header)
    said = done("submission", "check", shares)
    assert said.splitlines() == [
        f"{shares}: in order",
        "any numbers are, also below 0 and above 1: the challenge scores their ranks (Spearman's correlation)",
    ]
    assert "ranks" in done("submission", "check", shares, "--task", "emotion-share")
    assert "ranks" not in done("submission", "check", lines(tmp_path, "[10119],0.5,0.5"))


def test_nothing_is_written_that_is_none(tmp_path: Path) -> None:
    for changes, words in (
        ({"team": "our/team"}, "use letters, digits and hyphens"),
        ({"number": 0}, "count from 1"),
        ({"values": []}, "0 rows of values for 1 clip$"),
        ({"values": [[0.5]]}, "row 2 has 2 cells, not 3"),
    ):
        options = {"values": [[0.5, 0.5]], "team": "us", "number": 1, **changes}
        with pytest.raises(VocalgenError, match=words):
            write_submission("avb-two", ["10119"], folder=tmp_path, **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
