"""Commands that are printed for copying into a shell."""

from __future__ import annotations

import shlex
from pathlib import Path


def command(*words: str | int | Path) -> str:
    """A `vocalgen` command line with quotes where a shell needs them.

    >>> command("rate", "serve", Path("my study"), "--invite", 10)
    "vocalgen rate serve 'my study' --invite 10"
    """
    return shlex.join(["vocalgen", *(_word(word) for word in words)])


def _word(word: str | int | Path) -> str:
    """A word; a path that begins like an option gets its folder in front."""
    return f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word)
