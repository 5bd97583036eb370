"""Where the shipped checkpoints lie: inside an installed package, beside it in a source tree."""

from __future__ import annotations

import hashlib
from pathlib import Path

SUMS_FILE = "SHA256SUMS"
"""Name of the checksum list in the checkpoint folder; lines as `sha256sum` prints them."""


def shipped_root() -> Path | None:
    """Folder with one sub-folder a shipped model; None when this copy of vocalgen came without one.

    A wheel carries it as `vocalgen/_checkpoints`; a source tree, also an editable one, has `checkpoints/`.
    """
    package = Path(__file__).resolve().parent
    installed, beside = package / "_checkpoints", package.parent / "checkpoints"
    if installed.is_dir():
        return installed
    if beside.is_dir() and (package.parent / "pyproject.toml").is_file():
        return beside
    return None


def shipped_models(root: Path | None = None) -> dict[str, Path]:
    """Shipped models by name: folders under `root` (default `shipped_root()`) that hold safetensors."""
    root = root or shipped_root()
    if root is None:
        return {}
    return {path.name: path for path in sorted(root.iterdir()) if path.is_dir() and any(weight_files(path))}


def weight_files(folder: Path) -> list[Path]:
    """Safetensors files anywhere under `folder`, sorted."""
    return sorted(folder.rglob("*.safetensors"))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes as 64 hex digits.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def expected_sums(root: Path) -> dict[Path, str]:
    """Checksums that `root`'s SHA256SUMS promises, by absolute path; empty without such a file."""
    listing = root / SUMS_FILE
    if not listing.is_file():
        return {}
    pairs = (line.split(maxsplit=1) for line in listing.read_text(encoding="utf-8").splitlines() if line.strip())
    return {(root / pair[1].lstrip("*")).resolve(): pair[0].lower() for pair in pairs if len(pair) == 2}
