"""Samplers of the probability-flow ODE: plain functions of a denoiser D(x; sigma)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from vocalgen.models.denoiser import Network, Preconditioning

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(x (B, ...), sigma ()) -> estimate of the clean sample."""


def karras_sigmas(steps: int, sigma_min: float = 0.02, sigma_max: float = 40.0, rho: float = 7.0) -> Tensor:
    """Noise levels from sigma_max down to 0, (steps + 1,) (EDM eq. 5)."""
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64) if steps > 1 else torch.zeros(1, dtype=torch.float64)
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return torch.cat([(high + ramp * (low - high)) ** rho, torch.zeros(1, dtype=torch.float64)]).float()


def heun(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Tensor:
    """Heun's second-order method (EDM algorithm 1): two evaluations a step, one in the last.

    Args:
        x: starting noise of deviation sigmas[0].
        sigmas: (steps + 1,) falling to 0.
    """
    for sigma, following in pairwise(sigmas):
        slope = (x - denoise(x, sigma)) / sigma
        ahead = x + (following - sigma) * slope
        if following > 0:
            slope = (slope + (ahead - denoise(ahead, following)) / following) / 2
            ahead = x + (following - sigma) * slope
        x = ahead
    return x


def dpmpp_2m(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Tensor:
    """DPM-Solver++(2M) (arXiv 2211.01095, algorithm 2): one evaluation a step, second order from the last two."""
    previous: Tensor | None = None
    last_width = sigmas.new_zeros(())
    for sigma, following in pairwise(sigmas):
        clean = denoise(x, sigma)
        if following == 0:
            return clean
        width = sigma.log() - following.log()
        target = clean if previous is None else clean + (clean - previous) * width / (2 * last_width)
        x = following / sigma * x - torch.expm1(-width) * target
        previous, last_width = clean, width
    return x


SOLVERS: dict[str, Callable[[Denoise, Tensor, Tensor], Tensor]] = {"dpm++": dpmpp_2m, "heun": heun}


def guided(
    network: Network,
    preconditioning: Preconditioning,
    condition: Any,
    guidance: float = 1.0,
    interval: tuple[float, float] = (0.0, float("inf")),
) -> Denoise:
    """Denoiser with classifier-free guidance (arXiv 2207.12598) on an interval of noise levels (arXiv 2404.07724).

    Args:
        condition: what the network takes; `without_emotion()` gives the unconditional branch.
        guidance: w in D = D_null + w (D_cond - D_null); 1 is no guidance and costs nothing.
        interval: (sigma_low, sigma_high] in which guidance acts.
    """
    unconditional = condition.without_emotion()
    both = type(condition)(*(torch.cat(pair) for pair in zip(condition, unconditional, strict=True)))

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        level = sigma.to(x.device).expand(len(x))
        if guidance == 1.0 or not interval[0] < float(sigma) <= interval[1]:
            return preconditioning.denoise(network, x, level, condition)
        doubled = preconditioning.denoise(network, torch.cat([x, x]), torch.cat([level, level]), both)
        with_emotion, without = doubled.chunk(2)
        return without + guidance * (with_emotion - without)

    return denoise
