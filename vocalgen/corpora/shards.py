"""The shards of MODULATE-STREAM that `stream` packs: read clip by clip, and held against their index.

A shard that is cut off, even between two clips, has fewer clips than the index says: that is told, never passed over.
"""

from __future__ import annotations

import json
import operator
import os
import tarfile
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vocalgen import audio
from vocalgen.corpora.parallel import parallel_map
from vocalgen.corpora.stream import CLIPS, INDEX, LEFT_OUT
from vocalgen.corpora.words import count
from vocalgen.errors import VocalgenError


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


def read(
    out: str | os.PathLike[str], rank: int = 0, world: int = 1, damaged: Callable[[str], object] | None = None
) -> Iterator[StreamClip]:
    """Clips of every `world`-th shard, from shard `rank` on, one after the other: all processes together see each once.

    Args:
        damaged: called with what is wrong with a shard; the clips it still has are given, and the next shard follows.
            None: that is an error, after those clips.

    Raises:
        VocalgenError: no complete packing in the folder; a rank that is not below `world`; a shard that is damaged.
    """
    if not 0 <= rank < world:
        raise VocalgenError(f"rank {rank} of {world} processes: ranks are 0 to {world - 1}")
    folder = Path(out)
    for shard in _index(folder)["shards"][rank::world]:
        problem = yield from _clips(folder / Path(shard["file"]).name, shard["packed"])
        if problem and damaged is None:
            raise VocalgenError(problem)
        if problem and damaged is not None:
            damaged(problem)


def problems(
    out: str | os.PathLike[str], processes: int = 1, advance: Callable[[int], object] = lambda shards: None
) -> list[str]:
    """What differs from the published corpus: rows, those that could not be packed, and every shard that is damaged.

    Reads all shards; the sounds are not decoded.

    Args:
        advance: called with the number of further shards read.

    Raises:
        VocalgenError: no complete packing in the folder.
    """
    folder = Path(out)
    index = _index(folder)
    rows = index["packed"] + sum(index[kind] for kind in LEFT_OUT)
    found = [f"{count(rows, 'row')}, published are {CLIPS:,}"] if rows != CLIPS else []
    told = {"repeated": "with a clip of an earlier row", "missing": "without an audio file", "wrong": "unusable"}
    found += [
        f"{count(index[kind], 'row')} {what}: see shard-*.skipped.tsv" for kind, what in told.items() if index[kind]
    ]
    for problem in parallel_map(partial(_problem, folder), index["shards"], processes, 1):
        found += [problem] if problem else []
        advance(1)
    return found


def _index(folder: Path) -> dict[str, Any]:
    try:
        index: dict[str, Any] = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        for counts in (index, *index["shards"]):
            for key in ("packed", *LEFT_OUT):
                operator.index(counts[key])
        for shard in index["shards"]:
            Path(shard["file"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VocalgenError(
            f"{folder} holds no complete packing; run `vocalgen data prepare modulate-stream`"
        ) from error
    return index


def _problem(folder: Path, shard: Mapping[str, Any]) -> str:
    clips = _clips(folder / Path(shard["file"]).name, shard["packed"])
    while True:
        try:
            next(clips)
        except StopIteration as end:
            return str(end.value)


def _clips(path: Path, packed: int) -> Generator[StreamClip, None, str]:
    """What can be read of a shard; returns what is wrong with it, "" if nothing is."""
    found, reason = 0, ""
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
                    row = json.loads(content)
                    found += 1
                    yield StreamClip(key, row, sound[1], os.path.splitext(sound[0])[1])
    except (OSError, tarfile.TarError, ValueError) as error:
        reason = f" ({getattr(error, 'strerror', None) or error})"
    if found == packed and not reason:
        return ""
    return (
        f"{path} is damaged: {found:,} of its {packed:,} clips are there{reason}; remove it with its .json, pack again"
    )
