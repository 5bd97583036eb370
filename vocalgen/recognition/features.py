"""Features of a corpus in one columnar file an encoder: computed once, resumable, keyed by what was heard.

Beside `emogator.csv` lies `emogator-features/NAME-KEY.npy`, (n, d) float32 for `numpy.load(file, mmap_mode="r")`,
and `NAME-KEY.json` with the clips of its rows, the encoder and, where it names them, the columns. `NAME-KEY.seal`
notes of which encoder, manifest and recordings they were found complete: as long as none of these has changed, the
features are read without loading the encoder or opening audio. The encoder's files are hashed each time, which takes
about two seconds a gigabyte.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from vocalgen.atomic import atomic_path, atomic_write_text, locked
from vocalgen.corpora.manifest import Manifest
from vocalgen.data import WaveCache, beside_manifest, recording_marks, unchanged
from vocalgen.emotions import slug
from vocalgen.errors import VocalgenError
from vocalgen.ownership import FolderKind, begin_index, remove, require_replaceable
from vocalgen.progress import progress
from vocalgen.recognition.clips import cache_folder
from vocalgen.recognition.encoders import Encoder, load_encoder
from vocalgen.recognition.scores import Scores, too_short
from vocalgen.recognition.stamp import stamp_of
from vocalgen.shipped import file_sha256

logger = logging.getLogger(__name__)

CHUNK = 256
"""Clips that are computed and saved together; a stop loses what belongs to one chunk."""

Values = NDArray[np.float32]

Row = tuple[str, str]
"""A clip's id and what stands for its audio, empty where that cannot be read."""


FEATURES = FolderKind("features", cache=True)


class Features(NamedTuple):
    """Features of the usable clips of a manifest.

    Args:
        ids: of the clips, in the manifest's order.
        values: (n, d) float32, mapped from `file`; NaN in the row of a clip that cannot be read or is too short.
        name, checksum: of the encoder.
        silent: ids of the clips that cannot be read.
        short: ids of the clips that are too short for values of the encoder.
        new: clips that were computed just now.
        file: where they are.
    """

    ids: tuple[str, ...]
    values: Values
    name: str
    checksum: str
    silent: tuple[str, ...]
    short: tuple[str, ...]
    new: int
    file: Path


class Origin(NamedTuple):
    """What features are of, by what is known without opening audio or loading the encoder.

    Args:
        encoder: its `stamp_of`.
        manifest: SHA-256 of the file.
        recordings: `recording_marks` of the usable clips.
    """

    encoder: str | None
    manifest: str
    recordings: list[str]


class Stored(NamedTuple):
    """A file of features that is whole.

    Args:
        clips: of its rows.
        values: (n, d), mapped.
        state: size and time of the file.
    """

    clips: list[Row]
    values: Values
    state: list[int]


def features_of(manifest: str | Path, encoder: str, *, device: str = "cpu", progress: bool = True) -> Features:
    """Features of a manifest's usable clips: read where they are known, computed and stored where they are not.

    A row belongs to a clip's id and to its prepared audio, so that clips that were added or recorded again are computed
    and the others are not. Repeat the call to go on after a stop. Of several processes that ask for the same, one
    computes and the others wait. What is complete is also read from a folder that cannot be written.

    Args:
        encoder: as `load_encoder` takes it.
        progress: show a bar on stderr.

    Raises:
        VocalgenError: no such manifest or encoder; none of its clips can be read; an encoder gave NaN or infinity; the
            folder cannot be written.
    """
    path = Path(manifest)
    clips = Manifest.load(path).usable().rows
    ids = tuple(clip.id for clip in clips)
    origin = Origin(stamp_of(encoder), file_sha256(path), recording_marks(clips))
    found = _sealed(path, ids, origin)
    if found is None:
        with beside_manifest():
            found = _examined(path, ids, origin, load_encoder(encoder, device), progress)
    if found.silent:
        logger.warning("%d clips cannot be read and have no features, first %s", len(found.silent), found.silent[0])
    if found.short:
        logger.warning(
            "%d clips are too short for values of %s and have no features, first %s",
            len(found.short),
            found.name,
            found.short[0],
        )
    return found


def feature_folder(manifest: Path) -> Path:
    """Where features of a manifest lie."""
    return manifest.with_name(f"{manifest.stem}-features")


def _sealed(manifest: Path, ids: tuple[str, ...], origin: Origin) -> Features | None:
    """Features that were found complete for this origin and have not been touched since."""
    if origin.encoder is None:
        return None
    for seal in sorted(feature_folder(manifest).glob("*.seal")):
        file = seal.with_suffix(".npy")
        try:
            stored = json.loads(seal.read_text(encoding="utf-8"))
            before = Origin(*stored["origin"])
            if origin[:2] != before[:2] or not unchanged(before.recordings, origin.recordings):
                continue
            values = np.load(file, mmap_mode="r", allow_pickle=False)
            if file_state(file) == stored["state"]:
                silent, short = tuple(stored["silent"]), tuple(stored["short"])
                return Features(ids, values, stored["encoder"], stored["checksum"], silent, short, 0, file)
        except (OSError, ValueError, KeyError, TypeError, EOFError):
            continue
    return None


def _examined(manifest: Path, ids: tuple[str, ...], origin: Origin, encoder: Encoder, progress: bool) -> Features:
    """Features that are compared with the audio, completed and sealed."""
    cache = WaveCache.of(manifest, cache_folder(manifest, encoder.prepare), encoder.prepare)
    place = {clip: row for row, clip in enumerate(cache.ids)}
    rows = [(clip, _mark(cache.wave(place[clip])) if clip in place else "") for clip in ids]
    identity = json.dumps([encoder.name, encoder.checksum, repr(encoder.prepare)])
    key = hashlib.sha256(identity.encode()).hexdigest()[:12]
    file = feature_folder(manifest) / f"{slug(encoder.name)}-{key}.npy"
    stored, new = _holding(file, rows), 0
    if stored is None:
        stored, new = _complete(file, rows, encoder, cache, progress)
    silent = tuple(clip for clip, mark in rows if not mark)
    empty = np.isnan(stored.values[:, 0])  # a row has all values or none, see `_embed`
    short = tuple(clip for (clip, mark), lacks in zip(rows, empty, strict=True) if mark and lacks)
    seal = {"origin": origin, "state": stored.state, "encoder": encoder.name, "checksum": encoder.checksum}
    with suppress(VocalgenError):  # nothing is lost where it cannot be written
        atomic_write_text(file.with_suffix(".seal"), json.dumps({**seal, "silent": silent, "short": short}) + "\n")
    return Features(ids, stored.values, encoder.name, encoder.checksum, silent, short, new, file)


def _holding(file: Path, rows: Sequence[Row]) -> Stored | None:
    stored = _stored(file)
    return stored if stored is not None and stored.clips == rows else None


def _complete(
    file: Path, rows: Sequence[Row], encoder: Encoder, cache: WaveCache, progress: bool
) -> tuple[Stored, int]:
    """Compute what is not known and write the file; also how many clips were computed."""
    require_replaceable(file)
    with locked(file):
        stored = _holding(file, rows)
        if stored is not None:  # another process was first
            return stored, 0
        parts = file.with_suffix(".parts")
        known = _known(file, parts)
        place = {clip: row for row, clip in enumerate(cache.ids)}
        missing = [row for row in rows if row[1] and row not in known]
        for chunk in _chunks(missing, encoder.name, progress):
            values = _embed(encoder, cache, [place[clip] for clip, _ in chunk], [clip for clip, _ in chunk])
            part = _save_part(parts, chunk, values)
            known |= {row: (part, line) for line, row in enumerate(chunk)}
        _write(file, rows, known, encoder)
        remove(parts)
        return Stored(list(rows), np.load(file, mmap_mode="r"), file_state(file)), len(missing)


def _mark(wave: Values) -> str:
    """What stands for the audio of a clip."""
    return hashlib.blake2b(wave.tobytes(), digest_size=8).hexdigest()


def _chunks(rows: Sequence[Row], name: str, shown: bool) -> Iterator[Sequence[Row]]:
    with progress(name, total=len(rows), shown=shown and bool(rows)) as (advance,):
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            yield chunk
            advance(len(chunk))


def _embed(encoder: Encoder, cache: WaveCache, rows: Sequence[int], clips: Sequence[str]) -> Values:
    waves = [cache.wave(row) for row in rows]
    scores = encoder.score(waves)
    values = scores.embeddings.astype(np.float32)
    stored = Scores(values.astype(np.float64), scores.logits)  # as float32 holds them
    too_short(stored, waves, encoder.prepare.sample_rate, encoder.name, clips)
    return values


def _save_part(folder: Path, rows: Sequence[Row], values: Values) -> Path:
    begin_index(folder.parent, FEATURES)
    part = folder / f"{hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]}.npz"
    with atomic_path(part) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, rows=np.array(rows, dtype=np.str_), values=values)
    return part


def _known(file: Path, parts: Path) -> dict[Row, tuple[Path, int]]:
    """Where in the finished file, or in what a stopped run left, each row is; damaged files hold none."""
    known: dict[Row, tuple[Path, int]] = {}
    stored = _stored(file)
    if stored is not None:
        known |= {row: (file, line) for line, row in enumerate(stored.clips) if row[1]}
    for part in sorted(parts.glob("*.npz")):
        try:
            with np.load(part, allow_pickle=False) as found:
                rows, whole = found["rows"].tolist(), found["values"].ndim == 2
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            whole = False
        if whole:
            known |= {(clip, mark): (part, line) for line, (clip, mark) in enumerate(rows)}
        else:
            remove(part)
    return known


def _values_of(source: Path) -> Values:
    """(rows, d) of a finished file, mapped, or of a part."""
    found = np.load(source, mmap_mode="r", allow_pickle=False)
    if isinstance(found, np.ndarray):
        return found
    with found:
        return np.asarray(found["values"], dtype=np.float32)


def _stored(file: Path) -> Stored | None:
    """A file of features and the JSON beside it; None unless both are whole and belong together."""
    try:
        state = file_state(file)  # before the values: of a file that is replaced meanwhile it is the wrong one
        values = np.load(file, mmap_mode="r", allow_pickle=False)
        described = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        clips = [(clip, mark) for clip, mark in described["clips"]]
        whole = values.ndim == 2 and len(values) == len(clips) and _digest(values) == described["digest"]
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    return Stored(clips, values, state) if whole else None


def file_state(file: Path) -> list[int]:
    """Size and time of a file."""
    found = file.stat()
    return [found.st_size, found.st_mtime_ns]


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
    shape = (len(rows), _values_of(next(iter(lines))).shape[1])
    with atomic_path(file) as temporary:
        values: Any = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
        values[[line for line, row in enumerate(rows) if not row[1]]] = np.nan
        for source, pairs in lines.items():
            here, there = np.array(pairs).T
            values[here] = _values_of(source)[there]
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
