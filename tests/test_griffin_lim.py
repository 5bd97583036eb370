"""Griffin-Lim: lengths, alignment, determinism, and that its iterations help."""

from __future__ import annotations

import pytest
import torch
from bursts import burst
from torch import Tensor

from vocalgen.errors import VocalgenError
from vocalgen.mel import MEL_16K_EXVO, MEL_24K, LogMel, mel_filterbank
from vocalgen.models.griffin_lim import griffin_lim, linear_amplitude


@pytest.fixture(scope="module")
def waves() -> Tensor:
    return torch.stack([torch.from_numpy(burst(index, 0.6)[: 56 * 256]) for index in range(3)])


def test_length_and_level(waves: Tensor) -> None:
    output = griffin_lim(LogMel()(waves))
    assert output.shape == waves.shape
    assert output.dtype == torch.float32
    levels = output.square().mean(1) / waves.square().mean(1)
    assert ((levels > 0.6) & (levels < 1.6)).all()


def test_iterations_and_momentum_bring_the_mel_closer(waves: Tensor) -> None:
    mel = LogMel()(waves)
    errors = [
        float((LogMel()(griffin_lim(mel, n_iter=n, momentum=m)) - mel).abs().mean())
        for n, m in ((0, 0.99), (4, 0.99), (32, 0.0), (32, 0.99))
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.3


def test_output_is_aligned_with_the_wave(waves: Tensor) -> None:
    """The mel of the output fits best where it is: a shift of half a hop either way is worse."""
    mel = LogMel()(waves)
    output = griffin_lim(mel)

    def error(shift: int) -> float:
        return float((LogMel()(output.roll(shift, 1)) - mel)[..., 2:-2].abs().mean())

    assert error(0) < min(error(-128), error(128))


def test_a_clip_does_not_depend_on_its_batch(waves: Tensor) -> None:
    mel = LogMel()(waves)
    torch.testing.assert_close(griffin_lim(mel)[1:2], griffin_lim(mel[1:2]), rtol=0, atol=1e-3)
    assert torch.equal(griffin_lim(mel[:1], seed=3), griffin_lim(mel[:1], seed=3))
    assert not torch.equal(griffin_lim(mel[:1], seed=3), griffin_lim(mel[:1], seed=4))


def test_other_front_end() -> None:
    mel = LogMel(MEL_16K_EXVO)(torch.randn(1, 4096) * 0.1)
    assert griffin_lim(mel, MEL_16K_EXVO, n_iter=2).shape == (1, 4096)


def test_linear_amplitudes_give_the_mel_back(waves: Tensor) -> None:
    mel = LogMel()(waves)
    amplitude = linear_amplitude(mel, MEL_24K)
    assert amplitude.min() >= 0
    again = mel_filterbank(MEL_24K) @ amplitude
    assert (again - mel.exp()).abs().mean() / mel.exp().mean() < 0.1


def test_silence_stays_silent() -> None:
    wave = griffin_lim(torch.full((1, 100, 8), MEL_24K.log_floor), n_iter=4)
    assert wave.isfinite().all()
    assert wave.abs().max() < 1e-2


@pytest.mark.parametrize("shape", [(100, 8), (1, 80, 8), (1, 100, 2)])
def test_wrong_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(VocalgenError, match="Griffin-Lim needs"):
        griffin_lim(torch.zeros(shape))
