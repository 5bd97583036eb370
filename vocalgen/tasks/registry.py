"""The systems by name, and how saved ones are loaded; modules are imported when they are needed."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
        encoders: whose features it takes if none are given.
    """

    module: str
    make: str
    help: str
    tasks: tuple[str, ...] = ()
    encoders: tuple[str, ...] = ()


FEATURES = "vocalgen.tasks.feature_systems"

FUSION = "vocalgen.tasks.fusion"

DEEP, FEWSHOT = "vocalgen.tasks.deep", "vocalgen.tasks.fewshot"

ENROLMENT = "vocalgen.tasks.enrolment"

OF_VALUES = ("emotion-share", "exvo-fewshot", "avb-high", "avb-two", "avb-culture")
OF_CLASSES = ("avb-type", "sonata", "emogator")

W2V2_EMOTION = "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim"
"""Encoder of the Emotion Share baseline; its licence is CC BY-NC-SA."""
W2V2, HUBERT = "facebook/wav2vec2-base-960h", "facebook/hubert-base-ls960"
"""Encoders of the MODULATE-SONATA baselines, as far as "default parameters" tells."""

SYSTEMS: Mapping[str, Entry] = {
    "mlp": Entry(FEATURES, "make_mlp", "perceptron of ExVo-MultiTask and A-VB on features of --encoder"),
    "svr": Entry(FEATURES, "make_svr", "support vector regression on features of --encoder", OF_VALUES),
    "lr": Entry(FEATURES, "make_lr", "logistic regression on features of --encoder", OF_CLASSES),
    "compare-mlp": Entry(FEATURES, "make_mlp", "mlp on ComParE_2016", (), ("ComParE_2016",)),
    "egemaps-mlp": Entry(FEATURES, "make_mlp", "mlp on eGeMAPSv02", (), ("eGeMAPSv02",)),
    "compare-svr": Entry(FEATURES, "make_svr", "svr on ComParE_2016", OF_VALUES, ("ComParE_2016",)),
    "wav2vec2-svr": Entry(FEATURES, "make_svr", "svr on wav2vec 2.0 tuned to emotion", OF_VALUES, (W2V2_EMOTION,)),
    "wav2vec2-lr": Entry(FEATURES, "make_lr", "lr on wav2vec 2.0", OF_CLASSES, (W2V2,)),
    "hubert-lr": Entry(FEATURES, "make_lr", "lr on HuBERT", OF_CLASSES, (HUBERT,)),
    "early-fusion-lr": Entry(FEATURES, "make_lr", "lr on wav2vec 2.0 and HuBERT", OF_CLASSES, (W2V2, HUBERT)),
    "end2you": Entry(DEEP, "make_deep", "Emo18 and LSTM on raw audio, end to end"),
    "mobilenet": Entry(DEEP, "make_deep", "MobileNetV3 on log-mels, all targets of the corpus at once"),
    "residual": Entry(DEEP, "make_deep", "residual network on log-mels, all targets of the corpus at once"),
    "ssl": Entry(DEEP, "make_deep", "speech encoder (--encoder FOLDER), all targets of the corpus at once"),
    "fewshot": Entry(FEWSHOT, "make_fewshot", "end2you, adapted to each speaker by one step", ("exvo-fewshot",)),
    "end2you-enrolled": Entry(ENROLMENT, "make_enrolled", "end2you, calibrated for each speaker", ("exvo-fewshot",)),
    "mlp-enrolled": Entry(ENROLMENT, "make_enrolled", "mlp, calibrated for each speaker", ("exvo-fewshot",)),
    "ssl-enrolled": Entry(ENROLMENT, "make_enrolled", "ssl, calibrated for each speaker", ("exvo-fewshot",)),
    "late-fusion": Entry(FUSION, "make_fusion", "mean of the predictions of finished benchmarks, each a --run"),
}
"""By name."""

LOADERS: Mapping[str, tuple[str, str]] = {
    "features": (FEATURES, "load_features"),
    "late-fusion": (FUSION, "load_fusion"),
    "deep": (DEEP, "load_deep"),
    "enrolled": (ENROLMENT, "load_enrolled"),
}
"""Of saved systems, by `system` in their description: module, function (folder, description, device) -> Recogniser."""


def describe_systems(task: Task) -> str:
    """Names of the systems for a task, with a line on each."""
    return "; ".join(f"{name} ({entry.help})" for name, entry in _able(task).items())


def make_system(name: str, task: Task, options: Options) -> System:
    """The system of a name for a task; published encoders give way to those of the options, such as a local copy.

    Raises:
        VocalgenError: no such system, not for this task, or options that do not suit it.
    """
    if name not in SYSTEMS:
        raise VocalgenError(f"no system {name!r}; choose one of {', '.join(SYSTEMS)}")
    entry = SYSTEMS[name]
    if entry.tasks and task.name not in entry.tasks:
        raise VocalgenError(
            f"{name} is not for {task.name}, only for {', '.join(entry.tasks)}; choose one of {', '.join(_able(task))}"
        )
    if options.runs and entry.module != FUSION:
        raise VocalgenError(
            f"{name} does not build on finished benchmarks; leave --run out, or take --system late-fusion"
        )
    options = replace(options, encoders=options.encoders or entry.encoders)
    make: Callable[[str, Task, Options], System] = getattr(importlib.import_module(entry.module), entry.make)
    return make(name_with(name, entry.encoders, options.encoders), task, options)


def name_with(name: str, own: Sequence[str], given: Sequence[str]) -> str:
    """What a system is called that has encoders of its own and learns from those given; a copy is called as theirs."""
    published, here = ([Path(entry).name for entry in entries] for entries in (own, given))
    return f"{name} on {' and '.join(here)}" if own and here != published else name


def _able(task: Task) -> dict[str, Entry]:
    return {name: entry for name, entry in SYSTEMS.items() if not entry.tasks or task.name in entry.tasks}


def load_system(folder: str | Path, device: str = "cpu") -> Recogniser:
    """A system that the benchmark saved.

    Raises:
        VocalgenError: not such a folder, or damaged.
    """
    folder = Path(folder)
    description: dict[str, Any] = read_json(folder / DESCRIPTION)
    kind, task = str(description.get("system", "")), str(description.get("task", ""))
    if not kind or not task:
        raise VocalgenError(f"{folder / DESCRIPTION} does not say which system it is and of which task; train it again")
    if kind not in LOADERS or task not in TASKS:
        raise VocalgenError(
            f"{folder / DESCRIPTION}: this version of vocalgen knows no system of kind {kind!r} for task {task!r}; "
            f"install the version that trained it, or train it again"
        )
    module, function = LOADERS[kind]
    loaded: Recogniser = getattr(importlib.import_module(module), function)(folder, description, device)
    return loaded
