"""Libraries that do not load: pairs of torch and torchaudio, and the one line that every entrance prints."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vocalgen import libraries
from vocalgen.libraries import PAIRS, loading_failure, pair_fault, pair_remedy, tried, try_import

BROKEN = "libtorchaudio.so: undefined symbol: torch_exception_get_what_without_backtrace"

BREAK_TORCHAUDIO = f"""
import importlib.abc, importlib.machinery, importlib.metadata, sys

class Broken(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name == "torchaudio" else None

    def exec_module(self, module):
        raise OSError({BROKEN!r})

sys.meta_path.insert(0, Broken())
installed = importlib.metadata.version
importlib.metadata.version = lambda name: {{"torch": "2.12.1", "torchaudio": "2.11.1"}}.get(name) or installed(name)
"""

LINE = (
    "torchaudio 2.11.1 cannot be loaded with torch 2.12.1: "
    f"pip install --force-reinstall torch==2.14.1 torchaudio==2.11.1 (OSError: {BROKEN})"
)


def ranges(root: Path, name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Lowest release and limit of a dependency in pyproject.toml."""
    found = re.search(rf'"{name}>=([\d.]+),<([\d.]+)"', (root / "pyproject.toml").read_text(encoding="utf-8"))
    assert found is not None
    return numbers(found[1]), numbers(found[2])


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def test_pyproject_ranges_admit_pairs_that_load_and_no_other(root: Path) -> None:
    """The lowest of both and the recommended pair load, and no pair known to be broken can be resolved."""
    torch, torchaudio = ranges(root, "torch"), ranges(root, "torchaudio")
    inside = [
        pair
        for pair in PAIRS
        if torch[0] <= numbers(pair.torch) < torch[1] and torchaudio[0] <= numbers(pair.torchaudio) < torchaudio[1]
    ]
    assert PAIRS[0] in inside and not any(pair.fault for pair in inside)
    assert (torch[0], torchaudio[0]) in {(numbers(pair.torch), numbers(pair.torchaudio)) for pair in inside}


def test_installed_pair_is_one_that_loads() -> None:
    pair = tried(libraries.version("torch") or "", libraries.version("torchaudio") or "")
    assert pair is None or not pair.fault
    assert try_import("torchaudio")[1] == ""


def test_pair_remedy_proposes_a_pair_within_the_ranges(root: Path) -> None:
    proposed = re.fullmatch(r"pip install --force-reinstall torch==([\d.]+) torchaudio==([\d.]+)", pair_remedy())
    assert proposed is not None
    pair = tried(proposed[1], proposed[2])
    assert pair is not None and not pair.fault
    for name, version in (("torch", proposed[1]), ("torchaudio", proposed[2])):
        lowest, limit = ranges(root, name)
        assert lowest <= numbers(version) < limit


@pytest.mark.parametrize("torch", ["2.14.1", "2.14.1+cu130"])
def test_pair_fault_calls_a_recommended_pair_that_does_not_load_damaged(torch: str) -> None:
    assert "damaged" in pair_fault(torch, "2.11.1")
    assert "damaged" not in pair_fault("2.12.1", "2.11.1") and "damaged" not in pair_fault("2.13.0", "2.11.1")


def test_try_import_survives_any_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "brittle_library.py").write_text("raise OSError('libx.so:\\nundefined symbol')")
    monkeypatch.syspath_prepend(tmp_path)
    assert try_import("brittle_library") == (None, "OSError: libx.so: undefined symbol")
    assert try_import("json") == (json, "")


ENTRANCES = {
    "python": "from vocalgen import VocalBurstPipeline",
    "command": "from vocalgen.cli.main import run; run(sys.argv[1:])",
    "recipe": "sys.path.insert(0, 'recipes'); import export; export.main(sys.argv[1:])",
}


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_torchaudio_that_does_not_load_gives_one_line(
    entrance: str, wavlm: Path, study_clips: Path, debug_checkpoint: Path, root: Path, tmp_path: Path
) -> None:
    """diffusers and transformers import torchaudio; each entrance says which pair to install."""
    parts = [f"--{name}={debug_checkpoint / name}" for name in ("transformer", "autoencoder", "vocoder")]
    out = f"--out={tmp_path / 'out'}"
    arguments = {
        "python": [],
        "command": ["embed", str(study_clips), f"--encoder={wavlm}", f"{out}.npz"],
        "recipe": ["pipeline", *parts, out],
    }[entrance]
    done = subprocess.run(
        [sys.executable, "-c", BREAK_TORCHAUDIO + ENTRANCES[entrance], *arguments],
        capture_output=True,
        text=True,
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
    )
    lines = done.stderr.strip().splitlines()
    assert lines[-1] == ("vocalgen.errors.VocalgenError: " if entrance == "python" else "error: ") + LINE
    if entrance != "python":
        assert (done.returncode, len(lines)) == (2, 1), done.stderr


@pytest.mark.parametrize("error", [OSError(2, "No such file", "a"), ValueError("x"), RuntimeError("size mismatch")])
def test_other_errors_are_not_taken_for_a_library_that_does_not_load(error: Exception) -> None:
    assert loading_failure(error) is None


def test_missing_library_is_named() -> None:
    error = ModuleNotFoundError("No module named 'einops'", name="einops")
    failure = loading_failure(error)
    assert failure is not None and "No module named 'einops'" in failure and "vocalgen doctor" in failure
