"""Training keeps no graph of an earlier step, however rarely it logs."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import test_classifier
import test_gan_training
import test_training
import test_vocoder_training
import torch
from bursts import write_emogator_corpus
from small_corpus import write_corpus
from small_recipes import recipe_config
from torch import Tensor

from vocalgen.config import build
from vocalgen.tasks.labels import multitask_objective
from vocalgen.training.autoencoder import AutoencoderConfig, AutoencoderObjective
from vocalgen.training.classifier import ClassifierObjective
from vocalgen.training.diffusion import DiffusionConfig, DiffusionObjective
from vocalgen.training.loop import Trainer
from vocalgen.training.objective import Objective
from vocalgen.training.stylegan2 import StyleGAN2Config, StyleGAN2Objective
from vocalgen.training.vocoder import VocoderConfig, vocoder_objective

STEPS = 4
LOOP = {"log_every": 50, "preview_every": 2, "save_every": 2, "batch_size": 4}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """EmoGator's layout in `mp3` and `manifest.csv`; the corpus of test_gan_training in `small`."""
    folder = write_emogator_corpus(tmp_path_factory.mktemp("corpus"))
    (folder / "small").mkdir()
    write_corpus(folder / "small")
    return folder


Made = tuple[Objective, Any]


def made(config_class: type[Any], objective: Callable[[Any], Objective], values: dict[str, Any]) -> Made:
    config = build(config_class, {**values, "loop": {**values["loop"], **LOOP}}, "test")
    return objective(config), config


def autoencoder(corpus: Path, run: Path) -> Made:
    values = test_training.autoencoder_values(corpus, run, STEPS)
    return made(AutoencoderConfig, AutoencoderObjective, {**values, "adversarial_start": 0})


def diffusion(corpus: Path, run: Path) -> Made:
    return made(DiffusionConfig, DiffusionObjective, test_training.diffusion_values(corpus, run, STEPS))


def hifigan(corpus: Path, run: Path) -> Made:
    values = test_vocoder_training.values(corpus, run, STEPS, adversarial_start=0)
    return made(VocoderConfig, vocoder_objective, values)


def source_filter(corpus: Path, run: Path) -> Made:
    values = test_vocoder_training.values(corpus, run, STEPS, **test_vocoder_training.SOURCE_FILTER)
    return made(VocoderConfig, vocoder_objective, values)


def stylegan2(corpus: Path, run: Path) -> Made:
    values = test_gan_training.values(corpus / "small", run, STEPS, r1_interval=1, path_length_interval=1)
    return made(StyleGAN2Config, StyleGAN2Objective, values)


def relativistic(corpus: Path, run: Path) -> Made:
    changes = {**test_gan_training.RELATIVISTIC, "r1_interval": 1, "mismatch_weight": 0.1}
    return made(StyleGAN2Config, StyleGAN2Objective, test_gan_training.values(corpus / "small", run, STEPS, **changes))


def classifier(corpus: Path, run: Path) -> Made:
    config = test_classifier.config_of(corpus / "small", run, STEPS)
    config = replace(config, loop=replace(config.loop, log_every=50))
    return ClassifierObjective(config), config


RECIPES = [autoencoder, diffusion, hifigan, source_filter, stylegan2, relativistic, classifier]


def tensors_with_a_graph() -> int:
    gc.collect()
    return sum(type(found) is Tensor and found.grad_fn is not None for found in gc.get_objects())


def counts(objective: Objective, config: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Living tensors with an autograd graph before every step."""
    step, found = objective.step, []

    def counted(batch: dict[str, Tensor], number: int, generator: torch.Generator) -> dict[str, Tensor]:
        found.append(tensors_with_a_graph())
        return step(batch, number, generator)

    monkeypatch.setattr(objective, "step", counted)
    gc.collect()
    gc.freeze()  # only what comes from now on is looked at, which is many times faster
    try:
        Trainer(objective, config.loop, config).train()
    finally:
        gc.unfreeze()
    return found


@pytest.mark.filterwarnings("ignore")  # asking every living object for its class wakes deprecated ones
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.__name__)
def test_no_graph_outlives_its_step(
    recipe: Callable[[Path, Path], Made], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = counts(*recipe(corpus, tmp_path / "run"), monkeypatch)
    assert len(found) == STEPS and set(found) == {found[0]}


@pytest.mark.filterwarnings("ignore")
def test_no_graph_of_a_network_with_several_outputs_outlives_its_step(
    root: Path, corpora: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = recipe_config("emogator/residual_multitask", root, tmp_path, corpora, tmp_path / "run", STEPS)
    config = replace(config, loop=replace(config.loop, log_every=50))
    found = counts(multitask_objective(config), config, monkeypatch)
    assert len(found) == STEPS and set(found) == {found[0]}
