"""Sets of labelled clips to be measured, real or generated, all prepared alike."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vocalgen import audio
from vocalgen.corpora.layout import EXPECTED, emotion_folders
from vocalgen.corpora.words import some
from vocalgen.data import CacheConfig, WaveCache, beside_manifest, prepared
from vocalgen.emotions import Vocabulary, slug
from vocalgen.errors import VocalgenError

Wave = NDArray[np.float32]

UNLABELLED = -1
"""Label of clips whose emotion is not known."""

Rates = Counter[int]
"""Clips per sample rate in Hz."""


def rates_text(rates: Rates) -> str:
    """Clips per sample rate in words; "" for none.

    >>> rates_text(Counter({48000: 2, 24000: 1}))
    '1 of 24000 Hz, 2 of 48000 Hz'
    """
    return ", ".join(f"{rates[rate]} of {rate} Hz" for rate in sorted(rates))


class Clips(ABC):
    """Clips with labels, whose audio is read when asked for.

    Args:
        labels: (n,) index of each clip's emotion.
        speakers: of each clip; where nobody is known, a name of its own each.
        ids: manifest id or file name.
    """

    labels: NDArray[np.int64]
    speakers: list[str]
    ids: list[str]

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def wave(self, index: int, prepare: CacheConfig) -> Wave:
        """One clip, prepared.

        Raises:
            VocalgenError: it cannot be read, or holds no sound.
        """

    def remarks(self) -> list[str]:
        """What is odd about the clips as far as they were read."""
        return []

    def rates(self) -> Rates:
        """Sample rates of the files, as far as they are known."""
        return Counter()

    def select(self, indices: NDArray[np.int64]) -> Chosen:
        """Some of the clips."""
        return Chosen(self, indices)


class Chosen(Clips):
    """Some of a set of clips."""

    def __init__(self, clips: Clips, indices: NDArray[np.int64]) -> None:
        self.clips, self.indices = clips, indices
        self.labels = clips.labels[indices]
        self.speakers = [clips.speakers[index] for index in indices]
        self.ids = [clips.ids[index] for index in indices]

    def wave(self, index: int, prepare: CacheConfig) -> Wave:
        """One clip of the choice."""
        return self.clips.wave(int(self.indices[index]), prepare)


class Changed(Clips):
    """Clips whose prepared waves pass through a function, for instance a vocoder's round trip."""

    def __init__(self, clips: Clips, change: Callable[[Wave, int], Wave]) -> None:
        self.clips, self.change = clips, change
        self.labels, self.speakers, self.ids = clips.labels, clips.speakers, clips.ids

    def wave(self, index: int, prepare: CacheConfig) -> Wave:
        """One clip, changed: `change(wave, sample rate)`."""
        return self.change(self.clips.wave(index, prepare), prepare.sample_rate)


class Made(Clips):
    """Waves made on the spot, each its own speaker: `make(index)` gives (wave, sample rate)."""

    def __init__(self, labels: NDArray[np.int64], make: Callable[[int], tuple[Wave, int]]) -> None:
        self.labels, self.make = labels, make
        self.ids = [str(index) for index in range(len(labels))]
        self.speakers = self.ids

    def wave(self, index: int, prepare: CacheConfig) -> Wave:
        """One wave, resampled; not trimmed, as it may hold no sound."""
        wave, rate = self.make(index)
        return audio.resample(wave, rate, prepare.sample_rate)


class RealClips(Clips):
    """Usable clips of some splits of a manifest, each with its strongest emotion.

    Args:
        manifest: CSV of `vocalgen data prepare`.
        splits: of these the clips are.
        emotions: what labels refer to.
        prepare: of the audio that is opened first; others are opened when asked for.
        unlabelled: keep clips without any known emotion, with the label `UNLABELLED`; otherwise they are left out.

    Raises:
        VocalgenError: the manifest cannot be read, has none of these emotions, or lacks a split; none of the clips is
            labelled with one of the emotions.
    """

    def __init__(
        self,
        manifest: str | Path,
        splits: Sequence[str],
        emotions: Vocabulary,
        prepare: CacheConfig,
        unlabelled: bool = False,
    ) -> None:
        self.manifest = Path(manifest)
        self._caches: dict[CacheConfig, WaveCache] = {}
        cache = self._cache(prepare)
        of_ours = _positions(cache.emotions, emotions, self.manifest)
        intensities = np.nan_to_num(cache.intensities)
        strongest, labelled = intensities.argmax(axis=1), intensities.any(axis=1)
        chosen = np.concatenate([cache.select(split) for split in splits])
        kept = labelled & (of_ours[strongest] >= 0)
        if unlabelled:
            kept |= np.isnan(cache.intensities).all(axis=1)
        self.rows = chosen[kept[chosen]]
        if not len(self.rows):
            raise VocalgenError(
                f"{self.manifest}: none of the {len(chosen)} clips in {', '.join(splits)} is labelled with one of "
                f"{', '.join(emotions.emotions[:5])}, ...; choose a split whose labels are there"
            )
        self.labels = np.where(labelled, of_ours[strongest], UNLABELLED)[self.rows]
        self.ids = [cache.ids[row] for row in self.rows]
        self.speakers = [cache.speakers[row] or f"clip {cache.ids[row]}" for row in self.rows]

    def wave(self, index: int, prepare: CacheConfig) -> Wave:
        """One clip from the packed audio of that preparation."""
        return self._cache(prepare).wave(int(self.rows[index]))

    def rates(self) -> Rates:
        """Sample rates of the recordings, where the packed audio says them."""
        known = next(iter(self._caches.values())).rates
        return Counter(rate for row in self.rows if (rate := known[row]) is not None)

    def _cache(self, prepare: CacheConfig) -> WaveCache:
        if prepare not in self._caches:
            with beside_manifest():
                self._caches[prepare] = WaveCache.of(self.manifest, cache_folder(self.manifest, prepare), prepare)
        return self._caches[prepare]


def cache_folder(manifest: Path, prepare: CacheConfig) -> Path:
    """Where the packed audio of a manifest lies: beside it, `emogator-24k` for `emogator.csv`."""
    plain = CacheConfig(sample_rate=prepare.sample_rate)
    kind = "" if prepare == plain else "-" + hashlib.sha256(repr(prepare).encode()).hexdigest()[:8]
    return manifest.with_name(f"{manifest.stem}-{prepare.sample_rate // 1000}k{kind}")


class FolderClips(Clips):
    """Generated clips DIR/EMOTION/FILE by any system, listed by `emotion_folders`.

    Folder names are emotion names in any spelling `Vocabulary.index` knows; other folders are left out, and `remarks`
    names them.

    Args:
        folder: DIR.
        emotions: what labels refer to.
        most: clips of an emotion that are used, the first by folder and file name; None uses all.

    Raises:
        VocalgenError: no such folder, or nothing in a folder of a known emotion.
    """

    def __init__(self, folder: str | Path, emotions: Vocabulary, most: int | None = None) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise VocalgenError(f"{folder} is not a folder of generated clips")
        examples = [slug(name) for name in emotions.emotions[:3]]
        layout = emotion_folders(self.folder, examples)
        found = _chosen(layout.clips, emotions, most)
        if not found:
            raise VocalgenError(
                f"{folder} holds no clips; {EXPECTED} with emotions such as {', '.join(examples)}; its folders are "
                f"called {some(list(layout.clips))}"
            )
        self.files = [file for _, file in found]
        self.labels = np.array([label for label, _ in found])
        self.ids = [f"{file.parent.name}/{file.name}" for file in self.files]
        self.speakers = self.ids
        self.left_out = list(layout.left_out)
        strange = [name for name in layout.clips if name not in emotions]
        if strange:
            self.left_out.append(f"folders whose names are not emotions were left out: {', '.join(strange)}")
        self._rates: dict[int, int] = {}

    def remarks(self) -> list[str]:
        """Say what of the folder was left out, and which sample rates differ."""
        found = list(self.left_out)
        if len(self.rates()) > 1:
            text = rates_text(self.rates())
            found.append(f"clips of different sample rates ({text}): distances may tell the rates apart")
        return found

    def rates(self) -> Rates:
        """Sample rates of the clips that were read."""
        return Counter(self._rates.values())

    def wave(self, index: int, prepare: CacheConfig) -> Wave:
        """One clip, prepared exactly as real clips are."""
        wave, self._rates[index] = audio.read(self.files[index])
        return prepared(wave, self._rates[index], prepare)


def _chosen(clips: Mapping[str, Sequence[Path]], emotions: Vocabulary, most: int | None) -> list[tuple[int, Path]]:
    """Label and file of the first `most` clips of each emotion."""
    taken: Counter[int] = Counter()  # two folders can be spellings of one emotion
    found = []
    for name, files in clips.items():
        if name in emotions:
            label = emotions.index(name)
            first = files if most is None else files[: max(most - taken[label], 0)]
            taken[label] += len(first)
            found += [(label, file) for file in first]
    return found


def _positions(theirs: Vocabulary, ours: Vocabulary, manifest: Path) -> NDArray[np.int64]:
    """(len(theirs),) index in `ours` of each of their emotions, -1 where there is none."""
    positions = np.array([ours.index(name) if name in ours else -1 for name in theirs.emotions])
    if (positions < 0).all():
        raise VocalgenError(
            f"{manifest}: its emotions ({', '.join(theirs.emotions[:5])}, ...) have nothing in common with "
            f"{', '.join(ours.emotions[:5])}, ...; choose the protocol that belongs to it"
        )
    return positions
