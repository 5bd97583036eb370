"""The sound by which raters set their volume: nothing that is rated, as loud as what is."""

from __future__ import annotations

import io
import wave

import numpy as np

from vocalgen.rating.freeze import level

SAMPLE_RATE, SECONDS, SYLLABLES = 24_000, 2.0, 4.0
"""Hz; duration; syllables a second, about as many as in speech."""

KNEE, LOWEST, HIGHEST = 500.0, 100.0, 8_000.0
"""Hz: between the last two is the sound; it falls by 9 dB an octave above the first, about as speech does."""


def volume_sound() -> bytes:
    """A WAV file of noise with the spectrum and the rhythm of speech, at the loudness of a study's copies."""
    count = int(SECONDS * SAMPLE_RATE)
    frequencies = np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
    shape = np.maximum(frequencies / KNEE, 1.0) ** -1.5 * ((frequencies >= LOWEST) & (frequencies <= HIGHEST))
    noise = np.fft.irfft(np.fft.rfft(np.random.default_rng(0).standard_normal(count)) * shape, count)
    rhythm = np.sin(np.pi * SYLLABLES * np.arange(count) / SAMPLE_RATE) ** 2
    sound = (noise * rhythm / np.abs(noise).max()).astype(np.float32)
    _, gain = level(sound, SAMPLE_RATE)
    samples = np.round(sound * 10 ** (gain / 20) * 32_767).clip(-32_768, 32_767).astype("<i2")
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return content.getvalue()
