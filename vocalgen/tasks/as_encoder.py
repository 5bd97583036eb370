"""Saved systems as measuring instruments of evaluation: an embedding, and logits of emotions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vocalgen.data import CacheConfig
from vocalgen.emotions import Vocabulary, match_vocabulary
from vocalgen.errors import VocalgenError
from vocalgen.recognition.encoders import Encoder, load_encoder
from vocalgen.recognition.scores import Scores
from vocalgen.shipped import file_sha256, weight_files
from vocalgen.tasks.deep import DeepRecogniser
from vocalgen.tasks.feature_systems import FeatureRecogniser
from vocalgen.tasks.fewshot import EnrolledRecogniser
from vocalgen.tasks.registry import load_system
from vocalgen.tasks.runs import model_of
from vocalgen.tasks.system import DESCRIPTION
from vocalgen.tasks.task import Target

LEAST = 1e-9
"""Probability that stands for 0, whose logarithm is not finite."""


class SystemEncoder:
    """A system that predicts emotions from the features of one encoder, or by a network of its own.

    The embedding is what the head of the emotions makes of the clip itself: 64 values of a perceptron, the hidden layer
    of a network, without other targets that it may see; of linear systems the features.
    Logits are logarithms of probabilities, or log-odds of intensities.

    Args:
        recogniser: the system.
        target: its emotions.
        name, checksum: what reports call it by.
    """

    def __init__(
        self, recogniser: FeatureRecogniser | DeepRecogniser, target: Target, name: str, checksum: str
    ) -> None:
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
    if isinstance(system, EnrolledRecogniser):
        system = system.inner
    targets = [target for target in system.task.targets if target.name in ("emotions", "emotion")]
    several = isinstance(system, FeatureRecogniser) and len(system.encoders) > 1
    if not targets or several or not isinstance(system, FeatureRecogniser | DeepRecogniser):
        raise VocalgenError(
            f"{name} cannot score clips: it takes a system that predicts emotions, from the features of one encoder or "
            f"by a network of its own"
        )
    return SystemEncoder(system, targets[0], Path(name).resolve().name, file_sha256(weight_files(folder)[0]))
