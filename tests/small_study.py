"""A small listening study, and raters who answer it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from bursts import burst

from vocalgen import audio
from vocalgen.rating.store import Store
from vocalgen.rating.study import RATINGS, Settings, Study

EMOTIONS = ("Awe", "Fear", "Sadness")
SETTINGS = Settings(emotions=EMOTIONS, repeats=2, practice=2, instructed=0, seed=3)
RATE = 16_000


def write_clips(folder: Path) -> Path:
    """Six clips of each emotion, of all loudnesses."""
    for kind, emotion in enumerate(EMOTIONS):
        for number in range(6):
            wave = (0.02 + 0.1 * number) * burst(kind, 0.4 + 0.1 * number, RATE, seed=number)
            audio.write(folder / emotion.lower() / f"{number}.wav", wave, RATE)
    return folder


class Clock:
    """Time passes by a minute a look, so that no page seems hasty."""

    def __init__(self, step: float = 60.0) -> None:
        self.now, self.step = 1e9, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def answered(store: Store, token: str, value: int = 50, pages: int | None = None) -> list[tuple[str, str]]:
    """Consent and answer pages, all of one value; what was heard, with its kind."""
    store.consent(token)
    heard = []
    while (pages is None or len(heard) < pages) and (page := store.next_page(token)) is not None:
        store.save(token, page.place, dict.fromkeys(page.emotions, value), 1, 5.0)
        heard.append((page.clip, page.kind))
    return heard


def make_older(study: Study, version: int) -> None:
    """Bring the database of a study, which nobody has open, to how it was in an older version."""
    with closing(sqlite3.connect(study.folder / RATINGS)) as database:
        database.execute("DROP INDEX rater_participant")
        database.execute("DROP TABLE entrance")
        for column in ("participant", *(("texts", "finished") if version == 2 else ())):
            database.execute(f"ALTER TABLE rater DROP COLUMN {column}")
        if version == 2:
            database.execute("UPDATE study SET fingerprint = ?", (study.fingerprint_without_withdrawal,))
        database.execute(f"PRAGMA user_version = {version}")
        database.commit()
