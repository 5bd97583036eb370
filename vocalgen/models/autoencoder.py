"""Mel autoencoder: a 1-D ConvNeXt over frames, four times shorter in time."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

from vocalgen.mel import MelConfig

STRIDE = 2
"""Time reduction between two stages."""


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, LayerNorm, two pointwise layers, scaled residual (arXiv 2201.03545), over time."""

    def __init__(self, dim: int, kernel_size: int = 7, expansion: int = 3, layer_scale: float = 0.1) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, expansion * dim)
        self.activation = nn.SiLU()
        self.project = nn.Linear(expansion * dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), layer_scale))

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, dim) -> (B, L, dim)."""
        mixed = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        return x + self.scale * self.project(self.activation(self.expand(self.norm(mixed))))


class Resample(nn.Module):
    """Halve the frames (`down`) or double them, by joining or splitting neighbours in a linear layer."""

    def __init__(self, dim_in: int, dim_out: int, down: bool) -> None:
        super().__init__()
        self.down = down
        self.norm = nn.LayerNorm(dim_in)
        self.linear = nn.Linear(dim_in * STRIDE, dim_out) if down else nn.Linear(dim_in, dim_out * STRIDE)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, dim_in) -> (B, L / 2, dim_out) or (B, 2 L, dim_out)."""
        x = self.norm(x)
        if self.down:
            return self.linear(x.reshape(x.shape[0], x.shape[1] // STRIDE, -1))
        return self.linear(x).reshape(x.shape[0], x.shape[1] * STRIDE, -1)


class MelAutoencoder(ModelMixin, ConfigMixin):
    """Variational autoencoder between log-mels and short latent sequences.

    Args:
        mel: the front end as `MelConfig.to_dict()`.
        latent_dim: channels of the latent.
        widths: channels of the stages, from full frame rate downwards; each further stage halves the frames.
        depths: ConvNeXt blocks a stage, the same in encoder and decoder.
        mel_mean, mel_std: fixed affine normalisation of log-mel values.
    """

    latent_mean: Tensor
    latent_std: Tensor

    @register_to_config
    def __init__(
        self,
        mel: dict[str, Any],
        latent_dim: int = 32,
        widths: tuple[int, ...] = (128, 256, 384),
        depths: tuple[int, ...] = (1, 2, 3),
        expansion: int = 3,
        mel_mean: float = -6.0,
        mel_std: float = 2.5,
    ) -> None:
        super().__init__()
        if len(widths) != len(depths):
            raise ValueError(f"widths {widths} and depths {depths} differ in length")
        bands = mel["n_mels"]
        self.downsampling = STRIDE ** (len(widths) - 1)
        encoder: list[nn.Module] = [nn.Linear(bands, widths[0])]
        decoder: list[nn.Module] = [nn.Linear(latent_dim, widths[-1])]
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            if stage > 0:
                encoder.append(Resample(widths[stage - 1], width, down=True))
            encoder += [ConvNeXtBlock(width, expansion=expansion) for _ in range(depth)]
        for stage in reversed(range(len(widths))):
            decoder += [ConvNeXtBlock(widths[stage], expansion=expansion) for _ in range(depths[stage])]
            if stage > 0:
                decoder.append(Resample(widths[stage], widths[stage - 1], down=False))
        encoder += [nn.LayerNorm(widths[-1]), nn.Linear(widths[-1], 2 * latent_dim)]
        decoder += [nn.LayerNorm(widths[0]), nn.Linear(widths[0], bands)]
        self.encoder = nn.Sequential(*encoder)
        self.decoder = nn.Sequential(*decoder)
        self.register_buffer("latent_mean", torch.zeros(latent_dim))
        self.register_buffer("latent_std", torch.ones(latent_dim))

    @property
    def latent_dim(self) -> int:
        """Channels of the latent."""
        return int(self.config.latent_dim)

    @property
    def front_end(self) -> MelConfig:
        """The log-mel this autoencoder was trained on."""
        return MelConfig.from_dict(self.config.mel)

    def encode(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """(B, n_mels, L) log-mel -> posterior mean and log-variance, each (B, L / downsampling, latent_dim)."""
        normal = (mel.transpose(1, 2) - self.config.mel_mean) / self.config.mel_std
        mean, log_variance = self.encoder(normal).chunk(2, dim=-1)
        return mean, log_variance.clamp(-20.0, 5.0)

    @apply_forward_hook
    def decode(self, latent: Tensor) -> Tensor:
        """(B, L, latent_dim) -> (B, n_mels, L * downsampling) log-mel."""
        return self.decoder(latent).transpose(1, 2) * self.config.mel_std + self.config.mel_mean

    def forward(self, mel: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Round trip of (B, n_mels, L); `noise` (B, L / downsampling, latent_dim) samples the posterior.

        Returns:
            reconstruction (B, n_mels, L), posterior mean, posterior log-variance.
        """
        mean, log_variance = self.encode(mel)
        latent = mean if noise is None else mean + (0.5 * log_variance).exp() * noise
        return self.decode(latent), mean, log_variance

    def normalise(self, latent: Tensor) -> Tensor:
        """Latents to zero mean and unit deviation a channel, as the diffusion model sees them."""
        return (latent - self.latent_mean) / self.latent_std

    @apply_forward_hook
    def denormalise(self, latent: Tensor) -> Tensor:
        """Inverse of `normalise`."""
        return latent * self.latent_std + self.latent_mean


class MelFrames(ModelMixin, ConfigMixin):
    """Log-mel frames taken as they are: stands in for an autoencoder where a model works on frames directly.

    Args:
        mel: the front end as `MelConfig.to_dict()`.
        mel_mean, mel_std: affine normalisation of log-mel values.
    """

    downsampling = 1

    @register_to_config
    def __init__(self, mel: dict[str, Any], mel_mean: float = -6.0, mel_std: float = 2.5) -> None:
        super().__init__()
        self.register_buffer("latent_mean", torch.tensor(mel_mean))
        self.register_buffer("latent_std", torch.tensor(mel_std))

    latent_mean: Tensor
    latent_std: Tensor

    @property
    def front_end(self) -> MelConfig:
        """The log-mel of the frames."""
        return MelConfig.from_dict(self.config.mel)

    @property
    def latent_dim(self) -> int:
        """Channels of a frame."""
        return self.front_end.n_mels

    def encode(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """(B, n_mels, L) -> (B, L, n_mels) and a log-variance of nearly nothing."""
        frames = mel.transpose(1, 2)
        return frames, torch.full_like(frames, -20.0)

    @apply_forward_hook
    def decode(self, latent: Tensor) -> Tensor:
        """(B, L, n_mels) -> (B, n_mels, L)."""
        return latent.transpose(1, 2)

    def normalise(self, latent: Tensor) -> Tensor:
        """Frames of order one."""
        return (latent - self.latent_mean) / self.latent_std

    @apply_forward_hook
    def denormalise(self, latent: Tensor) -> Tensor:
        """Inverse of `normalise`."""
        return latent * self.latent_std + self.latent_mean


class PatchDiscriminator(nn.Module):
    """Light 2-D convolutional discriminator that judges overlapping patches of a log-mel (arXiv 1611.07004)."""

    def __init__(self, channels: int = 24) -> None:
        super().__init__()
        shapes = [(1, channels, (2, 1)), (channels, 2 * channels, (2, 2)), (2 * channels, 4 * channels, (2, 2))]
        self.layers = nn.ModuleList(nn.Conv2d(i, o, (5, 5), stride=s, padding=2) for i, o, s in shapes)
        self.score = nn.Conv2d(4 * channels, 1, 3, padding=1)

    def forward(self, mel: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, n_mels, L) -> patch scores (B, 1, n_mels / 8, L / 4) and the feature maps before them."""
        x, features = mel.unsqueeze(1) / 4, []
        for layer in self.layers:
            x = nn.functional.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.score(x), features
