"""Synthesis by StyleGAN2: one pass of the generator, truncation, vocoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vocalgen.errors import VocalgenError
from vocalgen.generation.settings import Truncation
from vocalgen.generation.synthesis import Synthesis, Synthesiser
from vocalgen.models.stylegan2 import StyleGAN2Generator
from vocalgen.models.vocoder import vocoder_mel

if TYPE_CHECKING:
    from vocalgen.models.vocoder import Vocoder


class StyleGAN2Synthesis(Synthesis):
    """Emotion -> w -> log-mel: what `StyleGAN2Pipeline` and `StyleGAN2Synthesiser` share."""

    generator: StyleGAN2Generator
    kind = Truncation

    @property
    def network(self) -> StyleGAN2Generator:
        """The generator."""
        return self.generator

    @property
    def seconds(self) -> float:
        """Length of all clips before they are trimmed."""
        return int(self.generator.config.frames) / self.mel.frame_rate

    def require_duration(self, duration: float | None) -> None:
        """Raise VocalgenError if a length is asked for."""
        if duration is not None:
            raise VocalgenError("this model (StyleGAN2) decides itself how long a burst is; leave the duration out")

    def sample_mels(
        self, intensities: Tensor, seeds: Sequence[int], duration: float | None, settings: Truncation
    ) -> Tensor:
        """See `Synthesis.sample_mels`."""
        z, noise = self.randomness(seeds)
        return self.render(self.styles(z, intensities, settings.psi), noise)

    def between(self, intensities: Tensor, seeds: tuple[int, int], shares: Tensor, settings: Truncation) -> Tensor:
        """See `Synthesis.between`."""
        z, noise = self.randomness(seeds)
        start, end = self.styles(z, intensities, settings.psi)
        w = torch.lerp(start, end, shares[:, None, None].to(start))
        return self.render(w, [maps[:1].expand(len(shares), -1, -1, -1) for maps in noise])

    def randomness(self, seeds: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        """z (B, z_dim) and noise (B, 2, *size) for each size."""
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        z = torch.stack([torch.randn(int(self.generator.config.z_dim), generator=own) for own in generators])
        noise = [torch.stack(maps) for maps in zip(*(self.generator.noise(own) for own in generators), strict=True)]
        return z.to(self.generator.device), [maps.to(self.generator.device) for maps in noise]

    def styles(self, z: Tensor, intensities: Tensor, psi: float = 1.0) -> Tensor:
        """(B, z_dim) and (B, K) -> (B, styles, w_dim), drawn towards the mean of the emotion by psi."""
        dtype = self.generator.dtype
        w = self.generator.mapping(z.to(dtype), intensities.to(dtype))[:, None].expand(-1, self.generator.styles, -1)
        return self.generator.truncate(w, intensities.to(dtype), psi)

    def render(self, w: Tensor, noise: Sequence[Tensor]) -> Tensor:
        """(B, styles, w_dim) and noise -> (B, n_mels, frames) log-mels."""
        mel = self.generator.synthesise(w, [maps.to(w.dtype) for maps in noise]).float()
        return mel.clamp(min=self.mel.log_floor)  # half precision has no such number


def require_front_end(generator: StyleGAN2Generator, vocoder: Vocoder) -> None:
    """Raise VocalgenError, printing both, unless generator and vocoder were trained on the same log-mel."""
    vocoder_mel(vocoder).require_equal(generator.front_end, "vocoder", "generator")


class StyleGAN2Synthesiser(StyleGAN2Synthesis, Synthesiser):
    """Generator and vocoder, see `Synthesiser`.

    Raises:
        VocalgenError: they were trained on different mel front ends.
    """

    def __init__(self, defaults: dict[str, Any], **parts: Any) -> None:
        require_front_end(**parts)
        super().__init__(defaults, **parts)
