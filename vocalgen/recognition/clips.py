"""Sets of labelled clips to be measured, real or generated, all prepared alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vocalgen import audio
from vocalgen.data import CacheConfig, WaveCache, prepare_wave, to_int16
from vocalgen.emotions import Vocabulary, slug
from vocalgen.errors import VocalgenError


@dataclass(frozen=True)
class ClipSet:
    """Prepared waves with labels and, for real clips, speakers.

    Args:
        waves: (samples,) float32 each.
        labels: (n,) index of each clip's emotion.
        speakers: of each clip; for generated clips a name of its own each.
        ids: manifest id or file name.
        skipped: one line about each clip that could not be used.
    """

    waves: Sequence[np.ndarray]
    labels: np.ndarray
    speakers: list[str]
    ids: list[str]
    skipped: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, chosen: np.ndarray) -> ClipSet:
        """The clips at the indices `chosen`."""
        return ClipSet(
            _Chosen(self.waves, chosen),
            self.labels[chosen],
            [self.speakers[index] for index in chosen],
            [self.ids[index] for index in chosen],
        )


class _Chosen(Sequence[np.ndarray]):
    """Some of a sequence of waves, read when asked for."""

    def __init__(self, waves: Sequence[np.ndarray], indices: np.ndarray) -> None:
        self.waves, self.indices = waves, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> np.ndarray:  # type: ignore[override]
        return self.waves[int(self.indices[place])]


class _Cached(Sequence[np.ndarray]):
    """The waves of a cache as a sequence."""

    def __init__(self, cache: WaveCache) -> None:
        self.cache = cache

    def __len__(self) -> int:
        return len(self.cache)

    def __getitem__(self, place: int) -> np.ndarray:  # type: ignore[override]
        return self.cache.wave(place)


def real_clips(cache: WaveCache, splits: Sequence[str], emotions: Vocabulary) -> ClipSet:
    """Clips of some splits with one strongest emotion each; waves are read from the cache when asked for.

    Raises:
        VocalgenError: the cache has other emotions than `emotions`, or a split has no clips.
    """
    if cache.emotions.emotions != emotions.emotions:
        raise VocalgenError(
            f"{cache.folder}: its emotions ({cache.emotions.name}) are not those of the classifier ({emotions.name})"
        )
    chosen = np.concatenate([cache.select(split) for split in splits])
    labels = np.nan_to_num(cache.intensities).argmax(axis=1)
    everything = ClipSet(_Cached(cache), labels, cache.speakers, cache.ids)
    return everything.select(chosen)


def generated_clips(folder: str | Path, emotions: Vocabulary, prepare: CacheConfig) -> ClipSet:
    """Read DIR/<emotion>/*.wav (or any other audio format), prepared exactly as real clips are.

    Folder names are emotion names in any spelling `Vocabulary.index` knows. Clips that cannot be read, or hold no
    sound, are listed in `skipped`.

    Raises:
        VocalgenError: there is no folder of a known emotion, or no readable clip.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise VocalgenError(f"{folder} is not a folder of generated clips")
    waves, labels, ids, skipped = [], [], [], []
    for label, file in _files(folder, emotions):
        name = f"{file.parent.name}/{file.name}"
        try:
            wave, _ = audio.read(file, prepare.sample_rate)
        except VocalgenError as error:
            skipped.append(f"{name}: {error}")
            continue
        if np.abs(wave).max() < audio.SILENT_PEAK:
            skipped.append(f"{name}: silent")
            continue
        # Sixteen bits, as in the cache of the real clips.
        waves.append(to_int16(prepare_wave(wave, prepare)).astype(np.float32) / np.float32(32767.0))
        labels.append(label)
        ids.append(name)
    if not waves:
        raise VocalgenError(
            f"{folder} holds no readable clips; the layout is DIR/<emotion>/*.wav with emotions such as "
            f"{', '.join(slug(name) for name in emotions.emotions[:3])}"
        )
    return ClipSet(waves, np.array(labels), list(ids), ids, skipped)


def _files(folder: Path, emotions: Vocabulary) -> Iterator[tuple[int, Path]]:
    suffixes = {f".{name}" for name in audio.FORMATS}
    for sub in sorted(path for path in folder.iterdir() if path.is_dir()):
        try:
            label = emotions.index(sub.name)
        except (VocalgenError, ValueError, KeyError):
            continue
        for file in sorted(sub.iterdir()):
            if file.suffix.lower() in suffixes:
                yield label, file
