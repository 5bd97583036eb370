"""Emo18 with an LSTM (End2You, arXiv 1704.08619): the network behind the official Fréchet distance of ExVo-Generate."""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

SAMPLE_RATE = 16_000
"""Hz of the waves."""

FRAME = 1_600
"""Samples of a frame, 0.1 s; frames do not overlap."""

LAYERS = ((1, 64, 8, 3, 10), (64, 128, 6, 2, 8), (128, 256, 6, 2, 8))
"""Channels in and out, kernel, padding and pooling of the three convolutions."""

FEATURES = 512
"""Values a frame: what 256 channels leave at two positions, channel by channel."""

FRAMES_AT_ONCE = 8
"""Frames whose convolutions are held in memory together outside training; few stay in the processor's cache."""


class Emo18(ModelMixin, ConfigMixin):
    """Convolutions over frames of raw audio, then an LSTM over the frames.

    Tensor names are those of the official checkpoints, whose `model_state_dict` loads unchanged.

    Args:
        emotions: names of the classes in the order of the logits.
        hidden: size of the LSTM and of the embedding.
    """

    @register_to_config
    def __init__(self, emotions: tuple[str, ...], hidden: int = 256) -> None:
        super().__init__()
        self.audio_model = _Nested(model=_Nested(network=_convolutions()))
        self.rnn = _Nested(rnn=nn.LSTM(FEATURES, hidden, num_layers=2, batch_first=True))
        self.linear = nn.Linear(hidden, len(emotions))

    def embed(self, frames: Tensor, counts: Tensor) -> Tensor:
        """Top LSTM output at each clip's own last frame.

        Args:
            frames: (B, T, 1600), see `frames_of`; what lies behind a clip's own frames is ignored.
            counts: (B,) int, frames of each clip, at least one.

        Returns:
            (B, hidden).
        """
        own = torch.arange(frames.shape[1], device=frames.device) < counts[:, None].to(frames.device)
        waves = frames[own].unsqueeze(1)
        network = self.get_submodule("audio_model.model.network")
        # Batch statistics need all frames of a training batch; otherwise each frame stands for itself.
        parts = [waves] if self.training else waves.split(FRAMES_AT_ONCE)
        values = torch.cat([network(part).flatten(1) for part in parts])
        features = values.new_zeros(*frames.shape[:2], FEATURES)
        features[own] = values
        packed = pack_padded_sequence(features, counts.cpu(), batch_first=True, enforce_sorted=False)
        outputs, _ = pad_packed_sequence(self.get_submodule("rnn.rnn")(packed)[0], batch_first=True)
        return outputs[torch.arange(len(outputs), device=outputs.device), counts.to(outputs.device) - 1]

    def forward(self, frames: Tensor, counts: Tensor) -> Tensor:
        """(B, T, 1600) frames and (B,) counts -> logits (B, emotions)."""
        return self.linear(self.embed(frames, counts))


class _Nested(nn.Module):
    """Modules under the names that official checkpoints have for them."""

    def __init__(self, **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


def _convolutions() -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels_in, channels_out, kernel, padding, pool in LAYERS:
        convolution = nn.Conv1d(channels_in, channels_out, kernel, padding=padding)
        # Pooling before the monotone LeakyReLU, not after it, gives the same values for a tenth of the work.
        layers += [
            nn.Sequential(convolution, nn.BatchNorm1d(channels_out)),
            nn.Sequential(nn.MaxPool1d(pool), nn.LeakyReLU()),
        ]
    return nn.Sequential(*layers)


def frames_of(wave: Tensor) -> Tensor:
    """(samples,) at 16 kHz -> (T, 1600) frames as the official code cuts them.

    The wave is divided by its maximum (not the largest magnitude) plus the float32 epsilon, and 1 to 1600 zeros are put
    behind it: a clip of whole frames gets a silent one more.
    """
    wave = wave / (wave.max() + torch.finfo(torch.float32).eps)
    return nn.functional.pad(wave, (0, FRAME - len(wave) % FRAME)).reshape(-1, FRAME)
