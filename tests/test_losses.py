"""Losses of several outputs: missing labels masked, weighed as published."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vocalgen.metrics.prediction import ccc
from vocalgen.models.heads import Output
from vocalgen.training.losses import Weights, ccc_loss, dynamic_weights, loss_of

VALUES, CLASSES, YEARS = Output("emotions", "values", 3), Output("type", "classes", 4), Output("age", "years", 30, 18)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_the_ccc_loss_is_one_minus_the_metric(offset: float) -> None:
    """Also far from zero, where moments of raw values would lose all digits, and where labels are missing."""
    prediction, truth = random(40, 3) + offset, random(40, 3, seed=1) * 0.5 + offset
    truth[:20, 0] = torch.nan
    truth[:, 2] = torch.nan
    expected = [1 - ccc(truth[20:, 0], prediction[20:, 0]), 1 - ccc(truth[:, 1], prediction[:, 1])]
    assert float(ccc_loss(prediction, truth)) == pytest.approx(np.mean(expected), abs=2e-4 if offset else 1e-6)
    assert float(ccc_loss(truth[:, :2].nan_to_num(), truth[:, :2])) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("output", [VALUES, CLASSES, YEARS], ids=lambda output: output.kind)
def test_a_clip_without_a_label_teaches_nothing(output: Output) -> None:
    raw = random(4, output.size).requires_grad_(True)
    truth = {
        "values": torch.tensor([[0.1, 0.2, 0.9], [torch.nan] * 3, [0.5, torch.nan, 0.3], [0.7, 0.4, 0.2]]),
        "classes": torch.tensor([1, -1, 0, 3]),
        "years": torch.tensor([[25.0], [torch.nan], [31.5], [20.0]]),
    }[output.kind]
    loss_of(output, raw, truth, 1.0, 0.5).backward()
    assert raw.grad is not None and torch.isfinite(raw.grad).all()
    assert (raw.grad[1] == 0).all() and (raw.grad[[0, 2, 3]].abs().sum(1) > 0).all()
    if output.kind == "values":
        assert raw.grad[2, 1] == 0 and raw.grad[2, 0] != 0
    without = loss_of(output, raw.detach()[[0, 2, 3]], truth[[0, 2, 3]], 1.0, 0.5)
    assert float(loss_of(output, raw.detach(), truth, 1.0, 0.5)) == pytest.approx(float(without), rel=1e-6)


@pytest.mark.parametrize("output", [VALUES, CLASSES, YEARS], ids=lambda output: output.kind)
def test_a_batch_without_any_label_is_no_loss(output: Output) -> None:
    raw = random(4, output.size).requires_grad_(True)
    truth = torch.full((4,), -1) if output.kind == "classes" else torch.full((4, output.size), torch.nan)
    loss = loss_of(output, raw, truth[:, :1] if output.kind == "years" else truth, 1.0, 0.5)
    loss.backward()
    assert float(loss.detach()) == 0 and raw.grad is not None and not raw.grad.any()


def test_values_and_classes_have_the_losses_of_their_names() -> None:
    raw, truth = random(5, 3), random(5, 3, seed=1)
    assert float(loss_of(VALUES, raw, truth, 0.0, 1.0)) == pytest.approx(float(F.mse_loss(raw, truth)))
    both = float(ccc_loss(raw, truth)) + 0.5 * float(F.mse_loss(raw, truth))
    assert float(loss_of(VALUES, raw, truth, 1.0, 0.5)) == pytest.approx(both)
    logits, classes = random(5, 4), torch.tensor([0, 1, 2, 3, 0])
    assert float(loss_of(CLASSES, logits, classes, 1.0, 1.0)) == pytest.approx(float(F.cross_entropy(logits, classes)))


def test_age_is_the_expected_year() -> None:
    logits = torch.full((2, 30), -1e9)
    logits[0, 7] = 0.0  # 25 years
    logits[1, [2, 12]] = torch.tensor([0.0, np.log(3.0)], dtype=torch.float32)  # a quarter 20, the rest 30
    torch.testing.assert_close(YEARS.readout(logits), torch.tensor([[25.0], [27.5]]))
    near, far = (loss_of(YEARS, logits[:1].clamp(min=-20), torch.tensor([[age]]), 1.0, 1.0) for age in (25.0, 28.0))
    assert far > near + 3  # the absolute error, and a distribution that is off
    raw = torch.zeros(1, 30, requires_grad=True)
    for _ in range(200):
        raw = (raw - torch.autograd.grad(loss_of(YEARS, raw, torch.tensor([[33.4]]), 1.0, 1.0), raw)[0]).detach()
        raw.requires_grad_(True)
    assert float(YEARS.readout(raw.detach())) == pytest.approx(33.4, abs=0.3)


def test_weights_of_losses_follow_the_published_formulas() -> None:
    losses, none = {"a": torch.tensor(2.0), "b": torch.tensor(0.5)}, torch.full((2, 2), torch.nan)
    assert float(Weights(("a", "b"), "equal")(losses, none)) == 2.5
    uncertainty = Weights(("a", "b"), "uncertainty")
    expected = sum(loss / (2 * np.exp(-0.33)) - 0.33 / 2 for loss in (2.0, 0.5))
    assert float(uncertainty(losses, none).detach()) == pytest.approx(expected, rel=1e-6)
    uncertainty(losses, none).backward()
    np.testing.assert_allclose(uncertainty.s.grad, [0.5 - loss / (2 * np.exp(-0.33)) for loss in (2.0, 0.5)], rtol=1e-5)
    restrained = Weights(("a", "b"), "restrained")
    with torch.no_grad():
        restrained.v.copy_(torch.tensor([0.8, -0.6]))
    expected = sum((1 + 1 / (2 * v**2)) * loss + np.log(1 + v**2) for v, loss in ((0.8, 2.0), (-0.6, 0.5)))
    assert float(restrained(losses, none).detach()) == pytest.approx(expected + abs(1 - 1.4), rel=1e-6)


def test_dynamic_weights_favour_what_falls_slowly() -> None:
    found = dynamic_weights(torch.tensor([[1.0, 1.0], [2.0, 1.0]])).numpy()
    expected = 2 * np.exp([0.05, 0.1]) / np.exp([0.05, 0.1]).sum()
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found[1] > found[0]
    assert dynamic_weights(torch.tensor([[0.0, 1.0], [0.0, 1.0]])).isfinite().all()
