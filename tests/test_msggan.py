"""MSG-GAN: networks, loss, a training by emotion, joined generators, clips, and what it cannot be asked for."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Line
from small_corpus import EMOTIONS, MEL, PREPARE, write_corpus

from vocalgen import VocalBurstPipeline, VocalgenError
from vocalgen.config import build, load_config
from vocalgen.generation.loading import load_synthesiser
from vocalgen.generation.pipeline import MSGGANPipeline
from vocalgen.models.griffin_lim import GriffinLim
from vocalgen.models.msggan import MSGGANDiscriminator, MSGGANGenerator, joined
from vocalgen.training.loop import Trainer
from vocalgen.training.msggan import MSGGANConfig, MSGGANObjective, hinge

SIZES: dict[str, Any] = {"frames": 32, "layout": "frames", "patch": 4, "base": (1, 2), "channels": (8, 6), "kernel": 3}
MODEL = {**{key: value for key, value in SIZES.items() if key != "frames"}, "z_dim": 8}


def generator(*emotions: str, **changes: Any) -> MSGGANGenerator:
    return MSGGANGenerator(MEL.to_dict(), emotions, **{**SIZES, "z_dim": 8, **changes}).eval()


# Networks


@pytest.mark.parametrize(
    "changes", [{}, {"layout": "image", "patch": 1, "base": (3, 4), "channels": (6, 6, 4)}], ids=["frames", "image"]
)
def test_both_sides_have_images_of_every_size(changes: dict[str, Any]) -> None:
    made = generator("Awe", **changes)
    images = made(torch.randn(4, 8))
    mel = torch.randn(4, MEL.n_mels, 32) * 2 - 6
    discriminator = MSGGANDiscriminator(MEL.to_dict(), **{**SIZES, **changes})
    real = discriminator.pyramid(mel)
    assert [image.shape for image in real] == [image.shape for image in images] and len(images) >= 3
    torch.testing.assert_close(discriminator.maps.mel(real[-1]), mel)
    assert discriminator(real).shape == (4,)
    floor = made.maps.of(torch.full((1, MEL.n_mels, 32), MEL.log_floor)).min()
    assert all(bool((image >= floor).all()) for image in images)


def test_gradients_reach_every_size_and_every_parameter() -> None:
    made, discriminator = generator("Awe"), MSGGANDiscriminator(MEL.to_dict(), **SIZES)
    images = made(torch.randn(4, 8))
    slopes = torch.autograd.grad(discriminator(images).sum(), images, retain_graph=True)
    assert all(float(slope.abs().sum()) > 0 for slope in slopes)
    discriminator(images).sum().backward()
    for network in (made, discriminator):
        assert [name for name, value in network.named_parameters() if value.grad is None] == []


def test_an_emotion_has_its_own_network() -> None:
    made, z = generator("Awe", "Fear"), torch.randn(2, 8)
    mels = made.mels(z[:1].expand(2, -1), torch.eye(2))
    assert not torch.equal(mels[0], mels[1])
    torch.testing.assert_close(mels[1:], made.maps.mel(made(z[:1], 1)[-1]))
    with torch.no_grad():
        made.networks[0].start.weight.add_(1.0)
    torch.testing.assert_close(made.mels(z[:1].expand(2, -1), torch.eye(2))[1], mels[1])


def test_the_length_of_a_latent_means_nothing() -> None:
    made, z = generator("Awe"), torch.randn(2, 8)
    torch.testing.assert_close(made(z)[-1], made(3 * z)[-1], atol=1e-4, rtol=1e-4)


def test_the_hinge_loss_is_that_of_the_paper() -> None:
    high, low = [0.3, 2.5, -1.0], [0.0, -2.0, 1.5]
    mean_high, mean_low = sum(high) / 3, sum(low) / 3
    expected = sum(max(0.0, 1 - (value - mean_low)) for value in high) / 3
    expected += sum(max(0.0, 1 + (value - mean_high)) for value in low) / 3
    assert float(hinge(torch.tensor(high), torch.tensor(low))) == pytest.approx(expected)
    assert float(hinge(torch.tensor([5.0]), torch.tensor([-5.0]))) == 0.0


# Training


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    return folder


def config_of(corpus: Path, run: Path, steps: int = 1, **changes: Any) -> MSGGANConfig:
    values = {
        "data": {
            "manifest": str(corpus / "manifest.csv"), "cache": str(corpus / "cache"), "frames": 32, "prepare": PREPARE,
        },
        "loop": {"run": str(run), "steps": steps, "batch_size": 8, "warmup": 1, "log_every": 1, "save_every": 2,
                 "preview_every": 100, "grad_clip": 1000.0},
        "mel": {key: value for key, value in MEL.to_dict().items() if key != "fingerprint"},
        "model": MODEL,
        "emotions": ["Awe"],
        "scorer": None,
        **changes,
    }  # fmt: skip
    return build(MSGGANConfig, values, "test")


def trained(corpus: Path, run: Path, steps: int, **changes: Any) -> Trainer:
    config = config_of(corpus, run, steps, **changes)
    trainer = Trainer(MSGGANObjective(config), config.loop, config)
    trainer.train()
    return trainer


def test_one_emotion_is_learned_from_its_own_clips(corpus: Path, tmp_path: Path) -> None:
    objective = MSGGANObjective(config_of(corpus, tmp_path))
    assert objective.emotions.emotions == ("Awe",)
    assert len(objective.indices) == 8 * 4
    assert {objective.cache.ids[index].split("-")[1] for index in objective.indices} == {"1"}
    assert objective.dataset[int(objective.indices[0]), 0]["intensities"].tolist() == [1.0]


def test_resume_equals_never_having_stopped(corpus: Path, tmp_path: Path) -> None:
    whole = trained(corpus, tmp_path / "whole", 4)
    trained(corpus, tmp_path / "parts", 2)
    parts = trained(corpus, tmp_path / "parts", 4)
    for name, network in whole.objective.networks.items():
        for key, value in network.state_dict().items():
            assert torch.equal(value, parts.objective.networks[name].state_dict()[key]), (name, key)
    logged = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert {"discriminator", "d_real", "d_fake", "generator", "variety", "grad_norm"} <= logged[-1].keys()


def test_both_networks_move(corpus: Path, tmp_path: Path) -> None:
    config = config_of(corpus, tmp_path)
    objective = MSGGANObjective(config)
    before = {name: [value.clone() for value in net.parameters()] for name, net in objective.networks.items()}
    Trainer(objective, config.loop, config).train()
    for name, network in objective.networks.items():
        moved = [not torch.equal(a, b) for a, b in zip(before[name], network.parameters(), strict=True)]
        assert sum(moved) > 0.8 * len(moved), name


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"emotions": None}, "one emotion at a time, not all"),
        ({"emotions": ["Awe", "Amusement"]}, "one emotion at a time, not 2"),
        ({"emotions": ["Horror"]}, "unknown emotion 'Horror'"),
        ({"group": 3}, "must divide by discriminator.group 3"),
        ({"fid_clips": 0}, "fid_clips is 0"),
    ],
)
def test_bad_configurations(corpus: Path, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(VocalgenError, match=words):
        MSGGANObjective(config_of(corpus, tmp_path, **changes))


# From runs to clips


def export(root: Path, *arguments: object) -> None:
    spec = importlib.util.spec_from_file_location("export", root / "recipes" / "export.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def made(corpus: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for emotion in ("Awe", "Amusement"):
        trained(corpus, folder / emotion, 2, emotions=[emotion])
    export(root, "msggan", folder / "Awe" / "export", folder / "Amusement" / "export", "--out", folder / "made")
    return folder / "made"


def test_joined_runs_make_clips_of_both(made: Path) -> None:
    pipe = VocalBurstPipeline.from_pretrained(made)
    assert isinstance(pipe, MSGGANPipeline) and isinstance(pipe.vocoder, GriffinLim)
    assert pipe.emotions.emotions == ("Awe", "Amusement") and pipe.mel == MEL
    together = pipe(["awe", "amusement"], num_samples=2, seed=5)
    assert together.audio.shape[0] == 4
    quick = load_synthesiser(made)
    for row, (emotion, seed) in enumerate([("awe", 5), ("awe", 6), ("amusement", 5), ("amusement", 6)]):
        np.testing.assert_allclose(quick(emotion, seed=seed).mels[0], together.mels[row], atol=1e-4)
    assert not np.array_equal(together.mels[0], together.mels[1])


def test_generate_and_interpolate(made: Path, tmp_path: Path, done: Line) -> None:
    checkpoint = ("--checkpoint", made)
    done("generate", *checkpoint, "--per-emotion", 2, "--out", tmp_path / "clips")
    assert len(list((tmp_path / "clips").rglob("*.wav"))) == 4
    ends = ("--from", "awe", "--to-seed", 4, "--clips", 3, "-o", tmp_path / "way.wav")
    done("interpolate", *checkpoint, *ends)
    assert (tmp_path / "way.wav").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sample", "-e", "awe=0.5,amusement=0.5"], "makes no mixtures"),
        (["sample", "-e", "awe", "--psi", "0.5"], "no setting psi; it has none"),
        (["sample", "-e", "awe", "--steps", "8"], "no setting steps; it has none"),
        (["sample", "-e", "awe", "--duration", "1.0"], "leave the duration out"),
        (["sample", "-e", "fear"], "unknown emotion 'fear'"),
        (["interpolate", "--from", "awe", "--to", "amusement"], "nothing lies between two of them"),
        (["interpolate", "--from", "awe=0.5,amusement=0.5", "--to-seed", "3"], "makes no mixtures"),
    ],
)
def test_what_it_cannot_be_asked_for(
    made: Path, tmp_path: Path, arguments: list[str], words: str, refused: Line
) -> None:
    out = tmp_path / "clip.wav"
    assert words in refused(*arguments, "--checkpoint", made, "-o", out) and not out.exists()


@pytest.mark.parametrize("verb", ["sample", "generate"])
def test_a_length_is_refused_before_anything_is_loaded(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, refused: Line
) -> None:
    monkeypatch.setattr("vocalgen.cli.outputs.load", lambda *_: pytest.fail("loaded"))
    emotion = ["-e", "awe"]
    refused(verb, *emotion, "--duration", "1.0", "--checkpoint", made, "-o", tmp_path / "out")


def test_generators_that_cannot_be_joined() -> None:
    with pytest.raises(VocalgenError, match="more than one generator makes Awe"):
        joined([generator("Awe"), generator("Awe")])
    with pytest.raises(VocalgenError, match="differ in front end or sizes"):
        joined([generator("Awe"), generator("Fear", z_dim=4)])


def test_joining_keeps_every_network() -> None:
    parts = [generator("Awe"), generator("Fear", channels=(8, 6))]
    whole, z = joined(parts), torch.randn(2, 8)
    for emotion, part in enumerate(parts):
        torch.testing.assert_close(whole(z, emotion)[-1], part(z)[-1])


def test_the_recipe_is_valid(root: Path) -> None:
    config = load_config(MSGGANConfig, root / "recipes" / "emogator" / "msggan.yaml")
    assert config.emotions is not None and set(config.emotions) <= {"Awe"}
    assert config.learning_rate == config.discriminator_learning_rate  # the published 3e-3 and 3e-4 run away here
    assert config.loop.batch_size % config.group == 0 and EMOTIONS.emotions
