"""Settings that all trainings share."""

from __future__ import annotations

from dataclasses import dataclass

from vocalgen.errors import VocalgenError

LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class LoopConfig:
    """How long and how carefully to train.

    Args:
        run: run folder.
        steps: optimiser steps in all.
        batch_size: clips a step over all processes.
        ema_decay: decay of the averaged weights, warmed up as min(decay, (1 + t) / (10 + t)).
        ema_decays: decays of further averages, which recipes that know of them export beside the first.
        warmup: steps of linear learning-rate warm-up.
        cooldown: last steps over which the learning rate falls linearly to zero.
        grad_clip: largest gradient norm.
        log_every, preview_every, save_every: steps between log lines, pictures and sounds, resume points.
        keep: resume points kept.
        workers: data-loading processes.
    """

    run: str
    steps: int
    batch_size: int
    seed: int = 0
    ema_decay: float = 0.999
    ema_decays: tuple[float, ...] = ()
    warmup: int = 200
    cooldown: int = 0
    grad_clip: float = 1.0
    log_every: int = 50
    preview_every: int = 1000
    save_every: int = 500
    keep: int = 1
    workers: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "log_every", "preview_every", "save_every", "keep"):
            if getattr(self, name) < 1:
                raise VocalgenError(f"loop.{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("warmup", "cooldown", "workers", "seed"):
            if getattr(self, name) < 0:
                raise VocalgenError(f"loop.{name} is {getattr(self, name)}; it must not be negative")
        if self.seed > LARGEST_SEED:
            raise VocalgenError(f"loop.seed is {self.seed}; it must not exceed 2^63 - 1")
        for name, decay in (("ema_decay", self.ema_decay), *(("ema_decays", decay) for decay in self.ema_decays)):
            if not 0 <= decay < 1:
                raise VocalgenError(f"loop.{name} is {decay}; it must be in [0, 1)")
        if len({self.ema_decay, *self.ema_decays}) <= len(self.ema_decays):
            raise VocalgenError(f"loop.ema_decays is {list(self.ema_decays)}; decays must differ, also from ema_decay")
        if not self.grad_clip > 0:
            raise VocalgenError(f"loop.grad_clip is {self.grad_clip}; it must be positive")
