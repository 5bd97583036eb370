"""Errors as the scripts in recipes and eval show them."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vocalgen.errors import VocalgenError
from vocalgen.script import expand_home, explain, reported, settle_process


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (VocalgenError("no manifest\nhere; make one"), 2, "error: no manifest here; make one\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "a.wav"),
            2,
            "error: a.wav: No space left on device; free some space or choose another place\n",
        ),
        (MemoryError("8 GB"), 2, "error: out of memory: 8 GB; ask for fewer clips at a time\n"),
        (KeyboardInterrupt(), 130, "stopped; nothing was written\n"),
        (BrokenPipeError(), 141, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_errors_are_one_line(error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped, reported("stopped; nothing was written"):
        raise error
    assert stopped.value.code == code
    assert capsys.readouterr().err == said


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), reported("stopped"):
        _ = 1 / 0
    assert explain(ZeroDivisionError()) is None
    assert explain(ModuleNotFoundError("No module named 'vocalgen.x'", name="vocalgen.x")) is None


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(VocalgenError), reported("stopped", debug=True):
        raise VocalgenError("no manifest here")


@pytest.mark.parametrize(
    ("argument", "expanded"),
    [
        ("--out=~/x/y", "--out=/users/me/x/y"),
        ("-o~/x", "-o/users/me/x"),
        ("loop.run=~/r", "loop.run=/users/me/r"),
        ("their system=~/clips", "their system=/users/me/clips"),
        ("~/c", "/users/me/c"),
        *((kept, kept) for kept in ("a~/b", "x/y=~/c", "--reason=about ~/x", "awe=0.7,fear=0.3", "./~/x", "~", "=~")),
    ],
)
def test_expand_home_expands_values_that_begin_with_a_tilde(
    argument: str, expanded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/users/me")
    assert expand_home([argument]) == [expanded]
    monkeypatch.setattr("sys.argv", ["vocalgen", argument])
    assert expand_home() == [expanded]


def test_settle_process_gives_matplotlib_a_backend_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    settle_process()
    assert os.environ["MPLBACKEND"] == "agg"


def test_settle_process_replaces_what_the_code_page_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="cp932"))
    settle_process()
    print("Fréchet", flush=True)
    assert raw.getvalue().split() == [b"Fr?chet"]


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_settle_process_leaves_other_streams_alone(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO | None) -> None:
    monkeypatch.setattr(sys, "stdout", stream)
    settle_process()
    assert sys.stdout is stream


NOTEBOOK = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "PYTHONIOENCODING": "cp932"}
"""Environment of a command that a notebook starts on a machine with a Japanese code page."""


@pytest.mark.parametrize("case", ["help", "figure"])
def test_command_survives_the_environment_of_a_notebook(case: str, root: Path, tmp_path: Path) -> None:
    """The help of `metrics` has an é, which code page 932 lacks; the figure needs a backend that is installed."""
    pytest.importorskip("matplotlib")
    (tmp_path / "labels.csv").write_text("file,split,emotion\na.wav,train,joy\nb.wav,test,awe\n")
    manifest, figure = tmp_path / "manifest.csv", tmp_path / "figure.svg"
    commands = {
        "help": [["metrics", "--help"]],
        "figure": [
            ["data", "prepare", "folder", str(tmp_path / "labels.csv"), "--out", str(manifest), "--no-verify"],
            ["data", "stats", str(manifest), "--figure", str(figure)],
        ],
    }[case]
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "vocalgen", *command],
            capture_output=True,
            cwd=root,
            env=os.environ | NOTEBOOK | {"PYTHONPATH": str(root)},
        )
        assert done.returncode == 0 and b"error" not in done.stderr, done.stderr.decode("cp932")
    assert case == "help" or figure.is_file()
