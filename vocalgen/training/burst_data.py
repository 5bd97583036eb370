"""Training clips of the burst transformer: latents of variable length, acoustics, voices of their speakers."""

from __future__ import annotations

import inspect
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

import vocalgen.acoustics
import vocalgen.pitch
from vocalgen.acoustics import acoustic_conditions
from vocalgen.data import WaveCache, step_seed
from vocalgen.mel import LogMel, log_mels
from vocalgen.models.speaker import SpeakerEncoder
from vocalgen.ownership import FolderKind
from vocalgen.progress import track
from vocalgen.training.kept import groups, kept_arrays, key_of
from vocalgen.training.latents import Codec

LATENTS = FolderKind("a cache of latents of variable length", cache=True)
ACOUSTICS = FolderKind("a cache of acoustic measurements", cache=True)
VOICES = FolderKind("a cache of speaker embeddings", cache=True)

SILENCE_SECONDS = 0.7
"""Silence behind every clip while it is encoded, more than the encoder sees: the batch then has no influence."""

BATCH = 64
"""Clips that are encoded together."""


@dataclass(frozen=True)
class Variation:
    """How the encoded variants of a clip differ.

    Args:
        variants: versions of every clip.
        gain_db: (low, high) of the random gain.
        max_shift: largest random silence in front, seconds.
        tail: silence behind, seconds.
    """

    variants: int
    gain_db: tuple[float, float]
    max_shift: float
    tail: float


class BurstClips(Dataset[dict[str, Any]]):
    """Latents and conditions of clips, keyed by (clip index, seed): the seed picks a variant and the clip of the voice.

    Computed on first use in sub-folders of `folder`, and again when anything they depend on changes.

    Args:
        folder: folder of the caches.
        cache: audio, labels and speakers.
        indices: clips.
        variation: see `Variation`.
        autoencoder: its encoder gives the latents.
        speaker_encoder: gives the voices; None: all voices are absent.
        voice_dim: size of the voices.
        device: where networks run.
    """

    def __init__(
        self,
        folder: Path,
        cache: WaveCache,
        indices: np.ndarray,
        variation: Variation,
        autoencoder: Codec,
        speaker_encoder: SpeakerEncoder | None,
        voice_dim: int,
        device: torch.device,
    ) -> None:
        self.cache, self.indices, self.variation = cache, indices, variation
        self.place = {int(index): place for place, index in enumerate(indices)}
        latents = kept_arrays(
            folder / "latents",
            LATENTS,
            key_of(cache, indices, variation, SILENCE_SECONDS, autoencoder.front_end, autoencoder.state_dict()),
            lambda: encode(cache, indices, variation, autoencoder, device),
        )
        self.latents, self.offsets = latents["latents"], latents["offsets"]
        self.acoustics = measured_acoustics(folder, cache, indices)
        self.voices = np.full((len(indices), voice_dim), np.nan, dtype=np.float32)
        if speaker_encoder is not None:
            self.voices = kept_arrays(
                folder / "voices",
                VOICES,
                key_of(cache, indices, speaker_encoder.front_end, speaker_encoder.state_dict()),
                lambda: {"voices": embed_voices(cache, indices, speaker_encoder, device)},
            )["voices"]
        self.of_speaker: dict[str, list[int]] = defaultdict(list)
        for place, index in enumerate(indices):
            self.of_speaker[cache.speakers[int(index)]].append(place)

    @property
    def lengths(self) -> np.ndarray:
        """Latents of the first variant of every clip of the cache; 0 of clips that are not among `indices`."""
        lengths = np.zeros(len(self.cache), dtype=np.int64)
        lengths[self.indices] = np.diff(self.offsets[: len(self.indices) + 1])
        return lengths

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        """{x (L, C), intensities (K,), voice (V,), acoustics (A,), index}; voice is NaN for speakers of one clip."""
        index, seed = key
        place = self.place[index]
        row = seed % self.variation.variants * len(self.indices) + place
        return {
            "x": torch.from_numpy(self.latents[self.offsets[row] : self.offsets[row + 1]].astype(np.float32)),
            "intensities": torch.from_numpy(self.cache.intensities[index]),
            "voice": torch.from_numpy(self._voice(place, seed)),
            "acoustics": torch.from_numpy(np.array(self.acoustics[place])),
            "index": index,
        }

    def _voice(self, place: int, seed: int) -> np.ndarray:
        """Voice of another clip of the same speaker: that of the clip itself would tell more than the speaker."""
        clips = self.of_speaker[self.cache.speakers[int(self.indices[place])]]
        if len(clips) < 2:
            return np.full(self.voices.shape[1], np.nan, dtype=np.float32)
        chosen = step_seed(seed, 1) % (len(clips) - 1)
        return np.array(self.voices[clips[chosen + (clips[chosen] >= place)]])


def collate_bursts(items: list[dict[str, Any]], multiple: int = 2) -> dict[str, Tensor]:
    """Stack items of different lengths: x is padded with zeros to a multiple of `multiple`, `mask` (B, L) is added."""
    lengths = torch.tensor([len(item["x"]) for item in items])
    width = -(-int(lengths.max()) // multiple) * multiple
    x = torch.zeros(len(items), width, items[0]["x"].shape[-1])
    for row, item in zip(x, items, strict=True):
        row[: len(item["x"])] = item["x"]
    stacked = {key: torch.stack([item[key] for item in items]) for key in ("intensities", "voice", "acoustics")}
    indices = torch.tensor([item["index"] for item in items])
    return {"x": x, "mask": torch.arange(width) < lengths[:, None], "index": indices, **stacked}


@torch.no_grad()
def encode(
    cache: WaveCache, indices: np.ndarray, variation: Variation, autoencoder: Codec, device: torch.device
) -> dict[str, np.ndarray]:
    """Normalised latents of all variants of clips, cut at the clips' ends.

    Returns:
        latents (N, C) float16, variant by variant and clip by clip; offsets (variants * clips + 1,).
    """
    autoencoder = autoencoder.to(device).eval()
    mel = autoencoder.front_end
    log_mel = LogMel(mel).to(device)
    hop = mel.hop_length * autoencoder.downsampling
    rate = mel.sample_rate
    items = [(int(index), variant) for variant in range(variation.variants) for index in indices]
    drawn = [_draw(variation, index, variant) for index, variant in items]
    seconds = variation.tail + np.array([shift for _, shift in drawn])
    samples = np.diff(cache.offsets)[[index for index, _ in items]] + np.round(seconds * rate).astype(np.int64)
    lengths = -(-samples // hop)
    parts: list[np.ndarray] = [np.empty(0)] * len(items)
    batches = groups(lengths, BATCH)
    silence = -(-round(SILENCE_SECONDS * rate) // hop)
    for batch in track(batches, "encoding latents", len(batches)):
        waves = torch.zeros(len(batch), (int(lengths[batch[-1]]) + silence) * hop)
        for row, item in zip(waves, batch, strict=True):
            gain, shift = drawn[item]
            start, wave = round(shift * rate), cache.wave(items[item][0])
            row[start : start + len(wave)] = torch.from_numpy(wave) * gain
        mean, _ = autoencoder.encode(log_mel(waves.to(device)))
        latents = autoencoder.normalise(mean).half().cpu().numpy()
        for row, item in enumerate(batch):
            parts[item] = latents[row, : lengths[item]].copy()
    return {"latents": np.concatenate(parts), "offsets": np.concatenate([[0], np.cumsum(lengths)])}


def _draw(variation: Variation, index: int, variant: int) -> tuple[float, float]:
    """Gain and shift of a variant of a clip."""
    random = np.random.default_rng(step_seed(variant, index))
    return float(10 ** (random.uniform(*variation.gain_db) / 20)), float(random.uniform(0.0, variation.max_shift))


def measured_acoustics(folder: Path, cache: WaveCache, indices: np.ndarray) -> np.ndarray:
    """Acoustic conditions of clips, (clips, A), measured on first use."""

    def measure() -> dict[str, np.ndarray]:
        clips = track([int(index) for index in indices], "measuring pitch and brightness", len(indices))
        return {"acoustics": np.stack([acoustic_conditions(cache.wave(index), cache.sample_rate) for index in clips])}

    methods = [inspect.getsource(module) for module in (vocalgen.acoustics, vocalgen.pitch)]
    return kept_arrays(folder / "acoustics", ACOUSTICS, key_of(cache, indices, *methods), measure)["acoustics"]


@torch.no_grad()
def embed_voices(
    cache: WaveCache, indices: np.ndarray, speaker_encoder: SpeakerEncoder, device: torch.device
) -> np.ndarray:
    """Speaker embeddings of clips, (clips, V) float32."""
    encoder = speaker_encoder.to(device).eval()
    log_mel = LogMel(encoder.front_end).to(device)
    voices = np.zeros((len(indices), encoder.embedding_dim), dtype=np.float32)
    batches = groups(np.diff(cache.offsets)[indices], BATCH)
    for batch in track(batches, "embedding voices", len(batches)):
        mels = log_mels([cache.wave(int(indices[place])) for place in batch], log_mel)
        voices[batch] = encoder.embed_clips([mel.to(device) for mel in mels]).cpu().numpy()
    return voices
