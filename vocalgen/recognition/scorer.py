"""A trained classifier as a measuring instrument: clips in, embeddings and class scores out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vocalgen.data import CacheConfig
from vocalgen.emotions import Vocabulary, match_vocabulary
from vocalgen.errors import VocalgenError
from vocalgen.mel import LogMel, MelConfig, log_mels
from vocalgen.models.classifier import MelClassifier, Recogniser, ResidualClassifier
from vocalgen.models.mobilenet import MobileNetClassifier
from vocalgen.recognition.scores import Scores
from vocalgen.shipped import file_sha256, shipped_models
from vocalgen.weights import load_strictly, read_json, weights_of

NETWORKS: dict[str, Callable[[dict[str, Any]], Recogniser]] = {
    "MelClassifier": MelClassifier.from_config,
    "ResidualClassifier": ResidualClassifier.from_config,
    "MobileNetClassifier": MobileNetClassifier.from_config,
}
"""By the class that config.json names."""

CHUNK = 512
"""Clips held in memory at once."""


class Scorer:
    """A classifier with its front end.

    Args:
        classifier: the network.
        name, checksum: what reports call it by.
    """

    def __init__(self, classifier: Recogniser, name: str = "classifier", checksum: str = "") -> None:
        self.classifier = classifier.eval()
        self.name, self.checksum = name, checksum
        self.mel: MelConfig = classifier.mel_config
        self.emotions: Vocabulary = match_vocabulary(tuple(classifier.config.emotions))
        self.prepare = CacheConfig(sample_rate=self.mel.sample_rate)
        self.device = next(classifier.parameters()).device
        self.log_mel = LogMel(self.mel).to(self.device)

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> Scorer:
        """Load an exported classifier.

        Args:
            folder: of the classifier, or the name of a shipped one.

        Raises:
            VocalgenError: missing, damaged or foreign files, or a mel configuration that was edited.
        """
        folder = shipped_models().get(str(folder), Path(folder))
        kind = read_json(folder / "config.json").get("_class_name")
        if kind not in NETWORKS:
            raise VocalgenError(f"{folder}: config.json describes {kind}; a classifier is one of {', '.join(NETWORKS)}")
        classifier: Recogniser = load_strictly(folder, NETWORKS[kind])
        return cls(classifier.to(device), folder.name, file_sha256(weights_of(folder)[0]))

    @property
    def dim(self) -> int:
        """Dimension of the embedding."""
        return int(self.classifier.config.embedding_dim)

    def mels(self, waves: Sequence[np.ndarray]) -> list[Tensor]:
        """Log-mels (n_mels, frames) of prepared waves."""
        return log_mels(waves, self.log_mel)

    def score(self, waves: Iterable[np.ndarray], batch_size: int = 64) -> Scores:
        """Scores of prepared waves (samples,) at the classifier's rate; memory does not grow with the audio."""
        parts, chunk = [], []
        for wave in waves:
            chunk.append(wave)
            if len(chunk) == CHUNK:
                parts.append(self.score_mels(self.mels(chunk), batch_size))
                chunk = []
        if chunk or not parts:
            parts.append(self.score_mels(self.mels(chunk), batch_size))
        return Scores.joined(parts)

    @torch.no_grad()
    def score_mels(self, mels: Sequence[Tensor], batch_size: int = 64) -> Scores:
        """Scores of log-mels (n_mels, frames); independent of how they are batched up to rounding."""
        embeddings = np.zeros((len(mels), self.dim))
        logits = np.zeros((len(mels), len(self.emotions)))
        order = sorted(range(len(mels)), key=lambda index: mels[index].shape[1])
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            frames = torch.tensor([mels[row].shape[1] for row in rows], device=self.device)
            batch = torch.full((len(rows), self.mel.n_mels, int(frames.max())), self.mel.log_floor, device=self.device)
            for place, row in enumerate(rows):
                batch[place, :, : mels[row].shape[1]] = mels[row]
            embedding = self.classifier.embed(batch, frames)
            embeddings[rows] = embedding.double().cpu().numpy()
            logits[rows] = self.classifier.head(embedding).double().cpu().numpy()
        return Scores(embeddings, logits)
