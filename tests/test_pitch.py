"""Pitch tracking on waves whose pitch is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vocalgen.errors import VocalgenError
from vocalgen.mel import MEL_24K, LogMel
from vocalgen.pitch import track_pitch

RATE, HOP = MEL_24K.sample_rate, MEL_24K.hop_length


def harmonics(f0: float, count: int, seconds: float = 0.5) -> Tensor:
    time = torch.arange(int(seconds * RATE), dtype=torch.float64) / RATE
    return sum(torch.cos(2 * math.pi * k * f0 * time) / k for k in range(1, count + 1)).float()[None] * 0.1  # type: ignore[union-attr]


@pytest.mark.parametrize("f0", [70.0, 123.4, 440.0, 1300.0])
@pytest.mark.parametrize("count", [1, 8])
def test_steady_tones(f0: float, count: int) -> None:
    found, periodicity = track_pitch(harmonics(f0, min(count, int(RATE / 2 / f0))), RATE, HOP)
    inside = slice(4, -4)
    assert found[0, inside].numpy() == pytest.approx(f0, rel=0.01)
    assert periodicity[0, inside].min() > 0.9


def test_frames_are_those_of_the_mel() -> None:
    """A tone begins in the middle; the pitch follows within half a window of the frame where the mel does."""
    wave = harmonics(200.0, 8, 1.0)
    wave[:, : RATE // 2] = 0
    found, periodicity = track_pitch(wave, RATE, HOP)
    assert found.shape == periodicity.shape == (1, LogMel()(wave).shape[-1])
    onset = RATE // 2 / HOP
    assert abs(int((periodicity[0] > 0.5).float().argmax()) - onset) <= 4
    assert periodicity[0, : int(onset) - 4].max() < 0.01


def test_noise_has_no_period() -> None:
    _, periodicity = track_pitch(torch.randn(1, RATE, generator=torch.Generator().manual_seed(0)), RATE, HOP)
    assert periodicity.mean() < 0.5


def test_a_missing_fundamental_is_found() -> None:
    time = torch.arange(RATE // 2) / RATE
    wave = sum(torch.cos(2 * math.pi * 150 * k * time) for k in (2, 3, 4, 5))
    found, _ = track_pitch(0.1 * wave[None], RATE, HOP)
    assert found[0, 4:-4].numpy() == pytest.approx(150.0, rel=0.01)


@pytest.mark.parametrize(("low", "high"), [(0.0, 500.0), (500.0, 500.0), (60.0, 6000.0)])
def test_impossible_ranges(low: float, high: float) -> None:
    with pytest.raises(VocalgenError, match="pitch range"):
        track_pitch(torch.zeros(1, RATE), RATE, HOP, low, high)
