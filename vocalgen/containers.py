"""Length of audio files: the duration that a header announces, against the audio that the file holds.

libsndfile decodes the first stream of a chained Ogg or FLAC file, nothing of a wav whose size was never filled in, and
of an mp3 as much as its header says. `unpack` turns a file into streams that it decodes whole. `missing_audio` finds
files that lack audio which their headers announce; libsndfile reads these without a warning.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from vocalgen import mp3, ogg
from vocalgen.headers import chunks, held_share

TOLERANCE = 0.05
"""Seconds by which a header may differ from the audio."""


class Unpacked(NamedTuple):
    """Content of a file as a decoder needs it.

    Args:
        streams: files that a decoder reads to their ends; most files are one as they stand.
        announced: seconds by the header, 0 where it says nothing or is known to be wrong.
        held: seconds by the frames of the file, 0 where they were not counted.
        held_share: share of the announced bytes of audio that the file holds.
        cut: how the pages of Ogg are incomplete; "" if they are complete.
    """

    streams: list[bytes]
    announced: float = 0.0
    held: float = 0.0
    held_share: float = 1.0
    cut: str = ""


def unpack(content: bytes) -> Unpacked:
    """Split the content of a file into streams, correct their lengths, and read what the header announces."""
    if ogg.is_ogg(content):
        links = ogg.links(content)
        return Unpacked(links, cut=_cut_pages(content, links))
    if content.startswith(b"fLaC"):
        return Unpacked(_flac_links(content))
    found = mp3.walk(content)
    if found is None:
        return Unpacked([_with_size(content)], held_share=held_share(content))
    whole = mp3.with_true_length(content, found, TOLERANCE)
    return Unpacked([whole], (found.declared or 0) * found.first.seconds, found.frames * found.first.seconds)


def missing_audio(unpacked: Unpacked, seconds: float) -> str:
    """Describe how a file lacks audio that its header announces; "" if it is whole.

    Args:
        seconds: duration of the decoded audio.
    """
    if unpacked.cut:
        return unpacked.cut
    announced = unpacked.announced
    if 0.0 < unpacked.held_share < 1.0:
        announced = seconds / unpacked.held_share  # without the bytes per second of each encoding
    if announced - max(unpacked.held, seconds) <= TOLERANCE:
        return ""
    return f"its header announces {announced:.2f} s, but it holds {seconds:.2f} s"


def _flac_links(content: bytes) -> list[bytes]:
    """FLAC files that stand one behind the other; each begins with its mark and a STREAMINFO block of 34 bytes."""
    starts = [found.start() for found in re.finditer(rb"fLaC[\x00\x80]\x00\x00\x22", content)]
    return [content[start:end] for start, end in zip([0, *starts[1:]], [*starts[1:], len(content)], strict=True)]


def _cut_pages(content: bytes, links: list[bytes]) -> str:
    last = max((page.end for page in ogg.pages(content)), default=0)
    if ogg.is_ogg(content[last:]):
        return "its last page is cut"
    return "" if all(map(ogg.is_ended, links)) else "the last page of a stream is missing"


def _with_size(content: bytes) -> bytes:
    """Extend a data chunk of size 0 to the end of a wav file, unless another chunk follows it."""
    if content[:4] != b"RIFF":
        return content
    for chunk in chunks(content):
        if chunk.name == b"data" and chunk.start == chunk.end < len(content):
            following = next(chunks(content[:12] + content[chunk.end :]), None)
            if following is None or not (following.name.isascii() and following.name.decode().isprintable()):
                return content[: chunk.start - 4] + b"\xff\xff\xff\xff" + content[chunk.start :]
    return content
