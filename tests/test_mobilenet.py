"""MobileNetV3 against the definition of EfficientAT's networks, whose checkpoints it takes over."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from bursts import burst
from small_corpus import classifier_values, write_corpus
from torch import Tensor
from torchaudio.functional import resample

from vocalgen.config import build, load_config
from vocalgen.errors import VocalgenError
from vocalgen.mel import MEL_24K, LogMel
from vocalgen.models.mobilenet import (
    BANDS,
    EDGE,
    FFT,
    LAYERS,
    RATE,
    MobileNetClassifier,
    audioset_bands,
    audioset_banks,
    audioset_log_mel,
)
from vocalgen.training.classifier import ClassifierObjective, MobileNetConfig

WIDTH = 0.2


def efficientat(stored: dict[str, Tensor], x: Tensor) -> Tensor:
    """(B, 1, bands, L) through the convolutions of a stored network, read from the published definition."""

    def convolve(name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = stored[f"{name}.0.weight"]
        groups = len(weight) if weight.shape[1] == 1 and x.shape[1] > 1 else 1
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=groups)
        mean, variance = stored[f"{name}.1.running_mean"], stored[f"{name}.1.running_var"]
        x = (x - mean[:, None, None]) / (variance[:, None, None] + 1e-3).sqrt()
        return x * stored[f"{name}.1.weight"][:, None, None] + stored[f"{name}.1.bias"][:, None, None]

    x = F.hardswish(convolve("features.0", x, 2))
    for number, (_, _, _, squeezes, smooth, stride) in enumerate(LAYERS, start=1):
        activation, name, place, y = F.hardswish if smooth else F.relu, f"features.{number}.block", 0, x
        if f"{name}.{3 if squeezes else 2}.0.weight" in stored:
            y = activation(convolve(f"{name}.0", y))
            place = 1
        y = activation(convolve(f"{name}.{place}", y, stride))
        if squeezes:
            place += 1
            layers = f"{name}.{place}.conc_se_layers.0"
            hidden = F.linear(y.mean((2, 3)), stored[f"{layers}.fc1.weight"], stored[f"{layers}.fc1.bias"]).relu()
            scale = F.linear(hidden, stored[f"{layers}.fc2.weight"], stored[f"{layers}.fc2.bias"]).sigmoid()
            y = y * scale[:, :, None, None]
        y = convolve(f"{name}.{place + 1}", y)
        x = x + y if y.shape == x.shape else y
    return F.hardswish(convolve(f"features.{len(LAYERS) + 1}", x))


def channels(count: float) -> int:
    rounded = max(8, int(count + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * count else rounded


@pytest.fixture(scope="module")
def stored() -> dict[str, Tensor]:
    """A checkpoint with EfficientAT's names and shapes, and random numbers."""
    random = torch.Generator().manual_seed(0)
    tensors: dict[str, Tensor] = {}

    def convolution(name: str, dim_in: int, dim_out: int, kernel: int) -> None:
        fan = dim_in * kernel**2
        tensors[f"{name}.0.weight"] = torch.randn(dim_out, dim_in, kernel, kernel, generator=random) * (2 / fan) ** 0.5
        for key in ("weight", "bias", "running_mean", "running_var"):
            tensors[f"{name}.1.{key}"] = 0.5 + torch.rand(dim_out, generator=random)

    dim = channels(16 * WIDTH)
    convolution("features.0", 1, dim, 3)
    for number, layer in enumerate(LAYERS, start=1):
        name, place = f"features.{number}.block", 0
        wide, out = channels(layer.expanded * WIDTH), channels(layer.out * WIDTH)
        if wide != dim:
            convolution(f"{name}.0", dim, wide, 1)
            place = 1
        convolution(f"{name}.{place}", 1, wide, layer.kernel)
        if layer.squeezes:
            place += 1
            hidden = channels(wide // 4)
            for part, shape in (("fc1", (hidden, wide)), ("fc2", (wide, hidden))):
                prefix = f"{name}.{place}.conc_se_layers.0.{part}"
                tensors[f"{prefix}.weight"] = torch.randn(*shape, generator=random) * shape[1] ** -0.5
                tensors[f"{prefix}.bias"] = torch.randn(shape[0], generator=random)
        convolution(f"{name}.{place + 1}", wide, out, 1)
        dim = out
    convolution(f"features.{len(LAYERS) + 1}", dim, 6 * dim, 1)
    tensors["classifier.5.weight"] = torch.randn(527, 6 * dim, generator=random)
    return tensors


def test_convolutions_are_those_of_efficientat(stored: dict[str, Tensor]) -> None:
    network = MobileNetClassifier(MEL_24K.to_dict(), ("a", "b"), width=WIDTH).eval()
    before = network.bands.weight.clone()
    network.load_audioset(stored)
    assert torch.equal(network.bands.weight, before)
    mel = torch.randn(2, MEL_24K.n_mels, 96)
    with torch.no_grad():
        features, own = network.features(mel, torch.full((2,), 96))
        expected = efficientat(stored, network.bands(mel.mT).mT.unsqueeze(1)).mean(2).mT
    assert own.shape == (2, 3, 1)
    assert features.shape == expected.shape
    assert torch.allclose(features, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().mean()))


def test_bands_are_nearly_those_of_efficientat() -> None:
    """Spread of the bands is about 0.7 in these units; the wrong scale or level would be off by more than that."""
    rate = MEL_24K.sample_rate
    wave = torch.from_numpy(burst(1, 2.0, rate)) + 0.01 * torch.randn(
        2 * rate, generator=torch.Generator().manual_seed(1)
    )
    weight, bias = audioset_bands(MEL_24K)
    ours = weight @ LogMel(MEL_24K)(wave[None])[0] + bias[:, None]
    banks, centres = audioset_banks()
    theirs = (audioset_log_mel(resample(wave, rate, RATE), banks.float()) + 4.5) / 5
    nearest = ((torch.arange(ours.shape[1]) + 0.5) * MEL_24K.hop_length / rate * RATE / 320).round().long()
    covered = (centres > 150) & (centres < 11_000)
    error = (ours - theirs[:, nearest])[covered]
    assert error.abs().mean() < 0.15
    assert error.mean().abs() < 0.05


def test_audioset_banks_are_triangles_in_mel() -> None:
    """Against the definition of Kaldi's mel scale, mel = 1127 ln(1 + f / 700)."""
    edges = torch.linspace(0, 1127 * math.log1p(EDGE / 700), BANDS + 2, dtype=torch.float64)
    bins = 1127 * torch.log1p(torch.arange(FFT // 2, dtype=torch.float64) * RATE / FFT / 700)
    place = (bins - edges[:, None]) / edges[1]  # of each bin from each edge, in bands
    banks, centres = audioset_banks()
    assert (banks.dtype, banks.shape, centres.shape) == (torch.float64, (BANDS, FFT // 2), (BANDS,))
    torch.testing.assert_close(banks, torch.minimum(place[:-2], -place[2:]).clamp(min=0), rtol=0, atol=1e-4)
    torch.testing.assert_close(centres, 700 * torch.expm1(edges[1:-1] / 1127), rtol=1e-5, atol=1e-3)


def test_checkpoints_that_do_not_fit(stored: dict[str, Tensor], tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus").parent
    values = {**classifier_values(corpus, tmp_path / "run", 1), "kind": "mobilenet"}

    def objective(path: Path, width: float) -> ClassifierObjective:
        model = {"embedding_dim": 4, "width": width}
        return ClassifierObjective(build(MobileNetConfig, {**values, "model": model, "init": str(path)}, "test"))

    path = tmp_path / "mn02_as.pt"
    with pytest.raises(VocalgenError, match=r"no file .*offers its mn checkpoints"):
        objective(path, WIDTH)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(VocalgenError, match="not a file of tensors that PyTorch can read safely"):
        objective(path, WIDTH)
    torch.save({"model": stored}, path)
    with pytest.raises(VocalgenError, match=r"does not fit the network: \d+ tensors of EfficientAT"):
        objective(path, WIDTH)
    torch.save(stored, path)
    with pytest.raises(VocalgenError, match=r"does not fit the network: features\.\S+ is \(.*\), not \("):
        objective(path, 0.4)
    network = objective(path, WIDTH).networks["classifier"]
    assert torch.equal(network.state_dict()["last.weight"], stored[f"features.{len(LAYERS) + 1}.0.weight"])


def test_the_recipe_is_valid(root: Path) -> None:
    config = load_config(MobileNetConfig, root / "recipes" / "emogator" / "classifier_mobilenet.yaml")
    assert config.init is not None
