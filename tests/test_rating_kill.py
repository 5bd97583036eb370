"""A server that is killed again and again while raters answer: every acknowledged page is there, and there once."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bursts import burst

from vocalgen import audio
from vocalgen.emotions import HUME10
from vocalgen.rating.freeze import create_study
from vocalgen.rating.store import Store
from vocalgen.rating.study import Settings, Study

pytest.importorskip("uvicorn")

KILLS, RATERS = 50, 8
EMOTIONS = ("Awe", "Fear", "Sadness", "Triumph")

SERVER = """
import sys, uvicorn
from vocalgen.rating.app import make_app
from vocalgen.rating.study import open_study
origins = [f"http://127.0.0.1:{sys.argv[2]}"]
uvicorn.run(make_app(open_study(sys.argv[1]), "key", origins), port=int(sys.argv[2]), log_level="critical")
"""
"""What `vocalgen rate serve` runs, without the command line's start."""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Server:
    """The server as a process, and the moments at which it was killed."""

    def __init__(self, study: Study) -> None:
        self.study, self.port = study, free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", SERVER, str(self.study.folder), str(self.port)]
        self.process = subprocess.Popen(command, env=environment)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Rater(threading.Thread):
    """Answers page after page as the page's script does, sending an answer again until it is acknowledged."""

    def __init__(self, port: int, token: str, seed: int) -> None:
        super().__init__(daemon=True)
        self.address, self.rng = f"http://127.0.0.1:{port}/api/{token}", np.random.default_rng(seed)
        self.acknowledged: dict[int, dict[str, int]] = {}
        self.sent: dict[int, dict[str, int]] = {}
        self.again = 0
        self.problems: list[str] = []

    def run(self) -> None:
        state = self.ask("/consent", {})
        while state is not None and state["stage"] == "pages":
            place = state["page"]["place"]
            values = {name: int(self.rng.integers(1, 101)) for name in state["page"]["emotions"]}
            values = self.sent.setdefault(place, values)
            state = self.ask(f"/pages/{place}", {"values": values, "plays": 1, "seconds": 3.0})
            if state is not None:
                self.acknowledged[place] = values
            time.sleep(float(self.rng.uniform(0, 0.01)))

    def ask(self, path: str, body: Any) -> Any:
        content, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        while True:
            try:
                request = urllib.request.Request(self.address + path, content, headers)
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code not in (429, 503):
                    self.problems.append(f"{path}: {error.code} {error.read()!r}")
                    return None
                time.sleep(0.2)
            except (OSError, ValueError, HTTPException):  # refused, cut off, half an answer: the server was killed
                self.again += 1
                time.sleep(0.03)


@pytest.mark.slow
def test_what_was_acknowledged_survives_fifty_kills(tmp_path: Path) -> None:
    for kind, emotion in enumerate(EMOTIONS):
        for number in range(40):
            audio.write(tmp_path / "clips" / emotion.lower() / f"{number}.wav", burst(kind, 0.05, 8_000, number), 8_000)
    settings = Settings(emotions=EMOTIONS, practice=0, repeats=100, instructed=20)
    study = create_study(tmp_path / "study", tmp_path / "clips", settings, 40, HUME10)
    store = Store(study)
    tokens = store.invite(KILLS * RATERS)
    store.close()
    server, rng = Server(study), np.random.default_rng()
    active = [Rater(server.port, token, number) for number, token in enumerate(tokens[:RATERS])]
    raters, struck = list(active), 0
    for rater in active:
        rater.start()
    for _ in range(KILLS):
        server.start()
        before = sum(len(rater.acknowledged) for rater in raters)
        deadline = time.monotonic() + 30
        while sum(len(rater.acknowledged) for rater in raters) == before and time.monotonic() < deadline:
            time.sleep(0.005)  # it serves again
        time.sleep(float(rng.exponential(0.15)))
        server.kill()
        struck += sum(len(rater.acknowledged) for rater in raters) > before
        for place, rater in enumerate(active):  # who has finished makes room for the next
            if not rater.is_alive():
                active[place] = Rater(server.port, tokens[len(raters)], len(raters))
                active[place].start()
                raters.append(active[place])
    at_the_end = [(number, dict(rater.acknowledged)) for number, rater in enumerate(raters, start=1)]
    assert struck == KILLS  # every time there were answers on their way
    assert [problem for rater in raters for problem in rater.problems] == []
    assert sum(rater.again for rater in raters) >= KILLS

    with closing(sqlite3.connect(store.path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        twice = "SELECT rater, place, emotion FROM rating GROUP BY rater, place, emotion HAVING count(*) > 1"
        assert database.execute(twice).fetchall() == []
        saved = database.execute("SELECT count(*) FROM page WHERE saved IS NOT NULL").fetchone()[0]
        assert database.execute("SELECT count(*) FROM rating").fetchone()[0] == saved * len(EMOTIONS)
    found = {(answer.rater, answer.place): answer.values for answer in Store(study).answers()}
    assert len(found) == saved
    missing = [(number, place) for number, pages in at_the_end for place in pages if (number, place) not in found]
    assert missing == []
    for number, pages in at_the_end:
        assert all(found[number, place] == values for place, values in pages.items())
    for (number, place), values in found.items():  # what was saved without word of it is what was sent
        assert raters[number - 1].sent[place] == values
    total = sum(len(pages) for _, pages in at_the_end)
    assert total <= saved <= total + RATERS  # at most one answer of each was on its way
    print(f"{KILLS} kills, {total} acknowledged pages, {saved} saved")
