"""MODULATE-STREAM (arXiv 2403.14048, section 2.4): a table of 1.88 million opus clips, packed into tar shards.

The TSV has the columns clip_name, clip_duration_msec, transcript, is_child_probability, is_female_probability and
game_metadata; later releases may add more, which are kept. A shard holds so many rows of the table: for each clip
`00000042.opus` (or its other suffix) and `00000042.json` with the row, as WebDataset reads them. Folders are never
listed and the table is never held in memory.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from vocalgen import audio
from vocalgen.atomic import atomic_path, atomic_write_text
from vocalgen.corpora.parallel import parallel_map
from vocalgen.errors import VocalgenError

CLIPS = 1_880_261
"""Clips of the full corpus (white paper)."""

COLUMNS = (
    "clip_name", "clip_duration_msec", "transcript", "is_child_probability", "is_female_probability", "game_metadata",
)  # fmt: skip

INDEX = "index.json"


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


@dataclass(frozen=True)
class Shard:
    """A part of the table: number of the shard, number of its first row, byte at which that begins, rows."""

    number: int
    first: int
    offset: int
    rows: int


def pack(
    folder: str | os.PathLike[str],
    table: str | os.PathLike[str],
    out: str | os.PathLike[str],
    packing: Packing | None = None,
    processes: int = 1,
    advance: Callable[[int], object] = lambda rows: None,
) -> dict[str, Any]:
    """Write shards and `index.json` into `out`; those that are there already stay, so a stopped run goes on.

    Args:
        folder: below it the clips lie, at the path the table names.
        advance: called with the number of further rows done.

    Returns:
        the index: counts of `packed`, `child`, `missing` and `wrong` rows, `seconds` packed, and the shards.

    Raises:
        VocalgenError: the table cannot be read or lacks a column; `out` holds shards of another table or packing; no
            space.
    """
    packing, target = packing or Packing(), Path(out)
    digest, shards = _plan(Path(table), packing.rows)
    _claim(target, {"table": digest, "packing": asdict(packing)})
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


def _plan(table: Path, rows: int) -> tuple[str, list[Shard]]:
    """Hash of the table, and where its shards begin."""
    shards: list[Shard] = []
    digest = hashlib.sha256()
    try:
        with table.open("rb") as file:
            header = file.readline()
            digest.update(header)
            _columns(header, table)
            offset, count, began = file.tell(), 0, 0
            for line in file:
                digest.update(line)
                if count % rows == 0:
                    began = offset
                offset += len(line)
                count += 1
                if count % rows == 0:
                    shards.append(Shard(len(shards), count - rows, began, rows))
    except OSError as error:
        raise VocalgenError(f"cannot read {table} ({error.strerror or error})") from error
    if count % rows:
        shards.append(Shard(len(shards), count - count % rows, began, count % rows))
    if not shards:
        raise VocalgenError(f"{table} has no rows")
    return digest.hexdigest(), shards


def _columns(header: bytes, table: Path) -> list[str]:
    names = header.decode("utf-8-sig", errors="replace").rstrip("\r\n").split("\t")
    missing = [name for name in COLUMNS[:2] if name not in names]
    if missing:
        raise VocalgenError(f"{table}: column {missing[0]} is missing; its first line has {', '.join(names)[:200]}")
    return names


def _claim(target: Path, made_of: Mapping[str, Any]) -> None:
    """Mark the folder with what its shards are made of, or refuse one that is marked otherwise."""
    mark = target / "made-of.json"
    if mark.is_file():
        if json.loads(mark.read_text(encoding="utf-8")) != made_of:
            raise VocalgenError(f"{target} holds shards of another table or packing; choose another folder")
        return
    atomic_write_text(mark, json.dumps(made_of, indent=1) + "\n")


def _name(shard: Shard) -> str:
    return f"shard-{shard.number:05d}"


def _write(folder: Path, table: Path, out: Path, packing: Packing, shard: Shard) -> dict[str, float]:
    """One shard; its counts, which stand beside it and tell that it is complete."""
    done = out / f"{_name(shard)}.json"
    if done.is_file():
        counts: dict[str, float] = json.loads(done.read_text(encoding="utf-8"))
        return counts
    counts = {"packed": 0, "child": 0, "missing": 0, "wrong": 0, "seconds": 0.0}
    with table.open("rb") as file, atomic_path(out / f"{_name(shard)}.tar") as temporary:
        names = _columns(file.readline(), table)
        file.seek(shard.offset)
        with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
            for place in range(shard.rows):
                _add(tar, f"{shard.first + place:08d}", file, names, folder, packing, counts)
    atomic_write_text(done, json.dumps(counts) + "\n")
    return counts


def _add(
    tar: tarfile.TarFile,
    key: str,
    file: BinaryIO,
    names: list[str],
    folder: Path,
    packing: Packing,
    counts: dict[str, float],
) -> None:
    """The next row of the table, into a shard or among what is left out."""
    cells = file.readline().decode("utf-8", errors="replace").rstrip("\r\n").split("\t")
    row = dict(zip(names, cells))
    path, seconds, child = _inside(folder, row.get("clip_name", "")), _seconds(row), _share(row)
    if len(cells) != len(names) or path is None or seconds is None or child is None:
        counts["wrong"] += 1
    elif child > packing.most_child:
        counts["child"] += 1
    else:
        try:
            sound = path.read_bytes()
        except OSError:
            counts["missing"] += 1
            return
        _member(tar, f"{key}{path.suffix.lower()}", sound)
        _member(tar, f"{key}.json", json.dumps(row, ensure_ascii=False).encode())
        counts["packed"] += 1
        counts["seconds"] += seconds


def _inside(folder: Path, name: str) -> Path | None:
    """The clip's file, if the name leads nowhere else; names without a suffix are of opus files."""
    parts = name.replace("\\", "/").split("/")
    if not name or "\0" in name or any(part in ("", ".", "..") for part in parts):
        return None
    path = folder.joinpath(*parts)
    return path if path.suffix.lower().lstrip(".") in audio.FORMATS else path.with_name(path.name + ".opus")


def _seconds(row: Mapping[str, str]) -> float | None:
    value = _number(row.get("clip_duration_msec", ""))
    return None if value is None or not value >= 0 else value / 1000


def _share(row: Mapping[str, str]) -> float | None:
    """Probability of a child's voice; 0 where it is blank."""
    text = row.get("is_child_probability", "").strip()
    value = _number(text) if text else 0.0
    return value if value is not None and 0 <= value <= 1 else None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _member(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)  # no owner and no time: the same clips make the same shard
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


@dataclass(frozen=True)
class StreamClip:
    """A clip of a shard: its key, its row of the table, the encoded sound and the suffix that tells the format."""

    key: str
    row: dict[str, str]
    sound: bytes
    suffix: str

    def wave(self) -> tuple[audio.Wave, int]:
        """Decoded mono audio (samples,) and its rate.

        Raises:
            VocalgenError: it cannot be decoded.
        """
        return audio.decode(self.sound, f"clip {self.row.get('clip_name', self.key)}")


def read(out: str | os.PathLike[str], rank: int = 0, world: int = 1) -> Iterator[StreamClip]:
    """Clips of every `world`-th shard, from shard `rank` on, one after the other: all processes together see each once.

    Raises:
        VocalgenError: no complete packing in the folder; a shard that is damaged.
    """
    folder = Path(out)
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VocalgenError(
            f"{folder} holds no complete packing; run `vocalgen data prepare modulate-stream`"
        ) from error
    for shard in index["shards"][rank::world]:
        yield from _clips(folder / Path(shard["file"]).name)


def _clips(path: Path) -> Iterator[StreamClip]:
    try:
        with tarfile.open(path, "r|") as tar:
            sound: tuple[str, bytes] | None = None
            for entry in tar:
                stored = tar.extractfile(entry)
                content = stored.read() if stored is not None else b""
                key, suffix = os.path.splitext(entry.name)
                if suffix != ".json":
                    sound = (entry.name, content)
                elif sound is not None and os.path.splitext(sound[0])[0] == key:
                    yield StreamClip(key, json.loads(content), sound[1], os.path.splitext(sound[0])[1])
    except (OSError, tarfile.TarError, ValueError) as error:
        raise VocalgenError(f"{path} is damaged ({error}); remove it with its .json and pack again") from error
