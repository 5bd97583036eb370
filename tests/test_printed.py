"""Commands that are printed for copying survive a shell."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vocalgen.cli.main import VERBS
from vocalgen.cli.printed import command as printed

if TYPE_CHECKING:
    from conftest import Line

SOURCE = Path(__file__).resolve().parents[1]
UNQUOTED = re.compile(rf"vocalgen ({'|'.join(VERBS)})\b[^`()]*\{{\}}")


@pytest.mark.parametrize("name", ["study", "my study", "it's", "$HOME", "a;b", "-x", "ä b"])
def test_command_is_read_by_a_shell_as_it_was_meant(name: str) -> None:
    first, *words = shlex.split(printed("rate", "serve", Path(name), "--invite", 3))
    assert first == "vocalgen" and words[:2] == ["rate", "serve"] and words[3:] == ["--invite", "3"]
    assert Path(words[2]) == Path(name) and not words[2].startswith("-")


def test_rate_new_prints_a_command_that_runs(study_clips: Path, tmp_path: Path, done: Line) -> None:
    folder = tmp_path / "my study"
    said = done("rate", "new", folder, "--clips", study_clips, "--per-emotion", 1, "--practice", 0, "--repeats", 0)
    words = shlex.split(said.splitlines()[-1])
    assert words[:4] == ["vocalgen", "rate", "serve", str(folder)]


def templates(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each f-string, with `{}` for what is put in."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values]
            yield node.lineno, "".join(parts)


def unquoted(folder: Path) -> list[str]:
    """Places where something is put into a command without `vocalgen.cli.printed.command`."""
    files = sorted(folder.rglob("*.py"))
    return [f"{file}:{line}" for file in files for line, text in templates(file) if UNQUOTED.search(text)]


def test_no_command_is_printed_without_quotes(tmp_path: Path) -> None:
    assert [place for name in ("vocalgen", "recipes", "eval") for place in unquoted(SOURCE / name)] == []
    (tmp_path / "verb.py").write_text('print(f"next: vocalgen rate serve {study}")\nprint(f"{n}: vocalgen rate new")')
    assert len(unquoted(tmp_path)) == 1
