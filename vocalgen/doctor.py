"""Look the installation over: versions, extras, audio, device, shipped checkpoints, disk.

Every check is a function that returns rows and never raises, so that the doctor works on the machine where
`import torch` does not.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from vocalgen import __version__, shipped
from vocalgen.libraries import one_line, pair_fault, pair_remedy, tried, try_import, version

Status = Literal["ok", "warn", "fail"]

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
    "psutil",
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
            rows.append(Check(name, "warn", f"could not be examined: {type(error).__name__}: {one_line(error)}"))
    return rows


def check_python() -> Iterator[Check]:
    """Interpreter, platform and this package."""
    yield Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield Check("vocalgen", "ok", f"{__version__} in {Path(__file__).resolve().parent}")


def check_torch_pair() -> Iterator[Check]:
    """torch and torchaudio: whether they import together, by trying it, and what is known of their releases."""
    torch_version, audio_version = version("torch"), version("torchaudio")
    for name, found in (("torch", torch_version), ("torchaudio", audio_version)):
        if found is None:
            yield Check(name, "fail", "not installed", pair_remedy())
    if torch_version is None or audio_version is None:
        return
    torch, torch_error = try_import("torch")
    if torch is None:
        versions = f"torch {torch_version}, torchaudio {audio_version}"
        detail = f"{versions}: import torch fails: {torch_error}"
        yield Check("torch pair", "fail", detail, pair_remedy())
        return
    torch_version = str(torch.__version__)  # with "+cpu" or "+cu130", which the metadata may lack
    pair, remedy = f"torch {torch_version} with torchaudio {audio_version}", pair_remedy()
    _, audio_error = try_import("torchaudio")
    if audio_error:
        fault = pair_fault(torch_version, audio_version)
        yield Check("torch pair", "fail", f"{pair}: {fault}; import torchaudio fails: {audio_error}", remedy)
    elif tried(torch_version, audio_version) is None:
        yield Check("torch pair", "warn", f"{pair}: they import, but vocalgen was not tested with this pair", remedy)
    else:
        yield Check("torch pair", "ok", pair)


def check_libraries() -> Iterator[Check]:
    """Versions of the other core dependencies, in one row, and a row for each missing one."""
    found = {name: version(name) for name in LIBRARIES}
    present = ", ".join(f"{name} {installed}" for name, installed in found.items() if installed)
    yield Check("libraries", "ok", present)
    for name in (name for name, installed in found.items() if installed is None):
        yield Check(name, "fail", "not installed", f"pip install {name}")


def check_extras() -> Iterator[Check]:
    """What extras are for, with the versions of what is here; nobody needs them all."""
    for extra, names in EXTRAS.items():
        found = {name: version(name) for name in names}
        present = ", ".join(f"{name} {installed or 'not installed'}" for name, installed in found.items())
        remedy = "" if all(found.values()) else f"pip install 'vocalgen[{extra}]'"
        yield Check(f"extra {extra}", "ok", f"{present} ({PURPOSES[extra]})", remedy)


def check_codecs() -> Iterator[Check]:
    """What libsndfile reads and writes; wav and flac always, mp3, ogg and opus since 1.1."""
    soundfile, error = try_import("soundfile")
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
    torch, error = try_import("torch")
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
    return set(_cpu_info("flags").split())


def processor_name() -> str:
    """Name of the processor."""
    return _cpu_info("model name") or platform.processor() or platform.machine()


def _cpu_info(field: str) -> str:
    """Value of a field of /proc/cpuinfo for the first core; empty on systems without one."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")


def check_threads() -> Iterator[Check]:
    """Cores this process may use against the threads torch would start."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS")
    detail = f"{cores} core{'s' * (cores != 1)}" + (f", OMP_NUM_THREADS={limit}" if limit else "")
    torch, _ = try_import("torch")
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
        return Check(name, "fail", f"{path} cannot be read: {type(error).__name__}: {one_line(error)}", _REINSTALL)
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
