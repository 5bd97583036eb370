"""Loudness against what ITU-R BS.1770-4 and EBU Tech 3341 say of known signals."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from vocalgen.metrics.loudness import integrated_loudness, true_peak


def sine(level_db: float, seconds: float, rate: int = 48_000, hertz: float = 1000.0) -> NDArray[np.float64]:
    return np.asarray(10 ** (level_db / 20) * np.sin(2 * np.pi * hertz / rate * np.arange(round(seconds * rate))))


ONE_CHANNEL = 10 * np.log10(2)
"""The signals of EBU Tech 3341 are stereo; one channel alone is so much softer."""


@pytest.mark.parametrize("rate", [16_000, 22_050, 44_100, 48_000, 96_000])
def test_a_full_sine(rate: int) -> None:
    """BS.1770-4: a sine of 997 Hz at full scale in one channel reads -3.01."""
    assert integrated_loudness(sine(0, 3, rate, 997), rate) == pytest.approx(-3.01, abs=0.02)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(-23, 20)], -23.0),
        ([(-33, 20)], -33.0),
        ([(-36, 10), (-23, 60), (-36, 10)], -23.0),
        ([(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)], -23.0),
        ([(-26, 20), (-20, 20.1), (-26, 20)], -23.0),
    ],
)
def test_cases_1_to_5_of_ebu_tech_3341(parts: list[tuple[float, float]], expected: float) -> None:
    wave = np.concatenate([sine(level, seconds) for level, seconds in parts])
    assert integrated_loudness(wave, 48_000) + ONE_CHANNEL == pytest.approx(expected, abs=0.1)


def test_deep_and_high_sounds() -> None:
    """The filters as the recommendation draws them: about -14 dB at 20 Hz, about +4 dB at 10 kHz against 1 kHz."""
    middle = integrated_loudness(sine(-20, 4), 48_000)
    assert integrated_loudness(sine(-20, 4, hertz=20), 48_000) - middle == pytest.approx(-14.4, abs=0.6)
    assert integrated_loudness(sine(-20, 4, hertz=10_000), 48_000) - middle == pytest.approx(3.4, abs=0.3)


def test_short_clips_and_silence() -> None:
    long = integrated_loudness(sine(-20, 2), 48_000)
    assert integrated_loudness(sine(-20, 0.2), 48_000) == pytest.approx(long, abs=0.1)  # one block of its own
    assert integrated_loudness(np.zeros(48_000), 48_000) == -np.inf
    around = np.pad(sine(-20, 2), 480_000)
    partly = 10 * np.log10((17 + 2 * (0.75 + 0.5 + 0.25)) / 23)  # 17 blocks of sound, three at each end in part
    assert integrated_loudness(around, 48_000) == pytest.approx(long + partly, abs=0.05)  # silence does not count


def test_the_peak_between_samples() -> None:
    quarter = np.sin(np.pi / 4 + np.pi / 2 * np.arange(48_000)) * np.hanning(48_000)
    assert 20 * np.log10(np.abs(quarter).max()) == pytest.approx(-3.0, abs=0.02)
    assert true_peak(quarter, 48_000) == pytest.approx(0.0, abs=0.2)
    assert true_peak(np.zeros(10), 48_000) == -np.inf


@pytest.mark.parametrize(("wave", "rate"), [([], 16_000), ([[0.1, 0.2]], 16_000), ([0.1, np.nan], 16_000), ([0.1], 0)])
def test_what_has_no_loudness(wave: list[object], rate: int) -> None:
    with pytest.raises(ValueError):
        integrated_loudness(wave, rate)  # type: ignore[arg-type]
