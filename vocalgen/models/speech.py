"""Speech encoders of transformers with all their layers, in batches that change no clip."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.rnn import pad_sequence

from vocalgen.models.classifier import mask_of

TOGETHER = ("wav2vec2", "hubert", "wavlm")
"""Encoders whose masks keep padding out of a clip's frames."""

ALONE = ("data2vec-audio",)
"""Its stacked positional convolutions let padding in: clips pass one by one."""

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")
"""Of attention, which LoRA changes."""

WHISPER = "whisper"

Tuning = Literal["frozen", "lora", "full"]


class LowRank(nn.Module):
    """LoRA (arXiv 2106.09685): adds B A to a weight (out, in), with B zero at first; alpha equals the rank."""

    def __init__(self, out: int, features: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, features) / features**0.5)
        self.up = nn.Parameter(torch.zeros(out, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """(out, in) -> (out, in)."""
        return weight + self.up @ self.down


class SpeechEncoder(nn.Module, ABC):
    """A speech encoder of transformers: all layers of every frame; a clip's do not depend on the others.

    Args:
        network: of which only `blocks` and what `learnt` names learn; frames are made of waves one by one.
        blocks: its transformer's layers.
        learnt: what learns where all does.
        tuning: what of the transformer learns: nothing; LoRA of its attention, with dropout off as in the frozen
            network; or all.
        rank: of LoRA.
    """

    together = True
    """Whether clips go through the transformer padded, not one by one."""

    def __init__(
        self, network: Any, blocks: nn.ModuleList, learnt: Sequence[nn.Module], tuning: Tuning, rank: int
    ) -> None:
        super().__init__()
        self.network, self.tuning = network.float().requires_grad_(False), tuning
        self.layers = len(blocks) + 1
        self.dim = int(network.config.hidden_size)
        if tuning == "lora":
            _add_low_rank(blocks, rank)
        elif tuning == "full":
            for part in learnt:
                part.requires_grad_(True)

    def load_pretrained(self, stored: Mapping[str, Tensor]) -> None:
        """Take over the weights of a network of the same configuration."""
        own = self.network.state_dict()
        plain = {name: name.replace(".parametrizations.weight.original", ".weight") for name in own}
        self.network.load_state_dict(
            {name: stored.get(name, stored.get(plain[name], value)) for name, value in own.items()}
        )

    def train(self, mode: bool = True) -> SpeechEncoder:
        """Dropout is for networks that learn as a whole."""
        super().train(mode)
        self.network.train(mode and self.tuning == "full")
        return self

    def forward(self, waves: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Waves (B, S), of which each clip's first `samples` (B,) are its own.

        Returns:
            (layers, B, L, dim): what enters the first block, and what leaves each; (B, L, 1) of ones and zeros.
        """
        with torch.no_grad():
            frames = [self.frames(wave[: int(count)]) for wave, count in zip(waves, samples, strict=True)]
        counts = torch.tensor([len(clip) for clip in frames], device=waves.device)
        with nullcontext() if self.tuning != "frozen" else torch.no_grad():
            if self.together:
                padded = pad_sequence(frames, batch_first=True)
                states = self.states(padded, mask_of(counts, padded.shape[1])[..., 0] > 0)
            else:
                alone = [self.states(clip[None], None)[:, 0].transpose(0, 1) for clip in frames]
                states = pad_sequence(alone, batch_first=True).permute(2, 0, 1, 3)
        return states, mask_of(counts, states.shape[2])

    @abstractmethod
    def frames(self, wave: Tensor) -> Tensor:
        """(samples,) -> (L, channels), one at least."""

    @abstractmethod
    def states(self, frames: Tensor, own: Tensor | None) -> Tensor:
        """(B, L, channels) and (B, L) of truths, or None where all are clips' own -> (layers, B, L, dim)."""


class WaveformEncoder(SpeechEncoder):
    """wav2vec 2.0 (of which voc2vec has the form), HuBERT, WavLM or data2vec.

    Convolutions take waves one by one, as group normalisation would hear their padding.

    Args:
        config: of the network, as transformers' `to_dict` gives it.
        normalise: whether it was trained on waves of mean 0 and deviation 1.
        tuning, rank: see `SpeechEncoder`.
    """

    def __init__(self, config: dict[str, Any], normalise: bool, tuning: Tuning, rank: int) -> None:
        from transformers import AutoConfig, AutoModel

        # Layers are neither left out nor masked at random: every output hears all of them.
        values = {**config, "layerdrop": 0.0, "apply_spec_augment": False, "add_adapter": False}
        network: Any = AutoModel.from_config(AutoConfig.for_model(**values))
        learnt = (network.feature_projection, network.encoder)
        super().__init__(network, network.encoder.layers, learnt, tuning, rank)
        self.together, self.normalise = config["model_type"] in TOGETHER, normalise
        if getattr(network.config, "do_stable_layer_norm", False):  # the last normalisation comes behind all layers
            network.encoder.layer_norm.requires_grad_(False)

    def frames(self, wave: Tensor) -> Tensor:
        """See `SpeechEncoder.frames`; a clip too short for a frame is filled with silence."""
        if self.normalise:
            wave = (wave - wave.mean()) / (wave.var(unbiased=False) + 1e-7).sqrt()
        wave = nn.functional.pad(wave, (0, max(0, shortest(self.network.config) - len(wave))))
        return self.network.feature_extractor(wave[None])[0].T

    def states(self, frames: Tensor, own: Tensor | None) -> Tensor:
        """See `SpeechEncoder.states`."""
        projected = self.network.feature_projection(frames)
        hidden = projected[0] if isinstance(projected, tuple) else projected
        with _heard(self.network.encoder.layers) as heard:
            self.network.encoder(hidden, attention_mask=own)
        return torch.stack(heard)


class WhisperEncoder(SpeechEncoder):
    """Whisper's encoder (arXiv 2212.04356) on frames of 20 ms, of which a clip has as many as it is long.

    Transcription fills every clip up to thirty seconds and lets all 1500 positions attend to that silence. Here the
    positions end with the clip, as in Whisper-AT (arXiv 2307.03183), which makes a clip of two seconds fifteen times
    shorter. What enters the first block is the same; deeper layers are not those of
    `recognition.encoders.TransformersEncoder`, which takes the features of the frozen network as it was trained. Of
    longer clips the first thirty seconds are heard.

    Args:
        config: of the whole network, as transformers' `to_dict` gives it.
        tuning, rank: see `SpeechEncoder`.
    """

    filters: Tensor

    def __init__(self, config: dict[str, Any], tuning: Tuning, rank: int) -> None:
        from transformers import AutoConfig, WhisperFeatureExtractor
        from transformers.models.whisper import modeling_whisper

        network: Any = modeling_whisper.WhisperEncoder(AutoConfig.for_model(**config))
        super().__init__(network, network.layers, (network.layers,), tuning, rank)
        extractor = WhisperFeatureExtractor(feature_size=network.config.num_mel_bins)
        self.n_fft, self.hop = int(extractor.n_fft), int(extractor.hop_length)
        self.register_buffer("filters", torch.from_numpy(extractor.mel_filters.T).float(), persistent=False)

    def frames(self, wave: Tensor) -> Tensor:
        """See `SpeechEncoder.frames`."""
        longest, step = int(self.network.config.max_source_positions), 2 * self.hop
        wave = wave[: longest * step]
        count = max(1, round(len(wave) / step))
        # A position more, cut off again: where the window goes on, convolutions hear silence behind the clip.
        wave = nn.functional.pad(wave, (0, (count + 1) * step + self.n_fft // 2 - len(wave)))
        mel = self._log_mel(wave)[:, : 2 * min(count + 1, longest)]
        hidden = nn.functional.gelu(self.network.conv1(mel[None]))
        return nn.functional.gelu(self.network.conv2(hidden))[0].T[:count]

    def _log_mel(self, wave: Tensor) -> Tensor:
        """(samples,) -> (mels, frames) as the network was trained on: decades, eighty decibels from the loudest on."""
        with torch.autocast(wave.device.type, enabled=False):
            window = torch.hann_window(self.n_fft, device=wave.device)
            spectrum = torch.stft(wave.float(), self.n_fft, self.hop, window=window, return_complex=True)
            decades = (self.filters @ spectrum.abs().square()).clamp(min=1e-10).log10()
            return (torch.maximum(decades, decades.max() - 8) + 4) / 4

    def states(self, frames: Tensor, own: Tensor | None) -> Tensor:
        """See `SpeechEncoder.states`."""
        from transformers.masking_utils import create_bidirectional_mask

        network = self.network
        hidden = frames + network.embed_positions.weight[: frames.shape[1]]
        heard = [nn.functional.dropout(hidden, network.config.dropout, network.training)]
        mask = create_bidirectional_mask(network.config, heard[0], own)
        for layer in network.layers:
            left = layer(heard[-1], mask)
            heard.append(left[0] if isinstance(left, tuple) else left)
        return torch.stack(heard)


def speech_encoder(config: dict[str, Any], normalise: bool, tuning: Tuning = "frozen", rank: int = 8) -> SpeechEncoder:
    """The encoder that a configuration of transformers describes; see `WaveformEncoder` and `WhisperEncoder`.

    Raises:
        ValueError: another kind of network, or sizes that do not fit.
    """
    kind = config.get("model_type")
    if kind == WHISPER:
        return WhisperEncoder(config, tuning, rank)
    if kind not in TOGETHER + ALONE:
        known = ", ".join((*TOGETHER, *ALONE, WHISPER))
        raise ValueError(f"an encoder {kind} cannot be used; take one of {known}")
    return WaveformEncoder(config, normalise, tuning, rank)


@contextmanager
def _heard(layers: nn.ModuleList) -> Iterator[list[Tensor]]:
    """What enters the first of the layers and what leaves each, when their encoder runs inside."""
    heard: list[Tensor] = []

    def catch(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if not heard:
            heard.append(inputs[0])
        heard.append(output[0] if isinstance(output, tuple) else output)

    handles = [layer.register_forward_hook(catch) for layer in layers]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def _add_low_rank(blocks: nn.Module, rank: int) -> None:
    # As a parametrisation, because WavLM reads the weights of its projections and never calls them.
    found = [module for name, module in blocks.named_modules() if name.rpartition(".")[2] in PROJECTIONS]
    for linear in found:
        if not isinstance(linear, nn.Linear):
            raise ValueError("the projections of this encoder's attention are not linear; use tuning: frozen or full")
        parametrize.register_parametrization(linear, "weight", LowRank(linear.out_features, linear.in_features, rank))


def shortest(config: Any) -> int:
    """Fewest samples of which the convolutions make a frame."""
    samples = 1
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        samples = (samples - 1) * stride + kernel
    return int(samples)
