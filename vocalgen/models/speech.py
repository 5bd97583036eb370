"""Self-supervised speech encoders of transformers with all their layers, in batches that change no clip."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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


class SpeechEncoder(nn.Module):
    """wav2vec 2.0 (of which voc2vec has the form), HuBERT, WavLM or data2vec: all layers of every frame.

    Waves go through the convolutions one by one, as group normalisation would hear their padding. These never learn.

    Args:
        config: of the network, as transformers' `to_dict` gives it.
        normalise: whether it was trained on waves of mean 0 and deviation 1.
        tuning: what of the transformer learns: nothing; LoRA of its attention, with dropout off as in the frozen
            network; or all.
        rank: of LoRA.

    Raises:
        ValueError: another kind of network.
    """

    def __init__(self, config: dict[str, Any], normalise: bool, tuning: Tuning = "frozen", rank: int = 8) -> None:
        from transformers import AutoConfig, AutoModel

        super().__init__()
        kind = config.get("model_type")
        if kind not in TOGETHER + ALONE:
            raise ValueError(f"an encoder {kind} cannot be used; take one of {', '.join(TOGETHER + ALONE)}")
        # Layers are neither left out nor masked at random: every output hears all of them.
        values = {**config, "layerdrop": 0.0, "apply_spec_augment": False, "add_adapter": False}
        self.network: Any = AutoModel.from_config(AutoConfig.for_model(**values)).float()
        self.together, self.normalise, self.tuning = kind in TOGETHER, normalise, tuning
        self.layers = len(self.network.encoder.layers) + 1
        self.dim = int(self.network.config.hidden_size)
        self.network.requires_grad_(False)
        if tuning == "lora":
            _add_low_rank(self.network.encoder, rank)
        elif tuning == "full":
            self.network.feature_projection.requires_grad_(True)
            self.network.encoder.requires_grad_(True)
            if self.network.config.do_stable_layer_norm:  # the last normalisation comes behind all layers
                self.network.encoder.layer_norm.requires_grad_(False)

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
        with nullcontext() if self.tuning != "frozen" else torch.no_grad():
            features = [self._convolved(wave[: int(count)]) for wave, count in zip(waves, samples, strict=True)]
            counts = torch.tensor([len(clip) for clip in features], device=waves.device)
            if self.together:
                padded = pad_sequence(features, batch_first=True)
                states = self._states(padded, mask_of(counts, padded.shape[1])[..., 0] > 0)
            else:
                alone = [self._states(clip[None], None)[:, 0].transpose(0, 1) for clip in features]
                states = pad_sequence(alone, batch_first=True).permute(2, 0, 1, 3)
        return states, mask_of(counts, states.shape[2])

    @torch.no_grad()
    def _convolved(self, wave: Tensor) -> Tensor:
        """(samples,) -> (frames, channels); a clip too short for a frame is filled with silence."""
        if self.normalise:
            wave = (wave - wave.mean()) / (wave.var(unbiased=False) + 1e-7).sqrt()
        wave = nn.functional.pad(wave, (0, max(0, shortest(self.network.config) - len(wave))))
        return self.network.feature_extractor(wave[None])[0].T

    def _states(self, features: Tensor, own: Tensor | None) -> Tensor:
        """(B, L, channels) and (B, L) of truths -> (layers, B, L, dim)."""
        projected = self.network.feature_projection(features)
        hidden = projected[0] if isinstance(projected, tuple) else projected
        with _heard(self.network.encoder.layers) as heard:
            self.network.encoder(hidden, attention_mask=own)
        return torch.stack(heard)


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


def _add_low_rank(encoder: nn.Module, rank: int) -> None:
    # As a parametrisation, because WavLM reads the weights of its projections and never calls them.
    found = [module for name, module in encoder.named_modules() if name.rpartition(".")[2] in PROJECTIONS]
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
