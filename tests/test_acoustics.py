"""Length, level, pitch and voicing of sounds that are known."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vocalgen.acoustics import levels
from vocalgen.errors import VocalgenError
from vocalgen.evaluation import acoustics as module
from vocalgen.evaluation.acoustics import COLUMNS, acoustics, acoustics_of, compare_acoustics
from vocalgen.evaluation.columns import SECTIONS


def tone(hertz: float, seconds: float, rate: int, amplitude: float = 0.1) -> NDArray[np.float32]:
    """A pure tone."""
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 16_000, 24_000, 44_100])
@pytest.mark.parametrize(("hertz", "semitones"), [(110.0, 12.0), (440.0, 36.0), (880.0, 48.0)])
def test_a_tone(rate: int, hertz: float, semitones: float) -> None:
    seconds, loudness, pitch, voiced = acoustics(tone(hertz, 0.8, rate), rate)
    assert seconds == pytest.approx(0.8)
    assert loudness == pytest.approx(20 * np.log10(0.1) - 10 * np.log10(2), abs=0.3)  # a sine's power is a^2 / 2
    assert pitch == pytest.approx(semitones, abs=0.1)
    assert voiced > 0.95


def test_silence_around_a_tone_does_not_count() -> None:
    bare = tone(220.0, 0.5, 24_000)
    padded = np.concatenate([np.zeros(12_000, np.float32), bare, np.zeros(24_000, np.float32)])
    own, other = acoustics(bare, 24_000), acoustics(padded, 24_000)
    assert other[0] == own[0] + 1.5
    assert other[1:] == pytest.approx(own[1:], abs=0.3)


def test_levels_are_root_mean_squares_of_frames_centred_on_hops() -> None:
    wave = 0.1 * np.random.default_rng(0).standard_normal(1200)
    wave[600:960] = 0
    padded = np.pad(wave, 60)
    power = [np.square(padded[start : start + 240]).mean() for start in range(0, 1200, 120)]
    expected = 10 * np.log10(np.maximum(power, 1e-10))
    np.testing.assert_allclose(levels(torch.from_numpy(wave), 120).numpy(), expected, atol=1e-9)
    assert expected.min() == -100


def test_half_a_tone_is_half_voiced() -> None:
    noise = 0.05 * np.random.default_rng(0).standard_normal(12_000).astype(np.float32)
    sound = np.concatenate([tone(220.0, 0.5, 24_000), noise])
    _, _, pitch, voiced = acoustics(sound, 24_000)
    assert voiced == pytest.approx(0.5, abs=0.06)
    assert pitch == pytest.approx(24.0, abs=0.1)


def test_what_has_no_pitch() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(24_000).astype(np.float32)
    assert acoustics(noise, 24_000)[1] == pytest.approx(-20 + 10 * np.log10(0.5), abs=0.6)  # half lies above 6 kHz
    silent = acoustics(np.zeros(24_000, np.float32), 24_000)
    assert silent[[0, 1, 3]].tolist() == pytest.approx([1.0, -100.0, 0.0])
    for values in (acoustics(noise, 24_000), silent):
        assert np.isnan(values[2]) and values[3] < 0.05


def test_a_clip_does_not_depend_on_its_company() -> None:
    clips = [tone(300.0, 0.4, 16_000), tone(500.0, 0.9, 16_000), tone(300.0, 0.003, 16_000)]
    together = acoustics_of(clips, 16_000)
    assert together.shape == (3, 4) and together.dtype == np.float64
    for clip, values in zip(clips, together):
        assert np.array_equal(acoustics(clip, 16_000), values, equal_nan=True)
    assert together[2, 0] == 0.003
    assert acoustics_of([], 16_000).shape == (0, 4)
    with pytest.raises(VocalgenError, match="without samples"):
        acoustics(np.zeros(0, np.float32), 16_000)


def test_distances_of_shifted_distributions_are_the_shift() -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal([1.0, -20.0, 30.0, 0.5], [0.2, 3.0, 5.0, 0.1], (200, 4))
    shift = np.array([0.25, -2.0, 7.0, 0.125])
    row = compare_acoustics(reference + shift, reference)
    assert list(row) == list(SECTIONS["acoustics"].overall)
    for place, name in enumerate(COLUMNS):
        assert row[name] == pytest.approx((reference + shift)[:, place].mean())
        assert row[f"{name}_w1"] == pytest.approx(abs(shift[place]))
    assert compare_acoustics(reference[::-1], reference)["pitch_w1"] == pytest.approx(0.0, abs=1e-9)


def test_clips_without_pitch_are_left_out() -> None:
    values, reference = np.ones((3, 4)), np.ones((4, 4))
    values[:, 2], reference[:, 2] = [10.0, np.nan, 20.0], [12.0, 18.0, np.nan, np.nan]
    row = compare_acoustics(values, reference)
    assert (row["pitch"], row["pitch_w1"]) == (15.0, 2.0)
    reference[:, 2] = np.nan
    row = compare_acoustics(values, reference)
    assert (row["pitch"], row["pitch_w1"], row["voiced_w1"]) == (15.0, None, 0.0)


def test_examples() -> None:
    assert doctest.testmod(module).failed == 0
