"""Answers as files that `vocalgen metrics heep` and `vocalgen evaluate --ratings` read."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vocalgen.atomic import atomic_path, atomic_write_text
from vocalgen.errors import VocalgenError
from vocalgen.rating.store import Answer
from vocalgen.rating.study import Study

LONG, WIDE, ARRAYS = "ratings_long.csv", "ratings_wide.csv", "ratings.npz"


def export(study: Study, answers: Sequence[Answer], folder: str | Path) -> list[Path]:
    """Write the ratings that count: no practice, no repeats, nothing withdrawn.

    `ratings_long.csv` has a row a rating with target, plays and seconds of the page; `ratings_wide.csv` a row a rater
    and clip; `ratings.npz` an array (R, N, E) with NaN where nothing was said. Raters are called by numbers.

    Raises:
        VocalgenError: nobody has rated anything yet; the folder cannot be written.
    """
    counted = [answer for answer in answers if answer.kind == "rating" and not answer.withdrawn]
    if not counted:
        raise VocalgenError(f"{study.folder}: nobody has rated a clip yet; there is nothing to export")
    clips = {clip.key: clip for clip in study.clips}
    emotions = study.settings.emotions
    long = [("rater", "clip", "emotion", "rating", "target", "plays", "seconds")]
    wide: list[tuple[object, ...]] = [("rater", "clip", *emotions)]
    for answer in counted:
        clip, rater = clips[answer.clip], rater_name(answer.rater)
        for emotion in emotions:
            value = str(answer.values[emotion])
            long.append((rater, clip.clip, emotion, value, clip.emotion, str(answer.plays), f"{answer.seconds:.3f}"))
        wide.append((rater, clip.clip, *(answer.values[emotion] for emotion in emotions)))
    folder = Path(folder)
    atomic_write_text(folder / LONG, _csv(long))
    atomic_write_text(folder / WIDE, _csv(wide))
    raters = sorted({answer.rater for answer in counted})
    heard = sorted({clips[answer.clip].clip for answer in counted})
    values = np.full((len(raters), len(heard), len(emotions)), np.nan)
    for answer in counted:
        place = raters.index(answer.rater), heard.index(clips[answer.clip].clip)
        values[place] = [answer.values[emotion] for emotion in emotions]
    with atomic_path(folder / ARRAYS) as temporary, open(temporary, "wb") as stream:
        np.savez(
            stream,
            values=values,
            raters=np.array([rater_name(rater) for rater in raters], dtype=np.str_),
            clips=np.array(heard, dtype=np.str_),
            emotions=np.array(emotions, dtype=np.str_),
        )
    return [folder / LONG, folder / WIDE, folder / ARRAYS]


def rater_name(number: int) -> str:
    """What a rater is called in exports."""
    return f"rater-{number:04d}"


def _csv(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
