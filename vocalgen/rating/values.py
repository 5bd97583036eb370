"""Values of an answer as a browser sends them: what is refused, and what is cut to its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vocalgen.errors import VocalgenError
from vocalgen.rating.study import Settings

MAX_SECONDS, MAX_PLAYS = 1e6, 10**6
"""Largest time and number of plays of a page that are stored; larger ones are cut to these."""


def require_values(settings: Settings, values: Mapping[str, int]) -> None:
    """Refuse ratings of other emotions than those of the study, or off its scale.

    Raises:
        VocalgenError: they are such.
    """
    if set(values) != set(settings.emotions):
        wrong: Sequence[str] = sorted(set(values) ^ set(settings.emotions))
        raise VocalgenError(f"every emotion is to be rated, and no other: {wrong[0]!r}")
    for emotion, value in values.items():
        if type(value) is not int or not settings.low <= value <= settings.high:
            raise VocalgenError(f"{emotion}: {value!r} is not a whole number from {settings.low} to {settings.high}")


def bounded_plays(plays: int) -> int:
    """Number of plays, at most `MAX_PLAYS`.

    Raises:
        VocalgenError: it is not a number, or the clip was not played.
    """
    if type(plays) is not int or plays < 1:
        raise VocalgenError("the clip must be heard to its end before it is rated")
    return min(plays, MAX_PLAYS)


def bounded_seconds(seconds: float) -> float:
    """Time from 0 to `MAX_SECONDS`: clocks jump, and pages stay open for days.

    Raises:
        VocalgenError: it is not a number.
    """
    if type(seconds) not in (int, float) or seconds != seconds:
        raise VocalgenError(f"seconds is {seconds!r}; it must be a number")
    return float(min(max(seconds, 0), MAX_SECONDS))
