"""Strict and quick loading of a checkpoint folder, without the machinery of diffusers pipelines.

`VocalBurstPipeline.from_pretrained` is the door for users; the command line comes in here. Both refuse weights that do
not fit the configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vocalgen.errors import VocalgenError
from vocalgen.generation.checkpoint import family_of, read_defaults
from vocalgen.generation.diffusion import DiffusionSynthesiser
from vocalgen.generation.msggan import MSGGANSynthesiser
from vocalgen.generation.stylegan2 import StyleGAN2Synthesiser
from vocalgen.generation.synthesis import Synthesiser
from vocalgen.mel import MelConfig
from vocalgen.models.autoencoder import MelAutoencoder, MelFrames
from vocalgen.models.burst_transformer import BurstTransformer
from vocalgen.models.griffin_lim import GriffinLim
from vocalgen.models.msggan import MSGGANGenerator
from vocalgen.models.source_filter import SourceFilterVocoder
from vocalgen.models.speaker import SpeakerEncoder
from vocalgen.models.stylegan2 import StyleGAN2Generator
from vocalgen.models.transformer import MelTransformer
from vocalgen.models.vocoder import vocoder_mel
from vocalgen.weights import load_strictly, read_json


def _hifigan(config: dict[str, Any]) -> nn.Module:
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig  # a second of imports that Griffin-Lim spares

    return SpeechT5HifiGan(SpeechT5HifiGanConfig(**config))


BUILDERS: dict[str, Callable[[dict[str, Any]], nn.Module]] = {
    "MelTransformer": MelTransformer.from_config,
    "BurstTransformer": BurstTransformer.from_config,
    "SpeakerEncoder": SpeakerEncoder.from_config,
    "MelAutoencoder": MelAutoencoder.from_config,
    "MelFrames": MelFrames.from_config,
    "StyleGAN2Generator": StyleGAN2Generator.from_config,
    "MSGGANGenerator": MSGGANGenerator.from_config,
    "GriffinLim": GriffinLim.from_config,
    "SourceFilterVocoder": SourceFilterVocoder.from_config,
    "SpeechT5HifiGan": _hifigan,
}
"""Parts a checkpoint may consist of, made from their config.json."""

SYNTHESISERS: dict[str, type[Synthesiser]] = {
    "VocalBurstPipeline": DiffusionSynthesiser,
    "StyleGAN2Pipeline": StyleGAN2Synthesiser,
    "MSGGANPipeline": MSGGANSynthesiser,
}
"""By the class that model_index.json names."""

TRANSFORMERS = ("MelTransformer", "BurstTransformer")
"""Those of them that diffusion samples from."""

VOCODERS = ("SourceFilterVocoder", "SpeechT5HifiGan", "GriffinLim")
"""Those of them that turn log-mels into waves."""


def load_synthesiser(folder: Path) -> Synthesiser:
    """Load a checkpoint folder in float32 on the CPU.

    Raises:
        VocalgenError: files missing, damaged, or of another kind; parts that do not belong together.
    """
    family = family_of(folder)
    index = read_json(folder / "model_index.json")
    parts: dict[str, Any] = {}
    for name in family.parts:
        entry = index.get(name)
        kind = entry[-1] if isinstance(entry, list) and entry else None
        if kind is None and name == "autoencoder" and family.network == "generator":  # it makes log-mels itself
            parts[name] = None
            continue
        if kind not in BUILDERS:
            raise VocalgenError(f"{folder}: model_index.json says {name} is {kind}; not a vocalgen checkpoint")
        parts[name] = load_part(folder / name, kind)
    synthesiser = SYNTHESISERS[index["_class_name"]](read_defaults(folder), **parts)
    synthesiser.folder = folder
    return synthesiser


def load_part(folder: Path, kind: str) -> Any:
    """A network saved by itself, strictly: in float32, in evaluation mode and frozen.

    Args:
        folder: config.json and safetensors.
        kind: a name of `BUILDERS`.

    Raises:
        VocalgenError: files missing, damaged, or of another kind.
    """
    return load_strictly(folder, BUILDERS[kind])


def load_transformer(folder: str | Path) -> Any:
    """An exported diffusion transformer of either kind, strictly, as `load_part` does.

    Raises:
        VocalgenError: files missing, damaged, or of another network.
    """
    kind = read_json(Path(folder) / "config.json").get("_class_name")
    if kind not in TRANSFORMERS:
        raise VocalgenError(
            f"{folder}: config.json describes {kind}; a transformer is one of {', '.join(TRANSFORMERS)}"
        )
    return load_part(Path(folder), str(kind))


def load_vocoder(folder: str | Path, mel: MelConfig | None = None) -> Any:
    """An exported vocoder of any kind, strictly, as `load_part` does.

    Args:
        mel: the front end it must have been trained on; None accepts any.

    Raises:
        VocalgenError: files missing, damaged, or of no vocoder; another front end than `mel`, or none.
    """
    folder = Path(folder)
    config = read_json(folder / "config.json")
    kind = config.get("_class_name") or (config.get("architectures") or [None])[0]
    if kind not in VOCODERS:
        raise VocalgenError(f"{folder}: config.json describes {kind}; a vocoder is one of {', '.join(VOCODERS)}")
    vocoder = load_part(folder, kind)
    stored = vocoder_mel(vocoder, f"vocoder {folder}")
    if mel is not None:
        stored.require_equal(mel, f"vocoder {folder}", "the caller")
    return vocoder


def choose_device(name: str | None = None) -> torch.device:
    """A device by name; None takes a GPU where there is one.

    Raises:
        VocalgenError: no such device here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # a device that only knows shapes has no numbers to give
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = (str(error).splitlines() or ["not available"])[0]
        raise VocalgenError(f"cannot use device {name!r} ({reason}); try --device cpu") from error
    return device
