"""Log-mels, or latents of an autoencoder, as maps for convolutional GANs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from einops import rearrange
from torch import Tensor

from vocalgen.models.equalised import Size

Layout = Literal["image", "frames"]

MEL_MEAN, MEL_STD = -6.0, 2.5
"""Fixed affine normalisation of log-mel values, the same for every clip: levels survive."""


class MelMaps(NamedTuple):
    """How a log-mel becomes maps for convolutions; a sequence of latents is a mel of as many bands as it has channels.

    Args:
        n_mels, frames: size of the mel.
        layout: "image": one map (bands, frames); "frames": a map (1, frames) for each band.
        patch: neighbouring frames that become further maps of 1 / patch the length.
        mean, std: affine normalisation of the values.
    """

    n_mels: int
    frames: int
    layout: Layout
    patch: int
    mean: float = MEL_MEAN
    std: float = MEL_STD

    @property
    def size(self) -> Size:
        """Height and width of the maps.

        Raises:
            ValueError: the frames do not divide by the patch.
        """
        if self.patch < 1 or self.frames % self.patch:
            raise ValueError(f"{self.frames} frames do not divide by patch {self.patch}; change either")
        return (self.n_mels if self.layout == "image" else 1, self.frames // self.patch)

    @property
    def channels(self) -> int:
        """Number of maps."""
        return self.patch * (1 if self.layout == "image" else self.n_mels)

    def of(self, mel: Tensor) -> Tensor:
        """(B, n_mels, L) log-mel -> normalised maps (B, channels, *size)."""
        x = rearrange((mel - self.mean) / self.std, "b h (l p) -> b p h l", p=self.patch)
        return x if self.layout == "image" else x.flatten(1, 2)[:, :, None]

    def mel(self, maps: Tensor) -> Tensor:
        """Inverse of `of`."""
        x = maps if self.layout == "image" else maps[:, :, 0].unflatten(1, (self.patch, self.n_mels))
        return rearrange(x, "b p h l -> b h (l p)") * self.std + self.mean


def widths_of(channels: Sequence[int], levels: int) -> list[int]:
    """Maps of each size from the base upwards; the last number stays.

    Raises:
        ValueError: more numbers than sizes, or none.
    """
    if not 0 < len(channels) <= levels:
        raise ValueError(f"{len(channels)} channel numbers for {levels} sizes; give one to {levels}")
    return [*channels, *[channels[-1]] * (levels - len(channels))]
