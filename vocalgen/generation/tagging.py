"""Tags of the clips that a generator makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vocalgen.generation.settings import Settings
from vocalgen.generation.synthesis import Synthesis
from vocalgen.tags import Tags


def clip_tags(synthesis: Synthesis, emotion: str, seed: int, settings: Settings, **further: Any) -> Tags:
    """Tags of a clip.

    Args:
        emotion: name or mixture.
        seed: seed of the clip.
        settings: settings of the generator.
        further: other settings that decide the samples; those that are None are left out.
    """
    given = {name: value for name, value in further.items() if value is not None}
    return Tags(model_name(synthesis.folder), emotion, seed, {**settings.to_dict(), **given})


def model_name(folder: Path | None) -> str:
    """Name of a checkpoint: its hub id, or the name of its folder; paths of the user's machine stay private."""
    if folder is None:
        return "unnamed"
    whole = folder.resolve()
    repository = whole.parent.parent.name  # the hub's cache: models--OWNER--NAME/snapshots/REVISION
    if whole.parent.name == "snapshots" and repository.startswith("models--"):
        return repository.removeprefix("models--").replace("--", "/")
    return whole.name
