"""Preconditioning: between a raw network and the denoiser D(x; sigma) that samplers use.

Both kinds speak of x = clean + sigma * noise, so one sampler serves both. `condition` is whatever the network takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from vocalgen.float32 import normal

Network = Callable[[Tensor, Tensor, Any], Tensor]
"""(noisy sample, (B,) noise label, condition) -> output of the sample's shape."""


class Preconditioning(Protocol):
    """What training and sampling ask of a parametrisation."""

    def denoise(self, network: Network, x: Tensor, sigma: Tensor, condition: Any) -> Tensor:
        """Estimate of the clean sample from x = clean + sigma * noise; sigma (B,), or (B, L) along the second axis."""
        ...

    def draw(self, *shape: int, generator: torch.Generator) -> Tensor:
        """Random noise levels sigma, as training sees them."""
        ...

    def errors(self, network: Network, clean: Tensor, noise: Tensor, sigma: Tensor, condition: Any) -> Tensor:
        """Squared errors of the clean sample's shape, weighted as the parametrisation asks; sigma as in `denoise`."""
        ...

    def loss(self, network: Network, clean: Tensor, condition: Any, generator: torch.Generator) -> Tensor:
        """(B,) mean squared errors, weighted as the parametrisation asks, at random noise levels."""
        ...


@dataclass(frozen=True)
class EDM:
    """Karras et al. 2022 (arXiv 2206.00364), table 1, last column.

    Args:
        sigma_data: deviation of the data.
        p_mean, p_std: mean and deviation of ln(sigma) in training.
    """

    sigma_data: float = 1.0
    p_mean: float = -0.4
    p_std: float = 1.2

    def denoise(self, network: Network, x: Tensor, sigma: Tensor, condition: Any) -> Tensor:
        """EDM eq. 7."""
        sigma_d = self.sigma_data
        level = _like(sigma, x)
        total = level**2 + sigma_d**2
        output = network(x / total.sqrt(), sigma.log() / 4, condition)
        return x * sigma_d**2 / total + output * level * sigma_d / total.sqrt()

    def draw(self, *shape: int, generator: torch.Generator) -> Tensor:
        """exp(N(p_mean, p_std^2))."""
        return levels_at(normal(*shape, generator=generator), self.p_mean, self.p_std)

    def errors(self, network: Network, clean: Tensor, noise: Tensor, sigma: Tensor, condition: Any) -> Tensor:
        """EDM eq. 2 with lambda(sigma) = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2."""
        level = _like(sigma, clean)
        error = self.denoise(network, clean + level * noise, sigma, condition) - clean
        return (level**2 + self.sigma_data**2) / (level * self.sigma_data) ** 2 * error.square()

    def loss(self, network: Network, clean: Tensor, condition: Any, generator: torch.Generator) -> Tensor:
        """Means of `errors` at random levels."""
        sigma = self.draw(len(clean), generator=generator)
        noise = normal(*clean.shape, generator=generator).to(clean.dtype)
        return self.errors(network, clean, noise, sigma, condition).flatten(1).mean(1)


@dataclass(frozen=True)
class Flow:
    """Straight-path flow matching (arXiv 2210.02747, 2209.03003) with logit-normal times (arXiv 2403.03206).

    x_t = (1 - t) clean + t noise is x / (1 + sigma) at t = sigma / (1 + sigma); the network predicts noise - clean.

    Args:
        t_mean, t_std: mean and deviation of logit(t) = ln(sigma) in training.
    """

    t_mean: float = 0.0
    t_std: float = 1.0

    def denoise(self, network: Network, x: Tensor, sigma: Tensor, condition: Any) -> Tensor:
        """clean = x_t - t * velocity."""
        t = sigma / (1 + sigma)
        x_t = x / _like(1 + sigma, x)
        return x_t - _like(t, x) * network(x_t, t, condition)

    def draw(self, *shape: int, generator: torch.Generator) -> Tensor:
        """exp(N(t_mean, t_std^2))."""
        return levels_at(normal(*shape, generator=generator), self.t_mean, self.t_std)

    def errors(self, network: Network, clean: Tensor, noise: Tensor, sigma: Tensor, condition: Any) -> Tensor:
        """Squared error of the velocity."""
        t = sigma / (1 + sigma)
        level = _like(t, clean)
        velocity = network((1 - level) * clean + level * noise, t, condition)
        return (velocity - (noise - clean)).square()

    def loss(self, network: Network, clean: Tensor, condition: Any, generator: torch.Generator) -> Tensor:
        """Means of `errors` at random levels."""
        sigma = self.draw(len(clean), generator=generator)
        noise = normal(*clean.shape, generator=generator).to(clean.dtype)
        return self.errors(network, clean, noise, sigma, condition).flatten(1).mean(1)


def preconditioning(kind: str = "flow", **arguments: float) -> Preconditioning:
    """The parametrisation called `edm` or `flow`.

    Raises:
        ValueError: another kind, or arguments it does not have.
    """
    kinds: dict[str, Callable[..., Preconditioning]] = {"edm": EDM, "flow": Flow}
    if kind not in kinds:
        raise ValueError(f"preconditioning {kind!r} is not one of {', '.join(kinds)}")
    try:
        return kinds[kind](**arguments)
    except TypeError as error:
        raise ValueError(f"preconditioning {kind}: {error}") from error


def levels_at(standard: Tensor, mean: float, deviation: float) -> Tensor:
    """Noise levels sigma whose logarithm has a mean and a deviation, from standard normal values."""
    return (mean + deviation * standard).exp()


def _like(level: Tensor, x: Tensor) -> Tensor:
    """(B,) or (B, L) as (B, 1 or L, 1, ...) beside x."""
    return level.reshape(*level.shape, *[1] * (x.ndim - level.ndim))
