"""recipes/export.py: checkpoints made of trained parts, strictly."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from debug import debug_pipeline
from safetensors.torch import load_file, save_file

from vocalgen.emotions import EMOGATOR30
from vocalgen.generation.loading import load_synthesiser
from vocalgen.mel import MEL_24K
from vocalgen.models.classifier import MelClassifier
from vocalgen.models.griffin_lim import GriffinLim
from vocalgen.models.source_filter import SourceFilterVocoder
from vocalgen.recognition.scorer import Scorer
from vocalgen.shipped import SUMS_FILE, file_sha256


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported parts as runs leave them."""
    folder = tmp_path_factory.mktemp("parts")
    pipeline = debug_pipeline()
    pipeline.transformer.save_pretrained(folder / "transformer")
    pipeline.autoencoder.save_pretrained(folder / "autoencoder")
    SourceFilterVocoder(MEL_24K.to_dict(), dim=16, depth=1, pitch_depth=1).save_pretrained(folder / "vocoder")
    MelClassifier(MEL_24K.to_dict(), EMOGATOR30.emotions).save_pretrained(folder / "classifier")
    return folder


@pytest.fixture(scope="module")
def export(root: Path) -> Callable[..., None]:
    """The recipe's `main`."""
    spec = importlib.util.spec_from_file_location("export", root / "recipes" / "export.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda *arguments: module.main([str(argument) for argument in arguments])


def test_export_settles_the_process_before_it_prints_help(
    export: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    with pytest.raises(SystemExit):
        export("--help")
    assert os.environ["MPLBACKEND"] == "agg" and "usage" in capsys.readouterr().out


def pipeline_arguments(parts: Path, out: Path) -> list[object]:
    return ["pipeline", "--transformer", parts / "transformer", "--autoencoder", parts / "autoencoder", "--out", out]


def test_pipeline_keeps_card_and_sums_and_drops_local_paths(
    parts: Path, tmp_path: Path, export: Callable[..., None]
) -> None:
    out = tmp_path / "made"
    out.mkdir()
    (out / "README.md").write_text("card")
    (tmp_path / SUMS_FILE).write_text("")
    export(*pipeline_arguments(parts, out), "--vocoder", parts / "vocoder", "steps=4", "--checksums", "--overwrite")
    made = load_synthesiser(out)
    assert isinstance(made.vocoder, SourceFilterVocoder)
    assert made.settings().steps == 4
    assert all(
        tensor.dtype == torch.float16
        for tensor in load_file(next((out / "transformer").glob("*.safetensors"))).values()
    )
    assert (out / "README.md").read_text() == "card"
    assert not [path for path in out.rglob("*.json") if str(parts) in path.read_text()]
    sums = dict(line.split("  ")[::-1] for line in (tmp_path / SUMS_FILE).read_text().splitlines())
    assert len(sums) == 3
    assert all(file_sha256(tmp_path / name) == digest for name, digest in sums.items())


@pytest.mark.parametrize("kind", ["pipeline", "classifier"])
def test_export_is_silent(
    kind: str, parts: Path, tmp_path: Path, export: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made"
    arguments = {"pipeline": pipeline_arguments(parts, out), "classifier": ["classifier", parts / "classifier"]}[kind]
    capfd.readouterr()
    export(*arguments, *(["--out", out] if kind == "classifier" else []))
    assert capfd.readouterr() == ("", "")
    weights = load_file(next(out.rglob("*.safetensors")))
    assert {tensor.dtype for tensor in weights.values() if tensor.is_floating_point()} == {torch.float16}


def test_griffin_lim_stands_in(parts: Path, tmp_path: Path, export: Callable[..., None]) -> None:
    export(*pipeline_arguments(parts, tmp_path / "made"))
    assert isinstance(load_synthesiser(tmp_path / "made").vocoder, GriffinLim)


def test_classifier(parts: Path, tmp_path: Path, export: Callable[..., None]) -> None:
    export("classifier", parts / "classifier", "--out", tmp_path / "made")
    assert Scorer.load(tmp_path / "made").emotions == EMOGATOR30
    assert "_name_or_path" not in json.loads((tmp_path / "made" / "config.json").read_text())


@pytest.mark.parametrize("part", ["transformer", "autoencoder", "vocoder", "classifier"])
def test_missing_weights_are_never_drawn_at_random(
    part: str, parts: Path, tmp_path: Path, export: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for path in (parts / part).iterdir():
        (damaged / path.name).write_bytes(path.read_bytes())
    weights = next(damaged.glob("*.safetensors"))
    tensors = load_file(weights)
    save_file(dict(list(tensors.items())[1:]), weights, {"format": "pt"})
    arguments = ["classifier", damaged, "--out", tmp_path / "made"]
    if part != "classifier":
        arguments = [*pipeline_arguments(parts, tmp_path / "made"), f"--{part}", damaged]
    with pytest.raises(SystemExit) as stopped:
        export(*arguments)
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {damaged}: the weights belong to another network: 1 tensors differ")
    assert said.count("\n") == 1
    assert not (tmp_path / "made").exists()


def test_a_truncated_part_leaves_the_old_checkpoint(
    parts: Path, tmp_path: Path, export: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made"
    export(*pipeline_arguments(parts, out))
    (tmp_path / SUMS_FILE).write_text("as before")
    before = {path: file_sha256(path) for path in tmp_path.rglob("*") if path.is_file()}
    damaged = shutil.copytree(parts / "autoencoder", tmp_path / "damaged")
    weights = next(damaged.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-50])
    with pytest.raises(SystemExit) as stopped:
        export(*pipeline_arguments(parts, out), "--autoencoder", damaged)
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {weights} is damaged") and said.count("\n") == 1
    shutil.rmtree(damaged)
    assert {path: file_sha256(path) for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("steps=0", "steps must lie between 1 and 1000"),
        ("stps=4", "did you mean 'steps'"),
        ("steps", "expected int"),
        ("steps=[", "not key=value"),
    ],
)
def test_bad_settings_are_one_line(
    setting: str,
    words: str,
    parts: Path,
    tmp_path: Path,
    export: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stopped:
        export(*pipeline_arguments(parts, tmp_path / "made"), setting)
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert said.startswith("error: ") and words in said and said.count("\n") == 1
    assert not (tmp_path / "made").exists()
