"""Pitch tracking on waves whose pitch is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vocalgen.errors import VocalgenError
from vocalgen.mel import MEL_24K, LogMel
from vocalgen.pitch import REACH, WINDOW_SECONDS, track_pitch

RATE, HOP = MEL_24K.sample_rate, MEL_24K.hop_length
INSIDE = slice(4, -4)


def harmonic(f0: Tensor, tilt: float, rate: int = RATE, seed: int = 0) -> Tensor:
    """Synthesise harmonics up to the Nyquist frequency with amplitudes k^-tilt and random phases.

    Args:
        f0: (samples,) in Hz.

    Returns:
        (1, samples).
    """
    k = torch.arange(1, math.ceil(rate / 2 / float(f0.max())), dtype=torch.float64)[:, None]
    start = 2 * math.pi * torch.rand(k.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    phase = 2 * math.pi * torch.cumsum(f0.double() / rate, 0)
    wave = (k**-tilt * torch.cos(k * phase + start)).sum(0, keepdim=True)
    return (0.3 * wave / wave.abs().max()).float()


def steady(f0: float, tilt: float, rate: int = RATE, seconds: float = 0.25, seed: int = 0) -> Tensor:
    return harmonic(torch.full((int(seconds * rate),), f0), tilt, rate, seed)


def noise(samples: int, seed: int = 0) -> Tensor:
    return torch.randn(1, samples, generator=torch.Generator().manual_seed(seed))


def semitones(found: Tensor, f0: Tensor) -> Tensor:
    """Compute the error of each frame: (B, L) Hz, (samples,) true Hz -> (B, L)."""
    centres = torch.arange(found.shape[-1]) * HOP + HOP // 2
    return 12 * (found / f0[centres]).log2()


@pytest.mark.parametrize("f0", [70.0, 123.4, 440.0, 1300.0])
@pytest.mark.parametrize("tilt", [1.0, 12.0])  # 12: a sine
def test_track_pitch_is_accurate_within_one_percent(f0: float, tilt: float) -> None:
    found, periodicity = track_pitch(steady(f0, tilt), RATE, HOP)
    assert found[0, INSIDE].numpy() == pytest.approx(f0, rel=0.01)
    assert periodicity[0, INSIDE].min() > 0.95


@pytest.mark.parametrize(("rate", "hop"), [(12_000, 120), (24_000, 240), (RATE, HOP)])
def test_track_pitch_makes_no_octave_errors_on_bright_steady_tones(rate: int, hop: int) -> None:
    """Peaks of bright tones are narrow: compared at whole samples, multiples of the period often look better."""
    pitches = [70 * 20 ** (i / 149) for i in range(150)]
    waves = [steady(f0, 1.5 * (i * 0.618 % 1), rate, seed=i) for i, f0 in enumerate(pitches)]
    found, periodicity = track_pitch(torch.cat(waves), rate, hop)
    errors = found[:, INSIDE].median(-1).values / torch.tensor(pitches) - 1
    assert int((errors.abs() > 0.03).sum()) == 0
    assert periodicity[:, INSIDE].min() > 0.95


@pytest.mark.parametrize("octaves", [1.0, -1.0, 2.0, -2.0])
def test_track_pitch_follows_glides_within_a_fifth_of_a_second(octaves: float) -> None:
    progress = ((torch.arange(RATE // 2) / RATE - 0.15) / 0.2).clamp(0, 1)
    for f0 in (150.0, 280.0):
        glide = f0 * 2 ** (octaves * progress + max(-octaves, 0))
        error = semitones(track_pitch(harmonic(glide, 0.7), RATE, HOP)[0], glide)[0, INSIDE].abs()
        assert error.max() < 1.0
        assert error.median() < 0.1


def test_track_pitch_follows_vibrato() -> None:
    f0 = 440 * 2 ** (torch.sin(2 * math.pi * 6 * torch.arange(RATE // 2) / RATE) / 12)
    assert semitones(track_pitch(harmonic(f0, 1.0), RATE, HOP)[0], f0)[0, INSIDE].abs().max() < 0.5


def test_track_pitch_makes_few_errors_in_noise_as_loud_as_the_tone() -> None:
    pitches = torch.tensor([90 * 2 ** (i / 5) for i in range(20)])
    waves = torch.cat([steady(float(f0), 0.8, seed=i) for i, f0 in enumerate(pitches)])
    waves = waves / waves.std(-1, keepdim=True) + torch.cat([noise(waves.shape[-1], i) for i in range(20)])
    found, periodicity = track_pitch(0.1 * waves, RATE, HOP)
    error = 12 * (found / pitches[:, None]).log2()[:, INSIDE].abs()
    assert (error > 1).float().mean() < 0.06
    assert periodicity[:, INSIDE].mean() == pytest.approx(0.5, abs=0.05)  # the share of the tone in the energy


def test_track_pitch_frames_are_those_of_the_mel() -> None:
    """A tone begins in the middle; the pitch follows within half a window of the frame where the mel does."""
    wave = steady(200.0, 1.0, seconds=1.0)
    wave[:, : RATE // 2] = 0
    found, periodicity = track_pitch(wave, RATE, HOP)
    assert found.shape == periodicity.shape == (1, LogMel()(wave).shape[-1])
    onset = RATE // 2 / HOP
    assert abs(int((periodicity[0] > 0.5).float().argmax()) - onset) <= 4
    assert periodicity[0, : int(onset) - 4].max() < 0.01


@pytest.mark.parametrize(("rate", "mean"), [(24_000, 0.063), (12_000, 0.087)])
def test_track_pitch_finds_little_periodicity_in_white_noise(rate: int, mean: float) -> None:
    _, periodicity = track_pitch(noise(5 * rate), rate, rate // 100)
    assert periodicity.mean() == pytest.approx(mean, abs=0.01)
    assert periodicity.max() < 0.3


def test_track_pitch_gives_silence_no_periodicity() -> None:
    found, periodicity = track_pitch(torch.zeros(2, 10 * HOP), RATE, HOP)
    assert found.shape == (2, 10)
    assert periodicity.count_nonzero() == 0
    assert ((found >= 60) & (found <= 1500)).all()


def test_track_pitch_does_not_depend_on_batch_composition() -> None:
    waves = torch.cat([steady(150.0, 0.5), 0.1 * noise(RATE // 4), torch.zeros(1, RATE // 4), steady(900.0, 1.0)])
    f0, periodicity = track_pitch(waves, RATE, HOP)
    for i in range(4):
        alone = track_pitch(waves[i : i + 1], RATE, HOP)
        assert torch.equal(alone[0][0], f0[i]) and torch.equal(alone[1][0], periodicity[i])


def test_track_pitch_does_not_depend_on_far_frames() -> None:
    """A frame's candidate is chosen among its neighbours alone, so a cut clip keeps the pitch of the whole one."""
    wave = torch.cat([steady(180.0, 0.5) + 0.1 * noise(RATE // 4), 0.1 * noise(RATE // 4, 1), steady(700.0, 1.0)], -1)
    kept = 30
    end = kept + REACH + math.ceil(WINDOW_SECONDS * RATE / HOP / 2)
    whole, cut = track_pitch(wave, RATE, HOP), track_pitch(wave[:, : end * HOP], RATE, HOP)
    torch.testing.assert_close(cut[0][:, :kept], whole[0][:, :kept])
    torch.testing.assert_close(cut[1][:, :kept], whole[1][:, :kept])


def test_track_pitch_finds_a_missing_fundamental() -> None:
    time = torch.arange(RATE // 2) / RATE
    wave = sum(torch.cos(2 * math.pi * 150 * k * time) for k in (2, 3, 4, 5))
    found, _ = track_pitch(0.1 * wave[None], RATE, HOP)
    assert found[0, INSIDE].numpy() == pytest.approx(150.0, rel=0.01)


@pytest.mark.parametrize(("low", "high"), [(0.0, 500.0), (29.0, 500.0), (500.0, 500.0), (60.0, 6000.0)])
def test_track_pitch_rejects_impossible_ranges(low: float, high: float) -> None:
    with pytest.raises(VocalgenError, match="pitch range"):
        track_pitch(torch.zeros(1, RATE), RATE, HOP, low, high)
