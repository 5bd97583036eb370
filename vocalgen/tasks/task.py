"""What each task predicts from which labels of a manifest, and how predictions are scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vocalgen.corpora.hume_vocalburst import COUNTRIES, CULTURE, TYPES
from vocalgen.corpora.manifest import Manifest
from vocalgen.emotions import EMOGATOR30, HUME10, PROSODY9, SONATA25, Vocabulary
from vocalgen.errors import VocalgenError
from vocalgen.metrics.prediction import ccc, mae, s_mtl, spearman, uar

Array = NDArray[Any]

Metric = Literal["CCC", "Spearman", "MAE", "UAR"]

DIRECTION: Mapping[str, int] = {"CCC": 1, "Spearman": 1, "MAE": -1, "UAR": 1, "S_MTL": 1}
"""1 where more is better."""


@dataclass(frozen=True)
class Target:
    """Something to predict.

    Args:
        name: of what.
        metric: how it is scored: CCC, Spearman and MAE as the mean over the columns; UAR of classes.
        columns: names of the values; of classes, their names in the order of their indices.
        labels: manifest labels of the values, or the one of the classes; empty: the intensities of the emotions.
    """

    name: str
    metric: Metric
    columns: tuple[str, ...]
    labels: tuple[str, ...] = ()

    @property
    def classes(self) -> bool:
        """Whether it is one of several classes, not values."""
        return self.metric == "UAR"

    def truth(self, manifest: Manifest) -> Array:
        """Labels of a manifest's clips: (n, columns) float, NaN where unknown; of classes (n,) int, -1 where unknown.

        Raises:
            VocalgenError: the manifest lacks a label or an emotion, or has a class that is not one of `columns`.
        """
        if not self.labels:
            values = manifest.intensities[:, self._positions(manifest.emotions)].astype(np.float64)
            return _strongest(values) if self.classes else values
        if not self.classes:
            return manifest.numbers(*self.labels)
        texts = manifest.texts(self.labels[0])
        unknown = sorted({text for text in texts if text and text not in self.columns})
        if unknown:
            raise VocalgenError(
                f"{self.labels[0]} is {unknown[0]!r} somewhere; it must be one of {', '.join(self.columns)}"
            )
        return np.array([self.columns.index(text) if text else -1 for text in texts], dtype=np.int64)

    def known(self, truth: Array) -> NDArray[np.bool_]:
        """(n,) whether a clip has all labels of the target."""
        return np.asarray(truth >= 0 if self.classes else np.isfinite(truth).all(axis=1))

    def score(self, truth: Array, prediction: Array) -> float:
        """The metric of (n, columns) values, or of (n,) classes and (n, columns) scores of classes.

        Labels that are missing are left out, of every column for itself: A-VB's cultural labels may be there for a
        clip's own country only.

        Raises:
            ValueError: a column without labels, or NaN in the prediction.
        """
        if self.classes:
            known = truth >= 0
            return uar(truth[known], prediction[known].argmax(axis=1))
        single = {"CCC": ccc, "Spearman": spearman, "MAE": mae}[self.metric]
        known = np.isfinite(truth)
        return float(np.mean([single(t[k], p[k]) for t, p, k in zip(truth.T, prediction.T, known.T, strict=True)]))

    def _positions(self, emotions: Vocabulary) -> list[int]:
        missing = [name for name in self.columns if name not in emotions]
        if missing:
            raise VocalgenError(
                f"the manifest has no emotion {missing[0]}; it has {', '.join(emotions.emotions[:5])}, ...; "
                f"prepare the corpus that belongs to the task"
            )
        return [emotions.index(name) for name in self.columns]


@dataclass(frozen=True)
class Task:
    """A task of the benchmark.

    Args:
        name: as on the command line, and in `eval/published` and `corpora.submission.FORMATS` where it occurs there.
        corpus: what `vocalgen data prepare` calls its corpus.
        targets: what is predicted; `emotions`, `country` and `age` together are scored by S_MTL.
    """

    name: str
    corpus: str
    targets: tuple[Target, ...]

    @property
    def metric(self) -> str:
        """What decides."""
        return self.targets[0].metric if len(self.targets) == 1 else "S_MTL"

    def truth(self, manifest: Manifest) -> dict[str, Array]:
        """`Target.truth` of every target, by name."""
        return {target.name: target.truth(manifest) for target in self.targets}

    def known(self, truth: Mapping[str, Array]) -> NDArray[np.bool_]:
        """(n,) whether a clip has the labels of all targets."""
        return np.asarray(np.all([target.known(truth[target.name]) for target in self.targets], axis=0))

    def score(self, truth: Mapping[str, Array], prediction: Mapping[str, Array]) -> dict[str, float]:
        """Every metric of the task, the deciding one first; missing labels are left out.

        Args:
            truth: as `Task.truth` gives it.
            prediction: by target, (n, columns): values, or scores of classes.

        Raises:
            ValueError: a column without labels, a prediction with NaN, or S_MTL of constants.
        """
        single: dict[str, float] = {
            target.metric: target.score(truth[target.name], prediction[target.name]) for target in self.targets
        }
        if len(self.targets) == 1:
            return single
        return {"S_MTL": s_mtl(single["CCC"], single["UAR"], single["MAE"]), **single}


LIMITS: Mapping[str, tuple[float, float]] = {"CCC": (0.0, 1.0), "MAE": (0.0, 120.0)}
"""Of values in submissions, by metric."""


def bounded(task: Task, prediction: Mapping[str, Array]) -> dict[str, Array]:
    """Values of CCC targets within [0, 1], ages from 0 to 120, as submissions have them; what is sent is scored."""
    return {
        target.name: np.clip(prediction[target.name].astype(np.float64), *LIMITS.get(target.metric, (-np.inf, np.inf)))
        for target in task.targets
    }


def labelled(values: Array) -> NDArray[np.bool_]:
    """(n,) whether a clip has one label at least, of labels as `Target.truth` gives them."""
    return np.asarray(np.isfinite(values).any(axis=1) if values.ndim == 2 else values >= 0)


def _strongest(intensities: NDArray[np.float64]) -> NDArray[np.int64]:
    """(n,) strongest emotion of (n, K), -1 where nothing is known or nothing is above 0."""
    filled = np.nan_to_num(intensities)
    return np.where(filled.any(axis=1), filled.argmax(axis=1), -1)


_EMOTIONS = Target("emotions", "CCC", HUME10.emotions)

TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        Task("emotion-share", "hume-prosody", (Target("emotions", "Spearman", PROSODY9.emotions),)),
        Task(
            "exvo-multitask",
            "hume-vocalburst",
            (
                _EMOTIONS,
                Target("country", "UAR", COUNTRIES, ("Country",)),
                Target("age", "MAE", ("Age",), ("Age",)),
            ),
        ),
        Task("exvo-fewshot", "hume-vocalburst", (_EMOTIONS,)),
        Task("avb-high", "hume-vocalburst", (_EMOTIONS,)),
        Task("avb-two", "hume-vocalburst", (Target("affect", "CCC", ("Valence", "Arousal"), ("Valence", "Arousal")),)),
        Task("avb-culture", "hume-vocalburst", (Target("culture", "CCC", CULTURE, CULTURE),)),
        Task("avb-type", "hume-vocalburst", (Target("type", "UAR", TYPES, ("Voc_Type",)),)),
        Task("sonata", "modulate-sonata", (Target("emotion", "UAR", SONATA25.emotions),)),
        Task("emogator", "emogator", (Target("emotion", "UAR", EMOGATOR30.emotions),)),
    )
}
"""By name."""


def task_of(name: str) -> Task:
    """The task of a name.

    Raises:
        VocalgenError: there is none.
    """
    if name not in TASKS:
        raise VocalgenError(f"no task {name!r}; choose one of {', '.join(TASKS)}")
    return TASKS[name]
