"""Fundamental frequency and periodicity of waves by the normalised square difference function."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor

from vocalgen.errors import VocalgenError

WINDOW_SECONDS = 0.04
"""Length of the frame that is compared with itself. Bursts glide too fast for a longer one."""

SHORTEST_WINDOW = 1.2
"""Periods that a frame must hold, or nothing of it is left to compare."""

OVERSAMPLING = 2
"""Lags per sample. The peaks of a bright tone are about one sample wide: between samples their heights are lost."""

BANDS_PER_OCTAVE = 2
"""The highest peak of each half octave of lags is a candidate, so that a period never hides its double or half."""

OCTAVE_COST = 0.03
"""Similarity that a period must gain per octave of length: multiples of the true period are as similar as it is."""

JUMP_COST = 0.3
"""Similarity that a change of pitch by one octave costs within 10 ms."""

LARGEST_JUMP = 1.5
"""Octaves above which a change of pitch costs no more: onsets of another sound must stay possible."""

REACH = 6
"""Frames before and after that take part in the choice of a frame's candidate."""


@torch.no_grad()
def track_pitch(
    wave: Tensor, sample_rate: int, hop_length: int, f_min: float = 60.0, f_max: float = 1500.0
) -> tuple[Tensor, Tensor]:
    """Track pitch by McLeod's similarity with the path search of Boersma, one value per hop.

    Each frame proposes the peaks of its normalised square difference function (McLeod and Wyvill 2005, "A smarter way
    to find pitch"). The chosen candidates are those of the best path through the frame and its `REACH` neighbours on
    either side, with costs of long periods and of jumps (Boersma 1993, "Accurate short-term analysis of the fundamental
    frequency").

    Args:
        wave: (B, samples) in [-1, 1], at least one hop long. Rows do not influence each other.
        sample_rate: Hz.
        hop_length: samples; frames are centred on hops as those of `LogMel` are.
        f_min, f_max: range of the search in Hz.

    Returns:
        f0 (B, samples // hop_length) in [f_min, f_max] Hz, the best guess even where the clip has no pitch, and the
        periodicity of each frame in [0, 1], its similarity one period later: 1 for a steady tone, 0 for digital
        silence. The mean for white noise is about 0.06 at 24 kHz and 0.09 at 12 kHz.

    Raises:
        VocalgenError: a range that is empty or that the sample rate cannot hold.
    """
    lowest, highest = SHORTEST_WINDOW / WINDOW_SECONDS, sample_rate / 4
    if not lowest <= f_min < f_max < highest:
        raise VocalgenError(
            f"pitch range {f_min:g} to {f_max:g} Hz: it must be ascending, from {lowest:g} Hz to below {highest:g} Hz "
            f"at a sample rate of {sample_rate} Hz"
        )
    window = hop_length + round(WINDOW_SECONDS * sample_rate - hop_length) // 2 * 2
    lag_rate = OVERSAMPLING * sample_rate
    similarity = _similarity(wave, window, hop_length, int(sample_rate / f_min) + 2)
    period, height = _candidates(similarity, int(lag_rate / f_max), int(lag_rate / f_min) + 2)
    octaves = period.log2()
    chosen = _best_path(height - OCTAVE_COST * octaves, octaves, 100 * hop_length / sample_rate)
    f0 = lag_rate / period.gather(-1, chosen).squeeze(-1)
    return f0.clamp(f_min, f_max), height.gather(-1, chosen).squeeze(-1).clamp(0.0, 1.0)


def _similarity(wave: Tensor, window: int, hop_length: int, longest: int) -> Tensor:
    """Compute 2 r(lag) / m(lag) of every frame: 1 where the frame repeats itself exactly.

    Returns:
        (B, L, OVERSAMPLING * longest), one value per 1 / OVERSAMPLING samples of lag.
    """
    padding = (window - hop_length) // 2
    frames = F.pad(wave.float(), (padding, padding)).unfold(-1, window, hop_length)
    frames = frames - frames.mean(-1, keepdim=True)
    size = 2 * next_fast_len((window + longest + 1) // 2, real=True)  # lags up to `longest` must not wrap around
    spectrum = torch.fft.rfft(frames, size)
    products = torch.fft.irfft(spectrum * spectrum.conj(), OVERSAMPLING * size)[..., : OVERSAMPLING * longest]
    squares = frames.square()
    outside = (squares[..., :longest] + squares[..., -longest:].flip(-1)).cumsum(-1)  # of the overlap at each lag
    energies = 2 * squares.sum(-1, keepdim=True) - F.pad(outside, (1, 0)) + 1e-6
    steps = [torch.lerp(energies[..., :-1], energies[..., 1:], k / OVERSAMPLING) for k in range(OVERSAMPLING)]
    return 2 * OVERSAMPLING * products / torch.stack(steps, dim=-1).flatten(-2)


def _candidates(similarity: Tensor, shortest: int, longest: int) -> tuple[Tensor, Tensor]:
    """Find the highest peak of each band of lags from `shortest` up to, not including, `longest`.

    Returns:
        Periods and heights between the lags, by parabolas through the peaks, both (B, L, bands). A band without a peak
        has the height -1.
    """
    before, here, after = (similarity[..., shortest + k : longest + k] for k in (-1, 0, 1))
    peaks = torch.where((here > before) & (here >= after), here, -1.0)
    bands = math.ceil(BANDS_PER_OCTAVE * math.log2(longest / shortest))
    edges = [round(shortest * (longest / shortest) ** (k / bands)) - shortest for k in range(bands + 1)]
    best = [peaks[..., low:high].max(-1) for low, high in pairwise(edges)]
    height = torch.stack([values for values, _ in best], dim=-1)
    lag = torch.stack([places + low for (_, places), low in zip(best, edges)], dim=-1)
    a, b, c = (values.gather(-1, lag) for values in (before, here, after))
    curvature = (a - 2 * b + c).clamp(max=-1e-6)
    shift = (0.5 * (a - c) / curvature).clamp(-0.5, 0.5)
    return lag + shortest + shift, torch.where(height > -1, b - 0.25 * (a - c) * shift, -1.0)


def _best_path(score: Tensor, octaves: Tensor, hops: float) -> Tensor:
    """Choose a candidate per frame by the Viterbi algorithm, cut to `REACH` frames to either side.

    All frames take each step at once: the steps are few, whatever the length, and far frames have no influence.

    Args:
        score: (B, L, candidates).
        octaves: (B, L, candidates), logarithm of the periods.
        hops: distance of frames in units of 10 ms.

    Returns:
        (B, L, 1), index of the candidate.
    """
    change = (octaves[:, :-1, :, None] - octaves[:, 1:, None, :]).abs().clamp(max=LARGEST_JUMP)
    cost = change * (JUMP_COST / hops)
    past, future = score, score
    for _ in range(REACH):
        past = torch.cat([score[:, :1], score[:, 1:] + (past[:, :-1, :, None] - cost).amax(-2)], dim=1)
        future = torch.cat([score[:, :-1] + (future[:, 1:, None, :] - cost).amax(-1), score[:, -1:]], dim=1)
    return (past + future - score).argmax(-1, keepdim=True)
