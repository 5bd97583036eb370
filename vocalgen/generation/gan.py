"""Synthesis by generators that make a mel of fixed length in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vocalgen.float32 import normal
from vocalgen.generation.settings import require_no_duration
from vocalgen.generation.synthesis import Synthesis
from vocalgen.models.vocoder import vocoder_mel

if TYPE_CHECKING:
    from vocalgen.models.vocoder import Vocoder


class GANSynthesis(Synthesis):
    """Emotion -> latent -> log-mel: what the adversarial families share."""

    generator: Any

    @property
    def network(self) -> Any:
        """The generator."""
        return self.generator

    @property
    def seconds(self) -> float:
        """Length of all clips before they are trimmed."""
        return int(self.generator.config.frames) / self.mel.frame_rate

    def require_duration(self, duration: float | None) -> None:
        """Raise VocalgenError if a length is asked for."""
        require_no_duration(duration)

    def latents(self, generators: Sequence[torch.Generator]) -> Tensor:
        """z (B, z_dim), each from a generator of its own."""
        z = torch.stack([normal(int(self.generator.config.z_dim), generator=own) for own in generators])
        return z.to(self.execution_device, self.generator.dtype)


def require_front_end(generator: Any, vocoder: Vocoder) -> None:
    """Raise VocalgenError, printing both, unless generator and vocoder were trained on the same log-mel."""
    vocoder_mel(vocoder).require_equal(generator.front_end, "vocoder", "generator")
