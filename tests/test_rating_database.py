"""The database of a study: what is written is on disk, what is deleted is gone, and closing never hangs."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from vocalgen import audio
from vocalgen.emotions import HUME10
from vocalgen.rating import database as module
from vocalgen.rating.database import Database, create
from vocalgen.rating.freeze import create_study
from vocalgen.rating.store import Store
from vocalgen.rating.study import Settings

SECRET = "what a rater has said"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create(tmp_path / "said.sqlite", "CREATE TABLE said (text TEXT);", 1)
    return tmp_path / "said.sqlite"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    opened = Database(path, 1, {})
    opened.write(lambda connection: connection.execute("INSERT INTO said VALUES (?)", (SECRET,)))
    yield opened
    opened.close()


@contextmanager
def another_reads(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM said").fetchall()
        yield


def on_disk(path: Path, text: str = SECRET) -> bool:
    return any(text.encode() in file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


def delete(database: Database) -> None:
    database.write(lambda connection: connection.execute("DELETE FROM said"))
    database.forget()


def test_who_writes_waits_for_the_disk(database: Database) -> None:
    def settings(connection: sqlite3.Connection) -> tuple[str, int]:
        return tuple(connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous"))

    assert database.write(settings) == ("wal", 2)  # 2: FULL; NORMAL would lose what was acknowledged with the power


def test_what_is_deleted_is_gone_at_once_where_nobody_reads(database: Database) -> None:
    assert on_disk(database.path)
    delete(database)
    assert not on_disk(database.path)


@pytest.mark.parametrize("later", ["a commit", "closing", "opening"])
def test_what_somebody_still_reads_is_gone_later(
    database: Database, later: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.05)  # not the test's patience: who reads stays
    with closing(sqlite3.connect(database.path)) as beside:  # with it, closing the last connection is not enough
        beside.execute("SELECT count(*) FROM said").fetchall()
        with another_reads(database.path):
            delete(database)
            assert on_disk(database.path)
            if later == "opening":
                database.close()
                assert on_disk(database.path)
        if later == "a commit":
            for _ in range(2):  # the second waits for what follows the first
                database.write(lambda connection: None)
        elif later == "closing":
            database.close()
        else:
            Database(database.path, 1, {}).close()
        assert not on_disk(database.path)


def test_withdrawing_removes_flags_too(tmp_path: Path) -> None:
    for emotion in ("Awe", "Fear"):
        audio.write(tmp_path / "clips" / emotion / "a.wav", [0.1, -0.1] * 2000, 16_000)
    settings = Settings(
        emotions=("Awe", "Fear"), raters_per_clip=1, practice=0, repeats=0, instructed=0, withdrawal="removed"
    )
    store = Store(create_study(tmp_path / "study", tmp_path / "clips", settings, 1, HUME10))
    leaver = store.invite(2)[0]
    store.consent(leaver)
    store.flag(1, SECRET)
    store.flag(2, "of another rater")
    store.withdraw(leaver)
    assert [[flag.reason for flag in rater.flags] for rater in store.raters()] == [[], ["of another rater"]]
    assert not on_disk(store.path)
    store.close()


def test_closing_while_others_write_never_hangs(database: Database) -> None:
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            database.write(lambda connection: None)

    def close() -> None:
        for _ in range(60):
            database.close()

    writers = [threading.Thread(target=write, daemon=True) for _ in range(4)]
    closer = threading.Thread(target=close, daemon=True)
    for thread in (*writers, closer):
        thread.start()
    closer.join(20)
    hung = closer.is_alive()
    over.set()
    for thread in writers:
        thread.join(20)
    assert not hung and not any(thread.is_alive() for thread in writers)
