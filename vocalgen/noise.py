"""Counter-based Gaussian noise: one seed gives the same numbers on every device and in every language.

Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") maps a counter of four 32-bit words
and a key of two to four random words. A value therefore depends on its seed and its place alone, not on how many values
were drawn before it. The Box-Muller transform makes Gaussian values of the words in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocalgen.errors import VocalgenError

ROUNDS = 10
MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], dtype=np.uint64)
WEYL = np.array([0x9E3779B9, 0xBB67AE85], dtype=np.uint64)
"""Constants of the Philox round and of its key schedule."""

WORD = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)
MAX_SEED = 2**64 - 1

LATENT, SOURCE, DURATION = 0, 1, 2
"""Streams: what a generator starts from, the noise source of a vocoder, and the duration of a clip."""


def philox4x32(counter: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """Encrypt counters with Philox4x32-10.

    Args:
        counter: (..., 4) words below 2^32.
        seed: key, 0 to 2^64 - 1; its lower 32 bits are the first word.

    Returns:
        (..., 4) random words below 2^32.
    """
    c0, c1, c2, c3 = np.moveaxis(counter, -1, 0)
    key = np.array([seed & 0xFFFFFFFF, seed >> 32], dtype=np.uint64)
    for _ in range(ROUNDS):
        p0, p1 = MULTIPLIERS[0] * c0, MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (p1 >> HALF) ^ c1 ^ key[0], p1 & WORD, (p0 >> HALF) ^ c3 ^ key[1], p0 & WORD
        key = (key + WEYL) & WORD
    return np.stack([c0, c1, c2, c3], axis=-1)


def gaussian_noise(seed: int, frames: int, channels: int, stream: int = LATENT) -> NDArray[np.float32]:
    """Draw standard normal values by frame and channel.

    Channels 4 b to 4 b + 3 of frame f come from the counter (f, b, stream, 0): words 0 and 1 give the first two by the
    Box-Muller transform, words 2 and 3 the others. A longer or wider array therefore begins with the shorter one.

    Args:
        seed: 0 to 2^64 - 1.
        frames: number of rows.
        channels: number of columns.
        stream: independent sequence of the seed, 0 to 2^32 - 1.

    Returns:
        (frames, channels) float32.

    Raises:
        VocalgenError: a seed out of range.
    """
    if not 0 <= seed <= MAX_SEED:
        raise VocalgenError(f"seed {seed} is out of range; it must be from 0 to {MAX_SEED}")
    blocks = -(-channels // 4)
    counter = np.zeros((frames, blocks, 4), dtype=np.uint64)
    counter[..., 0] = np.arange(frames, dtype=np.uint64)[:, None]
    counter[..., 1] = np.arange(blocks, dtype=np.uint64)
    counter[..., 2] = stream
    words = philox4x32(counter, seed).reshape(frames, blocks, 2, 2)
    values = box_muller(words[..., 0], words[..., 1]).reshape(frames, 4 * blocks)
    return values[:, :channels].astype(np.float32)


def uniform_number(seed: int, stream: int) -> float:
    """Draw a number in (0, 1) that depends on the seed alone: (word + 1/2) / 2^32 of the counter (0, 0, stream, 0).

    Raises:
        VocalgenError: a seed out of range.
    """
    if not 0 <= seed <= MAX_SEED:
        raise VocalgenError(f"seed {seed} is out of range; it must be from 0 to {MAX_SEED}")
    word = philox4x32(np.array([0, 0, stream, 0], dtype=np.uint64), seed)[0]
    return (float(word) + 0.5) / 2.0**32


def box_muller(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Turn pairs of 32-bit words into pairs of independent standard normal values.

    Args:
        first: (...) words that give the radius; u = (word + 1) / 2^32 lies in (0, 1].
        second: (...) words that give the angle.

    Returns:
        (..., 2) float64: r cos(2 pi v), r sin(2 pi v) with r = sqrt(-2 ln u) and v = word / 2^32.
    """
    radius = np.sqrt(-2.0 * np.log((first.astype(np.float64) + 1.0) / 2.0**32))
    angle = 2.0 * np.pi * second.astype(np.float64) / 2.0**32
    values: NDArray[Any] = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return values
