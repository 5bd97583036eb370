"""Options of the launcher, and checks for those that the loop does not support."""

from __future__ import annotations

import os
from contextlib import suppress

from accelerate import Accelerator

from vocalgen.errors import VocalgenError

_SHARDED = ("DEEPSPEED", "FSDP", "MEGATRON_LM")
"""Kinds of distributed training that keep no whole copy of the weights, as averages and resume points need it."""

_ACCUMULATION = "--gradient_accumulation_steps"


def require_plain_launch(accelerator: Accelerator) -> None:
    """Check that `accelerate launch` asks for nothing that the loop would leave undone.

    Raises:
        VocalgenError: gradient accumulation, or weights in shards.
    """
    steps = _option(_launcher(), _ACCUMULATION) or str(accelerator.gradient_accumulation_steps)
    if steps != "1":
        raise VocalgenError(
            f"accelerate launch: {_ACCUMULATION} {steps} is not supported; leave it out (loop.batch_size is the number "
            f"of clips per step)"
        )
    kind = accelerator.distributed_type.value
    if kind in _SHARDED:
        raise VocalgenError(f"accelerate launch: {kind} is not supported; use plain data-parallel training")


def _launcher() -> list[str]:
    """Command line of the `accelerate launch` that started this process; empty without one.

    The launcher hands some of its options to DeepSpeed alone and drops them otherwise, so that only its command line
    still tells of them.
    """
    import psutil  # type: ignore[import-untyped]  # comes with accelerate

    with suppress(psutil.Error, OSError):
        words: list[str] = psutil.Process(os.getppid()).cmdline()
        if "launch" in words or "accelerate.commands.launch" in words:
            return words
    return []


def _option(words: list[str], name: str) -> str | None:
    """Value of the last `name VALUE` or `name=VALUE`, with hyphens or underscores."""
    found = None
    for word, following in zip(words, [*words[1:], ""], strict=False):
        key, separator, value = word.partition("=")
        if key.replace("-", "_") == name.replace("-", "_"):
            found = value if separator else following
    return found
