"""Speech encoders that learn: batches change no clip, and only what should learn does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_encoders import RATE, SIZES
from torch import Tensor

from vocalgen.models.speech import LowRank, SpeechEncoder, WhisperEncoder, speech_encoder
from vocalgen.recognition.encoders import load_encoder

transformers = pytest.importorskip("transformers")

WAVEFORMS = ("Wav2Vec2", "Hubert", "WavLM", "Data2VecAudio")
KINDS = (*WAVEFORMS, "Whisper")
WINDOW = 50
"""Positions of the tiny Whisper, a second."""

pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")


def speech(kind: str, tuning: Any = "frozen", **more: Any) -> SpeechEncoder:
    torch.manual_seed(0)
    sizes = WHISPER_SIZES if kind == "Whisper" else SIZES
    config = getattr(transformers, f"{kind}Config")(**sizes, **more)
    return speech_encoder(config.to_dict(), normalise=True, tuning=tuning, rank=2)


WHISPER_SIZES = {
    "d_model": 16, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "vocab_size": 20, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2, "decoder_start_token_id": 1, "max_source_positions": WINDOW, "num_mel_bins": 20,
}  # fmt: skip


def saved_whisper(folder: Path) -> Path:
    """A Whisper with its feature extractor, both of a window of a second."""
    torch.manual_seed(0)
    transformers.WhisperModel(transformers.WhisperConfig(**WHISPER_SIZES)).save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=20, chunk_length=1).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("kind", "more"),
    [(kind, {"feat_extract_norm": norm}) for kind in WAVEFORMS[:3] for norm in ("group", "layer")]
    + [("Data2VecAudio", {}), ("Whisper", {})],
)
def test_company_changes_no_clip(kind: str, more: dict[str, Any]) -> None:
    """Group normalisation hears padding in the library's own batches; here nothing does."""
    encoder = speech(kind, **more).eval()
    waves, samples = 0.1 * torch.randn(3, 8000), torch.tensor([3000, 8000, 70])
    states, mask = encoder(waves, samples)
    assert states.shape[0] == encoder.layers == 3
    for place, count in enumerate(samples.tolist()):
        alone, own = encoder(waves[place : place + 1, :count], samples[place : place + 1])
        assert int(mask[place].sum()) == own.shape[1] == alone.shape[2]
        torch.testing.assert_close(alone[:, 0], states[:, place, : alone.shape[2]], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", WAVEFORMS)
def test_layers_are_those_of_transformers(kind: str) -> None:
    encoder, wave = speech(kind).eval(), torch.randn(8000)
    states, _ = encoder(wave[None], torch.tensor([8000]))
    normal = (wave - wave.mean()) / (wave.var(unbiased=False) + 1e-7).sqrt()
    official = encoder.network(normal[None], output_hidden_states=True).hidden_states
    for layer in range(3):
        torch.testing.assert_close(states[layer, 0], official[layer][0], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_lora_starts_as_the_frozen_network_and_learns_alone(kind: str) -> None:
    frozen, lora = speech(kind).train(), speech(kind, "lora").train()
    lora.load_pretrained(frozen.network.state_dict())
    waves, samples = torch.randn(2, 4000), torch.tensor([4000, 2500])
    states, _ = lora(waves, samples)
    torch.testing.assert_close(states, frozen(waves, samples)[0])
    states.square().sum().backward()
    learnt = {name for name, value in lora.named_parameters() if value.grad is not None}
    assert learnt and all(name.endswith((".down", ".up")) for name in learnt)
    assert learnt == {name for name, value in lora.named_parameters() if value.requires_grad}
    assert len(learnt) == 2 * 4 * 2  # of two layers' four projections, two matrices each
    assert not [name for name, value in frozen.named_parameters() if value.requires_grad]
    for module in (module for module in lora.modules() if isinstance(module, LowRank)):
        assert module.up.grad is not None and module.up.grad.any()
        torch.nn.init.normal_(module.up)
    assert (lora(waves, samples)[0][1:] - states[1:]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", [*KINDS, "Wav2Vec2 with stable normalisation"])
def test_a_whole_encoder_learns_but_its_convolutions(kind: str) -> None:
    kind, _, stable = kind.partition(" ")
    encoder = speech(kind, "full", **({"do_stable_layer_norm": True} if stable else {})).train()
    states, _ = encoder(torch.randn(2, 4000), torch.tensor([4000, 2500]))
    states.square().sum().backward()
    wanted = {name for name, value in encoder.named_parameters() if value.requires_grad}
    assert wanted == {name for name, value in encoder.named_parameters() if value.grad is not None}
    fixed = ("feature_extractor", "network.conv", "embed_positions")
    assert not any(part in name for name in wanted for part in fixed) and len(wanted) > 20


def test_other_encoders_are_refused() -> None:
    with pytest.raises(ValueError, match=r"an encoder clap cannot be used; take one of wav2vec2, .*, whisper"):
        speech_encoder({"model_type": "clap"}, False)


# Whisper, which transcribes windows of thirty seconds, here one.


def noise(samples: int, silence: int = 0) -> Tensor:
    """Noise with silence behind it."""
    return torch.nn.functional.pad(0.1 * torch.randn(samples - silence), (0, silence))


@pytest.fixture
def window(tmp_path: Path) -> tuple[WhisperEncoder, Any]:
    """The encoder, and transformers' own with its extractor."""
    published = load_encoder(str(saved_whisper(tmp_path / "whisper")))
    encoder = speech("Whisper").eval()
    encoder.load_pretrained(published.network.state_dict())  # type: ignore[attr-defined]
    assert isinstance(encoder, WhisperEncoder)
    return encoder, published


@pytest.mark.parametrize("samples", [8000, 8150, 8170, 100, 15_000])
def test_whispers_frames_are_those_of_the_window(window: Any, samples: int) -> None:
    """What enters the first block of a clip's own positions, as many as its features are a mean of."""
    encoder, published = window
    wave = noise(samples)
    states, _ = encoder(wave[None], torch.tensor([samples]))
    official = official_states(published, wave)[0][: states.shape[2]]
    torch.testing.assert_close(states[0, 0], official, atol=2e-5, rtol=1e-4)
    published.layer = 0
    np.testing.assert_allclose(states[0, 0].mean(0), published.score([wave.numpy()]).embeddings[0], atol=2e-5)


def official_states(published: Any, wave: Tensor) -> list[Tensor]:
    inputs = published.extractor(wave.numpy(), sampling_rate=RATE, return_tensors="pt")
    return [state[0] for state in published.network(**inputs, output_hidden_states=True).hidden_states]


def test_whisper_of_a_full_window_is_the_published_network(window: Any) -> None:
    encoder, published = window
    wave = noise(RATE, silence=800)
    states, mask = encoder(wave[None], torch.tensor([RATE]))
    official = official_states(published, wave)
    assert int(mask.sum()) == WINDOW
    for layer in (0, 1):
        torch.testing.assert_close(states[layer, 0], official[layer], atol=2e-5, rtol=1e-4)
    last = encoder.network.layer_norm(states[2, 0])
    torch.testing.assert_close(last, official[2], atol=5e-5, rtol=1e-4)


def test_whisper_hears_the_first_window_of_longer_clips(window: Any) -> None:
    encoder, _ = window
    wave = noise(3 * RATE)
    states, mask = encoder(wave[None], torch.tensor([3 * RATE]))
    first, _ = encoder(wave[None, :RATE], torch.tensor([RATE]))
    assert int(mask.sum()) == WINDOW and torch.equal(states, first)


def test_whisper_of_silence_and_of_almost_nothing(window: Any) -> None:
    encoder, _ = window
    for wave in (torch.zeros(4000), noise(1)):
        states, mask = encoder(wave[None], torch.tensor([len(wave)]))
        assert torch.isfinite(states).all() and int(mask.sum()) == max(1, round(len(wave) / 320))
