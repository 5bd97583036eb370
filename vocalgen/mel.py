"""LogMel: the one analysis front end of generators, vocoders, classifiers and metrics."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vocalgen.errors import VocalgenError


@dataclass(frozen=True)
class MelConfig:
    """Everything that decides the numbers of a log-mel.

    Args:
        sample_rate: audio rate in Hz.
        n_fft: FFT size in samples; the window is a periodic Hann window of this length.
        hop_length: samples between frames.
        n_mels: slaney-scale, slaney-normalised bands.
        f_min, f_max: edges of the filterbank in Hz.
        floor: smallest band amplitude; the log-mel of digital silence is `log_floor = ln(floor)`.
    """

    sample_rate: int = 24_000
    n_fft: int = 1024
    hop_length: int = 256
    n_mels: int = 100
    f_min: float = 0.0
    f_max: float = 12_000.0
    floor: float = 1e-5

    def __post_init__(self) -> None:
        if self.f_max > self.sample_rate / 2:
            raise VocalgenError(f"f_max {self.f_max} Hz lies above half the sample rate {self.sample_rate} Hz")
        if (self.n_fft - self.hop_length) % 2:
            raise VocalgenError(f"n_fft {self.n_fft} - hop_length {self.hop_length} must be even")

    @property
    def log_floor(self) -> float:
        """Log-mel value of digital silence (natural log)."""
        return float(torch.tensor(self.floor).log())

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits that differ whenever any field differs."""
        canonical = json.dumps({"kind": "ln-amplitude-slaney", **asdict(self)}, sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Fields plus the fingerprint, as stored in every checkpoint."""
        return {**asdict(self), "fingerprint": self.fingerprint}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MelConfig:
        """Inverse of `to_dict`; refuses a stored fingerprint that does not belong to the fields."""
        fields = {key: value for key, value in values.items() if key != "fingerprint"}
        try:
            config = cls(**fields)
        except TypeError as error:
            raise VocalgenError(f"not a mel configuration: {error}") from error
        stored = values.get("fingerprint", config.fingerprint)
        if stored != config.fingerprint:
            raise VocalgenError(
                f"mel configuration was edited: its fields give fingerprint {config.fingerprint}, it says {stored}"
            )
        return config

    def require_equal(self, other: MelConfig, this: str, that: str) -> None:
        """Raise VocalgenError, printing both configurations, unless `other` is the same front end."""
        if self.fingerprint != other.fingerprint:
            raise VocalgenError(
                f"mel mismatch: {this} uses {self.fingerprint} {asdict(self)}, "
                f"{that} uses {other.fingerprint} {asdict(other)}; use models trained on the same front end"
            )


MEL_24K = MelConfig()
"""Default front end: 24 kHz, 1024-point FFT, 10.7 ms hop, 100 bands."""

MEL_16K_EXVO = MelConfig(sample_rate=16_000, n_fft=512, hop_length=256, n_mels=128, f_max=8_000.0, floor=1e-3)
"""The ExVo-Generate winner's resolution (arXiv 2206.12563): 128 bands, 16 kHz, 16 ms hop."""


class LogMel(nn.Module):
    """Natural logarithm of slaney mel-band amplitudes.

    Frames are centred on hops by reflect padding of (n_fft - hop_length) / 2 samples on both sides, so that
    `frames = samples // hop_length` exactly and a vocoder that upsamples by `hop_length` gives the length back.
    """

    window: Tensor
    filterbank: Tensor

    def __init__(self, config: MelConfig = MEL_24K) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        self.register_buffer("filterbank", mel_filterbank(config), persistent=False)

    @torch.autocast("cpu", enabled=False)
    def forward(self, wave: Tensor) -> Tensor:
        """(B, samples) float in [-1, 1] -> (B, n_mels, samples // hop_length).

        Raises:
            VocalgenError: fewer samples than the reflect padding needs.
        """
        padding = (self.config.n_fft - self.config.hop_length) // 2
        if wave.shape[-1] <= padding:
            raise VocalgenError(f"{wave.shape[-1]} samples are too few for a mel; at least {padding + 1} are needed")
        padded = F.pad(wave.float().unsqueeze(1), (padding, padding), mode="reflect").squeeze(1)
        spectrum = torch.stft(
            padded,
            self.config.n_fft,
            self.config.hop_length,
            window=self.window,
            center=False,
            return_complex=True,
        )
        amplitude = (spectrum.real.square() + spectrum.imag.square() + 1e-12).sqrt()
        return (self.filterbank @ amplitude).clamp(min=self.config.floor).log()


@torch.no_grad()
def log_mels(
    waves: Sequence[np.ndarray], log_mel: LogMel, batch_size: int = 64, dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    """Log-mels of clips of any length, computed in batches of similar length.

    Every clip is followed by silence before analysis, so that its mel does not depend on the batch it was in.

    Returns:
        one (n_mels, ceil(samples / hop_length)) tensor of type `dtype` a clip, in the order of `waves`.
    """
    config, device = log_mel.config, log_mel.window.device
    mels: list[Tensor] = [torch.empty(0)] * len(waves)
    order = sorted(range(len(waves)), key=lambda index: len(waves[index]))
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        samples = len(waves[batch[-1]]) // config.hop_length * config.hop_length + 2 * config.n_fft
        padded = torch.zeros(len(batch), samples)
        for row, index in enumerate(batch):
            padded[row, : len(waves[index])] = torch.from_numpy(waves[index])
        result = log_mel(padded.to(device)).to(dtype)
        for row, index in enumerate(batch):
            mels[index] = result[row, :, : -(-len(waves[index]) // config.hop_length)].clone()
    return mels


def mel_filterbank(config: MelConfig) -> Tensor:
    """Slaney mel filterbank, (n_mels, n_fft // 2 + 1) float32; rows sum to about 2 / bandwidth in Hz.

    Equal to `librosa.filters.mel` (Slaney 1998, Auditory Toolbox): linear below 1 kHz, logarithmic above.
    """
    edges = _mel_to_hz(
        torch.linspace(_hz_to_mel(config.f_min), _hz_to_mel(config.f_max), config.n_mels + 2, dtype=torch.float64)
    )
    bins = torch.linspace(0, config.sample_rate / 2, config.n_fft // 2 + 1, dtype=torch.float64)
    width = edges.diff()
    ramps = edges[:, None] - bins[None, :]
    rising, falling = -ramps[:-2] / width[:-1, None], ramps[2:] / width[1:, None]
    triangles = torch.minimum(rising, falling).clamp(min=0)
    return (triangles * (2 / (edges[2:] - edges[:-2]))[:, None]).float()


_BREAK_HZ, _HZ_PER_MEL, _LOG_STEP = 1000.0, 200.0 / 3, torch.log(torch.tensor(6.4, dtype=torch.float64)) / 27


def _hz_to_mel(frequency: float) -> float:
    if frequency < _BREAK_HZ:
        return frequency / _HZ_PER_MEL
    octaves = torch.log(torch.tensor(frequency / _BREAK_HZ, dtype=torch.float64))
    return float(_BREAK_HZ / _HZ_PER_MEL + octaves / _LOG_STEP)


def _mel_to_hz(mels: Tensor) -> Tensor:
    break_mel = _BREAK_HZ / _HZ_PER_MEL
    return torch.where(mels < break_mel, mels * _HZ_PER_MEL, _BREAK_HZ * torch.exp(_LOG_STEP * (mels - break_mel)))
