"""Arrays that are computed once and kept in a folder, until what they were computed from changes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from torch import Tensor

from vocalgen.atomic import atomic_path, locked
from vocalgen.data import WaveCache
from vocalgen.ownership import FolderKind, require_replaceable

KEY = "key"
"""File with the key of the arrays beside it."""


def kept_arrays(
    folder: Path, kind: FolderKind, key: str, compute: Callable[[], Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Map the arrays in a folder into memory, computing them first unless they have this key.

    Of several processes that need the same arrays, one computes them and the others wait.

    Args:
        folder: folder of the arrays alone.
        kind: what the folder is for.
        key: digest of everything that the arrays depend on, see `key_of`.
        compute: gives the arrays by name.

    Raises:
        VocalgenError: the folder holds files of other origin, or cannot be written.
    """
    if not _is_of(folder, key):
        require_replaceable(folder, kind=kind)
        with locked(folder):
            if not _is_of(folder, key):
                arrays = compute()
                with atomic_path(folder, kind=kind) as target:
                    target.mkdir()
                    for name, array in arrays.items():
                        np.save(target / f"{name}.npy", array)
                    (target / KEY).write_text(key, encoding="utf-8")
    return _arrays(folder)


def key_of(cache: WaveCache, indices: np.ndarray, *parts: object) -> str:
    """Digest of clips and of whatever else an array depends on.

    Args:
        cache: the clips' audio.
        indices: clips.
        parts: values whose `repr` tells them apart; state dictionaries of networks.
    """
    digest = hashlib.sha256(repr([asdict(cache.config), [cache.ids[index] for index in indices]]).encode())
    digest.update(np.diff(cache.offsets)[indices].tobytes())
    for part in parts:
        for name, value in part.items() if isinstance(part, Mapping) else [("", part)]:
            content = value.detach().cpu().numpy().tobytes() if isinstance(value, Tensor) else repr(value).encode()
            digest.update(f"{name}\n{len(content)}\n".encode() + content)
    return digest.hexdigest()


def groups(lengths: Iterable[int], size: int) -> list[list[int]]:
    """Places of items in groups of up to `size` of similar length, the shortest first."""
    order = np.argsort(np.fromiter(lengths, dtype=np.int64), kind="stable")
    return [order[start : start + size].tolist() for start in range(0, len(order), size)]


def _arrays(folder: Path) -> dict[str, np.ndarray]:
    return {file.stem: np.load(file, mmap_mode="r") for file in sorted(folder.glob("*.npy"))}


def _is_of(folder: Path, key: str) -> bool:
    """Whether the arrays in a folder have this key and are whole: copies from full disks are not."""
    try:
        if (folder / KEY).read_text(encoding="utf-8") != key:
            return False
        _arrays(folder)
    except (OSError, ValueError, EOFError):
        return False
    return True
