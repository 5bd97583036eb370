"""Objective of StyleGAN2 on log-mels: adversarial losses, lazy regularisation, adaptive augmentation."""

from __future__ import annotations

import copy
import logging
import math
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from vocalgen.errors import VocalgenError
from vocalgen.generation.synthesis import sounding
from vocalgen.mel import MelConfig
from vocalgen.metrics.frechet import Statistics, frechet_distance
from vocalgen.models.griffin_lim import griffin_lim
from vocalgen.models.stylegan2 import Architecture, Layout, StyleGAN2Discriminator, StyleGAN2Generator
from vocalgen.recognition.scorer import Scorer
from vocalgen.training.augment import MelAugmentation
from vocalgen.training.entry import DataConfig
from vocalgen.training.loop import LoopConfig, Objective
from vocalgen.training.mels import ClipMels
from vocalgen.training.record import Previews

logger = logging.getLogger(__name__)

PATH_DECAY = 0.01
"""Share of the newest batch in the running mean of path lengths (StyleGAN2, appendix B)."""

SHOWN, SEEDS = 8, 4
"""Emotions (rows) and seeds (columns) of the snapshot grid."""


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
class GANConfig:
    """Configuration of `recipes/train_gan.py` for `kind: stylegan2`, the default.

    Args:
        loss: "logistic", the non-saturating loss of StyleGAN2, or "relativistic", which compares pairs of a real and a
            generated clip of one emotion (R3GAN, arXiv 2501.05441).
        r1_gamma, r2_gamma: weights of the squared gradients at real and at generated clips (arXiv 1801.04406). These
            are log-mels in nat: where a paper's values have 1 / k of their range, its gamma is to be taken times k^2,
            and its path_length_weight by k^2 less.
        r1_interval: steps between them; they weigh that much more.
        path_length_weight, path_length_interval: of the path-length regulariser (StyleGAN2, section 3.2).
        style_mixing: share of clips made from two latents.
        scorer: exported classifier for the Fréchet distance of previews; None: no distance.
        fid_clips: clips of it.
    """

    data: DataConfig
    loop: LoopConfig
    kind: Literal["stylegan2"] = "stylegan2"
    mel: MelConfig = field(default_factory=MelConfig)
    model: GeneratorModel = field(default_factory=GeneratorModel)
    discriminator: DiscriminatorModel = field(default_factory=DiscriminatorModel)
    augmentation: AdaptiveAugmentation = field(default_factory=AdaptiveAugmentation)
    learning_rate: float = 2e-3
    discriminator_learning_rate: float = 2e-3
    loss: Literal["logistic", "relativistic"] = "logistic"
    r1_gamma: float = 0.2
    r2_gamma: float = 0.0
    r1_interval: int = 16
    path_length_weight: float = 2.0
    path_length_interval: int = 4
    style_mixing: float = 0.9
    scorer: str | None = "checkpoints/emogator-classifier-24k"
    fid_clips: int = 300
    validation_split: str = "validation"

    def __post_init__(self) -> None:
        for name in ("r1_interval", "path_length_interval", "fid_clips"):
            if getattr(self, name) < 1:
                raise VocalgenError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("r1_gamma", "r2_gamma", "path_length_weight"):
            if not getattr(self, name) >= 0:
                raise VocalgenError(f"{name} is {getattr(self, name)}; it must not be negative")
        if not 0 <= self.style_mixing <= 1:
            raise VocalgenError(f"style_mixing is {self.style_mixing}; it must be in [0, 1]")


class GANObjective(Objective):
    """Trains `StyleGAN2Generator` against `StyleGAN2Discriminator`."""

    averaged = ("generator",)

    def __init__(self, config: GANConfig) -> None:
        self.config = config
        self.cache = config.data.open(config.mel)
        self.indices = self.cache.select(config.data.split)
        self._require_labels()
        self.dataset = ClipMels(self.cache, self.indices, config.data, config.mel)
        self.floor = config.mel.log_floor
        self._require_groups(1)
        if config.scorer is not None:
            self._require_scorer(config.scorer)
        common = {"mel": config.mel.to_dict(), "emotions": self.cache.emotions.emotions, "frames": config.data.frames}
        shared = {key: getattr(config.model, key) for key in ("layout", "patch", "base", "kernel")}
        torch.manual_seed(config.loop.seed)
        generator = StyleGAN2Generator(**common, **asdict(config.model))
        discriminator = StyleGAN2Discriminator(**common, **shared, **asdict(config.discriminator))
        self.networks = {"generator": generator, "discriminator": discriminator}
        rates = {"generator": config.learning_rate, "discriminator": config.discriminator_learning_rate}
        self.optimizers = {
            name: torch.optim.Adam(network.parameters(), rates[name], betas=(0.0, 0.99))
            for name, network in self.networks.items()
        }
        self.state = {"augmentation": torch.zeros(()), "path_length": torch.zeros(())}

    def training_data(self) -> Dataset[dict[str, Any]]:
        """See `Objective.training_data`."""
        self._require_groups(self.accelerator.num_processes)
        return self.dataset

    def _require_groups(self, processes: int) -> None:
        """Groups of the minibatch deviation must be whole, or real clips would be grouped with generated ones."""
        group, count = self.config.discriminator.group, self.config.loop.batch_size
        if group < 1 or count % (group * processes):
            times = f" times {processes} processes" if processes > 1 else ""
            raise VocalgenError(f"loop.batch_size {count} must divide by discriminator.group {group}{times}")

    def _require_scorer(self, folder: str) -> None:
        """Find now what would stop the run at its first preview."""
        self.scorer.mel.require_equal(self.config.mel, f"scorer {folder}", "the configuration")
        validation = len(self.cache.select(self.config.validation_split))
        if min(validation, self.config.fid_clips) <= self.scorer.dim:
            raise VocalgenError(
                f"a Fréchet distance in the {self.scorer.dim} dimensions of scorer {folder} needs more clips: "
                f"fid_clips is {self.config.fid_clips}, the split {self.config.validation_split} has {validation}; "
                f"`scorer: null` leaves it out"
            )

    def _require_labels(self) -> None:
        unlabelled = np.isnan(self.cache.intensities[self.indices]).any(axis=1)
        if unlabelled.any():
            first = self.cache.ids[self.indices[np.flatnonzero(unlabelled)[0]]]
            raise VocalgenError(
                f"{int(unlabelled.sum())} training clips lack intensities, first {first}; fill them in the manifest"
            )

    def forward_once(self) -> None:
        """One clip through the generator, for counting."""
        z, noise = self._latents(1, torch.Generator().manual_seed(0))
        self.networks["generator"](z, torch.ones(1, len(self.cache.emotions)), noise)

    def step(self, batch: dict[str, Tensor], step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """One step on {mel (B, n_mels, L), intensities (B, K)}: the discriminator first, then the generator."""
        config, intensities = self.config, batch["intensities"]
        z, noise = self._latents(len(intensities), generator)
        made, w = self.networks["generator"](z, intensities, noise)
        share = float(self.state["augmentation"])
        change = config.augmentation.changes
        real = change(batch["mel"], share, self.floor, generator)
        fake = change(made, share, self.floor, generator)
        logs = self._judge(real, fake.detach(), intensities, step)
        score, true = self._convince(real, fake, intensities)
        loss = F.softplus(true - score).mean()
        logs |= {"generator": loss, "variety": variety(made) / variety(batch["mel"])}
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
        scores = self.networks["discriminator"](torch.cat([real, fake]), intensities.repeat(2, 1))
        true, false = scores.chunk(2)
        if config.loss == "logistic":
            loss = F.softplus(-true).mean() + F.softplus(false).mean()
        else:
            loss = F.softplus(false - true).mean()
        logs = {"discriminator": loss, "d_real": true.mean(), "d_fake": false.mean()}
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
        direction = torch.randn(made.shape, generator=generator, device=made.device)
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
        device = generator.device
        z = torch.randn(count, 2, network.config.z_dim + 1, generator=generator, device=device)
        chance, place = torch.rand(2, count, generator=generator, device=device)
        z[:, 0, -1] = torch.where(chance < self.config.style_mixing, place, 1.0)
        return z, [torch.randn(count, 2, *size, generator=generator, device=device) for size in network.sizes]

    def alarms(self, means: dict[str, float]) -> list[str]:
        """What looks like a collapse."""
        found = []
        if means["variety"] < 0.05:
            found.append(
                f"the generated clips hardly differ (their deviation is {means['variety']:.1%} of that of real ones): "
                f"the generator has collapsed; go back to an earlier save, raise r1_gamma or lower the learning rates"
            )
        if means["discriminator"] < 0.01:
            found.append(
                f"the discriminator's loss is {means['discriminator']:.2g}: it no longer errs, and the generator "
                f"learns nothing from it; raise r1_gamma or lower discriminator_learning_rate"
            )
        return found

    @torch.no_grad()
    def preview(self, step: int) -> Previews:
        """A grid of emotions by seeds, a clip of each, and the Fréchet distance of the averaged generator."""
        chosen = np.linspace(0, len(self.cache.emotions) - 1, min(SHOWN, len(self.cache.emotions))).astype(int)
        mels = self.make(np.repeat(chosen, SEEDS), seed=0)
        grid = torch.cat([torch.cat(list(row), dim=1) for row in reversed(mels.split(SEEDS))])
        names = [self.cache.emotions.emotions[index] for index in chosen]
        sounds = dict(zip(names, griffin_lim(mels[::SEEDS], self.config.mel), strict=True))
        return Previews({"grid": grid}, sounds, self.config.mel.sample_rate, self._distance())

    @torch.no_grad()
    def make(self, emotions: np.ndarray, seed: int) -> Tensor:
        """Log-mels (n, n_mels, L) of the averaged generator for (n,) emotions."""
        average = self.average("generator")
        device = next(average.parameters()).device
        generator = torch.Generator().manual_seed(seed)
        intensities = F.one_hot(torch.as_tensor(emotions), len(self.cache.emotions)).float()
        parts = []
        for part in intensities.split(32):
            z = torch.randn(len(part), average.config.z_dim, generator=generator)
            noise = [torch.randn(len(part), 2, *size, generator=generator).to(device) for size in average.sizes]
            parts.append(average(z.to(device), part.to(device), noise)[0].float().cpu())
        return torch.cat(parts)

    def _distance(self) -> dict[str, float]:
        """Fréchet distance of `fid_clips` clips to the validation split; accuracy if the scorer knows the emotions."""
        if self.config.scorer is None:
            return {}
        emotions = np.arange(self.config.fid_clips) % len(self.cache.emotions)
        scores = self.scorer.score_mels([sounding(mel) for mel in self.make(emotions, seed=1)])
        distance = frechet_distance(Statistics.of(scores.embeddings), self.reference)
        figures = {"frechet": distance}
        if self.scorer.emotions.emotions == self.cache.emotions.emotions:
            figures["accuracy"] = float(scores.hits(emotions).mean())
        return figures

    @cached_property
    def scorer(self) -> Scorer:
        """The classifier whose embedding distances are taken in."""
        assert self.config.scorer is not None
        return Scorer.load(self.config.scorer)

    @cached_property
    def reference(self) -> Statistics:
        """Embeddings of the validation split."""
        mels = ClipMels(
            self.cache, self.cache.select(self.config.validation_split), self.config.data, self.config.mel
        ).mels
        return Statistics.of(
            self.scorer.score_mels([sounding(torch.from_numpy(mel.T).float()) for mel in mels.values()]).embeddings
        )

    def export(self, folder: Path) -> None:
        """Save the averaged generator with the mean w of each emotion."""
        average = copy.deepcopy(self.average("generator"))  # the means are no part of the training state
        average.measure_means()
        average.save_pretrained(folder)

    def clip_ids(self, batch: dict[str, Tensor]) -> list[str]:
        return [self.cache.ids[int(index)] for index in batch["index"]]


def variety(mels: Tensor) -> Tensor:
    """Mean over bands and frames of the deviation within a batch (B, n_mels, L)."""
    return mels.detach().float().std(0).mean()
