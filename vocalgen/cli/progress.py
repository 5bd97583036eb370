"""What long commands show on standard error, and what they keep from it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


@contextmanager
def progress(*doing: str, total: int | None = None) -> Iterator[tuple[Callable[[int], None], ...]]:
    """Bars on standard error if that is a terminal, one after the other as they begin.

    Args:
        doing: what a bar counts.
        total: items of each, if known.

    Yields:
        a function for each that takes the number of further items done.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        tasks = [bar.add_task(name, total=total, visible=not place) for place, name in enumerate(doing)]
        yield tuple(partial(_advance, bar, task) for task in tasks)


def _advance(bar: Progress, task: TaskID, done: int) -> None:
    bar.update(task, advance=done, visible=True)


@contextmanager
def decoders_silenced() -> Iterator[None]:
    """Keep what libraries in C, here and in new processes, write to standard error from the terminal.

    What Python writes there still comes.
    """
    shown, python = os.dup(2), sys.stderr
    nothing = os.open(os.devnull, os.O_WRONLY)
    python.flush()
    os.dup2(nothing, 2)
    os.close(nothing)
    if _is_descriptor(python, 2):
        sys.stderr = os.fdopen(os.dup(shown), "w", 1, python.encoding, python.errors)
    try:
        yield
    finally:
        if sys.stderr is not python:
            sys.stderr.close()
            sys.stderr = python
        os.dup2(shown, 2)
        os.close(shown)


def _is_descriptor(stream: TextIO, number: int) -> bool:
    try:
        return stream.fileno() == number
    except (OSError, ValueError):
        return False
