"""Objective of StyleGAN2 on log-mels: adversarial losses, lazy regularisation, adaptive augmentation."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from vocalgen.data import WaveWindows
from vocalgen.errors import VocalgenError
from vocalgen.float32 import normal, uniform
from vocalgen.generation.stylegan2 import decoded
from vocalgen.models.autoencoder import MelFrames
from vocalgen.models.mel_maps import Layout
from vocalgen.models.stylegan2 import Architecture, StyleGAN2Discriminator, StyleGAN2Generator
from vocalgen.training.adversarial import AdversarialConfig, AdversarialObjective, variety
from vocalgen.training.augment import MelAugmentation
from vocalgen.training.latents import LatentVariants, load_codec

PATH_DECAY = 0.01
"""Share of the newest batch in the running mean of path lengths (StyleGAN2, appendix B)."""


@dataclass(frozen=True)
class GeneratorModel:
    """Sizes, see `StyleGAN2Generator`; `layout`, `patch`, `base` and `kernel` are the discriminator's too."""

    layout: Layout = "frames"
    patch: int = 4
    base: tuple[int, int] = (1, 6)
    channels: tuple[int, ...] = (384,)
    kernel: int = 3
    z_dim: int = 256
    w_dim: int = 256
    mapping_depth: int = 4
    architecture: Architecture = "skip"


@dataclass(frozen=True)
class DiscriminatorModel:
    """Sizes, see `StyleGAN2Discriminator`."""

    channels: tuple[int, ...] = (384,)
    architecture: Architecture = "residual"
    group: int = 4


@dataclass(frozen=True)
class AdaptiveAugmentation:
    """How much real and generated clips are changed before they are judged (StyleGAN2-ADA, arXiv 2006.06676).

    Args:
        target: mean sign of the scores of real clips that is aimed at; higher means overfitting, and more changes. 1
            means no changes at all.
        kimg: thousands of clips over which the share could go from 0 to 1.
        changes: which are made.
    """

    target: float = 0.6
    kimg: float = 100.0
    changes: MelAugmentation = field(default_factory=MelAugmentation)

    def __post_init__(self) -> None:
        if not -1 <= self.target <= 1:
            raise VocalgenError(f"augmentation.target is {self.target}; it must be in [-1, 1]")
        if not self.kimg > 0:
            raise VocalgenError(f"augmentation.kimg is {self.kimg}; it must be positive")


@dataclass(frozen=True)
class StyleGAN2Config(AdversarialConfig):
    """Configuration of `recipes/train_gan.py` for `kind: stylegan2`, the default.

    Args:
        loss: "logistic", the non-saturating loss of StyleGAN2, or "relativistic", which compares pairs of a real and a
            generated clip of one emotion (R3GAN, arXiv 2501.05441).
        r1_gamma, r2_gamma: weights of the squared gradients at real and at generated clips (arXiv 1801.04406). These
            are log-mels in nat: where a paper's values have 1 / k of their range, its gamma is to be taken times k^2,
            and its path_length_weight by k^2 less.
        r1_interval: steps between them; they weigh that much more.
        mismatch_weight: of the comparison of real clips with the same clips under another clip's emotions, from which
            the discriminator learns what emotions sound like (matching-aware, arXiv 1605.05396); 0: none.
        path_length_weight, path_length_interval: of the path-length regulariser (StyleGAN2, section 3.2).
        style_mixing: share of clips made from two latents.
        autoencoder: folder of a trained autoencoder, whose latents are then what both networks work on; null: log-mels.
        latents: folder for the encoded corpus.
        variants: encoded random gains and shifts of every clip.
    """

    kind: Literal["stylegan2"] = "stylegan2"
    model: GeneratorModel = field(default_factory=GeneratorModel)
    discriminator: DiscriminatorModel = field(default_factory=DiscriminatorModel)
    augmentation: AdaptiveAugmentation = field(default_factory=AdaptiveAugmentation)
    learning_rate: float = 2e-3
    discriminator_learning_rate: float = 2e-3
    loss: Literal["logistic", "relativistic"] = "logistic"
    r1_gamma: float = 0.2
    r2_gamma: float = 0.0
    r1_interval: int = 16
    mismatch_weight: float = 0.0
    path_length_weight: float = 2.0
    path_length_interval: int = 4
    style_mixing: float = 0.9
    autoencoder: str | None = None
    latents: str = "data/latents"
    variants: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("r1_interval", "path_length_interval"):
            if getattr(self, name) < 1:
                raise VocalgenError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("r1_gamma", "r2_gamma", "mismatch_weight", "path_length_weight"):
            if not getattr(self, name) >= 0:
                raise VocalgenError(f"{name} is {getattr(self, name)}; it must not be negative")
        if not 0 <= self.style_mixing <= 1:
            raise VocalgenError(f"style_mixing is {self.style_mixing}; it must be in [0, 1]")
        if self.autoencoder is not None and self.augmentation.target < 1:
            raise VocalgenError("augmentation changes log-mels, not latents; set augmentation.target=1")


class StyleGAN2Objective(AdversarialObjective[StyleGAN2Config]):
    """Trains `StyleGAN2Generator` against `StyleGAN2Discriminator`."""

    def __init__(self, config: StyleGAN2Config) -> None:
        super().__init__(config, config.discriminator.group)
        common = {"mel": config.mel.to_dict(), "emotions": self.emotions.emotions, "frames": config.data.frames}
        self.codec = load_codec(config.autoencoder, config.mel)
        if config.autoencoder is not None:
            common |= {"latent_dim": self.codec.latent_dim, "downsampling": self.codec.downsampling}
        shared = {key: getattr(config.model, key) for key in ("layout", "patch", "base", "kernel")}
        torch.manual_seed(config.loop.seed)
        generator = StyleGAN2Generator(**common, **asdict(config.model))
        discriminator = StyleGAN2Discriminator(**common, **shared, **asdict(config.discriminator))
        self.networks = {"generator": generator, "discriminator": discriminator}
        self.optimizers = self.adam(config.learning_rate, config.discriminator_learning_rate)
        self.state = {"augmentation": torch.zeros(()), "path_length": torch.zeros(())}

    def training_data(self) -> Dataset[dict[str, Any]]:
        """See `Objective.training_data`."""
        mels, data = super().training_data(), self.config.data
        if self.config.autoencoder is None:
            return mels
        windows = WaveWindows(
            self.cache, data.frames * self.config.mel.hop_length, "start", data.gain_db, data.max_shift
        )
        return LatentVariants(
            Path(self.config.latents),
            self.cache,
            self.indices,
            windows,
            self.codec,
            self.config.variants,
            self.accelerator.device,
            self.labels,
        )

    def forward_once(self) -> None:
        """One clip through the generator, for counting."""
        z, noise = self._latents(1, torch.Generator().manual_seed(0))
        self.networks["generator"](z, torch.ones(1, len(self.emotions)), noise)

    def step(self, batch: dict[str, Tensor], step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """One step on {mel (B, n_mels, L) or x (B, L, latent_dim), intensities (B, K)}: the discriminator first."""
        config, intensities = self.config, batch["intensities"]
        clips = batch["mel"] if "mel" in batch else batch["x"].transpose(1, 2)
        z, noise = self._latents(len(intensities), generator)
        made, w = self.networks["generator"](z, intensities, noise)
        share = float(self.state["augmentation"])
        change = config.augmentation.changes
        real = change(clips, share, self.floor, generator)
        fake = change(made, share, self.floor, generator)
        logs = self._judge(real, fake.detach(), intensities, step)
        score, true = self._convince(real, fake, intensities)
        loss = F.softplus(true - score).mean()
        logs |= {"generator": loss, "variety": variety(made) / variety(clips)}
        if config.path_length_weight and step % config.path_length_interval == 0:
            length, penalty = self._path_length(made, w, generator)
            loss = loss + config.path_length_weight * config.path_length_interval * penalty
            logs |= {"path_length": length}
        return logs | {"grad_norm": self.update("generator", loss, "generator")}

    def _judge(self, real: Tensor, fake: Tensor, intensities: Tensor, step: int) -> dict[str, Tensor]:
        """Update the discriminator."""
        config = self.config
        regularised = step % config.r1_interval == 0
        real, fake = real.requires_grad_(regularised), fake.requires_grad_(regularised and config.r2_gamma > 0)
        labels = torch.stack([intensities, intensities.roll(1, 0)], 1)  # their own and their neighbour's
        scores, mismatched = self.networks["discriminator"](torch.cat([real, fake]), labels.repeat(2, 1, 1)).unbind(1)
        true, false = scores.chunk(2)
        if config.loss == "logistic":
            loss = F.softplus(-true).mean() + F.softplus(false).mean()
        else:
            loss = F.softplus(false - true).mean()
        logs = {"discriminator": loss, "d_real": true.mean(), "d_fake": false.mean()}
        if config.mismatch_weight:
            mismatch = F.softplus(mismatched[: len(real)] - true).mean()
            loss = loss + config.mismatch_weight * mismatch
            logs["mismatch"] = mismatch
        if regularised:
            for name, clips, gamma in (("r1", real, config.r1_gamma), ("r2", fake, config.r2_gamma)):
                if gamma > 0:
                    (slope,) = torch.autograd.grad(scores.sum(), clips, create_graph=True)
                    penalty = slope.square().sum((1, 2)).mean()
                    loss = loss + 0.5 * gamma * config.r1_interval * penalty
                    logs[name] = penalty
        logs["discriminator_grad_norm"] = self.update("discriminator", loss, "discriminator")
        # Scores that are only ever compared have no zero: there the sign of the comparison takes its place.
        margin = true if config.loss == "logistic" else true - false
        return logs | {"augmentation": self._adapt(margin.detach())}

    def _adapt(self, true: Tensor) -> Tensor:
        """Move the share of changed clips by the sign of (mean sign of real scores - target)."""
        options, count = self.config.augmentation, self.config.loop.batch_size
        overfit = self.accelerator.reduce(true.sign().mean(), "mean").cpu() - options.target
        move = overfit.sign() * count / (1000 * options.kimg)
        self.state["augmentation"] = (self.state["augmentation"] + move).clamp(0.0, 1.0)
        return self.state["augmentation"]

    def _convince(self, real: Tensor, fake: Tensor, intensities: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of the generated clips for the generator's loss, and what they are compared with."""
        discriminator = self.plain("discriminator")
        discriminator.requires_grad_(False)
        score = discriminator(fake, intensities)
        true = score.new_zeros(())
        if self.config.loss == "relativistic":
            with torch.no_grad():
                true = discriminator(real, intensities)
        discriminator.requires_grad_(True)
        return score, true

    def _path_length(self, made: Tensor, w: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mean length of the gradients of random projections by w, and how far they are from their running mean."""
        direction = normal(*made.shape, generator=generator)
        projection = (made * direction).sum() / math.sqrt(made.shape[1] * made.shape[2])
        (slope,) = torch.autograd.grad(projection, w, create_graph=True)
        # A clip of silence alone is clamped everywhere: its slope is 0, where a root has no gradient.
        length = (slope.square().sum(2).mean(1) + 1e-8).sqrt()
        mean = self.accelerator.reduce(length.detach().mean(), "mean").cpu()
        self.state["path_length"] = torch.lerp(self.state["path_length"], mean, PATH_DECAY)
        return length.mean(), (length - self.state["path_length"].to(length.device)).square().mean()

    def _latents(self, count: int, generator: torch.Generator) -> tuple[Tensor, list[Tensor]]:
        """z with the share of the first of two latents, and noise, of a batch."""
        network: Any = self.plain("generator") if hasattr(self, "accelerator") else self.networks["generator"]
        z = normal(count, 2, network.config.z_dim + 1, generator=generator)
        chance, place = uniform(2, count, generator=generator)
        z[:, 0, -1] = torch.where(chance < self.config.style_mixing, place, 1.0)
        return z, [normal(count, 2, *size, generator=generator) for size in network.sizes]

    def sample(self, average: Any, intensities: Tensor, generator: torch.Generator) -> Tensor:
        """See `AdversarialObjective.sample`."""
        z = normal(len(intensities), average.config.z_dim, generator=generator)
        noise = [normal(len(z), 2, *size, generator=generator).to(intensities) for size in average.sizes]
        made: Tensor = average(z.to(intensities), intensities, noise)[0]
        if isinstance(self.codec, MelFrames):
            return made
        return decoded(self.codec.to(made.device), made).clamp(min=self.floor)

    def export(self, folder: Path) -> None:
        """Save the averaged generator with the mean w of each emotion."""
        average = copy.deepcopy(self.average("generator"))  # the means are no part of the training state
        average.measure_means()
        average.save_pretrained(folder)
