"""What encoders say about clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scores:
    """What an encoder says about n clips.

    Args:
        embeddings: (n, d) float64.
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
