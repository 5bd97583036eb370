"""Bars of long work, on terminals alone: in a log they would be empty lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

T = TypeVar("T")


@contextmanager
def progress(*doing: str, total: int | None = None, shown: bool = True) -> Iterator[tuple[Callable[[int], None], ...]]:
    """Bars on standard error if that is a terminal, one after the other as they begin; they go away at the end.

    Args:
        doing: what a bar counts.
        total: items of each, if known.
        shown: False shows none.

    Yields:
        a function for each that takes the number of further items done.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not (shown and console.is_terminal)) as bar:
        tasks = [bar.add_task(name, total=total, visible=not place) for place, name in enumerate(doing)]
        yield tuple(partial(_advance, bar, task) for task in tasks)


def track(items: Iterable[T], doing: str, total: int, shown: bool = True) -> Iterator[T]:
    """The items one by one, with a bar as of `progress`."""
    with progress(doing, total=total, shown=shown) as (advance,):
        for item in items:
            yield item
            advance(1)


def _advance(bar: Progress, task: TaskID, done: int) -> None:
    bar.update(task, advance=done, visible=True)
