"""Configuration: inheritance, overrides, and answers to mistakes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from vocalgen.config import load_config
from vocalgen.errors import VocalgenError


@dataclass(frozen=True)
class Model:
    dim: int = 4
    widths: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Config:
    run: str
    rate: float = 1e-3
    kind: Literal["flow", "edm"] = "flow"
    init: str | None = None
    gain: tuple[float, float] = (0.0, 1.0)
    model: Model = field(default_factory=Model)


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text("run: a\nrate: 1e-4\nmodel: {dim: 8, widths: [3]}\n")
    path = tmp_path / "own.yaml"
    path.write_text("base: base.yaml\nrun: b\nmodel: {dim: 16}\ninit: start\n")
    return path


def test_inheritance_merges_sections(config_file: Path) -> None:
    assert load_config(Config, config_file) == Config("b", 1e-4, init="start", model=Model(16, (3,)))


def test_overrides_win(config_file: Path) -> None:
    config = load_config(Config, config_file, ["model.dim=32", "init=null", "gain=[-6, 0]", "kind=edm", "rate=2"])
    assert config == Config("b", 2.0, "edm", None, (-6.0, 0.0), Model(32, (3,)))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.dims=3", "did you mean 'dim'"),
        ("model.dim=wide", "expected int"),
        ("model.dim=true", "expected int"),
        ("kind=ddpm", "not one of flow, edm"),
        ("gain=[1]", "expected 2 values"),
        ("model=3", "expected a section"),
        ("run", "not of the form key=value"),
        ("run.x=3", "not a section"),
        ("rate=[", "not valid YAML"),
    ],
)
def test_mistakes_are_named(config_file: Path, override: str, message: str) -> None:
    with pytest.raises(VocalgenError, match=message):
        load_config(Config, config_file, [override])


def test_an_override_is_blamed_for_what_it_sets_and_for_that_alone(config_file: Path) -> None:
    for overrides, message in (
        (["rate=1", "model.dims=3"], "override model.dims=3: model: unknown key 'dims'; did you mean 'dim'?"),
        (["modle.dim=3"], "override modle.dim=3: unknown key 'modle'; did you mean 'model'?"),
        (["model.dim=wide", "rate=1"], "override model.dim=wide: model: dim: expected int, got 'wide'"),
        (["model=3"], "override model=3: model: expected a section, got 3"),
    ):
        with pytest.raises(VocalgenError) as caught:
            load_config(Config, config_file, overrides)
        assert str(caught.value) == message
    config_file.write_text("run: b\nmodel: {dim: wide}\n")
    with pytest.raises(VocalgenError) as caught:
        load_config(Config, config_file, ["model.widths=[1]", "rate=1"])
    assert str(caught.value) == f"{config_file}: model: dim: expected int, got 'wide'"


def test_files_that_do_not_work(tmp_path: Path) -> None:
    loop = tmp_path / "loop.yaml"
    loop.write_text("base: loop.yaml\n")
    with pytest.raises(VocalgenError, match="refers back to itself"):
        load_config(Config, loop)
    with pytest.raises(VocalgenError, match="cannot read"):
        load_config(Config, tmp_path / "absent.yaml")
    empty = tmp_path / "empty.yaml"
    empty.write_text("")
    with pytest.raises(VocalgenError, match="'run' is required"):
        load_config(Config, empty)
    unsafe = tmp_path / "unsafe.yaml"
    unsafe.write_text("run: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(VocalgenError, match="not valid YAML"):
        load_config(Config, unsafe)


@pytest.mark.parametrize("overrides", [["run=~/r"], []])
def test_paths_below_home_are_expanded(tmp_path: Path, overrides: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/users/me")
    (tmp_path / "a.yaml").write_text("run: ~/r\ninit: a~/b\n")
    config = load_config(Config, tmp_path / "a.yaml", overrides)
    assert (config.run, config.init) == ("/users/me/r", "a~/b")
