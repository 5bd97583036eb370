"""Networks and preconditioning: shapes, conditions, and the identities the equations promise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from vocalgen.mel import MEL_24K
from vocalgen.models.autoencoder import MelAutoencoder, MelFrames, PatchDiscriminator
from vocalgen.models.denoiser import EDM, Flow, Preconditioning, preconditioning
from vocalgen.models.transformer import Conditioning, MelTransformer

EMOTIONS = ("Awe", "Fear", "Triumph")


@pytest.fixture
def transformer() -> MelTransformer:
    network = MelTransformer(MEL_24K.to_dict(), EMOTIONS, 4, 16, patch=2, dim=16, depth=2, heads=2)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


def condition(*intensities: tuple[float, ...], keep: bool = True, seconds: float = float("nan")) -> Conditioning:
    count = len(intensities)
    return Conditioning(
        torch.tensor(intensities), torch.full((count,), keep, dtype=torch.bool), torch.full((count,), seconds)
    )


def run(network: MelTransformer, given: Conditioning, x: Tensor | None = None) -> Tensor:
    x = torch.randn(1, 16, 4, generator=torch.Generator().manual_seed(0)) if x is None else x
    with torch.no_grad():
        return network(x.expand(len(given.keep), -1, -1), torch.full((len(given.keep),), 0.5), given)


@pytest.mark.parametrize("emotion", range(3))
def test_every_emotion_differs_from_the_null(transformer: MelTransformer, emotion: int) -> None:
    """The first emotion too: an id must never be taken for "none"."""
    vector = tuple(float(k == emotion) for k in range(3))
    given = run(transformer, condition(vector))
    null = run(transformer, condition(vector, keep=False))
    assert (given - null).abs().max() > 1e-3
    torch.testing.assert_close(null, run(transformer, condition((0.0, 0.0, 0.0), keep=False)))


def test_null_is_per_sample(transformer: MelTransformer) -> None:
    both = condition((1.0, 0.0, 0.0), (1.0, 0.0, 0.0))._replace(keep=torch.tensor([True, False]))
    output = run(transformer, both)
    torch.testing.assert_close(output[:1], run(transformer, condition((1.0, 0.0, 0.0))), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        output[1:], run(transformer, condition((1.0, 0.0, 0.0), keep=False)), atol=1e-5, rtol=1e-4
    )


def test_mixtures_lie_between_and_large_sums_are_scaled(transformer: MelTransformer) -> None:
    half = run(transformer, condition((0.5, 0.5, 0.0)))
    torch.testing.assert_close(half, run(transformer, condition((1.0, 1.0, 0.0))))
    assert (half - run(transformer, condition((1.0, 0.0, 0.0)))).abs().max() > 1e-3
    weak, full = (run(transformer, condition((weight, 0.0, 0.0))) for weight in (0.5, 1.0))
    assert (weak - full).abs().max() > 1e-3


def test_seconds_matter_and_nan_means_any(transformer: MelTransformer) -> None:
    any_length = run(transformer, condition((1.0, 0.0, 0.0)))
    short, long = (run(transformer, condition((1.0, 0.0, 0.0), seconds=s)) for s in (0.4, 1.6))
    assert any_length.isfinite().all()
    assert (short - long).abs().max() > 1e-3
    assert (short - any_length).abs().max() > 1e-3


def test_a_new_transformer_answers_zero() -> None:
    network = MelTransformer(MEL_24K.to_dict(), EMOTIONS, 4, 16, dim=16, depth=1, heads=2)
    assert run(network, condition((1.0, 0.0, 0.0))).abs().max() == 0


def test_positions_are_told_apart(transformer: MelTransformer) -> None:
    x = torch.randn(1, 16, 4)
    shifted = run(transformer, condition((1.0, 0.0, 0.0)), x.roll(2, 1))
    assert (shifted - run(transformer, condition((1.0, 0.0, 0.0)), x).roll(2, 1)).abs().max() > 1e-3


def test_impossible_sizes() -> None:
    with pytest.raises(ValueError, match="must divide by patch"):
        MelTransformer(MEL_24K.to_dict(), EMOTIONS, 4, 15, patch=2, dim=16, heads=2)


@pytest.mark.parametrize("kind", [EDM(0.7), Flow()])
def test_a_perfect_network_denoises_exactly_and_has_no_loss(kind: Preconditioning) -> None:
    """Invert the preconditioning for a known clean sample: D(x; sigma) must return it at every noise level."""
    clean = torch.randn(5, 6, 3)

    def perfect(x: Tensor, label: Tensor, _: Any) -> Tensor:
        if isinstance(kind, EDM):
            sigma = (4 * label).exp()[:, None, None]
            noisy = x * (sigma**2 + kind.sigma_data**2).sqrt()
            skip = kind.sigma_data**2 / (sigma**2 + kind.sigma_data**2)
            return (clean - skip * noisy) * (sigma**2 + kind.sigma_data**2).sqrt() / (sigma * kind.sigma_data)
        return (x - clean) / label[:, None, None]

    sigma = torch.tensor([0.01, 0.1, 1.0, 10.0, 60.0])
    noisy = clean + sigma[:, None, None] * torch.randn_like(clean)
    torch.testing.assert_close(kind.denoise(perfect, noisy, sigma, None), clean, atol=2e-3, rtol=1e-3)
    assert kind.loss(perfect, clean, None, torch.Generator().manual_seed(0)).max() < 1e-5


def test_losses_of_a_silent_network_are_of_order_one() -> None:
    """Unit effective weight at the start (EDM eq. 8); a flow predicts the difference of two unit normals."""
    clean, silent = torch.randn(4000, 4, 2), lambda x, label, _: torch.zeros_like(x)
    generator = torch.Generator().manual_seed(0)
    assert EDM(1.0).loss(silent, clean, None, generator).mean() == pytest.approx(1.0, abs=0.05)
    assert Flow().loss(silent, clean, None, generator).mean() == pytest.approx(2.0, abs=0.1)


def test_preconditioning_by_name() -> None:
    assert preconditioning("edm", p_mean=-1.0) == EDM(p_mean=-1.0)
    assert preconditioning() == Flow()
    with pytest.raises(ValueError, match="not one of edm, flow"):
        preconditioning("ddpm")
    with pytest.raises(ValueError, match="unexpected keyword"):
        preconditioning("flow", sigma_data=1.0)


def test_autoencoder_shapes_and_normalisation() -> None:
    network = MelAutoencoder(MEL_24K.to_dict(), latent_dim=5, widths=(8, 12, 16), depths=(1, 1, 1))
    mel = torch.randn(2, 100, 24)
    output, mean, log_variance = network(mel, torch.zeros(2, 6, 5))
    assert output.shape == mel.shape
    assert mean.shape == log_variance.shape == (2, 6, 5)
    torch.testing.assert_close(output, network(mel)[0])
    network.latent_mean.fill_(2.0)
    network.latent_std.fill_(3.0)
    torch.testing.assert_close(network.normalise(torch.full((1, 1, 5), 8.0)), torch.full((1, 1, 5), 2.0))
    torch.testing.assert_close(network.denormalise(network.normalise(mean)), mean)
    with pytest.raises(ValueError, match="differ in length"):
        MelAutoencoder(MEL_24K.to_dict(), widths=(8,), depths=(1, 1))


def test_frames_pass_unchanged() -> None:
    frames, mel = MelFrames(MEL_24K.to_dict()), torch.randn(2, 100, 7)
    torch.testing.assert_close(frames.decode(frames.denormalise(frames.normalise(frames.encode(mel)[0]))), mel)
    assert frames.latent_dim == 100


def test_patch_discriminator_sees_patches() -> None:
    network, mel = PatchDiscriminator(4), torch.randn(1, 100, 32)
    score, features = network(mel)
    assert score.shape[0] == 1
    assert len(features) == 3
    far = mel.clone()
    far[..., -1] += 1.0
    changed = (network(far)[0] - score).abs().amax((0, 1, 2)) > 0
    assert not changed[0]
    assert changed[-1]
