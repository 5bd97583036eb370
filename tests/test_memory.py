"""Copies of training clips, and repeats within a set, are found; sets like the real one have neither."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from vocalgen.evaluation import memory
from vocalgen.evaluation.columns import SECTIONS
from vocalgen.evaluation.memory import (
    fingerprint,
    memorisation,
    nearest,
    nearest_embedding,
    summary,
    to_training,
)

Pair = tuple[NDArray[np.float16], NDArray[np.float64]]


def clips(n: int, seed: int) -> Pair:
    """(n, 480) fingerprints, smooth in time as those of sounds are, and (n, 6) embeddings that belong to them."""
    rng = np.random.default_rng(seed)
    causes = rng.normal(size=(n, 6))
    mixing = np.random.default_rng(1).normal(size=(6, 10, 48)).cumsum(axis=2) / 7
    sound = np.einsum("nc,cbt->nbt", causes, mixing) + 0.1 * rng.normal(size=(n, 10, 48)) - 6
    return sound.reshape(n, -1).astype(np.float16), np.tanh(causes)


TRAIN, HELD_OUT, FRESH = clips(600, 2), clips(800, 3), clips(100, 4)


def brute(prints: NDArray[np.float16], others: NDArray[np.float16]) -> NDArray[np.float64]:
    """Nearest mean absolute differences, one pair at a time."""
    return np.array([min(np.abs(a - b).mean() for b in others.astype(float)) for a in prints.astype(float)])


def test_the_search_agrees_with_all_pairs() -> None:
    found, true = nearest(FRESH[0], TRAIN[0]), brute(FRESH[0], TRAIN[0])
    assert (found >= true - 1e-6).all()
    assert np.mean(found <= true + 1e-6) > 0.95
    assert found == pytest.approx(true, rel=0.1)
    few = TRAIN[0][: memory.CANDIDATES]
    assert nearest(FRESH[0], few) == pytest.approx(brute(FRESH[0], few), rel=1e-5)


def test_neighbours_of_small_sets() -> None:
    prints = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 1.2], [9.0, 9.0]], dtype=np.float32)
    assert nearest(prints) == pytest.approx([1.0, 0.1, 0.1, 7.9])
    assert nearest(prints, prints + 1)[0] == pytest.approx(1.0)
    assert np.isinf(nearest(prints[:1])).all() and np.isinf(nearest(prints, prints[:0])).all()
    assert nearest(prints[:0], prints).shape == (0,)


def test_embedding_distances() -> None:
    difference = FRESH[1][:, None] - TRAIN[1][None]
    expected = np.sqrt(np.square(difference).sum(axis=2)).min(axis=1)
    assert nearest_embedding(FRESH[1], TRAIN[1]) == pytest.approx(expected)
    assert np.isinf(nearest_embedding(FRESH[1], TRAIN[1][:0])).all()
    assert nearest_embedding(TRAIN[1][:5] + 1e3, TRAIN[1] + 1e3) == pytest.approx(np.zeros(5))


def test_fresh_clips_are_no_copies() -> None:
    row = memorisation(*FRESH, *HELD_OUT, *TRAIN)
    assert list(row) == list(SECTIONS["memory"].overall)
    assert row["mel"] == pytest.approx(np.median(brute(FRESH[0], TRAIN[0])), rel=0.02)
    assert row["mel_ratio"] == pytest.approx(1.0, abs=0.1)
    assert row["embedding_ratio"] == pytest.approx(1.0, abs=0.1)
    assert row["copies"] <= 2  # type: ignore[operator]
    assert row["repeats"] <= 0.1  # type: ignore[operator]
    assert row["exact"] == 0


def test_a_copied_training_clip_is_found() -> None:
    prints, embeddings = FRESH[0].copy(), FRESH[1].copy()
    prints[7], embeddings[7] = TRAIN[0][123], TRAIN[1][123]
    before, after = memorisation(*FRESH, *HELD_OUT, *TRAIN), memorisation(prints, embeddings, *HELD_OUT, *TRAIN)
    assert after["copies"] == before["copies"] + 1  # type: ignore[operator]
    assert to_training(prints, embeddings, *TRAIN).mel.argmin() == 7
    slightly = prints + np.float16(0.02)
    assert memorisation(slightly, embeddings, *HELD_OUT, *TRAIN)["copies"] == after["copies"]


def test_a_memoriser_is_seen() -> None:
    rng = np.random.default_rng(0)
    prints = TRAIN[0][:100] + (0.02 * rng.normal(size=(100, 480))).astype(np.float16)
    row = memorisation(prints, TRAIN[1][:100] + 0.01 * rng.normal(size=(100, 6)), *HELD_OUT, *TRAIN)
    assert row["mel_ratio"] < 0.4 and row["embedding_ratio"] < 0.2  # type: ignore[operator]
    assert row["copies"] > 90  # type: ignore[operator]


def test_blurred_clips_are_near_but_no_copies() -> None:
    """The mean of all sounds is nearer to some clip than a real clip is, by log-mel; it is not a copy of it."""
    prints = np.repeat(TRAIN[0].mean(axis=0, dtype=np.float64)[None], 100, axis=0).astype(np.float16)
    row = memorisation(prints, np.full((100, 6), 3.0), *HELD_OUT, *TRAIN)
    assert row["mel_ratio"] < 0.9  # type: ignore[operator]
    assert row["copies"] == 0


def test_a_collapsed_set_is_seen() -> None:
    chosen = np.arange(100) % 40
    row = memorisation(FRESH[0][chosen], FRESH[1][chosen], *HELD_OUT, *TRAIN)
    assert row["exact"] == 100
    assert row["repeats"] == 1.0
    moved = FRESH[0][chosen] + np.float16(0.015) * np.arange(100, dtype=np.float16)[:, None] / 100
    row = memorisation(moved, FRESH[1][chosen], *HELD_OUT, *TRAIN)
    assert row["exact"] == 0 and row["repeats"] > 0.95  # type: ignore[operator]


def test_real_repeats_are_one_in_a_hundred() -> None:
    """The threshold is that of sets as large as the one in question: large sets are denser."""
    shares = [memorisation(*clips(100, seed), *clips(800, 5), *TRAIN)["repeats"] for seed in range(10, 30)]
    assert 0.002 < np.mean(np.array(shares, dtype=float)) < 0.025


def test_parts_need_no_new_search() -> None:
    own, held_out = to_training(*FRESH, *TRAIN), to_training(*HELD_OUT, *TRAIN)
    part = np.arange(0, 100, 3)
    row = summary(own[part], held_out, FRESH[0][part], HELD_OUT[0])
    assert row == memorisation(FRESH[0][part], FRESH[1][part], *HELD_OUT, *TRAIN)


def test_what_is_missing_is_none() -> None:
    nothing = (TRAIN[0][:0], TRAIN[1][:0])
    row = memorisation(*FRESH, *HELD_OUT, *nothing)
    assert [row[key] for key in ("mel", "mel_ratio", "embedding", "embedding_ratio", "copies")] == [None] * 5
    assert row["repeats"] is not None
    alone = memorisation(FRESH[0][:1], FRESH[1][:1], *HELD_OUT, *TRAIN)
    assert alone["repeats"] is None and alone["mel"] is not None
    without = memorisation(*FRESH, *nothing, *TRAIN)
    assert without["mel_ratio"] is None and without["copies"] is None


def test_a_fingerprint_does_not_know_the_length() -> None:
    ramp = np.linspace(0, 1, 30, dtype=np.float32)[None].repeat(4, 0)
    longer = np.linspace(0, 1, 71, dtype=np.float32)[None].repeat(4, 0)
    assert np.allclose(fingerprint(ramp), fingerprint(longer), atol=1e-6)
    assert fingerprint(ramp[:, :1]).shape == fingerprint(longer).shape == (4 * memory.FRAMES,)
