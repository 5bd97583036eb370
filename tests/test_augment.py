"""What discriminators see changed: within limits, at random, differentiable, and never backwards."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from small_corpus import MEL
from torch import Tensor

from vocalgen.errors import VocalgenError
from vocalgen.training.augment import MelAugmentation, SpecAugment, change_gain, mask, shift_frames

FLOOR = MEL.log_floor
COUNT, BANDS, FRAMES = 64, 12, 40

Change = Callable[[Tensor, float, torch.Generator], Tensor]

CHANGES: dict[str, Change] = {
    "shift": lambda mel, share, generator: shift_frames(mel, 9, FLOOR, generator, share),
    "gain": lambda mel, share, generator: change_gain(mel, 6.0, FLOOR, generator, share),
    "bands": lambda mel, share, generator: mask(mel, 1, 5, FLOOR, generator, share),
    "frames": lambda mel, share, generator: mask(mel, 2, 9, FLOOR, generator, share),
    "all": lambda mel, share, generator: MelAugmentation(9, 6.0, 5, 9)(mel, share, FLOOR, generator),
}


def clips(count: int = COUNT) -> Tensor:
    """Every value is found nowhere else, and every clip ends in silence."""
    mel = FLOOR + 3 + 6 * torch.rand(count, BANDS, FRAMES, generator=torch.Generator().manual_seed(0))
    mel[..., -5:] = FLOOR
    return mel


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def changed(mel: Tensor, other: Tensor) -> Tensor:
    """(B,) whether clips differ."""
    return (mel != other).flatten(1).any(1)


@pytest.mark.parametrize("name", CHANGES)
def test_share(name: str) -> None:
    """None, all, or about the share of the clips are changed; a change may be by nothing."""
    mel = clips(400)
    change = CHANGES[name]
    assert torch.equal(change(mel, 0.0, seeded()), mel)
    everything = float(changed(change(mel, 1.0, seeded()), mel).float().mean())
    assert everything > 0.8
    if name != "all":
        half = float(changed(change(mel, 0.5, seeded()), mel).float().mean())
        assert half == pytest.approx(0.5 * everything, abs=0.07)


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_depends_on_the_generator_alone(name: str) -> None:
    mel, change = clips(), CHANGES[name]
    before = mel.clone()
    torch.manual_seed(1)
    first = change(mel, 0.7, seeded(3))
    torch.manual_seed(2)
    assert torch.equal(change(mel, 0.7, seeded(3)), first)
    assert not torch.equal(change(mel, 0.7, seeded(4)), first)
    assert torch.equal(mel, before)


def test_shift_moves_clips_by_whole_frames_and_brings_in_silence() -> None:
    mel = clips(300)
    seen = set()
    for new, old in zip(CHANGES["shift"](mel, 1.0, seeded()), mel, strict=True):
        padded = torch.nn.functional.pad(old, (9, 9), value=FLOOR)
        moves = [move for move in range(-9, 10) if torch.equal(new, padded[:, 9 - move : 9 - move + FRAMES])]
        assert len(moves) == 1
        seen.add(moves[0])
    assert seen == set(range(-9, 10))


def test_a_shift_longer_than_the_clip_leaves_silence_or_a_part_of_it() -> None:
    moved = shift_frames(clips(50), 3 * FRAMES, FLOOR, seeded())
    assert moved.shape == (50, BANDS, FRAMES)
    assert (moved == FLOOR).all(2).all(1).any()


def test_gain_is_one_number_a_clip_within_its_limit_and_leaves_silence() -> None:
    mel = clips(300)
    louder = CHANGES["gain"](mel, 1.0, seeded())
    assert (louder[..., -5:] == FLOOR).all()
    gain = (louder - mel)[..., :-5].flatten(1)
    torch.testing.assert_close(gain, gain[:, :1].expand_as(gain), rtol=0, atol=1e-5)
    limit = 6.0 * math.log(10) / 20
    assert -limit <= float(gain.min()) < -0.95 * limit and 0.95 * limit < float(gain.max()) <= limit + 1e-5


def test_softer_clips_stop_at_the_floor() -> None:
    mel = clips().clamp(max=FLOOR + 0.01)
    mel[:, 0] = FLOOR + 0.005
    softer = change_gain(mel, 40.0, FLOOR, seeded())
    assert float(softer.min()) == pytest.approx(FLOOR, abs=1e-6)


@pytest.mark.parametrize(("axis", "largest"), [(1, 5), (2, 9)])
def test_masks_are_whole_bands_or_frames_and_reach_everywhere(axis: int, largest: int) -> None:
    mel = torch.zeros(2000, BANDS, FRAMES)
    hidden = mask(mel, axis, largest, FLOOR, seeded()) == torch.tensor(FLOOR)
    across = hidden.any(3 - axis)
    assert torch.equal(across, hidden.all(3 - axis))
    widths = across.sum(1)
    assert set(widths.tolist()) == set(range(largest + 1))
    first, last = across.float().argmax(1), across.shape[1] - across.flip(1).float().argmax(1)
    assert torch.equal((last - first)[widths > 0], widths[widths > 0])
    starts = first[widths == largest]
    assert set(starts.tolist()) == set(range(mel.shape[axis] - largest))  # torchaudio never hides the last one


def test_mask_has_the_distribution_of_spec_augment() -> None:
    """Widths are uniform, and so are starts for each width, as in the paper (arXiv 1904.08779, 2)."""
    hidden = mask(torch.zeros(20_000, 4, FRAMES), 2, 9, FLOOR, seeded())[:, 0] == torch.tensor(FLOOR)
    widths = hidden.sum(1)
    shares = torch.bincount(widths, minlength=10) / len(widths)
    assert shares.tolist() == pytest.approx([0.1] * 10, abs=0.01)
    starts = hidden.float().argmax(1)[widths == 4].float()
    assert float(starts.mean()) == pytest.approx((FRAMES - 5) / 2, abs=0.6)


def test_mask_leaves_the_global_generator_as_it_was() -> None:
    before, own = torch.random.get_rng_state(), seeded(3)
    first = mask(clips(), 2, 9, FLOOR, own)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.equal(mask(clips(), 2, 9, FLOOR, own), first)  # the generator itself has moved on


def test_a_mask_as_wide_as_the_clip() -> None:
    widths = (mask(torch.zeros(200, 4, 3), 2, 3, FLOOR, seeded())[:, 0] != 0).sum(1)
    assert set(widths.tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize("name", CHANGES)
def test_gradients_flow_to_what_is_left(name: str) -> None:
    """Each value that is still seen gets the gradient of its new place; what is hidden gets none."""
    mel = clips(30)[..., :-5].requires_grad_(True)
    new = CHANGES[name](mel, 1.0, seeded())
    weight = torch.randn(new.shape, generator=seeded(5))
    (gradient,) = torch.autograd.grad((new * weight).sum(), mel)
    seen = new > FLOOR + 1
    for own, expected, place in zip(gradient, weight, seen, strict=True):
        assert torch.equal(own[own != 0].sort().values, expected[place].sort().values)
    assert seen.any() and (name == "gain" or not seen.all())


def test_clips_are_never_mirrored() -> None:
    """Values that rise along time and pitch still do so after any change, where they are not silent."""
    ramp = (torch.arange(FRAMES) + 0.1 * torch.arange(BANDS)[:, None]) * 0.1 + FLOOR + 2
    for seed in range(20):
        new = CHANGES["all"](ramp.repeat(50, 1, 1), 1.0, seeded(seed))
        for axis in (1, 2):
            size = new.shape[axis]
            a, b = new.narrow(axis, 0, size - 1), new.narrow(axis, 1, size - 1)
            both = (a > FLOOR + 1e-4) & (b > FLOOR + 1e-4)
            assert both.any() and (b > a)[both].all()


def test_changes_of_nothing() -> None:
    assert torch.equal(MelAugmentation(0, 0.0, 0, 0)(clips(), 1.0, FLOOR, seeded()), clips())


def test_recognisers_see_bands_moved_and_as_many_masks_as_asked_for() -> None:
    options = SpecAugment(band_shift=2, masks=3, mask_bands=2, mask_frames=2)
    moved = options.shifted(clips(), seeded())
    assert 0.5 < float(changed(moved, clips()).float().mean()) < 1
    hidden = options.masked(moved[..., :-5], FLOOR, seeded()) == FLOOR
    bands, frames = hidden.all(2).sum(1), hidden.all(1).sum(1)
    assert 4 <= int(bands.max()) <= 6 and 4 <= int(frames.max()) <= 6
    nothing = SpecAugment(0, 0)
    assert torch.equal(nothing.masked(nothing.shifted(clips(), seeded()), FLOOR, seeded()), clips())


@pytest.mark.parametrize("name", ["shift", "gain_db", "mask_bands", "mask_frames"])
def test_negative_limits_are_refused(name: str) -> None:
    with pytest.raises(VocalgenError, match=f"augmentation: {name} is -1; it must not be negative"):
        MelAugmentation(**{name: -1})
