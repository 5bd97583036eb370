"""Files of an inversion, clip and latent: both name the recording that they were made from.

The clip names it in its tags, the latent in the metadata of its safetensors file. So the next inversion of the same
recording replaces them, and one of another recording with the same file name does not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocalgen import tags
from vocalgen.atomic import atomic_path
from vocalgen.errors import VocalgenError

RECORDING = "recording_sha256"
"""Name of the recording's SHA-256 among the settings in the tags of a clip and in the metadata of a latent."""

Reader = Callable[[Path], str | None]
"""Reads the recording's SHA-256 from a file.

"" if vocalgen made the file from no recording; None if vocalgen did not write it, or somebody has changed it since.
"""

_KEY, _CHECKSUM = "vocalgen", "w_sha256"


def save_latent(path: Path, w: NDArray[np.float32], recording: str, overwrite: bool | None = None) -> None:
    """Write a latent as safetensors.

    Args:
        path: target file.
        w: (styles, w_dim).
        recording: SHA-256 of the recording's file.
        overwrite: whether a file that vocalgen did not write may be replaced.

    Raises:
        VocalgenError: the file cannot be written.
    """
    from safetensors.numpy import save_file

    # One text for all values: safetensors writes several of them in random order.
    metadata = {_KEY: json.dumps({RECORDING: recording, _CHECKSUM: _checksum(w)})}
    with atomic_path(path, overwrite, lambda there: recording_of_latent(there) is not None) as temporary:
        save_file({"w": np.ascontiguousarray(w)}, temporary, metadata)


def recording_of_clip(path: Path) -> str | None:
    """Read the recording's SHA-256 from the tags of a clip; see `Reader`."""
    try:
        found = tags.read(path)
    except VocalgenError:
        return None
    return str(found.tags.settings.get(RECORDING, "")) if found is not None and found.unchanged else None


def recording_of_latent(path: Path) -> str | None:
    """Read the recording's SHA-256 from the metadata of a latent; see `Reader`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            stored: Any = json.loads((file.metadata() or {})[_KEY])
            unchanged = stored[_CHECKSUM] == _checksum(file.get_tensor("w"))
            return str(stored[RECORDING]) if unchanged else None
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _checksum(w: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(w).tobytes()).hexdigest()
