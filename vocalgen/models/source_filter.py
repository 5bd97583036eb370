"""Source-filter vocoder: pulses at the pitch and noise give the phases, a ConvNeXt over frames gives the amplitudes.

A network at frame rate cannot count periods: from a steady mel it makes a sound that repeats with the hop. Here the
pitch, read from the mel by the same network, drives an oscillator (neural source-filter models, arXiv 1904.12088), and
the spectrum is inverted by one inverse STFT (as in Vocos, arXiv 2306.00814), so that an untrained network already gives
what Griffin-Lim would from better phases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from vocalgen.float32 import normal
from vocalgen.mel import MelConfig, mel_filterbank
from vocalgen.models.autoencoder import ConvNeXtBlock
from vocalgen.models.griffin_lim import consistent_phase, istft, linear_amplitude, stft, unit

SMOOTH_SHARE = 0.2
"""Amplitudes never start below this share of the smooth envelope: least squares leaves holes between bands."""

SMALLEST = 1e-4
"""Least amplitude of an STFT bin before its logarithm."""

MAIN_LOBE = 3.0
"""Bins over which a Hann window makes the amplitudes of noise much alike."""


@dataclass(frozen=True)
class Source:
    """What a wave is made from besides its mel.

    Attributes:
        f0: (B, L) in Hz.
        periodicity: (B, L) in [0, 1].
        phase: (B,) radians at which the oscillator starts.
        noise: (B, L * hop_length), standard normal.
    """

    f0: Tensor
    periodicity: Tensor
    phase: Tensor
    noise: Tensor


class SourceFilterVocoder(ModelMixin, ConfigMixin):
    """Log-mel to wave.

    Args:
        mel: the front end as `MelConfig.to_dict()`.
        dim: channels.
        depth: ConvNeXt blocks that know the pitch.
        pitch_depth: blocks before the pitch is read.
        f_min, f_max: range of the pitch in Hz.
        bins_per_octave: resolution of the pitch classes; the estimate lies between them.
        n_iter, momentum: STFT round trips that make phases and amplitudes agree, see `consistent_phase`.
        mel_mean, mel_std: affine normalisation of log-mel values.
    """

    @register_to_config
    def __init__(
        self,
        mel: dict[str, Any],
        dim: int = 256,
        depth: int = 5,
        pitch_depth: int = 2,
        f_min: float = 60.0,
        f_max: float = 1500.0,
        bins_per_octave: int = 20,
        n_iter: int = 6,
        momentum: float = 0.99,
        mel_mean: float = -6.0,
        mel_std: float = 2.5,
    ) -> None:
        super().__init__()
        self.front_end = MelConfig.from_dict(mel)
        self.bins = math.ceil(bins_per_octave * math.log2(f_max / f_min)) + 1
        scale = 1.0 / (depth + pitch_depth)
        self.embed = nn.Conv1d(self.front_end.n_mels, dim, 7, padding=3)
        self.embed_norm = nn.LayerNorm(dim)
        self.pitch_blocks = nn.Sequential(*[ConvNeXtBlock(dim, layer_scale=scale) for _ in range(pitch_depth)])
        self.pitch_norm = nn.LayerNorm(dim)
        self.pitch_head = nn.Linear(dim, self.bins + 1)
        self.pitch_embed = nn.Linear(self.bins + 1, dim)
        self.blocks = nn.Sequential(*[ConvNeXtBlock(dim, layer_scale=scale) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, 2 * (self.front_end.n_fft // 2 + 1))
        nn.init.normal_(self.head.weight, 0.0, 0.002)
        nn.init.zeros_(self.head.bias)

    def forward(self, spectrogram: Tensor, source: Source | None = None) -> Any:
        """(B, L, n_mels) log-mel, as `SpeechT5HifiGan` takes it -> (B, L * hop_length) wave in [-1, 1].

        With a `source` (in training) the pair of the wave, not yet limited, and the pitch logits (B, L, bins + 1): of
        the pitch classes, then of the sound being periodic.
        """
        spectrogram = spectrogram.float()
        hidden, logits = self._read_pitch(spectrogram.transpose(1, 2))
        given = self._own_source(logits) if source is None else source
        known = self.pitch_embed(self._encode(given).to(self.dtype))
        filters = self.head(self.norm(self.blocks(hidden + known))).float()
        wave = self._synthesise(spectrogram.transpose(1, 2), given, filters.transpose(1, 2))
        return wave.clamp(-1.0, 1.0) if source is None else (wave, logits)

    def pitch_loss(self, logits: Tensor, f0: Tensor, periodicity: Tensor) -> Tensor:
        """Cross-entropy of the pitch, where there is one, and of the periodicity: scalar, in nat."""
        target = self._soft_classes(f0)
        target = target / target.sum(-1, keepdim=True).clamp(min=1e-6)
        errors = -(target * logits[..., :-1].log_softmax(-1)).sum(-1)
        weight = (2 * periodicity - 1).clamp(min=0)
        periodic = F.binary_cross_entropy_with_logits(logits[..., -1], periodicity)
        return (errors * weight).sum() / weight.sum().clamp(min=1.0) + periodic

    def pitch_distance(self, target: Tensor, decoded: Tensor) -> Tensor:
        """Compare the pitch that the pitch head reads in two log-mels.

        The cross-entropy between the two distributions over pitch classes, averaged over frames with the weight
        max(0, 2 p - 1), where p is the probability that the target frame is periodic, plus the binary cross-entropy of
        periodicity. Only `decoded` gets gradients; freeze the network to keep its own weights out.

        Args:
            target: (B, n_mels, L) log-mel.
            decoded: (B, n_mels, L) log-mel.

        Returns:
            Scalar, nat.
        """
        with torch.no_grad():
            truth = self._read_pitch(target)[1]
            classes, periodicity = truth[..., :-1].softmax(-1), truth[..., -1].sigmoid()
            weight = (2 * periodicity - 1).clamp(min=0)
        logits = self._read_pitch(decoded)[1]
        errors = -(classes * logits[..., :-1].log_softmax(-1)).sum(-1)
        voicing = F.binary_cross_entropy_with_logits(logits[..., -1], periodicity)
        return (errors * weight).sum() / weight.sum().clamp(min=1.0) + voicing

    def _read_pitch(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """(B, n_mels, L) -> features (B, L, dim) and pitch logits (B, L, bins + 1)."""
        normal = (log_mel - self.config.mel_mean) / self.config.mel_std
        h = self.pitch_blocks(self.embed_norm(self.embed(normal.to(self.dtype)).transpose(1, 2)))
        return h, self.pitch_head(self.pitch_norm(h)).float()

    def _synthesise(self, log_mel: Tensor, source: Source, filters: Tensor) -> Tensor:
        mel = self.front_end
        correction, voicing = filters.chunk(2, dim=1)
        amplitude = _envelope(log_mel, mel) * correction.clamp(-8.0, 8.0).exp()
        pulses = stft(pulse_train(source.f0, source.phase, mel.sample_rate, mel.hop_length), mel)
        noise = stft(source.noise, mel)
        share = (voicing + torch.logit(source.periodicity.clamp(0.02, 0.98)).unsqueeze(1)).sigmoid()
        rotation = unit(share * pulses + (1 - share) * noise)
        level = math.sqrt(3 / 8 * mel.n_fft * math.log(2))  # median amplitude of noise under a Hann window
        fluctuation = (noise.abs() / level).clamp(0.05, 3.0)
        amplitude = amplitude * fluctuation ** ((1 - share) * _unresolved(mel).to(log_mel.device))
        rotation = consistent_phase(amplitude, rotation, mel, self.config.n_iter, self.config.momentum)
        return istft(amplitude * rotation, mel)

    def _own_source(self, logits: Tensor) -> Source:
        """Pitch and periodicity as the network reads them; noise and phase are the same for every clip."""
        classes = logits[..., :-1].softmax(-1)
        near = classes.argmax(-1, keepdim=True) + torch.arange(-2, 3, device=logits.device)
        near = near.clamp(0, self.bins - 1)
        weights = classes.gather(-1, near)
        place = (weights * near).sum(-1) / weights.sum(-1)
        batch, frames = place.shape
        noise = normal(frames * self.front_end.hop_length, generator=torch.Generator().manual_seed(0))
        return Source(
            self.config.f_min * 2 ** (place / self.config.bins_per_octave),
            logits[..., -1].sigmoid(),
            torch.zeros(batch, device=logits.device),
            noise.to(logits.device).expand(batch, -1),
        )

    def _encode(self, source: Source) -> Tensor:
        periodicity = source.periodicity.unsqueeze(-1)
        return torch.cat([self._soft_classes(source.f0) * periodicity, periodicity], dim=-1)

    def _soft_classes(self, f0: Tensor) -> Tensor:
        """(B, L) Hz -> (B, L, bins): a pitch between two classes belongs to both."""
        place = torch.log2(f0 / self.config.f_min) * self.config.bins_per_octave
        return (1 - (place.unsqueeze(-1) - torch.arange(self.bins, device=f0.device)).abs()).clamp(min=0)


def pulse_train(f0: Tensor, phase: Tensor, sample_rate: int, hop_length: int) -> Tensor:
    """A band-limited pulse a period, of unit power: all harmonics below half the sample rate in cosine phase.

    Args:
        f0: (B, L) in Hz, in the middle of each hop; interpolated between.
        phase: (B,) of the first harmonic at the start, radians.

    Returns:
        (B, L * hop_length).
    """
    frequency = F.interpolate(f0.unsqueeze(1), scale_factor=hop_length, mode="linear").squeeze(1)
    cycles = (frequency.double() / sample_rate).cumsum(-1).remainder(1.0).float()
    half = math.pi * cycles + 0.5 * phase.unsqueeze(-1)
    harmonics = (sample_rate / 2 / frequency).floor()
    # The sum of cos(k x) over k = 1..n is sin((n + 1/2) x) / (2 sin(x / 2)) - 1/2.
    sine = half.sin()
    pulse = sine.abs() < 1e-4
    total = ((2 * harmonics + 1) * half).sin() / (2 * torch.where(pulse, torch.ones_like(sine), sine)) - 0.5
    return torch.where(pulse, harmonics, total) * (2 / harmonics).sqrt()


def _envelope(log_mel: Tensor, config: MelConfig) -> Tensor:
    """(B, n_mels, L) log-mel -> (B, n_fft // 2 + 1, L) amplitudes to be corrected."""
    smooth = _smooth_inverse(config).to(log_mel.device) @ log_mel.exp()
    return torch.maximum(linear_amplitude(log_mel, config), SMOOTH_SHARE * smooth).clamp(min=SMALLEST)


@lru_cache(maxsize=4)
def _unresolved(config: MelConfig) -> Tensor:
    """How much of the noise's own fluctuation a bin keeps, (n_fft // 2 + 1, 1) in [0, 1).

    A mel band as narrow as the main lobe says how loud its noise is at every bin; the wider it is, the less.
    """
    filterbank = mel_filterbank(config)
    widths = (filterbank > 0).sum(1).float()
    bins = (filterbank.T @ widths / filterbank.sum(0).clamp(min=1e-9)).clamp(min=MAIN_LOBE)
    return (1 - MAIN_LOBE / bins).sqrt().unsqueeze(1)


@lru_cache(maxsize=4)
def _smooth_inverse(config: MelConfig) -> Tensor:
    """Spreads each band's mean amplitude over its bins."""
    filterbank = mel_filterbank(config)
    return filterbank.T / filterbank.sum(0).unsqueeze(1).clamp(min=1e-9) / filterbank.sum(1)
