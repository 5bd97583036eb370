"""The study over HTTP: a rater's way through it, and everything that must be refused."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from bursts import burst
from conftest import Command

from vocalgen import audio
from vocalgen.emotions import HUME10
from vocalgen.rating.freeze import create_study
from vocalgen.rating.store import Store
from vocalgen.rating.study import Settings, open_study
from vocalgen.rating.texts import shipped_text

pytest.importorskip("starlette")
pytest.importorskip("httpx2")
from starlette.testclient import TestClient

from vocalgen.rating.app import make_app

EMOTIONS = ("Awe", "Fear")
KEY = "experimenters-key"
HOST = "http://127.0.0.1:8000"
VALUES = {"Awe": 3, "Fear": 80}


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rating")
    for kind, emotion in enumerate(EMOTIONS):
        for number in range(3):
            audio.write(folder / "clips" / emotion.lower() / f"{number}.wav", burst(kind, 0.3, 16_000, number), 16_000)
    settings = Settings(emotions=EMOTIONS, languages=("en", "de"), repeats=1, practice=1, instructed=1)
    english = (
        shipped_text("en").replace("Sounds of emotion", "<b>Title</b>").replace("You will", "<script>alert(1)</script>")
    )
    return create_study(folder / "study", folder / "clips", settings, 2, HUME10, {"en": english}).folder


@pytest.fixture
def store(frozen: Path, tmp_path: Path) -> Store:
    shutil.copytree(frozen, tmp_path / "study")

    return Store(open_study(tmp_path / "study"))


@pytest.fixture
def client(store: Store) -> Iterator[TestClient]:
    with TestClient(make_app(store.study, KEY, [HOST]), HOST, raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def token(store: Store) -> str:
    return store.invite(1)[0]


def answer(**changes: Any) -> dict[str, Any]:
    return {"values": VALUES, "plays": 1, "seconds": 2.5, **changes}


def test_a_rater_goes_through_the_study(client: TestClient, store: Store, token: str) -> None:
    assert client.get(f"/r/{token}").headers["content-type"].startswith("text/html")
    state = client.get(f"/api/{token}").json()
    assert (state["stage"], state["languages"]) == ("consent", {"en": "English", "de": "Deutsch"})
    assert "page" not in state
    assert client.get(f"/api/{token}/texts/en").json()["title"] == "<b>Title</b>"
    state = client.post(f"/api/{token}/consent", json={}).json()
    kinds = []
    while state["stage"] == "pages":
        page = state["page"]
        kinds.append(page["kind"])
        sound = client.get(f"/api/{token}/clips/{page['place']}")
        wave, rate = soundfile.read(io.BytesIO(sound.content))
        assert rate == 16_000 and np.abs(wave).max() > 0.01
        state = client.post(f"/api/{token}/pages/{page['place']}", json=answer()).json()
    assert kinds == ["practice"] + ["rating"] * 6
    assert state["stage"] == "done" and state["code"] == store.code(token)
    assert len(store.answers()) == 7
    assert client.post(f"/api/{token}/withdraw", json={}).json()["stage"] == "withdrawn"
    assert all(entry.withdrawn for entry in store.answers())


def test_a_browser_may_ask_for_a_part_of_a_sound(client: TestClient, token: str) -> None:
    client.post(f"/api/{token}/consent", json={})

    def part(asked: str) -> tuple[int, bytes, str | None]:
        found = client.get(f"/api/{token}/clips/0", headers={"range": asked})
        return found.status_code, found.content, found.headers.get("content-range")

    plain = client.get(f"/api/{token}/clips/0")
    whole, size = plain.content, len(plain.content)
    assert plain.headers["accept-ranges"] == "bytes" and plain.headers["content-type"] == "audio/wav"
    assert part("bytes=0-") == (206, whole, f"bytes 0-{size - 1}/{size}")
    assert part("bytes=0-1") == (206, b"RI", f"bytes 0-1/{size}")
    assert part(f"bytes={size - 3}-{size + 9}") == (206, whole[-3:], f"bytes {size - 3}-{size - 1}/{size}")
    for asked in (f"bytes={size}-", "bytes=5-4", f"bytes={'9' * 18}-"):
        assert part(asked) == (416, b"", f"bytes */{size}")
    for asked in ("bytes=-5", "bytes=0-1,3-4", "bytes=x", "lines=0-1", f"bytes={'9' * 4000}-"):
        assert part(asked) == (200, whole, None)


def test_a_repeat_cannot_be_told_from_the_first_time(client: TestClient, token: str) -> None:
    client.post(f"/api/{token}/consent", json={})
    seen = set()
    for place in range(7):
        page = client.get(f"/api/{token}").json()["page"]
        if page["asked"] is None:
            seen.add((tuple(page), page["kind"] if place else "rating"))
        client.post(f"/api/{token}/pages/{place}", json=answer())
    assert len(seen) == 1


def test_the_same_page_sent_again_is_one_page(client: TestClient, store: Store, token: str) -> None:
    client.post(f"/api/{token}/consent", json={})
    for _ in range(3):
        assert client.post(f"/api/{token}/pages/0", json=answer()).status_code == 200
    assert len(store.answers()) == 1
    changed = client.post(f"/api/{token}/pages/0", json=answer(plays=1, values={"Awe": 4, "Fear": 80}))
    assert changed.status_code == 400 and "saved before" in changed.json()["error"]


@pytest.mark.parametrize("path", ["/api/wrong", "/api/wrong/clips/0", "/api/%2e%2e%2fstudy.yaml/clips/0"])
def test_strangers(client: TestClient, path: str) -> None:
    found = client.get(path)
    assert found.status_code == 404
    assert b"raters_per_clip" not in found.content


@pytest.mark.parametrize(
    "path", ["/static/../study.yaml", "/static/%2e%2e/study.yaml", "/static/app.py", "/ratings.sqlite", "/clips/", "/"]
)
def test_nothing_but_the_pages_is_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_clip_that_is_gone_is_asked_for_again(client: TestClient, store: Store, token: str) -> None:
    client.post(f"/api/{token}/consent", json={})
    page = store.next_page(token)
    assert page is not None
    file = store.study.folder / "clips" / f"{page.clip}.wav"
    kept = file.rename(file.with_suffix(".kept"))
    assert client.get(f"/api/{token}/clips/0").status_code == 503  # the page says so, and tries again
    kept.rename(file)
    assert client.get(f"/api/{token}/clips/0").status_code == 200


@pytest.mark.parametrize("place", ["-1", "99", "x", "0/..", "1e3", "9" * 5000, "٣"])
def test_pages_that_are_not_there(client: TestClient, token: str, place: str) -> None:
    client.post(f"/api/{token}/consent", json={})
    assert client.get(f"/api/{token}/clips/{place}").status_code in (400, 404)
    assert client.post(f"/api/{token}/pages/{place}", json=answer()).status_code in (400, 404)


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{", b'"x"', b'{"values": 3, "plays": 1, "seconds": 1}', b'{"values": {}, "plays": 1}',
     b'{"values": {"Awe": "3", "Fear": 2}, "plays": 1, "seconds": 1}',
     b'{"values": {"Awe": 3, "Fear": 1e9}, "plays": 1, "seconds": 1}',
     b'{"values": {"Awe": 3, "Fear": 2}, "plays": 1, "seconds": NaN}',
     b'{"values": {"Awe": 3, "Fear": 2}, "plays": "1", "seconds": 1}',
     b'{"values": {"Awe": 3, "Fear": 2}, "plays": 1, "seconds": "1"}',
     b"\xff\xfe", b"[" * 5000],
)  # fmt: skip
def test_bodies_that_are_no_answer(client: TestClient, store: Store, token: str, body: bytes) -> None:
    client.post(f"/api/{token}/consent", json={})
    found = client.post(f"/api/{token}/pages/0", content=body)
    assert found.status_code == 400 and found.json()["error"]
    assert store.answers() == []


@pytest.mark.parametrize("path", ["/r/TOKEN/", "/experiment/"])
def test_pages_are_served_with_a_slash_at_the_end(store: Store, token: str, path: str) -> None:
    lab = "https://lab.example"
    proxied = {"host": "lab.example", "x-forwarded-for": "192.0.2.1"}
    with TestClient(make_app(store.study, KEY, [lab]), HOST) as client:  # the proxy speaks http to the server
        found = client.get(path.replace("TOKEN", token), headers=proxied, follow_redirects=False)
        assert found.status_code == 200 and found.headers["content-type"].startswith("text/html")
        assert "location" not in found.headers


@pytest.mark.parametrize(
    "path", ["/api/TOKEN/", "/api/TOKEN/clips/0/", "/static/rate.js/", "/experiment/numbers/", "//evil.example/", "/r/"]
)
def test_no_answer_redirects(client: TestClient, token: str, path: str) -> None:
    client.post(f"/api/{token}/consent", json={})
    found = client.get(f"{HOST}{path.replace('TOKEN', token)}", follow_redirects=False)
    assert found.status_code == 404 and "location" not in found.headers
    assert "whole link" in found.json()["error"]


def test_one_fixed_page(client: TestClient, token: str) -> None:
    page = client.get(f"/r/{token}").text
    assert token not in page and "<b>Title" not in page  # nothing of a study is ever markup
    assert "://" not in page and "style=" not in page and "onclick=" not in page


def test_a_rater_hears_the_own_clips_and_none_before_its_turn(client: TestClient, store: Store, token: str) -> None:
    (other,) = store.invite(1)
    clips: list[list[bytes]] = []
    for own in (token, other):
        state, heard = client.post(f"/api/{own}/consent", json={}).json(), []
        while state["stage"] == "pages":
            place = state["page"]["place"]
            for later in range(place + 1, 7):
                found = client.get(f"/api/{own}/clips/{later}")
                assert found.status_code == 400 and "not answered yet" in found.json()["error"]
            heard.append(client.get(f"/api/{own}/clips/{place}").content)
            state = client.post(f"/api/{own}/pages/{place}", json=answer()).json()
        clips.append(heard)
    assert clips[0] != clips[1]  # the orders differ, so that a place of one is another clip of the other
    assert [client.get(f"/api/{token}/clips/{place}").content for place in range(7)] == clips[0]
    withdrawn = store.withdraw(other)
    assert withdrawn.stage == "withdrawn" and client.get(f"/api/{other}/clips/0").status_code == 400


def test_a_full_disk_is_told_and_the_answer_can_come_again(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite is held to the pages that the file has: at some point a commit finds no room, until that is lifted."""
    store: Store = client.app.state.store  # type: ignore[attr-defined]
    tokens = store.invite(60)
    for token in tokens:
        store.consent(token)

    def limit(pages: int) -> None:
        store.database.write(lambda database: database.execute(f"PRAGMA max_page_count = {pages}").fetchone())

    limit(1)  # taken as the size that the file has
    acknowledged: list[tuple[int, int]] = []
    for number, place in ((number, place) for number in range(len(tokens)) for place in range(7)):
        found = client.post(f"/api/{tokens[number]}/pages/{place}", json=answer())
        if found.status_code != 200:
            break
        acknowledged.append((number + 1, place))
    assert found.status_code == 503 and "try again" in found.json()["error"]
    assert "answers cannot be stored" in caplog.text and "(database or disk is full)" in caplog.text  # the terminal
    assert client.post(f"/api/{tokens[number]}/pages/{place}", json=answer()).status_code == 503
    assert client.get(f"/api/{tokens[number]}").json()["page"]["place"] == place  # nothing of it is left
    assert [(entry.rater, entry.place) for entry in store.answers()] == acknowledged
    limit(1_000_000)
    assert client.post(f"/api/{tokens[number]}/pages/{place}", json=answer()).status_code == 200
    assert [(entry.rater, entry.place) for entry in store.answers()] == [*acknowledged, (number + 1, place)]


BEARER = {"authorization": f"Bearer {KEY}"}


def test_the_experimenter_sees_numbers_and_nobody_else(client: TestClient, store: Store, token: str) -> None:
    client.post(f"/api/{token}/consent", json={"language": "de"})
    kinds = []
    for place in range(7):
        page = store.next_page(token)
        assert page is not None
        kinds.append(page.kind)
        client.post(f"/api/{token}/pages/{place}", json=answer(seconds=float(place)))
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": KEY}, {"authorization": "Bearer é"}):
        encoded = {name: value.encode() for name, value in headers.items()}
        assert client.get("/experiment/numbers", headers=encoded).status_code == 403
        for path in ("flag", "lift"):
            found = client.post(f"/experiment/{path}", json={"rater": 1, "reason": "x"}, headers=encoded)
            assert found.status_code == 403
    first = client.get("/experiment/numbers", headers=BEARER).json()
    assert first["counts"] == {"invited": 1, "consented": 1, "finished": 1, "withdrawn": 0, "flagged": 1}
    (rater,) = first["raters"]
    assert (rater["name"], rater["language"], rater["saved"], rater["pages"]) == ("rater-0001", "de", 7, 7)
    assert [(flag["reason"], flag["up"]) for flag in rater["flags"]] == [("too fast", True)]
    assert first["ratings"] == 0 and first["reliability"] is None  # flagged raters do not count
    lifted = client.post("/experiment/lift", json={"rater": 1, "reason": "too fast"}, headers=BEARER).json()
    assert lifted["counts"]["flagged"] == 0 and lifted["ratings"] == 4
    assert [clip["ratings"] for clip in lifted["clips"]] == [1] * 4
    assert [(e["emotion"], e["ratings"], e["wanted"], e["complete"]) for e in lifted["emotions"]] == [
        ("Awe", 2, 20, 0),
        ("Fear", 2, 20, 0),
    ]
    rated = [place for place, kind in enumerate(kinds) if kind == "rating"]
    assert lifted["median_seconds"] == np.median(rated)
    assert lifted["instructed"] == 1 and rater["missed"] == 1
    assert lifted["reliability"]["krippendorff_alpha"] is None  # one rater agrees with nobody


def test_flags_over_http(client: TestClient, store: Store, token: str) -> None:
    reason = "<script>alert(1)</script>"
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        found = client.post("/experiment/flag", json={"rater": 1, "reason": reason}, headers={**BEARER, **headers})
        assert found.status_code == 403
    assert store.raters()[0].flags == ()
    client.post(f"/api/{token}/consent", json={})
    found = client.post("/experiment/flag", json={"rater": 1, "reason": reason}, headers=BEARER)
    assert found.status_code == 200 and found.headers["content-type"] == "application/json"
    assert found.json()["raters"][0]["flags"][0]["reason"] == reason
    for body in ({}, {"rater": "1", "reason": "x"}, {"rater": True, "reason": "x"}, {"rater": 1, "reason": ""},
                 {"rater": 9, "reason": "x"}, {"rater": 10**30, "reason": "x"}, [], "x"):  # fmt: skip
        assert client.post("/experiment/flag", json=body, headers=BEARER).status_code == 400, body
    assert client.get("/experiment/flag", headers=BEARER).status_code == 405
    assert [flag.reason for flag in store.raters()[0].flags] == [reason]


def test_the_page_speaks_the_languages_of_the_study(client: TestClient, token: str) -> None:
    german = client.get(f"/api/{token}/texts/de").json()
    assert german["next"] == "Weiter" and german["emotions"] == {"Awe": "Ehrfurcht", "Fear": "Angst"}
    assert client.get(f"/api/{token}/texts/es").status_code == 404  # not of this study
    assert client.get(f"/api/{token}/texts/..%2f..%2fstudy").status_code == 404
    assert client.get("/api/wrong/texts/en").status_code == 404
    for language in ("es", "../en", 3):
        assert client.post(f"/api/{token}/consent", json={"language": language}).status_code == 400
    assert client.get(f"/api/{token}").json()["stage"] == "consent"
    state = client.post(f"/api/{token}/consent", json={"language": "de"}).json()
    assert (state["stage"], state["language"]) == ("pages", "de")
    assert client.post(f"/api/{token}/consent", json={"language": "en"}).json()["language"] == "de"


def test_what_a_study_leaves_out_or_has_twice_is_told(frozen: Path, tmp_path: Path, command: Command) -> None:
    clips = Path(shutil.copytree(frozen.parent / "clips", tmp_path / "clips"))
    shutil.copytree(clips / "awe", clips / "banana")
    shutil.copy(clips / "awe" / "0.wav", clips / "fear" / "again.wav")
    shutil.copy(clips / "awe" / "0.wav", clips / "awe" / "again.wav")
    ran = command("rate", "new", tmp_path / "study", "--clips", clips, "--per-emotion", 4, "--practice", 0)
    assert ran.code == 0 and "a rater answers 13 pages" in ran.out  # 8 clips, 3 again, 2 instructed
    assert ran.err.splitlines() == [
        "warning: 'banana' is no emotion of hume-10: clips left out: 3",
        "warning: one recording is there as awe/0.wav and as awe/again.wav and as fear/again.wav",
    ]
    asked = ("--emotions", "awe,fear,guilt")
    ran = command("rate", "new", tmp_path / "more", "--clips", frozen.parent / "clips", "--per-emotion", 2, *asked)
    assert ran.code == 0 and "3 emotions" in ran.out
    assert command("rate", "codes", tmp_path).out == ""


def test_the_verbs(frozen: Path, tmp_path: Path, command: Command) -> None:
    study = tmp_path / "study"
    made = command("rate", "new", study, "--clips", frozen.parent / "clips", "--per-emotion", 2)
    assert made[0] == 0 and "4 clips to rate, 2 for practice, 2 emotions" in made[1], made
    assert f"vocalgen rate serve {study} --invite 10" in made[1]
    some = "--clips-per-rater", 3, "--raters-per-clip", 3
    made = command("rate", "new", tmp_path / "some", "--clips", frozen.parent / "clips", "--per-emotion", 2, *some)
    assert "--invite 4" in made[1]  # three times four clips, three a rater
    tokens = []
    for _ in range(2):
        code, link, _ = command("rate", "invite", study, "--address", "http://Lab.example:80/")
        assert code == 0 and link.startswith("http://lab.example/r/")
        tokens.append(link.strip().rpartition("/r/")[2])
    code, _, error = command("rate", "export", study, "--out", tmp_path / "out")
    assert code == 2 and "nobody has rated" in error

    store = Store(open_study(study))
    store.consent(tokens[0])
    while (page := store.next_page(tokens[0])) is not None:
        store.save(tokens[0], page.place, VALUES, 1, 1.0)
    code, printed, _ = command("rate", "codes", study)
    assert printed.splitlines() == [
        "rater,code,finished,withdrawn,participant",
        f"rater-0001,{store.code(tokens[0])},yes,no,",
        f"rater-0002,{store.raters()[1].code},no,no,",
    ]
    code, printed, _ = command("rate", "export", study, "--out", tmp_path / "out")
    assert code == 0 and "flagged: 1 (counted; --without-flagged leaves them out)" in printed
    assert len((tmp_path / "out" / "ratings_wide.csv").read_text().splitlines()) == 5
    code, _, error = command("rate", "export", study, "--out", tmp_path / "x", "--without-flagged")
    assert code == 2 and "nobody but flagged raters" in error
    for reason in ("too fast", "missed instructions"):
        assert f"rater-0001: {reason} (by rule)" in command("rate", "flag", study)[1]
        printed = command("rate", "flag", study, "rater-0001", "--reason", reason, "--lift")[1]
        assert f"rater-0001: {reason} (by rule, lifted)" in printed
    assert "rater-0002: late (by experimenter)" in command("rate", "flag", study, "rater-0002", "--reason", "late")[1]
    for arguments, words in ((("rater-2",), "--reason is needed"), (("two", "--reason", "x"), "is no rater"),
                             (("rater-0009", "--reason", "x"), "no rater-0009")):  # fmt: skip
        code, _, error = command("rate", "flag", study, *arguments)
        assert code == 2 and words in error
    code, printed, _ = command("rate", "report", study, "--without-flagged", "--figure", tmp_path / "heard.svg")
    assert code == 0 and "1 raters, 4 clips, 8 ratings" in printed and "flagged: 0 (left out)" in printed
    assert "<svg" in (tmp_path / "heard.svg").read_text()
    for arguments in (("rate", "export", tmp_path, "--out", tmp_path / "x"), ("rate", "serve", tmp_path)):
        code, _, error = command(*arguments)
        assert code == 2 and "is no study" in error
    code, _, error = command("rate", "new", tmp_path / "s2", "--clips", tmp_path)
    assert code == 2 and "holds no clips" in error and "one level deeper" in error
