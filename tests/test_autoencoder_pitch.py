"""The pitch loss of the autoencoder: it trains, resumes, and needs a vocoder with a pitch head."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from bursts import write_emogator_corpus
from test_source_filter import tiny
from test_training import autoencoder_values

from vocalgen.config import build
from vocalgen.errors import VocalgenError
from vocalgen.mel import MEL_16K_EXVO, MEL_24K
from vocalgen.models.griffin_lim import GriffinLim
from vocalgen.models.hifigan import GeneratorSize, hifigan_generator
from vocalgen.training.autoencoder import AutoencoderConfig, AutoencoderObjective
from vocalgen.training.loop import Trainer


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small corpus, and a source-filter vocoder in `vocoder`."""
    folder = write_emogator_corpus(tmp_path_factory.mktemp("corpus"))
    tiny().save_pretrained(folder / "vocoder")
    return folder


def config(corpus: Path, run: Path, steps: int, **changes: Any) -> AutoencoderConfig:
    values = {**autoencoder_values(corpus, run, steps), "pitch_of": str(corpus / "vocoder"), **changes}
    return build(AutoencoderConfig, values, "test")


def trained(settings: AutoencoderConfig) -> Trainer:
    trainer = Trainer(AutoencoderObjective(settings), settings.loop, settings)
    trainer.train()
    return trainer


def test_autoencoder_with_pitch_loss_resumes_as_if_it_had_never_stopped(corpus: Path, tmp_path: Path) -> None:
    """Before and after the discriminator joins; the pitch head stays as it was."""
    whole = trained(config(corpus, tmp_path / "whole", 4))
    trained(config(corpus, tmp_path / "parts", 2))
    parts = trained(config(corpus, tmp_path / "parts", 4))
    for name, network in whole.objective.networks.items():
        other = parts.objective.networks[name].state_dict()
        assert all(torch.equal(value, other[key]) for key, value in network.state_dict().items())
    logs = [[json.loads(line) for line in (run / "metrics.jsonl").open()] for run in (whole.run, parts.run)]
    first, second = ([line["pitch"] for line in log] for log in logs)
    assert first == second
    assert min(first) > 0 and "adversarial" in logs[0][-1]
    reader, before = whole.objective.pitch_reader, tiny().state_dict()  # type: ignore[attr-defined]
    assert all(torch.equal(value, before[key]) for key, value in reader.state_dict().items())


def test_pitch_weight_changes_what_the_autoencoder_learns(corpus: Path, tmp_path: Path) -> None:
    weights = [
        trained(config(corpus, tmp_path / str(weight), 1, pitch_weight=weight)).objective.networks["autoencoder"]
        for weight in (0.0, 5.0)
    ]
    without = trained(config(corpus, tmp_path / "without", 1, pitch_of=None)).objective.networks["autoencoder"]
    same, other = (
        all(torch.equal(value, without.state_dict()[key]) for key, value in network.state_dict().items())
        for network in weights
    )
    assert same and not other


def test_pitch_of_needs_a_vocoder_with_a_pitch_head(corpus: Path, tmp_path: Path) -> None:
    size = GeneratorSize((16, 16), (16, 16), 8, (3,), ((1,),))
    hifigan_generator(MEL_24K, size).save_pretrained(tmp_path / "hifigan")
    GriffinLim(MEL_24K.to_dict()).save_pretrained(tmp_path / "griffin-lim")
    tiny(MEL_16K_EXVO).save_pretrained(tmp_path / "16k")
    for name, words in (
        ("hifigan", "hifigan is a SpeechT5HifiGan, which has no pitch head; give the folder of a source-filter"),
        ("griffin-lim", "griffin-lim is a GriffinLim, which has no pitch head"),
        ("16k", "mel mismatch"),
        ("absent", r"pitch_of: there is no folder .*absent; train a source-filter vocoder"),
    ):
        with pytest.raises(VocalgenError, match=words) as refused:
            AutoencoderObjective(config(corpus, tmp_path / "run", 1, pitch_of=str(tmp_path / name)))
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()
