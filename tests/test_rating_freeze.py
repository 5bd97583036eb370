"""Freezing a study: which clips, at what loudness, under which names; settings."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bursts import burst
from small_study import EMOTIONS, RATE, SETTINGS

from vocalgen import audio
from vocalgen.corpora.folder import scan
from vocalgen.corpora.manifest import Manifest
from vocalgen.emotions import HUME10
from vocalgen.errors import VocalgenError
from vocalgen.metrics.loudness import integrated_loudness, true_peak
from vocalgen.rating.freeze import LOUDNESS, create_study, level, read_sources
from vocalgen.rating.study import Settings, Study, open_study


def test_a_study_is_frozen(study: Study, study_clips: Path, tmp_path: Path) -> None:
    assert Counter(clip.emotion for clip in study.rated) == dict.fromkeys(EMOTIONS, 4)
    assert len(study.practice) == 2
    assert open_study(study.folder) == study
    for clip in study.clips:
        copy = study.folder / "clips" / f"{clip.key}.wav"
        assert (study_clips / clip.clip).is_file() and copy.is_file()
        assert clip.emotion.lower() not in clip.key
        assert clip.key.isalpha() and len(clip.key) == 16  # hex digits may be a number in a spreadsheet
    assert create_study(tmp_path / "again", study_clips, SETTINGS, 4, HUME10).clips == study.clips
    other = create_study(tmp_path / "other", study_clips, replace(SETTINGS, seed=4), 4, HUME10)
    assert {clip.key for clip in other.clips}.isdisjoint(clip.key for clip in study.clips)


def test_copies_are_of_one_loudness(study: Study, study_clips: Path) -> None:
    for clip in study.clips:
        wave, rate = audio.read(study.folder / "clips" / f"{clip.key}.wav")
        original, _ = audio.read(study_clips / clip.clip)
        assert len(wave) / rate == pytest.approx(clip.seconds)
        assert integrated_loudness(original, rate) == pytest.approx(clip.lufs, abs=0.01)
        assert integrated_loudness(wave, rate) == pytest.approx(clip.lufs + clip.gain_db, abs=0.1)
        assert true_peak(wave, rate) == pytest.approx(clip.peak_db, abs=0.05)
        assert clip.peak_db <= -0.95
        held = clip.peak_db > -1.05  # as loud as the peak allows
        assert held or clip.lufs + clip.gain_db == pytest.approx(LOUDNESS, abs=0.01)
    assert np.ptp([clip.lufs for clip in study.clips]) > 10
    assert np.ptp([clip.lufs + clip.gain_db for clip in study.clips if clip.peak_db < -1.05]) < 0.01


def test_a_peak_holds_the_loudness_down_and_short_or_soft_clips_have_one() -> None:
    click = 1e-3 * burst(1, 1.0, RATE)
    click[RATE // 2] = 0.9
    lufs, gain = level(click, RATE)
    assert lufs + gain < LOUDNESS - 1 and true_peak(click * 10 ** (gain / 20), RATE) == pytest.approx(-1.0, abs=0.01)
    short = burst(1, 0.2, RATE)
    for scale in (1.0, 1e-3, 10**-4.5):  # the last lies below the absolute gate
        lufs, gain = level(scale * short, RATE)
        assert lufs == pytest.approx(level(short, RATE)[0] + 20 * np.log10(scale), abs=0.01)
        assert gain == pytest.approx(level(short, RATE)[1] - 20 * np.log10(scale), abs=0.01)


def test_settings_explain_themselves(study: Study) -> None:
    lines = (study.folder / "study.yaml").read_text(encoding="utf-8").splitlines()
    comments = [line for line in lines if line.startswith("# ")]
    assert "# withdrawal: whether the answers of raters who withdraw are kept unused, or removed." in comments
    explained = {name for line in comments for name in line[2:].partition(":")[0].split(", ")}
    assert explained >= set(Settings.__dataclass_fields__)
    assert open_study(study.folder).settings == study.settings


def test_names_that_are_no_text_are_told(tmp_path: Path) -> None:
    file = tmp_path / "clips" / "awe" / os.fsdecode(b"\xff.wav")
    audio.write(tmp_path / "0.wav", burst(0, 0.3, 16_000, 0), 16_000)
    file.parent.mkdir(parents=True)
    shutil.copy(tmp_path / "0.wav", file)
    with pytest.raises(VocalgenError, match="is no UTF-8; rename it"):
        read_sources(tmp_path / "clips", HUME10)


@pytest.mark.parametrize(
    ("changes", "per_emotion", "words"),
    [
        ({}, 7, "Awe has 6 of the 7 clips that are needed, 7 to rate and 0 for practice"),
        ({}, 0, "give one at least"),
        (
            {"practice": 9},
            4,
            "has 6 of the 7 clips that are needed, 4 to rate and 3 for practice",
        ),
        ({"emotions": ()}, 4, "needs one at least"),
        ({"low": 5, "high": 5}, 4, "has no room"),
        ({"repeats": -1}, 4, "repeats is -1"),
        ({"clips_per_rater": 0}, 4, "clips_per_rater is 0"),
        ({"languages": ("xx",)}, 4, "no texts in 'xx' come with the package"),
        ({"languages": ("../en",)}, 4, "no code of a language"),
        ({"quickest": float("nan")}, 4, "quickest is nan"),
    ],
)
def test_studies_that_cannot_be(
    study_clips: Path, tmp_path: Path, changes: dict[str, object], per_emotion: int, words: str
) -> None:
    with pytest.raises(VocalgenError, match=words):
        create_study(tmp_path / "study", study_clips, replace(SETTINGS, **changes), per_emotion, HUME10)  # type: ignore[arg-type]
    assert not (tmp_path / "study").exists()


def test_a_study_is_not_overwritten_and_not_guessed(study: Study, study_clips: Path, tmp_path: Path) -> None:
    with pytest.raises(VocalgenError, match="is there already"):
        create_study(study.folder, study_clips, SETTINGS, 4, HUME10)
    with pytest.raises(VocalgenError, match="is no study"):
        open_study(tmp_path)
    copy = study.folder / "clips" / f"{study.clips[0].key}.wav"
    content = copy.read_bytes()
    copy.write_bytes(content[:-2] + b"\x00\x7f")  # as long as before
    with pytest.raises(VocalgenError, match=rf"1 clips are not those that were frozen, first {copy.name}"):
        open_study(study.folder)
    copy.write_bytes(content)
    assert open_study(study.folder) == study
    copy.unlink()
    with pytest.raises(VocalgenError, match=r"1 clips are missing, first \w+\.wav"):
        open_study(study.folder)
    audio.write(tmp_path / "quiet" / "awe" / "0.wav", np.zeros(RATE, dtype=np.float32), RATE)
    with pytest.raises(VocalgenError, match="is silent"):
        create_study(tmp_path / "silent", tmp_path / "quiet", replace(SETTINGS, practice=0), 1, HUME10)


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_clips_of_a_manifest(study_clips: Path, study: Study, tmp_path: Path, kind: str) -> None:
    rows = [(f"{name.lower()}/{number}.wav", name.upper()) for name in EMOTIONS for number in range(6)]
    lines = {
        "jsonl": [f'{{"file": "{file}", "emotion": "{emotion}", "seed": 1}}' for file, emotion in rows],
        "csv": ["file,emotion", *(f"{file},{emotion}" for file, emotion in rows)],
    }
    manifest = study_clips / f"m{tmp_path.name}.{kind}"
    manifest.write_text("\n".join(lines[kind]) + "\n", encoding="utf-8")
    assert create_study(tmp_path / "same", manifest, SETTINGS, 4, HUME10).clips == study.clips
    for bad, words in (("{", "row 1 is not JSON"), ('{"file": "a.wav"}', "column emotion is missing"),
                       ('{"file": "../a.wav", "emotion": "awe"}', "must lie in the manifest's folder")):  # fmt: skip
        other = tmp_path / "bad.jsonl"
        other.write_text(bad, encoding="utf-8")
        with pytest.raises(VocalgenError, match=words):
            create_study(tmp_path / "x", other, SETTINGS, 4, HUME10)


def test_read_sources_takes_a_manifest_of_data_prepare(study_clips: Path, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    shutil.copytree(study_clips, clips, ignore=shutil.ignore_patterns("*.csv", "*.jsonl"))
    rows = list(scan(clips, HUME10, split="test"))
    rows[0] = replace(rows[0], flags=("silent",))
    rows[1] = replace(rows[1], intensities=(float("nan"),) * 10)
    rows[2] = replace(rows[2], intensities=(0.2, *rows[2].intensities[1:4], 0.9, *rows[2].intensities[5:]))
    Manifest(HUME10, tuple(rows)).save(tmp_path / "m.csv")
    text = (tmp_path / "m.csv").read_text()
    for written in (text, "\ufeff" + text.replace(",", ";")):
        (tmp_path / "m.CSV").write_text(written, encoding="utf-8")
        found = read_sources(tmp_path / "m.CSV", HUME10)
        assert [clip.name for clip in found] == [clip.id for clip in rows[2:]]
        assert found[0].file == clips / "awe" / "2.wav" and found[0].emotion == "Fear"
    assert len(create_study(tmp_path / "study", tmp_path / "m.CSV", SETTINGS, 2, HUME10).rated) == 6


def test_read_sources_reads_tables_as_data_prepare_does(tmp_path: Path) -> None:
    table = tmp_path / "M.CSV"
    table.write_text("\ufeffFile;Emotion;x\r\nawe\\0.wav;awe;1\r\n;;\r\n", encoding="utf-8")
    (clip,) = read_sources(table, HUME10)
    assert (clip.name, clip.emotion, clip.file) == ("awe/0.wav", "Awe", tmp_path / "awe" / "0.wav")
    lines = tmp_path / "m.jsonl"
    lines.write_text('{"file": "0.wav", "emotion": "awe", "note": "a\u2028b"}\n', encoding="utf-8")
    assert [clip.name for clip in read_sources(lines, HUME10)] == ["0.wav"]
    for bad in ("NA,awe", "0.wav,nan"):
        table.write_text(f"file,emotion\n{bad}\n")
        with pytest.raises(VocalgenError, match="row 2: file and emotion are needed"):
            read_sources(table, HUME10)
    for outside in ("..\\0.wav", "/tmp/0.wav"):
        table.write_text(f"file,emotion\n{outside},awe\n")
        with pytest.raises(VocalgenError, match="must lie in the manifest's folder"):
            read_sources(table, HUME10)


def test_a_study_whose_table_a_spreadsheet_saved_opens(study: Study) -> None:
    table = study.folder / "clips.csv"
    table.write_text("\ufeff" + table.read_text().replace(",", ";") + ";" * 9 + "\n", encoding="utf-8")
    assert open_study(study.folder) == study
