"""Mean and deviation of every band of the log-mel: the plainest features, of the front end that all models share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from vocalgen.data import CacheConfig
from vocalgen.mel import MEL_24K, LogMel, log_mels
from vocalgen.recognition.scores import Scores

LOG_MEL = "log-mel"
"""Its name."""


class LogMelEncoder:
    """(n, 2 n_mels): over the frames of a clip, the mean of each band and its standard deviation (ddof 0)."""

    name = LOG_MEL
    emotions = None

    def __init__(self) -> None:
        self.log_mel = LogMel(MEL_24K)
        self.checksum = hashlib.sha256(f"{LOG_MEL} {MEL_24K.fingerprint}".encode()).hexdigest()
        self.prepare = CacheConfig(sample_rate=MEL_24K.sample_rate)

    @property
    def columns(self) -> list[str]:
        """Names of the values."""
        return [f"{what} of band {band}" for what in ("mean", "deviation") for band in range(MEL_24K.n_mels)]

    def score(self, waves: Sequence[NDArray[np.float32]]) -> Scores:
        """Statistics of waves (samples,) at 24 kHz."""
        rows = [torch.cat([mel.mean(1), mel.std(1, correction=0)]) for mel in log_mels(waves, self.log_mel)]
        embeddings = torch.stack(rows).double().numpy() if rows else np.zeros((0, len(self.columns)))
        return Scores(embeddings, np.zeros((len(waves), 0)))
