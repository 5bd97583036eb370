"""HUME-PROSODY in the layout of ComParE 2023, as a small made tree."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from vocalgen import VocalgenError
from vocalgen.corpora.hume_prosody import scan
from vocalgen.emotions import PROSODY9

HEADER = "filename," + ",".join(PROSODY9.emotions)


def line(name: str, value: float | None) -> str:
    cells = ["" if value is None else f"{value + 0.01 * k:.2f}" for k in range(9)]
    return ",".join([name, *cells])


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "lab").mkdir()
    (tmp_path / "wav").mkdir()
    tables = {
        "train": [line("train_2.wav", 0.2), line("train_1.wav", 0.1)],
        "devel": [line("devel_1.wav", 0.5)],
        "test": [line("test_1.wav", None), "test_2.wav," + ",".join("?" * 9)],
    }
    for name, lines in tables.items():
        (tmp_path / "lab" / f"{name}.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    return tmp_path


def test_the_official_layout(corpus: Path) -> None:
    manifest = scan(corpus)
    assert manifest.emotions is PROSODY9
    assert [clip.id for clip in manifest] == ["train_1", "train_2", "devel_1", "test_1", "test_2"]
    assert [clip.split for clip in manifest] == ["train", "train", "validation", "test", "test"]
    np.testing.assert_allclose(manifest.intensities[:3], np.add.outer([0.1, 0.2, 0.5], 0.01 * np.arange(9)), atol=1e-6)
    assert np.isnan(manifest.intensities[3:]).all()
    assert manifest.rows[0].file == corpus / "wav" / "train_1.wav"
    assert "2 of the 30,133 train clips" in manifest.notes[0]


def test_columns_are_found_by_name_and_the_folder_above_too(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "challenge").mkdir()
    order = list(reversed(PROSODY9.emotions))
    cells = [f"{0.1 * PROSODY9.index(name):.1f}" for name in order]
    (corpus / "lab" / "devel.csv").write_text(f"{','.join(order)},filename\n{','.join(cells)},devel_1.wav\n")
    expected = scan(corpus)
    np.testing.assert_allclose(expected.intensities[2], 0.1 * np.arange(9), atol=1e-6)
    for name in ("lab", "wav"):
        (tmp_path / "challenge" / "data").mkdir(exist_ok=True)
        (corpus / name).rename(tmp_path / "challenge" / "data" / name)
    np.testing.assert_array_equal(scan(tmp_path / "challenge").intensities, expected.intensities)


def test_unmasked_labels_take_the_place_of_masked_ones(corpus: Path) -> None:
    lines = [HEADER, line("test_1.wav", 0.3), line("test_2.wav", 0.4)]
    (corpus / "lab" / "test.unmasked.csv").write_text("\n".join(lines))
    manifest = scan(corpus).split("test")
    np.testing.assert_allclose(manifest.intensities[:, 0], [0.3, 0.4], atol=1e-6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (line("train_1.wav", 0.95), r"train\.csv, row 2, column Interest: 1\.01 is outside"),
        (line("../train_1.wav", 0.1), "is not the name of a file in wav"),
        (line("devel_1.wav", 0.1), r"devel\.csv, row 2, column filename: devel_1\.wav is in train"),
        ("train_1.wav,0.1", r"row 2 has 2 cells, the header has 10"),
    ],
)
def test_what_is_wrong_is_named(corpus: Path, text: str, words: str) -> None:
    (corpus / "lab" / "train.csv").write_text(f"{HEADER}\n{text}\n")
    with pytest.raises(VocalgenError, match=words):
        scan(corpus)


@pytest.mark.parametrize("name", ["train", "devel", "test"])
def test_every_column_of_every_table_is_needed(corpus: Path, name: str) -> None:
    (corpus / "lab" / f"{name}.csv").write_text(HEADER.replace("Calmness", "Calm") + "\n" + line("x.wav", 0.1))
    with pytest.raises(VocalgenError, match=rf"{name}\.csv: column Calmness is missing; is 'Calm' meant for it\?"):
        scan(corpus)


def test_hume_prosody_reads_semicolons_and_decimal_commas(corpus: Path) -> None:
    expected = scan(corpus)
    table = corpus / "lab" / "devel.csv"
    text = table.read_text().replace(",", ";")
    table.write_text(re.sub(r"(?<=\d)\.(?=\d)", ",", text), encoding="utf-8-sig")
    assert "0," in table.read_text()
    assert repr(scan(corpus).rows) == repr(expected.rows)


def test_labels_from_1_to_100_are_recognised(corpus: Path) -> None:
    (corpus / "lab" / "train.csv").write_text(f"{HEADER}\na.wav{',40' * 9}\nb.wav{',1' * 9}\nc.wav{',100' * 9}\n")
    with pytest.raises(VocalgenError, match=r"Anger: 40 is outside \[0, 1\]; the labels look like 1 to 100: divide"):
        scan(corpus)


def test_folders_without_the_release(tmp_path: Path) -> None:
    with pytest.raises(VocalgenError, match=r"has no lab/train\.csv"):
        scan(tmp_path)
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "train.csv").write_text(HEADER.replace("Anger,", ""))
    with pytest.raises(VocalgenError, match="has no audio"):
        scan(tmp_path)
    (tmp_path / "wav").mkdir()
    with pytest.raises(VocalgenError, match="column Anger is missing"):
        scan(tmp_path)
