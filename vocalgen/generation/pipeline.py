"""VocalBurstPipeline: the generator as a diffusers pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from transformers import SpeechT5HifiGan

from vocalgen.errors import VocalgenError
from vocalgen.generation.checkpoint import DEFAULT_MODEL, resolve_checkpoint
from vocalgen.generation.settings import Sampling
from vocalgen.generation.synthesis import Synthesis, VocalBurstOutput, require_one_front_end
from vocalgen.models.autoencoder import MelAutoencoder, MelFrames
from vocalgen.models.griffin_lim import GriffinLim
from vocalgen.models.source_filter import SourceFilterVocoder
from vocalgen.models.transformer import MelTransformer
from vocalgen.weights import require_weights

__all__ = ["DEFAULT_MODEL", "Sampling", "VocalBurstOutput", "VocalBurstPipeline", "resolve_checkpoint"]


class VocalBurstPipeline(DiffusionPipeline, Synthesis):
    """Emotion -> latent diffusion -> log-mel -> vocoder -> audio.

    >>> pipe = VocalBurstPipeline.from_pretrained()  # doctest: +SKIP
    >>> pipe("awe", num_samples=4, seed=0).audio.shape  # doctest: +SKIP
    (4, 30720)

    Args:
        transformer: the denoising network.
        autoencoder: decodes its samples to log-mels.
        vocoder: log-mel to audio.
        sampling: default `Sampling` fields of this checkpoint.

    Raises:
        VocalgenError: the three parts were trained on different mel front ends.
    """

    def __init__(
        self,
        transformer: MelTransformer,
        autoencoder: MelAutoencoder | MelFrames,
        vocoder: SpeechT5HifiGan | SourceFilterVocoder | GriffinLim,
        sampling: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        require_one_front_end(transformer, autoencoder, vocoder)
        self.register_modules(transformer=transformer, autoencoder=autoencoder, vocoder=vocoder)
        self.register_to_config(sampling=sampling or {})
        self.set_progress_bar_config(disable=True)

    @classmethod
    def from_pretrained(cls, name: str | Path | None = None, **options: Any) -> VocalBurstPipeline:
        """Load a shipped model by name (default: the diffusion model of thirty emotions), a folder, or a hub id.

        Weights become float32 unless `dtype` or `torch_dtype` asks for another type; other options are those of
        `DiffusionPipeline.from_pretrained`.

        Raises:
            VocalgenError: there is no such model, or its files are damaged, incomplete or of another kind.
        """
        chosen = resolve_checkpoint(name)
        try:
            folder = Path(chosen if Path(chosen).is_dir() else cls.download(chosen, **options))
            pipeline = super().from_pretrained(str(folder), **options)
        except VocalgenError:
            raise
        except Exception as error:  # the library raises many kinds for damaged and missing files
            reason = " ".join(str(error).split())
            raise VocalgenError(
                f"cannot load a pipeline from {chosen} ({type(error).__name__}: {reason}); it is incomplete, damaged "
                f"or not a vocalgen checkpoint"
            ) from error
        if not isinstance(pipeline, cls):
            raise VocalgenError(f"{chosen} holds a {type(pipeline).__name__}, not a vocalgen pipeline")
        for part, module in pipeline.components.items():
            require_weights(folder / part, module)
        pipeline.folder = folder
        return pipeline if options.keys() & {"dtype", "torch_dtype"} else pipeline.to(torch.float32)

    @property
    def defaults(self) -> dict[str, Any]:
        """Sampler settings the checkpoint carries."""
        return dict(self.config.sampling)
