"""Networks as systems of the benchmark, trained by the loop of all recipes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress, TextColumn
from torch import Tensor

from vocalgen.config import build, read_values
from vocalgen.data import WaveCache, prepared
from vocalgen.errors import VocalgenError
from vocalgen.models.multitask import EMBEDDING
from vocalgen.recognition.clips import cache_folder
from vocalgen.recognition.encoders import TransformersEncoder
from vocalgen.recognition.log_mel import LOG_MEL
from vocalgen.recognition.multitask import Listener
from vocalgen.recognition.opensmile import FEATURE_SETS
from vocalgen.shipped import file_sha256, shipped_models, weight_files
from vocalgen.tasks.labels import labelled_clips
from vocalgen.tasks.registry import name_with
from vocalgen.tasks.system import Options, Rows, TaskData, Wave, describe
from vocalgen.tasks.task import TASKS, Array, Target, Task, task_of
from vocalgen.training.loop import Trainer
from vocalgen.training.multitask import MultitaskConfig, MultitaskObjective
from vocalgen.training.record import Previews

RECIPES: Mapping[str, Mapping[str, str]] = {
    "end2you": {"": "hume_vocalburst/end2you.yaml", "exvo-multitask": "hume_vocalburst/end2you_exvo.yaml"},
    "fewshot": {"": "hume_vocalburst/fewshot.yaml"},
    "mobilenet": {"": "hume_vocalburst/mobilenet_multitask.yaml"},
    "residual": {"": "hume_vocalburst/residual_multitask.yaml", "emogator": "emogator/residual_multitask.yaml"},
    "ssl": {
        "": "hume_vocalburst/ssl_multitask.yaml",
        "emotion-share": "hume_prosody/ssl_multitask.yaml",
        "sonata": "modulate_sonata/ssl_multitask.yaml",
        "emogator": "emogator/ssl_multitask.yaml",
    },
}
"""By system and task, "" for the other tasks."""


REPLACED: Mapping[str, tuple[str, ...]] = {"data": ("manifest", "cache"), "loop": ("run",)}
"""Keys of a recipe, by section, that the benchmark decides."""


@dataclass(frozen=True)
class DeepSystem:
    """A network trained by the loop of all recipes.

    Args:
        name: as on the command line.
        task: it is for; the tasks of the recipe are learnt together if they have its targets.
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
        """The recipe, and the checksums of what it starts from, whose folders may lie elsewhere."""
        recipe = asdict(self.config)
        for section, keys in (("data", ("manifest", "cache")), ("loop", ("run", "seed"))):
            recipe[section] = {key: value for key, value in recipe[section].items() if key not in keys}
        if self.config.speech is not None:
            path = self.config.speech.path
            recipe["speech"] |= {"path": Path(path).name, "checksum": _checksum(path)}
        if self.config.init is not None:
            start = Path(self.config.init)
            files = [start] if start.is_file() else weight_files(start)
            recipe["init"] = {"path": start.name, "checksums": [file_sha256(file) for file in files]}
        return recipe

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
            objective = _Watched(config, clips)
        except ValueError as error:  # sizes that do not fit together
            raise VocalgenError(f"{self.name}: {error}") from error
        console = Console(stderr=True)
        columns = (*Progress.get_default_columns(), TextColumn("{task.fields[score]}"))
        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            trainer = Trainer(objective, config.loop, config)
            objective.watch(bar, f"Training {self.name}, seed {seed}", trainer.step)
            trainer.train()
        return FittedDeep(self, data, clips.cache, Listener.load(folder / "run" / "export", self.device))


class _Watched(MultitaskObjective):
    """Shows how far training has come, and the latest score of validation."""

    def watch(self, bar: Progress, title: str, done: int) -> None:
        """Begin to show it on a bar."""
        self.bar = bar
        self.shown = bar.add_task(title, total=self.config.loop.steps, completed=done, score="")

    def step(self, batch: dict[str, Tensor], step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """As `Objective.step`."""
        found = super().step(batch, step, generator)
        self.bar.update(self.shown, completed=step + 1)
        return found

    def preview(self, step: int) -> Previews:
        """As `Objective.preview`."""
        found = super().preview(step)
        self.bar.update(self.shown, score=f"validation {found.scalars['validation']:.3f}")
        return found


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
        self.task, self.listener, self.prepare = task, listener, listener.prepare

    def score(self, clips: Sequence[tuple[Wave, int]]) -> dict[str, Array]:
        """As `Recogniser.score`."""
        found = self.listener.predict(len(clips), lambda place: prepared(*clips[place], self.prepare))
        return {target.name: found[target.name] for target in self.task.targets}

    def observe(self, waves: Sequence[Wave], target: Target) -> tuple[Array, Array]:
        """Prepared clips: what the head of a target makes of them (clips, d), and its prediction."""
        found = self.listener.observe(len(waves), lambda place: waves[place], target.name)
        return found[EMBEDDING], found[target.name]


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
        own, section["path"] = section.get("path"), _speech_encoder(name, options.encoders[0])
        name = name_with(name, [own] if own else [], options.encoders)
    elif options.encoders:
        raise VocalgenError(f"{name} hears clips itself; leave --encoder out")
    together = values.get("tasks", ())
    if isinstance(together, list | tuple):
        beside = [target for other in together for target in task_of(str(other)).targets]
        if not all(target in beside for target in task.targets):
            values["tasks"] = [task.name]
    for title, replaced in REPLACED.items():
        part = values.setdefault(title, {})
        if isinstance(part, dict):
            part.update(dict.fromkeys(replaced, ""))
    return DeepSystem(name, task, build(MultitaskConfig, values, str(path), options.overrides), options.device)


def _speech_encoder(system: str, name: str) -> str:
    """The name of an encoder of transformers.

    Raises:
        VocalgenError: it is one of other kind.
    """
    if name in (*FEATURE_SETS, LOG_MEL, *shipped_models()):
        raise VocalgenError(
            f"{system} learns from a speech encoder of transformers, such as WavLM, which {name} is not; give the "
            f"folder or the hub id of one as --encoder"
        )
    return name


def _checksum(encoder: str) -> str:
    """Of the files of a folder; of a hub id that of its weights, which are fetched now."""
    if not Path(encoder).is_dir():
        return TransformersEncoder(encoder).checksum
    files = sorted(path for path in Path(encoder).iterdir() if path.suffix in (".json", ".safetensors"))
    return hashlib.sha256("".join(file_sha256(file) for file in files).encode()).hexdigest()


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
