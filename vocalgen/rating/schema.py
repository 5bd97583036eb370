"""The tables of `ratings.sqlite`, and how those of an older version become these."""

from __future__ import annotations

import sqlite3

from vocalgen.rating.study import Study

VERSION = 4
ENTRANCE = """
CREATE UNIQUE INDEX IF NOT EXISTS rater_participant ON rater (participant);
CREATE TABLE IF NOT EXISTS entrance (
    secret BLOB NOT NULL
);
"""
TABLES = f"""
CREATE TABLE IF NOT EXISTS study (
    fingerprint TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS rater (
    id INTEGER PRIMARY KEY,
    token_sha256 TEXT NOT NULL UNIQUE,
    emotions TEXT NOT NULL,
    code TEXT NOT NULL,
    language TEXT,
    texts TEXT,
    consented REAL,
    finished REAL,
    withdrawn REAL,
    participant TEXT
);
CREATE TABLE IF NOT EXISTS page (
    rater INTEGER NOT NULL REFERENCES rater (id),
    place INTEGER NOT NULL,
    clip TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('practice', 'rating', 'repeat', 'instructed')),
    asked TEXT,
    plays INTEGER,
    seconds REAL,
    saved REAL,
    hasty INTEGER,
    missed INTEGER,
    PRIMARY KEY (rater, place)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rating (
    rater INTEGER NOT NULL,
    place INTEGER NOT NULL,
    emotion TEXT NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (rater, place, emotion),
    FOREIGN KEY (rater, place) REFERENCES page (rater, place)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS flag (
    id INTEGER PRIMARY KEY,
    rater INTEGER NOT NULL REFERENCES rater (id),
    reason TEXT NOT NULL,
    source TEXT NOT NULL CHECK (source IN ('rule', 'experimenter')),
    raised REAL NOT NULL,
    lifted REAL
);
CREATE INDEX IF NOT EXISTS flag_of_rater ON flag (rater);
{ENTRANCE}"""


def from_2(study: Study, database: sqlite3.Connection) -> None:
    """From the version that kept neither which texts a rater agreed to nor when the last page was saved."""
    for column in ("texts TEXT", "finished REAL"):
        database.execute(f"ALTER TABLE rater ADD COLUMN {column}")
    database.execute(
        "UPDATE rater SET finished = (SELECT max(saved) FROM page WHERE page.rater = rater.id) "
        "WHERE NOT EXISTS (SELECT 1 FROM page WHERE page.rater = rater.id AND saved IS NULL)"
    )
    database.execute("UPDATE page SET hasty = 0 WHERE kind IN ('practice', 'instructed') AND hasty")
    database.execute(
        "UPDATE study SET fingerprint = ? WHERE fingerprint = ?",
        (study.fingerprint, study.fingerprint_without_withdrawal),
    )


def from_3(database: sqlite3.Connection) -> None:
    """Migrate from the version without participants of crowd platforms."""
    database.execute("ALTER TABLE rater ADD COLUMN participant TEXT")
    for statement in ENTRANCE.split(";")[:-1]:
        database.execute(statement)
