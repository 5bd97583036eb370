"""Sampling with the burst transformer: durations, noise, padding, files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from debug import SAMPLING, debug_burst_pipeline

from vocalgen import VocalBurstPipeline, VocalgenError
from vocalgen.emotions import EMOGATOR30
from vocalgen.generation.interpolation import End, interpolate
from vocalgen.generation.layout import ClipLayout
from vocalgen.generation.loading import load_synthesiser
from vocalgen.generation.synthesis import CPU_TILE, Synthesis, tiles
from vocalgen.models.burst_transformer import BurstTransformer
from vocalgen.noise import gaussian_noise

LSB = 1 / 32768
LATENT_RATE = 24_000 / 256 / 4


@pytest.fixture(scope="module")
def pipe() -> VocalBurstPipeline:
    return debug_burst_pipeline()


@pytest.mark.parametrize("load", [VocalBurstPipeline.from_pretrained, load_synthesiser])
def test_a_saved_burst_pipeline_makes_the_same_clips(
    load: Callable[[Path], Synthesis], pipe: VocalBurstPipeline, tmp_path: Path
) -> None:
    pipe.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    assert isinstance(loaded.network, BurstTransformer)
    assert loaded.defaults == SAMPLING and loaded.emotions == EMOGATOR30
    np.testing.assert_array_equal(loaded("awe", 2, duration=0.5).audio, pipe("awe", 2, duration=0.5).audio)


def test_a_burst_depends_on_emotion_seed_duration_and_settings(pipe: VocalBurstPipeline) -> None:
    base = pipe("awe", seed=3, duration=0.6).mels
    np.testing.assert_array_equal(pipe("awe", seed=3, duration=0.6).mels, base)
    for other in (
        pipe("awe", seed=4, duration=0.6),
        pipe("fear", seed=3, duration=0.6),
        pipe("awe", seed=3, duration=0.61),
        pipe("awe", seed=3, duration=0.6, guidance=4.0),
    ):
        assert other.mels.shape == base.shape and np.abs(other.mels - base).max() > 1e-3


def test_bursts_last_as_long_as_asked_for(pipe: VocalBurstPipeline) -> None:
    for duration in (0.3, 1.0, 1.7):
        frames = pipe("awe", duration=duration, trim=False).mels.shape[-1] - 24  # silence
        latents = -(-int(np.ceil((duration + 0.06) * LATENT_RATE)) // 2) * 2
        assert frames == 4 * latents
    for duration in (0.29, 2.5, float("nan")):
        with pytest.raises(VocalgenError, match=r"duration must lie between 0\.3 and 1\.99 seconds"):
            pipe("awe", duration=duration)


def test_durations_are_drawn_by_emotion_and_seed(pipe: VocalBurstPipeline) -> None:
    layout = pipe.layout
    assert isinstance(layout, ClipLayout)
    short, long = (np.eye(30)[EMOGATOR30.index(name)].tolist() for name in ("Adoration", "Triumph"))
    drawn = [[layout.seconds(row, seed, None) for seed in range(50)] for row in (short, long)]
    assert max(drawn[0]) < min(drawn[1])
    assert len(set(drawn[0])) == 50
    assert layout.seconds(short, 4, None) == drawn[0][4] and layout.seconds(short, 4, 0.7) == 0.7
    widths = {pipe(name, seed=1, trim=False).mels.shape[-1] for name in ("Adoration", "Triumph")}
    assert len(widths) == 2


def test_bursts_start_from_counter_based_noise(pipe: VocalBurstPipeline) -> None:
    np.testing.assert_array_equal(pipe.layout.noise(2**63 - 1, 9).numpy(), gaussian_noise(2**63 - 1, 9, 4))
    assert torch.equal(pipe.layout.noise(5, 20)[:9], pipe.layout.noise(5, 9))


def test_bursts_do_not_depend_on_company(pipe: VocalBurstPipeline) -> None:
    names = ["Adoration", "Triumph", "awe=0.7,fear=0.3"]
    together = pipe(names, num_samples=CPU_TILE, seed=10, normalise=False)
    for name, place in (("Adoration", 2), ("Triumph", CPU_TILE + 2)):
        alone = pipe(name, seed=12, normalise=False)
        assert together.seeds[place] == 12 and alone.lengths[0] == together.lengths[place]
        np.testing.assert_allclose(alone.clips[0], together.clips[place], atol=LSB)


def test_exact_bursts_do_not_depend_on_company_at_all(pipe: VocalBurstPipeline) -> None:
    names = ["Adoration", "Triumph", "relief"]
    together = pipe(names, num_samples=3, seeds=range(9), exact=True)
    for place in (0, 4, 8):
        alone = pipe(names[place // 3], seeds=[place], exact=True)
        frames = alone.mels.shape[-1]
        np.testing.assert_array_equal(alone.mels[0], together.mels[place][:, :frames])
        np.testing.assert_array_equal(alone.clips[0], together.clips[place])


def test_tiles_hold_clips_of_similar_width() -> None:
    assert tiles([0, 0, 0], 2, exact=False) == [[0, 1], [2]]
    assert tiles([8, 4, 8, 4, 4], 3, exact=False) == [[1, 3, 4], [0, 2]]
    assert tiles([8, 4, 8, 4], 3, exact=True) == [[1, 3], [0, 2]]


def test_bursts_run_in_bfloat16(pipe: VocalBurstPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    loaded = VocalBurstPipeline.from_pretrained(tmp_path, dtype=torch.bfloat16)
    out = loaded("awe", duration=0.5)
    assert out.audio.dtype == np.float32
    assert 1e-4 < np.abs(out.mels - pipe("awe", duration=0.5).mels).mean() < 0.2


def test_interpolated_bursts_go_from_one_duration_to_the_other(pipe: VocalBurstPipeline) -> None:
    ends = [End(pipe.condition(name), 1) for name in ("Adoration", "Triumph")]
    clips = interpolate(pipe, *ends, steps=3)
    for clip, end in ((clips[0], ends[0]), (clips[-1], ends[1])):
        np.testing.assert_allclose(clip, pipe(end.condition, seed=1).clips[0], atol=LSB)
    assert len(clips) == 3
