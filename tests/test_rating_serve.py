"""`vocalgen rate serve`: where it listens, by which address it is reached, whom it invites, how it ends."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bursts import burst

from vocalgen import audio
from vocalgen.cli.main import run
from vocalgen.emotions import HUME10
from vocalgen.errors import VocalgenError
from vocalgen.rating.freeze import create_study
from vocalgen.rating.store import Store
from vocalgen.rating.study import Settings, open_study

pytest.importorskip("uvicorn")
pytest.importorskip("httpx2")
from starlette.testclient import TestClient

from vocalgen.rating import serving

SETTINGS = Settings(emotions=("Awe", "Fear"), raters_per_clip=3, clips_per_rater=3, practice=0, repeats=0, instructed=0)


@dataclass
class Served:
    """What a call of `serve` has done."""

    code: int
    links: list[str]
    error: str
    app: Any = None
    host: str = ""


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    for kind, emotion in enumerate(("Awe", "Fear")):
        for number in range(2):
            audio.write(folder / "clips" / emotion / f"{number}.wav", burst(kind, 0.3, 16_000, number), 16_000)
    return create_study(folder / "study", folder / "clips", SETTINGS, 2, HUME10).folder


@pytest.fixture
def study(frozen: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(frozen, tmp_path / "study"))


@pytest.fixture
def free() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


@pytest.fixture
def serve(
    study: Path, free: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Served]:
    """Calls the verb; it ends where it would answer requests."""

    def call(*arguments: object, port: int = free) -> Served:
        seen: dict[str, Any] = {}

        def instead(app: Any, listening: socket.socket) -> None:
            with listening:
                seen.update(app=app, host=listening.getsockname()[0])

        monkeypatch.setattr(serving, "serve", instead)
        with pytest.raises(SystemExit) as stop:
            run(["rate", "serve", str(study), "--port", str(port), *map(str, arguments)])
        printed = capsys.readouterr()
        return Served(int(stop.value.code or 0), printed.out.splitlines(), printed.err, **seen)

    return call


def raters(study: Path) -> int:
    return len(Store(open_study(study)).raters())


def test_it_listens_to_this_machine_alone_and_invites_whom_the_study_needs(
    serve: Callable[..., Served], study: Path, free: int
) -> None:
    first = serve()
    assert (first.code, first.host) == (0, "127.0.0.1")
    *links, experimenter = first.links
    assert len(links) == 4 == raters(study)  # three times four clips, three a rater
    assert all(link.startswith(f"rater: http://127.0.0.1:{free}/r/") for link in links)
    assert experimenter.startswith(f"experimenter: http://127.0.0.1:{free}/experiment#")
    again = serve()
    assert again.code == 0 and len(again.links) == 1 and raters(study) == 4
    assert again.links[0] != experimenter  # a key of its own
    assert len(serve("--invite", 2).links) == 3 and raters(study) == 6


def test_nobody_is_invited_where_none_is_wanted(serve: Callable[..., Served], study: Path) -> None:
    assert len(serve("--invite", 0).links) == 1 and raters(study) == 0


def test_links_and_hosts_are_those_of_the_address(serve: Callable[..., Served]) -> None:
    found = serve("--address", "https://Lab.Example/", "--address", "http://10.0.0.7:8080", "--invite", 1)
    rater, experimenter = (line.split()[-1] for line in found.links)
    assert rater.startswith("https://lab.example/r/") and experimenter.startswith("https://lab.example/experiment#")
    assert found.host == "127.0.0.1"
    path = rater.removeprefix("https://lab.example/r/")
    with TestClient(found.app) as client:
        for host, origin, status in (
            ("lab.example", "https://lab.example", 200),
            ("10.0.0.7:8080", "http://10.0.0.7:8080", 200),
            ("127.0.0.1", "https://lab.example", 200),
            ("lab.example", "http://lab.example", 403),
            ("evil.example", "https://evil.example", 400),
        ):
            headers = {"host": host, "origin": origin}
            assert client.post(f"/api/{path}/consent", json={}, headers=headers).status_code == status, host


def test_other_machines_come_by_a_stated_address_only(serve: Callable[..., Served], study: Path) -> None:
    refused = serve("--host", "0.0.0.0")
    assert refused.code == 2 and "--address http://NAME:" in refused.error and "TLS" in refused.error
    assert not refused.links and raters(study) == 0
    found = serve("--host", "0.0.0.0", "--address", "http://lab.example:8000")
    assert (found.code, found.host) == (0, "0.0.0.0") and found.links[0].startswith("rater: http://lab.example:8000/r/")
    wrong = serve("--address", "lab.example")
    assert wrong.code == 2 and "is no address of a study" in wrong.error


def test_a_port_in_use_is_told_before_anybody_is_invited(serve: Callable[..., Served], study: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        found = serve(port=other.getsockname()[1])
    assert found.code == 2 and "cannot listen on 127.0.0.1" in found.error and "--port" in found.error
    assert not found.links and raters(study) == 0
    with pytest.raises(VocalgenError, match=r"cannot listen on no\.such\.host\.invalid"):
        serving.listen("no.such.host.invalid", 8000)


def test_answers_are_sent_at_once() -> None:
    """An answer in two parts would else wait some 40 ms for the other side to confirm the first."""
    with (
        serving.listen("127.0.0.1", 0) as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0] as connection,
    ):
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_too_many_connections_are_told_to_come_again(study: Path, free: int) -> None:
    resource = pytest.importorskip("resource")
    most = serving.FILES_BESIDE + 10  # open files, so that ten connections are left

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    process = started(study, free, preexec_fn=few)
    try:
        assert process.stdout is not None
        link = process.stdout.readline().split()[-1]
        request = f"GET /r/x HTTP/1.1\r\nHost: 127.0.0.1:{free}\r\n\r\n".encode()
        answers = []
        with ExitStack() as held:
            for _ in range(12):
                connection = held.enter_context(socket.create_connection(("127.0.0.1", free), timeout=60))
                connection.sendall(request)
                answers.append(connection.recv(65_536).split(b" ")[1])
        assert answers == [b"200"] * 9 + [b"503"] * 3
        with urllib.request.urlopen(link, timeout=60) as found:  # they have gone
            assert found.status == 200
    finally:
        process.kill()
        process.communicate()


def test_who_asks_for_nothing_is_sent_away(study: Path, free: int) -> None:
    """The silent, and who sends a head byte by byte, first or second; not who waits before the next request."""
    process = started(study, free, before="from vocalgen.rating import serving; serving.ASKING = 0.5")
    try:
        assert process.stdout is not None
        process.stdout.readline()
        with ExitStack() as held:

            def connect() -> socket.socket:
                return held.enter_context(socket.create_connection(("127.0.0.1", free), timeout=60))

            thoughtful, slow_later = connect(), connect()
            for connection in (thoughtful, slow_later):
                ask(connection)
            silent, slow = connect(), connect()
            for connection in (slow, slow_later):
                assert trickle(connection) == b""
            assert silent.recv(1) == b""
            ask(thoughtful)
    finally:
        process.kill()
        process.communicate()


def ask(connection: socket.socket) -> None:
    connection.sendall(b"GET /r/x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    found = b""
    while not found.rstrip().endswith(b"</html>"):
        more = connection.recv(65_536)
        assert more, "it was closed"
        found += more
    assert found.startswith(b"HTTP/1.1 200")


def trickle(connection: socket.socket) -> bytes:
    """Send the head of a request that never ends, until something comes; nothing: it was closed."""
    connection.settimeout(0.05)
    connection.sendall(b"GET /r/x HTTP/1.1\r\nX: ")
    for _ in range(200):
        try:
            return connection.recv(1)
        except TimeoutError:
            connection.sendall(b"x")
        except ConnectionError:
            return b""
    raise AssertionError("it is still open")


def started(study: Path, port: int, before: str = "", **options: Any) -> subprocess.Popen[str]:
    """The server as a process of its own, which executes `before` first."""
    program = f"{before}\nfrom vocalgen.cli.main import run\nrun()"
    arguments = ["rate", "serve", str(study), "--port", str(port), "--invite", "1"]
    command = [sys.executable, "-c", program, *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, env=environment, **pipes, **options)


def test_it_answers_from_the_first_link_on_and_ends_by_ctrl_c(study: Path, free: int) -> None:
    process = started(study, free)
    try:
        assert process.stdout is not None
        link = process.stdout.readline().split()[-1]
        with urllib.request.urlopen(link, timeout=60) as found:  # waits, and is not refused
            assert found.status == 200 and b"<html" in found.read()
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0 and error == ""
