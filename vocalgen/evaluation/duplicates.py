"""Clips that are nearly the same: nearest neighbours of time-normalised log-mels within a set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FRAMES = 48
"""Frames of a fingerprint."""


def fingerprint(log_mel: NDArray[np.float32], frames: int = FRAMES) -> NDArray[np.float32]:
    """(n_mels, L) log-mel -> (n_mels * frames,): the same clip at a standard length, by linear interpolation."""
    place = np.linspace(0, log_mel.shape[1] - 1, frames)
    before = np.minimum(place.astype(int), max(log_mel.shape[1] - 2, 0))
    after = np.minimum(before + 1, log_mel.shape[1] - 1)
    share = (place - before).astype(np.float32)
    return (log_mel[:, before] * (1 - share) + log_mel[:, after] * share).astype(np.float32).ravel()


def nearest(fingerprints: NDArray[np.float32], others: NDArray[np.float32] | None = None) -> NDArray[np.float64]:
    """Mean absolute difference (nat) of each of (n, d) fingerprints to its nearest one in `others` (m, d).

    Without `others`, to its nearest other one in the same set; infinite when there is none.
    """
    targets = fingerprints if others is None else others
    distances = np.full(len(fingerprints), np.inf)
    for row, item in enumerate(fingerprints):
        if not len(targets):
            break
        away = np.abs(targets - item).mean(axis=1, dtype=np.float64)
        if others is None:
            away[row] = np.inf
        distances[row] = away.min()
    return distances


@dataclass(frozen=True)
class Duplicates:
    """Nearest neighbours within a set beside those within a real set of the same size.

    Args:
        threshold: 1 % quantile of the real clips' distances (nat); nearer pairs count as near-duplicates.
        share: share of near-duplicates in the set, .01 in a set like the real one.
        exact: clips whose fingerprint another clip of the set repeats to the last bit.
        median, real_median: medians of the distances (nat); a collapsed generator has a small first one.
    """

    threshold: float
    share: float
    exact: int
    median: float
    real_median: float


def compare_neighbours(distances: NDArray[np.float64], real: NDArray[np.float64]) -> Duplicates:
    """Summarise `nearest` distances of a set and of a real one; clips without neighbours are left out.

    Raises:
        ValueError: a set in which no clip has a neighbour.
    """
    distances, real = distances[np.isfinite(distances)], real[np.isfinite(real)]
    if not len(distances) or not len(real):
        raise ValueError("nearest neighbours need two clips of an emotion at least")
    threshold = float(np.quantile(real, 0.01))
    return Duplicates(
        threshold,
        float((distances < threshold).mean()),
        int((distances == 0).sum()),
        float(np.median(distances)),
        float(np.median(real)),
    )
