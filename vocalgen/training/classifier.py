"""Objective of the emotion classifier: soft-label cross-entropy on augmented log-mels in memory."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vocalgen.data import WaveCache, collate
from vocalgen.errors import VocalgenError
from vocalgen.float32 import uniform
from vocalgen.mel import MelConfig
from vocalgen.models.classifier import MelClassifier, Recogniser, ResidualClassifier
from vocalgen.models.mobilenet import MobileNetClassifier
from vocalgen.models.widen import widen
from vocalgen.recognition.scorer import Scorer
from vocalgen.training.augment import SpecAugment
from vocalgen.training.entry import DataConfig
from vocalgen.training.loop_config import LoopConfig
from vocalgen.training.mels import ClipMels
from vocalgen.training.objective import Objective
from vocalgen.training.record import Previews


@dataclass(frozen=True)
class ClassifierModel:
    """Sizes, see `MelClassifier`."""

    embedding_dim: int = 64
    stem: tuple[int, int] = (16, 24)
    widths: tuple[int, ...] = (128, 192, 256)
    depths: tuple[int, ...] = (2, 2, 2)
    expansion: int = 3
    dropout: float = 0.1


@dataclass(frozen=True)
class ResidualModel:
    """Sizes, see `ResidualClassifier`."""

    embedding_dim: int = 64
    widths: tuple[int, ...] = (24, 48, 96, 192)
    depths: tuple[int, ...] = (1, 1, 2, 2)
    dropout: float = 0.2


@dataclass(frozen=True)
class MobileNetModel:
    """Sizes, see `MobileNetClassifier`."""

    embedding_dim: int = 64
    width: float = 0.4
    dropout: float = 0.2


@dataclass(frozen=True)
class Augmentation(SpecAugment):
    """Random changes of training clips; all on log-mels.

    Args:
        mixup: both parameters of the beta distribution of the mixing weight (arXiv 1710.09412); 0: none.
        stretch: (low, high) of the speed, log-uniform.
    """

    mixup: float = 0.2
    stretch: tuple[float, float] = (0.87, 1.15)


@dataclass(frozen=True)
class RecogniserConfig:
    """What the configurations of the classifiers share.

    Args:
        label_smoothing: share of the target spread evenly over all classes.
        init: what the network starts from: the folder of an exported recogniser of the same kind and sizes; for
            `kind: residual` also of narrower stages, see `vocalgen.models.widen`; for `kind: mobilenet` also a
            checkpoint file of EfficientAT of the same width (`mn04_as_mAP_432.pt` for 0.4), of which the convolutions
            are taken; null: nothing.
        teacher: folder of a trained recogniser of the same front end and emotions, whose probabilities for what the
            network is shown, mixed and masked as it is, become part of the target (arXiv 1503.02531, 2106.05237);
            null: labels alone.
        teacher_share: that part.
        validation_split: split whose accuracy is logged every `loop.preview_every` steps.
    """

    data: DataConfig
    loop: LoopConfig
    mel: MelConfig = field(default_factory=MelConfig)
    augmentation: Augmentation = field(default_factory=Augmentation)
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    label_smoothing: float = 0.1
    init: str | None = None
    teacher: str | None = None
    teacher_share: float = 0.5
    validation_split: str = "validation"

    def __post_init__(self) -> None:
        if not 0 <= self.teacher_share <= 1:
            raise VocalgenError(f"teacher_share is {self.teacher_share}; it must be in [0, 1]")


@dataclass(frozen=True)
class ClassifierConfig(RecogniserConfig):
    """Configuration of `recipes/train_recogniser.py` for `kind: mel`, the default: ConvNeXt over frames."""

    kind: Literal["mel"] = "mel"
    model: ClassifierModel = field(default_factory=ClassifierModel)


@dataclass(frozen=True)
class ResidualConfig(RecogniserConfig):
    """Configuration of `recipes/train_recogniser.py` for `kind: residual`: a residual network over bands and frames."""

    kind: Literal["residual"] = "residual"
    model: ResidualModel = field(default_factory=ResidualModel)


@dataclass(frozen=True)
class MobileNetConfig(RecogniserConfig):
    """Configuration of `recipes/train_recogniser.py` for `kind: mobilenet`: MobileNetV3 over bands and frames."""

    kind: Literal["mobilenet"] = "mobilenet"
    model: MobileNetModel = field(default_factory=MobileNetModel)


NETWORKS: dict[str, Callable[..., Recogniser]] = {
    "mel": MelClassifier,
    "residual": ResidualClassifier,
    "mobilenet": MobileNetClassifier,
}


class ClassifierObjective(Objective):
    """Trains `MelClassifier`, `ResidualClassifier` or `MobileNetClassifier`."""

    averaged = ("classifier",)

    def __init__(self, config: ClassifierConfig | ResidualConfig | MobileNetConfig) -> None:
        self.config = config
        self.cache = config.data.open(config.mel)
        self.indices = labelled_clips(self.cache, config.data.split, learnt=True)
        self.held_out = labelled_clips(self.cache, config.validation_split)
        self.dataset = ClipMels(self.cache, self.indices, config.data, config.mel, config.augmentation.stretch)
        self._validation = ClipMels(self.cache, self.held_out, config.data, config.mel, (1.0, 1.0))
        torch.manual_seed(config.loop.seed)
        classifier = NETWORKS[config.kind](config.mel.to_dict(), self.cache.emotions.emotions, **asdict(config.model))
        if (
            config.init is not None
            and isinstance(classifier, MobileNetClassifier)
            and Path(config.init).suffix == ".pt"
        ):
            load_audioset(classifier, config.init)
        elif config.init is not None:
            self._go_on_from(classifier, config.init)
        self.teacher = self._load_teacher(config.teacher) if config.teacher is not None else None
        self.networks = {"classifier": classifier}
        self.optimizers = {
            "classifier": torch.optim.AdamW(
                classifier.parameters(),
                config.learning_rate,
                betas=(0.9, 0.98),
                weight_decay=config.weight_decay,
            )
        }

    def forward_once(self) -> None:
        """One clip through the network, for counting."""
        self.networks["classifier"].eval()(torch.zeros(1, self.config.mel.n_mels, self.config.data.frames))

    def step(self, batch: dict[str, Tensor], step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """One step on {mel (B, n_mels, L), frames (B,), intensities (B, K)}."""
        options, floor = self.config.augmentation, self.config.mel.log_floor
        mel = options.shifted(batch["mel"], generator)
        mel, frames, target = mixup(mel, batch["frames"], targets(batch["intensities"]), options.mixup, generator)
        mel = options.masked(mel, floor, generator)
        if self.teacher is not None:
            target = torch.lerp(target, self._taught(mel, frames), self.config.teacher_share)
        logits = self.networks["classifier"](mel, frames)
        loss = F.cross_entropy(logits, target, label_smoothing=self.config.label_smoothing)
        accuracy = (logits.argmax(1) == target.argmax(1)).float().mean()
        norm = self.update("classifier", loss, "classifier")
        return {"loss": loss, "accuracy": accuracy, "grad_norm": norm}

    def _load_teacher(self, folder: str) -> Recogniser:
        """The frozen teacher, found now rather than at the first step."""
        return self._load("teacher", folder)

    def _load(self, role: str, folder: str) -> Recogniser:
        scorer = Scorer.load(folder)
        scorer.mel.require_equal(self.config.mel, f"{role} {folder}", "the configuration")
        if scorer.emotions.emotions != self.cache.emotions.emotions:
            raise VocalgenError(f"{role} {folder} knows other emotions than the manifest has, or in another order")
        return scorer.classifier

    def _go_on_from(self, classifier: Recogniser, folder: str) -> None:
        first = self._load("init", folder)
        try:
            if isinstance(first, ResidualClassifier) and isinstance(classifier, ResidualClassifier):
                widen(first, classifier, torch.Generator().manual_seed(self.config.loop.seed))
            else:
                classifier.load_state_dict(first.state_dict())
        except (RuntimeError, ValueError) as error:
            why = str(error).splitlines()[0]
            raise VocalgenError(
                f"init: {folder} is a {type(first).__name__} of other sizes or another kind ({why})"
            ) from error

    @torch.no_grad()
    def _taught(self, mel: Tensor, frames: Tensor) -> Tensor:
        assert self.teacher is not None
        return self.teacher.to(mel.device)(mel, frames).softmax(1)

    def clip_ids(self, batch: dict[str, Tensor]) -> list[str]:
        """Manifest ids of the batch."""
        return [self.cache.ids[int(index)] for index in batch["index"]]

    def preview(self, step: int) -> Previews:
        """Accuracy of the averaged classifier on the validation split."""
        average = self.average("classifier")
        device = next(average.parameters()).device
        order = sorted(self.held_out, key=lambda index: len(self._validation.mels[index]))
        logits, target = [], []
        for start in range(0, len(order), 64):
            batch = self._whole([int(index) for index in order[start : start + 64]])
            logits.append(average(batch["mel"].to(device), batch["frames"].to(device)).float().cpu())
            target.append(targets(batch["intensities"]))
        return Previews({}, {}, self.config.mel.sample_rate, held_out_figures(torch.cat(logits), torch.cat(target)))

    def export(self, folder: Path) -> None:
        """Save the averaged classifier."""
        average = self.average("classifier")
        average.save_pretrained(folder)

    def _whole(self, indices: list[int]) -> dict[str, Tensor]:
        """A batch of whole clips, padded to the longest."""
        mels = [torch.from_numpy(self._validation.mels[index]).float() for index in indices]
        padded = torch.nn.utils.rnn.pad_sequence(mels, batch_first=True, padding_value=self.config.mel.log_floor)
        labels = collate([{"intensities": torch.from_numpy(self.cache.intensities[index])} for index in indices])
        return {"mel": padded.transpose(1, 2), "frames": torch.tensor([len(mel) for mel in mels]), **labels}


def load_audioset(classifier: MobileNetClassifier, path: str) -> None:
    """Start from an EfficientAT checkpoint, read without unpickling anything but tensors.

    Raises:
        VocalgenError: no such file, or not one of the network's width.
    """
    try:
        classifier.load_audioset(torch.load(path, map_location="cpu", weights_only=True))
    except FileNotFoundError as error:
        raise VocalgenError(
            f"init: no file {path}; EfficientAT's page on GitHub offers its mn checkpoints for download (MIT licence), "
            f"init=null starts without one"
        ) from error
    except (OSError, pickle.UnpicklingError, RuntimeError, EOFError, TypeError, AttributeError) as error:
        raise VocalgenError(f"init: {path} is not a file of tensors that PyTorch can read safely ({error})") from error
    except ValueError as error:
        raise VocalgenError(f"init: {path} does not fit the network: {error}") from error


def held_out_figures(logits: Tensor, target: Tensor) -> dict[str, float]:
    """Accuracy, top-3 accuracy and cross-entropy of (n, K) logits against (n, K) distributions, as logs name them."""
    hits = logits.topk(min(3, logits.shape[1]), dim=1).indices == target.argmax(1, keepdim=True)
    return {
        "validation_accuracy": float(hits[:, 0].float().mean()),
        "validation_top3": float(hits.any(1).float().mean()),
        "validation_loss": float(F.cross_entropy(logits, target)),
    }


def labelled_clips(cache: WaveCache, split: str, learnt: bool = False) -> np.ndarray:
    """Return the indices of the clips of a split whose emotion is known.

    Args:
        learnt: whether a recogniser is trained on them, which takes two emotions.

    Raises:
        VocalgenError: the split has no such clips, or too few emotions.
    """
    clips = cache.select(split)
    values = np.nan_to_num(cache.intensities[clips])
    known = values.any(axis=1)
    if not known.any():
        raise VocalgenError(f"{cache.folder}: none of the {len(clips)} clips in split {split!r} has a label; add them")
    strongest = np.unique(values[known].argmax(axis=1))
    if learnt and len(strongest) < 2:
        raise VocalgenError(
            f"{cache.folder}: all clips in split {split!r} are of {cache.emotions.emotions[strongest[0]]}; "
            f"a recogniser needs at least two emotions there, choose other splits"
        )
    return clips[known]


def targets(intensities: Tensor) -> Tensor:
    """(B, K) intensities in [0, 1] -> distributions over the classes; unknown (NaN) ones count as 0."""
    known = intensities.nan_to_num(0.0)
    return known / known.sum(1, keepdim=True).clamp(min=1e-6)


def mixup(
    mel: Tensor, frames: Tensor, target: Tensor, alpha: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Mix each clip with the one before it in the batch, with weights of Beta(alpha, alpha) not below one half."""
    if alpha <= 0:
        return mel, frames, target
    # A beta variable from uniform ones (Johnk), because torch's own takes no generator.
    u, v = uniform(2, 16, len(mel), generator=generator).clamp(min=1e-30).log() / alpha
    inside = torch.logaddexp(u, v) <= 0
    first = inside.float().argmax(0, keepdim=True)
    weight = torch.sigmoid(u - v).gather(0, first)[0]
    weight = torch.where(inside.any(0), torch.maximum(weight, 1 - weight), torch.ones_like(weight))
    mel = torch.lerp(mel.roll(1, 0), mel, weight[:, None, None])
    frames = torch.where(weight < 1, torch.maximum(frames, frames.roll(1, 0)), frames)
    return mel, frames, torch.lerp(target.roll(1, 0), target, weight[:, None])
