"""Fundamental frequency and periodicity of waves by the normalised square difference function."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vocalgen.errors import VocalgenError

WINDOW_SECONDS = 0.04
"""Length of the frame that is compared with itself: bursts glide too fast for more."""

FIRST_PEAK = 0.92
"""Of the peaks at least this high, relative to the highest, the one of the shortest period is the pitch."""


@torch.no_grad()
def track_pitch(
    wave: Tensor, sample_rate: int, hop_length: int, f_min: float = 60.0, f_max: float = 1500.0
) -> tuple[Tensor, Tensor]:
    """McLeod's pitch method (McLeod and Wyvill 2005, "A smarter way to find pitch"), one value a hop.

    Args:
        wave: (B, samples) in [-1, 1].
        sample_rate: Hz.
        hop_length: samples; frames are centred on hops as those of `LogMel` are.
        f_min, f_max: range of the search in Hz.

    Returns:
        f0 (B, samples // hop_length) in Hz, the best guess even where the sound has no pitch, and the periodicity of
        each frame in [0, 1]: 1 for a steady tone, about 0.3 for noise, 0 for digital silence.

    Raises:
        VocalgenError: a range that is empty or that the sample rate cannot hold.
    """
    if not 0 < f_min < f_max < sample_rate / 4:
        raise VocalgenError(f"pitch range {f_min:g} to {f_max:g} Hz: 0 < f_min < f_max < {sample_rate / 4:g} is needed")
    window = hop_length + round(WINDOW_SECONDS * sample_rate - hop_length) // 2 * 2
    shortest, longest = int(sample_rate / f_max), int(sample_rate / f_min) + 2
    similarity = _similarity(wave, window, hop_length, longest)
    before, here, after = (similarity[..., shortest + k : longest + k] for k in (-1, 0, 1))
    peak = (here > before) & (here >= after)
    height = torch.where(peak, here, -1.0)
    high = peak & (height >= FIRST_PEAK * height.amax(-1, keepdim=True))
    lag = high.float().argmax(-1, keepdim=True)
    a, b, c = (values.gather(-1, lag).squeeze(-1) for values in (before, here, after))
    shift = (0.5 * (a - c) / (a - 2 * b + c).clamp(max=-1e-6)).clamp(-0.5, 0.5)
    return sample_rate / (lag.squeeze(-1) + shortest + shift), b.clamp(0.0, 1.0)


def _similarity(wave: Tensor, window: int, hop_length: int, longest: int) -> Tensor:
    """2 r(lag) / m(lag) of every frame, (B, L, longest + 1): 1 where the frame repeats itself exactly."""
    padding = (window - hop_length) // 2
    frames = F.pad(wave.float(), (padding, padding)).unfold(-1, window, hop_length)
    frames = frames - frames.mean(-1, keepdim=True)
    spectrum = torch.fft.rfft(frames, 2 * window)
    products = torch.fft.irfft(spectrum.real.square() + spectrum.imag.square())[..., : longest + 1]
    energy = F.pad(frames.square().cumsum(-1), (1, 0))
    lags = torch.arange(longest + 1, device=wave.device)
    energies = energy[..., window - lags] + energy[..., -1:] - energy[..., lags]
    return 2 * products / (energies + 1e-6)
