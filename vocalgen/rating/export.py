"""Answers as files that `vocalgen metrics heep` and `vocalgen evaluate --ratings` read."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vocalgen.atomic import atomic_path, atomic_write_text
from vocalgen.errors import VocalgenError
from vocalgen.ownership import FolderKind, begin_index, require_replaceable
from vocalgen.rating.answers import Answer, Rater, kept, rater_name
from vocalgen.rating.study import Settings, Study

LONG, WIDE, ARRAYS, TARGETS, PAGES, RATERS = (
    "ratings_long.csv", "ratings_wide.csv", "ratings.npz", "targets.csv", "pages.csv", "raters.csv",
)  # fmt: skip

Row = Sequence[object]


RATINGS = FolderKind("exported ratings")


def export(
    study: Study,
    answers: Sequence[Answer],
    raters: Sequence[Rater],
    folder: str | Path,
    flagged: bool = True,
    overwrite: bool = False,
) -> list[Path]:
    """Write the ratings that count, and what there is beside them; raters are called by numbers.

    `ratings_long.csv` has a row a rating with target, place, plays and seconds of its page; `ratings_wide.csv` a row a
    rater and clip; `ratings.npz` an array (R, N, E) with NaN where nothing was said. These hold no practice, no second
    times and no instructed pages, and ratings from 1 to 100: another scale is stretched to that, and the answer itself
    stands in the long file as `given`. `targets.csv` says what each clip was made for, for `vocalgen metrics heep
    --targets`: names of clips need not tell it. `pages.csv` has every page in the order it was heard, of all kinds,
    with the answers as given; `raters.csv` every rater who has not withdrawn, with all flags, the texts agreed to and
    the order in which the emotions were shown. Completion codes, which others know raters by, are in none.
    Ids of participants of a crowd platform are in `raters.csv` alone.

    Args:
        flagged: whether the first three hold what flagged raters said.
        overwrite: whether files of these names that vocalgen did not write may be replaced.

    Raises:
        VocalgenError: nobody who counts has rated anything yet; the folder cannot be written.
    """
    folder, names = Path(folder), (LONG, WIDE, ARRAYS, TARGETS, PAGES, RATERS)
    for name in names:
        require_replaceable(folder / name, overwrite)
    present = kept(answers)
    counted = [answer for answer in kept(answers, flagged) if answer.kind == "rating"]
    if not counted:
        others = "" if flagged else " but flagged raters"
        raise VocalgenError(f"{study.folder}: nobody{others} has rated a clip yet; there is nothing to export")
    begin_index(folder, RATINGS)
    atomic_write_text(folder / LONG, _csv(_long(study, counted)), overwrite)
    atomic_write_text(folder / WIDE, _csv(_wide(study, counted)), overwrite)
    _save_arrays(study, counted, folder / ARRAYS, overwrite)
    atomic_write_text(folder / TARGETS, _csv([("clip", "emotion"), *_targets(study)]), overwrite)
    atomic_write_text(folder / PAGES, _csv(_pages(study, present)), overwrite)
    atomic_write_text(folder / RATERS, _csv(_raters(raters, present)), overwrite)
    return [folder / name for name in names]


def rating_array(
    answers: Sequence[Answer], emotions: Sequence[str]
) -> tuple[NDArray[np.float64], list[int], list[str]]:
    """(R, N, E) ratings, NaN where a rater did not hear a clip; numbers of the raters, keys of the clips."""
    raters, heard = sorted({answer.rater for answer in answers}), sorted({answer.clip for answer in answers})
    row, column = ({name: place for place, name in enumerate(axis)} for axis in (raters, heard))
    values = np.full((len(raters), len(heard), len(emotions)), np.nan)
    for answer in answers:
        values[row[answer.rater], column[answer.clip]] = [answer.values[name] for name in emotions]
    return values, raters, heard


def _long(study: Study, answers: Sequence[Answer]) -> list[Row]:
    rows: list[Row] = [
        ("rater", "clip", "emotion", "rating", "given", "target", "place", "plays", "seconds", "too_fast")
    ]
    for answer in answers:
        clip = study.by_key[answer.clip]
        for emotion in study.settings.emotions:
            given = answer.values[emotion]
            page = answer.place, answer.plays, f"{answer.seconds:.3f}", int(answer.hasty)
            rating = _percent(given, study.settings)
            rows.append((rater_name(answer.rater), clip.clip, emotion, rating, given, clip.emotion, *page))
    return rows


def _wide(study: Study, answers: Sequence[Answer]) -> list[Row]:
    emotions = study.settings.emotions
    rows: list[Row] = [("rater", "clip", *emotions)]
    for answer in answers:
        ratings = (_percent(answer.values[emotion], study.settings) for emotion in emotions)
        rows.append((rater_name(answer.rater), study.by_key[answer.clip].clip, *ratings))
    return rows


def _targets(study: Study) -> Sequence[Row]:
    return sorted((clip.clip, clip.emotion) for clip in study.rated)


def _save_arrays(study: Study, answers: Sequence[Answer], file: Path, overwrite: bool) -> None:
    settings = study.settings
    values, raters, heard = rating_array(answers, settings.emotions)
    order = sorted(range(len(heard)), key=lambda place: study.by_key[heard[place]].clip)
    with atomic_path(file, overwrite) as temporary, open(temporary, "wb") as stream:
        np.savez(
            stream,
            values=1 + 99 * (values[:, order] - settings.low) / (settings.high - settings.low),
            raters=np.array([rater_name(rater) for rater in raters], dtype=np.str_),
            clips=np.array([study.by_key[heard[place]].clip for place in order], dtype=np.str_),
            emotions=np.array(settings.emotions, dtype=np.str_),
        )


def _pages(study: Study, answers: Sequence[Answer]) -> list[Row]:
    emotions = study.settings.emotions
    columns = ("rater", "place", "kind", "clip", "target", "asked", "plays", "seconds", "saved", "too_fast", "missed")
    rows: list[Row] = [(*columns, *emotions)]
    for answer in answers:
        clip, seconds = study.by_key[answer.clip], f"{answer.seconds:.3f}"
        about = rater_name(answer.rater), answer.place, answer.kind, clip.clip, clip.emotion, answer.asked or ""
        how = answer.plays, seconds, _moment(answer.saved), int(answer.hasty), int(answer.missed)
        rows.append((*about, *how, *(answer.values[emotion] for emotion in emotions)))
    return rows


def _raters(raters: Sequence[Rater], answers: Sequence[Answer]) -> list[Row]:
    rows: list[Row] = [
        ("rater", "participant", "language", "texts_sha256", "emotion_order", "pages", "saved", "median_seconds",
         "too_fast", "missed", "flags", "lifted_flags")
    ]  # fmt: skip
    for rater in raters:
        if rater.consented is None or rater.withdrawn is not None:
            continue
        own = [answer for answer in answers if answer.rater == rater.number]
        median = f"{np.median([answer.seconds for answer in own]):.3f}" if own else ""
        counts = sum(answer.hasty for answer in own), sum(answer.missed for answer in own)
        flags = ("; ".join(f.reason for f in rater.flags if (f.lifted is None) == up) for up in (True, False))
        about = rater.participant or "", rater.language or "", rater.texts or "", "; ".join(rater.emotions)
        rows.append((rater_name(rater.number), *about, rater.pages, rater.saved, median, *counts, *flags))
    return rows


def _percent(value: int, settings: Settings) -> str:
    """On the scale from 1 to 100."""
    return f"{1 + 99 * (value - settings.low) / (settings.high - settings.low):.6g}"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
