"""How far sets of clips are from real ones in one encoder's embedding: the rows of the section "distance"."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocalgen.errors import VocalgenError
from vocalgen.evaluation.measured import Measured
from vocalgen.evaluation.protocol import Protocol
from vocalgen.metrics.frechet import Shrinkage, Statistics, frechet_distance
from vocalgen.metrics.infinity import fd_infinity
from vocalgen.metrics.intervals import Interval, jackknife
from vocalgen.metrics.kernel import kad, median_distance, permutation_test
from vocalgen.metrics.manifold import manifold, vendi_score

Row = dict[str, Any]

BLOCKS = 10
"""Blocks of the jackknife intervals."""


@dataclass(frozen=True)
class Embedded:
    """Embeddings (n, d) with the labels (n,) and clusters (n,) of their clips."""

    x: NDArray[np.float64]
    labels: NDArray[np.int64]
    clusters: NDArray[np.str_]

    @classmethod
    def of(cls, measured: Measured, encoder: str) -> Embedded:
        """The view of one encoder."""
        return cls(measured.scores[encoder].embeddings, measured.labels, measured.speakers)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Embedded:
        return Embedded(self.x[index], self.labels[index], self.clusters[index])

    def only(self, emotions: Sequence[int]) -> Embedded:
        """The clips of some emotions."""
        return self[np.isin(self.labels, emotions)]


class Distances:
    """Distances from one reference.

    Args:
        reference: real clips of held-out speakers.
        draws: sets of real clips that stand in for generated ones; the mean of their distances is the floor.
        emotions: which are compared.
        protocol: shrinkage, neighbours, permutations, seed.
        smallest: clips of the smallest set of an emotion; it decides about shrinkage.
    """

    def __init__(
        self, reference: Embedded, draws: Sequence[Embedded], emotions: Sequence[int], protocol: Protocol, smallest: int
    ) -> None:
        self.emotions, self.protocol = list(emotions), protocol
        self.shrinkage = choose_shrinkage(protocol.shrinkage, smallest, reference.x.shape[1])
        self.reference = reference.only(emotions)
        self.draws = [draw.only(emotions) for draw in draws]
        self.floor = {e: float(np.mean([self.frechet(draw, e) for draw in draws])) for e in self.emotions}

    def pooled_floor(self, emotions: Sequence[int]) -> float:
        """Pooled distance of real clips of some emotions."""
        return float(np.mean([self.pooled(draw, emotions) for draw in self.draws]))

    def frechet(self, clips: Embedded, emotion: int, reference: Embedded | None = None) -> float:
        """Fréchet distance of the clips of one emotion."""
        return self._distance(clips.only([emotion]), (reference or self.reference).only([emotion]))

    def pooled(self, clips: Embedded, emotions: Sequence[int], reference: Embedded | None = None) -> float:
        """Fréchet distance of the clips of some emotions together."""
        return self._distance(clips.only(emotions), (reference or self.reference).only(emotions))

    def mean_ratio(self, clips: Embedded, emotions: Sequence[int], reference: Embedded | None = None) -> float:
        """Mean over emotions of distance / floor; the floor stays that of the whole reference."""
        return float(np.mean([self.frechet(clips, e, reference) / self.floor[e] for e in emotions]))

    def row(self, clips: Embedded, intervals: bool = False) -> Row:
        """All columns but `position` of a set, for the emotions it has."""
        emotions = [e for e in self.emotions if (clips.labels == e).any()]
        by_emotion = {e: self._emotion(clips.only([e]), e, intervals) for e in emotions}
        pooled: Any = self.pooled(clips, emotions)
        ratio: Any = float(np.mean([entry["ratio"] for entry in by_emotion.values()]))
        floor = self.pooled_floor(emotions)
        if intervals:
            pooled = self.interval(lambda c, r: self.pooled(c, emotions, r), clips)
            ratio = self.interval(lambda c, r: self.mean_ratio(c, emotions, r), clips)
        overall = {
            "frechet": float(np.mean([_value(entry["frechet"]) for entry in by_emotion.values()])),
            "ratio": ratio,
            "pooled": pooled,
            "pooled_ratio": _value(pooled) / floor,
            "fd_infinity": self._infinity(clips, emotions),
            **{
                key: float(np.mean([entry[key] for entry in by_emotion.values()]))
                for key in ("kad", "density", "coverage", "vendi")
            },
        }
        return {"overall": overall, "emotions": by_emotion}

    def floor_row(self) -> Row:
        """The row of real clips: means over the draws."""
        return mean_rows([self.row(draw) for draw in self.draws])

    def other_emotions(self) -> Row:
        """Real clips of every other emotion against each emotion."""
        matrix = self.between(self.draws[0])
        away = {
            e: float(np.mean([matrix[other, place] for other in range(len(self.emotions)) if other != place]))
            for place, e in enumerate(self.emotions)
        }
        by_emotion = {
            e: {"frechet": value, "floor": self.floor[e], "ratio": value / self.floor[e]} for e, value in away.items()
        }
        overall = {key: float(np.mean([entry[key] for entry in by_emotion.values()])) for key in ("frechet", "ratio")}
        return {"overall": overall, "emotions": by_emotion}

    def between(self, clips: Embedded) -> NDArray[np.float64]:
        """(K, K) distances of clips of each emotion (row) from the reference of each (column), NaN without clips."""
        matrix = np.full((len(self.emotions), len(self.emotions)), np.nan)
        references = [Statistics.of(self.reference.only([e]).x) for e in self.emotions]
        for row, emotion in enumerate(self.emotions):
            own = clips.only([emotion])
            if len(own):
                statistics = Statistics.of(own.x)
                matrix[row] = [frechet_distance(statistics, other, self.shrinkage) for other in references]
        return matrix

    def interval(self, estimate: Callable[[Embedded, Embedded], float], clips: Embedded) -> Interval:
        """Jackknife over ten blocks of clusters of the clips and of the reference, left out together."""
        return jackknife(estimate(clips, self.reference), self.left_out(estimate, clips))

    def left_out(self, estimate: Callable[[Embedded, Embedded], float], clips: Embedded) -> list[float]:
        """The values behind `interval`; the same blocks of the reference are left out for every set."""
        own, reference = blocks(clips.clusters), blocks(self.reference.clusters)
        return [estimate(clips[own != block], self.reference[reference != block]) for block in range(BLOCKS)]

    def _emotion(self, clips: Embedded, emotion: int, intervals: bool) -> Row:
        reference = self.reference.only([emotion])
        value: Any = self._distance(clips, reference)
        if intervals:
            value = self.interval(lambda c, r: self.frechet(c, emotion, r), clips)
        shape = manifold(clips.x, reference.x, self.protocol.neighbours)
        entry = {
            "n": len(clips),
            "frechet": value,
            "floor": self.floor[emotion],
            "ratio": _value(value) / self.floor[emotion],
            "fd_infinity": self._infinity(clips, [emotion]),
            "kad": kad(clips.x, reference.x),
            "density": shape.density,
            "coverage": shape.coverage,
            "vendi": vendi_score(clips.x, median_distance(reference.x)),
        }
        if intervals:
            speakers = [*(f"generated {name}" for name in clips.clusters), *(f"real {n}" for n in reference.clusters)]
            entry["kad_p"] = permutation_test(
                clips.x, reference.x, speakers, permutations=self.protocol.permutations, seed=self.protocol.seed
            )
        return entry

    def _infinity(self, clips: Embedded, emotions: Sequence[int]) -> float | None:
        """Extrapolated distance; None where there are too few clips for subsets of several sizes."""
        try:
            own, reference = clips.only(emotions).x, self.reference.only(emotions).x
            return fd_infinity(own, reference, shrinkage=self.shrinkage, seed=self.protocol.seed).value
        except ValueError:
            return None

    def _distance(self, clips: Embedded, reference: Embedded) -> float:
        return frechet_distance(Statistics.of(clips.x), Statistics.of(reference.x), self.shrinkage)


def choose_shrinkage(asked: str, smallest: int, dim: int) -> Shrinkage:
    """Shrinkage for every covariance of a comparison whose smallest set of an emotion has `smallest` clips.

    Raises:
        VocalgenError: "none", where the covariances would be singular.
    """
    # For the intervals about a tenth of the clips is left out, in whole speakers.
    enough = 0.8 * smallest > dim + 1
    if asked == "none" and not enough:
        raise VocalgenError(
            f"an emotion has only {smallest} clips, too few for a covariance in {dim} dimensions; "
            f"use shrinkage ledoit-wolf or more clips"
        )
    return "ledoit-wolf" if asked == "ledoit-wolf" or not enough else None


def blocks(clusters: NDArray[np.str_]) -> NDArray[np.int64]:
    """(n,) block of each clip; clips of a cluster share one."""
    _, group = np.unique(clusters, return_inverse=True)
    order = np.random.default_rng(0).permutation(group.max() + 1)
    return order[group] % BLOCKS


def mean_rows(rows: Sequence[Row]) -> Row:
    """A row of the means of several rows with the same columns."""

    def mean(values: Sequence[Any]) -> Any:
        return None if any(value is None for value in values) else float(np.mean([_value(v) for v in values]))

    first = rows[0]
    return {
        "overall": {key: mean([row["overall"][key] for row in rows]) for key in first["overall"]},
        "emotions": {
            emotion: {key: mean([row["emotions"][emotion][key] for row in rows]) for key in entry}
            for emotion, entry in first["emotions"].items()
        },
    }


def add_positions(rows: Mapping[str, Row], anchors: Sequence[str]) -> None:
    """Put `position` = (distance - floor) / (worst anchor - floor) into rows that have a floor."""
    for row in rows.values():
        for emotion, entry in row["emotions"].items():
            worst = max(
                _value(rows[name]["emotions"][emotion]["frechet"])
                for name in anchors
                if emotion in rows[name]["emotions"]
            )
            span = worst - entry["floor"]
            entry["position"] = (_value(entry["frechet"]) - entry["floor"]) / span if span > 0 else None
        positions = [entry["position"] for entry in row["emotions"].values() if entry["position"] is not None]
        row["overall"]["position"] = float(np.mean(positions)) if positions else None


def _value(estimate: float | Interval) -> float:
    return estimate.value if isinstance(estimate, Interval) else estimate
