"""The systems by name, and how saved ones are loaded; modules are imported when they are needed."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vocalgen.errors import VocalgenError
from vocalgen.tasks.system import DESCRIPTION, Options, Recogniser, System
from vocalgen.tasks.task import TASKS, Task
from vocalgen.weights import read_json


@dataclass(frozen=True)
class Entry:
    """A system.

    Args:
        module: where it lives.
        make: function (name, Task, Options) -> System in it.
        help: one line.
        tasks: it is for; empty: for all.
    """

    module: str
    make: str
    help: str
    tasks: tuple[str, ...] = ()


FEATURES = "vocalgen.tasks.feature_systems"

SYSTEMS: Mapping[str, Entry] = {
    "mlp": Entry(FEATURES, "make_mlp", "the MLP of ExVo-MultiTask and A-VB on features of --encoder"),
    "svr": Entry(FEATURES, "make_svr", "linear support vector regression on features of --encoder", ("emotion-share",)),
    "lr": Entry(FEATURES, "make_lr", "logistic regression on features of --encoder"),
}
"""By name."""

LOADERS: Mapping[str, tuple[str, str]] = {
    "features": (FEATURES, "load_features"),
}
"""Of saved systems, by `system` in their description: module, function (folder, description, device) -> Recogniser."""


def make_system(name: str, task: Task, options: Options) -> System:
    """The system of a name for a task.

    Raises:
        VocalgenError: no such system, not for this task, or options that do not suit it.
    """
    if name not in SYSTEMS:
        raise VocalgenError(f"no system {name!r}; choose one of {', '.join(SYSTEMS)}")
    entry = SYSTEMS[name]
    if entry.tasks and task.name not in entry.tasks:
        able = ", ".join(key for key, value in SYSTEMS.items() if not value.tasks or task.name in value.tasks)
        raise VocalgenError(f"{name} is not for {task.name}, only for {', '.join(entry.tasks)}; choose one of {able}")
    made: System = getattr(importlib.import_module(entry.module), entry.make)(name, task, options)
    return made


def load_system(folder: str | Path, device: str = "cpu") -> Recogniser:
    """A system that the benchmark saved.

    Raises:
        VocalgenError: not such a folder, or damaged.
    """
    folder = Path(folder)
    description: dict[str, Any] = read_json(folder / DESCRIPTION)
    kind, task = str(description.get("system")), str(description.get("task"))
    if kind not in LOADERS or task not in TASKS:
        raise VocalgenError(f"{folder / DESCRIPTION}: a system {kind!r} for {task!r} is unknown here")
    module, function = LOADERS[kind]
    loaded: Recogniser = getattr(importlib.import_module(module), function)(folder, description, device)
    return loaded
