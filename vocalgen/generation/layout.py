"""How samples of a diffusion transformer are laid out: windows of one length, or clips of their own length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from vocalgen.float32 import normal
from vocalgen.generation.durations import seconds_of_seed
from vocalgen.generation.settings import SHORTEST_SECONDS, require_duration
from vocalgen.models.burst_transformer import ACOUSTICS, BurstTransformer
from vocalgen.models.transformer import Conditioning, MelTransformer
from vocalgen.noise import gaussian_noise

SHORTEST_BURST = 0.3
"""Shortest clip in seconds that a `BurstTransformer` can be asked for."""

WIDTH = 4
"""Latents of which the width of a tile is a multiple: clips of similar length then share tiles of one shape."""

Transformer = MelTransformer | BurstTransformer


class Layout(Protocol):
    """What sampling asks of a kind of transformer."""

    longest: float
    """Longest clip in seconds."""
    whole_tiles: bool
    """Whether the clips of a tile are decoded together."""

    def require_duration(self, duration: float | None) -> None:
        """Raise VocalgenError unless clips of this length can be asked for."""
        ...

    def seconds(self, intensities: Sequence[float], seed: int, duration: float | None) -> float:
        """Duration of a clip; NaN: the network decides."""
        ...

    def latents(self, seconds: float) -> int:
        """Latents of a clip."""
        ...

    def width(self, latents: int) -> int:
        """Latents of a tile whose longest clip has so many."""
        ...

    def noise(self, seed: int, latents: int) -> Tensor:
        """Starting noise of a clip, (latents, channels)."""
        ...

    def condition(self, intensities: Tensor, seconds: Sequence[float], mask: Tensor) -> Any:
        """What the network takes, for clips (B, K) of these durations within a mask (B, L)."""
        ...


class WindowLayout:
    """Windows of one length that end in silence, see `MelTransformer`; noise of torch."""

    whole_tiles = True

    def __init__(self, transformer: MelTransformer, latent_rate: float) -> None:
        self.length, self.channels = int(transformer.config.length), int(transformer.config.in_channels)
        self.longest = self.length / latent_rate

    def require_duration(self, duration: float | None) -> None:
        """See `Layout`."""
        require_duration(duration, self.longest)

    def seconds(self, intensities: Sequence[float], seed: int, duration: float | None) -> float:
        """See `Layout`."""
        return math.nan if duration is None else duration

    def latents(self, seconds: float) -> int:
        """See `Layout`."""
        return self.length

    def width(self, latents: int) -> int:
        """See `Layout`."""
        return latents

    def noise(self, seed: int, latents: int) -> Tensor:
        """See `Layout`."""
        return normal(latents, self.channels, generator=torch.Generator().manual_seed(seed))

    def condition(self, intensities: Tensor, seconds: Sequence[float], mask: Tensor) -> Conditioning:
        """See `Layout`."""
        keep = torch.ones(len(intensities), dtype=torch.bool, device=intensities.device)
        return Conditioning(intensities, keep, torch.tensor(seconds, device=intensities.device))


class ClipLayout:
    """Clips of their own length, see `BurstTransformer`; counter-based noise.

    Without a duration each clip draws one from the quantiles of its emotion, by its seed.
    """

    whole_tiles = False

    def __init__(self, transformer: BurstTransformer, latent_rate: float) -> None:
        self.transformer, self.latent_rate = transformer, latent_rate
        config = transformer.config
        self.longest = int(config.max_length) / latent_rate - float(config.tail)

    def require_duration(self, duration: float | None) -> None:
        """See `Layout`."""
        require_duration(duration, self.longest, SHORTEST_BURST)

    def seconds(self, intensities: Sequence[float], seed: int, duration: float | None) -> float:
        """See `Layout`."""
        if duration is not None:
            return duration
        drawn = seconds_of_seed(self.transformer.config.duration_quantiles, intensities, seed)
        return min(max(drawn, SHORTEST_SECONDS), self.longest)

    def latents(self, seconds: float) -> int:
        """See `Layout`."""
        patch, most = self.transformer.patch, int(self.transformer.config.max_length)
        needed = math.ceil((seconds + float(self.transformer.config.tail)) * self.latent_rate - 1e-6)
        return min(-(-needed // patch) * patch, most)

    def width(self, latents: int) -> int:
        """See `Layout`."""
        return min(-(-latents // WIDTH) * WIDTH, int(self.transformer.config.max_length))

    def noise(self, seed: int, latents: int) -> Tensor:
        """See `Layout`."""
        return torch.from_numpy(gaussian_noise(seed, latents, int(self.transformer.config.in_channels)))

    def condition(self, intensities: Tensor, seconds: Sequence[float], mask: Tensor) -> Any:
        """See `Layout`."""
        condition = self.transformer.absent(mask, intensities)
        acoustics = condition.acoustics.clone()
        acoustics[:, ACOUSTICS.index("seconds")] = torch.tensor(seconds, device=mask.device)
        return condition._replace(acoustics=acoustics)


def layout_of(transformer: Transformer, latent_rate: float) -> Layout:
    """The layout of a transformer's samples at so many latents per second."""
    if isinstance(transformer, BurstTransformer):
        return ClipLayout(transformer, latent_rate)
    return WindowLayout(transformer, latent_rate)
