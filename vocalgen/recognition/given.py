"""Features that come with a corpus, as the challenges ship them.

    features/opensmile/features.csv     HUME-PROSODY: a table of all clips, the file's name first
    feats/ComParE/00001.csv             HUME-VOCALBURST: a table a clip, with a header or (openXBOW) without

Cells are separated by `,`, `;`, `|` or tabs, which no cell may hold; quotes around cells are dropped. Tables are long
and wide, so they are read line by line. The first column names the clip (by its id, with or without a suffix, with or
without folders before it, see `plain_name`), or is of no account where a clip has a table of its own: that of the clip
`awe/00` is `awe/00.csv` in the folder. The first row is a header if its first cell is one of `NAMES`, or if all others
are words.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocalgen.atomic import atomic_path, atomic_write_text, locked
from vocalgen.corpora.manifest import Manifest
from vocalgen.corpora.names import by_plain_name, plain_name, similar_hint
from vocalgen.corpora.table import delimiter, is_blank_row
from vocalgen.data import beside_manifest
from vocalgen.emotions import slug
from vocalgen.errors import VocalgenError
from vocalgen.ownership import begin_index, remove
from vocalgen.recognition.encoders import is_given
from vocalgen.recognition.features import FEATURES, Features, feature_folder, features_of, file_state
from vocalgen.shipped import file_sha256

TIMES = frozenset({"frametime", "start", "end"})
"""Columns behind the first that are no features, in lower case."""

NAMES = frozenset({"", "name", "filename", "file", "file_id", "id", "clip", "index"})
"""First cells of headers, in lower case."""

LARGEST = float(np.finfo(np.float32).max)

Tables = Mapping[Path, str | None]
"""The clip that a table is of; None for a table of all clips."""


def corpus_features(manifest: str | Path, source: str, *, device: str = "cpu") -> Features:
    """Features of a manifest's usable clips: computed by an encoder, or given with the corpus.

    Args:
        source: an encoder as `load_encoder` takes it; a table of all clips (.csv), or a folder of a table a clip.

    Raises:
        VocalgenError: as `features_of` and `given_features`.
    """
    if is_given(Path(source)):
        return given_features(Path(manifest), Path(source))
    return features_of(manifest, source, device=device)


def given_features(manifest: Path, source: Path) -> Features:
    """Features of a manifest's usable clips from tables, joined on their ids; converted once, then mapped.

    What was converted of earlier tables of that place is removed.

    Raises:
        VocalgenError: no such table; a table without a column of values; a clip without a row, or with two; rows of
            different lengths; a cell that is no finite number of 32 bits.
    """
    ids = tuple(clip.id for clip in Manifest.load(manifest).usable())
    tables: Tables = {source / f"{clip}.csv": clip for clip in ids} if source.is_dir() else {source: None}
    try:
        states = [file_state(path) for path in tables]
    except OSError as error:
        meant = similar_hint(Path(error.filename))
        raise VocalgenError(f"cannot read the features {error.filename} ({error.strerror}){meant}") from error
    origin = json.dumps([file_sha256(manifest), states])
    key = hashlib.sha256(origin.encode()).hexdigest()[:12]
    name = f"{source.resolve().parent.name}/{source.name}"
    file = feature_folder(manifest) / f"{slug(name)}-{key}.npy"
    checksum, new = _stored(file), 0
    if checksum is None:
        with beside_manifest(), locked(file):
            checksum = _stored(file)
            if checksum is None:
                checksum, new = _convert(source, tables, ids, file), len(ids)
                _remove_earlier(file, name, source)
    return Features(ids, np.load(file, mmap_mode="r"), name, checksum, (), (), new, file)


def _stored(file: Path) -> str | None:
    """Checksum of a converted file; None where it is not there or not whole."""
    try:
        described = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        shape = list(np.load(file, mmap_mode="r", allow_pickle=False).shape)
        return str(described["checksum"]) if shape == described["shape"] and all(shape) else None
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None


def _remove_earlier(file: Path, name: str, source: Path) -> None:
    for described in file.parent.glob(f"{slug(name)}-*.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            of = json.loads(described.read_text(encoding="utf-8"))["source"]
            if of == str(source.resolve()) and described.stem != file.stem:
                remove(described)
                remove(described.with_suffix(".npy"))


def _convert(source: Path, tables: Tables, ids: Sequence[str], file: Path) -> str:
    place = {clip: row for row, clip in enumerate(ids)}
    rows = _rows(tables, place)
    first = next(rows, None)
    if first is None:
        raise VocalgenError(f"{source} has no rows of clips of the manifest, such as {ids[0]}")
    filled = np.zeros(len(ids), dtype=bool)
    begin_index(file.parent, FEATURES)
    with atomic_path(file) as temporary:
        shape = (len(ids), len(first[2]))
        values: Any = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
        for clip, where, features in chain([first], rows):
            if len(features) != shape[1]:
                raise VocalgenError(f"{where} has {len(features)} features, the first row has {shape[1]}")
            if filled[place[clip]]:
                raise VocalgenError(f"{where}: {clip} has a row already")
            values[place[clip]], filled[place[clip]] = features, True
        if not filled.all():
            lacking = [clip for clip in ids if not filled[place[clip]]]
            raise VocalgenError(f"{source} has no row of {len(lacking)} clips, first {lacking[0]}")
        values.flush()
        checksum = hashlib.sha256(values.data).hexdigest()
        del values
    description = {"checksum": checksum, "shape": shape, "source": str(source.resolve())}
    atomic_write_text(file.with_suffix(".json"), json.dumps(description) + "\n")
    return checksum


def _rows(tables: Tables, wanted: Collection[str]) -> Iterator[tuple[str, str, NDArray[np.float32]]]:
    """The name of each clip that is wanted, where its row stands, and its features."""
    plain = by_plain_name(wanted)
    for source, own in tables.items():
        try:
            with source.open(encoding="utf-8-sig") as lines:
                yield from _rows_of(source, lines, own, wanted, plain)
        except UnicodeDecodeError as error:
            raise VocalgenError(f"{source} is no table of features ({error})") from error


def _rows_of(
    source: Path, lines: Iterator[str], own: str | None, wanted: Collection[str], plain: Mapping[str, str]
) -> Iterator[tuple[str, str, NDArray[np.float32]]]:
    """Rows of one table, of the clip whose `own` it is or of all."""
    separator, width = "", 0
    columns: list[str] = []
    kept: list[int] = []
    for number, line in enumerate(lines, start=1):
        separator = separator or delimiter(line)
        cells = [cell.strip().strip("'\"") for cell in line.rstrip("\r\n").split(separator)]
        if is_blank_row(cells):
            continue
        if separator != "," and "," in line:
            cells = [cells[0], *(cell.replace(",", ".") for cell in cells[1:])]
        where = f"{source}, row {number}"
        if not width:
            width = len(cells)
            header = _is_header(cells)
            columns = cells if header else [str(column) for column in range(1, width + 1)]
            kept = [column for column in range(1, width) if columns[column].lower() not in TIMES]
            if not kept:
                raise VocalgenError(
                    f"{where} has no column of features; put them behind a first column that names the clip"
                )
            if header:
                continue
        if len(cells) != width:
            raise VocalgenError(f"{where} has {len(cells)} cells, the first row has {width}")
        clip = own or _named(cells[0], wanted, plain)
        if clip is None:
            continue
        wrong = next((column for column in kept if not _is_number(cells[column])), None)
        if wrong is not None:
            raise VocalgenError(
                f"{where}, column {columns[wrong]}: {cells[wrong]!r} is no finite number of 32 bits; mend the cell, or "
                f"leave the clip out of the manifest"
            )
        yield clip, where, np.array([cells[column] for column in kept], dtype=np.float32)


def _named(name: str, wanted: Collection[str], plain: Mapping[str, str]) -> str | None:
    """The clip a row is of: the name as it is, without its suffix, or without folders and brackets too.

    Args:
        plain: clips by their plain name, which is tried last.
    """
    path = Path(name)
    names = (name, (path.parent / path.stem).as_posix(), path.stem.strip("[]"))
    found = next((clip for clip in names if clip in wanted), None)
    return found or next((plain[form] for form in map(plain_name, names) if form in plain), None)


def _is_header(cells: Sequence[str]) -> bool:
    return cells[0].lower() in NAMES or all(cell and _number(cell) is None for cell in cells[1:])


def _is_number(text: str) -> bool:
    number = _number(text)
    return number is not None and -LARGEST <= number <= LARGEST


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
