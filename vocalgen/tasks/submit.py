"""Predictions of the test clips as a submission file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vocalgen import audio
from vocalgen.corpora.manifest import Manifest
from vocalgen.corpora.submission import write_submission
from vocalgen.errors import VocalgenError
from vocalgen.tasks.registry import load_system
from vocalgen.tasks.runs import Run
from vocalgen.tasks.system import TaskData
from vocalgen.tasks.task import Array, Task, bounded

# Targets in the order of the columns of the submission, where it is not that of the task.
ORDER = {"exvo-multitask": ("country", "age", "emotions")}


def submit(data: TaskData, manifest: Manifest, run: Run, folder: Path, team: str) -> tuple[Path, list[str]]:
    """Write the submission with a row for every test clip of the manifest; challenges want every clip.

    Clips that only repeat the audio of another are heard by the saved model, which knows no speakers. What has no
    prediction then, as its audio cannot be used, has the mean of all others.

    Returns:
        the file, and remarks on such clips.
    """
    clips = [clip.id for clip in manifest.split("test")]
    ids = [data.ids[row] for row in data.rows("test")]
    prediction, remarks = run.of(ids), []
    mean = {name: values.mean(axis=0) for name, values in prediction.items()}
    usable = set(ids)
    repeats = [clip for clip in manifest.predicted().split("test") if clip.id not in usable]
    if repeats:
        try:
            heard = bounded(data.task, load_system(run.model).score([audio.read(clip.file) for clip in repeats]))
            ids += [clip.id for clip in repeats]
            prediction = {name: np.vstack([values, heard[name]]) for name, values in prediction.items()}
        except VocalgenError as error:  # such as a model of features that came with the corpus
            remarks.append(f"{len(repeats)} test clips repeat the audio of others and could not be predicted ({error})")
    place = {entry: row for row, entry in enumerate(ids)}
    rows = np.array([place.get(entry, len(ids)) for entry in clips])
    filled = {name: np.vstack([values, mean[name]])[rows] for name, values in prediction.items()}
    path = write_submission(data.task.name, clips, _cells(data.task, filled), folder, team, 1)
    absent = len(set(clips) - set(ids))
    if absent:
        remarks.append(f"{absent} test clips cannot be used; the submission has the mean prediction for them")
    return path, remarks


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
