"""Which files and folders vocalgen wrote itself: only these may be replaced or removed.

A folder that vocalgen fills carries an index, `.vocalgen.jsonl`, with one line per file that vocalgen ever wrote there:
its name, size and checksum. A file belongs to vocalgen if it equals one of its lines; a file that somebody has added or
changed does not. In caches, which nobody edits, a listed name is enough, so that damaged files can be made again.
Single files in the user's own folders carry their mark inside, where the format has room for one: the writer of the
format passes a function that recognises it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vocalgen.errors import VocalgenError

INDEX = ".vocalgen.jsonl"
"""Name of the index in a folder that vocalgen fills."""

MAX_DEPTH = 4
"""Levels above a file at which its index may lie."""

TEMPORARY = re.compile(r"\..+\.(?P<process>\d+)\.(part(\..+)?|old)")
"""Names of files and folders that are being written, see `vocalgen.atomic`."""

UNNOTICED = re.compile(r"\..+\.lock|\.DS_Store|Thumbs\.db|desktop\.ini")
"""Names of lock files, and of files that file managers leave in folders without being asked."""

Recogniser = Callable[[Path], bool]
"""Tells whether a file carries the mark of vocalgen and is unchanged since."""


@dataclass(frozen=True)
class FolderKind:
    """What a folder that vocalgen fills is for: a report never takes the place of generated clips.

    Args:
        name: noun phrase for messages, such as "a report".
        cache: whether any content of a listed file is vocalgen's.
    """

    name: str
    cache: bool = False


def require_replaceable(
    path: str | os.PathLike[str],
    overwrite: bool | None = None,
    recognise: Recogniser | None = None,
    kind: FolderKind | None = None,
) -> None:
    """Check that writing `path` loses nothing of the user's.

    Args:
        path: file or folder to be written.
        overwrite: whether a file without the mark of vocalgen may be replaced; None if the caller has no such option.
            Folders are never replaced so.
        recognise: tells whether a file at `path` carries a mark of its own.
        kind: what a folder at `path` must be.

    Raises:
        VocalgenError: something is there that vocalgen did not write, or that was changed since; a folder of another
            kind.
    """
    target = real_path(path)
    if target.is_dir():
        foreign = next(_foreign_entries(target), None)
        if foreign is not None:
            raise VocalgenError(
                f"{path} would be replaced, but holds '{foreign}', which vocalgen did not write; "
                f"move it away or choose another place"
            )
        _require_kind(target, kind, "choose another place")
    elif target.is_file() and not overwrite and not is_own_file(target, recognise):
        known = any(True for _ in _lines_of(target))
        reason = "was changed since vocalgen wrote it" if known else "exists and was not written by vocalgen"
        option = "" if overwrite is None else ", or pass --overwrite"
        raise VocalgenError(f"{path} {reason}; move it away or choose another place{option}")


def require_own_folder(
    folder: str | os.PathLike[str], kind: FolderKind, advice: str = "choose a new or empty folder"
) -> None:
    """Check that vocalgen may fill `folder`: it is absent, empty, or has an index of this kind. Creates nothing.

    Args:
        folder: folder to be filled.
        kind: what it is for.
        advice: what to do instead, for the message.

    Raises:
        VocalgenError: it is a file, holds files of other origin and no index, or is of another kind.
    """
    target = real_path(folder)
    if target.exists() and not target.is_dir():
        raise VocalgenError(f"{folder} is a file; {advice}")
    if not target.is_dir():
        return
    if (target / INDEX).is_file():
        _require_kind(target, kind, advice)
        return
    foreign = next((entry.name for entry in sorted(target.iterdir()) if not _is_unnoticed(entry.name)), None)
    if foreign is not None:
        raise VocalgenError(f"{folder} holds '{foreign}', which vocalgen did not write; {advice}")


def own_folder(folder: str | os.PathLike[str], kind: FolderKind, advice: str = "choose a new or empty folder") -> Path:
    """Create `folder` with its index, or take one that has an index; files written into it atomically are listed.

    Raises:
        VocalgenError: as `require_own_folder`; the folder cannot be written.
    """
    require_own_folder(folder, kind, advice)
    target = real_path(folder)
    begin_index(target, kind)
    return target


def begin_index(folder: Path, kind: FolderKind) -> None:
    """Create a folder, where there is none, and begin its index, where it has none.

    Raises:
        VocalgenError: it cannot be written.
    """
    if (folder / INDEX).is_file():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _append(folder, [_header(kind)])
    except OSError as error:
        raise VocalgenError(
            f"cannot write into {folder}: {error.strerror or error}; choose another place or free some space"
        ) from error


def listed(folder: Path) -> list[str]:
    """Names of all files that the index of a folder lists; those that are gone too."""
    return sorted({str(line["file"]) for line in _read(folder) if "file" in line})


def is_own_file(path: Path, recognise: Recogniser | None = None) -> bool:
    """Whether vocalgen wrote this file and nobody has changed it since."""
    if path.is_symlink() or not path.is_file():
        return False
    return _is_unchanged(path) or (recognise is not None and recognise(path))


def record(file: Path, size_of: Path | None = None, grows: bool = False) -> None:
    """List a file in the index of the folder that it lies in; does nothing in folders without an index.

    Args:
        file: the file's final place.
        size_of: where its content lies now, if it is not there yet.
        grows: the file is appended to, so that any content of it is vocalgen's.
    """
    owner = _owner(file)
    if owner is not None:
        _append(owner, [_line(file.relative_to(owner).as_posix(), size_of or file, grows)])


def seal(folder: Path, kind: FolderKind | None = None) -> None:
    """Write the index of a folder that is complete: it lists every file in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != INDEX)
    _append(folder, [_header(kind), *(_line(path.relative_to(folder).as_posix(), path) for path in files)])


def remove(path: Path) -> None:
    """Remove a file or folder as far as vocalgen wrote it; what others put there stays."""
    if path.is_symlink() or not path.exists():
        return
    if path.is_file():
        if is_own_file(path):
            path.unlink(missing_ok=True)
        return
    for entry in sorted(path.rglob("*"), reverse=True):
        if entry.name == INDEX or entry.is_symlink():
            continue
        if entry.is_dir():
            _remove_empty(entry)
        elif _is_unnoticed(entry.name) or is_own_file(entry):
            with suppress(OSError):
                entry.unlink()
    _remove_empty(path)


def real_path(path: str | os.PathLike[str]) -> Path:
    """The path that a link stands for: what is replaced is its target, and the link stays."""
    return Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)


def _remove_empty(folder: Path) -> None:
    if {entry.name for entry in folder.iterdir()} == {INDEX}:
        (folder / INDEX).unlink(missing_ok=True)
    with suppress(OSError):  # somebody's files are in it
        folder.rmdir()


def _foreign_entries(folder: Path) -> Iterator[str]:
    """Entries of a folder, by relative name, that its index does not list as they are."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.name == INDEX or (path.is_dir() and not path.is_symlink()):
            continue
        if not _is_unnoticed(path.name) and not is_own_file(path):
            yield name


def _is_unnoticed(name: str) -> bool:
    return UNNOTICED.fullmatch(name) is not None or TEMPORARY.fullmatch(name) is not None


def _is_unchanged(file: Path) -> bool:
    lines = list(_lines_of(file))
    if not lines:
        return False
    found = file.stat()
    size_and_time = found.st_size, found.st_mtime_ns
    if any("bytes" not in line or (line["bytes"], line["time"]) == size_and_time for line in lines):
        return True
    if all(line["bytes"] != found.st_size for line in lines):
        return False
    checksum = _checksum(file)
    return any(line["blake2b"] == checksum for line in lines)


def _lines_of(file: Path) -> list[dict[str, Any]]:
    """Lines about a file in the index above it; without size and checksum where any content is vocalgen's."""
    owner = _owner(file)
    if owner is None:
        return []
    name = file.relative_to(owner).as_posix()
    lines = list(_read(owner))
    if any(line.get("cache") for line in lines):
        return [{"file": name} for line in lines if line.get("file") == name]
    return [line for line in lines if line.get("file") == name]


def _owner(file: Path) -> Path | None:
    """The nearest folder above a file that has an index; None in a folder that is still being written."""
    for folder in list(file.parents)[:MAX_DEPTH]:
        if TEMPORARY.fullmatch(folder.name):
            return None
        if (folder / INDEX).is_file():
            return folder
    return None


def _read(folder: Path) -> Iterator[dict[str, Any]]:
    """Lines of an index; a line that a kill has cut short is none."""
    with suppress(OSError):
        for text in (folder / INDEX).read_text(encoding="utf-8", errors="replace").split("\n"):
            with suppress(ValueError):
                line = json.loads(text)
                if isinstance(line, dict):
                    yield line


def _header(kind: FolderKind | None) -> dict[str, Any]:
    about = "Files that vocalgen wrote into this folder. It replaces or removes no others."
    return {"about": about, **({} if kind is None else {"kind": kind.name, "cache": kind.cache})}


def _require_kind(folder: Path, kind: FolderKind | None, advice: str) -> None:
    names = [line["kind"] for line in _read(folder) if "kind" in line]
    if names and (kind is None or names[0] != kind.name):
        wanted = "" if kind is None else f", not {kind.name}"
        raise VocalgenError(f"{folder} holds {names[0]}{wanted}; {advice}")


def _line(name: str, file: Path, grows: bool = False) -> dict[str, Any]:
    if grows:
        return {"file": name}
    found = file.stat()
    return {"file": name, "bytes": found.st_size, "time": found.st_mtime_ns, "blake2b": _checksum(file)}


def _checksum(file: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _append(folder: Path, lines: Iterable[dict[str, Any]]) -> None:
    """One write, so that lines of several processes do not mix."""
    text = "".join(json.dumps(line) + "\n" for line in lines)
    index = folder / INDEX
    torn = index.is_file() and index.stat().st_size > 0 and not _ends_with_newline(index)
    with index.open("ab") as stream:
        stream.write((("\n" if torn else "") + text).encode("utf-8"))


def _ends_with_newline(file: Path) -> bool:
    with file.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"
