"""The doctor on healthy, half-healthy and broken installations."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import types
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from vocalgen import doctor, shipped
from vocalgen.cli import doctor as doctor_verb
from vocalgen.cli.main import run
from vocalgen.doctor import Check


def versions(monkeypatch: pytest.MonkeyPatch, **found: str | None) -> None:
    real = doctor.version
    monkeypatch.setattr(doctor, "version", lambda name: found[name] if name in found else real(name))


def fake_pair(monkeypatch: pytest.MonkeyPatch, torch: str, torchaudio: str, audio_error: str = "") -> None:
    """A torch and a torchaudio of these versions, which import unless `audio_error` is given."""
    versions(monkeypatch, torch=torch.split("+")[0], torchaudio=torchaudio)

    def importing(name: str) -> tuple[object, str]:
        if name == "torchaudio" and audio_error:
            return None, audio_error
        return types.SimpleNamespace(__version__=torch), ""

    monkeypatch.setattr(doctor, "try_import", importing)


def only(rows: object) -> Check:
    (row,) = rows  # type: ignore[misc]
    assert isinstance(row, Check)
    return row


UNDEFINED = "OSError: libtorchaudio.so: undefined symbol: _ZN3c10"


@pytest.mark.parametrize(
    ("torch", "torchaudio", "error", "status", "words", "remedy"),
    [
        ("2.14.1+cu130", "2.11.1", "", "ok", [], ""),
        ("2.12.1+cu130", "2.11.0", "", "ok", [], ""),
        ("2.12.1+cu130", "2.11.1", UNDEFINED, "fail", ["needs a function of torch 2.13", UNDEFINED], "2.14.1"),
        ("2.15.0+cu132", "2.11.0", UNDEFINED, "fail", ["built for CUDA 13.0", UNDEFINED], "2.14.1"),
        ("2.15.0+cu132", "2.11.1", UNDEFINED, "fail", ["different releases of torch or CUDA"], "2.14.1"),
        ("2.14.1+cu130", "2.11.1", UNDEFINED, "fail", ["the installation is damaged", UNDEFINED], "--force-reinstall"),
        ("2.14.1+cpu", "2.11.1", UNDEFINED, "fail", ["without CUDA", "one package index"], "2.14.1"),
        ("2.16.0", "2.12.0", "", "warn", ["they import", "not tested with this pair"], "2.14.1"),
        ("weird", "2.11.1", "", "warn", ["not tested with this pair"], "2.14.1"),
    ],
)
def test_torch_pair_is_diagnosed_and_the_recommended_pair_is_proposed(
    monkeypatch: pytest.MonkeyPatch,
    torch: str,
    torchaudio: str,
    error: str,
    status: str,
    words: list[str],
    remedy: str,
) -> None:
    fake_pair(monkeypatch, torch, torchaudio, error)
    row = only(doctor.check_torch_pair())
    assert row.status == status and f"torch {torch} with torchaudio {torchaudio}" in row.detail
    assert all(word in row.detail for word in words)
    assert remedy in row.remedy and bool(row.remedy) == bool(remedy)
    assert not row.remedy or "torch==2.14.1 torchaudio==2.11.1" in row.remedy


def test_missing_torchaudio(monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, torchaudio=None)
    row = only(doctor.check_torch_pair())
    assert (row.name, row.status) == ("torchaudio", "fail")


def test_the_libraries_are_the_core_dependencies(root: Path) -> None:
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    block = text.partition("dependencies = [")[2].partition("\n]")[0]
    names = {line.strip(' ",').split(">")[0] for line in block.splitlines() if line.strip().startswith('"')}
    assert {name.lower() for name in doctor.LIBRARIES} == names - {"torch", "torchaudio"}


def test_a_missing_library_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, einops=None)
    rows = list(doctor.check_libraries())
    assert "einops" not in rows[0].detail and "numpy" in rows[0].detail
    assert rows[1:] == [Check("einops", "fail", "not installed", "pip install einops")]


def test_the_extras_are_those_of_pyproject(root: Path) -> None:
    block = (root / "pyproject.toml").read_text(encoding="utf-8").partition("[project.optional-dependencies]\n")[2]
    lines = dict(line.split(" = ", 1) for line in block.partition("\n\n")[0].splitlines())
    assert doctor.EXTRAS.keys() == doctor.PURPOSES.keys() == lines.keys() - {"dev"}
    for extra, names in doctor.EXTRAS.items():
        assert tuple(re.findall(r'"([\w-]+)>=', lines[extra])) == names


def test_an_extra_that_is_not_there_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, starlette="1.0", uvicorn=None, av="15.1")
    rows = {row.name: row for row in doctor.check_extras()}
    assert {row.status for row in rows.values()} == {"ok"} and len(rows) == 4
    assert rows["extra rate"].detail.startswith("starlette 1.0, uvicorn not installed (the server of listening studies")
    assert rows["extra rate"].remedy == "pip install 'vocalgen[rate]'"
    assert rows["extra webm"].detail.startswith("av 15.1 (") and not rows["extra webm"].remedy


def test_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    row = only(doctor.check_codecs())
    assert row.status == "ok" and row.detail.endswith("wav flac mp3 ogg opus")
    old = types.SimpleNamespace(
        __libsndfile_version__="1.0.31",
        available_formats=lambda: {"WAV": "", "FLAC": "", "OGG": "", "MP3": ""},
        available_subtypes=lambda: {"PCM_16": "", "VORBIS": ""},
    )
    monkeypatch.setattr(doctor, "try_import", lambda name: (old, ""))
    row = only(doctor.check_codecs())
    assert row.status == "warn" and row.detail == "libsndfile 1.0.31: wav flac ogg; without mp3 opus"


def test_the_processor_has_a_name_on_every_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: One CPU: fast\nflags\t\t: fpu amx_bf16\nmodel name\t: Another\n")
    monkeypatch.setattr(doctor, "Path", lambda name: info if name == "/proc/cpuinfo" else Path(name))
    assert doctor.processor_name() == "One CPU: fast" and doctor.cpu_flags() == {"fpu", "amx_bf16"}
    info.unlink()
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert doctor.processor_name() == "arm64" and doctor.cpu_flags() == set()


@pytest.mark.parametrize(
    ("flags", "words"),
    [({"amx_bf16", "avx512_bf16"}, "AMX"), ({"avx512_bf16"}, "AVX-512"), (set(), "no bf16")],
)
def test_cpu_arithmetic(monkeypatch: pytest.MonkeyPatch, flags: set[str], words: str) -> None:
    nothing = types.SimpleNamespace(is_available=lambda: False)
    torch = types.SimpleNamespace(cuda=nothing, backends=types.SimpleNamespace(mps=nothing))
    monkeypatch.setattr(doctor, "try_import", lambda name: (torch, ""))
    monkeypatch.setattr(doctor, "cpu_flags", lambda: flags)
    assert words in only(doctor.check_device()).detail


def test_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = types.SimpleNamespace(
        is_available=lambda: True,
        is_bf16_supported=lambda: True,
        device_count=lambda: 2,
        get_device_name=lambda i: f"GPU-{i}",
    )
    monkeypatch.setattr(doctor, "try_import", lambda name: (types.SimpleNamespace(cuda=cuda), ""))
    assert only(doctor.check_device()).detail == "cuda: GPU-0, GPU-1, with bf16"


def test_more_threads_than_cores_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = types.SimpleNamespace(get_num_threads=lambda: 4096)
    monkeypatch.setattr(doctor, "try_import", lambda name: (torch, ""))
    row = only(doctor.check_threads())
    assert row.status == "warn" and row.remedy.startswith("export OMP_NUM_THREADS=")


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """Two models of one tiny weight file each."""
    for name, extra in (("one", {}), ("two", {"c": np.ones(1, np.float32)})):
        folder = tmp_path / "checkpoints" / name / "net"
        folder.mkdir(parents=True)
        save_file({"w": np.ones(3, np.float32), "b": np.ones(2, np.float32), **extra}, folder / "model.safetensors")
    return tmp_path / "checkpoints"


def listing(folder: Path) -> str:
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  ./{path.relative_to(folder).as_posix()}\n"
        for path in folder.rglob("*.safetensors")
    )


def test_checkpoints_are_listed_with_their_hashes(checkpoints: Path) -> None:
    digest = hashlib.sha256((checkpoints / "one/net/model.safetensors").read_bytes()).hexdigest()
    rows = list(doctor.check_checkpoints(checkpoints))
    assert [row.name for row in rows] == ["one/net/model.safetensors", "two/net/model.safetensors"]
    assert all(row.status == "ok" for row in rows)
    assert rows[0].detail.startswith("2 tensors, 0.0 MB, sha256 " + digest) and "3 tensors" in rows[1].detail


def test_checkpoints_agree_with_their_list(checkpoints: Path) -> None:
    (checkpoints / "SHA256SUMS").write_text(listing(checkpoints))
    assert [row.status for row in doctor.check_checkpoints(checkpoints)] == ["ok", "ok"]
    shutil.copy(checkpoints / "one/net/model.safetensors", checkpoints / "one/extra.safetensors")
    save_file({"w": np.zeros(3, np.float32)}, checkpoints / "two/net/model.safetensors")
    rows = {row.name: row for row in doctor.check_checkpoints(checkpoints)}
    assert rows["one/extra.safetensors"].status == "warn"
    assert rows["one/net/model.safetensors"].status == "ok"
    assert rows["two/net/model.safetensors"].status == "fail"
    (checkpoints / "two/net/model.safetensors").unlink()
    assert [row.status for row in doctor.check_checkpoints(checkpoints)] == ["warn", "ok", "fail"]


@pytest.mark.parametrize("damage", ["truncated", "foreign", "empty"])
def test_a_damaged_checkpoint_fails(checkpoints: Path, damage: str) -> None:
    path = checkpoints / "two/net/model.safetensors"
    whole = path.read_bytes()
    path.write_bytes({"truncated": whole[:-4], "foreign": b"version https://example.org\n" * 9, "empty": b""}[damage])
    rows = list(doctor.check_checkpoints(checkpoints))
    assert [row.status for row in rows] == ["ok", "fail"]
    assert str(path) in rows[1].detail and "\n" not in rows[1].detail


def test_no_checkpoint_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("what will ship")
    assert only(doctor.check_checkpoints(tmp_path)).status == "warn"


def test_shipped_root_in_a_source_tree_and_in_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "vocalgen"
    package.mkdir()
    monkeypatch.setattr(shipped, "__file__", str(package / "shipped.py"))
    beside = tmp_path / "checkpoints"
    beside.mkdir()
    assert shipped.shipped_root() is None  # somebody's checkpoints next to an installed package
    (tmp_path / "pyproject.toml").touch()
    assert shipped.shipped_root() == beside
    (package / "_checkpoints").mkdir()
    assert shipped.shipped_root() == package / "_checkpoints"


def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for free, status in ((5e9, "ok"), (5e8, "warn"), (5e7, "fail")):
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder, free=free: types.SimpleNamespace(free=free))
        assert only(doctor.check_disk(tmp_path)).status == status
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    row = only(doctor.check_disk(tmp_path))
    assert row.status == "warn" and "read-only" in row.detail


def test_the_doctor_works_without_torch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    real, missing = doctor.try_import, "OSError: libcudart.so.13: cannot open shared object file"
    monkeypatch.setattr(doctor, "try_import", lambda name: (None, missing) if name == "torch" else real(name))
    with pytest.raises(SystemExit) as stop:
        run(["doctor"])
    shown = capsys.readouterr().out
    assert stop.value.code == 2
    assert f"import torch fails: {missing}" in shown
    assert "-> pip install --force-reinstall torch==2." in shown
    assert "disk:" in shown and "audio codecs:" in shown


def test_a_check_that_faints_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def check_disk(folder: Path) -> None:
        raise ValueError("no such\ndrive")

    monkeypatch.setattr(doctor, "check_disk", check_disk)
    rows = [row for row in doctor.examine() if row.name == "disk"]
    assert rows == [Check("disk", "warn", "could not be examined: ValueError: no such drive")]


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for rows, code in (
        ([Check("a", "ok", "x")], 0),
        ([Check("a", "ok", "x"), Check("b", "fail", "y", "z")], 2),
    ):
        monkeypatch.setattr(doctor_verb, "examine", lambda rows=rows: rows)
        with pytest.raises(SystemExit) as stop:
            run(["doctor", "--json"])
        report = json.loads(capsys.readouterr().out)
        assert stop.value.code == code
        assert report["healthy"] == (code == 0)
        assert report["checks"][-1]["name"] == rows[-1].name and report["checks"][-1]["remedy"] == rows[-1].remedy
