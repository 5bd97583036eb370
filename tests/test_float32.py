"""Another default type of torch changes neither the noise of a seed nor the clip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from vocalgen import VocalBurstPipeline
from vocalgen.errors import VocalgenError
from vocalgen.float32 import float32_default, normal, uniform
from vocalgen.generation.interpolation import End, interpolate
from vocalgen.generation.loading import load_synthesiser
from vocalgen.mel import MEL_24K
from vocalgen.models.denoiser import Flow
from vocalgen.models.griffin_lim import griffin_lim
from vocalgen.training.loop import _require_float32
from vocalgen.training.objective import Objective


@pytest.fixture
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def seeded(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


EXPECTED = {draw: draw(64, generator=seeded()) for draw in (normal, uniform)}


@pytest.mark.parametrize("draw", [normal, uniform])
def test_noise_does_not_depend_on_the_default_type(draw: object, float64: None) -> None:
    assert torch.equal(draw(64, generator=seeded()), EXPECTED[draw])  # type: ignore[operator,index]
    assert not torch.equal(torch.randn(64, generator=seeded()).float(), EXPECTED[normal])


def test_float32_default_is_taken_back_after_an_exception(float64: None) -> None:
    with pytest.raises(ZeroDivisionError), float32_default():
        assert torch.zeros(1).dtype == torch.float32
        raise ZeroDivisionError
    assert torch.zeros(1).dtype == torch.float64


def test_training_noise_does_not_depend_on_the_default_type() -> None:
    losses = []
    for dtype in (torch.float32, torch.float64):
        torch.set_default_dtype(dtype)
        try:
            losses.append(
                Flow().loss(lambda x, t, _: x * t[:, None, None], EXPECTED[normal].reshape(2, 32, 1), None, seeded())
            )
        finally:
            torch.set_default_dtype(torch.float32)
    assert torch.equal(*losses)


def test_clips_do_not_depend_on_the_default_type(debug_checkpoint: Path, root: Path) -> None:
    clips: list[list[np.ndarray]] = []
    for dtype in (torch.float32, torch.float64):
        torch.set_default_dtype(dtype)
        try:
            command_line = load_synthesiser(debug_checkpoint)
            pipeline = VocalBurstPipeline.from_pretrained(debug_checkpoint)
            gan = load_synthesiser(root / "checkpoints" / "emogator-stylegan2-24k")
            ends = [End(command_line.condition("awe"), seed) for seed in (3, 4)]
            mel = torch.from_numpy(np.linspace(-6, -2, 800, dtype=np.float32).reshape(1, 100, 8))
            clips.append(
                [
                    command_line("awe", seed=3, steps=2).audio,
                    pipeline("awe", seed=3, steps=2).audio,
                    gan("awe", seed=3).audio,
                    *interpolate(command_line, *ends, 2, command_line.settings(steps=2)),
                    griffin_lim(mel, MEL_24K, n_iter=2).numpy(),
                ]
            )
        finally:
            torch.set_default_dtype(torch.float32)
    assert all(np.array_equal(one, other) for one, other in zip(*clips, strict=True))


def test_training_refuses_networks_of_another_type(float64: None) -> None:
    class Made(Objective):
        networks = {"autoencoder": torch.nn.Linear(2, 2)}

    Made.__abstractmethods__ = frozenset()
    with pytest.raises(VocalgenError, match=r"network autoencoder is torch\.float64, but training needs float32"):
        _require_float32(Made())
