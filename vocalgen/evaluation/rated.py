"""What people heard: the row of the section "ratings"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vocalgen.errors import VocalgenError
from vocalgen.evaluation.measured import Measured
from vocalgen.evaluation.protocol import Protocol
from vocalgen.evaluation.ratings import Ratings
from vocalgen.metrics.agreement import krippendorff_alpha
from vocalgen.metrics.heep import heep, heep_intervals
from vocalgen.metrics.intervals import Interval
from vocalgen.metrics.s_gen import s_gen

Row = dict[str, Any]


def rating_row(
    ratings: Ratings,
    measured: Measured,
    names: Sequence[str],
    emotions: Sequence[int],
    distances: Row,
    protocol: Protocol,
) -> tuple[Row, list[str]]:
    """HEEP, S_GEN and agreement of one system, and warnings.

    Args:
        ratings: of some of the clips of `measured`.
        names: all emotions of the vocabulary; `emotions` are the ones that count.
        distances: the system's row of the section "distance", emotions as indices.

    Raises:
        VocalgenError: no rating of a measured clip, or an emotion is missing and the protocol forbids that.
    """
    label_of = dict(zip(measured.ids.tolist(), measured.labels.tolist(), strict=True))
    place = [n for n, clip in enumerate(ratings.clips) if clip in label_of]
    if not place:
        raise VocalgenError("none of the rated clips was measured")
    warnings = list(ratings.warnings)
    if len(place) < len(ratings.clips):
        warnings.append(f"{len(ratings.clips) - len(place)} rated clips are not among the measured ones")
    values = ratings.values[:, place]
    complete = np.all(np.isfinite(values).any(axis=0), axis=1)
    if not complete.all():
        warnings.append(f"{int((~complete).sum())} clips were not rated for every emotion and are left out")
    values = values[:, complete]
    if not values.size:
        raise VocalgenError("no clip was rated for every emotion of the file")
    meant = np.array([label_of[ratings.clips[n]] for n in np.array(place)[complete]])
    index = [names.index(name) for name in ratings.emotions]
    targets = np.equal.outer(meant, index).astype(np.float64)
    correlations = heep(targets, np.nanmean(values, axis=0))
    intervals = heep_intervals(targets, values, seed=protocol.seed)
    heard = {
        name: float(value)
        for name, e, value in zip(ratings.emotions, index, correlations.emotions, strict=True)
        if (meant == e).any()
    }
    warnings += [
        f"HEEP of {'all' if e == 'overall' else ratings.emotions[int(e)]} is not defined: {reason}"
        for e, reason in correlations.reasons.items()
        if e == "overall" or ratings.emotions[int(e)] in heard
    ]
    fid = {names[e]: _value(entry["frechet"]) for e, entry in distances["emotions"].items()}
    try:
        missing: Any = protocol.missing_emotion
        score = s_gen(fid, heard, tuple(names[e] for e in emotions), missing, protocol.fid_cap)
    except ValueError as error:
        raise VocalgenError(f"S_GEN: {error}") from error
    row = {
        "overall": {
            "heep": _known(intervals.overall),
            "s_gen": score.total,
            "alpha": krippendorff_alpha(values.reshape(len(values), -1)),
            "raters": len(ratings.raters),
        },
        "emotions": {
            e: {
                "heep": _known(intervals.emotions[ratings.emotions.index(names[e])]),
                "s_gen": score.emotions[names[e]],
            }
            for e in emotions
            if names[e] in heard and names[e] in score.emotions
        },
    }
    return row, warnings + score.notes


def _known(interval: Interval) -> Interval | float:
    """A value without limits where too few resamples had one; NaN where it has no value itself."""
    return interval if np.isfinite(interval).all() else interval.value


def _value(estimate: Any) -> float:
    return float(estimate[0] if isinstance(estimate, (tuple, list)) else estimate)
