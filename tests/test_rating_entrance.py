"""The link for all participants of a crowd platform: who becomes a rater, what is kept, and the way back."""

from __future__ import annotations

import csv
import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Command, Line
from small_study import Clock, answered

from vocalgen.errors import VocalgenError
from vocalgen.rating.admission import StudyFull
from vocalgen.rating.entrance import completion_link, entrance_path, parameter_of, participant_of
from vocalgen.rating.store import Store
from vocalgen.rating.study import SETTINGS, Settings, Study, open_study

pytest.importorskip("starlette")
pytest.importorskip("httpx2")
from starlette.testclient import TestClient

from vocalgen.rating import guard
from vocalgen.rating.app import make_app

HOST = "http://127.0.0.1:8000"
PID = "5e0123456789abcdef012345"
BACK = "https://app.prolific.com/submissions/complete?cc=ABC"

Open = Callable[..., TestClient]


def with_settings(study: Study, **changes: Any) -> Study:
    return replace(study, settings=replace(study.settings, **changes))


@pytest.fixture
def opened(study: Study) -> Iterator[Open]:
    """Clients of servers of the study, with other settings."""
    clients: list[TestClient] = []

    def client(**changes: Any) -> TestClient:
        app = make_app(with_settings(study, **changes), "key", [HOST])
        clients.append(TestClient(app, HOST, raise_server_exceptions=False).__enter__())
        return clients[-1]

    yield client
    for entered in clients:
        entered.__exit__()


def test_join_makes_one_rater_of_each_participant(opened: Open, study: Study) -> None:
    client = opened(entrance="prolific")
    page = client.get(f"/join?PROLIFIC_PID={PID}")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert Store(study).raters() == []  # looking at the page, as a mail scanner does, makes nobody
    first, again, other = (
        client.post(f"/join?PROLIFIC_PID={name}&STUDY_ID=1", json={}).json()["token"] for name in (PID, PID, "other")
    )
    assert first == again != other
    assert client.get(f"/r/{first}").status_code == 200
    assert client.post(f"/api/{first}/consent", json={}).json()["stage"] == "pages"
    assert [rater.participant for rater in Store(study).raters()] == [PID, "other"]


def test_join_leads_back_to_the_same_rater_after_a_restart(study: Study) -> None:
    allowed = with_settings(study, entrance="prolific")
    store = Store(allowed)
    token = store.join(PID)
    answered(store, token, pages=3)
    store.close()
    store = Store(allowed)
    assert store.join(PID) == token and len(store.raters()) == 1
    page = store.next_page(token)
    assert page is not None and page.place == 3


def test_tokens_of_participants_cannot_be_computed_elsewhere(study: Study, study_clips: Path, tmp_path: Path) -> None:
    from vocalgen.emotions import HUME10
    from vocalgen.rating.freeze import create_study

    other = create_study(tmp_path / "other", study_clips, study.settings, 4, HUME10)
    tokens = [Store(with_settings(entry, entrance="sona")).join("17") for entry in (study, other)]
    assert tokens[0] != tokens[1] and min(map(len, tokens)) >= 20


def test_join_at_once_makes_one_rater(study: Study) -> None:
    store = Store(with_settings(study, entrance="prolific"))
    with ThreadPoolExecutor(8) as pool:
        tokens = set(pool.map(lambda _: store.join(PID), range(16)))
    assert len(tokens) == 1 and len(store.raters()) == 1


def test_join_is_refused_where_the_study_has_no_entrance(opened: Open, study: Study) -> None:
    client = opened()
    for found in (client.get(f"/join?PROLIFIC_PID={PID}"), client.post(f"/join?PROLIFIC_PID={PID}", json={})):
        assert found.status_code == 404 and "whole link" in found.json()["error"]
    assert Store(study).raters() == []


@pytest.mark.parametrize(
    "query",
    ["", "?PROLIFIC_PID=", "?PROLIFIC_PID=%7B%7B%25PROLIFIC_PID%25%7D%7D", "?workerId=A1B2", f"?prolific_pid={PID}",
     "?PROLIFIC_PID=a&PROLIFIC_PID=b", "?PROLIFIC_PID=%3DHYPERLINK(1)", "?PROLIFIC_PID=-1%2B1", "?PROLIFIC_PID=a,b",
     "?PROLIFIC_PID=a%0Ab", "?PROLIFIC_PID=%3Cb%3E", "?PROLIFIC_PID=a%22b", "?PROLIFIC_PID=%C3%A9",
     f"?PROLIFIC_PID={'a' * 129}"],
)  # fmt: skip
def test_join_refuses_values_that_are_not_ids(opened: Open, study: Study, query: str) -> None:
    found = opened(entrance="prolific").post(f"/join{query}", json={})
    assert found.status_code == 400
    assert "participant id (PROLIFIC_PID)" in found.json()["error"] and "platform" in found.json()["error"]
    assert Store(study).raters() == []


def test_join_ends_at_the_limit(opened: Open, study: Study, caplog: pytest.LogCaptureFixture) -> None:
    client = opened(entrance="sona", entrance_raters=2)
    Store(study).invite(3)  # who has a link of their own takes no place
    known = [client.post(f"/join?survey_code={number}", json={}).json()["token"] for number in (1, 2)]
    for number in (3, 4):
        full = client.post(f"/join?survey_code={number}", json={})
        assert full.status_code == 403 and "all the raters it needs" in full.json()["error"]
    assert [client.post(f"/join?survey_code={number}", json={}).json()["token"] for number in (1, 2)] == known
    assert caplog.text.count("the entrance is full; --entrance-raters admits more than 2") == 1
    assert len(Store(study).raters()) == 5


def test_join_admits_twice_as_many_raters_as_are_needed(study: Study) -> None:
    allowed = with_settings(study, entrance="sona", raters_per_clip=1)
    assert (allowed.raters_needed, allowed.entrance_limit) == (1, 2)
    store = Store(allowed)
    store.join("1"), store.join("2")
    with pytest.raises(StudyFull):
        store.join("3")


def test_join_counts_as_a_request_of_a_stranger(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "RATE", 0.0)
    client = opened(entrance="sona")
    found = [client.post("/join?survey_code=1", json={}).status_code for _ in range(62)]
    assert found == [200] * 60 + [429] * 2
    assert client.get("/join?survey_code=1").status_code == 200  # the page is the same for all
    crossed = client.post("/join?survey_code=1", json={}, headers={"origin": "https://evil.example"})
    assert crossed.status_code == 403


@pytest.mark.parametrize(
    ("entrance", "parameter", "path"),
    [
        ("prolific", "PROLIFIC_PID", "/join?PROLIFIC_PID={{%PROLIFIC_PID%}}"),
        ("Prolific", "PROLIFIC_PID", "/join?PROLIFIC_PID={{%PROLIFIC_PID%}}"),
        ("PROLIFIC_PID", "PROLIFIC_PID", "/join?PROLIFIC_PID={{%PROLIFIC_PID%}}"),
        ("sona", "survey_code", "/join?survey_code=%SURVEY_CODE%"),
        ("mturk", "workerId", "/join?workerId=WORKER_ID"),
        ("participantId", "participantId", "/join?participantId=ID"),
    ],
)
def test_entrance_names(entrance: str, parameter: str, path: str) -> None:
    assert parameter_of(entrance) == parameter and entrance_path(entrance) == path
    assert participant_of(entrance, [" A1B2C3 "]) == "A1B2C3"


@pytest.mark.parametrize("entrance", ["", "a b", "a=b", "1st", "&", "x" * 65])
def test_entrance_refuses_other_names(entrance: str) -> None:
    with pytest.raises(VocalgenError, match=r"entrance: .* is not a platform"):
        Settings(emotions=("Awe",), entrance=entrance)


def test_completion_links_are_filled() -> None:
    link = "https://lab.sona-systems.com/credit.aspx?id=1&survey_code={participant}&code={code}"
    Settings(emotions=("Awe",), completion_link=link)
    filled = completion_link(link, "a@b.org", "BCDF")
    assert filled == "https://lab.sona-systems.com/credit.aspx?id=1&survey_code=a%40b.org&code=BCDF"


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("http://app.prolific.com/complete", "is not an https address"),
        ("javascript:alert(1)", "is not an https address"),
        ("//app.prolific.com", "is not an https address"),
        ("https://", "is not an https address"),
        ("https:app.prolific.com", "is not an https address"),
        ("https://user@app.prolific.com", "is not an https address"),
        ("https://{participant}.example/", "is not an https address"),
        ("https://a.example/\nb", "is not an https address"),
        ("https://a.example/ b", "is not an https address"),
        ("https://a.example:x/", "is not an https address"),
        (f"https://a.example/{'x' * 2000}", "is not an https address"),
        ("https://a.example/?x={rater}", "{rater} is unknown"),
        ("https://a.example/?x={{%PROLIFIC_PID%}}", "{%PROLIFIC_PID%} is unknown"),
    ],
)
def test_completion_links_that_are_refused(link: str, words: str) -> None:
    with pytest.raises(VocalgenError) as refused:
        Settings(emotions=("Awe",), completion_link=link)
    assert str(refused.value).startswith("completion_link: ") and words in str(refused.value)


def test_completion_link_is_for_participants_who_are_done(opened: Open, study: Study) -> None:
    client = opened(entrance="prolific", completion_link=f"{BACK}&pid={{participant}}")
    store = Store(study)
    token, (invited,) = client.post(f"/join?PROLIFIC_PID={PID}", json={}).json()["token"], store.invite(1)
    answered(store, token, pages=2)
    assert "completion" not in client.get(f"/api/{token}").json()
    for own in (token, invited):
        answered(store, own)
    state = client.get(f"/api/{token}").json()
    assert state["completion"] == f"{BACK}&pid={PID}" and state["code"] == store.code(token)
    assert "completion" not in client.get(f"/api/{invited}").json()


def test_ids_of_participants_are_in_codes_report_and_export(study: Study, tmp_path: Path, done: Line) -> None:
    store = Store(with_settings(study, entrance="prolific"), Clock())
    (invited,) = store.invite(1)
    for token in (store.join(PID), invited, store.join("late")):
        answered(store, token)
    store.withdraw(store.join("late"))
    store.close()
    codes = list(csv.DictReader(StringIO(done("rate", "codes", study.folder))))
    assert [row["participant"] for row in codes] == ["", PID, "late"]  # who has withdrawn may still be paid
    assert json.loads(done("rate", "report", study.folder, "--json"))["participants"] == {"rater-0002": PID}
    done("rate", "export", study.folder, "--out", tmp_path / "out")
    files = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    rows = list(csv.DictReader(StringIO(files["raters.csv"].decode())))
    assert [(row["rater"], row["participant"]) for row in rows] == [("rater-0001", ""), ("rater-0002", PID)]
    assert [name for name, content in files.items() if PID.encode() in content] == ["raters.csv"]


def test_serve_prints_the_link_for_all_participants(
    study: Study, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = pytest.importorskip("vocalgen.rating.serving")
    apps: list[Any] = []
    monkeypatch.setattr(serving, "serve", lambda app, listening: (listening.close(), apps.append(app)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    asked = ("--address", "https://lab.example", "--port", port, "--entrance", "prolific", "--entrance-raters", 1)
    ran = command("rate", "serve", study.folder, *asked, "--completion-link", BACK)
    participants, experimenter = ran.out.splitlines()
    assert ran.code == 0 and experimenter.startswith("experimenter: ")
    assert participants == "participants: https://lab.example/join?PROLIFIC_PID={{%PROLIFIC_PID%}}"
    with TestClient(apps[0], "https://lab.example") as client:
        assert [client.post(f"/join?PROLIFIC_PID={n}", json={}).status_code for n in "112"] == [200, 200, 403]
    assert len(Store(study).raters()) == 1  # nobody else was invited
    ran = command("rate", "serve", study.folder, "--completion-link", "http://lab.example")
    assert ran.code == 2 and "completion_link" in ran.err and ran.out == ""


def test_settings_of_the_entrance_are_read_from_the_study(study: Study) -> None:
    file = study.folder / SETTINGS
    written = file.read_text(encoding="utf-8")
    assert "# entrance: " in written and "# completion_link: " in written
    changes = {"entrance": "mturk", "entrance_raters": 7, "completion_link": BACK}
    file.write_text(yaml.safe_dump({**yaml.safe_load(written), **changes}), encoding="utf-8")
    opened = open_study(study.folder)
    assert opened.settings.entrance == "mturk" and opened.entrance_limit == 7
    assert Store(opened).join("A1B2C3")
