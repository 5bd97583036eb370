"""The recipes of networks with several outputs, made small enough to train in a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vocalgen.config import load_config, read_values
from vocalgen.tasks.labels import multitask_objective
from vocalgen.training.loop import Trainer
from vocalgen.training.multitask import MultitaskConfig

SMALL: dict[str, list[str]] = {
    "hume_vocalburst/end2you": ["emo18={hidden: 8}", "data.frames=6"],
    "hume_vocalburst/end2you_exvo": ["emo18={hidden: 8}", "data.frames=6"],
    "hume_vocalburst/fewshot": ["emo18={hidden: 8}", "data.frames=6"],
    "hume_vocalburst/ssl_multitask": ["data.frames=4"],
    "hume_vocalburst/ssl_chain": ["data.frames=4"],
    "hume_vocalburst/ssl_order": ["data.frames=4"],
    "hume_vocalburst/mobilenet_multitask": ["data.frames=32", "mobilenet.width=0.1"],
    "hume_vocalburst/residual_multitask": ["data.frames=32"],
    "hume_prosody/ssl_multitask": ["data.frames=4"],
    "modulate_sonata/ssl_multitask": ["data.frames=6"],
    "emogator/ssl_multitask": ["data.frames=4"],
    "emogator/residual_multitask": ["data.frames=32", "residual={widths: [8, 8], depths: [1, 1]}"],
}
LOOP = ["loop.batch_size=4", "loop.warmup=0", "loop.cooldown=0", "loop.log_every=1", "loop.preview_every=2"]


def overrides(name: str, recipe: Path, encoder: Path, run: Path) -> list[str]:
    values = read_values(recipe)
    path = [f"speech.path={encoder}"] if "speech" in values else []
    return [*SMALL[name], *LOOP, *path, f"loop.run={run}"]


def recipe_config(name: str, root: Path, encoder: Path, corpora: Any, run: Path, steps: int = 2) -> MultitaskConfig:
    recipe = root / "recipes" / f"{name}.yaml"
    manifest = corpora(read_values(recipe)["tasks"][-1])
    rate = read_values(recipe)["data"].get("prepare", {}).get("sample_rate", 24_000)
    data = [f"data.manifest={manifest}", f"data.cache={manifest.parent / str(rate)}", f"loop.steps={steps}"]
    return load_config(MultitaskConfig, recipe, [*overrides(name, recipe, encoder, run), *data])


def trained(config: MultitaskConfig) -> Trainer:
    trainer = Trainer(multitask_objective(config), config.loop, config)
    trainer.train()
    return trainer
