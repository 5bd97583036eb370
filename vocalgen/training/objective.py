"""Objectives: the networks, data and one step of a training, which `training.loop` repeats."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import Dataset

from vocalgen.data import StepSampler, WaveCache, collate
from vocalgen.training.loop_config import LoopConfig
from vocalgen.training.record import Previews


class Objective(ABC):
    """What a model learns from: networks, optimisers, data and one step. Subclasses live in this package.

    The loop calls `step` with the batch; the step calls `self.update(name, loss)` once for each optimiser.
    """

    networks: dict[str, nn.Module]
    optimizers: dict[str, Optimizer]
    averaged: tuple[str, ...]
    """Names of the networks that get an exponential moving average."""
    cache: WaveCache
    dataset: Dataset[dict[str, Any]]
    indices: np.ndarray
    """Training clips in `cache`."""

    state: dict[str, Tensor] = {}
    """What else must outlast a stop; steps replace its values."""

    collate: Callable[[list[dict[str, Any]]], dict[str, Tensor]] = staticmethod(collate)
    """Makes a batch of items; goes to the data-loading processes without the objective."""

    accelerator: Accelerator
    loop: LoopConfig
    ema: dict[str, AveragedModel]
    """Averages by name of the network; further ones of `loop.ema_decays` by `name@decay`."""

    def training_data(self) -> Dataset[dict[str, Any]]:
        """What batches are drawn from; called once, when training begins."""
        return self.dataset

    def batches(self, first_step: int) -> StepSampler:
        """Clips of each step from `first_step` on."""
        return StepSampler(
            self.indices,
            self.loop.batch_size,
            self.loop.seed,
            first_step,
            self.loop.steps,
            self.accelerator.process_index,
            self.accelerator.num_processes,
        )

    def earlier_averages(self) -> dict[str, tuple[dict[str, Tensor], int]]:
        """Averages that a new run goes on from: weights and steps so far, by their names in `ema`."""
        return {}

    def label_arrays(self) -> Sequence[np.ndarray]:
        """Labels of all clips in the cache that are learnt."""
        return [self.cache.intensities]

    @abstractmethod
    def step(self, batch: dict[str, Tensor], step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Learn from one batch; returns scalars to log."""

    @abstractmethod
    def forward_once(self) -> None:
        """One clip through the trained network, for counting FLOPs."""

    @abstractmethod
    def export(self, folder: Path) -> None:
        """Write the averaged model for use."""

    def preview(self, step: int) -> Previews:
        """Pictures and sounds of the averaged model."""
        return Previews({}, {}, 24_000)

    def alarms(self, means: dict[str, float]) -> list[str]:
        """Warnings about the means of the latest steps."""
        return []

    def clip_ids(self, batch: dict[str, Tensor]) -> list[str]:
        """Names of the batch's clips, for the message when a loss is not finite."""
        return [str(int(index)) for index in batch["index"]]

    def update(self, optimizer: str, loss: Tensor, *networks: str) -> Tensor:
        """Backward, clip and step one optimiser; returns the gradient norm of `networks`."""
        if not torch.isfinite(loss):
            raise NonFiniteLoss(f"{optimizer} loss", loss.item())
        self.optimizers[optimizer].zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        parameters = [p for name in networks for p in self.networks[name].parameters()]
        norm = self.accelerator.clip_grad_norm_(parameters, self.loop.grad_clip)
        if not torch.isfinite(norm) and self.accelerator.mixed_precision != "fp16":  # fp16's scaler skips such steps
            raise NonFiniteLoss(f"{optimizer} gradient norm", norm.item())
        self.optimizers[optimizer].step()
        return norm

    def average(self, network: str) -> Any:
        """The averaged network, ready for use."""
        return self.ema[network].module.eval()  # type: ignore[operator]

    def plain(self, network: str) -> Any:
        """A network without the wrappers of distributed or compiled training."""
        return self.accelerator.unwrap_model(self.networks[network], keep_torch_compile=False)


class NonFiniteLoss(Exception):
    """A loss or gradient became NaN or infinite."""

    def __init__(self, name: str, value: float) -> None:
        super().__init__(f"{name} is {value}")
