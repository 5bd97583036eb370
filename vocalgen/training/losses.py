"""Losses of outputs whose labels may be missing, and how several are weighed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vocalgen.models.heads import Output

SPREAD = 1.0
"""Standard deviation, years, of the soft label of an age."""

TEMPERATURE = 10.0
"""Of the dynamic weights (arXiv 2206.11049, 2209.07384)."""

Weighing = Literal["equal", "uncertainty", "restrained"]


def known_labels(output: Output, truth: Tensor) -> Tensor:
    """(B, columns) or (B,) of truths: labels that are there."""
    return truth >= 0 if output.kind == "classes" else ~truth.isnan()


def loss_of(output: Output, raw: Tensor, truth: Tensor, ccc: float, mse: float) -> Tensor:
    """Loss of one output over the labels that are there; 0 with gradients of 0 where none is.

    Values: `ccc` times 1 - CCC plus `mse` times the squared error. Classes: cross-entropy. Years: cross-entropy against
    a normal distribution around the age, plus the absolute error of the expected value.

    Args:
        raw: (B, size) of `Heads`.
        truth: (B, columns), NaN where unknown; of classes (B,), -1 where unknown.
    """
    own = known_labels(output, truth)
    if output.kind == "classes":
        return F.cross_entropy(raw, truth.clamp(min=0), reduction="none").mul(own).sum() / own.sum().clamp(min=1)
    if output.kind == "years":
        return _years(output, raw, truth.nan_to_num(float(output.first)), own)
    squared = (raw - truth.nan_to_num()).square().mul(own).sum() / own.sum().clamp(min=1)
    return ccc * ccc_loss(raw, truth) + mse * squared


def ccc_loss(prediction: Tensor, truth: Tensor) -> Tensor:
    """1 - CCC of (B, K), mean over the columns that have labels; NaN labels do not count. See `metrics.prediction.ccc`.

    Moments are taken in float32, from deviations: in half precision their differences would vanish.
    """
    with torch.autocast(prediction.device.type, enabled=False):
        own = (~truth.isnan()).float()
        p, t = prediction.float() * own, truth.nan_to_num().float()
        count = own.sum(0).clamp(min=1)
        p_mean, t_mean = p.sum(0) / count, t.sum(0) / count
        p_off, t_off = (p - p_mean) * own, (t - t_mean) * own
        above = 2 * (p_off * t_off).sum(0) / count
        below = (p_off.square() + t_off.square()).sum(0) / count + (p_mean - t_mean).square()
        some = own.amax(0)
        return ((1 - above / (below + 1e-8)) * some).sum() / some.sum().clamp(min=1)


def _years(output: Output, raw: Tensor, age: Tensor, own: Tensor) -> Tensor:
    """Both parts for (B, years) logits and (B, 1) ages."""
    years = output.years(age)
    soft = (-0.5 * ((years - age) / SPREAD).square()).softmax(1)
    entropy = -(soft * raw.float().log_softmax(1)).sum(1, keepdim=True)
    error = (output.readout(raw.float()) - age).abs()
    return ((entropy + error) * own).sum() / own.sum().clamp(min=1)


class Weights(nn.Module):
    """The sum of several losses.

    - `equal`: plain.
    - `uncertainty`: sum of L / (2 exp(s)) + s / 2 with learnt s (arXiv 1705.07115), -0.33 at first, as in the baseline
      of ExVo-MultiTask.
    - `restrained`: dynamic restrained uncertainty of N losses (arXiv 2206.11049, as in 2209.07384):
      sum of (d + 1 / (N v^2)) L + log(1 + v^2), plus |1 - sum of |v||, with learnt v, 1 / N at first, and
      d = N softmax(L' / L'' / 10) of the losses L' and L'' one and two steps before, 1 until there are both.
    """

    def __init__(self, names: tuple[str, ...], kind: Weighing) -> None:
        super().__init__()
        self.names, self.kind = names, kind
        if kind == "uncertainty":
            self.s = nn.Parameter(torch.full((len(names),), -0.33))
        elif kind == "restrained":
            self.v = nn.Parameter(torch.full((len(names),), 1 / len(names)))

    def forward(self, losses: Mapping[str, Tensor], history: Tensor) -> Tensor:
        """Scalars by name, and the losses (2, N) one and two steps before, NaN where there were none -> scalar."""
        stacked = torch.stack([losses[name].float() for name in self.names])
        if self.kind == "equal":
            return stacked.sum()
        if self.kind == "uncertainty":
            return (stacked / (2 * self.s.exp()) + self.s / 2).sum()
        squared = self.v.square()
        weights = dynamic_weights(history) + 1 / (len(self.names) * squared)
        return (weights * stacked + (1 + squared).log()).sum() + (1 - self.v.abs().sum()).abs()


def dynamic_weights(history: Tensor) -> Tensor:
    """(2, N) losses one and two steps before -> (N,) weights that sum to N: larger where a loss falls slowly."""
    ratio = (history[0] / history[1].clamp(min=1e-6)).clamp(max=math.exp(3))  # a loss without labels is 0
    weights = history.shape[1] * (ratio / TEMPERATURE).softmax(0)
    return torch.where(history.isnan().any(), torch.ones_like(weights), weights)
