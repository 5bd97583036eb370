"""Spectral distances and intervals."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import torch
from bursts import burst

from vocalgen.metrics import intervals, spectral
from vocalgen.metrics.intervals import clustered_mean, jackknife, wilson
from vocalgen.metrics.spectral import log_mel_l1, stft_distance
from vocalgen.training.spectral_loss import MultiResolutionSTFTLoss


@pytest.mark.parametrize("module", [spectral, intervals])
def test_doctests(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


def test_stft_distance_is_the_training_loss() -> None:
    a, b = burst(1, seed=0), burst(1, seed=1)
    log_magnitude, convergence = MultiResolutionSTFTLoss()(torch.from_numpy(a)[None], torch.from_numpy(b)[None])
    ours = stft_distance(a, b)
    assert ours.log_magnitude == pytest.approx(float(log_magnitude), rel=1e-3)
    assert ours.convergence == pytest.approx(float(convergence), rel=1e-3)


def test_stft_distance_grows_with_noise() -> None:
    clean = burst(2)
    noise = np.random.default_rng(0).standard_normal(len(clean)).astype(np.float32)
    distances = [stft_distance(clean + level * noise, clean) for level in (0.0, 0.001, 0.1)]
    assert distances[0] == (0.0, 0.0)
    assert distances[0].log_magnitude < distances[1].log_magnitude < distances[2].log_magnitude
    assert distances[1].convergence < distances[2].convergence


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        stft_distance(np.ones(4000), np.ones(4001))
    with pytest.raises(ValueError, match="more than 1024 samples"):
        stft_distance(np.ones(1000), np.ones(1000))
    with pytest.raises(ValueError, match="NaN"):
        log_mel_l1([[np.nan]], [[0.0]])
    with pytest.raises(ValueError, match="nothing to compare"):
        log_mel_l1([], [])
    with pytest.raises(ValueError, match="no share"):
        wilson(3, 0)


def test_clustering_widens_the_interval() -> None:
    # Twenty speakers with ten equal clips each hold the information of twenty clips, not of two hundred.
    values = np.repeat(np.arange(20) % 2, 10)
    alone = clustered_mean(values, [str(i) for i in range(200)])
    together = clustered_mean(values, [str(i // 10) for i in range(200)])
    assert together.value == alone.value == 0.5
    assert together.high - together.low > 2.5 * (alone.high - alone.low)


def test_jackknife_of_a_mean_is_its_standard_error() -> None:
    x = np.random.default_rng(0).normal(size=50)
    interval = jackknife(x.mean(), [np.delete(x, i).mean() for i in range(50)])
    assert (interval.high - interval.value) / 1.959964 == pytest.approx(x.std(ddof=1) / np.sqrt(50), rel=1e-5)
