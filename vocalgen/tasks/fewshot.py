"""The baseline of ExVo-FewShot: a network, adapted to each speaker by two labelled clips.

The baseline adapts its network to a speaker by one step on those two clips. Its published evaluation cannot be
reproduced, for what is written down are the predictions of the first support clip before adaptation under the name
of the last clip of each speaker; weights and optimiser are carried from speaker to speaker; batch normalisation
stays in training mode, so that clips depend on their company; of each speaker one clip is predicted; and no CCC is
computed. Here each speaker starts from the same weights and a new optimiser, batch normalisation is in evaluation
mode, and all clips are predicted. Scores leave the support clips out, as their labels are known; a saved system has
theirs in a file of their own, because the challenge does not tell whether it counted them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from vocalgen.errors import VocalgenError
from vocalgen.tasks.deep import DeepSystem, FittedDeep, make_deep
from vocalgen.tasks.system import Options, Rows, TaskData, describe_support
from vocalgen.tasks.task import Array, Task

LEARNING_RATE = 1e-4
"""Of the baseline's one step."""


@dataclass(frozen=True)
class AdaptedSystem:
    """The baseline: END2YOU, adapted to each speaker."""

    name: str
    inner: DeepSystem

    @property
    def settings(self) -> dict[str, Any]:
        """Those of the network."""
        return self.inner.settings

    @property
    def seeded(self) -> bool:
        """As the network."""
        return True

    def fit(self, data: TaskData, seed: int, folder: Path) -> FittedAdapted:
        """As `System.fit`."""
        return FittedAdapted(self.inner.fit(data, seed, folder), data)


@dataclass(frozen=True, eq=False)
class FittedAdapted:
    """A trained network that each speaker changes from the same state."""

    inner: FittedDeep
    data: TaskData

    def predict(self, rows: Rows) -> dict[str, Array]:
        """As `Fitted.predict`; speakers without support clips get the network as it is."""
        names = np.array(self.data.speakers)
        found = self.inner.predict(rows)
        for speaker in sorted({*names[rows]} & {*names[self.data.support]}):
            support = np.flatnonzero(self.data.support & (names == speaker))
            own = np.flatnonzero(names[rows] == speaker)
            for target, values in self._adapted(support, rows[own]).items():
                found[target][own] = values
        return found

    def save(self, folder: Path) -> None:
        """The network before adaptation: new clips are of speakers that nobody has enrolled."""
        self.inner.save(folder)
        describe_support(folder, self, self.data)

    def _adapted(self, support: NDArray[np.int64], rows: Rows) -> dict[str, Array]:
        """Predictions after one step of AdamW, of the LSTM and the layer behind it, on the support clips."""
        listener = self.inner.listener
        network = listener.network.eval()
        parts = (network.trunk.rnn, network.heads)
        parameters = [parameter for part in parts for parameter in part.parameters()]
        before = [parameter.detach().clone() for parameter in parameters]
        network.trunk.rnn.train()  # it has no dropout, and cuDNN learns in this mode only
        for parameter in parameters:
            parameter.requires_grad_(True)
        optimizer = torch.optim.AdamW(parameters, LEARNING_RATE)
        batch = listener.batch(listener.inputs([self.inner.wave(int(row)) for row in support]))
        predicted = network(*batch)
        losses = [
            F.mse_loss(predicted[name], torch.from_numpy(self.data.truth[name][support]).to(predicted[name]))
            for name in (target.name for target in self.data.task.targets)
        ]
        torch.stack(losses).sum().backward()
        optimizer.step()
        try:
            return self.inner.predict(rows)
        finally:
            for parameter, value in zip(parameters, before, strict=True):
                parameter.requires_grad_(False).copy_(value)
                parameter.grad = None


def make_fewshot(name: str, task: Task, options: Options) -> AdaptedSystem:
    """The baseline."""
    inner = make_deep(name, task, options)
    if inner.config.emo18 is None or inner.config.heads.hidden or inner.config.heads.squash:
        raise VocalgenError(f"{name}: the recipe must be of emo18, with heads.hidden 0 and heads.squash false")
    return AdaptedSystem(name, inner)
