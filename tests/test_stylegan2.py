"""StyleGAN2's networks: resampling, modulation, conditions, truncation, and gradients of gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_corpus import EMOTIONS, MEL
from torch import Tensor, nn

from vocalgen.models.equalised import EqualConv, EqualLinear, downsample, minibatch_deviation, pyramid, upsample
from vocalgen.models.stylegan2 import (
    Mapping,
    MelMaps,
    ModulatedConv,
    StyleGAN2Discriminator,
    StyleGAN2Generator,
)

FIR = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64)

SIZES: list[dict[str, Any]] = [
    {"layout": "frames", "frames": 32, "patch": 4, "base": (1, 2)},
    {"layout": "frames", "frames": 24, "patch": 1, "base": (1, 3)},
    {"layout": "image", "frames": 32, "patch": 1, "base": (6, 4)},
    {"layout": "image", "frames": 40, "patch": 2, "base": (3, 5)},
]
"""Both layouts; rectangles whose axes fill up at different levels."""

ARCHITECTURES = ["skip", "residual"]


def small_generator(size: dict[str, Any] = SIZES[0], seed: int = 0, **changes: Any) -> StyleGAN2Generator:
    """Random weights, none of them zero: noise and biases matter."""
    torch.manual_seed(seed)
    options = {"channels": (6, 4), "z_dim": 5, "w_dim": 7, "mapping_depth": 2, **size, **changes}
    return filled(StyleGAN2Generator(MEL.to_dict(), EMOTIONS.emotions, **options))


def small_discriminator(size: dict[str, Any] = SIZES[0], seed: int = 0, **changes: Any) -> StyleGAN2Discriminator:
    torch.manual_seed(seed)
    options = {"channels": (6, 4), "group": 2, **size, **changes}
    return filled(StyleGAN2Discriminator(MEL.to_dict(), EMOTIONS.emotions, **options))


def filled(network: Any) -> Any:
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(0.0, 0.3)
    return network


def noises(generator: StyleGAN2Generator, count: int, seed: int = 1) -> list[Tensor]:
    own = torch.Generator().manual_seed(seed)
    return [torch.randn(count, 2, *size, generator=own).to(generator.dtype) for size in generator.sizes]


def mels(count: int, frames: int, seed: int = 2) -> Tensor:
    return 2.5 * torch.randn(count, MEL.n_mels, frames, generator=torch.Generator().manual_seed(seed)) - 6


def one_hots(*emotions: int) -> Tensor:
    return F.one_hot(torch.tensor(emotions), len(EMOTIONS)).float()


# Resampling


def filtered(x: Tensor, kernel: Tensor, axis: int, padding: tuple[int, int], stride: int = 1) -> Tensor:
    """Each row along an axis convolved, zeros beyond its ends."""
    rows = F.pad(x.movedim(axis, -1), padding)
    shape = rows.shape[:-1]
    return (
        F.conv1d(rows.reshape(-1, 1, rows.shape[-1]), kernel[None, None], stride=stride)
        .reshape(*shape, -1)
        .movedim(-1, axis)
    )


def zero_inserted(x: Tensor, axis: int) -> Tensor:
    return torch.stack([x, torch.zeros_like(x)], dim=axis + 1).flatten(axis, axis + 1)


def inside(x: Tensor, axes: list[int], border: int) -> Tensor:
    for axis in axes:
        x = x.narrow(axis, border, x.shape[axis] - 2 * border)
    return x


@pytest.mark.parametrize(("size", "axes"), [((1, 10), [3]), ((10, 1), [2]), ((8, 10), [2, 3]), ((8, 10), [3])])
def test_resampling_is_zero_insertion_or_decimation_with_the_fir_filter(size: tuple[int, int], axes: list[int]) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    larger, smaller = (
        tuple(scale(length) if axis in axes else length for axis, length in zip((2, 3), size, strict=True))
        for scale in (lambda length: 2 * length, lambda length: length // 2)
    )
    up, down = x, x
    for axis in axes:
        up = filtered(zero_inserted(up, axis), FIR / 4, axis, (2, 1))
        down = filtered(down, FIR / 8, axis, (1, 1), stride=2)
    assert upsample(x, larger).shape[2:] == larger and downsample(x, smaller).shape[2:] == smaller
    torch.testing.assert_close(inside(upsample(x, larger), axes, 1), inside(up, axes, 1))
    torch.testing.assert_close(inside(downsample(x, smaller), axes, 1), inside(down, axes, 1))


def test_resampling_keeps_constants_up_to_the_borders() -> None:
    x = torch.full((1, 1, 6, 8), 2.5)
    assert torch.equal(upsample(x, (12, 16)), torch.full((1, 1, 12, 16), 2.5))
    assert torch.equal(downsample(x, (3, 4)), torch.full((1, 1, 3, 4), 2.5))
    assert upsample(x, (6, 8)) is x and downsample(x, (6, 8)) is x


def test_pyramid() -> None:
    assert pyramid((1, 6), (1, 48)) == [(1, 6), (1, 12), (1, 24), (1, 48)]
    assert pyramid((4, 4), (128, 128)) == [(2**k, 2**k) for k in range(2, 8)]
    assert pyramid((6, 4), (24, 32)) == [(6, 4), (6, 8), (12, 16), (24, 32)]
    assert pyramid((5, 5), (5, 5)) == [(5, 5)]


@pytest.mark.parametrize(
    ("base", "size", "words"),
    [
        ((1, 6), (1, 50), r"50 is not 6 times a power of two; change the base width"),
        ((5, 6), (24, 48), r"24 is not 5 times a power of two; change the base height"),
        ((1, 6), (1, 3), "3 is not 6 times"),
        ((0, 6), (1, 6), "1 is not 0 times"),
    ],
)
def test_sizes_out_of_reach_are_named(base: tuple[int, int], size: tuple[int, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pyramid(base, size)


def test_networks_name_sizes_that_do_not_fit() -> None:
    for make in (small_generator, small_discriminator):
        with pytest.raises(ValueError, match="30 frames do not divide by patch 4"):
            make({**SIZES[0], "frames": 30})
        with pytest.raises(ValueError, match=r"size \(1, 9\).*cannot be reached from \(1, 2\)"):
            make({**SIZES[0], "frames": 36})
        with pytest.raises(ValueError, match="4 channel numbers for 3 sizes"):
            make(channels=(4, 4, 4, 4))


# Layers


@pytest.mark.parametrize("size", [(1, 9), (6, 7)])
@pytest.mark.parametrize("demodulate", [True, False])
def test_modulation_scales_the_weights_of_each_clip(size: tuple[int, int], demodulate: bool) -> None:
    """Equations 1 to 3 of StyleGAN2 as written there: weights of each clip's own, in one grouped convolution."""
    conv = filled(ModulatedConv(3, 5, 4, 3, size, demodulate)).double()
    x, w = torch.randn(4, 3, *size, dtype=torch.float64), torch.randn(4, 4, dtype=torch.float64)
    style = w @ (conv.style.weight / math.sqrt(4)).T + conv.style.bias
    weight = conv.weight / math.sqrt(conv.weight[0].numel())
    modulated = style[:, None, :, None, None] * weight  # eq. 1
    if demodulate:
        modulated = modulated / (modulated.square().sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()  # eq. 3
    padding = (conv.weight.shape[2] // 2, conv.weight.shape[3] // 2)
    grouped = F.conv2d(x.flatten(0, 1)[None], modulated.flatten(0, 1), padding=padding, groups=4)
    torch.testing.assert_close(conv(x, w), grouped[0].unflatten(0, (4, 5)), rtol=1e-6, atol=1e-8)


def test_equalised_layers_scale_their_weights_when_used() -> None:
    linear = EqualLinear(16, 3, rate=0.01, bias=0.5)
    x = torch.randn(2, 16)
    torch.testing.assert_close(linear(x), x @ linear.weight.T * 0.01 / 4 + 0.5)
    assert 50 < float(linear.weight.detach().std()) < 200
    conv = EqualConv(4, 3, 3, (6, 6))
    maps = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(conv(maps), F.conv2d(maps, conv.weight, padding=1) / 6)


@pytest.mark.parametrize("size", SIZES)
def test_maps_and_back(size: dict[str, Any]) -> None:
    maps = MelMaps(MEL.n_mels, size["frames"], size["layout"], size["patch"])
    mel = mels(2, size["frames"])
    x = maps.of(mel)
    assert x.shape == (2, maps.channels, *maps.size)
    torch.testing.assert_close(maps.mel(x), mel)
    band, frame = 5, 7
    column, part = divmod(frame, size["patch"])
    place = (1, part, band, column) if size["layout"] == "image" else (1, part * MEL.n_mels + band, 0, column)
    assert float(x[place]) == pytest.approx((float(mel[1, band, frame]) + 6.0) / 2.5, abs=1e-6)


@pytest.mark.parametrize("group", [4, 3])
def test_minibatch_deviation(group: int) -> None:
    """Groups are neighbours; of six clips a group of four cannot be made, so threes are."""
    x = torch.randn(6, 2, 3, 4)
    x[:3] = x[0]
    shown = minibatch_deviation(x, group)
    assert torch.equal(shown[:, :2], x)
    own = x[3:]
    expected = float(((own - own.mean(0)).square().mean(0) + 1e-8).sqrt().mean())
    torch.testing.assert_close(shown[:, 2], torch.tensor([1e-4] * 3 + [expected] * 3)[:, None, None].expand(6, 3, 4))


def test_generated_clips_do_not_enter_the_deviation_of_real_ones() -> None:
    """The halves of the discriminator's batch do not know of each other where groups are whole."""
    discriminator = small_discriminator(group=4)
    real, fake, other = mels(8, 32), mels(8, 32, seed=3), 3 * mels(8, 32, seed=4)
    labels = one_hots(*[0, 1, 2, 0] * 4)
    with torch.no_grad():
        scores, changed = (discriminator(torch.cat([real, half]), labels) for half in (fake, other))
        alone = discriminator(real, labels[:8])
        moved = real.clone()
        moved[0] += 1
        neighbours = discriminator(torch.cat([moved, fake]), labels) - scores
    torch.testing.assert_close(scores[:8], changed[:8], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores[:8], alone, rtol=1e-4, atol=1e-5)
    assert (neighbours[1:4].abs() > 1e-5).all() and neighbours[4:].abs().max() < 1e-5


# Networks


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_shapes(size: dict[str, Any], architecture: str) -> None:
    generator = small_generator(size, architecture=architecture)
    discriminator = small_discriminator(size, architecture=architecture)
    labels = one_hots(0, 1, 2, 0)
    mel, w = generator(torch.randn(4, 5), labels, noises(generator, 4))
    assert mel.shape == (4, MEL.n_mels, size["frames"])
    assert w.shape == (4, generator.styles, 7) == (4, 3 * len(generator.sizes), 7)
    scores = discriminator(mel, labels)
    assert scores.shape == (4,) and scores.std() > 0
    (scores.sum() + mel.mean()).backward()
    unused = {"generator": generator, "discriminator": discriminator}
    for name, network in unused.items():
        assert [key for key, value in network.named_parameters() if value.grad is None] == [], name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_random_in_a_clip(architecture: str) -> None:
    generator = small_generator(architecture=architecture)
    z, labels = torch.randn(1, 5), one_hots(1)
    with torch.no_grad():
        clip = generator(z, labels, noises(generator, 1))[0]
        for level in range(len(generator.sizes)):
            other = [maps + (i == level) for i, maps in enumerate(noises(generator, 1))]
            assert (generator(z, labels, other)[0] - clip).abs().max() > 1e-3, level
        assert (generator(z + 1, labels, noises(generator, 1))[0] - clip).abs().max() > 1e-3
        torch.testing.assert_close(generator(3 * z, labels, noises(generator, 1))[0], clip)  # only z's direction counts
    one, same, other = (generator.noise(torch.Generator().manual_seed(seed)) for seed in (4, 4, 5))
    assert [maps.shape for maps in one] == [(2, *size) for size in generator.sizes]
    assert all(torch.equal(a, b) and not torch.equal(a, c) for a, b, c in zip(one, same, other, strict=True))


@pytest.mark.parametrize("size", [SIZES[0], SIZES[2]])
def test_the_floor_is_never_undercut(size: dict[str, Any]) -> None:
    generator = small_generator(size)
    with torch.no_grad():
        generator.blocks[-1].image_bias.sub_(2.0)
        mel = generator(torch.randn(16, 5), one_hots(*[0, 1] * 8), noises(generator, 16))[0]
    floor = np.float32(MEL.log_floor)
    assert mel.numpy().min() == floor
    assert 0.05 < float((mel == float(floor)).float().mean()) < 0.95


def test_style_mixing_uses_the_second_latent_from_the_crossover_on() -> None:
    generator = small_generator()
    z, labels = torch.randn(4, 2, 6), one_hots(0, 1, 2, 0)
    z[:, 0, -1] = torch.tensor([1.0, 0.5, 2.5 / 9, 0.01])
    noise = noises(generator, 4)
    with torch.no_grad():
        mel, w = generator(z, labels, noise)
        first, second = (generator.mapping(z[:, i, :-1], labels) for i in (0, 1))
        for row, count in enumerate((9, 5, 3, 1)):  # of nine styles
            torch.testing.assert_close(w[row, :count], first[row].expand(count, -1))
            torch.testing.assert_close(w[row, count:], second[row].expand(9 - count, -1))
        torch.testing.assert_close(mel[0], generator(z[:, 0, :-1], labels, noise)[0][0])
        torch.testing.assert_close(mel, generator.synthesise(w, noise))


# Conditions: the reference code of StyleMelMila trains emotion 0 as if it had no label.


def test_mapping_answers_to_every_emotion_alike() -> None:
    mapping = Mapping(3, 5, 7, 2)
    z = torch.randn(2, 5)
    with torch.no_grad():
        w = [mapping(z, one_hots(emotion, emotion)) for emotion in range(3)]
        nothing = mapping(z, torch.zeros(2, 3))
        for own in w:
            assert (own - nothing).abs().max() > 1e-2
        mapping.embed.weight.copy_(mapping.embed.weight[:, [1, 0, 2]])
        torch.testing.assert_close(mapping(z, one_hots(0, 0)), w[1])
        torch.testing.assert_close(mapping(z, one_hots(1, 1)), w[0])


def test_several_emotions_of_a_clip_are_scored_as_one_by_one() -> None:
    judge = small_discriminator()
    mel = torch.randn(4, MEL.n_mels, judge.config.frames)
    several = torch.rand(4, 3, len(EMOTIONS))
    with torch.no_grad():
        together = judge(mel, several)
        alone = torch.stack([judge(mel, several[:, j]) for j in range(3)], 1)
    assert together.shape == (4, 3)
    assert torch.allclose(together, alone, atol=1e-5)
    assert (together[:, 0] - together[:, 1]).abs().min() > 1e-3


def test_generator_and_discriminator_answer_to_the_first_emotion() -> None:
    generator, discriminator = small_generator(), small_discriminator()
    z, noise = torch.randn(2, 5), noises(generator, 2)
    conditions = [*(one_hots(emotion, emotion) for emotion in range(3)), torch.zeros(2, 3), torch.full((2, 3), 0.5)]
    conditions.append(torch.tensor([[0.7, 0.3, 0.0]] * 2))
    with torch.no_grad():
        clips = [generator(z, condition, noise)[0] for condition in conditions]
        scores = [discriminator(clips[0], condition) for condition in conditions]
    for i in range(len(conditions)):
        for j in range(i):
            assert (clips[i] - clips[j]).abs().max() > 1e-2, (i, j)
            assert (scores[i] - scores[j]).abs().max() > 1e-3, (i, j)


def test_projection_is_the_inner_product_with_the_unit_embedding() -> None:
    """For no emotion at all it is nothing, for the first it is like that of the others."""
    discriminator = small_discriminator()
    features = {}
    discriminator.features.register_forward_hook(lambda *call: features.update(out=call[2]))
    mel = mels(2, 32)
    with torch.no_grad():
        discriminator.embed.bias.zero_()
        plain = discriminator(mel, torch.zeros(2, 3))
        x = F.leaky_relu(features["out"], 0.2) * math.sqrt(2)
        torch.testing.assert_close(plain, discriminator.score(x)[:, 0])
        for emotion in range(3):
            column = discriminator.embed.weight[:, emotion]
            expected = x @ (column / column.square().mean().sqrt()) / math.sqrt(len(column))
            found = discriminator(mel, one_hots(emotion, emotion)) - plain
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
            assert found.abs().min() > 1e-3


# Truncation


def test_means_are_those_of_each_emotion() -> None:
    generator = small_generator()
    generator.measure_means(count=4000)
    z = torch.randn(4000, generator.config.z_dim, generator=torch.Generator().manual_seed(1))
    for emotion, mean in enumerate(generator.w_average):
        w = generator.mapping(z, torch.eye(3)[emotion].expand(4000, -1))
        error = w.std(0) / 4000**0.5
        assert ((mean - w.mean(0)).abs() < 6 * error).all()
    first = generator.w_average.clone()
    assert (first[0] - first[1]).abs().max() > 0.01
    generator.measure_means(count=4000)
    assert torch.equal(generator.w_average, first)


def test_truncation() -> None:
    generator = small_generator()
    generator.w_average.copy_(torch.randn(3, 7))
    w, labels = torch.randn(3, generator.styles, 7), torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.6, 0.0], [0.6, 0.2, 0.0]])
    torch.testing.assert_close(generator.truncate(w, labels, 1.0), w)
    mean = torch.stack(
        [generator.w_average[0], generator.w_average[1], 0.75 * generator.w_average[0] + 0.25 * generator.w_average[1]]
    )
    torch.testing.assert_close(generator.truncate(w, labels, 0.0), mean[:, None].expand_as(w))
    torch.testing.assert_close(generator.truncate(w, labels, 0.7), 0.7 * w + 0.3 * mean[:, None])


# Gradients of gradients


def slope_by(function: Callable[[], Tensor], parameters: list[nn.Parameter], direction: list[Tensor]) -> float:
    """Central difference of a scalar along a direction of the parameters."""
    values, step = [], 1e-6
    with torch.no_grad():
        for sign in (step, -2 * step, step):
            for parameter, move in zip(parameters, direction, strict=True):
                parameter.add_(sign * move)
            with torch.enable_grad():
                values.append(float(function().detach()))
    return (values[0] - values[1]) / (2 * step)


def require_true_gradient(function: Callable[[], Tensor], network: nn.Module) -> None:
    parameters = list(network.parameters())
    gradients = torch.autograd.grad(function(), parameters, allow_unused=True)
    for seed in range(3):
        own = torch.Generator().manual_seed(seed)
        direction = [torch.randn(p.shape, generator=own, dtype=p.dtype) for p in parameters]
        expected = slope_by(function, parameters, direction)
        found = sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True) if g is not None)
        assert abs(expected) > 1e-6
        assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("size", [SIZES[0], SIZES[2]])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_r1_has_true_gradients(size: dict[str, Any], architecture: str) -> None:
    discriminator = small_discriminator(size, architecture=architecture).double()
    mel, labels = mels(4, size["frames"]).double(), one_hots(0, 1, 2, 0).double()

    def penalty() -> Tensor:
        clips = mel.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(discriminator(clips, labels).sum(), clips, create_graph=True)
        return slope.square().sum((1, 2)).mean()

    require_true_gradient(penalty, discriminator)


@pytest.mark.parametrize("size", [SIZES[0], SIZES[2]])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_path_length_has_true_gradients(size: dict[str, Any], architecture: str) -> None:
    generator = small_generator(size, architecture=architecture).double()
    z, labels, noise = torch.randn(3, 5).double(), one_hots(0, 1, 2).double(), noises(generator, 3)
    direction = torch.randn(3, MEL.n_mels, size["frames"]).double()

    def lengths() -> Tensor:
        mel, w = generator(z, labels, noise)
        (slope,) = torch.autograd.grad((mel * direction).sum(), w, create_graph=True)
        return slope.square().sum(2).mean(1).sqrt().mean()

    require_true_gradient(lengths, generator)


def test_path_lengths_work_under_autocast() -> None:
    """What the generator returns beside its clips is what they were made of, not a copy in another type."""
    generator = small_generator()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mel, w = generator(torch.randn(2, 5), one_hots(0, 1), noises(generator, 2))
    assert w.dtype == torch.float32
    assert torch.autograd.grad(mel.float().sum(), w)[0].abs().sum() > 0
