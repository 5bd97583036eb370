"""Speaker encoder: a unit vector per clip that is alike for clips of one speaker, and the loss that it learns from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from vocalgen.mel import MelConfig
from vocalgen.models.autoencoder import STRIDE
from vocalgen.models.classifier import AttentiveStatistics, BandStem, convnext_stages, from_floor, run_stages


class SpeakerEncoder(ModelMixin, ConfigMixin):
    """ConvNeXt over the frames of log-mels, attentive statistics, a projection to the unit sphere.

    Args:
        mel: the front end as `MelConfig.to_dict()`.
        embedding_dim: values of an embedding.
        stem: channels of the two convolutions of the stem.
        widths, depths: channels and ConvNeXt blocks of the stages; the first runs at half the frame rate, each further
            one at half of the one before.
        expansion: of the ConvNeXt blocks.
        scale: divisor of log-mel values after the floor has been moved to zero.
    """

    @register_to_config
    def __init__(
        self,
        mel: dict[str, Any],
        embedding_dim: int = 64,
        stem: tuple[int, int] = (12, 16),
        widths: tuple[int, ...] = (96, 128, 192),
        depths: tuple[int, ...] = (1, 2, 2),
        expansion: int = 3,
        scale: float = 3.0,
    ) -> None:
        super().__init__()
        if len(widths) != len(depths):
            raise ValueError(f"widths {widths} and depths {depths} differ in length")
        self.bands = BandStem(MelConfig.from_dict(mel).n_mels, stem, widths[0])
        self.layers = convnext_stages(widths, depths, expansion)
        self.norm = nn.LayerNorm(widths[-1])
        self.pool = AttentiveStatistics(widths[-1])
        self.standardise = nn.BatchNorm1d(2 * widths[-1])
        self.project = nn.Linear(2 * widths[-1], embedding_dim)

    @property
    def front_end(self) -> MelConfig:
        """The log-mel that the input must come from."""
        return MelConfig.from_dict(self.config.mel)

    @property
    def embedding_dim(self) -> int:
        """Values of an embedding."""
        return int(self.config.embedding_dim)

    def forward(self, mel: Tensor, frames: Tensor) -> Tensor:
        """Embed clips.

        Args:
            mel: (B, n_mels, L) log-mels.
            frames: (B,) own frames of each clip; what lies beyond has no influence.

        Returns:
            (B, embedding_dim) of length one.
        """
        x = from_floor(mel, frames, self.front_end, self.config.scale, STRIDE ** len(self.config.widths))
        x, mask = run_stages(self.bands, self.layers, x, frames)
        return F.normalize(self.project(self.standardise(self.pool(self.norm(x), mask))).float(), dim=-1)

    def embed_clips(self, mels: Sequence[Tensor]) -> Tensor:
        """Embed whole clips (n_mels, L) of any length: (n, embedding_dim)."""
        frames = torch.tensor([mel.shape[-1] for mel in mels], device=mels[0].device)
        padded = nn.utils.rnn.pad_sequence([mel.mT.float() for mel in mels], batch_first=True)
        return self(padded.mT, frames)


class AngularMargin(nn.Module):
    """Additive angular margin softmax (ArcFace, arXiv 1801.07698) over the speakers of the training.

    Args:
        embedding_dim: values of an embedding.
        speakers: number of classes.
        scale: factor of the cosines.
    """

    def __init__(self, embedding_dim: int, speakers: int, scale: float = 30.0) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(speakers, embedding_dim))
        nn.init.xavier_normal_(self.weight)

    def forward(self, embedding: Tensor, speaker: Tensor, margin: float) -> tuple[Tensor, Tensor]:
        """Cross-entropy with the speaker's angle widened by `margin` radians.

        Args:
            embedding: (B, embedding_dim) of length one.
            speaker: (B,) class numbers.
            margin: 0 is a plain softmax over cosines.

        Returns:
            loss (), and cosines (B, speakers) without the margin.
        """
        cosine = F.linear(embedding, F.normalize(self.weight, dim=-1))
        own = cosine.gather(1, speaker[:, None])
        widened = own * math.cos(margin) - (1 - own.square()).clamp(min=1e-6).sqrt() * math.sin(margin)
        # Beyond pi - margin the widened angle would come back; a straight line goes on from there.
        widened = torch.where(own > -math.cos(margin), widened, own - math.sin(margin) * margin)
        return F.cross_entropy(self.scale * cosine.scatter(1, speaker[:, None], widened), speaker), cosine
