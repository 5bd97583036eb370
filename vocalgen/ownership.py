"""Which files and folders vocalgen wrote itself: only these may be replaced or removed.

A folder that vocalgen fills carries an index, `.vocalgen.jsonl`. Its first line says what the folder is for; each
further line names a file that vocalgen wrote there, with size and checksum. A file belongs to vocalgen if it equals one
of its lines; a file that somebody has added or changed does not. In caches a listed name is enough, so that damaged
files can be made again. Single files in the user's own folders carry their mark inside, where the format has room for
one: the writer of the format passes a function that recognises it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from vocalgen.errors import VocalgenError

INDEX = ".vocalgen.jsonl"
"""Name of the index in a folder that vocalgen fills."""

ABOUT = "Files that vocalgen wrote into this folder. It replaces or removes no others."

MAX_DEPTH = 4
"""Levels above a file at which its index may lie."""

TEMPORARY = re.compile(r"\..+\.vocalgen-(?P<process>\d+)\.(part(\..+)?|old)")
"""Names of files and folders that are being written, see `vocalgen.atomic`."""

IGNORED = re.compile(r"\..+\.vocalgen-lock|\.DS_Store|Thumbs\.db|desktop\.ini")
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


@dataclass
class Index:
    """Content of an index.

    Attributes:
        cache: see `FolderKind`.
        lines: by file, the sizes, times and checksums that vocalgen has written.
        published: files that `vocalgen.atomic.published` put there.
    """

    cache: bool = False
    lines: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    published: set[str] = field(default_factory=set)


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
        if (target / INDEX).is_file():
            _require_kind(target, kind, "choose another place")
    elif target.is_file() and not overwrite and not is_own_file(target, recognise):
        reason = (
            "was changed since vocalgen wrote it" if _lines_of(target) else "exists and was not written by vocalgen"
        )
        option = "" if overwrite is None else ", or pass --overwrite"
        raise VocalgenError(f"{path} {reason}; move it away or choose another place{option}")


def require_own_folder(
    folder: str | os.PathLike[str], kind: FolderKind, advice: str = "choose a new or empty folder"
) -> None:
    """Check that vocalgen may fill `folder`: it is absent, empty, or has an index of this kind. Creates nothing.

    Folders in it that have an index of their own, such as a cache made there before, do not count.

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
    entries = (entry for entry in sorted(target.iterdir()) if not _is_ignored(entry.name))
    foreign = next((entry.name for entry in entries if not (entry / INDEX).is_file()), None)
    if foreign is not None:
        raise VocalgenError(
            f"{folder} holds '{foreign}', which vocalgen did not write; {advice} (a copied folder needs its {INDEX})"
        )


def require_publishable(
    folder: str | os.PathLike[str], kind: FolderKind, names: Iterable[str] = (), overwrite: bool = False
) -> None:
    """Check before the work that `vocalgen.atomic.published` may fill `folder` alone. Creates nothing.

    Args:
        folder: folder to be filled.
        kind: what it is for.
        names: files that will be written, as far as they are known.
        overwrite: whether the folder may hold files of other origin, and those of these names may be replaced.

    Raises:
        VocalgenError: as `require_own_folder` and `require_replaceable`.
    """
    target = real_path(folder)
    if not overwrite or (target / INDEX).is_file():
        require_own_folder(folder, kind)
    for name in names:
        require_replaceable(target / name, overwrite)


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
    if _header(folder) is not None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _append(folder, [_header_line(kind)])
    except OSError as error:
        raise VocalgenError(
            f"cannot write into {folder}: {error.strerror or error}; choose another place or free some space"
        ) from error


def published_files(folder: Path) -> set[str]:
    """Names of the files that `vocalgen.atomic.published` put into a folder, those that are gone too."""
    return set(_index(folder).published)


def is_own_file(path: Path, recognise: Recogniser | None = None) -> bool:
    """Whether vocalgen wrote this file and nobody has changed it since."""
    if path.is_symlink() or not path.is_file():
        return False
    return _is_unchanged(path) or (recognise is not None and recognise(path))


def record(file: Path, content: Path | None = None, grows: bool = False, published: bool = False) -> None:
    """List a file in the index of the folder that it lies in.

    Does nothing in folders without an index, and in those that were written whole.

    Args:
        file: the file's final place.
        content: where its content lies now, if it is not there yet.
        grows: the file is appended to, so that any content of it is vocalgen's.
        published: see `Index`.
    """
    owner = _owner(file)
    header = None if owner is None else _header(owner)
    if owner is None or header is None or header.get("sealed"):
        return
    grows = grows or bool(header.get("cache"))
    name = _name_in(owner, file)
    _append(owner, [_line(name, content or file, grows) | ({"published": True} if published else {})])


def seal(folder: Path, kind: FolderKind | None = None) -> None:
    """Write the index of a folder that is complete: it lists every file in it."""
    cache = kind is not None and kind.cache
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != INDEX)
    lines = [_line(path.relative_to(folder).as_posix(), path, cache) for path in files]
    _append(folder, [_header_line(kind) | {"sealed": True}, *lines])


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
        elif _is_ignored(entry.name) or is_own_file(entry):
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
    """Entries of a folder, by relative name, that its own index does not list as they are.

    An index further down is one of them: it belongs to another result of vocalgen, which must not go with this one.
    """
    index = _index(folder)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name == INDEX or _is_ignored(path.name) or (path.is_dir() and not path.is_symlink()):
            continue
        try:
            own = not path.is_symlink() and _equals(path, index.lines.get(name, []), index.cache)
        except FileNotFoundError:  # another process has just replaced the folder
            continue
        if not own:
            yield name


def _is_ignored(name: str) -> bool:
    return IGNORED.fullmatch(name) is not None or TEMPORARY.fullmatch(name) is not None


def _is_unchanged(file: Path) -> bool:
    owner = _owner(file)
    if owner is None:
        return False
    index = _index(owner)
    return _equals(file, index.lines.get(_name_in(owner, file), []), index.cache)


def _lines_of(file: Path) -> list[dict[str, Any]]:
    """Lines about a file in the index above it."""
    owner = _owner(file)
    return [] if owner is None else _index(owner).lines.get(_name_in(owner, file), [])


def _equals(file: Path, lines: list[dict[str, Any]], cache: bool) -> bool:
    """Whether a file is as one of the lines about it says; lines without a size hold for any content."""
    if not lines:
        return False
    found = file.stat()
    size_and_time = found.st_size, found.st_mtime_ns
    if cache or any("bytes" not in line or (line["bytes"], line["time"]) == size_and_time for line in lines):
        return True
    if all(line["bytes"] != found.st_size for line in lines):
        return False
    checksum = _checksum(file)
    return any(line["blake2b"] == checksum for line in lines)


def _owner(file: Path) -> Path | None:
    """The nearest folder above a file that has an index; None in a folder that is still being written."""
    for folder in list(Path(os.path.abspath(file)).parents)[:MAX_DEPTH]:
        if TEMPORARY.fullmatch(folder.name):
            return None
        if (folder / INDEX).is_file():
            return folder
    return None


def _name_in(owner: Path, file: Path) -> str:
    return Path(os.path.abspath(file)).relative_to(owner).as_posix()


def _require_kind(folder: Path, kind: FolderKind | None, advice: str) -> None:
    name = (_header(folder) or {}).get("kind")
    if name != (None if kind is None else kind.name):
        wanted = "" if kind is None else f", not {kind.name}"
        raise VocalgenError(f"{folder} holds {name or 'files of an unknown kind'}{wanted}; {advice}")


def _header_line(kind: FolderKind | None) -> dict[str, Any]:
    return {"about": ABOUT, **({} if kind is None else {"kind": kind.name, "cache": kind.cache})}


def _header(folder: Path) -> dict[str, Any] | None:
    """The line of an index that says what the folder is for; None where there is none."""
    with suppress(OSError), (folder / INDEX).open(encoding="utf-8", errors="replace") as stream:
        for text in stream:  # the first, unless a kill has cut that short
            with suppress(ValueError):
                line = json.loads(text)
                if isinstance(line, dict) and "about" in line:
                    return line
    return None


def _index(folder: Path) -> Index:
    """Content of a folder's index; an empty one where there is none."""
    try:
        found = (folder / INDEX).stat()
    except OSError:
        return Index()
    return _parsed(str(folder / INDEX), found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=8)
def _parsed(path: str, size: int, time: int) -> Index:
    """The index in a file of this size and time. Lines that a kill has cut short are left out."""
    index = Index()
    with suppress(OSError):
        for text in Path(path).read_text(encoding="utf-8", errors="replace").split("\n"):
            with suppress(ValueError):
                line = json.loads(text)
                if isinstance(line, dict):
                    _add(index, line)
    return index


def _add(index: Index, line: dict[str, Any]) -> None:
    if "about" in line:
        index.cache = bool(line.get("cache"))
    elif "file" in line and ("bytes" not in line or {"time", "blake2b"} <= line.keys()):
        index.lines.setdefault(str(line["file"]), []).append(line)
        if line.get("published"):
            index.published.add(str(line["file"]))


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
