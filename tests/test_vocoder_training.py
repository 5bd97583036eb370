"""The vocoder's objective: exact resume, what it exports, fine-tuning, and the recipe as a process."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from bursts import write_emogator_corpus
from conftest import Launch
from safetensors.torch import load_file, save_file
from transformers import SpeechT5HifiGan

from vocalgen.config import build, load_config
from vocalgen.errors import VocalgenError
from vocalgen.generation.loading import load_vocoder
from vocalgen.mel import MEL_16K_EXVO, MEL_24K, LogMel
from vocalgen.models.autoencoder import MelAutoencoder
from vocalgen.models.hifigan import (
    LIGHT,
    NARROW,
    V1,
    V2,
    DiscriminatorSize,
    GeneratorSize,
    hifigan_generator,
)
from vocalgen.models.vocoder import vocode
from vocalgen.training.loop import Trainer
from vocalgen.training.spectral_loss import MultiResolutionSTFTLoss
from vocalgen.training.vocoder import VocoderConfig, vocoder_objective

SMALL_GENERATOR = {
    "upsample_rates": [16, 16],
    "upsample_kernel_sizes": [32, 32],
    "initial_channel": 16,
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1]],
}
SMALL_DISCRIMINATOR = {
    "periods": [2, 3],
    "period_channels": [4, 4],
    "scales": 2,
    "scale_channels": [4, 4, 4],
    "scale_strides": [2, 4, 1],
    "scale_groups": [1, 2, 1],
    "scale_kernel": 5,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_emogator_corpus(tmp_path_factory.mktemp("corpus"))


def values(corpus: Path, run: Path, steps: int, **changes: Any) -> dict[str, Any]:
    return {
        "data": {"manifest": str(corpus / "manifest.csv"), "cache": str(corpus / "cache"), "frames": 16},
        "loop": {"run": str(run), "steps": steps, "batch_size": 2, "warmup": 2, "log_every": 1, "save_every": 3,
                 "preview_every": 2},
        "model": SMALL_GENERATOR,
        "discriminator": SMALL_DISCRIMINATOR,
        "adversarial_start": 2,
        **changes,
    }  # fmt: skip


SOURCE_FILTER = {"kind": "source_filter", "source_filter": {"dim": 16, "depth": 1, "pitch_depth": 1, "n_iter": 1}}


def trained(corpus: Path, run: Path, steps: int, **changes: Any) -> Trainer:
    config = build(VocoderConfig, values(corpus, run, steps, **changes), "test")
    trainer = Trainer(vocoder_objective(config), config.loop, config)
    trainer.train()
    return trainer


def state(trainer: Trainer) -> dict[str, torch.Tensor]:
    networks = {name: trainer.objective.plain(name) for name in trainer.objective.networks}
    networks["average"] = trainer.objective.ema["generator"]
    return {f"{name}.{key}": value for name, net in networks.items() for key, value in net.state_dict().items()}


@pytest.mark.parametrize(("stop", "kind"), [(1, {}), (3, {}), (3, SOURCE_FILTER)])
def test_resume_equals_never_having_stopped(corpus: Path, tmp_path: Path, stop: int, kind: dict[str, Any]) -> None:
    """A stop before and one after the discriminators join; weight norm is on."""
    whole = trained(corpus, tmp_path / "whole", 5, **kind)
    trained(corpus, tmp_path / "parts", stop, **kind)
    parts = trained(corpus, tmp_path / "parts", 5, **kind)
    expected, found = state(whole), state(parts)
    assert expected.keys() == found.keys()
    assert [key for key in expected if not torch.equal(expected[key], found[key])] == []
    for name, optimizer in whole.objective.optimizers.items():
        torch.testing.assert_close(
            optimizer.state_dict(), parts.objective.optimizers[name].state_dict(), rtol=0, atol=0
        )


def test_discriminator_waits_for_its_start(corpus: Path, tmp_path: Path) -> None:
    early, late = state(trained(corpus, tmp_path / "a", 2)), state(trained(corpus, tmp_path / "b", 3))
    moved = [key for key in early if key.startswith("discriminator.") and not torch.equal(early[key], late[key])]
    config = build(VocoderConfig, values(corpus, tmp_path / "c", 1), "test")
    start = vocoder_objective(config).networks["discriminator"].state_dict()
    assert moved
    assert all(torch.equal(early[f"discriminator.{key}"], value) for key, value in start.items())
    lines = [json.loads(line) for line in (tmp_path / "b" / "metrics.jsonl").open()]
    assert ["matching" in line for line in lines] == [False, False, True]


@pytest.mark.parametrize("weight_norm", [True, False])
def test_export_is_the_folded_average(corpus: Path, tmp_path: Path, weight_norm: bool) -> None:
    trainer = trained(corpus, tmp_path / "run", 3, weight_norm=weight_norm)
    mel = torch.randn(1, 100, 6)
    plain = SpeechT5HifiGan.from_pretrained(tmp_path / "run" / "export")
    with torch.no_grad():
        output = plain(mel.transpose(1, 2))
    assert set(plain.state_dict()) == set(hifigan_generator(MEL_24K, trainer.objective.config.model).state_dict())
    torch.testing.assert_close(output, vocode(trainer.objective.ema["generator"].module, mel), rtol=1e-4, atol=1e-6)
    assert not torch.equal(output, vocode(trainer.objective.plain("generator"), mel))


def test_it_learns(corpus: Path, tmp_path: Path) -> None:
    changed = values(corpus, tmp_path / "run", 24, adversarial_start=100, learning_rate=3e-3, weight_norm=False)
    changed["loop"] |= {"save_every": 24, "preview_every": 24}
    config = build(VocoderConfig, changed, "test")
    Trainer(vocoder_objective(config), config.loop, config).train()
    errors = [json.loads(line)["mel_l1"] for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert sum(errors[-4:]) < 0.8 * sum(errors[:4])


def test_source_filter_exports_its_average(corpus: Path, tmp_path: Path) -> None:
    trainer = trained(corpus, tmp_path / "run", 3, **SOURCE_FILTER)
    average, mel = trainer.objective.ema["generator"].module, LogMel()(0.1 * torch.randn(1, 16 * 256))
    exported = vocode(load_vocoder(tmp_path / "run" / "export", MEL_24K), mel)
    torch.testing.assert_close(exported, vocode(average, mel), rtol=0, atol=1e-5)
    current = vocode(trainer.objective.plain("generator"), mel)
    assert (exported - current).abs().max() > 10 * (exported - vocode(average, mel)).abs().max()
    assert "pitch" in json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])


def test_a_share_of_the_clips_passes_the_autoencoder(corpus: Path, tmp_path: Path) -> None:
    MelAutoencoder(MEL_24K.to_dict(), 4, widths=(8, 8), depths=(1, 1)).save_pretrained(tmp_path / "autoencoder")
    changes = {"autoencoder": str(tmp_path / "autoencoder"), "autoencoder_share": 0.5, "context": 8}
    objective = vocoder_objective(build(VocoderConfig, values(corpus, tmp_path / "run", 1, **changes), "test"))
    wave = objective.dataset[(0, 0)]["wave"].expand(2, -1)
    with torch.no_grad():
        mel = objective.input_mel(wave, torch.tensor([0.4, 0.6]))
        decoded = objective.autoencoder(objective.log_mel(wave))[0]
    torch.testing.assert_close(mel[0], decoded[0])
    torch.testing.assert_close(mel[1], objective.log_mel(wave)[1])


def test_finetuning_starts_from_an_export_and_hears_the_autoencoder(corpus: Path, tmp_path: Path) -> None:
    trained(corpus, tmp_path / "first", 2)
    MelAutoencoder(MEL_24K.to_dict(), 4, widths=(8, 8), depths=(1, 1)).save_pretrained(tmp_path / "autoencoder")
    changes = {"init": str(tmp_path / "first" / "export"), "autoencoder": str(tmp_path / "autoencoder"), "context": 8}
    config = build(VocoderConfig, values(corpus, tmp_path / "second", 1, **changes), "test")
    objective = vocoder_objective(config)
    first = load_vocoder(tmp_path / "first" / "export")
    mel = torch.randn(1, 100, 6)
    torch.testing.assert_close(vocode(objective.networks["generator"], mel), vocode(first, mel), rtol=1e-4, atol=1e-6)
    wave = objective.dataset[(0, 0)]["wave"][None]
    assert wave.shape == (1, (16 + 2 * 8) * 256)
    with torch.no_grad():
        torch.testing.assert_close(objective.input_mel(wave), objective.autoencoder(objective.log_mel(wave))[0])
    Trainer(objective, config.loop, config).train()
    assert (tmp_path / "second" / "export" / "model.safetensors").is_file()


@pytest.mark.parametrize("kind", ["kind", "sizes", "mel", "autoencoder mel", "frames", "absent", "incomplete"])
def test_wrong_start_points(corpus: Path, tmp_path: Path, kind: str) -> None:
    other_mel = {"f_max": 8000.0}
    folder = tmp_path / "start"
    changes, message = {
        "kind": ({"init": str(folder), **SOURCE_FILTER}, "is no source-filter vocoder"),
        "sizes": ({"init": str(folder)}, "is no HiFi-GAN of the sizes of `model`"),
        "mel": ({"init": str(folder), "mel": other_mel}, "mel mismatch"),
        "autoencoder mel": ({"autoencoder": str(folder)}, "mel mismatch"),
        "frames": ({"autoencoder": str(folder), "context": 3}, "not a multiple of the autoencoder's 4"),
        "absent": ({"autoencoder": str(tmp_path / "absent")}, "train_autoencoder.py first"),
        "incomplete": ({"autoencoder": str(folder)}, "1 tensors differ, first decoder.0.bias"),
    }[kind]
    if "init" in changes:
        hifigan_generator(MEL_24K, GeneratorSize((16, 16), (16, 16), 8, (3,), ((1,),))).save_pretrained(folder)
    else:
        mel = MEL_16K_EXVO if kind == "autoencoder mel" else MEL_24K
        MelAutoencoder(mel.to_dict(), 4, widths=(8, 8, 8), depths=(1, 1, 1)).save_pretrained(folder)
    if kind == "incomplete":  # the library would draw what is missing at random
        file = folder / "diffusion_pytorch_model.safetensors"
        save_file({key: value for key, value in load_file(file).items() if key != "decoder.0.bias"}, file)
    with pytest.raises(VocalgenError, match=message):
        vocoder_objective(build(VocoderConfig, values(corpus, tmp_path / "run", 1, **changes), "test"))


def test_recipe_runs_two_steps_and_resumes(corpus: Path, tmp_path: Path, root: Path) -> None:
    """The file format of a run folder, from processes as a user starts them."""
    config, run = tmp_path / "config.yaml", tmp_path / "run"
    config.write_text(yaml.safe_dump(values(corpus, run, 2, adversarial_start=1)))
    command = [sys.executable, str(root / "recipes" / "train_vocoder.py"), str(config)]
    subprocess.run(command, check=True, capture_output=True, cwd=root)
    again = subprocess.run([*command, "loop.steps=3"], check=True, capture_output=True, text=True, cwd=root)
    assert "going on from step 2" in again.stderr
    names = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    for name in ("config.yaml", "environment.json", "state/step-3/state.pt", "export/config.json",
                 "export/model.safetensors"):  # fmt: skip
        assert name in names
    assert [json.loads(line)["step"] for line in (run / "metrics.jsonl").open()] == [1, 2, 3]
    assert load_vocoder(run / "export", MEL_24K).config.mel == MEL_24K.to_dict()


def test_two_processes_learn_what_one_does(corpus: Path, tmp_path: Path, root: Path, launch: Launch) -> None:
    """The same clips in two halves, their gradients averaged; of the losses the mel's alone is a mean over clips."""
    changes = {"stft_weight": 0.0, "adversarial_start": 100, "weight_norm": False}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(values(corpus, tmp_path / "two", 2, **changes)))
    launcher = ("--config_file", root / "recipes" / "accelerate" / "multi_cpu.yaml")
    done = launch(*launcher, root / "recipes" / "train_vocoder.py", config)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "two" / "environment.json").read_text())["processes"] == 2
    trained(corpus, tmp_path / "one", 2, **changes)
    two, one = (
        [json.loads(line)["grad_norm"] for line in (tmp_path / name / "metrics.jsonl").open()]
        for name in ("two", "one")
    )
    assert two == pytest.approx(one, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "size"), [("hifigan", LIGHT), ("hifigan_v1", V1), ("hifigan_v2", V2), ("hifigan_finetune", LIGHT)]
)
def test_shipped_hifigan_recipes_are_valid(name: str, size: GeneratorSize, root: Path) -> None:
    config = load_config(VocoderConfig, root / "recipes" / "emogator" / f"{name}.yaml")
    config.model.check(config.mel.hop_length)
    assert config.kind == "hifigan"
    assert config.model == size
    assert config.discriminator == (NARROW if size == LIGHT else DiscriminatorSize())
    assert config.adversarial_start < config.loop.steps


def test_shipped_source_filter_recipe_is_valid(root: Path) -> None:
    config = load_config(VocoderConfig, root / "recipes" / "emogator" / "source_filter.yaml")
    assert config.kind == "source_filter"
    assert (config.data.frames + 2 * config.context) % 4 == 0
    assert config.adversarial_start < config.loop.steps


def test_stft_loss() -> None:
    wave = 0.1 * torch.randn(1, 4096)
    loss = MultiResolutionSTFTLoss()
    assert [float(part) for part in loss(wave, wave)] == [0.0, 0.0]
    log_magnitude, convergence = loss(wave * 0.5, wave)
    assert float(convergence) == pytest.approx(0.5, abs=1e-4)
    assert float(log_magnitude) == pytest.approx(math.log(2), abs=1e-3)
    silence = torch.zeros(1, 4096, requires_grad=True)
    sum(loss(silence, silence.detach())).backward()
    assert silence.grad is not None
    assert silence.grad.isfinite().all()
