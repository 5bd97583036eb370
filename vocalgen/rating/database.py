"""One SQLite file: what was written is on disk when the call returns, and many who write at once share a commit.

The journal is a write-ahead log with `synchronous = FULL`: every commit waits for the disk. An acknowledged page
survives a kill of the process at any moment, and a loss of power too where the disk keeps what it has confirmed.
(`NORMAL` would survive the kill, but not the loss of power.) One thread writes; whatever waits while a commit is on its
way goes into the next one together, so that the disk is waited for once.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from vocalgen.errors import VocalgenError
from vocalgen.rating.reading import (
    Unavailable,
    explained,
    in_memory,
    is_writable,
    meaning_of,
    open_to_read,
    read_only,
)

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]

TOGETHER = 256
"""Most pieces of work in a commit."""

PATIENCE = 10.0
"""Seconds that a process waits while another one writes: less than a page waits for an answer."""

PAUSE = 1
"""Seconds for which readers are waited for, and writers held up, to empty the write-ahead log."""


def create(path: Path, schema: str, version: int) -> None:
    """A new file with the tables of `schema`."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.executescript(f"BEGIN IMMEDIATE;{schema}PRAGMA user_version = {version};COMMIT;")


class Database:
    """A database file that `create` has made.

    What is deleted is overwritten, not only left out; `forget` sees to the write-ahead log.

    Args:
        version: Version of the schema.
        migrations: Work by older version that brings its tables to the next one.
        reading: Whether to read only. The file then stays as it is, may lie where nothing can be
            written, and is migrated in memory if it is of an older version.

    Raises:
        VocalgenError: it is missing or empty, cannot be opened, or has another version; it is read-only and
            `reading` is false.
    """

    def __init__(self, path: Path, version: int, migrations: Mapping[int, Work], reading: bool = False) -> None:
        self.path, self.migrations, self.reading = path, migrations, reading
        self._file = _identity(path)
        if self._file is None:
            raise VocalgenError(
                f"{path}, which holds what raters say, is missing or empty; restore it, or make a new study if nobody "
                f"has begun"
            )
        self._reader: sqlite3.Connection | None = None
        self._reading, self._starting, self._forgetting = threading.Lock(), threading.Lock(), threading.Lock()
        self._remembers = False
        self._waiting: SimpleQueue[tuple[Work, Future[Any]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        if not reading and not is_writable(path):
            raise VocalgenError(read_only(path))
        with self.snapshot() as database:
            if _version(database) in migrations:
                _migrate(database, migrations)
            found = _version(database)
        if found != version:
            raise VocalgenError(
                f"{path} was made by another version of vocalgen (schema {found}, not {version}); go on with "
                f"that version, or make a new study"
            )
        if not reading:
            self._empty_log(patience=0)  # who went before may have been stopped when it was due

    def submit(self, work: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Do `work` in a transaction, all of it or nothing; the result is there when it is on disk."""
        future: Future[T] = Future()
        with self._starting:
            self._waiting.put((work, future))
            if self._thread is None:
                arguments = (self._waiting,)
                self._thread = threading.Thread(target=self._write, args=arguments, name="ratings", daemon=True)
                self._thread.start()
        return future

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """`submit`, and wait."""
        return self.submit(work).result()

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection for small questions, one at a time; it sees everything that was committed."""
        with self._reading, explained(self.path):
            if self._reader is None:
                self._reader = self._open()
            yield self._reader

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """A connection of one's own for large questions: nobody waits for it."""
        with explained(self.path), closing(self._open()) as database:
            yield database

    def forget(self) -> None:
        """Empty the write-ahead log, which holds what was deleted since.

        It cannot be emptied while somebody reads what was there before. Then it is tried again after each commit, on
        closing, and when the file is opened next.
        """
        self._empty_log(PAUSE)

    def close(self) -> None:
        """Finish what is waiting and close; the next call opens again."""
        with self._starting:
            thread, self._thread = self._thread, None
            if thread is not None:
                self._waiting.put(None)
                self._waiting = SimpleQueue()  # the next thread must not take this one's end for its own
        if thread is not None:
            thread.join()
        with self._reading:
            if self._reader is not None:
                self._reader.close()
                self._reader = None
        if self._remembers:
            self._empty_log(PAUSE)

    def _write(self, waiting: SimpleQueue[tuple[Work, Future[Any]] | None]) -> None:
        database: sqlite3.Connection | None = None
        going = True
        while going:
            batch: list[tuple[Work, Future[Any]]] = []
            with suppress(Empty):
                while going and len(batch) < TOGETHER:
                    entry = waiting.get(block=not batch)
                    going = entry is not None
                    if entry is not None and entry[1].set_running_or_notify_cancel():
                        batch.append(entry)
            if batch:
                try:
                    database = database or self._open()
                    if _identity(self.path) != self._file:
                        raise Unavailable(f"{self.path} was removed or replaced; restore it and start again")
                    outcomes = _commit(database, [work for work, _ in batch])
                except BaseException as error:
                    outcomes = [(None, error)] * len(batch)
                for (_, future), (value, failure) in zip(batch, outcomes, strict=True):
                    if failure is None:
                        future.set_result(value)
                    else:
                        future.set_exception(meaning_of(failure, self.path) or failure)
                if self._remembers:
                    self._empty_log(patience=0)
        if database is not None:
            database.close()

    def _empty_log(self, patience: float) -> None:
        with self._forgetting:
            self._remembers = True
            with suppress(sqlite3.Error), closing(self._open_to_write(patience)) as database:
                self._remembers = bool(database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()["busy"])

    def _open(self) -> sqlite3.Connection:
        if not self.reading:
            return self._open_to_write(PATIENCE)
        database = open_to_read(self.path, PATIENCE)
        if _version(database) in self.migrations:
            database = in_memory(database)
            _migrate(database, self.migrations)
        return database

    def _open_to_write(self, patience: float) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=patience, isolation_level=None, check_same_thread=False)
        database.row_factory = sqlite3.Row
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
            database.execute(f"PRAGMA {pragma}")
        return database


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file it is; None: none, or an empty one."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found.st_size else None


def _version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def _migrate(database: sqlite3.Connection, migrations: Mapping[int, Work]) -> None:
    """Bring the tables to the newest version, unless another process was quicker."""
    database.execute("BEGIN IMMEDIATE")
    while (found := _version(database)) in migrations:
        migrations[found](database)
        database.execute(f"PRAGMA user_version = {found + 1}")
    database.execute("COMMIT")


def _commit(database: sqlite3.Connection, batch: list[Work]) -> list[tuple[Any, BaseException | None]]:
    """Value or failure of each piece of work; one that fails leaves nothing, and the others stand.

    Raises:
        sqlite3.Error: nothing was committed.
    """
    outcomes: list[tuple[Any, BaseException | None]] = []
    database.execute("BEGIN IMMEDIATE")
    try:
        for work in batch:
            database.execute("SAVEPOINT work")
            try:
                outcomes.append((work(database), None))
            except BaseException as error:
                if not database.in_transaction:  # a full disk: SQLite has given up everything, not this one alone
                    raise
                database.execute("ROLLBACK TO work")
                outcomes.append((None, error))
            database.execute("RELEASE work")
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            with suppress(sqlite3.Error):
                database.execute("ROLLBACK")
        raise
    return outcomes
