"""What the adversarial objectives share: clips of chosen emotions, previews, distances, alarms."""

from __future__ import annotations

import logging
from abc import abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import Dataset

from vocalgen.data import WaveCache
from vocalgen.emotions import Vocabulary, match_vocabulary
from vocalgen.errors import VocalgenError
from vocalgen.generation.synthesis import sounding
from vocalgen.mel import MelConfig
from vocalgen.metrics.frechet import Statistics, frechet_distance
from vocalgen.models.griffin_lim import griffin_lim
from vocalgen.recognition.scorer import Scorer
from vocalgen.training.entry import DataConfig
from vocalgen.training.loop_config import LoopConfig
from vocalgen.training.mels import ClipMels
from vocalgen.training.objective import Objective
from vocalgen.training.record import Previews

logger = logging.getLogger(__name__)

SHOWN, SEEDS = 8, 4
"""Emotions (rows) and seeds (columns) of the snapshot grid."""


@dataclass(frozen=True)
class AdversarialConfig:
    """What the configurations of `recipes/train_gan.py` share.

    Args:
        emotions: names to train on; clips in which another emotion of the manifest is the strongest are left out. None
            takes all.
        strongest_only: give each clip its strongest emotion at intensity 1 and the others at 0.
        scorer: exported classifier, or a shipped one by name, for the Fréchet distance of previews; None: no distance.
        fid_clips: clips of it.
        validation_split: what it is measured against.
    """

    data: DataConfig
    loop: LoopConfig
    mel: MelConfig = field(default_factory=MelConfig)
    emotions: tuple[str, ...] | None = None
    strongest_only: bool = False
    scorer: str | None = "emogator-classifier-24k"
    fid_clips: int = 300
    validation_split: str = "validation"

    def __post_init__(self) -> None:
        if self.fid_clips < 1:
            raise VocalgenError(f"fid_clips is {self.fid_clips}; it must be at least 1")


Config = TypeVar("Config", bound=AdversarialConfig)


class AdversarialObjective(Objective, Generic[Config]):
    """A generator of log-mels against a discriminator; subclasses bring both networks and their losses."""

    averaged = ("generator",)

    def __init__(self, config: Config, group: int) -> None:
        self.config, self.group = config, group
        self.cache = config.data.open(config.mel)
        self.emotions, self.labels = labels_of(self.cache, config.emotions, config.strongest_only)
        self.indices = self._select(config.data.split)
        self._require_labels()
        self.dataset = ClipMels(self.cache, self.indices, config.data, config.mel, intensities=self.labels)
        self.floor = config.mel.log_floor
        self._require_groups(1)
        if config.scorer is not None:
            self._require_scorer(config.scorer)

    def adam(self, generator: float, discriminator: float) -> dict[str, Optimizer]:
        """Adam for both networks at these learning rates, without momentum, as style-based GANs are trained."""
        rates = {"generator": generator, "discriminator": discriminator}
        return {
            name: torch.optim.Adam(network.parameters(), rates[name], betas=(0.0, 0.99))
            for name, network in self.networks.items()
        }

    @abstractmethod
    def sample(self, average: Any, intensities: Tensor, generator: torch.Generator) -> Tensor:
        """Log-mels (B, n_mels, L) of the averaged generator for intensities (B, K); `generator` is of the CPU."""

    def training_data(self) -> Dataset[dict[str, Any]]:
        """See `Objective.training_data`."""
        self._require_groups(self.accelerator.num_processes)
        return self.dataset

    def label_arrays(self) -> list[np.ndarray]:
        """See `Objective.label_arrays`."""
        return [self.labels]

    def _select(self, split: str) -> np.ndarray:
        """Clips of a split that are of the chosen emotions: those left out have no label greater than 0."""
        indices = self.cache.select(split)
        kept = indices[~(self.labels[indices] == 0).all(axis=1)]
        if not len(kept):
            raise VocalgenError(
                f"no clip of split {split!r} has {', '.join(self.emotions.emotions)} as its strongest emotion"
            )
        return kept

    def _require_groups(self, processes: int) -> None:
        """Groups of the minibatch deviation must be whole, or real clips would be grouped with generated ones."""
        count = self.config.loop.batch_size
        if self.group < 1 or count % (self.group * processes):
            times = f" times {processes} processes" if processes > 1 else ""
            raise VocalgenError(f"loop.batch_size {count} must divide by discriminator.group {self.group}{times}")

    def _require_scorer(self, folder: str) -> None:
        """Find now what would stop the run at its first preview."""
        self.scorer.mel.require_equal(self.config.mel, f"scorer {folder}", "the configuration")
        validation = len(self._select(self.config.validation_split))
        if min(validation, self.config.fid_clips) <= self.scorer.dim:
            raise VocalgenError(
                f"a Fréchet distance in the {self.scorer.dim} dimensions of scorer {folder} needs more clips: "
                f"fid_clips is {self.config.fid_clips}, the split {self.config.validation_split} has {validation}; "
                f"`scorer: null` leaves it out"
            )

    def _require_labels(self) -> None:
        unlabelled = np.isnan(self.labels[self.indices]).any(axis=1)
        if unlabelled.any():
            first = self.cache.ids[self.indices[np.flatnonzero(unlabelled)[0]]]
            raise VocalgenError(
                f"{int(unlabelled.sum())} training clips lack intensities, first {first}; fill them in the manifest"
            )

    def alarms(self, means: dict[str, float]) -> list[str]:
        """What looks like a collapse."""
        found = []
        if means["variety"] < 0.05:
            found.append(
                f"the generated clips hardly differ (their deviation is {means['variety']:.1%} of that of real ones): "
                f"the generator has collapsed; go back to an earlier save, regularise the discriminator more or lower "
                f"the learning rates"
            )
        if means["discriminator"] < 0.01:
            found.append(
                f"the discriminator's loss is {means['discriminator']:.2g}: it no longer errs, and the generator "
                f"learns nothing from it; regularise it more or lower discriminator_learning_rate"
            )
        return found

    @torch.no_grad()
    def preview(self, step: int) -> Previews:
        """A grid of emotions by seeds, a clip of each, and the Fréchet distance of the averaged generator."""
        chosen = np.linspace(0, len(self.emotions) - 1, min(SHOWN, len(self.emotions))).astype(int)
        mels = self.make(np.repeat(chosen, SEEDS), seed=0)
        grid = torch.cat([torch.cat(list(row), dim=1) for row in reversed(mels.split(SEEDS))])
        names = [self.emotions.emotions[index] for index in chosen]
        sounds = dict(zip(names, griffin_lim(mels[::SEEDS], self.config.mel), strict=True))
        return Previews({"grid": grid}, sounds, self.config.mel.sample_rate, self._distance())

    @torch.no_grad()
    def make(self, emotions: np.ndarray, seed: int) -> Tensor:
        """Log-mels (n, n_mels, L) of the averaged generator for (n,) emotions."""
        average = self.average("generator")
        device = next(average.parameters()).device
        generator = torch.Generator().manual_seed(seed)
        intensities = F.one_hot(torch.as_tensor(emotions), len(self.emotions)).float()
        parts = [self.sample(average, part.to(device), generator).float().cpu() for part in intensities.split(32)]
        return torch.cat(parts)

    def _distance(self) -> dict[str, float]:
        """Fréchet distance of `fid_clips` clips to the validation split; accuracy if the scorer knows the emotions."""
        if self.config.scorer is None:
            return {}
        emotions = np.arange(self.config.fid_clips) % len(self.emotions)
        scores = self.scorer.score_mels([sounding(mel) for mel in self.make(emotions, seed=1)])
        figures = {"frechet": frechet_distance(Statistics.of(scores.embeddings), self.reference)}
        if set(self.emotions.emotions) <= set(self.scorer.emotions.emotions):
            target = np.array([self.scorer.emotions.index(name) for name in self.emotions.emotions])[emotions]
            figures["accuracy"] = float(scores.hits(target).mean())
        return figures

    @cached_property
    def scorer(self) -> Scorer:
        """The classifier whose embedding distances are taken in."""
        assert self.config.scorer is not None
        return Scorer.load(self.config.scorer)

    @cached_property
    def reference(self) -> Statistics:
        """Embeddings of the validation split."""
        held_out = self._select(self.config.validation_split)
        mels = ClipMels(self.cache, held_out, self.config.data, self.config.mel).mels
        return Statistics.of(
            self.scorer.score_mels([sounding(torch.from_numpy(mel.T).float()) for mel in mels.values()]).embeddings
        )

    def clip_ids(self, batch: dict[str, Tensor]) -> list[str]:
        """Manifest ids of the batch."""
        return [self.cache.ids[int(index)] for index in batch["index"]]


def labels_of(
    cache: WaveCache, emotions: tuple[str, ...] | None, strongest_only: bool
) -> tuple[Vocabulary, np.ndarray]:
    """The chosen emotions and the intensities (clips, K) of all clips in them; all 0 for clips of other emotions.

    Raises:
        VocalgenError: a name that the manifest does not have.
    """
    columns = range(len(cache.emotions)) if emotions is None else [cache.emotions.index(name) for name in emotions]
    strongest = np.where(np.isnan(cache.intensities), -np.inf, cache.intensities).argmax(axis=1)
    labels = cache.intensities[:, list(columns)].copy()
    if strongest_only:
        known = ~np.isnan(cache.intensities).any(axis=1)
        labels[known] = strongest[known, None] == np.array(columns)
    labels[~np.isin(strongest, columns) & ~np.isnan(labels).any(axis=1)] = 0.0
    return match_vocabulary(cache.emotions.emotions[column] for column in columns), labels


def variety(mels: Tensor) -> Tensor:
    """Mean over bands and frames of the deviation within a batch (B, n_mels, L)."""
    return mels.detach().float().std(0).mean()
