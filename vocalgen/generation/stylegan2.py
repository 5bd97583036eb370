"""Synthesis by StyleGAN2: one pass of the generator, truncation, vocoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vocalgen.errors import VocalgenError
from vocalgen.generation.gan import GANSynthesis, require_front_end
from vocalgen.generation.settings import Truncation
from vocalgen.generation.synthesis import Synthesiser
from vocalgen.models.autoencoder import MelAutoencoder
from vocalgen.models.stylegan2 import StyleGAN2Generator


class StyleGAN2Synthesis(GANSynthesis):
    """Emotion -> w -> log-mel, or latent and then log-mel: `StyleGAN2Pipeline` and `StyleGAN2Synthesiser` share it."""

    generator: StyleGAN2Generator
    autoencoder: MelAutoencoder | None
    kind = Truncation

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
        z = self.latents(generators)
        noise = [torch.stack(maps) for maps in zip(*(self.generator.noise(own) for own in generators), strict=True)]
        return z, [maps.to(self.execution_device) for maps in noise]

    def styles(self, z: Tensor, intensities: Tensor, psi: float = 1.0) -> Tensor:
        """(B, z_dim) and (B, K) -> (B, styles, w_dim), drawn towards the mean of the emotion by psi."""
        dtype = self.generator.dtype
        w = self.generator.map_latents(z, intensities.to(dtype))
        return self.generator.truncate(w, intensities.to(dtype), psi)

    def render(self, w: Tensor, noise: Sequence[Tensor]) -> Tensor:
        """(B, styles, w_dim) and noise -> (B, n_mels, frames) log-mels."""
        made = self.generator.synthesise(w, [maps.to(w.dtype) for maps in noise])
        mel = made if self.autoencoder is None else decoded(self.autoencoder, made)
        return mel.float().clamp(min=self.mel.log_floor)  # half precision has no such number


def decoded(autoencoder: MelAutoencoder, made: Tensor) -> Tensor:
    """Normalised latents (B, latent_dim, L) -> log-mels (B, n_mels, L * downsampling)."""
    return autoencoder.decode(autoencoder.denormalise(made.transpose(1, 2)))


def require_autoencoder(generator: StyleGAN2Generator, autoencoder: MelAutoencoder | None) -> None:
    """Raise VocalgenError unless the autoencoder is one the generator was trained on, or neither has latents."""
    config = generator.config
    if autoencoder is None:
        if config.latent_dim is not None:
            raise VocalgenError("this generator makes latents; give the autoencoder it was trained on")
        return
    autoencoder.front_end.require_equal(generator.front_end, "autoencoder", "generator")
    sizes = (autoencoder.latent_dim, autoencoder.downsampling)
    if (config.latent_dim, config.downsampling) != sizes:
        wanted = "log-mels" if config.latent_dim is None else f"latents of {config.latent_dim} channels"
        raise VocalgenError(f"the autoencoder has {sizes[0]} channels of {sizes[1]} frames each, not {wanted}")


class StyleGAN2Synthesiser(StyleGAN2Synthesis, Synthesiser):
    """Generator, autoencoder (or None) and vocoder, see `Synthesiser`.

    Raises:
        VocalgenError: they do not belong together.
    """

    def __init__(self, defaults: dict[str, Any], **parts: Any) -> None:
        require_front_end(parts["generator"], parts["vocoder"])
        require_autoencoder(parts["generator"], parts["autoencoder"])
        super().__init__(defaults, **parts)
