"""One training loop on Accelerate: step-indexed data, EMA, previews, atomic checkpoints, exact resume."""

from __future__ import annotations

import json
import logging
import platform
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset

from vocalgen import __version__
from vocalgen.atomic import atomic_path, atomic_write_text, sweep
from vocalgen.data import StepSampler, collate, step_seed
from vocalgen.errors import VocalgenError
from vocalgen.ownership import FolderKind, own_folder, remove, require_own_folder, require_replaceable
from vocalgen.training.record import Previews, Record

logger = logging.getLogger(__name__)


RUN, EXPORT = FolderKind("a training run"), FolderKind("an exported network")
RESUME_POINT = FolderKind("a resume point", cache=True)


@dataclass(frozen=True)
class LoopConfig:
    """How long and how carefully to train.

    Args:
        run: run folder.
        steps: optimiser steps in all.
        batch_size: clips a step over all processes.
        ema_decay: decay of the averaged weights, warmed up as min(decay, (1 + t) / (10 + t)).
        warmup: steps of linear learning-rate warm-up.
        cooldown: last steps over which the learning rate falls linearly to zero.
        grad_clip: largest gradient norm.
        log_every, preview_every, save_every: steps between log lines, pictures and sounds, resume points.
        keep: resume points kept.
        workers: data-loading processes.
    """

    run: str
    steps: int
    batch_size: int
    seed: int = 0
    ema_decay: float = 0.999
    warmup: int = 200
    cooldown: int = 0
    grad_clip: float = 1.0
    log_every: int = 50
    preview_every: int = 1000
    save_every: int = 500
    keep: int = 1
    workers: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "log_every", "preview_every", "save_every", "keep"):
            if getattr(self, name) < 1:
                raise VocalgenError(f"loop.{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("warmup", "cooldown", "workers", "seed"):
            if getattr(self, name) < 0:
                raise VocalgenError(f"loop.{name} is {getattr(self, name)}; it must not be negative")
        if not 0 <= self.ema_decay < 1:
            raise VocalgenError(f"loop.ema_decay is {self.ema_decay}; it must be in [0, 1)")
        if not self.grad_clip > 0:
            raise VocalgenError(f"loop.grad_clip is {self.grad_clip}; it must be positive")


class Objective(ABC):
    """What a model learns from: networks, optimisers, data and one step. Subclasses live in this package.

    The loop calls `step` with the batch; the step calls `self.update(name, loss)` once for each optimiser.
    """

    networks: dict[str, nn.Module]
    optimizers: dict[str, Optimizer]
    averaged: tuple[str, ...]
    """Names of the networks that get an exponential moving average."""
    dataset: Dataset[dict[str, Any]]
    indices: np.ndarray

    state: dict[str, Tensor] = {}
    """What else must outlast a stop; steps replace its values."""

    accelerator: Accelerator
    grad_clip: float
    ema: dict[str, AveragedModel]

    def training_data(self) -> Dataset[dict[str, Any]]:
        """What batches are drawn from; called once, when training begins."""
        return self.dataset

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
        norm = self.accelerator.clip_grad_norm_(parameters, self.grad_clip)
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


class Trainer:
    """Run an objective in a run folder; run it again to go on where it stopped."""

    def __init__(self, objective: Objective, config: LoopConfig, resolved: Any) -> None:
        self.objective, self.config = objective, config
        # Said outright, several processes on a CPU find each other however they were launched.
        self.accelerator = objective.accelerator = Accelerator(cpu=not torch.accelerator.is_available())
        self.run = Path(config.run)
        require_run_folder(self.run)
        objective.grad_clip = config.grad_clip
        for name, network in objective.networks.items():
            objective.networks[name] = self.accelerator.prepare_model(network)
        for name, optimizer in objective.optimizers.items():
            objective.optimizers[name] = self.accelerator.prepare_optimizer(optimizer)
        objective.ema = {
            name: AveragedModel(objective.plain(name), multi_avg_fn=_ema(config.ema_decay), use_buffers=True)
            for name in objective.averaged
        }
        self.base_rates = {
            name: [group["lr"] for group in optimizer.param_groups] for name, optimizer in objective.optimizers.items()
        }
        self.step = self._resume()
        if self.accelerator.is_main_process:
            own_folder(self.run, RUN)
            for folder in (self.run, self.run / "state", self.run / "samples"):
                sweep(folder)
            self._describe(resolved)

    def train(self) -> None:
        """Train to `config.steps`, then export.

        Raises:
            VocalgenError: a loss is not finite; the message names the step and the clips of the batch.
        """
        config, objective = self.config, self.objective
        sampler = StepSampler(
            objective.indices,
            config.batch_size,
            config.seed,
            self.step,
            config.steps,
            self.accelerator.process_index,
            self.accelerator.num_processes,
        )
        loader = DataLoader(
            objective.training_data(), batch_sampler=sampler, collate_fn=collate, num_workers=config.workers
        )
        record = Record(self.run, self.step) if self.accelerator.is_main_process else None
        window: list[dict[str, Tensor]] = []
        since = time.perf_counter()
        for network in objective.networks.values():
            network.train()
        for batch in loader:
            batch = {key: value.to(self.accelerator.device) for key, value in batch.items()}
            self._set_rates()
            torch.manual_seed(self._seed(1))
            generator = torch.Generator(self.accelerator.device).manual_seed(self._seed(0))
            try:
                logged = objective.step(batch, self.step, generator)
            except NonFiniteLoss as error:
                clips = ", ".join(objective.clip_ids(batch))
                raise VocalgenError(
                    f"stopped at step {self.step}: {error}; the batch held {clips}. "
                    f"Lower the learning rate or leave these clips out; repeat the command to go on from the last save"
                ) from error
            # A logged tensor that keeps its autograd graph would hold the activations of its step.
            window.append({name: torch.as_tensor(value).detach() for name, value in logged.items()})
            for name, average in objective.ema.items():
                average.update_parameters(objective.plain(name))
            self.step += 1
            if self.step % config.log_every == 0:
                rate = len(window) * config.batch_size / (time.perf_counter() - since)
                self._log(window, rate, record)
                window, since = [], time.perf_counter()
            if record is not None and self.step % config.preview_every == 0:
                with torch.no_grad():
                    record.previews(self.step, objective.preview(self.step))
            if self.step % config.save_every == 0 or self.step == config.steps:
                self._save()
        self._save()
        if record is not None:
            record.close()

    def _seed(self, stream: int) -> int:
        return step_seed(self.config.seed + 1 + stream, self.step * 4096 + self.accelerator.process_index)

    def _set_rates(self) -> None:
        config = self.config
        factor = min(1.0, (self.step + 1) / max(config.warmup, 1))
        if config.cooldown:
            factor = min(factor, (config.steps - self.step) / config.cooldown)
        for name, optimizer in self.objective.optimizers.items():
            for group, base in zip(optimizer.param_groups, self.base_rates[name], strict=True):
                group["lr"] = base * factor

    def _log(self, window: list[dict[str, Tensor]], rate: float, record: Record | None) -> None:
        means = {
            key: float(torch.stack([entry[key].float() for entry in window if key in entry]).mean())
            for key in dict.fromkeys(key for entry in window for key in entry)
        }
        if record is not None:
            record.scalars(self.step, {"clips_per_second": round(rate, 2), **means})
            for line in self.objective.alarms(means):
                logger.warning("step %d: %s", self.step, line)

    def _state_path(self, step: int) -> Path:
        return self.run / "state" / f"step-{step}"

    def _save(self) -> None:
        self.accelerator.wait_for_everyone()
        if not self.accelerator.is_main_process:
            return
        if not self._state_path(self.step).exists():
            self._save_state()
        with atomic_path(self.run / "export", kind=EXPORT) as folder:
            folder.mkdir()
            self.objective.export(folder)

    def _save_state(self) -> None:
        objective = self.objective
        state = {
            "step": self.step,
            "networks": {name: objective.plain(name).state_dict() for name in objective.networks},
            "ema": {name: average.state_dict() for name, average in objective.ema.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in objective.optimizers.items()},
            "objective": objective.state,
        }
        if self.accelerator.scaler is not None:  # float16
            state["scaler"] = self.accelerator.scaler.state_dict()
        with atomic_path(self._state_path(self.step), kind=RESUME_POINT) as folder:
            folder.mkdir()
            torch.save(state, folder / "state.pt")
        for old in self._saved()[: -self.config.keep]:
            remove(self._state_path(old))

    def _saved(self) -> list[int]:
        folders = self.run.glob("state/step-*")
        return sorted(int(folder.name.removeprefix("step-")) for folder in folders)

    def _resume(self) -> int:
        saved = self._saved()
        if not saved:
            return 0
        path = self._state_path(saved[-1]) / "state.pt"
        objective = self.objective
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for damaged files
            reason = " ".join(str(error).split())[:120]
            raise VocalgenError(
                f"{path} is damaged ({reason}); remove its folder to go on from an older one"
            ) from error
        try:
            for name in objective.networks:
                objective.plain(name).load_state_dict(state["networks"][name])
            for name, average in objective.ema.items():
                average.load_state_dict(state["ema"][name])
            for name, optimizer in objective.optimizers.items():
                optimizer.load_state_dict(state["optimizers"][name])
            objective.state = {name: state["objective"][name] for name in objective.state}
            if self.accelerator.scaler is not None and "scaler" in state:
                self.accelerator.scaler.load_state_dict(state["scaler"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise VocalgenError(
                f"{path} belongs to another model; choose a new `loop.run` folder ({str(error).splitlines()[0]})"
            ) from error
        logger.info("going on from step %d in %s", state["step"], self.run)
        return int(state["step"])

    def _describe(self, resolved: Any) -> None:
        atomic_write_text(self.run / "config.yaml", yaml.safe_dump(plain_values(resolved), sort_keys=False))
        atomic_write_text(self.run / "environment.json", json.dumps(environment(self.accelerator), indent=2))


def require_run_folder(run: str | Path) -> None:
    """Check that training may write into a run folder. Creates nothing.

    Raises:
        VocalgenError: it holds files of other origin, or somebody has changed the files that a run writes.
    """
    require_own_folder(run, RUN, "choose a new folder as loop.run")
    for name in ("config.yaml", "environment.json"):
        require_replaceable(Path(run) / name)
    require_replaceable(Path(run) / "export", kind=EXPORT)


def environment(accelerator: Accelerator) -> dict[str, Any]:
    """Versions and hardware, as written into a run folder."""
    return {
        "vocalgen": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": str(accelerator.device),
        "processes": accelerator.num_processes,
        "mixed_precision": accelerator.mixed_precision,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def plain_values(value: Any) -> Any:
    """Dataclasses and tuples as what YAML knows."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {key: plain_values(item) for key, item in value.items()}
    return [plain_values(item) for item in value] if isinstance(value, (list, tuple)) else value


def _ema(decay: float) -> Any:
    @torch.no_grad()
    def average(averaged: Any, current: Any, count: Any) -> None:
        if not averaged[0].is_floating_point():  # counters; tensors come grouped by type
            torch._foreach_copy_(list(averaged), list(current))
            return
        warm = min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(list(averaged), list(current), 1 - warm)

    return average
