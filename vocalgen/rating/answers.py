"""Saved pages and raters as they are read for exports and reports."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vocalgen.errors import VocalgenError


@dataclass(frozen=True)
class Answer:
    """A page as it was saved.

    Args:
        rater: number.
        place, clip, kind, asked: of the page.
        values: by emotion, on the study's scale.
        plays: how often the clip was heard.
        seconds: from the page's appearance to its answer, as the browser says.
        saved: when, in seconds since 1970.
        hasty: whether a rated or repeated clip was answered too fast.
        missed: whether an instructed page was answered otherwise.
        withdrawn: whether the rater withdrew later.
        flagged: whether the rater has a flag.
    """

    rater: int
    place: int
    clip: str
    kind: str
    asked: str | None
    values: Mapping[str, int]
    plays: int
    seconds: float
    saved: float
    hasty: bool
    missed: bool
    withdrawn: bool
    flagged: bool


@dataclass(frozen=True)
class Flag:
    """A reason why a rater should perhaps not count.

    Args:
        source: "rule" or "experimenter".
        raised, lifted: seconds since 1970; lifted is None while it is up.
    """

    reason: str
    source: str
    raised: float
    lifted: float | None


@dataclass(frozen=True)
class Rater:
    """Somebody who was invited.

    Args:
        number: from 1.
        emotions: in the order in which the rater sees them.
        code: of completion.
        participant: Id on the crowd platform that the rater came from; None: by a link of their own.
        language: that was chosen with the consent.
        texts: SHA-256 of the file of texts that the rater agreed to.
        consented, finished, withdrawn: seconds since 1970; finished: when the last page was saved.
        pages, saved: that were assigned, and how many of them are saved.
        flags: also those that were lifted.
    """

    number: int
    emotions: tuple[str, ...]
    code: str
    participant: str | None
    language: str | None
    texts: str | None
    consented: float | None
    finished: float | None
    withdrawn: float | None
    pages: int
    saved: int
    flags: tuple[Flag, ...]

    @property
    def flagged(self) -> bool:
        """Whether a flag is up."""
        return any(flag.lifted is None for flag in self.flags)


def rater_name(number: int) -> str:
    """What a rater is called in exports."""
    return f"rater-{number:04d}"


def rater_number(name: str) -> int:
    """The number of a rater of that name.

    Raises:
        VocalgenError: it is no such name.
    """
    digits = name.removeprefix("rater-")
    if not (digits.isascii() and digits.isdigit() and int(digits)):
        raise VocalgenError(f"{name!r} is no rater; raters are called rater-0001 and so on")
    return int(digits)


def kept(answers: Sequence[Answer], flagged: bool = True) -> list[Answer]:
    """What was not withdrawn, with or without the answers of flagged raters."""
    return [answer for answer in answers if not answer.withdrawn and (flagged or not answer.flagged)]


def read_answers(database: sqlite3.Connection) -> list[Answer]:
    """All saved pages, by rater and place."""
    database.execute("BEGIN")
    ratings: dict[tuple[int, int], dict[str, int]] = {}
    for rater, place, emotion, value in database.execute("SELECT rater, place, emotion, value FROM rating"):
        ratings.setdefault((rater, place), {})[emotion] = value
    pages = database.execute(
        "SELECT page.*, rater.withdrawn AS withdrawn, "
        "EXISTS (SELECT 1 FROM flag WHERE flag.rater = page.rater AND lifted IS NULL) AS flagged "
        "FROM page JOIN rater ON rater.id = page.rater WHERE saved IS NOT NULL ORDER BY page.rater, place"
    ).fetchall()
    database.execute("COMMIT")
    return [
        Answer(
            page["rater"],
            page["place"],
            page["clip"],
            page["kind"],
            page["asked"],
            ratings[page["rater"], page["place"]],
            page["plays"],
            page["seconds"],
            page["saved"],
            bool(page["hasty"]),
            bool(page["missed"]),
            page["withdrawn"] is not None,
            bool(page["flagged"]),
        )
        for page in pages
    ]


def read_raters(database: sqlite3.Connection) -> list[Rater]:
    """All raters with their flags, in order."""
    flags: dict[int, list[Flag]] = {}
    for row in database.execute("SELECT * FROM flag ORDER BY id"):
        flags.setdefault(row["rater"], []).append(Flag(row["reason"], row["source"], row["raised"], row["lifted"]))
    rows = database.execute(
        "SELECT rater.*, count(place) AS pages, count(saved) AS saved FROM rater "
        "LEFT JOIN page ON page.rater = rater.id GROUP BY rater.id ORDER BY rater.id"
    )
    return [
        Rater(
            row["id"],
            tuple(json.loads(row["emotions"])),
            row["code"],
            row["participant"],
            row["language"],
            row["texts"],
            row["consented"],
            row["finished"],
            row["withdrawn"],
            row["pages"],
            row["saved"],
            tuple(flags.get(row["id"], ())),
        )
        for row in rows
    ]
