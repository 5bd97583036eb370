"""The network of the official scores: against its description in words, and trained by the recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_corpus import EMOTIONS, PREPARE, write_corpus
from torch import Tensor, nn

from vocalgen.config import build
from vocalgen.emotions import HUME10
from vocalgen.errors import VocalgenError
from vocalgen.models.emo18 import Emo18, frames_of
from vocalgen.recognition.encoders import OfficialEncoder, load_encoder
from vocalgen.training.emo18 import Emo18Config, Emo18Objective
from vocalgen.training.loop import Trainer

State = dict[str, Tensor]


def official_state(seed: int = 0) -> State:
    """A checkpoint's tensors under the official names, with batch statistics that matter."""
    random = torch.Generator().manual_seed(seed)
    state: State = {}
    for place, (inputs, outputs, kernel) in zip((0, 2, 4), ((1, 64, 8), (64, 128, 6), (128, 256, 6)), strict=True):
        convolution, norm = (f"audio_model.model.network.{place}.{i}" for i in (0, 1))
        state[f"{convolution}.weight"] = (
            torch.randn(outputs, inputs, kernel, generator=random) / (inputs * kernel) ** 0.5
        )
        state[f"{convolution}.bias"] = 0.1 * torch.randn(outputs, generator=random)
        state[f"{norm}.weight"] = 1 + 0.5 * torch.randn(outputs, generator=random)  # some below zero
        state[f"{norm}.bias"] = 0.1 * torch.randn(outputs, generator=random)
        state[f"{norm}.running_mean"] = 0.1 * torch.randn(outputs, generator=random)
        state[f"{norm}.running_var"] = 0.5 + torch.rand(outputs, generator=random)
        state[f"{norm}.num_batches_tracked"] = torch.tensor(7)
    for layer, size in ((0, 512), (1, 256)):
        for name, shape in (
            ("weight_ih", (1024, size)),
            ("weight_hh", (1024, 256)),
            ("bias_ih", (1024,)),
            ("bias_hh", (1024,)),
        ):
            state[f"rnn.rnn.{name}_l{layer}"] = 0.1 * torch.randn(shape, generator=random)
    state["linear.weight"] = 0.1 * torch.randn(10, 256, generator=random)
    state["linear.bias"] = 0.1 * torch.randn(10, generator=random)
    return state


def described(state: State, wave: np.ndarray) -> np.ndarray:
    """The embedding of one clip as the description has it: frame by frame, LeakyReLU before the pooling."""
    x = wave / (wave.max() + np.finfo(np.float32).eps)
    x = np.concatenate([x, np.zeros(1600 - len(x) % 1600, dtype=np.float32)])
    assert len(x) // 1600 == len(wave) // 1600 + 1
    features = []
    for frame in np.split(x, len(x) // 1600):
        y = torch.from_numpy(frame)[None, None]
        for place, padding, pool in ((0, 3, 10), (2, 2, 8), (4, 2, 8)):
            name = f"audio_model.model.network.{place}"
            y = F.conv1d(y, state[f"{name}.0.weight"], state[f"{name}.0.bias"], padding=padding)
            y = (y - state[f"{name}.1.running_mean"][:, None]) / (state[f"{name}.1.running_var"][:, None] + 1e-5).sqrt()
            y = y * state[f"{name}.1.weight"][:, None] + state[f"{name}.1.bias"][:, None]
            y = F.max_pool1d(F.leaky_relu(y, 0.01), pool)
        assert y.shape == (1, 256, 2)
        features.append(y.flatten())  # channel by channel
    sequence = torch.stack(features)
    for layer in (0, 1):
        h = c = torch.zeros(256)
        outputs = []
        for row in sequence:
            gates = state[f"rnn.rnn.weight_ih_l{layer}"] @ row + state[f"rnn.rnn.bias_ih_l{layer}"]
            gates = gates + state[f"rnn.rnn.weight_hh_l{layer}"] @ h + state[f"rnn.rnn.bias_hh_l{layer}"]
            i, f, g, o = gates.split(256)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            outputs.append(h)
        sequence = torch.stack(outputs)
    return sequence[-1].double().numpy()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("official") / "exvo.pth"
    torch.save({"epoch": 3, "model_state_dict": official_state()}, path)
    return path


@pytest.fixture(scope="module")
def waves() -> list[np.ndarray]:
    """Clips of 0.4 s, of whole frames, of less than a frame; the loudest sample of the last is negative."""
    rng = np.random.default_rng(0)
    clips = [rng.normal(0, 0.1, n).astype(np.float32) for n in (6400, 4800, 900)]
    clips[2][10] = -0.9
    return clips


def test_an_official_checkpoint_gives_the_described_embedding(checkpoint: Path, waves: list[np.ndarray]) -> None:
    encoder = load_encoder(str(checkpoint))
    assert encoder.emotions == HUME10
    assert (encoder.prepare.sample_rate, encoder.prepare.top_db) == (16_000, np.inf)
    scores = encoder.score(waves)
    expected = np.stack([described(official_state(), wave) for wave in waves])
    np.testing.assert_allclose(scores.embeddings, expected, atol=2e-5)
    state = official_state()
    logits = expected @ state["linear.weight"].double().numpy().T + state["linear.bias"].double().numpy()
    np.testing.assert_allclose(scores.logits, logits, atol=2e-5)


def test_company_in_a_batch_changes_nothing(checkpoint: Path, waves: list[np.ndarray]) -> None:
    encoder = load_encoder(str(checkpoint))
    together = encoder.score(waves).embeddings
    alone = np.concatenate([encoder.score([wave]).embeddings for wave in waves])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_many_and_no_clips(checkpoint: Path, waves: list[np.ndarray]) -> None:
    encoder = load_encoder(str(checkpoint))
    many = encoder.score([waves[2]] * 32 + waves[:1])  # more than one batch
    expected = encoder.score([waves[2], waves[0]])
    np.testing.assert_allclose(many.embeddings, expected.embeddings[[0] * 32 + [1]], atol=1e-6)
    np.testing.assert_allclose(many.logits, expected.logits[[0] * 32 + [1]], atol=1e-6)
    none = encoder.score([])
    assert none.embeddings.shape == (0, 256) and none.logits.shape == (0, 10)


def test_silence_behind_a_clip_counts(checkpoint: Path, waves: list[np.ndarray]) -> None:
    encoder = load_encoder(str(checkpoint))
    longer = np.pad(waves[0], (0, 3200))
    plain, padded = encoder.score([waves[0], longer]).embeddings
    assert np.abs(plain - padded).max() > 1e-3


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (1599, 1), (1600, 2), (1601, 2), (3200, 3)])
def test_one_to_a_frame_of_zeros_are_put_behind(samples: int, frames: int) -> None:
    wave = torch.full((samples,), 0.25)
    cut = frames_of(wave)
    assert cut.shape == (frames, 1600)
    torch.testing.assert_close(cut.flatten()[:samples], torch.ones(samples))
    assert not cut.flatten()[samples:].any()


def test_the_maximum_divides_and_not_the_largest_magnitude() -> None:
    assert frames_of(torch.tensor([0.5, -1.0]))[0, :2].tolist() == pytest.approx([1.0, -2.0])


class Dangerous:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_what_is_no_official_checkpoint_is_refused(tmp_path: Path) -> None:
    def refused(stored: Any, words: str) -> None:
        path = tmp_path / "other.pth"
        torch.save(stored, path)
        with pytest.raises(VocalgenError, match=words):
            OfficialEncoder.load(path)

    state = official_state()
    lacking = {name: value for name, value in state.items() if name != "rnn.rnn.weight_hh_l1"}
    refused({"model_state_dict": lacking}, "lacks rnn.rnn.weight_hh_l1")
    refused({"model_state_dict": state | {"extra": torch.zeros(1)}}, "should not have extra")
    refused({"model_state_dict": state | {"linear.weight": torch.zeros(10, 128)}}, "has another linear.weight")
    refused({"model_state_dict": state | {"epoch": 3}}, "should not have epoch")
    refused({"model_state_dict": state | {"linear.bias": "none"}}, "has another linear.bias")
    refused(state, "no `model_state_dict`")
    refused({"model_state_dict": state, "hook": Dangerous(tmp_path / "touched")}, "cannot be read")
    assert not (tmp_path / "touched").exists()
    (tmp_path / "text.pth").write_text("not a checkpoint")
    with pytest.raises(VocalgenError, match="cannot be read"):
        OfficialEncoder.load(tmp_path / "text.pth")


def test_gradients_reach_every_tensor() -> None:
    network = Emo18(HUME10.emotions, hidden=8)
    network(torch.randn(2, 3, 1600), torch.tensor([3, 2])).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())
    assert sum(isinstance(module, nn.Conv1d) for module in network.modules()) == 3


def test_half_precision() -> None:
    network = Emo18(HUME10.emotions, hidden=8)
    frames, counts = torch.randn(2, 3, 1600), torch.tensor([3, 2])
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(frames, counts)
    torch.testing.assert_close(logits.float(), network(frames, counts), atol=0.05, rtol=0)


def test_frames_see_each_other_in_training_only() -> None:
    network = Emo18(HUME10.emotions, hidden=8)
    frames, counts = torch.randn(12, 1, 1600), torch.ones(12, dtype=torch.long)
    for training in (True, False):
        network.train(training)
        together, alone = network(frames, counts)[:11], network(frames[:11], counts[:11])
        assert torch.allclose(together, alone, atol=1e-6) is not training


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus")).parent


def configuration(corpus: Path, run: Path, steps: int, **data: Any) -> dict[str, Any]:
    return {
        "kind": "emo18",
        "data": {
            "manifest": str(corpus / "manifest.csv"),
            "cache": str(corpus / "cache-16k"),
            "frames": 6,
            "max_shift": 0.05,
            "prepare": {"sample_rate": 16_000},
            **data,
        },
        "loop": {"run": str(run), "steps": steps, "batch_size": 8, "warmup": 2, "log_every": 1, "save_every": 2,
                 "preview_every": 2},
        "hidden": 16,
        "learning_rate": 3e-3,
    }  # fmt: skip


def trained(values: dict[str, Any]) -> Trainer:
    config = build(Emo18Config, values, "test")
    trainer = Trainer(Emo18Objective(config), config.loop, config)
    trainer.train()
    return trainer


def test_training_leaves_an_encoder_and_resumes_exactly(corpus: Path, tmp_path: Path) -> None:
    whole = trained(configuration(corpus, tmp_path / "whole", 4)).objective.networks["emo18"].state_dict()
    trained(configuration(corpus, tmp_path / "halves", 2))
    halves = trained(configuration(corpus, tmp_path / "halves", 4)).objective.networks["emo18"].state_dict()
    for name, value in whole.items():
        torch.testing.assert_close(halves[name], value, rtol=0, atol=0)
    assert "validation_accuracy" in (tmp_path / "whole" / "metrics.jsonl").read_text()
    encoder = load_encoder(str(tmp_path / "whole" / "export"))
    assert encoder.emotions is not None and encoder.emotions.emotions == EMOTIONS.emotions
    assert np.isfinite(encoder.prepare.top_db)  # as it was trained
    scores = encoder.score([np.sin(np.arange(5000) / 7).astype(np.float32)])
    assert scores.embeddings.shape == (1, 16) and scores.logits.shape == (1, 3)


def test_it_learns(corpus: Path, tmp_path: Path) -> None:
    trainer = trained(configuration(corpus, tmp_path / "run", 30))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert np.mean(losses[-5:]) < 0.85 * np.mean(losses[:3])
    assert trainer.step == 30


def test_another_rate_is_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(VocalgenError, match="16000 Hz only"):
        build(Emo18Config, configuration(corpus, tmp_path, 2, prepare=PREPARE), "test")
