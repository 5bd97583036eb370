"""Durations of clips when none is asked for: a draw from the quantiles of the emotion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vocalgen.noise import DURATION, uniform_number

QUANTILES = 21
"""Evenly spaced quantiles of a table, from the least to the greatest value."""

TRIMMED = 0.02
"""Share of the rarest durations at either end that is never drawn."""


def draw_seconds(tables: Sequence[Sequence[float]], intensities: Sequence[float], uniform: float) -> float:
    """Quantile of the durations of a mixture: the weighted mean of its emotions' quantiles.

    Args:
        tables: evenly spaced quantiles per emotion, in seconds.
        intensities: weights of the emotions; if all are zero, all emotions weigh alike.
        uniform: share of shorter clips, in [0, 1].

    Returns:
        seconds.
    """
    weights = np.asarray(intensities, dtype=np.float64)
    weights = weights if weights.sum() > 0 else np.ones(len(weights))
    table = np.average(np.asarray(tables, dtype=np.float64), axis=0, weights=weights)
    share = TRIMMED + (1 - 2 * TRIMMED) * uniform
    return float(np.interp(share, np.linspace(0, 1, len(table)), table))


def seconds_of_seed(tables: Sequence[Sequence[float]], intensities: Sequence[float], seed: int) -> float:
    """Duration of the clip with this seed."""
    return draw_seconds(tables, intensities, uniform_number(seed, DURATION))
