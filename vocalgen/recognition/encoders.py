"""All encoders behind one interface: our classifiers, the official network, transformers, torchaudio, openSMILE."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from vocalgen.data import CacheConfig
from vocalgen.emotions import HUME10, Vocabulary, match_vocabulary
from vocalgen.errors import VocalgenError
from vocalgen.libraries import loading_failure
from vocalgen.models.emo18 import SAMPLE_RATE, Emo18, frames_of
from vocalgen.recognition.bundles import PREFIX, BundleEncoder
from vocalgen.recognition.hub import require_available
from vocalgen.recognition.log_mel import LOG_MEL, LogMelEncoder
from vocalgen.recognition.opensmile import FEATURE_SETS, OpenSmileEncoder
from vocalgen.recognition.scorer import NETWORKS, Scorer
from vocalgen.recognition.scores import Scores
from vocalgen.shipped import file_sha256, shipped_models
from vocalgen.weights import load_strictly, read_json, weights_of, weights_sha256

BATCH = 32
"""Clips that go through a network together."""

UNHEARD = ("masked_spec_embed", "text_", "logit_scale", "decoder.")
"""Tensors that a checkpoint may lack, as no clip passes them: of training, of CLAP's text, of Whisper's decoder."""


class Encoder(Protocol):
    """A measuring instrument: clips in, embeddings and, where it has a head, class scores out.

    Attributes:
        name, checksum: what reports call it by.
        prepare: how clips are to be prepared.
        emotions: classes of the logits; None without a head.
    """

    name: str
    checksum: str
    prepare: CacheConfig

    @property
    def emotions(self) -> Vocabulary | None: ...

    def score(self, waves: Sequence[np.ndarray]) -> Scores:
        """Scores of prepared waves (samples,); each clip's do not depend on the others, up to rounding."""
        ...


class OfficialEncoder:
    """Emo18 with an LSTM, which the official Fréchet distances are taken with (see `models.emo18`).

    Clips are not trimmed before the official framing, which counts silence behind a clip. Channels are averaged, as
    everywhere here (the official code puts them one behind the other).

    Args:
        network: the official weights, or our own.
        emotions: of the head.
        trained_on_trimmed: whether clips are prepared as our training clips are, not as the official code does.
    """

    def __init__(
        self,
        network: Emo18,
        name: str,
        checksum: str,
        emotions: Vocabulary,
        device: str = "cpu",
        trained_on_trimmed: bool = False,
    ) -> None:
        self.network, self.device = network.eval().to(device), device
        self.name, self.checksum, self.emotions = name, checksum, emotions
        plain = CacheConfig(sample_rate=SAMPLE_RATE)
        self.prepare = plain if trained_on_trimmed else CacheConfig(sample_rate=SAMPLE_RATE, top_db=math.inf)

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> OfficialEncoder:
        """An official checkpoint file (`model_state_dict`), read without unpickling anything but tensors.

        Raises:
            VocalgenError: not such a file, or tensors that are missing, left over or of another shape.
        """
        path = Path(path)
        try:
            stored = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for damaged and for malicious files
            reason = " ".join(str(error).split())[:160]
            raise VocalgenError(f"{path} cannot be read as an official checkpoint ({reason})") from error
        weights = stored.get("model_state_dict") if isinstance(stored, dict) else None
        if not isinstance(weights, dict):
            raise VocalgenError(f"{path} holds no `model_state_dict`; give the official ExVo checkpoint")
        head = weights.get("linear.weight")
        count = len(head) if isinstance(head, Tensor) and head.ndim == 2 else len(HUME10)
        emotions = HUME10 if count == len(HUME10) else Vocabulary("outputs", tuple(f"output {i}" for i in range(count)))
        network = Emo18(emotions.emotions)
        expected = {key: value.shape for key, value in network.state_dict().items()}
        found = {str(key): getattr(value, "shape", "no tensor") for key, value in weights.items()}
        wrong = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
        if wrong:
            what = "lacks" if wrong[0] not in found else "has another" if wrong[0] in expected else "should not have"
            raise VocalgenError(f"{path}: not the official network: {len(wrong)} tensors differ; it {what} {wrong[0]}")
        network.load_state_dict(weights)
        return cls(network, path.stem, file_sha256(path), emotions, device)

    @torch.no_grad()
    def score(self, waves: Sequence[np.ndarray]) -> Scores:
        """Scores of waves (samples,) at 16 kHz."""
        embeddings = np.zeros((len(waves), self.network.config.hidden))
        logits = np.zeros((len(waves), len(self.emotions)))
        for start in range(0, len(waves), BATCH):
            frames = [frames_of(torch.from_numpy(wave)) for wave in waves[start : start + BATCH]]
            counts = torch.tensor([len(clip) for clip in frames])
            padded = nn.utils.rnn.pad_sequence(frames, batch_first=True).to(self.device)
            embedding = self.network.embed(padded, counts)
            embeddings[start : start + BATCH] = embedding.double().cpu().numpy()
            logits[start : start + BATCH] = self.network.linear(embedding).double().cpu().numpy()
        return Scores(embeddings, logits)


class TransformersEncoder:
    """An audio encoder of transformers: wav2vec 2.0, HuBERT, WavLM, data2vec, Whisper's encoder, CLAP.

    Clips go through the network one by one: group-normalised networks change with padding, and attention over padding
    changes the others. The embedding is the mean over time of a hidden layer; of CLAP, its own audio embedding of the
    first ten seconds (its extractor would cut longer clips at random). Weights are taken as float32. One process does
    it all, with the threads of torch: each further one would hold the weights once more.

    Args:
        path: hub id or local folder.
        layer: hidden layer, -1 for the last.

    Raises:
        VocalgenError: transformers cannot load it, tensors are missing, or there is no such layer.
    """

    emotions = None

    def __init__(self, path: str, device: str = "cpu", layer: int = -1) -> None:
        require_available(path)
        from transformers import AutoFeatureExtractor, AutoModel

        try:
            self.extractor = AutoFeatureExtractor.from_pretrained(path)
            network, found = AutoModel.from_pretrained(path, use_safetensors=True, output_loading_info=True)
        except Exception as error:  # transformers raises many kinds for damaged and foreign files
            reason = " ".join(str(error).split())[:200]
            message = loading_failure(error) or f"{path}: no encoder that transformers can load ({reason})"
            raise VocalgenError(message) from error
        missing = sorted(key for key in found["missing_keys"] if not key.startswith(UNHEARD))
        if missing:  # transformers would go on with random numbers
            raise VocalgenError(f"{path}: the weights lack {len(missing)} tensors, first {missing[0]}; fetch it again")
        self.kind = network.config.model_type
        self.network: Any = (network.get_encoder() if self.kind == "whisper" else network).eval().float().to(device)
        depth = int(getattr(self.network.config, "num_hidden_layers", 0) or 0)
        if self.kind == "clap" and layer != -1:
            raise VocalgenError(f"{path}: of CLAP its own audio embedding is taken; leave the layer out")
        if depth and not -depth - 1 <= layer <= depth:
            raise VocalgenError(f"{path} has no hidden layer {layer}; it has 0 to {depth}")
        self.device, self.layer = device, layer
        self.name = Path(path).name if layer == -1 else f"{Path(path).name}, layer {layer}"
        normalised = bool(getattr(self.extractor, "do_normalize", False))
        self.checksum = weights_sha256(self.network, b"normalised" if normalised else b"")
        self.prepare = CacheConfig(sample_rate=int(self.extractor.sampling_rate))
        self.shortest = _shortest(self.network.config)

    @property
    def dim(self) -> int:
        """Dimension of the embedding."""
        config = self.network.config
        return int(config.projection_dim if self.kind == "clap" else config.hidden_size)

    @torch.no_grad()
    def score(self, waves: Sequence[np.ndarray]) -> Scores:
        """Embeddings of waves (samples,) at the encoder's rate."""
        embeddings = np.zeros((len(waves), self.dim))
        for row, wave in enumerate(waves):
            embeddings[row] = self._embed(wave)
        return Scores(embeddings, np.zeros((len(waves), 0)))

    def _embed(self, wave: np.ndarray) -> np.ndarray:
        rate = self.prepare.sample_rate
        wave = np.pad(wave, (0, max(0, self.shortest - len(wave))))
        if self.kind == "clap":
            wave = wave[: self.extractor.nb_max_samples]
        values = self.extractor(wave, sampling_rate=rate, return_tensors="pt")
        inputs = {key: value.to(self.device) for key, value in values.items() if isinstance(value, Tensor)}
        if self.kind == "clap":
            features = self.network.get_audio_features(**inputs)
            pooled = getattr(features, "pooler_output", features)
            return pooled[0].double().cpu().numpy()
        inputs.pop("attention_mask", None)
        hidden = self.network(**inputs, output_hidden_states=True).hidden_states[self.layer][0]
        if self.kind == "whisper":  # it always hears a whole window, of thirty seconds; the rest is padding
            seconds_a_frame = self.extractor.chunk_length / hidden.shape[0]
            hidden = hidden[: max(1, round(len(wave) / rate / seconds_a_frame))]
        return hidden.mean(dim=0).double().cpu().numpy()


def load_encoder(name: str, device: str = "cpu") -> Encoder:
    """Load an encoder by the name of a shipped model, an openSMILE set, `log-mel`, a folder, an official checkpoint, a
    hub id, or `torchaudio:` and the name of a bundle.

    `NAME@LAYER` is a hidden layer of an encoder of transformers or torchaudio: 0 is what enters the first block
    (transformers alone), -1 the last (default).

    Raises:
        VocalgenError: none of these, damaged, or of another kind; no such layer.
    """
    if name in FEATURE_SETS:
        return OpenSmileEncoder(name)
    if name == LOG_MEL:
        return LogMelEncoder()
    base, layer = layer_of(name)
    if base.startswith(PREFIX):
        return BundleEncoder(base.removeprefix(PREFIX), device, -1 if layer is None else layer)
    folder = shipped_models().get(base, Path(base))
    load = _own_loader(base, folder)
    if load is None:
        return TransformersEncoder(str(folder), device, -1 if layer is None else layer)
    if layer is not None:
        raise VocalgenError(f"{name}: only of transformers encoders a hidden layer can be chosen; leave @{layer} out")
    return load(folder, device)


def layer_of(name: str) -> tuple[str, int | None]:
    """`NAME@LAYER` as name and layer; a path that exists is a name as it stands."""
    base, _, layer = name.rpartition("@")
    if not base or not layer.removeprefix("-").isdecimal() or Path(name).exists():
        return name, None
    return base, int(layer)


def is_given(path: Path) -> bool:
    """Whether a path holds features that come with a corpus (see `recognition.given`): a table, or a folder of tables.

    A folder with config.json is an encoder, whatever else lies there.
    """
    if path.suffix.lower() == ".csv":
        return True
    return path.is_dir() and not (path / "config.json").is_file() and next(path.rglob("*.csv"), None) is not None


def _own_loader(name: str, folder: Path) -> Callable[[Path, str], Encoder] | None:
    """What loads an encoder of ours or the official one; None for one of transformers."""
    if is_given(folder):
        raise VocalgenError(
            f"{name} holds features of a corpus, and other clips have none there: a model that learnt from it cannot "
            f"hear audio; train one on the features of an encoder"
        )
    if folder.is_file():
        return OfficialEncoder.load
    if folder.is_dir() and (folder / "config.json").is_file():
        kind = read_json(folder / "config.json").get("_class_name")
        if kind is not None and kind not in OWN:
            raise VocalgenError(f"{folder} is a {kind}, not an encoder; give one of {', '.join(OWN)}")
        return None if kind is None else OWN[kind]
    if folder.is_dir() or name.count("/") != 1:
        known = [key for key, path in shipped_models().items() if (path / "config.json").is_file()]
        raise VocalgenError(
            f"{name}: no encoder; give a shipped one ({', '.join(known)}), {', '.join(FEATURE_SETS)}, {LOG_MEL}, "
            f"{PREFIX}WAV2VEC2_BASE or another bundle, a folder with config.json, an official checkpoint file, or a "
            f"hub id"
        )
    return None


def _own_emo18(folder: Path, device: str) -> Encoder:
    network: Emo18 = load_strictly(folder, Emo18.from_config)
    checksum = file_sha256(weights_of(folder)[0])
    emotions = match_vocabulary(tuple(network.config.emotions))
    return OfficialEncoder(network, folder.name, checksum, emotions, device, trained_on_trimmed=True)


OWN: dict[str, Callable[[Path, str], Encoder]] = {**dict.fromkeys(NETWORKS, Scorer.load), "Emo18": _own_emo18}
"""Our own exports, by the class that their config.json names."""


def _shortest(config: Any) -> int:
    """Fewest samples of which a convolutional front end makes a frame; 1 where there is none."""
    samples = 1
    for kernel, stride in zip(*(reversed(getattr(config, f"conv_{part}", ())) for part in ("kernel", "stride"))):
        samples = (samples - 1) * stride + kernel
    return int(samples)
