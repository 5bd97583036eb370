"""Objective of Emo18 with an LSTM as a classifier: cross-entropy on frames of raw audio."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vocalgen.data import CacheConfig
from vocalgen.errors import VocalgenError
from vocalgen.mel import MEL_16K_EXVO, MelConfig
from vocalgen.models.emo18 import FRAME, SAMPLE_RATE, Emo18, frames_of
from vocalgen.training.classifier import held_out_figures, labelled_clips, targets
from vocalgen.training.entry import DataConfig
from vocalgen.training.loop_config import LoopConfig
from vocalgen.training.objective import Objective
from vocalgen.training.record import Previews
from vocalgen.training.waves import ClipFrames


@dataclass(frozen=True)
class Emo18Config:
    """Configuration of `recipes/train_recogniser.py` for `kind: emo18`.

    Args:
        data: 16 kHz; `frames` are the longest clip's frames of 0.1 s.
        hidden: size of the LSTM and of the embedding; 256 in the official network.
        speed: (low, high) of the random speed of a clip, log-uniform; pitch and length change together.
        label_smoothing: share of the target spread evenly over all classes.
        validation_split: split whose accuracy is logged every `loop.preview_every` steps.
    """

    data: DataConfig
    loop: LoopConfig
    kind: Literal["emo18"] = "emo18"
    hidden: int = 256
    speed: tuple[float, float] = (0.87, 1.15)
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    label_smoothing: float = 0.1
    validation_split: str = "validation"

    def __post_init__(self) -> None:
        if self.data.prepare.sample_rate != SAMPLE_RATE:
            raise VocalgenError(
                f"data.prepare.sample_rate is {self.data.prepare.sample_rate}; Emo18 hears {SAMPLE_RATE} Hz only"
            )


class Emo18Objective(Objective):
    """Trains `Emo18`."""

    averaged = ("emo18",)

    def __init__(self, config: Emo18Config) -> None:
        self.config = config
        self.cache = config.data.open(_rate_only(config.data.prepare))
        self.indices = labelled_clips(self.cache, config.data.split, learnt=True)
        self.held_out = labelled_clips(self.cache, config.validation_split)
        self.dataset = ClipFrames(self.cache, config.data, config.speed)
        torch.manual_seed(config.loop.seed)
        emo18 = Emo18(self.cache.emotions.emotions, config.hidden)
        self.networks = {"emo18": emo18}
        self.optimizers = {
            "emo18": torch.optim.AdamW(emo18.parameters(), config.learning_rate, weight_decay=config.weight_decay)
        }

    def forward_once(self) -> None:
        """One clip through the network, for counting."""
        count = self.config.data.frames
        self.networks["emo18"].eval()(torch.zeros(1, count, FRAME), torch.tensor([count]))

    def step(self, batch: dict[str, Tensor], step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """One step on {frames (B, T, 1600), count (B,), intensities (B, K)}."""
        target = targets(batch["intensities"])
        logits = self.networks["emo18"](batch["frames"], batch["count"])
        loss = F.cross_entropy(logits, target, label_smoothing=self.config.label_smoothing)
        accuracy = (logits.argmax(1) == target.argmax(1)).float().mean()
        return {"loss": loss, "accuracy": accuracy, "grad_norm": self.update("emo18", loss, "emo18")}

    def clip_ids(self, batch: dict[str, Tensor]) -> list[str]:
        """Manifest ids of the batch."""
        return [self.cache.ids[int(index)] for index in batch["index"]]

    def preview(self, step: int) -> Previews:
        """Accuracy of the averaged network on the validation split."""
        average = self.average("emo18")
        device = next(average.parameters()).device
        logits = []
        for start in range(0, len(self.held_out), 64):
            frames = [frames_of(torch.from_numpy(self.cache.wave(i))) for i in self.held_out[start : start + 64]]
            counts = torch.tensor([len(clip) for clip in frames])
            padded = torch.nn.utils.rnn.pad_sequence(frames, batch_first=True)
            logits.append(average(padded.to(device), counts).float().cpu())
        intensities = torch.from_numpy(self.cache.intensities[self.held_out])
        figures = held_out_figures(torch.cat(logits), targets(intensities))
        return Previews({}, {}, SAMPLE_RATE, figures)

    def export(self, folder: Path) -> None:
        """Save the averaged network."""
        self.average("emo18").save_pretrained(folder)


def _rate_only(prepare: CacheConfig) -> MelConfig:
    """A front end of the same rate: raw audio has none of its own."""
    return MEL_16K_EXVO if prepare.sample_rate == MEL_16K_EXVO.sample_rate else MelConfig()
