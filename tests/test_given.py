"""Features that come with a corpus: every form in which the challenges ship them, and what can be wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bursts import burst
from task_corpora import manifest_of

from vocalgen import audio
from vocalgen.corpora.folder import scan
from vocalgen.corpora.manifest import Manifest
from vocalgen.errors import VocalgenError
from vocalgen.mel import LogMel
from vocalgen.recognition.encoders import is_given, load_encoder
from vocalgen.recognition.features import features_of
from vocalgen.recognition.given import corpus_features, given_features
from vocalgen.tasks.registry import load_system, make_system
from vocalgen.tasks.system import Options, task_data
from vocalgen.tasks.task import TASKS

DIM = 5


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return manifest_of("emotion-share", tmp_path)


@pytest.fixture
def ids(manifest: Path) -> list[str]:
    return [clip.id for clip in Manifest.load(manifest).usable()]


@pytest.fixture
def values(ids: list[str]) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(len(ids), DIM)).astype(np.float32)


def table(path: Path, names: list[str], values: np.ndarray, separator: str = ",", quote: str = "") -> Path:
    """As ComParE 2023 has it, in another order than the manifest, with a clip that nobody knows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [separator.join(["filename", *(f"Neuron_{k}" for k in range(values.shape[1]))])]
    for name, row in [*list(zip(names, values))[::-1], ("stranger", values[0])]:
        lines.append(separator.join([f"{quote}{name}.wav{quote}", *(f"{value:.9g}" for value in row)]))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(("separator", "quote"), [(";", "'"), (",", ""), (",", "'"), ("\t", "")])
def test_one_table_of_all_clips(
    separator: str, quote: str, manifest: Path, ids: list[str], values: np.ndarray, tmp_path: Path
) -> None:
    source = table(tmp_path / "features" / "opensmile" / "features.csv", ids, values, separator, quote)
    found = corpus_features(manifest, str(source))
    np.testing.assert_array_equal(found.values, values)
    assert found.ids == tuple(ids) and found.new == len(ids) and found.name == "opensmile/features.csv"
    again = given_features(manifest, source)
    assert again.new == 0 and again.checksum == found.checksum and again.file == found.file
    table(source, ids, values + 1, separator, quote)
    other = given_features(manifest, source)
    assert other.checksum != found.checksum and other.values[0, 0] == pytest.approx(values[0, 0] + 1)


@pytest.mark.parametrize("form", ["ExVo", "A-VB", "openXBOW"])
def test_a_table_a_clip(form: str, manifest: Path, ids: list[str], values: np.ndarray, tmp_path: Path) -> None:
    folder = tmp_path / "feats" / form
    folder.mkdir(parents=True)
    for name, row in zip(ids, values):
        cells = [f"{value:.9g}" for value in row]
        lines = {
            "ExVo": ["name," + ",".join("abcde"), ",".join(["x", *cells])],
            "A-VB": ["name;frameTime;" + ";".join("abcde"), ";".join([f"'{name}'", "0.000000", *cells])],
            "openXBOW": [",".join(["0", *cells])],
        }[form]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    found = corpus_features(manifest, str(folder))
    np.testing.assert_array_equal(found.values, values)
    assert found.name == f"feats/{form}"


def test_what_is_wrong_is_named(manifest: Path, ids: list[str], values: np.ndarray, tmp_path: Path) -> None:
    def complaint(text: str) -> str:
        (tmp_path / "f.csv").write_text(text)
        with pytest.raises(VocalgenError) as error:
            given_features(manifest, tmp_path / "f.csv")
        assert not list(tmp_path.glob("corpus-features/*.npy"))
        return str(error.value)

    whole = table(tmp_path / "whole.csv", ids, values).read_text()
    lines = whole.splitlines()
    clip = f"{ids[0]}.wav"
    assert f"no row of 1 clips, first {ids[-1]}" in complaint("\n".join([lines[0], *lines[2:]]))
    assert f"row 3: {ids[-1]} has a row already" in complaint("\n".join([lines[0], lines[1], *lines[1:]]))
    assert "row 3 has 4 cells, the first row has 6" in complaint("\n".join([*lines[:2], "a.wav,1,2,3", *lines[3:]]))
    bad = "is no finite number of 32 bits"
    assert f"row 4, column Neuron_2: 'nan' {bad}" in complaint("\n".join([*lines[:3], f"{clip},1,2,nan,4,5"]))
    assert f"row 2, column Neuron_2: 'much' {bad}" in complaint(f"{lines[0]}\n{clip},1,2,much,4,5")
    assert f"row 2, column Neuron_4: '-1e300' {bad}" in complaint(f"{lines[0]}\n{clip},1,2,3,4,-1e300")
    for cells in (",,,,", "nan,nan,nan,nan,nan", "1,2,3,4,"):  # no header, although not all are numbers
        assert f"f.csv, row 1, column {2 if cells[0] != '1' else 6}: " in complaint(
            "\n".join([f"{clip},{cells}", *lines[1:]])
        )
    assert f"has no rows of clips of the manifest, such as {ids[0]}" in complaint("")
    with pytest.raises(VocalgenError, match=r"cannot read the features .*absent\.csv"):
        corpus_features(manifest, str(tmp_path / "absent.csv"))


def test_headers_of_numbers(manifest: Path, ids: list[str], values: np.ndarray, tmp_path: Path) -> None:
    """As pandas writes them, whatever the first cell is called."""
    lines = table(tmp_path / "f.csv", ids, values).read_text().splitlines()
    for first in ("Filename", "", "id"):
        (tmp_path / "f.csv").write_text("\n".join([",".join([first, *map(str, range(DIM))]), *lines[1:]]))
        np.testing.assert_array_equal(given_features(manifest, tmp_path / "f.csv").values, values)
    folder = tmp_path / "alone"
    folder.mkdir()
    for name, row in zip(ids, values):
        (folder / f"{name}.csv").write_text(f"name,0,1,2,3,4\nx,{','.join(map(str, row))}\n")
    np.testing.assert_array_equal(given_features(manifest, folder).values, values)
    (folder / f"{ids[2]}.csv").write_text("name,0,1,2,3,4\n")
    with pytest.raises(VocalgenError, match=f"alone has no row of 1 clips, first {ids[2]}"):
        given_features(manifest, folder)


def test_tables_without_a_column_of_features_are_refused(manifest: Path, ids: list[str], tmp_path: Path) -> None:
    """Above all those separated by spaces, which are one cell per row."""
    one, folder = tmp_path / "f.csv", tmp_path / "alone"
    folder.mkdir()

    def complaint(source: Path) -> str:
        with pytest.raises(VocalgenError) as error:
            given_features(manifest, source)
        return str(error.value)

    def fill(text: str) -> Path:
        for clip in ids:
            (folder / f"{clip}.csv").write_text(text)
        return folder

    spaces = "row 1 has no column of features; put them behind a first column that names the clip"
    for header in ("", "name a b\n"):
        one.write_text(header + "".join(f"{clip}.wav 1 2\n" for clip in ids))
        assert complaint(one) == f"{one}, {spaces}"
        assert complaint(fill(f"{header}x 1 2\n")) == f"{folder / ids[0]}.csv, {spaces}"
    for text in ("0.5\n", "name,frameTime\nx,0\n"):
        assert "row 1 has no column of features; put them behind a first column" in complaint(fill(text))
    assert not list(tmp_path.glob("corpus-features/*.npy"))


def test_what_was_stored_without_columns_is_not_read(
    manifest: Path, ids: list[str], values: np.ndarray, tmp_path: Path
) -> None:
    source = table(tmp_path / "f.csv", ids, values)
    file = given_features(manifest, source).file
    np.save(file, np.zeros((len(ids), 0), dtype=np.float32))
    file.with_suffix(".json").write_text(json.dumps({"checksum": "", "shape": [len(ids), 0]}))
    np.testing.assert_array_equal(given_features(manifest, source).values, values)


def test_ids_with_folders_and_points(tmp_path: Path) -> None:
    """As anybody's folders have them: the same file names in the folder of each emotion."""
    ids = [f"{emotion}/{take}" for emotion in ("awe", "fear") for take in ("00", "01.b", "[2]c")]
    for clip in ids:
        path = tmp_path / "clips" / f"{clip}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        audio.write(path, burst(0, 0.3, 16_000, 0), 16_000)
    scan(tmp_path / "clips", split="test").save(tmp_path / "m.csv")
    values = np.arange(2 * len(ids), dtype=np.float32).reshape(-1, 2)
    rows = dict(zip([clip.id for clip in Manifest.load(tmp_path / "m.csv").usable()], values))
    assert sorted(rows) == sorted(ids)
    for clip, row in rows.items():
        path = tmp_path / "feats" / f"{clip}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"name,a,b\nx,{row[0]},{row[1]}\n")
    assert corpus_features(tmp_path / "m.csv", str(tmp_path / "feats")).values.shape == values.shape
    np.testing.assert_array_equal(given_features(tmp_path / "m.csv", tmp_path / "feats").values, values)
    for form in ("{}", "{}.wav", "./{}.wav"):
        lines = [f"{form.format(clip)},{row[0]},{row[1]}" for clip, row in rows.items()]
        (tmp_path / "f.csv").write_text("\n".join(["name,a,b", *lines, "other/00.wav,9,9", ",9,9"]))
        np.testing.assert_array_equal(given_features(tmp_path / "m.csv", tmp_path / "f.csv").values, values)


@pytest.mark.parametrize("form", ["[{}]", "[{}].wav", "wav/test/{}.wav"])
def test_names_with_brackets_or_folders_that_ids_lack(
    form: str, manifest: Path, ids: list[str], values: np.ndarray, tmp_path: Path
) -> None:
    lines = [",".join([form.format(clip), *map(str, row)]) for clip, row in zip(ids, values)]
    (tmp_path / "f.csv").write_text("\n".join(lines))
    np.testing.assert_array_equal(given_features(manifest, tmp_path / "f.csv").values, values)


def test_what_was_converted_of_a_table_that_changed_is_removed(
    manifest: Path, ids: list[str], values: np.ndarray, tmp_path: Path
) -> None:
    source = table(tmp_path / "a" / "opensmile" / "features.csv", ids, values)
    before = given_features(manifest, source).file
    other = given_features(manifest, table(tmp_path / "b" / "opensmile" / "features.csv", ids, values + 2)).file
    table(source, ids, values + 1)
    after = given_features(manifest, source).file
    assert {file.name for file in before.parent.glob("[!.]*")} == {
        file.with_suffix(suffix).name for file in (after, other) for suffix in (".npy", ".json")
    }


def test_tables_beside_an_encoder_are_not_taken_for_features(
    manifest: Path, ids: list[str], values: np.ndarray, tmp_path: Path
) -> None:
    folder = tmp_path / "feats"
    table(folder / f"{ids[0]}.csv", ids, values)
    assert is_given(folder) and is_given(folder / f"{ids[0]}.csv")
    for given in (folder, folder / f"{ids[0]}.csv"):
        with pytest.raises(VocalgenError, match=r"holds features of a corpus.*cannot hear audio"):
            load_encoder(str(given))
    (folder / "config.json").write_text('{"_class_name": "Nothing"}')
    assert not is_given(folder)
    with pytest.raises(VocalgenError, match="is a Nothing, not an encoder"):
        corpus_features(manifest, str(folder))


def test_systems_learn_from_them(manifest: Path, ids: list[str], values: np.ndarray, tmp_path: Path) -> None:
    source = table(tmp_path / "wav2vec" / "features.csv", ids, values)
    task = TASKS["emotion-share"]
    data, _ = task_data(task, manifest)
    system = make_system("mlp", task, Options((str(source),), overrides=("epochs=1",), manifest=manifest))
    fitted = system.fit(data, 101, tmp_path)
    assert fitted.predict(data.rows("test"))["emotions"].shape == (len(data.rows("test")), 9)
    fitted.save(tmp_path / "model")
    with pytest.raises(VocalgenError, match="other clips have none there"):
        load_system(tmp_path / "model")


def test_another_version_compares_with_the_audio_again(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def load(name: str, device: str = "cpu") -> Any:
        loaded.append(name)
        return load_encoder(name, device)

    monkeypatch.setattr("vocalgen.recognition.features.load_encoder", load)
    for _ in range(2):
        features_of(manifest, "log-mel", progress=False)
    assert loaded == ["log-mel"]  # the second time nothing was loaded
    monkeypatch.setattr("vocalgen.recognition.stamp.__version__", "another")
    assert features_of(manifest, "log-mel", progress=False).new == 0
    assert loaded == ["log-mel"] * 2


def test_log_mels_are_features_too(manifest: Path) -> None:
    encoder: Any = load_encoder("log-mel")
    waves = [burst(number, 0.3 + 0.2 * number, 24_000, number) for number in range(3)]
    scores = encoder.score(waves)
    assert scores.embeddings.shape == (3, len(encoder.columns)) == (3, 200)
    for wave, row in zip(waves, scores.embeddings):
        alone = encoder.score([wave]).embeddings[0]
        np.testing.assert_allclose(row, alone, atol=1e-5)
    silence = encoder.score([np.zeros(24_000, dtype=np.float32)]).embeddings[0]
    np.testing.assert_allclose(silence, [LogMel().config.log_floor] * 100 + [0.0] * 100, atol=1e-4)
    assert encoder.score([]).embeddings.shape == (0, 200)
    found = features_of(manifest, "log-mel", progress=False)
    assert found.values.shape[1] == 200 and features_of(manifest, "log-mel").new == 0


def test_given_features_reads_decimal_commas_blank_rows_and_ids_without_zeros(tmp_path: Path) -> None:
    manifest = manifest_of("avb-two", tmp_path)
    ids = [clip.id for clip in Manifest.load(manifest).usable()]
    assert ids[1] == "00001"
    values = np.random.default_rng(0).normal(size=(len(ids), DIM)).astype(np.float32)
    source = table(tmp_path / "f.csv", [str(int(name)) for name in ids], values, ";")
    head, *rows = source.read_text().splitlines()
    source.write_text("\r\n".join([head, *(row.replace(".wav", "").replace(".", ",") for row in rows), ";" * DIM, ""]))
    np.testing.assert_array_equal(given_features(manifest, source).values, values)


def test_given_features_says_which_table_may_be_meant(manifest: Path, ids: list[str], tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / f"{ids[0]}.CSV").write_text("x,1\n")
    with pytest.raises(VocalgenError, match=rf"cannot read the features .*{ids[0]}\.csv .*; '{ids[0]}\.CSV' is there"):
        given_features(manifest, tmp_path / "alone")
