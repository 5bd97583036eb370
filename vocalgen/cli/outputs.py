"""What the verbs that write clips check before the slow work starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vocalgen.atomic import require_writable
from vocalgen.errors import VocalgenError
from vocalgen.ownership import Recogniser, require_replaceable
from vocalgen.tags import written_by_vocalgen

if TYPE_CHECKING:
    from vocalgen.generation.synthesis import Synthesis

FORMATS = ("wav", "flac", "mp3", "ogg", "opus")
"""The formats of `vocalgen.audio`, which would load numpy."""


def require_format(name: str) -> str:
    """A known format in lower case, or VocalgenError."""
    kind = name.lower().lstrip(".")
    if kind not in FORMATS:
        raise VocalgenError(f"unknown audio format {name!r}; choose one of {', '.join(FORMATS)}")
    return kind


@dataclass(frozen=True)
class Target:
    """Where clips go: a folder, and one file in it if the user named one."""

    folder: Path
    format: str
    file: Path | None = None


def target(out: Path, format: str | None) -> Target:
    """Read --out and --format together: a suffix makes a file of it, unless there is a folder of that name."""
    wanted = require_format(format) if format is not None else None
    suffix = out.suffix.lstrip(".").lower()
    if not suffix or out.is_dir():
        if out.is_file():
            raise VocalgenError(f"--out {out} is a file without an audio suffix; give a folder or another name")
        return Target(out, wanted or "wav")
    if suffix not in FORMATS:
        raise VocalgenError(
            f"--out {out}: unknown audio format {suffix!r}; choose one of {', '.join(FORMATS)}, "
            f"or make the folder first"
        )
    if wanted not in (None, suffix):
        raise VocalgenError(f"--out {out} and --format {wanted} disagree; drop one of them")
    return Target(out.parent, suffix, out)


def require_file(path: Path, overwrite: bool, recognise: Recogniser = written_by_vocalgen) -> None:
    """Check that writing a file to `path` loses nothing of the user's; unchanged files of vocalgen may be replaced.

    Args:
        path: file to be written.
        overwrite: whether other files may be replaced too.
        recognise: tells whether vocalgen wrote a file; by default, whether it is such a clip.

    Raises:
        VocalgenError: another file or a folder is there.
    """
    if path.is_dir():
        raise VocalgenError(f"{path} is a folder, where a file should go; choose another --out")
    require_replaceable(path, overwrite, recognise)


def require_folder(folder: Path) -> None:
    """Check that files can be written into `folder`, without making it: a refused command leaves nothing behind.

    Raises:
        VocalgenError: it cannot be made or written to.
    """
    if folder.is_file():
        raise VocalgenError(f"cannot write into {folder}: it is a file; choose a folder")
    require_writable(folder)


def find_folder(checkpoint: str | None) -> Path:
    """Folder of a checkpoint: shipped, local, or fetched from the hub."""
    from vocalgen.generation.checkpoint import resolve_checkpoint

    chosen = resolve_checkpoint(checkpoint)
    if Path(chosen).is_dir():
        return Path(chosen)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(chosen, allow_patterns=["*.json", "*.safetensors"]))
    except Exception as error:  # network, permissions, no such model: many kinds
        reason = " ".join(str(error).split())
        raise VocalgenError(f"cannot fetch {chosen} from the hub: {reason}; give a local folder instead") from error


def load(folder: Path, device: str | None) -> Synthesis:
    """Load a checkpoint; the slow imports happen here."""
    from vocalgen.generation.loading import choose_device, load_synthesiser

    return load_synthesiser(folder).to(choose_device(device))
