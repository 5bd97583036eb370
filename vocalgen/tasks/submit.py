"""Predictions of the test clips as a submission file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vocalgen.corpora.manifest import Manifest
from vocalgen.corpora.submission import write_submission
from vocalgen.tasks.runs import Run
from vocalgen.tasks.system import TaskData
from vocalgen.tasks.task import Array, Task

# Targets in the order of the columns of the submission, where it is not that of the task.
ORDER = {"exvo-multitask": ("country", "age", "emotions")}


def submit(data: TaskData, manifest: Manifest, run: Run, folder: Path, team: str) -> tuple[Path, str]:
    """Write the submission with a row for every test clip of the manifest.

    Clips without a prediction, as their audio cannot be used, have the mean of all others; challenges want every clip.

    Returns:
        the file, and a remark on such clips or "".
    """
    clips = [clip.id for clip in manifest.split("test")]
    known = [data.ids[row] for row in data.rows("test")]
    prediction = run.of(known)
    place = {entry: row for row, entry in enumerate(known)}
    rows = np.array([place.get(entry, len(known)) for entry in clips])
    filled = {name: np.vstack([values, values.mean(axis=0)])[rows] for name, values in prediction.items()}
    path = write_submission(data.task.name, clips, _cells(data.task, filled), folder, team, 1)
    absent = len(set(clips) - set(known))
    remark = f"{absent} test clips cannot be used; the submission has the mean prediction for them" if absent else ""
    return path, remark


def _cells(task: Task, prediction: dict[str, Array]) -> list[list[object]]:
    """Rows of the file: classes by name, countries by number."""
    targets = {target.name: target for target in task.targets}
    columns: list[list[object]] = []
    for name in ORDER.get(task.name, tuple(targets)):
        values = prediction[name]
        if targets[name].classes:
            winners = values.argmax(axis=1).tolist()
            columns.append([winner if name == "country" else targets[name].columns[winner] for winner in winners])
        else:
            columns += [[f"{value:.9g}" for value in column] for column in values.T]
    return [list(row) for row in zip(*columns, strict=True)]
