"""Counter-based noise: published test vectors of Philox, the places of values, and their distribution."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from vocalgen import VocalgenError
from vocalgen.noise import LATENT, MAX_SEED, SOURCE, box_muller, gaussian_noise, philox4x32

VECTORS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
"""Counter, key and result of the authors' known-answer tests (Random123, philox 4x32-10)."""


def words(text: str) -> np.ndarray:
    return np.array([int(word, 16) for word in text.split()], dtype=np.uint64)


@pytest.mark.parametrize(("counter", "key", "result"), VECTORS)
def test_philox4x32_gives_the_published_vectors(counter: str, key: str, result: str) -> None:
    low, high = (int(word) for word in words(key))
    assert philox4x32(words(counter), low | high << 32).tolist() == words(result).tolist()


def test_gaussian_noise_is_pinned() -> None:
    """Values that every other implementation must give, to the precision of float32."""
    first = philox4x32(np.zeros(4, dtype=np.uint64), 0)
    u, v = (int(first[0]) + 1) / 2**32, int(first[1]) / 2**32
    expected = np.sqrt(-2 * np.log(u)) * np.array([np.cos(2 * np.pi * v), np.sin(2 * np.pi * v)])
    np.testing.assert_allclose(gaussian_noise(0, 1, 2)[0], expected, rtol=1e-7)
    pinned = gaussian_noise(7 + 2**32, 3, 5)[2]
    np.testing.assert_allclose(pinned, [0.06515907, 0.1889095, -0.40830666, 2.2621164, 2.3136799], rtol=1e-6)


def test_gaussian_noise_of_a_larger_array_begins_with_the_smaller_one() -> None:
    small, large = gaussian_noise(3, 5, 6), gaussian_noise(3, 9, 32)
    assert small.shape == (5, 6) and small.dtype == np.float32
    assert np.array_equal(large[:5, :6], small)


def test_gaussian_noise_depends_on_all_bits_of_the_seed_and_on_the_stream() -> None:
    drawn = [gaussian_noise(seed, 4, 4, stream) for seed in (7, 7 + 2**32, 7 + 2**63) for stream in (LATENT, SOURCE)]
    drawn += [gaussian_noise(MAX_SEED, 4, 4)]
    assert len({values.tobytes() for values in drawn}) == 7


def test_gaussian_noise_is_standard_normal_and_uncorrelated() -> None:
    values = gaussian_noise(11, 4000, 32).astype(float)
    assert stats.kstest(values.ravel(), "norm").pvalue > 0.01
    correlation = np.corrcoef(values.T) - np.eye(32)
    assert np.abs(correlation).max() < 5 / np.sqrt(4000)
    assert abs(np.mean(values[1:] * values[:-1])) < 5 / np.sqrt(values.size)


def test_box_muller_is_finite_at_the_ends() -> None:
    ends = np.array([0, 2**32 - 1], dtype=np.uint64)
    values = box_muller(ends, ends)
    assert np.isfinite(values).all() and np.abs(values).max() < 6.7


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_gaussian_noise_refuses_seeds_out_of_range(seed: int) -> None:
    with pytest.raises(VocalgenError, match="is out of range; it must be from 0 to 18446744073709551615"):
        gaussian_noise(seed, 1, 1)
