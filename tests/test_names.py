"""Names that tools spell differently, and files that tables name."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from vocalgen.corpora.names import by_plain_name, locate, match_names, plain_name, similar_file

NFC, NFD = (unicodedata.normalize(form, "Müller") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("00012.wav", "12.wav"),
        ("awe\\0012.wav", "awe/12.wav"),
        ("[00012]", "[12]"),
        ("000", "0"),
        (f"{NFC}/1", f"{NFD}/001"),
        ("./awe/1", "awe/1"),
    ],
)
def test_plain_name_is_one_for_spellings_of_a_name(name: str, other: str) -> None:
    assert plain_name(name) == plain_name(other)


@pytest.mark.parametrize(("name", "other"), [("take01", "take1"), ("1.5", "1.50"), ("a/10", "a/1"), ("A", "a")])
def test_plain_name_keeps_names_apart(name: str, other: str) -> None:
    assert plain_name(name) != plain_name(other)


def test_match_names_prefers_the_name_itself_and_guesses_nothing() -> None:
    assert match_names(["1", "02", "x"], ["001", "2", "02"]) == {"1": "001", "02": "02"}
    assert match_names(["1"], ["01", "001"]) == {}
    assert match_names(["1", "01"], ["001"]) == {}
    assert by_plain_name(["1", "01", "2"]) == {"2": "2"}


@pytest.mark.parametrize("text", [f"{NFC}/{NFD}.wav", f"{NFD}\\{NFC}.wav", f"./{NFC}/{NFC}.wav"])
def test_locate_finds_the_spelling_that_exists(tmp_path: Path, text: str) -> None:
    there = tmp_path / NFD / f"{NFC}.wav"
    there.parent.mkdir()
    there.touch()
    assert locate(tmp_path, text) == there
    assert locate(tmp_path, str(there)) == there


def test_locate_keeps_a_backslash_that_is_part_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "a\\b.wav").touch()
    assert locate(tmp_path, "a\\b.wav") == tmp_path / "a\\b.wav"
    assert locate(tmp_path, "c\\d.wav") == tmp_path / "c" / "d.wav"
    assert locate(tmp_path, "../x\u00fc.wav") == tmp_path.parent / "x\u00fc.wav"


@pytest.mark.parametrize(
    ("name", "meant"),
    [("1.wav", "00001.wav"), ("A.WAV", "a.wav"), ("a.mp3", "a.wav"), ("c.wav", ""), ("00002.wav", "")],
)
def test_similar_file_finds_what_may_be_meant(tmp_path: Path, name: str, meant: str) -> None:
    for there in ("00001.wav", "a.wav", ".c.wav", "00003.wav"):
        (tmp_path / there).touch()
    assert similar_file(tmp_path / name) == meant
    assert similar_file(tmp_path / "none" / name) == ""
