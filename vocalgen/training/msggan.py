"""Objective of MSG-GAN on log-mels: relativistic average hinge loss on images of every size."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vocalgen.errors import VocalgenError
from vocalgen.float32 import normal
from vocalgen.models.mel_maps import Layout
from vocalgen.models.msggan import MSGGANDiscriminator, MSGGANGenerator
from vocalgen.training.adversarial import AdversarialConfig, AdversarialObjective, variety


@dataclass(frozen=True)
class MSGGANModel:
    """Sizes, see `MSGGANGenerator`; all but `z_dim` are the discriminator's too."""

    layout: Layout = "frames"
    patch: int = 4
    base: tuple[int, int] = (1, 6)
    channels: tuple[int, ...] = (256,)
    kernel: int = 3
    z_dim: int = 256


@dataclass(frozen=True)
class MSGGANConfig(AdversarialConfig):
    """Configuration of `recipes/train_gan.py` for `kind: msggan`; `emotions` must name one.

    Args:
        group: see `MSGGANDiscriminator`.
    """

    kind: Literal["msggan"] = "msggan"
    model: MSGGANModel = field(default_factory=MSGGANModel)
    group: int = 4
    learning_rate: float = 3e-3
    discriminator_learning_rate: float = 3e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.emotions is None or len(self.emotions) != 1:
            given = "all" if self.emotions is None else len(self.emotions)
            raise VocalgenError(f"MSG-GAN learns one emotion at a time, not {given}; give one, e.g. emotions=[Awe]")


class MSGGANObjective(AdversarialObjective[MSGGANConfig]):
    """Trains the network of one emotion of `MSGGANGenerator` against `MSGGANDiscriminator`."""

    def __init__(self, config: MSGGANConfig) -> None:
        super().__init__(config, config.group)
        common = {"mel": config.mel.to_dict(), "frames": config.data.frames}
        shared = asdict(config.model)
        z_dim = shared.pop("z_dim")
        torch.manual_seed(config.loop.seed)
        self.networks = {
            "generator": MSGGANGenerator(**common, **shared, emotions=self.emotions.emotions, z_dim=z_dim),
            "discriminator": MSGGANDiscriminator(**common, **shared, group=config.group),
        }
        self.optimizers = self.adam(config.learning_rate, config.discriminator_learning_rate)

    def forward_once(self) -> None:
        """One clip through the generator, for counting."""
        self.networks["generator"](torch.zeros(1, self.config.model.z_dim))

    def step(self, batch: dict[str, Tensor], step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """One step on {mel (B, n_mels, L)}: the discriminator first, then the generator."""
        plain = self.plain("discriminator")
        real = plain.pyramid(batch["mel"])
        z = normal(len(batch["mel"]), self.config.model.z_dim, generator=generator)
        fake = self.networks["generator"](z)

        scores = self.networks["discriminator"]([torch.cat([a, b.detach()]) for a, b in zip(real, fake, strict=True)])
        true, false = scores.chunk(2)
        loss = hinge(true, false)
        logs = {"discriminator": loss, "d_real": true.mean(), "d_fake": false.mean()}
        logs["discriminator_grad_norm"] = self.update("discriminator", loss, "discriminator")

        plain.requires_grad_(False)
        with torch.no_grad():
            true = plain(real)
        loss = hinge(plain(fake), true)
        plain.requires_grad_(True)
        made = plain.maps.mel(fake[-1])
        logs |= {"generator": loss, "variety": variety(made) / variety(batch["mel"])}
        return logs | {"grad_norm": self.update("generator", loss, "generator")}

    def sample(self, average: Any, intensities: Tensor, generator: torch.Generator) -> Tensor:
        """See `AdversarialObjective.sample`."""
        z = normal(len(intensities), average.config.z_dim, generator=generator)
        mels: Tensor = average.mels(z.to(intensities), intensities)
        return mels

    def export(self, folder: Path) -> None:
        """Save the averaged generator."""
        self.average("generator").save_pretrained(folder)


def hinge(high: Tensor, low: Tensor) -> Tensor:
    """Relativistic average hinge loss (arXiv 1807.00734) that wants scores `high` (B,) one above the mean of `low`."""
    return (F.relu(1 - (high - low.mean())) + F.relu(1 + (low - high.mean()))).mean()
