"""Pairs of torch and torchaudio that load together, and the one line about a library that does not load."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Pair:
    """A release of torch with one of torchaudio, installed from PyPI together and imported.

    Args:
        torch, torchaudio: releases.
        fault: why torchaudio does not load; empty where it does.
    """

    torch: str
    torchaudio: str
    fault: str = ""

    @property
    def requirements(self) -> str:
        """Arguments of `pip install`."""
        return f"torch=={self.torch} torchaudio=={self.torchaudio}"


PAIRS = (
    Pair("2.14.1", "2.11.1"),
    Pair("2.12.1", "2.11.0"),
    Pair("2.12.1", "2.11.1", "torchaudio 2.11.1 needs a function of torch 2.13 or later"),
    Pair("2.15.0", "2.11.0", "torchaudio 2.11.0 is built for CUDA 13.0, torch 2.15.0 for CUDA 13.2"),
)
"""Pairs that were tried, the recommended one first: it alone is within the ranges of pyproject.toml."""


def tried(torch: str, torchaudio: str) -> Pair | None:
    """Pair of these versions in `PAIRS`; None for a pair that was not tried."""
    releases = _release(torch), _release(torchaudio)
    return next((pair for pair in PAIRS if (pair.torch, pair.torchaudio) == releases), None)


def pair_fault(torch: str, torchaudio: str) -> str:
    """Likely reason why an installed pair does not load.

    Args:
        torch, torchaudio: versions with their local part where there is one ("2.14.1+cpu").
    """
    if _is_cpu(torch) and not _is_cpu(torchaudio):
        return "torch is built without CUDA, torchaudio with it; both must come from one package index"
    pair = tried(torch, torchaudio)
    if pair is not None:
        return pair.fault or "these releases load together, so the installation is damaged"
    return "the two were built for different releases of torch or CUDA"


def pair_remedy() -> str:
    """Command that installs the recommended pair, also over a damaged installation of the same releases."""
    return f"pip install --force-reinstall {PAIRS[0].requirements}"


def loading_failure(error: BaseException) -> str | None:
    """Explain an error of a failed import in one line, with the command that mends it; None for other errors.

    diffusers and transformers import torchaudio where it is installed, and wrap what it raises in errors of their own.
    Whether torch or torchaudio is the culprit is therefore found by importing them.
    """
    if not any(map(_is_of_an_import, _chain(error))):
        return None
    torch, torchaudio = version("torch"), version("torchaudio")
    for name, installed, other in (("torch", torch, ""), ("torchaudio", torchaudio, f" with torch {torch}")):
        if installed is None:
            return f"{name} is not installed: {pair_remedy()}"
        module, reason = try_import(name)
        if module is None:
            return f"{name} {installed} cannot be loaded{other}: {pair_remedy()} ({reason})"
    culprit = next((part for part in _chain(error) if isinstance(part, ImportError)), None)
    if culprit is None or (culprit.name or "").startswith("vocalgen"):
        return None
    return f"a library does not import: {one_line(culprit)}; `vocalgen doctor` says how to mend it"


def version(distribution: str) -> str | None:
    """Installed version of a distribution; None where there is none."""
    from importlib import metadata  # a tenth of the time that `vocalgen --help` takes

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def try_import(module: str) -> tuple[Any, str]:
    """Import a module: the module and "", or None and the reason; a broken library may raise anything."""
    try:
        return importlib.import_module(module), ""
    except Exception as error:
        return None, f"{type(error).__name__}: {one_line(error)}"


def one_line(error: BaseException) -> str:
    """Message of an error without line breaks."""
    return " ".join(str(error).split())


def _is_of_an_import(error: BaseException) -> bool:
    """Whether `error` can come from loading a library: one in C raises OSError without an error number."""
    if isinstance(error, OSError):
        return error.errno is None
    wrapped = isinstance(error, RuntimeError) and str(error).startswith("Failed to import")  # of the lazy modules
    return isinstance(error, ImportError) or wrapped


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _release(version: str) -> str:
    return version.partition("+")[0]


def _is_cpu(version: str) -> bool:
    return version.endswith("+cpu")
