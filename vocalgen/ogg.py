"""Pages of Ogg files (RFC 3533): split a chain of streams into its links, and set the serial numbers of streams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_CAPTURE = b"OggS"
_HEADER = 27
_FIRST = 0x02  # flag of the first page of a logical stream
_LAST = 0x04  # flag of the last page of a logical stream
_SERIAL, _CHECKSUM = slice(14, 18), slice(22, 26)


@dataclass(frozen=True)
class Page:
    """Position of a page in the content of a file.

    Args:
        start, end: bytes.
        first: whether a logical stream begins here.
        last: whether a logical stream ends here.
        serial: number of the logical stream.
    """

    start: int
    end: int
    first: bool
    last: bool
    serial: bytes


def is_ogg(content: bytes) -> bool:
    """Whether the content of a file begins as Ogg files do."""
    return content[:4] == _CAPTURE


def pages(content: bytes) -> Iterator[Page]:
    """Iterate over the pages of an Ogg file; bytes between pages are skipped, a cut last page is left out."""
    start = content.find(_CAPTURE)
    while 0 <= start <= len(content) - _HEADER:
        body = start + _HEADER + content[start + 26]
        end = body + sum(content[start + _HEADER : body])
        if end > len(content):
            return
        flags = content[start + 5]
        yield Page(start, end, bool(flags & _FIRST), bool(flags & _LAST), content[start:end][_SERIAL])
        start = content.find(_CAPTURE, end)


def links(content: bytes) -> list[bytes]:
    """Split a chain into files of one link each, in order; a file that is not a chain is returned as it is.

    A link begins with the first pages of all its streams, so a first page behind any other page begins the next link.
    """
    starts = []
    opening = False
    for page in pages(content):
        if page.first and not opening:
            starts.append(page.start)
        opening = page.first
    if len(starts) < 2:
        return [content]
    return [content[start:end] for start, end in zip(starts, [*starts[1:], len(content)], strict=True)]


def is_ended(link: bytes) -> bool:
    """Whether the last page of each logical stream of a link says that the stream ends there."""
    return all({page.serial: page.last for page in pages(link)}.values())


def renumber(content: bytes) -> bytes:
    """Number the streams of an Ogg file 1, 2, ... in order of appearance and update the checksums of the pages.

    Encoders draw serial numbers at random; renumbered files of equal audio are equal.
    """
    result = bytearray(content)
    serials: dict[bytes, int] = {}
    for page in pages(content):
        number = serials.setdefault(page.serial, len(serials) + 1)
        whole = bytearray(content[page.start : page.end])
        whole[_SERIAL] = number.to_bytes(4, "little")
        whole[_CHECKSUM] = bytes(4)
        whole[_CHECKSUM] = _checksum(whole).to_bytes(4, "little")
        result[page.start : page.end] = whole
    return bytes(result)


def _table() -> list[int]:
    """Remainders of the 256 bytes for the polynomial 0x04c11db7, most significant bit first."""
    table = []
    for byte in range(256):
        remainder = byte << 24
        for _ in range(8):
            remainder = (remainder << 1) ^ (0x04C11DB7 if remainder & 0x80000000 else 0)
        table.append(remainder & 0xFFFFFFFF)
    return table


_REMAINDERS = _table()


def _checksum(page: bytearray) -> int:
    remainder = 0
    for byte in page:
        remainder = (remainder << 8 & 0xFFFFFFFF) ^ _REMAINDERS[remainder >> 24 ^ byte]
    return remainder
