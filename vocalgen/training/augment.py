"""Random changes of batches of log-mels, each of its own for every clip; differentiable in the mels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from vocalgen.errors import VocalgenError
from vocalgen.float32 import uniform


@dataclass(frozen=True)
class MelAugmentation:
    """What a discriminator sees changed, in real and generated clips alike; no flips, as time has a direction.

    Args:
        shift: largest move along time, frames; what enters is silence.
        gain_db: largest change of level up or down.
        mask_bands, mask_frames: largest extent of a mask of silence.

    Raises:
        VocalgenError: one of them is negative.
    """

    shift: int = 16
    gain_db: float = 6.0
    mask_bands: int = 10
    mask_frames: int = 16

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value >= 0:
                raise VocalgenError(f"augmentation: {name} is {value}; it must not be negative")

    def __call__(self, mel: Tensor, share: float, floor: float, generator: torch.Generator) -> Tensor:
        """(B, n_mels, L) with each change made to `share` of the clips."""
        if share <= 0:
            return mel
        mel = shift_frames(mel, self.shift, floor, generator, share)
        mel = change_gain(mel, self.gain_db, floor, generator, share)
        mel = mask(mel, 1, self.mask_bands, floor, generator, share)
        return mask(mel, 2, self.mask_frames, floor, generator, share)


@dataclass(frozen=True)
class SpecAugment:
    """What a recogniser sees changed (arXiv 1904.08779), in every clip.

    Args:
        band_shift: largest shift of the bands up or down: roughly another tract length and pitch.
        masks: masks of silence along bands and as many along frames.
        mask_bands, mask_frames: largest extent of a mask.
    """

    band_shift: int = 4
    masks: int = 2
    mask_bands: int = 12
    mask_frames: int = 16

    def shifted(self, mel: Tensor, generator: torch.Generator) -> Tensor:
        """(B, n_mels, L) with its bands moved."""
        return shift_bands(mel, self.band_shift, generator)

    def masked(self, mel: Tensor, floor: float, generator: torch.Generator) -> Tensor:
        """(B, n_mels, L) with parts at `floor`."""
        for _ in range(self.masks):
            mel = mask(mel, 1, self.mask_bands, floor, generator)
            mel = mask(mel, 2, self.mask_frames, floor, generator)
        return mel


def shift_bands(mel: Tensor, largest: int, generator: torch.Generator) -> Tensor:
    """Move the bands of each clip of (B, n_mels, L) by -largest ... largest; the edge band is repeated."""
    shift = torch.randint(-largest, largest + 1, (len(mel), 1), generator=generator, device=mel.device)
    source = (torch.arange(mel.shape[1], device=mel.device) + shift).clamp(0, mel.shape[1] - 1)
    return mel.gather(1, source[:, :, None].expand(-1, -1, mel.shape[2]))


def shift_frames(mel: Tensor, largest: int, floor: float, generator: torch.Generator, share: float = 1.0) -> Tensor:
    """Move clips of (B, n_mels, L) by -largest ... largest frames; `floor` comes in."""
    shift = torch.randint(-largest, largest + 1, (len(mel), 1), generator=generator, device=mel.device)
    source = torch.arange(mel.shape[2], device=mel.device) - shift * _chosen(mel, share, generator)
    moved = mel.gather(2, source.clamp(0, mel.shape[2] - 1)[:, None].expand_as(mel))
    return moved.masked_fill(((source < 0) | (source >= mel.shape[2]))[:, None], floor)


def change_gain(mel: Tensor, largest_db: float, floor: float, generator: torch.Generator, share: float = 1.0) -> Tensor:
    """Make clips louder or softer by up to `largest_db`; what is silent stays so."""
    share_of_gain = 2 * uniform(len(mel), 1, generator=generator) - 1
    gain = (share_of_gain * _chosen(mel, share, generator))[..., None] * (largest_db * math.log(10) / 20)
    return torch.where(mel > floor, (mel + gain).clamp(min=floor), mel)


def mask(mel: Tensor, axis: int, largest: int, value: float, generator: torch.Generator, share: float = 1.0) -> Tensor:
    """Set up to `largest` neighbouring bands (axis 1) or frames (axis 2) of each clip of (B, n_mels, L) to `value`.

    SpecAugment as torchaudio has it: widths are uniform in 0 ... largest, and the last band or frame is never hidden
    unless the mask is as wide as the clip.
    """
    from torchaudio.functional import mask_along_axis_iid

    chosen = _chosen(mel, share, generator)
    with drawing_from(generator):
        masked = mask_along_axis_iid(mel, min(largest, mel.shape[axis]) + 1, value, axis)
    return masked if share >= 1 else torch.where(chosen[:, :, None] > 0, masked, mel)


@contextmanager
def drawing_from(generator: torch.Generator) -> Iterator[None]:
    """Let functions that take no generator draw from this one; the global state of its device is left as it was."""
    device = generator.device
    source = torch.random if device.type == "cpu" else torch.get_device_module(device)
    saved = source.get_rng_state()
    source.set_rng_state(generator.get_state())
    try:
        yield
    finally:
        generator.set_state(source.get_rng_state())
        source.set_rng_state(saved)


def _chosen(mel: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """(B, 1) of ones for about `share` of the clips and zeros; draws nothing where all are chosen."""
    if share >= 1:
        return torch.ones(len(mel), 1, dtype=torch.long, device=mel.device)
    return (uniform(len(mel), 1, generator=generator) < share).long()
