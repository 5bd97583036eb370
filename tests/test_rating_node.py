"""The rater's page under Node.js: what it keeps and sends when clocks jump, and how participants enter and leave."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from small_study import EMOTIONS

from vocalgen.rating.store import Store
from vocalgen.rating.study import Study
from vocalgen.rating.texts import parse_texts, shipped_text
from vocalgen.rating.values import MAX_PLAYS, MAX_SECONDS

pytest.importorskip("starlette")
pytest.importorskip("httpx2")
from starlette.testclient import TestClient

from vocalgen.rating.app import make_app

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="Node.js is not installed")

HOST = "http://127.0.0.1:8000"
DAYS = 12 * 86_400_000
TEXTS = {**asdict(parse_texts(shipped_text("en"), "en")), "emotions": {name: name for name in EMOTIONS}}
DONE = {"stage": "done", "language": "en", "languages": {"en": "English"}, "practice": 0, "code": "BCDFGHJK"}


@pytest.fixture
def page(root: Path, tmp_path: Path) -> Any:
    """Runs a scenario of tests/page_in_node.mjs: what it prints."""
    folder = shutil.copytree(root / "vocalgen" / "rating" / "page", tmp_path / "page")
    (folder / "package.json").write_text('{"type": "module"}')  # so that Node takes .js files for modules

    def run(path: str, states: list[Any], steps: list[Any], storage: dict[str, Any] | None = None) -> dict[str, Any]:
        kept = {name: value if isinstance(value, str) else json.dumps(value) for name, value in (storage or {}).items()}
        scenario = {"folder": str(folder), "path": path, "storage": kept, "states": states, "steps": steps}
        script = root / "tests" / "page_in_node.mjs"
        ran = subprocess.run(
            [str(NODE), str(script)], input=json.dumps({**scenario, "texts": TEXTS}), capture_output=True, text=True
        )
        assert ran.returncode == 0 and ran.stdout, ran.stderr
        return dict(json.loads(ran.stdout))

    return run


def ok(body: Any) -> dict[str, Any]:
    return {"status": 200, "body": body}


@pytest.fixture
def store(study: Study) -> Store:
    return Store(study)


def first_state(store: Store, token: str) -> Any:
    """State of a rater who has consented, and the server."""
    with client_of(store) as client:
        return client.post(f"/api/{token}/consent", json={}).json()


def client_of(store: Store) -> TestClient:
    return TestClient(make_app(store.study, "key", [HOST]), HOST)


def assert_stored(store: Store, token: str, sent: Any) -> tuple[int, float]:
    """Send what the page has sent: plays and seconds as they are stored."""
    with client_of(store) as client:
        assert client.post(f"/api/{token}/pages/0", json=sent).status_code == 200
    (answer,) = store.answers()
    return answer.plays, answer.seconds


ANSWERED = [["play"], *(["end", name] for name in EMOTIONS), ["press", TEXTS["next"]]]


def test_page_bounds_the_time_of_a_tab_that_was_open_for_days(page: Any, store: Store) -> None:
    (token,) = store.invite(1)
    state = first_state(store, token)
    steps = [["play"], ["jump", DAYS], *ANSWERED[1:-1], ["reload"], ["jump", DAYS], ["press", TEXTS["next"]]]
    found = page(f"/r/{token}", [ok(state), ok(state), ok(DONE)], steps)
    method, path, sent = found["asked"][-1]
    assert (method, path) == ("POST", f"/api/{token}/pages/0")
    assert sent["seconds"] == MAX_SECONDS and sent["plays"] == 1
    assert assert_stored(store, token, sent) == (1, MAX_SECONDS)


def test_page_keeps_times_within_their_limits(page: Any, store: Store) -> None:
    (token,) = store.invite(1)
    found = page(f"/r/{token}", [ok(first_state(store, token))], [["play"], ["jump", DAYS], ["end", "Awe"]])
    (kept,) = map(json.loads, found["kept"].values())
    assert kept == {"values": {"Awe": 100}, "plays": 1, "seconds": MAX_SECONDS}


def test_page_counts_no_negative_time_when_the_clock_jumps_back(page: Any, store: Store) -> None:
    (token,) = store.invite(1)
    steps = [["play"], ["jump", -60_000], *ANSWERED[1:]]
    found = page(f"/r/{token}", [ok(first_state(store, token)), ok(DONE)], steps)
    assert found["asked"][-1][2]["seconds"] == 0


@pytest.mark.parametrize(
    ("kept", "plays", "seconds"),
    [
        ({"values": {"Awe": 5}, "plays": 2, "seconds": 1_036_803}, 2, MAX_SECONDS),
        ({"values": {"Awe": 5}, "plays": 10**300, "seconds": -7}, MAX_PLAYS, 0),
        ({"values": {"Awe": 5.5, "Fear": 900, "Joy": 3, "Sadness": "x"}, "plays": "3", "seconds": None}, 1, 0),
        ({"values": 7, "plays": [], "seconds": {}}, 1, 0),
        (5, 1, 0),
        ([1, 2], 1, 0),
        ("{no JSON", 1, 0),
        ("null", 1, 0),
    ],
)
def test_page_heals_what_a_browser_has_kept(page: Any, store: Store, kept: Any, plays: int, seconds: float) -> None:
    (token,) = store.invite(1)
    steps = ANSWERED if plays == 1 else ANSWERED[1:]
    found = page(f"/r/{token}", [ok(first_state(store, token)), ok(DONE)], steps, storage={f"answer-{token}-0": kept})
    sent = found["asked"][-1][2]
    assert sent == {"values": dict.fromkeys(EMOTIONS, 100), "plays": plays, "seconds": seconds}
    assert assert_stored(store, token, sent) == (plays, seconds)


def test_page_shows_answers_that_are_kept_and_fit(page: Any, store: Store) -> None:
    (token,) = store.invite(1)
    kept = {"values": {"Awe": 5, "Fear": 0, "Sadness": 100}, "plays": 1, "seconds": 3}
    found = page(f"/r/{token}", [ok(first_state(store, token))], [], storage={f"answer-{token}-0": kept})
    assert json.loads(found["kept"][f"answer-{token}-0"])["values"] == {"Awe": 5, "Sadness": 100}
    assert "1 left to answer" in found["shown"]


def test_limits_of_page_and_server_agree(root: Path) -> None:
    script = (root / "vocalgen/rating/page/answer.js").read_text(encoding="utf-8")
    seconds, plays = re.findall(r"MAX_\w+ = ([0-9e]+)", script)
    assert float(seconds) == MAX_SECONDS and float(plays) == MAX_PLAYS


def test_page_enters_by_the_link_for_all_participants(page: Any, study: Study) -> None:
    store = Store(replace(study, settings=replace(study.settings, entrance="prolific")))
    link = "/join?PROLIFIC_PID=5e0123&STUDY_ID=7"
    with client_of(store) as client:
        entered = client.post(link, json={}).json()
        state = client.get(f"/api/{entered['token']}").json()
    found = page(link, [ok(entered), ok(state)], [])
    assert [entry[:2] for entry in found["asked"][:2]] == [["POST", link], ["GET", f"/api/{entered['token']}"]]
    assert found["path"] == f"/r/{entered['token']}" and TEXTS["agree"] in found["shown"]


def test_page_shows_why_a_participant_cannot_enter(page: Any) -> None:
    found = page("/join?PROLIFIC_PID=", [{"status": 400, "body": {"error": "No id in this link."}}], [])
    assert found["shown"] == "No id in this link." and len(found["asked"]) == 1


def test_page_shows_the_way_back_to_the_platform(page: Any) -> None:
    link = "https://app.prolific.com/submissions/complete?cc=X"
    found = page("/r/token", [ok({**DONE, "completion": link})], [])
    assert found["links"] == [link] and TEXTS["completion"] in found["shown"] and "BCDFGHJK" in found["shown"]
    assert page("/r/token", [ok(DONE)], [])["links"] == []
