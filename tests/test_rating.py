"""The listening study without its page: frozen clips, orders, saving, a killed process, exports."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
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
from bursts import burst

from vocalgen import audio
from vocalgen.emotions import HUME10
from vocalgen.errors import VocalgenError
from vocalgen.evaluation.ratings import read_ratings
from vocalgen.metrics.agreement import icc_one_way
from vocalgen.metrics.heep import heep
from vocalgen.metrics.loudness import integrated_loudness, true_peak
from vocalgen.rating.export import ARRAYS, LONG, PAGES, RATERS, TARGETS, WIDE, export
from vocalgen.rating.flags import FAST, MISSED
from vocalgen.rating.freeze import LOUDNESS, create_study, level, read_sources
from vocalgen.rating.numbers import missing_ratings, progress
from vocalgen.rating.report import distances_of, study_report
from vocalgen.rating.store import Store
from vocalgen.rating.study import RATINGS, Settings, Study, open_study

EMOTIONS = ("Awe", "Fear", "Sadness")
SETTINGS = Settings(emotions=EMOTIONS, repeats=2, practice=2, instructed=0, seed=3)
RATE = 16_000


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for kind, emotion in enumerate(EMOTIONS):
        for number in range(6):
            wave = (0.02 + 0.1 * number) * burst(kind, 0.4 + 0.1 * number, RATE, seed=number)
            audio.write(folder / emotion.lower() / f"{number}.wav", wave, RATE)
    return folder


@pytest.fixture
def study(source: Path, tmp_path: Path) -> Study:
    return create_study(tmp_path / "study", source, SETTINGS, 4, HUME10)


class Clock:
    """Time passes by a minute a look, so that no page seems hasty."""

    def __init__(self, step: float = 60.0) -> None:
        self.now, self.step = 1e9, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def answered(store: Store, token: str, value: int = 50, pages: int | None = None) -> list[tuple[str, str]]:
    """Consent and answer pages, all of one value; what was heard, with its kind."""
    store.consent(token)
    heard = []
    while (pages is None or len(heard) < pages) and (page := store.next_page(token)) is not None:
        store.save(token, page.place, dict.fromkeys(page.emotions, value), 1, 5.0)
        heard.append((page.clip, page.kind))
    return heard


def test_a_study_is_frozen(study: Study, source: Path, tmp_path: Path) -> None:
    assert Counter(clip.emotion for clip in study.rated) == dict.fromkeys(EMOTIONS, 4)
    assert len(study.practice) == 2
    assert open_study(study.folder) == study
    for clip in study.clips:
        copy = study.folder / "clips" / f"{clip.key}.wav"
        assert (source / clip.clip).is_file() and copy.is_file()
        assert clip.emotion.lower() not in clip.key
    assert create_study(tmp_path / "again", source, SETTINGS, 4, HUME10).clips == study.clips
    other = create_study(tmp_path / "other", source, replace(SETTINGS, seed=4), 4, HUME10)
    assert {clip.key for clip in other.clips}.isdisjoint(clip.key for clip in study.clips)


def test_copies_are_of_one_loudness(study: Study, source: Path) -> None:
    for clip in study.clips:
        wave, rate = audio.read(study.folder / "clips" / f"{clip.key}.wav")
        original, _ = audio.read(source / clip.clip)
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
    source: Path, tmp_path: Path, changes: dict[str, object], per_emotion: int, words: str
) -> None:
    with pytest.raises(VocalgenError, match=words):
        create_study(tmp_path / "study", source, replace(SETTINGS, **changes), per_emotion, HUME10)  # type: ignore[arg-type]
    assert not (tmp_path / "study").exists()


def test_a_study_is_not_overwritten_and_not_guessed(study: Study, source: Path, tmp_path: Path) -> None:
    with pytest.raises(VocalgenError, match="is there already"):
        create_study(study.folder, source, SETTINGS, 4, HUME10)
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


def test_clips_are_heard_equally_often(source: Path, tmp_path: Path) -> None:
    study = create_study(tmp_path / "study", source, replace(SETTINGS, clips_per_rater=5), 4, HUME10)
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
        (0, {"Awe": 0, "Fear": 2, "Sadness": 3}, 1, 1.0, "Awe: 0 is no whole number from 1 to 100"),
        (0, {"Awe": 101, "Fear": 2, "Sadness": 3}, 1, 1.0, "101"),
        (0, {"Awe": 1.5, "Fear": 2, "Sadness": 3}, 1, 1.0, "1.5"),
        (0, {"Awe": True, "Fear": 2, "Sadness": 3}, 1, 1.0, "True"),
        (0, {"Awe": 1, "Fear": 2, "Sadness": 3}, 0, 1.0, "heard to its end"),
        (0, {"Awe": 1, "Fear": 2, "Sadness": 3}, 1, float("nan"), "cannot have passed"),
        (0, {"Awe": 1, "Fear": 2, "Sadness": 3}, 1, -1.0, "cannot have passed"),
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


def test_what_was_acknowledged_survives_a_kill(source: Path, tmp_path: Path) -> None:
    study = create_study(tmp_path / "study", source, replace(SETTINGS, repeats=4), 4, HUME10)
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


def test_a_report_of_raters_who_heard_different_clips(source: Path, tmp_path: Path) -> None:
    study = create_study(tmp_path / "study", source, replace(SETTINGS, clips_per_rater=5, repeats=0), 4, HUME10)
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


def asking(source: Path, folder: Path, **changes: object) -> Study:
    settings = replace(SETTINGS, **{"instructed": 3, "practice": 1, **changes})  # type: ignore[arg-type]
    return create_study(folder / "study", source, settings, 4, HUME10)


def test_instructed_pages_are_spread_and_ask_for_what_nobody_would_hear(source: Path, tmp_path: Path) -> None:
    for number, practice in enumerate((0, 1)):
        study = asking(source, tmp_path / str(number), practice=practice)
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
    source: Path, tmp_path: Path, careless: int, expected: set[str]
) -> None:
    store = Store(asking(source, tmp_path), Clock())
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
    assert (by_hand.reason, by_hand.source, by_rule.reason) == ("says the headphones were broken", "experimenter", FAST)
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


def test_clips_of_flagged_and_vanished_raters_are_given_to_others(source: Path, tmp_path: Path) -> None:
    study = create_study(tmp_path / "study", source, replace(SETTINGS, clips_per_rater=6), 4, HUME10)
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


def test_withdrawing_removes_where_the_study_says_so(source: Path, tmp_path: Path) -> None:
    study = create_study(tmp_path / "study", source, replace(SETTINGS, withdrawal="removed"), 4, HUME10)
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


def test_how_many_ratings_are_still_wanted(source: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, clips_per_rater=5, raters_per_clip=2)
    study = create_study(tmp_path / "study", source, settings, 4, HUME10)
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
        with pytest.raises(sqlite3.OperationalError, match="was removed or replaced"):
            answered(store, token, pages=1)
        kept.rename(study.folder / RATINGS)
        answered(store, token, pages=1)
        assert len(store.answers()) == 1


def test_which_texts_a_rater_agreed_to_is_kept(source: Path, tmp_path: Path) -> None:
    study = create_study(tmp_path / "study", source, replace(SETTINGS, languages=("en", "de")), 4, HUME10)
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
    with closing(sqlite3.connect(study.folder / "ratings.sqlite")) as database:
        for column in ("texts", "finished"):
            database.execute(f"ALTER TABLE rater DROP COLUMN {column}")
        database.execute("UPDATE page SET hasty = 1")
        database.execute("UPDATE study SET fingerprint = ?", (study.fingerprint_without_withdrawal,))
        database.execute("PRAGMA user_version = 2")
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


@pytest.mark.parametrize("version", [1, 4])
def test_other_versions_are_refused_and_left_as_they_are(study: Study, version: int) -> None:
    Store(study).close()
    with closing(sqlite3.connect(study.folder / "ratings.sqlite")) as database:
        database.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(VocalgenError, match=rf"another version of vocalgen \(schema {version}, not 3\)"):
        Store(study)


def test_a_migration_that_fails_leaves_the_old_version(study: Study) -> None:
    Store(study).close()
    make_second_version(study)
    with closing(sqlite3.connect(study.folder / "ratings.sqlite")) as database:
        database.execute("ALTER TABLE rater ADD COLUMN finished REAL")  # in the way, behind a change that works
    for _ in range(2):
        with pytest.raises(VocalgenError, match="cannot open"):
            Store(study)
    with closing(sqlite3.connect(study.folder / "ratings.sqlite")) as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(rater)")]
        assert "texts" not in columns and database.execute("PRAGMA user_version").fetchone() == (2,)


def test_another_scale_is_stretched_to_1_to_100(source: Path, tmp_path: Path) -> None:
    study = create_study(tmp_path / "study", source, replace(SETTINGS, low=0, high=4), 4, HUME10)
    store = Store(study)
    for value, token in enumerate(store.invite(3), start=1):
        answered(store, token, value)
    files = export(study, store.answers(), store.raters(), tmp_path / "out")
    for file in files[:3]:
        assert np.unique(read_ratings(file, EMOTIONS).values).tolist() == pytest.approx([0.25, 0.5, 0.75])
    with open(files[0], newline="", encoding="utf-8") as file:
        assert {row["given"] for row in csv.DictReader(file)} == {"1", "2", "3"}


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_clips_of_a_manifest(source: Path, study: Study, tmp_path: Path, kind: str) -> None:
    rows = [(f"{name.lower()}/{number}.wav", name.upper()) for name in EMOTIONS for number in range(6)]
    lines = {
        "jsonl": [f'{{"file": "{file}", "emotion": "{emotion}", "seed": 1}}' for file, emotion in rows],
        "csv": ["file,emotion", *(f"{file},{emotion}" for file, emotion in rows)],
    }
    manifest = source / f"m{tmp_path.name}.{kind}"
    manifest.write_text("\n".join(lines[kind]) + "\n", encoding="utf-8")
    assert create_study(tmp_path / "same", manifest, SETTINGS, 4, HUME10).clips == study.clips
    for bad, words in (("{", "cannot read clips"), ('{"file": "a.wav"}', "file and emotion are needed"),
                       ('{"file": "../a.wav", "emotion": "awe"}', "must lie in the manifest's folder")):  # fmt: skip
        other = tmp_path / "bad.jsonl"
        other.write_text(bad, encoding="utf-8")
        with pytest.raises(VocalgenError, match=words):
            create_study(tmp_path / "x", other, SETTINGS, 4, HUME10)


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
