"""Encoders of torchaudio: the real loading code on a tiny bundle whose weights lie in the cache of `torch.hub`."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchaudio
from torchaudio.models import wav2vec2_model, wavlm_model

from vocalgen.errors import VocalgenError
from vocalgen.recognition.encoders import load_encoder
from vocalgen.recognition.stamp import stamp_of

COMMON: dict[str, Any] = {
    "extractor_mode": "group_norm", "extractor_conv_layer_config": [(8, 10, 5), (8, 8, 5)],
    "extractor_conv_bias": False, "encoder_embed_dim": 16, "encoder_projection_dropout": 0.0,
    "encoder_pos_conv_kernel": 8, "encoder_pos_conv_groups": 2, "encoder_num_layers": 3, "encoder_num_heads": 2,
    "encoder_attention_dropout": 0.0, "encoder_ff_interm_features": 24, "encoder_ff_interm_dropout": 0.0,
    "encoder_dropout": 0.0, "encoder_layer_norm_first": False, "encoder_layer_drop": 0.0, "aux_num_out": None,
}  # fmt: skip
WAVLM = COMMON | {"encoder_num_buckets": 20, "encoder_max_distance": 50}
KINDS = {"Wav2Vec2": (wav2vec2_model, COMMON), "WavLM": (wavlm_model, WAVLM)}

RECEPTIVE = 10 + 5 * (8 - 1)
"""Samples of one frame of kernels 10 and 8 with strides 5 and 5."""

Make = Callable[..., torch.nn.Module]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Add a bundle TINY to torchaudio, with random weights where a download would have put them."""

    def made(kind: str = "Wav2Vec2", normalise: bool = False) -> torch.nn.Module:
        build, parameters = KINDS[kind]
        bundle = torchaudio.pipelines.Wav2Vec2Bundle("tiny.pth", parameters, 16_000, normalise, kind)
        monkeypatch.setattr(torchaudio.pipelines, "TINY", bundle, raising=False)
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        network = build(**parameters).eval()
        (tmp_path / "hub" / "checkpoints").mkdir(parents=True, exist_ok=True)
        torch.save(network.state_dict(), tmp_path / "hub" / "checkpoints" / "tiny.pth")
        return network

    return made


def waves(*lengths: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(0.02, 0.1, length).astype(np.float32) for length in lengths]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalise", [False, True])
def test_bundle_embedding_is_the_mean_of_a_block(kind: str, normalise: bool, make: Make) -> None:
    network = make(kind, normalise)
    clips = waves(4000, 8000)
    encoder = load_encoder("torchaudio:TINY")
    assert (encoder.name, encoder.prepare.sample_rate, encoder.emotions) == ("TINY", 16_000, None)
    found = {layer: load_encoder(f"torchaudio:TINY{layer}").score(clips) for layer in ("", "@-1", "@3", "@1", "@-3")}
    for row, clip in enumerate(clips):
        wave = (clip - clip.mean()) / np.sqrt(clip.var() + 1e-5) if normalise else clip
        with torch.no_grad():
            blocks, _ = network.extract_features(torch.from_numpy(wave)[None])
        for layer, block in (("", 2), ("@-1", 2), ("@3", 2), ("@1", 0), ("@-3", 0)):
            expected = blocks[block][0].mean(0).numpy()
            np.testing.assert_allclose(found[layer].embeddings[row], expected, atol=1e-5)
    assert found[""].embeddings.shape == (2, 16) and found[""].logits.shape == (2, 0)
    assert np.abs(found[""].embeddings[0] - found["@1"].embeddings[0]).max() > 1e-3
    assert load_encoder("torchaudio:TINY@1").name == "TINY, layer 1"


def test_bundle_takes_clips_of_any_length(make: Make) -> None:
    make()
    encoder = load_encoder("torchaudio:TINY")
    short = waves(3)[0]
    found = encoder.score([short, np.pad(short, (0, RECEPTIVE - 3))]).embeddings
    np.testing.assert_array_equal(found[0], found[1])
    assert np.isfinite(found).all() and encoder.score([]).embeddings.shape == (0, 16)


def test_bundle_checksum_and_stamp_follow_the_weights(make: Make, tmp_path: Path) -> None:
    torch.manual_seed(1)
    make()
    first = load_encoder("torchaudio:TINY").checksum, stamp_of("torchaudio:TINY")
    assert stamp_of("torchaudio:TINY@1") not in (None, first[1])
    torch.manual_seed(2)
    make()
    second = load_encoder("torchaudio:TINY").checksum, stamp_of("torchaudio:TINY")
    assert None not in first + second and first[0] != second[0] and first[1] != second[1]
    (tmp_path / "hub" / "checkpoints" / "tiny.pth").unlink()
    assert stamp_of("torchaudio:TINY") is None and stamp_of("torchaudio:NONE") is None


def test_bundle_names_and_blocks_that_do_not_exist(make: Make) -> None:
    make()
    with pytest.raises(VocalgenError, match=r"torchaudio:HUBERT: torchaudio has no such encoder; .*HUBERT_BASE"):
        load_encoder("torchaudio:HUBERT")
    for layer in (0, 4, -4):
        with pytest.raises(VocalgenError, match=rf"has no block {layer}; it has 1 to 3"):
            load_encoder(f"torchaudio:TINY@{layer}")


def test_bundle_weights_are_not_unpickled(make: Make, tmp_path: Path) -> None:
    make()

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    file = tmp_path / "hub" / "checkpoints" / "tiny.pth"
    for damaged in (pickle.dumps({"a": Trap()}, protocol=2), b"not a checkpoint"):
        file.write_bytes(damaged)
        with pytest.raises(VocalgenError, match=r"tiny\.pth does not hold the weights of torchaudio:TINY"):
            load_encoder("torchaudio:TINY")
    torch.save({"encoder.weight": torch.zeros(2)}, file)
    with pytest.raises(VocalgenError, match=r"does not hold the weights .*remove it"):
        load_encoder("torchaudio:TINY")
    assert not (tmp_path / "sprung").exists()


def test_bundle_without_a_network_says_where_the_file_belongs(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make()
    (tmp_path / "hub" / "checkpoints" / "tiny.pth").unlink()

    def unreachable(url: str, *_: Any, **__: Any) -> None:
        raise URLError(f"no route to {url}")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(VocalgenError) as caught:
        load_encoder("torchaudio:TINY")
    assert "no route to https://" in str(caught.value)
    assert f"copy tiny.pth from another machine to {tmp_path / 'hub' / 'checkpoints'}" in str(caught.value)
