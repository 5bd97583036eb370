"""Float32 tensors and noise, whatever default type the caller has set for torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def float32_default() -> Iterator[None]:
    """Make float32 torch's default type inside the context; also works as a decorator of functions."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def normal(*shape: int, generator: torch.Generator) -> Tensor:
    """Standard normal noise, float32 on the generator's device.

    A generator draws other numbers in float64, so that a seed would stand for other noise.
    """
    return torch.randn(shape, generator=generator, device=generator.device, dtype=torch.float32)


def uniform(*shape: int, generator: torch.Generator) -> Tensor:
    """Uniform noise in [0, 1), float32 on the generator's device."""
    return torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float32)
