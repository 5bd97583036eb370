"""Clips turned into the numbers that every comparison needs: embeddings, class scores, seconds, fingerprints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocalgen.evaluation.duplicates import fingerprint
from vocalgen.metrics.frechet import Shrinkage, Statistics, frechet_distance
from vocalgen.metrics.intervals import Interval, clustered_mean, jackknife, wilson
from vocalgen.recognition.clips import ClipSet
from vocalgen.recognition.scorer import CHUNK, Scorer, Scores

BLOCKS = 10
"""Blocks of the jackknife intervals of Fréchet distances."""


@dataclass(frozen=True)
class Measured:
    """n clips as the classifier hears them.

    Args:
        scores: embeddings (n, d) and logits (n, K).
        labels: (n,) index of the emotion each clip was made or asked for.
        speakers: (n,) cluster of each clip: a speaker, or the clip itself.
        seconds: (n,) after preparation.
        fingerprints: (n, f) float32, see `duplicates.fingerprint`.
    """

    scores: Scores
    labels: NDArray[np.int64]
    speakers: NDArray[np.str_]
    seconds: NDArray[np.float64]
    fingerprints: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Measured:
        return Measured(
            self.scores[index],
            self.labels[index],
            self.speakers[index],
            self.seconds[index],
            self.fingerprints[index],
        )

    @classmethod
    def joined(cls, parts: Sequence[Measured]) -> Measured:
        """Several sets as one."""
        return cls(
            Scores(
                np.concatenate([part.scores.embeddings for part in parts]),
                np.concatenate([part.scores.logits for part in parts]),
            ),
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.speakers for part in parts]),
            np.concatenate([part.seconds for part in parts]),
            np.concatenate([part.fingerprints for part in parts]),
        )

    def of(self, emotion: int) -> Measured:
        """The clips of one emotion."""
        return self[self.labels == emotion]

    def accuracy(self, k: int = 1) -> Interval:
        """Share of clips whose emotion is among the k highest logits.

        The interval is a bootstrap over speakers, or Wilson's where every clip is its own cluster.
        """
        hits = self.scores.hits(self.labels, k)
        if len(set(self.speakers)) == len(hits):
            return wilson(int(hits.sum()), len(hits))
        return clustered_mean(hits, self.speakers.tolist())


def measure(clips: ClipSet, scorer: Scorer) -> Measured:
    """Analyse every clip once; memory grows with the fingerprints, not with the audio."""
    return measure_waves(clips.waves, clips.labels, clips.speakers, scorer)


def measure_waves(
    waves: Iterable[np.ndarray], labels: NDArray[np.int64], speakers: Sequence[str], scorer: Scorer
) -> Measured:
    """`measure` for prepared waves (samples,) that come one by one."""
    scores, seconds, prints = [], [], []
    for chunk in _chunks(waves):
        mels = scorer.mels(chunk)
        scores.append(scorer.score_mels(mels))
        prints += [fingerprint(mel.cpu().numpy()) for mel in mels]
        seconds += [len(wave) / scorer.mel.sample_rate for wave in chunk]
    return Measured(
        Scores(np.concatenate([part.embeddings for part in scores]), np.concatenate([part.logits for part in scores])),
        np.asarray(labels),
        np.asarray(speakers),
        np.array(seconds),
        np.stack(prints),
    )


def _chunks(waves: Iterable[np.ndarray]) -> Iterable[list[np.ndarray]]:
    chunk: list[np.ndarray] = []
    for wave in waves:
        chunk.append(wave)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def distance(a: Measured, b: Measured, shrinkage: Shrinkage) -> float:
    """Fréchet distance of two sets in the classifier's embedding."""
    return frechet_distance(Statistics.of(a.scores.embeddings), Statistics.of(b.scores.embeddings), shrinkage)


def blockwise(estimate: Callable[..., Any], *sets: Measured) -> list[Any]:
    """`estimate(*sets)` with one of ten blocks of clusters left out of every set, for `jackknife`."""
    blocks = [_blocks(part.speakers) for part in sets]
    return [
        estimate(*(part[block != left_out] for part, block in zip(sets, blocks, strict=True)))
        for left_out in range(BLOCKS)
    ]


def _blocks(clusters: NDArray[np.str_]) -> NDArray[np.int64]:
    """(n,) block of each clip; clips of a cluster share one."""
    _, group = np.unique(clusters, return_inverse=True)
    order = np.random.default_rng(0).permutation(group.max() + 1)
    return order[group] % BLOCKS


def distance_interval(a: Measured, b: Measured, shrinkage: Shrinkage) -> Interval:
    """`distance` with a jackknife interval over clusters of both sets."""
    left_out = blockwise(lambda x, y: distance(x, y, shrinkage), a, b)
    return jackknife(distance(a, b, shrinkage), left_out)
