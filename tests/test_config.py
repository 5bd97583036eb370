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
    names: tuple[str, ...] = ()
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
    assert config == Config("b", 2.0, "edm", None, (-6.0, 0.0), model=Model(32, (3,)))


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


@pytest.mark.parametrize(
    "text", ["20240105", "2024-01-05", "0100", "1:30", "no", "null", "1e3", "a: b", "a #b", "#3", "@x", "*x", "1_000"]
)
def test_override_text_is_taken_as_typed(config_file: Path, text: str) -> None:
    assert load_config(Config, config_file, [f"run={text}"]).run == text


def test_override_text_keeps_yaml_quotes_and_null(config_file: Path) -> None:
    quoted = load_config(Config, config_file, ["run='[a]'", 'init="null"'])
    assert (quoted.run, quoted.init) == ("[a]", "null")
    assert load_config(Config, config_file, ["init="]).init is None
    assert load_config(Config, config_file, ["init=no"]).init == "no"
    assert load_config(Config, config_file, ["names=[no, 007, 'a b', 2024-01-05]"]).names == (
        "no", "007", "a b", "2024-01-05",
    )  # fmt: skip
    with pytest.raises(VocalgenError, match="override run=: run: expected str, got None"):
        load_config(Config, config_file, ["run="])


@pytest.mark.parametrize("text", ["0100", "+100", "1_00", "'100'"])
def test_whole_numbers_are_read_in_base_ten(config_file: Path, text: str) -> None:
    assert load_config(Config, config_file, [f"model.dim={text}"]).model.dim == 100
    config_file.write_text(f"run: b\nrate: 010\nmodel: {{dim: {text}}}\n")
    config = load_config(Config, config_file)
    assert (config.model.dim, config.rate) == (100, 10.0)


@pytest.mark.parametrize("text", ["1:30", "0x40", "0b101", "0o17"])
def test_whole_numbers_of_other_bases_are_refused(config_file: Path, text: str) -> None:
    with pytest.raises(VocalgenError, match="write whole numbers in base ten"):
        load_config(Config, config_file, [f"model.dim={text}"])
    config_file.write_text(f"run: b\nmodel: {{dim: {text}}}\n")
    with pytest.raises(VocalgenError, match="write whole numbers in base ten"):
        load_config(Config, config_file)


@pytest.mark.parametrize(
    ("text", "shown"), [("20240105", "20240105"), ("2024-01-05", "2024-01-05"), ("no", "False"), ("1.5", r"1\.5")]
)
def test_file_values_that_are_not_text_get_the_hint_with_quotes(config_file: Path, text: str, shown: str) -> None:
    config_file.write_text(f"run: {text}\n")
    with pytest.raises(VocalgenError, match=f"run: expected str, got {shown}; put it in quotes"):
        load_config(Config, config_file)
    config_file.write_text(f"run: a\nnames: [en, {text}]\n")
    with pytest.raises(VocalgenError, match=f"names: expected str, got {shown}; put it in quotes"):
        load_config(Config, config_file)
    config_file.write_text(f"run: '{text}'\n")
    assert load_config(Config, config_file).run == text


def test_of_repeated_overrides_the_last_is_blamed(config_file: Path) -> None:
    with pytest.raises(VocalgenError, match=r"^override model\.dim=x: "):
        load_config(Config, config_file, ["model.dim=3", "rate=1", "model.dim=x"])
    with pytest.raises(VocalgenError, match=r"^override model=\{dim: x\}: "):
        load_config(Config, config_file, ["model.dim=y", "model={dim: x}"])
    assert load_config(Config, config_file, ["model.dim=x", "model.dim=3"]).model.dim == 3


def test_repeated_keys_are_refused(config_file: Path) -> None:
    with pytest.raises(VocalgenError, match=r"dim: 2}': not valid YAML: key 'dim' is given twice"):
        load_config(Config, config_file, ["model={dim: 1, dim: 2}"])
    config_file.write_text("run: a\nrate: 1\nrun: b\n")
    with pytest.raises(VocalgenError, match=r"key 'run' is given twice.*line 3"):
        load_config(Config, config_file)


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
