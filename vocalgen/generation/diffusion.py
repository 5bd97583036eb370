"""Synthesis by latent diffusion: sampler, transformer, autoencoder, vocoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vocalgen.generation.layout import Layout, Transformer, layout_of
from vocalgen.generation.samplers import SOLVERS, guided, karras_sigmas
from vocalgen.generation.settings import Sampling
from vocalgen.generation.synthesis import (
    CPU_TILE,
    SILENCE_MARGIN,
    TRIM_MARGIN,
    Synthesis,
    Synthesiser,
    to_frames,
)
from vocalgen.models.autoencoder import MelAutoencoder, MelFrames
from vocalgen.models.denoiser import preconditioning
from vocalgen.models.vocoder import vocoder_mel

if TYPE_CHECKING:
    from vocalgen.models.vocoder import Vocoder


class DiffusionSynthesis(Synthesis):
    """Emotion -> diffusion -> latent -> log-mel: what `VocalBurstPipeline` and `DiffusionSynthesiser` share."""

    transformer: Transformer
    autoencoder: MelAutoencoder | MelFrames
    kind = Sampling

    @property
    def network(self) -> Transformer:
        """The transformer."""
        return self.transformer

    @property
    def layout(self) -> Layout:
        """How the transformer's samples are laid out."""
        return layout_of(self.transformer, self.mel.frame_rate / self.autoencoder.downsampling)

    @property
    def seconds(self) -> float:
        """Longest clip the model can make."""
        return self.layout.longest

    @property
    def exact_tile(self) -> int:
        """See `Synthesis.exact_tile`; on a CPU clips of their own lengths go alone, since few are of one width."""
        alone = not self.layout.whole_tiles and self.tile == CPU_TILE
        return 1 if alone else self.tile

    def require_duration(self, duration: float | None) -> None:
        """See `Synthesis.require_duration`."""
        self.layout.require_duration(duration)

    def widths(self, intensities: Sequence[Sequence[float]], seeds: Sequence[int], duration: float | None) -> list[int]:
        """See `Synthesis.widths`."""
        layout = self.layout
        seconds = [layout.seconds(row, seed, duration) for row, seed in zip(intensities, seeds, strict=True)]
        return [layout.width(layout.latents(own)) for own in seconds]

    def sample_mels(
        self, intensities: Tensor, seeds: Sequence[int], duration: float | None, settings: Sampling
    ) -> Tensor:
        """See `Synthesis.sample_mels`."""
        layout = self.layout
        seconds = [layout.seconds(row, seed, duration) for row, seed in zip(intensities.tolist(), seeds, strict=True)]
        noise = [layout.noise(seed, layout.latents(own)) for seed, own in zip(seeds, seconds, strict=True)]
        return self._sample(intensities, noise, seconds, settings)

    def between(self, intensities: Tensor, seeds: tuple[int, int], shares: Tensor, settings: Sampling) -> Tensor:
        """See `Synthesis.between`."""
        layout, (start, end) = self.layout, intensities
        ends = [layout.seconds(row, seed, None) for row, seed in zip(intensities.tolist(), seeds, strict=True)]
        # Along a great circle the noise stays as loud as the sampler expects it; both ends are about orthogonal.
        angles = 0.5 * torch.pi * shares if seeds[0] != seeds[1] else torch.zeros(len(shares))
        seconds = [ends[0] + float(share) * (ends[1] - ends[0]) for share in shares]
        noise = []
        for angle, own in zip(angles, seconds, strict=True):
            first, second = (layout.noise(seed, layout.latents(own)) for seed in seeds)
            noise.append(first * angle.cos() + second * angle.sin())
        return self._sample(torch.lerp(start, end, shares[:, None].to(start)), noise, seconds, settings)

    def _sample(
        self, intensities: Tensor, noise: Sequence[Tensor], seconds: Sequence[float], settings: Sampling
    ) -> Tensor:
        """Log-mels of clips from their noise (L, C) each; behind a clip's end is silence."""
        layout, device = self.layout, intensities.device
        lengths = [len(own) for own in noise]
        width = layout.width(max(lengths))
        start = torch.stack([F.pad(own, (0, 0, 0, width - len(own))) for own in noise])
        mask = (torch.arange(width) < torch.tensor(lengths)[:, None]).to(device)
        sigmas = karras_sigmas(settings.steps, settings.sigma_min, settings.sigma_max, settings.rho)
        denoise = guided(
            self._denoise,
            preconditioning(**(self.transformer.config.preconditioning or {})),
            layout.condition(intensities, seconds, mask),
            settings.guidance,
            (settings.guidance_low, settings.guidance_high),
        )
        sample = SOLVERS[settings.solver](denoise, start.to(device) * sigmas[0], sigmas)
        latents = self.autoencoder.denormalise(sample.to(self.autoencoder.dtype))
        if layout.whole_tiles:
            return self.autoencoder.decode(latents).float().clamp(min=self.mel.log_floor)
        # One by one, so that neither the padding nor other clips have an influence.
        decoded = [self.autoencoder.decode(own[None, :length])[0] for own, length in zip(latents, lengths, strict=True)]
        # With so much silence behind it, vocoding and trimming end every clip alike, however long the longest one is.
        silence = SILENCE_MARGIN + math.ceil(2 * TRIM_MARGIN * self.mel.frame_rate)
        frames = max(lengths) * self.autoencoder.downsampling + silence
        return to_frames([mel.float().clamp(min=self.mel.log_floor) for mel in decoded], frames, self.mel.log_floor)

    def _denoise(self, x: Tensor, noise: Tensor, condition: Any) -> Tensor:
        """The transformer in its own precision; the sampler around it stays in float32."""
        dtype = self.transformer.dtype
        return self.transformer(x.to(dtype), noise.to(dtype), condition.to(dtype)).float()


def require_one_front_end(transformer: Transformer, autoencoder: MelAutoencoder | MelFrames, vocoder: Vocoder) -> None:
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
