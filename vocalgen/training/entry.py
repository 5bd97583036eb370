"""The command line that all training recipes share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from vocalgen.config import load_config, read_values
from vocalgen.data import CacheConfig, WaveCache
from vocalgen.errors import VocalgenError
from vocalgen.mel import MelConfig
from vocalgen.script import add_debug, expand_home, reported, settle_process
from vocalgen.training.loop import Trainer, plain_values
from vocalgen.training.objective import Objective
from vocalgen.training.resume import require_idle, require_run_folder


@dataclass(frozen=True)
class DataConfig:
    """Where the clips are and how windows are drawn from them.

    Args:
        manifest: CSV written by `vocalgen data prepare`.
        cache: folder for the packed audio (built on first use).
        frames: mel frames of a training window.
        gain_db: (low, high) of the random gain.
        max_shift: largest random delay of a clip in its window, seconds.
    """

    manifest: str
    cache: str
    frames: int
    gain_db: tuple[float, float] = (-6.0, 0.0)
    max_shift: float = 0.0
    split: str = "train"
    prepare: CacheConfig = field(default_factory=CacheConfig)

    def open(self, mel: MelConfig) -> WaveCache:
        """The packed clips.

        Raises:
            VocalgenError: they have another rate than the front end.
        """
        if self.prepare.sample_rate != mel.sample_rate:
            raise VocalgenError(
                f"data.prepare.sample_rate is {self.prepare.sample_rate}, mel.sample_rate {mel.sample_rate}; "
                f"give both the same"
            )
        return WaveCache.of(self.manifest, self.cache, self.prepare)


Kind = tuple[type[Any], Callable[[Any], Objective]]
"""A configuration class and the objective it describes."""


def main(
    config_class: type[Any], objective_class: Callable[[Any], Objective], arguments: Sequence[str] | None = None
) -> None:
    """Parse `CONFIG.yaml [key=value ...] [--dry-run]`, then train or describe; mistakes end with status 2."""
    _main(lambda options: (config_class, objective_class), arguments)


def main_by_kind(kinds: Mapping[str, Kind], default: str, arguments: Sequence[str] | None = None) -> None:
    """`main` for a recipe whose configuration names by `kind` what is trained."""

    def choose(options: argparse.Namespace) -> Kind:
        name = read_values(options.config, options.overrides).get("kind", default)
        if not isinstance(name, str) or name not in kinds:
            raise VocalgenError(f"{options.config}: kind {name!r} is unknown; choose {', '.join(kinds)}")
        return kinds[name]

    _main(choose, arguments)


def _main(choose: Callable[[argparse.Namespace], Kind], arguments: Sequence[str] | None) -> None:
    settle_process()
    parser = argparse.ArgumentParser(description="Train a model; repeat the command to go on where it stopped.")
    parser.add_argument("config", help="YAML configuration")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to it, e.g. loop.steps=1000")
    parser.add_argument(
        "--dry-run", action="store_true", help="print configuration, parameters, FLOPs and steps per epoch"
    )
    add_debug(parser)
    options = parser.parse_intermixed_args(expand_home(arguments))
    with reported("stopped; repeat the command to go on from the last save", options.debug):
        config_class, objective_class = choose(options)
        config = load_config(config_class, options.config, options.overrides)
        require_run_folder(config.loop.run)
        if not options.dry_run:
            require_idle(Path(config.loop.run))  # before the clips are prepared, which takes long
        try:
            objective = objective_class(config)
        except ValueError as error:  # sizes that do not fit together
            raise VocalgenError(f"{options.config}: {error}") from error
        if options.dry_run:
            _describe(config, objective)
        else:
            Trainer(objective, config.loop, config).train()


def _describe(config: Any, objective: Objective) -> None:
    print(yaml.safe_dump(plain_values(config), sort_keys=False))
    for name, network in objective.networks.items():
        print(f"{name}: {sum(p.numel() for p in network.parameters()):,} parameters")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        objective.forward_once()
    epoch = -(-len(objective.indices) // config.loop.batch_size)
    print(f"forward pass of one clip: {counter.get_total_flops() / 1e9:.2f} GFLOP")
    print(f"{len(objective.indices):,} clips, {epoch:,} steps per epoch, {config.loop.steps / epoch:.1f} epochs")
