"""MSG-GAN (arXiv 1903.06048) on log-mels: one unconditional network an emotion, images at every size for both sides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

from vocalgen.errors import VocalgenError
from vocalgen.mel import MelConfig
from vocalgen.models.equalised import (
    EqualConv,
    EqualLinear,
    Size,
    downsample,
    leaky,
    minibatch_deviation,
    pyramid,
    unit,
    upsample,
)
from vocalgen.models.mel_maps import Layout, MelMaps, widths_of


class MSGNetwork(nn.Module):
    """z -> maps at every size: two convolutions a size with pixel normalisation, and an image of each.

    Args:
        z_dim: size of the latent.
        sizes, widths: of the maps, from the smallest upwards.
        kernel: length of the convolutions.
        channels: of the images.
    """

    def __init__(self, z_dim: int, sizes: Sequence[Size], widths: Sequence[int], kernel: int, channels: int) -> None:
        super().__init__()
        self.sizes = list(sizes)
        (height, width), dim = self.sizes[0], widths[0]
        self.start = EqualLinear(z_dim, dim * height * width)
        entered = [dim, *widths[:-1]]
        self.first = nn.ModuleList(EqualConv(a, b, kernel, size) for a, b, size in zip(entered, widths, sizes))
        self.second = nn.ModuleList(EqualConv(b, b, kernel, size) for b, size in zip(widths, sizes))
        self.images = nn.ModuleList(EqualConv(b, channels, 1, size) for b, size in zip(widths, sizes))

    def forward(self, z: Tensor) -> list[Tensor]:
        """(B, z_dim) -> images (B, channels, *size), the smallest first."""
        x = leaky(self.start(unit(z))).unflatten(1, (-1, *self.sizes[0]))
        images = []
        for size, first, second, image in zip(self.sizes, self.first, self.second, self.images, strict=True):
            x = unit(leaky(first(upsample(unit(x), size))))
            x = unit(leaky(second(x)))
            images.append(image(x))
        return images


class MSGGANGenerator(ModelMixin, ConfigMixin):
    """Networks of K emotions, each trained by itself.

    Args:
        mel: the front end as `MelConfig.to_dict()`.
        emotions: names of the emotions, one network each.
        frames, layout, patch, base, channels, kernel: as of `StyleGAN2Generator`.
        z_dim: size of the latent.
    """

    @register_to_config
    def __init__(
        self,
        mel: dict[str, Any],
        emotions: tuple[str, ...],
        frames: int = 192,
        layout: Layout = "frames",
        patch: int = 4,
        base: tuple[int, int] = (1, 6),
        channels: tuple[int, ...] = (256,),
        kernel: int = 3,
        z_dim: int = 256,
    ) -> None:
        super().__init__()
        self.maps = MelMaps(MelConfig.from_dict(mel).n_mels, frames, layout, patch)
        sizes = pyramid((base[0], base[1]), self.maps.size)
        widths = widths_of(channels, len(sizes))
        self.networks = nn.ModuleList(MSGNetwork(z_dim, sizes, widths, kernel, self.maps.channels) for _ in emotions)

    @property
    def front_end(self) -> MelConfig:
        """The log-mel this generator was trained on."""
        return MelConfig.from_dict(self.config.mel)

    def forward(self, z: Tensor, emotion: int = 0) -> list[Tensor]:
        """Normalised maps (B, channels, *size) of every size, the smallest first, not below the floor."""
        floor = float(self.maps.of(torch.full((1, self.maps.n_mels, self.maps.frames), self.front_end.log_floor)).min())
        return [image.clamp(min=floor) for image in self.networks[emotion](z)]

    @apply_forward_hook
    def mels(self, z: Tensor, intensities: Tensor) -> Tensor:
        """(B, z_dim) and one-hot (B, K) -> log-mels (B, n_mels, frames)."""
        parts = [self(own[None], int(emotion))[-1] for own, emotion in zip(z, intensities.argmax(1), strict=True)]
        return self.maps.mel(torch.cat(parts))


class MSGGANDiscriminator(ModelMixin, ConfigMixin):
    """Discriminator of images of every size, each joined to the maps of its size.

    Args:
        mel, frames, layout, patch, base, channels, kernel: as of the generator.
        group: neighbours in a batch whose deviation is shown, see `minibatch_deviation`.
    """

    @register_to_config
    def __init__(
        self,
        mel: dict[str, Any],
        frames: int = 192,
        layout: Layout = "frames",
        patch: int = 4,
        base: tuple[int, int] = (1, 6),
        channels: tuple[int, ...] = (256,),
        kernel: int = 3,
        group: int = 4,
    ) -> None:
        super().__init__()
        self.maps = MelMaps(MelConfig.from_dict(mel).n_mels, frames, layout, patch)
        self.sizes = pyramid((base[0], base[1]), self.maps.size)[::-1]
        widths = widths_of(channels, len(self.sizes))[::-1]
        image = self.maps.channels
        self.enter = EqualConv(image, widths[0], 1, self.sizes[0])
        entered = [widths[0], *[width + image for width in widths[1:]]]  # an image joins at every further size
        self.first = nn.ModuleList(
            EqualConv(a + 1, b, kernel, size) for a, b, size in zip(entered, widths, self.sizes, strict=True)
        )
        self.second = nn.ModuleList(
            EqualConv(a, b, kernel, size) for (a, b), size in zip(pairwise(widths), self.sizes, strict=False)
        )
        self.features = EqualLinear(widths[-1] * math.prod(self.sizes[-1]), widths[-1])
        self.score = EqualLinear(widths[-1], 1)

    def pyramid(self, mel: Tensor) -> list[Tensor]:
        """(B, n_mels, frames) log-mels -> normalised maps of every size, the smallest first."""
        images = [self.maps.of(mel)]
        for size in self.sizes[1:]:
            images.append(downsample(images[-1], size))
        return images[::-1]

    def forward(self, images: Sequence[Tensor]) -> Tensor:
        """Maps of every size, the smallest first -> (B,) scores, high for real clips."""
        *smaller, largest = images
        x = leaky(self.enter(largest))
        for level, first in enumerate(self.first):
            if level:
                x = leaky(self.second[level - 1](downsample(x, self.sizes[level])))
                x = torch.cat([x, smaller[-level]], dim=1)
            x = leaky(first(minibatch_deviation(x, self.config.group)))
        return self.score(leaky(self.features(x.flatten(1))))[:, 0]


def joined(generators: Sequence[MSGGANGenerator]) -> MSGGANGenerator:
    """One generator with the networks of several.

    Raises:
        VocalgenError: they differ in more than their emotions, or share one.
    """
    configs = [dict(generator.config) for generator in generators]
    emotions = [name for config in configs for name in config.pop("emotions")]
    if any(_sizes(config) != _sizes(configs[0]) for config in configs):
        raise VocalgenError("the generators differ in front end or sizes; join those of one recipe")
    if len(set(emotions)) < len(emotions):
        twice = sorted({name for name in emotions if emotions.count(name) > 1})
        raise VocalgenError(f"more than one generator makes {', '.join(twice)}; give one an emotion")
    made = MSGGANGenerator(**_sizes(configs[0]), emotions=tuple(emotions))
    made.networks = nn.ModuleList(network for generator in generators for network in generator.networks)
    return made


def _sizes(config: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments but the emotions; the library adds entries that begin with an underscore."""
    return {key: value for key, value in config.items() if not key.startswith("_")}
