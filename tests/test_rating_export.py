"""From answers through the export to the number of `vocalgen metrics heep`: against a matrix worked out by hand."""

from __future__ import annotations

import json
import shlex
from math import sqrt
from pathlib import Path

import pytest
from bursts import burst
from conftest import Command, Line

from vocalgen import audio
from vocalgen.emotions import EMOGATOR30, HUME10, Vocabulary
from vocalgen.rating.export import ARRAYS, LONG, TARGETS, WIDE, export
from vocalgen.rating.freeze import create_study
from vocalgen.rating.report import study_report
from vocalgen.rating.store import Store, create_ratings
from vocalgen.rating.study import Settings, Study, open_study

HEARD = {
    ("Awe", 0): ([60, 20], [80, 40]),
    ("Awe", 1): ([50, 70], [50, 50]),
    ("Fear", 0): ([10, 80], [30, 100]),
    ("Fear", 1): ([20, 40], [20, 60]),
}
"""By clip, for Awe and Fear, of two raters; the means are (70, 30), (50, 60), (20, 90), (20, 50)."""

BY_HAND = {
    # (sum of t m - sum of t sum of m / n) / sqrt((sum of t^2 - (sum of t)^2 / n) (sum of m^2 - (sum of m)^2 / n))
    "overall": (260 - 4 * 390 / 8) / sqrt((4 - 2) * (23_300 - 390**2 / 8)),  # all: t 1 0 1 0 0 1 0 1
    ("column", "Awe"): (120 - 2 * 160 / 4) / sqrt((2 - 1) * (8_200 - 160**2 / 4)),  # t 1 1 0 0, m 70 50 20 20
    ("column", "Fear"): (140 - 2 * 230 / 4) / sqrt((2 - 1) * (15_100 - 230**2 / 4)),  # t 0 0 1 1, m 30 60 90 50
    ("row", "Awe"): (120 - 2 * 210 / 4) / sqrt((2 - 1) * (11_900 - 210**2 / 4)),  # t 1 0 1 0, m 70 30 50 60
    ("row", "Fear"): (140 - 2 * 180 / 4) / sqrt((2 - 1) * (11_400 - 180**2 / 4)),  # t 0 1 0 1, m 20 90 20 50
}
ELSEWHERE = ([90, 10], [90, 10])
"""What both say about clips of another emotion."""


def study_of(
    folder: Path, kind: str, emotions: tuple[str, ...] = ("Awe", "Fear"), vocabulary: Vocabulary = HUME10
) -> Study:
    """Two clips of each emotion, in folders by emotion or all in one with a manifest."""
    rows = ["file,emotion"]
    for which, emotion in enumerate(emotions):
        for number in range(2):
            file = f"{emotion}/{number}.wav" if kind == "folder" else f"clip{which}{number}.wav"
            audio.write(folder / "clips" / file, burst(which, 0.3, 16_000, number), 16_000)
            rows.append(f"{file},{emotion}")
    manifest = folder / "clips" / "manifest.csv"
    manifest.write_text("\n".join(rows) + "\n", encoding="utf-8")
    settings = Settings(emotions=("Awe", "Fear"), practice=0, repeats=1, instructed=1)
    source = folder / "clips" if kind == "folder" else manifest
    return create_study(folder / "study", source, settings, 2, vocabulary)


def answer_as_written(study: Study) -> Store:
    """Two raters say what `HEARD` holds; at the second time and where they are asked, something else."""
    store = Store(study)
    for number, token in enumerate(store.invite(2)):
        store.consent(token)
        while (page := store.next_page(token)) is not None:
            clip = study.by_key[page.clip]
            values = HEARD.get((clip.emotion, int(Path(clip.clip).stem[-1])), ELSEWHERE)[number]
            if page.kind != "rating":
                values = [1, 2]
            store.save(token, page.place, dict(zip(("Awe", "Fear"), values, strict=True)), 1, 9.0)
    return store


@pytest.mark.parametrize("kind", ["folder", "manifest"])
def test_heep_of_an_export_is_that_by_hand(tmp_path: Path, done: Line, kind: str) -> None:
    study = study_of(tmp_path, kind)
    store = answer_as_written(study)
    printed = done("rate", "export", study.folder, "--out", tmp_path / "out")
    assert float(done(*told(printed))) == pytest.approx(BY_HAND["overall"], rel=1e-5)
    for file in (LONG, WIDE, ARRAYS):
        targets = "--targets", tmp_path / "out" / TARGETS
        for source in (targets, ()) if kind == "folder" else (targets,):
            for reading in ("column", "row"):
                asked = (tmp_path / "out" / file, *source, "--reading", reading, "--draws", 0)
                found = json.loads(done("metrics", "heep", *asked, "--json"))
                assert found["value"] == pytest.approx(BY_HAND["overall"])
                expected = {name: BY_HAND[reading, name] for name in ("Awe", "Fear")}
                assert found["emotions"] == pytest.approx(expected) and found["clips_of_other_emotions"] == 0
    report = study_report(study, store.answers(), store.raters(), draws=5)
    for reading, scores in report["heep"].items():
        assert scores["overall"][0] == pytest.approx(BY_HAND["overall"])
        assert {name: interval[0] for name, interval in scores["emotions"].items()} == pytest.approx(
            {name: BY_HAND[reading, name] for name in ("Awe", "Fear")}
        )


def told(printed: str) -> list[str]:
    """The command that `export` prints."""
    return shlex.split(printed.partition("HEEP: vocalgen ")[2].splitlines()[0])


def test_emotions_of_other_vocabularies_and_of_none(tmp_path: Path, done: Line) -> None:
    study = study_of(tmp_path, "manifest", ("Awe", "Fear", "Guilt"), EMOGATOR30)
    answer_as_written(study)
    heep = told(done("rate", "export", study.folder, "--out", tmp_path / "my exports"))
    assert heep[-1] == "emogator-30" and -1 < float(done(*heep).splitlines()[0]) < 1
    file = study.folder / "study.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("- Fear", "- Dread"), encoding="utf-8")
    (study.folder / "ratings.sqlite").unlink()
    create_ratings(study.folder)
    store = Store(open_study(study.folder))
    (token,) = store.invite(1)
    store.consent(token)
    while (page := store.next_page(token)) is not None:
        store.save(token, page.place, {"Awe": 1, "Dread": 2}, 1, 9.0)
    assert "HEEP: " not in done("rate", "export", study.folder, "--out", tmp_path / "own")


def test_clips_of_emotions_that_are_not_rated_are_counted_and_in_no_row(
    tmp_path: Path, command: Command, done: Line
) -> None:
    study = study_of(tmp_path, "manifest", ("Awe", "Fear", "Horror"))
    store = answer_as_written(study)
    out = tmp_path / "out"
    export(study, store.answers(), store.raters(), out)
    asked = ("--targets", out / TARGETS, "--reading", "row", "--emotion", "awe")
    code, value, warning = command("metrics", "heep", out / LONG, *asked)
    assert code == 0 and float(value) == pytest.approx(BY_HAND["row", "Awe"], rel=1e-5)
    assert warning.strip() == "warning: 2 clips were made for emotions that nobody was asked about"
    found = study_report(study, store.answers(), store.raters(), draws=5)
    assert found["clips_of_other_emotions"] == 2
    assert found["heep"]["row"]["emotions"]["Awe"][0] == pytest.approx(BY_HAND["row", "Awe"])
    assert found["heep"]["column"]["emotions"]["Awe"][0] < BY_HAND["column", "Awe"]  # they sound of it, and are not
    printed = done("rate", "report", study.folder)
    assert "clips that were made for emotions that are not rated: 2" in printed
    assert "ICC(1, k): " in printed and "ICC(2) and ICC(3) are of the 2 raters who have rated every clip" in printed
