"""The tree as a stranger gets it: no paths of one machine, a README whose two lines CI finds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vocalgen.cli.main import VERBS, load_verb

IGNORED = {".git", "runs", "outputs", "build", "dist", ".venv", "venv"}
TEXT_LIMIT = 2_000_000

MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:home|Users|root|work|mnt|data|scratch|opt)" + r"/[\w.-]+|\b[A-Z]:\\Users\\")
"""Folders that exist on somebody's machine only; /tmp, /dev, /proc and /usr mean the same everywhere."""

LINES = ["pip install . && vocalgen sample --emotion awe", "pip install '.[dev]' && pytest"]


def tracked_files(root: Path) -> list[Path]:
    """Files under version control; without a repository, all files outside caches and builds."""
    listed = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True, text=True)
    if listed.returncode == 0 and listed.stdout:
        return [path for name in listed.stdout.split("\0") if name and (path := root / name).is_file()]
    return [
        path
        for path in root.rglob("*")
        if path.is_file()
        and not any(part in IGNORED or part.endswith(("cache", "cache__", ".egg-info")) for part in path.parts)
    ]


def machine_paths(text: str) -> list[str]:
    return [match.group() for match in MACHINE_PATH.finditer(text)]


def test_no_tracked_file_names_a_machine(root: Path) -> None:
    files = tracked_files(root)
    assert root / "pyproject.toml" in files
    found = {}
    for path in files:
        content = path.read_bytes()
        if b"\0" not in content[:1024] and len(content) < TEXT_LIMIT:
            hits = machine_paths(content.decode("utf-8", errors="replace"))
            if hits:
                found[path.relative_to(root).as_posix()] = hits
    assert found == {}


UNPICKLES = re.compile(
    r"^\s*(?:import|from) (?:pickle|dill|joblib|shelve)\b|allow_pickle=True|yaml\.(?:unsafe_|full_)?load\("
    r"|torch\.load\((?!.*weights_only=True)",
    re.MULTILINE,
)


def test_nothing_is_unpickled(root: Path) -> None:
    """Weights are safetensors, resume points are read by `weights_only`, YAML by `safe_load`."""
    sources = [path for folder in ("vocalgen", "recipes", "eval") for path in (root / folder).rglob("*.py")]
    assert len(sources) > 40
    found = {path.name: UNPICKLES.findall(path.read_text(encoding="utf-8")) for path in sources}
    assert {name: hits for name, hits in found.items() if hits} == {}
    for line in ("import pickle", "torch.load(path)", "yaml.load(x)", "np.load(p, allow_pickle=True)"):
        assert UNPICKLES.search(line)


@pytest.mark.parametrize("path", ["home/ada/clips", "Users/ada", "root/x.py", "opt/venv/bin", "work/main", "mnt/disk1"])
def test_a_machine_path_is_recognised(path: str) -> None:
    assert machine_paths(f'folder = "/{path}"')
    assert not machine_paths(f"https://example.org/{path} ../{path} ~/{path} some/{path} /tmp/clips /dev/null")


def test_what_git_ignores(root: Path, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    shutil.copy(root / ".gitignore", tmp_path)
    ignored = [
        "runs/a/config.yaml",
        "vocalgen/__pycache__/x.pyc",
        "vocalgen.egg-info/PKG-INFO",
        ".mypy_cache/x",
    ]
    kept = [
        "vocalgen/data.py",
        "recipes/emogator/diffusion.yaml",
        "checkpoints/a/model.safetensors",
        "eval/a.csv",
    ]
    command = ["git", "-C", str(tmp_path), "check-ignore", "--no-index", *ignored, *kept]
    assert subprocess.run(command, capture_output=True, text=True).stdout.split() == ignored


def dry_run(script: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", str(script), "--dry-run"], capture_output=True, text=True)


def test_ci_takes_its_two_lines_from_the_readme(root: Path) -> None:
    assert subprocess.run(["bash", "-n", str(root / ".ci/run")]).returncode == 0
    done = dry_run(root / ".ci/run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == [f"README {i}: {line}" for i, line in enumerate(LINES, 1)]


def test_ci_runs_tests_of_networks_without_avx512(root: Path) -> None:
    (line,) = [line for line in dry_run(root / ".ci/run").stdout.splitlines() if "ONEDNN_MAX_CPU_ISA=AVX2" in line]
    files = re.findall(r"tests/\w+\.py", line)
    assert len(files) > 3 and all((root / file).is_file() for file in files)


def verbs() -> Iterator[str]:
    """Verbs of the command line, with those of their groups."""
    for name in VERBS:
        group = getattr(load_verb(name), "commands", {})
        yield from [f"{name} {verb}" for verb in group] or [name]


def test_ci_smoke_runs_each_verb(root: Path) -> None:
    script = (root / ".ci/smoke").read_text(encoding="utf-8")
    known = list(verbs())
    assert {"sample", "rate serve", "metrics s-mtl", "data prepare"} <= set(known)
    assert [verb for verb in known if not re.search(rf"^run vocalgen {verb}\b", script, re.MULTILINE)] == []


def test_ci_smoke_goes_on_after_each_failure(root: Path, tmp_path: Path) -> None:
    """Every command fails here; with --all the script nevertheless comes to its end and lists them."""
    (tmp_path / "README.md").write_text("")
    for name in ("vocalgen", "python"):
        (tmp_path / name).write_text("#!/bin/sh\n[ $# = 1 ] && [ $1 = - ]\n")
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["bash", str(root / ".ci/smoke"), "--all"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    broken = [line for line in done.stdout.splitlines() if line.startswith("smoke: broken:")]
    assert done.returncode == 1 and len(broken) == done.stdout.count("\n+ ") + 1
    assert any("submission check" in line for line in broken)


def block(*lines: str, fence: str = "```bash") -> str:
    return "\n".join(["<!-- ci:run -->", fence, *lines, "```", ""])


@pytest.mark.parametrize(
    ("readme", "good"),
    [
        (f"# t\n{block('first')}\ntext\n\n{block('second && third')}\n```bash\nno marker\n```\n", True),
        (block("first"), False),
        (block("first") * 3, False),
        (block("first", "more") + block("second"), False),
        (block("first", fence="```python") + block("second"), False),
        (block() + block("second"), False),
        (block("first") + "<!-- ci:run -->\nprose\n", False),
        ("no block at all\n", False),
    ],
)
def test_a_readme_without_two_one_line_blocks_is_refused(root: Path, tmp_path: Path, readme: str, good: bool) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(root / ".ci/run", tmp_path / ".ci/run")
    (tmp_path / "README.md").write_text(readme, encoding="utf-8")
    done = dry_run(tmp_path / ".ci/run")
    assert (done.returncode == 0) == good
    if good:
        assert done.stdout.startswith("README 1: first\nREADME 2: second && third\n")
    else:
        assert done.stderr.startswith(".ci/run: FAILED at: reading README.md")
