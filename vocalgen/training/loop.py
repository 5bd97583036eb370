"""One training loop on Accelerate: step-indexed data, EMA, previews, atomic checkpoints, exact resume."""

from __future__ import annotations

import json
import logging
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import Accelerator
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset

from vocalgen import __version__
from vocalgen.atomic import atomic_path, atomic_write_text, is_full_disk, sweep
from vocalgen.corpora.parallel import loader_context
from vocalgen.data import StepSampler, step_seed
from vocalgen.errors import NoSpaceLeft, VocalgenError
from vocalgen.float32 import float32_default
from vocalgen.ownership import own_folder
from vocalgen.training.launch import require_plain_launch
from vocalgen.training.loop_config import LoopConfig
from vocalgen.training.objective import NonFiniteLoss, Objective
from vocalgen.training.record import Record
from vocalgen.training.resume import (
    CONFIG,
    EXPORT,
    EXPORTED,
    RUN,
    STATE,
    ResumePoints,
    alone,
    dependencies,
    require_idle,
    require_run_folder,
    tell_changes,
)

logger = logging.getLogger(__name__)


class Trainer:
    """Run an objective in a run folder; run it again to go on where it stopped.

    Raises:
        VocalgenError: the newest resume point is damaged, belongs to another model, or is missing where there must
            have been one; another process trains in the folder; the launch asks for what the loop does not do.
    """

    @float32_default()
    def __init__(self, objective: Objective, config: LoopConfig, resolved: Any) -> None:
        self.objective, self.config, self.settings = objective, config, plain_values(resolved)
        # Said outright, several processes on a CPU find each other however they were launched.
        self.accelerator = objective.accelerator = Accelerator(cpu=not torch.accelerator.is_available())
        require_plain_launch(self.accelerator)
        _require_float32(objective)
        self.run = Path(config.run)
        require_run_folder(self.run)
        self.points = ResumePoints(self.run, config.keep)
        if self.accelerator.is_main_process:
            require_idle(self.run)
        objective.loop = config
        for name, network in objective.networks.items():
            objective.networks[name] = self.accelerator.prepare_model(network)
        for name, optimizer in objective.optimizers.items():
            objective.optimizers[name] = self.accelerator.prepare_optimizer(optimizer)
        objective.ema = {
            key: AveragedModel(objective.plain(name), multi_avg_fn=_ema(decay), use_buffers=True)
            for name in objective.averaged
            for key, decay in _averages(name, config).items()
        }
        self.options = {
            name: [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
            for name, optimizer in objective.optimizers.items()
        }
        self.step = self._resume()

    @float32_default()
    def train(self) -> None:
        """Train to `config.steps`, then export.

        Raises:
            NoSpaceLeft: the disk is full; the message names the last step that is safe.
            VocalgenError: a loss is not finite, and the message names the step and the clips of the batch; another
                process trains in the run folder.
        """
        data = self.objective.training_data()
        self._batches()  # refuses impossible batches before the run folder is made
        with alone(self.run) if self.accelerator.is_main_process else nullcontext(), self._full_disk_told():
            if self.points.newest() > self.step:  # another process has trained here in the meantime
                self.step = self._resume()
            if self.step > self.config.steps:
                logger.warning(
                    "loop.steps is %d, but %s is at step %d; nothing is trained", self.config.steps, self.run, self.step
                )
            record = None
            if self.accelerator.is_main_process:
                own_folder(self.run, RUN)
                for folder in (self.run, self.run / STATE, self.run / "samples"):
                    sweep(folder)
                self._describe()
                record = Record(self.run, self.step)
            self._train(data, record)
            self._save()
            if record is not None:
                record.close()

    def _batches(self) -> StepSampler:
        return self.objective.batches(min(self.step, self.config.steps))

    def _train(self, data: Dataset[dict[str, Any]], record: Record | None) -> None:
        config, objective = self.config, self.objective
        loader = DataLoader(
            data,
            batch_sampler=self._batches(),
            collate_fn=objective.collate,
            num_workers=config.workers,
            multiprocessing_context=loader_context() if config.workers else None,
        )
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
            logged = {name: torch.as_tensor(value).detach() for name, value in logged.items()}
            window.append(logged)
            for key, average in objective.ema.items():
                average.update_parameters(objective.plain(key.partition("@")[0]))
            self.step += 1
            if self.step % config.log_every == 0:
                rate = len(window) * config.batch_size / (time.perf_counter() - since)
                self._log(window, rate, record)
                window, since = [], time.perf_counter()
            if record is not None and self.step % config.preview_every == 0:
                with torch.no_grad(), self._foreign_files_kept():
                    record.previews(self.step, objective.preview(self.step))
            if self.step % config.save_every == 0 or self.step == config.steps:
                self._save()

    @contextmanager
    def _foreign_files_kept(self) -> Iterator[None]:
        """Let training go on where files of the user's have come into the way since it began; the end is told."""
        try:
            yield
        except NoSpaceLeft:
            raise
        except VocalgenError as error:
            if self.step == self.config.steps:
                raise
            logger.warning("step %d: %s", self.step, error)

    @contextmanager
    def _full_disk_told(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # libraries may have wrapped it in their own
            if not is_full_disk(error):
                raise
            safe = self.points.newest()
            last = f"step {safe} is the last safe one ({self.points.folder(safe)})" if safe else "no step is safe yet"
            raise NoSpaceLeft(
                f"no space left on device for {self.run} at step {self.step}: {last}; free some space and repeat the "
                f"command to go on"
            ) from error

    def _seed(self, stream: int) -> int:
        return step_seed(self.config.seed + 1 + stream, self.step * 4096 + self.accelerator.process_index)

    def _set_rates(self) -> None:
        config = self.config
        factor = min(1.0, (self.step + 1) / max(config.warmup, 1))
        if config.cooldown:
            factor = min(factor, (config.steps - self.step) / config.cooldown)
        for name, optimizer in self.objective.optimizers.items():
            for group, options in zip(optimizer.param_groups, self.options[name], strict=True):
                group["lr"] = options["lr"] * factor

    def _log(self, window: list[dict[str, Tensor]], rate: float, record: Record | None) -> None:
        means = {
            key: float(torch.stack([entry[key].float() for entry in window if key in entry]).mean())
            for key in dict.fromkeys(key for entry in window for key in entry)
        }
        if record is not None:
            record.scalars(self.step, {"clips_per_second": round(rate, 2), **means})
            for line in self.objective.alarms(means):
                logger.warning("step %d: %s", self.step, line)

    def _save(self) -> None:
        self.accelerator.wait_for_everyone()
        if not self.accelerator.is_main_process:
            return
        if not self.points.folder(self.step).exists():
            self._save_state()
        with self._foreign_files_kept(), atomic_path(self.run / EXPORT, kind=EXPORTED) as folder:
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
            "dependencies": self.dependencies,
        }
        if self.accelerator.scaler is not None:  # float16
            state["scaler"] = self.accelerator.scaler.state_dict()
        self.points.save(self.step, state)

    @cached_property
    def dependencies(self) -> dict[str, Any]:
        """See `resume.dependencies`."""
        accelerator = self.accelerator
        launch = {"processes": accelerator.num_processes, "mixed precision": accelerator.mixed_precision}
        return dependencies(self.objective, self.settings, launch)

    def _resume(self) -> int:
        saved = self.points.load()
        if saved is None:
            if self.accelerator.is_main_process:
                self.points.require_beginning(self.config.save_every)
            for key, (weights, steps) in self.objective.earlier_averages().items():
                self.objective.ema[key].module.load_state_dict(weights)
                self.objective.ema[key].n_averaged.fill_(steps)
            return 0
        path, state = saved
        objective = self.objective
        try:
            for name in objective.networks:
                objective.plain(name).load_state_dict(state["networks"][name])
            for name, average in objective.ema.items():
                average.load_state_dict(state["ema"][name])
            for name, optimizer in objective.optimizers.items():
                optimizer.load_state_dict(state["optimizers"][name])
                # Saved moments go on; options such as the weight decay are those of the configuration.
                for group, options in zip(optimizer.param_groups, self.options[name], strict=True):
                    group.update(options)
            objective.state = {name: state["objective"][name] for name in objective.state}
            if self.accelerator.scaler is not None and "scaler" in state:
                self.accelerator.scaler.load_state_dict(state["scaler"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise VocalgenError(
                f"{path} belongs to another model; choose a new `loop.run` folder ({str(error).splitlines()[0]})"
            ) from error
        logger.info("going on from step %d in %s", state["step"], self.run)
        if self.accelerator.is_main_process:
            tell_changes(state["step"], state.get("dependencies", {}), self.dependencies)
        return int(state["step"])

    def _describe(self) -> None:
        atomic_write_text(self.run / CONFIG, yaml.safe_dump(self.settings, sort_keys=False))
        atomic_write_text(self.run / "environment.json", json.dumps(environment(self.accelerator), indent=2))


def _require_float32(objective: Objective) -> None:
    """Check that the networks are float32; mixed precision casts where it is safe.

    Raises:
        VocalgenError: they were made while torch had another default type.
    """
    for name, network in objective.networks.items():
        other = next((p.dtype for p in network.parameters() if p.dtype != torch.float32), None)
        if other is not None:
            raise VocalgenError(
                f"network {name} is {other}, but training needs float32 weights; call "
                f"torch.set_default_dtype(torch.float32) before the objective is made"
            )


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


def _averages(network: str, config: LoopConfig) -> dict[str, float]:
    """Decays of a network's averages by their names in `Objective.ema`."""
    return {network: config.ema_decay} | {f"{network}@{decay:g}": decay for decay in config.ema_decays}


def _ema(decay: float) -> Any:
    @torch.no_grad()
    def average(averaged: Any, current: Any, count: Any) -> None:
        if not averaged[0].is_floating_point():  # counters; tensors come grouped by type
            torch._foreach_copy_(list(averaged), list(current))
            return
        warm = min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(list(averaged), list(current), 1 - warm)

    return average
