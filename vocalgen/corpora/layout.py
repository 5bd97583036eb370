"""The one rule for folders of clips, DIR/EMOTION/FILE: what counts as a clip, and what is left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vocalgen.audio import READABLE
from vocalgen.corpora.words import count, some
from vocalgen.errors import VocalgenError

SPLIT_NAMES: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "dev", "devel", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""Splits by the names that people give them, in lower case."""

EXPECTED = "the layout is DIR/<emotion>/*.wav"
"""How clips should lie, for messages; other formats are named by `READABLE`."""

_SYSTEM = frozenset(
    {"__macosx", "__pycache__", "@eadir", "$recycle.bin", "system volume information", "lost+found", "thumbs.db"}
)
"""Names of entries that archives, network drives and Windows leave beside files, in lower case."""


@dataclass(frozen=True)
class Layout:
    """Clips of a folder.

    Args:
        folder: DIR.
        clips: files by the name of their folder, which is that of an emotion; both sorted.
        left_out: lines about what is there and is not taken.
    """

    folder: Path
    clips: Mapping[str, tuple[Path, ...]]
    left_out: tuple[str, ...]


def emotion_folders(folder: str | Path, examples: Sequence[str] = ("awe", "fear")) -> Layout:
    """List the clips of DIR/EMOTION/FILE; at least one.

    Hidden files and folders, and those of the system, are left out. So are files in formats that cannot be read.

    Args:
        examples: names of folders, for messages.

    Raises:
        VocalgenError: no such folder, no clips, clips one level higher or deeper, or folders that are all splits.
    """
    root, layout = Path(folder), f"{EXPECTED} with emotions such as {', '.join(examples)}"
    if not root.is_dir():
        raise VocalgenError(f"{folder} is not a folder; {layout}")
    folders, top = _parted(root)
    clips: dict[str, tuple[Path, ...]] = {}
    unread: list[Path] = []
    deeper: list[Path] = []
    for sub in folders:
        below, files = _parted(sub)
        readable = tuple(filter(_is_readable, files))
        if readable:
            clips[sub.name] = readable
        unread += [file for file in files if not _is_readable(file)]
        deeper += filter(_holds_clips, below)
    if clips and all(name.lower() in SPLIT_NAMES for name in clips):
        names = some(list(clips))
        raise VocalgenError(
            f"{root} has folders of splits ({names}), not of emotions; {layout}, or write a table with file, emotion "
            f"and split"
        )
    loose = [file for file in top if _is_readable(file)]
    if not clips:
        raise VocalgenError(f"{root} holds no clips; {layout}{_elsewhere(root, loose, deeper)}")
    lines = [
        _unread(unread),
        _listed(loose, root, "not in a folder of an emotion"),
        _listed(deeper, root, "clips one level deeper"),
        _listed(_hidden(root, folders), root, "hidden or made by the system"),
    ]
    return Layout(root, clips, tuple(filter(None, lines)))


def clips_in(folder: Path) -> tuple[list[Path], list[str]]:
    """List the clips of DIR/FILE and DIR/EMOTION/FILE, sorted, and say what is left out.

    Raises:
        VocalgenError: there are none.
    """
    folders, top = _parted(folder)
    files = [file for sub in (top, *(_parted(sub)[1] for sub in folders)) for file in sub]
    found = [file for file in files if _is_readable(file)]
    if not found:
        raise VocalgenError(f"{folder} holds no audio files; give files, or a folder of them")
    lines = (
        _unread([file for file in files if not _is_readable(file)]),
        _listed(_hidden(folder, folders), folder, "hidden or made by the system"),
    )
    return found, [line for line in lines if line]


def _parted(folder: Path) -> tuple[list[Path], list[Path]]:
    """Visible folders and files of a folder, both sorted; links are followed, dangling ones count as files."""
    with os.scandir(folder) as entries:
        visible = sorted((entry.name, entry.is_dir()) for entry in entries if _is_visible(entry.name))
    inner = [folder / name for name, is_dir in visible if is_dir]
    return inner, [folder / name for name, is_dir in visible if not is_dir]


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in _SYSTEM


def _is_readable(file: Path) -> bool:
    return file.suffix.lower().lstrip(".") in READABLE


def _holds_clips(folder: Path) -> bool:
    """Whether a folder below those of the emotions has clips; False if it cannot be opened."""
    try:
        return any(map(_is_readable, _parted(folder)[1]))
    except OSError:
        return False


def _hidden(root: Path, folders: Iterable[Path]) -> list[Path]:
    """Hidden audio files, and hidden folders that hold files; marks of the desktop are not worth a line."""
    found = []
    for folder in (root, *folders):
        with os.scandir(folder) as entries:
            hidden = sorted(Path(entry.path) for entry in entries if not _is_visible(entry.name))
        found += [path for path in hidden if path.is_dir() or _is_readable(path)]
    return found


def _unread(files: Sequence[Path]) -> str:
    kinds = Counter(file.suffix.lower() or "no suffix" for file in files)
    if not kinds:
        return ""
    told = ", ".join(f"{number:,} {kind}" for kind, number in sorted(kinds.items()))
    return f"left out {count(len(files), 'file')} that cannot be read as audio ({told})"


def _listed(paths: Sequence[Path], root: Path, why: str) -> str:
    names = [path.relative_to(root).as_posix() for path in paths]
    return f"left out ({why}): {some(names)}" if names else ""


def _elsewhere(root: Path, loose: Sequence[Path], deeper: Sequence[Path]) -> str:
    """Say where the clips of a folder without emotions are."""
    if deeper:
        inner = deeper[0].parent
        split = SPLIT_NAMES.get(inner.name.lower())
        table = f" (data prepare: with --split {split}), or write a table with file, emotion and split" if split else ""
        place = deeper[0].relative_to(root)
        return f"; there are clips one level deeper, such as in {place}: give {inner}{table}"
    if loose:
        return f"; there are audio files in no folder of an emotion, such as {loose[0].name}"
    return ""
