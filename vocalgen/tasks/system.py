"""What the benchmark asks of a system: to fit a task's labels, to predict clips of the corpus, to be saved.

A system never sees a test label: `TaskData` holds none but those of the few-shot task's support clips.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vocalgen.corpora.manifest import Manifest
from vocalgen.errors import VocalgenError
from vocalgen.tasks.task import DIRECTION, Array, Task, labelled

Wave = NDArray[np.float32]
Rows = NDArray[np.int64]

SUPPORT = {"exvo-fewshot": 2}
"""Labelled clips that a system may use of every speaker of validation and test, by task."""

DESCRIPTION, WEIGHTS = "system.json", "model.safetensors"
"""Files of a saved system. The description says at least `system` (what loads it, see `tasks.registry`) and `task`."""


SUPPORT_SCORES = "support.json"
"""Of a saved system: the task's scores of the support clips by split."""


@dataclass(frozen=True, eq=False)
class TaskData:
    """A corpus as a system sees it: the usable clips of a manifest in its order.

    Args:
        task: what is predicted.
        manifest: file they come from.
        ids, speakers: (n) of the clips; "" where a speaker is unknown.
        splits: (n,) "train", "validation" or "test".
        truth: by target as `Task.truth`, (n, ...); NaN or -1 in all test rows but those of `support`.
        support: (n,) validation and test clips whose labels a system may use to know their speakers by; they are not
            scored. None outside the few-shot task.
    """

    task: Task
    manifest: Path
    ids: tuple[str, ...]
    speakers: tuple[str, ...]
    splits: NDArray[np.str_]
    truth: Mapping[str, Array]
    support: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, split: str) -> Rows:
        """Clips of a split, ascending."""
        return np.flatnonzero(self.splits == split)

    def labelled(self, split: str) -> Rows:
        """Clips of "train" or "validation" that have a label of the task at least, support clips left out."""
        some = np.any([labelled(values) for values in self.truth.values()], axis=0)
        return np.flatnonzero((self.splits == split) & some & ~self.support)


class Fitted(Protocol):
    """A system that has learnt a task."""

    def predict(self, rows: Rows) -> dict[str, Array]:
        """By target (rows, columns) float: values in the unit of the labels, or probabilities of classes.

        Validation clips are predicted by what was not trained on them, also where a system is trained once more on
        training and validation clips for the rest.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write all that `registry.load_system` needs into a new folder: `DESCRIPTION`, safetensors, JSON."""
        ...


class System(Protocol):
    """A recipe.

    Attributes:
        name: as on the command line.
        settings: what determines the result besides data and seed, as JSON values: recipe, encoders with checksums.
        seeded: whether the seed matters; if not, the benchmark fits once.
    """

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> Mapping[str, Any]: ...

    @property
    def seeded(self) -> bool: ...

    def fit(self, data: TaskData, seed: int, folder: Path) -> Fitted:
        """Train on `data.labelled("train")`, select on `data.labelled("validation")`.

        Args:
            folder: exists; for state from which a stopped fit goes on. The benchmark removes it afterwards.

        Raises:
            VocalgenError: the data cannot be learnt from.
        """
        ...


class Recogniser(Protocol):
    """A saved system that listens to audio."""

    @property
    def task(self) -> Task: ...

    def score(self, clips: Sequence[tuple[Wave, int]]) -> dict[str, Array]:
        """By target (clips, columns) float, as `Fitted.predict`, of (wave, sample rate) as `audio.read` gives them.

        NaN in the rows of clips that are too short, see `has_values`.
        """
        ...


@dataclass(frozen=True)
class Options:
    """What people say about a system on the command line.

    Args:
        encoders: names for `recognition.encoders.load_encoder`; several are put side by side.
        device: of encoders and networks.
        config: YAML of the system's settings; None takes its defaults.
        overrides: KEY=VALUE of single settings.
        manifest: of the benchmark, for systems whose settings depend on it.
        runs: folders of finished benchmarks, for systems that build on them.
    """

    encoders: tuple[str, ...] = ()
    device: str = "cpu"
    config: Path | None = None
    overrides: tuple[str, ...] = ()
    manifest: Path | None = None
    runs: tuple[Path, ...] = ()


def task_data(task: Task, manifest: str | Path) -> tuple[TaskData, dict[str, Array]]:
    """A manifest as systems see it, and the truth of all clips, test clips too, to score with.

    Raises:
        VocalgenError: no such manifest, labels missing, no training or validation clip with a label, or a class that
            occurs in validation but in no training clip.
    """
    path = Path(manifest)
    usable = Manifest.load(path).usable()
    truth = task.truth(usable)
    splits = np.array([clip.split for clip in usable], dtype=np.str_)
    speakers = tuple(clip.speaker for clip in usable)
    support = _support(speakers, splits, task.known(truth), SUPPORT.get(task.name, 0))
    hidden = (splits == "test") & ~support
    seen = {name: blank(values, hidden) for name, values in truth.items()}
    data = TaskData(task, path, tuple(clip.id for clip in usable), speakers, splits, seen, support)
    _require_learnable(data)
    return data, truth


def has_values(prediction: Mapping[str, Array], row: int) -> bool:
    """Whether a recogniser predicts a clip; not if it is too short."""
    return not any(np.isnan(values[row]).any() for values in prediction.values())


def quality(data: TaskData, rows: Rows, prediction: Mapping[str, Array]) -> float:
    """What systems select by, more is better: the deciding metric of labelled clips; -inf where it has no value.

    Args:
        rows: (n,) clips, usually `data.labelled("validation")`.
        prediction: of them, by target (n, columns).
    """
    try:
        scores = data.task.score({name: values[rows] for name, values in data.truth.items()}, prediction)
    except ValueError:  # of a constant
        return -np.inf
    value = DIRECTION[data.task.metric] * scores[data.task.metric]
    return value if np.isfinite(value) else -np.inf


def describe(folder: Path, system: str, name: str, task: Task, more: Mapping[str, Any]) -> None:
    """Write the description of a saved system.

    Args:
        system: what loads it, a key of `registry.LOADERS`.
        name: of the system, as on the command line.
    """
    content = {"system": system, "name": name, "task": task.name, **more}
    (folder / DESCRIPTION).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def describe_support(folder: Path, fitted: Fitted, data: TaskData) -> None:
    """Write the scores of the support clips, whose labels the system knows."""
    found = {}
    for split in ("validation", "test"):
        rows = np.flatnonzero(data.support & (data.splits == split))
        if len(rows):
            truth = {name: values[rows] for name, values in data.truth.items()}
            found[split] = {"clips": len(rows), **data.task.score(truth, fitted.predict(rows))}
    (folder / SUPPORT_SCORES).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _require_learnable(data: TaskData) -> None:
    for split in ("train", "validation"):
        if not len(data.labelled(split)):
            raise VocalgenError(
                f"{data.manifest}: no {split} clip has the labels of {data.task.name}; "
                f"prepare the corpus {data.task.corpus} with its labels, in splits train, validation and test"
            )
    train, validation = data.labelled("train"), data.labelled("validation")
    for target in data.task.targets:
        truth = data.truth[target.name]
        for split, rows in (("train", train), ("validation", validation)):
            known = truth[rows] >= 0 if target.classes else np.isfinite(truth[rows])
            empty = np.flatnonzero(~np.atleast_1d(known.any(axis=0)))
            if len(empty):
                what = target.name if target.classes else target.columns[empty[0]]
                raise VocalgenError(f"{data.manifest}: no {split} clip has a label of {what}; nothing could learn it")
        if target.classes:
            never = sorted(set(truth[validation].tolist()) - set(truth[train].tolist()) - {-1})
            if never:
                raise VocalgenError(
                    f"{data.manifest}: {target.columns[never[0]]} occurs in validation, but in no training clip; "
                    f"nothing could learn it"
                )


def blank(values: Array, rows: NDArray[np.bool_]) -> Array:
    """Labels with those of some rows unknown."""
    changed = values.copy()
    changed[rows] = np.nan if values.ndim == 2 else -1
    return changed


def _support(
    speakers: Sequence[str], splits: NDArray[np.str_], known: NDArray[np.bool_], most: int
) -> NDArray[np.bool_]:
    """(n,) the first `most` labelled clips of every known speaker of validation and test."""
    taken: Counter[str] = Counter()
    chosen = np.zeros(len(speakers), dtype=bool)
    for row, speaker in enumerate(speakers):
        if speaker and known[row] and splits[row] != "train" and taken[speaker] < most:
            taken[speaker] += 1
            chosen[row] = True
    return chosen
