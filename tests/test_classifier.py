"""The mel classifier: masks, padding, augmentation, training, and the scorer that loads it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from bursts import burst
from safetensors.torch import load_file
from small_corpus import EMOTIONS, MEL, RATE, classifier_values, write_corpus

from vocalgen.config import build
from vocalgen.data import StepSampler, collate
from vocalgen.errors import VocalgenError
from vocalgen.mel import LogMel, log_mels
from vocalgen.models.classifier import MelClassifier
from vocalgen.recognition.scorer import Scorer, Scores
from vocalgen.training.augment import mask
from vocalgen.training.classifier import (
    ClassifierConfig,
    ClassifierObjective,
    mixup,
    shift_bands,
    targets,
)
from vocalgen.training.loop import Trainer


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus")).parent


def small_classifier() -> MelClassifier:
    return MelClassifier(MEL.to_dict(), EMOTIONS.emotions, 4, (4, 6), (16, 24, 24), (1, 1, 1)).eval()


def trained(corpus: Path, run: Path, steps: int) -> Trainer:
    config = build(ClassifierConfig, classifier_values(corpus, run, steps), "test")
    trainer = Trainer(ClassifierObjective(config), config.loop, config)
    trainer.train()
    return trainer


@pytest.mark.parametrize("frames", [1, 5, 37, 64])
def test_embedding_does_not_depend_on_padding(frames: int) -> None:
    classifier = small_classifier()
    mel = 2 * torch.randn(2, MEL.n_mels, frames) - 6
    padded = torch.nn.functional.pad(mel, (0, 29), value=3.0)
    own = torch.full((2,), frames)
    with torch.no_grad():
        alone, together = classifier.embed(mel), classifier.embed(padded, own)
        counted = classifier.embed(padded)
    assert torch.allclose(alone, together, atol=1e-5)
    assert not torch.allclose(alone, counted, atol=1e-3)


def test_a_mel_configuration_that_was_edited_is_refused() -> None:
    edited = {**MEL.to_dict(), "hop_length": 64}
    with pytest.raises(VocalgenError, match="was edited"):
        MelClassifier(edited, EMOTIONS.emotions)


def test_log_mels_do_not_depend_on_the_batch() -> None:
    waves = [burst(1, seconds, RATE) for seconds in (0.5, 0.2, 0.31, 0.9)]
    log_mel = LogMel(MEL)
    together, alone = log_mels(waves, log_mel), [log_mels([wave], log_mel)[0] for wave in waves]
    for wave, one, other in zip(waves, together, alone):
        assert one.shape == (MEL.n_mels, -(-len(wave) // MEL.hop_length))
        assert torch.allclose(one, other, atol=1e-5)
        inner = log_mel(torch.from_numpy(wave)[None])[0][:, :-1]
        assert torch.allclose(one[:, : inner.shape[1]], inner, atol=1e-5)


def test_targets_are_distributions_and_unknown_is_zero() -> None:
    result = targets(torch.tensor([[1.0, 0.5, float("nan")], [0.0, 0.0, 1.0]]))
    assert torch.allclose(result, torch.tensor([[2 / 3, 1 / 3, 0.0], [0.0, 0.0, 1.0]]))


def test_mixup_mixes_neighbours_with_at_least_half_of_the_clip_itself() -> None:
    mel = torch.arange(64.0)[:, None, None].expand(64, 2, 3)
    frames, target = torch.arange(64), torch.eye(64)
    mixed, longest, labels = mixup(mel, frames, target, 0.2, torch.Generator().manual_seed(0))
    weights = labels.diagonal()
    assert torch.allclose(labels.sum(1), torch.ones(64))
    assert weights.min() >= 0.5
    assert 0.1 < (weights < 0.95).float().mean() < 0.6
    assert torch.allclose(mixed[1:, 0, 0], torch.arange(1.0, 64) - (1 - weights[1:]), atol=1e-4)
    assert (longest >= frames).all()
    assert mixup(mel, frames, target, 0.0, torch.Generator())[0] is mel


def test_mixup_weights_are_beta_distributed() -> None:
    one = torch.zeros(20_000, 1, 1)
    labels = torch.zeros(20_000, 2)
    labels[:, 0] = torch.arange(20_000) % 2
    _, _, mixed = mixup(one, one[:, 0, 0].long(), labels, 0.4, torch.Generator().manual_seed(0))
    weights = torch.maximum(mixed[:, 0], 1 - mixed[:, 0])
    drawn = np.random.default_rng(0).beta(0.4, 0.4, 20_000)
    expected = np.maximum(drawn, 1 - drawn)
    for share in (0.1, 0.3, 0.5, 0.7):
        assert np.quantile(weights, share) == pytest.approx(np.quantile(expected, share), abs=0.02)


def test_masks_and_shifts() -> None:
    mel = torch.randn(16, 24, 40)
    hidden = mask(mel, 2, 8, -11.0, torch.Generator().manual_seed(0)) == -11.0
    widths = hidden[:, 0].sum(1)
    assert widths.max() <= 8 < widths.sum()
    assert torch.equal(hidden.all(1), hidden.any(1))
    shifted = shift_bands(mel, 3, torch.Generator().manual_seed(0))
    moves = [
        next(s for s in range(-3, 4) if torch.equal(new[4:-4], old[4 + s : 20 + s])) for new, old in zip(shifted, mel)
    ]
    assert len(set(moves)) > 3
    assert torch.equal(shift_bands(mel, 0, torch.Generator()), mel)


def test_clips_of_a_step_depend_on_the_step_alone(corpus: Path, tmp_path: Path) -> None:
    config = build(ClassifierConfig, classifier_values(corpus, tmp_path, 1), "test")
    objective = ClassifierObjective(config)
    keys = next(iter(StepSampler(objective.indices, 6, 0, 3, 4)))
    first, second = (collate([objective.dataset[key] for key in keys]) for _ in range(2))
    assert torch.equal(first["mel"], second["mel"])
    assert first["mel"].shape == (6, MEL.n_mels, 32)
    for mel, frames in zip(first["mel"], first["frames"]):
        assert (mel[:, frames:] == np.float32(MEL.log_floor)).all()
        assert mel[:, : int(frames)].mean() > MEL.log_floor + 2


def test_resume_equals_never_having_stopped(corpus: Path, tmp_path: Path) -> None:
    trained(corpus, tmp_path / "whole", 5)
    trained(corpus, tmp_path / "parts", 2)
    trained(corpus, tmp_path / "parts", 5)
    name = "export/diffusion_pytorch_model.safetensors"
    whole, parts = load_file(tmp_path / "whole" / name), load_file(tmp_path / "parts" / name)
    assert whole.keys() == parts.keys()
    for key in whole:
        assert torch.equal(whole[key], parts[key]), key
    lines = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert 0 <= lines[-1]["validation_accuracy"] <= lines[-1]["validation_top3"] == 1
    assert lines[-1]["step"] == 5


def test_training_learns(corpus: Path, tmp_path: Path) -> None:
    trainer = trained(corpus, tmp_path / "run", 60)
    with torch.no_grad():
        figures = trainer.objective.preview(60).scalars
    assert figures["validation_accuracy"] > 0.7


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    small_classifier().save_pretrained(tmp_path / "classifier")
    return tmp_path / "classifier"


def test_scores_do_not_depend_on_the_batch(exported: Path) -> None:
    scorer = Scorer.load(exported)
    waves = [burst(i % 3, 1.0 - 0.1 * i, RATE, seed=i) for i in range(7)]
    together, alone = scorer.score(waves), scorer.score(waves, batch_size=1)
    assert together.embeddings.shape == (7, 4)
    assert together.logits.shape == (7, 3)
    assert np.allclose(together.embeddings, alone.embeddings, atol=1e-5)
    assert len(scorer.checksum) == 64
    assert scorer.emotions.emotions == EMOTIONS.emotions
    assert scorer.score([]).embeddings.shape == (0, 4)


def test_hits_count_the_highest_logits() -> None:
    logits = np.array([[0.1, 0.9, 0.5], [0.1, 0.9, 0.5], [0.7, 0.1, 0.2]])
    scores = Scores(np.zeros((3, 1)), logits)
    assert scores.hits([1, 2, 0]).tolist() == [True, False, True]
    assert scores.hits([1, 2, 1], 2).tolist() == [True, True, False]


def test_foreign_and_damaged_checkpoints_are_refused(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(VocalgenError, match="not a vocalgen checkpoint"):
        Scorer.load(tmp_path / "nothing")
    weights = exported / "diffusion_pytorch_model.safetensors"
    whole, config = weights.read_bytes(), json.loads((exported / "config.json").read_text())
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VocalgenError, match="is damaged"):
        Scorer.load(exported)
    weights.write_bytes(whole)
    (exported / "config.json").write_text(json.dumps({**config, "mel": {**config["mel"], "floor": 1e-3}}))
    with pytest.raises(VocalgenError, match="was edited"):
        Scorer.load(exported)
    (exported / "config.json").write_text(json.dumps({**config, "depths": [1, 1, 2]}))
    with pytest.raises(VocalgenError, match="belong to another network"):
        Scorer.load(exported)
