"""Packed audio and the step-indexed sampler."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bursts import burst, write_emogator_tree

from vocalgen.corpora import emogator
from vocalgen.data import CacheConfig, StepSampler, WaveCache, WaveWindows, prepare_wave
from vocalgen.errors import VocalgenError


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_emogator_tree(folder / "mp3")
    (folder / "mp3" / "000003-01-1.mp3").write_bytes(b"not audio")
    emogator.scan(folder / "mp3").save(folder / "manifest.csv")
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def cache(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> WaveCache:
    return WaveCache.of(manifest, tmp_path_factory.mktemp("cache") / "packed", CacheConfig(), processes=1)


def test_cache_holds_prepared_clips_and_skips_the_unreadable(cache: WaveCache) -> None:
    assert len(cache) == 12
    assert "000003-01-1" not in cache.ids
    for index in range(len(cache)):
        assert np.abs(cache.wave(index)).max() == pytest.approx(10 ** (-3 / 20), abs=1e-3)
    assert cache.emotions.name == "emogator-30"
    assert cache.intensities.sum(1).tolist() == [1.0] * 12
    assert set(cache.select("validation")) == {i for i, s in enumerate(cache.speakers) if s == "000285"}


def test_cache_is_rebuilt_for_another_configuration_only(cache: WaveCache, manifest: Path) -> None:
    before = (cache.folder / "audio.i16").stat().st_mtime_ns
    WaveCache.of(manifest, cache.folder, CacheConfig(), processes=1)
    assert (cache.folder / "audio.i16").stat().st_mtime_ns == before
    again = WaveCache.of(manifest, cache.folder.parent / "other", CacheConfig(sample_rate=16_000), processes=1)
    assert again.offsets[-1] == pytest.approx(cache.offsets[-1] * 2 / 3, rel=0.02)


def test_unknown_split_is_named(cache: WaveCache) -> None:
    with pytest.raises(VocalgenError, match="no clips in split 'dev'"):
        cache.select("dev")


def test_prepare_wave_trims_and_normalises() -> None:
    wave = np.concatenate([np.zeros(12_000, np.float32), 0.2 * burst(0, 0.5), np.zeros(12_000, np.float32)])
    prepared = prepare_wave(wave, CacheConfig())
    assert len(prepared) < 14_000
    assert np.abs(prepared).max() == pytest.approx(10 ** (-3 / 20), rel=1e-4)


def test_windows_depend_on_their_key_alone(cache: WaveCache) -> None:
    windows = WaveWindows(cache, 9000, "crop", (-6.0, 0.0))
    first, second = windows[(0, 5)], windows[(0, 5)]
    assert np.array_equal(first["wave"], second["wave"])
    assert not np.array_equal(first["wave"], windows[(0, 6)]["wave"])


def test_start_windows_delay_within_bounds_and_keep_the_clip_whole(cache: WaveCache) -> None:
    clip = cache.wave(0)
    windows = WaveWindows(cache, 40_000, "start", max_shift=0.1)
    for seed in range(8):
        wave = windows[(0, seed)]["wave"].numpy()
        delay = int(np.flatnonzero(wave)[0] - np.flatnonzero(clip)[0])
        assert 0 <= delay <= 2400
        np.testing.assert_array_equal(wave[delay : delay + len(clip)], clip)


def test_sampler_is_indexed_by_step() -> None:
    whole = list(StepSampler(range(10), 4, seed=7, first_step=0, last_step=12))
    assert list(StepSampler(range(10), 4, 7, 5, 12)) == whole[5:]
    items = [item for batch in whole[:5] for item in batch]
    assert sorted(index for index, _ in items[:10]) == list(range(10))
    assert [index for index, _ in items[:10]] != [index for index, _ in items[10:20]]
    assert len({seed for _, seed in items}) == len(items)
    assert list(StepSampler(range(10), 4, 8, 0, 12)) != whole


def test_processes_share_each_batch() -> None:
    whole = list(StepSampler(range(10), 4, 7, 0, 6))
    shares = [list(StepSampler(range(10), 4, 7, 0, 6, rank, 2)) for rank in range(2)]
    assert [a + b for a, b in zip(*shares, strict=True)] == whole
    with pytest.raises(VocalgenError, match="not a multiple"):
        StepSampler(range(10), 4, 7, 0, 6, 0, 3)
