"""MobileNetV3 over bands and frames (arXiv 1905.02244), which can start from what EfficientAT learnt on AudioSet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from vocalgen.float32 import normal
from vocalgen.mel import LogMel, MelConfig
from vocalgen.models.classifier import Recogniser, halve, mask_of

BANDS, RATE, EDGE, FFT, FLOOR = 128, 32_000, 15_000.0, 1024, 1e-5
"""Bands, rate and upper edge in Hz, FFT size and floor of the power in EfficientAT's front end (arXiv 2211.04772)."""


class Layer(NamedTuple):
    """A row of the table of MobileNetV3-Large; channels for a width of 1."""

    kernel: int
    expanded: int
    out: int
    squeezes: bool
    smooth: bool
    """Hard swish rather than a rectifier."""
    stride: int


LAYERS = (
    Layer(3, 16, 16, False, False, 1),
    Layer(3, 64, 24, False, False, 2),
    Layer(3, 72, 24, False, False, 1),
    Layer(5, 72, 40, True, False, 2),
    Layer(5, 120, 40, True, False, 1),
    Layer(5, 120, 40, True, False, 1),
    Layer(3, 240, 80, False, True, 2),
    Layer(3, 200, 80, False, True, 1),
    Layer(3, 184, 80, False, True, 1),
    Layer(3, 184, 80, False, True, 1),
    Layer(3, 480, 112, True, True, 1),
    Layer(3, 672, 112, True, True, 1),
    Layer(5, 672, 160, True, True, 2),
    Layer(5, 960, 160, True, True, 1),
    Layer(5, 960, 160, True, True, 1),
)


class Convolution(nn.Module):
    """Convolution without bias, then batch normalisation."""

    def __init__(self, dim_in: int, dim_out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim_out, dim_in // groups, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, mode="fan_out")
        self.norm = nn.BatchNorm2d(dim_out, eps=1e-3, momentum=0.01)
        self.stride, self.padding, self.groups = stride, kernel // 2, groups

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim_in, bands, L) -> (B, dim_out, bands / stride, L / stride)."""
        return self.norm(F.conv2d(x, self.weight, None, self.stride, self.padding, groups=self.groups))


class Squeeze(nn.Module):
    """Squeeze-and-excitation over channels (arXiv 1709.01507); frames that are not the clip's do not count."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = _of_eight(dim // 4)
        self.down, self.up = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, dim, bands, L), zero where `mask` (B, 1, 1, L) is."""
        mean = x.sum((2, 3)) / (x.shape[2] * mask.sum((2, 3)))
        return x * self.up(self.down(mean).relu()).sigmoid()[:, :, None, None]


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection."""

    def __init__(self, dim_in: int, layer: Layer, width: float) -> None:
        super().__init__()
        expanded, out = _of_eight(layer.expanded * width), _of_eight(layer.out * width)
        self.expand = Convolution(dim_in, expanded) if expanded != dim_in else None
        self.depthwise = Convolution(expanded, expanded, layer.kernel, layer.stride, expanded)
        self.squeeze = Squeeze(expanded) if layer.squeezes else None
        self.project = Convolution(expanded, out)
        self.activation = F.hardswish if layer.smooth else F.relu
        self.residual = layer.stride == 1 and dim_in == out

    def forward(self, x: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """(B, dim_in, bands, L) -> (B, dim_out, bands / stride, L / stride); masks (B, 1, 1, ·) before and after the
        stride."""
        y = x if self.expand is None else self.activation(self.expand(x)) * before
        y = self.activation(self.depthwise(y)) * after
        if self.squeeze is not None:
            y = self.squeeze(y, after)
        y = self.project(y) * after
        return x + y if self.residual else y


class MobileNetClassifier(Recogniser):
    """MobileNetV3-Large over bands and frames, see `Recogniser`.

    A linear layer first turns the house's bands into those of EfficientAT, so that its weights fit.

    Args:
        width: multiplier of all channels, rounded to multiples of eight; EfficientAT's `mn04` has 0.4, `mn10` 1.0.
    """

    reduction = 32

    @register_to_config
    def __init__(
        self,
        mel: dict[str, Any],
        emotions: tuple[str, ...],
        embedding_dim: int = 64,
        width: float = 0.4,
        dropout: float = 0.2,
        scale: float = 3.0,
    ) -> None:
        super().__init__()
        self.bands = nn.Linear(MelConfig.from_dict(mel).n_mels, BANDS)
        with torch.no_grad():
            weight, bias = audioset_bands(MelConfig.from_dict(mel))
            self.bands.weight.copy_(weight * scale)
            self.bands.bias.copy_(bias + weight.sum(1) * self.mel_config.log_floor)
        dim = _of_eight(16 * width)
        self.stem = Convolution(1, dim, 3, 2)
        self.blocks = nn.ModuleList()
        for layer in LAYERS:
            self.blocks.append(InvertedResidual(dim, layer, width))
            dim = _of_eight(layer.out * width)
        self.last = Convolution(dim, 6 * dim)
        self._build_head(6 * dim, embedding_dim, len(emotions), dropout)
        self.to(memory_format=torch.channels_last)

    def features(self, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """See `Recogniser.features`."""
        own = mask_of(frames, x.shape[-1])
        x = (self.bands(x.mT) * own).mT.unsqueeze(1).contiguous(memory_format=torch.channels_last)
        frames, own = halve(frames, x.shape[-1])
        x = F.hardswish(self.stem(x)) * own.mT[:, None]
        for block, layer in zip(self.blocks, LAYERS, strict=True):
            before = own
            if layer.stride == 2:
                frames, own = halve(frames, x.shape[-1])
            x = block(x, before.mT[:, None], own.mT[:, None])
        x = F.hardswish(self.last(x)) * own.mT[:, None]
        return x.mean(2).transpose(1, 2), own

    def load_audioset(self, stored: Mapping[str, Tensor]) -> None:
        """Take over the convolutions of an EfficientAT checkpoint (`mnXX_as*.pt`) of the same width.

        Raises:
            ValueError: names or shapes differ.
        """
        names = dict(_stored_names(self))
        missing = sorted(name for name in names.values() if name not in stored)
        if missing:
            raise ValueError(f"{len(missing)} tensors of EfficientAT's mn models are not there, first {missing[0]}")
        own = self.state_dict()
        for ours, theirs in names.items():
            if own[ours].shape != stored[theirs].shape:
                raise ValueError(f"{theirs} is {tuple(stored[theirs].shape)}, not {tuple(own[ours].shape)}")
        self.load_state_dict({**own, **{ours: stored[theirs] for ours, theirs in names.items()}})


def _stored_names(network: MobileNetClassifier) -> Iterator[tuple[str, str]]:
    """Our name and EfficientAT's of every tensor that both have."""
    yield from _of_convolution("stem", "features.0")
    for number, block in enumerate(network.blocks, start=1):
        block = cast(InvertedResidual, block)
        place = 0
        for part in ("expand", "depthwise", "squeeze", "project"):
            if getattr(block, part) is None:
                continue
            ours, theirs = f"blocks.{number - 1}.{part}", f"features.{number}.block.{place}"
            place += 1
            if part != "squeeze":
                yield from _of_convolution(ours, theirs)
                continue
            for layer, stored in (("down", "fc1"), ("up", "fc2")):
                for tensor in ("weight", "bias"):
                    yield f"{ours}.{layer}.{tensor}", f"{theirs}.conc_se_layers.0.{stored}.{tensor}"
    yield from _of_convolution("last", f"features.{len(LAYERS) + 1}")


def _of_convolution(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    yield f"{ours}.weight", f"{theirs}.0.weight"
    for tensor in ("weight", "bias", "running_mean", "running_var"):
        yield f"{ours}.norm.{tensor}", f"{theirs}.1.{tensor}"


@torch.no_grad()
def audioset_bands(mel: MelConfig) -> tuple[Tensor, Tensor]:
    """Weight (128, n_mels) and bias (128,) that turn log-mels into nearly what EfficientAT's front end would give.

    Each of its bands is interpolated between the two nearest of ours; levels are those that white noise of one density
    has on both sides. Bands above ours hold its floor.
    """
    import librosa  # takes a second, which other networks do without

    ours = torch.from_numpy(librosa.mel_frequencies(mel.n_mels + 2, fmin=mel.f_min, fmax=mel.f_max)[1:-1].copy())
    banks, centres = audioset_banks()
    upper = torch.searchsorted(ours, centres).clamp(1, mel.n_mels - 1)
    share = ((centres - ours[upper - 1]) / (ours[upper] - ours[upper - 1])).clamp(0, 1)
    weight = torch.zeros(BANDS, mel.n_mels, dtype=torch.float64)
    weight[torch.arange(BANDS), upper - 1], weight[torch.arange(BANDS), upper] = 2 * (1 - share), 2 * share
    random = torch.Generator().manual_seed(0)
    here = LogMel(mel)(normal(1, 4 * mel.sample_rate, generator=random))[0].double().mean(1)
    there = (RATE / mel.sample_rate) ** 0.5 * normal(4 * RATE, generator=random)
    level = audioset_log_mel(there, banks.float()).double().mean(1)
    covered = centres <= mel.f_max
    bias = torch.where(covered, level - weight @ here, math.log(FLOOR))
    weight = torch.where(covered[:, None], weight, 0)
    return (weight / 5).float(), ((bias + 4.5) / 5).float()


def audioset_banks() -> tuple[Tensor, Tensor]:
    """Kaldi's filterbank, (128, FFT // 2) triangles in mel, and the centres of its bands (128,) in Hz; float64."""
    from torchaudio.compliance.kaldi import get_mel_banks

    # The numbers behind the edges are of vocal tract length normalisation, which a warp of 1 switches off.
    banks, centres = get_mel_banks(BANDS, FFT, float(RATE), 0.0, EDGE, 100.0, -500.0, 1.0)
    return banks.double(), centres.flatten().double()


def audioset_log_mel(wave: Tensor, banks: Tensor) -> Tensor:
    """EfficientAT's front end before normalisation by (x + 4.5) / 5: (samples,) at 32 kHz -> (128, frames)."""
    window = torch.hann_window(800, periodic=False)
    spectrum = torch.stft(wave[1:] - 0.97 * wave[:-1], FFT, 320, 800, window, return_complex=True)
    return (banks @ spectrum[:-1].abs().square() + FLOOR).log()


def _of_eight(channels: float) -> int:
    """The nearest multiple of eight that is not below nine tenths of it."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
