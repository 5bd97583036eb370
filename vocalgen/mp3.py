"""Frames of MPEG audio files (ISO 11172-3 and 13818-3, layer III): count them, and state the count in the header.

Decoders take the length of an mp3 from its Xing header, or estimate it from the bit rate of the first frame. Both are
wrong for files that were joined, and the estimate is wrong for variable bit rates; what lies beyond is not decoded.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
"""Hz by the two bits of the MPEG version: 3 is MPEG-1, 2 is MPEG-2, 0 is MPEG-2.5."""
_KBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_XING = (b"Xing", b"Info")
_FRAMES, _BYTES = 1, 2  # flags of the fields of a Xing header
_XING_SIZE = 16  # name, flags, frames, bytes


class Frame(NamedTuple):
    """Kind of a frame.

    Args:
        length: bytes.
        samples: per channel.
        rate: Hz.
        side: bytes between the frame's header and its audio, where a Xing header stands.
    """

    length: int
    samples: int
    rate: int
    side: int

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.samples / self.rate


class Walk(NamedTuple):
    """Frames of a file up to the first bytes that are neither a frame nor an ID3 tag.

    Args:
        start: of the first frame, in bytes.
        first: the first frame.
        frames: number of frames with audio.
        declared: their number by the Xing header; None without one.
    """

    start: int
    first: Frame
    frames: int
    declared: int | None


def walk(content: bytes) -> Walk | None:
    """Count the frames of an mp3; None for a file of another kind."""
    place, count = 0, 0
    start, first = 0, None
    while True:
        frame = _frame(content[place : place + 4])
        if frame is not None and place + frame.length <= len(content):
            if first is None:
                start, first = place, frame
            count += 1
            place += frame.length
        elif content[place : place + 3] == b"ID3" and len(content) >= place + 10:
            size = content[place + 6 : place + 10]
            place += 10 + (size[0] << 21 | size[1] << 14 | size[2] << 7 | size[3])
        else:
            break
    if first is None:
        return None
    xing = start + 4 + first.side
    if content[xing : xing + 4] not in _XING:
        return Walk(start, first, count, None)
    counted = content[xing + 7] & _FRAMES
    return Walk(start, first, count - 1, int.from_bytes(content[xing + 8 : xing + 12], "big") if counted else None)


def with_true_length(content: bytes, found: Walk, tolerance: float) -> bytes:
    """Correct the header of an mp3 that holds more audio than decoders would look for.

    Args:
        tolerance: seconds that may differ.

    Returns:
        The content with a Xing header that counts all frames; the content itself where nothing is wrong.
    """
    start, first, size = found.start, found.first, len(content) - found.start
    if found.declared is not None:
        if (found.frames - found.declared) * first.seconds <= tolerance:
            return content
        place = start + 4 + first.side
        result = bytearray(content)
        result[place + 8 : place + 12] = found.frames.to_bytes(4, "big")
        if content[place + 7] & _BYTES:
            result[place + 12 : place + 16] = size.to_bytes(4, "big")
        return bytes(result)
    if (found.frames - size / first.length) * first.seconds <= tolerance:
        return content
    return content[:start] + _header_frame(content[start : start + 4], found.frames, size) + content[start:]


@lru_cache(maxsize=1024)
def _frame(header: bytes) -> Frame | None:
    """The frame that four bytes begin; None if they begin none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:  # sync, layer III
        return None
    version, bits, rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or bits in (0, 15) or rate == 3:
        return None
    first = version == 3
    samples, hertz = (1152 if first else 576), _RATES[version][rate]
    length = samples // 8 * 1000 * (_KBITS_1 if first else _KBITS_2)[bits] // hertz + (header[2] >> 1 & 1)
    mono = header[3] >> 6 == 3
    side = (17 if mono else 32) if first else (9 if mono else 17)
    return Frame(length, samples, hertz, side)


def _header_frame(header: bytes, count: int, size: int) -> bytes:
    """A frame without audio that carries a Xing header, of the version and rate of `header`."""
    head = bytearray(header)
    head[1] |= 1  # no checksum behind the header
    frame = None
    for bits in range(1, 15):
        head[2] = head[2] & 0x0D | bits << 4
        frame = _frame(bytes(head))
        if frame is not None and frame.length >= 4 + frame.side + _XING_SIZE:
            break
    assert frame is not None
    fields = (_FRAMES | _BYTES, count, size + frame.length)
    xing = b"Xing" + b"".join(field.to_bytes(4, "big") for field in fields)
    return (bytes(head) + bytes(frame.side) + xing).ljust(frame.length, b"\0")
