"""Packed audio and the step-indexed sampler."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from bursts import burst, write_emogator_tree

from vocalgen.audio import inspect
from vocalgen.corpora import emogator
from vocalgen.corpora.manifest import Clip, Manifest
from vocalgen.data import CacheConfig, StepSampler, WaveCache, WaveWindows, prepare_wave
from vocalgen.emotions import Vocabulary
from vocalgen.errors import VocalgenError
from vocalgen.mel import MEL_24K, LogMel


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


def test_clips_recorded_again_are_prepared_again(manifest: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    shutil.copytree(manifest.parent, corpus)
    before = WaveCache.of(corpus / "manifest.csv", tmp_path / "packed", CacheConfig(), processes=1)
    index = before.ids.index("000001-01-1")
    wave, other = before.wave(index), f"{before.ids[-1]}.mp3"
    shutil.copy(corpus / "mp3" / other, corpus / "mp3" / "000001-01-1.mp3")
    again = WaveCache.of(corpus / "manifest.csv", tmp_path / "packed", CacheConfig(), processes=1)
    assert not np.array_equal(again.wave(index), wave)
    shutil.rmtree(corpus / "mp3")  # a cache may travel without what it was made of
    alone = WaveCache.of(corpus / "manifest.csv", tmp_path / "packed", CacheConfig(), processes=1)
    assert np.array_equal(alone.wave(index), again.wave(index))


@pytest.mark.parametrize("name", ["audio.i16", "offsets.npy", "intensities.npy"])
@pytest.mark.parametrize("size", [0, -2])
def test_cache_with_a_cut_file_is_built_again(
    cache: WaveCache, manifest: Path, tmp_path: Path, name: str, size: int
) -> None:
    file = Path(shutil.copytree(cache.folder, tmp_path / "packed")) / name
    whole = file.read_bytes()
    file.write_bytes(whole[:size])
    again = WaveCache.of(manifest, file.parent, CacheConfig(), processes=1)
    assert file.read_bytes() == whole and again.ids == cache.ids


def test_cache_leaves_out_what_inspect_flags(tmp_path: Path) -> None:
    """Also where the manifest was made without listening: the rules are those of `audio.read`."""
    wave = burst(0, 0.4, 24_000, 0)
    files = {
        "good": wave, "opposite": np.stack([wave, -wave], axis=1), "loud": np.append(wave, 1e29), "nan": wave * np.nan,
        "offset": np.full(9_600, 0.2),
    }  # fmt: skip
    rows = []
    for name, samples in files.items():
        soundfile.write(tmp_path / f"{name}.wav", samples, 24_000, subtype="FLOAT")
        rows.append(Clip(name, tmp_path / f"{name}.wav", "train", "", np.nan, (), (1.0,)))
        assert (inspect(tmp_path / f"{name}.wav").flags == ()) == (name == "good")
    Manifest(Vocabulary("one", ("Awe",)), tuple(rows)).save(tmp_path / "manifest.csv")
    assert WaveCache.of(tmp_path / "manifest.csv", tmp_path / "packed", CacheConfig(), processes=1).ids == ["good"]


def test_a_missing_recording_hides_no_other_that_has_changed(manifest: Path, tmp_path: Path) -> None:
    corpus = Path(shutil.copytree(manifest.parent, tmp_path / "corpus"))
    before = WaveCache.of(corpus / "manifest.csv", tmp_path / "packed", CacheConfig(), processes=1)
    missing, changed = (corpus / "mp3" / f"{name}.mp3" for name in before.ids[:2])
    missing.unlink()
    assert WaveCache.of(corpus / "manifest.csv", tmp_path / "packed", CacheConfig()).ids == before.ids
    shutil.copy(corpus / "mp3" / f"{before.ids[-1]}.mp3", changed)
    with pytest.raises(VocalgenError, match=r"1 of 13 files of the manifest are missing"):
        WaveCache.of(corpus / "manifest.csv", tmp_path / "packed", CacheConfig())


def test_processes_that_need_the_same_cache_build_it_once(manifest: Path, tmp_path: Path) -> None:
    """As several training processes do on their first start."""
    script = (
        "import sys, vocalgen.data as data\n"
        "build = data._build\n"
        "data._build = lambda *a: (print('built'), build(*a))\n"
        "print(len(data.WaveCache.of(sys.argv[1], sys.argv[2], data.CacheConfig())))"
    )
    command = [sys.executable, "-c", script, str(manifest), str(tmp_path / "packed")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = "".join(process.communicate(timeout=120)[0] for process in processes)
    assert [process.returncode for process in processes] == [0, 0]
    assert said.count("built\n") == 1 and said.count("12\n") == 2
    assert {path.name for path in tmp_path.iterdir()} == {"packed", ".packed.vocalgen-lock"}


def test_a_manifest_that_is_not_there_or_lists_files_that_are_not(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(VocalgenError, match=r"cannot read the manifest .*absent\.csv \(No such file"):
        WaveCache.of(tmp_path / "absent.csv", tmp_path / "packed", CacheConfig())
    copy = tmp_path / "elsewhere.csv"
    copy.write_text(manifest.read_text())
    with pytest.raises(VocalgenError, match=r"13 of 13 files of the manifest are missing, the first of clip"):
        WaveCache.of(copy, tmp_path / "packed", CacheConfig())
    copy.write_text("id,file\na,b.wav\n")
    with pytest.raises(VocalgenError, match="column split, speaker, seconds, flags is missing"):
        WaveCache.of(copy, tmp_path / "packed", CacheConfig())
    assert not (tmp_path / "packed").exists()


def test_padding_becomes_the_floor(cache: WaveCache) -> None:
    """Windows are padded before analysis, so what lies beyond a clip is silence to the model, not the number 0."""
    window = WaveWindows(cache, 40_960, "start")[(0, 0)]
    mel = LogMel(MEL_24K)(window["wave"][None])[0]
    beyond = int(window["seconds"] * MEL_24K.frame_rate) + 4
    assert beyond < mel.shape[1]
    assert (mel[:, beyond:] == MEL_24K.log_floor).all()


def test_unknown_split_is_named(cache: WaveCache) -> None:
    with pytest.raises(VocalgenError, match="no clips in split 'dev'"):
        cache.select("dev")


def test_prepare_wave_leaves_the_ends_where_nothing_is_to_be_cut() -> None:
    wave = np.concatenate([np.zeros(500), np.ones(1000), np.zeros(700)]).astype(np.float32) / 4
    prepared = prepare_wave(wave, CacheConfig(top_db=np.inf))
    np.testing.assert_allclose(prepared, wave * (4 * 10 ** (-3 / 20)), rtol=1e-6)


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
