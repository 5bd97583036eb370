"""From one burst to another in equal steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from vocalgen.emotions import Condition
from vocalgen.errors import VocalgenError
from vocalgen.float32 import float32_default
from vocalgen.generation.settings import Settings, require_seeds, whole_number
from vocalgen.generation.synthesis import Synthesis

GAP = 0.15
"""Seconds of silence between the clips of a joined file."""


class End(NamedTuple):
    """Where an interpolation starts or ends: an emotion and a seed."""

    condition: Condition
    seed: int


@torch.no_grad()
@float32_default()
def interpolate(
    synthesis: Synthesis, start: End, end: End, steps: int, settings: Settings | None = None
) -> list[NDArray[np.float32]]:
    """Clips (samples,) from `start` to `end`, both included.

    Intensities and latents go from one end to the other: w of StyleGAN2 along a straight line, starting noise of
    diffusion along a great circle. What else is random stays as the first seed has it.

    Raises:
        VocalgenError: fewer than two steps, or a seed out of range.
    """
    steps = whole_number(steps, "steps")
    if steps < 2:
        raise VocalgenError(f"an interpolation needs two clips at least, got {steps}")
    seeds = (whole_number(start.seed, "seed"), whole_number(end.seed, "seed"))
    for seed in seeds:
        require_seeds(seed)
    intensities = torch.tensor([synthesis.condition(place.condition).intensities for place in (start, end)])
    chosen = settings or synthesis.settings()
    clips = []
    for shares in torch.linspace(0, 1, steps).split(synthesis.tile):
        mels = synthesis.between(intensities.to(synthesis.execution_device), seeds, shares, chosen)
        clips += [synthesis.finish(wave) for wave in synthesis.waves(mels)]
    return clips


def joined(clips: Sequence[NDArray[np.float32]], sample_rate: int) -> NDArray[np.float32]:
    """One wave (samples,) of all clips with silence between them."""
    gap = np.zeros(int(GAP * sample_rate), dtype=np.float32)
    return np.concatenate([part for clip in clips for part in (clip, gap)][:-1])
