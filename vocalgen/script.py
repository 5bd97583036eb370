"""Process settings and errors that all command lines share: one line for people, and an exit code."""

from __future__ import annotations

import argparse
import errno
import io
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from vocalgen.errors import VocalgenError
from vocalgen.libraries import loading_failure, one_line


def settle_process() -> None:
    """Make the process independent of the caller's terminal and notebook; to be called before arguments are parsed.

    Characters that the code page of standard output lacks become question marks. matplotlib, which commands use to
    write files alone, gets a backend without a display: a notebook leaves its own in the environment, which other
    installations lack.
    """
    os.environ["MPLBACKEND"] = "agg"
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in ("strict", "surrogateescape"):
        sys.stdout.reconfigure(errors="replace")


_HOME = re.compile(r"^((?:-\w|[^=/\\~]*=)?)(~[/\\][^/\\]*)")


@contextmanager
def reported(interrupted: str, debug: bool = False) -> Iterator[None]:
    """Run a script's body: its log goes to stderr, and so does an error a person can mend, before the script exits.

    A bug keeps its traceback. Exit codes are those of `explain`.

    Args:
        interrupted: what to say on Ctrl-C.
        debug: show the traceback of every error.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        yield
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        explained = explain(error)
        if explained is None or debug:
            raise
        message, code = explained
        if message:
            print(f"error: {message}", file=sys.stderr)
        sys.exit(code)


def expand_home(arguments: Sequence[str] | None = None) -> list[str]:
    """Return a command line with the user's home folder in place of `~` where a value begins with it.

    Shells expand `~/x` alone, but not `--out=~/x`, `-o~/x`, `NAME=~/x` and `key=~/x`.

    Args:
        arguments: None takes those of the process.
    """
    given = sys.argv[1:] if arguments is None else arguments
    return [_HOME.sub(lambda found: found[1] + os.path.expanduser(found[2]), argument) for argument in given]


def add_debug(parser: argparse.ArgumentParser) -> None:
    """The option whose value `reported` takes."""
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def explain(error: BaseException) -> tuple[str, int] | None:
    """One line about an error and the exit code that goes with it; None for a bug.

    Exit codes: 2 something the user can mend; 130 Ctrl-C; 141 the reader of a pipe has left, which needs no words.
    """
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", 130
    if isinstance(error, BrokenPipeError):
        return "", 141
    if isinstance(error, VocalgenError):
        return one_line(error), 2
    failure = loading_failure(error)
    if failure is not None:
        return failure, 2
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or one_line(error)}; {_advice(error)}", 2
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"out of memory: {one_line(error)}; ask for fewer clips at a time", 2
    return None


def _advice(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space or choose another place"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "check the permissions or choose another place"
    return "check the path" if error.errno else "`vocalgen doctor` checks the installation"
