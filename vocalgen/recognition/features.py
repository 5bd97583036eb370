"""Features of a corpus in one columnar file an encoder: computed once, resumable, keyed by what was heard.

Beside `emogator.csv` lies `emogator-features/NAME-KEY.npy`, (n, d) float32 for `numpy.load(file, mmap_mode="r")`,
and `NAME-KEY.json` with the clips of its rows, the encoder and, where it names them, the columns.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from vocalgen.atomic import atomic_path, atomic_write_text, locked
from vocalgen.corpora.manifest import Manifest
from vocalgen.data import WaveCache
from vocalgen.emotions import slug
from vocalgen.errors import VocalgenError
from vocalgen.recognition.clips import cache_folder
from vocalgen.recognition.encoders import Encoder, load_encoder

logger = logging.getLogger(__name__)

CHUNK = 256
"""Clips that are computed and saved together; a stop loses what belongs to one chunk."""

Values = NDArray[np.float32]


class Features(NamedTuple):
    """Features of the usable clips of a manifest.

    Args:
        ids: of the clips, in the manifest's order.
        values: (n, d) float32, mapped from `file`; NaN in the row of a clip that cannot be read.
        name, checksum: of the encoder.
        new: clips that were computed just now.
        file: where they are.
    """

    ids: tuple[str, ...]
    values: Values
    name: str
    checksum: str
    new: int
    file: Path


def features_of(manifest: str | Path, encoder: str, *, device: str = "cpu", progress: bool = True) -> Features:
    """Features of a manifest's usable clips: read where they are known, computed and stored where they are not.

    A row belongs to a clip's id and to its prepared audio, so that clips that were added or recorded again are computed
    and the others are not. Repeat the call to go on after a stop.

    Args:
        encoder: as `load_encoder` takes it.
        progress: show a bar on stderr.

    Raises:
        VocalgenError: no such manifest or encoder; none of its clips can be read; an encoder gave NaN or infinity; the
            folder cannot be written.
    """
    path = Path(manifest)
    ids = tuple(clip.id for clip in Manifest.load(path).usable())
    chosen = load_encoder(encoder, device)
    cache = WaveCache.of(path, cache_folder(path, chosen.prepare), chosen.prepare)
    place = {clip: row for row, clip in enumerate(cache.ids)}
    silent = [clip for clip in ids if clip not in place]
    if silent:
        logger.warning("%d clips cannot be read and have no features, first %s", len(silent), silent[0])
    marks = {clip: _mark(cache.wave(place[clip])) for clip in ids if clip in place}
    identity = json.dumps([chosen.name, chosen.checksum, repr(chosen.prepare)])
    key = hashlib.sha256(identity.encode()).hexdigest()[:12]
    file = path.with_name(f"{path.stem}-features") / f"{slug(chosen.name)}-{key}.npy"
    with locked(file):
        rows = [[clip, marks.get(clip, "")] for clip in ids]
        stored = _description(file)
        if stored is not None and stored["clips"] == rows:
            return Features(ids, np.load(file, mmap_mode="r"), chosen.name, chosen.checksum, 0, file)
        parts = file.with_suffix(".parts")
        known = _known(file, parts)
        missing = [clip for clip, mark in marks.items() if (clip, mark) not in known]
        for chunk in _chunks(missing, chosen.name, progress):
            values = _embed(chosen, cache, [place[clip] for clip in chunk], chunk)
            _save_part(parts, chunk, [marks[clip] for clip in chunk], values)
            known |= {(clip, marks[clip]): row for clip, row in zip(chunk, values, strict=True)}
        _write(file, rows, known, chosen)
        shutil.rmtree(parts, ignore_errors=True)
    return Features(ids, np.load(file, mmap_mode="r"), chosen.name, chosen.checksum, len(missing), file)


def _mark(wave: Values) -> str:
    """What stands for the audio of a clip."""
    return hashlib.blake2b(wave.tobytes(), digest_size=8).hexdigest()


def _chunks(clips: Sequence[str], name: str, progress: bool) -> Iterator[Sequence[str]]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not progress or not clips) as bar:
        task = bar.add_task(name, total=len(clips))
        for start in range(0, len(clips), CHUNK):
            chunk = clips[start : start + CHUNK]
            yield chunk
            bar.advance(task, len(chunk))


def _embed(encoder: Encoder, cache: WaveCache, rows: Sequence[int], clips: Sequence[str]) -> Values:
    values = encoder.score([cache.wave(row) for row in rows]).embeddings.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise VocalgenError(
            f"{encoder.name} gives NaN or infinity for clip {clips[bad[0]]}; listen to it, or leave it out"
        )
    return values


def _save_part(folder: Path, clips: Sequence[str], marks: Sequence[str], values: Values) -> None:
    name = hashlib.sha256(json.dumps([list(clips), list(marks)]).encode()).hexdigest()[:16]
    with atomic_path(folder / f"{name}.npz") as temporary, open(temporary, "wb") as stream:
        np.savez(stream, clips=np.array(clips, dtype=np.str_), marks=np.array(marks, dtype=np.str_), values=values)


def _known(file: Path, parts: Path) -> dict[tuple[str, str], Values]:
    """Rows of the finished file and of what a stopped run left, by clip and mark; damaged ones are not known."""
    known: dict[tuple[str, str], Values] = {}
    stored = _description(file)
    if stored is not None:
        known |= {(clip, mark): row for (clip, mark), row in zip(stored["clips"], np.load(file), strict=True) if mark}
    for part in sorted(parts.glob("*.npz")):
        try:
            with np.load(part, allow_pickle=False) as found:
                pairs = zip(found["clips"].tolist(), found["marks"].tolist(), strict=True)
                known |= dict(zip(pairs, found["values"], strict=True))
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            part.unlink(missing_ok=True)
    return known


def _description(file: Path) -> dict[str, Any] | None:
    """The JSON beside a file of features; None unless both are whole and belong together."""
    try:
        stored = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        values = np.load(file, mmap_mode="r", allow_pickle=False)
        digest = hashlib.blake2b(np.ascontiguousarray(values).data, digest_size=16).hexdigest()
        whole = values.ndim == 2 and len(values) == len(stored["clips"]) and digest == stored["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return stored if whole else None


def _write(
    file: Path, rows: Sequence[Sequence[str]], known: Mapping[tuple[str, str], Values], encoder: Encoder
) -> None:
    if not known:
        raise VocalgenError(f"{file}: none of the {len(rows)} clips can be read; `vocalgen data verify` says why")
    width = len(next(iter(known.values())))
    values = np.full((len(rows), width), np.nan, dtype=np.float32)
    for row, (clip, mark) in enumerate(rows):
        if mark:
            values[row] = known[clip, mark]
    description = {
        "encoder": encoder.name,
        "checksum": encoder.checksum,
        "prepare": repr(encoder.prepare),
        "columns": getattr(encoder, "columns", None),
        "digest": hashlib.blake2b(values.data, digest_size=16).hexdigest(),
        "clips": rows,
    }
    with atomic_path(file) as temporary, open(temporary, "wb") as stream:
        np.save(stream, values)
    atomic_write_text(file.with_suffix(".json"), json.dumps(description) + "\n")
