"""Synthetic signals whose pitch is known, and the errors of a pitch tracker on them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import lfilter

from vocalgen.mel import MEL_24K

Array = NDArray[np.float64]
Tracker = Callable[..., tuple[torch.Tensor, torch.Tensor]]
"""A function such as `vocalgen.pitch.track_pitch`."""

RATE, HOP = MEL_24K.sample_rate, MEL_24K.hop_length
TONES, TONE_SETS = 150, 4
EDGE = 4
"""Frames at either end of a signal that are not scored."""

_PITCHES = np.geomspace(70, 1400, TONES)


def _harmonic(f0: Array, tilt: float, rng: np.random.Generator, rate: int = RATE, stretch: float = 0.0) -> Array:
    """Sum harmonics of amplitude k^-tilt and random phase below Nyquist: (samples,) Hz -> (samples,)."""
    phase, wave = 2 * np.pi * np.cumsum(f0) / rate, np.zeros_like(f0)
    for k in range(1, int(rate / 2 / f0.min()) + 1):
        partial = k * np.sqrt(1 + stretch * k**2)  # stretched as the partials of a stiff string
        wave += (partial * f0 < 0.49 * rate) * k**-tilt * np.cos(partial * phase + rng.uniform(0, 2 * np.pi))
    return 0.3 * wave / np.abs(wave).max()


def _glide(octaves: float) -> Callable[[np.random.Generator, Array], Iterator[tuple[Array, Array]]]:
    def signals(rng: np.random.Generator, time: Array) -> Iterator[tuple[Array, Array]]:
        progress = np.clip((time - 0.15) / 0.2, 0, 1)
        for low in np.geomspace(100, 1380 / 2**octaves, 20):
            for curve in (progress, 1 - progress):
                f0 = low * 2 ** (octaves * curve)
                yield f0, _harmonic(f0, rng.uniform(0.3, 1.5), rng)

    return signals


def _vibrato(rng: np.random.Generator, time: Array) -> Iterator[tuple[Array, Array]]:
    for centre in np.geomspace(100, 1000, 30):
        f0 = centre * 2 ** (np.sin(2 * np.pi * 6 * time) / 8)
        yield f0, _harmonic(f0, rng.uniform(0.3, 1.5), rng)


def _noisy(snr: float, pole: float = 0.0, tilts: tuple[float, float] = (0.3, 1.5), stretch: float = 0.0) -> Any:
    """Steady tones beside white (pole 0) or falling noise at a signal-to-noise ratio in dB."""

    def signals(rng: np.random.Generator, time: Array) -> Iterator[tuple[Array, Array]]:
        for pitch in np.geomspace(80, 1300, 60):
            f0 = np.full_like(time, pitch)
            tone = _harmonic(f0, rng.uniform(*tilts), rng, stretch=stretch)
            noise = lfilter([1], [1, -pole], rng.standard_normal(len(time)))
            yield f0, tone + noise * tone.std() / noise.std() * 10 ** (-snr / 20)

    return signals


def _jitter(rng: np.random.Generator, time: Array) -> Iterator[tuple[Array, Array]]:
    knots = np.arange(0, time[-1] + 0.01, 0.005)
    for pitch in np.geomspace(80, 1000, 40):
        f0 = pitch * np.exp(0.01 * np.interp(time, knots, rng.standard_normal(len(knots))))
        yield f0, _harmonic(f0, 1.0, rng)


SIGNALS = {
    "glides of 1 octave in 0.2 s": _glide(1),
    "glides of 2 octaves in 0.2 s": _glide(2),
    "vibrato, 6 Hz, ±1.5 semitones": _vibrato,
    "tone in white noise, SNR 20 dB": _noisy(20),
    "tone in white noise, SNR 10 dB": _noisy(10),
    "tone in white noise, SNR 5 dB": _noisy(5),
    "tone in white noise, SNR 0 dB": _noisy(0),
    "breathy: noise falling 6 dB per octave, SNR 3 dB": _noisy(3, pole=0.9, tilts=(1.5, 1.5)),
    "inharmonic: stretched partials": _noisy(60, stretch=4e-4),
    "jitter of 1 %": _jitter,
}
"""Generators of pairs of f0 (samples,) in Hz and wave (samples,), by title."""


def tone_errors(track: Tracker, rate: int, hop: int) -> dict[str, Any]:
    """Count steady tones whose median f0 is more than 3 % off, f0 log-uniform from 70 to 1400 Hz, tilts 0 to 1.5."""
    wrong, errors = [], []
    for waves in _tone_sets(rate):
        found = track(waves, rate, hop)[0][:, EDGE:-EDGE].numpy()
        wrong.append(int((np.abs(np.median(found, 1) / _PITCHES - 1) > 0.03).sum()))
        errors.append(np.abs(found / _PITCHES[:, None] - 1) > 0.03)
    return {"n": TONES, "wrong": wrong, "frames_wrong": float(np.mean(errors))}


@functools.cache
def _tone_sets(rate: int) -> list[torch.Tensor]:
    sets = []
    for seed in range(TONE_SETS):
        rng = np.random.default_rng(seed)
        waves = [_harmonic(np.full(rate // 2, f0), rng.uniform(0, 1.5), rng, rate) for f0 in _PITCHES]
        sets.append(torch.from_numpy(np.stack(waves)).float())
    return sets


@functools.cache
def _signals(title: str) -> list[tuple[Array, torch.Tensor]]:
    """Pairs of the true f0 (samples,) and the wave (1, samples)."""
    made = SIGNALS[title](np.random.default_rng(0), np.arange(RATE // 2) / RATE)
    return [(f0, torch.from_numpy(wave).float()[None]) for f0, wave in made]


def signal_errors(track: Tracker, title: str) -> dict[str, float]:
    """Share of frames more than a semitone off, and the median error in semitones."""
    errors = []
    for f0, wave in _signals(title):
        found = track(wave, RATE, HOP)[0][0].numpy()
        errors.append(semitones(found, f0[HOP // 2 :: HOP][: len(found)])[EDGE:-EDGE])
    error = np.abs(np.concatenate(errors))
    return {"n": len(errors), "gross": float((error > 1).mean()), "median": float(np.median(error))}


def noise_periodicity(track: Tracker, rate: int) -> dict[str, float]:
    """Mean and maximum of the periodicity of white noise."""
    wave = torch.randn(4, 10 * rate, generator=torch.Generator().manual_seed(0))
    periodicity = track(wave, rate, rate // 100)[1]
    return {"mean": float(periodicity.mean()), "max": float(periodicity.max())}


def semitones(found: Any, f0: Any) -> Array:
    """Distance of two fundamental frequencies in semitones."""
    return np.asarray(12 * np.log2(found / f0))
