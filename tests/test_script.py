"""Errors as the scripts in recipes and eval show them."""

from __future__ import annotations

import errno

import pytest

from vocalgen.errors import VocalgenError
from vocalgen.script import expand_home, explain, reported


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
