"""MODULATE-STREAM (arXiv 2403.14048, section 2.4): a table of 1.88 million opus clips, packed into tar shards.

The TSV has the columns clip_name, clip_duration_msec, transcript, is_child_probability, is_female_probability and
game_metadata; later releases may add more, which are kept. A shard holds so many rows of the table: for each clip
`00000042.opus` (or its other suffix) and `00000042.json` with the row, as WebDataset reads them. Rows left out stand
in `shard-00000.skipped.tsv` with the reason. Folders are never listed; of the table eight bytes a row are held in
memory, and some thirty more for a moment, to find clips that are in it twice. `shards` reads what is packed here.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import tarfile
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocalgen import audio
from vocalgen.atomic import atomic_path, atomic_write_text, sweep
from vocalgen.corpora.parallel import parallel_map
from vocalgen.corpora.table import check_header
from vocalgen.corpora.words import count
from vocalgen.errors import VocalgenError
from vocalgen.ownership import FolderKind, own_folder, remove, require_own_folder

CLIPS = 1_880_261
"""Clips of the full corpus (white paper)."""

COLUMNS = (
    "clip_name", "clip_duration_msec", "transcript", "is_child_probability", "is_female_probability", "game_metadata",
)  # fmt: skip

LEFT_OUT = ("child", "repeated", "missing", "wrong")
"""Why rows are left out: maybe a child's voice; a clip of an earlier row; no file; a row that cannot be."""

MISSING = "cannot read"
"""Begins the reason of a row without a file."""

INDEX = "index.json"

_LISTED = ("row", "clip_name", "reason")
_COUNTED = 10_000


NEW_FOLDER = "give a new or empty folder for the shards"
"""Advice of the error about a folder with other files."""


SHARDS = FolderKind("shards", cache=True)


@dataclass(frozen=True)
class Packing:
    """How a corpus is packed.

    Args:
        rows: rows of the table a shard.
        most_child: clips with a greater probability of a child's voice are left out; those without one stay.
    """

    rows: int = 10_000
    most_child: float = 1.0

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise VocalgenError(f"a shard needs one row at least, got {self.rows}")
        if not 0 <= self.most_child <= 1:
            raise VocalgenError(f"the largest probability of a child's voice must be in [0, 1], got {self.most_child}")


@dataclass(frozen=True, eq=False)
class Shard:
    """A part of the table.

    Args:
        number: of the shard.
        first: number of its first row, counted from 0.
        offset: byte of the table at which that begins.
        rows: how many.
        repeated: (n, 2) rows whose clip an earlier row has, and those.
    """

    number: int
    first: int
    offset: int
    rows: int
    repeated: NDArray[np.int64]


def pack(
    folder: str | os.PathLike[str],
    table: str | os.PathLike[str],
    out: str | os.PathLike[str],
    packing: Packing | None = None,
    processes: int = 1,
    advance: Callable[[int], object] = lambda rows: None,
    counted: Callable[[int], object] = lambda rows: None,
) -> dict[str, Any]:
    """Write shards and `index.json` into `out`; those that are there already stay, so a stopped run goes on.

    Args:
        folder: below it the clips lie, at the path the table names.
        advance: called with the number of further rows done.
        counted: called with the number of further rows read, before the first is packed.

    Returns:
        the index: counts of `packed` rows and of those `LEFT_OUT`, `seconds` packed, and the shards.

    Raises:
        VocalgenError: the table cannot be read or lacks a column; `out` holds shards of another table or packing, or
            what is none; no space.
    """
    packing, target = packing or Packing(), Path(out)
    require_own_folder(target, SHARDS, NEW_FOLDER)
    digest, shards = _plan(Path(table), packing.rows, counted)
    _claim(target, {"table": digest, "packing": asdict(packing)})
    sweep(target)
    work = partial(_write, Path(os.path.abspath(folder)), Path(table), target, packing)
    totals: Counter[str] = Counter()
    names = []
    for shard, counts in zip(shards, parallel_map(work, shards, processes, 1), strict=True):
        totals.update(counts)
        names.append({"file": f"{_name(shard)}.tar", **counts})
        advance(shard.rows)
    index = {"clips": totals["packed"], **dict(sorted(totals.items())), "shards": names}
    atomic_write_text(target / INDEX, json.dumps(index, indent=1) + "\n")
    return index


def _plan(table: Path, rows: int, counted: Callable[[int], object]) -> tuple[str, list[Shard]]:
    """Hash of the table, and where its shards begin."""
    digest, clips, offsets = hashlib.sha256(), array("Q"), array("Q")
    try:
        with table.open("rb") as file:
            header = file.readline()
            digest.update(header)
            names = _columns(header, table)
            offset = file.tell()
            for line in file:
                digest.update(line)
                if len(clips) % rows == 0:
                    offsets.append(offset)
                offset += len(line)
                clips.append(_fingerprint(line, names))
                if len(clips) % _COUNTED == 0:
                    counted(_COUNTED)
    except OSError as error:
        raise VocalgenError(f"cannot read {table} ({error.strerror or error})") from error
    if not clips:
        raise VocalgenError(f"{table} has no rows")
    counted(len(clips) % _COUNTED)
    firsts = range(0, len(clips), rows)
    repeated = _repeated(np.frombuffer(clips, np.uint64))
    parts = np.split(repeated, np.searchsorted(repeated[:, 0], firsts[1:]))
    shards = [
        Shard(number, first, offset, min(rows, len(clips) - first), part)
        for number, (first, offset, part) in enumerate(zip(firsts, offsets, parts, strict=True))
    ]
    return digest.hexdigest(), shards


def _columns(header: bytes, table: Path) -> list[str]:
    try:
        names = [name.strip() for name in header.decode("utf-8-sig").split("\t")]
    except UnicodeDecodeError as error:
        raise VocalgenError(f"{table}: its first line is no UTF-8; save it as UTF-8") from error
    check_header(table, names, COLUMNS, "\t")
    return [name.lower() if name.lower() in COLUMNS else name for name in names]


def _fingerprint(line: bytes, names: Sequence[str]) -> int:
    """Number of a row's clip; 0 if the row cannot be used."""
    try:
        path = _entry(line, names).path
    except _LeftOut:
        return 0
    return int.from_bytes(hashlib.blake2b(path.encode(), digest_size=8).digest(), "big")


def _repeated(clips: NDArray[np.uint64]) -> NDArray[np.int64]:
    """(n, 2) rows whose clip an earlier row has, in order, and the first row that has it."""
    order = np.argsort(clips, kind="stable")
    same = np.zeros(len(clips), np.bool_)
    same[1:] = (clips[order[1:]] == clips[order[:-1]]) & (clips[order[1:]] != 0)
    first = np.maximum.accumulate(np.where(same, 0, np.arange(len(clips))))
    pairs = np.stack([order[same], order[first[same]]], axis=1)
    return pairs[np.argsort(pairs[:, 0])]


def _claim(target: Path, made_of: Mapping[str, Any]) -> None:
    """Mark the folder with what its shards are made of, or refuse one that is marked otherwise."""
    mark = target / "made-of.json"
    if mark.is_file():
        before = _stored(mark, ("table", "packing"))
        if before is None:
            raise VocalgenError(f"{mark} is damaged; remove {target}, pack again")
        if before != made_of:
            raise VocalgenError(f"{target} holds shards of another table or packing; choose another folder")
        return
    own_folder(target, SHARDS, NEW_FOLDER)
    atomic_write_text(mark, json.dumps(made_of, indent=1) + "\n")


def _name(shard: Shard) -> str:
    return f"shard-{shard.number:05d}"


def _write(folder: Path, table: Path, out: Path, packing: Packing, shard: Shard) -> dict[str, float]:
    """One shard and the list of what is not in it; its counts, which stand beside it, tell that both are complete."""
    done = out / f"{_name(shard)}.json"
    before = _stored(done, ("packed", *LEFT_OUT, "seconds")) if done.is_file() else None
    if (
        before is not None
        and not _is_cut(out / f"{_name(shard)}.tar")
        and not (before["missing"] and _came(out / f"{_name(shard)}.skipped.tsv", folder))
    ):
        return before
    remove(done)
    counts: dict[str, float] = {"packed": 0, **dict.fromkeys(LEFT_OUT, 0), "seconds": 0.0}
    earlier: dict[int, int] = dict(shard.repeated.tolist())
    with (
        table.open("rb") as file,
        atomic_path(out / f"{_name(shard)}.skipped.tsv") as listed,
        atomic_path(out / f"{_name(shard)}.tar") as packed,
        listed.open("w", encoding="utf-8", newline="") as skipped,
        tarfile.open(packed, "w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        names = _columns(file.readline(), table)
        file.seek(shard.offset)
        skipped.write("\t".join(_LISTED) + "\n")
        for row in range(shard.first, shard.first + shard.rows):
            line = file.readline()
            try:
                counts["seconds"] += _add(tar, row, _entry(line, names), folder, packing, earlier.get(row))
                counts["packed"] += 1
            except _LeftOut as reason:
                counts[reason.kind] += 1
                skipped.write(f"{_line(row)}\t{_clip_name(line, names)}\t{reason}\n")
    atomic_write_text(done, json.dumps(counts) + "\n")
    return counts


def _stored(path: Path, keys: Sequence[str]) -> dict[str, Any] | None:
    """An object of these keys that was written as JSON; None if it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.keys() == set(keys) else None


def _is_cut(tar: Path) -> bool:
    """Whether a shard is missing, or lacks the empty blocks at its end."""
    try:
        with tar.open("rb") as file:
            file.seek(-2 * tarfile.BLOCKSIZE, os.SEEK_END)
            return file.read() != bytes(2 * tarfile.BLOCKSIZE)
    except OSError:
        return True


def _came(listed: Path, folder: Path) -> bool:
    """Whether a clip that could not be read when its shard was packed is there now, or the list of them is damaged."""
    try:
        with listed.open(encoding="utf-8", newline="\n") as rows:
            header, *lines = (line.rstrip("\n").split("\t") for line in rows)
        names = [name for _, name, reason in lines if reason.startswith(MISSING)]
        return header != list(_LISTED) or any((folder / _path(name)).is_file() for name in names)
    except (OSError, ValueError, _LeftOut):
        return True


class _LeftOut(VocalgenError):
    """A row that is not packed: one of `LEFT_OUT`, and the reason in words."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True)
class _Entry:
    """A row of the table: its cells, the clip's path below the folder, seconds and the probability of a child."""

    row: dict[str, str]
    path: str
    seconds: float
    child: float


def _entry(line: bytes, names: Sequence[str]) -> _Entry:
    cells = _cells(line)
    if len(cells) != len(names):
        raise _LeftOut("wrong", f"{count(len(cells), 'cell')}, the header has {len(names)}")
    row = dict(zip(names, cells, strict=True))
    duration, probability = row["clip_duration_msec"], row["is_child_probability"].strip()
    milliseconds, child = _number(duration), _number(probability or "0")
    if not 0 < milliseconds < math.inf:
        raise _LeftOut("wrong", f"clip_duration_msec is {duration!r}, not a number above 0")
    if not 0 <= child <= 1:
        raise _LeftOut("wrong", f"is_child_probability is {probability!r}, not a number from 0 to 1")
    return _Entry(row, _path(row["clip_name"]), milliseconds / 1000, child)


def _cells(line: bytes) -> list[str]:
    return line.decode("utf-8", errors="replace").rstrip("\r\n").split("\t")


def _clip_name(line: bytes, names: Sequence[str]) -> str:
    return dict(zip(names, _cells(line))).get("clip_name", "")


def _path(name: str) -> str:
    """Where the clip lies, if the name leads nowhere else; names without a suffix are of opus files."""
    path = name.replace("\\", "/")
    if "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise _LeftOut("wrong", f"clip_name {name!r} is no path below the folder")
    return path if os.path.splitext(path)[1].lower().lstrip(".") in audio.FORMATS else f"{path}.opus"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _line(row: int) -> int:
    """Line of the table as an editor counts, the header being 1."""
    return row + 2


def _add(tar: tarfile.TarFile, row: int, entry: _Entry, folder: Path, packing: Packing, earlier: int | None) -> float:
    """Pack a clip; its seconds."""
    if earlier is not None:
        raise _LeftOut("repeated", f"the clip of row {_line(earlier)}")
    if entry.child > packing.most_child:
        raise _LeftOut("child", f"is_child_probability is {entry.child:g}")
    try:
        sound = (folder / entry.path).read_bytes()
    except OSError as error:
        raise _LeftOut("missing", f"{MISSING} {entry.path} ({error.strerror or error})") from error
    _member(tar, f"{row:08d}{os.path.splitext(entry.path)[1].lower()}", sound)
    _member(tar, f"{row:08d}.json", json.dumps(entry.row, ensure_ascii=False).encode())
    return entry.seconds


def _member(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)  # no owner and no time: the same clips make the same shard
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
