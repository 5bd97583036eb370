"""Synthesis by latent diffusion: sampler, transformer, autoencoder, vocoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vocalgen.float32 import normal
from vocalgen.generation.samplers import SOLVERS, guided, karras_sigmas
from vocalgen.generation.settings import Sampling
from vocalgen.generation.synthesis import Synthesis, Synthesiser
from vocalgen.models.autoencoder import MelAutoencoder, MelFrames
from vocalgen.models.denoiser import preconditioning
from vocalgen.models.transformer import Conditioning, MelTransformer
from vocalgen.models.vocoder import vocoder_mel

if TYPE_CHECKING:
    from vocalgen.models.vocoder import Vocoder


class DiffusionSynthesis(Synthesis):
    """Emotion -> diffusion -> latent -> log-mel: what `VocalBurstPipeline` and `DiffusionSynthesiser` share."""

    transformer: MelTransformer
    autoencoder: MelAutoencoder | MelFrames
    kind = Sampling

    @property
    def network(self) -> MelTransformer:
        """The transformer."""
        return self.transformer

    @property
    def seconds(self) -> float:
        """Longest clip the model can make."""
        return int(self.transformer.config.length) * self.autoencoder.downsampling / self.mel.frame_rate

    def sample_mels(
        self, intensities: Tensor, seeds: Sequence[int], duration: float | None, settings: Sampling
    ) -> Tensor:
        """See `Synthesis.sample_mels`."""
        return self._sample(intensities, torch.stack([self._noise(seed) for seed in seeds]), duration, settings)

    def between(self, intensities: Tensor, seeds: tuple[int, int], shares: Tensor, settings: Sampling) -> Tensor:
        """See `Synthesis.between`."""
        first, second = (self._noise(seed) for seed in seeds)
        start, end = intensities
        # Along a great circle the noise stays as loud as the sampler expects it; both ends are about orthogonal.
        angle = 0.5 * torch.pi * shares[:, None, None] if seeds[0] != seeds[1] else torch.zeros(len(shares), 1, 1)
        noise = first * angle.cos() + second * angle.sin()
        return self._sample(torch.lerp(start, end, shares[:, None].to(start)), noise, None, settings)

    def _sample(self, intensities: Tensor, noise: Tensor, duration: float | None, settings: Sampling) -> Tensor:
        device, count = intensities.device, len(noise)
        conditioning = Conditioning(
            intensities,
            torch.ones(count, dtype=torch.bool, device=device),
            torch.full((count,), torch.nan if duration is None else duration, device=device),
        )
        sigmas = karras_sigmas(settings.steps, settings.sigma_min, settings.sigma_max, settings.rho)
        denoise = guided(
            self._denoise,
            preconditioning(**(self.transformer.config.preconditioning or {})),
            conditioning,
            settings.guidance,
            (settings.guidance_low, settings.guidance_high),
        )
        sample = SOLVERS[settings.solver](denoise, noise.to(device) * sigmas[0], sigmas)
        latent = self.autoencoder.denormalise(sample.to(self.autoencoder.dtype))
        return self.autoencoder.decode(latent).float().clamp(min=self.mel.log_floor)

    def _denoise(self, x: Tensor, noise: Tensor, condition: Conditioning) -> Tensor:
        """The transformer in its own precision; the sampler around it stays in float32."""
        dtype = self.transformer.dtype
        cast = Conditioning(condition.intensities.to(dtype), condition.keep, condition.seconds.to(dtype))
        return self.transformer(x.to(dtype), noise.to(dtype), cast).float()

    def _noise(self, seed: int) -> Tensor:
        """Starting noise of one clip."""
        shape = (int(self.transformer.config.length), int(self.transformer.config.in_channels))
        return normal(*shape, generator=torch.Generator().manual_seed(seed))


def require_one_front_end(
    transformer: MelTransformer, autoencoder: MelAutoencoder | MelFrames, vocoder: Vocoder
) -> None:
    """Raise VocalgenError, printing both, unless the three parts were trained on the same log-mel."""
    front_end = transformer.front_end
    autoencoder.front_end.require_equal(front_end, "autoencoder", "transformer")
    vocoder_mel(vocoder).require_equal(front_end, "vocoder", "transformer")


class DiffusionSynthesiser(DiffusionSynthesis, Synthesiser):
    """The three parts, see `Synthesiser`.

    Raises:
        VocalgenError: they were trained on different mel front ends.
    """

    def __init__(self, defaults: dict[str, Any], **parts: Any) -> None:
        require_one_front_end(**parts)
        super().__init__(defaults, **parts)
