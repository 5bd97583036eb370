"""HiFi-GAN (arXiv 2010.05646): the generator as transformers' SpeechT5HifiGan, and its two discriminators."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from vocalgen.errors import VocalgenError
from vocalgen.mel import MelConfig

if TYPE_CHECKING:  # its import takes a second, and Griffin-Lim does without it
    from transformers import SpeechT5HifiGan

SLOPE = 0.1
"""Negative slope of every leaky ReLU."""


@dataclass(frozen=True)
class GeneratorSize:
    """Sizes of a generator; channels halve at each upsampling.

    Args:
        upsample_rates: their product is the hop length.
        upsample_kernel_sizes: each exceeds its rate by an even number.
        initial_channel: channels at frame rate.
        resblock_kernel_sizes, resblock_dilation_sizes: parallel residual blocks after each upsampling; every dilation
            stands for two convolutions.
    """

    upsample_rates: tuple[int, ...] = (8, 4, 8)
    upsample_kernel_sizes: tuple[int, ...] = (16, 8, 16)
    initial_channel: int = 256
    resblock_kernel_sizes: tuple[int, ...] = (7,)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3),)

    def check(self, hop_length: int) -> None:
        """Raise VocalgenError unless the sizes fit together and give `hop_length` samples a frame."""
        if math.prod(self.upsample_rates) != hop_length:
            raise VocalgenError(f"upsample_rates {self.upsample_rates} do not multiply to the hop of {hop_length}")
        if len(self.upsample_kernel_sizes) != len(self.upsample_rates) or any(
            kernel < rate or (kernel - rate) % 2
            for kernel, rate in zip(self.upsample_kernel_sizes, self.upsample_rates, strict=False)
        ):
            raise VocalgenError(
                f"upsample_kernel_sizes {self.upsample_kernel_sizes} must exceed upsample_rates "
                f"{self.upsample_rates} by even numbers"
            )
        if self.initial_channel % 2 ** len(self.upsample_rates):
            raise VocalgenError(
                f"initial_channel {self.initial_channel} cannot be halved {len(self.upsample_rates)} times"
            )
        if len(self.resblock_kernel_sizes) != len(self.resblock_dilation_sizes):
            raise VocalgenError("resblock_kernel_sizes and resblock_dilation_sizes differ in length")
        if any(kernel % 2 == 0 for kernel in self.resblock_kernel_sizes):
            raise VocalgenError(f"resblock_kernel_sizes {self.resblock_kernel_sizes} must be odd")


LIGHT = GeneratorSize()
"""1.4M parameters, for two CPU cores: few wide kernels in channel counts that vector units like."""

V1 = GeneratorSize((8, 8, 2, 2), (16, 16, 4, 4), 512, (3, 7, 11), ((1, 3, 5), (1, 3, 5), (1, 3, 5)))
"""Published V1, about 14M parameters."""

V2 = GeneratorSize((8, 8, 2, 2), (16, 16, 4, 4), 128, (3, 7, 11), ((1, 3, 5), (1, 3, 5), (1, 3, 5)))
"""Published V2, about 0.9M parameters."""

SIZES = {"light": LIGHT, "v1": V1, "v2": V2}


def hifigan_generator(
    mel: MelConfig, size: GeneratorSize = LIGHT, mel_mean: float = -6.0, mel_scale: float = 2.5
) -> SpeechT5HifiGan:
    """A new generator that knows its front end: `config.mel` holds `mel.to_dict()`.

    Its forward maps log-mels (B, L, n_mels) to waves (B, L * hop_length) in [-1, 1]; see `vocode` for our layout.
    Log-mels enter as (x - mel_mean) / mel_scale, kept in its buffers.

    Raises:
        VocalgenError: sizes that do not fit together or to the hop length.
    """
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    size.check(mel.hop_length)
    config = SpeechT5HifiGanConfig(
        model_in_dim=mel.n_mels,
        sampling_rate=mel.sample_rate,
        upsample_initial_channel=size.initial_channel,
        upsample_rates=list(size.upsample_rates),
        upsample_kernel_sizes=list(size.upsample_kernel_sizes),
        resblock_kernel_sizes=list(size.resblock_kernel_sizes),
        resblock_dilation_sizes=[list(dilations) for dilations in size.resblock_dilation_sizes],
        leaky_relu_slope=SLOPE,
        normalize_before=True,
        mel=mel.to_dict(),
    )
    generator = SpeechT5HifiGan(config)
    generator.mean.fill_(mel_mean)
    generator.scale.fill_(mel_scale)
    _initialise(generator)
    return generator


@torch.no_grad()
def _initialise(generator: SpeechT5HifiGan) -> None:
    """Weights that keep the signal's size without weight norm; residual branches start small."""
    for layer, rate in zip(generator.upsampler, generator.config.upsample_rates, strict=True):
        taps = layer.kernel_size[0] / rate
        layer.weight.normal_(0.0, (layer.in_channels * taps) ** -0.5)
        layer.bias.zero_()
    gains = [(generator.conv_pre, 1.0), (generator.conv_post, 0.1)]
    for block in generator.resblocks:
        gains += [(layer, 1.0) for layer in block.convs1] + [(layer, 0.3) for layer in block.convs2]
    for layer, gain in gains:
        layer.weight.normal_(0.0, gain * (layer.in_channels * layer.kernel_size[0]) ** -0.5)
        layer.bias.zero_()


def generator_size(generator: SpeechT5HifiGan) -> GeneratorSize:
    """The sizes a generator was made with."""
    config = generator.config
    return GeneratorSize(
        tuple(config.upsample_rates),
        tuple(config.upsample_kernel_sizes),
        config.upsample_initial_channel,
        tuple(config.resblock_kernel_sizes),
        tuple(tuple(dilations) for dilations in config.resblock_dilation_sizes),
    )


def apply_weight_norm(generator: SpeechT5HifiGan) -> None:
    """Train every convolution as direction times length (arXiv 1602.07868)."""
    for layer in _convolutions(generator):
        weight_norm(layer)


@torch.no_grad()
def fold_weight_norm(generator: SpeechT5HifiGan) -> SpeechT5HifiGan:
    """A copy with plain weights, whether or not `apply_weight_norm` was used.

    Nothing is removed from `generator`: copies of parametrised layers share a class, so that would break them all.
    """
    plain = type(generator)(generator.config).to(generator.mean.device)
    for target, source in zip(_convolutions(plain), _convolutions(generator), strict=True):
        target.weight.copy_(source.weight)
        target.bias.copy_(source.bias)
    plain.mean.copy_(generator.mean)
    plain.scale.copy_(generator.scale)
    return plain.train(generator.training)


def _convolutions(network: nn.Module) -> list[Any]:
    return [layer for layer in network.modules() if isinstance(layer, (nn.Conv1d, nn.ConvTranspose1d))]


@dataclass(frozen=True)
class DiscriminatorSize:
    """Sizes of both discriminators; the defaults are the published ones.

    Args:
        periods: one sub-discriminator each, which sees the wave folded to that many columns.
        period_channels: channels of their layers; all but the last layer keep every third row.
        scales: sub-discriminators on the wave, its half rate, its quarter rate...
        scale_channels, scale_strides, scale_groups: of their layers.
        scale_kernel: kernel of the layers between the first (15) and the last (5).
        weight_norm: parametrise the weights as direction times length.
    """

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    period_channels: tuple[int, ...] = (32, 128, 512, 1024, 1024)
    scales: int = 3
    scale_channels: tuple[int, ...] = (128, 128, 256, 512, 1024, 1024, 1024)
    scale_strides: tuple[int, ...] = (1, 2, 2, 4, 4, 1, 1)
    scale_groups: tuple[int, ...] = (1, 4, 16, 16, 16, 16, 1)
    scale_kernel: int = 41
    weight_norm: bool = True

    def __post_init__(self) -> None:
        if not len(self.scale_channels) == len(self.scale_strides) == len(self.scale_groups) >= 2:
            raise VocalgenError("scale_channels, scale_strides and scale_groups must have the same length, at least 2")
        if not (self.periods and self.period_channels and self.scales):
            raise VocalgenError("the discriminator needs at least one period, one of its layers and one scale")


NARROW = DiscriminatorSize(
    period_channels=(16, 32, 64, 128, 128),
    scales=2,
    scale_channels=(16, 32, 64, 64, 64, 64),
    scale_strides=(2, 2, 4, 4, 1, 1),
    scale_groups=(1, 1, 1, 1, 1, 1),
    scale_kernel=21,
    weight_norm=False,
)
"""For training on a CPU: a fraction of the generator's arithmetic, no grouped convolutions."""

Judgement = tuple[Tensor, list[Tensor]]
"""Scores (B, n) and the feature maps before them."""


class PeriodDiscriminator(nn.Module):
    """Judges every `period`-th sample: the wave is folded to (rows, period) and convolved along the rows."""

    def __init__(self, period: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.period = period
        widths = (1, *channels)
        last = len(channels) - 1
        self.layers = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], (5, 1), stride=(1 if i == last else 3, 1), padding=(2, 0))
            for i in range(len(channels))
        )
        self.score = nn.Conv2d(channels[-1], 1, (3, 1), padding=(1, 0))

    def forward(self, wave: Tensor) -> Judgement:
        """(B, samples) -> scores (B, about samples / 3^(layers - 1)) and feature maps (B, C, rows, period)."""
        missing = -wave.shape[-1] % self.period
        x = F.pad(wave.unsqueeze(1), (0, missing), mode="reflect").unflatten(-1, (-1, self.period))
        return _judge(x, self.layers, self.score)


class ScaleDiscriminator(nn.Module):
    """Judges the wave with long, strided convolutions."""

    def __init__(self, size: DiscriminatorSize) -> None:
        super().__init__()
        widths = (1, *size.scale_channels)
        kernels = (15, *[size.scale_kernel] * (len(size.scale_channels) - 2), 5)
        self.layers = nn.ModuleList(
            nn.Conv1d(
                widths[i],
                widths[i + 1],
                kernel,
                size.scale_strides[i],
                padding=kernel // 2,
                groups=size.scale_groups[i],
            )
            for i, kernel in enumerate(kernels)
        )
        self.score = nn.Conv1d(size.scale_channels[-1], 1, 3, padding=1)

    def forward(self, wave: Tensor) -> Judgement:
        """(B, samples) -> scores (B, samples / product of the strides) and feature maps (B, C, T)."""
        return _judge(wave.unsqueeze(1), self.layers, self.score)


class MultiPeriodDiscriminator(nn.Module):
    """One PeriodDiscriminator a period."""

    def __init__(self, size: DiscriminatorSize) -> None:
        super().__init__()
        self.judges = nn.ModuleList(PeriodDiscriminator(period, size.period_channels) for period in size.periods)

    def forward(self, wave: Tensor) -> list[Judgement]:
        """(B, samples) -> a judgement for each period."""
        return [judge(wave) for judge in self.judges]


class MultiScaleDiscriminator(nn.Module):
    """One ScaleDiscriminator a sample rate; each sees the wave averaged to half the rate of the one before."""

    def __init__(self, size: DiscriminatorSize) -> None:
        super().__init__()
        self.judges = nn.ModuleList(ScaleDiscriminator(size) for _ in range(size.scales))

    def forward(self, wave: Tensor) -> list[Judgement]:
        """(B, samples) -> a judgement for each rate."""
        judgements = []
        for position, judge in enumerate(self.judges):
            wave = wave if position == 0 else F.avg_pool1d(wave.unsqueeze(1), 4, 2, padding=2).squeeze(1)
            judgements.append(judge(wave))
        return judgements


class WaveDiscriminator(nn.Module):
    """Both discriminators as one network."""

    def __init__(self, size: DiscriminatorSize) -> None:
        super().__init__()
        self.periods = MultiPeriodDiscriminator(size)
        self.scales = MultiScaleDiscriminator(size)
        if size.weight_norm:
            for layer in self.modules():
                if isinstance(layer, (nn.Conv1d, nn.Conv2d)):
                    weight_norm(layer)

    def forward(self, wave: Tensor) -> list[Judgement]:
        """(B, samples) in [-1, 1] -> a judgement for each period, then for each scale."""
        return [*self.periods(wave), *self.scales(wave)]


def _judge(x: Tensor, layers: nn.ModuleList, score: nn.Module) -> Judgement:
    features = []
    for layer in layers:
        x = F.leaky_relu(layer(x), SLOPE)
        features.append(x)
    return score(x).flatten(1), features
