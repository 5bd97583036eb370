"""Griffin-Lim: a wave from a log-mel without training, the baseline of every vocoder."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from vocalgen.errors import VocalgenError
from vocalgen.float32 import float32_default, uniform
from vocalgen.mel import MEL_24K, MelConfig, mel_filterbank


@torch.no_grad()
@float32_default()
def griffin_lim(
    log_mel: Tensor, config: MelConfig = MEL_24K, n_iter: int = 32, momentum: float = 0.99, seed: int = 0
) -> Tensor:
    """Fast Griffin-Lim (Perraudin, Balazs and Søndergaard 2013) on the amplitudes that a log-mel implies.

    Args:
        log_mel: (B, n_mels, L) of `LogMel(config)`, L >= 3.
        n_iter: STFT round trips.
        momentum: 0 is the method of Griffin and Lim (1984).
        seed: of the random first phases; every clip of a batch starts from the same ones.

    Returns:
        (B, L * hop_length) wave, aligned with the one the log-mel was computed from.

    Raises:
        VocalgenError: wrong number of bands, or too few frames.
    """
    if log_mel.ndim != 3 or log_mel.shape[1] != config.n_mels or log_mel.shape[2] < 3:
        raise VocalgenError(
            f"log-mel of shape {tuple(log_mel.shape)}: Griffin-Lim needs (clips, {config.n_mels} bands, frames) "
            f"with 3 or more frames"
        )
    amplitude = linear_amplitude(log_mel, config)
    generator = torch.Generator().manual_seed(seed)
    angle = uniform(*amplitude.shape[1:], generator=generator).to(log_mel.device) * (2 * torch.pi)
    rotation = torch.polar(torch.ones_like(angle), angle).expand(amplitude.shape)
    return istft(amplitude * consistent_phase(amplitude, rotation, config, n_iter, momentum), config)


class GriffinLim(ModelMixin, ConfigMixin):
    """Griffin-Lim in the place of a trained vocoder in a pipeline; nothing in it is learned.

    Args:
        mel: the front end as `MelConfig.to_dict()`.
        n_iter, momentum: see `griffin_lim`.
    """

    @register_to_config
    def __init__(self, mel: dict[str, Any], n_iter: int = 32, momentum: float = 0.99) -> None:
        super().__init__()
        # The device and the precision of a pipeline part are those of its first parameter: this is the one it has.
        self.floor = nn.Parameter(torch.tensor(MelConfig.from_dict(mel).log_floor), requires_grad=False)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """(B, L, n_mels) log-mel, as `SpeechT5HifiGan` takes it -> (B, L * hop_length) wave in [-1, 1]."""
        config = self.config
        mel = MelConfig.from_dict(config.mel)
        wave = griffin_lim(spectrogram.transpose(1, 2).float(), mel, config.n_iter, config.momentum)
        return wave.clamp(-1.0, 1.0)


def consistent_phase(amplitude: Tensor, rotation: Tensor, config: MelConfig, n_iter: int, momentum: float) -> Tensor:
    """Bring phases nearer to those of a real wave by `n_iter` STFT round trips; differentiable.

    Args:
        amplitude: (B, n_fft // 2 + 1, L), not negative.
        rotation: complex numbers of unit size, same shape.

    Returns:
        complex numbers of unit size, same shape.
    """
    previous = torch.zeros_like(rotation)
    for _ in range(n_iter):
        rebuilt = stft(istft(amplitude * rotation, config), config)
        rotation = unit(rebuilt - previous * (momentum / (1 + momentum)))
        previous = rebuilt
    return rotation


def unit(spectrum: Tensor) -> Tensor:
    """Complex numbers scaled to unit size; zero stays zero."""
    return spectrum * (spectrum.real.square() + spectrum.imag.square() + 1e-16).rsqrt()


def stft(wave: Tensor, config: MelConfig) -> Tensor:
    """(B, L * hop_length) -> complex (B, n_fft // 2 + 1, L), framed as `LogMel` does but for silence at the ends."""
    padding = (config.n_fft - config.hop_length) // 2
    window = torch.hann_window(config.n_fft, device=wave.device)
    padded = F.pad(wave, (padding, padding))
    return torch.stft(padded, config.n_fft, config.hop_length, window=window, center=False, return_complex=True)


def istft(spectrum: Tensor, config: MelConfig) -> Tensor:
    """Inverse of `stft`: complex (B, n_fft // 2 + 1, L) -> (B, L * hop_length)."""
    window = torch.hann_window(config.n_fft, device=spectrum.device)
    frames = torch.fft.irfft(spectrum.transpose(1, 2), config.n_fft) * window
    weights = window.square().expand(1, frames.shape[1], -1)
    padding = (config.n_fft - config.hop_length) // 2
    inside = slice(padding, padding + frames.shape[1] * config.hop_length)
    wave = _overlap_add(frames, config.hop_length)[:, inside]
    return wave / _overlap_add(weights, config.hop_length)[:, inside].clamp(min=1e-3)


def _overlap_add(frames: Tensor, hop_length: int) -> Tensor:
    """(B, L, n_fft) -> (B, at least (L - 1) * hop_length + n_fft)."""
    batch, count, size = frames.shape
    pieces = F.pad(frames, (0, -size % hop_length)).unflatten(-1, (-1, hop_length))
    total = frames.new_zeros(batch, count + pieces.shape[2] - 1, hop_length)
    for place in range(pieces.shape[2]):
        total[:, place : place + count] += pieces[:, :, place]
    return total.flatten(1)


def linear_amplitude(log_mel: Tensor, config: MelConfig) -> Tensor:
    """(B, n_mels, L) log-mel -> (B, n_fft // 2 + 1, L) amplitudes: least squares, negative values set to zero."""
    return (_inverse(config).to(log_mel.device) @ log_mel.float().exp()).clamp(min=0)


@lru_cache(maxsize=4)
def _inverse(config: MelConfig) -> Tensor:
    return torch.linalg.pinv(mel_filterbank(config).double()).float()
