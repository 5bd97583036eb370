"""What every vocoder is asked: log-mel to wave, whichever network does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from vocalgen.errors import VocalgenError
from vocalgen.mel import MelConfig
from vocalgen.models.griffin_lim import GriffinLim
from vocalgen.models.source_filter import SourceFilterVocoder

if TYPE_CHECKING:  # its import takes a second, and the other vocoders do without it
    from transformers import SpeechT5HifiGan

    Vocoder: TypeAlias = SpeechT5HifiGan | SourceFilterVocoder | GriffinLim


@torch.no_grad()
def vocode(vocoder: Vocoder, log_mel: Tensor) -> Tensor:
    """(B, n_mels, L) log-mel -> (B, L * hop_length) wave in [-1, 1]."""
    wave: Tensor = vocoder(log_mel.transpose(1, 2))
    return wave


def vocoder_mel(vocoder: Vocoder, name: str = "vocoder") -> MelConfig:
    """The front end stored in a vocoder's configuration.

    Raises:
        VocalgenError: there is none.
    """
    values = getattr(vocoder.config, "mel", None)
    if values is None:
        raise VocalgenError(f"{name}: its configuration names no mel front end; use a vocoder trained by vocalgen")
    return MelConfig.from_dict(values)
