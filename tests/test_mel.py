"""The front end equals librosa's, keeps its promises about length, and knows when two of them differ."""

from __future__ import annotations

from dataclasses import replace

import librosa
import numpy as np
import pytest
import torch
from bursts import burst

from vocalgen.errors import VocalgenError
from vocalgen.mel import MEL_16K_EXVO, MEL_24K, LogMel, MelConfig

CONFIGS = [MEL_24K, MEL_16K_EXVO]


@pytest.mark.parametrize("config", CONFIGS)
def test_equals_librosa(config: MelConfig) -> None:
    wave = burst(3, 1.0, config.sample_rate, seed=1)
    padding = (config.n_fft - config.hop_length) // 2
    expected = librosa.feature.melspectrogram(
        y=np.pad(wave, padding, mode="reflect"),
        sr=config.sample_rate,
        n_fft=config.n_fft,
        hop_length=config.hop_length,
        n_mels=config.n_mels,
        fmin=config.f_min,
        fmax=config.f_max,
        center=False,
        power=1.0,
    )
    mel = LogMel(config)(torch.from_numpy(wave)[None])[0].numpy()
    np.testing.assert_allclose(mel, np.log(np.maximum(expected, config.floor)), atol=2e-3)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("samples", [4096, 24_000, 24_255])
def test_frames_are_samples_over_hop(config: MelConfig, samples: int) -> None:
    assert LogMel(config)(torch.randn(2, samples)).shape == (2, config.n_mels, samples // config.hop_length)


def test_silence_is_the_floor_and_gain_is_a_shift() -> None:
    mel = LogMel()
    assert torch.equal(mel(torch.zeros(1, 2560)), torch.full((1, 100, 10), MEL_24K.log_floor))
    wave = 0.5 * torch.randn(1, 2560)
    torch.testing.assert_close(mel(0.5 * wave), mel(wave) - np.log(2), atol=1e-4, rtol=0)


def test_too_short_is_an_error() -> None:
    with pytest.raises(VocalgenError, match="at least 385"):
        LogMel()(torch.zeros(1, 384))


def test_fingerprint_depends_on_every_field() -> None:
    changed = [
        replace(MEL_24K, sample_rate=24_001),
        replace(MEL_24K, n_fft=1026),
        replace(MEL_24K, hop_length=258),
        replace(MEL_24K, n_mels=80),
        replace(MEL_24K, f_min=20.0),
        replace(MEL_24K, f_max=11_000.0),
        replace(MEL_24K, floor=1e-4),
    ]
    assert len({config.fingerprint for config in [MEL_24K, *changed]}) == len(changed) + 1


def test_dictionary_round_trip_and_edits() -> None:
    stored = MEL_24K.to_dict()
    assert MelConfig.from_dict(stored) == MEL_24K
    with pytest.raises(VocalgenError, match="was edited"):
        MelConfig.from_dict({**stored, "hop_length": 128})
    with pytest.raises(VocalgenError, match="not a mel configuration"):
        MelConfig.from_dict({**stored, "hops": 128})


def test_mismatch_prints_both() -> None:
    with pytest.raises(VocalgenError) as caught:
        MEL_24K.require_equal(MEL_16K_EXVO, "vocoder", "generator")
    for part in (MEL_24K.fingerprint, MEL_16K_EXVO.fingerprint, "vocoder", "generator"):
        assert part in str(caught.value)


def test_impossible_configurations() -> None:
    with pytest.raises(VocalgenError, match="half the sample rate"):
        MelConfig(sample_rate=16_000)
    with pytest.raises(VocalgenError, match="must be even"):
        MelConfig(hop_length=255)
