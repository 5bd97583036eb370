"""How good are generated clips: accuracy and Fréchet distance beside real clips and beside anchors."""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from vocalgen import __version__
from vocalgen.errors import VocalgenError
from vocalgen.evaluation import anchors
from vocalgen.evaluation.duplicates import compare_neighbours, nearest
from vocalgen.evaluation.measured import (
    Measured,
    blockwise,
    distance,
    distance_interval,
    measure,
)
from vocalgen.metrics.frechet import Shrinkage
from vocalgen.metrics.intervals import Interval, jackknife
from vocalgen.recognition.clips import ClipSet
from vocalgen.recognition.scorer import Scorer

logger = logging.getLogger(__name__)

FEWEST = 10
"""Clips of an emotion, generated and real, below which nothing is computed."""

RoundTrip = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""A prepared wave (samples,) to the vocoder's rendering of its log-mel."""


@dataclass(frozen=True)
class Protocol:
    """What is compared with what.

    Args:
        reference: splits of real held-out clips.
        floor: split of real clips that stand in for generated ones; its speakers are not in the reference.
        draws: sets of floor clips, each of the size of the generated set; their mean is the floor.
        shrinkage: of covariances: "none", "ledoit-wolf", or "auto": Ledoit-Wolf where a fold is too small.
        seed: of draws.
    """

    reference: tuple[str, ...] = ("validation", "test")
    floor: str = "train"
    draws: int = 4
    shrinkage: str = "auto"
    seed: int = 0


@dataclass(frozen=True)
class RealClips:
    """Measured real clips: the reference, and draws of floor clips with as many clips an emotion as asked."""

    reference: Measured
    splits: dict[str, Measured]
    draws: list[Measured]
    pool: ClipSet


def evaluate(
    generated: ClipSet,
    real: Callable[[Sequence[str]], ClipSet],
    scorer: Scorer,
    protocol: Protocol | None = None,
    round_trip: RoundTrip | None = None,
    system: str = "generated",
) -> dict[str, Any]:
    """The whole measurement as a JSON-ready report.

    Args:
        generated: prepared generated clips.
        real: real clips of some splits.
        round_trip: the vocoder, for the anchor of that name.

    Raises:
        VocalgenError: an emotion with fewer than `FEWEST` generated or real clips.
    """
    protocol = protocol or Protocol()
    logger.info("measuring %d generated clips", len(generated))
    measured = measure(generated, scorer)
    emotions = sorted(set(measured.labels.tolist()))
    counts = {emotion: int((measured.labels == emotion).sum()) for emotion in emotions}
    _require_enough(counts, "generated", scorer)
    known = _measure_real(real, scorer, protocol, counts)
    smallest = min(int((part.labels == e).sum()) for part in (measured, known.reference) for e in emotions)
    shrinkage = choose_shrinkage(protocol.shrinkage, smallest, scorer.dim)
    comparison = Comparison(known, emotions, shrinkage)
    names = scorer.emotions.emotions
    logger.info("comparing")
    rows = {system: comparison.row(measured, intervals=True)}
    rows["real clips (floor)"] = comparison.floor_row()
    for name, anchor in _anchors(known, scorer, emotions, round_trip, protocol.seed):
        logger.info("anchor: %s", name)
        rows[name] = comparison.row(anchor)
    rows["other-emotion real clips"] = comparison.other_emotions()
    return {
        "system": system,
        "vocalgen": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "protocol": asdict(protocol),
        "encoder": {
            "name": scorer.name,
            "sha256": scorer.checksum,
            "dimension": scorer.dim,
            "mel": scorer.mel.to_dict(),
            "covariance": "Ledoit-Wolf shrinkage" if shrinkage else "unbiased, no shrinkage",
        },
        "n": {
            "generated": {names[emotion]: counts[emotion] for emotion in emotions},
            "skipped": generated.skipped,
            "reference": {names[e]: int((known.reference.labels == e).sum()) for e in emotions},
            "floor_draws": len(known.draws),
            "floor": {names[e]: int((known.draws[0].labels == e).sum()) for e in emotions},
        },
        "real_accuracy": {
            split: _accuracy(part[np.isin(part.labels, emotions)]) for split, part in known.splits.items()
        },
        "real_accuracy_by_emotion": {names[e]: _accuracy(known.reference.of(e)) for e in emotions},
        "rows": {name: _named(row, names) for name, row in rows.items()},
        "confusion": _confusion(measured, len(names)),
        "duplicates": asdict(
            compare_neighbours(_neighbours(measured, emotions), _neighbours(known.draws[0], emotions))
        ),
    }


class Comparison:
    """Rows of the report: each a system or anchor against the reference."""

    def __init__(self, real: RealClips, emotions: list[int], shrinkage: Shrinkage) -> None:
        self.real, self.emotions, self.shrinkage = real, emotions, shrinkage
        self.reference = {emotion: real.reference.of(emotion) for emotion in emotions}
        self.chosen = real.reference[np.isin(real.reference.labels, emotions)]
        self.floors = {
            emotion: [self.distance(draw.of(emotion), self.reference[emotion]) for draw in real.draws]
            for emotion in emotions
        }
        self.floor = {emotion: float(np.mean(values)) for emotion, values in self.floors.items()}
        self.pooled_floor = float(np.mean([self.distance(draw, self.chosen) for draw in real.draws]))

    def distance(self, a: Measured, b: Measured) -> float:
        """Fréchet distance with this comparison's shrinkage."""
        return distance(a, b, self.shrinkage)

    def row(self, clips: Measured, intervals: bool = False) -> dict[str, Any]:
        """Distances, ratios to the floor, accuracies and durations of a set, by emotion and in all."""
        by_emotion = {}
        for emotion in self.emotions:
            part, reference = clips.of(emotion), self.reference[emotion]
            value: Any = self.distance(part, reference)
            if intervals:
                value = distance_interval(part, reference, self.shrinkage)
            by_emotion[emotion] = {
                "n": len(part),
                "frechet": value,
                "floor": self.floor[emotion],
                "ratio": _value(value) / self.floor[emotion],
                **_accuracy(part),
                "duration_wasserstein": float(wasserstein_distance(part.seconds, reference.seconds)),
                "seconds": float(part.seconds.mean()),
            }
        return {**self._summary(clips, by_emotion, intervals), "emotions": by_emotion}

    def floor_row(self) -> dict[str, Any]:
        """The row of the real floor clips: means over the draws."""
        rows = [self.row(draw) for draw in self.real.draws]
        row = rows[0]
        for emotion in self.emotions:
            entry = row["emotions"][emotion]
            entry["frechet"] = self.floor[emotion]
            entry["ratio"] = 1.0
            entry["frechet_deviation_of_draws"] = float(np.std(self.floors[emotion]))
            for key in ("duration_wasserstein", "seconds"):
                entry[key] = float(np.mean([other["emotions"][emotion][key] for other in rows]))
        for key in ("mean_frechet", "pooled_frechet", "pooled_ratio", "duration_wasserstein", "seconds"):
            row[key] = float(np.mean([other[key] for other in rows]))
        row["mean_ratio"] = 1.0
        return row

    def other_emotions(self) -> dict[str, Any]:
        """Floor clips of every other emotion against each emotion: mean and nearest distance."""
        draw = self.real.draws[0]
        away = {
            emotion: {
                other: self.distance(draw.of(other), self.reference[emotion])
                for other in self.emotions
                if other != emotion
            }
            for emotion in self.emotions
        }
        if len(self.emotions) < 2:
            return {"emotions": {}}
        by_emotion = {
            emotion: {
                "frechet": float(np.mean(list(values.values()))),
                "ratio": float(np.mean(list(values.values()))) / self.floor[emotion],
                "nearest": min(values, key=values.__getitem__),
                "nearest_frechet": min(values.values()),
            }
            for emotion, values in away.items()
        }
        return {
            "mean_frechet": float(np.mean([entry["frechet"] for entry in by_emotion.values()])),
            "mean_ratio": float(np.mean([entry["ratio"] for entry in by_emotion.values()])),
            "mean_nearest_ratio": float(
                np.mean([entry["nearest_frechet"] / self.floor[e] for e, entry in by_emotion.items()])
            ),
            "emotions": by_emotion,
        }

    def _summary(self, clips: Measured, by_emotion: dict[int, Any], intervals: bool) -> dict[str, Any]:
        pooled: Any = self.distance(clips, self.chosen)
        ratio: Any = self._mean_ratio(clips, self.chosen)
        if intervals:
            pooled = distance_interval(clips, self.chosen, self.shrinkage)
            ratio = jackknife(ratio, blockwise(self._mean_ratio, clips, self.chosen))
        return {
            "n": len(clips),
            "mean_frechet": float(np.mean([_value(entry["frechet"]) for entry in by_emotion.values()])),
            "mean_ratio": ratio,
            "pooled_frechet": pooled,
            "pooled_ratio": _value(pooled) / self.pooled_floor,
            **_accuracy(clips),
            "duration_wasserstein": float(wasserstein_distance(clips.seconds, self.chosen.seconds)),
            "seconds": float(clips.seconds.mean()),
        }

    def _mean_ratio(self, clips: Measured, reference: Measured) -> float:
        """Mean over emotions of distance / floor; the floor stays that of the whole reference."""
        ratios = [self.distance(clips.of(e), reference.of(e)) / self.floor[e] for e in self.emotions]
        return float(np.mean(ratios))


def _measure_real(
    real: Callable[[Sequence[str]], ClipSet], scorer: Scorer, protocol: Protocol, counts: dict[int, int]
) -> RealClips:
    splits = {}
    for split in protocol.reference:
        logger.info("measuring real clips: %s", split)
        splits[split] = measure(real([split]), scorer)
    parts = list(splits.values())
    reference = Measured.joined(parts)
    _require_enough({e: int((reference.labels == e).sum()) for e in counts}, "reference", scorer)
    pool = real([protocol.floor])
    chosen = anchors.draws(pool.labels, counts, protocol.draws, protocol.seed)
    logger.info("measuring %d sets of real clips: %s", len(chosen), protocol.floor)
    drawn = [measure(pool.select(indices), scorer) for indices in chosen]
    return RealClips(reference, splits, drawn, pool.select(chosen[0]))


def _require_enough(counts: dict[int, int], what: str, scorer: Scorer) -> None:
    for emotion, n in counts.items():
        if n < FEWEST:
            name = scorer.emotions.emotions[emotion]
            raise VocalgenError(f"{name}: {n} {what} clips; a distribution needs {FEWEST} at least")


def _anchors(
    real: RealClips, scorer: Scorer, emotions: list[int], round_trip: RoundTrip | None, seed: int
) -> Iterator[tuple[str, Measured]]:
    if round_trip is not None:
        yield "vocoder round trip of real clips", anchors.vocoded(real.pool, round_trip, scorer)
    labels = real.draws[0].labels
    yield "class-mean mel", anchors.class_mean(real.pool, scorer, emotions)
    yield "white noise", anchors.noise(labels, scorer, seed)
    yield "silence", anchors.silence(labels, scorer)


def choose_shrinkage(asked: str, smallest: int, dim: int) -> Shrinkage:
    """Shrinkage for every covariance of a comparison whose smallest set of an emotion has `smallest` clips.

    Raises:
        VocalgenError: unknown choice, or "none" where the covariances would be singular.
    """
    if asked not in ("none", "ledoit-wolf", "auto"):
        raise VocalgenError(f"unknown shrinkage {asked!r}; choose none, ledoit-wolf or auto")
    # For the intervals about a tenth of the clips is left out, in whole speakers.
    enough = 0.8 * smallest > dim + 1
    if asked == "none" and not enough:
        raise VocalgenError(
            f"an emotion has only {smallest} clips, too few for a covariance in {dim} dimensions; "
            f"use shrinkage ledoit-wolf or more clips"
        )
    return "ledoit-wolf" if asked == "ledoit-wolf" or not enough else None


def _accuracy(clips: Measured) -> dict[str, Interval]:
    return {"top1": clips.accuracy(1), "top3": clips.accuracy(3)}


def _neighbours(clips: Measured, emotions: list[int]) -> NDArray[np.float64]:
    return np.concatenate([nearest(clips.of(emotion).fingerprints) for emotion in emotions])


def _confusion(clips: Measured, classes: int) -> list[list[int]]:
    table = np.zeros((classes, classes), dtype=int)
    np.add.at(table, (clips.labels, clips.scores.logits.argmax(axis=1)), 1)
    return table.tolist()


def _value(estimate: float | Interval) -> float:
    return estimate.value if isinstance(estimate, Interval) else estimate


def _named(row: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Emotion names in place of indices."""
    by_emotion = {names[index]: dict(entry) for index, entry in row["emotions"].items()}
    for entry in by_emotion.values():
        if "nearest" in entry:
            entry["nearest"] = names[entry["nearest"]]
    return {**row, "emotions": by_emotion}
