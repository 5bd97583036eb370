"""Latents of a corpus on disk: kept while they are whole, encoded again when a file is cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_corpus import MEL, PREPARE, write_corpus

from vocalgen.corpora.manifest import Manifest
from vocalgen.data import CacheConfig, WaveCache, WaveWindows
from vocalgen.training import latents
from vocalgen.training.latents import LatentVariants, load_codec


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> WaveCache:
    manifest = write_corpus(tmp_path_factory.mktemp("corpus"))
    whole = Manifest.load(manifest)
    whole.where(row % 20 == 0 for row in range(len(whole))).save(manifest, overwrite=True)
    return WaveCache.of(manifest, manifest.parent / "packed", CacheConfig(**PREPARE), processes=1)


def variants(cache: WaveCache, folder: Path) -> LatentVariants:
    windows = WaveWindows(cache, 16 * MEL.hop_length, "start")
    return LatentVariants(folder, cache, np.arange(len(cache)), windows, load_codec(None, MEL), 2, torch.device("cpu"))


@pytest.mark.parametrize("name", ["latents.npy", "seconds.npy", "key"])
@pytest.mark.parametrize("size", [0, -8])
def test_latents_with_a_cut_file_are_encoded_again(cache: WaveCache, tmp_path: Path, name: str, size: int) -> None:
    variants(cache, tmp_path / "latents")
    file = tmp_path / "latents" / name
    whole = file.read_bytes()
    file.write_bytes(whole[:size])
    again = variants(cache, tmp_path / "latents")
    assert file.read_bytes() == whole and len(again.latents) == 2


def test_latents_that_are_whole_are_kept(cache: WaveCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variants(cache, tmp_path / "latents")
    monkeypatch.setattr(latents, "_encode", lambda *_: pytest.fail("they are there already"))
    variants(cache, tmp_path / "latents")
