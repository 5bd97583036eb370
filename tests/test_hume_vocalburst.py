"""HUME-VOCALBURST in both official layouts, as small made trees."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bursts import burst

from vocalgen import VocalgenError, audio
from vocalgen.corpora.hume_vocalburst import COUNTRIES, CULTURE, EXPECTED, LABELS, TYPES, scan
from vocalgen.corpora.manifest import Manifest
from vocalgen.corpora.verify import verify
from vocalgen.emotions import HUME10

SPLIT_NAMES = {"Train": "train", "Val": "validation", "Test": "test"}


def rows() -> list[dict[str, Any]]:
    """Nine clips, three a split; test labels blank."""
    made = []
    for number in range(9):
        split = list(SPLIT_NAMES)[number // 3]
        known = split != "Test"
        values = np.round(np.random.default_rng(number).uniform(0, 0.9, 10), 3)
        values[number % 10] = 1.0
        country = number % 4
        made.append({
            "File_ID": f"[{number + 5:05d}]", "Split": split,
            "Subject_ID": f"Speaker_{number // 2 + 10 * (number // 3)}",
            "Country": country if known else "", "Country_string": COUNTRIES[country] if known else "",
            "Age": 20.5 + number if known else "",
            **{name: value if known else "" for name, value in zip(HUME10.emotions, values, strict=True)},
        })  # fmt: skip
    return made


INTENSITIES = [[row[name] for name in HUME10.emotions] for row in rows()[:6]]


def write(path: Path, table: list[dict[str, Any]], columns: list[str] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns or list(table[0]), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(table)


def exvo(folder: Path, table: list[dict[str, Any]] | None = None, columns: list[str] | None = None) -> Path:
    write(folder / "data_info.csv", table or rows(), columns)
    (folder / "wav").mkdir(exist_ok=True, parents=True)
    return folder


def avb(folder: Path) -> Path:
    """The four tables, each in another order of rows."""
    table = rows()
    for place, row in enumerate(table):
        known = row["Split"] != "Test"
        row |= {"Valence": 0.1 * place if known else "", "Arousal": 0.9 if known else ""}
        row |= {"Voc_Type": TYPES[place % 8] if known else ""}
        row |= {name: round(0.01 * k, 2) if known else "" for k, name in enumerate(CULTURE)}
    extra = {"high": HUME10.emotions, "two": ("Valence", "Arousal"), "culture": CULTURE, "type": ("Voc_Type",)}
    for turn, (name, columns) in enumerate(extra.items()):
        turned = table[turn:] + table[:turn]
        write(folder / "labels" / f"{name}_info.csv", turned, ["File_ID", "Split", *columns])
    (folder / "audio" / "wav").mkdir(parents=True)
    return folder


def test_the_exvo_release(tmp_path: Path) -> None:
    manifest = scan(exvo(tmp_path))
    assert manifest.emotions is HUME10 and manifest.labels == LABELS
    assert [clip.id for clip in manifest] == [f"{number:05d}" for number in range(5, 14)]
    assert [clip.split for clip in manifest] == [SPLIT_NAMES[row["Split"]] for row in rows()]
    assert manifest.rows[0].file == tmp_path / "wav" / "00005.wav"
    assert manifest.rows[4].speaker == rows()[4]["Subject_ID"]
    np.testing.assert_allclose(
        manifest.intensities[:6], [[row[name] for name in HUME10.emotions] for row in rows()[:6]]
    )
    assert np.isnan(manifest.intensities[6:]).all()
    assert manifest.texts("Country")[:6] == tuple(row["Country_string"] for row in rows()[:6])
    assert manifest.texts("Country")[6:] == ("", "", "")
    np.testing.assert_array_equal(manifest.numbers("Age")[:2, 0], [20.5, 21.5])
    assert np.isnan(manifest.numbers("Valence", "Arousal")).all()
    assert manifest.notes == ("9 of the 59,201 clips of the full corpus are here",)


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    columns = list(reversed(rows()[0]))
    turned = scan(exvo(tmp_path / "turned", list(reversed(rows())), columns))
    straight = scan(exvo(tmp_path / "straight"))
    np.testing.assert_array_equal(turned.intensities, straight.intensities)
    assert turned.texts("Country") == straight.texts("Country")


@pytest.mark.parametrize("kept", ["Country", "Country_string"])
def test_countries_by_number_or_by_name(tmp_path: Path, kept: str) -> None:
    columns = [name for name in rows()[0] if not name.startswith("Country") or name == kept]
    assert scan(exvo(tmp_path, columns=columns)).texts("Country")[:4] == COUNTRIES


def test_the_few_shot_variant(tmp_path: Path) -> None:
    table = rows()
    table[6] |= dict.fromkeys(HUME10.emotions, 0.5)
    exvo(tmp_path)
    write(tmp_path / "data_info.fewshot.csv", table)
    assert np.isnan(scan(tmp_path).intensities[6]).all()
    few = scan(tmp_path, fewshot=True)
    assert (few.intensities[6] == 0.5).all() and np.isnan(few.intensities[7]).all()


def test_the_avb_release(tmp_path: Path) -> None:
    manifest = scan(avb(tmp_path))
    assert manifest.rows[0].file == tmp_path / "audio" / "wav" / "00005.wav"
    np.testing.assert_allclose(
        manifest.intensities[:6], [[row[name] for name in HUME10.emotions] for row in rows()[:6]]
    )
    np.testing.assert_allclose(manifest.numbers("Valence", "Arousal")[:6, 0], 0.1 * np.arange(6))
    assert manifest.texts("Voc_Type") == (*TYPES[:6], "", "", "")
    np.testing.assert_allclose(manifest.numbers(*CULTURE)[0], 0.01 * np.arange(40))
    assert {clip.speaker for clip in manifest} == {""}


def test_one_table_of_all_avb_labels(tmp_path: Path) -> None:
    (tmp_path / "audio" / "wav").mkdir(parents=True)
    made = [{**row, "Valence": 0.5, "Arousal": 0.25, **dict.fromkeys(CULTURE, 1.0)} for row in rows()]
    columns = ["File_ID", "Split", "Country_string", "Valence", "Arousal", *HUME10.emotions, *CULTURE]
    write(tmp_path / "labels" / "data_info.csv", made, columns)
    manifest = scan(tmp_path)
    assert (manifest.numbers("Valence", "Arousal", "Venezuela_Surprise") == [0.5, 0.25, 1.0]).all()
    assert manifest.texts("Country")[1] == "South Africa"


@pytest.mark.parametrize("fewshot", [False, True])
def test_both_releases_in_one_folder_are_joined(tmp_path: Path, fewshot: bool) -> None:
    exvo(avb(tmp_path))
    if fewshot:
        (tmp_path / "data_info.csv").rename(tmp_path / "data_info.fewshot.csv")
    manifest = scan(tmp_path, fewshot)
    assert [clip.id for clip in manifest] == [f"{number:05d}" for number in range(5, 14)]
    train = manifest.split("train").where([True, False, False]).rows[0]
    first = rows()[0]
    known = dict(zip(manifest.labels, train.labels, strict=True))
    assert train.speaker == first["Subject_ID"] and train.intensities == tuple(INTENSITIES[0])
    assert (known["Age"], known["Country"]) == ("20.5", "China")
    assert (known["Voc_Type"], known["Valence"], known["Arousal"]) == ("Gasp", "0.0", "0.9")
    assert known["United States_Awe"] == "0.09"
    assert len(manifest.notes) == 1


def test_what_one_of_the_joined_tables_lacks_is_said(tmp_path: Path) -> None:
    exvo(avb(tmp_path), rows()[:8])
    manifest = scan(tmp_path)
    assert len(manifest) == 9 and manifest.rows[8].speaker == ""
    assert f"1 clip of other tables not in {tmp_path / 'data_info.csv'}" in manifest.notes


def test_joined_tables_may_be_rounded_but_not_differ(tmp_path: Path) -> None:
    avb(tmp_path)
    exvo(tmp_path, [{**row, "Awe": round(row["Awe"] - 4e-4, 4)} if row["Awe"] else row for row in rows()])
    assert scan(tmp_path).rows[1].intensities[0] == pytest.approx(INTENSITIES[1][0] - 4e-4)
    exvo(tmp_path, changed(1, Fear=0.987))
    table, other = tmp_path / "labels" / "high_info.csv", tmp_path / "data_info.csv"
    with pytest.raises(VocalgenError) as caught:
        scan(tmp_path)
    assert str(caught.value) == (
        f"{table}, row 3, column Fear: [00006] has {INTENSITIES[1][4]} here and 0.987 in {other}, row 3; "
        "the tables disagree"
    )


TABLES = {
    "data_info.csv": ("Split", "Subject_ID", "Age", *HUME10.emotions),
    "labels/high_info.csv": ("Split", *HUME10.emotions),
    "labels/two_info.csv": ("Split", "Valence", "Arousal"),
    "labels/culture_info.csv": ("Split", *CULTURE[::13]),
    "labels/type_info.csv": ("Split", "Voc_Type"),
}


@pytest.mark.parametrize("name", TABLES)
def test_every_column_of_every_table_is_needed(tmp_path: Path, name: str) -> None:
    exvo(avb(tmp_path))
    text = (tmp_path / name).read_text()
    header, _, rest = text.partition("\n")
    for column in TABLES[name]:
        renamed = [f"{other}_x" if other == column else other for other in header.split(",")]
        (tmp_path / name).write_text(",".join(renamed) + "\n" + rest)
        with pytest.raises(VocalgenError) as caught:
            scan(tmp_path)
        assert f"{name}: column {column} is missing; is '{column}_x' meant for it?" in str(caught.value)


def test_one_form_of_the_country_is_needed(tmp_path: Path) -> None:
    exvo(tmp_path, columns=[name for name in rows()[0] if not name.startswith("Country")])
    with pytest.raises(VocalgenError, match="column Country_string or Country is missing"):
        scan(tmp_path)


@pytest.mark.parametrize("mark", [";", "\t"])
def test_hume_vocalburst_reads_other_separators(tmp_path: Path, mark: str) -> None:
    table = exvo(tmp_path) / "data_info.csv"
    expected = scan(tmp_path)
    table.write_text(table.read_text().replace(",", mark))
    assert repr(scan(tmp_path).rows) == repr(expected.rows)


def test_labels_from_1_to_100_are_recognised(tmp_path: Path) -> None:
    table = rows()
    for row in table[:6]:
        row |= {name: 100 * row[name] for name in HUME10.emotions}
    with pytest.raises(VocalgenError, match=r"outside \[0, 1\]; the labels look like 1 to 100: divide them by 100"):
        scan(exvo(tmp_path / "all", table))
    with pytest.raises(VocalgenError, match=r"column Awe: 64 is outside \[0, 1\]$"):
        scan(exvo(tmp_path / "one", changed(1, Awe=64)))


@pytest.mark.parametrize("place", ["webm", "audio/webm"])
def test_a_release_of_webm_files(tmp_path: Path, place: str) -> None:
    write(tmp_path / "data_info.csv", rows())
    (tmp_path / place).mkdir(parents=True)
    assert scan(tmp_path).rows[0].file == tmp_path / place / "00005.webm"
    (tmp_path / "wav").mkdir()
    assert scan(tmp_path).rows[0].file == tmp_path / "wav" / "00005.wav"


def test_the_official_order_of_forty_cultures() -> None:
    assert len(CULTURE) == len(set(CULTURE)) == 40
    assert CULTURE[:2] == ("China_Awe", "China_Excitement") and CULTURE[9] == "United States_Awe"
    assert CULTURE[18] == "South Africa_Awe" and CULTURE[27] == "Venezuela_Awe"
    assert CULTURE[36:] == tuple(f"{c}_Surprise" for c in ("China", "United States", "South Africa", "Venezuela"))
    assert sum(clips for clips, _ in EXPECTED.values()) == 59_201


def test_prepared_like_any_corpus(tmp_path: Path) -> None:
    exvo(tmp_path)
    for number in range(8):
        audio.write(
            tmp_path / "wav" / f"{number + 5:05d}.wav", burst(number % 3, 0.4 + 0.05 * number, 16_000, number), 16_000
        )
    manifest, report = verify(scan(tmp_path))
    assert report.counts["unreadable"] == 1 and report.usable == 8 and not manifest.rows[8].usable
    manifest.save(tmp_path / "m.csv")
    back = Manifest.load(tmp_path / "m.csv")
    assert back.labels == LABELS and back.texts("Country") == manifest.texts("Country")
    assert math.isclose(back.rows[0].seconds, 0.4, abs_tol=0.01)


def changed(place: int, **cells: Any) -> list[dict[str, Any]]:
    table = rows()
    table[place] |= cells
    return table


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (changed(2, File_ID="5x"), r"row 4, column File_ID: '5x' is not of the form \[00001\]"),
        (changed(2, File_ID="[00005]"), r"row 4, column File_ID: \[00005\] stands in row 2 too"),
        (changed(1, Split="Trian"), "row 3, column Split: 'Trian' is none of Train, Val, Test"),
        (changed(0, Awe="1.2"), r"row 2, column Awe: 1.2 is outside \[0, 1\]"),
        (changed(0, Fear="high"), "row 2, column Fear: 'high' is not a number"),
        (changed(0, Country="7"), "row 2, column Country: '7' is none of China"),
        (
            changed(0, Country_string="Venezuela"),
            r"row 2, column Country: \[00005\] has China here and Venezuela in Country_string",
        ),
        (changed(0, Age="-3"), "row 2, column Age: -3 is outside"),
        (
            changed(3, Subject_ID="Speaker_0"),
            r"data_info\.csv: speaker Speaker_0 is in train \(clip 00005\) and in validation",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, table: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(VocalgenError, match=words):
        scan(exvo(tmp_path, table))


def test_tables_that_disagree(tmp_path: Path) -> None:
    avb(tmp_path)
    table = [{"File_ID": row["File_ID"], "Split": "Val", "Voc_Type": "Gasp"} for row in rows()[:1]]
    write(tmp_path / "labels" / "type_info.csv", table)
    words = r"type_info\.csv, row 2, column Split: \[00005\] has validation here and train in .*high_info\.csv, row 2;"
    with pytest.raises(VocalgenError, match=words):
        scan(tmp_path)


def test_folders_without_the_release(tmp_path: Path) -> None:
    with pytest.raises(VocalgenError, match="is not a folder"):
        scan(tmp_path / "absent")
    with pytest.raises(VocalgenError, match=r"no data_info\.csv"):
        scan(tmp_path)
    write(tmp_path / "data_info.csv", rows())
    with pytest.raises(VocalgenError, match="has no audio; its clips belong into"):
        scan(tmp_path)
    with pytest.raises(VocalgenError, match=r"no data_info\.fewshot\.csv"):
        scan(tmp_path, fewshot=True)
    write(tmp_path / "data_info.csv", rows(), ["File_ID", "Awe"])
    (tmp_path / "wav").mkdir()
    words = "column Split, Subject_ID, Country_string or Country .* is missing; its first line has File_ID, Awe"
    with pytest.raises(VocalgenError, match=words):
        scan(tmp_path)
