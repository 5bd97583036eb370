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
from vocalgen.shipped import file_sha256
from vocalgen.tasks.feature_systems import FeatureRecogniser
from vocalgen.tasks.mlp import Mlp
from vocalgen.tasks.registry import load_system
from vocalgen.tasks.runs import model_of
from vocalgen.tasks.system import DESCRIPTION, WEIGHTS
from vocalgen.tasks.task import Target

LEAST = 1e-9
"""Probability that stands for 0, whose logarithm is not finite."""


class SystemEncoder:
    """A system on features of one encoder that predicts emotions.

    The embedding is what the perceptron's heads see (64 values), of linear systems the features. Logits are logarithms
    of probabilities, or log-odds of intensities.

    Args:
        recogniser: the system.
        target: its emotions.
        name, checksum: what reports call it by.
    """

    def __init__(self, recogniser: FeatureRecogniser, target: Target, name: str, checksum: str) -> None:
        self.recogniser, self.target, self.name, self.checksum = recogniser, target, name, checksum
        self.prepare: CacheConfig = recogniser.encoders[0].prepare
        self.emotions: Vocabulary = match_vocabulary(target.columns)

    def score(self, waves: Sequence[np.ndarray]) -> Scores:
        """Scores of prepared waves (samples,)."""
        model = self.recogniser.model
        x = self.recogniser.encoders[0].score(waves).embeddings.astype(np.float32)
        values = np.clip(model(x)[self.target.name].astype(np.float64), LEAST, 1 - LEAST)
        logits = np.log(values) - (0.0 if self.target.classes else np.log1p(-values))
        return Scores(model.hidden(x) if isinstance(model, Mlp) else x.astype(np.float64), logits)


def load_scorer(name: str, device: str = "cpu") -> Encoder:
    """`recognition.encoders.load_encoder`, which also takes the folder of a benchmark or its model.

    Raises:
        VocalgenError: as there; a system without emotions, or one that is not on the features of one encoder.
    """
    folder = model_of(Path(name))
    if not (folder / DESCRIPTION).is_file():
        return load_encoder(name, device)
    system = load_system(folder, device)
    targets = [target for target in system.task.targets if target.name in ("emotions", "emotion")]
    if not targets or not isinstance(system, FeatureRecogniser) or len(system.encoders) != 1:
        raise VocalgenError(
            f"{name} cannot score clips: it takes a system that predicts emotions from the features of one encoder"
        )
    title = Path(name).resolve().name
    return SystemEncoder(system, targets[0], title, file_sha256(folder / WEIGHTS))
