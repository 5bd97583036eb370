"""Saved systems as measuring instruments of evaluation: an embedding, and logits of emotions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from vocalgen.data import CacheConfig
from vocalgen.emotions import Vocabulary, match_vocabulary
from vocalgen.errors import VocalgenError
from vocalgen.recognition.encoders import Encoder, load_encoder
from vocalgen.recognition.scores import Scores
from vocalgen.shipped import file_sha256, weight_files
from vocalgen.tasks.deep import DeepRecogniser
from vocalgen.tasks.enrolment import EnrolledRecogniser
from vocalgen.tasks.feature_systems import FeatureRecogniser
from vocalgen.tasks.fusion import FusionRecogniser
from vocalgen.tasks.registry import load_system
from vocalgen.tasks.runs import model_of
from vocalgen.tasks.system import DESCRIPTION, Recogniser, Wave
from vocalgen.tasks.task import Array, Target

LEAST = 1e-9
"""Probability that stands for 0, whose logarithm is not finite."""


class Hearing(Protocol):
    """A system that hears clips which are prepared in one way."""

    @property
    def prepare(self) -> CacheConfig: ...

    def observe(self, waves: Sequence[Wave], target: Target) -> tuple[Array, Array]:
        """Prepared clips: what a target is predicted from (clips, d), and its prediction."""
        ...


class Fused:
    """Systems whose predictions are averaged; their embeddings stand side by side."""

    def __init__(self, parts: Sequence[Hearing]) -> None:
        self.parts, self.prepare = parts, parts[0].prepare

    def observe(self, waves: Sequence[Wave], target: Target) -> tuple[Array, Array]:
        """As `Hearing.observe`."""
        embeddings, values = zip(*(part.observe(waves, target) for part in self.parts), strict=True)
        return np.concatenate(embeddings, axis=1), np.mean(values, axis=0)


class SystemEncoder:
    """A system that predicts emotions from the features of one encoder, by a network of its own, or a mean of such.

    The embedding is what the head of the emotions makes of the clip itself: 64 values of a perceptron, the hidden layer
    of a network, without other targets that it may see; of linear systems the features.
    Logits are logarithms of probabilities, or log-odds of intensities.

    Args:
        recogniser: the system.
        target: its emotions.
        name, checksum: what reports call it by.
    """

    def __init__(self, recogniser: Hearing, target: Target, name: str, checksum: str) -> None:
        self.recogniser, self.target, self.name, self.checksum = recogniser, target, name, checksum
        self.prepare: CacheConfig = recogniser.prepare
        self.emotions: Vocabulary = match_vocabulary(target.columns)

    def score(self, waves: Sequence[np.ndarray]) -> Scores:
        """Scores of prepared waves (samples,)."""
        embedding, values = self.recogniser.observe(waves, self.target)
        values = np.clip(values.astype(np.float64), LEAST, 1 - LEAST)
        return Scores(embedding, np.log(values) - (0.0 if self.target.classes else np.log1p(-values)))


def load_scorer(name: str, device: str = "cpu") -> Encoder:
    """`recognition.encoders.load_encoder`, which also takes the folder of a benchmark or its model.

    Raises:
        VocalgenError: as there; a system without emotions, or one that hears clips in several ways.
    """
    folder = model_of(Path(name))
    if not (folder / DESCRIPTION).is_file():
        return load_encoder(name, device)
    system = load_system(folder, device)
    hearing = _hearing(system)
    targets = [target for target in system.task.targets if target.name in ("emotions", "emotion")]
    if not targets or hearing is None:
        raise VocalgenError(
            f"{name} cannot score clips: it takes a system that predicts emotions, from the features of one encoder, "
            f"by a network of its own, or as the mean of such that prepare clips alike"
        )
    return SystemEncoder(hearing, targets[0], Path(name).resolve().name, _checksum(folder))


def _hearing(system: Recogniser) -> Hearing | None:
    """A saved system as one that hears prepared clips; None if it prepares them in several ways."""
    if isinstance(system, EnrolledRecogniser):
        return _hearing(system.inner)
    if isinstance(system, FusionRecogniser):
        parts = [part for part in map(_hearing, system.parts) if part is not None]
        alike = len(parts) == len(system.parts) and all(part.prepare == parts[0].prepare for part in parts)
        return Fused(parts) if alike else None
    if isinstance(system, FeatureRecogniser) and len(system.encoders) > 1:
        return None
    return system if isinstance(system, FeatureRecogniser | DeepRecogniser) else None


def _checksum(folder: Path) -> str:
    """Of the weights; of several files that of their checksums."""
    sums = [file_sha256(file) for file in weight_files(folder)]
    return sums[0] if len(sums) == 1 else hashlib.sha256("".join(sums).encode()).hexdigest()
