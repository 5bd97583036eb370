"""Length, level, pitch and voicing of clips, and how far their distributions are from real ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from vocalgen.acoustics import Wave, analyse

Acoustics = NDArray[np.float64]

COLUMNS = ("seconds", "loudness", "pitch", "voiced")
"""What the four numbers of a clip are called."""


def acoustics(wave: Wave, sample_rate: int) -> Acoustics:
    """`acoustics_of` a single clip: (samples,) -> (4,)."""
    return acoustics_of([wave], sample_rate)[0]


def acoustics_of(waves: Sequence[Wave], sample_rate: int) -> Acoustics:
    """The four numbers of `COLUMNS` for each clip.

    seconds is the length; loudness the mean over sounding frames of their level in dB relative to full scale (a frame
    sounds within 30 dB of the clip's loudest; digital silence has -100 dB); pitch the median over voiced frames in
    semitones over 55 Hz, NaN where nothing is voiced; voiced the share of sounding frames with a periodicity of 0.8
    (`vocalgen.pitch`, at 12 kHz, every 10 ms). A clip's numbers do not depend on the others.

    Args:
        waves: n clips (samples,) in [-1, 1].
        sample_rate: Hz.

    Returns:
        (n, 4).

    Raises:
        VocalgenError: a clip without samples or with NaN.
    """
    return np.stack([_measure(wave, sample_rate) for wave in waves]) if len(waves) else np.empty((0, len(COLUMNS)))


def _measure(wave: Wave, sample_rate: int) -> Acoustics:
    frames = analyse(wave, sample_rate)
    pitch = frames.semitones[frames.voiced]
    return np.array(
        [
            len(wave) / sample_rate,
            float(frames.level[frames.sounding].mean()),
            float(pitch.quantile(0.5)) if len(pitch) else np.nan,
            float(frames.voiced.sum() / frames.sounding.sum()),
        ]
    )


def compare_acoustics(values: Acoustics, reference: Acoustics) -> dict[str, float | None]:
    """Means of (n, 4) acoustics, and first Wasserstein distances of the distributions from (m, 4) real ones.

    NaN is left out; what has no value left is None.

    Returns:
        the columns of the report's section "acoustics".

    Examples:
        >>> silent, real = np.array([[1.0, -100.0, np.nan, 0.0]]), np.array([[1.5, -20.0, 24.0, 0.8]])
        >>> [compare_acoustics(silent, real)[key] for key in ("seconds", "seconds_w1", "pitch", "pitch_w1")]
        [1.0, 0.5, None, None]
    """
    row: dict[str, float | None] = {}
    for place, name in enumerate(COLUMNS):
        own, real = (column[~np.isnan(column)] for column in (values[:, place], reference[:, place]))
        row[name] = float(own.mean()) if len(own) else None
        row[f"{name}_w1"] = float(wasserstein_distance(own, real)) if len(own) and len(real) else None
    return row
