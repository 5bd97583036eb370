"""Latents of a corpus, encoded once: a few augmented variants of every clip in one memory-mapped file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from vocalgen.atomic import atomic_path, locked
from vocalgen.data import WaveCache, WaveWindows, collate, step_seed
from vocalgen.errors import VocalgenError
from vocalgen.generation.loading import load_part
from vocalgen.mel import LogMel, MelConfig
from vocalgen.models.autoencoder import MelAutoencoder, MelFrames
from vocalgen.ownership import FolderKind, require_replaceable
from vocalgen.progress import track

Codec = MelAutoencoder | MelFrames
"""What turns log-mels into the sequences that diffusion works on."""


LATENTS = FolderKind("a cache of latents", cache=True)


def load_codec(folder: str | None, mel: MelConfig) -> Codec:
    """A trained autoencoder of this front end; None: log-mel frames as they are.

    Raises:
        VocalgenError: there is none, or it is damaged or of another front end.
    """
    if folder is None:
        return MelFrames(mel.to_dict())
    if not Path(folder).is_dir():
        raise VocalgenError(f"no autoencoder in {folder}; train one with recipes/train_autoencoder.py first")
    autoencoder: MelAutoencoder = load_part(Path(folder), "MelAutoencoder")
    autoencoder.front_end.require_equal(mel, folder, "the configuration")
    return autoencoder


class LatentVariants(Dataset[dict[str, Any]]):
    """Normalised latents keyed by (clip index, seed): the seed picks one of the encoded variants.

    Built on first use in `folder` from `windows` (which draw gain and shift), rebuilt when the autoencoder, the
    windows or the clips change. `intensities` (clips, K) replaces those of the cache.
    """

    def __init__(
        self,
        folder: Path,
        cache: WaveCache,
        indices: np.ndarray,
        windows: WaveWindows,
        autoencoder: Codec,
        variants: int,
        device: torch.device,
        intensities: np.ndarray | None = None,
    ) -> None:
        self.variants = variants
        self.intensities = cache.intensities if intensities is None else intensities
        key = _key(cache, indices, windows, autoencoder, variants)
        if not _is_of(folder, key):
            require_replaceable(folder, kind=LATENTS)
            with locked(folder):  # of several processes one encodes, the others wait
                if not _is_of(folder, key):
                    _encode(folder, key, indices, windows, autoencoder, variants, device)
        self.latents = np.load(folder / "latents.npy", mmap_mode="r")
        self.seconds = np.load(folder / "seconds.npy")
        self.position = {int(index): place for place, index in enumerate(indices)}

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        """{x (L, latent_dim), intensities (K,), seconds, index}."""
        index, seed = key
        variant, place = seed % self.variants, self.position[index]
        return {
            "x": torch.from_numpy(self.latents[variant, place].astype(np.float32)),
            "intensities": torch.from_numpy(self.intensities[index]),
            "seconds": float(self.seconds[variant, place]),
            "index": index,
        }


@torch.no_grad()
def _encode(
    folder: Path,
    key: str,
    indices: np.ndarray,
    windows: WaveWindows,
    autoencoder: Codec,
    variants: int,
    device: torch.device,
) -> None:
    autoencoder = autoencoder.to(device).eval()
    log_mel = LogMel(autoencoder.front_end).to(device)
    items = [(int(index), step_seed(variant, int(index))) for variant in range(variants) for index in indices]
    loader = DataLoader(
        windows, batch_sampler=[items[i : i + 64] for i in range(0, len(items), 64)], collate_fn=collate
    )
    latents, seconds = [], []
    for batch in track(loader, "encoding latents", len(loader)):
        mean, _ = autoencoder.encode(log_mel(batch["wave"].to(device)))
        latents.append(autoencoder.normalise(mean).half().cpu().numpy())
        seconds.append(batch["seconds"].numpy())
    stacked = np.concatenate(latents)
    with atomic_path(folder, kind=LATENTS) as target:
        target.mkdir()
        np.save(target / "latents.npy", stacked.reshape(variants, len(indices), *stacked.shape[1:]))
        np.save(target / "seconds.npy", np.concatenate(seconds).reshape(variants, -1).astype(np.float32))
        (target / "key").write_text(key)


def _is_of(folder: Path, key: str) -> bool:
    """Whether `folder` holds the latents of this key, and whole."""
    try:
        latents = np.load(folder / "latents.npy", mmap_mode="r")  # refuses a file shorter than its shape
        seconds = np.load(folder / "seconds.npy")
        return (folder / "key").read_text(encoding="utf-8") == key and latents.shape[:2] == seconds.shape
    except (OSError, ValueError, EOFError):
        return False


def _key(cache: WaveCache, indices: np.ndarray, windows: WaveWindows, autoencoder: nn.Module, variants: int) -> str:
    digest = hashlib.sha256(json.dumps([windows.samples, windows.gain_db, windows.max_shift, variants]).encode())
    digest.update(json.dumps([cache.ids[index] for index in indices]).encode())
    digest.update(cache.offsets.tobytes())
    for name, tensor in autoencoder.state_dict().items():
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    return digest.hexdigest()
