"""The generators as diffusers pipelines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from numpy.typing import NDArray
from transformers import SpeechT5HifiGan
from transformers.utils import logging as transformers_logging

from vocalgen.errors import VocalgenError
from vocalgen.float32 import float32_default
from vocalgen.generation.checkpoint import DEFAULT_MODEL, resolve_checkpoint
from vocalgen.generation.diffusion import DiffusionSynthesis, require_one_front_end
from vocalgen.generation.gan import require_front_end
from vocalgen.generation.msggan import MSGGANSynthesis
from vocalgen.generation.settings import Sampling, Truncation
from vocalgen.generation.stylegan2 import StyleGAN2Synthesis, require_autoencoder
from vocalgen.generation.synthesis import Synthesis, VocalBurstOutput
from vocalgen.libraries import loading_failure
from vocalgen.models.autoencoder import MelAutoencoder, MelFrames
from vocalgen.models.burst_transformer import BurstTransformer
from vocalgen.models.griffin_lim import GriffinLim
from vocalgen.models.msggan import MSGGANGenerator
from vocalgen.models.source_filter import SourceFilterVocoder
from vocalgen.models.stylegan2 import StyleGAN2Generator
from vocalgen.models.transformer import MelTransformer
from vocalgen.weights import read_json, require_weights

__all__ = [
    "DEFAULT_MODEL",
    "MSGGANPipeline",
    "Sampling",
    "StyleGAN2Pipeline",
    "Truncation",
    "VocalBurstOutput",
    "VocalBurstPipeline",
    "resolve_checkpoint",
]

AnyVocoder: TypeAlias = SpeechT5HifiGan | SourceFilterVocoder | GriffinLim


class BurstPipeline(DiffusionPipeline, Synthesis):
    """What the pipelines share: loading, and the settings of the checkpoint."""

    @classmethod
    @float32_default()
    def from_pretrained(cls, name: str | Path | None = None, **options: Any) -> BurstPipeline:
        """Load a shipped model by name (default: the diffusion model of thirty emotions), a folder, or a hub id.

        `VocalBurstPipeline` opens checkpoints of all families and returns the pipeline of theirs. Weights are loaded
        as float32 unless `dtype` or `torch_dtype` asks for another type; other options are those of
        `DiffusionPipeline.from_pretrained`.

        Raises:
            VocalgenError: there is no such model, or its files are damaged, incomplete or of another kind.
        """
        chosen = resolve_checkpoint(name)
        try:
            folder = Path(chosen if Path(chosen).is_dir() else cls.download(chosen, **options))
            family = PIPELINES.get(read_json(folder / "model_index.json").get("_class_name", ""), cls)
            if family is not cls and cls is VocalBurstPipeline:
                return family.from_pretrained(folder, **options)
            typed = options if options.keys() & {"dtype", "torch_dtype"} else {"dtype": torch.float32, **options}
            with _no_progress_bars():
                pipeline = super().from_pretrained(str(folder), **typed)
        except VocalgenError:
            raise
        except Exception as error:  # the library raises many kinds for damaged and missing files
            reason = " ".join(str(error).split())
            raise VocalgenError(
                loading_failure(error)
                or f"cannot load a pipeline from {chosen} ({type(error).__name__}: {reason}); it is incomplete, "
                f"damaged or not a vocalgen checkpoint"
            ) from error
        if not isinstance(pipeline, cls):
            raise VocalgenError(f"{chosen} holds a {type(pipeline).__name__}, not a {cls.__name__}")
        for part, module in pipeline.components.items():
            if isinstance(module, torch.nn.Module):
                require_weights(folder / part, module)
        pipeline.folder = folder
        return pipeline

    @property
    def components(self) -> dict[str, Any]:
        """All arguments of the class: its networks, and `sampling` with the checkpoint's default settings.

        A pipeline of the same components makes the same clips: `VocalBurstPipeline(**pipe.components)`.
        """
        return {**super().components, "sampling": self.defaults}

    @property
    def execution_device(self) -> torch.device:
        """Device on which the networks run, also while they wait on the CPU (`enable_model_cpu_offload`)."""
        return torch.device(self._execution_device)

    def waves(self, mels: torch.Tensor) -> NDArray[np.float32]:
        """See `Synthesis.waves`; networks under `enable_model_cpu_offload` then go back to the CPU."""
        waves = super().waves(mels)
        self.maybe_free_model_hooks()
        return waves

    @property
    def defaults(self) -> dict[str, Any]:
        """Settings the checkpoint carries."""
        return dict(self.config.sampling)

    def _carry(self, sampling: dict[str, Any] | None) -> None:
        self.register_to_config(sampling=sampling or {})
        self.set_progress_bar_config(disable=True)


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Load a few megabytes without the progress bars of diffusers and transformers."""
    active = [module for module in (diffusers_logging, transformers_logging) if module.is_progress_bar_enabled()]
    for module in active:
        module.disable_progress_bar()
    try:
        yield
    finally:
        for module in active:
            module.enable_progress_bar()


class VocalBurstPipeline(DiffusionSynthesis, BurstPipeline):
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

    model_cpu_offload_seq = "transformer->autoencoder->vocoder"

    def __init__(
        self,
        transformer: MelTransformer | BurstTransformer,
        autoencoder: MelAutoencoder | MelFrames,
        vocoder: AnyVocoder,
        sampling: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        require_one_front_end(transformer, autoencoder, vocoder)
        self.register_modules(transformer=transformer, autoencoder=autoencoder, vocoder=vocoder)
        self._carry(sampling)


class StyleGAN2Pipeline(StyleGAN2Synthesis, BurstPipeline):
    """Emotion -> StyleGAN2 -> log-mel -> vocoder -> audio.

    Args:
        generator: the network.
        vocoder: log-mel to audio.
        autoencoder: decodes what a generator of latents makes; None: the generator makes log-mels.
        sampling: default `Truncation` fields of this checkpoint.

    Raises:
        VocalgenError: the parts do not belong together.
    """

    _optional_components = ["autoencoder"]
    model_cpu_offload_seq = "generator->autoencoder->vocoder"

    def __init__(
        self,
        generator: StyleGAN2Generator,
        vocoder: AnyVocoder,
        autoencoder: MelAutoencoder | None = None,
        sampling: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        require_front_end(generator, vocoder)
        require_autoencoder(generator, autoencoder)
        self.register_modules(generator=generator, vocoder=vocoder, autoencoder=autoencoder)
        self._carry(sampling)


class MSGGANPipeline(MSGGANSynthesis, BurstPipeline):
    """Emotion -> its own MSG-GAN network -> log-mel -> vocoder -> audio.

    Args:
        generator: the networks.
        vocoder: log-mel to audio.
        sampling: nothing can be chosen.

    Raises:
        VocalgenError: the two were trained on different mel front ends.
    """

    model_cpu_offload_seq = "generator->vocoder"

    def __init__(self, generator: MSGGANGenerator, vocoder: AnyVocoder, sampling: dict[str, Any] | None = None) -> None:
        super().__init__()
        require_front_end(generator, vocoder)
        self.register_modules(generator=generator, vocoder=vocoder)
        self._carry(sampling)


PIPELINES: dict[str, type[BurstPipeline]] = {
    "VocalBurstPipeline": VocalBurstPipeline,
    "StyleGAN2Pipeline": StyleGAN2Pipeline,
    "MSGGANPipeline": MSGGANPipeline,
}
"""By the class that model_index.json names."""
