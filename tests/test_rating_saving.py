"""Orders, saving, a killed process, withdrawal, and databases that are lost, changed or of an earlier version."""

from __future__ import annotations

import csv
import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from small_study import EMOTIONS, SETTINGS, Clock, answered, make_older

from vocalgen.emotions import HUME10
from vocalgen.errors import VocalgenError
from vocalgen.rating.admission import CODE_LETTERS, completion_code
from vocalgen.rating.export import RATERS, export
from vocalgen.rating.freeze import create_study
from vocalgen.rating.report import study_report
from vocalgen.rating.store import Store
from vocalgen.rating.study import RATINGS, Study, open_study
from vocalgen.rating.values import MAX_PLAYS, MAX_SECONDS


def test_orders_differ_between_raters_and_stay(study: Study) -> None:
    store = Store(study)
    first, second = store.invite(2)
    heard = [answered(store, token) for token in (first, second)]
    assert [kind for _, kind in heard[0]][:9] == ["practice"] * 2 + ["rating"] * 6 + [heard[0][8][1]]
    assert Counter(kind for _, kind in heard[0]) == {"practice": 2, "rating": 12, "repeat": 2}
    rated = [[clip for clip, kind in pages if kind == "rating"] for pages in heard]
    assert set(rated[0]) == set(rated[1]) == {clip.key for clip in study.rated}
    assert rated[0] != rated[1]
    assert all(clip in rated[0] for clip, kind in heard[0] if kind == "repeat")
    many = [Store(study).invite(1)[0] for _ in range(12)]
    orders = set()
    for token in many:
        store.consent(token)
        page = store.next_page(token)
        assert page == Store(study).next_page(token)  # as after a reload, or a restart
        assert page is not None
        orders.add(page.emotions)
    assert len(orders) > 3
    assert all(set(order) == set(EMOTIONS) for order in orders)


def test_clips_are_heard_equally_often(study_clips: Path, tmp_path: Path) -> None:
    study = create_study(tmp_path / "study", study_clips, replace(SETTINGS, clips_per_rater=5), 4, HUME10)
    store = Store(study, Clock())
    tokens = store.invite(12)
    for token in tokens:
        assert len(answered(store, token)) == 2 + 5 + 2
    rated = Counter(answer.clip for answer in store.answers() if answer.kind == "rating")
    assert rated == dict.fromkeys((clip.key for clip in study.rated), 5)  # 12 raters of 5 clips for 12 clips
    store.withdraw(tokens[0])
    lost = {answer.clip for answer in store.answers() if answer.withdrawn and answer.kind == "rating"}
    (more,) = store.invite(1)
    assert {clip for clip, kind in answered(store, more) if kind == "rating"} == lost


def test_saving_twice_is_saving_once(study: Study) -> None:
    store = Store(study)
    (token,) = store.invite(1)
    store.consent(token)
    values = {"Awe": 1, "Fear": 100, "Sadness": 40}
    for _ in range(3):
        store.save(token, 0, values, 2, 3.5)
    (answer,) = store.answers()
    assert (answer.values, answer.plays, answer.seconds, answer.kind) == (values, 2, 3.5, "practice")
    with pytest.raises(VocalgenError, match="was saved before, with other values"):
        store.save(token, 0, {**values, "Awe": 2}, 2, 3.5)
    assert store.answers() == [answer]


@pytest.mark.parametrize(
    ("place", "values", "plays", "seconds", "words"),
    [
        (0, {"Awe": 1, "Fear": 2}, 1, 1.0, "every emotion is to be rated"),
        (0, {"Awe": 1, "Fear": 2, "Sadness": 3, "Joy": 4}, 1, 1.0, "'Joy'"),
        (0, {"Awe": 0, "Fear": 2, "Sadness": 3}, 1, 1.0, "Awe: 0 is not a whole number from 1 to 100"),
        (0, {"Awe": 101, "Fear": 2, "Sadness": 3}, 1, 1.0, "101"),
        (0, {"Awe": 1.5, "Fear": 2, "Sadness": 3}, 1, 1.0, "1.5"),
        (0, {"Awe": True, "Fear": 2, "Sadness": 3}, 1, 1.0, "True"),
        (0, {"Awe": 1, "Fear": 2, "Sadness": 3}, 0, 1.0, "heard to its end"),
        (0, {"Awe": 1, "Fear": 2, "Sadness": 3}, 1, float("nan"), "seconds is nan"),
        (1, {"Awe": 1, "Fear": 2, "Sadness": 3}, 1, 1.0, "not answered yet"),
        (99, {"Awe": 1, "Fear": 2, "Sadness": 3}, 1, 1.0, "there is no page 99"),
        (-1, {"Awe": 1, "Fear": 2, "Sadness": 3}, 1, 1.0, "there is no page -1"),
    ],
)
def test_pages_that_cannot_be_saved(
    study: Study, place: int, values: dict[str, int], plays: int, seconds: float, words: str
) -> None:
    store = Store(study)
    (token,) = store.invite(1)
    store.consent(token)
    with pytest.raises(VocalgenError, match=words):
        store.save(token, place, values, plays, seconds)
    assert store.answers() == []


@pytest.mark.parametrize(
    ("plays", "seconds", "stored"),
    [
        (1, 12 * 86_400, (1, MAX_SECONDS)),
        (1, float("inf"), (1, MAX_SECONDS)),
        (1, 10**400, (1, MAX_SECONDS)),
        (1, -3.5, (1, 0.0)),
        (10**400, 2.5, (MAX_PLAYS, 2.5)),
        (3, 86_400.0, (3, 86_400.0)),
    ],
    ids=("twelve-days", "infinite", "beyond-float", "negative", "plays", "one-day"),
)
def test_save_cuts_times_and_plays_to_their_limits(
    study: Study, plays: int, seconds: float, stored: tuple[int, float]
) -> None:
    store = Store(study, Clock())
    (token,) = store.invite(1)
    store.consent(token)
    standing = store.save(token, 0, {"Awe": 1, "Fear": 2, "Sadness": 3}, plays, seconds)
    assert standing.page is not None and standing.page.place == 1
    assert [(answer.plays, answer.seconds) for answer in store.answers()] == [stored]


def test_save_accepts_pages_after_the_clock_of_the_server_was_set_back(study: Study) -> None:
    clock = Clock()
    store = Store(study, clock)
    (token,) = store.invite(1)
    answered(store, token, pages=2)
    clock.now -= 1e6
    answered(store, token)
    assert len(store.answers()) == store.raters()[0].pages
    assert not any(answer.hasty for answer in store.answers())


def test_completion_codes_are_no_numbers_dates_or_truth_values() -> None:
    codes = [completion_code() for _ in range(200)]
    assert len(set(codes)) == 200 and {len(code) for code in codes} == {8}
    # Spreadsheets read digits with one e as a number; INFINITY, TRUE and months need a vowel.
    assert set("".join(codes)) <= set(CODE_LETTERS)
    assert CODE_LETTERS.isupper() and not set(CODE_LETTERS) & set("AEIOUY0123456789")


def test_tokens(study: Study) -> None:
    store = Store(study)
    first, second = store.invite(2)
    assert first != second and min(len(first), len(second)) >= 20
    assert first.encode() not in (study.folder / "ratings.sqlite").read_bytes()
    with pytest.raises(VocalgenError, match="not known here"):
        store.next_page("' OR 1=1 --")
    with pytest.raises(VocalgenError, match="consent comes first"):
        store.next_page(first)
    answered(store, first, pages=3)
    with pytest.raises(VocalgenError, match="pages left"):
        store.code(first)
    answered(store, first)
    assert len(store.code(first)) == 8
    store.withdraw(first)
    with pytest.raises(VocalgenError, match="have withdrawn"):
        store.next_page(first)
    assert store.withdraw(second).stage == "withdrawn" == store.consent(second).stage


KILLED = """
import sys
from vocalgen.rating.report import distances_of, study_report
from vocalgen.rating.store import Store
from vocalgen.rating.study import open_study

store = Store(open_study(sys.argv[1]))
token = sys.argv[2]
store.consent(token)
while (page := store.next_page(token)) is not None:
    values = {emotion: 1 + (7 * page.place + len(emotion)) % 100 for emotion in page.emotions}
    store.save(token, page.place, values, 1, 1.0)
    print(page.place, flush=True)
"""


def test_what_was_acknowledged_survives_a_kill(study_clips: Path, tmp_path: Path) -> None:
    study = create_study(tmp_path / "study", study_clips, replace(SETTINGS, repeats=4), 4, HUME10)
    store = Store(study)
    rng = np.random.default_rng(0)
    acknowledged: list[tuple[int, int]] = []
    for number, token in enumerate(store.invite(3), start=1):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(study.folder), token], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert process.stdout is not None
        for _ in range(int(rng.integers(3, 12))):
            acknowledged.append((number, int(process.stdout.readline())))
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate()
        acknowledged += [(number, int(line)) for line in rest.split()]
    answers = {(answer.rater, answer.place): answer for answer in Store(study).answers()}
    assert set(acknowledged) <= set(answers)
    assert len(acknowledged) > 6
    for answer in answers.values():
        assert answer.values == {emotion: 1 + (7 * answer.place + len(emotion)) % 100 for emotion in EMOTIONS}


def test_clips_of_flagged_and_vanished_raters_are_given_to_others(study_clips: Path, tmp_path: Path) -> None:
    study = create_study(tmp_path / "study", study_clips, replace(SETTINGS, clips_per_rater=6), 4, HUME10)
    clock = Clock()
    store = Store(study, clock)
    asleep, vanished, third, fourth, fifth = store.invite(5)
    answered(store, asleep)
    store.flag(1, "asleep")
    answered(store, vanished, pages=4)  # practice and two clips; four are under way
    half = {clip for clip, kind in answered(store, third) if kind == "rating"}
    assert half == {clip.key for clip in study.rated} - begun(store, 2)
    clock.now += 3 * 24 * 3600
    rest = {clip for clip, kind in answered(store, fourth) if kind == "rating"}
    unheard = begun(store, 2) - {answer.clip for answer in store.answers() if answer.rater == 2}
    assert len(unheard) == 4 and unheard <= rest
    answered(store, fifth)
    counts = Counter(a.clip for a in store.answers() if a.kind == "rating" and not a.flagged)
    assert set(counts.values()) == {1, 2} and len(counts) == 12


def begun(store: Store, number: int) -> set[str]:
    """Clips that a rater has heard or is to hear."""
    with store.database.read() as database:
        rows = database.execute("SELECT clip FROM page WHERE rater = ? AND kind = 'rating'", (number,)).fetchall()
    return {row["clip"] for row in rows}


def test_withdrawing_removes_where_the_study_says_so(study_clips: Path, tmp_path: Path) -> None:
    study = create_study(tmp_path / "study", study_clips, replace(SETTINGS, withdrawal="removed"), 4, HUME10)
    store = Store(study)
    one, other = store.invite(2)
    answered(store, one)
    answered(store, other, pages=3)
    assert store.withdraw(other).stage == "withdrawn"
    assert {answer.rater for answer in store.answers()} == {1}
    assert store.consent(other).stage == "withdrawn"
    assert (
        study_report(study, store.answers(), store.raters(), draws=2)["withdrawn_raters"] == 1
    )  # whose answers are gone
    store.withdraw(one)
    left = b"".join(file.read_bytes() for file in study.folder.glob("ratings.sqlite*"))
    assert not [clip.key for clip in study.clips if clip.key.encode() in left]  # not in free pages or the log either
    assert [rater.finished is not None for rater in store.raters()] == [True, False]  # who is to be paid is known


def test_a_study_that_has_begun_is_not_changed(study: Study) -> None:
    store = Store(study)
    (token,) = store.invite(1)
    Store(replace(study, settings=replace(study.settings, high=10)))  # nobody has begun
    store.consent(token)
    Store(replace(study, settings=replace(study.settings, raters_per_clip=99)))
    for changes in ({"high": 10}, {"emotions": ("Awe", "Fear")}, {"withdrawal": "removed"}):
        with pytest.raises(VocalgenError, match="after the first rater had begun"):
            Store(replace(study, settings=replace(study.settings, **changes)))  # type: ignore[arg-type]


@pytest.mark.parametrize("damage", ["missing", "empty"])
def test_ratings_that_are_gone_are_not_begun_anew(study: Study, damage: str) -> None:
    with closing(Store(study)) as store:
        answered(store, store.invite(1)[0], pages=2)
    file = study.folder / RATINGS
    assert [path.name for path in study.folder.glob(f"{RATINGS}*")] == [RATINGS]  # closed: all of it is in the one file
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(b"")
    with pytest.raises(VocalgenError, match="is missing or empty; restore it"):
        Store(study)
    assert file.exists() == (damage == "empty")


def test_nothing_is_acknowledged_that_goes_into_a_file_nobody_finds(study: Study) -> None:
    with closing(Store(study)) as store:
        (token,) = store.invite(1)
        store.consent(token)
        kept = (study.folder / RATINGS).rename(study.folder / "elsewhere")
        with pytest.raises(VocalgenError, match="was removed or replaced"):
            answered(store, token, pages=1)
        kept.rename(study.folder / RATINGS)
        answered(store, token, pages=1)
        assert len(store.answers()) == 1


def test_which_texts_a_rater_agreed_to_is_kept(study_clips: Path, tmp_path: Path) -> None:
    study = create_study(tmp_path / "study", study_clips, replace(SETTINGS, languages=("en", "de")), 4, HUME10)
    store = Store(study)
    first, second, third = store.invite(3)
    store.consent(first, "de")
    store.consent(second, "en")
    english = study.folder / "texts" / "en.yaml"
    english.write_text(english.read_text(encoding="utf-8").replace("I agree", "Yes, I agree"), encoding="utf-8")
    store = Store(open_study(study.folder))
    store.consent(third, "en")
    store.consent(second, "en")  # changes nothing
    answered(store, third)
    found = [rater.texts for rater in store.raters()]
    assert found[:2] == [study.texts_sha256["de"], study.texts_sha256["en"]]
    assert found[2] == hashlib.sha256(english.read_bytes()).hexdigest() != found[1]
    files = export(study, store.answers(), store.raters(), tmp_path / "out")
    with open(tmp_path / "out" / RATERS, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["texts_sha256"] for row in rows] == found
    page = store.next_page(first)
    assert page is not None and rows[0]["emotion_order"].split("; ") == list(page.emotions)
    codes = [rater.code for rater in store.raters()]
    assert codes[2] == store.code(third)
    assert not any(code in file.read_text("utf-8") for file in files if file.suffix == ".csv" for code in codes)


def make_second_version(study: Study) -> None:
    """What the second version of a study's database and table of clips were like."""
    make_older(study, 2)
    with closing(sqlite3.connect(study.folder / "ratings.sqlite")) as database:
        database.execute("UPDATE page SET hasty = 1")
        database.commit()
    for file in (study.folder / "texts").iterdir():
        texts = yaml.safe_load(file.read_text(encoding="utf-8"))
        kept = {name: text for name, text in texts.items() if name not in ("keys", "interrupted")}
        file.write_text(yaml.safe_dump(kept, allow_unicode=True), encoding="utf-8")
    table = study.folder / "clips.csv"
    with open(table, newline="", encoding="utf-8") as file:
        rows = [row[:-2] + row[-1:] for row in csv.reader(file)]
    table.write_text("\n".join(",".join(row) for row in rows) + "\n", encoding="utf-8")


def test_studies_of_the_version_before_go_on(study: Study) -> None:
    store = Store(study, Clock())
    first, second, third = store.invite(3)
    answered(store, first)
    answered(store, second, pages=5)
    before, codes = store.answers(), [rater.code for rater in store.raters()]
    store.close()
    make_second_version(study)
    store = Store(open_study(study.folder), Clock())
    assert [replace(answer, hasty=False) for answer in store.answers()] == before
    assert {answer.hasty for answer in store.answers() if answer.kind == "practice"} == {False}
    raters = store.raters()
    assert [rater.finished for rater in raters] == [max(a.saved for a in before if a.rater == 1), None, None]
    assert [rater.code for rater in raters] == codes and {rater.texts for rater in raters} == {None}
    answered(store, second)
    answered(store, third)
    opened = open_study(study.folder)
    assert opened.texts == study.texts and opened.texts_sha256 != study.texts_sha256
    assert all(rater.finished for rater in store.raters()) and store.raters()[2].texts == opened.texts_sha256["en"]
    with pytest.raises(VocalgenError, match="after the first rater had begun"):
        Store(replace(study, settings=replace(study.settings, withdrawal="removed")))


@pytest.mark.parametrize("version", [1, 5])
def test_other_versions_are_refused_and_left_as_they_are(study: Study, version: int) -> None:
    Store(study).close()
    with closing(sqlite3.connect(study.folder / "ratings.sqlite")) as database:
        database.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(VocalgenError, match=rf"another version of vocalgen \(schema {version}, not 4\)"):
        Store(study)


def test_a_migration_that_fails_leaves_the_old_version(study: Study) -> None:
    Store(study).close()
    make_second_version(study)
    with closing(sqlite3.connect(study.folder / "ratings.sqlite")) as database:
        database.execute("ALTER TABLE rater ADD COLUMN finished REAL")  # in the way, behind a change that works
    for _ in range(2):
        with pytest.raises(VocalgenError, match=r"is damaged \(duplicate column name: finished\); restore it"):
            Store(study)
    with closing(sqlite3.connect(study.folder / "ratings.sqlite")) as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(rater)")]
        assert "texts" not in columns and database.execute("PRAGMA user_version").fetchone() == (2,)
