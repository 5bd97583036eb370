"""Embeddings and their statistics as files: what one run or one machine computes, another compares."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from vocalgen.atomic import atomic_path
from vocalgen.emotions import Vocabulary
from vocalgen.errors import VocalgenError
from vocalgen.evaluation.pickled import read_arrays
from vocalgen.metrics.frechet import Statistics
from vocalgen.recognition.clips import UNLABELLED

EMBEDDINGS, STATISTICS = "vocalgen-embeddings/1", "vocalgen-statistics/1"
"""What the entry `format` of our files says."""

UNKNOWN_COUNT = 10**12
"""n of statistics that do not say theirs: their covariance is taken as it is, and no shrinkage is estimated from it."""

MOMENTS = ("count", "mean", "scatter", "cubic", "quartic")
ROWS = ("labels", "ids", "speakers", "embeddings", "logits")


@dataclass(frozen=True)
class Source:
    """What embeddings came from.

    Args:
        encoder, checksum: name and hash of the encoder; empty where they are not known.
        emotions: names that labels refer to.
        classes: names of the logits' columns; none for an encoder without a head.
        skipped: one line about each clip that could not be embedded.
    """

    encoder: str = ""
    checksum: str = ""
    emotions: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Embedded:
    """n labelled clips as embeddings.

    Args:
        embeddings: (n, d).
        logits: (n, K); K is 0 for an encoder without a head.
        labels: (n,) index in `source.emotions`, `UNLABELLED` where the emotion is not known.
        ids, speakers: (n,) names.
        source: where all this comes from.
    """

    embeddings: NDArray[np.float64]
    logits: NDArray[np.float64]
    labels: NDArray[np.int64]
    ids: NDArray[np.str_]
    speakers: NDArray[np.str_]
    source: Source

    def __len__(self) -> int:
        return len(self.embeddings)

    @cached_property
    def statistics(self) -> Statistics:
        """Of the embeddings."""
        return Statistics.of(self.embeddings)

    def of(self, emotion: str) -> Embedded:
        """The clips of one emotion.

        Raises:
            VocalgenError: unknown emotion, or no clips of it.
        """
        label = Vocabulary("embeddings", self.source.emotions).index(emotion)
        rows = self.labels == label
        if not rows.any():
            raise VocalgenError(f"none of the {len(self)} clips is of {self.source.emotions[label]}")
        return replace(self, **{name: getattr(self, name)[rows] for name in ROWS})


@dataclass(frozen=True)
class Gaussian:
    """Statistics without embeddings.

    Args:
        statistics: of n embeddings, `UNKNOWN_COUNT` where the file does not say n.
        source: where they come from, as far as the file says.
    """

    statistics: Statistics
    source: Source


def save_embeddings(path: str | os.PathLike[str], embedded: Embedded, overwrite: bool = False) -> None:
    """Write embeddings as npz, whole or not at all.

    Raises:
        VocalgenError: the file cannot be written.
    """
    _save(path, EMBEDDINGS, embedded.source, {name: getattr(embedded, name) for name in ROWS}, overwrite)


def save_statistics(
    path: str | os.PathLike[str], statistics: Statistics, source: Source | None = None, overwrite: bool = False
) -> None:
    """Write statistics as npz, whole or not at all; they come back bit for bit.

    Raises:
        VocalgenError: the file cannot be written.
    """
    moments = {name: np.asarray(getattr(statistics, name)) for name in MOMENTS}
    _save(path, STATISTICS, source or Source(), moments, overwrite)


def load(path: str | os.PathLike[str]) -> Embedded | Gaussian:
    """Read embeddings of `vocalgen embed`, stored statistics, or the official pickles {"mu": (d,), "sigma": (d, d)}.

    Nothing is unpickled (see `evaluation.pickled`).

    Raises:
        VocalgenError: no such file, none of these, damaged, or with NaN.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            zipped = file.read(4) == b"PK\x03\x04"
    except OSError as error:
        raise VocalgenError(f"cannot read {path}: {error.strerror or error}") from error
    return _load_ours(path) if zipped else _load_official(path)


def load_embeddings(path: str | os.PathLike[str]) -> Embedded:
    """Read embeddings of `vocalgen embed`.

    Raises:
        VocalgenError: as `load`; the file holds statistics only.
    """
    found = load(path)
    if isinstance(found, Gaussian):
        raise VocalgenError(f"{path} holds statistics only; embeddings are needed, make them with `vocalgen embed`")
    return found


def load_statistics(path: str | os.PathLike[str]) -> Statistics:
    """Statistics of any file that `load` reads.

    Raises:
        VocalgenError: as `load`.
    """
    return load(path).statistics


def _save(
    path: str | os.PathLike[str], kind: str, source: Source, arrays: dict[str, NDArray[Any]], overwrite: bool
) -> None:
    entries: dict[str, Any] = {"format": np.array(kind), "source": np.array(json.dumps(asdict(source))), **arrays}
    with atomic_path(path, overwrite) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, **entries)


def _load_ours(path: Path) -> Embedded | Gaussian:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        kind = str(arrays.get("format", ""))
        if kind not in (EMBEDDINGS, STATISTICS):
            raise VocalgenError(f"{path}: its format is {kind or 'not ours'!r}; make it with `vocalgen embed`")
        entries: dict[str, Any] = json.loads(str(arrays["source"]))
        if not isinstance(entries, dict):
            raise ValueError("source is no table")
        source = Source(**{key: _frozen(entry) for key, entry in entries.items()})
        found = _embedded(arrays, source) if kind == EMBEDDINGS else _gaussian(arrays, source)
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        reason = " ".join(str(error).split())[:160]
        raise VocalgenError(f"{path} is damaged ({reason}); make it again with `vocalgen embed`") from error
    return found


def _frozen(entry: Any) -> Any:
    return tuple(entry) if isinstance(entry, list) else entry


def _embedded(arrays: dict[str, NDArray[Any]], source: Source) -> Embedded:
    found = Embedded(**{name: arrays[name] for name in ROWS}, source=source)
    n = len(found.ids)
    if np.iscomplexobj(found.embeddings):
        raise ValueError("the embeddings are complex numbers")
    if (
        found.embeddings.ndim != 2
        or not found.embeddings.shape[1]
        or any(len(getattr(found, name)) != n for name in ROWS)
    ):
        raise ValueError(f"{n} clips, and embeddings of shape {found.embeddings.shape}")
    bad = np.flatnonzero(~np.isfinite(found.embeddings).all(axis=1))
    if len(bad):
        raise ValueError(f"{len(bad)} embeddings hold NaN or infinity, the first is {found.ids[bad[0]]}")
    if n and not UNLABELLED <= found.labels.min() <= found.labels.max() < len(source.emotions):
        raise ValueError(f"labels from {found.labels.min()} to {found.labels.max()} of {len(source.emotions)} emotions")
    return found


def _gaussian(arrays: dict[str, NDArray[Any]], source: Source) -> Gaussian:
    moments = {name: np.asarray(arrays[name], dtype=np.float64) for name in MOMENTS}
    mean = moments["mean"]
    d = len(mean)
    if mean.shape != (d,) or moments["scatter"].shape != (d, d) or moments["cubic"].shape != (d,):
        raise ValueError(f"moments of shapes {mean.shape}, {moments['scatter'].shape}, {moments['cubic'].shape}")
    if not all(np.isfinite(moment).all() for moment in moments.values()):
        raise ValueError("NaN or infinity in the moments")
    if int(arrays["count"]) < 0:
        raise ValueError(f"statistics of {int(arrays['count'])} embeddings")
    statistics = Statistics(int(arrays["count"]), mean, moments["scatter"], moments["cubic"], float(moments["quartic"]))
    return Gaussian(statistics, source)


def _load_official(path: Path) -> Gaussian:
    arrays = read_arrays(path)
    mean, covariance = arrays.get("mu", np.zeros(0)), arrays.get("sigma", np.zeros(0))
    if mean.ndim != 1 or not len(mean) or covariance.shape != (len(mean), len(mean)):
        found = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "nothing"
        raise VocalgenError(f"{path}: mu (d,) and sigma (d, d) are needed, it holds {found}")
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise VocalgenError(f"{path}: NaN or infinity in mu or sigma")
    if np.abs(covariance - covariance.T).max() > 1e-6 * np.abs(covariance).max():
        raise VocalgenError(f"{path}: sigma is not symmetric, so it is no covariance")
    symmetric = (covariance + covariance.T) / 2
    scatter = symmetric * (UNKNOWN_COUNT - 1)
    return Gaussian(Statistics(UNKNOWN_COUNT, mean, scatter, np.zeros_like(mean), 0.0), Source())


def same_encoder(a: Source, b: Source) -> None:
    """Refuse to compare embeddings of two encoders, where both are known.

    Raises:
        VocalgenError: they differ.
    """
    if a.checksum and b.checksum and a.checksum != b.checksum:
        raise VocalgenError(
            f"embeddings of two encoders cannot be compared: {a.encoder} ({a.checksum[:12]}) and "
            f"{b.encoder} ({b.checksum[:12]}); embed both with one"
        )
