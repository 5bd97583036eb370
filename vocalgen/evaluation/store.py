"""Measurements on disk, so that the real clips and the anchors of a reference are measured once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from vocalgen.atomic import atomic_path, locked
from vocalgen.data import beside_manifest
from vocalgen.evaluation.measured import Measured
from vocalgen.ownership import FolderKind, begin_index

FORMAT = 2
"""Goes up when what is measured changes."""


MEASUREMENTS = FolderKind("measurements", cache=True)


class Store:
    """A folder of measurements, each under the fingerprint of everything it depends on."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def get(self, key: dict[str, Any], measure: Callable[[], Measured]) -> Measured:
        """The stored measurement of `key` (JSON-ready), or that of `measure`, which is then stored.

        Raises:
            VocalgenError: the folder cannot be written.
        """
        text = json.dumps({"format": FORMAT, **key}, sort_keys=True)
        file = self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.npz"
        with beside_manifest(), locked(file):
            found = _read(file)
            if found is None:
                found = measure()
                begin_index(self.folder, MEASUREMENTS)
                with atomic_path(file) as temporary, open(temporary, "wb") as stream:
                    arrays: dict[str, Any] = {"skipped": np.array(found.skipped, dtype=np.str_), **found.arrays()}
                    np.savez(stream, **arrays)
        return found


def _read(file: Path) -> Measured | None:
    """A stored measurement; None where there is none, or a damaged one."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return Measured.of_arrays(arrays, arrays.pop("skipped").tolist())
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, BadZipFile):
        return None
