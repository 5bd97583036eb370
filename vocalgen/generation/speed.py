"""How fast checkpoints generate, and how large they are."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vocalgen.generation.batch import Recipe, Run, Timing, plan, prepare
from vocalgen.generation.checkpoint import checkpoint_sha256
from vocalgen.generation.synthesis import Synthesis, Synthesiser
from vocalgen.shipped import weight_files


def generate(synthesis: Synthesis, emotions: Sequence[str], per_emotion: int) -> Timing:
    """One run from noise to files, into a temporary folder."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "clips"
        recipe = Recipe("benchmark", 0, synthesis.settings())
        prepare(folder, recipe)
        jobs = plan(emotions, per_emotion, synthesis.emotions, 0, "wav")
        return Run(synthesis, recipe, folder, jobs).fill()


def speeds(
    systems: Mapping[str, Synthesiser], emotions: Sequence[str], per_emotion: int, repeats: int
) -> dict[str, dict[str, Any]]:
    """Speed and size of checkpoints, measured in turns so that other work on the machine hits all alike.

    Returns:
        by system: `clips_per_second`, `real_time` (audio with the silence that is cut / time) and
        `generator_real_time` (the same for the network that makes the mel alone), each (median, least, greatest);
        `parameters`, `megabytes`, `sha256`.
    """
    for synthesis in systems.values():
        synthesis(emotions[0])  # first calls pay for set-up
    runs: dict[str, list[Timing]] = {name: [] for name in systems}
    for _ in range(repeats):
        for name, synthesis in systems.items():
            runs[name].append(generate(synthesis, emotions, per_emotion))
    return {
        name: {
            "clips_per_second": _spread([run.clips / run.wall for run in runs[name]]),
            "real_time": _spread([run.untrimmed / run.wall for run in runs[name]]),
            "generator_real_time": _spread([run.untrimmed / run.generator for run in runs[name]]),
            **_size(synthesis),
        }
        for name, synthesis in systems.items()
    }


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)


def _size(synthesis: Synthesiser) -> dict[str, Any]:
    assert synthesis.folder is not None
    files = weight_files(synthesis.folder)
    return {
        "parameters": sum(value.numel() for value in synthesis.parameters()),
        "megabytes": sum(file.stat().st_size for file in files) / 1e6,
        "sha256": checkpoint_sha256(synthesis.folder),
    }
