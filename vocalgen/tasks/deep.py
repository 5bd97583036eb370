"""Networks as systems of the benchmark, and the labels that `kind: multitask` of the training recipes learns."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocalgen.config import build, read_values
from vocalgen.corpora.manifest import Manifest
from vocalgen.data import WaveCache
from vocalgen.errors import VocalgenError
from vocalgen.models.heads import Output
from vocalgen.recognition.clips import cache_folder
from vocalgen.recognition.encoders import TransformersEncoder
from vocalgen.recognition.multitask import Listener
from vocalgen.tasks.system import Options, Rows, TaskData, Wave, describe, prepared
from vocalgen.tasks.task import DIRECTION, TASKS, Array, Target, Task, task_of
from vocalgen.training.loop import Trainer
from vocalgen.training.multitask import LabelledClips, MultitaskConfig, MultitaskObjective

logger = logging.getLogger(__name__)

RECIPES: Mapping[str, Mapping[str, str]] = {
    "end2you": {"": "hume_vocalburst/end2you.yaml", "exvo-multitask": "hume_vocalburst/end2you_exvo.yaml"},
    "fewshot": {"": "hume_vocalburst/fewshot.yaml"},
    "mobilenet": {"": "hume_vocalburst/mobilenet_multitask.yaml"},
    "ssl": {
        "": "hume_vocalburst/ssl_multitask.yaml",
        "emotion-share": "hume_prosody/ssl_multitask.yaml",
        "sonata": "modulate_sonata/ssl_multitask.yaml",
        "emogator": "emogator/ssl_multitask.yaml",
    },
}
"""By system and task, "" for the other tasks."""

AGE_MARGIN = 2
"""Years that may be predicted beyond the youngest and the oldest speaker of the training clips."""


@dataclass(frozen=True)
class DeepSystem:
    """A network trained by the loop of all recipes.

    Args:
        name: as on the command line.
        task: it is for; the other tasks of the recipe are learnt beside it if it is one of them.
        config: the recipe; its manifest, cache, run folder and seed are replaced.
        device: on which it predicts; training takes the accelerator that is there.
    """

    name: str
    task: Task
    config: MultitaskConfig
    device: str

    @property
    def seeded(self) -> bool:
        """First weights and batches follow from the seed."""
        return True

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The recipe, and the checksum of the encoder it starts from."""
        recipe = asdict(self.config)
        for section, keys in (("data", ("manifest", "cache")), ("loop", ("run", "seed"))):
            recipe[section] = {key: value for key, value in recipe[section].items() if key not in keys}
        speech = self.config.speech
        return recipe if speech is None else {**recipe, "checksum": TransformersEncoder(speech.path).checksum}

    def fit(self, data: TaskData, seed: int, folder: Path) -> FittedDeep:
        """As `System.fit`; a stopped run goes on from its last save."""
        prepare = self.config.data.prepare
        cache = cache_folder(data.manifest, prepare)
        config = replace(
            self.config,
            data=replace(self.config.data, manifest=str(data.manifest), cache=str(cache)),
            loop=replace(self.config.loop, run=str(folder / "run"), seed=seed),
        )
        clips = labelled_clips(config, (self.task,), data.support)
        try:
            objective = MultitaskObjective(config, clips)
        except ValueError as error:  # sizes that do not fit together
            raise VocalgenError(f"{self.name}: {error}") from error
        Trainer(objective, config.loop, config).train()
        return FittedDeep(self, data, clips.cache, Listener.load(folder / "run" / "export", self.device))


@dataclass(frozen=True, eq=False)
class FittedDeep:
    """A trained network; it has learnt no validation clip, so that it predicts all alike."""

    system: DeepSystem
    data: TaskData
    cache: WaveCache
    listener: Listener

    def predict(self, rows: Rows) -> dict[str, Array]:
        """As `Fitted.predict`."""
        found = self.listener.predict(len(rows), lambda place: self.wave(int(rows[place])))
        return {target.name: found[target.name] for target in self.system.task.targets}

    def wave(self, row: int) -> Wave:
        """A clip of the corpus, prepared."""
        if self.data.ids[row] not in self._places:
            raise VocalgenError(
                f"the audio of {self.data.ids[row]} cannot be read; `vocalgen data prepare` finds and leaves out "
                f"such clips"
            )
        return self.cache.wave(self._places[self.data.ids[row]])

    @cached_property
    def _places(self) -> dict[str, int]:
        return {entry: place for place, entry in enumerate(self.cache.ids)}

    def save(self, folder: Path) -> None:
        """As `Fitted.save`."""
        folder.mkdir()
        self.listener.network.save_pretrained(folder)
        describe(folder, "deep", self.system.name, self.system.task, self.system.settings)


class DeepRecogniser:
    """A saved network."""

    def __init__(self, task: Task, listener: Listener) -> None:
        self.task, self.listener = task, listener

    def score(self, clips: Sequence[tuple[Wave, int]]) -> dict[str, Array]:
        """As `Recogniser.score`."""
        found = self.listener.predict(len(clips), lambda place: prepared(*clips[place], self.listener.prepare))
        return {target.name: found[target.name] for target in self.task.targets}


def make_deep(name: str, task: Task, options: Options) -> DeepSystem:
    """A network by the name of its recipe.

    Raises:
        VocalgenError: the recipe and the options do not fit together.
    """
    path = options.config or shipped_recipe(name, task)
    values = read_values(path, options.overrides)
    section = values.get("speech")
    if isinstance(section, dict) and (options.encoders or "path" not in section):
        if len(options.encoders) != 1:
            raise VocalgenError(f"{name} learns from one speech encoder; say which by --encoder FOLDER or hub id")
        section["path"] = options.encoders[0]
    elif options.encoders:
        raise VocalgenError(f"{name} hears clips itself; leave --encoder out")
    if task.name not in values.get("tasks", ()):
        values["tasks"] = [task.name]
    values.setdefault("data", {}).update(manifest="", cache="")
    values.setdefault("loop", {}).update(run="")
    return DeepSystem(name, task, build(MultitaskConfig, values, str(path)), options.device)


def load_deep(folder: Path, description: Mapping[str, Any], device: str) -> DeepRecogniser:
    """A saved network.

    Raises:
        VocalgenError: damaged, or of another task than described.
    """
    task, listener = TASKS[description["task"]], Listener.load(folder, device)
    known = {output.name for output in listener.network.outputs}
    if not known.issuperset(target.name for target in task.targets):
        raise VocalgenError(
            f"{folder}: the network predicts {', '.join(sorted(known))}, which is not all of {task.name}"
        )
    return DeepRecogniser(task, listener)


def shipped_recipe(system: str, task: Task) -> Path:
    """The recipe of a system for a task: in `vocalgen/_recipes` of a wheel, `recipes` of a source tree."""
    package = Path(__file__).resolve().parents[1]
    chosen = RECIPES[system].get(task.name, RECIPES[system][""])
    found = [folder / chosen for folder in (package / "_recipes", package.parent / "recipes")]
    return next((path for path in found if path.is_file()), found[-1])


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
    some = {name: _some(values) for name, values in truth.items()}
    kept = {name: target for name, target in targets.items() if (some[name] & learnt).any()}
    for name in sorted(targets.keys() - kept.keys()):
        logger.warning("no training clip has a label of %s; it is not learnt", name)
    whole = [task for task in deciding if all(target.name in kept for target in task.targets)]
    held_out = free & (splits == config.validation_split)
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


def _some(values: Array) -> NDArray[np.bool_]:
    """(n,) whether a clip has one label at least."""
    return np.asarray(np.isfinite(values).any(axis=1) if values.ndim == 2 else values >= 0)
