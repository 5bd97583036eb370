"""The listening study without its page: frozen clips, orders, saving, a killed process, exports."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bursts import burst

from vocalgen import audio
from vocalgen.emotions import HUME10
from vocalgen.errors import VocalgenError
from vocalgen.evaluation.ratings import read_ratings
from vocalgen.metrics.heep import heep
from vocalgen.rating.export import ARRAYS, LONG, WIDE, export
from vocalgen.rating.report import study_report
from vocalgen.rating.store import Store
from vocalgen.rating.study import Settings, Study, create_study, normalise_level, open_study

EMOTIONS = ("Awe", "Fear", "Sadness")
SETTINGS = Settings(emotions=EMOTIONS, repeats=2, practice=2, seed=3)
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


def test_copies_are_of_one_level(study: Study) -> None:
    levels = []
    for clip in study.clips:
        wave, rate = audio.read(study.folder / "clips" / f"{clip.key}.wav")
        assert np.abs(wave).max() <= 10 ** (-1 / 20) + 1e-3
        assert len(wave) / rate == pytest.approx(clip.seconds)
        levels.append(normalise_level(wave, rate)[1])
    assert np.abs(levels).max() < 0.1  # nothing is left to do
    assert np.ptp([clip.gain_db for clip in study.clips]) > 10  # there was much


def test_silence_around_a_burst_does_not_count() -> None:
    wave = burst(1, 0.5, RATE)
    alone, padded = normalise_level(wave, RATE)[1], normalise_level(np.pad(wave, RATE), RATE)[1]
    assert alone == pytest.approx(padded, abs=0.2)


@pytest.mark.parametrize(
    ("changes", "per_emotion", "words"),
    [
        ({}, 7, "has 6 clips, 7 are needed"),
        ({}, 0, "give one at least"),
        ({"practice": 9}, 4, "has 6 clips, 7 are needed"),
        ({"emotions": ()}, 4, "needs one at least"),
        ({"low": 5, "high": 5}, 4, "has no room"),
        ({"repeats": -1}, 4, "repeats is -1"),
        ({"clips_per_rater": 0}, 4, "clips_per_rater is 0"),
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
    (study.folder / "clips" / f"{study.clips[0].key}.wav").unlink()
    with pytest.raises(VocalgenError, match=r"1 clips are missing, first \w+\.wav"):
        open_study(study.folder)
    audio.write(tmp_path / "quiet" / "awe" / "0.wav", np.zeros(RATE, dtype=np.float32), RATE)
    with pytest.raises(VocalgenError, match="is silent"):
        create_study(tmp_path / "silent", tmp_path / "quiet", replace(SETTINGS, practice=0), 1, HUME10)


def test_orders_differ_between_raters_and_stay(study: Study) -> None:
    store = Store(study)
    first, second = store.invite(2)
    heard = [answered(store, token) for token in (first, second)]
    assert [kind for _, kind in heard[0]] == ["practice"] * 2 + ["rating"] * 12 + ["repeat"] * 2
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
    store = Store(study)
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


KILLED = """
import sys
from vocalgen.rating.report import study_report
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
    for number, token in enumerate(store.invite(6), start=1):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(study.folder), token], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert process.stdout is not None
        for _ in range(int(rng.integers(1, 12))):
            acknowledged.append((number, int(process.stdout.readline())))
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate()
        acknowledged += [(number, int(line)) for line in rest.split()]
    answers = {(answer.rater, answer.place): answer for answer in Store(study).answers()}
    assert set(acknowledged) <= set(answers)
    assert len(acknowledged) > 12
    for answer in answers.values():
        assert answer.values == {emotion: 1 + (7 * answer.place + len(emotion)) % 100 for emotion in EMOTIONS}


def test_exports_are_read_as_ratings(study: Study, tmp_path: Path) -> None:
    store = Store(study)
    clips = {clip.key: clip for clip in study.clips}
    with pytest.raises(VocalgenError, match="nobody has rated"):
        export(study, store.answers(), tmp_path / "out")
    tokens = store.invite(4)
    for token in tokens:
        store.consent(token)
        while (page := store.next_page(token)) is not None:
            target = clips[page.clip].emotion
            values = {name: 90 if name == target else 10 + page.place for name in page.emotions}
            store.save(token, page.place, values, 1, 2.0)
    store.withdraw(tokens[3])
    files = export(study, store.answers(), tmp_path / "out")
    assert [file.name for file in files] == [LONG, WIDE, ARRAYS]
    read = [read_ratings(file, EMOTIONS, [clip.clip for clip in study.rated]) for file in files]
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
    store = Store(study)
    clips = {clip.key: clip for clip in study.clips}
    with pytest.raises(VocalgenError, match="nobody has rated"):
        study_report(study, store.answers())
    for number, token in enumerate(store.invite(3)):
        store.consent(token)
        while (page := store.next_page(token)) is not None:
            target = clips[page.clip].emotion
            values = {name: 80 + number if name == target else 5 + number for name in page.emotions}
            store.save(token, page.place, values, 1, 0.01 if number == 2 and page.place == 4 else 9.0)
    found = study_report(study, store.answers(), draws=50)
    assert (found["raters"], found["clips"], found["ratings"]) == (3, 12, 3 * 12 * 3)
    for scores in found["heep"].values():
        assert scores["overall"][0] == pytest.approx(1.0)
        assert all(interval[0] == pytest.approx(1.0) for interval in scores["emotions"].values())
    assert found["krippendorff_alpha"] > 0.99
    assert min(value for value in found["icc"].values()) > 0.99
    assert found["with_themselves"] == {"pages": 6, "pearson": pytest.approx(1.0)}
    assert found["hasty"] == {"pages": 1, "raters": {"rater-0003": 1}}
    assert found["heard"]["Awe"] == {"Awe": pytest.approx(81), "Fear": pytest.approx(6), "Sadness": pytest.approx(6)}
    backwards = [replace(answer, values={name: 101 - value for name, value in answer.values.items()})
                 if answer.kind == "repeat" else answer for answer in store.answers()]  # fmt: skip
    assert study_report(study, backwards, draws=50)["with_themselves"]["pearson"] == pytest.approx(-1.0)


def test_a_report_of_raters_who_heard_different_clips(source: Path, tmp_path: Path) -> None:
    study = create_study(tmp_path / "study", source, replace(SETTINGS, clips_per_rater=5, repeats=0), 4, HUME10)
    store = Store(study)
    for value, token in enumerate(store.invite(4), start=10):
        answered(store, token, value)
    found = study_report(study, store.answers(), draws=50)
    assert found["icc"] is None and found["with_themselves"] is None
    assert all(scores["overall"] is not None for scores in found["heep"].values())
