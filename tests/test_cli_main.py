"""The command line as people meet it: light help, one-line errors, honest exit codes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from vocalgen import VocalgenError, __version__
from vocalgen.cli import main as cli

HEAVY = {"torch", "numpy", "scipy", "transformers", "diffusers", "librosa", "matplotlib", "soundfile", "yaml"}

Install = Callable[[object], None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a function (or a typer app) behind the verb `try`."""

    def put(target: object) -> None:
        module = types.ModuleType("vocalgen_trial_verb")
        module.target = target  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(cli.VERBS, "try", cli.Verb(module.__name__, "target", "Try something."))

    return put


@pytest.fixture
def raising(install: Install) -> Callable[[BaseException], None]:
    """Makes the verb `try` raise an exception."""

    def put(error: BaseException) -> None:
        def verb() -> None:
            raise error

        install(verb)

    return put


def exit_code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.run(arguments)
    assert isinstance(stop.value.code, int)
    return stop.value.code


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], [], ["nonsense"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys\nfrom vocalgen.cli.main import run\n"
        f"try:\n    run({arguments!r})\n"
        "except SystemExit:\n    print('modules:', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.partition("modules:")[2].split())
    assert "typer" in loaded and "vocalgen.cli.main" in loaded
    assert loaded & (HEAVY | {verb.module for verb in cli.VERBS.values()}) == set()


def test_help_lists_every_verb_without_importing_it(capsys: pytest.CaptureFixture[str], install: Install) -> None:
    install(None)  # would fail if it were made a command
    assert exit_code("--help") == 0
    shown = capsys.readouterr().out
    for name, verb in cli.VERBS.items():
        assert name in shown and verb.help.split(",")[0].rstrip(".") in shown


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code() == 0
    assert "doctor" in capsys.readouterr().out


def test_version() -> None:
    done = subprocess.run([sys.executable, "-m", "vocalgen", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"vocalgen {__version__}\n", "")


def test_a_verb_gets_its_arguments(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    def verb(name: str, count: int = typer.Option(1, "-n")) -> None:
        print(name * count)

    install(verb)
    assert exit_code("try", "ab", "-n", "2") == 0
    assert capsys.readouterr().out == "abab\n"


def test_a_verb_with_sub_verbs(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    group = typer.Typer()
    group.command("one")(lambda: print("first"))
    group.command("two")(lambda: print("second"))
    install(group)
    assert exit_code("try", "two") == 0
    assert capsys.readouterr().out == "second\n"
    assert exit_code("try", "three") == 2
    assert "three" in one_line(capsys.readouterr().err)


def test_a_verb_sets_its_exit_code(install: Install) -> None:
    def verb() -> None:
        raise typer.Exit(7)

    install(verb)
    assert exit_code("try") == 7


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (VocalgenError("no emotion\n'wae'; did you mean awe?"), 2, ["no emotion 'wae'; did you mean awe?"]),
        (
            OSError(errno.ENOSPC, "No space left on device", "out.wav"),
            2,
            ["out.wav", "No space", "free some space"],
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "out"),
            2,
            ["out: Permission denied", "permissions"],
        ),
        (OSError(errno.EROFS, "Read-only file system", "out"), 2, ["out: Read-only", "another place"]),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x.csv"), 2, ["x.csv: No such file"]),
        (OSError("libfoo.so: cannot open shared object"), 2, ["libfoo.so", "vocalgen doctor"]),
        (ModuleNotFoundError("No module named 'einops'", name="einops"), 2, ["einops", "vocalgen doctor"]),
        (ModuleNotFoundError("No module named 'vocalgen.x'", name="vocalgen.x"), 1, ["bug in vocalgen"]),
        (MemoryError(), 2, ["out of memory"]),
        (KeyboardInterrupt(), 130, ["interrupted"]),
        (
            ZeroDivisionError("division\nby zero"),
            1,
            ["bug in vocalgen: ZeroDivisionError: division by zero", "--debug"],
        ),
        (AssertionError(), 1, ["bug in vocalgen: AssertionError"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_errors_are_one_line(
    raising: Callable[[BaseException], None],
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    words: list[str],
) -> None:
    raising(error)
    assert exit_code("try") == code
    line = one_line(capsys.readouterr().err)
    assert all(word in line for word in words)


@pytest.mark.parametrize("arguments", [("try", "--debug"), ("--debug", "try")])
def test_debug_shows_the_traceback(
    raising: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    raising(VocalgenError("wrong emotion"))
    assert exit_code(*arguments) == 2
    shown = capsys.readouterr().err
    assert "Traceback (most recent call last)" in shown
    assert shown.splitlines()[-1] == "error: wrong emotion"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sampel"], ["sampel", "vocalgen --help"]),
        (["doctor", "--bogus"], ["--bogus", "vocalgen doctor --help"]),
        (["doctor", "extra"], ["extra"]),
        (["--nonsense"], ["--nonsense"]),
    ],
)
def test_wrong_usage_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]) -> None:
    assert exit_code(*arguments) == 2
    line = one_line(capsys.readouterr().err)
    assert all(word in line for word in words)


def run_verb(body: str, stdout: Any) -> subprocess.Popen[str]:
    """A new interpreter that runs a verb with this body."""
    script = (
        "import sys, types, vocalgen, vocalgen.cli.main as cli\n"
        f"def verb():\n    {body}\n"
        "sys.modules['trial'] = module = types.ModuleType('trial')\nmodule.verb = verb\n"
        "cli.VERBS['try'] = cli.Verb('trial', 'verb', '')\ncli.run(['try'])"
    )
    # Buffered, as a shell would run it: what is pending at exit is the difficult part.
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", script]
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=surroundings)


def test_a_reader_that_leaves_is_no_error() -> None:
    process = run_verb("for _ in range(100000): print('x' * 100)", subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    assert process.communicate(timeout=60) == (None, "")
    assert process.returncode == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("body", "words"),
    [("print('x')", "No space left"), ("print('x'); raise vocalgen.VocalgenError('wrong emotion')", "wrong emotion")],
)
def test_a_full_disk_behind_stdout_is_one_line(body: str, words: str) -> None:
    with open("/dev/full", "w") as full:
        process = run_verb(body, full)
        _, shown = process.communicate(timeout=60)
    assert process.returncode == 2
    assert words in one_line(shown)


def one_line(text: str) -> str:
    assert text.startswith("error: ") and text.count("\n") == 1, text
    return text.rstrip()
