"""Training windows of raw audio: the random speed of a clip."""

from __future__ import annotations

import numpy as np
import pytest
import soxr

from vocalgen.training.waves import at_random_speed

RATE = 16_000


def tone(hertz: float, seconds: float = 0.5) -> np.ndarray:
    samples = np.arange(round(seconds * RATE))
    return (0.5 * np.sin(2 * np.pi * hertz * samples / RATE)).astype(np.float32)


def played(wave: np.ndarray, factor: float, seed: int = 0) -> np.ndarray:
    return at_random_speed(wave, (factor, factor), np.random.default_rng(seed))


@pytest.mark.parametrize("factor", [0.87, 1.15])
def test_at_random_speed_moves_pitch_and_length_together(factor: float) -> None:
    faster = played(tone(440.0), factor)
    assert faster.dtype == np.float32 and len(faster) == pytest.approx(0.5 * RATE / factor, abs=1)
    expected = tone(440.0 * factor, len(faster) / RATE)[: len(faster)]
    np.testing.assert_allclose(faster[100:-100], expected[100:-100], atol=2e-3)


@pytest.mark.parametrize("factor", [0.87, 1.15])
def test_at_random_speed_equals_a_band_limited_resampler(factor: float) -> None:
    """Low noise through soxr; a linear interpolation is 20 dB further away."""
    wave = soxr.resample(np.random.default_rng(0).normal(0, 0.1, 4000), 8000, RATE).astype(np.float32)
    found, expected = played(wave, factor), soxr.resample(wave, 100 * factor, 100)
    linear = np.interp(np.arange(0, len(wave) - 1, factor), np.arange(len(wave)), wave)
    inside = slice(100, min(map(len, (found, expected, linear))) - 100)
    error, of_linear = (np.square(made[inside] - expected[inside]).mean() for made in (found, linear))
    assert error < 0.01 * of_linear


def test_at_random_speed_depends_on_the_generator_alone() -> None:
    wave = tone(300.0)
    lengths = [len(at_random_speed(wave, (0.87, 1.15), np.random.default_rng(seed))) for seed in (0, 0, 1, 2)]
    assert lengths[0] == lengths[1] and len(set(lengths)) == 3
    assert min(lengths) >= 0.5 * RATE / 1.16 and max(lengths) <= 0.5 * RATE / 0.86


def test_at_random_speed_leaves_other_clips_alone() -> None:
    wave = tone(300.0)
    assert played(wave, 1.0) is wave
    assert played(wave[:1], 0.87).shape == (2,) and played(wave[:0], 0.87).shape == (0,)
