"""Length by the header against the audio that a file holds, in every container."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile

from vocalgen import mp3, ogg
from vocalgen.containers import missing_audio, unpack

RATE = 24_000


def encoded(container: str, subtype: str, seconds: float = 3.0, rate: int = RATE, hertz: float = 300.0) -> bytes:
    buffer = io.BytesIO()
    t = np.arange(round(seconds * rate)) / rate
    with soundfile.SoundFile(buffer, "w", samplerate=rate, channels=1, format=container, subtype=subtype) as file:
        for block in np.split(0.3 * np.sin(2 * np.pi * hertz * t), range(16_384, len(t), 16_384)):
            file.write(block)
    return buffer.getvalue()


def decoded(content: bytes, rate: int = RATE) -> tuple[float, str]:
    """Seconds of all streams, and what is missing."""
    unpacked = unpack(content)
    seconds = sum(len(soundfile.read(io.BytesIO(stream))[0]) for stream in unpacked.streams) / rate
    return seconds, missing_audio(unpacked, seconds)


KINDS = [
    ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("AIFF", "PCM_16"), ("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III"),
    ("OGG", "VORBIS"), ("OGG", "OPUS"), ("AU", "PCM_16"), ("AU", "ULAW"), ("W64", "PCM_24"), ("RF64", "PCM_16"),
    ("VOC", "PCM_16"), ("NIST", "PCM_16"), ("AIFF", "ULAW"),
]  # fmt: skip


@pytest.mark.parametrize(("container", "subtype"), KINDS)
@pytest.mark.parametrize("rate", [8_000, 24_000, 48_000])
def test_whole_files_stay_as_they_are(container: str, subtype: str, rate: int) -> None:
    for seconds in (0.05, 3.0):
        content = encoded(container, subtype, seconds, rate)
        assert unpack(content).streams == [content]
        assert decoded(content, rate) == (pytest.approx(seconds, abs=0.01), "")


@pytest.mark.parametrize(("container", "subtype"), [kind for kind in KINDS if kind[0] != "FLAC"])
def test_cut_files_lack_audio(container: str, subtype: str) -> None:
    content = encoded(container, subtype, 8.0)
    seconds, missing = decoded(content[: len(content) * 3 // 4])
    assert 3.0 < seconds < 6.5
    assert missing == "its last page is cut" or missing.startswith("its header announces 8.")


@pytest.mark.parametrize("endian", ["LITTLE", "BIG"])
@pytest.mark.parametrize("container", ["WAV", "AU"])
def test_cut_files_lack_audio_in_either_order_of_bytes(container: str, endian: str) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(2 * RATE), RATE, format=container, subtype="PCM_16", endian=endian)
    content = buffer.getvalue()
    assert decoded(content)[1] == ""
    assert decoded(content[: len(content) // 2])[1].startswith("its header announces 2.00 s, but it holds 1.0")


@pytest.mark.parametrize("container", ["AU", "W64", "RF64"])
def test_files_of_unknown_size_are_whole(container: str) -> None:
    content = encoded(container, "PCM_16")
    place, width = {
        "AU": (8, 4),
        "W64": (content.find(b"data") + 16, 8),
        "RF64": (content.find(b"ds64") + 16, 8),
    }[container]
    unknown = content[:place] + b"\xff" * width + content[place + width :]
    assert missing_audio(unpack(unknown), 1.0) == ""


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_cut_between_pages_lacks_its_last_page(subtype: str) -> None:
    content = encoded("OGG", subtype, 8.0)
    whole = list(ogg.pages(content))
    cut = content[: whole[-2].end]
    assert missing_audio(unpack(cut), 7.0) == "the last page of a stream is missing"
    assert missing_audio(unpack(cut + content), 15.0) == "the last page of a stream is missing"
    assert missing_audio(unpack(content + content), 16.0) == ""


def with_data_size(content: bytes, size: int) -> bytes:
    place = content.index(b"data") + 4
    return content[:place] + struct.pack("<I", size) + content[place + 4 :]


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0xFFFFFFFF])
def test_wav_of_unknown_size_is_read_whole(size: int) -> None:
    assert decoded(with_data_size(encoded("WAV", "PCM_16"), size)) == (3.0, "")


def test_wav_that_announces_more_than_it_holds() -> None:
    seconds, missing = decoded(with_data_size(encoded("WAV", "PCM_16"), 4 * RATE * 2))
    assert (seconds, missing) == (3.0, "its header announces 4.00 s, but it holds 3.00 s")


def test_empty_wav_with_a_chunk_behind_its_audio_stays_empty() -> None:
    content = encoded("WAV", "PCM_16", 0.0) + b"LIST" + struct.pack("<I", 4) + b"INFO"
    assert unpack(content).streams == [content]


def variable_mp3() -> bytes:
    """Noise and silence, so that later frames are smaller; without a Xing header."""
    buffer = io.BytesIO()
    wave = np.zeros(3 * RATE)
    wave[:RATE] = np.random.default_rng(0).normal(0, 0.2, RATE)
    with soundfile.SoundFile(
        buffer, "w", samplerate=RATE, channels=1, format="MP3", bitrate_mode="VARIABLE", compression_level=0.1
    ) as file:
        file.write(wave)
    content = buffer.getvalue()
    found = mp3.walk(content)
    assert found is not None and found.declared is not None
    return content[found.start + found.first.length :]


def test_mp3_without_a_header_is_read_whole() -> None:
    content = variable_mp3()
    assert len(soundfile.read(io.BytesIO(content))[0]) < 2.5 * RATE
    seconds, missing = decoded(content)
    assert seconds == pytest.approx(3.0, abs=0.1) and missing == ""


@pytest.mark.parametrize("frames", [0, 1, 20])
def test_mp3_whose_header_says_less_is_read_whole(frames: int) -> None:
    content = encoded("MP3", "MPEG_LAYER_III")
    found = mp3.walk(content)
    assert found is not None and found.frames == found.declared
    place = max(content.find(name) for name in (b"Xing", b"Info")) + 8
    said = content[:place] + struct.pack(">I", frames) + content[place + 4 :]
    assert decoded(said) == (pytest.approx(3.0, abs=0.06), "")


def test_joined_mp3_files_are_read_whole() -> None:
    first, second = encoded("MP3", "MPEG_LAYER_III"), encoded("MP3", "MPEG_LAYER_III", 2.0, hertz=500.0)
    tag = b"ID3\x03\x00\x00" + bytes([0, 0, 0, 10]) + bytes(10)
    seconds, missing = decoded(first + tag + second)
    assert seconds == pytest.approx(5.0, abs=0.15) and missing == ""


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"RIFF",
        b"RIFF....WAVEfmt ",
        b"FORM....AIFFCOMM",
        b"OggS",
        b"ID3",
        b"\xff\xfb",
        b".snd",
        b"riff",
        b"RF64",
        b"NIST_1A",
        b"Creative Voice File\x1a",
        b".snd\x00\x00\xff\xff" + bytes(4),
        b"riff" + bytes(36) + b"data" + bytes(20),
    ],
)
def test_fragments_are_left_to_the_decoder(content: bytes) -> None:
    unpacked = unpack(content)
    assert unpacked.streams == [content]
    missing_audio(unpacked, 0.0)
