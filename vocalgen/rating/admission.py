"""Admission of raters: rows of those who are invited, and of participants of a crowd platform."""

from __future__ import annotations

import json
import secrets
import sqlite3

from vocalgen.errors import VocalgenError
from vocalgen.rating.entrance import participant_token
from vocalgen.rating.order import emotion_order
from vocalgen.rating.standing import token_hash
from vocalgen.rating.study import Study

CODE_LETTERS, CODE_LENGTH = "BCDFGHJKLMNPQRSTVWXZ", 8
"""Alphabet and length of completion codes: capital consonants form no number, date or truth value.

Spreadsheets and data frames therefore keep them as they are.
"""


class StudyFull(VocalgenError):
    """The entrance has admitted as many raters as it may."""


def completion_code() -> str:
    """Random completion code of a rater."""
    return "".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_LENGTH))


def add_rater(database: sqlite3.Connection, study: Study, token: str, participant: str | None = None) -> None:
    """Add a rater who has not consented yet.

    Args:
        token: Secret part of the rater's link; its hash is stored.
        participant: Id on a crowd platform.
    """
    (number,) = database.execute("SELECT coalesce(max(id), 0) + 1 FROM rater").fetchone()
    emotions = json.dumps(emotion_order(study, number))
    database.execute(
        "INSERT INTO rater (id, token_sha256, emotions, code, participant) VALUES (?, ?, ?, ?, ?)",
        (number, token_hash(token), emotions, completion_code(), participant),
    )


def admit(database: sqlite3.Connection, study: Study, participant: str) -> str:
    """Token of a participant, who becomes a rater when the id comes for the first time.

    Raises:
        StudyFull: the id is new, and `Study.entrance_limit` is reached.
    """
    token = participant_token(_secret(database), participant)
    if not database.execute("SELECT 1 FROM rater WHERE participant = ?", (participant,)).fetchone():
        (joined,) = database.execute("SELECT count(participant) FROM rater").fetchone()
        if joined >= study.entrance_limit:
            raise StudyFull("This study has all the raters it needs. Thank you for coming.")
        add_rater(database, study, token, participant)
    return token


def _secret(database: sqlite3.Connection) -> bytes:
    """Key of participants' tokens, made when the first of them comes."""
    found = database.execute("SELECT secret FROM entrance").fetchone()
    if found is None:
        found = (secrets.token_bytes(32),)
        database.execute("INSERT INTO entrance (secret) VALUES (?)", found)
    return bytes(found[0])
