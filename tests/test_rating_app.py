"""The study over HTTP: a rater's way through it, and everything that must be refused."""

from __future__ import annotations

import io
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from bursts import burst

from vocalgen import audio
from vocalgen.cli.main import run
from vocalgen.emotions import HUME10
from vocalgen.rating.store import Store
from vocalgen.rating.study import Settings, create_study, open_study

pytest.importorskip("starlette")
pytest.importorskip("httpx")
from starlette.testclient import TestClient

from vocalgen.rating import app as rating_app
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
    settings = Settings(
        title="<b>Title</b>", consent="<script>alert(1)</script>", emotions=EMOTIONS, repeats=1, practice=1
    )
    return create_study(folder / "study", folder / "clips", settings, 2, HUME10).folder


@pytest.fixture
def store(frozen: Path, tmp_path: Path) -> Store:
    shutil.copytree(frozen, tmp_path / "study")

    return Store(open_study(tmp_path / "study"))


@pytest.fixture
def client(store: Store) -> Iterator[TestClient]:
    with TestClient(make_app(store.study, KEY, ["127.0.0.1"]), HOST, raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def token(store: Store) -> str:
    return store.invite(1)[0]


def answer(**changes: Any) -> dict[str, Any]:
    return {"values": VALUES, "plays": 1, "seconds": 2.5, **changes}


def test_a_rater_goes_through_the_study(client: TestClient, store: Store, token: str) -> None:
    assert client.get(f"/r/{token}").headers["content-type"].startswith("text/html")
    state = client.get(f"/api/{token}").json()
    assert (state["stage"], state["title"]) == ("consent", "<b>Title</b>")
    assert "page" not in state
    state = client.post(f"/api/{token}/consent", json={}).json()
    kinds = []
    while state["stage"] == "pages":
        page = state["page"]
        kinds.append(page["kind"])
        sound = client.get(f"/api/{token}/clips/{page['place']}")
        wave, rate = soundfile.read(io.BytesIO(sound.content))
        assert rate == 16_000 and np.abs(wave).max() > 0.01
        state = client.post(f"/api/{token}/pages/{page['place']}", json=answer()).json()
    assert kinds == ["practice"] + ["rating"] * 5
    assert state["stage"] == "done" and state["code"] == store.code(token)
    assert len(store.answers()) == 6
    assert client.post(f"/api/{token}/withdraw", json={}).json()["stage"] == "withdrawn"
    assert all(entry.withdrawn for entry in store.answers())


def test_a_repeat_cannot_be_told_from_the_first_time(client: TestClient, token: str) -> None:
    client.post(f"/api/{token}/consent", json={})
    seen = set()
    for place in range(6):
        page = client.get(f"/api/{token}").json()["page"]
        seen.add(tuple(page))
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


@pytest.mark.parametrize("place", ["-1", "99", "x", "0/..", "1e3"])
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
     b"\xff\xfe", b"[" * 5000],
)  # fmt: skip
def test_bodies_that_are_no_answer(client: TestClient, store: Store, token: str, body: bytes) -> None:
    client.post(f"/api/{token}/consent", json={})
    found = client.post(f"/api/{token}/pages/0", content=body)
    assert found.status_code == 400 and found.json()["error"]
    assert store.answers() == []


def test_large_bodies_and_other_sites(client: TestClient, store: Store, token: str) -> None:
    client.post(f"/api/{token}/consent", json={})
    assert client.post(f"/api/{token}/pages/0", content=b" " * 20_000).status_code == 413
    for headers in ({"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        found = client.post(f"/api/{token}/pages/0", json=answer(), headers=headers)
        assert found.status_code == 403, headers
    assert store.answers() == []
    own = client.post(f"/api/{token}/pages/0", json=answer(), headers={"origin": HOST})
    assert own.status_code == 200


def test_other_hosts_are_refused(client: TestClient, token: str) -> None:
    found = client.get(f"/api/{token}", headers={"host": "rebound.example:8000"})
    assert found.status_code == 400 and b"stage" not in found.content


def test_headers_keep_everything_else_out(client: TestClient, token: str) -> None:
    for path in (f"/r/{token}", f"/api/{token}", "/nothing", "/static/rate.js"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    page = client.get(f"/r/{token}").text
    assert token not in page and "<b>Title" not in page  # one fixed page: nothing of a study is ever markup
    assert "://" not in page and "style=" not in page and "onclick=" not in page


def test_a_flood_is_slowed_down_for_its_rater_alone(
    client: TestClient, store: Store, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (other,) = store.invite(1)
    monkeypatch.setattr(rating_app, "RATE", 0.001)
    found = {client.get(f"/api/{token}").status_code for _ in range(70)}
    assert found == {200, 429}
    assert client.get(f"/api/{other}").status_code == 200


def test_a_full_disk_is_told_and_the_answer_can_come_again(
    client: TestClient, store: Store, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.post(f"/api/{token}/consent", json={})

    def full(*arguments: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "save", full)
        found = client.post(f"/api/{token}/pages/0", json=answer())
        assert found.status_code == 503 and "try again" in found.json()["error"]
    assert client.post(f"/api/{token}/pages/0", json=answer()).status_code == 200


def test_the_experimenter_sees_numbers_and_nobody_else(client: TestClient, store: Store, token: str) -> None:
    client.post(f"/api/{token}/consent", json={})
    for place in range(6):
        client.post(f"/api/{token}/pages/{place}", json=answer(seconds=float(place)))
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": KEY}, {"authorization": "Bearer é"}):
        assert client.get("/api", headers={k: v.encode() for k, v in headers.items()}).status_code == 403
    found = client.get("/api", headers={"authorization": f"Bearer {KEY}"}).json()
    assert found["raters"] == {"invited": 1, "consented": 1, "finished": 1, "withdrawn": 0}
    assert [clip["ratings"] for clip in found["clips"]] == [1] * 4
    assert found["median_seconds"] == 2.5  # of pages 1 to 4: neither practice nor the repeat counts


def test_the_verbs(frozen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def called(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            run([str(argument) for argument in arguments])
        return (int(stop.value.code or 0), *capsys.readouterr())  # type: ignore[return-value]

    study = tmp_path / "study"
    made = called("rate", "new", study, "--clips", frozen.parent / "clips", "--per-emotion", 2)
    assert made[0] == 0 and "4 clips to rate, 2 for practice, 2 emotions" in made[1], made
    code, links, _ = called("rate", "invite", study, "-n", 2, "--address", "http://lab.example:80/")
    tokens = [line.rpartition("/r/")[2] for line in links.split()]
    assert code == 0 and len(set(tokens)) == 2 and links.startswith("http://lab.example:80/r/")
    code, _, error = called("rate", "export", study, "--out", tmp_path / "out")
    assert code == 2 and "nobody has rated" in error

    store = Store(open_study(study))
    store.consent(tokens[0])
    while (page := store.next_page(tokens[0])) is not None:
        store.save(tokens[0], page.place, VALUES, 1, 1.0)
    assert called("rate", "export", study, "--out", tmp_path / "out")[0] == 0
    assert len((tmp_path / "out" / "ratings_wide.csv").read_text().splitlines()) == 5
    for arguments in (("rate", "export", tmp_path, "--out", tmp_path / "x"), ("rate", "serve", tmp_path)):
        code, _, error = called(*arguments)
        assert code == 2 and "is no study" in error
    code, _, error = called("rate", "new", tmp_path / "s2", "--clips", tmp_path)
    assert code == 2 and "no folders of emotions" in error
