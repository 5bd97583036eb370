"""The multi-layer perceptron of the feature baselines of ExVo-MultiTask (arXiv 2205.01780) and A-VB (2207.03572).

A trunk 128-64 with layer normalisation and a head 64-32 a target. Unlike the official code the best epoch on
validation is kept, the seed is set before the network is made, and any improvement counts as one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from vocalgen.errors import VocalgenError
from vocalgen.progress import track
from vocalgen.tasks.scaling import Inputs, Scaling, standard
from vocalgen.tasks.system import Rows, TaskData, quality
from vocalgen.tasks.task import Array, Target

WIDTHS = (128, 64)
HEAD = 32
LOG_VARIANCE = -0.33
"""Where the log-variances of the uncertainty weights begin."""

CHUNK = 1024
"""Clips that are predicted together."""


@dataclass(frozen=True)
class MlpSettings:
    """How the perceptron learns; the defaults are those of A-VB's feature baselines.

    Args:
        learning_rate, weight_decay: of Adam.
        batch_size: clips a step.
        epochs: at most.
        patience: epochs without a better validation score after which it ends.
        balanced: weigh classes by the inverse of their number of training clips.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    batch_size: int = 8
    epochs: int = 25
    patience: int = 5
    balanced: bool = False

    def __post_init__(self) -> None:
        for name in ("learning_rate", "batch_size", "epochs", "patience"):
            if not getattr(self, name) > 0:
                raise VocalgenError(f"mlp: {name} is {getattr(self, name)}; it must be above 0")


class MultiTaskMlp(nn.Module):
    """Trunk and heads.

    Args:
        dim: of the features.
        targets: a head for each; values with a metric of agreement lie in (0, 1), ages are free.
    """

    def __init__(self, dim: int, targets: Sequence[Target]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((dim, *WIDTHS), WIDTHS):
            layers += [nn.Linear(before, after), nn.LayerNorm(after), nn.LeakyReLU()]
        self.trunk = nn.Sequential(*layers)
        self.heads = nn.ModuleDict(
            {
                f"of {target.name}": nn.Sequential(  # a bare name might be one of the class's own, such as `type`
                    nn.Linear(WIDTHS[-1], HEAD), nn.LeakyReLU(), nn.Linear(HEAD, len(target.columns))
                )
                for target in targets
            }
        )
        self.bounded = {target.name for target in targets if target.metric in ("CCC", "Spearman")}
        if len(targets) > 1:
            self.log_variances = nn.Parameter(torch.full((len(targets),), LOG_VARIANCE))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(B, dim) -> by target (B, columns): values, or logits of classes."""
        hidden = self.trunk(x)
        found = {name.removeprefix("of "): head(hidden) for name, head in self.heads.items()}
        return {name: value.sigmoid() if name in self.bounded else value for name, value in found.items()}


@dataclass(frozen=True)
class Mlp:
    """A trained network with the scaling of its features."""

    network: MultiTaskMlp
    scaling: Scaling
    targets: tuple[Target, ...]

    @torch.no_grad()
    def __call__(self, x: NDArray[np.float32]) -> dict[str, Array]:
        """(n, dim) features -> by target (n, columns) values or probabilities of classes."""
        device = next(self.network.parameters()).device
        found = self.network(torch.from_numpy(self.scaling(x)).to(device))
        for target in self.targets:
            if target.classes:
                found[target.name] = found[target.name].softmax(dim=1)
        return {name: value.double().cpu().numpy() for name, value in found.items()}

    @torch.no_grad()
    def hidden(self, x: NDArray[np.float32]) -> Array:
        """(n, dim) features -> (n, 64) what the heads see."""
        device = next(self.network.parameters()).device
        found: Array = self.network.trunk(torch.from_numpy(self.scaling(x)).to(device)).double().cpu().numpy()
        return found

    def tensors(self) -> dict[str, Array]:
        """All that `mlp_from` needs."""
        state = self.network.state_dict()
        return {**{f"network.{key}": value.cpu().numpy() for key, value in state.items()}, **self.scaling.tensors()}


def mlp_from(tensors: Mapping[str, Array], targets: tuple[Target, ...], device: str) -> Mlp:
    """The network of stored tensors.

    Raises:
        VocalgenError: they are of another network.
    """
    scaling = Scaling.of(tensors)
    network = MultiTaskMlp(len(scaling.shift), targets)
    state = {key.removeprefix("network."): torch.from_numpy(value.copy()) for key, value in tensors.items()}
    try:
        network.load_state_dict({key: value for key, value in state.items() if key not in ("shift", "scale")})
    except RuntimeError as error:
        raise VocalgenError(f"the weights belong to another network ({' '.join(str(error).split())[:160]})") from error
    return Mlp(network.eval().to(device), scaling, targets)


def loss_of(
    network: MultiTaskMlp,
    targets: Sequence[Target],
    truth: Mapping[str, Tensor],
    prediction: Mapping[str, Tensor],
    weights: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """The loss of a batch: mean squared errors summed over columns, cross-entropy of classes; () float.

    Several targets t are weighted by uncertainty (arXiv 1705.07115): the sum of L_t / (2 exp s_t) + s_t / 2. Missing
    labels, NaN or -1, are left out, and a target that is missing altogether.

    Args:
        weights: of classes, by target (columns,).
    """
    total = next(iter(prediction.values())).sum() * 0.0
    for place, target in enumerate(targets):
        single = _single(target, truth[target.name], prediction[target.name], (weights or {}).get(target.name))
        if single is None:
            continue
        if len(targets) > 1:
            s = network.log_variances[place]
            single = single / (2 * s.exp()) + s / 2
        total = total + single
    return total


def _single(target: Target, truth: Tensor, prediction: Tensor, weight: Tensor | None) -> Tensor | None:
    """Loss of a target; None without labels."""
    known = truth >= 0 if target.classes else truth.isfinite()
    if not known.any():
        return None
    if target.classes:
        return F.cross_entropy(prediction[known], truth[known], weight)
    squares = torch.where(known, prediction - truth.nan_to_num(), 0.0).square()
    return (squares.sum(dim=0) / known.sum(dim=0).clamp(min=1)).sum()


def class_weights(truth: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """(classes,) n / (K n_k) of K classes that occur n_k times in n labels; 0 for those that do not occur."""
    counts = np.bincount(truth[truth >= 0], minlength=classes)
    occurring = np.maximum(counts, 1) * max((counts > 0).sum(), 1)
    return np.where(counts > 0, counts.sum() / occurring, 0.0).astype(np.float32)


def train_mlp(data: TaskData, inputs: Inputs, seed: int, settings: MlpSettings, device: str = "cpu") -> Mlp:
    """Train on labelled training clips; the epoch with the best validation score is kept.

    Raises:
        VocalgenError: labels outside [0, 1] of a target that is predicted there, or a loss that is no number.
    """
    targets = data.task.targets
    train, validation = data.labelled("train"), data.labelled("validation")
    for target in targets:
        _require_range(data, target, train)
    scaling = standard(inputs, train)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = MultiTaskMlp(len(scaling.shift), targets).to(device)
    mlp = Mlp(network, scaling, targets)
    # Fused, as a step of eight clips is mostly Adam's.
    optimiser = torch.optim.Adam(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    weights = {
        target.name: torch.from_numpy(class_weights(data.truth[target.name][train], len(target.columns))).to(device)
        for target in targets
        if settings.balanced and target.classes
    }
    best, best_epoch, kept = -math.inf, 0, _copy(network)
    for epoch in track(range(settings.epochs), f"perceptron, seed {seed}", settings.epochs):
        order = np.random.default_rng((seed, epoch)).permutation(train)
        for start in range(0, len(order), settings.batch_size):
            rows = order[start : start + settings.batch_size]
            x = torch.from_numpy(scaling(inputs[rows])).to(device)
            truth = {target.name: _tensor(data.truth[target.name][rows]).to(device) for target in targets}
            loss = loss_of(network, targets, truth, network(x), weights)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        if not torch.isfinite(loss):
            raise VocalgenError(f"mlp, seed {seed}: the loss is {loss.item()} after epoch {epoch + 1}; lower the rate")
        score = quality(data, validation, predicted(mlp, inputs, validation))
        if score > best or epoch == 0:
            best, best_epoch, kept = score, epoch, _copy(network)
        elif epoch - best_epoch >= settings.patience:
            break
    network.load_state_dict(kept)
    network.eval()
    return mlp


class Model(Protocol):
    """What maps features to predictions."""

    def __call__(self, x: NDArray[np.float32]) -> dict[str, Array]: ...


def predicted(model: Model, inputs: Inputs, rows: Rows) -> dict[str, Array]:
    """Predictions of clips, by target (rows, columns)."""
    parts = [model(inputs[rows[start : start + CHUNK]]) for start in range(0, max(len(rows), 1), CHUNK)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items()}


def _tensor(values: Array) -> Tensor:
    return torch.from_numpy(values.astype(np.float32 if values.ndim == 2 else np.int64))


def _require_range(data: TaskData, target: Target, rows: Rows) -> None:
    values = data.truth[target.name][rows]
    if target.metric in ("CCC", "Spearman") and (np.nanmin(values) < 0 or np.nanmax(values) > 1):
        raise VocalgenError(
            f"{data.manifest}: labels of {target.name} reach from {np.nanmin(values):g} to {np.nanmax(values):g}; the "
            f"perceptron predicts values in [0, 1]; rescale them"
        )
