"""Distances of spectra: log-mel L1 and multi-resolution STFT."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

FFT_SIZES = (512, 1024, 2048)
"""Window lengths in samples; hops are a quarter of each."""

FLOOR = 1e-5
"""Smallest magnitude before the logarithm; windows have unit sum, so a full-scale sine has about 0.5."""


class STFTDistance(NamedTuple):
    """Averages over the resolutions.

    Args:
        log_magnitude: mean absolute difference of ln magnitudes.
        convergence: Frobenius norm of the difference over that of the reference.
    """

    log_magnitude: float
    convergence: float


def log_mel_l1(a: ArrayLike, b: ArrayLike) -> float:
    """Mean absolute difference of two log-mels of the same shape, in the unit of the logarithm (nat).

    Raises:
        ValueError: shapes differ, nothing to compare, or a value is NaN or infinite.

    Examples:
        >>> log_mel_l1([[0.0, -1.0]], [[0.5, -2.0]])
        0.75
    """
    x, y = _pair(a, b)
    return float(np.abs(x - y).mean())


def stft_distance(
    wave: ArrayLike, reference: ArrayLike, fft_sizes: tuple[int, ...] = FFT_SIZES, floor: float = FLOOR
) -> STFTDistance:
    """Multi-resolution STFT distance (arXiv 1910.11480) of two waves (samples,) of equal length in [-1, 1].

    Magnitudes are sqrt(|STFT|^2 + floor^2); ends are reflected.

    Raises:
        ValueError: lengths differ, too short for the largest window, NaN.

    Examples:
        >>> wave = np.sin(np.arange(4096) / 10)
        >>> stft_distance(wave, wave)
        STFTDistance(log_magnitude=0.0, convergence=0.0)
    """
    x, y = _pair(wave, reference)
    if x.ndim != 1 or len(x) <= max(fft_sizes) // 2:
        raise ValueError(f"waves of more than {max(fft_sizes) // 2} samples are needed, got shape {x.shape}")
    logs, convergences = [], []
    for size in fft_sizes:
        m, target = _magnitude(x, size, floor), _magnitude(y, size, floor)
        logs.append(np.abs(np.log(m) - np.log(target)).mean())
        convergences.append(np.sqrt(np.square(m - target).sum() / np.square(target).sum()))
    return STFTDistance(float(np.mean(logs)), float(np.mean(convergences)))


def roughness(wave: ArrayLike, fft_size: int = 1024, floor: float = FLOOR) -> float:
    """Mean absolute difference of ln magnitudes between neighbouring bins, in the frames within 3 nat of the loudest.

    White noise has about 0.6 and a vocoder that blurs the fine structure of spectra has less than the true wave.

    Raises:
        ValueError: as `stft_distance`.

    Examples:
        >>> noise = np.random.default_rng(0).normal(0, 0.1, 24_000)
        >>> round(roughness(noise), 1)
        0.6
    """
    x, _ = _pair(wave, wave)
    if x.ndim != 1 or len(x) <= fft_size // 2:
        raise ValueError(f"a wave of more than {fft_size // 2} samples is needed, got shape {x.shape}")
    logs = np.log(_magnitude(x, fft_size, floor))
    levels = logs.mean(axis=1)
    return float(np.abs(np.diff(logs[levels > levels.max() - 3], axis=1)).mean())


def _magnitude(wave: NDArray[np.float64], size: int, floor: float) -> NDArray[np.float64]:
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    padded = np.pad(wave, size // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[:: size // 4]
    spectrum = np.fft.rfft(frames * (window / window.sum()), axis=1)
    return np.sqrt(np.square(spectrum.real) + np.square(spectrum.imag) + floor**2)


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.shape != y.shape:
        raise ValueError(f"shapes differ: {x.shape} and {y.shape}")
    if not x.size:
        raise ValueError("nothing to compare")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("NaN or infinity in the input")
    return x, y
