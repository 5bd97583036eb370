"""Start a wide residual network from a narrow one, computing the same (Net2Net, arXiv 1511.05641, section 3.1)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from vocalgen.float32 import uniform
from vocalgen.models.classifier import ResidualBlock, ResidualClassifier

Copies = tuple[Tensor, Tensor]
"""For each wide channel: (the narrow channel it repeats, its share of what that channel passes on)."""


def widen(narrow: ResidualClassifier, wide: ResidualClassifier, generator: torch.Generator) -> None:
    """Load into `wide` the weights of `narrow`, channels repeated: in `eval` both give the same logits.

    The repeats of a channel pass on random shares of it that add up to one, so that their gradients differ and
    training makes different channels of them.

    Raises:
        ValueError: the networks differ in more than the channels of their stages, or a stage of `wide` is narrower.
    """
    small, large = narrow.config, wide.config
    for name in ("mel", "emotions", "embedding_dim", "depths", "scale"):
        if _listed(small[name]) != _listed(large[name]):
            raise ValueError(f"their {name} differ")
    heads = narrow.pool.heads
    copies = [_copies(few, many, heads, generator) for few, many in zip(small.widths, large.widths, strict=True)]
    with torch.no_grad():
        _conv(narrow.stem, wide.stem, None, copies[0])
        _norm(narrow.stem_norm, wide.stem_norm, copies[0][0])
        for number, (first, second) in enumerate(zip(narrow.stages, wide.stages, strict=True)):
            before, after = copies[max(number - 1, 0)], copies[number]
            for block, larger in zip(cast(nn.ModuleList, first), cast(nn.ModuleList, second), strict=True):
                _block(cast(ResidualBlock, block), cast(ResidualBlock, larger), before, after)
                before = after
        _head(narrow, wide, copies[-1])


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _copies(few: int, many: int, groups: int, generator: torch.Generator) -> Copies:
    """Repeat the channels of each group within the group: a head of the attention must see its own channels."""
    if many < few or few % groups or many % groups:
        raise ValueError(f"a stage of {few} channels cannot become one of {many} (both must be multiples of {groups})")
    own = torch.arange(many // groups) % (few // groups)
    source = (torch.arange(groups)[:, None] * (few // groups) + own).flatten()
    weight = 0.5 + uniform(many, generator=generator)
    return source, weight / torch.zeros(few).index_add_(0, source, weight)[source]


def _block(narrow: ResidualBlock, wide: ResidualBlock, before: Copies, after: Copies) -> None:
    _conv(narrow.first, wide.first, before, after)
    _norm(narrow.first_norm, wide.first_norm, after[0])
    _conv(narrow.second, wide.second, after, after)
    _norm(narrow.second_norm, wide.second_norm, after[0])
    if isinstance(narrow.shortcut, nn.Conv2d):
        _conv(narrow.shortcut, cast(nn.Conv2d, wide.shortcut), before, after)


def _conv(narrow: nn.Conv2d, wide: nn.Conv2d, before: Copies | None, after: Copies) -> None:
    weight = narrow.weight[after[0]]
    if before is not None:
        weight = weight[:, before[0]] * before[1][:, None, None]
    wide.weight.copy_(weight)


def _norm(narrow: nn.BatchNorm1d | nn.BatchNorm2d, wide: nn.BatchNorm1d | nn.BatchNorm2d, source: Tensor) -> None:
    for name, value in narrow.state_dict().items():
        wide.state_dict()[name].copy_(value[source] if value.ndim else value)


def _head(narrow: ResidualClassifier, wide: ResidualClassifier, last: Copies) -> None:
    source, share = last
    score, wider = cast(nn.Linear, narrow.pool.score[0]), cast(nn.Linear, wide.pool.score[0])
    twice = torch.cat([source, score.in_features + source])
    wider.weight.copy_(score.weight[:, source] * share)
    wider.bias.copy_(score.bias)
    wide.pool.score[2].load_state_dict(narrow.pool.score[2].state_dict())
    _norm(narrow.standardise, wide.standardise, twice)
    wide.project.weight.copy_(narrow.project.weight[:, twice] * share.repeat(2))
    wide.project.bias.copy_(narrow.project.bias)
    wide.head.load_state_dict(narrow.head.state_dict())
