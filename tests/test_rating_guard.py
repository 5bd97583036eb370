"""What stands before the study: other hosts and sites, floods, bodies that are too large or never end, headers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from bursts import burst

from vocalgen import audio
from vocalgen.emotions import HUME10
from vocalgen.errors import VocalgenError
from vocalgen.rating.address import host_of, is_loopback, loopback, origin
from vocalgen.rating.freeze import create_study
from vocalgen.rating.store import Store
from vocalgen.rating.study import Settings, Study

pytest.importorskip("starlette")
pytest.importorskip("httpx2")
from starlette.testclient import TestClient

from vocalgen.rating import guard
from vocalgen.rating.app import make_app
from vocalgen.rating.served import FILES

KEY = "experimenters-key"
BEARER = {"authorization": f"Bearer {KEY}"}
LAB = "https://lab.example"
PORTED = "https://ported.example:8443"
ORIGINS = [LAB, *loopback("127.0.0.1", 8000), PORTED]
ANSWER = {"values": {"Awe": 3, "Fear": 80}, "plays": 1, "seconds": 2.5}
STATIC = [f"/static/{name}" for name in FILES if not name.endswith(".html")]

Connect = Callable[..., TestClient]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("guarded")
    for kind, emotion in enumerate(("Awe", "Fear")):
        audio.write(folder / "clips" / emotion / "0.wav", burst(kind, 0.3, 16_000), 16_000)
    settings = Settings(emotions=("Awe", "Fear"), repeats=0, practice=0, instructed=0)
    return create_study(folder / "study", folder / "clips", settings, 1, HUME10)


@pytest.fixture
def store(study: Study) -> Store:
    return Store(study)


@pytest.fixture
def connect(study: Study) -> Iterator[Connect]:
    """Clients of one server, each from an address of its own."""
    app, opened = make_app(study, KEY, ORIGINS), []

    def client(address: str = "192.0.2.1", reached: str = ORIGINS[1]) -> TestClient:
        made = TestClient(app, reached, raise_server_exceptions=False, client=(address, 50_000))
        opened.append(made)
        return made

    with client():
        yield client


@pytest.fixture
def token(store: Store) -> str:
    (token,) = store.invite(1)
    store.consent(token)
    return token


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No bucket fills again while the test runs."""
    monkeypatch.setattr(guard, "RATE", 0.0)


@pytest.mark.parametrize(
    ("host", "sent", "status"),
    [
        ("lab.example", LAB, 200),
        ("LAB.Example", LAB, 200),
        ("lab.example:443", LAB, 200),
        ("lab.example", None, 200),  # no browser
        ("127.0.0.1:8000", LAB, 200),  # a proxy that puts its own target into Host
        ("127.0.0.1", LAB, 200),  # and without the port
        ("127.0.0.1:8000", ORIGINS[1], 200),
        ("localhost:8000", ORIGINS[2], 200),
        ("[::1]:8000", ORIGINS[3], 200),
        ("ported.example:8443", PORTED, 200),
        ("ported.example", PORTED, 200),  # a proxy that drops the port
        ("ported.example", "https://ported.example", 403),
        ("lab.example", "http://lab.example", 403),
        ("lab.example", "https://lab.example:8443", 403),
        ("lab.example", "https://evil.example", 403),
        ("evil.example", "https://evil.example", 400),  # rebound: both agree
        ("127.0.0.1:8000", "http://127.0.0.1:9000", 403),  # another server of this machine
        ("127.0.0.1:8000", "null", 403),
        ("lab.example.evil.example", LAB, 400),
        ("lab.example:80:80", LAB, 400),
        ("[::1", LAB, 400),
        ("", LAB, 400),
    ],
)
def test_hosts_and_origins(connect: Connect, token: str, host: str, sent: str | None, status: int) -> None:
    headers = {"host": host, **({} if sent is None else {"origin": sent})}
    assert connect().post(f"/api/{token}/pages/0", json=ANSWER, headers=headers).status_code == status
    read = connect().get(f"/api/{token}", headers={"host": host})
    assert (read.status_code == 200) == (status != 400)


def test_what_other_sites_send_is_refused_by_its_kind_too(connect: Connect, store: Store, token: str) -> None:
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)):
        found = connect().post(f"/api/{token}/pages/0", json=ANSWER, headers={"sec-fetch-site": site})
        assert found.status_code == status, site
        assert (status == 200) == any(answer.rater == len(store.raters()) for answer in store.answers())


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://lab.example", "https://lab.example"),
        ("HTTPS://Lab.Example:443/", "https://lab.example"),
        ("http://lab.example:443", "http://lab.example:443"),
        ("http://10.0.0.7:8000", "http://10.0.0.7:8000"),
        ("http://[FE80::7]:80", "http://[fe80::7]"),
    ],
)
def test_addresses(address: str, expected: str) -> None:
    assert origin(address) == expected == origin(expected)
    assert host_of(expected) in expected


@pytest.mark.parametrize(
    "address",
    ["lab.example", "lab.example:8000", "ftp://lab.example", "https://", "https://lab.example/study", "https://a b",
     "https://lab.example?x", "https://me@lab.example", "https://lab.example:99999", "https://lab.example:x",
     "http://[::1", "https://*", "https://*.example", "https://lab.example:0"],
)  # fmt: skip
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(VocalgenError, match=r"https://lab\.example"):
        origin(address)


def test_which_hosts_only_this_machine_reaches() -> None:
    for host in ("127.0.0.1", "127.0.1.1", "localhost", "::1"):
        assert is_loopback(host)
    for host in ("0.0.0.0", "::", "10.0.0.7", "127.0.0.1.evil.example", "lab.example"):
        assert not is_loopback(host)
    assert loopback("127.0.1.1", 80)[0] == "http://127.0.1.1"
    assert loopback("0.0.0.0", 8000)[0] == "http://127.0.0.1:8000"


def test_a_class_behind_one_address_gets_its_pages(connect: Connect, store: Store, still: None) -> None:
    client, tokens = connect(), store.invite(30)
    for token in tokens:
        for path in (f"/r/{token}", *STATIC, f"/api/{token}", f"/api/{token}/texts/en"):
            assert client.get(path).status_code == 200, path
    assert client.get("/experiment").status_code == 200
    assert client.get("/experiment/numbers", headers=BEARER).status_code == 200


def test_fixed_files_are_kept_by_browsers_and_nothing_else(connect: Connect, token: str) -> None:
    client = connect()
    for path in (f"/r/{token}", "/experiment", *STATIC):
        first = client.get(path)
        assert first.status_code == 200 and first.headers["cache-control"] == "no-cache"  # kept, but asked for
        again = client.get(path, headers={"if-none-match": first.headers["etag"]})
        assert again.status_code == 304 and again.content == b""
        assert client.get(path, headers={"if-none-match": '"other"'}).content == first.content
    assert len({client.get(path).headers["etag"] for path in STATIC}) == len(STATIC)
    for path in (f"/api/{token}", f"/api/{token}/clips/0", "/nothing"):
        assert client.get(path).headers["cache-control"] == "no-store"


def test_a_flood_is_slowed_down_for_its_rater_alone(connect: Connect, store: Store, token: str, still: None) -> None:
    (other,) = store.invite(1)
    found = Counter(connect(f"192.0.2.{turn}").get(f"/api/{token}").status_code for turn in range(70))
    assert found == {200: 60, 429: 10}  # from wherever it comes
    assert connect().get(f"/api/{other}").status_code == 200


def test_strangers_with_invented_tokens_share_the_bucket_of_their_address(
    connect: Connect, token: str, still: None
) -> None:
    paths = [*(f"/api/guess{turn}" for turn in range(60)), "/api/last", "/api/last/clips/0", "/nothing", "/"]
    found = [connect().get(path).status_code for path in paths]
    assert found == [404] * 60 + [429] * 4
    assert connect().get("/experiment/numbers", headers={"authorization": "Bearer guess"}).status_code == 429
    assert connect().get(f"/api/{token}").status_code == 200  # behind the same address
    assert connect().get("/experiment/numbers", headers=BEARER).status_code == 200
    assert connect("192.0.2.2").get("/api/guess").status_code == 404
    assert connect("192.0.2.2").get("/api/192.0.2.1").status_code == 404  # no stranger's name is a rater's


def test_what_is_remembered_of_callers_is_bounded(
    connect: Connect, token: str, monkeypatch: pytest.MonkeyPatch, still: None
) -> None:
    monkeypatch.setattr(guard, "REMEMBERED", 5)
    for _ in range(59):
        connect().get(f"/api/{token}")
    for turn in range(20):
        connect(f"198.51.100.{turn}").get("/api/guess")
        assert connect().get(f"/api/{token}").status_code == (200 if turn == 0 else 429)  # who asks is remembered
    sizes = [len(entry.left) for entry in _stack(connect().app) if isinstance(entry, guard.Limits)]
    assert sizes == [5]


def _stack(app: Any) -> Iterator[Any]:
    app = app.middleware_stack
    while app is not None:
        yield app
        app = getattr(app, "app", None)


def test_large_bodies(connect: Connect, store: Store, token: str) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(5):
            yield b" " * 4000

    for content in (b" " * 20_000, parts()):  # the second in chunks, without a length
        found = connect().post(f"/api/{token}/pages/0", content=content)
        assert found.status_code == 413 and "16384 bytes" in found.json()["error"]
        assert "content-security-policy" in found.headers
    number = len(store.raters())
    assert not any(answer.rater == number for answer in store.answers())


def test_a_body_that_does_not_end_is_not_waited_for(
    connect: Connect, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "PATIENCE", 0.05)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not sent_parts:
            sent_parts.append(1)
            return {"type": "http.request", "body": b"{", "more_body": True}
        await asyncio.sleep(60)
        raise AssertionError

    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    sent_parts: list[int] = []
    scope = {
        "type": "http", "method": "POST", "path": f"/api/{token}/consent", "raw_path": b"", "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8000")], "client": ("192.0.2.1", 1), "server": ("127.0.0.1", 8000),
        "scheme": "http", "root_path": "", "http_version": "1.1",
    }  # fmt: skip
    asyncio.run(connect().app(dict(scope), receive, send))
    assert sent[0]["status"] == 408
    sent.clear()
    asyncio.run(connect().app(dict(scope), gone, send))
    assert sent == []


def test_headers_keep_everything_else_out(connect: Connect, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = connect()
    with monkeypatch.context() as patch:
        patch.delattr("vocalgen.rating.app.sound_response")
        failed = client.get(f"/api/{token}/clips/0")
    assert failed.status_code == 500 and "terminal" in failed.json()["error"]
    refused = client.post(f"/api/{token}/pages/0", json={}, headers={"origin": "https://evil.example"})
    others = [client.get(path) for path in (f"/r/{token}", f"/api/{token}", "/nothing", *STATIC)]
    for found in (failed, refused, client.get("/", headers={"host": "evil.example"}), *others):
        policy = found.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["referrer-policy"] == "no-referrer"
        assert len(found.headers.get_list("content-security-policy")) == 1
