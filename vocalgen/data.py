"""Waveforms of a manifest in one memory-mapped file, and the random windows that training draws from them."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from vocalgen import audio
from vocalgen.atomic import atomic_path, locked
from vocalgen.corpora.manifest import Clip, Manifest
from vocalgen.corpora.parallel import parallel_map
from vocalgen.emotions import Vocabulary
from vocalgen.errors import VocalgenError
from vocalgen.ownership import FolderKind, require_replaceable
from vocalgen.progress import track

_INT16 = 32767.0
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


CACHE = FolderKind("a cache of audio", cache=True)


@dataclass(frozen=True)
class CacheConfig:
    """How clips are prepared: resampled, peak-normalised, trimmed.

    Args:
        sample_rate: Hz.
        peak_db: peak level after normalisation, dB full scale (the official baselines use -3).
        top_db: leading and trailing audio this far below the clip's loudest frame is cut; infinity leaves the ends.
        margin: seconds kept around what is left.
    """

    sample_rate: int = 24_000
    peak_db: float = -3.0
    top_db: float = 36.0
    margin: float = 0.04


class WaveCache:
    """Prepared clips of a manifest: int16 audio in one file, labels, speakers and sample rates beside it.

    Use `WaveCache.of(manifest_path, folder, config)`: it builds the folder when it is missing or belongs to another
    manifest or configuration, and maps it otherwise.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        index = json.loads((self.folder / "index.json").read_text(encoding="utf-8"))
        self.config = CacheConfig(**index["config"])
        self.sample_rate = self.config.sample_rate
        self.ids: list[str] = index["ids"]
        self.speakers: list[str] = index["speakers"]
        self.splits: list[str] = index["splits"]
        self.rates: list[int | None] = index.get("rates") or [None] * len(self.ids)
        self.emotions = Vocabulary(index["vocabulary"], tuple(index["emotions"]))
        self.intensities = np.load(self.folder / "intensities.npy")
        self.offsets = np.load(self.folder / "offsets.npy")
        self._audio = np.memmap(self.folder / "audio.i16", dtype=np.int16, mode="r")

    @classmethod
    def of(cls, manifest_path: str | Path, folder: str | Path, config: CacheConfig, processes: int = 2) -> WaveCache:
        """Open the cache of a manifest, building it first if needed (progress is shown, unreadable clips are named).

        It is built again when the manifest, the configuration, or size or time of an audio file has changed, or when
        one of its own files is cut. Of audio files that are not there, for instance where a cache has travelled without
        them, the cache holds what they were. Of several processes that need the same cache, one builds it and the
        others wait.

        Raises:
            VocalgenError: the manifest cannot be read, lists files that are not there, or holds no readable clip; the
                folder cannot be written.
        """
        try:
            key = hashlib.sha256(Path(manifest_path).read_bytes() + repr(config).encode()).hexdigest()[:16]
        except OSError as error:
            raise VocalgenError(
                f"cannot read the manifest {manifest_path} ({error.strerror}); make one with `vocalgen data prepare`"
            ) from error
        if not _is_of(Path(folder), key, manifest_path):
            manifest = Manifest.load(manifest_path)
            manifest.check_files()
            require_replaceable(folder, kind=CACHE)
            with locked(folder):
                if not _is_of(Path(folder), key, manifest_path):
                    _build(manifest, Path(folder), config, key, processes)
        return cls(folder)

    def __len__(self) -> int:
        return len(self.ids)

    def wave(self, index: int) -> np.ndarray:
        """Clip `index` as float32 (samples,) in [-1, 1]."""
        return self._audio[self.offsets[index] : self.offsets[index + 1]].astype(np.float32) / _INT16

    def select(self, split: str) -> np.ndarray:
        """Indices of the clips of a split, ascending.

        Raises:
            VocalgenError: the split has no clips.
        """
        chosen = np.flatnonzero(np.array(self.splits) == split)
        if not len(chosen):
            raise VocalgenError(f"{self.folder}: no clips in split {split!r}; it has {sorted(set(self.splits))}")
        return chosen


def _is_of(folder: Path, key: str, manifest_path: str | Path) -> bool:
    """Whether `folder` holds what was built from this manifest, this configuration and these audio files."""
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        if index["key"] != key or not _is_whole(folder, len(index["ids"])):
            return False
        built_from = index.get("files")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError):
        return False
    return built_from is None or unchanged(built_from, recording_marks(Manifest.load(manifest_path).usable().rows))


def _is_whole(folder: Path, clips: int) -> bool:
    """Whether the files of a cache are as long as its offsets say: copies from full disks are not.

    Raises:
        OSError, ValueError, EOFError: a file is missing or cut.
    """
    offsets = np.load(folder / "offsets.npy")
    intensities = np.load(folder / "intensities.npy", mmap_mode="r")
    size = (folder / "audio.i16").stat().st_size
    return len(intensities) == clips == len(offsets) - 1 and size == int(offsets[-1]) * np.dtype(np.int16).itemsize


@contextmanager
def beside_manifest() -> Iterator[None]:
    """Say what to do where a cache cannot be written beside its manifest: commands have no option for another place."""
    try:
        yield
    except VocalgenError as error:
        refused = isinstance(error.__cause__, OSError) and error.__cause__.errno in _READ_ONLY
        if not refused or not str(error).startswith("cannot write"):
            raise
        problem = str(error).partition(";")[0]
        raise VocalgenError(
            f"{problem}; caches lie beside the manifest: make a manifest of your own elsewhere with `vocalgen data "
            f"prepare ... --out`, and give that"
        ) from error.__cause__


def recording_marks(clips: Sequence[Clip]) -> list[str]:
    """What stands for the audio file of each clip: its size and time; "" where it is not there."""
    return [_recording_mark(clip) for clip in clips]


def _recording_mark(clip: Clip) -> str:
    try:
        found = os.stat(clip.file)
    except OSError:
        return ""
    return hashlib.blake2b(f"{found.st_size} {found.st_mtime_ns}".encode(), digest_size=6).hexdigest()


def unchanged(before: Sequence[str], now: Sequence[str]) -> bool:
    """Whether all recordings that are there now are as they were, by their `recording_marks`."""
    return len(before) == len(now) and all(mark in ("", old) for old, mark in zip(before, now))


def _build(manifest: Manifest, folder: Path, config: CacheConfig, key: str, processes: int) -> None:
    clips = manifest.usable().rows
    files = recording_marks(clips)
    kept: list[Clip] = []
    offsets = [0]
    waves = parallel_map(partial(_prepare, config=config), clips, processes, chunk=64)
    with atomic_path(folder, kind=CACHE) as target, closing(waves) as prepared:
        target.mkdir()
        with open(target / "audio.i16", "wb") as file:
            pairs = zip(clips, prepared, strict=True)
            for clip, wave in track(pairs, "preparing audio", len(clips)):
                if isinstance(wave, str):
                    print(f"skipped {clip.id}: {wave}", file=sys.stderr)
                    continue
                file.write(wave.tobytes())
                kept.append(clip)
                offsets.append(offsets[-1] + len(wave))
        if not kept:
            raise VocalgenError(
                f"{folder}: none of the {len(clips)} usable clips of the manifest could be read; "
                f"`vocalgen data prepare` says why"
            )
        np.save(target / "offsets.npy", np.array(offsets, dtype=np.int64))
        np.save(target / "intensities.npy", np.array([clip.intensities for clip in kept], dtype=np.float32))
        index = {
            "key": key,
            "files": files,
            "config": asdict(config),
            "vocabulary": manifest.emotions.name,
            "emotions": manifest.emotions.emotions,
            "ids": [clip.id for clip in kept],
            "speakers": [clip.speaker for clip in kept],
            "splits": [clip.split for clip in kept],
            "rates": [audio.sample_rate(clip.file) for clip in kept],
        }
        (target / "index.json").write_text(json.dumps(index), encoding="utf-8")


def _prepare(clip: Clip, config: CacheConfig) -> np.ndarray | str:
    """Prepared int16 samples, or the reason why there are none."""
    try:
        return _prepared_int16(*audio.read(clip.file), config)
    except VocalgenError as error:
        return str(error)


def _prepared_int16(wave: np.ndarray, sample_rate: int, config: CacheConfig) -> np.ndarray:
    if audio.is_silent(wave):  # before resampling: all preparations of a clip agree, and with `audio.inspect`
        raise VocalgenError("silent")
    return to_int16(prepare_wave(audio.resample(wave, sample_rate, config.sample_rate), config))


def prepare_wave(wave: np.ndarray, config: CacheConfig) -> np.ndarray:
    """Trim, fade and peak-normalise (samples,) float32 as training data is; the same for real and generated clips."""
    if math.isfinite(config.top_db):
        wave = audio.trim_silence(wave, config.sample_rate, top_db=config.top_db, margin=config.margin)
    return audio.peak_normalise(wave, config.peak_db)


def prepared(wave: np.ndarray, sample_rate: int, config: CacheConfig) -> np.ndarray:
    """A clip that is in no cache, as a cache would hold it: resampled, then `prepare_wave`, in steps of sixteen bits.

    Args:
        wave: (samples,) float32 at `sample_rate` Hz.

    Raises:
        VocalgenError: it is silent.
    """
    return _prepared_int16(wave, sample_rate, config).astype(np.float32) / np.float32(_INT16)


def to_int16(wave: np.ndarray) -> np.ndarray:
    """Float [-1, 1] -> int16, rounded and clipped."""
    return np.round(np.clip(wave, -1, 1) * _INT16).astype(np.int16)


class WaveWindows(Dataset[dict[str, Any]]):
    """Random windows of cached clips, keyed by (clip index, seed), so that a step's data depends on the step alone.

    Args:
        samples: window length.
        placement: `crop` takes the window anywhere in the clip, up to a quarter of it beyond the ends (silence there);
            `start` puts the clip's beginning at a random place within `max_shift` seconds of the window's start.
        gain_db: (low, high) of a uniform random gain.
    """

    def __init__(
        self,
        cache: WaveCache,
        samples: int,
        placement: Literal["crop", "start"],
        gain_db: tuple[float, float] = (0.0, 0.0),
        max_shift: float = 0.0,
    ) -> None:
        self.cache, self.samples, self.placement = cache, samples, placement
        self.gain_db, self.max_shift = gain_db, max_shift

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        """{wave (samples,), intensities (K,), seconds, index} for a (clip index, seed) pair."""
        index, seed = key
        rng = np.random.default_rng(seed)
        clip = self.cache.wave(index)
        gain = 10 ** (rng.uniform(*self.gain_db) / 20)
        if self.placement == "crop":
            overhang = self.samples // 4
            start = int(rng.integers(-overhang, max(len(clip) - self.samples, 0) + overhang + 1))
            offset = max(-start, 0)
            clip = clip[max(start, 0) : start + self.samples]
        else:
            room = max(self.samples - len(clip), 0)
            offset = int(rng.integers(0, min(room, int(self.max_shift * self.cache.sample_rate)) + 1))
            clip = clip[: self.samples - offset]
        window = np.zeros(self.samples, dtype=np.float32)
        window[offset : offset + len(clip)] = clip * gain
        return {
            "wave": torch.from_numpy(window),
            "intensities": torch.from_numpy(self.cache.intensities[index]),
            "seconds": len(clip) / self.cache.sample_rate,
            "index": index,
        }


class StepSampler(Sampler[list[tuple[int, int]]]):
    """Batches of (clip index, seed) that depend on (seed, step) alone.

    Step `s` takes items `s * batch_size ...` of an endless sequence of epoch permutations; process `rank` of `world`
    takes its contiguous share. A run that starts at step k therefore sees what an uninterrupted one sees.
    """

    def __init__(
        self,
        indices: Sequence[int] | np.ndarray,
        batch_size: int,
        seed: int,
        first_step: int,
        last_step: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if batch_size % world:
            raise VocalgenError(f"batch_size {batch_size} is not a multiple of the {world} processes")
        self.indices, self.batch_size, self.seed = np.asarray(indices), batch_size, seed
        self.first_step, self.last_step, self.rank, self.world = first_step, last_step, rank, world
        self._epoch, self._order = -1, self.indices

    def __len__(self) -> int:
        return self.last_step - self.first_step

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        share = self.batch_size // self.world
        for step in range(self.first_step, self.last_step):
            start = step * self.batch_size + self.rank * share
            yield [self._item(position) for position in range(start, start + share)]

    def _item(self, position: int) -> tuple[int, int]:
        epoch, within = divmod(position, len(self.indices))
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng((self.seed, epoch)).permutation(self.indices)
        return int(self._order[within]), step_seed(self.seed, position)


class LengthSampler(StepSampler):
    """Batches of clips of similar length that depend on (seed, step) alone.

    Every `pool` batches share one pool of clips, the next ones of the sequence of `StepSampler`. The pool is sorted by
    length, cut into batches, and the batches come in random order. Each process takes clips of all lengths of a batch.

    Args:
        lengths: length of each clip that `indices` may name.
        pool: batches per pool.
    """

    def __init__(
        self,
        indices: Sequence[int] | np.ndarray,
        lengths: Sequence[int] | np.ndarray,
        batch_size: int,
        seed: int,
        first_step: int,
        last_step: int,
        rank: int = 0,
        world: int = 1,
        pool: int = 16,
    ) -> None:
        super().__init__(indices, batch_size, seed, first_step, last_step, rank, world)
        self.lengths, self.pool = np.asarray(lengths), pool

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        batches: list[list[tuple[int, int]]] = []
        current = -1
        for step in range(self.first_step, self.last_step):
            pool, within = divmod(step, self.pool)
            if pool != current:
                batches, current = self._batches(pool), pool
            yield batches[within][self.rank :: self.world]

    def _batches(self, pool: int) -> list[list[tuple[int, int]]]:
        size = self.pool * self.batch_size
        items = [self._item(position) for position in range(pool * size, (pool + 1) * size)]
        items.sort(key=lambda item: (self.lengths[item[0]], item[1]))
        order = np.random.default_rng(step_seed(self.seed, pool)).permutation(self.pool)
        return [items[place * self.batch_size : (place + 1) * self.batch_size] for place in order]


def step_seed(seed: int, position: int) -> int:
    """A 63-bit seed for item `position` of run `seed`."""
    return int(np.random.SeedSequence((seed, position)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def collate(items: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Stack a list of items; numbers become (B,) tensors."""
    return {
        key: torch.stack([item[key] for item in items])
        if isinstance(items[0][key], Tensor)
        else torch.tensor([item[key] for item in items])
        for key in items[0]
    }
