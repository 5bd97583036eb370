"""StyleGAN2 (arXiv 1912.04958) on log-mels, conditioned on an emotion intensity vector; plain PyTorch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

from vocalgen.mel import MelConfig
from vocalgen.models.equalised import (
    EqualConv,
    EqualLinear,
    Size,
    downsample,
    kernel_shape,
    leaky,
    minibatch_deviation,
    pyramid,
    unit,
    upsample,
)
from vocalgen.models.mel_maps import Layout, MelMaps, widths_of

Architecture = Literal["skip", "residual"]


class Mapping(nn.Module):
    """(z, intensities) -> w: both are brought to unit mean square, joined, and sent through a deep network."""

    def __init__(self, emotions: int, z_dim: int, w_dim: int, depth: int) -> None:
        super().__init__()
        self.embed = EqualLinear(emotions, z_dim)
        widths = [2 * z_dim, *[w_dim] * depth]
        self.layers = nn.ModuleList(EqualLinear(a, b, rate=0.01) for a, b in pairwise(widths))

    def forward(self, z: Tensor, intensities: Tensor) -> Tensor:
        """(B, z_dim) and (B, K) -> (B, w_dim)."""
        x = torch.cat([unit(z), unit(self.embed(intensities))], dim=1)
        for layer in self.layers:
            x = leaky(layer(x))
        # Under autocast x is half precision; cast later, outside the network, w would not be what clips were made of.
        return x.to(z.dtype)


class ModulatedConv(nn.Module):
    """Convolution whose input channels are scaled by a style, and whose output is brought back to unit variance.

    Scaling inputs and outputs in place of the weights (section 2.2) keeps one set of weights for the whole batch.

    Args:
        demodulate: divide by the norm of the scaled weights (eq. 3).
    """

    def __init__(self, dim_in: int, dim_out: int, w_dim: int, kernel: int, size: Size, demodulate: bool = True) -> None:
        super().__init__()
        shape = kernel_shape(kernel, size)
        self.style = EqualLinear(w_dim, dim_in, bias=1.0)
        self.weight = nn.Parameter(torch.randn(dim_out, dim_in, *shape))
        self.scale = 1 / math.sqrt(dim_in * shape[0] * shape[1])
        self.padding = (shape[0] // 2, shape[1] // 2)
        self.demodulate = demodulate

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """(B, dim_in, h, w) and (B, w_dim) -> (B, dim_out, h, w)."""
        style = self.style(w)
        weight = self.weight * self.scale
        x = F.conv2d(x * style[:, :, None, None], weight, padding=self.padding)
        if self.demodulate:
            norm = style.square() @ weight.square().sum((2, 3)).T
            x = x * (norm + 1e-8).rsqrt()[:, :, None, None]
        return x


class StyledConv(nn.Module):
    """Modulated convolution, noise of learned strength, bias, leaky ReLU."""

    def __init__(self, dim_in: int, dim_out: int, w_dim: int, kernel: int, size: Size) -> None:
        super().__init__()
        self.size = size
        self.conv = ModulatedConv(dim_in, dim_out, w_dim, kernel, size)
        self.strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(dim_out))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor) -> Tensor:
        """(B, dim_in, h, w), (B, w_dim) and (B, 1, *size) -> (B, dim_out, *size); a smaller x is upsampled."""
        # Before the convolution or after it is the same: both are linear and do not vary along an axis.
        x = self.conv(upsample(x, self.size), w)
        return leaky(x + self.strength * noise + self.bias[:, None, None])


class SynthesisBlock(nn.Module):
    """Two styled convolutions at one size; "skip" adds up images of all sizes, "residual" maps."""

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        w_dim: int,
        kernel: int,
        size: Size,
        channels: int,
        architecture: Architecture,
        last: bool,
    ) -> None:
        super().__init__()
        self.size, self.architecture = size, architecture
        self.first = StyledConv(dim_in, dim_out, w_dim, kernel, size)
        self.second = StyledConv(dim_out, dim_out, w_dim, kernel, size)
        shows = architecture == "skip" or last
        self.image = ModulatedConv(dim_out, channels, w_dim, 1, size, demodulate=False) if shows else None
        self.image_bias = nn.Parameter(torch.zeros(channels)) if shows else None
        self.shortcut = EqualConv(dim_in, dim_out, 1, size, bias=False) if architecture == "residual" else None

    def forward(self, x: Tensor, image: Tensor | None, w: Tensor, noise: Tensor) -> tuple[Tensor, Tensor | None]:
        """Maps, image so far, (B, 3, w_dim) and (B, 2, *size) -> maps and image of this size."""
        y = self.second(self.first(x, w[:, 0], noise[:, :1]), w[:, 1], noise[:, 1:])
        if self.shortcut is not None:
            y = (y + self.shortcut(upsample(x, self.size))) / math.sqrt(2)
        if self.image is not None and self.image_bias is not None:
            own = self.image(y, w[:, 2]) + self.image_bias[:, None, None]
            image = own if image is None else upsample(image, self.size) + own
        return y, image


class StyleGAN2Generator(ModelMixin, ConfigMixin):
    """Mapping network and synthesis network.

    Args:
        mel: the front end as `MelConfig.to_dict()`.
        emotions: names of the K conditions in order.
        frames: length of the mels.
        latent_dim, downsampling: channels of an autoencoder's latents and mel frames for each of them, if clips are
            made as its normalised latents; None: as log-mels.
        layout, patch: what a mel is to the convolutions, see `MelMaps`; "frames" costs a fraction of "image".
        base: height and width of the learned constant; the size of a mel must be these times powers of two.
        channels: maps of each size, from the base upwards; the last number stays for all further sizes.
        kernel: length of the convolutions.
        z_dim, w_dim: sizes of the two latent spaces.
        mapping_depth: layers of the mapping network.
        architecture: "skip" sums the images of all sizes, "residual" has one at the end (fig. 7).
    """

    w_average: Tensor

    @register_to_config
    def __init__(
        self,
        mel: dict[str, Any],
        emotions: tuple[str, ...],
        frames: int = 192,
        latent_dim: int | None = None,
        downsampling: int = 1,
        layout: Layout = "frames",
        patch: int = 4,
        base: tuple[int, int] = (1, 6),
        channels: tuple[int, ...] = (384,),
        kernel: int = 3,
        z_dim: int = 256,
        w_dim: int = 256,
        mapping_depth: int = 4,
        architecture: Architecture = "skip",
    ) -> None:
        super().__init__()
        self.maps = _maps(mel, frames, latent_dim, downsampling, layout, patch)
        self.sizes = pyramid((base[0], base[1]), self.maps.size)
        widths = widths_of(channels, len(self.sizes))
        self.mapping = Mapping(len(emotions), z_dim, w_dim, mapping_depth)
        self.constant = nn.Parameter(torch.randn(widths[0], *self.sizes[0]))
        self.blocks = nn.ModuleList(
            SynthesisBlock(
                widths[max(level - 1, 0)],
                width,
                w_dim,
                kernel,
                size,
                self.maps.channels,
                architecture,
                last=level == len(self.sizes) - 1,
            )
            for level, (width, size) in enumerate(zip(widths, self.sizes, strict=True))
        )
        self.register_buffer("w_average", torch.zeros(len(emotions), w_dim))

    @property
    def front_end(self) -> MelConfig:
        """The log-mel this generator was trained on."""
        return MelConfig.from_dict(self.config.mel)

    @property
    def styles(self) -> int:
        """Number of w vectors a clip takes: two convolutions and an image a size."""
        return 3 * len(self.blocks)

    def noise(self, generator: torch.Generator | None = None) -> list[Tensor]:
        """What is random in the synthesis of one clip besides z: (2, *size) on the CPU for each size."""
        return [torch.randn(2, *size, generator=generator, dtype=torch.float32) for size in self.sizes]

    def forward(self, z: Tensor, intensities: Tensor, noise: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Clips, and their styles for path lengths.

        Args:
            z: (B, z_dim), or (B, 2, z_dim + 1) for style mixing, see `mixed`.
            intensities: (B, K).
            noise: (B, 2, *size) for each size.

        Returns:
            log-mels (B, n_mels, frames), not below the floor, or latents (B, latent_dim, frames / downsampling), and
            w (B, styles, w_dim).
        """
        w = self.map_latents(z, intensities) if z.ndim == 2 else self.mixed(z, intensities)
        return self.synthesise(w, noise), w

    @apply_forward_hook
    def map_latents(self, z: Tensor, intensities: Tensor) -> Tensor:
        """(B, z_dim) and (B, K) -> (B, styles, w_dim), the same w for all styles."""
        return self.mapping(z, intensities)[:, None].expand(-1, self.styles, -1)

    def mixed(self, z: Tensor, intensities: Tensor) -> Tensor:
        """Style mixing (arXiv 1812.04948, 3.1): (B, styles, w_dim).

        Args:
            z: (B, 2, z_dim + 1); the last value of the first z is the share of the styles it decides.
        """
        first, second = (self.mapping(z[:, i, :-1], intensities) for i in (0, 1))
        place = torch.arange(self.styles, device=z.device) / self.styles
        own = place < z[:, 0, -1:]
        return torch.where(own[..., None], first[:, None], second[:, None])

    @apply_forward_hook
    def synthesise(self, w: Tensor, noise: Sequence[Tensor]) -> Tensor:
        """(B, styles, w_dim) and (B, 2, *size) for each size -> log-mels or latents as of `forward`."""
        x = self.constant.repeat(len(w), 1, 1, 1)
        image: Tensor | None = None
        for level, block in enumerate(self.blocks):
            x, image = block(x, image, w[:, 3 * level : 3 * level + 3], noise[level])
        assert image is not None
        made = self.maps.mel(image)
        # Silence is a constant: without the clamp every trace of sound in it would give a clip away.
        return made.clamp(min=self.front_end.log_floor) if self.config.latent_dim is None else made

    @torch.no_grad()
    def measure_means(self, count: int = 1024, seed: int = 0) -> None:
        """Take the mean w of each emotion, which truncation needs, from `count` random z: when training is over."""
        random = torch.Generator().manual_seed(seed)
        z = torch.randn(count, int(self.config.z_dim), generator=random, dtype=torch.float32).to(self.w_average)
        for mean, condition in zip(self.w_average, torch.eye(len(self.w_average)).to(self.w_average), strict=True):
            mean.copy_(self.mapping(z, condition.expand(count, -1)).mean(0))

    @apply_forward_hook
    def truncate(self, w: Tensor, intensities: Tensor, psi: float) -> Tensor:
        """Draw (B, styles, w_dim) towards the mean w of each clip's emotions: psi 1 leaves it, 0 gives the mean."""
        share = intensities / intensities.sum(1, keepdim=True).clamp(min=1e-8)
        centre = (share @ self.w_average)[:, None]
        return centre + psi * (w - centre)


class DiscriminatorBlock(nn.Module):
    """Two convolutions with a halving between them, and a residual shortcut or an image that is shown to each."""

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        kernel: int,
        size: Size,
        next_size: Size,
        channels: int,
        architecture: Architecture,
    ) -> None:
        super().__init__()
        self.next_size = next_size
        self.first = EqualConv(dim_in, dim_in, kernel, size)
        self.second = EqualConv(dim_in, dim_out, kernel, next_size)
        residual = architecture == "residual"
        self.shortcut = EqualConv(dim_in, dim_out, 1, next_size, bias=False) if residual else None
        self.image = None if residual else EqualConv(channels, dim_out, 1, next_size)

    def forward(self, x: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Maps and image of one size -> those of the next smaller one."""
        y = leaky(self.second(downsample(leaky(self.first(x)), self.next_size)))
        if self.shortcut is not None:
            return (y + self.shortcut(downsample(x, self.next_size))) / math.sqrt(2), image
        assert self.image is not None
        image = downsample(image, self.next_size)
        return y + leaky(self.image(image)), image


class StyleGAN2Discriminator(ModelMixin, ConfigMixin):
    """Discriminator with a projection of the emotions (arXiv 1802.05637).

    Args:
        mel, emotions, frames, latent_dim, downsampling, layout, patch, base, channels, kernel: as of the generator.
        architecture: "residual" or "skip" (fig. 7).
        group: neighbours in a batch whose deviation is shown, see `minibatch_deviation`.
    """

    @register_to_config
    def __init__(
        self,
        mel: dict[str, Any],
        emotions: tuple[str, ...],
        frames: int = 192,
        latent_dim: int | None = None,
        downsampling: int = 1,
        layout: Layout = "frames",
        patch: int = 4,
        base: tuple[int, int] = (1, 6),
        channels: tuple[int, ...] = (384,),
        kernel: int = 3,
        architecture: Architecture = "residual",
        group: int = 4,
    ) -> None:
        super().__init__()
        self.maps = _maps(mel, frames, latent_dim, downsampling, layout, patch)
        sizes = pyramid((base[0], base[1]), self.maps.size)
        widths = widths_of(channels, len(sizes))
        self.enter = EqualConv(self.maps.channels, widths[-1], 1, sizes[-1])
        self.blocks = nn.ModuleList(
            DiscriminatorBlock(
                widths[i], widths[i - 1], kernel, sizes[i], sizes[i - 1], self.maps.channels, architecture
            )
            for i in reversed(range(1, len(sizes)))
        )
        self.last = EqualConv(widths[0] + 1, widths[0], kernel, sizes[0])
        self.features = EqualLinear(widths[0] * sizes[0][0] * sizes[0][1], widths[0])
        self.score = EqualLinear(widths[0], 1)
        self.embed = EqualLinear(len(emotions), widths[0])

    def forward(self, mel: Tensor, intensities: Tensor) -> Tensor:
        """Log-mels or latents as the generator makes them -> scores, high for real ones.

        Intensities (B, K) give (B,) scores; (B, J, K), of several emotions a clip, (B, J).
        """
        image = self.maps.of(mel)
        x = leaky(self.enter(image))
        for block in self.blocks:
            x, image = block(x, image)
        x = leaky(self.last(minibatch_deviation(x, self.config.group)))
        x = leaky(self.features(x.flatten(1)))
        several = intensities if intensities.ndim == 3 else intensities[:, None]
        named = unit(self.embed(several.flatten(0, 1))).unflatten(0, several.shape[:2])
        projection = (x[:, None] * named).sum(2) / math.sqrt(x.shape[1])
        return (self.score(x) + projection).view(intensities.shape[:-1])


def _maps(
    mel: dict[str, Any], frames: int, latent_dim: int | None, downsampling: int, layout: Layout, patch: int
) -> MelMaps:
    if latent_dim is None:
        return MelMaps(MelConfig.from_dict(mel).n_mels, frames, layout, patch)
    if frames % downsampling:
        raise ValueError(f"{frames} frames do not divide by the downsampling {downsampling} of the autoencoder")
    return MelMaps(latent_dim, frames // downsampling, layout, patch, mean=0.0, std=1.0)
