"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vocalgen.errors import NoSpaceLeft, VocalgenError
from vocalgen.ownership import (
    INDEX,
    TEMPORARY,
    FolderKind,
    Recogniser,
    begin_index,
    published_files,
    real_path,
    record,
    remove,
    require_own_folder,
    require_replaceable,
    seal,
)

_FULL = (errno.ENOSPC, errno.EDQUOT)
_WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""What file systems without locks answer, as some of clusters do."""

_PROBE = 1 << 20
"""Bytes that must still fit on a disk that is not full."""


@contextmanager
def atomic_path(
    path: str | os.PathLike[str],
    overwrite: bool | None = None,
    recognise: Recogniser | None = None,
    kind: FolderKind | None = None,
) -> Iterator[Path]:
    """Yield a temporary sibling of `path` (same suffix); rename it to `path` on success, remove it on any failure.

    The body may create a file or a folder there. What is at `path` already is replaced if vocalgen wrote it, see
    `vocalgen.ownership`; a folder gets an index of its files, and a file is listed in the index of the folder it lies
    in. The target of a link is replaced, not the link. Files get the mode that follows from the umask, also those that
    a library made for their owner alone, as safetensors does.

    Args:
        path: file or folder to be written.
        overwrite: whether a file that vocalgen did not write may be replaced; None if the caller has no such option.
        recognise: tells whether a file at `path` carries a mark of its own.
        kind: what a folder is for; a folder of another kind is not replaced.

    Raises:
        NoSpaceLeft: the disk is full, whatever exception the library that writes makes of that.
        VocalgenError: something is at `path` that vocalgen did not write; it cannot be written (read-only folder, a
            file where a folder should be, a device).
    """
    target = real_path(path)
    if target.exists() and not (target.is_file() or target.is_dir()):
        raise VocalgenError(f"cannot write {target}: it is a device, a socket or a pipe; choose another place")
    require_replaceable(target, overwrite, recognise, kind)
    temporary = target.with_name(f".{target.stem}.vocalgen-{os.getpid()}.part{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _share(temporary)
        if temporary.is_dir():
            seal(temporary, kind)
            _replace_folder(temporary, target, kind)
        else:
            require_replaceable(target, overwrite, recognise)  # again: the work may have taken long
            record(target, temporary)
            temporary.replace(target)
    except OSError as error:
        raise _unwritable(target, error) from error
    except VocalgenError:
        raise
    except Exception as error:  # torch and safetensors have exceptions of their own for a full disk
        if not (is_full_disk(error) or _has_no_room(target.parent)):
            raise
        raise _unwritable(target, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _replace_folder(temporary: Path, target: Path, kind: FolderKind | None) -> None:
    if not target.is_dir():
        temporary.replace(target)
        return
    require_replaceable(target, kind=kind)  # again: the work may have taken long
    retired = target.with_name(f".{target.name}.vocalgen-{os.getpid()}.old")
    target.rename(retired)
    try:
        temporary.rename(target)
    except OSError:
        retired.rename(target)
        raise
    shutil.rmtree(retired, ignore_errors=True)


@contextmanager
def published(folder: str | os.PathLike[str], kind: FolderKind, overwrite: bool | None = None) -> Iterator[Path]:
    """Yield a temporary folder; on success move its files into `folder` and remove what an earlier call left there.

    Files of other origin stay. Nothing is moved if one of them is in the way.

    Args:
        folder: where the files go; it gets an index.
        kind: what it is for.
        overwrite: whether files that vocalgen did not write may be replaced.

    Raises:
        VocalgenError: a file is in the way; `folder` is of another kind, or cannot be written.
    """
    target = real_path(folder)
    if (target / INDEX).is_file():
        require_own_folder(target, kind)
    temporary = target / f".published.vocalgen-{os.getpid()}.part"  # inside: it may be a mounted disk
    empty = not target.exists()
    try:
        temporary.mkdir(parents=True)
        yield temporary
        _publish(temporary, target, kind, overwrite)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if empty:
            with suppress(OSError):
                target.rmdir()


def _publish(source: Path, target: Path, kind: FolderKind, overwrite: bool | None) -> None:
    files = [path.relative_to(source) for path in sorted(source.rglob("*")) if path.is_file()]
    for file in files:
        require_replaceable(target / file, overwrite)
    earlier = published_files(target) - {file.as_posix() for file in files}
    begin_index(target, kind)
    for file in files:
        place = real_path(target / file)
        place.parent.mkdir(parents=True, exist_ok=True)
        copied = place.with_name(f".{place.name}.vocalgen-{os.getpid()}.part")
        shutil.copy2(source / file, copied)  # the place may be a link to another disk
        record(target / file, copied, published=True)
        copied.replace(place)
    for name in sorted(earlier):
        remove(target / name)


def _unwritable(target: Path, error: OSError) -> VocalgenError:
    kind = NoSpaceLeft if is_full_disk(error) else VocalgenError
    return kind(f"cannot write {target}: {error.strerror or error}; choose another place or free some space")


def is_full_disk(error: BaseException | None) -> bool:
    """Whether an exception, or what it came from, says that a disk, or the user's share of it, is full."""
    while error is not None:
        told = str(error)
        if (
            isinstance(error, NoSpaceLeft)
            or (isinstance(error, OSError) and error.errno in _FULL)
            or any(f"(os error {number})" in told or os.strerror(number) in told for number in _FULL)
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def _has_no_room(folder: Path) -> bool:
    """Whether a trial file in `folder` meets a full disk: torch does not say why it could not write."""
    try:
        with tempfile.TemporaryFile(dir=folder) as trial:
            trial.write(b"0" * _PROBE)
            trial.flush()
            os.fsync(trial.fileno())
    except OSError as error:
        return is_full_disk(error)
    return False


def require_writable(folder: str | os.PathLike[str]) -> None:
    """Check that `folder`, or the nearest folder above it that is there, takes a file. Creates nothing.

    Raises:
        VocalgenError: it cannot be written, or it is not a folder.
    """
    place = Path(os.path.abspath(folder))
    try:
        while not place.exists() and not place.is_symlink():
            place = place.parent
        with tempfile.TemporaryFile(dir=place) as trial:
            trial.write(b"0" * 4096)
    except OSError as error:
        reason = f"{place} is a file" if isinstance(error, NotADirectoryError) else error.strerror or error
        raise VocalgenError(f"cannot write into {folder}: {reason}; choose another place or free some space") from error


def _share(path: Path) -> None:
    files = [file for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
    private = [file for file in files if not file.stat().st_mode & 0o077]
    if private:
        trial = path.with_name(f"{path.name}.mode")  # the umask itself is told only by changing it, for all threads
        trial.touch()
        mode = trial.stat().st_mode
        trial.unlink()
        for file in private:
            file.chmod(mode)


def sweep(folder: str | os.PathLike[str]) -> None:
    """Remove what `atomic_path` left directly in `folder` when its process was killed; living processes keep theirs."""
    for path in Path(folder).glob(".*.*"):
        found = TEMPORARY.fullmatch(path.name)
        if found is None or _alive(int(found["process"])):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    try:
        state = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return True
    return state[:1] != [b"Z"]  # dead, but not buried by its parent


def atomic_write_text(path: str | os.PathLike[str], text: str, overwrite: bool | None = None) -> None:
    """Write `text` as UTF-8 to `path` atomically; `overwrite` as for `atomic_path`.

    Raises:
        VocalgenError: the target cannot be written, or the text has characters that are none, as file names may.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        shown = ascii(text[max(error.start - 20, 0) : error.end + 20])
        raise VocalgenError(f"cannot write {path}: {shown} is not valid text; rename the file it comes from") from error
    with atomic_path(path, overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def locked(path: str | os.PathLike[str], busy: str | None = None) -> Iterator[None]:
    """Hold `path` for one process at a time. The lock ends with the process, however that ends.

    The lock is an empty file `.NAME.vocalgen-lock` beside `path`, which stays. Windows and some file systems of
    clusters have no such locks; there processes are not kept apart.

    Args:
        busy: error message where another process holds `path`; None waits for that process instead.

    Raises:
        VocalgenError: the folder of `path` cannot be written, or another process holds `path`.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(target.with_name(f".{target.name}.vocalgen-lock"), os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise _unwritable(target, error) from error
    try:
        if busy is None:
            _lock(fcntl.flock, file, fcntl.LOCK_EX)
        else:
            # Forked children, such as those that load data, inherit the lock of flock and may outlive their parent.
            try:
                _lock(fcntl.lockf, file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError) as error:
                raise VocalgenError(busy) from error
        yield
    finally:
        os.close(file)


def _lock(take: Callable[[int, int], None], file: int, operation: int) -> None:
    try:
        take(file, operation)
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise
