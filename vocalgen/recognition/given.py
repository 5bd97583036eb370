"""Features that come with a corpus, as the challenges ship them.

    features/opensmile/features.csv     HUME-PROSODY: a table of all clips, the file's name first
    feats/ComParE/00001.csv             HUME-VOCALBURST: a table a clip, with a header or (openXBOW) without

Cells are separated by `,` or `;` and may be quoted; the first column names the clip, or is one of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocalgen.atomic import atomic_path, atomic_write_text, locked
from vocalgen.corpora.manifest import Manifest
from vocalgen.emotions import slug
from vocalgen.errors import VocalgenError
from vocalgen.recognition.features import Features, feature_folder, features_of, file_state
from vocalgen.shipped import file_sha256

TIMES = frozenset({"frametime", "start", "end"})
"""Columns behind the first that are no features, in lower case."""


def corpus_features(manifest: str | Path, source: str, *, device: str = "cpu") -> Features:
    """Features of a manifest's usable clips: computed by an encoder, or given with the corpus.

    Args:
        source: an encoder as `load_encoder` takes it; a table of all clips (.csv), or a folder of a table a clip.

    Raises:
        VocalgenError: as `features_of` and `given_features`.
    """
    path = Path(source)
    given = path.suffix.lower() == ".csv" or (path.is_dir() and next(path.glob("*.csv"), None) is not None)
    return given_features(Path(manifest), path) if given else features_of(manifest, source, device=device)


def given_features(manifest: Path, source: Path) -> Features:
    """Features of a manifest's usable clips from tables, joined on their ids; converted once, then mapped.

    Raises:
        VocalgenError: no such table; a clip without a row, or with two; rows of different lengths; a cell that is no
            finite number.
    """
    ids = tuple(clip.id for clip in Manifest.load(manifest).usable())
    sources = [source] if not source.is_dir() else [source / f"{clip}.csv" for clip in ids]
    try:
        states = [file_state(path) for path in sources]
    except OSError as error:
        raise VocalgenError(f"cannot read the features {error.filename} ({error.strerror})") from error
    origin = json.dumps([file_sha256(manifest), states])
    key = hashlib.sha256(origin.encode()).hexdigest()[:12]
    name = f"{source.resolve().parent.name}/{source.name}"
    file = feature_folder(manifest) / f"{slug(name)}-{key}.npy"
    checksum, new = _stored(file), 0
    if checksum is None:
        with locked(file):
            checksum = _stored(file)
            if checksum is None:
                checksum, new = _convert(sources, ids, file, source.is_dir()), len(ids)
    return Features(ids, np.load(file, mmap_mode="r"), name, checksum, (), new, file)


def _stored(file: Path) -> str | None:
    """Checksum of a converted file; None where it is not there or not whole."""
    try:
        described = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        whole = list(np.load(file, mmap_mode="r", allow_pickle=False).shape) == described["shape"]
        return str(described["checksum"]) if whole else None
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None


def _convert(sources: Sequence[Path], ids: Sequence[str], file: Path, alone: bool) -> str:
    place = {clip: row for row, clip in enumerate(ids)}
    rows = _rows(sources, alone)
    first = next(rows, None)
    if first is None:
        raise VocalgenError(f"{sources[0]} has no rows")
    filled = np.zeros(len(ids), dtype=bool)
    with atomic_path(file) as temporary:
        shape = (len(ids), len(first[2]))
        values: Any = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
        for clip, where, features in chain([first], rows):
            if len(features) != shape[1]:
                raise VocalgenError(f"{where} has {len(features)} features, the first row has {shape[1]}")
            if clip not in place:
                continue
            if filled[place[clip]]:
                raise VocalgenError(f"{where}: {clip} has a row already")
            values[place[clip]], filled[place[clip]] = features, True
        if not filled.all():
            lacking = [clip for clip in ids if not filled[place[clip]]]
            raise VocalgenError(f"{sources[0]} has no row of {len(lacking)} clips, first {lacking[0]}")
        values.flush()
        checksum = hashlib.sha256(values.data).hexdigest()
        del values
    atomic_write_text(file.with_suffix(".json"), json.dumps({"checksum": checksum, "shape": shape}) + "\n")
    return checksum


def _rows(sources: Sequence[Path], alone: bool) -> Iterator[tuple[str, str, NDArray[np.float32]]]:
    """A clip's name, where its row stands, and its features."""
    for source in sources:
        try:
            with source.open(encoding="utf-8-sig") as lines:
                yield from _rows_of(source, lines, alone)
        except UnicodeDecodeError as error:
            raise VocalgenError(f"{source} is no table of features ({error})") from error


def _rows_of(source: Path, lines: Iterator[str], alone: bool) -> Iterator[tuple[str, str, NDArray[np.float32]]]:
    """Rows of one table; of a clip's own table the file tells which clip it is of."""
    separator, skipped, width = "", {0}, 0
    for number, line in enumerate(lines, start=1):
        separator = separator or (";" if line.count(";") > line.count(",") else ",")
        cells = [cell.strip().strip("'\"") for cell in line.rstrip("\r\n").split(separator)]
        if cells == [""]:
            continue
        where = f"{source}, row {number}"
        if not width:
            width = len(cells)
            if not all(map(_is_number, cells[1:])):  # a header
                skipped |= {column for column, name in enumerate(cells) if name.lower() in TIMES}
                continue
        if len(cells) != width:
            raise VocalgenError(f"{where} has {len(cells)} cells, the first row has {width}")
        clip = source.stem if alone else Path(cells[0]).stem.strip("[]")
        kept = [cell for column, cell in enumerate(cells) if column not in skipped]
        wrong = [cell for cell in kept if not _is_number(cell)]
        if wrong:
            raise VocalgenError(f"{where}: {wrong[0]!r} is not a finite number")
        yield clip, where, np.array(kept, dtype=np.float32)


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
