"""Small log-mel classifiers: what they share, a residual network over bands and frames, a ConvNeXt over frames."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, cast

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from vocalgen.mel import MelConfig
from vocalgen.models.autoencoder import STRIDE, ConvNeXtBlock, Resample


class BandStem(nn.Module):
    """Two convolutions over (bands, frames), then a linear layer over what is left of the bands.

    Local band filters make what follows less dependent on a speaker's pitch and tract length than a
    linear layer over all bands. Frames are reduced by `STRIDE`, bands by 6.
    """

    def __init__(self, n_mels: int, channels: tuple[int, int], dim: int) -> None:
        super().__init__()
        first, second = channels
        self.first = nn.Conv2d(1, first, (7, 5), stride=(3, STRIDE), padding=(3, 2))
        self.second = nn.Conv2d(first, second, (5, 3), stride=(2, 1), padding=(2, 1))
        bands = (n_mels + 5) // 6  # what strides of 3 and 2 leave
        self.join = nn.Linear(second * bands, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, n_mels, L) and (B, L / STRIDE, 1) of ones and zeros -> (B, L / STRIDE, dim)."""
        x = nn.functional.silu(self.first(x.unsqueeze(1))) * mask[:, None, None, :, 0]
        # Channels last makes the second convolution's backward pass half again as fast on CPUs.
        x = nn.functional.silu(self.second(x.contiguous(memory_format=torch.channels_last)))
        return self.norm(self.join(x.permute(0, 3, 2, 1).flatten(2))) * mask


class AttentiveStatistics(nn.Module):
    """Mean and deviation over frames, weighted by attention of several heads (arXiv 1803.10963)."""

    def __init__(self, dim: int, heads: int = 4, hidden: int = 64) -> None:
        super().__init__()
        self.dim, self.heads = dim, heads
        self.score = nn.Sequential(nn.Linear(dim, hidden), nn.Tanh(), nn.Linear(hidden, heads))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, L, dim) and (B, L, 1) of ones and zeros -> (B, 2 * dim)."""
        weight = self.score(x).masked_fill(mask == 0, float("-inf")).softmax(dim=1)
        groups = x.unflatten(-1, (self.heads, -1))
        mean = (weight[..., None] * groups).sum(1)
        variance = (weight[..., None] * (groups - mean[:, None]).square()).sum(1)
        return torch.cat([mean.flatten(1), (variance + 1e-4).sqrt().flatten(1)], dim=-1)


class Recogniser(ModelMixin, ConfigMixin):
    """What classifiers of log-mels share: attentive pooling, an embedding, logits.

    Subclasses take `mel`, the front end as `MelConfig.to_dict()` whose fingerprint is checked; `emotions`, names of the
    classes in the order of the logits; `embedding_dim`, size of the layer before the logits, small so that a fold of a
    hundred clips still has a covariance; `dropout` before the logits; `scale`, divisor of log-mel values after the log
    floor has been moved to zero.
    """

    reduction: int
    """Frames of the mel for each frame of the features; clips are padded to a multiple."""

    def _build_head(self, dim: int, embedding_dim: int, classes: int, dropout: float) -> None:
        self.pool = AttentiveStatistics(dim)
        # Pooled statistics vary little around a large mean: without this, learning takes several times longer.
        self.standardise = nn.BatchNorm1d(2 * dim)
        self.project = nn.Linear(2 * dim, embedding_dim)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(embedding_dim, classes)

    @abstractmethod
    def features(self, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(B, n_mels, L), zero from `frames` (B,) on -> (B, L / reduction, dim) and (B, L / reduction, 1) of ones and
        zeros."""

    @property
    def mel_config(self) -> MelConfig:
        """The front end that the input must come from."""
        return MelConfig.from_dict(self.config.mel)

    def embed(self, mel: Tensor, frames: Tensor | None = None) -> Tensor:
        """(B, n_mels, L) log-mel -> (B, embedding_dim); frames from `frames` (B,) int on are ignored.

        The result does not depend on what lies beyond a clip's own frames, nor on how much of it there is.
        """
        return self.project(self.standardise(self.pool(*self.sequence(mel, frames))))

    def sequence(self, mel: Tensor, frames: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, n_mels, L) log-mel -> features (B, L / reduction, dim) and their mask, as `features` gives them."""
        if frames is None:
            frames = torch.full((len(mel),), mel.shape[-1], device=mel.device)
        return self.features(from_floor(mel, frames, self.mel_config, self.config.scale, self.reduction), frames)

    def forward(self, mel: Tensor, frames: Tensor | None = None) -> Tensor:
        """(B, n_mels, L) log-mel -> logits (B, emotions)."""
        return self.head(self.drop(self.embed(mel, frames)))


class MelClassifier(Recogniser):
    """ConvNeXt over frames behind a two-layer stem, see `Recogniser`.

    Args:
        stem: channels of the two convolutions of the stem.
        widths, depths: channels and ConvNeXt blocks of the stages; the first runs at half the frame rate,
            each further one at half of the one before.
    """

    @register_to_config
    def __init__(
        self,
        mel: dict[str, Any],
        emotions: tuple[str, ...],
        embedding_dim: int = 64,
        stem: tuple[int, int] = (16, 24),
        widths: tuple[int, ...] = (128, 192, 256),
        depths: tuple[int, ...] = (2, 2, 2),
        expansion: int = 3,
        dropout: float = 0.1,
        scale: float = 3.0,
    ) -> None:
        super().__init__()
        _require_stages(widths, depths)
        self.bands = BandStem(MelConfig.from_dict(mel).n_mels, stem, widths[0])
        self.layers = convnext_stages(widths, depths, expansion)
        self.reduction = STRIDE ** len(widths)
        self.norm = nn.LayerNorm(widths[-1])
        self._build_head(widths[-1], embedding_dim, len(emotions), dropout)

    def features(self, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """See `Recogniser.features`."""
        x, mask = run_stages(self.bands, self.layers, x, frames)
        return self.norm(x), mask


class ResidualBlock(nn.Module):
    """Two convolutions over (bands, frames) with batch normalisation and a shortcut (arXiv 1512.03385)."""

    def __init__(self, dim_in: int, dim_out: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(dim_in, dim_out, 3, stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(dim_out)
        self.second = nn.Conv2d(dim_out, dim_out, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(dim_out)
        changes = stride != 1 or dim_in != dim_out
        self.shortcut = nn.Conv2d(dim_in, dim_out, 1, stride, bias=False) if changes else nn.Identity()

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, dim_in, bands, L) -> (B, dim_out, bands / stride, L / stride); mask (B, 1, 1, L / stride)."""
        y = nn.functional.relu(self.first_norm(self.first(x))) * mask
        return nn.functional.relu(self.second_norm(self.second(y)) + self.shortcut(x)) * mask


class ResidualClassifier(Recogniser):
    """Residual network over bands and frames, see `Recogniser`.

    Args:
        widths, depths: channels and residual blocks of the stages; the first runs at a third of the bands and half
            the frame rate, each further one at half of the one before. Multiples of 24 channels are fastest on CPUs.
    """

    @register_to_config
    def __init__(
        self,
        mel: dict[str, Any],
        emotions: tuple[str, ...],
        embedding_dim: int = 64,
        widths: tuple[int, ...] = (24, 48, 96, 192),
        depths: tuple[int, ...] = (1, 1, 2, 2),
        dropout: float = 0.2,
        scale: float = 3.0,
    ) -> None:
        super().__init__()
        _require_stages(widths, depths)
        MelConfig.from_dict(mel)
        self.stem = nn.Conv2d(1, widths[0], 5, stride=(3, STRIDE), padding=2, bias=False)
        self.stem_norm = nn.BatchNorm2d(widths[0])
        self.stages = nn.ModuleList()
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            before = widths[max(stage - 1, 0)]
            blocks = [ResidualBlock(before, width, STRIDE if stage else 1)]
            blocks += [ResidualBlock(width, width, 1) for _ in range(depth - 1)]
            self.stages.append(nn.ModuleList(blocks))
        self.reduction = STRIDE ** len(widths)
        self._build_head(widths[-1], embedding_dim, len(emotions), dropout)
        self.to(memory_format=torch.channels_last)  # what convolutions on CPUs are fastest with

    def features(self, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """See `Recogniser.features`."""
        frames, mask = halve(frames, x.shape[-1])
        x = self.stem(x.unsqueeze(1).contiguous(memory_format=torch.channels_last))
        x = nn.functional.relu(self.stem_norm(x)) * mask.mT[:, None]
        for number, stage in enumerate(self.stages):
            if number:
                frames, mask = halve(frames, x.shape[-1])
            for block in cast(nn.ModuleList, stage):
                x = block(x, mask.mT[:, None])
        return x.mean(2).transpose(1, 2), mask


def convnext_stages(widths: tuple[int, ...], depths: tuple[int, ...], expansion: int) -> nn.ModuleList:
    """ConvNeXt blocks over frames; a `Resample` stands between two stages."""
    layers = nn.ModuleList()
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        if stage:
            layers.append(Resample(widths[stage - 1], width, down=True))
        layers.extend(ConvNeXtBlock(width, expansion=expansion) for _ in range(depth))
    return layers


def run_stages(bands: BandStem, layers: nn.ModuleList, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
    """(B, n_mels, L) through a stem and `convnext_stages`: features (B, L', dim) and their mask (B, L', 1)."""
    frames, mask = halve(frames, x.shape[-1])
    x = bands(x, mask)
    for layer in layers:
        if isinstance(layer, Resample):
            frames, mask = halve(frames, x.shape[1])
        x = layer(x) * mask
    return x, mask


def from_floor(mel: Tensor, frames: Tensor, config: MelConfig, scale: float, multiple: int) -> Tensor:
    """(B, n_mels, L) log-mels with the floor moved to zero, zero from `frames` (B,) on, padded to a multiple of frames.

    The zero padding of convolutions then continues the clip with silence.
    """
    mel = nn.functional.pad((mel - config.log_floor) / scale, (0, -mel.shape[-1] % multiple))
    return mel * mask_of(frames, mel.shape[-1]).mT


def _require_stages(widths: tuple[int, ...], depths: tuple[int, ...]) -> None:
    if len(widths) != len(depths):
        raise ValueError(f"widths {widths} and depths {depths} differ in length")


def halve(frames: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Own frames of each clip and their mask after `length` has been divided by `STRIDE`."""
    frames = (frames + STRIDE - 1) // STRIDE
    return frames, mask_of(frames, length // STRIDE)


def mask_of(frames: Tensor, length: int) -> Tensor:
    """(B, length, 1) float: one before `frames`, zero from there on."""
    return (torch.arange(length, device=frames.device) < frames[:, None]).float()[..., None]
