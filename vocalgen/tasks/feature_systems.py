"""Systems that learn from features of clips: the perceptron, support vector and logistic regression."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from vocalgen.config import build, read_values
from vocalgen.data import CacheConfig, prepared
from vocalgen.errors import VocalgenError
from vocalgen.recognition.features import Features
from vocalgen.recognition.given import corpus_features
from vocalgen.tasks.linear import LrSettings, SvrSettings, linear_from, search
from vocalgen.tasks.mlp import CHUNK, Mlp, MlpSettings, mlp_from, predicted, train_mlp
from vocalgen.tasks.system import WEIGHTS, Fitted, Options, Rows, TaskData, Wave, blank, describe
from vocalgen.tasks.task import TASKS, Array, Target, Task

logger = logging.getLogger(__name__)

T = TypeVar("T", MlpSettings, SvrSettings, LrSettings)

EXVO_EPOCHS = 20
"""Of the perceptron on ExVo-MultiTask; A-VB has more."""


class Model(Protocol):
    """A trained model of features."""

    def __call__(self, x: NDArray[np.float32]) -> dict[str, Array]: ...

    def tensors(self) -> dict[str, Array]: ...


class Joined:
    """Features of several encoders side by side, joined on clip ids, read when asked for.

    Attributes:
        short: (n,) clips that are too short for values of an encoder; their rows are `filler`.
        filler: (d,) NaN at first.
    """

    def __init__(self, tables: Sequence[Features], ids: Sequence[str]) -> None:
        self.tables = tables
        self.places = [_places(table, ids) for table in tables]
        lacking = {clip for table in tables for clip in table.short}
        self.short = np.array([clip in lacking for clip in ids], dtype=bool)
        self.filler = np.full(sum(table.values.shape[1] for table in tables), np.nan, dtype=np.float32)

    def __getitem__(self, rows: Rows) -> NDArray[np.float32]:
        """(rows, d of all encoders)."""
        parts = [table.values[place[rows]] for table, place in zip(self.tables, self.places, strict=True)]
        joined = np.concatenate(parts, axis=1)
        joined[self.short[rows]] = self.filler
        return joined


@dataclass(frozen=True)
class FeatureSystem:
    """A recipe on features.

    Args:
        name: as on the command line.
        kind: mlp, svr or lr.
        recipe: settings of that kind.
        encoders: names as they were given.
        device: of encoders and networks.
        manifest: whose features are taken.
    """

    name: str
    kind: str
    recipe: MlpSettings | SvrSettings | LrSettings
    encoders: tuple[str, ...]
    device: str
    manifest: Path

    @property
    def seeded(self) -> bool:
        """Only the perceptron draws random numbers of its own."""
        return self.kind == "mlp"

    @cached_property
    def tables(self) -> list[Features]:
        """Features of the manifest's clips, extracted now if they are not in the cache."""
        return [corpus_features(self.manifest, encoder, device=self.device) for encoder in self.encoders]

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Recipe, encoders, and a hash of the features, which change with the audio."""
        encoders = [
            {"name": given, "checksum": table.checksum, "features": _digest(table.values)}
            for given, table in zip(self.encoders, self.tables, strict=True)
        ]
        return {"kind": self.kind, "recipe": asdict(self.recipe), "encoders": encoders}

    def fit(self, data: TaskData, seed: int, folder: Path) -> Fitted:
        """As `System.fit`."""
        inputs = Joined(self.tables, data.ids)
        _require_finite(data, inputs)
        data = _without_short(data, inputs)
        if isinstance(self.recipe, MlpSettings):
            mlp = train_mlp(data, inputs, seed, self.recipe, self.device)
            return FittedFeatures(self, data, inputs, mlp, mlp, {})
        selected, final, point = search(data, inputs, self.recipe, folder)
        return FittedFeatures(self, data, inputs, selected, final, asdict(point))


@dataclass(frozen=True, eq=False)
class FittedFeatures:
    """A trained recipe.

    Args:
        selected: trained on training clips; predicts validation.
        final: for all others, and what is saved.
        chosen: point of a grid.
    """

    system: FeatureSystem
    data: TaskData
    inputs: Joined
    selected: Model
    final: Model
    chosen: Mapping[str, Any]

    def predict(self, rows: Rows) -> dict[str, Array]:
        """As `Fitted.predict`."""
        found = predicted(self.final, self.inputs, rows)
        validation = self.data.splits[rows] == "validation"
        if validation.any():
            for name, values in predicted(self.selected, self.inputs, rows[validation]).items():
                found[name][validation] = values
        return found

    def save(self, folder: Path) -> None:
        """As `Fitted.save`."""
        folder.mkdir()
        more = {**self.system.settings, "chosen": dict(self.chosen)}
        describe(folder, "features", self.system.name, self.data.task, more)
        save_file({key: np.ascontiguousarray(value) for key, value in self.final.tensors().items()}, folder / WEIGHTS)


class FeatureRecogniser:
    """A saved recipe with the encoders it was trained on."""

    def __init__(self, task: Task, model: Model, encoders: Sequence[Any]) -> None:
        self.task, self.model, self.encoders = task, model, encoders

    def score(self, clips: Sequence[tuple[Wave, int]]) -> dict[str, Array]:
        """As `Recogniser.score`."""
        parts = [
            encoder.score([prepared(wave, rate, encoder.prepare) for wave, rate in clips]).embeddings
            for encoder in self.encoders
        ]
        return self.model(np.concatenate(parts, axis=1).astype(np.float32))

    @property
    def prepare(self) -> CacheConfig:
        """How the first encoder wants clips."""
        prepare: CacheConfig = self.encoders[0].prepare
        return prepare

    def observe(self, waves: Sequence[Wave], target: Target) -> tuple[Array, Array]:
        """Prepared clips of a system on one encoder: what the head of a target sees (clips, d), and its prediction."""
        x = self.encoders[0].score(waves).embeddings.astype(np.float32)
        seen = self.model.hidden(x) if isinstance(self.model, Mlp) else x.astype(np.float64)
        return seen, self.model(x)[target.name]


def make_mlp(name: str, task: Task, options: Options) -> FeatureSystem:
    """The perceptron."""
    epochs = EXVO_EPOCHS if task.name == "exvo-multitask" else MlpSettings.epochs
    return _make(name, "mlp", _recipe(MlpSettings, options, {"epochs": epochs}), options)


def make_svr(name: str, task: Task, options: Options) -> FeatureSystem:
    """Support vector regression."""
    return _make(name, "svr", _recipe(SvrSettings, options), options)


def make_lr(name: str, task: Task, options: Options) -> FeatureSystem:
    """Logistic regression."""
    return _make(name, "lr", _recipe(LrSettings, options), options)


def load_features(folder: Path, description: Mapping[str, Any], device: str) -> FeatureRecogniser:
    """A saved recipe, with its encoders.

    Raises:
        VocalgenError: damaged, or an encoder that is not the one it was trained on.
    """
    from vocalgen.recognition.encoders import load_encoder

    task = TASKS[description["task"]]
    try:
        tensors = load_file(folder / WEIGHTS)
        kind, wanted = description["kind"], [(entry["name"], entry["checksum"]) for entry in description["encoders"]]
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise VocalgenError(f"{folder}: the model is damaged or incomplete ({error}); train it again") from error
    if kind not in ("mlp", "svr", "lr"):
        raise VocalgenError(
            f"{folder}: this version of vocalgen knows no features system of kind {kind!r}; train it again"
        )
    try:
        model = mlp_from(tensors, task.targets, device) if kind == "mlp" else linear_from(tensors, task.targets[0])
    except VocalgenError as error:
        raise VocalgenError(f"{folder}: {error}") from error
    encoders = []
    for name, checksum in wanted:
        encoders.append(load_encoder(name, device))
        if encoders[-1].checksum != checksum:
            raise VocalgenError(
                f"{folder} was trained on {name} with checksum {checksum[:16]}, but here it has "
                f"{encoders[-1].checksum[:16]}: another version; install that one, or train again"
            )
    return FeatureRecogniser(task, model, encoders)


def _make(name: str, kind: str, recipe: MlpSettings | SvrSettings | LrSettings, options: Options) -> FeatureSystem:
    if not options.encoders:
        raise VocalgenError(f"{name} learns from features; say of which --encoder, such as eGeMAPSv02")
    if options.manifest is None:
        raise VocalgenError(f"{name} needs the manifest whose features it learns from")
    # A folder must be found again from anywhere.
    encoders = tuple(str(Path(entry).resolve()) if Path(entry).exists() else entry for entry in options.encoders)
    return FeatureSystem(name, kind, recipe, encoders, options.device, options.manifest)


def _recipe(cls: type[T], options: Options, defaults: Mapping[str, Any] | None = None) -> T:
    values = {**(defaults or {}), **read_values(options.config, options.overrides)}
    return build(cls, values, str(options.config or "the settings"), options.overrides)


def _digest(values: NDArray[np.float32]) -> str:
    digest = hashlib.sha256()
    for start in range(0, len(values), CHUNK):
        digest.update(np.ascontiguousarray(values[start : start + CHUNK]).tobytes())
    return digest.hexdigest()


def _places(table: Features, ids: Sequence[str]) -> NDArray[np.int64]:
    """Row of each clip in a table."""
    at = {entry: row for row, entry in enumerate(table.ids)}
    missing = [entry for entry in ids if entry not in at]
    if missing:
        raise VocalgenError(f"{len(missing)} clips have no features of {table.name}, the first {missing[0]}")
    return np.array([at[entry] for entry in ids], dtype=np.int64)


def _require_finite(data: TaskData, inputs: Joined) -> None:
    """Refuse clips whose features are NaN, as those of unreadable files are."""
    bad: list[int] = []
    for start in range(0, len(data), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(data)))
        rows = rows[~inputs.short[rows]]
        bad += rows[~np.isfinite(inputs[rows]).all(axis=1)].tolist()
    if bad:
        raise VocalgenError(
            f"{data.manifest}: {len(bad)} clips have features that are NaN, the first {data.ids[bad[0]]}; their audio "
            f"cannot be read: `vocalgen data prepare` finds and leaves out such clips"
        )


def _without_short(data: TaskData, inputs: Joined) -> TaskData:
    """Hide the labels of clips that are too short for features, and give them the mean features of training clips.

    Nothing is learnt from them or selected by them. Predictions that a submission needs of them are those of the mean.
    """
    if not inputs.short.any():
        return data
    train = data.labelled("train")
    train = train[~inputs.short[train]]
    if not len(train):
        raise VocalgenError(f"{data.manifest}: all labelled training clips are too short for features")
    total = np.zeros(len(inputs.filler))
    for start in range(0, len(train), CHUNK):
        total += inputs[train[start : start + CHUNK]].sum(axis=0, dtype=np.float64)
    inputs.filler = (total / len(train)).astype(np.float32)
    short = np.flatnonzero(inputs.short)
    logger.warning(
        "%d clips are too short for features and are left out, first %s; predictions of them are those of the mean "
        "features",
        len(short),
        data.ids[short[0]],
    )
    return replace(data, truth={name: blank(values, inputs.short) for name, values in data.truth.items()})
