"""Objective of the diffusion transformer, on autoencoder latents or directly on log-mel frames."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from vocalgen.data import WaveCache, WaveWindows
from vocalgen.errors import VocalgenError
from vocalgen.float32 import normal, uniform
from vocalgen.generation.loading import load_part
from vocalgen.generation.samplers import dpmpp_2m, guided, karras_sigmas
from vocalgen.mel import MelConfig
from vocalgen.models.denoiser import preconditioning
from vocalgen.models.griffin_lim import griffin_lim
from vocalgen.models.transformer import Conditioning, MelTransformer
from vocalgen.training.entry import DataConfig
from vocalgen.training.latents import LatentVariants, load_codec
from vocalgen.training.loop_config import LoopConfig
from vocalgen.training.objective import Objective
from vocalgen.training.record import Previews


@dataclass(frozen=True)
class TransformerModel:
    """Sizes, see `MelTransformer`."""

    patch: int = 1
    dim: int = 320
    depth: int = 8
    heads: int = 5
    kernel_size: int = 5


@dataclass(frozen=True)
class PreconditioningConfig:
    """Parametrisation and training noise, see `models.denoiser`.

    Args:
        kind: `flow` or `edm`.
        mean, std: of ln(sigma) in training.
    """

    kind: Literal["flow", "edm"] = "flow"
    mean: float = 0.0
    std: float = 1.0

    def arguments(self) -> dict[str, Any]:
        """What `models.denoiser.preconditioning` takes, as stored with the weights."""
        prefix = "t" if self.kind == "flow" else "p"
        return {"kind": self.kind, f"{prefix}_mean": self.mean, f"{prefix}_std": self.std}


@dataclass(frozen=True)
class DiffusionConfig:
    """Configuration of `recipes/train_diffusion.py` for `kind: mel`, the default: windows of fixed length.

    Args:
        autoencoder: folder of a trained autoencoder; null trains on log-mel frames.
        latents: folder for the encoded corpus.
        variants: encoded random gains and shifts of every clip.
        init: folder of a trained transformer to start from; null starts from nothing.
        emotion_dropout, seconds_dropout: share of samples that see the learned null instead.
    """

    data: DataConfig
    loop: LoopConfig
    kind: Literal["mel"] = "mel"
    autoencoder: str | None = None
    latents: str = "data/latents"
    variants: int = 3
    init: str | None = None
    mel: MelConfig = field(default_factory=MelConfig)
    model: TransformerModel = field(default_factory=TransformerModel)
    preconditioning: PreconditioningConfig = field(default_factory=PreconditioningConfig)
    learning_rate: float = 6e-4
    weight_decay: float = 0.01
    emotion_dropout: float = 0.1
    seconds_dropout: float = 0.5


class DiffusionObjective(Objective):
    """Trains `MelTransformer` as a denoiser."""

    averaged = ("transformer",)

    def __init__(self, config: DiffusionConfig) -> None:
        self.config = config
        self.cache: WaveCache = config.data.open(config.mel)
        self.indices = self.cache.select(config.data.split)
        self._require_labels()
        self.preconditioning = preconditioning(**config.preconditioning.arguments())
        self.autoencoder = load_codec(config.autoencoder, config.mel)
        self.shape = (config.data.frames // self.autoencoder.downsampling, self.autoencoder.latent_dim)
        torch.manual_seed(config.loop.seed)
        if config.init is None:
            transformer = MelTransformer(
                config.mel.to_dict(),
                self.cache.emotions.emotions,
                in_channels=self.shape[1],
                length=self.shape[0],
                **asdict(config.model),
                preconditioning=config.preconditioning.arguments(),
            )
        else:
            transformer = self._initial(config.init)
        self.networks = {"transformer": transformer}
        self.optimizers = {
            "transformer": torch.optim.AdamW(
                transformer.parameters(), config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
            )
        }

    def training_data(self) -> LatentVariants:
        """The encoded corpus (encoded on first use)."""
        data, mel = self.config.data, self.config.mel
        return LatentVariants(
            Path(self.config.latents),
            self.cache,
            self.indices,
            WaveWindows(self.cache, data.frames * mel.hop_length, "start", data.gain_db, data.max_shift),
            self.autoencoder,
            self.config.variants,
            self.accelerator.device,
        )

    def forward_once(self) -> None:
        """One clip through the network, for counting."""
        condition = Conditioning(
            torch.zeros(1, len(self.cache.emotions)), torch.ones(1, dtype=torch.bool), torch.ones(1)
        )
        self.networks["transformer"](torch.zeros(1, *self.shape), torch.zeros(1), condition)

    def step(self, batch: dict[str, Tensor], step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """One step on {x (B, L, C), intensities (B, K), seconds (B,)}."""
        clean = batch["x"]

        def dropped(share: float) -> Tensor:
            return uniform(len(clean), generator=generator) < share

        seconds = torch.where(dropped(self.config.seconds_dropout), torch.nan, batch["seconds"].float())
        condition = Conditioning(batch["intensities"], ~dropped(self.config.emotion_dropout), seconds)
        loss = self.preconditioning.loss(self.networks["transformer"], clean, condition, generator).mean()
        return {"loss": loss, "grad_norm": self.update("transformer", loss, "transformer")}

    def preview(self, step: int) -> Previews:
        """One clip for each of eight emotions, from the averaged weights."""
        network = self.average("transformer")
        device = next(network.parameters()).device
        chosen = torch.linspace(0, len(self.cache.emotions) - 1, min(8, len(self.cache.emotions))).long()
        intensities = torch.nn.functional.one_hot(chosen, len(self.cache.emotions)).float().to(device)
        count = len(chosen)
        condition = Conditioning(
            intensities,
            torch.ones(count, dtype=torch.bool, device=device),
            torch.full((count,), torch.nan, device=device),
        )
        sigmas = karras_sigmas(16)
        noise = normal(count, *self.shape, generator=torch.Generator().manual_seed(0)).to(device)
        sample = dpmpp_2m(guided(network, self.preconditioning, condition), noise * sigmas[0], sigmas)
        codec = self.autoencoder.to(device)
        mels = codec.decode(codec.denormalise(sample)).clamp(min=self.config.mel.log_floor)
        names = [self.cache.emotions.emotions[index] for index in chosen.tolist()]
        sounds = dict(zip(names, griffin_lim(mels, self.config.mel), strict=True))
        return Previews(dict(zip(names, mels, strict=True)), sounds, self.config.mel.sample_rate)

    def export(self, folder: Path) -> None:
        """Save the averaged transformer."""
        self.average("transformer").save_pretrained(folder)

    def clip_ids(self, batch: dict[str, Tensor]) -> list[str]:
        return [self.cache.ids[int(index)] for index in batch["index"]]

    def _initial(self, path: str) -> MelTransformer:
        transformer: MelTransformer = load_part(Path(path), "MelTransformer").train().requires_grad_(True)
        transformer.front_end.require_equal(self.config.mel, path, "the configuration")
        stored = transformer.config
        wanted = {
            "emotions": tuple(self.cache.emotions.emotions),
            "shape": self.shape,
            "preconditioning": self.config.preconditioning.arguments(),
        }
        found = {
            "emotions": tuple(stored.emotions),
            "shape": (stored.length, stored.in_channels),
            "preconditioning": dict(stored.preconditioning),
        }
        for key, value in wanted.items():
            if found[key] != value:
                raise VocalgenError(f"init: {path} was trained with {key} {found[key]}, the configuration has {value}")
        return transformer

    def _require_labels(self) -> None:
        unlabelled = np.isnan(self.cache.intensities[self.indices]).any(axis=1)
        if unlabelled.any():
            first = self.cache.ids[self.indices[np.flatnonzero(unlabelled)[0]]]
            raise VocalgenError(
                f"{int(unlabelled.sum())} training clips lack intensities, first {first}; fill them in the manifest"
            )
