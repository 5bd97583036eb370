"""Pitch, voicing and brightness of clips, frame by frame, and the four numbers that generators are conditioned on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vocalgen.audio import resample
from vocalgen.errors import VocalgenError
from vocalgen.pitch import track_pitch

Wave = NDArray[np.float32]

RATE = 12_000
"""Hz at which pitch is sought: enough for the tracker's 1500 Hz, and half the work of 24 kHz."""

HOP_SECONDS, LEVEL_SECONDS = 0.01, 0.02
"""Distance of frames, and length of those whose level is taken."""

SOUNDING_DB = 30.0
"""Frames this far below the loudest one still sound."""

VOICED = 0.8
"""Periodicity from which a frame has a pitch."""

LOWEST_DB = -100.0
"""The level of digital silence."""

REFERENCE_HZ = 55.0
"""Zero of the pitch scale, the note A1."""

SPECTRUM_SECONDS = 0.04
"""Length of the frames whose spectral centroid is taken."""

CONDITIONS = ("pitch", "brightness", "voiced", "seconds")
"""The four numbers of `acoustic_conditions`."""


class Frames(NamedTuple):
    """A clip every 10 ms.

    Attributes:
        level: (L,) dB relative to full scale.
        sounding: (L,) bool, within 30 dB of the loudest frame.
        semitones: (L,) pitch over 55 Hz, a guess where the frame is not voiced.
        voiced: (L,) bool, sounding and periodic.
    """

    level: Tensor
    sounding: Tensor
    semitones: Tensor
    voiced: Tensor


@torch.no_grad()
def analyse(wave: Wave, sample_rate: int) -> Frames:
    """Level, pitch and voicing of a clip (samples,) in [-1, 1].

    Raises:
        VocalgenError: it has no samples.
    """
    if not len(wave):
        raise VocalgenError("a clip without samples has no level and no pitch")
    hop = round(HOP_SECONDS * RATE)
    low = torch.from_numpy(resample(wave, sample_rate, RATE))
    low = F.pad(low, (0, max(hop - len(low), 0)))
    level = levels(low, hop)
    sounding = level > level.max() - SOUNDING_DB
    f0, periodicity = track_pitch(low[None], RATE, hop)
    return Frames(level, sounding, 12 * (f0[0] / REFERENCE_HZ).log2(), sounding & (periodicity[0] >= VOICED))


def acoustic_conditions(wave: Wave, sample_rate: int) -> NDArray[np.float32]:
    """The numbers of `CONDITIONS`, which generators are conditioned on.

    pitch is the median over voiced frames in semitones over 55 Hz, NaN where nothing is voiced. brightness is the mean
    over sounding frames of the natural logarithm of the spectral centroid in Hz. voiced is the share of sounding frames
    that are voiced. seconds is the length.

    Args:
        wave: (samples,) in [-1, 1], trimmed as training clips are.
        sample_rate: Hz.

    Returns:
        (4,) float32.

    Raises:
        VocalgenError: it has no samples.
    """
    frames = analyse(wave, sample_rate)
    pitch = frames.semitones[frames.voiced]
    return np.array(
        [
            float(pitch.quantile(0.5)) if len(pitch) else np.nan,
            _brightness(torch.from_numpy(wave), sample_rate, frames.sounding),
            float(frames.voiced.sum() / frames.sounding.sum()),
            len(wave) / sample_rate,
        ],
        dtype=np.float32,
    )


def _brightness(wave: Tensor, sample_rate: int, sounding: Tensor) -> float:
    """Mean over sounding frames of the logarithm of the spectral centroid (Hz)."""
    hop, size = round(HOP_SECONDS * sample_rate), round(SPECTRUM_SECONDS * sample_rate)
    padded = F.pad(wave, ((size - hop) // 2, size + hop * len(sounding) - len(wave)))
    frames = padded.unfold(0, size, hop)[: len(sounding)][sounding] * torch.hann_window(size, dtype=torch.float32)
    amplitude = torch.fft.rfft(frames).abs()
    hertz = torch.linspace(0, sample_rate / 2, amplitude.shape[-1], dtype=torch.float32)
    centroid = (amplitude * hertz).sum(-1) / amplitude.sum(-1).clamp(min=1e-9)
    return float(centroid.clamp(min=1.0).log().mean())


def levels(wave: Tensor, hop: int) -> Tensor:
    """(samples,) -> (samples // hop,) levels in dB of frames that are centred on hops."""
    import librosa

    window = round(LEVEL_SECONDS * RATE)
    padded = F.pad(wave.double(), 2 * ((window - hop) // 2,)).numpy()
    rms = librosa.feature.rms(y=padded, frame_length=window, hop_length=hop, center=False, dtype=np.float64)[0]
    return torch.from_numpy(librosa.amplitude_to_db(rms, ref=1.0, amin=10 ** (LOWEST_DB / 20), top_db=None))
