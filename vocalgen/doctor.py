"""Look the installation over: versions, extras, audio, device, shipped checkpoints, disk.

Every check is a function that returns rows and never raises, so that the doctor works on the machine where
`import torch` does not.
"""

from __future__ import annotations

import importlib
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from vocalgen import __version__, shipped

Status = Literal["ok", "warn", "fail"]

TORCH_PAIR = "'torch>=2.11,<2.13' 'torchaudio>=2.11,<2.12'"
"""The pair that imports together, as pip arguments; the same ranges as in pyproject.toml."""

MEND_PAIR = f"pip install --force-reinstall {TORCH_PAIR}"

LIBRARIES = (
    "numpy",
    "scipy",
    "diffusers",
    "transformers",
    "accelerate",
    "librosa",
    "scikit-learn",
    "soundfile",
    "soxr",
    "einops",
    "safetensors",
    "typer",
    "rich",
    "PyYAML",
)
"""Core distributions besides torch and torchaudio."""

EXTRAS = {
    "train": ("matplotlib", "tensorboard"),
    "opensmile": ("opensmile",),
    "rate": ("starlette", "uvicorn"),
    "webm": ("av",),
}
"""Distributions of the extras, but for those of developers."""

PURPOSES = {
    "train": "pictures, and logs for TensorBoard",
    "opensmile": "features of openSMILE, for research only",
    "rate": "the server of listening studies; it needs no browser, those who listen do",
    "webm": "reads webm, as the raw recordings of HUME-VOCALBURST are",
}
"""What the extras are for."""


@dataclass(frozen=True)
class Check:
    """One row of the report.

    Args:
        name: what was looked at.
        status: "ok", "warn" (works with a restriction) or "fail" (something a verb needs is broken).
        detail: what was found, one line.
        remedy: what to do about it; empty when there is nothing to do.
    """

    name: str
    status: Status
    detail: str
    remedy: str = ""


def examine(folder: Path | None = None) -> list[Check]:
    """All checks in the order of the report.

    Args:
        folder: where clips would be written, for the disk check; default is the current folder.
    """
    sections: dict[str, Callable[[], Iterator[Check]]] = {
        "python": check_python,
        "torch pair": check_torch_pair,
        "libraries": check_libraries,
        "extras": check_extras,
        "audio codecs": check_codecs,
        "device": check_device,
        "threads": check_threads,
        "checkpoints": check_checkpoints,
        "disk": partial(check_disk, folder or Path.cwd()),
    }
    rows: list[Check] = []
    for name, section in sections.items():
        try:
            rows.extend(section())
        except Exception as error:  # a doctor who faints helps nobody
            rows.append(Check(name, "warn", f"could not be examined: {_one_line(error)}"))
    return rows


def check_python() -> Iterator[Check]:
    """Interpreter, platform and this package."""
    yield Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield Check("vocalgen", "ok", f"{__version__} in {Path(__file__).resolve().parent}")


def check_torch_pair() -> Iterator[Check]:
    """torch and torchaudio: versions that belong together, and that really import."""
    torch_version, audio_version = _version("torch"), _version("torchaudio")
    for name, version in (("torch", torch_version), ("torchaudio", audio_version)):
        if version is None:
            yield Check(name, "fail", "not installed", f"pip install {TORCH_PAIR}")
    if torch_version is None or audio_version is None:
        return
    torch, torch_error = _import("torch")
    if torch is None:
        versions = f"torch {torch_version}, torchaudio {audio_version}"
        yield Check("torch pair", "fail", f"{versions}: import torch fails: {torch_error}", MEND_PAIR)
        return
    torch_version = str(torch.__version__)  # with "+cpu" or "+cu130", which the metadata may lack
    pair = f"torch {torch_version} with torchaudio {audio_version}"
    _, audio_error = _import("torchaudio")
    reason = diagnose_pair(torch_version, audio_version, audio_error)
    if reason:
        status: Status = "fail" if audio_error else "warn"
        yield Check("torch pair", status, f"{pair}: {reason}", MEND_PAIR)
    else:
        yield Check("torch pair", "ok", pair)


def diagnose_pair(torch_version: str, audio_version: str, audio_error: str) -> str:
    """Why a torch/torchaudio pair is broken or untested; empty for a good pair.

    Args:
        torch_version, audio_version: with the local part where there is one ("2.12.1+cpu").
        audio_error: the message of a failed `import torchaudio`, empty when it imports.

    The known breakages: torchaudio's compiled library is built against one CUDA version and fails beside a
    torch built for another one (torch 2.13 and later) or beside a torch without CUDA.
    """
    if not (2, 11) <= _release(torch_version) < (2, 13):
        reason = "this torch is outside the tested range >=2.11,<2.13"
    elif _release(audio_version) != (2, 11):
        reason = "this torchaudio is outside the tested range >=2.11,<2.12"
    elif audio_error and _is_cpu_build(torch_version) and not _is_cpu_build(audio_version):
        reason = "torch is built without CUDA, torchaudio with it; both must come from the same package index"
    elif audio_error:
        reason = "the two were built for different CUDA versions or torch releases"
    else:
        return ""
    return f"{reason}; import torchaudio fails: {audio_error}" if audio_error else reason


def check_libraries() -> Iterator[Check]:
    """Versions of the other core dependencies, in one row, and a row for each missing one."""
    found = {name: _version(name) for name in LIBRARIES}
    present = ", ".join(f"{name} {version}" for name, version in found.items() if version)
    yield Check("libraries", "ok", present)
    for name in (name for name, version in found.items() if version is None):
        yield Check(name, "fail", "not installed", f"pip install {name}")


def check_extras() -> Iterator[Check]:
    """What extras are for, with the versions of what is here; nobody needs them all."""
    for extra, names in EXTRAS.items():
        found = {name: _version(name) for name in names}
        present = ", ".join(f"{name} {version or 'not installed'}" for name, version in found.items())
        remedy = "" if all(found.values()) else f"pip install 'vocalgen[{extra}]'"
        yield Check(f"extra {extra}", "ok", f"{present} ({PURPOSES[extra]})", remedy)


def check_codecs() -> Iterator[Check]:
    """What libsndfile reads and writes; wav and flac always, mp3, ogg and opus since 1.1."""
    soundfile, error = _import("soundfile")
    if soundfile is None:
        yield Check(
            "audio codecs",
            "fail",
            f"import soundfile fails: {error}",
            "pip install --force-reinstall soundfile",
        )
        return
    formats = {name.lower() for name in soundfile.available_formats()}
    subtypes = set(soundfile.available_subtypes())
    able = {
        "wav": "wav" in formats,
        "flac": "flac" in formats,
        "mp3": "mp3" in formats and "MPEG_LAYER_III" in subtypes,
        "ogg": "ogg" in formats and "VORBIS" in subtypes,
        "opus": "ogg" in formats and "OPUS" in subtypes,
    }
    missing = [name for name, there in able.items() if not there]
    detail = f"libsndfile {soundfile.__libsndfile_version__}: {' '.join(name for name in able if able[name])}"
    if missing:
        remedy = "pip install --upgrade soundfile (its wheels carry a libsndfile with every codec)"
        yield Check("audio codecs", "warn", f"{detail}; without {' '.join(missing)}", remedy)
    else:
        yield Check("audio codecs", "ok", detail)


def check_device() -> Iterator[Check]:
    """The device that would be used, and whether bf16 is fast there."""
    flags = cpu_flags()
    if "amx_bf16" in flags:
        cpu = "cpu, bf16 in AMX (several times faster than fp32)"
    elif "avx512_bf16" in flags:
        cpu = "cpu, bf16 in AVX-512"
    else:
        cpu = "cpu, no bf16 arithmetic (fp32 is the faster choice)"
    torch, error = _import("torch")
    if torch is None:
        yield Check("device", "warn", f"{cpu}; torch does not import: {error}")
    elif torch.cuda.is_available():
        bf16 = "with bf16" if torch.cuda.is_bf16_supported() else "without bf16"
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        yield Check("device", "ok", f"cuda: {names}, {bf16}")
    elif torch.backends.mps.is_available():
        yield Check("device", "ok", "mps (Apple GPU)")
    else:
        yield Check("device", "ok", cpu)


def cpu_flags() -> set[str]:
    """Instruction-set flags of the processor as Linux names them; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())


def check_threads() -> Iterator[Check]:
    """Cores this process may use against the threads torch would start."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS")
    detail = f"{cores} core{'s' * (cores != 1)}" + (f", OMP_NUM_THREADS={limit}" if limit else "")
    torch, _ = _import("torch")
    if torch is None:
        yield Check("threads", "ok", detail)
        return
    threads = torch.get_num_threads()
    detail = f"{detail}, torch uses {threads}"
    if threads > cores:
        yield Check("threads", "warn", detail, f"export OMP_NUM_THREADS={cores}")
    else:
        yield Check("threads", "ok", detail)


def check_checkpoints(root: Path | None = None) -> Iterator[Check]:
    """Shipped models with the SHA-256 of every weight file, compared with SHA256SUMS where that exists."""
    root = root or shipped.shipped_root()
    models = shipped.shipped_models(root) if root else {}
    if root is None or not models:
        remedy = "use --checkpoint with a folder or hub id, or install a release that carries the models"
        yield Check("checkpoints", "warn", "no shipped model in this installation", remedy)
        return
    expected = shipped.expected_sums(root)
    for name, folder in models.items():
        for path in shipped.weight_files(folder):
            yield _check_weights(f"{name}/{path.relative_to(folder).as_posix()}", path, expected)
    for path in (path for path in expected if not path.is_file()):
        yield Check(path.name, "fail", f"{path} is listed in {shipped.SUMS_FILE} but missing", _REINSTALL)


_REINSTALL = "install vocalgen again from an intact source: pip install --force-reinstall --no-deps ."


def _check_weights(name: str, path: Path, expected: dict[Path, str]) -> Check:
    try:
        from safetensors import safe_open

        with safe_open(path, framework="np") as tensors:  # reads the header and compares it with the file size
            count = len(tensors.keys())
        digest = shipped.file_sha256(path)
    except Exception as error:
        return Check(name, "fail", f"{path} cannot be read: {_one_line(error)}", _REINSTALL)
    promised = expected.get(path.resolve())
    detail = f"{count} tensor{'s' * (count != 1)}, {path.stat().st_size / 1e6:.1f} MB, sha256 {digest}"
    if promised is not None and promised != digest:
        return Check(name, "fail", f"{detail}, but {shipped.SUMS_FILE} says {promised}", _REINSTALL)
    if expected and promised is None:
        return Check(name, "warn", f"{detail}, not listed in {shipped.SUMS_FILE}")
    return Check(name, "ok", detail)


def check_disk(folder: Path) -> Iterator[Check]:
    """Free space and write permission where clips would land."""
    free = shutil.disk_usage(folder).free / 1e9
    detail = f"{free:.1f} GB free in {folder}"
    if not os.access(folder, os.W_OK):
        yield Check("disk", "warn", f"{detail}, which is read-only", "work in another folder or pass --out")
    elif free < 0.1:
        yield Check("disk", "fail", detail, "free some space")
    elif free < 1:
        yield Check("disk", "warn", detail, "1000 clips take about 0.1 GB, a training run several GB")
    else:
        yield Check("disk", "ok", detail)


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _import(module: str) -> tuple[Any, str]:
    """The module and "", or None and why not; a broken library may raise anything."""
    try:
        return importlib.import_module(module), ""
    except Exception as error:
        return None, _one_line(error)


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _release(version: str) -> tuple[int, int]:
    """(major, minor) of "2.12.1+cu130"; (0, 0) when it is not of that form."""
    parts = version.split("+")[0].split(".")
    return (int(parts[0]), int(parts[1])) if len(parts) > 1 and all(p.isdigit() for p in parts[:2]) else (0, 0)


def _is_cpu_build(version: str) -> bool:
    return version.endswith("+cpu")
