"""Folders in which nothing can be written, also for tests that run as root."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import vocalgen

needs_posix = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions are those of POSIX")


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder in which nothing can be written; as root, who may write everywhere, by somebody else."""
    if not all(parent.stat().st_mode & 0o001 for parent in (*folder.parents, *Path(vocalgen.__file__).parents)):
        pytest.skip("others cannot reach the folder for temporary files, or the package")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
