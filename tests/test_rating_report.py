"""Exports and the report of a study: agreement, what is still wanted, S_GEN."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_study import EMOTIONS, SETTINGS, Clock, answered

from vocalgen.emotions import HUME10
from vocalgen.errors import VocalgenError
from vocalgen.evaluation.ratings import read_ratings
from vocalgen.metrics.agreement import icc_one_way
from vocalgen.metrics.heep import heep
from vocalgen.rating.export import ARRAYS, LONG, PAGES, RATERS, TARGETS, WIDE, export
from vocalgen.rating.flags import FAST
from vocalgen.rating.freeze import create_study
from vocalgen.rating.numbers import missing_ratings, progress
from vocalgen.rating.report import distances_of, study_report
from vocalgen.rating.store import Store
from vocalgen.rating.study import Study


def test_exports_are_read_as_ratings(study: Study, tmp_path: Path) -> None:
    store = Store(study)
    clips = {clip.key: clip for clip in study.clips}
    with pytest.raises(VocalgenError, match="nobody has rated"):
        export(study, store.answers(), store.raters(), tmp_path / "out")
    tokens = store.invite(4)
    for token in tokens:
        store.consent(token)
        while (page := store.next_page(token)) is not None:
            target = clips[page.clip].emotion
            values = {name: 90 if name == target else 10 + page.place for name in page.emotions}
            store.save(token, page.place, values, 1, 2.0)
    store.withdraw(tokens[3])
    files = export(study, store.answers(), store.raters(), tmp_path / "out")
    assert [file.name for file in files] == [LONG, WIDE, ARRAYS, TARGETS, PAGES, RATERS]
    read = [read_ratings(file, EMOTIONS, [clip.clip for clip in study.rated]) for file in files[:3]]
    for found in read:
        assert found.raters == ("rater-0001", "rater-0002", "rater-0003")
        assert found.emotions == EMOTIONS and len(found.clips) == 12
        assert np.array_equal(found.values, read[0].values) and not np.isnan(found.values).any()
    with open(files[0], newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 12 * 3
    assert all((row["rating"] == "90") == (row["emotion"] == row["target"]) for row in rows)
    meant = np.array([[name.lower() == clip.split("/")[0] for name in EMOTIONS] for clip in read[0].clips], dtype=float)
    assert heep(meant, read[0].mean()).overall > 0.98


def test_the_report_knows_honest_and_hasty_raters(study: Study) -> None:
    store = Store(study, Clock())
    clips = {clip.key: clip for clip in study.clips}
    with pytest.raises(VocalgenError, match="nobody has rated"):
        study_report(study, store.answers(), store.raters())
    for number, token in enumerate(store.invite(3)):
        store.consent(token)
        while (page := store.next_page(token)) is not None:
            target = clips[page.clip].emotion
            values = {name: 80 + number if name == target else 5 + number for name in page.emotions}
            store.save(token, page.place, values, 1, 0.01 if number == 2 and page.place == 4 else 9.0)
    found = study_report(study, store.answers(), store.raters(), draws=50)
    assert (found["raters"], found["clips"], found["ratings"]) == (3, 12, 3 * 12 * 3)
    for scores in found["heep"].values():
        assert scores["overall"][0] == pytest.approx(1.0)
        assert all(interval[0] == pytest.approx(1.0) for interval in scores["emotions"].values())
    assert found["krippendorff_alpha"] > 0.99
    assert min(value for value in found["icc"].values()) > 0.99
    assert found["with_themselves"]["pages"] == 6 and found["with_themselves"]["median"] == pytest.approx(1.0)
    assert found["with_themselves"]["raters"] == {f"rater-000{n}": pytest.approx(1.0) for n in (1, 2, 3)}
    assert all(value > 0.99 for value in found["alpha_by_emotion"].values())
    assert found["hasty"] == {"pages": 1, "raters": {"rater-0003": 1}}
    assert found["heard"]["Awe"] == {"Awe": pytest.approx(81), "Fear": pytest.approx(6), "Sadness": pytest.approx(6)}
    backwards = [replace(answer, values={name: 101 - value for name, value in answer.values.items()})
                 if answer.kind == "repeat" else answer for answer in store.answers()]  # fmt: skip
    assert study_report(study, backwards, store.raters(), draws=50)["with_themselves"]["median"] == pytest.approx(-1.0)


def test_a_report_of_raters_who_heard_different_clips(study_clips: Path, tmp_path: Path) -> None:
    study = create_study(tmp_path / "study", study_clips, replace(SETTINGS, clips_per_rater=5, repeats=0), 4, HUME10)
    store = Store(study)
    for value, token in enumerate(store.invite(4), start=10):
        answered(store, token, value)
    found = study_report(study, store.answers(), store.raters(), draws=50)
    icc = found["icc"]
    assert found["with_themselves"] is None and found["icc_complete_raters"] == 0
    assert icc["icc1"] == pytest.approx(one_way(store), abs=1e-9)
    assert [name for name, value in icc.items() if value is None] == ["icc2", "icc3", "icc2k", "icc3k"]
    assert set(found["icc_undefined"].values()) == {"no two raters have rated every clip"}
    assert progress(study, store.raters(), store.answers())["reliability"] is None  # all are too fast: flagged
    for rater in range(1, 5):
        store.lift(rater, FAST)
    shown = progress(study, store.raters(), store.answers())["reliability"]
    assert shown["icc"] == icc and shown["icc_undefined"] == found["icc_undefined"]
    assert all(scores["overall"] is not None for scores in found["heep"].values())


def one_way(store: Store) -> float:
    items: dict[tuple[str, str], list[float]] = {}
    for answer in store.answers():
        for emotion, value in answer.values.items():
            if answer.kind == "rating":
                items.setdefault((answer.clip, emotion), []).append(value)
    width = max(map(len, items.values()))
    return icc_one_way(np.array([[*row, *[np.nan] * (width - len(row))] for row in items.values()]).T).icc1


def test_who_has_not_finished_does_not_hide_the_agreement_of_the_others(study: Study) -> None:
    store = Store(study, Clock())
    rng = np.random.default_rng(0)
    for number, token in enumerate(store.invite(3)):
        store.consent(token)
        for _ in range(16 if number < 2 else 6):
            page = store.next_page(token)
            assert page is not None
            store.save(token, page.place, {name: int(rng.integers(1, 101)) for name in page.emotions}, 1, 9.0)
    found = study_report(study, store.answers(), store.raters(), draws=20)
    assert found["icc_complete_raters"] == 2 and found["icc_undefined"] == {}
    both = [answer for answer in store.answers() if answer.rater < 3]
    alone = study_report(study, both, store.raters(), draws=20)["icc"]
    assert [found["icc"][name] for name in ("icc2", "icc3k")] == [alone["icc2"], alone["icc3k"]]
    assert found["icc"]["icc1"] != alone["icc1"]
    (one,) = (study_report(study, [a for a in both if a.rater == 1], store.raters(), draws=20),)
    assert set(one["icc"].values()) == {None}
    assert one["icc_undefined"]["icc1"] == "no clip was rated by two raters yet"


def test_agreement_with_oneself_is_not_between_raters(study: Study) -> None:
    """Raters who answer by chance within a band of their own agree with nobody, nor with themselves."""
    store, rng = Store(study, Clock()), np.random.default_rng(0)
    for number, token in enumerate(store.invite(9)):
        store.consent(token)
        while (page := store.next_page(token)) is not None:
            values = dict(zip(page.emotions, map(int, 10 * number + rng.integers(1, 11, 3)), strict=True))
            store.save(token, page.place, values, 1, 9.0)
    found = study_report(study, store.answers(), store.raters(), draws=2)["with_themselves"]
    assert found["defined"] == 9 and abs(found["median"]) < 0.4
    assert found["median"] == np.median(list(found["raters"].values()))


def test_how_many_ratings_are_still_wanted(study_clips: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, clips_per_rater=5, raters_per_clip=2)
    study = create_study(tmp_path / "study", study_clips, settings, 4, HUME10)
    store = Store(study, Clock())
    first, second = store.invite(2)
    answered(store, first)
    answered(store, second, pages=4)  # two of them practice
    found = progress(study, store.raters(), store.answers())
    rated = sum(answer.kind == "rating" for answer in store.answers())
    assert found["missing_ratings"] == missing_ratings(study, store.answers()) == 24 - rated == 17
    assert found["missing_raters"] == 4
    store.withdraw(first)
    assert missing_ratings(study, store.answers()) == 22


def test_another_scale_is_stretched_to_1_to_100(study_clips: Path, tmp_path: Path) -> None:
    study = create_study(tmp_path / "study", study_clips, replace(SETTINGS, low=0, high=4), 4, HUME10)
    store = Store(study)
    for value, token in enumerate(store.invite(3), start=1):
        answered(store, token, value)
    files = export(study, store.answers(), store.raters(), tmp_path / "out")
    for file in files[:3]:
        assert np.unique(read_ratings(file, EMOTIONS).values).tolist() == pytest.approx([0.25, 0.5, 0.75])
    with open(files[0], newline="", encoding="utf-8") as file:
        assert {row["given"] for row in csv.DictReader(file)} == {"1", "2", "3"}


def test_s_gen_of_an_evaluation(study: Study) -> None:
    store = Store(study, Clock())
    for number, token in enumerate(store.invite(2)):
        store.consent(token)
        while (page := store.next_page(token)) is not None:
            meant = study.by_key[page.clip].emotion
            heard = {"Awe": 40, meant: 80}  # by column and by row the correlations differ
            store.save(token, page.place, {n: heard.get(n, 9 + number) for n in page.emotions}, 1, 9.0)
    rows = {"ours": {"overall": {}, "emotions": {"Awe": {"frechet": [4.0, 3.0, 5.0]}, "Fear": {"frechet": 2.0}}}}
    evaluation = {"systems": ["ours"], "sections": {"d": {"kind": "distance", "rows": rows}}}
    distances = distances_of(evaluation)
    assert distances == {"Awe": 4.0, "Fear": 2.0}
    report = study_report(study, store.answers(), store.raters(), draws=20, distances=distances)
    by_column, by_row = ({name: value[0] for name, value in report["heep"][reading]["emotions"].items()}
                         for reading in ("column", "row"))  # fmt: skip
    assert by_column["Fear"] == pytest.approx(1.0) and by_row["Fear"] < 0.95
    found = report["s_gen"]
    assert found["emotions"] == {"Awe": pytest.approx(0.125 + by_column["Awe"] / 2), "Fear": pytest.approx(0.75),
                                 "Sadness": 0.0}  # fmt: skip
    assert found["overall"] == pytest.approx(sum(found["emotions"].values()) / 3)
    assert "Sadness has no FID and counts 0" in found["notes"]
    none = {**evaluation, "systems": []}
    for bad, system, words in (({}, None, "no report.json"), ([], None, "no report.json"),
                               (evaluation, "x", "no system 'x'"), (none, None, "has 0 systems")):  # fmt: skip
        with pytest.raises(VocalgenError, match=words):
            distances_of(bad, system)
