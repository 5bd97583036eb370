"""StyleGAN2 from a corpus to clips: exact resume, what is logged, alarms, previews, export, and bad input."""

from __future__ import annotations

import copy
import importlib.util
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from accelerate.state import AcceleratorState
from conftest import Command
from debug import debug_pipeline, debug_stylegan2, debug_vocoder
from small_corpus import EMOTIONS, MEL, PREPARE, write_corpus
from torch import Tensor

from vocalgen import VocalBurstPipeline, VocalgenError, audio
from vocalgen.config import build, load_config
from vocalgen.corpora.manifest import Clip, Manifest
from vocalgen.data import CacheConfig, WaveCache
from vocalgen.emotions import EMOGATOR30, Vocabulary
from vocalgen.generation.checkpoint import checkpoint_sha256, read_settings, read_vocabulary
from vocalgen.generation.loading import load_part, load_synthesiser
from vocalgen.generation.pipeline import StyleGAN2Pipeline
from vocalgen.generation.settings import Truncation
from vocalgen.generation.synthesis import CPU_TILE
from vocalgen.mel import MEL_16K_EXVO, MEL_24K
from vocalgen.models.autoencoder import MelAutoencoder
from vocalgen.models.classifier import MelClassifier
from vocalgen.models.griffin_lim import GriffinLim
from vocalgen.models.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator
from vocalgen.training.adversarial import variety
from vocalgen.training.loop import Trainer
from vocalgen.training.stylegan2 import AdaptiveAugmentation, StyleGAN2Config, StyleGAN2Objective

LSB = 1 / 32768


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    manifest = write_corpus(tmp_path_factory.mktemp("corpus"))
    WaveCache.of(manifest, manifest.parent / "cache", CacheConfig(**PREPARE), processes=1)
    return manifest.parent


def values(corpus: Path, run: Path, steps: int, **changes: Any) -> dict[str, Any]:
    """A configuration for this corpus; `changes` go one level deep."""
    base: dict[str, Any] = {
        "data": {
            "manifest": str(corpus / "manifest.csv"),
            "cache": str(corpus / "cache"),
            "frames": 32,
            "max_shift": 0.05,
            "prepare": PREPARE,
        },
        "loop": {"run": str(run), "steps": steps, "batch_size": 8, "warmup": 2, "log_every": 1, "save_every": 100,
                 "preview_every": 100, "ema_decay": 0.9, "grad_clip": 1000.0},
        "mel": {key: value for key, value in MEL.to_dict().items() if key != "fingerprint"},
        "model": {"base": [1, 2], "channels": [8], "z_dim": 6, "w_dim": 6, "mapping_depth": 2},
        "discriminator": {"channels": [8]},
        "augmentation": {"kimg": 0.05},
        "r1_interval": 3,
        "path_length_interval": 2,
        "scorer": None,
    }  # fmt: skip
    for key, value in changes.items():
        base[key] = {**base[key], **value} if isinstance(value, dict) else value
    return base


def config_of(corpus: Path, run: Path, steps: int = 1, **changes: Any) -> StyleGAN2Config:
    return build(StyleGAN2Config, values(corpus, run, steps, **changes), "test")


def trained(corpus: Path, run: Path, steps: int, **changes: Any) -> Trainer:
    config = config_of(corpus, run, steps, **changes)
    trainer = Trainer(StyleGAN2Objective(config), config.loop, config)
    trainer.train()
    return trainer


def lines(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def state(trainer: Trainer) -> dict[str, Tensor]:
    networks = {name: trainer.objective.plain(name) for name in trainer.objective.networks}
    networks["average"] = trainer.objective.ema["generator"]
    found = {f"{name}.{key}": value for name, net in networks.items() for key, value in net.state_dict().items()}
    return found | trainer.objective.state


# Training

RELATIVISTIC = {"loss": "relativistic", "r1_gamma": 0.5, "r2_gamma": 0.5, "path_length_weight": 0.0}


@pytest.mark.parametrize("kind", [{}, {**RELATIVISTIC, "r1_interval": 1}], ids=["logistic", "relativistic"])
def test_resume_equals_never_having_stopped(corpus: Path, tmp_path: Path, kind: dict[str, Any]) -> None:
    """Stopped between two regularised steps, and with clips already being changed for the discriminator."""
    kind = {"augmentation": {"kimg": 0.05, "target": -1.0}, **kind}
    whole = trained(corpus, tmp_path / "whole", 7, **kind)
    trained(corpus, tmp_path / "parts", 4, **kind)
    parts = trained(corpus, tmp_path / "parts", 7, **kind)
    expected, found = state(whole), state(parts)
    assert expected.keys() == found.keys() > {"augmentation", "path_length"}
    assert [key for key in expected if not torch.equal(expected[key], found[key])] == []
    assert 0.1 < float(found["augmentation"]) <= 1
    assert (float(found["path_length"]) > 0) == (not kind.get("loss"))
    for name, optimizer in whole.objective.optimizers.items():
        torch.testing.assert_close(
            optimizer.state_dict(), parts.objective.optimizers[name].state_dict(), rtol=0, atol=0
        )


def test_regularisation_is_lazy_and_logged(corpus: Path, tmp_path: Path) -> None:
    trained(corpus, tmp_path / "logistic", 7)
    found = lines(tmp_path / "logistic")
    assert [line["step"] for line in found] == list(range(1, 8))
    assert ["r1" in line for line in found] == [step % 3 == 0 for step in range(7)]
    assert ["path_length" in line for line in found] == [step % 2 == 0 for step in range(7)]
    always = {"d_real", "d_fake", "discriminator", "generator", "augmentation", "variety", "grad_norm"}
    assert all(always < line.keys() and "r2" not in line for line in found)
    assert all(np.isfinite(list(line.values())).all() for line in found)
    trained(corpus, tmp_path / "relativistic", 4, **RELATIVISTIC)
    found = lines(tmp_path / "relativistic")
    for name in ("r1", "r2"):
        assert [name in line for line in found] == [True, False, False, True]
    assert not any("path_length" in line for line in found)


def norm_of(loss: Tensor, network: torch.nn.Module) -> float:
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    return float(torch.cat([gradient.flatten() for gradient in gradients]).norm())


@pytest.mark.parametrize("loss", ["logistic", "relativistic"])
def test_losses_are_those_of_the_papers(corpus: Path, tmp_path: Path, loss: str) -> None:
    """One step by hand: the losses that are logged, and by the norms of their gradients how they are weighed."""
    weights = {"r1_gamma": 2.0, "r2_gamma": 3.0, "path_length_weight": 0.5, "mismatch_weight": 0.7}
    config = config_of(corpus, tmp_path / "run", loss=loss, loop={"grad_clip": 1e9}, **weights)
    objective = StyleGAN2Objective(config)
    Trainer(objective, config.loop, config)
    items = [objective.dataset[(int(index), 0)] for index in objective.indices[:8]]
    batch = {key: torch.stack([item[key] for item in items]) for key in ("mel", "intensities")}
    labels, own = batch["intensities"], torch.Generator().manual_seed(5)
    z, noise = objective._latents(8, own)
    generator, judge = copy.deepcopy(objective.plain("generator")), objective.plain("discriminator")
    made, w = generator(z, labels, noise)
    direction = torch.randn(made.shape, generator=own) / (MEL.n_mels * 32) ** 0.5

    real, fake = batch["mel"].clone().requires_grad_(True), made.detach().requires_grad_(True)
    a, b = judge(real, labels), judge(fake, labels)
    r1, r2 = (
        torch.autograd.grad(score.sum(), clips, create_graph=True)[0].square().sum((1, 2)).mean()
        for score, clips in ((a, real), (b, fake))
    )
    judged = -(a.sigmoid().log() + (1 - b.sigmoid()).log()) if loss == "logistic" else -(a - b).sigmoid().log()
    mismatch = -(a - judge(real, labels.roll(1, 0))).sigmoid().log().mean()
    norm = norm_of(
        judged.mean() + 0.7 * mismatch + 3 * (2.0 / 2 * r1 + 3.0 / 2 * r2), judge
    )  # every third step, so three times

    logs = {
        name: float(torch.as_tensor(value).detach())
        for name, value in objective.step(dict(batch), 0, torch.Generator().manual_seed(5)).items()
    }
    assert [logs["d_real"], logs["d_fake"]] == pytest.approx([a.mean().item(), b.mean().item()], abs=1e-4)
    assert [logs["r1"], logs["r2"]] == pytest.approx([r1.item(), r2.item()], rel=1e-3)
    assert logs["discriminator"] == pytest.approx(judged.mean().item(), rel=1e-3)
    assert logs["mismatch"] == pytest.approx(mismatch.item(), rel=1e-3)
    assert logs["discriminator_grad_norm"] == pytest.approx(norm, rel=1e-3)

    a, b = judge(batch["mel"], labels).detach(), judge(made, labels)  # the judge has learnt meanwhile
    convincing = (-b.sigmoid().log() if loss == "logistic" else -(b - a).sigmoid().log()).mean()
    (slope,) = torch.autograd.grad((made * direction).sum(), w, create_graph=True)
    lengths = slope.square().sum(2).mean(1).sqrt()
    penalty = (lengths - 0.01 * lengths.mean().detach()).square().mean()  # a hundredth of the way from zero
    assert logs["generator"] == pytest.approx(convincing.item(), rel=1e-3)
    assert logs["path_length"] == pytest.approx(lengths.mean().item(), rel=1e-3)
    assert logs["grad_norm"] == pytest.approx(norm_of(convincing + 0.5 * 2 * penalty, generator), rel=1e-3)


def test_the_generator_learns(corpus: Path, tmp_path: Path) -> None:
    """After a few steps the mean spectrum of its clips is nearer to that of the corpus than at first."""
    rates = {"learning_rate": 0.03, "discriminator_learning_rate": 0.03, "r1_interval": 8, "path_length_weight": 0.0}
    config = config_of(corpus, tmp_path / "run", 40, loop={"log_every": 40}, augmentation={"target": 1.0}, **rates)
    objective = StyleGAN2Objective(config)
    trainer = Trainer(objective, config.loop, config)
    real = torch.stack([objective.dataset[(int(index), 0)]["mel"] for index in objective.indices]).mean((0, 2))
    before = (objective.make(np.arange(48) % 3, 0).mean((0, 2)) - real).abs().mean()
    trainer.train()
    after = (objective.make(np.arange(48) % 3, 0).mean((0, 2)) - real).abs().mean()
    assert after < 0.7 * before


def test_augmentation_adapts_to_the_sign_of_real_scores(corpus: Path, tmp_path: Path) -> None:
    config = config_of(corpus, tmp_path, augmentation={"kimg": 0.1, "target": 0.5})
    objective = StyleGAN2Objective(config)
    Trainer(objective, config.loop, config)
    found = [
        float(objective._adapt(torch.tensor(scores)))
        for scores in ([1.0] * 8, [2.0] * 8, [0.1] * 6 + [-9.0] * 2, [0.1] * 5 + [-9.0] * 3, [-1.0] * 8, [-1.0] * 8)
    ]
    assert found == pytest.approx([0.08, 0.16, 0.16, 0.08, 0.0, 0.0], abs=1e-6)


def test_relativistic_scores_have_no_zero(corpus: Path, tmp_path: Path) -> None:
    """Their offset means nothing: moving it does not change the share of augmented clips."""
    shares = []
    for offset in (-50.0, 0.0, 50.0):
        run = tmp_path / str(offset)
        config = config_of(corpus, run, 2, **RELATIVISTIC, augmentation={"target": 0.0})
        trainer = Trainer(StyleGAN2Objective(config), config.loop, config)
        with torch.no_grad():
            trainer.objective.plain("discriminator").score.bias.fill_(offset)
        trainer.train()
        shares.append([line["augmentation"] for line in lines(run)])
    assert shares[0] == shares[1] == shares[2] != [0.0, 0.0]


def test_no_augmentation(corpus: Path, tmp_path: Path) -> None:
    trainer = trained(corpus, tmp_path, 3, augmentation={"target": 1.0})
    assert float(trainer.objective.state["augmentation"]) == 0.0


def test_half_precision_trains(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        trained(corpus, tmp_path / "run", 3)
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["mixed_precision"] == "bf16"
    assert all(np.isfinite(list(line.values())).all() for line in lines(tmp_path / "run"))


# Collapse


def test_constant_clips_raise_an_alarm_and_nothing_else(
    corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING)
    trained(corpus, tmp_path / "sound", 1)
    assert not caplog.records
    frozen = StyleGAN2Generator.synthesise
    monkeypatch.setattr(
        StyleGAN2Generator, "synthesise", lambda self, w, noise: frozen(self, 0 * w, [0 * maps for maps in noise])
    )
    trained(corpus, tmp_path / "collapsed", 1)
    assert "step 1: the generated clips hardly differ" in caplog.text and "0.0% of" in caplog.text


def test_a_discriminator_that_no_longer_errs_raises_an_alarm(
    corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    config = config_of(corpus, tmp_path / "run", 1)
    trainer = Trainer(StyleGAN2Objective(config), config.loop, config)
    judge = trainer.objective.plain("discriminator")
    forward = judge.forward

    def certain(mel: Tensor, intensities: Tensor) -> Tensor:
        scores: Tensor = 1e-3 * forward(mel, intensities)
        real = torch.arange(len(mel)) < len(mel) // 2
        offset = torch.where(real, 20.0, -20.0)
        return scores + (offset if scores.ndim == 1 else offset[:, None])

    judge.forward = certain
    trainer.train()
    assert "step 1: the discriminator's loss is " in caplog.text and "it no longer errs" in caplog.text
    assert "hardly differ" not in caplog.text


def test_variety() -> None:
    mel = torch.tensor([1.0, 3.0])[:, None, None].expand(2, 4, 5)
    assert float(variety(mel)) == pytest.approx(2**0.5)
    assert float(variety(torch.zeros(2, 4, 5))) == 0.0


# Previews


@pytest.mark.parametrize("kind", ["stylegan2", "msggan"])
def test_two_processes(corpus: Path, scorer: Path, tmp_path: Path, root: Path, launch: Any, kind: str) -> None:
    config, run = tmp_path / "config.yaml", tmp_path / "run"
    changes: dict[str, Any] = {"scorer": str(scorer), "fid_clips": 12, "loop": {"preview_every": 2}}
    if kind == "msggan":
        model = {"patch": 4, "base": [1, 2], "channels": [8], "z_dim": 6}
        given = values(corpus, run, 3, **changes)
        kept = {key: given[key] for key in ("data", "loop", "mel", "scorer", "fid_clips")}
        config.write_text(yaml.safe_dump({**kept, "kind": kind, "emotions": ["Awe"], "model": model}))
    else:
        config.write_text(yaml.safe_dump(values(corpus, run, 3, **changes)))
    launcher = ("--config_file", root / "recipes" / "accelerate" / "multi_cpu.yaml")
    done = launch(*launcher, root / "recipes" / "train_gan.py", config)
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "environment.json").read_text())["processes"] == 2
    logged = [line for line in lines(run) if "grad_norm" in line]
    assert len(logged) == 3 and all(np.isfinite(list(line.values())).all() for line in logged)
    again = launch(*launcher, root / "recipes" / "train_gan.py", config, "loop.steps=4")
    assert again.returncode == 0 and "going on from step 3" in again.stderr


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("scorer")
    MelClassifier(MEL.to_dict(), EMOTIONS.emotions, 4, (4, 6), (8, 8), (1, 1)).save_pretrained(folder)
    return folder


def test_previews(corpus: Path, scorer: Path, tmp_path: Path) -> None:
    trainer = trained(corpus, tmp_path, 2, loop={"preview_every": 2}, scorer=str(scorer), fid_clips=12)
    last = lines(tmp_path)[-1]
    assert last["step"] == 2 and last["frechet"] > 0
    assert last["accuracy"] * 12 == pytest.approx(round(last["accuracy"] * 12), abs=1e-4)
    names = {path.name for path in (tmp_path / "samples").iterdir()}
    assert {f"{emotion}.wav" for emotion in EMOTIONS.emotions} | {"grid.png"} <= names
    previews = trainer.objective.preview(2)
    assert previews.mels["grid"].shape == (3 * MEL.n_mels, 4 * 32)
    assert previews.scalars["frechet"] == pytest.approx(last["frechet"], abs=1e-5)


def test_accuracy_is_left_out_where_the_scorer_lacks_an_emotion(corpus: Path, tmp_path: Path) -> None:
    others = ("Awe", "Amusement", "Fear")
    MelClassifier(MEL.to_dict(), others, 4, (4, 6), (8, 8), (1, 1)).save_pretrained(tmp_path / "scorer")
    trained(
        corpus, tmp_path / "run", 1, loop={"preview_every": 1}, scorer=str(tmp_path / "scorer"), fid_clips=12
    )  # fmt: skip
    assert "frechet" in lines(tmp_path / "run")[-1] and "accuracy" not in lines(tmp_path / "run")[-1]


# Mistakes in the configuration, all found before training


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loop": {"batch_size": 6}}, "loop.batch_size 6 must divide by discriminator.group 4"),
        ({"discriminator": {"group": 0}}, "must divide by discriminator.group 0"),
        ({"style_mixing": 1.5}, r"style_mixing is 1.5; it must be in \[0, 1\]"),
        ({"r1_interval": 0}, "r1_interval is 0; it must be at least 1"),
        ({"r1_gamma": -1.0}, "r1_gamma is -1.0; it must not be negative"),
        ({"r2_gamma": float("nan")}, "r2_gamma is nan"),
        ({"mismatch_weight": -0.5}, "mismatch_weight is -0.5; it must not be negative"),
        ({"augmentation": {"kimg": 0.0}}, "augmentation.kimg is 0.0; it must be positive"),
        ({"augmentation": {"target": 6.0}}, r"augmentation.target is 6.0; it must be in \[-1, 1\]"),
        ({"augmentation": {"changes": {"shift": -2}}}, "shift is -2; it must not be negative"),
        ({"loss": "hinge"}, "'hinge' is not one of logistic, relativistic"),
        ({"scorer": "absent"}, "cannot read absent/config.json"),
        ({"scorer": "SCORER", "fid_clips": 4}, "4 dimensions of scorer .* fid_clips is 4, the split validation has 36"),
        ({"scorer": "SCORER", "validation_split": "devel"}, "no clips in split 'devel'"),
        ({"scorer": "SCORER", "mel": {"f_min": 60.0}}, "mel mismatch"),
        ({"data": {"split": "tset"}}, "no clips in split 'tset'"),
    ],
)
def test_bad_configurations(corpus: Path, scorer: Path, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    if changes.get("scorer") == "SCORER":
        changes = {**changes, "scorer": str(scorer)}
    with pytest.raises(VocalgenError, match=words):
        StyleGAN2Objective(config_of(corpus, tmp_path, **changes))


def test_groups_must_be_whole_in_every_process(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three processes with four clips each are well, two with six would group real clips with generated ones."""
    objective = StyleGAN2Objective(config_of(corpus, tmp_path, loop={"batch_size": 12}))

    class Several:
        num_processes = 3

    objective.accelerator = Several()  # type: ignore[assignment]
    assert objective.training_data() is objective.dataset
    Several.num_processes = 2
    with pytest.raises(VocalgenError, match=r"batch_size 12 must divide by discriminator.group 4 times 2 processes"):
        objective.training_data()


def test_clips_without_labels_are_refused(corpus: Path, tmp_path: Path) -> None:
    manifest = Manifest.load(corpus / "manifest.csv")
    rows = [row for row in manifest.rows if row.split == "train"][:9]
    rows[4] = Clip(rows[4].id, rows[4].file, "train", "s", rows[4].seconds, (), (float("nan"),) * 3)
    Manifest(manifest.emotions, tuple(rows)).save(tmp_path / "manifest.csv")
    data = {"manifest": str(tmp_path / "manifest.csv"), "cache": str(tmp_path / "cache")}
    with pytest.raises(VocalgenError, match=f"1 training clips lack intensities, first {rows[4].id}"):
        StyleGAN2Objective(config_of(corpus, tmp_path, data=data))


def test_silence_of_the_corpus_is_the_generators_silence(corpus: Path, tmp_path: Path) -> None:
    """A floor that half precision rounds upwards, at gains that would lift it: silent bands stay at the floor."""
    objective = StyleGAN2Objective(config_of(corpus, tmp_path, mel={"floor": 1e-3}, data={"gain_db": [6.0, 6.0]}))
    floor = np.float32(np.log(1e-3))
    assert np.float16(floor) > floor
    clip = objective.dataset.mels[int(objective.indices[0])].T
    silent = clip == np.float16(floor)
    assert 0.1 < silent.mean() < 0.95
    window = objective.dataset[(int(objective.indices[0]), 0)]["mel"].numpy()
    assert window.min() == floor
    assert (window[:, : clip.shape[1]] == floor).sum() >= silent[:, :32].sum() * 0.8
    assert not ((window > floor) & (window < floor + 0.6)).any()


# From a run to clips


@pytest.fixture(scope="module")
def export(root: Path) -> Callable[..., None]:
    """`main` of recipes/export.py."""
    spec = importlib.util.spec_from_file_location("export", root / "recipes" / "export.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda *arguments: module.main([str(argument) for argument in arguments])


def test_from_the_recipe_to_a_clip(
    corpus: Path, tmp_path: Path, root: Path, export: Callable[..., None], command: Command
) -> None:
    config, run, made = tmp_path / "config.yaml", tmp_path / "run", tmp_path / "made"
    config.write_text(yaml.safe_dump(values(corpus, run, 2, loop={"preview_every": 2})))
    recipe = [sys.executable, str(root / "recipes" / "train_gan.py"), str(config)]
    done = subprocess.run(recipe, capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
    names = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    expected = {"config.yaml", "environment.json", "metrics.jsonl", "state/step-2/state.pt", "export/config.json",
                "export/diffusion_pytorch_model.safetensors", "samples/grid.png", "samples/Awe.wav"}  # fmt: skip
    assert expected <= names
    assert [line["step"] for line in lines(run)] == [1, 2]
    assert load_config(StyleGAN2Config, run / "config.yaml").loop.steps == 2
    export("stylegan2", "--generator", run / "export", "--out", made, "psi=0.5")
    pipe = VocalBurstPipeline.from_pretrained(made)
    assert isinstance(pipe, StyleGAN2Pipeline) and isinstance(pipe.vocoder, GriffinLim)
    assert pipe.settings() == Truncation(0.5) == read_settings(made)
    assert pipe.emotions.emotions == EMOTIONS.emotions == read_vocabulary(made).emotions
    assert pipe.generator.dtype == torch.float32 and pipe.mel == MEL
    base = ["-e", "awe", "--checkpoint", made, "--seed", 3]
    assert command("sample", *base, "--psi", 0.7, "-o", tmp_path / "clip.wav")[::2] == (0, "")
    wave, rate = audio.read(tmp_path / "clip.wav")
    clip = pipe("awe", seed=3, psi=0.7).clips[0]
    assert rate == 8000 and len(wave) == len(clip)
    np.testing.assert_allclose(wave, clip, atol=2 * LSB)


@pytest.fixture(scope="module")
def pipe() -> StyleGAN2Pipeline:
    return debug_stylegan2()


@pytest.fixture(scope="module")
def saved(pipe: StyleGAN2Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stylegan2")
    pipe.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "load", [VocalBurstPipeline.from_pretrained, StyleGAN2Pipeline.from_pretrained, load_synthesiser]
)
def test_a_saved_pipeline_makes_the_same_clips(
    load: Callable[[Path], Any], pipe: StyleGAN2Pipeline, saved: Path
) -> None:
    loaded = load(saved)
    assert loaded.defaults == {"psi": 0.9} and loaded.folder == saved
    assert loaded.emotions == EMOGATOR30
    np.testing.assert_allclose(loaded("awe", 2).audio, pipe("awe", 2).audio, atol=1e-4)
    assert len(checkpoint_sha256(saved)) == 64


def test_a_clip_depends_on_emotion_seed_and_psi(pipe: StyleGAN2Pipeline) -> None:
    base = pipe("awe", seed=3).mels
    assert base.shape == (1, 100, 96) and pipe.seconds == pytest.approx(96 * 256 / 24_000)
    np.testing.assert_array_equal(pipe("awe", seed=3, psi=0.9).mels, base)
    others = [("awe", 4, 0.9), ("fear", 3, 0.9), ("awe=0.5", 3, 0.9), ("awe=0.5,fear=0.5", 3, 0.9), ("awe", 3, 0.5)]
    for emotion, seed, psi in [*others, (EMOGATOR30.emotions[0], 3, 0.9)]:
        assert np.abs(pipe(emotion, seed=seed, psi=psi).mels - base).mean() > 1e-2


def test_psi_zero_is_one_latent_an_emotion(pipe: StyleGAN2Pipeline) -> None:
    """Clips of different seeds then differ in their noise alone, those of different emotions in their mean w."""
    intensities = torch.eye(30)[[0, 0, 1]]
    with torch.no_grad():
        w = pipe.styles(torch.randn(3, 8), intensities, 0.0)
    torch.testing.assert_close(w[0], pipe.generator.w_average[0].expand_as(w[0]))
    torch.testing.assert_close(w[0], w[1])
    assert (w[0] - w[2]).abs().max() > 0.1


def test_clips_do_not_depend_on_company(pipe: StyleGAN2Pipeline) -> None:
    together = pipe(["awe", "fear", "awe=0.7,fear=0.3"], num_samples=CPU_TILE, seed=10, normalise=False)
    alone = pipe("fear", seed=12, normalise=False)
    place = CPU_TILE + 2
    assert together.seeds[place] == 12 and alone.lengths[0] == together.lengths[place]
    np.testing.assert_allclose(alone.clips[0], together.clips[place], atol=LSB)
    together, alone = pipe(["awe", "fear"], 5, exact=True), pipe("fear", seed=4, exact=True)
    np.testing.assert_array_equal(alone.mels[0], together.mels[9])
    np.testing.assert_array_equal(alone.clips[0], together.clips[9])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_near_and_above_the_floor(
    dtype: torch.dtype, pipe: StyleGAN2Pipeline, saved: Path
) -> None:
    half = VocalBurstPipeline.from_pretrained(saved, dtype=dtype)
    assert half.network.dtype == dtype
    with torch.no_grad():
        conditions = [half.condition("awe")] * 4
        mels = half.mels(conditions, range(4))
        exact = pipe.mels(conditions, range(4))
    floor = np.float32(MEL_24K.log_floor)
    assert mels.dtype == torch.float32 and floor <= mels.numpy().min() < floor + 0.02
    assert 1e-4 < float((mels - exact).abs().mean()) < 0.2


# Bad input


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--psi", 1.5], "psi must lie between 0 and 1, got 1.5"),
        (["--psi", -0.1], "psi must lie between 0 and 1"),
        (["--psi", "nan"], "psi must lie between 0 and 1, got nan"),
        (["--steps", 8], "this model has no setting steps; it has psi"),
        (["--guidance", 2], "this model has no setting guidance"),
        (["--duration", 0.5], "decides itself how long a burst is; leave the duration out"),
        (["-e", "boredom"], "boredom"),
    ],
)
def test_what_stylegan2_cannot_be_asked_for(
    options: list[object], words: str, saved: Path, tmp_path: Path, command: Command
) -> None:
    code, out, err = command("sample", "-e", "awe", "--checkpoint", saved, "-o", tmp_path, *options)
    assert (code, out) == (2, "") and err.startswith("error: ") and words in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"psi": 2.0}, "psi must lie between 0 and 1"),
        ({"steps": 8}, "this model has no setting steps; it has psi"),
        ({"duration": 0.5}, "leave the duration out"),
        ({"seed": -1}, "seeds must lie between 0"),
        ({"emotion": "boredom"}, "boredom"),
    ],
)
def test_the_pipeline_refuses_the_same(pipe: StyleGAN2Pipeline, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(VocalgenError, match=words):
        pipe(**{"emotion": "awe", **changes})


def test_an_emotion_the_model_lacks_is_named_with_those_it_has(tmp_path: Path) -> None:
    few = Vocabulary("few", ("Awe", "Fear"))
    generator = StyleGAN2Generator(MEL_24K.to_dict(), few.emotions, frames=96, channels=(4,), z_dim=4, w_dim=4)
    pipe = StyleGAN2Pipeline(generator.eval(), debug_vocoder())
    with pytest.raises(VocalgenError, match=r"(?i)anger.*awe"):
        pipe("anger")


def test_diffusion_has_no_psi() -> None:
    with pytest.raises(VocalgenError, match="this model has no setting psi; it has steps"):
        debug_pipeline()("awe", psi=0.7)


def test_a_discriminator_is_no_generator(
    tmp_path: Path, export: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    judge = StyleGAN2Discriminator(MEL_24K.to_dict(), EMOGATOR30.emotions, frames=96, channels=(4,))
    judge.save_pretrained(tmp_path / "judge")
    with pytest.raises(VocalgenError, match="the weights belong to another network"):
        load_part(tmp_path / "judge", "StyleGAN2Generator")
    with pytest.raises(SystemExit) as stopped:
        export("stylegan2", "--generator", tmp_path / "judge", "--out", tmp_path / "made")
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and said.count("\n") == 1
    assert said.startswith(f"error: {tmp_path / 'judge'} holds a StyleGAN2Discriminator, not a ")
    assert not (tmp_path / "made").exists()


def test_a_vocoder_of_another_mel_is_refused(
    saved: Path, tmp_path: Path, export: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(VocalgenError, match="mel mismatch"):
        StyleGAN2Pipeline(debug_stylegan2().generator, debug_vocoder(MEL_16K_EXVO))
    debug_vocoder(MEL_16K_EXVO).save_pretrained(tmp_path / "vocoder")
    with pytest.raises(SystemExit) as stopped:
        export(
            "stylegan2", "--generator", saved / "generator", "--vocoder", tmp_path / "vocoder", "--out", tmp_path / "x"
        )
    assert stopped.value.code == 2 and "mel mismatch" in capsys.readouterr().err


@pytest.mark.parametrize("setting", ["psi=1.2", "steps=4", "psi=much"])
def test_defaults_out_of_range_are_not_exported(
    setting: str, saved: Path, tmp_path: Path, export: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        export("stylegan2", "--generator", saved / "generator", "--out", tmp_path / "made", setting)
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and said.startswith("error: ") and said.count("\n") == 1
    assert not (tmp_path / "made").exists()


def test_a_pipeline_of_another_family_is_refused(saved: Path, debug_checkpoint: Path) -> None:
    with pytest.raises(VocalgenError, match="StyleGAN2Pipeline"):
        StyleGAN2Pipeline.from_pretrained(debug_checkpoint)


@pytest.mark.parametrize("name", ["stylegan2", "stylegan2_mel"])
def test_the_recipes_are_valid(root: Path, name: str) -> None:
    config = load_config(StyleGAN2Config, root / "recipes" / "emogator" / f"{name}.yaml")
    model = {key: getattr(config.model, key) for key in ("layout", "patch", "base", "channels")}
    latents = {} if config.autoencoder is None else {"latent_dim": 32, "downsampling": 4}
    generator = StyleGAN2Generator(MEL_24K.to_dict(), EMOGATOR30.emotions, config.data.frames, **latents, **model)
    assert 2 * sum(value.numel() for value in generator.state_dict().values()) < 30e6  # beside a vocoder, under 40 MB
    assert config.loop.batch_size % config.discriminator.group == 0
    assert (config.augmentation == AdaptiveAugmentation()) == (config.autoencoder is None)


# On the latents of an autoencoder


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("autoencoder")
    torch.manual_seed(0)
    MelAutoencoder(MEL.to_dict(), 6, widths=(8, 8, 8), depths=(1, 1, 1)).save_pretrained(folder)
    return folder


def on_latents(autoencoder: Path, folder: Path) -> dict[str, Any]:
    model = {"patch": 1, "base": [1, 2], "channels": [8], "z_dim": 8, "w_dim": 8, "mapping_depth": 1}
    return {"autoencoder": str(autoencoder), "latents": str(folder / "latents"), "model": model,
            "discriminator": {"channels": [8]}, "augmentation": {"target": 1.0}}  # fmt: skip


def test_latents_from_the_recipe_to_a_clip(
    corpus: Path, autoencoder: Path, scorer: Path, tmp_path: Path, export: Callable[..., None]
) -> None:
    options = {**on_latents(autoencoder, tmp_path), "scorer": str(scorer), "fid_clips": 12}
    trainer = trained(corpus, tmp_path / "run", 2, loop={"preview_every": 2}, **options)
    network = trainer.objective.networks["generator"]
    assert (network.config.latent_dim, network.config.downsampling, network.maps.frames) == (6, 4, 8)
    batch = trainer.objective.training_data()[int(trainer.objective.indices[0]), 0]
    assert batch["x"].shape == (8, 6)
    assert lines(tmp_path / "run")[-1]["frechet"] > 0
    mels = trainer.objective.make(np.arange(3), seed=0)
    assert mels.shape == (3, MEL.n_mels, 32) and float(mels.min()) >= MEL.log_floor

    made = tmp_path / "made"
    with pytest.raises(SystemExit):
        export("stylegan2", "--generator", tmp_path / "run" / "export", "--out", made)  # needs the autoencoder
    export("stylegan2", "--generator", tmp_path / "run" / "export", "--autoencoder", autoencoder, "--out", made)
    pipe, quick = VocalBurstPipeline.from_pretrained(made), load_synthesiser(made)
    assert isinstance(pipe, StyleGAN2Pipeline) and isinstance(pipe.autoencoder, MelAutoencoder)
    np.testing.assert_allclose(pipe("awe", seed=1).mels, quick("awe", seed=1).mels, atol=1e-4)
    with torch.no_grad():  # the mels are what the autoencoder makes of the generator's latents
        z, noise = pipe.randomness([1])
        latents = pipe.generator.synthesise(pipe.styles(z, torch.eye(3)[1:2], 1.0), noise).transpose(1, 2)
        expected = pipe.autoencoder.decode(latents * pipe.autoencoder.latent_std + pipe.autoencoder.latent_mean)
    np.testing.assert_allclose(pipe("awe", seed=1).mels, expected.clamp(min=MEL.log_floor), atol=1e-5)


def test_resume_on_latents_equals_never_having_stopped(corpus: Path, autoencoder: Path, tmp_path: Path) -> None:
    options = on_latents(autoencoder, tmp_path)
    whole = trained(corpus, tmp_path / "whole", 4, **options)
    trained(corpus, tmp_path / "parts", 2, **options)
    parts = trained(corpus, tmp_path / "parts", 4, **options)
    for key, value in state(whole).items():
        assert torch.equal(value, state(parts)[key]), key


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"autoencoder": "absent"}, "no autoencoder in absent"),
        ({"augmentation": {"target": 0.6}}, "set augmentation.target=1"),
        ({"mel": {"f_min": 60.0}}, "mel mismatch"),
    ],
)
def test_bad_autoencoders(corpus: Path, autoencoder: Path, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(VocalgenError, match=words):
        StyleGAN2Objective(config_of(corpus, tmp_path, **{**on_latents(autoencoder, tmp_path), **changes}))


def test_an_autoencoder_must_fit_the_generator(autoencoder: Path) -> None:
    codec = load_part(autoencoder, "MelAutoencoder")
    pipe = debug_stylegan2(MEL)
    with pytest.raises(VocalgenError, match="6 channels of 4 frames each, not log-mels"):
        StyleGAN2Pipeline(pipe.generator, pipe.vocoder, codec)
