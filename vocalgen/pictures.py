"""Figures by matplotlib, an optional dependency, without its global state."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vocalgen.atomic import atomic_path
from vocalgen.errors import VocalgenError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

FORMATS = ("png", "svg", "pdf")

MARK = "vocalgen-pixels"
"""Text field of a PNG with the checksum of its pixels."""


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


def save_figure(figure: Figure, path: str | Path, overwrite: bool | None = None) -> None:
    """Write a figure; it appears whole or not at all. `overwrite` as for `vocalgen.atomic.atomic_path`.

    A PNG carries the mark of vocalgen, see `is_own_picture`.

    Raises:
        VocalgenError: the suffix is none of `FORMATS`, or the file cannot be written.
    """
    require_picture(path)
    with atomic_path(path, overwrite, is_own_picture) as temporary:
        figure.savefig(temporary, dpi=120, facecolor="white")
        if temporary.suffix.lower() == ".png":
            _mark(temporary)


def is_own_picture(path: Path) -> bool:
    """Whether a PNG carries the mark of `save_figure`, and its pixels and text fields are unchanged."""
    from PIL import Image, PngImagePlugin, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            marked = isinstance(image, PngImagePlugin.PngImageFile) and image.text == _texts(image)
            return marked and "exif" not in image.info
    except (OSError, ValueError, UnidentifiedImageError):
        return False


def _mark(path: Path) -> None:
    from PIL import Image, PngImagePlugin

    with Image.open(path) as image:
        info = PngImagePlugin.PngInfo()
        for name, text in _texts(image).items():
            info.add_text(name, text)
        image.save(path, format="PNG", pnginfo=info)


def _texts(image: Image.Image) -> dict[str, str]:
    """Text fields of a PNG by vocalgen; loads the pixels."""
    checksum = hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest()
    return {"Software": "vocalgen", MARK: checksum}
