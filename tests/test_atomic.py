"""Files that appear whole or not at all, full disks, and locks between processes."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vocalgen import VocalgenError, atomic
from vocalgen.atomic import atomic_path, locked
from vocalgen.errors import NoSpaceLeft

HOLDER = """
import os, sys, time
from vocalgen.atomic import locked

with locked(sys.argv[1], busy="busy"):
    child = os.fork()
    if child == 0:
        time.sleep(60)
    print(child, flush=True)
    time.sleep(60)
"""

WRITERS = """
import sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from vocalgen.atomic import atomic_path
from vocalgen.errors import NoSpaceLeft
big = {"x": torch.zeros(500_000)}
for write in (lambda p: torch.save(big, p), lambda p: save_file(big, p), lambda p: p.write_bytes(bytes(2_000_000))):
    try:
        with atomic_path(Path(sys.argv[1]) / "x") as part:
            write(part)
    except NoSpaceLeft as error:
        print(str(error).removesuffix("choose another place or free some space"))
assert not list(Path(sys.argv[1]).iterdir())
"""


def test_atomic_path_recognises_a_full_disk_by_any_exception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_has_no_room", lambda folder: True)
    target = tmp_path / "state"
    with (
        pytest.raises(NoSpaceLeft, match=f"cannot write {target}: No space left on device; "),
        atomic_path(target) as p,
    ):
        p.mkdir()
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")
    assert not list(tmp_path.iterdir())


def test_atomic_path_recognises_a_full_disk_by_its_error_number(tmp_path: Path) -> None:
    for number in (errno.ENOSPC, errno.EDQUOT):
        with pytest.raises(NoSpaceLeft), atomic_path(tmp_path / "x"):
            raise OSError(number, os.strerror(number))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a file system of its own")
def test_atomic_path_recognises_a_disk_that_is_really_full(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    mount = f"mount -t tmpfs -o size=1m none {tmp_path}/disk"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("may not mount a file system here")
    command = ["unshare", "-rm", "sh", "-c", f"{mount} && exec {sys.executable} -c '{WRITERS}' {tmp_path}/disk"]
    said = subprocess.run(command, capture_output=True, text=True)
    assert said.stdout.splitlines() == [f"cannot write {tmp_path}/disk/x: No space left on device; "] * 3, said.stderr


def test_atomic_path_lets_other_exceptions_pass_where_there_is_room(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="another fault"), atomic_path(tmp_path / "x"):
        raise RuntimeError("another fault")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
def test_locked_refuses_a_second_process_at_once_and_ends_with_the_first(tmp_path: Path) -> None:
    """Also while a forked child of the killed process lives on."""
    target = tmp_path / "run" / "training"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(target)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    try:
        with pytest.raises(VocalgenError, match="held by another"), locked(target, busy="held by another"):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        os.kill(child, 0)
        with locked(target, busy="held by another"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_locked_goes_on_where_the_file_system_has_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    monkeypatch.setattr(fcntl, "lockf", unsupported)
    for busy in (None, "held by another"):
        with locked(tmp_path / "x", busy):
            pass
