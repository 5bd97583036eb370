"""The transformer of variable length: padding, absent conditions, noise levels per token."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vocalgen.mel import MEL_24K
from vocalgen.models.burst_transformer import ACOUSTICS, BurstCondition, BurstTransformer
from vocalgen.models.denoiser import Flow
from vocalgen.models.style import StyleEncoder

EMOTIONS = ("awe", "fear", "pain")
CHANNELS, LONGEST, VOICE, STYLE = 4, 24, 6, 3


@pytest.fixture(scope="module")
def network() -> BurstTransformer:
    return small_network()


def small_network(**changes: object) -> BurstTransformer:
    """A network whose gates are open, so that every part of it counts."""
    torch.manual_seed(0)
    sizes = {"patch": 2, "dim": 16, "depth": 3, "heads": 2, "voice_dim": VOICE, "style_dim": STYLE, **changes}
    network = BurstTransformer(MEL_24K.to_dict(), EMOTIONS, CHANNELS, LONGEST, **sizes)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(0.0, 0.3)
    return network.eval()


def mask_of(*lengths: int, width: int = LONGEST) -> Tensor:
    return torch.arange(width) < torch.tensor(lengths)[:, None]


def full(network: BurstTransformer, mask: Tensor, seed: int = 0) -> BurstCondition:
    """A condition with nothing absent."""
    random = torch.Generator().manual_seed(seed)
    absent = network.absent(mask, torch.rand(len(mask), len(EMOTIONS), generator=random))
    return absent._replace(
        voice=torch.nn.functional.normalize(torch.randn(len(mask), VOICE, generator=random), dim=-1),
        acoustics=torch.tensor([30.0, 7.0, 0.4, 0.8]).expand(len(mask), -1).clone(),
        style=torch.randn(len(mask), STYLE, generator=random),
        guidance=torch.full((len(mask),), 2.0),
    )


def noisy(count: int, width: int = LONGEST, seed: int = 1) -> Tensor:
    return torch.randn(count, width, CHANNELS, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("own", [10, 13])
@torch.no_grad()
def test_burst_transformer_ignores_padding(network: BurstTransformer, own: int) -> None:
    x = noisy(2)
    short = torch.cat([x[:1, :own], torch.full((1, own % 2, CHANNELS), 7.0)], dim=1)
    alone = network(short, torch.tensor([0.3]), full(network, mask_of(own, width=short.shape[1])))
    condition = full(network, mask_of(own))
    both = BurstCondition(*(torch.cat([value, value]) for value in condition))._replace(mask=mask_of(own, LONGEST))
    for beyond in (0.0, float("nan")):
        x[0, own:] = beyond
        together = network(x, torch.tensor([0.3, 0.9]), both)
        torch.testing.assert_close(together[:1, :own], alone[:, :own], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("own", [9, 12])
def test_loss_and_gradient_of_a_clip_do_not_depend_on_padding(network: BurstTransformer, own: int) -> None:
    clean, noise = noisy(1), noisy(1, seed=2)
    gradients = []
    for width in (12, LONGEST):
        mask = mask_of(own, width=width)
        errors = Flow().errors(network, clean[:, :width], noise[:, :width], torch.ones(1), full(network, mask))
        loss = errors[mask].mean()
        gradients.append(
            [loss.detach(), *torch.autograd.grad(loss, [network.embed.weight, network.blocks[0].qkv.weight])]
        )
    for narrow, wide in zip(*gradients, strict=True):
        torch.testing.assert_close(narrow, wide, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_every_condition_matters_and_may_be_absent(network: BurstTransformer) -> None:
    mask, x, level = mask_of(16), noisy(1), torch.tensor([0.5])
    condition = full(network, mask)
    base = network(x, level, condition)
    for name in ("intensities", "voice", "style", "guidance"):
        absent = condition._replace(**{name: torch.full_like(getattr(condition, name), torch.nan)})
        result = network(x, level, absent)
        assert torch.isfinite(result).all()
        assert (result - base).abs().max() > 1e-3, name
    for place, name in enumerate(ACOUSTICS):
        acoustics = condition.acoustics.clone()
        acoustics[:, place] = torch.nan
        assert (network(x, level, condition._replace(acoustics=acoustics)) - base).abs().max() > 1e-3, name


@torch.no_grad()
def test_absence_is_per_clip(network: BurstTransformer) -> None:
    condition = full(network, mask_of(16, 16))
    voice = condition.voice.clone()
    voice[1] = torch.nan
    given, partly = (network(noisy(2), torch.ones(2), c) for c in (condition, condition._replace(voice=voice)))
    torch.testing.assert_close(partly[0], given[0])
    assert (partly[1] - given[1]).abs().max() > 1e-3


@torch.no_grad()
def test_without_emotion_leads_away_from_nothing_or_from_the_negative_emotion(network: BurstTransformer) -> None:
    condition = full(network, mask_of(16))
    other = torch.tensor([[0.0, 0.0, 1.0]])
    assert condition.without_emotion().intensities.isnan().all()
    assert torch.equal(condition._replace(negative=other).without_emotion().intensities, other)


@torch.no_grad()
def test_noise_levels_may_differ_between_tokens(network: BurstTransformer) -> None:
    condition, x = full(network, mask_of(20)), noisy(1)
    one = network(x, torch.tensor([0.4]), condition)
    torch.testing.assert_close(network(x, torch.full((1, LONGEST), 0.4), condition), one, atol=1e-5, rtol=1e-4)
    levels = torch.full((1, LONGEST), 0.4)
    levels[:, 6:10] = 0.1
    assert (network(x, levels, condition) - one).abs().max() > 1e-3


@torch.no_grad()
def test_tokens_know_their_distance_from_both_ends(network: BurstTransformer) -> None:
    x = torch.zeros(1, LONGEST, CHANNELS)
    output = network(x, torch.ones(1), full(network, mask_of(20)))[0, :20].unflatten(0, (-1, 2))
    assert (output[1:] - output[:-1]).abs().amax(dim=(1, 2)).min() > 1e-3
    shorter = network(x, torch.ones(1), full(network, mask_of(18)))[0, :2]
    assert (shorter - output[0]).abs().max() > 1e-3


def test_a_new_burst_transformer_predicts_zero_and_learns() -> None:
    torch.manual_seed(0)
    network = BurstTransformer(
        MEL_24K.to_dict(), EMOTIONS, CHANNELS, LONGEST, dim=16, depth=2, heads=2, voice_dim=VOICE
    )
    condition = network.absent(mask_of(16), torch.ones(1, 3))
    output = network(noisy(1), torch.ones(1), condition)
    assert not output.any()
    output.sum().backward()
    assert network.head.bias.grad is not None and network.head.bias.grad.any()


def test_sizes_that_do_not_fit_are_rejected() -> None:
    for changes, message in (({"patch": 5}, "multiple of patch"), ({"heads": 3}, "heads"), ({"style_dim": 17}, "16")):
        with pytest.raises(ValueError, match=message):
            small_network(**changes)


@torch.no_grad()
def test_style_ignores_padding_and_has_fixed_power() -> None:
    torch.manual_seed(0)
    encoder = StyleEncoder(CHANNELS, STYLE)
    x = noisy(2)
    styles = encoder(x, mask_of(10, 20))
    torch.testing.assert_close(styles[:1], encoder(x[:1, :10], mask_of(10, width=10)), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(styles.square().mean(-1), torch.ones(2), atol=1e-2, rtol=0)
    assert (styles[0] - styles[1]).abs().max() > 1e-2


def test_a_saved_burst_transformer_loads(network: BurstTransformer, tmp_path) -> None:  # type: ignore[no-untyped-def]
    network.save_pretrained(tmp_path)
    loaded = BurstTransformer.from_pretrained(tmp_path)
    condition = full(network, mask_of(16))
    with torch.no_grad():
        torch.testing.assert_close(
            loaded(noisy(1), torch.ones(1), condition), network(noisy(1), torch.ones(1), condition)
        )
