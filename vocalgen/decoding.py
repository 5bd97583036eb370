"""Decode the content of audio files: formats of libsndfile, all streams of a chain, and webm (extra `[webm]`)."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vocalgen.containers import missing_audio, unpack
from vocalgen.errors import VocalgenError

_EBML = b"\x1aE\xdf\xa3"  # how every webm file begins


class Decoded(NamedTuple):
    """Audio of a file: (samples, channels), its rate in Hz, and how the file is cut ("" if it is whole)."""

    channels: NDArray[np.float32]
    rate: int
    cut: str = ""


def decode_content(content: bytes, name: str) -> Decoded:
    """Decode all samples of all streams of a file; `name` is what errors call it.

    Raises:
        VocalgenError: no decoder reads it, or its streams differ in rate or number of channels.
    """
    if content.startswith(_EBML):
        return _webm_samples(content, name)
    unpacked = unpack(content)
    parts = [_samples(stream, name) for stream in unpacked.streams]
    kinds = {(channels.shape[1], rate) for channels, rate in parts}
    if len(kinds) > 1:
        listed = ", ".join(f"{count} x {rate} Hz" for count, rate in sorted(kinds))
        raise VocalgenError(f"{name} is a chain of different streams ({listed}); split it, or convert it to wav")
    channels, rate = np.concatenate([samples for samples, _ in parts]), parts[0][1]
    return Decoded(channels, rate, missing_audio(unpacked, len(channels) / rate))


def _samples(content: bytes, name: str) -> tuple[NDArray[np.float32], int]:
    import soundfile

    try:
        channels, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError, RuntimeError, ValueError, TypeError) as error:
        reason = str(getattr(error, "error_string", "") or error).rstrip(".") or "it is damaged"
        raise VocalgenError(
            f"cannot read {name} as audio ({reason}); convert it to wav, flac, mp3, ogg or opus"
        ) from error
    return channels, int(rate)


def _webm_samples(content: bytes, name: str) -> Decoded:
    """Decode webm, the format of recordings by browsers and of raw HUME-VOCALBURST clips; libsndfile cannot."""
    try:
        import av
    except ImportError as error:
        raise VocalgenError(f"{name} is webm; to read it install PyAV: pip install 'vocalgen[webm]'") from error
    try:
        with av.open(io.BytesIO(content)) as container:
            planar = av.AudioResampler(format="fltp")
            stream = container.streams.audio[0]
            frames = [part for frame in container.decode(stream) for part in planar.resample(frame)]
            frames += planar.resample(None)
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise VocalgenError(f"cannot read {name} as webm ({error}); fetch or record it again") from error
    if not frames:
        return Decoded(np.zeros((0, 1), dtype=np.float32), 0)
    samples = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
    return Decoded(np.ascontiguousarray(samples.T, dtype=np.float32), frames[0].sample_rate)
