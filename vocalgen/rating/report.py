"""What a study found: HEEP, how well raters agree with each other and with themselves, who was hasty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from vocalgen.errors import VocalgenError
from vocalgen.metrics.agreement import icc, krippendorff_alpha
from vocalgen.metrics.heep import Reading, heep_intervals
from vocalgen.metrics.prediction import pearson
from vocalgen.rating.export import rater_name, rating_array
from vocalgen.rating.store import Answer
from vocalgen.rating.study import Study

Array = NDArray[np.float64]


def study_report(study: Study, answers: Sequence[Answer], draws: int = 1000) -> dict[str, Any]:
    """The report, ready for JSON.

    Withdrawn answers, practice and second times do not count for the scores. HEEP is undefined (None) for an emotion
    that no clip was made for. Intraclass correlations need raters who all heard the same clips, else they are None.
    Second times are correlated with the first of the same rater, all emotions together. A page is hasty if it was
    answered in less time than its clip lasts; hasty pages are counted, not left out.

    Args:
        draws: resamples of the intervals.

    Raises:
        VocalgenError: nobody has rated a clip.
    """
    kept = [answer for answer in answers if not answer.withdrawn]
    counted = [answer for answer in kept if answer.kind == "rating"]
    if not counted:
        raise VocalgenError(f"{study.folder}: nobody has rated a clip yet; there is nothing to report")
    emotions = study.settings.emotions
    values, raters, heard = rating_array(counted, emotions)
    made_for = {clip.key: clip.emotion for clip in study.clips}
    meant = np.array([[made_for[clip] == name for name in emotions] for clip in heard], dtype=np.float64)
    items = values.reshape(len(raters), -1)
    mean = np.nanmean(values, axis=0)
    return {
        "raters": len(raters),
        "clips": len(heard),
        "ratings": int(np.isfinite(values).sum()),
        "heep": {reading: _heep(meant, values, emotions, reading, draws) for reading in get_args(Reading)},
        "krippendorff_alpha": _number(krippendorff_alpha(items)) if len(raters) > 1 else None,
        "icc": _icc(items),
        "with_themselves": _repeats(kept, emotions),
        "hasty": _hasty(study, counted),
        "heard": {
            name: dict(zip(emotions, mean[meant[:, column] > 0].mean(axis=0).tolist(), strict=True))
            for column, name in enumerate(emotions)
            if meant[:, column].any()
        },
    }


def _heep(meant: Array, values: Array, emotions: Sequence[str], reading: Reading, draws: int) -> dict[str, Any]:
    found = heep_intervals(meant, values, reading, draws)
    return {
        "overall": [_number(value) for value in found.overall],
        "emotions": {
            name: [_number(value) for value in interval]
            for name, interval in zip(emotions, found.emotions, strict=True)
        },
    }


def _icc(items: Array) -> dict[str, float | None] | None:
    if len(items) < 2 or not np.isfinite(items).all():
        return None
    return {name: _number(value) for name, value in icc(items)._asdict().items()}


def _repeats(answers: Sequence[Answer], emotions: Sequence[str]) -> dict[str, Any] | None:
    """Correlation of second with first times; None without any."""
    first = {(a.rater, a.clip): a.values for a in answers if a.kind == "rating"}
    pairs = [(first[a.rater, a.clip], a.values) for a in answers if a.kind == "repeat" and (a.rater, a.clip) in first]
    if not pairs:
        return None
    before, after = ([values[name] for pair in pairs for name in emotions for values in (pair[k],)] for k in (0, 1))
    return {"pages": len(pairs), "pearson": _number(pearson(before, after))}


def _hasty(study: Study, answers: Sequence[Answer]) -> dict[str, Any]:
    lasts = {clip.key: clip.seconds for clip in study.clips}
    hasty = [answer for answer in answers if answer.seconds < lasts[answer.clip]]
    by_rater = {rater_name(a.rater): sum(b.rater == a.rater for b in hasty) for a in hasty}
    return {"pages": len(hasty), "raters": by_rater}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
