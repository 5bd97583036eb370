"""Why a rater should perhaps not count: flags, raised by rules or by the experimenter; none deletes anything."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from vocalgen.errors import VocalgenError
from vocalgen.rating.answers import rater_name
from vocalgen.rating.study import Settings, Study

MISSED, FAST = "missed instructions", "too fast"
"""Reasons of the rules."""

TOLERANCE = 0.1
"""Share of the scale by which an answer to an instructed page may differ from what was asked."""

LONGEST = 200
"""Characters of a reason."""


PACED = ("rating", "repeat")
"""Kinds of pages that can be too fast: practice does not count, and what is asked for needs no listening."""


def is_hasty(study: Study, kind: str, clip: str, seconds: float) -> bool:
    """Whether a page was answered in less time than its clip and one quick answer for every emotion take."""
    settings = study.settings
    return kind in PACED and seconds < study.by_key[clip].seconds + settings.quickest * len(settings.emotions)


def is_missed(settings: Settings, asked: str, values: Mapping[str, int]) -> bool:
    """Whether an instructed page was answered otherwise: the asked emotion at the top, all others at the bottom."""
    room = TOLERANCE * (settings.high - settings.low)
    wanted = {name: settings.high if name == asked else settings.low for name in settings.emotions}
    return any(abs(values[name] - value) > room for name, value in wanted.items())


def apply_rules(database: sqlite3.Connection, settings: Settings, rater: int, now: float) -> None:
    """Raise what a rater's pages give reason for: once, also if it was lifted since."""
    missed, hasty, pages = database.execute(
        "SELECT total(missed), total(hasty), total(kind IN (?, ?)) FROM page WHERE rater = ?", (*PACED, rater)
    ).fetchone()
    reasons = {MISSED: missed > settings.misses_allowed, FAST: hasty > settings.fast_allowed * pages}
    for reason in (reason for reason, given in reasons.items() if given):
        if not database.execute("SELECT 1 FROM flag WHERE rater = ? AND reason = ?", (rater, reason)).fetchone():
            raise_flag(database, rater, reason, "rule", now)


def raise_flag(database: sqlite3.Connection, rater: int, reason: str, source: str, now: float) -> None:
    """Raise a flag, unless it is up.

    Raises:
        VocalgenError: no such rater, or no reason.
    """
    reason = _checked(database, rater, reason)
    up = "SELECT 1 FROM flag WHERE rater = ? AND reason = ? AND lifted IS NULL"
    if not database.execute(up, (rater, reason)).fetchone():
        database.execute(
            "INSERT INTO flag (rater, reason, source, raised) VALUES (?, ?, ?, ?)", (rater, reason, source, now)
        )


def lift_flag(database: sqlite3.Connection, rater: int, reason: str, now: float) -> None:
    """Take a flag back.

    Raises:
        VocalgenError: it is not up.
    """
    reason = _checked(database, rater, reason)
    done = database.execute(
        "UPDATE flag SET lifted = ? WHERE rater = ? AND reason = ? AND lifted IS NULL", (now, rater, reason)
    )
    if not done.rowcount:
        raise VocalgenError(f"{rater_name(rater)} has no flag {reason!r}")


def _checked(database: sqlite3.Connection, rater: int, reason: str) -> str:
    reason = " ".join(reason.split())
    if not 0 < len(reason) <= LONGEST:
        raise VocalgenError(f"a reason of 1 to {LONGEST} characters is needed, this has {len(reason)}")
    known = type(rater) is int and 0 < rater < 2**31
    if not known or not database.execute("SELECT 1 FROM rater WHERE id = ?", (rater,)).fetchone():
        raise VocalgenError(f"there is no {rater_name(rater)}" if known else "a rater is a number, from 1")
    return reason
