"""Objective of networks with several outputs: missing labels masked, losses weighed, the best average kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vocalgen.data import WaveCache
from vocalgen.errors import VocalgenError
from vocalgen.mel import MelConfig
from vocalgen.models.emo18 import FRAME
from vocalgen.models.heads import HeadOptions, Output
from vocalgen.models.multitask import MultitaskNetwork
from vocalgen.models.speech import Tuning
from vocalgen.recognition.encoders import TransformersEncoder
from vocalgen.recognition.multitask import Array, Listener
from vocalgen.recognition.scorer import Scorer
from vocalgen.training.augment import SpecAugment
from vocalgen.training.classifier import load_audioset
from vocalgen.training.entry import DataConfig
from vocalgen.training.loop_config import LoopConfig
from vocalgen.training.losses import Weighing, Weights, loss_of
from vocalgen.training.mels import ClipMels
from vocalgen.training.objective import Objective
from vocalgen.training.record import Previews
from vocalgen.training.waves import ClipFrames, ClipWaves


@dataclass(frozen=True)
class Emo18Encoder:
    """See `Emo18`: the network of END2YOU."""

    hidden: int = 256


@dataclass(frozen=True)
class ResidualEncoder:
    """See `ResidualClassifier`."""

    widths: tuple[int, ...] = (24, 48, 96, 192)
    depths: tuple[int, ...] = (1, 1, 2, 2)


@dataclass(frozen=True)
class MobileNetEncoder:
    """See `MobileNetClassifier`."""

    width: float = 0.4


@dataclass(frozen=True)
class SpeechOptions:
    """A speech encoder of transformers, see `models.speech.speech_encoder`.

    Args:
        path: hub id or folder.
        tuning: what of it learns.
        rank: of LoRA.
        learning_rate: of what of it learns.
    """

    path: str
    tuning: Tuning = "frozen"
    rank: int = 8
    learning_rate: float = 1e-5


@dataclass(frozen=True)
class MultitaskConfig:
    """Configuration of `recipes/train_recogniser.py` for `kind: multitask`.

    Args:
        data: `frames` are the longest clip's, tenths of a second for `emo18` and `speech`; a longer one is cropped.
        tasks: names of `tasks.TASKS`; the labels of all their targets are learnt where a clip has them.
        emo18, residual, mobilenet, speech: what hears the clips; one of the four is given.
        mel: the front end of `residual` and `mobilenet`.
        init: what these two start from: an exported recogniser of the same kind and sizes, or a checkpoint file
            of EfficientAT (see `RecogniserConfig`).
        heads: hidden layers and chains.
        ccc, mse: factors of the two losses of values, 1 - CCC of the batch and squared error.
        weighing: of the losses of several outputs, see `Weights`.
        speed: (low, high) of the random speed of a clip, log-uniform; pitch and length change together.
        time_mask: longest part of a clip that is silenced at a random place, as a share of its length.
        augmentation: further changes of log-mels; null: none.
        select: which average is exported: that of the preview with the best mean score of all tasks, or the last.
        validation_split: on which previews score.
    """

    data: DataConfig
    loop: LoopConfig
    tasks: tuple[str, ...]
    kind: Literal["multitask"] = "multitask"
    emo18: Emo18Encoder | None = None
    residual: ResidualEncoder | None = None
    mobilenet: MobileNetEncoder | None = None
    speech: SpeechOptions | None = None
    mel: MelConfig = field(default_factory=MelConfig)
    init: str | None = None
    heads: HeadOptions = field(default_factory=HeadOptions)
    ccc: float = 1.0
    mse: float = 0.5
    weighing: Weighing = "equal"
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    speed: tuple[float, float] = (1.0, 1.0)
    time_mask: float = 0.0
    augmentation: SpecAugment | None = None
    select: Literal["best", "last"] = "best"
    validation_split: str = "validation"

    def __post_init__(self) -> None:
        given = [name for name in ("emo18", "residual", "mobilenet", "speech") if getattr(self, name) is not None]
        if len(given) != 1:
            raise VocalgenError(
                f"one of the sections emo18, residual, mobilenet and speech is needed; "
                f"there is {', '.join(given) or 'none'}"
            )
        if self.init is not None and not self.hears_mels:
            raise VocalgenError("init is for residual and mobilenet only; leave it out")
        if self.augmentation is not None and not self.hears_mels:
            raise VocalgenError("augmentation is for residual and mobilenet only; leave it out")
        if not 0 <= self.time_mask < 1:
            raise VocalgenError(f"time_mask is {self.time_mask}; it must be in [0, 1)")
        if not (self.ccc >= 0 and self.mse >= 0 and self.ccc + self.mse > 0):
            raise VocalgenError(f"ccc is {self.ccc} and mse {self.mse}; none may be negative, one must be positive")

    @property
    def hears_mels(self) -> bool:
        """Whether the encoder takes log-mels."""
        return self.residual is not None or self.mobilenet is not None


@dataclass(frozen=True, eq=False)
class LabelledClips:
    """Packed clips with the labels of all outputs.

    Args:
        truth: by output, (clips, columns) float, NaN where unknown; of classes (clips,) int, -1 where unknown.
        train, validation: clips that are learnt, and predicted for `score`.
        score: figures of predictions of the validation clips by output, the deciding one first, more is better.
    """

    cache: WaveCache
    outputs: tuple[Output, ...]
    truth: Mapping[str, Array]
    train: np.ndarray
    validation: np.ndarray
    score: Callable[[Mapping[str, Array]], dict[str, float]]


class MultitaskObjective(Objective):
    """Trains `MultitaskNetwork`."""

    averaged = ("network",)

    def __init__(self, config: MultitaskConfig, clips: LabelledClips) -> None:
        self.config, self.clips, self.cache = config, clips, clips.cache
        self.indices = clips.train
        torch.manual_seed(config.loop.seed)
        network = _network(config, clips.outputs)
        weights = Weights(tuple(output.name for output in clips.outputs), config.weighing)
        self.networks = {"network": network, "weights": weights}
        self.dataset = _Labelled(_windows(config, clips), clips, config)
        self.optimizers = {"network": _optimizer(config, network, weights)}
        self.state = {"history": torch.full((2, len(clips.outputs)), torch.nan)}
        if config.select == "best":
            learnt = {name for name, value in network.named_parameters() if value.requires_grad}
            buffers = {name for name, _ in network.named_buffers()}
            kept = {name: value for name, value in network.state_dict().items() if name in learnt | buffers}
            self.state |= {"best": torch.tensor(-math.inf)} | {f"best.{name}": v.clone() for name, v in kept.items()}

    def forward_once(self) -> None:
        """One clip through the network, for counting."""
        network, frames = self.networks["network"].eval(), self.config.data.frames
        if self.config.hears_mels:
            network(torch.zeros(1, self.config.mel.n_mels, frames), torch.tensor([frames]))
        elif self.config.emo18 is not None:
            network(torch.zeros(1, frames, FRAME), torch.tensor([frames]))
        else:
            network(torch.zeros(1, frames * FRAME), torch.tensor([frames * FRAME]))

    def step(self, batch: dict[str, Tensor], step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """One step on {x, length (B,), and the labels of every output as `label NAME`}."""
        config = self.config
        truth = {output.name: batch[f"label {output.name}"] for output in self.clips.outputs}
        x = batch["x"]
        if config.augmentation is not None:
            x = config.augmentation.shifted(x, generator)
            x = config.augmentation.masked(x, config.mel.log_floor, generator)
        raw = self.networks["network"](x, batch["length"], truth)
        losses = {
            output.name: loss_of(output, raw[output.name].float(), truth[output.name], config.ccc, config.mse)
            for output in self.clips.outputs
        }
        history = self.state["history"].to(batch["x"].device)
        loss = self.networks["weights"](losses, history)
        norm = self.update("network", loss, "network", "weights")
        latest = self.accelerator.reduce(torch.stack([value.detach() for value in losses.values()]), "mean")
        self.state["history"] = torch.stack([latest, history[0]])
        return {"loss": loss, **{f"loss_{name}": value for name, value in losses.items()}, "grad_norm": norm}

    def label_arrays(self) -> list[Array]:
        """See `Objective.label_arrays`."""
        return list(self.clips.truth.values())

    def clip_ids(self, batch: dict[str, Tensor]) -> list[str]:
        """Manifest ids of the batch."""
        return [self.cache.ids[int(index)] for index in batch["index"]]

    def preview(self, step: int) -> Previews:
        """Scores of the averaged network on the validation clips; the best one is remembered."""
        average, rows = self.average("network"), self.clips.validation
        figures = self.clips.score(
            Listener(average).predict(len(rows), lambda place: self.cache.wave(int(rows[place])))
        )
        decides = next(iter(figures.values()))
        if self.config.select == "best" and decides > float(self.state["best"]):
            self.state["best"] = torch.tensor(decides)
            values = average.state_dict()
            self.state |= {
                name: values[name.removeprefix("best.")].clone() for name in self.state if name.startswith("best.")
            }
        return Previews({}, {}, self.cache.sample_rate, figures)

    def export(self, folder: Path) -> None:
        """Save the averaged network, or the best one that a preview has seen."""
        average = self.average("network")
        if self.config.select == "last" or float(self.state["best"]) == -math.inf:
            average.save_pretrained(folder)
            return
        now = {name: value.clone() for name, value in average.state_dict().items()}
        best = {name.removeprefix("best."): value for name, value in self.state.items() if name.startswith("best.")}
        average.load_state_dict(now | best)
        average.save_pretrained(folder)
        average.load_state_dict(now)


def _network(config: MultitaskConfig, outputs: tuple[Output, ...]) -> MultitaskNetwork:
    """The network before training, on what it starts from."""
    prepare, names = asdict(config.data.prepare), {output.name for output in outputs}
    levels = tuple(kept for level in config.heads.levels if (kept := tuple(name for name in level if name in names)))
    rest = ([asdict(output) for output in outputs], {**asdict(config.heads), "levels": levels}, prepare)
    if config.emo18 is not None:
        return MultitaskNetwork({"kind": "emo18", **asdict(config.emo18)}, *rest)
    if config.speech is not None:
        options = config.speech
        pretrained = TransformersEncoder(options.path)
        extractor: Any = pretrained.extractor
        encoder = {
            "config": {k: v for k, v in pretrained.network.config.to_dict().items() if k != "_name_or_path"},
            "normalise": bool(getattr(extractor, "do_normalize", False)),
            "tuning": options.tuning,
            "rank": options.rank,
        }
        network = MultitaskNetwork({"kind": "speech", **encoder}, *rest)
        network.trunk.load_pretrained(pretrained.network.state_dict())
        return network
    kind = "residual" if config.residual is not None else "mobilenet"
    sizes: Any = config.residual or config.mobilenet
    network = MultitaskNetwork({"kind": kind, "mel": config.mel.to_dict(), **asdict(sizes)}, *rest)
    if config.init is not None and Path(config.init).suffix == ".pt" and kind == "mobilenet":
        load_audioset(network.trunk, config.init)
    elif config.init is not None:
        _go_on_from(network, config.init, config.mel)
    return network


def _go_on_from(network: MultitaskNetwork, folder: str, mel: MelConfig) -> None:
    """Start from the features of an exported recogniser."""
    scorer = Scorer.load(folder)
    scorer.mel.require_equal(mel, f"init {folder}", "the configuration")
    stored, own = scorer.classifier.state_dict(), network.trunk.state_dict()
    wrong = sorted(name for name, value in own.items() if name not in stored or stored[name].shape != value.shape)
    if wrong:
        raise VocalgenError(
            f"init: {folder} is a {type(scorer.classifier).__name__} of other sizes or another kind; give the "
            f"configuration its own: {dict(scorer.classifier.config)}"
        )
    network.trunk.load_state_dict({name: stored[name] for name in own})


def _optimizer(config: MultitaskConfig, network: MultitaskNetwork, weights: Weights) -> torch.optim.Optimizer:
    """AdamW; a speech encoder learns at its own rate, and the weights of losses do not decay."""
    slow = [p for p in network.trunk.parameters() if p.requires_grad] if config.speech is not None else []
    known = {id(p) for p in slow}
    fast = [p for p in network.parameters() if p.requires_grad and id(p) not in known]
    groups: list[dict[str, Any]] = [{"params": fast}]
    if slow and config.speech is not None:
        groups.append({"params": slow, "lr": config.speech.learning_rate})
    if any(True for _ in weights.parameters()):
        groups.append({"params": list(weights.parameters()), "weight_decay": 0.0})
    return torch.optim.AdamW(groups, config.learning_rate, weight_decay=config.weight_decay)


def _windows(config: MultitaskConfig, clips: LabelledClips) -> Dataset[dict[str, Any]]:
    """Random windows of clips, as the encoder takes them."""
    if config.hears_mels:
        return ClipMels(clips.cache, clips.train, config.data, config.mel, config.speed)
    if config.emo18 is not None:
        return ClipFrames(clips.cache, config.data, config.speed)
    return ClipWaves(clips.cache, config.data, config.speed)


class _Labelled(Dataset[dict[str, Any]]):
    """Windows with their labels, a part of each silenced."""

    def __init__(self, windows: Dataset[dict[str, Any]], clips: LabelledClips, config: MultitaskConfig) -> None:
        self.windows, self.time_mask = windows, config.time_mask
        self.time, self.floor = (1, config.mel.log_floor) if config.hears_mels else (0, 0.0)
        self.names = (
            ("mel", "frames") if config.hears_mels else ("frames", "count") if config.emo18 else ("wave", "samples")
        )
        self.truth = {
            output.name: torch.from_numpy(clips.truth[output.name]).to(
                torch.long if output.kind == "classes" else torch.float32
            )
            for output in clips.outputs
        }

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        """{x, length, index, and `label NAME` of every output} for a (clip index, seed) pair."""
        item = self.windows[key]
        x, length = (item[name] for name in self.names)
        rng = np.random.default_rng((key[1], 1))
        width = int(rng.uniform(0, self.time_mask) * length)
        x.narrow(self.time, int(rng.integers(0, length - width + 1)), width).fill_(self.floor)
        labels = {f"label {name}": truth[key[0]] for name, truth in self.truth.items()}
        return {"x": x, "length": length, "index": key[0], **labels}
