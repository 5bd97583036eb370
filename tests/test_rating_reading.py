"""Read-only studies, and databases that are held by another program, damaged or of an older version."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from conftest import Command, Line
from permissions import needs_posix, read_only
from small_study import answered, make_older

from vocalgen.errors import VocalgenError
from vocalgen.rating import database as module
from vocalgen.rating.reading import Unavailable, meaning_of, open_to_read
from vocalgen.rating.schema import VERSION
from vocalgen.rating.store import Store
from vocalgen.rating.study import RATINGS, Study, open_study

LOG, INDEX = f"{RATINGS}-wal", f"{RATINGS}-shm"


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that everybody reaches and may write to, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o777)
        yield Path(place)


@contextmanager
def answered_study(study: Study) -> Iterator[Store]:
    """A study with one rater's answers in its write-ahead log, while it is open."""
    with closing(Store(study)) as store:
        answered(store, store.invite(1)[0])
        yield store


def closed(study: Study, folder: Path) -> None:
    """A copy of a study whose server has ended."""
    with answered_study(study):
        pass
    shutil.copytree(study.folder, folder)


def killed(study: Study, folder: Path) -> None:
    """A copy of a study whose server was killed: most of it is in the log."""
    with answered_study(study):
        shutil.copytree(study.folder, folder)
    assert (folder / LOG).stat().st_size and (folder / INDEX).exists()


def without_index(study: Study, folder: Path) -> None:
    """The same, copied by a program that leaves the index of the log out."""
    killed(study, folder)
    (folder / INDEX).unlink()


@needs_posix
@pytest.mark.parametrize("copied", [closed, killed, without_index])
def test_verbs_that_only_read_read_a_read_only_study(
    study: Study, open_place: Path, done: Line, copied: Callable[[Study, Path], None]
) -> None:
    folder = open_place / "a study?#%20"
    copied(study, folder)
    verbs = (("report", "--json"), ("codes",), ("flag",), ("export", "--out", open_place / "made"))
    expected = [done("rate", verb, study.folder, *options) for verb, *options in verbs]
    pages = (open_place / "made" / "pages.csv").read_text()
    shutil.rmtree(open_place / "made")
    names = sorted(folder.rglob("*"))
    before = (folder / RATINGS).read_bytes()
    with read_only(folder):
        assert [done("rate", verb, folder, *options) for verb, *options in verbs] == expected
    assert (open_place / "made" / "pages.csv").read_text() == pages and pages.count("\n") == 17
    assert sorted(folder.rglob("*")) == names and (folder / RATINGS).read_bytes() == before


@needs_posix
def test_verbs_that_only_read_read_a_read_only_study_that_nobody_has_used(
    study: Study, open_place: Path, done: Line
) -> None:
    folder = Path(shutil.copytree(study.folder, open_place / "study"))
    expected = done("rate", "codes", study.folder)
    assert len(expected.splitlines()) == 1
    with read_only(folder):
        assert done("rate", "codes", folder) == expected
        assert done("rate", "flag", folder) == "nobody is flagged"


@needs_posix
def test_verbs_that_write_say_that_a_study_is_read_only(study: Study, open_place: Path, command: Command) -> None:
    for name in ("vocalgen.rating.serving", "vocalgen.rating.app"):
        pytest.importorskip(name)  # now: others may not be able to read Python's own modules
    folder = open_place / "study"
    closed(study, folder)
    with read_only(folder):
        for arguments in (("invite", folder), ("serve", folder), ("flag", folder, "rater-0001", "--reason", "x")):
            ran = command("rate", *arguments)
            assert ran.code == 2 and ran.out == ""
            assert "is read-only" in ran.err and str(folder) in ran.err and "restore" not in ran.err


@needs_posix
def test_a_read_only_folder_round_a_writable_database(
    study: Study, open_place: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_place / "study"
    closed(study, folder)
    chmod = Path.chmod
    monkeypatch.setattr(Path, "chmod", lambda path, mode: chmod(path, mode | 0o222 if path.name == RATINGS else mode))
    with read_only(folder):
        assert "is read-only" in command("rate", "invite", folder).err
        assert "rater-0001," in command("rate", "codes", folder).out
        assert not (folder / LOG).exists()


@needs_posix
@pytest.mark.parametrize("older", [2, 3])
def test_a_read_only_study_of_an_older_version_is_read(study: Study, open_place: Path, done: Line, older: int) -> None:
    folder = open_place / "study"
    closed(study, folder)
    expected = done("rate", "report", folder, "--json")
    make_older(open_study(folder), older)
    with read_only(folder):
        assert done("rate", "report", folder, "--json") == expected
    assert version(folder) == older
    assert done("rate", "report", folder, "--json") == expected
    assert version(folder) == older  # reading changes nothing, also where it could
    Store(open_study(folder)).close()
    assert version(folder) == VERSION


def version(folder: Path) -> int:
    with closing(sqlite3.connect(folder / RATINGS)) as database:
        return int(database.execute("PRAGMA user_version").fetchone()[0])


@contextmanager
def held(folder: Path, how: str = "BEGIN IMMEDIATE") -> Iterator[None]:
    """A database that a viewer has open, with an edit that is not committed."""
    with closing(sqlite3.connect(folder / RATINGS, isolation_level=None)) as viewer:
        if how == "BEGIN EXCLUSIVE":
            viewer.execute("PRAGMA locking_mode = EXCLUSIVE")
        viewer.execute(how)
        yield


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PATIENCE", "PAUSE"):
        monkeypatch.setattr(module, name, 0.05)


@pytest.mark.parametrize("used", [True, False])
def test_verbs_say_that_another_program_holds_the_database(
    study: Study, command: Command, impatient: None, used: bool
) -> None:
    pytest.importorskip("uvicorn")
    if used:
        with answered_study(study):
            pass
    with held(study.folder):
        for arguments in (("invite",), ("serve", "--invite", 1), ("flag", "rater-0001", "--reason", "x")):
            ran = command("rate", arguments[0], study.folder, *arguments[1:])
            assert ran.code == 2 and ran.out == "", arguments
            assert "another program holds this file; close that program, or its open edit" in ran.err
            assert "restore" not in ran.err and "bug" not in ran.err
        assert command("rate", "codes", study.folder).code == 0  # what only reads need not wait
    assert command("rate", "invite", study.folder).code == 0


def test_verbs_that_only_read_say_that_another_program_holds_the_database(
    study: Study, command: Command, impatient: None
) -> None:
    with held(study.folder, "BEGIN EXCLUSIVE"):
        for verb in (("codes",), ("report",), ("export", "--out", study.folder / "out")):
            ran = command("rate", verb[0], study.folder, *verb[1:])
            assert ran.code == 2 and "another program holds this file" in ran.err, verb


def test_answers_wait_until_another_program_lets_go_of_the_database(
    study: Study, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("starlette", "httpx2"):
        pytest.importorskip(name)
    from starlette.testclient import TestClient

    from vocalgen.rating.app import make_app

    host = "http://127.0.0.1:8000"
    with closing(Store(study)) as store, TestClient(make_app(study, "key", [host]), host) as client:
        (token,) = store.invite(1)
        with held(study.folder):
            refused = client.post(f"/api/{token}/consent", json={})
            assert refused.status_code == 503 and "try again" in refused.json()["error"]
            assert client.get(f"/api/{token}").json()["stage"] == "consent"
        assert "another program holds this file" in caplog.text  # the terminal of the experimenter
        assert client.post(f"/api/{token}/consent", json={}).json()["stage"] == "pages"


def test_a_damaged_database_is_to_be_restored(study: Study, command: Command) -> None:
    (study.folder / RATINGS).write_bytes(b"no database " * 1000)
    for verb in ("codes", "invite"):
        ran = command("rate", verb, study.folder)
        assert ran.code == 2 and "is damaged (file is not a database); restore it from a backup" in ran.err


def test_a_full_disk_is_no_bug(study: Study) -> None:
    with closing(Store(study)) as store:
        store.database.write(lambda database: database.execute("PRAGMA max_page_count = 1").fetchone())
        with pytest.raises(VocalgenError, match=r"database or disk is full.*free some space"):
            store.invite(2000)


@pytest.mark.parametrize("name", ["plain", "a study?#%20", "100%", "äöü & co", "a;b=c"])
def test_databases_are_opened_whatever_their_folder_is_called(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    path = tmp_path / name / RATINGS
    module.create(path, "CREATE TABLE said (text TEXT);", 1)
    with closing(open_to_read(path, 0.1)) as database:
        assert database.execute("SELECT count(*) FROM said").fetchone()[0] == 0
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            database.execute("INSERT INTO said VALUES ('x')")
    assert [file.name for file in path.parent.iterdir()] == [RATINGS]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (sqlite3.OperationalError("database table is locked"), "another program holds"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "is read-only"),
        (sqlite3.DatabaseError("database disk image is malformed"), "restore it"),
        (sqlite3.OperationalError("disk I/O error"), "check its disk"),
        (sqlite3.IntegrityError("UNIQUE constraint failed"), None),
        (sqlite3.ProgrammingError("Cannot operate on a closed database."), None),
    ],
)
def test_errors_of_the_file_are_explained_and_bugs_are_not(error: sqlite3.Error, words: str | None) -> None:
    meaning = meaning_of(error, Path("study", RATINGS))
    assert (meaning is None) if words is None else (isinstance(meaning, Unavailable) and words in str(meaning))
    if words != "restore it":
        assert "restore" not in str(meaning)
