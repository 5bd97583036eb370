"""What a study found: HEEP, S_GEN, how well raters agree with each other and with themselves, who was hasty."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from vocalgen.errors import VocalgenError
from vocalgen.metrics.agreement import icc, icc_one_way, krippendorff_alpha
from vocalgen.metrics.heep import Reading, heep_intervals
from vocalgen.metrics.prediction import pearson
from vocalgen.metrics.s_gen import s_gen
from vocalgen.rating.answers import Answer, Rater, kept, rater_name
from vocalgen.rating.export import rating_array
from vocalgen.rating.study import Study

Array = NDArray[np.float64]
Json = dict[str, Any]


def study_report(
    study: Study,
    answers: Sequence[Answer],
    raters: Sequence[Rater],
    draws: int = 1000,
    flagged: bool = True,
    distances: Mapping[str, float] | None = None,
) -> Json:
    """The report, ready for JSON.

    Withdrawn answers, practice, second times and instructed pages do not count for the scores. HEEP is undefined (None)
    for an emotion that no clip was made for; for intraclass correlations see `reliability`. Second times are correlated
    with the first of the same rater, all emotions together, see `with_themselves`. `participants` holds the ids of
    raters who came from a crowd platform, by rater.

    Args:
        raters: all who were invited; answers of those who withdrew may be gone.
        draws: resamples of the intervals.
        flagged: whether what flagged raters said counts; how many they are is always told.
        distances: Fréchet distance by emotion, for S_GEN, see `distances_of`.

    Raises:
        VocalgenError: nobody who counts has rated a clip; a distance that cannot be.
    """
    chosen = kept(answers, flagged)
    counted = [answer for answer in chosen if answer.kind == "rating"]
    if not counted:
        others = "" if flagged else " but flagged raters"
        raise VocalgenError(f"{study.folder}: nobody{others} has rated a clip yet; there is nothing to report")
    emotions = study.settings.emotions
    values, names, heard = rating_array(counted, emotions)
    meant = np.array([[study.by_key[clip].emotion == name for name in emotions] for clip in heard], dtype=np.float64)
    mean = np.nanmean(values, axis=0)
    scores = {reading: _heep(meant, values, emotions, reading, draws) for reading in get_args(Reading)}
    return {
        "raters": len(names),
        "flagged_raters": {"raters": len({a.rater for a in kept(answers) if a.flagged}), "counted": flagged},
        "withdrawn_raters": sum(rater.withdrawn is not None for rater in raters),
        "participants": {
            rater_name(rater.number): rater.participant
            for rater in raters
            if rater.participant is not None and rater.withdrawn is None
        },
        "clips": len(heard),
        "clips_of_other_emotions": int((meant.sum(axis=1) == 0).sum()),
        "ratings": int(np.isfinite(values).sum()),
        "heep": scores,
        "s_gen": None if distances is None else _s_gen(distances, scores["column"]["emotions"], meant.sum(axis=0) > 0),
        **reliability(values, emotions),
        "with_themselves": with_themselves(chosen, emotions),
        "instructed": {
            "pages": sum(a.kind == "instructed" for a in chosen),
            "missed": _by_rater([a for a in chosen if a.missed]),
        },
        "hasty": _by_rater([a for a in chosen if a.hasty]),
        "heard": {
            name: dict(zip(emotions, mean[meant[:, column] > 0].mean(axis=0).tolist(), strict=True))
            for column, name in enumerate(emotions)
            if meant[:, column].any()
        },
    }


def reliability(values: Array, emotions: Sequence[str]) -> Json:
    """Krippendorff's alpha of ratings (R, N, E), together and by emotion, and intraclass correlations; None where they
    are undefined, with the reason in `icc_undefined`.

    ICC(1) and ICC(1, k) are of all ratings, whoever gave them. ICC(2) and ICC(3) are of the raters who have rated every
    clip, as many as `icc_complete_raters` says.
    """
    items = values.reshape(len(values), -1)
    correlations, undefined = _correlations(items)
    return {
        "krippendorff_alpha": _number(krippendorff_alpha(items)),
        "alpha_by_emotion": {
            name: _number(krippendorff_alpha(values[:, :, column])) for column, name in enumerate(emotions)
        },
        "icc": correlations,
        "icc_undefined": undefined,
        "icc_complete_raters": int(np.isfinite(items).all(axis=1).sum()),
    }


def _correlations(items: Array) -> tuple[dict[str, float | None], dict[str, str]]:
    """Intraclass correlations of ratings (R, I), and why some are undefined."""
    complete = items[np.isfinite(items).all(axis=1)]
    found: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    two_way = ("icc2", "icc3", "icc2k", "icc3k")
    for names, measure, ratings, lacking in (
        (("icc1", "icc1k"), icc_one_way, items, "no clip was rated by two raters yet"),
        (two_way, icc, complete, "no two raters have rated every clip"),
    ):
        try:
            values, reason = measure(ratings)._asdict(), "all ratings are equal"
        except ValueError:
            values, reason = {}, lacking
        found |= {name: _number(values.get(name, np.nan)) for name in names}
        reasons |= {name: reason for name in names if found[name] is None}
    return found, reasons


def with_themselves(answers: Sequence[Answer], emotions: Sequence[str]) -> Json | None:
    """Correlation of second with first times, by rater, with the median and the number of those it is defined for; None
    without second times.

    It is not computed over raters together: that who says high numbers says them again is no agreement with oneself.
    """
    first = {(a.rater, a.clip): a.values for a in answers if a.kind == "rating"}
    seconds = [a for a in answers if a.kind == "repeat" and (a.rater, a.clip) in first]
    if not seconds:
        return None

    def correlation(rater: int) -> float | None:
        own = [a for a in seconds if a.rater == rater]
        before = [first[a.rater, a.clip][name] for a in own for name in emotions]
        after = [a.values[name] for a in own for name in emotions]
        return _number(pearson(before, after)) if len(before) > 1 else None

    raters = {rater_name(rater): correlation(rater) for rater in sorted({a.rater for a in seconds})}
    known = [value for value in raters.values() if value is not None]
    median = statistics.median(known) if known else None
    return {"pages": len(seconds), "median": median, "defined": len(known), "raters": raters}


def distances_of(evaluation: Any, system: str | None = None) -> dict[str, float]:
    """Fréchet distances by emotion in a report.json of `vocalgen evaluate`.

    Args:
        evaluation: the file's content.
        system: None: the only one.

    Raises:
        VocalgenError: it is no such report; several systems and none named; the system is not in it.
    """
    try:
        rows = next(section["rows"] for section in evaluation["sections"].values() if section["kind"] == "distance")
        systems = [name for name in evaluation["systems"] if name in rows]
    except (TypeError, KeyError, AttributeError, StopIteration) as error:
        raise VocalgenError("this is no report.json of `vocalgen evaluate` with distances") from error
    if system is None and len(systems) != 1:
        raise VocalgenError(f"the evaluation has {len(systems)} systems, {', '.join(systems)}; name one by --system")
    name = systems[0] if system is None else system
    if name not in systems:
        raise VocalgenError(f"the evaluation has no system {name!r}, only {', '.join(systems)}")
    try:
        found = {emotion: entry["frechet"] for emotion, entry in rows[name]["emotions"].items()}
        return {emotion: float(value[0] if isinstance(value, list) else value) for emotion, value in found.items()}
    except (TypeError, KeyError, AttributeError, ValueError, IndexError) as error:
        raise VocalgenError(f"the evaluation of {name} has no Fréchet distances by emotion") from error


def _s_gen(distances: Mapping[str, float], heard: Mapping[str, Any], made: NDArray[np.bool_]) -> Json:
    """Over the emotions that have a distance, or clips in the study; one that lacks either counts 0."""
    values = {
        name: np.nan if interval[0] is None else interval[0]
        for (name, interval), given in zip(heard.items(), made, strict=True)
        if given
    }
    names = (*values, *(name for name in distances if name not in values))
    try:
        found = s_gen(distances, values, names)
    except ValueError as error:
        raise VocalgenError(f"S_GEN: {error}") from error
    return {"overall": found.total, "emotions": found.emotions, "notes": found.notes}


def _heep(meant: Array, values: Array, emotions: Sequence[str], reading: Reading, draws: int) -> Json:
    found = heep_intervals(meant, values, reading, draws)
    return {
        "overall": [_number(value) for value in found.overall],
        "emotions": {
            name: [_number(value) for value in interval]
            for name, interval in zip(emotions, found.emotions, strict=True)
        },
    }


def _by_rater(answers: Sequence[Answer]) -> Json:
    names = [rater_name(answer.rater) for answer in answers]
    return {"pages": len(names), "raters": {name: names.count(name) for name in sorted(set(names))}}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
