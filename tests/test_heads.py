"""Heads of networks with several outputs: chains, what they are fed, and each output's view of the encoder."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_losses import CLASSES, VALUES, YEARS, random
from torch import Tensor

from vocalgen.models.heads import Chain, HeadOptions, Heads, Output, Pooling

OUTPUTS = (VALUES, CLASSES, Output("affect", "values", 2), YEARS)


def heads(**options: Any) -> Heads:
    torch.manual_seed(0)
    made = Heads(OUTPUTS, 6, HeadOptions(hidden=8, dropout=0.0, **options))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return made


def answers(made: Heads, **truth: Tensor) -> dict[str, Tensor]:
    features = {output.name: random(5, 6, seed=3) for output in OUTPUTS}
    labels = {"emotions": torch.full((5, 3), 0.5), "type": torch.zeros(5, dtype=torch.long),
              "affect": torch.full((5, 2), 0.5), "age": torch.full((5, 1), 30.0)}  # fmt: skip
    return made(features, labels | truth)


@pytest.mark.parametrize("within", ["none", "forward", "bidirectional"])
def test_earlier_levels_move_later_ones_and_never_the_other_way(within: Any) -> None:
    made = heads(levels=(("type",), ("affect",), ("emotions",)), within=within)
    plain = answers(made)
    changed = answers(made, affect=torch.full((5, 2), 0.9))
    assert torch.equal(plain["type"], changed["type"]) and torch.equal(plain["age"], changed["age"])
    assert (plain["emotions"] != changed["emotions"]).all()
    changed = answers(made, type=torch.ones(5, dtype=torch.long))
    assert torch.equal(plain["type"], changed["type"])
    assert (plain["affect"] != changed["affect"]).all() and (plain["emotions"] != changed["emotions"]).all()
    changed = answers(made, emotions=torch.full((5, 3), 0.9))
    assert all(torch.equal(plain[name], changed[name]) for name in ("type", "affect", "age"))


@pytest.mark.parametrize("reverse", [False, True])
def test_a_chain_sees_the_columns_before(reverse: bool) -> None:
    torch.manual_seed(0)
    chain = Chain(4, 5, squash=True, reverse=reverse)
    torch.nn.init.normal_(chain.links)
    x, truth = random(3, 4), torch.full((3, 5), 0.3)
    plain = chain(x, truth)
    for column in range(5):
        other = truth.clone()
        other[:, column] = 0.8
        moved = (chain(x, other) != plain).any(0).tolist()
        assert moved == [k < column if reverse else k > column for k in range(5)]
    expected = chain.linear(x)  # by the definition, column by column
    order = list(range(5))[:: -1 if reverse else 1]
    for place, column in enumerate(order):
        logit = expected[:, column] + sum(0.3 * chain.links[column, k] for k in range(place))
        torch.testing.assert_close(plain[:, column], torch.sigmoid(logit))


def test_what_is_fed() -> None:
    """Labels where they are known, in training alone; otherwise predictions, which carry gradients."""
    levels = (("affect", "type"), ("emotions",))
    made = heads(levels=levels)
    unknown = {"affect": torch.full((5, 2), torch.nan), "type": torch.full((5,), -1)}
    predicted = answers(made, **unknown)
    assert not torch.equal(answers(made)["emotions"], predicted["emotions"])
    features = {output.name: random(5, 6, seed=3) for output in OUTPUTS}
    torch.testing.assert_close(made(features)["emotions"], predicted["emotions"])
    always = heads(levels=levels, feed="prediction")
    torch.testing.assert_close(answers(always)["emotions"], predicted["emotions"])
    made.eval()
    in_use = made(features)
    assert all(torch.equal(value, in_use[name]) for name, value in answers(made).items())
    predicted["emotions"].sum().backward()
    assert made.readers["to_affect"].weight.grad.abs().sum() > 0
    assert answers(made)["type"].shape == (5, 4)


def test_levels_that_cannot_be() -> None:
    for levels, words in (((("awe",),), "awe is no output"), ((("type",), ("type",)), "twice"), ((("age",),), "years")):
        with pytest.raises(ValueError, match=words):
            heads(levels=levels)


def test_layers_are_mixed_for_each_output() -> None:
    pooling = Pooling(3, 8)
    states, mask = random(3, 2, 6, 8), torch.ones(2, 6, 1)
    mask[1, 4:] = 0
    assert pooling.mix is not None
    first = pooling(states, mask)
    assert torch.equal(first, pooling(states, mask))
    with torch.no_grad():
        pooling.mix.copy_(torch.tensor([0.0, 100.0, 0.0]))
    torch.testing.assert_close(pooling(states, mask), pooling.pool(F.layer_norm(states[1], (8,)), mask))
    states[:, 1, 4:] = 100.0  # beyond the second clip's end
    torch.testing.assert_close(pooling(states, mask)[1], pooling(states[:, 1:, :4], mask[1:, :4])[0])
