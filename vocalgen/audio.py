"""Read, write, resample, normalise and trim audio: mono float32 arrays (samples,) in [-1, 1].

The only module that touches audio files: wav, flac, mp3, ogg (vorbis) and opus in both directions, and
on the way in whatever else libsndfile knows, and webm (extra `[webm]`).
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocalgen.atomic import atomic_path
from vocalgen.decoding import Decoded, decode_content
from vocalgen.errors import VocalgenError
from vocalgen.ogg import renumber
from vocalgen.tags import Mark, Tags, mark_of, pcm_digest, to_fields, written_by_vocalgen

Wave = NDArray[np.float32]
"""Mono audio, shape (samples,), nominally in [-1, 1]."""

FORMATS = ("wav", "flac", "mp3", "ogg", "opus")
"""Formats `write` knows; also their file suffixes."""

READABLE = frozenset(
    {*FORMATS, "wave", "aif", "aiff", "aifc", "au", "caf", "oga", "rf64", "snd", "sph", "voc", "w64", "webm"}
)
"""File suffixes of the formats `read` knows, in lower case; webm needs the extra `[webm]`."""

PEAK_DB = -3.0
"""Peak level of the official ExVo and ComParE audio in dB relative to full scale."""

CLIPPED_LEVEL, CLIPPED_SAMPLES = 0.999, 3
SILENT_PEAK = 1e-3
SHORT_SECONDS = 0.1

MAX_PEAK = 10.0
"""Level that no recording has, 20 dB above full scale: decoders of clipped lossy files stay below twice full scale."""

CANCELLED_DB = 12.0
"""Channels cancel if their mono mix is this far below that of uncorrelated channels of their levels."""

_ENCODINGS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
}
_RATES = {
    "mp3": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
    "opus": (8000, 12000, 16000, 24000, 48000),
}
_BLOCK = 16_384  # samples per encoder call: libsndfile's vorbis encoder overruns its stack on very long ones


@dataclass(frozen=True)
class AudioReport:
    """What `inspect` found in one file.

    Args:
        seconds, sample_rate (Hz), channels: of the file as decoded; zeros when it is unreadable.
        peak: largest magnitude over all channels; above 1 for lossy files that were clipped before encoding.
        rms_db: level of the mono mix in dB relative to full scale; -inf for digital silence.
        flags: any of "unreadable", "empty", "truncated" (less audio than the header announces), "overrange" (samples
            that no recording has), "out-of-phase" (channels that cancel in the mono mix), "silent" (peak of the mono
            mix below -60 dB, offset removed), "clipped" (three or more samples of a channel at full scale) and "short"
            (under 0.1 s).
        detail: one line about the flags for people, empty without flags.
        digest: hash of the decoded mono audio at 16 bit, equal for copies; "" without usable audio.
    """

    seconds: float = 0.0
    sample_rate: int = 0
    channels: int = 0
    peak: float = 0.0
    rms_db: float = -np.inf
    flags: tuple[str, ...] = ()
    detail: str = ""
    digest: str = ""


def read(path: str | os.PathLike[str], sample_rate: int | None = None) -> tuple[Wave, int]:
    """Read a file as mono; several channels are averaged, the streams of a chained Ogg file are joined.

    Args:
        path: audio file.
        sample_rate: resample to this rate in Hz; None keeps the file's own.

    Returns:
        The wave, shape (samples,) with at least one sample, and its sample rate in Hz.

    Raises:
        VocalgenError: the file is missing, unreadable, empty or truncated, holds samples that no recording has, or
            channels that cancel in the mono mix.
    """
    wave, rate = decode(_content(path), str(path))
    if sample_rate is None:
        return wave, rate
    return resample(wave, rate, sample_rate), sample_rate


def decode(content: bytes, name: str) -> tuple[Wave, int]:
    """Read the content of an audio file as `read` does; `name` is what errors call it.

    Raises:
        VocalgenError: as `read`.
    """
    return _usable(decode_content(content, name), name)


def sample_rate(path: str | os.PathLike[str]) -> int | None:
    """Sample rate in Hz by the header of a file; None where libsndfile reads none."""
    import soundfile

    try:
        with open(path, "rb") as file:
            return int(soundfile.info(file).samplerate)
    except (soundfile.SoundFileError, OSError, RuntimeError, TypeError):
        return None


def is_silent(wave: Any) -> bool:
    """Whether a wave (samples,) has a peak below -60 dB once its offset is removed; so is one without samples."""
    samples = _checked(wave, "cannot measure")
    if not samples.size:
        return True
    offset = np.float32(samples.mean(dtype=np.float64))
    return float(np.abs(samples - offset).max()) < SILENT_PEAK


def _usable(decoded: Decoded, name: str) -> tuple[Wave, int]:
    """Mono mix and rate of what `inspect` finds no fault with."""
    if not decoded.channels.size:
        raise VocalgenError(f"{name} holds no audio; remove it or record it again")
    for fault in _faults(decoded).values():
        raise VocalgenError(f"{name} {fault}")
    return _mono(decoded.channels), decoded.rate


def _faults(decoded: Decoded) -> dict[str, str]:
    """By flag, why audio cannot be used, for a sentence that begins with the name of the file."""
    channels = decoded.channels
    if not np.isfinite(channels).all():
        return {"unreadable": "holds NaN or infinite samples; export it again from its source"}
    found = {}
    if decoded.cut:
        found["truncated"] = f"is truncated: {decoded.cut}; copy it again from its source"
    peak = float(np.abs(channels).max())
    if peak > MAX_PEAK:
        above = 20.0 * np.log10(peak)
        found["overrange"] = f"has samples {above:.0f} dB above full scale; scale it to [-1, 1] or export it again"
    elif _cancels(channels):
        found["out-of-phase"] = "has channels that cancel in the mono mix; keep one of them, or invert the other"
    return found


def _cancels(channels: NDArray[np.float32]) -> bool:
    """Whether the mono mix of (samples, channels) is far below what the levels of the channels let expect."""
    count = channels.shape[1]
    if count < 2 or all(is_silent(channel) for channel in channels.T):
        return False
    moving = channels - channels.mean(axis=0, dtype=np.float64)
    powers = np.mean(np.square(moving), axis=0)
    mixed = float(np.mean(np.square(moving.mean(axis=1))))
    return mixed < powers.sum() / count**2 * 10.0 ** (-CANCELLED_DB / 10.0)


def write(
    path: str | os.PathLike[str],
    wave: Any,
    sample_rate: int,
    format: str | None = None,
    overwrite: bool | None = None,
    tags: Tags | None = None,
) -> None:
    """Write a mono wave; the file appears whole or not at all. Values outside [-1, 1] are clipped.

    Equal arguments give equal bytes. Tags do not change the samples.

    Args:
        path: target file; missing folders are made.
        wave: shape (samples,), at least one sample.
        sample_rate: Hz. mp3 and opus know a few rates only (opus: 8, 12, 16, 24, 48 kHz).
        format: one of `FORMATS`; None takes the suffix of `path`. wav and flac are 16 bit.
        overwrite: whether a file that vocalgen did not write may be replaced, see `vocalgen.atomic.atomic_path`. Clips
            whose tags say that vocalgen wrote them are replaced in any case.
        tags: what made the clip, stored in the file's text fields; see `vocalgen.tags`.

    Raises:
        VocalgenError: unknown format, a rate the format lacks, NaN, an empty wave or several channels, or a
            target that cannot be written (full disk, read-only folder).
    """
    kind = (Path(path).suffix.lstrip(".") if format is None else format).lower()
    if kind not in FORMATS:
        raise VocalgenError(f"cannot write {path}: unknown audio format {kind!r}; choose one of {', '.join(FORMATS)}")
    allowed = _RATES.get(kind)
    if allowed and sample_rate not in allowed:
        rates = ", ".join(map(str, allowed))
        raise VocalgenError(f"cannot write {path}: {kind} has no {sample_rate} Hz; resample to one of {rates}")
    samples = _checked(wave, f"cannot write {path}")
    if not samples.size:
        raise VocalgenError(f"cannot write {path}: the audio is empty")
    samples = samples.clip(-1.0, 1.0)
    texts = {}
    if tags is not None:
        texts = to_fields(tags, _mark(samples, sample_rate, kind, path), _ENCODINGS[kind][0])
    encoded = _encode(samples, sample_rate, kind, path, texts)
    cut_short = _is_beginning(Path(path), encoded)
    with atomic_path(path, cut_short or overwrite, written_by_vocalgen) as temporary:
        temporary.write_bytes(encoded)


def _is_beginning(file: Path, encoded: bytes) -> bool:
    """Whether a file holds nothing but the beginning of these bytes, as one that was cut short does."""
    if not file.is_file() or file.stat().st_size > len(encoded):
        return False
    return encoded.startswith(file.read_bytes())


def resample(wave: Any, orig: int, target: int) -> Wave:
    """Band-limited resampling from `orig` to `target` Hz; (n,) -> (round(n * target / orig), at least 1)."""
    samples = _checked(wave, "cannot resample")
    if orig <= 0 or target <= 0:
        raise VocalgenError(f"cannot resample from {orig} to {target} Hz; rates are positive numbers")
    if orig == target or not samples.size:
        return samples
    import soxr

    wanted = max(1, round(len(samples) * target / orig))
    out = np.asarray(soxr.resample(samples, orig, target, quality="HQ"), dtype=np.float32)[:wanted]
    return np.pad(out, (0, wanted - len(out)))


def peak_normalise(wave: Any, peak_db: float = PEAK_DB) -> Wave:
    """Scale so that the largest magnitude is `peak_db` dB (-3 dB = 0.708, as in the official baselines).

    Digital silence (peak below -100 dB) is returned unchanged.
    """
    samples = _checked(wave, "cannot normalise")
    peak = float(np.abs(samples).max(initial=0.0))
    return samples if peak < 1e-5 else samples * np.float32(10.0 ** (peak_db / 20.0) / peak)


def trim(wave: Any, sample_rate: int, top_db: float = 40.0, margin: float = 0.03) -> tuple[int, int]:
    """Where the sound is: `wave[start:end]` spans all 20 ms frames near the loudest in level, plus a margin.

    Args:
        wave: shape (samples,).
        sample_rate: Hz.
        top_db: how far below the loudest frame (root mean square) still counts as sound.
        margin: seconds kept on both sides.

    Returns:
        (start, end) sample indices, 0 <= start < end <= samples; the whole wave when it is silent.
    """
    samples = _checked(wave, "cannot trim")
    frame, hop = max(1, round(0.02 * sample_rate)), max(1, round(0.005 * sample_rate))
    energy = np.concatenate(([0.0], np.cumsum(np.square(samples, dtype=np.float64))))
    starts = np.arange(0, max(1, len(samples) - frame + hop), hop)
    ends = np.minimum(starts + frame, len(samples))
    power = np.maximum(energy[ends] - energy[starts], 0.0) / np.maximum(ends - starts, 1)
    loudest = power.max(initial=0.0)
    if loudest < 1e-10:
        return 0, len(samples)
    sounding = np.flatnonzero(power >= loudest * 10.0 ** (-top_db / 10.0))
    keep = round(margin * sample_rate)
    return max(0, int(starts[sounding[0]]) - keep), min(len(samples), int(ends[sounding[-1]]) + keep)


def trim_silence(wave: Any, sample_rate: int, top_db: float = 40.0, margin: float = 0.03, fade: float = 0.005) -> Wave:
    """Apply `trim` and fade both ends over `fade` seconds (raised cosine), so that a cut does not click."""
    start, end = trim(wave, sample_rate, top_db, margin)
    samples = _checked(wave, "cannot trim")[start:end].copy()
    length = min(round(fade * sample_rate), len(samples) // 4)
    if length:
        ramp = (0.5 - 0.5 * np.cos(np.pi * (np.arange(length) + 0.5) / length)).astype(np.float32)
        samples[:length] *= ramp
        samples[-length:] *= ramp[::-1]
    return samples


def inspect(path: str | os.PathLike[str]) -> AudioReport:
    """Measure what `read` gives of one file, in a single decode; problems become flags, never exceptions."""
    try:
        decoded = decode_content(_content(path), str(path))
    except VocalgenError as error:
        return AudioReport(flags=("unreadable",), detail=str(error))
    channels, rate, _ = decoded
    if not channels.size:
        return AudioReport(0.0, rate, channels.shape[1], flags=("empty",), detail="no samples")
    seconds, count = len(channels) / rate, channels.shape[1]
    faults = _faults(decoded)
    if "unreadable" in faults:
        return AudioReport(seconds, rate, count, flags=("unreadable",), detail="NaN or infinite samples")
    wave = _mono(channels)
    magnitude = np.abs(channels)
    power = float(np.mean(np.square(wave, dtype=np.float64)))
    silent = is_silent(wave)
    found = {
        **dict.fromkeys(faults, True),
        "silent": silent,
        "clipped": int((magnitude >= CLIPPED_LEVEL).sum(axis=0).max()) >= CLIPPED_SAMPLES,
        "short": seconds < SHORT_SECONDS,
    }
    flags = tuple(flag for flag, true in found.items() if true)
    peak = float(magnitude.max())
    return AudioReport(
        seconds=seconds,
        sample_rate=rate,
        channels=count,
        peak=peak,
        rms_db=10.0 * float(np.log10(power)) if power > 0 else -np.inf,
        flags=flags,
        detail="; ".join([*faults.values(), f"peak {peak:.4g}, {seconds:.3f} s"]) if flags else "",
        digest="" if silent or faults else _digest(wave, rate),
    )


def _content(path: str | os.PathLike[str]) -> bytes:
    if not Path(path).is_file():
        raise VocalgenError(f"{path} is not a file; check the path")
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise VocalgenError(f"cannot read {path} ({error.strerror or error}); check its permissions") from error


def _mark(samples: Wave, sample_rate: int, kind: str, path: str | os.PathLike[str]) -> Mark:
    """Measure of the samples as a decoder will give them back."""
    if _ENCODINGS[kind][1] == "PCM_16":
        return Mark(len(samples), sample_rate, digest=_digest(samples, sample_rate))
    # What a lossy encoder makes of them is known only afterwards, and text fields stand before the audio.
    return mark_of(io.BytesIO(_encode(samples, sample_rate, kind, path, {})), lossless=False)


def _encode(
    samples: Wave, sample_rate: int, kind: str, path: str | os.PathLike[str], texts: Mapping[str, str]
) -> bytes:
    import soundfile

    container, subtype = _ENCODINGS[kind]
    data = _pcm16(samples) if subtype == "PCM_16" else samples
    buffer = io.BytesIO()
    try:
        with soundfile.SoundFile(
            buffer, "w", samplerate=sample_rate, channels=1, format=container, subtype=subtype
        ) as file:
            for name, text in texts.items():
                setattr(file, name, text)
            for start in range(0, len(data), _BLOCK):
                file.write(data[start : start + _BLOCK])
    except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
        raise VocalgenError(
            f"cannot write {path} as {kind} at {sample_rate} Hz ({error}); choose another format"
        ) from error
    return renumber(buffer.getvalue()) if container == "OGG" else buffer.getvalue()


def _mono(channels: NDArray[np.float32]) -> Wave:
    if channels.shape[1] == 1:
        return channels[:, 0]
    return np.asarray(channels.mean(axis=1, dtype=np.float64), dtype=np.float32)


def _checked(wave: Any, what: str) -> Wave:
    samples = np.asarray(wave, dtype=np.float32)
    if samples.ndim != 1:
        raise VocalgenError(f"{what}: expected mono audio of shape (samples,), got shape {samples.shape}")
    if not np.isfinite(samples).all():
        raise VocalgenError(f"{what}: the audio holds NaN or infinite samples")
    return samples


def _digest(wave: Wave, sample_rate: int) -> str:
    return pcm_digest(_pcm16(wave.clip(-1.0, 1.0)), sample_rate)


def _pcm16(samples: Wave) -> NDArray[np.int16]:
    return np.asarray(np.rint(samples * 32767.0), dtype=np.int16)
