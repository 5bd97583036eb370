"""A function over many clips in several processes, in order, with a Ctrl-C that ends at once and without tracebacks."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import BaseContext, SpawnContext, SpawnProcess
from typing import Any, TypeVar

from vocalgen.errors import VocalgenError

T = TypeVar("T")
R = TypeVar("R")


class _Process(SpawnProcess):
    """A new process that does not run the caller's script again.

    Others import `__main__` first: a script without `if __name__ == "__main__":` would start over in each of them, wait
    there for locks that its parent holds, and never end. What works here lives in modules of the package.
    """

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        with _main_hidden():
            return SpawnProcess._Popen(process_obj)  # type: ignore[attr-defined]


class _Context(SpawnContext):
    Process = _Process


@contextmanager
def _main_hidden() -> Iterator[None]:
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def loader_context() -> BaseContext | None:
    """Context of processes that load training data: None, torch's own, where they are forked."""
    return None if multiprocessing.get_context().get_start_method() == "fork" else _Context()


def workers(processes: int) -> ProcessPoolExecutor:
    """A pool of new processes that end with this one, even if it is killed."""
    return ProcessPoolExecutor(processes, mp_context=_Context(), initializer=_end_with_the_parent)


def _end_with_the_parent() -> None:
    threading.Thread(target=_wait_for_the_end_of_the_parent, daemon=True).start()


def _wait_for_the_end_of_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def parallel_map(
    function: Callable[[T], R], items: Sequence[T], processes: int, chunk: int
) -> Generator[R, None, None]:
    """`function` of every item, in their order; what is not yet begun is dropped when the generator is closed.

    Args:
        function: of the top level of a module, or a `partial` of one: new processes import it.
        processes: how many work at once; with 1, or with fewer than two chunks of items, everything happens here.
        chunk: items handed over at a time.

    Raises:
        VocalgenError: a process died.
    """
    if processes == 1 or len(items) < 2 * chunk:
        yield from map(function, items)
        return
    pool = workers(processes)
    try:
        with _interrupts_ignored():  # by the children as well, for good: Ctrl-C is the parent's affair
            results = pool.map(function, items, chunksize=chunk)
        yield from results
    except BrokenProcessPool as error:
        raise VocalgenError(
            "a process died (out of memory, or a clip that crashes the decoder); try again with one process"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C for a moment; processes started meanwhile inherit that. Only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
