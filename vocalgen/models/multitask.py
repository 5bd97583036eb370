"""One network for many outputs: Emo18, a recogniser of log-mels, or a speech encoder, and heads."""

from __future__ import annotations

from typing import Any, cast

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from vocalgen.models.classifier import Recogniser, ResidualClassifier
from vocalgen.models.emo18 import Emo18
from vocalgen.models.heads import HeadOptions, Heads, Output, Pooling, Truth
from vocalgen.models.mobilenet import MobileNetClassifier
from vocalgen.models.speech import speech_encoder

_RECOGNISERS: dict[str, type[Recogniser]] = {"residual": ResidualClassifier, "mobilenet": MobileNetClassifier}


EMBEDDING = "embedding"
"""Of `MultitaskNetwork.observe`; no output is called so."""


class MultitaskNetwork(ModelMixin, ConfigMixin):
    """An encoder of clips, every output's own view of it, and the heads.

    Args:
        encoder: `kind` and what belongs to it: `emo18` (hidden), `residual` and `mobilenet` (mel and sizes, see
            `ResidualClassifier` and `MobileNetClassifier`), `speech` (see `speech_encoder`).
        outputs: as `Output`.
        options: of the heads, as `HeadOptions`.
        prepare: how clips are to be prepared, as `data.CacheConfig`.
    """

    @register_to_config
    def __init__(
        self,
        encoder: dict[str, Any],
        outputs: tuple[dict[str, Any], ...],
        options: dict[str, Any],
        prepare: dict[str, Any],
    ) -> None:
        super().__init__()
        sizes = {key: value for key, value in encoder.items() if key != "kind"}
        self.kind: str = encoder["kind"]
        self.outputs = tuple(Output(**output) for output in outputs)
        if self.kind == "emo18":
            self.trunk: Any = _without(Emo18(("none",), **sizes), "linear")
            features = int(sizes["hidden"])
        else:
            if self.kind == "speech":
                self.trunk = speech_encoder(**sizes)
                layers, dim = int(self.trunk.layers), int(self.trunk.dim)
            else:
                network = _RECOGNISERS[self.kind](emotions=("none",), **sizes)
                layers, dim = 1, network.pool.dim
                self.trunk = _without(network, "pool", "standardise", "project", "drop", "head")
            features = 2 * dim
            self.pools = nn.ModuleDict({f"to_{output.name}": Pooling(layers, dim) for output in self.outputs})
        levels = tuple(tuple(level) for level in options.get("levels", ()))
        self.heads = Heads(self.outputs, features, HeadOptions(**{**options, "levels": levels}))

    def features(self, x: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Frames (B, T, 1600) of `emo18`, log-mels (B, n_mels, L) or waves (B, S), and each clip's own frames or
        samples (B,) -> by output (B, features)."""
        if self.kind == "emo18":
            return dict.fromkeys((output.name for output in self.outputs), self.trunk.embed(x, lengths))
        if self.kind == "speech":
            states, mask = self.trunk(x, lengths)
        else:
            sequence, mask = self.trunk.sequence(x, lengths)
            states = sequence[None]
        return {output.name: self.pools[f"to_{output.name}"](states, mask) for output in self.outputs}

    def forward(self, x: Tensor, lengths: Tensor, truth: Truth | None = None) -> dict[str, Tensor]:
        """See `features` and `Heads`."""
        return cast(dict[str, Tensor], self.heads(self.features(x, lengths), truth))

    @torch.no_grad()
    def predict(self, x: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """By output: values, probabilities of classes, years (see `Output.readout`)."""
        return self._read(self.features(x, lengths))

    @torch.no_grad()
    def observe(self, x: Tensor, lengths: Tensor, output: str) -> dict[str, Tensor]:
        """As `predict`; as `embedding` also what the head of an output makes of the clip itself (B, d)."""
        features = self.features(x, lengths)
        return {**self._read(features), EMBEDDING: self.heads.hidden[f"to_{output}"](features[output]).float()}

    def _read(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        raw = self.heads(features)
        return {output.name: output.readout(raw[output.name].float()) for output in self.outputs}


def _without(network: nn.Module, *parts: str) -> nn.Module:
    """A network less what comes after its features: weights that nothing uses stop training on several devices."""
    for part in parts:
        delattr(network, part)
    return network
