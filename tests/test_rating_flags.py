"""Who does not read or is too fast is flagged, by rules and by hand, and never deleted."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from small_study import EMOTIONS, SETTINGS, Clock, answered

from vocalgen.emotions import HUME10
from vocalgen.errors import VocalgenError
from vocalgen.evaluation.ratings import read_ratings
from vocalgen.rating.export import PAGES, RATERS, export
from vocalgen.rating.flags import FAST, MISSED
from vocalgen.rating.freeze import create_study
from vocalgen.rating.numbers import progress
from vocalgen.rating.report import study_report
from vocalgen.rating.store import Store
from vocalgen.rating.study import Study


def asking(study_clips: Path, folder: Path, **changes: object) -> Study:
    settings = replace(SETTINGS, **{"instructed": 3, "practice": 1, **changes})  # type: ignore[arg-type]
    return create_study(folder / "study", study_clips, settings, 4, HUME10)


def test_instructed_pages_are_spread_and_ask_for_what_nobody_would_hear(study_clips: Path, tmp_path: Path) -> None:
    for number, practice in enumerate((0, 1)):
        study = asking(study_clips, tmp_path / str(number), practice=practice)
        store = Store(study)
        (token,) = store.invite(1)
        store.consent(token)
        pages = []
        while (page := store.next_page(token)) is not None:
            pages.append(page)
            store.save(token, page.place, dict.fromkeys(page.emotions, 50), 1, 9.0)
        asked = [page for page in pages if page.kind == "instructed"]
        assert len(pages) == practice + 12 + 2 + 3 and len(asked) == 3
        assert pages[practice].kind == "rating"
        places = [page.place - practice for page in asked]
        assert 1 <= places[0] <= 6 <= places[1] <= 12 <= places[2] + 1
        for page in asked:
            assert page.asked != study.by_key[page.clip].emotion and page.asked in EMOTIONS
            assert page.clip in {before.clip for before in pages[: page.place]}  # nothing is heard too early
            assert practice == 0 or page.clip == study.practice[0].key
        assert all(page.asked is None for page in pages if page.kind != "instructed")


@pytest.mark.parametrize(("careless", "expected"), [(0, set()), (1, set()), (2, {MISSED}), (3, {MISSED})])
def test_who_does_not_read_is_flagged_and_not_deleted(
    study_clips: Path, tmp_path: Path, careless: int, expected: set[str]
) -> None:
    store = Store(asking(study_clips, tmp_path), Clock())
    (token,) = store.invite(1)
    store.consent(token)
    asked = 0
    while (page := store.next_page(token)) is not None:
        values = dict.fromkeys(page.emotions, 50)
        if page.asked is not None:
            asked += 1
            if asked > careless:
                values = {name: 93 if name == page.asked else 8 for name in page.emotions}  # not to the point
        store.save(token, page.place, values, 1, 9.0)
    answers = store.answers()
    assert sum(answer.missed for answer in answers) == careless
    assert len(answers) == 1 + 12 + 2 + 3
    (rater,) = store.raters()
    assert {flag.reason for flag in rater.flags} == expected
    assert all(answer.flagged == bool(expected) for answer in answers)
    assert not any(answer.values[answer.asked] == 93 for answer in answers if answer.kind == "rating" and answer.asked)


def test_who_is_too_fast_is_flagged_by_the_servers_clock_too(study: Study) -> None:
    clock = Clock()
    store = Store(study, clock)
    honest, fast, liar = store.invite(3)
    for token, step, seconds in ((honest, 60.0, 9.0), (fast, 60.0, 0.4), (liar, 0.1, 9.0)):
        store.consent(token)
        clock.step = step
        while (page := store.next_page(token)) is not None:
            store.save(token, page.place, dict.fromkeys(page.emotions, 5), 1, seconds)
    flags = [[flag.reason for flag in rater.flags] for rater in store.raters()]
    assert flags == [[], [FAST], [FAST]]
    assert all(answer.hasty == (answer.kind != "practice") for answer in store.answers() if answer.rater == 3)
    quick = min(clip.seconds for clip in study.clips) + 0.2 * len(EMOTIONS)
    assert all(answer.seconds < quick for answer in store.answers() if answer.rater == 2)


def test_a_server_clock_that_is_set_back_flags_nobody(study: Study) -> None:
    clock = Clock(20.0)
    store = Store(study, clock)
    (token,) = store.invite(1)
    store.consent(token)
    while (page := store.next_page(token)) is not None:
        clock.now -= 3600 * (page.place in (3, 4, 9))
        store.save(token, page.place, dict.fromkeys(page.emotions, 5), 1, 9.0)
    assert not any(answer.hasty for answer in store.answers()) and store.raters()[0].flags == ()


def test_too_fast_is_counted_in_one_way(study: Study, tmp_path: Path) -> None:
    store = Store(study, Clock())
    (token,) = store.invite(1)
    store.consent(token)
    while (page := store.next_page(token)) is not None:
        seconds = 9.0 if page.kind == "rating" and page.place % 2 else 0.1
        store.save(token, page.place, dict.fromkeys(page.emotions, 1 + page.place), 1, seconds)
    answers = store.answers()
    fast = sum(answer.seconds < 1 and answer.kind in ("rating", "repeat") for answer in answers)
    assert 0 < fast < sum(answer.seconds < 1 for answer in answers)
    assert study_report(study, answers, store.raters(), draws=2)["hasty"] == {
        "pages": fast,
        "raters": {"rater-0001": fast},
    }
    assert progress(study, store.raters(), answers)["raters"][0]["hasty"] == fast
    export(study, answers, store.raters(), tmp_path / "out")
    with open(tmp_path / "out" / RATERS, newline="", encoding="utf-8") as file:
        assert [row["too_fast"] for row in csv.DictReader(file)] == [str(fast)]
    with open(tmp_path / "out" / PAGES, newline="", encoding="utf-8") as file:
        assert sum(int(row["too_fast"]) for row in csv.DictReader(file)) == fast


def test_flags_can_be_taken_back_and_are_kept(study: Study, tmp_path: Path) -> None:
    store = Store(study, Clock(0.0))  # everything at once: too fast
    first, second = store.invite(2)
    answered(store, first)
    assert [flag.reason for flag in store.raters()[0].flags] == [FAST]
    store.lift(1, FAST)
    store.flag(2, "  says the   headphones were broken ")
    store.flag(2, "says the headphones were broken")
    answered(store, second, 70)
    assert not store.raters()[0].flagged
    (by_hand, by_rule) = store.raters()[1].flags
    assert (by_hand.reason, by_hand.source, by_rule.reason) == (
        "says the headphones were broken",
        "experimenter",
        FAST,
    )
    store.lift(2, FAST)
    assert store.raters()[1].flagged and [answer.flagged for answer in store.answers()].count(True) == 16
    for number, reason, words in ((2, FAST, "no flag"), (3, "x", "no rater-0003"), (1, " ", "1 to 200 characters"),
                                  (1, "x" * 201, "1 to 200"), (0, "x", "a rater is a number")):  # fmt: skip
        with pytest.raises(VocalgenError, match=words):
            store.lift(number, reason)
    with_all = study_report(study, store.answers(), store.raters(), draws=20)
    without = study_report(study, store.answers(), store.raters(), draws=20, flagged=False)
    assert (with_all["raters"], without["raters"]) == (2, 1)
    assert with_all["flagged_raters"] == {"raters": 1, "counted": True}
    assert without["flagged_raters"] == {"raters": 1, "counted": False}
    files = export(study, store.answers(), store.raters(), tmp_path / "out", flagged=False)
    assert set(read_ratings(files[0], EMOTIONS).raters) == {"rater-0001"}
    with open(tmp_path / "out" / RATERS, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["flags"], row["lifted_flags"]) for row in rows] == [
        ("", FAST),
        ("says the headphones were broken", FAST),
    ]
    store.flag(1, "left early")
    with pytest.raises(VocalgenError, match="nobody but flagged raters"):
        export(study, store.answers(), store.raters(), tmp_path / "none", flagged=False)
