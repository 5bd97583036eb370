"""Synthesis by MSG-GAN: one network an emotion, vocoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vocalgen.emotions import Condition
from vocalgen.errors import VocalgenError
from vocalgen.generation.gan import GANSynthesis, require_front_end
from vocalgen.generation.settings import Plain
from vocalgen.generation.synthesis import Emotion, Synthesiser
from vocalgen.models.msggan import MSGGANGenerator


class MSGGANSynthesis(GANSynthesis):
    """Emotion -> its network -> log-mel: what `MSGGANPipeline` and `MSGGANSynthesiser` share."""

    generator: MSGGANGenerator
    kind = Plain

    def condition(self, emotion: Emotion) -> Condition:
        """See `Synthesis.condition`; mixtures are refused."""
        condition = super().condition(emotion)
        if sum(intensity > 0 for intensity in condition.intensities) != 1:
            raise VocalgenError(
                f"this model (MSG-GAN) has one network an emotion and makes no mixtures, got {condition.label}; "
                f"ask for one of {', '.join(self.emotions.slugs)}"
            )
        return condition

    def sample_mels(self, intensities: Tensor, seeds: Sequence[int], duration: float | None, settings: Plain) -> Tensor:
        """See `Synthesis.sample_mels`."""
        return self.render(self.latents([torch.Generator().manual_seed(seed) for seed in seeds]), intensities)

    def between(self, intensities: Tensor, seeds: tuple[int, int], shares: Tensor, settings: Plain) -> Tensor:
        """See `Synthesis.between`.

        Raises:
            VocalgenError: the ends are of different emotions.
        """
        if not torch.equal(*intensities):
            raise VocalgenError("this model (MSG-GAN) has one network an emotion; nothing lies between two of them")
        start, end = self.latents([torch.Generator().manual_seed(seed) for seed in seeds])
        return self.render(torch.lerp(start, end, shares[:, None].to(start)), intensities[:1].expand(len(shares), -1))

    def render(self, z: Tensor, intensities: Tensor) -> Tensor:
        """(B, z_dim) and one-hot (B, K) -> (B, n_mels, frames) log-mels."""
        return self.generator.mels(z, intensities).float().clamp(min=self.mel.log_floor)


class MSGGANSynthesiser(MSGGANSynthesis, Synthesiser):
    """Generator and vocoder, see `Synthesiser`.

    Raises:
        VocalgenError: they were trained on different mel front ends.
    """

    def __init__(self, defaults: dict[str, Any], **parts: Any) -> None:
        require_front_end(**parts)
        super().__init__(defaults, **parts)
