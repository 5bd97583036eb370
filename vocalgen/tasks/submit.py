"""Predictions of the test clips as a submission file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vocalgen import audio
from vocalgen.corpora.manifest import Manifest
from vocalgen.corpora.submission import write_submission
from vocalgen.tasks.runs import Run
from vocalgen.tasks.system import TaskData
from vocalgen.tasks.task import Array, Task

# Targets in the order of the columns of the submission, where it is not that of the task.
ORDER = {"exvo-multitask": ("country", "age", "emotions")}


SUBMISSION = 1
"""Number in the name of the file: teams may send several."""


def originals(manifest: Manifest) -> dict[str, str]:
    """Of test clips that only repeat the audio of a usable clip, which are neither learnt nor scored: its id."""
    copies = [clip for clip in manifest.predicted().split("test") if not clip.usable]
    lengths = {clip.seconds for clip in copies}
    first_with: dict[str, str] = {}
    for clip in manifest.usable():
        if clip.seconds in lengths:
            first_with.setdefault(audio.inspect(clip.file).digest, clip.id)
    first_with.pop("", None)  # could not be read
    digests = {clip.id: audio.inspect(clip.file).digest for clip in copies}
    return {entry: first_with[digest] for entry, digest in digests.items() if digest in first_with}


def submit(
    data: TaskData, manifest: Manifest, repeats: Mapping[str, str], run: Run, folder: Path, team: str
) -> tuple[Path, str]:
    """Write the submission with a row for every test clip of the manifest; challenges want every clip.

    Clips without a prediction, as their audio cannot be used, have the mean of the usable test clips.

    Args:
        repeats: see `originals`; these clips have the predictions of those they repeat.

    Returns:
        the file, and a remark on clips without a prediction or "".
    """
    clips = [clip.id for clip in manifest.split("test")]
    heard = [repeats.get(clip, clip) for clip in clips]
    known = sorted(set(heard) & set(run.ids))
    means = {name: values.mean(axis=0) for name, values in run.of([data.ids[row] for row in data.rows("test")]).items()}
    place = {entry: row for row, entry in enumerate(known)}
    rows = np.array([place.get(entry, len(known)) for entry in heard])
    filled = {name: np.vstack([values, means[name]])[rows] for name, values in run.of(known).items()}
    path = write_submission(data.task.name, clips, _cells(data.task, filled), folder, team, SUBMISSION)
    absent = int((rows == len(known)).sum())
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
