"""Log-mels of a corpus in memory, placed at random in windows."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from vocalgen.data import WaveCache
from vocalgen.mel import LogMel, MelConfig, log_mels
from vocalgen.training.entry import DataConfig

logger = logging.getLogger(__name__)


class ClipMels(Dataset[dict[str, Any]]):
    """Log-mels of cached clips, kept in memory at half precision, stretched and placed at random.

    Keyed by (clip index, seed) like `WaveWindows`. A clip longer than the window is cropped. `intensities` (clips, K)
    replaces those of the cache.
    """

    def __init__(
        self,
        cache: WaveCache,
        indices: np.ndarray,
        config: DataConfig,
        mel: MelConfig,
        stretch: tuple[float, float] = (1.0, 1.0),
        intensities: np.ndarray | None = None,
    ) -> None:
        self.cache, self.indices, self.config, self.mel, self.stretch = cache, indices, config, mel, stretch
        self.intensities = cache.intensities if intensities is None else intensities

    @cached_property
    def mels(self) -> dict[int, np.ndarray]:
        """(frames, n_mels) float16 by clip index, computed on first use."""
        logger.info("computing %d log-mels", len(self.indices))
        log_mel = LogMel(self.mel)
        mels: dict[int, np.ndarray] = {}
        for part in np.array_split(self.indices, max(len(self.indices) // 2000, 1)):
            computed = log_mels([self.cache.wave(index) for index in part], log_mel, dtype=torch.float16)
            mels |= {int(index): mel.T.contiguous().numpy() for index, mel in zip(part, computed, strict=True)}
        return mels

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        """{mel (n_mels, frames), frames, intensities (K,), index} for a (clip index, seed) pair."""
        index, seed = key
        rng = np.random.default_rng(seed)
        mel = _stretch(self.mels[index], float(np.exp(rng.uniform(*np.log(self.stretch)))))
        gain = rng.uniform(*self.config.gain_db) * np.log(10) / 20
        floor = self.mel.log_floor
        window = np.full((self.config.frames, self.mel.n_mels), floor, dtype=np.float32)
        start = int(rng.integers(0, max(len(mel) - self.config.frames, 0) + 1))
        mel = mel[start : start + self.config.frames]
        room = min(self.config.frames - len(mel), int(self.config.max_shift * self.mel.frame_rate))
        offset = int(rng.integers(0, room + 1))
        # Half precision may have moved the floor up by half a step: silence is silence at any gain.
        window[offset : offset + len(mel)] = np.where(
            mel <= max(floor, float(np.float16(floor))), floor, np.maximum(mel + gain, floor)
        )
        return {
            "mel": torch.from_numpy(window.T),
            "frames": offset + len(mel),
            "intensities": torch.from_numpy(self.intensities[index]),
            "index": index,
        }


def _stretch(mel: np.ndarray, speed: float) -> np.ndarray:
    """(frames, n_mels) -> (about frames / speed, n_mels) float32 by linear interpolation along time."""
    if speed == 1.0 or len(mel) < 2:
        return mel.astype(np.float32)
    place = np.arange(0, len(mel) - 1, speed)
    before = place.astype(np.int64)
    share = (place - before).astype(np.float32)[:, None]
    return mel[before] * (1 - share) + mel[before + 1] * share
