"""Heads of a network with several outputs: values, classes, years of age; chains in which labels see earlier ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vocalgen.models.classifier import AttentiveStatistics

Truth = Mapping[str, Tensor]
"""By output: (B, size) float, NaN where unknown, of `values`; (B,) int, -1 where unknown, of `classes`."""


@dataclass(frozen=True)
class Output:
    """Something that is predicted.

    Args:
        name: of what.
        kind: `values`; one of several `classes`; a number of `years`, as a distribution over whole ones.
        size: number of values, classes or years.
        first: the first of the years.
    """

    name: str
    kind: Literal["values", "classes", "years"]
    size: int
    first: int = 0

    def readout(self, raw: Tensor) -> Tensor:
        """What `Heads` give (B, size) -> values, probabilities of classes, or the expected number of years (B, 1)."""
        if self.kind == "values":
            return raw
        if self.kind == "classes":
            return raw.softmax(1)
        return (raw.softmax(1) * self.years(raw)).sum(1, keepdim=True)

    def years(self, like: Tensor) -> Tensor:
        """(size,) the years themselves."""
        return torch.arange(self.first, self.first + self.size, dtype=like.dtype, device=like.device)


@dataclass(frozen=True)
class HeadOptions:
    """What lies between a clip's features and its outputs.

    Args:
        hidden: units of each output's own hidden layer, batch-normalised before it; 0: none.
        dropout: behind it.
        squash: whether values are kept in (0, 1) by a sigmoid.
        levels: names of outputs in order of difficulty; those of a level see all of the levels before it
            (HCCL, arXiv 2303.08027; EIHW, 2209.07384). What no level names sees and shows nothing.
        within: whether the values of one output see those before them, in the order of their columns (SaruLab,
            2206.10695), or in it and its reverse, mixed by learnt weights (HCCL). First as if there were no chain.
        feed: what is seen in training: labels, predictions where these are unknown; or predictions always, as in use.
    """

    hidden: int = 128
    dropout: float = 0.2
    squash: bool = True
    levels: tuple[tuple[str, ...], ...] = ()
    within: Literal["none", "forward", "bidirectional"] = "none"
    feed: Literal["truth", "prediction"] = "truth"


class Pooling(nn.Module):
    """One output's view of an encoder: a softmax-weighted mix of its normalised layers, attentive statistics of it."""

    def __init__(self, layers: int, dim: int) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.zeros(layers)) if layers > 1 else None
        self.pool = AttentiveStatistics(dim)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """(layers, B, L, dim) and (B, L, 1) of ones and zeros -> (B, 2 * dim)."""
        if self.mix is None:
            return self.pool(states[0], mask)
        # The scale of layers grows with depth; normalised, the weights alone say how much each counts.
        normal = F.layer_norm(states, states.shape[-1:])
        return self.pool(torch.tensordot(self.mix.softmax(0).to(normal.dtype), normal, 1), mask)


class Chain(nn.Module):
    """Linear heads, each of which also sees the values before it; in reverse order those behind it."""

    def __init__(self, dim: int, size: int, squash: bool, reverse: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, size)
        self.links = nn.Parameter(torch.zeros(size, size))
        self.squash, self.reverse = squash, reverse

    def forward(self, x: Tensor, truth: Tensor | None) -> Tensor:
        """(B, dim) and known values (B, size), NaN where they are not -> predictions (B, size)."""
        logits = self.linear(x)
        columns = range(logits.shape[1])
        seen: list[Tensor] = []
        found: dict[int, Tensor] = {}
        for column in reversed(columns) if self.reverse else columns:
            logit = logits[:, column]
            if seen:
                logit = logit + torch.stack(seen, 1) @ self.links[column, : len(seen)]
            found[column] = logit.sigmoid() if self.squash else logit
            seen.append(_known(found[column], None if truth is None else truth[:, column]))
        return torch.stack([found[column] for column in columns], 1)


class BidirectionalChain(nn.Module):
    """Two chains in opposite orders; each column has learnt weights of both."""

    def __init__(self, dim: int, size: int, squash: bool) -> None:
        super().__init__()
        self.chains = nn.ModuleList(Chain(dim, size, squash, reverse) for reverse in (False, True))
        self.mix = nn.Parameter(torch.zeros(2, size))

    def forward(self, x: Tensor, truth: Tensor | None) -> Tensor:
        """As `Chain`."""
        both = torch.stack([chain(x, truth) for chain in self.chains])
        return (self.mix.softmax(0)[:, None] * both).sum(0)


class Heads(nn.Module):
    """From features of a clip to all outputs.

    Args:
        outputs: what is predicted.
        dim: of the features.

    Raises:
        ValueError: a level names what is no output, one twice, or years.
    """

    def __init__(self, outputs: tuple[Output, ...], dim: int, options: HeadOptions) -> None:
        super().__init__()
        self.outputs, self.options = {output.name: output for output in outputs}, options
        self.sees = _order(self.outputs, options.levels)
        self.hidden, self.readers = nn.ModuleDict(), nn.ModuleDict()
        for name, sees in self.sees.items():
            self.hidden[f"to_{name}"] = _hidden(dim, options)
            width = (options.hidden or dim) + sum(self.outputs[other].size for other in sees)
            self.readers[f"to_{name}"] = _reader(self.outputs[name], width, options)

    def forward(self, features: Mapping[str, Tensor], truth: Truth | None = None) -> dict[str, Tensor]:
        """Features (B, dim) by output -> (B, size): values, logits of classes, logits of years.

        Labels are looked at in training with `feed: truth` only, and by none but the outputs and columns behind them.
        """
        labels = truth if truth is not None and self.training and self.options.feed == "truth" else {}
        raw: dict[str, Tensor] = {}
        shown: dict[str, Tensor] = {}
        for name, sees in self.sees.items():
            output, known = self.outputs[name], labels.get(name)
            x = torch.cat([self.hidden[f"to_{name}"](features[name]), *(shown[other] for other in sees)], dim=1)
            reader = self.readers[f"to_{name}"]
            if output.kind != "values":
                raw[name] = reader(x)
            elif isinstance(reader, nn.Linear):
                raw[name] = reader(x).sigmoid() if self.options.squash else reader(x)
            else:
                raw[name] = reader(x, known)
            if output.kind != "years":
                shown[name] = _shown(output, raw[name], known)
        return raw


def _order(outputs: Mapping[str, Output], levels: tuple[tuple[str, ...], ...]) -> dict[str, tuple[str, ...]]:
    """By output, in the order of computation: the outputs it sees."""
    named = [name for level in levels for name in level]
    for name in named:
        if name not in outputs or named.count(name) > 1:
            raise ValueError(f"levels: {name} is no output, or stands there twice; there are {', '.join(outputs)}")
        if outputs[name].kind == "years":
            raise ValueError(f"levels: {name} is a number of years, which other outputs cannot see; leave it out")
    sees: dict[str, tuple[str, ...]] = {name: () for name in outputs if name not in named}
    before: tuple[str, ...] = ()
    for level in levels:
        sees |= dict.fromkeys(level, before)
        before += level
    return sees


def _hidden(dim: int, options: HeadOptions) -> nn.Module:
    if not options.hidden:
        return nn.Identity()
    layer = nn.Linear(dim, options.hidden)
    return nn.Sequential(nn.BatchNorm1d(dim), layer, nn.SiLU(), nn.Dropout(options.dropout))


def _reader(output: Output, width: int, options: HeadOptions) -> nn.Module:
    if output.kind != "values" or options.within == "none":
        return nn.Linear(width, output.size)
    if options.within == "forward":
        return Chain(width, output.size, options.squash)
    return BidirectionalChain(width, output.size, options.squash)


def _shown(output: Output, raw: Tensor, truth: Tensor | None) -> Tensor:
    """(B, size) what other outputs see: labels where they are known, else predictions."""
    if output.kind == "values":
        return _known(raw, truth)
    probabilities = raw.softmax(1)
    if truth is None:
        return probabilities
    exact = F.one_hot(truth.clamp(min=0), output.size).to(raw.dtype)
    return torch.where((truth >= 0)[:, None], exact, probabilities)


def _known(prediction: Tensor, truth: Tensor | None) -> Tensor:
    return prediction if truth is None else torch.where(truth.isnan(), prediction, truth)
