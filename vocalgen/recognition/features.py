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

Row = tuple[str, str]
"""A clip's id and what stands for its audio, empty where that cannot be read."""


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
    rows = [(clip, marks.get(clip, "")) for clip in ids]
    new = 0 if _holds(file, rows) else _complete(file, rows, chosen, cache, progress)
    return Features(ids, np.load(file, mmap_mode="r"), chosen.name, chosen.checksum, new, file)


def _holds(file: Path, rows: Sequence[Row]) -> bool:
    stored = _description(file)
    return stored is not None and [tuple(row) for row in stored["clips"]] == rows


def _complete(file: Path, rows: Sequence[Row], encoder: Encoder, cache: WaveCache, progress: bool) -> int:
    """Compute what is not known, write the file, and return how many clips were computed."""
    with locked(file):
        if _holds(file, rows):  # another process was first
            return 0
        parts = file.with_suffix(".parts")
        known = _known(file, parts)
        place = {clip: row for row, clip in enumerate(cache.ids)}
        missing = [row for row in rows if row[1] and row not in known]
        for chunk in _chunks(missing, encoder.name, progress):
            values = _embed(encoder, cache, [place[clip] for clip, _ in chunk], [clip for clip, _ in chunk])
            part = _save_part(parts, chunk, values)
            known |= {row: (part, line) for line, row in enumerate(chunk)}
        _write(file, rows, known, encoder)
        shutil.rmtree(parts, ignore_errors=True)
    return len(missing)


def _mark(wave: Values) -> str:
    """What stands for the audio of a clip."""
    return hashlib.blake2b(wave.tobytes(), digest_size=8).hexdigest()


def _chunks(rows: Sequence[Row], name: str, progress: bool) -> Iterator[Sequence[Row]]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not progress or not rows) as bar:
        task = bar.add_task(name, total=len(rows))
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
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


def _save_part(folder: Path, rows: Sequence[Row], values: Values) -> Path:
    part = folder / f"{hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]}.npz"
    with atomic_path(part) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, rows=np.array(rows, dtype=np.str_), values=values)
    return part


def _known(file: Path, parts: Path) -> dict[Row, tuple[Path, int]]:
    """Where in the finished file, or in what a stopped run left, each row is; damaged files hold none."""
    known: dict[Row, tuple[Path, int]] = {}
    stored = _description(file)
    if stored is not None:
        known |= {(clip, mark): (file, line) for line, (clip, mark) in enumerate(stored["clips"]) if mark}
    for part in sorted(parts.glob("*.npz")):
        try:
            with np.load(part, allow_pickle=False) as found:
                rows, whole = found["rows"].tolist(), found["values"].ndim == 2
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            whole = False
        if whole:
            known |= {(clip, mark): (part, line) for line, (clip, mark) in enumerate(rows)}
        else:
            part.unlink(missing_ok=True)
    return known


def _stored_values(source: Path) -> Values:
    """(rows, d) of a finished file, mapped, or of a part."""
    found = np.load(source, mmap_mode="r", allow_pickle=False)
    if isinstance(found, np.ndarray):
        return found
    with found:
        return np.asarray(found["values"], dtype=np.float32)


def _description(file: Path) -> dict[str, Any] | None:
    """The JSON beside a file of features; None unless both are whole and belong together."""
    try:
        stored = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        values = np.load(file, mmap_mode="r", allow_pickle=False)
        whole = values.ndim == 2 and len(values) == len(stored["clips"]) and _digest(values) == stored["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return stored if whole else None


def _digest(values: Values) -> str:
    return hashlib.blake2b(np.ascontiguousarray(values).data, digest_size=16).hexdigest()


def _write(file: Path, rows: Sequence[Row], known: Mapping[Row, tuple[Path, int]], encoder: Encoder) -> None:
    """Bring the rows together in the file, one source at a time: they may not fit into memory."""
    lines: dict[Path, list[tuple[int, int]]] = {}
    for line, row in enumerate(rows):
        if row[1]:
            source, there = known[row]
            lines.setdefault(source, []).append((line, there))
    if not lines:
        raise VocalgenError(f"{file}: none of the {len(rows)} clips can be read; `vocalgen data verify` says why")
    shape = (len(rows), _stored_values(next(iter(lines))).shape[1])
    with atomic_path(file) as temporary:
        values: Any = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
        values[[line for line, row in enumerate(rows) if not row[1]]] = np.nan
        for source, pairs in lines.items():
            here, there = np.array(pairs).T
            values[here] = _stored_values(source)[there]
        values.flush()
        digest = _digest(values)
        del values
    description = {
        "encoder": encoder.name,
        "checksum": encoder.checksum,
        "prepare": repr(encoder.prepare),
        "columns": getattr(encoder, "columns", None),
        "digest": digest,
        "clips": rows,
    }
    atomic_write_text(file.with_suffix(".json"), json.dumps(description) + "\n")
