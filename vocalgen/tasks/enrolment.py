"""Systems that get to know a speaker by some labelled clips: their predictions are corrected, in closed form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vocalgen.corpora.names import locate, similar_hint
from vocalgen.corpora.table import read_table
from vocalgen.errors import VocalgenError
from vocalgen.tasks.registry import load_system, make_system
from vocalgen.tasks.runs import Run, read_record
from vocalgen.tasks.system import (
    DESCRIPTION,
    Fitted,
    Options,
    Recogniser,
    Rows,
    System,
    TaskData,
    Wave,
    describe,
    describe_support,
    has_values,
    quality,
)
from vocalgen.tasks.task import Array, Task

ENROLLED = "-enrolled"
"""Ends the names of personalised systems."""

INNER = "speaker-independent"
"""Folder of the system inside a saved one that can enrol speakers."""

STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 1e9)
"""Ridge penalties that are tried of slope and offset; the last keeps the identity."""


def calibration(prediction: Array, truth: Array, slope: float, offset: float) -> tuple[Array, Array]:
    """Affine correction of one speaker's predictions, by ridge regression towards the identity.

    With residuals r = truth - prediction, the a and b of each column minimise
    sum((a - 1) p + b - r)^2 + slope (a - 1)^2 + offset b^2 over the clips.

    Args:
        prediction, truth: (clips, K); a label may be NaN.
        slope, offset: penalties, positive.

    Returns:
        a and b, both (K,).
    """
    own = np.isfinite(truth)
    p = np.where(own, prediction, 0.0)
    r = np.where(own, truth, 0.0) - p
    squares, sums, count = (p * p).sum(0) + slope, p.sum(0), own.sum(0) + offset
    products, residuals = (p * r).sum(0), r.sum(0)
    below = squares * count - sums**2  # the determinant of the normal equations, positive
    change = (count * products - sums * residuals) / below
    return 1 + change, (squares * residuals - sums * products) / below


def is_identity(slope: float, offset: float) -> bool:
    """Whether these penalties leave every prediction as it is."""
    return min(slope, offset) >= STRENGTHS[-1]


def personalised(
    prediction: Array,
    speakers: Sequence[str],
    enrolled: Mapping[str, tuple[Array, Array]],
    slope: float,
    offset: float,
) -> Array:
    """Predictions (n, K) in [0, 1], corrected for each speaker by `calibration`; those of others are left alone.

    Args:
        enrolled: predictions and labels (clips, K) of the support clips by speaker.
    """
    found, names = prediction.copy(), np.array(speakers)
    for speaker, support in enrolled.items():
        rows = names == speaker
        found[rows] = corrected(prediction[rows], *calibration(*support, slope, offset))
    return found


def corrected(prediction: Array, a: Array, b: Array) -> Array:
    """Predictions (n, K) of one speaker after `calibration`, in [0, 1]."""
    return np.clip(a * prediction + b, 0.0, 1.0)


@dataclass(frozen=True)
class EnrolledSystem:
    """Any system, with its predictions corrected for each speaker; the penalties are chosen on validation."""

    name: str
    inner: System

    @property
    def settings(self) -> dict[str, Any]:
        """Those of the system, and the penalties that are tried."""
        return {"enrolled": self.inner.name, "strengths": list(STRENGTHS), **self.inner.settings}

    @property
    def seeded(self) -> bool:
        """As the system."""
        return self.inner.seeded

    def fit(self, data: TaskData, seed: int, folder: Path) -> FittedEnrolled:
        """As `System.fit`."""
        if not data.support.any():
            raise VocalgenError(
                f"{data.manifest}: no labelled clips of known speakers in validation and test; prepare the corpus "
                f"with --fewshot"
            )
        fitted = FittedEnrolled(self.name, self.inner.fit(data, seed, folder), data, STRENGTHS[-1], STRENGTHS[-1])
        rows = data.labelled("validation")
        before = fitted.inner.predict(rows)
        best = -np.inf
        chosen = fitted
        for slope in STRENGTHS:
            for offset in STRENGTHS:
                tried = replace(fitted, slope=slope, offset=offset)
                tried.__dict__["enrolled"] = fitted.enrolled  # predicted once
                value = quality(data, rows, tried.correct(rows, before))
                if value > best:
                    best, chosen = value, tried
        return chosen


@dataclass(frozen=True, eq=False)
class FittedEnrolled:
    """A trained system and the penalties of its corrections."""

    name: str
    inner: Fitted
    data: TaskData
    slope: float
    offset: float

    @cached_property
    def enrolled(self) -> dict[str, dict[str, tuple[Array, Array]]]:
        """By target and speaker: predictions and labels of the support clips."""
        rows = np.flatnonzero(self.data.support)
        names = np.array(self.data.speakers)[rows]
        return {
            target: {
                str(speaker): (values[names == speaker], self.data.truth[target][rows[names == speaker]])
                for speaker in np.unique(names)
            }
            for target, values in self.inner.predict(rows).items()
        }

    def correct(self, rows: Rows, prediction: Mapping[str, Array]) -> dict[str, Array]:
        """Predictions of some clips, corrected."""
        speakers = [self.data.speakers[row] for row in rows]
        return {
            target: personalised(values, speakers, self.enrolled[target], self.slope, self.offset)
            for target, values in prediction.items()
        }

    def predict(self, rows: Rows) -> dict[str, Array]:
        """As `Fitted.predict`."""
        return self.correct(rows, self.inner.predict(rows))

    def save(self, folder: Path) -> None:
        """The system, and the penalties by which new speakers will be enrolled."""
        folder.mkdir()
        self.inner.save(folder / INNER)
        describe(folder, ENROLLED[1:], self.name, self.data.task, {"slope": self.slope, "offset": self.offset})
        describe_support(folder, self, self.data)


class EnrolledRecogniser:
    """A saved system that can get to know a speaker; of strangers it predicts what the system does.

    Args:
        slope, offset: penalties, see `calibration`.
    """

    def __init__(self, inner: Recogniser, slope: float, offset: float) -> None:
        self.inner, self.task, self.slope, self.offset = inner, inner.task, slope, offset

    @property
    def indifferent(self) -> bool:
        """Whether validation chose the identity, so that who speaks makes no difference."""
        return is_identity(self.slope, self.offset)

    def score(self, clips: Sequence[tuple[Wave, int]]) -> dict[str, Array]:
        """As `Recogniser.score`, in [0, 1]."""
        return {target: np.clip(values, 0.0, 1.0) for target, values in self.inner.score(clips).items()}

    def enrol(self, clips: Sequence[tuple[Wave, int]], truth: Mapping[str, Array]) -> AcquaintedRecogniser:
        """Get to know a speaker by some clips, whose labels (clips, K) by target are in [0, 1] or NaN.

        Raises:
            VocalgenError: a clip is too short for predictions.
        """
        predictions = self.inner.score(clips)
        short = next((row for row in range(len(clips)) if not has_values(predictions, row)), None)
        if short is not None:
            raise VocalgenError(f"clip {short + 1} of the enrolment is too short for this system; leave it out")
        lines = {
            target: calibration(values, truth[target], self.slope, self.offset)
            for target, values in predictions.items()
        }
        return AcquaintedRecogniser(self.inner, lines)


class AcquaintedRecogniser:
    """A system that knows whom it hears.

    Args:
        lines: a and b of `calibration` by target.
    """

    def __init__(self, inner: Recogniser, lines: Mapping[str, tuple[Array, Array]]) -> None:
        self.inner, self.task, self.lines = inner, inner.task, lines

    def score(self, clips: Sequence[tuple[Wave, int]]) -> dict[str, Array]:
        """As `Recogniser.score`, corrected."""
        return {target: corrected(values, *self.lines[target]) for target, values in self.inner.score(clips).items()}


def read_enrolment(path: Path, task: Task) -> tuple[list[Path], dict[str, Array]]:
    """A table of a speaker's clips: `file`, from the table's folder, and a column of [0, 1] a label, blank if unknown.

    Returns:
        files, and labels (files, K) by target.

    Raises:
        VocalgenError: columns are missing, a file is not named, labels are no numbers in [0, 1], or there are none.
    """
    columns = {target.name: target.columns for target in task.targets}
    rows = read_table(path, ["file", *(name for names in columns.values() for name in names)])
    truth = {
        target: np.array([[row.number_of(name, 0.0, 1.0) for name in names] for row in rows])
        for target, names in columns.items()
    }
    unnamed = next((row for row in rows if not row.text("file")), None)
    if unnamed is not None:
        raise unnamed.error("file", "is blank; name the clip that the labels are of")
    if not any(np.isfinite(values).any() for values in truth.values()):
        raise VocalgenError(f"{path} has no labels; fill in at least one, from 0 to 1")
    files = [locate(path.parent, row.text("file")) for row in rows]
    for row, file in zip(rows, files, strict=True):
        if not file.is_file():
            raise row.error("file", f"{file} is not a file{similar_hint(file) or '; check the path'}")
    return files, truth


def load_enrolled(folder: Path, description: Mapping[str, Any], device: str) -> EnrolledRecogniser:
    """A saved system with its penalties.

    Raises:
        VocalgenError: damaged.
    """
    try:
        slope, offset = float(description["slope"]), float(description["offset"])
    except (KeyError, TypeError, ValueError) as error:
        raise VocalgenError(f"{folder}: the description of the system is damaged; run the benchmark again") from error
    return EnrolledRecogniser(load_system(folder / INNER, device), slope, offset)


def unhelped(runs: Sequence[Run]) -> str:
    """A remark on runs for which validation chose to correct nothing, or ""."""
    seeds = []
    for run in runs:
        description = read_record(run.model / DESCRIPTION)
        if description.get("system") == ENROLLED[1:] and is_identity(description["slope"], description["offset"]):
            seeds.append(str(run.seed))
    if not seeds:
        return ""
    return (
        f"enrolment changes nothing in {'seeds' if len(seeds) > 1 else 'seed'} {', '.join(seeds)}: validation was "
        f"predicted best without any correction for the speaker, so that the system inside is what is scored"
    )


def make_enrolled(name: str, task: Task, options: Options) -> EnrolledSystem:
    """A personalised system by the name of the system it corrects."""
    base = name.removesuffix(ENROLLED)
    inner = make_system(base, task, options)
    return EnrolledSystem(name + inner.name.removeprefix(base), inner)
