"""Random choices of a training step: which conditions a clip is told, and which noise levels its tokens have."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from vocalgen.errors import VocalgenError
from vocalgen.float32 import uniform
from vocalgen.models.burst_transformer import ACOUSTICS, BurstCondition
from vocalgen.models.denoiser import Preconditioning


class _Shares:
    """Dataclasses whose fields are shares of clips."""

    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]
            if not 0 <= getattr(self, item.name) <= 1:
                raise VocalgenError(f"{item.name} is {getattr(self, item.name)}; it must be in [0, 1]")


@dataclass(frozen=True)
class Dropout(_Shares):
    """Shares of clips that are trained without a condition.

    Args:
        emotion: without emotion, for guidance.
        extras: without voice, style and acoustics but the duration, as clips are sampled by default.
        voice, style, acoustics, seconds: further clips without this condition; `acoustics` holds for each value by
            itself.
    """

    emotion: float = 0.1
    extras: float = 0.4
    voice: float = 0.3
    style: float = 0.3
    acoustics: float = 0.3
    seconds: float = 0.2

    def applied(self, condition: BurstCondition, generator: torch.Generator) -> BurstCondition:
        """The condition with NaN in place of what is dropped."""
        count = len(condition.mask)

        def dropped(share: float, *size: int) -> Tensor:
            return uniform(count, *size, generator=generator) < share

        bare = dropped(self.extras, 1)
        shares = [self.seconds if name == "seconds" else self.acoustics for name in ACOUSTICS]
        extra = [bare & (name != "seconds") for name in ACOUSTICS]
        missing = torch.cat([dropped(share, 1) | without for share, without in zip(shares, extra)], dim=1)
        return condition._replace(
            intensities=condition.intensities.masked_fill(dropped(self.emotion, 1), torch.nan),
            voice=condition.voice.masked_fill(bare | dropped(self.voice, 1), torch.nan),
            style=condition.style.masked_fill(bare | dropped(self.style, 1), torch.nan),
            acoustics=condition.acoustics.masked_fill(missing, torch.nan),
        )


@dataclass(frozen=True)
class TwoLevels(_Shares):
    """Two noise levels in one clip (Self-Flow, arXiv 2603.06507): a span of tokens is cleaner than the rest.

    Args:
        share: batches whose clips have two levels.
        context: share of these clips whose span is nearly clean and not part of the loss, as in in-painting.
        shortest, longest: extent of the span, as a share of the clip.
        context_sigma: greatest noise level of a nearly clean span.
    """

    share: float = 0.25
    context: float = 0.5
    shortest: float = 0.2
    longest: float = 0.8
    context_sigma: float = 0.03

    def levels(
        self, preconditioning: Preconditioning, mask: Tensor, patch: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Noise levels of a batch, and which latents are learnt.

        Args:
            preconditioning: draws levels.
            mask: (B, L) latents of each clip.
            patch: latents of a token; spans end between tokens.
            generator: source of randomness.

        Returns:
            sigma (B,), or (B, L) in a batch with two levels; and (B, L) bool.
        """
        count = len(mask)
        two = bool(uniform(1, generator=generator) < self.share)
        sigma = preconditioning.draw(count, generator=generator)
        if not two:
            return sigma, mask
        other = preconditioning.draw(count, generator=generator)
        noisier, cleaner = torch.maximum(sigma, other), torch.minimum(sigma, other)
        is_context = uniform(count, generator=generator) < self.context
        nearly_clean = self.context_sigma * (0.1 + 0.9 * uniform(count, generator=generator))
        cleaner = torch.where(is_context, nearly_clean, cleaner)
        inside = span(mask, patch, self.shortest, self.longest, uniform(2, count, generator=generator))
        levels = torch.where(inside, cleaner[:, None], noisier[:, None])
        return levels, mask & ~(inside & is_context[:, None])


def span(mask: Tensor, patch: int, shortest: float, longest: float, random: Tensor) -> Tensor:
    """Choose a contiguous part of each clip, in whole tokens.

    Args:
        mask: (B, L) latents of each clip.
        patch: latents of a token.
        shortest, longest: extent, as a share of the clip.
        random: (2, B) uniform numbers in [0, 1) for extent and place.

    Returns:
        (B, L) bool; at least one token of every clip of two tokens or more is outside.
    """
    tokens = mask.unflatten(1, (-1, patch)).any(-1).sum(1)
    extent = ((shortest + (longest - shortest) * random[0]) * tokens).round().long()
    extent = torch.minimum(extent.clamp(min=1), (tokens - 1).clamp(min=0))
    start = (random[1] * (tokens - extent + 1)).long()
    place = torch.arange(mask.shape[1] // patch, device=mask.device)
    inside = (place >= start[:, None]) & (place < (start + extent)[:, None])
    return inside.repeat_interleave(patch, dim=1)
