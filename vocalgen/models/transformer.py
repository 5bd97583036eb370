"""A 1-D diffusion transformer on latent or log-mel frames, conditioned on an emotion intensity vector."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import Tensor, nn

from vocalgen.mel import MelConfig


class Conditioning(NamedTuple):
    """What a clip should be.

    Attributes:
        intensities: (B, K) emotion intensities in [0, 1].
        keep: (B,) bool; False puts the learned null in the place of the emotion.
        seconds: (B,) length of the burst; NaN puts the learned "any length" there.
    """

    intensities: Tensor
    keep: Tensor
    seconds: Tensor

    def without_emotion(self) -> Conditioning:
        """The unconditional branch of classifier-free guidance."""
        return self._replace(keep=torch.zeros_like(self.keep))

    def to(self, dtype: torch.dtype) -> Conditioning:
        """The same with floating-point values of another type."""
        return Conditioning(self.intensities.to(dtype), self.keep, self.seconds.to(dtype))


class MelTransformer(ModelMixin, ConfigMixin):
    """Diffusion transformer (DiT, arXiv 2212.09748): AdaLN-zero, rotary attention, a depthwise convolution.

    Args:
        mel: the front end as `MelConfig.to_dict()`.
        emotions: names of the K conditions in order.
        in_channels, length: shape of a sample: latent channels and latent frames, or mel bands and mel frames.
        patch: neighbouring frames joined into one token.
        dim, depth, heads: width, blocks, attention heads.
        preconditioning: arguments of `models.denoiser.preconditioning`, kept with the weights they belong to.
    """

    rotation: Tensor

    @register_to_config
    def __init__(
        self,
        mel: dict[str, Any],
        emotions: tuple[str, ...],
        in_channels: int,
        length: int,
        patch: int = 1,
        dim: int = 320,
        depth: int = 8,
        heads: int = 5,
        kernel_size: int = 5,
        preconditioning: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if length % patch or dim % heads or (dim // heads) % 2:
            raise ValueError(
                f"length {length} must divide by patch {patch}, dim {dim} into an even size a head ({heads})"
            )
        tokens = length // patch
        self.patch = patch
        self.embed = nn.Linear(in_channels * patch, dim)
        self.position = nn.Parameter(torch.randn(tokens, dim) * 0.02)
        self.noise_embed = FourierEmbedding(dim)
        self.seconds_embed = FourierEmbedding(dim)
        self.any_seconds = nn.Parameter(torch.zeros(dim))
        self.emotion_embed = nn.Linear(len(emotions), dim, bias=False)
        self.null_emotion = nn.Parameter(torch.zeros(dim))
        nn.init.normal_(self.emotion_embed.weight, std=0.5)
        self.blocks = nn.ModuleList(TransformerBlock(dim, heads, kernel_size) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.modulation = nn.Linear(dim, 2 * dim)
        self.head = nn.Linear(dim, in_channels * patch)
        for layer in (self.modulation, self.head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.register_buffer("rotation", rotary_table(tokens, dim // heads), persistent=False)

    @property
    def front_end(self) -> MelConfig:
        """The log-mel this transformer was trained on, directly or through latents."""
        return MelConfig.from_dict(self.config.mel)

    def forward(self, x: Tensor, noise: Tensor, condition: Conditioning) -> Tensor:
        """(B, length, in_channels) noisy sample, (B,) noise label of order one -> (B, length, in_channels)."""
        context = F.silu(self.noise_embed(noise) + self._emotion(condition) + self._seconds(condition.seconds))
        tokens = self.embed(rearrange(x, "b (l p) c -> b l (p c)", p=self.patch)) + self.position
        for block in self.blocks:
            tokens = block(tokens, context, self.rotation)
        shift, scale = self.modulation(context)[:, None].chunk(2, dim=-1)
        return rearrange(self.head(self.norm(tokens) * (1 + scale) + shift), "b l (p c) -> b (l p) c", p=self.patch)

    def _emotion(self, condition: Conditioning) -> Tensor:
        """(B, dim). Intensities that add up to more than one are scaled to one: a mixture lies between its parts."""
        weights = condition.intensities / condition.intensities.sum(-1, keepdim=True).clamp(min=1.0)
        return torch.where(condition.keep[:, None], self.emotion_embed(weights), self.null_emotion)

    def _seconds(self, seconds: Tensor) -> Tensor:
        embedded = self.seconds_embed(torch.nan_to_num(seconds))
        return torch.where(seconds.isnan()[:, None], self.any_seconds, embedded)


class FourierEmbedding(nn.Module):
    """A scalar of order one as sines and cosines of rising frequency, through a small network."""

    frequencies: Tensor

    def __init__(self, dim: int, features: int = 64, highest: float = 16.0) -> None:
        super().__init__()
        octaves = torch.linspace(-3.0, float(torch.tensor(highest).log2()), features // 2)
        self.register_buffer("frequencies", 2 * torch.pi * 2**octaves, persistent=False)
        self.mlp = nn.Sequential(nn.Linear(features, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, value: Tensor) -> Tensor:
        """(...) -> (..., dim)."""
        angle = value[..., None] * self.frequencies
        return self.mlp(torch.cat([angle.sin(), angle.cos()], dim=-1))


class TransformerBlock(nn.Module):
    """Attention and MLP, each shifted, scaled and gated by the context (AdaLN-zero)."""

    def __init__(self, dim: int, heads: int, kernel_size: int) -> None:
        super().__init__()
        self.heads = heads
        self.modulation = nn.Linear(dim, 6 * dim)
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.depthwise = nn.Conv1d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.query_norm = nn.RMSNorm(dim // heads)
        self.key_norm = nn.RMSNorm(dim // heads)
        self.out = nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.SiLU(), nn.Linear(4 * dim, dim))
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, context: Tensor, rotation: Tensor) -> Tensor:
        """(B, L, dim) tokens, (B, dim) context, rotary table -> (B, L, dim)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(context)[:, None].chunk(6, dim=-1)
        x = x + gate1 * self._attend(self.norm(x) * (1 + scale1) + shift1, rotation)
        return x + gate2 * self.mlp(self.norm(x) * (1 + scale2) + shift2)

    def _attend(self, x: Tensor, rotation: Tensor) -> Tensor:
        x = x + self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        q, k, v = rearrange(self.qkv(x), "b l (three h d) -> three b h l d", three=3, h=self.heads)
        q, k = rotate(self.query_norm(q), rotation), rotate(self.key_norm(k), rotation)
        return self.out(rearrange(F.scaled_dot_product_attention(q, k, v), "b h l d -> b l (h d)"))


def rotary_table(length: int, dim: int) -> Tensor:
    """Cosines and sines of rotary positions (RoFormer, arXiv 2104.09864): (2, length, dim / 2)."""
    frequencies = 1000.0 ** -torch.linspace(0, 1, dim // 2)
    angle = torch.arange(length)[:, None] * frequencies
    return torch.stack([angle.cos(), angle.sin()])


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Rotate the halves of (..., L, dim) by their positions."""
    cos, sin = table
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1).type_as(x)
