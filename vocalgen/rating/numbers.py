"""How a study goes: the numbers of the experimenter's page."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from vocalgen.rating.answers import Answer, Rater, kept, rater_name
from vocalgen.rating.export import rating_array
from vocalgen.rating.report import reliability, with_themselves
from vocalgen.rating.study import Study

Json = dict[str, Any]


def progress(study: Study, raters: Sequence[Rater], answers: Sequence[Answer]) -> Json:
    """Raters with their flags, coverage of clips and emotions, reliability, times; ready for JSON.

    Coverage and reliability, with oneself too, are of those who neither withdrew nor are flagged; instructed pages,
    practice and second times are no ratings.
    """
    present = kept(answers)
    unflagged, emotions = kept(answers, flagged=False), study.settings.emotions
    counted = [answer for answer in unflagged if answer.kind == "rating"]
    clips = _clips(study, counted)
    each, together = (with_themselves(chosen, emotions) for chosen in (present, unflagged))
    return {
        "raters": [_rater(rater, present, each) for rater in raters if rater.consented is not None],
        "counts": _counts(raters),
        "missing_ratings": (missing := _missing(clips)),
        "missing_raters": study.raters_for(missing),
        "ratings": len(counted),
        "median_seconds": _median(counted),
        "clips": clips,
        "emotions": _emotions(clips),
        "reliability": reliability(rating_array(counted, emotions)[0], emotions) if counted else None,
        "with_themselves": together["median"] if together is not None else None,
        "instructed": sum(answer.kind == "instructed" for answer in present),
    }


def missing_ratings(study: Study, answers: Sequence[Answer]) -> int:
    """How many ratings clips lack from raters who neither withdrew nor are flagged, not counting what is under way."""
    counted = [answer for answer in kept(answers, flagged=False) if answer.kind == "rating"]
    return _missing(_clips(study, counted))


def _missing(clips: Sequence[Json]) -> int:
    return sum(max(clip["wanted"] - clip["ratings"], 0) for clip in clips)


def _counts(raters: Sequence[Rater]) -> Json:
    return {
        "invited": len(raters),
        "consented": sum(rater.consented is not None for rater in raters),
        "finished": sum(rater.finished is not None and rater.withdrawn is None for rater in raters),
        "withdrawn": sum(rater.withdrawn is not None for rater in raters),
        "flagged": sum(rater.flagged and rater.withdrawn is None for rater in raters),
    }


def _rater(rater: Rater, answers: Sequence[Answer], again: Json | None) -> Json:
    own = [answer for answer in answers if answer.rater == rater.number]
    name = rater_name(rater.number)
    return {
        "number": rater.number,
        "name": name,
        "language": rater.language,
        "withdrawn": rater.withdrawn is not None,
        "pages": rater.pages,
        "saved": rater.saved,
        "median_seconds": _median(own),
        "hasty": sum(answer.hasty for answer in own),
        "missed": sum(answer.missed for answer in own),
        "with_themselves": again["raters"].get(name) if again is not None else None,
        "flags": [
            {"reason": flag.reason, "source": flag.source, "up": flag.lifted is None, "raised": flag.raised}
            for flag in rater.flags
        ],
    }


def _clips(study: Study, answers: Sequence[Answer]) -> list[Json]:
    ratings = Counter(answer.clip for answer in answers)
    wanted = study.settings.raters_per_clip
    return [
        {"clip": clip.clip, "emotion": clip.emotion, "ratings": ratings[clip.key], "wanted": wanted}
        for clip in sorted(study.rated, key=lambda clip: clip.clip)
    ]


def _emotions(clips: Sequence[Json]) -> list[Json]:
    """By emotion that clips were made for: how many there are, ratings of them, and how many have enough."""
    return [
        {
            "emotion": emotion,
            "clips": len(own),
            "ratings": sum(clip["ratings"] for clip in own),
            "wanted": sum(clip["wanted"] for clip in own),
            "complete": sum(clip["ratings"] >= clip["wanted"] for clip in own),
        }
        for emotion in sorted({clip["emotion"] for clip in clips})
        if (own := [clip for clip in clips if clip["emotion"] == emotion])
    ]


def _median(answers: Sequence[Answer]) -> float | None:
    return statistics.median(answer.seconds for answer in answers) if answers else None
