"""What libraries write into the terminal behind Python's back."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def decoders_silenced() -> Iterator[None]:
    """Keep what libraries in C, here and in new processes, write to standard error from the terminal.

    What Python writes there still comes.
    """
    python = sys.stderr
    if python is None:  # it was closed from the beginning
        yield
        return
    shown = os.dup(2)
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
