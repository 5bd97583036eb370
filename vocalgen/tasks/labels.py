"""The labels that networks with several outputs learn: those of the tasks of a configuration, joined on clip ids."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vocalgen.corpora.manifest import Manifest
from vocalgen.data import WaveCache
from vocalgen.errors import VocalgenError
from vocalgen.models.heads import Output
from vocalgen.tasks.task import DIRECTION, TASKS, Array, Target, Task, labelled, task_of
from vocalgen.training.multitask import LabelledClips, MultitaskConfig, MultitaskObjective

logger = logging.getLogger(__name__)

AGE_MARGIN = 2
"""Years that may be predicted beyond the youngest and the oldest speaker of the training clips."""


def multitask_objective(config: MultitaskConfig) -> MultitaskObjective:
    """What `kind: multitask` trains: all tasks of the configuration on one manifest."""
    return MultitaskObjective(config, labelled_clips(config, [task_of(name) for name in config.tasks]))


def labelled_clips(
    config: MultitaskConfig, deciding: Sequence[Task], hidden: NDArray[np.bool_] | None = None
) -> LabelledClips:
    """Clips of the configuration's manifest with the labels of all its tasks.

    Targets of which no training clip has a label are left out with a warning.

    Args:
        deciding: tasks whose scores on the validation split choose what is exported.
        hidden: (usable clips,) that are neither learnt nor scored.

    Raises:
        VocalgenError: a task without labels, two targets of one name, or levels that no task has.
    """
    tasks = [task_of(name) for name in config.tasks]
    targets = _targets(tasks)
    _require_levels(config)
    manifest = Manifest.load(config.data.manifest).usable()
    prepare = config.data.prepare
    cache = WaveCache.of(config.data.manifest, config.data.cache, prepare)
    row_of = {clip.id: row for row, clip in enumerate(manifest)}
    rows = np.array([row_of[entry] for entry in cache.ids])
    truth = {name: target.truth(manifest)[rows] for name, target in targets.items()}
    splits = np.array(cache.splits)
    free = np.ones(len(rows), dtype=bool) if hidden is None else ~hidden[rows]
    learnt = free & (splits == config.data.split)
    held_out = free & (splits == config.validation_split)
    for values in truth.values():  # no network can come upon a test label
        values[~(learnt | held_out)] = np.nan if values.ndim == 2 else -1
    some = {name: labelled(values) for name, values in truth.items()}
    kept = {name: target for name, target in targets.items() if (some[name] & learnt).any()}
    for name in sorted(targets.keys() - kept.keys()):
        logger.warning("no training clip has a label of %s; it is not learnt", name)
    whole = [task for task in deciding if all(target.name in kept for target in task.targets)]
    known = {task.name: held_out & task.known(truth) for task in whole}
    scored = [task for task in whole if known[task.name].any()]
    if not scored:
        names = ", ".join(task.name for task in deciding)
        raise VocalgenError(
            f"{config.data.manifest}: no labels of {names} in {config.data.split} and {config.validation_split}; "
            f"prepare the corpus with its labels"
        )
    train = np.flatnonzero(learnt & np.any([some[name] for name in kept], axis=0))
    validation = np.flatnonzero(np.any([known[task.name] for task in scored], axis=0))
    outputs = tuple(_output(target, truth[name][train]) for name, target in kept.items())

    def score(prediction: Mapping[str, Array]) -> dict[str, float]:
        figures: dict[str, float] = {}
        for task in scored:
            own = known[task.name][validation]
            labels = {target.name: truth[target.name][validation][own] for target in task.targets}
            figures |= _figures(task, labels, {name: values[own] for name, values in prediction.items()})
        deciding = [DIRECTION[task.metric] * figures[f"{task.name}_{task.metric}"] for task in scored]
        return {"validation": float(np.mean(deciding)), **figures}

    return LabelledClips(cache, outputs, {name: truth[name] for name in kept}, train, validation, score)


def _figures(task: Task, truth: Mapping[str, Array], prediction: Mapping[str, Array]) -> dict[str, float]:
    """Scores as logs name them; -1, the worst, where the metric that decides has no value."""
    try:
        scores = task.score(truth, prediction)
    except ValueError:  # of a constant, where several are joined
        scores = {task.metric: -1.0}
    return {f"{task.name}_{name}": value if np.isfinite(value) else -1.0 for name, value in scores.items()}


def _targets(tasks: Sequence[Task]) -> dict[str, Target]:
    """By name, each once."""
    found: dict[str, Target] = {}
    for task in tasks:
        for target in task.targets:
            if found.setdefault(target.name, target) != target:
                raise VocalgenError(
                    f"tasks: {task.name} and another predict {target.name} from different labels; train them apart"
                )
    return found


def _require_levels(config: MultitaskConfig) -> None:
    known = {target.name for task in TASKS.values() for target in task.targets}
    for name in (name for level in config.heads.levels for name in level):
        if name not in known:
            raise VocalgenError(f"heads.levels: {name} is no target; there are {', '.join(sorted(known))}")


def _output(target: Target, labels: Array) -> Output:
    """How a target is predicted; the years from those of the training clips (n, 1)."""
    if target.classes:
        return Output(target.name, "classes", len(target.columns))
    if target.metric != "MAE":
        return Output(target.name, "values", len(target.columns))
    first = int(np.floor(np.nanmin(labels))) - AGE_MARGIN
    last = int(np.ceil(np.nanmax(labels))) + AGE_MARGIN
    return Output(target.name, "years", last - first + 1, first)
