"""What headers of audio files say about their length, beside what the files hold.

libsndfile decodes the first stream of a chained Ogg file, nothing of a wav whose size was never filled in, and of an
mp3 as much as its header says. `unpack` turns a file into streams that it decodes whole. `missing_audio` tells of files
that lack audio that their headers announce, which libsndfile reads without a word.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from vocalgen import mp3, ogg

TOLERANCE = 0.05
"""Seconds by which a header may differ from the audio."""

_UNKNOWN_SIZE = 0x7F000000
"""Sizes in wav headers from here on stand for an unknown one, as programs write them into pipes."""


class Chunk(NamedTuple):
    """A chunk of a RIFF or AIFF file; `end` is where its header says it ends."""

    name: bytes
    start: int
    end: int


class Unpacked(NamedTuple):
    """Content of a file as a decoder needs it.

    Args:
        streams: files that a decoder reads to their ends; most files are one as they stand.
        announced: seconds by the header, 0 where it says nothing or is known to be wrong.
        held: seconds by the frames of the file, 0 where they were not counted.
        cut: whether the file ends within a page of Ogg.
    """

    streams: list[bytes]
    announced: float = 0.0
    held: float = 0.0
    cut: bool = False


def unpack(content: bytes) -> Unpacked:
    """Split the content of a file into streams, correct their lengths, and read what the header announces."""
    if ogg.is_ogg(content):
        last = max((page.end for page in ogg.pages(content)), default=0)
        return Unpacked(ogg.links(content), cut=ogg.is_ogg(content[last:]))
    if content[:4] in (b"RIFF", b"FORM"):
        return Unpacked([_with_size(content)], _announced(content))
    found = mp3.walk(content)
    if found is None:
        return Unpacked([content])
    whole = mp3.with_true_length(content, found, TOLERANCE)
    return Unpacked([whole], (found.declared or 0) * found.first.seconds, found.frames * found.first.seconds)


def missing_audio(unpacked: Unpacked, seconds: float) -> str:
    """Tell how a file lacks audio that its header announces; "" if it is whole.

    Args:
        seconds: duration of the decoded audio.
    """
    if unpacked.cut:
        return "its last page is cut"
    if unpacked.announced - max(unpacked.held, seconds) <= TOLERANCE:
        return ""
    return f"its header announces {unpacked.announced:.2f} s, but it holds {seconds:.2f} s"


def _announced(content: bytes) -> float:
    """Duration by the header of a RIFF or AIFF file whose chunk of audio goes beyond the end of the file; else 0."""
    chunks = {chunk.name: chunk for chunk in _chunks(content)}
    audio, form = chunks.get(b"data"), chunks.get(b"fmt ")
    if audio is not None and form is not None and len(content) < audio.end < audio.start + _UNKNOWN_SIZE:
        bytes_per_second = int.from_bytes(content[form.start + 8 : form.start + 12], "little")
        return (audio.end - audio.start) / max(bytes_per_second, 1)
    audio, common = chunks.get(b"SSND"), chunks.get(b"COMM")
    if audio is not None and common is not None and len(content) < audio.end:
        frames, _, exponent, mantissa = struct.unpack(">IHHQ", content[common.start + 2 :][:16].ljust(16, b"\0"))
        rate = mantissa * 2.0 ** (min(exponent, 16383 + 63) - 16383 - 63)  # 80-bit extended float
        return frames / max(rate, 1.0)
    return 0.0


def _chunks(content: bytes) -> Iterator[Chunk]:
    order = "<I" if content[:4] == b"RIFF" else ">I"
    place = 12
    while place + 8 <= len(content):
        name, (size,) = content[place : place + 4], struct.unpack_from(order, content, place + 4)
        yield Chunk(name, place + 8, place + 8 + size)
        place += 8 + size + size % 2


def _with_size(content: bytes) -> bytes:
    """Extend a data chunk of size 0 to the end of the file, unless another chunk follows it."""
    for chunk in _chunks(content):
        if chunk.name == b"data" and chunk.start == chunk.end < len(content):
            following = next(_chunks(content[:12] + content[chunk.end :]), None)
            if following is None or not (following.name.isascii() and following.name.decode().isprintable()):
                return content[: chunk.start - 4] + b"\xff\xff\xff\xff" + content[chunk.start :]
    return content
