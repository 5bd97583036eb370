"""Late fusion: the unweighted mean of the predictions of several finished benchmarks (ComParE 2023)."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vocalgen.errors import VocalgenError
from vocalgen.tasks.registry import load_system
from vocalgen.tasks.runs import Run, read_run
from vocalgen.tasks.system import Fitted, Options, Recogniser, Rows, TaskData, Wave, describe
from vocalgen.tasks.task import Array, Task


@dataclass(frozen=True)
class LateFusion:
    """A mean of runs, each by its best seed."""

    name: str
    runs: tuple[Run, ...]
    seeded: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """What is averaged."""
        return {"runs": [{"system": run.system, "seed": run.seed, "key": run.key} for run in self.runs]}

    def fit(self, data: TaskData, seed: int, folder: Path) -> Fitted:
        """Nothing to learn; the runs must have predicted the same clips."""
        for run in self.runs:
            absent = sorted(set(data.ids) - set(run.ids) - {data.ids[row] for row in data.rows("train")})
            if absent:
                raise VocalgenError(
                    f"{run.folder} predicted other clips: it lacks {len(absent)}, the first {absent[0]}; run it again"
                )
        return FittedFusion(self, data)


@dataclass(frozen=True, eq=False)
class FittedFusion:
    """Runs that fit the data."""

    system: LateFusion
    data: TaskData

    def predict(self, rows: Rows) -> dict[str, Array]:
        """As `Fitted.predict`."""
        ids = [self.data.ids[row] for row in rows]
        return mean([run.of(ids) for run in self.system.runs])

    def save(self, folder: Path) -> None:
        """A copy of each run's model."""
        folder.mkdir()
        for place, run in enumerate(self.system.runs):
            shutil.copytree(run.model, folder / f"part-{place + 1}")
        more = {"parts": len(self.system.runs), **self.system.settings}
        describe(folder, "late-fusion", self.system.name, self.data.task, more)


class FusionRecogniser:
    """Saved systems of one task whose predictions are averaged."""

    def __init__(self, parts: Sequence[Recogniser]) -> None:
        self.parts = parts

    @property
    def task(self) -> Task:
        """Of all of them."""
        return self.parts[0].task

    def score(self, clips: Sequence[tuple[Wave, int]]) -> dict[str, Array]:
        """As `Recogniser.score`."""
        return mean([part.score(clips) for part in self.parts])


def mean(predictions: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Mean of predictions of the same clips, by target."""
    return {name: np.mean([part[name] for part in predictions], axis=0) for name in predictions[0]}


def make_fusion(name: str, task: Task, options: Options) -> LateFusion:
    """Late fusion of the runs in the options.

    Raises:
        VocalgenError: fewer than two, one of another task or given twice, or encoders and settings, which it has none
            of.
    """
    if len(options.runs) < 2:
        raise VocalgenError(f"{name} averages finished benchmarks; give the folders of two at least as --run")
    if options.encoders or options.config or options.overrides:
        raise VocalgenError(f"{name} has neither encoders nor settings; leave them out")
    runs: dict[str, Run] = {}
    for folder in options.runs:
        run = read_run(folder, task)
        if run.key in runs:
            raise VocalgenError(f"{run.folder} is the same run as {runs[run.key].folder}; give each --run once")
        runs[run.key] = run
    return LateFusion(name, tuple(runs.values()))


def load_fusion(folder: Path, description: Mapping[str, Any], device: str) -> FusionRecogniser:
    """A saved fusion."""
    parts = description.get("parts")
    if not isinstance(parts, int) or parts < 1:
        raise VocalgenError(f"{folder}: the description of the fusion is damaged; run the benchmark again")
    return FusionRecogniser([load_system(folder / f"part-{place + 1}", device) for place in range(parts)])
