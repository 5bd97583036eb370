"""What a fitted seed leaves on disk: predictions of validation and test clips, its model, and what it was made of."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from vocalgen.errors import VocalgenError
from vocalgen.tasks.system import DESCRIPTION, System, TaskData
from vocalgen.tasks.task import Array, Task

RECORD, PREDICTIONS, MODEL = "run.json", "predictions.safetensors", "model"
REPORT, PAGE = "report.json", "report.md"


@dataclass(frozen=True, eq=False)
class Run:
    """Predictions of one seed.

    Args:
        folder: of the seed.
        system, seed, key: what made them.
        ids: of the clips.
        prediction: by target (ids, columns) float64.
    """

    folder: Path
    system: str
    seed: int
    key: str
    ids: tuple[str, ...]
    prediction: Mapping[str, Array]

    @property
    def model(self) -> Path:
        """Folder of the saved system."""
        return self.folder / MODEL

    def of(self, ids: Sequence[str]) -> dict[str, Array]:
        """Predictions of some of its clips.

        Raises:
            VocalgenError: it has not predicted one.
        """
        at = {entry: row for row, entry in enumerate(self.ids)}
        missing = [entry for entry in ids if entry not in at]
        if missing:
            raise VocalgenError(f"{self.folder} has no prediction of {missing[0]}; run it again")
        rows = [at[entry] for entry in ids]
        return {name: values[rows] for name, values in self.prediction.items()}


def key_of(system: System, data: TaskData, seed: int) -> str:
    """Hash of all that a run depends on: system, data as the system sees it, seed. No test label is in it."""
    digest = hashlib.sha256()
    parts = [system.name, system.settings, data.task.name, seed, data.ids, data.speakers, data.splits.tolist()]
    digest.update(json.dumps(parts, sort_keys=True).encode())
    for name, values in data.truth.items():
        digest.update(name.encode() + np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def write_run(folder: Path, system: System, seed: int, key: str, task: Task, prediction: Mapping[str, Array],
              ids: Sequence[str]) -> None:  # fmt: skip
    """Write all but the model into a folder."""
    save_file({name: np.ascontiguousarray(values) for name, values in prediction.items()}, folder / PREDICTIONS)
    record = {"task": task.name, "system": system.name, "seed": seed, "key": key}
    record |= {"settings": plain(system.settings), "ids": list(ids)}
    (folder / RECORD).write_text(json.dumps(record) + "\n", encoding="utf-8")


def plain(value: Any) -> Any:
    """As JSON has it: NaN and infinity as null, tuples as lists."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_seed(folder: Path, task: Task) -> Run:
    """What `write_run` wrote.

    Raises:
        VocalgenError: it is not there, damaged, or of another task.
    """
    record = read_record(folder / RECORD)
    try:
        prediction = load_file(folder / PREDICTIONS)
        run = Run(folder, record["system"], record["seed"], record["key"], tuple(record["ids"]), prediction)
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise VocalgenError(f"{folder} is damaged or incomplete ({error}); run the benchmark again") from error
    shapes = {target.name: (len(run.ids), len(target.columns)) for target in task.targets}
    if record.get("task") != task.name or {name: value.shape for name, value in prediction.items()} != shapes:
        raise VocalgenError(f"{folder} holds a run of {record.get('task')}, not of {task.name}")
    if not (run.model / DESCRIPTION).is_file():
        raise VocalgenError(f"{folder} has lost its model; run the benchmark again")
    return run


def read_record(path: Path) -> dict[str, Any]:
    """What a file of a benchmark says.

    Raises:
        VocalgenError: it is not there, or damaged.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VocalgenError(f"cannot read {path} ({reason}); run the benchmark again") from error
    if not isinstance(values, dict):
        raise VocalgenError(f"{path} is no JSON object; run the benchmark again")
    return values


def model_of(folder: Path) -> Path:
    """The saved system in the folder of a benchmark; any other folder as it is."""
    return folder / MODEL if (folder / MODEL).is_dir() else folder


def read_run(folder: Path, task: Task) -> Run:
    """The best seed of a finished benchmark.

    Args:
        folder: --out of the benchmark.

    Raises:
        VocalgenError: it is not finished, or of another task.
    """
    report = read_record(folder / REPORT)
    try:
        best = folder / "seeds" / str(report["best"]["folder"])
    except (KeyError, TypeError) as error:
        raise VocalgenError(f"{folder / REPORT} is no report of a benchmark") from error
    return read_seed(best, task)
