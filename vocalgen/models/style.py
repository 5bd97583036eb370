"""Style encoder: a few numbers for what a clip is like, pooled from its latents."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class StyleEncoder(nn.Module):
    """Mean and deviation of convolved latents over a clip, projected to a vector of fixed power.

    Few values of fixed power carry little information once noise is added: it is the noise in training that keeps the
    style from describing the whole clip.

    Args:
        in_channels: channels of a latent.
        style_dim: values of the style.
        hidden: width in between.
        kernel_size: latents that a convolution sees.
    """

    def __init__(self, in_channels: int, style_dim: int, hidden: int = 96, kernel_size: int = 5) -> None:
        super().__init__()
        self.first = nn.Conv1d(in_channels, hidden, kernel_size, padding=kernel_size // 2)
        self.second = nn.Conv1d(hidden, hidden, kernel_size, padding=kernel_size // 2)
        self.project = nn.Linear(2 * hidden, style_dim)

    def forward(self, latents: Tensor, mask: Tensor) -> Tensor:
        """(B, L, in_channels) and (B, L) bool -> (B, style_dim) with a mean square of one."""
        own = mask[:, None].to(latents.dtype)
        x = torch.where(mask[:, None], latents.transpose(1, 2), 0.0)
        x = F.silu(self.first(x)) * own
        x = F.silu(self.second(x)) * own
        count = own.sum(-1).clamp(min=1.0)
        mean = x.sum(-1) / count
        variance = ((x - mean[..., None]).square() * own).sum(-1) / count
        style = self.project(torch.cat([mean, (variance + 1e-4).sqrt()], dim=-1))
        return F.rms_norm(style, style.shape[-1:], eps=1e-6)
