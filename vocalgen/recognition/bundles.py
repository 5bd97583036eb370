"""Speech encoders of `torchaudio.pipelines`: wav2vec 2.0, HuBERT and WavLM, by the names of their bundles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vocalgen.data import CacheConfig
from vocalgen.errors import VocalgenError
from vocalgen.libraries import loading_failure
from vocalgen.recognition.scores import Scores
from vocalgen.weights import weights_sha256

PREFIX = "torchaudio:"
"""How names of bundles begin, as in `torchaudio:WAV2VEC2_BASE`."""


class BundleEncoder:
    """A speech encoder of torchaudio, whose weights are downloaded once and kept in the cache of `torch.hub`.

    The embedding is the mean over time of what a transformer block puts out. Clips go through the network one by one:
    group-normalised networks change with padding. The weights are read as tensors alone; nothing is unpickled.

    Args:
        name: name of a bundle after `PREFIX`.
        device: where the network runs.
        layer: block from 1 on, or -1 for the last.

    Raises:
        VocalgenError: no such bundle or block, or weights that cannot be downloaded or read.
    """

    emotions = None

    def __init__(self, name: str, device: str = "cpu", layer: int = -1) -> None:
        bundle = bundle_of(name)
        depth = int(bundle._params["encoder_num_layers"])
        if not (1 <= layer <= depth or -depth <= layer <= -1):
            raise VocalgenError(f"{PREFIX}{name} has no block {layer}; it has 1 to {depth}")
        try:
            network = bundle.get_model(dl_kwargs={"map_location": "cpu", "weights_only": True})
        except Exception as error:  # of the network, the disk, the unpickler, or of tensors that do not fit
            raise VocalgenError(loading_failure(error) or _unavailable(name, bundle, error)) from error
        self.network: Any = network.float().to(device)
        self.device, self.blocks = device, layer if layer > 0 else depth + 1 + layer
        self.name = name if layer == -1 else f"{name}, layer {layer}"
        self.checksum = weights_sha256(network)
        self.prepare = CacheConfig(sample_rate=int(bundle.sample_rate))
        self.dim = int(bundle._params["encoder_embed_dim"])
        self.shortest = _shortest(bundle._params["extractor_conv_layer_config"] or DEFAULT_CONVOLUTIONS)

    @torch.no_grad()
    def score(self, waves: Sequence[np.ndarray]) -> Scores:
        """Embeddings of waves (samples,) at the encoder's rate."""
        embeddings = np.zeros((len(waves), self.dim))
        for row, wave in enumerate(waves):
            padded = torch.from_numpy(np.pad(wave, (0, max(0, self.shortest - len(wave)))))
            blocks, _ = self.network.extract_features(padded[None].to(self.device), num_layers=self.blocks)
            embeddings[row] = blocks[-1][0].mean(dim=0).double().cpu().numpy()
        return Scores(embeddings, np.zeros((len(waves), 0)))


DEFAULT_CONVOLUTIONS = [(512, 10, 5), *[(512, 3, 2)] * 4, *[(512, 2, 2)] * 2]
"""Channels, kernel and stride of the convolutions of a bundle that names none."""


def bundle_of(name: str) -> Any:
    """Find a bundle of `torchaudio.pipelines` by its name.

    Raises:
        VocalgenError: there is none; all are listed.
    """
    from torchaudio import pipelines

    bundles = {key: value for key, value in vars(pipelines).items() if isinstance(value, pipelines.Wav2Vec2Bundle)}
    if name not in bundles:
        raise VocalgenError(f"{PREFIX}{name}: torchaudio has no such encoder; it has {', '.join(sorted(bundles))}")
    return bundles[name]


def weights_file(name: str) -> Path:
    """Where `torch.hub` keeps the weights of a bundle once they are downloaded.

    Raises:
        VocalgenError: there is no such bundle.
    """
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(bundle_of(name)._path).name


def _unavailable(name: str, bundle: Any, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    file = weights_file(name)
    if file.is_file():
        return f"{file} does not hold the weights of {PREFIX}{name} ({reason}); remove it, and it is downloaded again"
    return (
        f"the weights of {PREFIX}{name} cannot be downloaded ({reason}); where there is no network, copy "
        f"{Path(bundle._path).name} from another machine to {file.parent}"
    )


def _shortest(convolutions: Sequence[tuple[int, int, int]]) -> int:
    """Fewest samples of which convolutions of (channels, kernel, stride) make a frame."""
    samples = 1
    for _, kernel, stride in reversed(convolutions):
        samples = (samples - 1) * stride + kernel
    return samples
