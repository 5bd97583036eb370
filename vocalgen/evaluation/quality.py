"""How good generated clips are, beside real ones and beside anchors: the whole measurement as one report."""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocalgen import __version__
from vocalgen.emotions import Vocabulary
from vocalgen.errors import VocalgenError
from vocalgen.evaluation import anchors
from vocalgen.evaluation.acoustics import compare_acoustics
from vocalgen.evaluation.columns import SCHEMA
from vocalgen.evaluation.distance import Distances, Embedded, Row, add_positions
from vocalgen.evaluation.measured import Measured, measure
from vocalgen.evaluation.memory import Nearest, summary, to_training
from vocalgen.evaluation.protocol import Protocol
from vocalgen.evaluation.published import published
from vocalgen.evaluation.rated import rating_row
from vocalgen.evaluation.rates import rate_conditions, rate_warnings
from vocalgen.evaluation.ratings import Ratings
from vocalgen.evaluation.recognised import Recognition
from vocalgen.evaluation.store import Store
from vocalgen.metrics.intervals import Interval, jackknife
from vocalgen.recognition.clips import Clips
from vocalgen.recognition.encoders import Encoder

logger = logging.getLogger(__name__)

FEWEST = 10
"""Clips of an emotion, generated and real, below which nothing is computed."""


@dataclass(frozen=True)
class Reference:
    """The real clips of an evaluation, measured, and the anchors made of them.

    Args:
        held_out: clips of the reference splits.
        pool: clips of the floor split.
        draws: sets of clips of the pool.
        anchors: measured sounds by name, each with as many clips of an emotion as a draw.
    """

    held_out: Measured
    pool: Measured
    draws: list[Measured]
    anchors: dict[str, Measured]


@dataclass(frozen=True)
class Bench:
    """What a system is measured with.

    Args:
        vocabulary: what labels refer to.
        real: real clips of some splits.
        encoders: the first one is the main one.
        voice: vocoder of the anchors.
        store: where measurements of real clips and anchors are kept.
        origin: JSON-ready fingerprint of the real clips.
    """

    vocabulary: Vocabulary
    real: Callable[[Sequence[str]], Clips]
    encoders: Sequence[Encoder]
    voice: anchors.Voice
    store: Store
    origin: dict[str, Any]

    def reference(self, protocol: Protocol, counts: dict[int, int]) -> Reference:
        """Measure the real clips and the anchors, or take them from the store.

        Args:
            counts: clips of each emotion in a draw.
        """
        held_out = self._measured(self.real(protocol.reference), {"splits": protocol.reference}, "real clips, held out")
        floor = self.real([protocol.floor])
        pool = self._measured(floor, {"splits": [protocol.floor]}, f"real clips, {protocol.floor}")
        rows = {str(name): row for row, name in enumerate(floor.ids)}
        chosen = anchors.draws(pool.labels, counts, protocol.draws, protocol.seed, self.vocabulary.emotions)
        first = floor.select(np.array([rows[str(name)] for name in pool.ids[chosen[0]]]))
        sounds = anchors.made(first, self.voice, self.encoders[0].prepare, protocol.seed)
        key = {"splits": [protocol.floor], "counts": counts, "seed": protocol.seed, "voice": self.voice.name}
        measured = {name: self._measured_lazily(make, {**key, "anchor": name}, name) for name, make in sounds.items()}
        return Reference(held_out, pool, [pool[indices] for indices in chosen], measured)

    def _measured(self, clips: Clips, key: dict[str, Any], what: str) -> Measured:
        return self._measured_lazily(lambda: clips, key, what)

    def _measured_lazily(self, clips: Callable[[], Clips], key: dict[str, Any], what: str) -> Measured:
        encoders = [[encoder.name, encoder.checksum, repr(encoder.prepare)] for encoder in self.encoders]
        full = {**self.origin, **key, "vocabulary": self.vocabulary.emotions, "encoders": encoders}
        return self.store.get(full, lambda: measure(clips(), self.encoders, what))


@dataclass(frozen=True)
class Evaluation:
    """A report with the measurements behind it."""

    report: dict[str, Any]
    systems: dict[str, Measured]
    reference: Reference


def evaluate(
    systems: Mapping[str, Clips], bench: Bench, protocol: Protocol, ratings: Mapping[str, Ratings] | None = None
) -> Evaluation:
    """Measure systems side by side.

    Args:
        systems: generated clips by name.
        ratings: human ratings of the clips of some systems.

    Raises:
        VocalgenError: an emotion with fewer than `FEWEST` generated or real clips; no clip at all.
    """
    names = bench.vocabulary.emotions
    warnings: list[str] = []
    emotions = [bench.vocabulary.index(name) for name in protocol.emotions] or list(range(len(names)))
    for name, clips in systems.items():  # what the folder shows already is not found out by measuring
        _require_enough(name, {e: int((clips.labels == e).sum()) for e in emotions}, names)
    measured = {name: measure(clips, bench.encoders, name) for name, clips in systems.items()}
    warnings += [f"{name}: {remark}" for name, clips in systems.items() for remark in clips.remarks()]
    n = _equal_counts(measured, emotions, protocol, names, warnings)
    measured = {name: _first(clips, n, emotions) for name, clips in measured.items()}
    reference = bench.reference(protocol, dict.fromkeys(emotions, n))
    rates = (
        {name: clips.rates() for name, clips in systems.items()},
        bench.real(protocol.reference).rates(),
        {encoder.name: encoder.prepare.sample_rate for encoder in bench.encoders},
    )
    warnings += rate_warnings(*rates)
    _check_real(reference, measured, emotions, names, warnings)
    sections: dict[str, Any] = {}
    main: Distances | None = None
    for encoder in bench.encoders:
        distances = _distances(encoder, reference, emotions, protocol, n)
        suffix = "" if main is None else f":{encoder.name}"
        main = main or distances
        if distances.shrinkage:
            warnings.append(
                f"{encoder.name}: {n} clips of an emotion are too few for a covariance in "
                f"{reference.held_out.scores[encoder.name].embeddings.shape[1]} dimensions; covariances are shrunk "
                f"(Ledoit-Wolf), so distances compare within this report only"
            )
        rows = _distance_rows(encoder, distances, measured, reference)
        sections[f"distance{suffix}"] = {"kind": "distance", "encoder": encoder.name, "rows": rows}
        if encoder.emotions is not None and all(names[e] in encoder.emotions for e in emotions):
            recognition = Recognition(encoder, bench.vocabulary, reference.held_out, emotions)
            sections[f"recognition{suffix}"] = {
                "kind": "recognition",
                "encoder": encoder.name,
                "rows": _recognition_rows(recognition, measured, reference),
            }
    assert main is not None
    sections["acoustics"] = _section("acoustics", _acoustic_rows(measured, reference, emotions))
    if protocol.memory:
        sections["memory"] = _section("memory", _memory_rows(measured, reference, bench.encoders[0].name, emotions))
    rated = {
        name: rating_row(given, measured[name], names, emotions, sections["distance"]["rows"][name], protocol)
        for name, given in (ratings or {}).items()
    }
    if rated:
        sections["ratings"] = _section("ratings", {name: row for name, (row, _) in rated.items()})
        warnings += [f"{name}: {line}" for name, (_, lines) in rated.items() for line in lines]
    report = {
        "schema": SCHEMA,
        "systems": list(measured),
        "anchors": [anchors.HELD_OUT, *(name for name in anchors.ANCHORS if name in sections["distance"]["rows"])],
        "emotions": [names[e] for e in emotions],
        "conditions": {
            **_conditions(bench, protocol, measured, reference, emotions, n, distances),
            "sample_rates": rate_conditions(*rates),
        },
        "warnings": warnings,
        "sections": {
            key: {**section, "rows": {name: _named(row, names) for name, row in section["rows"].items()}}
            for key, section in sections.items()
        },
        **_matrices(bench.encoders[0], bench.vocabulary, main, measured, reference, emotions),
        "differences": _differences(main, bench.encoders[0].name, measured, emotions),
        "published": published(protocol.published) if protocol.published else [],
    }
    return Evaluation(_plain(report), measured, reference)


def _equal_counts(
    measured: Mapping[str, Measured],
    emotions: Sequence[int],
    protocol: Protocol,
    names: Sequence[str],
    warnings: list[str],
) -> int:
    """Clips of an emotion that every set has, so that all rows have the same n."""
    fewest = protocol.per_emotion
    for system, clips in measured.items():
        counts = {e: clips.counts.get(e, 0) for e in emotions}
        missing = [names[e] for e, count in counts.items() if not count]
        if len(missing) == len(emotions):
            raise VocalgenError(f"{system}: no clips of the emotions of the protocol")
        if missing:
            warnings.append(f"{system}: no clips of {', '.join(missing)}; its means are over the others")
        _require_enough(system, counts, names)
        smallest = min(count for count in counts.values() if count)
        if smallest < protocol.per_emotion:
            rarest = min((e for e in emotions if counts[e]), key=counts.__getitem__)
            warnings.append(
                f"{system}: {smallest} clips of {names[rarest]} "
                f"where the protocol asks for {protocol.per_emotion}; every set was cut to the fewest"
            )
        if clips.skipped:
            warnings.append(f"{system}: {len(clips.skipped)} clips left out, first {clips.skipped[0]}")
        fewest = min(fewest, smallest)
    return fewest


def _require_enough(system: str, counts: Mapping[int, int], names: Sequence[str]) -> None:
    for e, count in counts.items():
        if 0 < count < FEWEST:
            raise VocalgenError(f"{system}: {count} clips of {names[e]}; a distribution needs {FEWEST} at least")


def _first(clips: Measured, n: int, emotions: Sequence[int]) -> Measured:
    """The first n clips of each emotion."""
    chosen = np.concatenate([np.flatnonzero(clips.labels == e)[:n] for e in emotions])
    kept = clips[np.sort(chosen)]
    return Measured(**{**vars(kept), "skipped": clips.skipped})


def _check_real(
    reference: Reference,
    measured: Mapping[str, Measured],
    emotions: Sequence[int],
    names: Sequence[str],
    warnings: list[str],
) -> None:
    held_out = reference.held_out
    for e in emotions:
        count = held_out.counts.get(e, 0)
        if count < FEWEST:
            raise VocalgenError(f"{names[e]}: {count} clips in the reference; a distribution needs {FEWEST} at least")
    shared = sorted(set(held_out.speakers.tolist()) & set(reference.pool.speakers.tolist()))
    if shared:
        warnings.append(
            f"{len(shared)} speakers are in the reference and in the floor split, first {shared[0]}: "
            f"the floor is too low"
        )
    known = {**_by_digest(reference.pool), **_by_digest(held_out)}
    for system, clips in measured.items():
        copies = [(own, known[digest]) for own, digest in zip(clips.ids, clips.digests, strict=True) if digest in known]
        if copies:
            warnings.append(
                f"{system}: {len(copies)} clips are copies of real ones, first {copies[0][0]} of {copies[0][1]}"
            )


def _by_digest(clips: Measured) -> dict[str, str]:
    return dict(zip(clips.digests.tolist(), clips.ids.tolist(), strict=True))


def _distances(
    encoder: Encoder, reference: Reference, emotions: Sequence[int], protocol: Protocol, n: int
) -> Distances:
    held_out = Embedded.of(reference.held_out, encoder.name)
    draws = [Embedded.of(draw, encoder.name) for draw in reference.draws]
    smallest = min(n, *(reference.held_out.counts[e] for e in emotions))
    return Distances(held_out, draws, emotions, protocol, smallest)


def _distance_rows(
    encoder: Encoder, distances: Distances, measured: Mapping[str, Measured], reference: Reference
) -> dict[str, Row]:
    logger.info("distances in the embedding of %s", encoder.name)
    rows = {name: distances.row(Embedded.of(clips, encoder.name), intervals=True) for name, clips in measured.items()}
    rows[anchors.FLOOR] = distances.floor_row()
    for name, clips in reference.anchors.items():
        rows[name] = distances.row(Embedded.of(clips, encoder.name))
    if len(distances.emotions) > 1:
        rows[anchors.OTHERS] = distances.other_emotions()
    add_positions(rows, anchors.BAD)
    return rows


def _recognition_rows(
    recognition: Recognition, measured: Mapping[str, Measured], reference: Reference
) -> dict[str, Row]:
    logger.info("recognition by %s", recognition.encoder.name)
    sets = {**measured, anchors.HELD_OUT: recognition.reference, anchors.FLOOR: reference.draws[0]}
    return {name: recognition.row(clips) for name, clips in {**sets, **reference.anchors}.items()}


def _acoustic_rows(measured: Mapping[str, Measured], reference: Reference, emotions: Sequence[int]) -> dict[str, Row]:
    sets = {**measured, anchors.FLOOR: reference.draws[0], **reference.anchors}
    held_out = reference.held_out[np.isin(reference.held_out.labels, emotions)]
    return {
        name: {
            "overall": compare_acoustics(clips.acoustics, held_out.acoustics),
            "emotions": {
                e: compare_acoustics(clips.of(e).acoustics, held_out.of(e).acoustics)
                for e in emotions
                if e in clips.counts
            },
        }
        for name, clips in sets.items()
    }


def _memory_rows(
    measured: Mapping[str, Measured], reference: Reference, encoder: str, emotions: Sequence[int]
) -> dict[str, Row]:
    logger.info("looking for copies")
    held_out = reference.held_out[np.isin(reference.held_out.labels, emotions)]

    pool = reference.pool

    def to_pool(clips: Measured) -> Nearest:
        embeddings = clips.scores[encoder].embeddings
        return to_training(clips.prints, embeddings, pool.prints, pool.scores[encoder].embeddings)

    real = to_pool(held_out)
    rows = {}
    for name, clips in measured.items():
        own = to_pool(clips)
        by_emotion = {}
        for e in clips.counts:
            here, there = clips.labels == e, held_out.labels == e
            by_emotion[e] = summary(own[here], real[there], clips.prints[here], held_out.prints[there])
        rows[name] = {"overall": summary(own, real, clips.prints, held_out.prints), "emotions": by_emotion}
    return rows


def _matrices(
    encoder: Encoder,
    vocabulary: Vocabulary,
    distances: Distances,
    measured: Mapping[str, Measured],
    reference: Reference,
    emotions: Sequence[int],
) -> dict[str, Any]:
    sets = {**measured, anchors.FLOOR: reference.draws[0]}
    between = {name: distances.between(Embedded.of(clips, encoder.name)) for name, clips in sets.items()}
    confusion: dict[str, NDArray[np.int64]] = {}
    if encoder.emotions is not None and all(vocabulary.emotions[e] in encoder.emotions for e in emotions):
        recognition = Recognition(encoder, vocabulary, reference.held_out, emotions)
        sets = {**measured, anchors.HELD_OUT: recognition.reference}
        confusion = {name: recognition.confusion(clips) for name, clips in sets.items()}
    heard = encoder.emotions.emotions if encoder.emotions is not None and confusion else ()
    return {"between": between, "confusion": confusion, "heard": list(heard)}


def _differences(
    distances: Distances, encoder: str, measured: Mapping[str, Measured], emotions: Sequence[int]
) -> list[dict[str, Any]]:
    """Differences of the systems with intervals; the same speakers of the reference are left out for both."""
    found = []
    estimates: dict[str, Callable[..., Callable[[Embedded, Embedded], float]]] = {
        "ratio": lambda common: lambda clips, reference: distances.mean_ratio(clips, common, reference),
        "pooled": lambda common: lambda clips, reference: distances.pooled(clips, common, reference),
    }
    for a, b in combinations(measured, 2):
        common = [e for e in emotions if e in measured[a].counts and e in measured[b].counts]
        if not common:
            continue
        sets = [Embedded.of(measured[name], encoder).only(common) for name in (a, b)]
        for column, estimate in estimates.items():
            values = [estimate(common)(clips, distances.reference) for clips in sets]
            left = [distances.left_out(estimate(common), clips) for clips in sets]
            value = jackknife(values[0] - values[1], np.subtract(left[0], left[1]))
            found.append({"a": a, "b": b, "section": "distance", "column": column, "value": value})
    return found


def _conditions(
    bench: Bench,
    protocol: Protocol,
    measured: Mapping[str, Measured],
    reference: Reference,
    emotions: Sequence[int],
    n: int,
    distances: Distances,
) -> dict[str, Any]:
    held_out = reference.held_out
    return {
        "vocalgen": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "protocol": asdict(protocol),
        "clips_of_an_emotion": n,
        "generated": {name: len(clips) for name, clips in measured.items()},
        "skipped": {name: clips.skipped for name, clips in measured.items()},
        "reference": {
            **bench.origin,
            "splits": list(protocol.reference),
            "clips": int(np.isin(held_out.labels, emotions).sum()),
            "speakers": len(set(held_out.speakers.tolist())),
        },
        "floor": {"split": protocol.floor, "draws": len(reference.draws), "clips": len(reference.draws[0])},
        "voice": bench.voice.name,
        "encoders": [
            {
                "name": encoder.name,
                "sha256": encoder.checksum,
                "dimension": int(held_out.scores[encoder.name].embeddings.shape[1]),
                "prepare": asdict(encoder.prepare),
            }
            for encoder in bench.encoders
        ],
        "covariance": "Ledoit-Wolf shrinkage" if distances.shrinkage else "unbiased, no shrinkage",
    }


def _section(kind: str, rows: dict[str, Row]) -> dict[str, Any]:
    return {"kind": kind, "encoder": None, "rows": rows}


def _named(row: Row, names: Sequence[str]) -> Row:
    """Emotion names in place of indices."""
    return {**row, "emotions": {names[index]: entry for index, entry in row["emotions"].items()}}


def _plain(value: Any) -> Any:
    """JSON-ready: intervals and arrays as lists, NaN as None."""
    if isinstance(value, Interval):
        return [_plain(entry) for entry in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return value
