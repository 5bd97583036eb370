"""Where a rater stands: what is answered, and what comes next."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from vocalgen.errors import VocalgenError


class UnknownRater(VocalgenError):
    """A token that was never given out."""


@dataclass(frozen=True)
class Page:
    """What a rater hears next.

    Args:
        place: number of the page, from 0.
        pages: of the whole study for this rater.
        clip: key of the copy.
        kind: "practice", "rating", "repeat" or "instructed".
        asked: emotion that an instructed page asks for.
        emotions: in this rater's order.
    """

    place: int
    pages: int
    clip: str
    kind: str
    asked: str | None
    emotions: tuple[str, ...]


@dataclass(frozen=True)
class Standing:
    """Where a rater stands.

    Args:
        stage: "consent", "pages", "done" or "withdrawn".
        language: that was chosen with the consent.
        page: what comes next at the stage "pages".
        code: of completion, at the stage "done".
        participant: Id on the crowd platform that the rater came from, at the stage "done".
    """

    stage: str
    language: str | None = None
    page: Page | None = None
    code: str | None = None
    participant: str | None = None


def rater_of(database: sqlite3.Connection, token: str) -> Any:
    """The rater's row.

    Raises:
        UnknownRater: unknown token.
    """
    row = database.execute("SELECT * FROM rater WHERE token_sha256 = ?", (token_hash(token),)).fetchone()
    if row is None:
        raise UnknownRater("This link is not known here; check that it is complete.")
    return row


def standing_of(database: sqlite3.Connection, rater: Any) -> Standing:
    """Where the rater of a row stands."""
    if rater["withdrawn"] is not None:
        return Standing("withdrawn", rater["language"])
    if rater["consented"] is None:
        return Standing("consent")
    page = database.execute(
        "SELECT * FROM page WHERE rater = ? AND saved IS NULL ORDER BY place LIMIT 1", (rater["id"],)
    ).fetchone()
    if page is None:
        return Standing("done", rater["language"], code=rater["code"], participant=rater["participant"])
    (pages,) = database.execute("SELECT max(place) + 1 FROM page WHERE rater = ?", (rater["id"],)).fetchone()
    emotions = tuple(json.loads(rater["emotions"]))
    following = Page(page["place"], pages, page["clip"], page["kind"], page["asked"], emotions)
    return Standing("pages", rater["language"], following)


def page_of(database: sqlite3.Connection, number: int, place: int) -> Any:
    """The row of a rater's page.

    Raises:
        VocalgenError: there is no such page.
    """
    row = None
    if 0 <= place < 2**31:
        row = database.execute("SELECT * FROM page WHERE rater = ? AND place = ?", (number, place)).fetchone()
    if row is None:
        raise VocalgenError(f"there is no page {place}")
    return row


def due_place(database: sqlite3.Connection, number: int) -> int | None:
    """Place of the first page that is not saved."""
    row = database.execute("SELECT min(place) FROM page WHERE rater = ? AND saved IS NULL", (number,)).fetchone()
    return None if row[0] is None else int(row[0])


def require_consent(rater: Any) -> None:
    """Refuse who has not consented, or has withdrawn.

    Raises:
        VocalgenError: so it is.
    """
    if rater["withdrawn"] is not None:
        raise VocalgenError("you have withdrawn; nothing more is asked")
    if rater["consented"] is None:
        raise VocalgenError("consent comes first")


def token_hash(token: str) -> str:
    """What the database keeps of a rater's token."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
