"""Objective of the speaker encoder: additive angular margin over training speakers, judged on others."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vocalgen.errors import VocalgenError
from vocalgen.mel import MelConfig
from vocalgen.metrics.verification import equal_error_rate, pair_scores
from vocalgen.models.speaker import AngularMargin, SpeakerEncoder
from vocalgen.training.augment import SpecAugment
from vocalgen.training.entry import DataConfig
from vocalgen.training.kept import groups
from vocalgen.training.loop_config import LoopConfig
from vocalgen.training.mels import ClipMels
from vocalgen.training.objective import Objective
from vocalgen.training.record import Previews


@dataclass(frozen=True)
class SpeakerModel:
    """Sizes, see `SpeakerEncoder`."""

    embedding_dim: int = 64
    stem: tuple[int, int] = (12, 16)
    widths: tuple[int, ...] = (96, 128, 192)
    depths: tuple[int, ...] = (1, 2, 2)
    expansion: int = 3


@dataclass(frozen=True)
class SpeakerConfig:
    """Configuration of `recipes/train_speaker.py`.

    Args:
        margin: angle in radians that a clip must be nearer to its speaker than to others.
        margin_warmup: steps over which it grows from zero.
        scale: factor of the cosines in the softmax.
        stretch: (low, high) of the random speed, log-uniform.
        augmentation: random masks; `band_shift` should stay 0, since it changes the voice.
        validation_split: split whose speakers give the equal error rate every `loop.preview_every` steps.
        validation_clips: most clips of each of these speakers.
    """

    data: DataConfig
    loop: LoopConfig
    mel: MelConfig = field(default_factory=MelConfig)
    model: SpeakerModel = field(default_factory=SpeakerModel)
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    margin: float = 0.2
    margin_warmup: int = 1000
    scale: float = 30.0
    stretch: tuple[float, float] = (0.9, 1.1)
    augmentation: SpecAugment = field(default_factory=lambda: SpecAugment(band_shift=0))
    validation_split: str = "validation"
    validation_clips: int = 30

    def __post_init__(self) -> None:
        if not 0 <= self.margin < 1:
            raise VocalgenError(f"margin is {self.margin}; it must be in [0, 1) radians")


class SpeakerObjective(Objective):
    """Trains `SpeakerEncoder`."""

    averaged = ("encoder",)

    def __init__(self, config: SpeakerConfig) -> None:
        self.config = config
        self.cache = config.data.open(config.mel)
        self.indices = self.cache.select(config.data.split)
        names = np.array(self.cache.speakers)
        known, speakers = np.unique(names[self.indices], return_inverse=True)
        if len(known) < 2:
            raise VocalgenError(f"split {config.data.split!r} has {len(known)} speaker; at least two are needed")
        self.speaker = torch.full((len(self.cache),), -1)
        self.speaker[torch.from_numpy(self.indices)] = torch.from_numpy(speakers)
        self.held_out = _some_of_each(self.cache.select(config.validation_split), names, config.validation_clips)
        self.dataset = ClipMels(self.cache, self.indices, config.data, config.mel, config.stretch)
        self._validation = ClipMels(self.cache, self.held_out, config.data, config.mel)
        torch.manual_seed(config.loop.seed)
        encoder = SpeakerEncoder(config.mel.to_dict(), **asdict(config.model))
        margin = AngularMargin(config.model.embedding_dim, len(known), config.scale)
        self.networks = {"encoder": encoder, "margin": margin}
        parameters = [*encoder.parameters(), *margin.parameters()]
        self.optimizers = {
            "encoder": torch.optim.AdamW(
                parameters, config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
            )
        }

    def forward_once(self) -> None:
        """One clip through the network, for counting."""
        frames = self.config.data.frames
        self.networks["encoder"].eval()(torch.zeros(1, self.config.mel.n_mels, frames), torch.tensor([frames]))

    def step(self, batch: dict[str, Tensor], step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """One step on {mel (B, n_mels, L), frames (B,), index (B,)}."""
        config = self.config
        mel = config.augmentation.shifted(batch["mel"], generator)
        mel = config.augmentation.masked(mel, config.mel.log_floor, generator)
        speaker = self.speaker[batch["index"].cpu()].to(mel.device)
        margin = config.margin * min(1.0, step / max(config.margin_warmup, 1))
        loss, cosine = self.networks["margin"](self.networks["encoder"](mel, batch["frames"]), speaker, margin)
        accuracy = (cosine.argmax(1) == speaker).float().mean()
        return {"loss": loss, "accuracy": accuracy, "grad_norm": self.update("encoder", loss, "encoder", "margin")}

    def preview(self, step: int) -> Previews:
        """Equal error rate of the averaged encoder over all pairs of validation clips."""
        encoder = self.average("encoder")
        device = next(encoder.parameters()).device
        embeddings = np.zeros((len(self.held_out), self.config.model.embedding_dim))
        mels = [torch.from_numpy(self._validation.mels[int(index)]).mT for index in self.held_out]
        for batch in groups([mel.shape[-1] for mel in mels], 64):
            embeddings[batch] = encoder.embed_clips([mels[place].to(device) for place in batch]).cpu().numpy()
        scores, same = pair_scores(embeddings, np.array(self.cache.speakers)[self.held_out])
        return Previews({}, {}, self.config.mel.sample_rate, {"validation_eer": equal_error_rate(scores, same)})

    def export(self, folder: Path) -> None:
        """Save the averaged encoder."""
        self.average("encoder").save_pretrained(folder)

    def clip_ids(self, batch: dict[str, Tensor]) -> list[str]:
        """Manifest ids of the batch."""
        return [self.cache.ids[int(index)] for index in batch["index"]]


def _some_of_each(indices: np.ndarray, speakers: np.ndarray, count: int) -> np.ndarray:
    """Up to `count` evenly spaced clips of each speaker.

    Raises:
        VocalgenError: there are no two speakers with two clips.
    """
    chosen = []
    for name in sorted(set(speakers[indices])):
        own = indices[speakers[indices] == name]
        chosen.append(own[np.unique(np.linspace(0, len(own) - 1, count).astype(int))])
    if len(chosen) < 2 or max(map(len, chosen)) < 2:
        raise VocalgenError("the equal error rate needs two validation speakers and two clips of one of them")
    return np.concatenate(chosen)
