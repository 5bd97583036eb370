"""Comparison of stored settings with the present ones, and the text that names the differences."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LISTED = 5
"""Number of differences that a message names."""

CHECKSUM = re.compile(r"[0-9a-f]{32,}")
"""Hexadecimal digests, of which the first `CHECKSUM_DIGITS` are shown."""

CHECKSUM_DIGITS = 16


@dataclass(frozen=True)
class Difference:
    """One setting whose stored value is not the present one; its text is "name: X there, Y now".

    Args:
        name: dotted name.
        stored: stored value; None if the setting is not set.
        present: present value; None if the setting is not set.
    """

    name: str
    stored: Any
    present: Any

    def __str__(self) -> str:
        return f"{self.name}: {_shown(self.stored)} there, {_shown(self.present)} now"


def flatten(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten nested settings.

    Sections are joined by dots. Items of lists that hold sections are numbered from 1; other lists are values.

    Returns:
        Values by dotted name, in the order of `settings`.

    Example:
        >>> flatten({"loop": {"steps": 3}, "encoders": [{"name": "a"}], "widths": [1, 2]})
        {'loop.steps': 3, 'encoders.1.name': 'a', 'widths': [1, 2]}
    """
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        section = _section(value)
        if section is None:
            flat[str(name)] = value
        else:
            flat |= {f"{name}.{inner}": leaf for inner, leaf in flatten(section).items()}
    return flat


def differences(stored: Mapping[str, Any], present: Mapping[str, Any]) -> list[Difference]:
    """Compare stored settings with the present ones, nested or flat. An absent setting equals one that is None.

    Returns:
        Differences, sorted by name.
    """
    there, now = flatten(stored), flatten(present)
    pairs = [Difference(name, there.get(name), now.get(name)) for name in sorted(there.keys() | now.keys())]
    return [pair for pair in pairs if not _equal(pair.stored, pair.present)]


def describe(found: Sequence[Difference], limit: int = LISTED) -> str:
    """Name differences in one line.

    Args:
        found: differences, at least one.
        limit: how many are named; the others are counted.

    Example:
        >>> describe(differences({"steps": 2, "seed": 0}, {"steps": 3, "seed": 1}), limit=1)
        'seed: 0 there, 1 now; 1 more'
    """
    named = [str(difference) for difference in found[:limit]]
    return "; ".join([*named, *([f"{len(found) - limit} more"] if len(found) > limit else [])])


def _section(value: Any) -> Mapping[str, Any] | None:
    """Inner settings of a value; None for a plain value."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        return {str(place): item for place, item in enumerate(value, 1)}
    return None


def _equal(stored: Any, present: Any) -> bool:
    return bool(stored == present) or repr(stored) == repr(present)  # NaN does not equal itself


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text[:CHECKSUM_DIGITS] if CHECKSUM.fullmatch(text) else text
