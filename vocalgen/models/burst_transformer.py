"""Diffusion transformer on latents of variable length, with conditions that may each be absent."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import Tensor, nn

from vocalgen.mel import MelConfig
from vocalgen.models.style import StyleEncoder
from vocalgen.models.transformer import FourierEmbedding, rotary_table, rotate

ACOUSTICS = ("pitch", "brightness", "voiced", "seconds")
"""Acoustic conditions: median pitch in semitones over 55 Hz, log of the spectral centroid in Hz, share of voiced
frames, duration in seconds; `vocalgen.acoustics` measures them."""


class BurstCondition(NamedTuple):
    """Conditions of a batch of clips. NaN means absent: in a whole row, in `acoustics` also in a single value.

    Attributes:
        mask: (B, L) bool, latents that belong to the clip; each clip begins at latent 0.
        intensities: (B, K) emotion intensities in [0, 1].
        negative: (B, K) intensities that guidance leads away from.
        voice: (B, V) speaker embedding.
        acoustics: (B, A) values of `ACOUSTICS`.
        style: (B, S) embedding of `BurstTransformer.style_of`.
        guidance: (B,) guidance scale that a distilled network has built in.
    """

    mask: Tensor
    intensities: Tensor
    negative: Tensor
    voice: Tensor
    acoustics: Tensor
    style: Tensor
    guidance: Tensor

    def without_emotion(self) -> BurstCondition:
        """Branch that guidance leads away from: the negative emotion, or none."""
        return self._replace(intensities=self.negative)

    def to(self, dtype: torch.dtype) -> BurstCondition:
        """The same with floating-point values of another type."""
        return BurstCondition(self.mask, *(value.to(dtype) for value in self[1:]))


class BurstTransformer(ModelMixin, ConfigMixin):
    """Diffusion transformer (DiT, arXiv 2212.09748) on sequences of any length up to `max_length`.

    One modulation serves all blocks (PixArt-alpha, arXiv 2310.00426); each adds an offset of its own. Values of the
    first attention are mixed into later ones (arXiv 2410.17897). Noise levels may differ between the tokens of a clip
    (arXiv 2603.06507). What lies beyond a clip's mask has no influence on it.

    Args:
        mel: the front end as `MelConfig.to_dict()`.
        emotions: names of the K emotions in order.
        in_channels: channels of a latent.
        max_length: most latents of a clip.
        patch: neighbouring latents joined into one token.
        dim, depth, heads: width, blocks, attention heads.
        kernel_size: width of the depthwise convolution in front of each attention.
        voice_dim, style_dim: sizes V and S of the embeddings.
        acoustics_mean, acoustics_std: normalisation of the values of `ACOUSTICS`.
        preconditioning: arguments of `models.denoiser.preconditioning`, kept with the weights they belong to.
        noise: random numbers that sampling starts from: `philox` (`vocalgen.noise`).
        tail: seconds of latents behind the end of the sound.
        duration_quantiles: evenly spaced quantiles of the clips' seconds, from the least to the greatest, per emotion.
        training: clips seen, hours heard and steps averaged so far, for the model card and for going on elsewhere.
    """

    rotation: Tensor
    acoustics_shift: Tensor
    acoustics_scale: Tensor

    @register_to_config
    def __init__(
        self,
        mel: dict[str, Any],
        emotions: tuple[str, ...],
        in_channels: int,
        max_length: int,
        patch: int = 2,
        dim: int = 384,
        depth: int = 7,
        heads: int = 6,
        kernel_size: int = 5,
        voice_dim: int = 64,
        style_dim: int = 8,
        acoustics_mean: tuple[float, ...] = (24.0, 7.5, 0.5, 1.2),
        acoustics_std: tuple[float, ...] = (8.0, 0.5, 0.3, 0.5),
        preconditioning: dict[str, Any] | None = None,
        noise: str = "philox",
        tail: float = 0.06,
        duration_quantiles: tuple[tuple[float, ...], ...] = (),
        training: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if max_length % patch or dim % heads or (dim // heads) % 2:
            raise ValueError(
                f"max_length ({max_length}) must be a multiple of patch ({patch}), and dim ({dim}) of twice the number "
                f"of heads ({heads})"
            )
        if noise != "philox":
            raise ValueError(f"noise ({noise}) must be philox")
        if not 1 <= style_dim <= 16:
            raise ValueError(f"style_dim ({style_dim}) must lie between 1 and 16")
        if len(acoustics_mean) != len(ACOUSTICS) or len(acoustics_std) != len(ACOUSTICS):
            raise ValueError(f"acoustics_mean and acoustics_std need {len(ACOUSTICS)} values each")
        self.patch = patch
        self.embed = nn.Linear(in_channels * patch, dim)
        self.place = PlaceEmbedding(dim)
        self.noise_embed = FourierEmbedding(dim)
        self.describe = ConditionEmbedding(dim, len(emotions), voice_dim, style_dim, acoustics_mean, acoustics_std)
        self.style_encoder = StyleEncoder(in_channels, style_dim)
        self.modulation = nn.Linear(dim, 6 * dim)
        self.blocks = nn.ModuleList(BurstBlock(dim, heads, kernel_size, first=index == 0) for index in range(depth))
        self.last_modulation = nn.Linear(dim, 2 * dim)
        self.head = nn.Linear(dim, in_channels * patch)
        for layer in (self.modulation, self.last_modulation, self.head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.register_buffer("rotation", rotary_table(max_length // patch, dim // heads), persistent=False)

    @property
    def front_end(self) -> MelConfig:
        """The log-mel of the latents."""
        return MelConfig.from_dict(self.config.mel)

    def absent(self, mask: Tensor, intensities: Tensor) -> BurstCondition:
        """Condition with the given mask (B, L) and intensities (B, K), and nothing else."""

        def nothing(*size: int) -> Tensor:
            return torch.full((len(mask), *size), torch.nan, device=mask.device)

        return BurstCondition(
            mask,
            intensities,
            nothing(len(self.config.emotions)),
            nothing(self.config.voice_dim),
            nothing(len(ACOUSTICS)),
            nothing(self.config.style_dim),
            nothing(),
        )

    def style_of(self, latents: Tensor, mask: Tensor) -> Tensor:
        """Style of clean normalised latents (B, L, in_channels) within their mask (B, L): (B, style_dim)."""
        return self.style_encoder(latents, mask)

    def forward(self, x: Tensor, noise: Tensor, condition: BurstCondition) -> Tensor:
        """Network output for noisy latents.

        Args:
            x: (B, L, in_channels), L a multiple of `patch` up to `max_length`.
            noise: noise label of order one, (B,) or one per latent (B, L).
            condition: conditions and mask.

        Returns:
            (B, L, in_channels); what is beyond the mask means nothing.
        """
        mask = condition.mask
        x = x.masked_fill(~mask[..., None], 0.0)
        own = mask.unflatten(1, (-1, self.patch)).any(-1)
        level = noise[:, None] if noise.ndim == 1 else noise.unflatten(1, (-1, self.patch)).mean(-1)
        context = F.silu(self.noise_embed(level) + self.describe(condition)[:, None])
        tokens = self.embed(rearrange(x, "b (l p) c -> b l (p c)", p=self.patch)) + self.place(own)
        modulation, rotation = self.modulation(context), self.rotation[:, : own.shape[1]]
        values: Tensor | None = None
        for block in self.blocks:
            tokens, values = block(tokens, modulation, own, rotation, values)
        shift, scale = self.last_modulation(context).chunk(2, dim=-1)
        output = self.head(torch.addcmul(shift, normalised(tokens), 1 + scale))
        return rearrange(output, "b l (p c) -> b (l p) c", p=self.patch)


class ConditionEmbedding(nn.Module):
    """Sum of the embeddings of all conditions; a learnt vector stands for each that is absent."""

    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        dim: int,
        emotions: int,
        voice_dim: int,
        style_dim: int,
        mean: tuple[float, ...],
        deviation: tuple[float, ...],
    ) -> None:
        super().__init__()
        self.emotion = nn.Linear(emotions, dim, bias=False)
        nn.init.normal_(self.emotion.weight, std=0.5)
        self.voice = nn.Linear(voice_dim, dim)
        self.style = nn.Linear(style_dim, dim)
        self.acoustics = nn.ModuleList(FourierEmbedding(dim, highest=4.0) for _ in ACOUSTICS)
        self.guidance = FourierEmbedding(dim, highest=4.0)
        nulls = {"emotion": (dim,), "voice": (dim,), "style": (dim,), "acoustics": (len(ACOUSTICS), dim)}
        self.null = nn.ParameterDict({name: nn.Parameter(torch.zeros(size)) for name, size in nulls.items()})
        self.no_guidance = nn.Parameter(torch.zeros(dim))
        self.mix = nn.Sequential(nn.SiLU(), nn.Linear(dim, dim))
        self.register_buffer("shift", torch.tensor(mean), persistent=False)
        self.register_buffer("scale", torch.tensor(deviation), persistent=False)

    def forward(self, condition: BurstCondition) -> Tensor:
        """(B, dim). Intensities that sum to more than one are scaled to one: a mixture lies between its parts."""
        weights = condition.intensities / condition.intensities.sum(-1, keepdim=True).clamp(min=1.0)
        # A unit vector of V values has a deviation of V ** -0.5; layers expect values of order one.
        voice = condition.voice * condition.voice.shape[-1] ** 0.5
        total = (
            present(self.emotion, weights, self.null["emotion"])
            + present(self.voice, voice, self.null["voice"])
            + present(self.style, condition.style, self.null["style"])
            + present(self.guidance, condition.guidance.log(), self.no_guidance)
        )
        values = (condition.acoustics - self.shift) / self.scale
        for embed, value, null in zip(self.acoustics, values.unbind(-1), self.null["acoustics"], strict=True):
            total = total + present(embed, value, null)
        return total + self.mix(total)


def present(embed: nn.Module, value: Tensor, null: Tensor) -> Tensor:
    """Embed a condition, (B,) or (B, N) -> (B, dim), with `null` (dim,) where it holds NaN."""
    missing = value.isnan() if value.ndim == 1 else value.isnan().any(-1)
    return torch.where(missing[:, None], null, embed(value.nan_to_num(0.0)))


class PlaceEmbedding(nn.Module):
    """Distances of a token from both ends of its clip, in fixed sines and cosines through a linear layer."""

    frequencies: Tensor

    def __init__(self, dim: int, features: int = 32, longest: float = 128.0) -> None:
        super().__init__()
        self.register_buffer(
            "frequencies", 2 * torch.pi * longest ** -torch.linspace(0.25, 1, features // 2), persistent=False
        )
        self.linear = nn.Linear(2 * features, dim)

    def forward(self, own: Tensor) -> Tensor:
        """(B, T) bool, tokens of each clip -> (B, T, dim)."""
        before = torch.arange(own.shape[1], device=own.device).expand_as(own)
        after = own.sum(1, keepdim=True) - 1 - before
        angle = torch.stack([before, after], dim=-1)[..., None] * self.frequencies
        features = torch.cat([angle.sin(), angle.cos()], dim=-1).flatten(2)
        return self.linear(features.to(self.linear.weight.dtype))


class BurstBlock(nn.Module):
    """Attention and MLP, each shifted, scaled and gated by the shared modulation plus the block's offset."""

    def __init__(self, dim: int, heads: int, kernel_size: int, first: bool) -> None:
        super().__init__()
        self.heads = heads
        # Shift, scale, gate of the attention, then of the MLP: at first nothing is shifted and both gates are closed.
        offset = torch.tensor([0.0, 1.0, 0.0, 0.0, 1.0, 0.0]).repeat_interleave(dim)
        self.offset = nn.Parameter(offset)
        self.depthwise = nn.Conv1d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.query_scale = nn.Parameter(torch.ones(dim // heads))
        self.key_scale = nn.Parameter(torch.ones(dim // heads))
        self.value_share = None if first else nn.Parameter(torch.full((heads, 1, 1), 0.5))
        self.out = nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.SiLU(), nn.Linear(4 * dim, dim))

    def forward(
        self, x: Tensor, modulation: Tensor, own: Tensor, rotation: Tensor, values: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """One block.

        Args:
            x: (B, T, dim) tokens.
            modulation: (B, T or 1, 6 dim) of all blocks.
            own: (B, T) bool, tokens of each clip.
            rotation: rotary table.
            values: values of the first attention; None in the first block.

        Returns:
            (B, T, dim) tokens, and the values of the first attention.
        """
        shift1, scale1, gate1, shift2, scale2, gate2 = (modulation + self.offset).chunk(6, dim=-1)
        mixed, values = self._attend(torch.addcmul(shift1, normalised(x), scale1), own, rotation, values)
        x = torch.addcmul(x, gate1, mixed)
        return torch.addcmul(x, gate2, self.mlp(torch.addcmul(shift2, normalised(x), scale2))), values

    def _attend(self, x: Tensor, own: Tensor, rotation: Tensor, values: Tensor | None) -> tuple[Tensor, Tensor]:
        x = x.masked_fill(~own[..., None], 0.0)
        x = x + self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        q, k, v = rearrange(self.qkv(x), "b l (three h d) -> three b h l d", three=3, h=self.heads)
        q, k = rotate(normalised(q, self.query_scale), rotation), rotate(normalised(k, self.key_scale), rotation)
        if values is None or self.value_share is None:
            values = v
        else:
            v = torch.lerp(v, values, self.value_share.to(v.dtype))
        return self.out(rearrange(attention(q, k, v, own), "b h l d -> b l (h d)")), values


def attention(q: Tensor, k: Tensor, v: Tensor, own: Tensor) -> Tensor:
    """Attention of (B, H, T, D) over the tokens `own` (B, T) of each clip.

    Clips have few tokens: written out, this is as fast as the fused kernel in float32 and much faster in bfloat16 on
    CPUs.
    """
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    return scores.masked_fill(~own[:, None, None], float("-inf")).softmax(-1).to(v.dtype) @ v


def normalised(x: Tensor, scale: Tensor | None = None) -> Tensor:
    """Root-mean-square normalisation of the last axis; weights take the type of `x`, which the fused kernel needs."""
    return F.rms_norm(x, x.shape[-1:], None if scale is None else scale.to(x.dtype), eps=1e-6)
