"""Figures by matplotlib, an optional dependency, without its global state."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vocalgen.atomic import atomic_path
from vocalgen.errors import VocalgenError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")


def require_matplotlib() -> None:
    """Raise VocalgenError unless pictures can be drawn; loads nothing."""
    if importlib.util.find_spec("matplotlib") is None:
        raise VocalgenError("pictures need matplotlib; install it with: pip install 'vocalgen[train]'")


def require_picture(path: str | Path) -> None:
    """Raise VocalgenError unless a picture can be drawn and the suffix of `path` is one of `FORMATS`."""
    require_matplotlib()
    if Path(path).suffix.lstrip(".").lower() not in FORMATS:
        raise VocalgenError(f"cannot draw {path}: unknown picture format; use one of .{', .'.join(FORMATS)}")


def new_figure(width: float, height: float, **options: Any) -> Figure:
    """An empty figure, in inches.

    Raises:
        VocalgenError: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), **options)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure; it appears whole or not at all.

    Raises:
        VocalgenError: the suffix is none of `FORMATS`, or the file cannot be written.
    """
    require_picture(path)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120, facecolor="white")
