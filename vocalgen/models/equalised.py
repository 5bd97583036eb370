"""Layers of progressive and style-based GANs: equalised learning rates, FIR resampling, minibatch deviation."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Size = tuple[int, int]
"""Height (bands) and width (frames)."""

GAIN = math.sqrt(2.0)
"""What keeps the variance behind a leaky ReLU."""


def leaky(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2 that keeps the variance."""
    return F.leaky_relu(x, 0.2) * GAIN


def unit(x: Tensor) -> Tensor:
    """(B, C, ...) with unit mean square over C: pixel normalisation (arXiv 1710.10196, 4.2)."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class EqualLinear(nn.Module):
    """Linear layer whose weights are scaled when used, so that Adam moves all layers alike (arXiv 1710.10196, 4.1).

    Args:
        rate: learning rate of this layer relative to the others.
        bias: its starting value.
    """

    def __init__(self, dim_in: int, dim_out: int, rate: float = 1.0, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(dim_out, dim_in) / rate)
        self.bias = nn.Parameter(torch.full((dim_out,), bias / rate))
        self.scale, self.rate = rate / math.sqrt(dim_in), rate

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim_in) -> (..., dim_out)."""
        return F.linear(x, self.weight * self.scale, self.bias * self.rate)


class EqualConv(nn.Module):
    """2-D convolution that keeps the size, with the weights of `EqualLinear`; an axis of length 1 gets a kernel of 1.

    Args:
        kernel: odd length of the kernel on both axes.
        size: of the maps.
    """

    def __init__(self, dim_in: int, dim_out: int, kernel: int, size: Size, bias: bool = True) -> None:
        super().__init__()
        shape = kernel_shape(kernel, size)
        self.weight = nn.Parameter(torch.randn(dim_out, dim_in, *shape))
        self.bias = nn.Parameter(torch.zeros(dim_out)) if bias else None
        self.scale = 1 / math.sqrt(dim_in * shape[0] * shape[1])
        self.padding = (shape[0] // 2, shape[1] // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim_in, h, w) -> (B, dim_out, h, w)."""
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.padding)


def kernel_shape(kernel: int, size: Size) -> Size:
    """A kernel for maps of a size: no wider than 1 along an axis of length 1."""
    return (kernel if size[0] > 1 else 1, kernel if size[1] > 1 else 1)


def upsample(x: Tensor, size: Size) -> Tensor:
    """(B, C, h, w) -> (B, C, *size), axes doubled or kept, low-passed by the FIR filter [1, 3, 3, 1] of StyleGAN2.

    Between samples that filter is linear interpolation; at the edges maps go on with their last value.
    """
    return x if x.shape[2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=False)


def downsample(x: Tensor, size: Size) -> Tensor:
    """(B, C, h, w) -> (B, C, *size), axes halved or kept, after the same filter [1, 3, 3, 1] / 8."""
    for axis, target in zip((2, 3), size, strict=True):
        if x.shape[axis] != target:
            x = _halved(x, axis)
    return x


def _halved(x: Tensor, axis: int) -> Tensor:
    first, last = x.narrow(axis, 0, 1), x.narrow(axis, x.shape[axis] - 1, 1)
    pairs = torch.cat([first, x, last], dim=axis).unflatten(axis, (-1, 2))
    left, right = pairs.select(axis + 1, 0), pairs.select(axis + 1, 1)
    count = right.shape[axis] - 1
    near = right.narrow(axis, 0, count) + left.narrow(axis, 1, count)
    far = left.narrow(axis, 0, count) + right.narrow(axis, 1, count)
    return 0.375 * near + 0.125 * far


def pyramid(base: Size, size: Size) -> list[Size]:
    """Sizes from `base` up to `size`; every step doubles an axis that is not yet full, the shorter way last.

    Raises:
        ValueError: `size` is not `base` times powers of two.

    Examples:
        >>> pyramid((25, 12), (100, 96))
        [(25, 12), (25, 24), (50, 48), (100, 96)]
    """
    steps = []
    for axis, (small, large) in enumerate(zip(base, size, strict=True)):
        count = round(math.log2(large / small)) if 0 < small <= large else -1
        if count < 0 or small * 2**count != large:
            raise ValueError(
                f"mels of size {size} (bands, frames) cannot be reached from {base} by doubling: {large} is not "
                f"{small} times a power of two; change {('the base height', 'the base width')[axis]} or the size"
            )
        steps.append(count)
    levels = max(steps)
    return [
        (
            size[0] >> min(steps[0], levels - level),
            size[1] >> min(steps[1], levels - level),
        )
        for level in range(levels + 1)
    ]


def minibatch_deviation(x: Tensor, group: int = 4) -> Tensor:
    """(B, C, h, w) -> (B, C + 1, h, w): mean deviations within groups of clips as one more map (arXiv 1710.10196, 3).

    Groups are neighbours in the batch, `group` of them where it divides by that, else the next smaller number by which
    it does.
    """
    batch, _, height, width = x.shape
    group = next(size for size in range(min(group, batch), 0, -1) if batch % size == 0)
    grouped = x.unflatten(0, (batch // group, group))
    deviation = (grouped.var(1, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3)).repeat_interleave(group)
    return torch.cat([x, deviation[:, None, None, None].expand(-1, 1, height, width)], dim=1)
