"""Multi-resolution STFT loss (arXiv 1910.11480): log-magnitude L1 and spectral convergence."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FLOOR = 1e-5
"""Smallest magnitude before the logarithm; windows are scaled to unit sum, so a full-scale sine has about 0.5."""


class MultiResolutionSTFTLoss(nn.Module):
    """Distance of magnitude spectrograms, averaged over FFT sizes with a hop of a quarter of each.

    Args:
        fft_sizes: FFT and Hann window lengths in samples.
    """

    def __init__(self, fft_sizes: tuple[int, ...] = (512, 1024, 2048)) -> None:
        super().__init__()
        self.fft_sizes = fft_sizes
        for size in fft_sizes:
            window = torch.hann_window(size)
            self.register_buffer(f"window{size}", window / window.sum(), persistent=False)

    def forward(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """(B, samples) twice -> (log-magnitude L1 in nat, spectral convergence), scalars."""
        logs, convergences = [], []
        for size in self.fft_sizes:
            y, t = self._magnitude(output, size), self._magnitude(target, size)
            logs.append((y.log() - t.log()).abs().mean())
            convergences.append(torch.linalg.vector_norm(y - t) / torch.linalg.vector_norm(t))
        return torch.stack(logs).mean(), torch.stack(convergences).mean()

    def _magnitude(self, wave: Tensor, size: int) -> Tensor:
        window = getattr(self, f"window{size}")
        spectrum = torch.stft(wave.float(), size, size // 4, window=window, return_complex=True)
        return (spectrum.real.square() + spectrum.imag.square() + FLOOR**2).sqrt()
