"""What a run leaves to look at and listen to: metrics.jsonl, samples/ and TensorBoard."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from vocalgen import audio
from vocalgen.atomic import atomic_path, atomic_write_text
from vocalgen.ownership import record

logger = logging.getLogger(__name__)

LOG = "metrics.jsonl"


@dataclass(frozen=True)
class Previews:
    """Mel pictures (n_mels, L), sounds (samples,) and validation figures by name."""

    mels: Mapping[str, Tensor]
    sounds: Mapping[str, Tensor]
    sample_rate: int
    scalars: Mapping[str, float] = field(default_factory=dict)


class Record:
    """The record of the run in a folder, written on from `step`: what was noted beyond it is forgotten."""

    def __init__(self, run: Path, step: int) -> None:
        self.samples, self.log = run / "samples", run / LOG
        self.tracker = _tracker(run, step)
        record(self.log, grows=True)
        if self.log.is_file():
            self._forget_after(step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Append a line to metrics.jsonl, say it, and hand it to TensorBoard."""
        line = {"step": step, **{key: round(value, 6) for key, value in values.items()}}
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        logger.info("  ".join(f"{key} {value:.6g}" for key, value in line.items()))
        if self.tracker is not None:
            for key, value in line.items():
                self.tracker.add_scalar(key, value, step)

    def previews(self, step: int, previews: Previews) -> None:
        """Keep the latest pictures and sounds in samples/, and all of them in TensorBoard."""
        if previews.scalars:
            self.scalars(step, previews.scalars)
        for name, mel in previews.mels.items():
            low, high = mel.min(), mel.max()
            picture = ((mel - low) / (high - low + 1e-6)).flip(0).cpu()
            with atomic_path(self._sample(name, "png")) as temporary:
                Image.fromarray((255 * picture).byte().numpy()).save(temporary)
            if self.tracker is not None:
                self.tracker.add_image(name, picture[None], step)
        for name, wave in previews.sounds.items():
            audio.write(self._sample(name, "wav"), wave.float().cpu().numpy(), previews.sample_rate)
            if self.tracker is not None:
                self.tracker.add_audio(name, wave.cpu().clamp(-1.0, 1.0), step, previews.sample_rate)

    def close(self) -> None:
        """Write out what TensorBoard still holds."""
        if self.tracker is not None:
            self.tracker.close()

    def _sample(self, name: str, suffix: str) -> Path:
        return self.samples / f"{name.replace('/', '-')}.{suffix}"

    def _forget_after(self, step: int) -> None:
        """Drop the lines of steps that will be taken again, and lines that a kill or a power failure damaged."""
        entries, damaged = read_log(self.log)
        if damaged:
            logger.warning(
                "%s: dropped %d damaged line%s (torn or not JSON), first line %d",
                *(self.log, len(damaged), "s" * (len(damaged) > 1), damaged[0]),
            )
        kept = [line for logged, line in entries if logged <= step]
        if damaged or len(kept) < len(entries):
            atomic_write_text(self.log, "".join(f"{line}\n" for line in kept))


def read_log(path: Path) -> tuple[list[tuple[int, str]], list[int]]:
    """Steps and lines of a `metrics.jsonl`, and the numbers of lines that are damaged; nothing where there is none."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return [], []
    *lines, torn = text.split("\n")  # every line ends in a line feed, so that a kill leaves what comes after the last
    entries, damaged = [], []
    for number, line in enumerate(lines, 1):
        step = _step_of(line)
        if step is None:
            damaged.append(number)
        else:
            entries.append((step, line))
    return entries, damaged + [len(lines) + 1] * bool(torn)


def _step_of(line: str) -> int | None:
    """Step of a line of the log; None where the line is damaged."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, TypeError, KeyError):
        return None
    return step if isinstance(step, int) and not isinstance(step, bool) else None


def _tracker(run: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        logger.warning("TensorBoard is not installed (pip install 'vocalgen[train]'); only metrics.jsonl is written")
        return None
    writer = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1 if step else None)
    for events in (run / "tensorboard").glob("events.*"):
        record(events, grows=True)
    return writer
