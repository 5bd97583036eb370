"""Balanced sets of clips for evaluation: a folder an emotion, a manifest, resumable, in any number of processes.

What is done is what the manifests say: while a run is under way every finished batch leaves a small manifest in
`.parts`, written after its clips; at the end these become `manifest.jsonl`. A kill at any moment costs at most the
batches in hand. What is made again comes out the same: clip i of emotion k (its position in the checkpoint's vocabulary
of K) has seed + i K + k, and its arithmetic does not depend on its neighbours (`exact` of `Synthesis.mels`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vocalgen import __version__, audio
from vocalgen.atomic import atomic_write_text, sweep
from vocalgen.emotions import Condition, Vocabulary, condition_from_labels, slug
from vocalgen.errors import VocalgenError
from vocalgen.generation.settings import Settings, require_seeds, whole_number
from vocalgen.generation.tagging import clip_tags
from vocalgen.ownership import FolderKind, own_folder, remove, require_own_folder, require_replaceable
from vocalgen.settings_diff import describe, differences

if TYPE_CHECKING:
    from vocalgen.generation.synthesis import Synthesis

MANIFEST, RUN, PARTS = "manifest.jsonl", "run.json", ".parts"
"""Names in the output folder: one line a clip, what the clips were made with, manifests of finished batches."""

RESUMED = "resumed.jsonl"
"""What the parts of a killed run become."""


CLIPS = FolderKind("generated clips")


@dataclass(frozen=True)
class Recipe:
    """What decides every sample of every clip; kept as `run.json`, which later runs into the folder must equal.

    Args:
        checkpoint: see `vocalgen.generation.checkpoint.checkpoint_sha256`.
        seed: base of all seeds.
        sampling: settings of the generator.
        duration: seconds asked for, or None.
        trim: whether silence was cut.
        format: audio format.
    """

    checkpoint: str
    seed: int
    sampling: Settings
    duration: float | None = None
    trim: bool = True
    format: str = "wav"

    def to_dict(self) -> dict[str, Any]:
        """As stored."""
        return {**vars(self), "sampling": self.sampling.to_dict(), "vocalgen": __version__}


@dataclass(frozen=True)
class Job:
    """One clip of the plan; `file` is relative to the output folder."""

    file: str
    condition: Condition
    seed: int


@dataclass
class Timing:
    """Seconds this process spent, and what came of them."""

    clips: int = 0
    audio: float = 0.0
    untrimmed: float = 0.0
    generator: float = 0.0
    vocoder: float = 0.0
    writing: float = 0.0

    @property
    def wall(self) -> float:
        """Seconds from noise to files."""
        return self.generator + self.vocoder + self.writing


@dataclass
class Run:
    """One process's part of filling `folder`."""

    synthesis: Synthesis
    recipe: Recipe
    folder: Path
    jobs: Sequence[Job]
    rank: int = 0
    world: int = 1
    batch_size: int = 0
    timing: Timing = field(default_factory=Timing)

    def batches(self) -> list[list[list[tuple[int, Job]]]]:
        """Batches of tiles of (position in the plan, job) that hold clips still to make; this process's share."""
        done = finished(self.folder)
        size = self.synthesis.tile
        numbered = list(enumerate(self.jobs))
        tiles = [numbered[start : start + size] for start in range(0, len(numbered), size)]
        # Shares follow from the plan alone: what is done changes while processes start one after the other.
        mine = [tile for tile in tiles[self.rank :: self.world] if any(job.file not in done for _, job in tile)]
        step = max(1, -(-self.batch_size // size))
        return [mine[start : start + step] for start in range(0, len(mine), step)]

    def fill(self, advance: Callable[[int], None] = lambda clips: None) -> Timing:
        """Make this process's share; `advance` hears of every batch of clips that is safe.

        Raises:
            VocalgenError: a clip cannot be written; another process has begun the folder anew with other settings.
        """
        done = finished(self.folder)
        for batch in self.batches():
            made = [clip for tile in batch for clip in self._waves([job for _, job in tile])]
            prepare(self.folder, self.recipe, first=False)
            start = time.perf_counter()
            lines = []
            for job, wave in made:
                if job.file not in done:
                    lines.append(self._write(job, wave))
            atomic_write_text(self.folder / PARTS / f"{batch[0][0][0]:08d}.jsonl", "".join(lines))
            self.timing.writing += time.perf_counter() - start
            advance(len(lines))
        return self.timing

    def _waves(self, jobs: Sequence[Job]) -> list[tuple[Job, np.ndarray]]:
        times = [time.perf_counter()]
        mels = self.synthesis.mels(
            [job.condition for job in jobs],
            [job.seed for job in jobs],
            self.recipe.duration,
            self.recipe.sampling,
            exact=True,
        )
        if mels.is_cuda:
            mels[0, 0, 0].item()  # the clock waits for the device
        times.append(time.perf_counter())
        waves = self.synthesis.waves(mels)
        times.append(time.perf_counter())
        clips = [(job, self.synthesis.finish(wave, self.recipe.trim)) for job, wave in zip(jobs, waves)]
        times.append(time.perf_counter())
        for name, seconds in zip(("generator", "vocoder", "writing"), np.diff(times)):
            setattr(self.timing, name, getattr(self.timing, name) + float(seconds))
        self.timing.untrimmed += waves.size / self.synthesis.sample_rate
        return clips

    def _write(self, job: Job, wave: np.ndarray) -> str:
        rate = self.synthesis.sample_rate
        recipe = self.recipe
        tags = clip_tags(
            self.synthesis,
            job.condition.label,
            job.seed,
            recipe.sampling,
            duration=recipe.duration,
            trimmed=recipe.trim,
        )
        audio.write(self.folder / job.file, wave, rate, recipe.format, tags=tags)
        self.timing.clips += 1
        self.timing.audio += len(wave) / rate
        line = {
            "file": job.file,
            "emotion": job.condition.label,
            "intensities": job.condition.intensities,
            "seed": job.seed,
            "checkpoint": self.recipe.checkpoint,
            "sampling": self.recipe.sampling.to_dict(),
            "asked_seconds": self.recipe.duration,
            "trimmed": self.recipe.trim,
            "seconds": round(len(wave) / rate, 6),
            "sample_rate": rate,
            "bytes": (self.folder / job.file).stat().st_size,
            "peak": round(float(np.abs(wave).max()), 6),
        }
        return json.dumps(line) + "\n"


def plan(emotions: Iterable[str], per_emotion: int, vocabulary: Vocabulary, seed: int, format: str) -> list[Job]:
    """Clips 0 to per_emotion - 1 of each emotion, in the vocabulary's order; see the module for their seeds.

    The seed of a clip does not depend on which other emotions are made, nor on how many: a folder can be extended.

    Raises:
        VocalgenError: an unknown or repeated emotion, none at all, per_emotion < 1, seeds out of range.
    """
    per_emotion, seed = whole_number(per_emotion, "per_emotion"), whole_number(seed, "seed")
    positions = [vocabulary.index(name) for name in emotions]
    if not positions or per_emotion < 1:
        raise VocalgenError(f"need at least one emotion and one clip of it, got {len(positions)} and {per_emotion}")
    if len(set(positions)) < len(positions):
        raise VocalgenError("an emotion is listed twice; name each once")
    require_seeds(seed, per_emotion * len(vocabulary))
    jobs = []
    for k in sorted(positions):
        name = slug(vocabulary.emotions[k])
        condition = condition_from_labels({vocabulary.emotions[k]: 1.0}, vocabulary)
        for i in range(per_emotion):
            own = seed + i * len(vocabulary) + k
            jobs.append(Job(f"{name}/{name}-{own}.{format}", condition, own))
    return jobs


def prepare(folder: Path, recipe: Recipe, first: bool = True) -> None:
    """Make the output folder for `recipe`, or check that an existing one was made with it.

    Args:
        first: no other process works in the folder yet, so that remains of a killed run can be cleared.

    Raises:
        VocalgenError: the folder holds clips of another recipe, or files of another origin. A folder of another recipe
            that holds no clip yet is taken over.
    """
    require_own_folder(folder, CLIPS)
    require_replaceable(folder / MANIFEST)
    stored = folder / RUN
    wanted = json.loads(json.dumps(recipe.to_dict()))
    if stored.is_file():
        try:
            found = json.loads(stored.read_text(encoding="utf-8"))
        except ValueError as error:
            raise VocalgenError(f"{stored} is damaged ({error}); choose another folder") from error
        if not isinstance(found, dict):
            raise VocalgenError(f"{stored} is damaged (not a JSON object); choose another folder")
        changes = differences(found, wanted)
        if changes and _holds_clips(folder):
            raise VocalgenError(
                f"{folder} holds clips made with other settings ({describe(changes)}); choose another folder or the "
                f"same settings"
            )
        if first:
            _sweep(folder)
        if changes:
            for lists_lost_clips in (folder / MANIFEST, folder / PARTS):
                remove(lists_lost_clips)
            atomic_write_text(stored, json.dumps(wanted, indent=1) + "\n")
    else:
        atomic_write_text(own_folder(folder, CLIPS) / RUN, json.dumps(wanted, indent=1) + "\n")


def finished(folder: Path) -> dict[str, dict[str, Any]]:
    """Manifest lines of all clips that are there and whole, by file."""
    return {file: line for file, line in _listed(folder).items() if _is_whole(folder / file, line)}


def damaged(folder: Path) -> list[str]:
    """Clips that are there but shorter than their manifest lines say, as copies from full disks are."""
    return [
        file
        for file, line in _listed(folder).items()
        if (folder / file).is_file() and not _is_whole(folder / file, line)
    ]


def _listed(folder: Path) -> dict[str, dict[str, Any]]:
    files = [folder / MANIFEST, *sorted((folder / PARTS).glob("*.jsonl"))]
    return {line["file"]: line for file in files for line in _read_lines(file)}


def _is_whole(path: Path, line: dict[str, Any]) -> bool:
    """Whether a file is as long as its manifest line says, or longer, as one with further tags is."""
    try:
        return path.stat().st_size >= line.get("bytes", 1)
    except OSError:
        return False


def _holds_clips(folder: Path) -> bool:
    """Whether a sub-folder holds a file, listed or not: a kill may come between a clip and its manifest line."""
    return any(
        path.is_file() and not path.name.startswith(".") for path in folder.glob("*/*") if path.parent.name != PARTS
    )


def conclude(folder: Path) -> int:
    """Join the manifests of all batches to `manifest.jsonl`; the number of clips in it."""
    lines = sorted(finished(folder).values(), key=lambda line: (_hot(line["intensities"]), line["seed"]))
    atomic_write_text(folder / MANIFEST, "".join(json.dumps(line) + "\n" for line in lines))
    remove(folder / PARTS)
    return len(lines)


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """Manifest lines of a file; none where there is no file."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise VocalgenError(f"{path} is damaged ({error}); remove it, and its clips are made again") from error


def _hot(intensities: Sequence[float]) -> int:
    return list(intensities).index(max(intensities))


def _sweep(folder: Path) -> None:
    """Remove temporary files of a killed run and join its part manifests, whose names a new run uses again."""
    for place in (folder, *(path for path in folder.iterdir() if path.is_dir())):
        sweep(place)
    parts = sorted((folder / PARTS).glob("*.jsonl"))
    joined = "".join(part.read_text(encoding="utf-8") for part in parts)
    if parts:
        atomic_write_text(folder / PARTS / RESUMED, joined)
    for part in parts:
        if part.name != RESUMED:
            remove(part)
