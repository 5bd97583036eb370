"""Connections that only read a database, also where nothing can be written, and what its errors mean."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from vocalgen.errors import VocalgenError

DAMAGE = ("malformed", "not a database", "no such table", "no such column", "duplicate column")
"""Parts of SQLite's messages about files whose content is not what vocalgen has written."""


class Unavailable(VocalgenError):
    """The database cannot be read or written now; what was acknowledged before is on disk."""


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors about the file into `Unavailable`; errors of the caller's SQL pass.

    Raises:
        Unavailable: another program holds the file; it is read-only or damaged; the disk is full.
    """
    try:
        yield
    except sqlite3.Error as error:
        meaning = meaning_of(error, path)
        if meaning is None:
            raise
        raise meaning from error


def meaning_of(error: BaseException, path: Path) -> Unavailable | None:
    """Explanation of an error of SQLite about the file at `path`; None for any other error."""
    if type(error) not in (sqlite3.OperationalError, sqlite3.DatabaseError):
        return None
    said = str(error)
    if "is locked" in said:
        return Unavailable(
            f"{path}: another program holds this file; close that program, or its open edit, and try again"
        )
    if "readonly database" in said:
        return Unavailable(read_only(path))
    if any(part in said for part in DAMAGE):
        return Unavailable(f"{path} is damaged ({said}); restore it from a backup")
    if "full" in said:
        return Unavailable(f"{path} cannot be written ({said}); free some space and try again")
    return Unavailable(f"{path} cannot be used ({said}); check its disk and permissions, and try again")


def read_only(path: Path) -> str:
    """Message of a command that must write a database that can only be read."""
    return (
        f"{path} cannot be written, because the file or its folder is read-only; copy the study to a "
        f"folder that you may write to (rate report, export and codes also read it where it is)"
    )


def is_writable(path: Path) -> bool:
    """Whether this process may write a database: the file and, for the log beside it, its folder."""
    effective = os.access in os.supports_effective_ids
    return all(os.access(place, os.W_OK, effective_ids=effective) for place in (path, path.parent))


def open_to_read(path: Path, patience: float) -> sqlite3.Connection:
    """Open a database whose content stays as it is.

    Args:
        patience: seconds to wait while another program holds the file.
    """
    log, index = (path.with_name(f"{path.name}-{end}") for end in ("wal", "shm"))
    if is_writable(path):  # mode=ro would leave the files of the write-ahead log behind
        database = _connect(path, "mode=rw", patience)
        database.execute("PRAGMA query_only = ON")
        return database
    if log.exists() and index.exists():
        return _connect(path, "mode=ro", patience)
    if log.exists() and log.stat().st_size:  # SQLite reads a log only with an index, which it cannot write here
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / path.name
            for file in (path, log):
                shutil.copyfile(file, copy.with_name(file.name))
            return in_memory(_connect(copy, "mode=rw", patience))
    return _connect(path, "immutable=1", patience)


def in_memory(database: sqlite3.Connection) -> sqlite3.Connection:
    """Copy of a database in memory; the original is closed."""
    copy = _configured(sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False))
    with closing(database):
        database.backup(copy)
    return copy


def _connect(path: Path, how: str, patience: float) -> sqlite3.Connection:
    place = path.absolute().as_posix()
    root = "" if place.startswith("/") else "/"  # SQLite knows no servers: //server/share is all path
    address = f"file://{root}{quote(os.fsencode(place), safe='/:')}?{how}"
    opened = sqlite3.connect(address, patience, isolation_level=None, check_same_thread=False, uri=True)
    return _configured(opened)


def _configured(database: sqlite3.Connection) -> sqlite3.Connection:
    database.row_factory = sqlite3.Row
    return database
