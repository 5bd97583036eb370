"""How the verbs of `vocalgen metrics` print numbers and refuse what has none."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from vocalgen.errors import VocalgenError

Json = Annotated[bool, typer.Option("--json", metavar="", help="Print an object with all that belongs to the number.")]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Of random draws.")]
Draws = Annotated[int, typer.Option(metavar="N", min=0, help="Of the bootstrap interval in --json; 0 leaves it out.")]


@contextmanager
def refused() -> Iterator[None]:
    """What a metric refuses is something the user can mend."""
    try:
        yield
    except (ValueError, ArithmeticError) as error:
        raise VocalgenError(str(error)) from error


def print_value(value: float | dict[str, float], as_json: bool, **context: Any) -> None:
    """A number, or some by name; NaN and infinity are null in JSON, which has no words for them."""
    if as_json:
        numbers = value if isinstance(value, dict) else {"value": value}
        print(json.dumps(_plain({**numbers, **context}), ensure_ascii=False))
    elif isinstance(value, dict):
        print("\n".join(f"{name} {number:.6g}" for name, number in value.items()))
    else:
        print(f"{value:.6g}")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def warn(lines: Iterable[str]) -> None:
    """Sentences on stderr, where they do not mix with numbers."""
    for line in lines:
        typer.secho(f"warning: {line}", err=True)


def choice(option: str, value: str, allowed: Sequence[str]) -> Any:
    """A value that is allowed, or VocalgenError."""
    if value not in allowed:
        raise VocalgenError(f"{option} {value}: choose {', '.join(allowed)}")
    return value
