"""Transformers encoders behind the interface of all scorers, tiny and random, built from configurations."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vocalgen.errors import VocalgenError
from vocalgen.recognition.encoders import load_encoder

transformers = pytest.importorskip("transformers")

RATE = 16_000
SIZES = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "conv_dim": (8, 8), "conv_kernel": (10, 8), "conv_stride": (5, 8), "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip


def waveform_encoder(kind: str, folder: Path, seed: int = 0) -> Path:
    """wav2vec 2.0 (of which voc2vec has the form), HuBERT or WavLM with its feature extractor."""
    torch.manual_seed(seed)
    network = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**SIZES))
    network.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(sampling_rate=RATE, do_normalize=True).save_pretrained(folder)
    return folder


def whisper(folder: Path) -> Path:
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        d_model=16, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=24, decoder_ffn_dim=24, vocab_size=20, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1, num_hidden_layers=2,
    )  # fmt: skip
    transformers.WhisperModel(config).save_pretrained(folder)
    transformers.WhisperFeatureExtractor().save_pretrained(folder)
    return folder


def clap(folder: Path) -> Path:
    torch.manual_seed(0)
    config = transformers.ClapConfig(
        audio_config={
            "window_size": 8, "num_mel_bins": 64, "spec_size": 256, "patch_size": 4, "patch_stride": [4, 4],
            "hidden_size": 16, "patch_embeds_hidden_size": 8, "depths": [1, 1], "num_attention_heads": [2, 2],
            "num_hidden_layers": 2, "projection_dim": 12, "enable_fusion": False,
        },
        text_config={"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
                     "vocab_size": 30, "projection_dim": 12},
        projection_dim=12,
    )  # fmt: skip
    transformers.ClapModel(config).save_pretrained(folder)
    transformers.ClapFeatureExtractor(truncation="rand_trunc").save_pretrained(folder)
    return folder


def changed(folder: Path, target: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> str:
    """A copy of a saved network with other weights."""
    shutil.copytree(folder, target)
    file = target / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})
    return str(target)


def waves(*lengths: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(0, 0.1, length).astype(np.float32) for length in lengths]


@pytest.fixture(scope="module")
def wav2vec2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return waveform_encoder("Wav2Vec2", tmp_path_factory.mktemp("encoders") / "voc2vec")


@pytest.mark.parametrize("kind", ["Wav2Vec2", "Hubert", "WavLM"])
def test_waveform_encoders(kind: str, tmp_path: Path) -> None:
    encoder = load_encoder(str(waveform_encoder(kind, tmp_path / kind)))
    assert (encoder.name, encoder.prepare.sample_rate, encoder.emotions) == (kind, RATE, None)
    scores = encoder.score(waves(4000, 8000))
    assert scores.embeddings.shape == (2, 16) and scores.logits.shape == (2, 0)
    assert scores.embeddings.dtype == np.float64 and np.isfinite(scores.embeddings).all()
    alone = encoder.score(waves(4000, 8000)[:1]).embeddings
    np.testing.assert_array_equal(scores.embeddings[:1], alone)
    assert np.abs(scores.embeddings[0] - scores.embeddings[1]).max() > 1e-4


def test_the_embedding_is_the_mean_of_the_layer(wav2vec2: Path) -> None:
    (wave,) = waves(6000)
    network = transformers.Wav2Vec2Model.from_pretrained(wav2vec2).eval()
    normal = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)
    with torch.no_grad():
        hidden = network(torch.from_numpy(normal)[None], output_hidden_states=True).hidden_states
    for name, layer in (("", -1), ("@-1", -1), ("@2", 2), ("@1", 1), ("@0", 0)):
        found = load_encoder(f"{wav2vec2}{name}").score([wave]).embeddings[0]
        np.testing.assert_allclose(found, hidden[layer][0].mean(0).numpy(), atol=1e-5)
    assert load_encoder(f"{wav2vec2}@1").name == "voc2vec, layer 1"


def test_whisper_hears_its_own_frames_only(tmp_path: Path) -> None:
    encoder: Any = load_encoder(str(whisper(tmp_path / "whisper")))
    (wave,) = waves(RATE // 2)
    (found,) = encoder.score([wave]).embeddings
    values = encoder.extractor(wave, sampling_rate=RATE, return_tensors="pt")["input_features"]
    with torch.no_grad():
        hidden = encoder.network(values).last_hidden_state[0].double().numpy()
    own = len(hidden) // 60  # half a second of thirty
    np.testing.assert_allclose(found, hidden[:own].mean(0), atol=1e-6)
    assert np.abs(found - hidden.mean(0)).max() > 1e-4


def test_clap_gives_its_own_embedding(tmp_path: Path) -> None:
    encoder = load_encoder(str(clap(tmp_path / "clap")))
    assert encoder.prepare.sample_rate == 48_000
    scores = encoder.score(waves(20_000, 30_000))
    assert scores.embeddings.shape == (2, 12)
    alone = encoder.score(waves(20_000, 30_000)[:1]).embeddings
    np.testing.assert_allclose(scores.embeddings[:1], alone, atol=1e-6)
    with pytest.raises(VocalgenError, match="leave the layer out"):
        load_encoder(f"{tmp_path / 'clap'}@1")
    (long,) = waves(600_000)
    first, second, start = encoder.score([long, long, long[:480_000]]).embeddings
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, start)


def test_any_number_of_clips_of_any_length(wav2vec2: Path) -> None:
    encoder = load_encoder(str(wav2vec2))
    assert encoder.score([]).embeddings.shape == (0, 16)
    receptive = 10 + 5 * (8 - 1)  # samples of one frame of kernels 10 and 8 with strides 5 and 8
    short = waves(3)[0]
    clips = [short, np.pad(short, (0, receptive - 3)), np.pad(short, (0, receptive - 4))]
    found = encoder.score(clips).embeddings
    np.testing.assert_array_equal(found, found[[0, 0, 0]])
    assert np.isfinite(found).all()


def test_stored_in_half_precision(wav2vec2: Path, tmp_path: Path) -> None:
    folder = changed(wav2vec2, tmp_path / "half", lambda state: {key: value.half() for key, value in state.items()})
    config = json.loads((tmp_path / "half" / "config.json").read_text())
    (tmp_path / "half" / "config.json").write_text(json.dumps({**config, "dtype": "float16"}))
    found = load_encoder(folder).score(waves(4000)).embeddings
    np.testing.assert_allclose(found, load_encoder(str(wav2vec2)).score(waves(4000)).embeddings, atol=0.01)


def test_weights_as_published(wav2vec2: Path, tmp_path: Path) -> None:
    """Published files hold weight norm under older names, a prefix, heads, and often no mask."""

    def older(state: dict[str, Tensor]) -> dict[str, Tensor]:
        names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
        del state["masked_spec_embed"]
        for new, old in names.items():
            state = {key.replace(new, old): value for key, value in state.items()}
        assert sum(key.endswith(("weight_g", "weight_v")) for key in state) == 2
        return {f"wav2vec2.{key}": value for key, value in state.items()} | {"lm_head.weight": torch.zeros(4, 16)}

    folder = changed(wav2vec2, tmp_path / "older", older)
    found = load_encoder(folder).score(waves(4000)).embeddings
    np.testing.assert_allclose(found, load_encoder(str(wav2vec2)).score(waves(4000)).embeddings, atol=1e-5)


def test_missing_misshapen_and_damaged_weights_are_refused(wav2vec2: Path, tmp_path: Path) -> None:
    def lacking(state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {key: value for key, value in state.items() if "encoder.layers.1.attention" not in key}

    def misshapen(state: dict[str, Tensor]) -> dict[str, Tensor]:
        return state | {"encoder.layer_norm.weight": torch.ones(3)}

    with pytest.raises(VocalgenError, match=r"lack 8 tensors, first encoder\.layers\.1\.attention\.k_proj\.bias"):
        load_encoder(changed(wav2vec2, tmp_path / "lacking", lacking))
    with pytest.raises(VocalgenError, match="no encoder that transformers can load"):
        load_encoder(changed(wav2vec2, tmp_path / "misshapen", misshapen))
    damaged = Path(shutil.copytree(wav2vec2, tmp_path / "damaged")) / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:5000])
    with pytest.raises(VocalgenError, match="no encoder that transformers can load"):
        load_encoder(str(damaged.parent))


def test_the_checksum_is_that_of_weights_and_preparation(wav2vec2: Path, tmp_path: Path) -> None:
    same = load_encoder(str(waveform_encoder("Wav2Vec2", tmp_path / "same"))).checksum
    other = load_encoder(str(waveform_encoder("Wav2Vec2", tmp_path / "other", seed=1))).checksum
    assert load_encoder(str(wav2vec2)).checksum == same != other
    assert load_encoder(f"{wav2vec2}@1").checksum == same
    settings = tmp_path / "same" / "preprocessor_config.json"
    settings.write_text(settings.read_text().replace('"do_normalize": true', '"do_normalize": false'))
    assert load_encoder(str(tmp_path / "same")).checksum not in (same, other)


@pytest.mark.parametrize("layer", [3, -4])
def test_a_layer_that_is_not_there(wav2vec2: Path, layer: int) -> None:
    with pytest.raises(VocalgenError, match=rf"no hidden layer {layer}; it has 0 to 2"):
        load_encoder(f"{wav2vec2}@{layer}")


def test_layers_are_those_of_transformers_encoders(wav2vec2: Path, tmp_path: Path) -> None:
    with pytest.raises(VocalgenError, match="only of transformers encoders"):
        load_encoder("emogator-classifier-24k@1")
    with pytest.raises(VocalgenError, match="no encoder; give a shipped one"):
        load_encoder(f"{tmp_path / 'nothing'}@1")
    named = shutil.copytree(wav2vec2, tmp_path / "voc2vec@1")
    whole = load_encoder(str(named))
    assert (whole.name, load_encoder(f"{named}@1").name) == ("voc2vec@1", "voc2vec@1, layer 1")


def test_pickled_weights_are_refused(wav2vec2: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    waveform_encoder("Wav2Vec2", folder)
    network = transformers.Wav2Vec2Model.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(VocalgenError, match="no encoder that transformers can load"):
        load_encoder(str(folder))


def broken(folder: Path, config: dict[str, Any] | list[int] | str | None) -> str:
    folder.mkdir()
    if config is not None:
        (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return str(folder)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (None, "no encoder; give a shipped one"),
        ({}, "no encoder that transformers can load"),
        ({"model_type": "wav2vec2"}, "no encoder that transformers can load"),
        ({"model_type": "wav2vec2", "conv_dim": "many"}, "no encoder that transformers can load"),
        ([1], "is no JSON object"),
        ({"_class_name": "MelAutoencoder"}, "is a MelAutoencoder, not an encoder"),
        ("not json", "cannot read"),
    ],
)
def test_folders_that_hold_no_encoder(config: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(VocalgenError, match=words):
        load_encoder(broken(tmp_path / "folder", config))


def test_a_name_that_nobody_has() -> None:
    with pytest.raises(VocalgenError, match=r"no encoder; give a shipped one \(.*emogator-classifier-24k"):
        load_encoder("emogator-clasifier")


def test_what_is_not_here_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def unreachable(url: str) -> None:
        asked.append(url)
        raise OSError("name not known")

    with pytest.raises(VocalgenError, match="owner/model is no folder and was not fetched before, and HF_HUB_OFFLINE"):
        load_encoder("owner/model")
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", unreachable)
    with pytest.raises(VocalgenError, match=r"the hub does not give it \(name not known\); give the folder of a copy"):
        load_encoder("owner/model@3")
    assert len(asked) == 1 and asked[0].endswith("owner/model/resolve/main/config.json")
    with pytest.raises(VocalgenError, match="/nope: no such folder, and no hub id; give the folder of an encoder"):
        load_encoder("/nope")
    assert len(asked) == 1
