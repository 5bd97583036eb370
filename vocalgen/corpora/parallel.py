"""A function over many clips in several processes, in order, with a Ctrl-C that ends at once and without tracebacks."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from vocalgen.errors import VocalgenError

T = TypeVar("T")
R = TypeVar("R")


def workers(processes: int) -> ProcessPoolExecutor:
    """A pool of new processes that end with this one, even if it is killed."""
    return ProcessPoolExecutor(
        processes, mp_context=multiprocessing.get_context("spawn"), initializer=_end_with_the_parent
    )


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
