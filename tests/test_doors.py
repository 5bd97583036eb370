"""Who may import whom, read from the source with `ast`; every rule is also shown to catch an offender."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "vocalgen"

SIGNALS = {"acoustics", "mel", "pitch", "emotions", "audio"}
DATA = {*SIGNALS, "corpora", "data"}
NOISE = {"float32", "noise"}

ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "libraries": set(),
    "atomic": set(),
    "config": set(),
    "emotions": set(),
    "metrics": set(),
    "script": {"libraries"},
    "shipped": set(),
    "float32": set(),
    "weights": {"float32"},
    "doctor": {"libraries", "shipped"},
    "audio": {"decoding", "emotions", "ogg", "tags"},
    "containers": {"headers", "mp3", "ogg"},
    "decoding": {"containers"},
    "headers": set(),
    "mel": {"emotions"},
    "noise": set(),
    "acoustics": {"audio", "pitch"},
    "mp3": set(),
    "ogg": set(),
    "ownership": set(),
    "pictures": set(),
    "pitch": set(),
    "progress": set(),
    "settings_diff": set(),
    "tags": set(),
    "models": {"float32", "mel"},
    "corpora": {*SIGNALS, "pictures"},
    "data": {*SIGNALS, "corpora", "progress"},
    "training": {
        *DATA,
        *NOISE,
        "config",
        "models",
        "generation",
        "metrics",
        "progress",
        "recognition",
        "script",
        "settings_diff",
        "weights",
    },
    "generation": {*DATA, *NOISE, "libraries", "models", "pictures", "settings_diff", "shipped", "tags", "weights"},
    "recognition": {*DATA, "libraries", "models", "progress", "shipped", "weights"},
    "evaluation": {*DATA, "config", "metrics", "pictures", "progress", "recognition", "shipped"},
    "tasks": {
        *DATA,
        "config",
        "metrics",
        "models",
        "progress",
        "recognition",
        "settings_diff",
        "shipped",
        "training",
        "weights",
    },
    "rating": {"audio", "config", "corpora", "emotions", "metrics"},
}
"""Parts that each part of the package may import besides itself, `errors`, `atomic` and `ownership`; `cli` is free."""

OPEN_TO_ALL = {"errors", "atomic", "ownership"}
FREE = {"cli", "__main__"}
"""Parts that may import everything and that nobody may import."""

FROM_THE_TOP = {"__version__", "VocalgenError"}
"""What the package may take from `vocalgen` itself; the rest there is for users."""

ONLY_IN: dict[str, set[str]] = {
    "av": {"decoding"},
    "soundfile": {"audio", "decoding", "doctor", "tags"},
    "torchaudio": {"models", "recognition", "training"},
    "typer": {"cli"},
    "click": {"cli"},
}
"""Libraries that few parts may touch."""

METRICS_LIBRARIES = {"numpy", "scipy"}
NEVER_IN_MODELS = {"argparse", "pathlib", "json", "yaml", "accelerate", "safetensors"}


def modules(source: Path) -> dict[str, Path]:
    """Dotted name -> file of every module under the package folder `source`."""
    found = {}
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def part_of(module: str) -> str:
    """Second component of a dotted name: "vocalgen.models.x" -> "models"; "" for the package itself."""
    return [*module.split("."), ""][1]


def imports(name: str, path: Path, known: set[str]) -> Iterator[tuple[str, int]]:
    """(absolute dotted name, line) of each import in a file, wherever it stands."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(
                    [*package.split(".")[: len(package.split(".")) - node.level + 1], *filter(None, [base])]
                )
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield (full if full in known or base == "vocalgen" else base), node.lineno


def door_violations(source: Path) -> list[str]:
    """Every import under `source` that the tables above do not allow."""
    found, wrong = modules(source), []
    for name, path in found.items():
        here = part_of(name)
        for target, line in imports(name, path, set(found)):
            top, place = target.split(".")[0], f"{path.relative_to(source)}:{line}"
            if top == source.name:
                there = part_of(target)
                if not may_import(here, there):
                    wrong.append(f"{place}: {here or 'the package'} may not import {target}")
            elif top in ONLY_IN and here not in ONLY_IN[top]:
                wrong.append(f"{place}: only {sorted(ONLY_IN[top])} may import {top}")
            elif here == "metrics" and top not in METRICS_LIBRARIES | set(sys.stdlib_module_names):
                wrong.append(f"{place}: metrics imports {top}")
            elif here == "models" and top in NEVER_IN_MODELS:
                wrong.append(f"{place}: models imports {top}; no files, no command line there")
    return list(dict.fromkeys(wrong))


def may_import(here: str, there: str) -> bool:
    """Whether the part `here` may import the part `there` ("" is `vocalgen/__init__.py`)."""
    if here in FREE or here == there != "":
        return True
    if here == "":
        return there in {"errors", "generation", "libraries"}
    if there in OPEN_TO_ALL or there in FROM_THE_TOP:
        return here not in {"metrics", "errors"}
    return there in ALLOWED.get(here, set())


def circles(source: Path) -> list[list[str]]:
    """Chains of modules that import each other, lazily or not; the package's `__init__` stands outside."""
    found = modules(source)
    graph = {
        name: {target for target, _ in imports(name, path, set(found)) if target in found and target != source.name}
        for name, path in found.items()
        if name != source.name
    }
    finished: set[str] = set()
    chains: list[list[str]] = []

    def visit(name: str, trail: list[str]) -> None:
        if name in trail:
            chains.append([*trail[trail.index(name) :], name])
        elif name not in finished:
            for target in sorted(graph[name]):
                visit(target, [*trail, name])
            finished.add(name)

    for name in graph:
        visit(name, [])
    return chains


def loaded_by(code: str) -> set[str]:
    """Top-level modules present after running `code` in a new interpreter."""
    script = f"{code}\nimport sys\nprint(*{{m.split('.')[0] for m in sys.modules}}, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_the_package_keeps_its_doors() -> None:
    assert len(modules(SOURCE)) > 5
    assert door_violations(SOURCE) == []


def test_every_part_stands_in_the_table() -> None:
    assert {part_of(name) for name in modules(SOURCE)} - {""} <= {*ALLOWED, *FREE}


def test_nothing_imports_in_a_circle() -> None:
    assert circles(SOURCE) == []


def test_importing_vocalgen_is_light() -> None:
    heavy = {
        "torch",
        "numpy",
        "scipy",
        "transformers",
        "diffusers",
        "librosa",
        "matplotlib",
        "typer",
        "rich",
        "yaml",
    }
    assert loaded_by("import vocalgen; vocalgen.__version__; vocalgen.VocalgenError") & heavy == set()


def test_no_folder_is_called_like_a_diffusers_pipeline() -> None:
    """diffusers cannot reload a component whose parent package is called like one of its pipelines."""
    spec = importlib.util.find_spec("diffusers")
    assert spec is not None and spec.submodule_search_locations
    pipelines = Path(next(iter(spec.submodule_search_locations))) / "pipelines"
    taken = {path.name for path in pipelines.iterdir() if path.is_dir()}
    assert "dit" in taken
    assert {path.parent.name for path in modules(SOURCE).values()} & taken == set()


OFFENDERS = {
    "a metric that knows the mel": ("metrics/frechet.py", "from vocalgen.mel import LogMel"),
    "a metric that knows the errors": ("metrics/frechet.py", "from vocalgen.errors import VocalgenError"),
    "a metric on torch": ("metrics/frechet.py", "import torch.nn"),
    "emotions that know audio": ("emotions.py", "from vocalgen import audio"),
    "a relative import": ("models/net.py", "from ..training import loop"),
    "an import inside a function": ("models/net.py", "def f():\n    import vocalgen.data"),
    "an import for type checking": ("mel.py", "if TYPE_CHECKING:\n    from vocalgen.models import net"),
    "a model with a command line": ("models/net.py", "import argparse"),
    "somebody who knows the command line": ("training/loop.py", "from vocalgen.cli.main import run"),
    "soundfile outside audio": ("corpora/manifest.py", "import soundfile"),
    "the public face from inside": ("training/loop.py", "from vocalgen import VocalBurstPipeline"),
    "training that knows evaluation": ("training/loop.py", "from vocalgen.evaluation.report import write_report"),
    "a part without a row": ("wizardry.py", "from vocalgen.mel import LogMel"),
}


@pytest.mark.parametrize("offender", OFFENDERS)
def test_an_offender_is_caught(tmp_path: Path, offender: str) -> None:
    file, code = OFFENDERS[offender]
    package(tmp_path, {file: code})
    assert len(door_violations(tmp_path / "vocalgen")) == 1


def test_honest_imports_pass(tmp_path: Path) -> None:
    honest = {
        "__init__.py": "from vocalgen.errors import VocalgenError",
        "audio.py": "import soundfile\nfrom vocalgen.errors import VocalgenError\nimport vocalgen.atomic",
        "metrics/frechet.py": "import math\nimport scipy.linalg\nfrom vocalgen.metrics import stats",
        "metrics/stats.py": "import numpy as np",
        "models/net.py": "import torch\nfrom vocalgen.mel import MelConfig\nfrom .blocks import Block",
        "models/blocks.py": "from vocalgen import VocalgenError",
        "cli/main.py": "import typer\nfrom vocalgen import __version__, audio\nimport vocalgen.training.loop",
    }
    package(tmp_path, honest)
    assert door_violations(tmp_path / "vocalgen") == []


def test_a_circle_is_caught(tmp_path: Path) -> None:
    package(
        tmp_path,
        {"models/a.py": "from vocalgen.models.b import x", "models/b.py": "def f():\n    from . import a"},
    )
    assert circles(tmp_path / "vocalgen") == [["vocalgen.models.a", "vocalgen.models.b", "vocalgen.models.a"]]


def package(folder: Path, files: dict[str, str]) -> None:
    """Write a package `vocalgen` of these files, with an empty `__init__.py` where none is given."""
    for name, code in files.items():
        path = folder / "vocalgen" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code + "\n", encoding="utf-8")
        for parent in (path.parent, folder / "vocalgen"):
            (parent / "__init__.py").touch()
