"""What encoders say about clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocalgen.errors import VocalgenError

NO_VALUES = "{encoder} has no values for it; the clip is too short"
"""Why a clip that can be read is left out."""

MAX_SHORT_SECONDS = 0.1
"""An encoder that has no values for a clip of this duration or more is broken."""


@dataclass(frozen=True)
class Scores:
    """What an encoder says about n clips.

    Args:
        embeddings: (n, d) float64; NaN in the row of a clip for which the encoder has no values, as it is too short.
        logits: (n, K) float64; K is 0 for an encoder without a head.
    """

    embeddings: NDArray[np.float64]
    logits: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.embeddings)

    def __getitem__(self, index: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Scores:
        return Scores(self.embeddings[index], self.logits[index])

    @classmethod
    def joined(cls, parts: Sequence[Scores]) -> Scores:
        """Several scores of one encoder as one."""
        return cls(np.concatenate([part.embeddings for part in parts]), np.concatenate([part.logits for part in parts]))

    def hits(self, labels: Sequence[int] | NDArray[np.int64], k: int = 1) -> NDArray[np.bool_]:
        """(n,) whether the label of each clip is among the k highest logits."""
        wanted = np.asarray(labels)[:, None]
        return (np.argsort(-self.logits, axis=1, kind="stable")[:, :k] == wanted).any(axis=1)


def too_short(
    scores: Scores, waves: Sequence[NDArray[np.float32]], sample_rate: int, encoder: str, ids: Sequence[str]
) -> NDArray[np.bool_]:
    """(n,) which clips are too short for values of an encoder.

    Args:
        scores: of the n waves (samples,).
        encoder: its name.
        ids: names of the clips.

    Raises:
        VocalgenError: NaN or infinity for a clip that is not short.
    """
    lengths = np.array([len(wave) for wave in waves])
    short = np.isnan(scores.embeddings).all(axis=1) & (lengths < MAX_SHORT_SECONDS * sample_rate)
    wrong = np.flatnonzero(~short & ~np.isfinite(scores.embeddings).all(axis=1))
    if len(wrong):
        raise VocalgenError(f"{encoder} gives NaN or infinity for clip {ids[wrong[0]]}; listen to it, or leave it out")
    return short
