"""Small log-mel classifier: 2-D convolutional stem, 1-D ConvNeXt over frames, attentive pooling."""

from __future__ import annotations

from typing import Any

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
        self.heads = heads
        self.score = nn.Sequential(nn.Linear(dim, hidden), nn.Tanh(), nn.Linear(hidden, heads))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, L, dim) and (B, L, 1) of ones and zeros -> (B, 2 * dim)."""
        weight = self.score(x).masked_fill(mask == 0, float("-inf")).softmax(dim=1)
        groups = x.unflatten(-1, (self.heads, -1))
        mean = (weight[..., None] * groups).sum(1)
        variance = (weight[..., None] * (groups - mean[:, None]).square()).sum(1)
        return torch.cat([mean.flatten(1), (variance + 1e-4).sqrt().flatten(1)], dim=-1)


class MelClassifier(ModelMixin, ConfigMixin):
    """Emotion classifier on log-mels of any length; its embedding is what Fréchet distances are taken in.

    Args:
        mel: the front end as `MelConfig.to_dict()`; its fingerprint is checked.
        emotions: names of the classes in the order of the logits.
        embedding_dim: size of the embedding, the layer before the logits. Small, so that a fold of a
            hundred clips still has a covariance.
        stem: channels of the two convolutions of the stem.
        widths, depths: channels and ConvNeXt blocks of the stages; the first runs at half the frame rate,
            each further one at half of the one before.
        scale: divisor of log-mel values after the log floor has been moved to zero.
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
        if len(widths) != len(depths):
            raise ValueError(f"widths {widths} and depths {depths} differ in length")
        front = MelConfig.from_dict(mel)
        self.log_floor = front.log_floor
        self.bands = BandStem(front.n_mels, stem, widths[0])
        self.layers = nn.ModuleList()
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            if stage:
                self.layers.append(Resample(widths[stage - 1], width, down=True))
            self.layers.extend(ConvNeXtBlock(width, expansion=expansion) for _ in range(depth))
        self.reduction = STRIDE ** len(widths)
        self.norm = nn.LayerNorm(widths[-1])
        self.pool = AttentiveStatistics(widths[-1])
        # Pooled statistics vary little around a large mean: without this, learning takes several times longer.
        self.standardise = nn.BatchNorm1d(2 * widths[-1])
        self.project = nn.Linear(2 * widths[-1], embedding_dim)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(embedding_dim, len(emotions))

    @property
    def mel_config(self) -> MelConfig:
        """The front end that the input must come from."""
        return MelConfig.from_dict(self.config.mel)

    def embed(self, mel: Tensor, frames: Tensor | None = None) -> Tensor:
        """(B, n_mels, L) log-mel -> (B, embedding_dim); frames from `frames` (B,) int on are ignored.

        The result does not depend on what lies beyond a clip's own frames, nor on how much of it there is.
        """
        if frames is None:
            frames = torch.full((len(mel),), mel.shape[-1], device=mel.device)
        # The floor becomes zero, so that the zero padding of convolutions continues the clip with silence.
        mel = (mel - self.log_floor) / self.config.scale
        mel = nn.functional.pad(mel, (0, -mel.shape[-1] % self.reduction))
        mel = mel * _mask(frames, mel.shape[-1]).transpose(1, 2)
        frames, mask = _halve(frames, mel.shape[-1])
        x = self.bands(mel, mask)
        for layer in self.layers:
            if isinstance(layer, Resample):
                frames, mask = _halve(frames, x.shape[1])
            x = layer(x) * mask
        return self.project(self.standardise(self.pool(self.norm(x), mask)))

    def forward(self, mel: Tensor, frames: Tensor | None = None) -> Tensor:
        """(B, n_mels, L) log-mel -> logits (B, emotions)."""
        return self.head(self.drop(self.embed(mel, frames)))


def _halve(frames: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Own frames of each clip and their mask after `length` has been divided by `STRIDE`."""
    frames = (frames + STRIDE - 1) // STRIDE
    return frames, _mask(frames, length // STRIDE)


def _mask(frames: Tensor, length: int) -> Tensor:
    """(B, length, 1) float: one before `frames`, zero from there on."""
    return (torch.arange(length, device=frames.device) < frames[:, None]).float()[..., None]
