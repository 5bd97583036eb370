"""The loop: resume equals never having stopped, bad losses stop the run, recipes leave the right files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from bursts import write_emogator_tree
from safetensors.torch import load_file

from vocalgen.corpora import emogator
from vocalgen.errors import VocalgenError
from vocalgen.models.autoencoder import MelAutoencoder
from vocalgen.models.transformer import MelTransformer
from vocalgen.training.autoencoder import AutoencoderConfig, AutoencoderObjective
from vocalgen.training.config import build
from vocalgen.training.diffusion import DiffusionConfig, DiffusionObjective
from vocalgen.training.loop import Trainer

SMALL_AUTOENCODER = {"latent_dim": 4, "widths": [8, 12], "depths": [1, 1], "expansion": 2}
SMALL_TRANSFORMER = {"dim": 16, "depth": 1, "heads": 2}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_emogator_tree(folder / "mp3", speakers=(1, 2, 3, 285))
    emogator.scan(folder / "mp3").save(folder / "manifest.csv")
    return folder


def autoencoder_values(corpus: Path, run: Path, steps: int) -> dict[str, Any]:
    return {
        "data": {"manifest": str(corpus / "manifest.csv"), "cache": str(corpus / "cache"), "frames": 16},
        "loop": {"run": str(run), "steps": steps, "batch_size": 4, "warmup": 2, "log_every": 1, "save_every": 3,
                 "preview_every": 2},
        "model": SMALL_AUTOENCODER,
        "adversarial_start": 2,
    }  # fmt: skip


def diffusion_values(corpus: Path, run: Path, steps: int) -> dict[str, Any]:
    values = autoencoder_values(corpus, run, steps)
    del values["adversarial_start"]
    values["data"]["frames"] = 64
    return {
        **values,
        "autoencoder": None,
        "latents": str(corpus / "latents"),
        "variants": 2,
        "model": SMALL_TRANSFORMER,
    }


Builder = Callable[[Path, Path, int], dict[str, Any]]
KINDS: dict[str, tuple[Any, Any, Builder]] = {
    "autoencoder": (AutoencoderConfig, AutoencoderObjective, autoencoder_values),
    "diffusion": (DiffusionConfig, DiffusionObjective, diffusion_values),
}


def trained(kind: str, corpus: Path, run: Path, steps: int) -> Trainer:
    config_class, objective_class, values = KINDS[kind]
    config = build(config_class, values(corpus, run, steps), "test")
    trainer = Trainer(objective_class(config), config.loop, config)
    trainer.train()
    return trainer


@pytest.mark.parametrize("kind", KINDS)
def test_resume_equals_never_having_stopped(kind: str, corpus: Path, tmp_path: Path) -> None:
    whole = trained(kind, corpus, tmp_path / "whole", 5)
    trained(kind, corpus, tmp_path / "parts", 2)
    parts = trained(kind, corpus, tmp_path / "parts", 5)
    assert whole.step == parts.step == 5
    for name in whole.objective.networks:
        for key, value in whole.objective.plain(name).state_dict().items():
            assert torch.equal(value, parts.objective.plain(name).state_dict()[key]), (name, key)
    for name, average in whole.objective.ema.items():
        for key, value in average.state_dict().items():
            assert torch.equal(value, parts.objective.ema[name].state_dict()[key]), (name, key)
    logs = [[json.loads(line) for line in (run / "metrics.jsonl").open()] for run in (whole.run, parts.run)]
    strip = [[{k: v for k, v in line.items() if k != "clips_per_second"} for line in log] for log in logs]
    assert strip[0] == strip[1]


def test_training_changes_weights_and_the_average_follows(corpus: Path, tmp_path: Path) -> None:
    early, late = (trained("autoencoder", corpus, tmp_path / str(steps), steps) for steps in (1, 6))
    key = "encoder.0.weight"
    now = late.objective.plain("autoencoder").state_dict()[key]
    before = early.objective.plain("autoencoder").state_dict()[key]
    average = late.objective.ema["autoencoder"].module.state_dict()[key]
    assert not torch.equal(now, before)
    assert 0 < (average - now).norm() < (before - now).norm()


def test_run_folder(corpus: Path, tmp_path: Path) -> None:
    trained("autoencoder", corpus, tmp_path / "run", 4)
    run = tmp_path / "run"
    assert yaml.safe_load((run / "config.yaml").read_text())["model"]["widths"] == [8, 12]
    assert json.loads((run / "environment.json").read_text())["torch"] == torch.__version__
    assert [folder.name for folder in (run / "state").iterdir()] == ["step-4"]
    assert list((run / "tensorboard").iterdir())
    exported = MelAutoencoder.from_pretrained(run / "export")
    assert exported.config.mel["fingerprint"] == exported.front_end.fingerprint
    assert exported.latent_std.std() > 0
    assert set(load_file(run / "export" / "diffusion_pytorch_model.safetensors")) == set(exported.state_dict())


def test_non_finite_loss_names_step_and_clips(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = build(DiffusionConfig, diffusion_values(corpus, tmp_path / "run", 3), "test")
    objective = DiffusionObjective(config)
    trainer = Trainer(objective, config.loop, config)
    torch.nn.init.constant_(objective.plain("transformer").head.bias, torch.nan)
    with pytest.raises(VocalgenError, match=r"step 0: transformer loss is nan; the batch held 00000\d-0\d-1"):
        trainer.train()
    assert not list((tmp_path / "run").glob("state/*"))


def test_state_of_another_model_is_refused(corpus: Path, tmp_path: Path) -> None:
    trained("diffusion", corpus, tmp_path / "run", 1)
    values = diffusion_values(corpus, tmp_path / "run", 2)
    config = build(DiffusionConfig, {**values, "model": {**SMALL_TRANSFORMER, "dim": 24}}, "test")
    with pytest.raises(VocalgenError, match="belongs to another model"):
        Trainer(DiffusionObjective(config), config.loop, config)


def test_latents_follow_the_autoencoder(corpus: Path, tmp_path: Path) -> None:
    """Diffusion on latents: exported shapes fit, and another autoencoder means encoding again."""
    trained("autoencoder", corpus, tmp_path / "ae", 1)
    values = diffusion_values(corpus, tmp_path / "run", 1)
    values |= {"autoencoder": str(tmp_path / "ae" / "export"), "latents": str(tmp_path / "latents")}
    config = build(DiffusionConfig, values, "test")
    Trainer(DiffusionObjective(config), config.loop, config).train()
    first = (tmp_path / "latents" / "key").read_text()
    assert MelTransformer.from_pretrained(tmp_path / "run" / "export").config.length == 32
    trained("autoencoder", corpus, tmp_path / "ae", 2)
    Trainer(DiffusionObjective(config), build(type(config.loop), {**values["loop"], "steps": 2}, "t"), config).train()
    assert (tmp_path / "latents" / "key").read_text() != first


def test_missing_autoencoder_says_what_to_do(corpus: Path, tmp_path: Path) -> None:
    values = {**diffusion_values(corpus, tmp_path, 1), "autoencoder": str(tmp_path / "absent")}
    with pytest.raises(VocalgenError, match=r"train_autoencoder\.py first"):
        DiffusionObjective(build(DiffusionConfig, values, "test"))


@pytest.mark.parametrize(("kind", "export"), [("autoencoder", "config.json"), ("diffusion", "config.json")])
def test_recipe_runs_two_steps_and_resumes(kind: str, export: str, corpus: Path, tmp_path: Path, root: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(KINDS[kind][2](corpus, tmp_path / "run", 2)))
    command = [sys.executable, str(root / "recipes" / f"train_{kind}.py"), str(config)]
    subprocess.run(command, check=True, capture_output=True, cwd=root)
    again = subprocess.run([*command, "loop.steps=3"], check=True, capture_output=True, text=True, cwd=root)
    assert "going on from step 2" in again.stderr
    assert (tmp_path / "run" / "export" / export).is_file()
    assert [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").open()] == [1, 2, 3]


def test_dry_run_and_mistakes_on_the_command_line(corpus: Path, tmp_path: Path, root: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(diffusion_values(corpus, tmp_path / "run", 2)))
    command = [sys.executable, str(root / "recipes" / "train_diffusion.py"), str(config)]
    described = subprocess.run([*command, "--dry-run"], check=True, capture_output=True, text=True, cwd=root)
    for part in ("parameters", "GFLOP", "steps per epoch", "preconditioning"):
        assert part in described.stdout
    assert not (tmp_path / "run").exists()
    wrong = subprocess.run([*command, "loop.step=3"], capture_output=True, text=True, cwd=root)
    assert wrong.returncode == 2
    assert "did you mean 'steps'" in wrong.stderr
    assert "Traceback" not in wrong.stderr
