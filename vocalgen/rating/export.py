"""Answers as files that `vocalgen metrics heep` and `vocalgen evaluate --ratings` read."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
    values, raters, heard = rating_array(counted, emotions)
    order = sorted(range(len(heard)), key=lambda place: clips[heard[place]].clip)
    with atomic_path(folder / ARRAYS) as temporary, open(temporary, "wb") as stream:
        np.savez(
            stream,
            values=values[:, order],
            raters=np.array([rater_name(rater) for rater in raters], dtype=np.str_),
            clips=np.array([clips[heard[place]].clip for place in order], dtype=np.str_),
            emotions=np.array(emotions, dtype=np.str_),
        )
    return [folder / LONG, folder / WIDE, folder / ARRAYS]


def rating_array(
    answers: Sequence[Answer], emotions: Sequence[str]
) -> tuple[NDArray[np.float64], list[int], list[str]]:
    """(R, N, E) ratings, NaN where a rater did not hear a clip; numbers of the raters, keys of the clips."""
    raters, heard = sorted({answer.rater for answer in answers}), sorted({answer.clip for answer in answers})
    values = np.full((len(raters), len(heard), len(emotions)), np.nan)
    for answer in answers:
        place = raters.index(answer.rater), heard.index(answer.clip)
        values[place] = [answer.values[name] for name in emotions]
    return values, raters, heard


def rater_name(number: int) -> str:
    """What a rater is called in exports."""
    return f"rater-{number:04d}"


def _csv(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
