"""Length, level, pitch and voicing of clips, and how far their distributions are from real ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from vocalgen.audio import resample
from vocalgen.errors import VocalgenError
from vocalgen.pitch import track_pitch

Wave = NDArray[np.float32]
Acoustics = NDArray[np.float64]

COLUMNS = ("seconds", "loudness", "pitch", "voiced")
"""What the four numbers of a clip are called."""

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


def acoustics(wave: Wave, sample_rate: int) -> Acoustics:
    """`acoustics_of` a single clip: (samples,) -> (4,)."""
    return acoustics_of([wave], sample_rate)[0]


def acoustics_of(waves: Sequence[Wave], sample_rate: int) -> Acoustics:
    """The four numbers of `COLUMNS` for each clip.

    seconds is the length; loudness the mean over sounding frames of their level in dB relative to full scale (a frame
    sounds within 30 dB of the clip's loudest; digital silence has -100 dB); pitch the median over voiced frames in
    semitones over 55 Hz, NaN where nothing is voiced; voiced the share of sounding frames with a periodicity of 0.8
    (`vocalgen.pitch`, at 12 kHz, every 10 ms). A clip's numbers do not depend on the others.

    Args:
        waves: n clips (samples,) in [-1, 1].
        sample_rate: Hz.

    Returns:
        (n, 4).

    Raises:
        VocalgenError: a clip without samples or with NaN.
    """
    return np.stack([_measure(wave, sample_rate) for wave in waves]) if len(waves) else np.empty((0, len(COLUMNS)))


@torch.no_grad()
def _measure(wave: Wave, sample_rate: int) -> Acoustics:
    if not len(wave):
        raise VocalgenError("a clip without samples has no level and no pitch")
    hop = round(HOP_SECONDS * RATE)
    low = torch.from_numpy(resample(wave, sample_rate, RATE))
    low = F.pad(low, (0, max(hop - len(low), 0)))
    level = _levels(low, hop)
    sounding = level > level.max() - SOUNDING_DB
    f0, periodicity = track_pitch(low[None], RATE, hop)
    voiced = sounding & (periodicity[0] >= VOICED)
    semitones = 12 * (f0[0][voiced] / REFERENCE_HZ).log2()
    return np.array(
        [
            len(wave) / sample_rate,
            float(level[sounding].mean()),
            float(semitones.quantile(0.5)) if len(semitones) else np.nan,
            float(voiced.sum() / sounding.sum()),
        ]
    )


def _levels(wave: torch.Tensor, hop: int) -> torch.Tensor:
    """(samples,) -> (samples // hop,) levels in dB of frames that are centred on hops."""
    import librosa

    window = round(LEVEL_SECONDS * RATE)
    padded = F.pad(wave.double(), 2 * ((window - hop) // 2,)).numpy()
    rms = librosa.feature.rms(y=padded, frame_length=window, hop_length=hop, center=False, dtype=np.float64)[0]
    return torch.from_numpy(librosa.amplitude_to_db(rms, ref=1.0, amin=10 ** (LOWEST_DB / 20), top_db=None))


def compare_acoustics(values: Acoustics, reference: Acoustics) -> dict[str, float | None]:
    """Means of (n, 4) acoustics, and first Wasserstein distances of the distributions from (m, 4) real ones.

    NaN is left out; what has no value left is None.

    Returns:
        the columns of the report's section "acoustics".

    Examples:
        >>> silent, real = np.array([[1.0, -100.0, np.nan, 0.0]]), np.array([[1.5, -20.0, 24.0, 0.8]])
        >>> [compare_acoustics(silent, real)[key] for key in ("seconds", "seconds_w1", "pitch", "pitch_w1")]
        [1.0, 0.5, None, None]
    """
    row: dict[str, float | None] = {}
    for place, name in enumerate(COLUMNS):
        own, real = (column[~np.isnan(column)] for column in (values[:, place], reference[:, place]))
        row[name] = float(own.mean()) if len(own) else None
        row[f"{name}_w1"] = float(wasserstein_distance(own, real)) if len(own) and len(real) else None
    return row
