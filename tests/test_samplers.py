"""Samplers on problems whose answer is known."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from vocalgen.errors import VocalgenError
from vocalgen.generation.samplers import SOLVERS, dpmpp_2m, guided, heun, karras_sigmas
from vocalgen.generation.settings import SOLVER_NAMES, Sampling, require_seeds, settings
from vocalgen.models.denoiser import preconditioning

DATA = 0.5
"""Deviation of the data in the Gaussian problem."""


def gaussian(x: Tensor, sigma: Tensor) -> Tensor:
    """The perfect denoiser of N(0, DATA^2)."""
    return x * DATA**2 / (DATA**2 + sigma**2)


def deviation(solver: str, steps: int) -> float:
    """Deviation of the samples: the solver is linear here, so one trajectory from 1 sigma_max tells it."""
    sigmas = karras_sigmas(steps, 0.002, 80.0)
    start = torch.ones(1, 1, 1, dtype=torch.float64) * math.sqrt(80.0**2 + DATA**2)
    return float(SOLVERS[solver](gaussian, start, sigmas.double()))


def test_names_and_functions_agree() -> None:
    assert tuple(SOLVERS) == SOLVER_NAMES


def test_noise_levels_follow_edm() -> None:
    sigmas = karras_sigmas(5, 0.02, 40.0, 7.0)
    assert sigmas.shape == (6,) and sigmas[-1] == 0
    assert sigmas[[0, 4]].tolist() == pytest.approx([40.0, 0.02])
    assert float(sigmas[2]) == pytest.approx(((40 ** (1 / 7) + 0.02 ** (1 / 7)) / 2) ** 7, rel=1e-5)
    assert (sigmas.diff() < 0).all()
    assert karras_sigmas(1).tolist() == [40.0, 0.0]


def test_dpm_reaches_the_published_deviations() -> None:
    found = [deviation("dpm++", steps) for steps in (8, 16, 32, 64, 256)]
    assert found == pytest.approx([0.575, 0.540, 0.509, 0.502, 0.500], abs=0.02)
    assert abs(found[-1] - DATA) < 2e-3


@pytest.mark.parametrize("solver", SOLVER_NAMES)
def test_order_of_convergence(solver: str) -> None:
    """Both methods are of second order: halving the step divides the error by four (by two for Euler)."""
    coarse, fine = (abs(deviation(solver, steps) - DATA) for steps in (64, 128))
    assert 3.0 < coarse / fine < 6.0


def test_samples_have_the_deviation_of_the_data() -> None:
    noise = torch.randn(2000, 1, 1, generator=torch.Generator().manual_seed(0))
    sigmas = karras_sigmas(32, 0.002, 80.0)
    for solver in SOLVERS.values():
        drawn = solver(gaussian, noise * 80.0, sigmas)
        assert float(drawn.std()) == pytest.approx(DATA, abs=0.03)


def test_one_step_is_the_denoiser() -> None:
    x = torch.randn(3, 4, 2)
    sigmas = karras_sigmas(1, sigma_max=3.0)
    for solver in (heun, dpmpp_2m):
        torch.testing.assert_close(solver(gaussian, x, sigmas), gaussian(x, torch.tensor(3.0)))


class Condition(NamedTuple):
    value: Tensor

    def without_emotion(self) -> Condition:
        return Condition(torch.zeros_like(self.value))


def denoised(guidance: float, interval: tuple[float, float], sigma: float) -> tuple[Tensor, list[int]]:
    """A denoiser whose estimate is its condition, and the batch sizes its network saw."""
    seen: list[int] = []

    def network(x: Tensor, noise: Tensor, condition: Condition) -> Tensor:
        seen.append(len(x))
        t = sigma / (1 + sigma)
        return (x - condition.value[:, None, None]) / t  # x_t - t * this = condition

    condition = Condition(torch.tensor([1.0, 3.0]))
    denoise = guided(network, preconditioning("flow"), condition, guidance, interval)
    return denoise(torch.zeros(2, 1, 1), torch.tensor(sigma)).flatten(), seen


def test_guidance_extrapolates_from_the_null() -> None:
    estimate, seen = denoised(2.5, (0.0, math.inf), 1.0)
    assert estimate.tolist() == pytest.approx([2.5, 7.5], abs=1e-5)
    assert seen == [4]


@pytest.mark.parametrize(("sigma", "acts"), [(0.25, False), (0.26, True), (8.0, True), (8.01, False), (30.0, False)])
def test_guidance_acts_inside_its_interval(sigma: float, acts: bool) -> None:
    estimate, seen = denoised(2.0, (0.25, 8.0), sigma)
    assert estimate.tolist() == pytest.approx([2.0, 6.0] if acts else [1.0, 3.0], abs=1e-4)
    assert seen == ([4] if acts else [2])


def test_no_guidance_costs_nothing() -> None:
    estimate, seen = denoised(1.0, (0.0, math.inf), 1.0)
    assert estimate.tolist() == pytest.approx([1.0, 3.0], abs=1e-5)
    assert seen == [2]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"solver": "euler"}, "dpm"),
        ({"steps": 0}, "steps"),
        ({"steps": 1001}, "steps"),
        ({"guidance": -1.0}, "guidance"),
        ({"guidance": math.nan}, "guidance"),
        ({"sigma_min": 0.0}, "sigma_min"),
        ({"sigma_min": 50.0}, "sigma_min"),
        ({"rho": 0.0}, "rho"),
        ({"step": 4}, "step; it has steps"),
    ],
)
def test_settings_out_of_range(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(VocalgenError, match=words):
        settings(Sampling, {}, **wrong)


def test_settings_change_the_defaults() -> None:
    assert settings(Sampling, {"steps": 4, "guidance": 3.0}, steps=None, guidance=0) == Sampling(steps=4, guidance=0)


def test_seeds_have_a_range() -> None:
    require_seeds(0)
    require_seeds(2**63 - 5, 5)
    for first, count in ((-1, 1), (2**63, 1), (2**63 - 4, 5)):
        with pytest.raises(VocalgenError, match="seeds"):
            require_seeds(first, count)
