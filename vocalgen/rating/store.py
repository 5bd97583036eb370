"""What raters say, in SQLite: who hears what in which order; what is acknowledged is on disk, and there once."""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vocalgen.errors import VocalgenError
from vocalgen.rating.study import RATINGS, Study

SCHEMA = """
CREATE TABLE IF NOT EXISTS rater (
    id INTEGER PRIMARY KEY,
    token_sha256 TEXT NOT NULL UNIQUE,
    emotions TEXT NOT NULL,
    code TEXT NOT NULL,
    consented TEXT,
    withdrawn TEXT
);
CREATE TABLE IF NOT EXISTS page (
    rater INTEGER NOT NULL REFERENCES rater (id),
    place INTEGER NOT NULL,
    clip TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('practice', 'rating', 'repeat')),
    plays INTEGER,
    seconds REAL,
    saved TEXT,
    PRIMARY KEY (rater, place)
);
CREATE TABLE IF NOT EXISTS rating (
    rater INTEGER NOT NULL,
    place INTEGER NOT NULL,
    emotion TEXT NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (rater, place, emotion),
    FOREIGN KEY (rater, place) REFERENCES page (rater, place)
);
"""


class UnknownRater(VocalgenError):
    """A token that was never given out."""


@dataclass(frozen=True)
class Page:
    """What a rater hears next.

    Args:
        place: number of the page, from 0.
        pages: of the whole study for this rater.
        clip: key of the copy.
        kind: "practice", "rating" or "repeat"; the page looks alike for the last two.
        emotions: in this rater's order.
    """

    place: int
    pages: int
    clip: str
    kind: str
    emotions: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """A page as it was saved.

    Args:
        rater: number.
        place, clip, kind: of the page.
        values: by emotion, on the study's scale.
        plays: how often the clip was heard.
        seconds: from the page's appearance to its answer.
        withdrawn: whether the rater withdrew later.
    """

    rater: int
    place: int
    clip: str
    kind: str
    values: Mapping[str, int]
    plays: int
    seconds: float
    withdrawn: bool


class Store:
    """The answers of a study. One object a process; every call is a transaction of its own.

    Args:
        study: whose folder holds the database, which is made if it is not there.

    Raises:
        VocalgenError: the database cannot be opened or belongs to something else.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.path: Path = study.folder / RATINGS
        try:
            with self._open() as database:
                database.executescript(SCHEMA)
        except sqlite3.DatabaseError as error:
            raise VocalgenError(f"cannot open {self.path} ({error}); restore it") from error

    def invite(self, count: int) -> list[str]:
        """Tokens of new raters; they are kept as hashes only, so write their links down now."""
        tokens = [secrets.token_urlsafe(16) for _ in range(count)]
        with self._transaction() as database:
            for token in tokens:
                (number,) = database.execute("SELECT coalesce(max(id), 0) + 1 FROM rater").fetchone()
                order = self._random(number, 0).permutation(len(self.study.settings.emotions))
                emotions = [self.study.settings.emotions[index] for index in order]
                database.execute(
                    "INSERT INTO rater (id, token_sha256, emotions, code) VALUES (?, ?, ?, ?)",
                    (number, _hash(token), json.dumps(emotions), secrets.token_hex(4)),
                )
        return tokens

    def consent(self, token: str) -> None:
        """The rater agrees; only now clips are assigned: those that have the fewest ratings and raters under way."""
        with self._transaction() as database:
            number = self._rater(database, token)["id"]
            if database.execute("SELECT 1 FROM page WHERE rater = ?", (number,)).fetchone():
                return
            for place, (clip, kind) in enumerate(self._assign(database, number)):
                database.execute(
                    "INSERT INTO page (rater, place, clip, kind) VALUES (?, ?, ?, ?)", (number, place, clip, kind)
                )
            database.execute("UPDATE rater SET consented = datetime('now') WHERE id = ?", (number,))

    def stage(self, token: str) -> str:
        """Where a rater stands: "consent", "pages", "done" or "withdrawn".

        Raises:
            UnknownRater: unknown token.
        """
        with self._transaction() as database:
            rater = self._rater(database, token)
            left = database.execute("SELECT 1 FROM page WHERE rater = ? AND saved IS NULL", (rater["id"],)).fetchone()
        if rater["withdrawn"] is not None:
            return "withdrawn"
        if rater["consented"] is None:
            return "consent"
        return "done" if left is None else "pages"

    def clip(self, token: str, place: int) -> str:
        """Key of the clip of a page.

        Raises:
            VocalgenError: unknown token or page; the rater has not consented, or has withdrawn.
        """
        with self._transaction() as database:
            rater = self._rater(database, token)
            _require_consent(rater)
            row = database.execute(
                "SELECT clip FROM page WHERE rater = ? AND place = ?", (rater["id"], place)
            ).fetchone()
        if row is None:
            raise VocalgenError(f"there is no page {place}")
        return str(row["clip"])

    def raters(self) -> dict[str, int]:
        """How many were invited, consented, finished and withdrew."""
        with self._transaction() as database:
            (counts,) = database.execute(
                "SELECT count(*) AS invited, count(consented) AS consented, count(withdrawn) AS withdrawn, "
                "sum(consented IS NOT NULL AND withdrawn IS NULL AND NOT EXISTS "
                "(SELECT 1 FROM page WHERE page.rater = rater.id AND saved IS NULL)) AS finished FROM rater"
            ).fetchall()
        return {key: int(counts[key] or 0) for key in ("invited", "consented", "finished", "withdrawn")}

    def next_page(self, token: str) -> Page | None:
        """The first page that is not saved; None when all are.

        Raises:
            UnknownRater: unknown token.
            VocalgenError: the rater has not consented, or has withdrawn.
        """
        with self._transaction() as database:
            rater = self._rater(database, token)
            _require_consent(rater)
            pages = database.execute("SELECT * FROM page WHERE rater = ? ORDER BY place", (rater["id"],)).fetchall()
        left = next((page for page in pages if page["saved"] is None), None)
        if left is None:
            return None
        return Page(left["place"], len(pages), left["clip"], left["kind"], tuple(json.loads(rater["emotions"])))

    def save(self, token: str, place: int, values: Mapping[str, int], plays: int, seconds: float) -> None:
        """Save a page, whole or not at all; when this returns, it is on disk. Saving the same again changes nothing.

        Raises:
            VocalgenError: unknown token or page, a page out of turn, emotions missing or unknown, values off the
                scale, a clip that was never heard; a page that was saved with other values.
        """
        self._require_values(values, plays, seconds)
        with self._transaction() as database:
            rater = self._rater(database, token)
            _require_consent(rater)
            pages = database.execute("SELECT * FROM page WHERE rater = ? ORDER BY place", (rater["id"],)).fetchall()
            if not 0 <= place < len(pages):
                raise VocalgenError(f"there is no page {place}; there are {len(pages)}")
            if pages[place]["saved"] is not None:
                if self._values(database, rater["id"], place) != dict(values):
                    raise VocalgenError(f"page {place} was saved before, with other values; go on with the next")
                return
            if any(page["saved"] is None for page in pages[:place]):
                raise VocalgenError(f"page {place} comes after one that is not answered yet; go back")
            database.execute(
                "UPDATE page SET plays = ?, seconds = ?, saved = datetime('now') WHERE rater = ? AND place = ?",
                (plays, float(seconds), rater["id"], place),
            )
            database.executemany(
                "INSERT INTO rating (rater, place, emotion, value) VALUES (?, ?, ?, ?)",
                [(rater["id"], place, emotion, value) for emotion, value in values.items()],
            )

    def code(self, token: str) -> str:
        """The completion code.

        Raises:
            VocalgenError: unknown token; pages are left.
        """
        if self.next_page(token) is not None:
            raise VocalgenError("there are pages left; the code comes after the last")
        with self._transaction() as database:
            return str(self._rater(database, token)["code"])

    def withdraw(self, token: str) -> None:
        """Mark everything a rater has said as withdrawn; exports leave it out, and others hear the clips instead."""
        with self._transaction() as database:
            number = self._rater(database, token)["id"]
            database.execute(
                "UPDATE rater SET withdrawn = coalesce(withdrawn, datetime('now')) WHERE id = ?", (number,)
            )

    def answers(self) -> list[Answer]:
        """All saved pages, by rater and place, withdrawn ones marked."""
        with self._transaction() as database:
            pages = database.execute(
                "SELECT page.*, rater.withdrawn FROM page JOIN rater ON rater.id = page.rater "
                "WHERE saved IS NOT NULL ORDER BY rater, place"
            ).fetchall()
            ratings: dict[tuple[int, int], dict[str, int]] = {}
            for row in database.execute("SELECT * FROM rating"):
                ratings.setdefault((row["rater"], row["place"]), {})[row["emotion"]] = row["value"]
        return [
            Answer(
                page["rater"],
                page["place"],
                page["clip"],
                page["kind"],
                ratings[page["rater"], page["place"]],
                page["plays"],
                page["seconds"],
                page["withdrawn"] is not None,
            )
            for page in pages
        ]

    def _assign(self, database: sqlite3.Connection, number: int) -> list[tuple[str, str]]:
        """(clip, kind) in order: practice, the least heard clips shuffled, some of them once more."""
        settings = self.study.settings
        rng = self._random(number, 1)
        heard = dict(
            database.execute(
                "SELECT clip, count(*) FROM page JOIN rater ON rater.id = page.rater "
                "WHERE kind = 'rating' AND withdrawn IS NULL GROUP BY clip"
            ).fetchall()
        )
        rated = [clip.key for clip in self.study.rated]
        chance = rng.random(len(rated))
        fewest = sorted(range(len(rated)), key=lambda index: (heard.get(rated[index], 0), chance[index]))
        chosen = [rated[index] for index in fewest[: settings.clips_per_rater]]
        order = [chosen[index] for index in rng.permutation(len(chosen))]
        again = [order[index] for index in rng.permutation(len(order))[: settings.repeats]]
        practice = [clip.key for clip in self.study.practice]
        return [
            *((clip, "practice") for clip in practice),
            *((clip, "rating") for clip in order),
            *((clip, "repeat") for clip in again),
        ]

    def _random(self, rater: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.study.settings.seed, rater, purpose])

    def _require_values(self, values: Mapping[str, int], plays: int, seconds: float) -> None:
        settings = self.study.settings
        if set(values) != set(settings.emotions):
            wrong = sorted(set(values) ^ set(settings.emotions))
            raise VocalgenError(f"every emotion is to be rated, and no other: {wrong[0]!r}")
        for emotion, value in values.items():
            if type(value) is not int or not settings.low <= value <= settings.high:
                raise VocalgenError(f"{emotion}: {value!r} is no whole number from {settings.low} to {settings.high}")
        if type(plays) is not int or plays < 1:
            raise VocalgenError("the clip must be heard to its end before it is rated")
        if not 0 <= seconds < 1e6:
            raise VocalgenError(f"{seconds} seconds cannot have passed")

    def _values(self, database: sqlite3.Connection, rater: int, place: int) -> dict[str, int]:
        rows = database.execute("SELECT emotion, value FROM rating WHERE rater = ? AND place = ?", (rater, place))
        return {row["emotion"]: row["value"] for row in rows}

    def _rater(self, database: sqlite3.Connection, token: str) -> Any:
        row = database.execute("SELECT * FROM rater WHERE token_sha256 = ?", (_hash(token),)).fetchone()
        if row is None:
            raise UnknownRater("this link is not known here; check that it is complete")
        return row

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything inside or nothing; other writers wait."""
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        try:
            database.row_factory = sqlite3.Row
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.execute("PRAGMA foreign_keys = ON")
            yield database
        finally:
            database.close()


def _require_consent(rater: Any) -> None:
    if rater["withdrawn"] is not None:
        raise VocalgenError("you have withdrawn; nothing more is asked")
    if rater["consented"] is None:
        raise VocalgenError("consent comes first")


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
