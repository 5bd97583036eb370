"""A multi-target network at work: prepared clips in, predictions by target out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vocalgen.data import CacheConfig
from vocalgen.mel import LogMel, MelConfig, log_mels
from vocalgen.models.emo18 import frames_of
from vocalgen.models.multitask import MultitaskNetwork
from vocalgen.weights import load_strictly

BATCH = 16
"""Clips of similar length that go through a network together."""

CHUNK = 256
"""Clips whose audio is in memory together."""

Array = NDArray[np.float64]


class Listener:
    """A network with its front end; a clip's predictions do not depend on the others, up to rounding.

    Args:
        network: is put into evaluation mode, and stays on its device.
    """

    def __init__(self, network: MultitaskNetwork) -> None:
        self.network = network.eval()
        self.prepare = CacheConfig(**network.config.prepare)
        self.floor = 0.0
        self.log_mel: LogMel | None = None
        if "mel" in network.config.encoder:
            mel = MelConfig.from_dict(network.config.encoder["mel"])
            self.log_mel, self.floor = LogMel(mel), mel.log_floor

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> Listener:
        """Load an export.

        Raises:
            VocalgenError: missing, damaged or foreign files.
        """
        network: MultitaskNetwork = load_strictly(Path(folder), MultitaskNetwork.from_config)
        return cls(network.to(device))

    def inputs(self, waves: Sequence[np.ndarray]) -> list[Tensor]:
        """What the network takes of each prepared wave, time first: frames, log-mels (L, n_mels), or the wave."""
        if self.log_mel is not None:
            return [mel.T for mel in log_mels(waves, self.log_mel)]
        tensors = [torch.from_numpy(wave) for wave in waves]
        return [frames_of(wave) for wave in tensors] if self.network.kind == "emo18" else tensors

    def batch(self, inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Inputs padded and stacked as `MultitaskNetwork` takes them, and their lengths, on its device."""
        device = next(self.network.parameters()).device
        padded = pad_sequence(list(inputs), batch_first=True, padding_value=self.floor).to(device)
        lengths = torch.tensor([len(clip) for clip in inputs], device=device)
        return (padded.transpose(1, 2) if self.log_mel is not None else padded), lengths

    def predict(self, count: int, wave: Callable[[int], np.ndarray]) -> dict[str, Array]:
        """By output (count, size or 1) float64 of prepared waves (samples,), which `wave(place)` gives."""
        return self._collected(count, wave, self.network.predict)

    def observe(self, count: int, wave: Callable[[int], np.ndarray], output: str) -> dict[str, Array]:
        """`MultitaskNetwork.observe` of prepared waves, as `predict`."""
        return self._collected(count, wave, lambda x, lengths: self.network.observe(x, lengths, output))

    def _collected(
        self,
        count: int,
        wave: Callable[[int], np.ndarray],
        compute: Callable[[Tensor, Tensor], dict[str, Tensor]],
    ) -> dict[str, Array]:
        found: dict[str, Array] = {}
        self.network.eval()
        for start in range(0, count, CHUNK):
            inputs = self.inputs([wave(place) for place in range(start, min(start + CHUNK, count))])
            order = sorted(range(len(inputs)), key=lambda place: len(inputs[place]))
            for first in range(0, len(order), BATCH):
                places = order[first : first + BATCH]
                computed = compute(*self.batch([inputs[place] for place in places]))
                for name, values in computed.items():
                    found.setdefault(name, np.zeros((count, values.shape[1])))
                    found[name][[start + place for place in places]] = values.double().cpu().numpy()
        return found
