"""Resume points of a run folder, and what a run depends on, which every resume point carries."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from torch import nn

from vocalgen.atomic import atomic_path, locked
from vocalgen.errors import VocalgenError
from vocalgen.ownership import FolderKind, remove, require_own_folder, require_replaceable
from vocalgen.settings_diff import Difference, describe, differences, flatten
from vocalgen.training.record import LOG, read_log
from vocalgen.weights import weights_sha256

if TYPE_CHECKING:
    from vocalgen.training.objective import Objective

logger = logging.getLogger(__name__)

STATE, EXPORT, CONFIG = "state", "export", "config.yaml"
"""Names in the run folder: resume points, weights for use, resolved configuration."""

RUN, EXPORTED = FolderKind("a training run"), FolderKind("an exported network")
RESUME_POINT = FolderKind("a resume point", cache=True)

_STEP = re.compile(r"step-(0|[1-9][0-9]*)")

_WITHOUT_EFFECT = (
    *(f"loop.{name}" for name in ("run", "steps", "log_every", "preview_every", "save_every", "keep", "workers")),
    *("data.manifest", "data.cache", "latents"),
)
"""Settings that do not change what a step does; the training clips are compared themselves."""

_ORDERING = ("loop.batch_size", "loop.seed", "training clips")
"""Changes after which steps and epochs no longer meet."""


class ResumePoints:
    """The folders `state/step-NUMBER` of a run; other names there are the user's copies."""

    def __init__(self, run: Path, keep: int) -> None:
        self.run, self.keep = run, keep

    def steps(self) -> list[int]:
        """Steps of the resume points, ascending."""
        folders = [folder for folder in (self.run / STATE).glob("step-*") if folder.is_dir()]
        return sorted(int(found[1]) for folder in folders if (found := _STEP.fullmatch(folder.name)))

    def newest(self) -> int:
        """Step of the newest resume point; 0 where there is none."""
        return max(self.steps(), default=0)

    def folder(self, step: int) -> Path:
        """Folder of the resume point of a step."""
        return self.run / STATE / f"step-{step}"

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Write a resume point, then remove the oldest ones beyond `keep`.

        Raises:
            NoSpaceLeft: the disk is full; older resume points stay.
            VocalgenError: the folder cannot be written.
        """
        with atomic_path(self.folder(step), kind=RESUME_POINT) as folder:
            folder.mkdir()
            torch.save(state, folder / "state.pt")
        for old in self.steps()[: -self.keep]:
            remove(self.folder(old))

    def load(self) -> tuple[Path, dict[str, Any]] | None:
        """File and content of the newest resume point; None where there is none.

        Raises:
            VocalgenError: the file is damaged.
        """
        steps = self.steps()
        if not steps:
            return None
        path = self.folder(steps[-1]) / "state.pt"
        try:
            return path, torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for damaged files
            reason = " ".join(str(error).split())[:120]
            raise VocalgenError(f"{path} is damaged ({reason}); {self._way_out(steps)}") from error

    def _way_out(self, steps: list[int]) -> str:
        if len(steps) > 1:
            return f"remove {self.folder(steps[-1])} to go on from step {steps[-2]}"
        rest = "there is no other resume point"
        if not _is_whole(self.run / EXPORT):
            return f"{rest}; start again in a new `loop.run` folder"
        return (
            f"{rest}, but {self.run / EXPORT} is whole: start a new `loop.run` folder, with these weights as `init` "
            f"where the recipe has one"
        )

    def require_beginning(self, save_every: int) -> None:
        """Check that a run without a resume point has not trained further than its first one.

        Raises:
            VocalgenError: `export` or `metrics.jsonl` tell of a later step, which a new beginning would overwrite.
        """
        logged = max((step for step, _ in read_log(self.run / LOG)[0]), default=0)
        if (self.run / EXPORT).exists():
            evidence = f"{EXPORT}/ holds the weights of an earlier training"
        elif logged > 0 and not logged <= self._first_save(save_every):
            evidence = f"{LOG} tells of step {logged}"
        else:
            return
        raise VocalgenError(
            f"{self.run}: there is no resume point in {STATE}/, but {evidence}; training would begin at step 0 and "
            f"overwrite it. Choose a new `loop.run` folder, or move this one away"
        )

    def _first_save(self, save_every: int) -> int:
        """Step of the first resume point by the recorded configuration, which may differ from the present one."""
        try:
            loop = yaml.safe_load((self.run / CONFIG).read_text(encoding="utf-8"))["loop"]
            return min(int(loop["save_every"]), int(loop["steps"]))
        except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
            return save_every


def _is_whole(export: Path) -> bool:
    """Whether the weights in a folder can be read."""
    files = sorted(export.rglob("*.safetensors"))
    try:
        for file in files:
            with safe_open(file, "pt") as tensors:
                tensors.keys()
    except (OSError, SafetensorError):
        return False
    return bool(files)


def require_run_folder(run: str | Path) -> None:
    """Check that training may write into a run folder. Creates nothing.

    Raises:
        VocalgenError: it holds files of other origin, or somebody has changed the files that a run writes.
    """
    require_own_folder(run, RUN, "choose a new folder as loop.run")
    samples = sorted(path for path in Path(run).glob("samples/*") if path.is_file())
    for file in (Path(run) / CONFIG, Path(run) / "environment.json", *samples):
        require_replaceable(file)
    require_replaceable(Path(run) / EXPORT, kind=EXPORTED)


@contextmanager
def alone(run: Path) -> Iterator[None]:
    """Hold a run folder for this process.

    Raises:
        VocalgenError: another process trains there, or the folder cannot be written.
    """
    with locked(
        run / "training", f"another process trains in {run}; wait until it ends, or choose another `loop.run` folder"
    ):
        yield


def require_idle(run: Path) -> None:
    """Check that no other process trains in a run folder, without making it.

    Raises:
        VocalgenError: as `alone`.
    """
    if run.is_dir() and os.environ.get("RANK", "0") == "0":  # the others of `accelerate launch` would meet each other
        with alone(run):
            pass


def dependencies(objective: Objective, settings: Mapping[str, Any], launch: Mapping[str, Any]) -> dict[str, Any]:
    """Values besides the weights that decide the result of a run: settings, clips, frozen networks, the launch."""
    networks = {name: value for name, value in vars(objective).items() if isinstance(value, nn.Module)}
    return {
        **{name: value for name, value in flatten(settings).items() if name not in _WITHOUT_EFFECT},
        **{f"{name}.sha256": weights_sha256(network) for name, network in networks.items()},
        **launch,
        "training clips": _clips(objective),
    }


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """Compare the dependencies that both sides know: resume points of other releases may have others."""
    common = before.keys() & now.keys()
    return differences({name: before[name] for name in common}, {name: now[name] for name in common})


def tell_changes(step: int, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Warn of dependencies that differ from those of the resume point of a step."""
    found = changes(before, now)
    if not found:
        return
    reordered = any(change.name in _ORDERING for change in found)
    epoch = "; clips of the current epoch may be drawn twice or not at all" if reordered else ""
    logger.warning("changed since step %d was saved, and in force from here on: %s%s", step, describe(found), epoch)


def _clips(objective: Objective) -> str:
    """Digest of the training clips: ids, lengths, labels."""
    rows = objective.indices
    digest = hashlib.sha256(json.dumps([objective.cache.ids[int(row)] for row in rows]).encode())
    digest.update((objective.cache.offsets[rows + 1] - objective.cache.offsets[rows]).tobytes())
    for labels in objective.label_arrays():
        digest.update(labels[rows].tobytes())
    return digest.hexdigest()
