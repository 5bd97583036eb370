"""Pages, links and serial numbers of Ogg files."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from vocalgen.ogg import is_ogg, links, pages, renumber

RATE = 24_000


def encoded(samples: int, subtype: str = "VORBIS", level: float = 0.3) -> bytes:
    buffer = io.BytesIO()
    wave = level * np.sin(np.arange(samples) / 20)
    with soundfile.SoundFile(buffer, "w", samplerate=RATE, channels=1, format="OGG", subtype=subtype) as file:
        file.write(wave)
    return buffer.getvalue()


def frames(content: bytes) -> int:
    return len(soundfile.read(io.BytesIO(content))[0])


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_links_split_a_chain(subtype: str) -> None:
    parts = [encoded(12_000, subtype), encoded(6_000, subtype), encoded(3_000, subtype)]
    found = links(b"".join(parts))
    assert found == parts
    assert [frames(link) for link in found] == [12_000, 6_000, 3_000]


def test_links_keep_a_file_that_is_no_chain() -> None:
    content = encoded(9_000)
    assert links(content) == [content]
    assert links(b"RIFF....") == [b"RIFF...."]
    assert is_ogg(content) and not is_ogg(b"RIFF....")


def test_pages_leave_out_a_cut_last_page() -> None:
    content = encoded(9_000)
    whole = list(pages(content))
    assert whole[0].first and not any(page.first for page in whole[1:])
    assert whole[-1].end == len(content)
    assert list(pages(content[:-1])) == whole[:-1]


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_renumber_keeps_checksums_valid(subtype: str) -> None:
    content = encoded(9_000, subtype)
    renumbered = renumber(content)
    assert {page.serial for page in pages(renumbered)} == {b"\1\0\0\0"}
    # The decoder drops pages whose checksum is wrong.
    assert np.array_equal(soundfile.read(io.BytesIO(renumbered))[0], soundfile.read(io.BytesIO(content))[0])
    assert renumber(renumbered) == renumbered
    broken = renumbered.replace(b"\1\0\0\0", b"\2\0\0\0")
    with pytest.raises(soundfile.SoundFileError):
        frames(broken)
