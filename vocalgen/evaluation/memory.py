"""Are generated clips copies: nearest training clips in log-mel and embedding space, and repeats within a set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FRAMES = 48
"""Frames of a fingerprint."""

POOL = 4
"""Neighbouring values of a fingerprint (frames of a band) that are averaged for the search of candidates."""

CANDIDATES = 32
"""Clips nearest by the averaged fingerprints among which the nearest one is then found exactly."""

BLOCK = 256
"""Clips whose distances to all others are held at once."""

DRAWS = 8
"""Most sets of real clips that the threshold of repeats is taken from."""

Prints = NDArray[np.floating[Any]]
Embeddings = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Nearest:
    """Distances of n clips to their nearest training clips.

    Args:
        mel: (n,) mean absolute difference of the fingerprints, nat.
        embedding: (n,) Euclidean distance of the embeddings.
    """

    mel: NDArray[np.float64]
    embedding: NDArray[np.float64]

    def __getitem__(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Nearest:
        return Nearest(self.mel[index], self.embedding[index])


def fingerprint(log_mel: NDArray[np.float32], frames: int = FRAMES) -> NDArray[np.float32]:
    """(n_mels, L) log-mel -> (n_mels * frames,): the same clip at a standard length, by linear interpolation."""
    place = np.linspace(0, log_mel.shape[1] - 1, frames)
    before = np.minimum(place.astype(int), max(log_mel.shape[1] - 2, 0))
    after = np.minimum(before + 1, log_mel.shape[1] - 1)
    share = (place - before).astype(np.float32)
    return (log_mel[:, before] * (1 - share) + log_mel[:, after] * share).astype(np.float32).ravel()


def memorisation(
    prints: Prints,
    embeddings: Embeddings,
    held_out_prints: Prints,
    held_out_embeddings: Embeddings,
    train_prints: Prints,
    train_embeddings: Embeddings,
) -> dict[str, float | None]:
    """The columns of the report's section "memory" of a set.

    To do this for several sets, or for parts of a set, find `to_training` of everything once and call `summary`.

    Args:
        prints, embeddings: (n, f) fingerprints and (n, d) embeddings of the set.
        held_out_prints, held_out_embeddings: of real clips that no generator was trained on.
        train_prints, train_embeddings: of the training clips.
    """
    own = to_training(prints, embeddings, train_prints, train_embeddings)
    held_out = to_training(held_out_prints, held_out_embeddings, train_prints, train_embeddings)
    return summary(own, held_out, prints, held_out_prints)


def to_training(prints: Prints, embeddings: Embeddings, train_prints: Prints, train_embeddings: Embeddings) -> Nearest:
    """Distances of n clips to the nearest of m training clips; infinite without training clips."""
    return Nearest(nearest(prints, train_prints), nearest_embedding(embeddings, train_embeddings))


def summary(own: Nearest, held_out: Nearest, prints: Prints, held_out_prints: Prints) -> dict[str, float | None]:
    """The columns of the report's section "memory" from distances to the training clips.

    A clip counts as a copy where it is as near to a training clip as no held-out clip is, by log-mel and by embedding:
    blurred sounds are near to many clips in one of the two, copies in both. Repeats are clips whose nearest neighbour
    in the set is nearer than the 1 % quantile among as many real clips (disjoint draws of the held-out ones; all of
    them where they are fewer, and then a set like the real one has more than .01). Without training clips, or without a
    second clip, what depends on them is None.

    Args:
        own, held_out: `to_training` of the set and of the held-out clips.
        prints, held_out_prints: their fingerprints.
    """
    mel, mel_ratio = _median_and_ratio(own.mel, held_out.mel)
    embedding, embedding_ratio = _median_and_ratio(own.embedding, held_out.embedding)
    known = mel is not None and mel_ratio is not None
    copied = (own.mel <= held_out.mel.min(initial=np.inf)) & (own.embedding <= held_out.embedding.min(initial=np.inf))
    within, real = nearest(prints), _real_neighbours(held_out_prints, len(prints))
    return {
        "mel": mel,
        "mel_ratio": mel_ratio,
        "embedding": embedding,
        "embedding_ratio": embedding_ratio,
        "copies": int(copied.sum()) if known else None,
        "repeats": float((within < np.quantile(real, 0.01)).mean()) if len(within) > 1 and len(real) else None,
        "exact": int((within == 0).sum()),
    }


def nearest(prints: Prints, others: Prints | None = None) -> NDArray[np.float64]:
    """Mean absolute difference (nat) of each of (n, f) fingerprints to its nearest one in `others` (m, f).

    Without `others`, to its nearest other one in the same set; infinite when there is none.

    The distances are exact, the choice of the neighbour is not quite: it is the nearest of the 32 whose fingerprints,
    averaged over four frames, are nearest in Euclidean distance. Sets of up to 32 are searched completely, a copy is
    always found, and elsewhere the result is at worst a little larger than the true minimum.
    """
    targets = prints if others is None else others
    distances = np.full(len(prints), np.inf)
    count = min(CANDIDATES, len(targets) - (others is None))
    if not len(prints) or count < 1:
        return distances
    queries, coarse = _pooled(prints), _pooled(targets)
    centre = coarse.mean(axis=0)  # small numbers keep the precision of float32
    coarse -= centre
    queries -= centre
    lengths = np.einsum("ij,ij->i", coarse, coarse)
    for start in range(0, len(prints), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(prints)))
        away = lengths - 2 * queries[rows] @ coarse.T
        if others is None:
            away[np.arange(len(rows)), rows] = np.inf
        chosen = np.argpartition(away, count - 1, axis=1)[:, :count]
        for row, candidates in zip(rows, chosen):
            difference = targets[candidates].astype(np.float32) - prints[row].astype(np.float32)
            distances[row] = np.abs(difference, out=difference).mean(axis=1, dtype=np.float64).min()
    return distances


def nearest_embedding(embeddings: Embeddings, others: Embeddings) -> NDArray[np.float64]:
    """Euclidean distance of each of (n, d) embeddings to its nearest one in `others` (m, d); infinite if m is 0."""
    distances = np.full(len(embeddings), np.inf)
    if not len(others):
        return distances
    targets = np.asarray(others, dtype=np.float64)
    lengths = np.einsum("ij,ij->i", targets, targets)
    for start in range(0, len(embeddings), BLOCK):
        block = np.asarray(embeddings[start : start + BLOCK], dtype=np.float64)
        chosen = (lengths - 2 * block @ targets.T).argmin(axis=1)
        distances[start : start + BLOCK] = np.linalg.norm(block - targets[chosen], axis=1)
    return distances


def _pooled(prints: Prints) -> NDArray[np.float32]:
    """(n, f) -> (n, ceil(f / 4)) means of neighbouring values; in blocks, so that no float32 copy of all is made."""
    padding = -prints.shape[1] % POOL
    width = (prints.shape[1] + padding) // POOL
    pooled = np.empty((len(prints), width), dtype=np.float32)
    for start in range(0, len(prints), BLOCK):
        block = np.pad(prints[start : start + BLOCK].astype(np.float32), ((0, 0), (0, padding)))
        pooled[start : start + BLOCK] = block.reshape(len(block), width, POOL).mean(axis=2)
    return pooled


def _real_neighbours(prints: Prints, n: int) -> NDArray[np.float64]:
    """Nearest distances within disjoint random sets of n real clips (of all, where there are fewer)."""
    size = min(n, len(prints))
    if size < 2:
        return np.empty(0)
    order = np.random.default_rng(0).permutation(len(prints))
    sets = [order[k * size : (k + 1) * size] for k in range(min(DRAWS, len(prints) // size))]
    return np.concatenate([nearest(prints[chosen]) for chosen in sets])


def _median_and_ratio(own: NDArray[np.float64], real: NDArray[np.float64]) -> tuple[float | None, float | None]:
    own, real = own[np.isfinite(own)], real[np.isfinite(real)]
    if not len(own):
        return None, None
    median = float(np.median(own))
    reference = float(np.median(real)) if len(real) else 0.0
    return median, median / reference if reference > 0 else None
