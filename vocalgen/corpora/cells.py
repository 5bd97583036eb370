"""Cells of label tables: blanks, numbers with decimal points or commas, and what a column may hold."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

UNKNOWN = frozenset({"", "nan", "na", "n/a", "#n/a", "<na>", "null", "none", "?"})
"""How spreadsheets, pandas and the official tables write blank cells, in lower case."""

_LONGEST = max(map(len, UNKNOWN))
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")


@dataclass(frozen=True)
class Column:
    """Rule for the cells of a column.

    Args:
        low, high: limits of numbers.
        words: the only values, if not numbers.
    """

    low: float = 0.0
    high: float = 1.0
    words: tuple[str, ...] = ()

    def problem(self, text: str) -> str:
        """Say what is wrong with a cell; "" if nothing is."""
        if self.words:
            return "" if text in self.words else f"{text!r} is none of {', '.join(self.words)}"
        try:
            value = float(text)
        except ValueError:
            return f"{text!r} is not a number"
        if not math.isfinite(value):
            return f"{text} is not a finite number"
        return "" if self.low <= value <= self.high else f"{text} is outside [{self.low:g}, {self.high:g}]"


def known(value: Any, blanks: Collection[str] = UNKNOWN) -> Any:
    """Return a cell without surrounding spaces, or "" if it is one of the ways to write a blank.

    Args:
        blanks: these ways, in lower case.

    >>> known(" awe "), known("NaN"), known(None), known(0.5)
    ('awe', '', '', 0.5)
    """
    if isinstance(value, str):
        text = value.strip()
        return "" if len(text) <= _LONGEST and text.lower() in blanks else text
    return "" if value is None or (isinstance(value, float) and math.isnan(value) and "nan" in blanks) else value


def parse_number(text: str, decimal_comma: bool = False) -> float:
    """Read a cell as a number.

    Args:
        decimal_comma: accept 0,5 too, for tables whose cells are not separated by commas.

    Raises:
        ValueError: it is not a number; the message says how to write it if only the decimal comma is in the way.

    >>> parse_number("0,5", decimal_comma=True)
    0.5
    """
    commas = _DECIMAL_COMMA.fullmatch(text.strip()) is not None
    try:
        return float(text.replace(",", ".") if commas and decimal_comma else text)
    except ValueError:
        hint = "; write decimals with a point" if commas else ""
        raise ValueError(f"{text!r} is not a number{hint}") from None


def scale_hint(values: Iterable[object]) -> str:
    """Say how to rescale labels that should be in [0, 1], if most of the column are on another scale; else "".

    >>> scale_hint(["", "0", "64", "100"])
    '; the labels look like 1 to 100: divide them by 100'
    """
    numbers = [value for value in map(_positive, values) if value]
    top = max(numbers, default=0.0)
    if top < 2 or 2 * sum(value > 1 for value in numbers) <= len(numbers):
        return ""
    if 10 < top <= 100:
        return "; the labels look like 1 to 100: divide them by 100"
    return f"; the labels go up to {top:g}: bring them into [0, 1]"


def _positive(value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return 0.0
    return number if number > 0 else 0.0
