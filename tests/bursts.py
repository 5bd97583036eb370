"""Synthetic vocal bursts: glottal pulses through formants. No recordings are needed to test with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from vocalgen import audio
from vocalgen.corpora import emogator

VOWELS = ((730, 1090, 2440), (270, 2290, 3010), (570, 840, 2410), (300, 870, 2240), (530, 1840, 2480))
"""First three formants in Hz of five vowels (Peterson and Barney 1952, men)."""


def burst(emotion_index: int, seconds: float = 0.8, sample_rate: int = 24_000, seed: int = 0) -> NDArray[np.float32]:
    """One burst, (round(seconds * sample_rate),) float32 with a peak of 0.7 and silence around the sound.

    The emotion decides vowel, pitch, pitch glide, breathiness and pulsing (every third one laughs: a train of
    pulses); the seed decides the speaker's pitch and tract length, onset and noise.
    """
    random = np.random.default_rng((seed, emotion_index))
    samples = round(seconds * sample_rate)
    start, stop = round(random.uniform(0.03, 0.12) * samples), round(random.uniform(0.85, 0.95) * samples)
    time = np.arange(stop - start) / sample_rate
    span = max(len(time) / sample_rate, 1e-3)
    register = 110.0 * 2.0 ** (random.uniform(0.0, 1.0) + (emotion_index % 7) / 6)
    glide = 2.0 ** ((emotion_index % 4 - 1.5) * time / span)
    pulses = _glottal_pulses(register * glide * (1 + 0.01 * random.standard_normal()), sample_rate)
    breath = (0.02, 0.1, 0.3)[emotion_index % 3 if emotion_index % 2 else 0]
    source = pulses + breath * random.standard_normal(len(time)) * pulses.std()
    tract = random.uniform(0.95, 1.15)
    for formant in VOWELS[emotion_index % len(VOWELS)]:
        source = _resonate(source, formant * tract, sample_rate)
    source *= _envelope(time, span, laughs=emotion_index % 3 == 1, rate=random.uniform(4.5, 6.0))
    wave = 1e-4 * random.standard_normal(samples)
    wave[start:stop] += 0.7 * source / max(np.abs(source).max(initial=0.0), 1e-9)
    return wave.astype(np.float32)


def write_emogator_tree(
    folder: Path,
    speakers: tuple[int, ...] = (1, 2, 285, 320),
    categories: tuple[int, ...] = (1, 2, 4),
    takes: tuple[int, ...] = (1,),
    seconds: float = 0.8,
    sample_rate: int = 48_000,
) -> list[Path]:
    """Write mp3 files with EmoGator's names (contributors 1-284 train, 285-319 validation, 320-357 test)."""
    files = []
    for speaker in speakers:
        for category in categories:
            for take in takes:
                files.append(folder / f"{speaker:06d}-{category:02d}-{take}.mp3")
                wave = burst(category - 1, seconds, sample_rate, seed=10 * speaker + take)
                audio.write(files[-1], wave, sample_rate)
    return files


def write_emogator_corpus(folder: Path, speakers: tuple[int, ...] = (1, 2, 285)) -> Path:
    """Write such files into `folder/mp3` and their manifest to `folder/manifest.csv`; returns `folder`."""
    write_emogator_tree(folder / "mp3", speakers)
    emogator.scan(folder / "mp3").save(folder / "manifest.csv")
    return folder


def _glottal_pulses(pitch: NDArray[np.float64], sample_rate: int) -> NDArray[np.float64]:
    """Differentiated Rosenberg pulses at a pitch in Hz per sample."""
    phase = np.cumsum(pitch / sample_rate) % 1.0
    opening, closing = 0.5 - 0.5 * np.cos(np.pi * phase / 0.4), np.cos(np.pi / 2 * (phase - 0.4) / 0.16)
    flow = np.where(phase < 0.4, opening, np.where(phase < 0.56, closing, 0.0))
    return np.diff(flow, prepend=0.0)


def _resonate(source: NDArray[np.float64], hertz: float, sample_rate: int) -> NDArray[np.float64]:
    """Two-pole resonator with a bandwidth of 8 % of its frequency plus 40 Hz."""
    radius = np.exp(-np.pi * (40.0 + 0.08 * hertz) / sample_rate)
    poles = [1.0, -2.0 * radius * np.cos(2 * np.pi * hertz / sample_rate), radius**2]
    return np.asarray(lfilter([sum(poles)], poles, source))


def _envelope(time: NDArray[np.float64], span: float, laughs: bool, rate: float) -> NDArray[np.float64]:
    rise_and_fall = np.minimum(1.0, time / 0.03) * np.minimum(1.0, (span - time) / (0.3 * span))
    pulsing = np.clip(np.sin(2 * np.pi * rate * time), 0.0, 1.0) ** 0.7 if laughs else 1.0
    return np.asarray(rise_and_fall * pulsing)
