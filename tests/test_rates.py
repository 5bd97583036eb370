"""Warnings about sample rates of generated clips that differ from those of the reference."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from vocalgen import audio
from vocalgen.evaluation.rates import rate_conditions, rate_warnings
from vocalgen.recognition.clips import Rates

ENCODERS = {"classifier": 24_000, "emo18": 16_000}


@pytest.mark.parametrize(
    ("rates", "real", "warned"),
    [
        ({24_000: 9}, {24_000: 50}, 0),
        ({48_000: 9}, {24_000: 50}, 0),  # the encoder is given 24 kHz of both
        ({24_000: 9}, {44_100: 50}, 0),
        ({16_000: 9}, {16_000: 50}, 0),
        ({16_000: 9}, {16_000: 50, 24_000: 50}, 0),
        ({24_000: 9}, {}, 0),
        ({8_000: 9}, {24_000: 50}, 9),
        ({8_000: 9}, {}, 9),
        ({8_000: 2, 24_000: 7}, {24_000: 50}, 2),
        ({8_000: 9}, {24_000: 50, 8_000: 1}, 9),
        ({24_000: 9}, {16_000: 50}, 9),
    ],
)
def test_rate_warnings(rates: dict[int, int], real: dict[int, int], warned: int) -> None:
    own: Rates = Counter(rates)
    found = rate_warnings({"mine": own}, Counter(real), ENCODERS)
    assert len(found) == bool(warned)
    for sentence in found:
        assert sentence.startswith(f"mine: {warned} of 9 clips") and "classifier is given 24000 Hz" in sentence


def test_rate_conditions() -> None:
    found = rate_conditions({"mine": Counter({8_000: 9})}, Counter(), ENCODERS)
    assert found["generated"] == {"mine": "9 of 8000 Hz"}
    assert found["reference"] == "unknown"
    assert found["encoders"] == {"classifier": "24000 Hz", "emo18": "16000 Hz"}


def test_sample_rate_is_that_of_the_header(tmp_path: Path) -> None:
    for kind in audio.FORMATS:
        audio.write(tmp_path / f"a.{kind}", np.sin(np.arange(4_000) / 9), 16_000)
        assert audio.sample_rate(tmp_path / f"a.{kind}") == 16_000
    (tmp_path / "b.wav").write_text("no audio")
    assert audio.sample_rate(tmp_path / "b.wav") is None and audio.sample_rate(tmp_path / "c.wav") is None
