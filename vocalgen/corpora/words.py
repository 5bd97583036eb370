"""Counted and listed things in messages."""

from __future__ import annotations

from collections.abc import Sequence

SHOWN = 5
"""Names that are listed."""


def count(number: int, thing: str) -> str:
    """A number of things.

    >>> count(1, "cell"), count(1200, "clip")
    ('1 cell', '1,200 clips')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def some(names: Sequence[str]) -> str:
    """The first names, and how many there are besides.

    >>> some("abcdefg")
    'a, b, c, d, e and 2 more'
    """
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
