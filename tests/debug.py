"""Tiny random "debug" checkpoints, made on the fly: everything but the quality of the shipped ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import SpeechT5HifiGan

from vocalgen.emotions import EMOGATOR30
from vocalgen.generation.pipeline import StyleGAN2Pipeline, VocalBurstPipeline
from vocalgen.mel import MEL_24K, MelConfig
from vocalgen.models.autoencoder import MelAutoencoder
from vocalgen.models.burst_transformer import BurstTransformer
from vocalgen.models.hifigan import GeneratorSize, hifigan_generator
from vocalgen.models.stylegan2 import StyleGAN2Generator
from vocalgen.models.transformer import MelTransformer

LATENT, FRAMES = 4, 24
"""Latent channels and latent frames; four mel frames each: clips of at most 1.02 s."""

SAMPLING = {"steps": 3, "guidance": 2.0}
"""Default sampler settings of the debug checkpoint."""


def debug_pipeline(mel: MelConfig = MEL_24K, seed: int = 0, **preconditioning: Any) -> VocalBurstPipeline:
    """A pipeline of random weights that answers to its condition, its seed and its noise level.

    Layers that start at zero (gates, output) are filled, or every clip of a seed would be the same.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformer = MelTransformer(
            mel.to_dict(),
            EMOGATOR30.emotions,
            LATENT,
            FRAMES,
            dim=16,
            depth=1,
            heads=2,
            preconditioning=preconditioning or {"kind": "flow"},
        )
        autoencoder = MelAutoencoder(mel.to_dict(), LATENT, widths=(12, 12, 12), depths=(1, 1, 1))
        vocoder = debug_vocoder(mel)
        with torch.no_grad():
            for parameter in transformer.parameters():
                if not parameter.any():
                    parameter.normal_(0.0, 0.3)
    return VocalBurstPipeline(transformer, autoencoder, vocoder, sampling=dict(SAMPLING))


def debug_burst_pipeline(mel: MelConfig = MEL_24K, seed: int = 0) -> VocalBurstPipeline:
    """The same with a transformer of clips of their own length, up to 1.99 s; later emotions last longer."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        names = EMOGATOR30.emotions
        quantiles = tuple((0.4 + 0.04 * place, 0.5 + 0.04 * place) for place in range(len(names)))
        transformer = BurstTransformer(
            *(mel.to_dict(), names, LATENT, 48),
            **{"dim": 16, "depth": 1, "heads": 2, "voice_dim": 8, "style_dim": 4},
            preconditioning={"kind": "flow"},
            duration_quantiles=quantiles,
        )
        autoencoder = MelAutoencoder(mel.to_dict(), LATENT, widths=(12, 12, 12), depths=(1, 1, 1))
        vocoder = debug_vocoder(mel)
        with torch.no_grad():
            for parameter in transformer.parameters():
                if not parameter.any():
                    parameter.normal_(0.0, 0.3)
    return VocalBurstPipeline(transformer.eval(), autoencoder, vocoder, sampling=dict(SAMPLING))


def debug_stylegan2(mel: MelConfig = MEL_24K, seed: int = 0, **changes: Any) -> StyleGAN2Pipeline:
    """A StyleGAN2 of random weights that answers to its condition, its seed and psi; clips of 1.02 s."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sizes: dict[str, Any] = {"frames": 96, "channels": (12,), "z_dim": 8, "w_dim": 8, "mapping_depth": 2, **changes}
        generator = StyleGAN2Generator(mel.to_dict(), EMOGATOR30.emotions, **sizes).eval()
        with torch.no_grad():
            for parameter in generator.parameters():
                if not parameter.any():
                    parameter.normal_(0.0, 0.3)
            generator.measure_means()
        vocoder = debug_vocoder(mel)
    return StyleGAN2Pipeline(generator, vocoder, sampling={"psi": 0.9})


def debug_vocoder(mel: MelConfig = MEL_24K) -> SpeechT5HifiGan:
    """A random vocoder whose output is audible."""
    hop = mel.hop_length // 16
    size = GeneratorSize((16, hop), (16, hop), 8, (3,), ((1,),))
    vocoder = hifigan_generator(mel, size).eval()
    with torch.no_grad():
        vocoder.conv_post.weight.mul_(10.0)
    return vocoder


def save_debug_checkpoint(folder: Path, **options: Any) -> Path:
    """Write the debug pipeline as a checkpoint folder; returns it."""
    debug_pipeline(**options).save_pretrained(folder)
    return folder
