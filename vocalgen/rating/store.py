"""What raters say, in SQLite: who hears what in which order; what is acknowledged is on disk, and there once."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from vocalgen.errors import VocalgenError
from vocalgen.rating import flags
from vocalgen.rating.admission import add_rater, admit
from vocalgen.rating.answers import Answer, Rater, read_answers, read_raters
from vocalgen.rating.database import Database, create
from vocalgen.rating.order import plan
from vocalgen.rating.schema import TABLES, VERSION, from_2, from_3
from vocalgen.rating.standing import (
    Page,
    Standing,
    due_place,
    page_of,
    rater_of,
    require_consent,
    standing_of,
    token_hash,
)
from vocalgen.rating.study import RATINGS, Study
from vocalgen.rating.values import bounded_plays, bounded_seconds, require_values

AWAY = 24 * 3600.0
"""Seconds after which a rater who does nothing is no longer counted on for the clips that are left to hear."""

HEARD = """
WITH counted AS (
    SELECT rater.id, coalesce(max(saved), consented) > ? AS present FROM rater JOIN page ON page.rater = rater.id
    WHERE withdrawn IS NULL
      AND NOT EXISTS (SELECT 1 FROM flag WHERE flag.rater = rater.id AND lifted IS NULL)
    GROUP BY rater.id
)
SELECT clip, count(*) FROM counted JOIN page ON page.rater = counted.id
WHERE kind = 'rating' AND (present OR saved IS NOT NULL)
GROUP BY clip
"""


def create_ratings(folder: Path) -> None:
    """The database of a new study in which nobody was invited yet."""
    create(folder / RATINGS, TABLES, VERSION)


class Store:
    """The answers of a study; every call is a transaction of its own.

    Args:
        study: whose folder holds the database.
        clock: seconds since 1970.
        reading: Whether only answers and raters are read; a read-only study can be.

    Raises:
        VocalgenError: the database is missing, cannot be opened, is read-only or belongs to something else; emotions,
            scale, clips or what withdrawing does were changed after somebody had begun.
    """

    def __init__(self, study: Study, clock: Callable[[], float] = time.time, reading: bool = False) -> None:
        self.study, self.clock = study, clock
        self.path: Path = study.folder / RATINGS
        self.database = Database(self.path, VERSION, {2: partial(from_2, study), 3: from_3}, reading)
        with self.database.read() as database:
            begun = database.execute("SELECT fingerprint FROM study").fetchone()
        if begun is not None and begun[0] != study.fingerprint:
            raise VocalgenError(
                f"{study.folder}: emotions, scale, clips or withdrawal were changed after the first rater had begun, "
                f"or {RATINGS} is of another study; undo that"
            )

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def invite(self, count: int) -> list[str]:
        """Tokens of new raters; they are kept as hashes only, so write their links down now."""
        tokens = [secrets.token_urlsafe(16) for _ in range(count)]

        def work(database: sqlite3.Connection) -> None:
            for token in tokens:
                add_rater(database, self.study, token)

        self.database.write(work)
        return tokens

    def join(self, participant: str) -> str:
        """Token of a participant of a crowd platform, see `admission.admit`.

        Raises:
            StudyFull: the id is new, and `Study.entrance_limit` is reached.
        """
        return self.database.write(lambda database: admit(database, self.study, participant))

    def consent(self, token: str, language: str | None = None) -> Standing:
        """The rater agrees; only now pages are assigned, see `order.plan`. Agreeing again changes nothing.

        Args:
            language: of the page from now on; None: the study's first.

        Raises:
            UnknownRater: unknown token.
            VocalgenError: the study has no such language.
        """
        languages = self.study.settings.languages
        if language is not None and language not in languages:
            raise VocalgenError(f"the study has no texts in {language!r}, only in {', '.join(languages)}")

        def work(database: sqlite3.Connection) -> Standing:
            rater = rater_of(database, token)
            if rater["consented"] is None and rater["withdrawn"] is None:
                self._begin(database, rater["id"], language or languages[0])
            return standing_of(database, rater_of(database, token))

        return self.database.write(work)

    def standing(self, token: str) -> Standing:
        """Where a rater stands.

        Raises:
            UnknownRater: unknown token.
        """
        with self.database.read() as database:
            return standing_of(database, rater_of(database, token))

    def knows(self, token: str) -> bool:
        """Whether a token was given out."""
        with self.database.read() as database:
            found = database.execute("SELECT 1 FROM rater WHERE token_sha256 = ?", (token_hash(token),)).fetchone()
        return found is not None

    def next_page(self, token: str) -> Page | None:
        """The first page that is not saved; None when all are.

        Raises:
            UnknownRater: unknown token.
            VocalgenError: the rater has not consented, or has withdrawn.
        """
        with self.database.read() as database:
            rater = rater_of(database, token)
            require_consent(rater)
            return standing_of(database, rater).page

    def clip(self, token: str, place: int) -> str:
        """Key of the clip of a page.

        Raises:
            VocalgenError: unknown token or page; a page out of turn; the rater has not consented, or has withdrawn.
        """
        with self.database.read() as database:
            rater = rater_of(database, token)
            require_consent(rater)
            page = page_of(database, rater["id"], place)
            due = due_place(database, rater["id"])
            if due is not None and place > due:
                raise VocalgenError(f"page {place} comes after one that is not answered yet; go back")
            return str(page["clip"])

    def save(self, token: str, place: int, values: Mapping[str, int], plays: int, seconds: float) -> Standing:
        """Save a page, whole or not at all; when this returns, it is on disk. Saving the same again changes nothing.

        Times and numbers of plays beyond the limits are cut to them, because clocks jump and pages stay open for days.

        Raises:
            VocalgenError: unknown token or page, a page out of turn, emotions missing or unknown, values off the
                scale, a clip that was never heard; a page that was saved with other values.
        """
        return self.saving(token, place, values, plays, seconds).result()

    def saving(self, token: str, place: int, values: Mapping[str, int], plays: int, seconds: float) -> Future[Standing]:
        """As `save`, without waiting; what is wrong with the values themselves is raised at once."""
        require_values(self.study.settings, values)
        plays, spent = bounded_plays(plays), bounded_seconds(seconds)
        return self.database.submit(lambda database: self._save(database, token, place, dict(values), plays, spent))

    def code(self, token: str) -> str:
        """The completion code.

        Raises:
            VocalgenError: unknown token; pages are left.
        """
        standing = self.standing(token)
        if standing.code is None:
            raise VocalgenError("there are pages left; the code comes after the last")
        return standing.code

    def withdraw(self, token: str) -> Standing:
        """Everything a rater has said is marked as withdrawn, or removed, as the study says; others hear the clips.

        With it go the flags: their reasons tell of the rater.

        Raises:
            UnknownRater: unknown token.
        """

        def work(database: sqlite3.Connection) -> Standing:
            number = rater_of(database, token)["id"]
            database.execute("UPDATE rater SET withdrawn = coalesce(withdrawn, ?) WHERE id = ?", (self.clock(), number))
            if self.study.settings.withdrawal == "removed":
                for table in ("rating", "page", "flag"):
                    database.execute(f"DELETE FROM {table} WHERE rater = ?", (number,))
            return standing_of(database, rater_of(database, token))

        standing = self.database.write(work)
        if self.study.settings.withdrawal == "removed":
            self.database.forget()
        return standing

    def flag(self, number: int, reason: str) -> None:
        """An experimenter says that a rater should perhaps not count; nothing is deleted.

        Raises:
            VocalgenError: no such rater, or no reason.
        """
        self.database.write(lambda database: flags.raise_flag(database, number, reason, "experimenter", self.clock()))

    def lift(self, number: int, reason: str) -> None:
        """Take a flag back; it is kept, with the time, and a rule does not raise it again.

        Raises:
            VocalgenError: the rater has no such flag.
        """
        self.database.write(lambda database: flags.lift_flag(database, number, reason, self.clock()))

    def answers(self) -> list[Answer]:
        """All saved pages, by rater and place; those of raters who withdrew or are flagged are marked."""
        with self.database.snapshot() as database:
            return read_answers(database)

    def raters(self) -> list[Rater]:
        """All who were invited, in order."""
        with self.database.snapshot() as database:
            return read_raters(database)

    def _begin(self, database: sqlite3.Connection, number: int, language: str) -> None:
        now = self.clock()
        if database.execute("SELECT 1 FROM study").fetchone() is None:
            database.execute("INSERT INTO study (fingerprint) VALUES (?)", (self.study.fingerprint,))
        some = self.study.settings.clips_per_rater is not None  # else everybody hears everything
        counts = {row[0]: int(row[1]) for row in database.execute(HEARD, (now - AWAY,))} if some else {}
        database.executemany(
            "INSERT INTO page (rater, place, clip, kind, asked) VALUES (?, ?, ?, ?, ?)",
            [(number, place, *page) for place, page in enumerate(plan(self.study, number, counts))],
        )
        read = self.study.texts_sha256[language]
        database.execute(
            "UPDATE rater SET consented = ?, language = ?, texts = ? WHERE id = ?", (now, language, read, number)
        )

    def _save(
        self, database: sqlite3.Connection, token: str, place: int, values: dict[str, int], plays: int, seconds: float
    ) -> Standing:
        rater = rater_of(database, token)
        require_consent(rater)
        number = rater["id"]
        page = page_of(database, number, place)
        if page["saved"] is not None:
            found = database.execute("SELECT emotion, value FROM rating WHERE rater = ? AND place = ?", (number, place))
            if {row["emotion"]: row["value"] for row in found} != values:
                raise VocalgenError(f"page {place} was saved before, with other values; go on with the next")
            return standing_of(database, rater)
        if place != due_place(database, number):
            raise VocalgenError(f"page {place} comes after one that is not answered yet; go back")
        now = self.clock()
        (before,) = database.execute("SELECT max(saved) FROM page WHERE rater = ?", (number,)).fetchone()
        passed = now - (before if before is not None else rater["consented"])
        if not 0 <= passed < seconds:  # else the browser's word is too much; below 0 the server's clock was set back
            passed = seconds
        hasty = flags.is_hasty(self.study, page["kind"], page["clip"], passed)
        missed = page["asked"] is not None and flags.is_missed(self.study.settings, page["asked"], values)
        database.execute(
            "UPDATE page SET plays = ?, seconds = ?, saved = ?, hasty = ?, missed = ? WHERE rater = ? AND place = ?",
            (plays, seconds, now, hasty, missed, number, place),
        )
        database.executemany(
            "INSERT INTO rating (rater, place, emotion, value) VALUES (?, ?, ?, ?)",
            [(number, place, emotion, value) for emotion, value in values.items()],
        )
        if hasty or missed:
            flags.apply_rules(database, self.study.settings, number, now)
        standing = standing_of(database, rater)
        if standing.stage == "done":
            database.execute("UPDATE rater SET finished = ? WHERE id = ?", (now, number))
        return standing
