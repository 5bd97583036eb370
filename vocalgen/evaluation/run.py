"""An evaluation from folders to a folder: measure, draw, write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vocalgen.atomic import published
from vocalgen.corpora.manifest import Manifest
from vocalgen.data import CacheConfig
from vocalgen.emotions import Vocabulary, get_vocabulary, slug
from vocalgen.errors import VocalgenError
from vocalgen.evaluation import figures
from vocalgen.evaluation.anchors import Voice
from vocalgen.evaluation.page import Player
from vocalgen.evaluation.protocol import Protocol
from vocalgen.evaluation.quality import Bench, Evaluation, evaluate
from vocalgen.evaluation.ratings import Ratings, read_ratings
from vocalgen.evaluation.report import write_report
from vocalgen.evaluation.store import Store
from vocalgen.mel import MEL_24K, LogMel, log_mels
from vocalgen.ownership import FolderKind, require_publishable
from vocalgen.pictures import require_matplotlib
from vocalgen.recognition.clips import Clips, FolderClips, RealClips, Wave
from vocalgen.recognition.encoders import Encoder, load_encoder
from vocalgen.shipped import file_sha256

SHOWN = (
    "Amusement",
    "Anger",
    "Awe",
    "Disgust",
    "Distress",
    "Fear",
    "Pain",
    "Sadness",
    "Surprise (Positive)",
    "Triumph",
)
"""Emotions of the mel grid, where present."""

GRID = MEL_24K
"""Front end of the mel grid."""

WRITTEN = ("report.json", "report.md", "report.html", "distances.png", "confusion.png", "between.png")
"""Files of a report, beside a grid of log-mels per system."""

PLAYED = 2
"""Clips of an emotion that can be played in the page."""


REPORT = FolderKind("a report")


@dataclass(frozen=True)
class Request:
    """What to evaluate.

    Args:
        systems: folders DIR/EMOTION/FILE by the name the report calls them.
        reference: manifest of the real clips, from `vocalgen data prepare`.
        out: folder for the report.
        ratings: files of human ratings by system.
        device: of the encoders.
        overwrite: whether files in `out` that vocalgen did not write may be replaced.
        load: of an encoder by name and device, where more than `load_encoder` knows is wanted.
    """

    systems: Mapping[str, Path]
    reference: Path
    out: Path
    protocol: Protocol
    voice: Voice
    ratings: Mapping[str, Path] = field(default_factory=dict)
    device: str = "cpu"
    overwrite: bool = False
    load: Callable[[str, str], Encoder] = load_encoder


def run(request: Request) -> Evaluation:
    """Evaluate and write report.json, report.md, report.html and pictures into `request.out`.

    Raises:
        VocalgenError: anything that cannot be read, computed or written; nothing is written before all is computed.
    """
    require_matplotlib()
    require_report_folder(request.out, request.overwrite)
    protocol = request.protocol
    encoders = [request.load(name, request.device) for name in protocol.encoders]
    if len({encoder.name for encoder in encoders}) < len(encoders):
        raise VocalgenError(f"two encoders have one name: {', '.join(protocol.encoders)}; rename a folder")
    vocabulary = (
        get_vocabulary(protocol.vocabulary) if protocol.vocabulary else Manifest.load(request.reference).emotions
    )
    prepare = encoders[0].prepare
    systems = {name: FolderClips(path, vocabulary, protocol.per_emotion) for name, path in request.systems.items()}
    ratings = {name: _ratings(path, request.systems, name, vocabulary) for name, path in request.ratings.items()}
    bench = Bench(
        vocabulary,
        lambda splits: RealClips(request.reference, splits, vocabulary, prepare),
        encoders,
        request.voice,
        Store(request.reference.with_name(f"{request.reference.stem}-measured")),
        {"manifest": request.reference.name, "sha256": file_sha256(request.reference)},
    )
    evaluation = evaluate(systems, bench, protocol, ratings)
    with published(request.out, REPORT, request.overwrite) as folder:
        pictures = draw(evaluation, systems, bench, protocol, folder)
        write_report(evaluation.report, folder, pictures, players(systems, bench, protocol))
    return evaluation


def require_report_folder(out: Path, overwrite: bool = False) -> None:
    """Check that a report may be written into `out`. Creates nothing.

    Raises:
        VocalgenError: it holds files that vocalgen did not write, or that were changed since.
    """
    names = sorted({*WRITTEN, *(path.name for path in out.glob("mels*.png"))})
    require_publishable(out, REPORT, names, overwrite)


def _ratings(path: Path, systems: Mapping[str, Path], name: str, vocabulary: Vocabulary) -> Ratings:
    """Ratings of any clips of the system's folder, also of those beyond the protocol's number."""
    if name not in systems:
        raise VocalgenError(f"ratings for {name!r}, but the systems are {', '.join(systems)}")
    return read_ratings(path, vocabulary.emotions, clips=FolderClips(systems[name], vocabulary).ids)


def draw(
    evaluation: Evaluation, systems: Mapping[str, Clips], bench: Bench, protocol: Protocol, out: Path
) -> list[str]:
    """Pictures of an evaluation; their file names in `out`."""
    report = evaluation.report
    figures.distance_bars(report, out / "distances.png")
    names = ["distances.png"]
    if report["confusion"]:
        figures.confusions(report, out / "confusion.png")
        names.append("confusion.png")
    if len(report["emotions"]) > 1:
        figures.between(report, out / "between.png")
        names.append("between.png")
    real = picked(bench.real(protocol.reference), bench, report["emotions"], protocol.seed)
    for name, clips in systems.items():
        file = "mels.png" if len(systems) == 1 else f"mels-{slug(name) or 'system'}.png"
        made = picked(clips, bench, report["emotions"], protocol.seed)
        figures.mel_grid(made, real, out / file, GRID.frame_rate)
        names.append(file)
    return names


def picked(clips: Clips, bench: Bench, emotions: Sequence[str], seed: int) -> dict[str, list[NDArray[np.float32]]]:
    """Log-mels of three random clips of some emotions, for the grid: chosen by the seed, not by eye."""
    rng = np.random.default_rng(seed)
    prepare = replace(bench.encoders[0].prepare, sample_rate=GRID.sample_rate)
    log_mel, chosen = LogMel(GRID), {}
    for name in [name for name in SHOWN if name in emotions] or emotions[: len(SHOWN)]:
        indices = rng.permutation(np.flatnonzero(clips.labels == bench.vocabulary.index(name)))
        waves = list(_readable(clips, indices, prepare, 3))
        chosen[name] = [mel.numpy() for mel in log_mels(waves, log_mel)] if waves else []
    return chosen


def _readable(clips: Clips, indices: NDArray[np.int64], prepare: CacheConfig, most: int) -> Iterator[Wave]:
    """The first `most` clips that can be read."""
    found = 0
    for index in indices:
        if found == most:
            return
        try:
            yield clips.wave(int(index), prepare)
        except VocalgenError:
            continue
        found += 1


def players(systems: Mapping[str, Clips], bench: Bench, protocol: Protocol) -> Iterator[Player]:
    """A few clips of every emotion, chosen by the seed; generated ones only, as real ones are not ours to publish."""
    prepare = CacheConfig(sample_rate=GRID.sample_rate)
    rng = np.random.default_rng(protocol.seed)
    for system, clips in systems.items():
        for label in np.unique(clips.labels):
            indices = rng.permutation(np.flatnonzero(clips.labels == label))[:PLAYED]
            for index in indices:
                for wave in _readable(clips, np.array([index]), prepare, 1):
                    emotion = bench.vocabulary.emotions[int(label)]
                    yield Player(system, emotion, clips.ids[int(index)], wave, prepare.sample_rate)
