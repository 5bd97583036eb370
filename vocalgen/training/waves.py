"""Training windows of networks that hear raw audio: frames for Emo18, waves for speech encoders."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset

from vocalgen.data import WaveCache
from vocalgen.models.emo18 import FRAME, SAMPLE_RATE, frames_of
from vocalgen.training.entry import DataConfig


class ClipFrames(Dataset[dict[str, Any]]):
    """Frames of cached clips with a random speed and delay, keyed by (clip index, seed) like `WaveWindows`."""

    def __init__(self, cache: WaveCache, config: DataConfig, speed: tuple[float, float]) -> None:
        self.cache, self.config, self.speed = cache, config, speed

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        """{frames (T, 1600), count, intensities (K,), index} for a (clip index, seed) pair."""
        index, seed = key
        rng = np.random.default_rng(seed)
        wave = at_random_speed(self.cache.wave(index), self.speed, rng)
        delay = int(rng.uniform(0, self.config.max_shift) * SAMPLE_RATE)
        longest = self.config.frames * FRAME - 1  # framing adds one sample of silence at least
        frames = frames_of(torch.from_numpy(np.pad(wave, (delay, 0))[:longest]))
        return {
            "frames": F.pad(frames, (0, 0, 0, self.config.frames - len(frames))),
            "count": len(frames),
            "intensities": torch.from_numpy(self.cache.intensities[index]),
            "index": index,
        }


class ClipWaves(Dataset[dict[str, Any]]):
    """Waves with a random speed, gain and, of long ones, part; keyed by (clip index, seed) like `WaveWindows`."""

    def __init__(self, cache: WaveCache, config: DataConfig, speed: tuple[float, float]) -> None:
        self.cache, self.config, self.speed = cache, config, speed

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        """{wave (samples,), samples, index} for a (clip index, seed) pair."""
        index, seed = key
        rng = np.random.default_rng(seed)
        wave, longest = at_random_speed(self.cache.wave(index), self.speed, rng), self.config.frames * FRAME
        start = int(rng.integers(0, max(len(wave) - longest, 0) + 1))
        wave = wave[start : start + longest] * np.float32(10 ** (rng.uniform(*self.config.gain_db) / 20))
        padded = torch.from_numpy(np.pad(wave, (0, longest - len(wave))))
        return {"wave": padded, "samples": len(wave), "index": index}


def at_random_speed(wave: np.ndarray, speed: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Play (samples,) `speed` (low, high; log-uniform) times as fast: pitch and length change together.

    Speeds are whole hundredths, so that a few short filters serve all clips.
    """
    hundredths = round(100 * float(np.exp(rng.uniform(*np.log(speed)))))
    if hundredths == 100 or not len(wave):
        return wave
    return _resampler(hundredths)(torch.from_numpy(wave)).numpy()


@lru_cache(maxsize=64)
def _resampler(hundredths: int) -> nn.Module:
    from torchaudio.transforms import Resample

    return Resample(hundredths, 100)
