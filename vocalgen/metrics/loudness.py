"""Loudness as broadcasters measure it (ITU-R BS.1770-4), of one channel."""

from __future__ import annotations

from math import gcd

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.signal import resample_poly, sosfilt

Array = NDArray[np.float64]

RATE = 48_000
"""Hz, for which the recommendation gives its filters; other waves are resampled to it."""

K_WEIGHTING = np.array(
    [
        [1.53512485958697, -2.69169618940638, 1.19839281085285, 1.0, -1.69065929318241, 0.73248077421585],
        [1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621],
    ]
)
"""b0, b1, b2, a0, a1, a2 of the head's shelf and of the high-pass (BS.1770-4, annex 1, tables 1 and 2)."""

BLOCK, HOP = 0.4, 0.1
"""Seconds of a gating block and from one to the next: they overlap by 75 %."""

OFFSET, ABSOLUTE_GATE, RELATIVE_GATE = -0.691, -70.0, -10.0
"""Of equation 2, in dB; blocks below the first gate, and those so far below the mean of the others, do not count."""


def integrated_loudness(wave: ArrayLike, sample_rate: int) -> float:
    """Gated loudness in LUFS (BS.1770-4, equations 2 to 7); -inf where no block is above the gates.

    What is shorter than a gating block of 400 ms is one block as long as it is: the recommendation does not say, and
    silence appended would make a short sound seem softer than it is.

    Args:
        wave: (samples,) in [-1, 1].
        sample_rate: Hz.

    Raises:
        ValueError: no samples, several channels, NaN or infinity, a rate that is not positive.

    Examples:
        >>> sine = np.sin(2 * np.pi * 997 / 48_000 * np.arange(96_000))
        >>> round(integrated_loudness(sine, 48_000), 2)  # what the recommendation says of it
        -3.01
    """
    weighted = sosfilt(K_WEIGHTING, _resampled(_checked(wave, sample_rate), sample_rate, RATE))
    power = _block_power(weighted)
    with np.errstate(divide="ignore"):
        loudness = OFFSET + 10 * np.log10(power)
        audible = loudness > ABSOLUTE_GATE
        if not audible.any():
            return float("-inf")
        relative = OFFSET + 10 * np.log10(power[audible].mean()) + RELATIVE_GATE
        counted = audible & (loudness > relative)
        return float(OFFSET + 10 * np.log10(power[counted].mean()))


def true_peak(wave: ArrayLike, sample_rate: int) -> float:
    """Peak of the curve through the samples, dB of full scale: they are interpolated to 192 kHz (BS.1770-4, annex 2).

    Raises:
        ValueError: as `integrated_loudness`.

    Examples:
        >>> between = np.sin(np.pi / 4 + np.pi / 2 * np.arange(4_800))  # samples at 0.707 only
        >>> round(true_peak(between[600:-600] * np.hanning(3_600), 48_000), 1)
        0.0
    """
    samples = _checked(wave, sample_rate)
    factor = max(1, -(-4 * RATE // sample_rate))
    peak = max(np.abs(samples).max(), np.abs(resample_poly(samples, factor, 1)).max())
    return float(20 * np.log10(peak)) if peak > 0 else float("-inf")


def _block_power(samples: Array) -> Array:
    size, hop = round(BLOCK * RATE), round(HOP * RATE)
    if len(samples) < size:
        return np.array([np.square(samples).mean()])
    starts = np.arange(0, len(samples) - size + 1, hop)
    energy = np.concatenate(([0.0], np.cumsum(np.square(samples))))
    return np.asarray(np.maximum(energy[starts + size] - energy[starts], 0.0) / size)


def _resampled(samples: Array, sample_rate: int, target: int) -> Array:
    common = gcd(sample_rate, target)
    return np.asarray(resample_poly(samples, target // common, sample_rate // common))


def _checked(wave: ArrayLike, sample_rate: int) -> Array:
    samples = np.asarray(wave, dtype=np.float64)
    if samples.ndim != 1 or not samples.size:
        raise ValueError(f"one channel (samples,) with a sample at least is needed, got shape {samples.shape}")
    if not np.isfinite(samples).all():
        raise ValueError("NaN or infinity among the samples")
    if sample_rate <= 0:
        raise ValueError(f"the sample rate is {sample_rate} Hz; it must be positive")
    return samples
