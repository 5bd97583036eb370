"""Place of the audio in a file by its header, for formats that store samples in blocks of an announced size.

These are wav (RIFF, RIFX, RF64, BW64), W64, AIFF, AU, VOC and NIST SPHERE. libsndfile reads such a file to its end,
wherever that is, so that a file which was cut in half passes for a short one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

_Order = Literal["little", "big"]

_UNKNOWN_SIZE = 0x7F000000
"""Sizes of 32 bits from here on stand for an unknown one, as programs write them into pipes."""

_UNKNOWN_SIZE_64 = 1 << 62
"""The same for sizes of 64 bits."""

_VOC = b"Creative Voice File\x1a"
_VOC_AUDIO = (1, 2, 9)  # kinds of blocks: sound, its continuation, sound with a longer header
_NIST_FIELD = re.compile(rb"^(sample_count|channel_count|sample_n_bytes) -i (\d+)", re.MULTILINE)


class Chunk(NamedTuple):
    """A chunk of a file; `end` is where its header says it ends."""

    name: bytes
    start: int
    end: int


def held_share(content: bytes) -> float:
    """Share of the announced bytes of audio that a file holds, in [0, 1]; 1 where its header announces nothing."""
    find = next((find for beginning, find in _FORMATS.items() if content.startswith(beginning)), None)
    found = None if find is None else find(content)
    if found is None or found.end <= max(found.start, len(content)):
        return 1.0
    return max(len(content) - found.start, 0) / (found.end - found.start)


def chunks(content: bytes) -> Iterator[Chunk]:
    """Iterate over the chunks of a RIFF or AIFF file."""
    order: _Order = "little" if content[:4] in (b"RIFF", b"RF64", b"BW64") else "big"
    place = 12
    while place + 8 <= len(content):
        size = _number(content, place + 4, 4, order)
        yield Chunk(content[place : place + 4], place + 8, place + 8 + size)
        place += 8 + size + size % 2


def _number(content: bytes, place: int, size: int, order: _Order) -> int:
    return int.from_bytes(content[place : place + size], order)


def _chunk(name: bytes) -> Callable[[bytes], Chunk | None]:
    def find(content: bytes) -> Chunk | None:
        found = next((chunk for chunk in chunks(content) if chunk.name == name), None)
        return None if found is None or found.end - found.start >= _UNKNOWN_SIZE else found

    return find


def _rf64(content: bytes) -> Chunk | None:
    """EBU Tech 3306: the chunk `ds64` has the size of the data, whose own field is then full of ones."""
    found = {chunk.name: chunk for chunk in chunks(content)}
    sizes, data = found.get(b"ds64"), found.get(b"data")
    if sizes is None or data is None or data.end - data.start != 0xFFFFFFFF:
        return data
    size = _number(content, sizes.start + 8, 8, "little")
    return None if size >= _UNKNOWN_SIZE_64 else Chunk(b"data", data.start, data.start + size)


def _w64(content: bytes) -> Chunk | None:
    """Sony Wave64: names of 16 bytes, sizes of 8 that count the header of the chunk, chunks at multiples of 8."""
    place = 40
    while place + 24 <= len(content):
        size = _number(content, place + 16, 8, "little")
        if content[place : place + 4] == b"data" and size < _UNKNOWN_SIZE_64:
            return Chunk(b"data", place + 24, place + size)
        place += max(size + -size % 8, 24)
    return None


def _au(content: bytes) -> Chunk | None:
    order: _Order = "big" if content[:4] == b".snd" else "little"
    start, size = _number(content, 4, 4, order), _number(content, 8, 4, order)
    return None if size >= _UNKNOWN_SIZE else Chunk(b"", start, start + size)


def _voc(content: bytes) -> Chunk | None:
    """From the first block of sound to the end of the last."""
    place = _number(content, 20, 2, "little")
    found = None
    while place + 4 <= len(content) and content[place]:
        start = place + 4
        place = start + _number(content, place + 1, 3, "little")
        if content[start - 4] in _VOC_AUDIO:
            found = Chunk(b"", start if found is None else found.start, place)
    return found


def _nist(content: bytes) -> Chunk | None:
    size = content[8:16].strip()
    start = int(size) if size.isdigit() else 1024
    fields = {name: int(value) for name, value in _NIST_FIELD.findall(content[:start])}
    if len(fields) < 3:
        return None
    return Chunk(b"", start, start + fields[b"sample_count"] * fields[b"channel_count"] * fields[b"sample_n_bytes"])


_FORMATS: dict[bytes, Callable[[bytes], Chunk | None]] = {
    b"RIFF": _chunk(b"data"),
    b"RIFX": _chunk(b"data"),
    b"FORM": _chunk(b"SSND"),
    b"RF64": _rf64,
    b"BW64": _rf64,
    b"riff": _w64,
    b".snd": _au,
    b"dns.": _au,
    _VOC: _voc,
    b"NIST": _nist,
}
"""By the first bytes of a file."""
