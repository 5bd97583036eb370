"""Stamps of encoders: what changes them, and what does not."""

from __future__ import annotations

import os
import shutil
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from vocalgen.recognition import stamp
from vocalgen.recognition.stamp import stamp_of


def encoder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_a_folder_changes_with_its_files(tmp_path: Path) -> None:
    folder = encoder(tmp_path / "encoder")
    first = stamp_of(str(folder))
    assert first is not None and stamp_of(str(folder)) == first
    assert stamp_of(f"{folder}@1") not in (None, first, stamp_of(f"{folder}@2"))
    shutil.move(folder, tmp_path / "elsewhere" / "encoder")
    folder = tmp_path / "elsewhere" / "encoder"
    assert stamp_of(str(folder)) == first
    stamps: set[str | None] = {first}
    weights = folder / "model.safetensors"
    time = weights.stat().st_mtime_ns
    os.utime(weights, ns=(time, time + 1000))
    assert stamp_of(str(folder)) == first
    weights.write_bytes(b"Weights")
    os.utime(weights, ns=(time, time))
    stamps.add(stamp_of(str(folder)))
    (folder / "preprocessor_config.json").write_text("{}")
    stamps.add(stamp_of(str(folder)))
    assert len(stamps) == 3 and None not in stamps


def test_a_checkpoint_file(tmp_path: Path) -> None:
    files = [encoder(tmp_path / name) / "model.safetensors" for name in ("a", "b")]
    assert None is not stamp_of(str(files[0])) == stamp_of(str(files[1]))
    files[1].write_bytes(b"Weights")
    assert None is not stamp_of(str(files[0])) != stamp_of(str(files[1]))


def test_shipped_models_by_name(root: Path) -> None:
    name = "emogator-classifier-24k"
    assert None is not stamp_of(name) == stamp_of(str(root / "checkpoints" / name))


def test_hub_ids_go_by_what_was_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert stamp_of("people/encoder") is None
    fetched = tmp_path / "models--people--encoder"
    snapshot = encoder(fetched / "snapshots" / "abc")
    (fetched / "refs").mkdir()
    (fetched / "refs" / "main").write_text("abc")
    first = stamp_of("people/encoder")
    assert first is not None and stamp_of("people/encoder@1") not in (None, first)
    (snapshot / "model.safetensors").write_bytes(b"a later version")
    assert stamp_of("people/encoder") not in (None, first)


def test_opensmile_goes_by_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamp, "version", lambda package: {"opensmile": "2.5"}[package])
    first = stamp_of("eGeMAPSv02")
    assert None is not first != stamp_of("ComParE_2016")
    monkeypatch.setattr(stamp, "version", lambda _: "2.6")
    assert stamp_of("eGeMAPSv02") not in (None, first)

    def absent(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(stamp, "version", absent)
    assert stamp_of("eGeMAPSv02") is None


@pytest.mark.parametrize("name", ["nothing", "a/b/c", "../nothing", "nobody/has--this"])
def test_what_is_not_here_has_none(name: str) -> None:
    assert stamp_of(name) is None
