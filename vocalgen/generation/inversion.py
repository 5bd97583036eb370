"""Projection of a real clip into the latent space of StyleGAN2 (StyleGAN2, appendix D)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vocalgen.errors import VocalgenError
from vocalgen.float32 import float32_default, normal
from vocalgen.generation.settings import whole_number
from vocalgen.generation.stylegan2 import StyleGAN2Synthesis
from vocalgen.mel import LogMel

SAMPLES = 2000
"""Latents from which the mean and the spread of w are taken."""

RATE, RAMP_UP, RAMP_DOWN = 0.1, 0.05, 0.25
"""Largest learning rate; shares of the steps over which it rises and falls."""

JITTER, JITTER_UNTIL = 0.05, 0.75
"""Noise on w in units of its spread at first, and the share of the steps at which it has faded away."""


@dataclass(frozen=True)
class Inversion:
    """What was found.

    Args:
        w: (styles, w_dim).
        mel: (n_mels, frames), what the generator makes of it.
        target: (n_mels, frames), what it should be.
        distance: mean absolute difference of the two in nat.
        start: the same for the mean w, before the search.
    """

    w: Tensor
    mel: Tensor
    target: Tensor
    distance: float
    start: float


@float32_default()
def invert(
    synthesis: StyleGAN2Synthesis,
    wave: NDArray[np.float32],
    intensities: Tensor,
    steps: int = 300,
    seed: int = 0,
    advance: Callable[[], None] = lambda: None,
) -> Inversion:
    """Find the w of every layer whose clip comes nearest to a wave in log-mel, by Adam from the mean w.

    Args:
        wave: (samples,) at the model's rate, prepared as training clips are; what is beyond `samples_of` is cut.
        intensities: (K,) of the emotion whose mean w is the start.
        seed: of the noise, which stays as it is, and of the search.
        advance: called after every step.

    Raises:
        VocalgenError: fewer than one step.
    """
    steps, seed = whole_number(steps, "steps"), whole_number(seed, "seed")
    if steps < 1:
        raise VocalgenError(f"the search needs one step at least, got {steps}")
    generator, device = synthesis.generator, synthesis.generator.device
    target = _target(synthesis, wave).to(device)
    random = torch.Generator().manual_seed(seed)
    condition = intensities[None].to(device)
    with torch.no_grad():
        z = normal(SAMPLES, int(generator.config.z_dim), generator=random).to(device)
        cloud = generator.mapping(z, condition.expand(SAMPLES, -1))
        centre, spread = cloud.mean(0), (cloud - cloud.mean(0)).square().sum(1).mean().sqrt()
    _, noise = synthesis.randomness([seed])
    w = centre.repeat(1, generator.styles, 1).requires_grad_(True)
    with torch.no_grad():
        start = _distance(synthesis.render(w, noise)[0], target)
    optimizer = torch.optim.Adam([w], betas=(0.9, 0.999))
    best, best_w = float(start), w.detach().clone()
    for step in range(steps):
        done = step / steps
        optimizer.param_groups[0]["lr"] = RATE * min(1.0, (1 - done) / RAMP_DOWN, (done + 1 / steps) / RAMP_UP)
        jitter = float(spread) * JITTER * max(0.0, 1 - done / JITTER_UNTIL) ** 2
        moved = w + jitter * normal(*w.shape, generator=random).to(device)
        loss = _distance(synthesis.render(moved, noise)[0], target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < best:
            best, best_w = loss.item(), moved.detach().clone()
        advance()
    with torch.no_grad():
        mel = synthesis.render(best_w, noise)[0]
    return Inversion(best_w[0], mel, target, float(_distance(mel, target)), float(start))


def samples_of(synthesis: StyleGAN2Synthesis) -> int:
    """Samples that the generator makes, and that a wave is compared with."""
    return int(synthesis.generator.config.frames) * synthesis.mel.hop_length


def _target(synthesis: StyleGAN2Synthesis, wave: NDArray[np.float32]) -> Tensor:
    """(n_mels, frames) of a wave, silent behind its end."""
    samples = samples_of(synthesis)
    window = np.zeros(samples, dtype=np.float32)
    window[: len(wave)] = wave[:samples]
    return LogMel(synthesis.mel)(torch.from_numpy(window)[None])[0]


def _distance(mel: Tensor, target: Tensor) -> Tensor:
    return (mel - target).abs().mean()
