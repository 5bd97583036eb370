"""Objectives of the vocoders: mel and STFT distances, later joined by the two discriminators of HiFi-GAN."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from vocalgen.data import WaveWindows
from vocalgen.errors import VocalgenError
from vocalgen.float32 import normal, uniform
from vocalgen.generation.loading import load_part, load_vocoder
from vocalgen.mel import LogMel, MelConfig
from vocalgen.models.autoencoder import MelAutoencoder
from vocalgen.models.hifigan import (
    DiscriminatorSize,
    GeneratorSize,
    Judgement,
    WaveDiscriminator,
    apply_weight_norm,
    fold_weight_norm,
    generator_size,
    hifigan_generator,
)
from vocalgen.models.source_filter import Source, SourceFilterVocoder
from vocalgen.models.vocoder import vocode
from vocalgen.pitch import track_pitch
from vocalgen.training.entry import DataConfig
from vocalgen.training.loop_config import LoopConfig
from vocalgen.training.objective import Objective
from vocalgen.training.record import Previews
from vocalgen.training.spectral_loss import MultiResolutionSTFTLoss


@dataclass(frozen=True)
class SourceFilterModel:
    """Sizes, see `SourceFilterVocoder`."""

    dim: int = 256
    depth: int = 5
    pitch_depth: int = 2
    n_iter: int = 6


@dataclass(frozen=True)
class VocoderConfig:
    """Configuration of `recipes/train_vocoder.py`; `data.frames` is the length that is judged.

    Args:
        kind: which vocoder; `hifigan` has the sizes of `model`, `source_filter` those of `source_filter`.
        context: frames of true audio on both sides of them from which the input mel is computed too.
        autoencoder: exported `MelAutoencoder`; the generator then learns from its round trip of the true mel...
        autoencoder_share: ...in this share of the clips.
        init: exported vocoder to start from; its sizes must be those of `model`.
        weight_norm: parametrise HiFi-GAN's weights as direction times length (folded on export).
        mel_weight, stft_weight: weights of the L1 distance of log-mels (nat) and of the multi-resolution STFT loss.
        pitch_weight: weight of the source-filter vocoder's pitch loss.
        adversarial_weight, feature_weight: weights of the least-squares adversarial and feature-matching losses.
        adversarial_start: first step with the discriminators; steps before it are several times cheaper.
    """

    data: DataConfig
    loop: LoopConfig
    mel: MelConfig = field(default_factory=MelConfig)
    kind: Literal["hifigan", "source_filter"] = "hifigan"
    model: GeneratorSize = field(default_factory=GeneratorSize)
    source_filter: SourceFilterModel = field(default_factory=SourceFilterModel)
    discriminator: DiscriminatorSize = field(default_factory=DiscriminatorSize)
    context: int = 4
    autoencoder: str | None = None
    autoencoder_share: float = 1.0
    init: str | None = None
    weight_norm: bool = True
    learning_rate: float = 2e-4
    discriminator_learning_rate: float = 2e-4
    mel_weight: float = 45.0
    stft_weight: float = 1.0
    pitch_weight: float = 1.0
    adversarial_weight: float = 1.0
    feature_weight: float = 2.0
    adversarial_start: int = 0
    fft_sizes: tuple[int, ...] = (512, 1024, 2048)


def vocoder_objective(config: VocoderConfig) -> VocoderObjective:
    """The objective of `config.kind`."""
    kinds = {"hifigan": HifiganObjective, "source_filter": SourceFilterObjective}
    return kinds[config.kind](config)


class VocoderObjective(Objective):
    """Trains a vocoder on random crops with random gain."""

    averaged = ("generator",)

    def __init__(self, config: VocoderConfig) -> None:
        self.config = config
        self.cache = config.data.open(config.mel)
        self.indices = self.cache.select(config.data.split)
        window = (config.data.frames + 2 * config.context) * config.mel.hop_length
        self.dataset = WaveWindows(self.cache, window, "crop", config.data.gain_db)
        torch.manual_seed(config.loop.seed)
        generator = self.new_generator()
        discriminator = WaveDiscriminator(config.discriminator)
        self.autoencoder = None if config.autoencoder is None else self._frozen_autoencoder(config.autoencoder)
        self.log_mel = LogMel(config.mel)
        self.stft_loss = MultiResolutionSTFTLoss(config.fft_sizes)
        self.networks = {"generator": generator, "discriminator": discriminator}
        rates = {"generator": config.learning_rate, "discriminator": config.discriminator_learning_rate}
        self.optimizers = {
            name: torch.optim.AdamW(network.parameters(), rates[name], betas=(0.8, 0.99), weight_decay=0.01)
            for name, network in self.networks.items()
        }

    @abstractmethod
    def new_generator(self) -> torch.nn.Module:
        """The network to train, from nothing or from `config.init`."""

    @abstractmethod
    def render(self, wave: Tensor, mel: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Wave with context and its mel -> (the vocoder's wave without context, further weighted losses by name)."""

    def forward_once(self) -> None:
        """One clip through the generator, for counting."""
        self.networks["generator"](torch.zeros(1, self.config.data.frames, self.config.mel.n_mels))

    def step(self, batch: dict[str, Tensor], step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """One step on {wave (B, samples)}, samples being frames and context on both sides."""
        config, wave = self.config, batch["wave"]
        target = self.without_context(wave)
        log_mel, stft_loss = self.log_mel.to(wave.device), self.stft_loss.to(wave.device)
        with torch.no_grad():
            mel = self.input_mel(wave, uniform(len(wave), generator=generator))
        output, further = self.render(wave, mel, generator)
        mel_l1 = (log_mel(output) - log_mel(target)).abs().mean()
        log_magnitude, convergence = stft_loss(output, target)
        loss = config.mel_weight * mel_l1 + config.stft_weight * (log_magnitude + convergence)
        loss = loss + sum(further.values())
        logs = {"mel_l1": mel_l1, "log_magnitude": log_magnitude, "convergence": convergence, **further}
        if step >= config.adversarial_start:
            return logs | self._adversarial(target, output, loss)
        return logs | {"grad_norm": self.update("generator", loss, "generator")}

    def without_context(self, wave: Tensor) -> Tensor:
        """The judged part of (B, samples)."""
        trim = self.config.context * self.config.mel.hop_length
        return wave[:, trim : wave.shape[-1] - trim]

    def _adversarial(self, target: Tensor, output: Tensor, loss: Tensor) -> dict[str, Tensor]:
        """Update both sides from the same weights of the discriminator: true waves are judged only once."""
        config, discriminator = self.config, self.plain("discriminator")
        judged = self.networks["discriminator"](torch.cat([target, output.detach()]))
        halves = [score.chunk(2) for score, _ in judged]
        loss_d = torch.stack([(real - 1).square().mean() + fake.square().mean() for real, fake in halves]).sum()
        discriminator.requires_grad_(False)
        fakes: list[Judgement] = discriminator(output)
        discriminator.requires_grad_(True)
        adversarial = torch.stack([(score - 1).square().mean() for score, _ in fakes]).sum()
        matching = torch.stack(
            [
                (feature - both[: len(feature)].detach()).abs().mean()
                for (_, features), (_, pairs) in zip(fakes, judged, strict=True)
                for feature, both in zip(features, pairs, strict=True)
            ]
        ).sum()
        total = loss + config.adversarial_weight * adversarial + config.feature_weight * matching
        norm = self.update("generator", total, "generator")
        norm_d = self.update("discriminator", loss_d, "discriminator")
        return {
            "grad_norm": norm,
            "discriminator": loss_d,
            "discriminator_grad_norm": norm_d,
            "adversarial": adversarial,
            "matching": matching,
        }

    def preview(self, step: int) -> Previews:
        """Three training clips and what the averaged vocoder makes of them."""
        average = self.average("generator")
        waves = self._whole_clips(3).to(next(average.parameters()).device)
        mel = self.input_mel(waves)
        outputs = vocode(average, mel)
        pairs = torch.cat([self.log_mel(waves), self.log_mel(outputs)], dim=2)
        pictures = {f"clip{i}": pair for i, pair in enumerate(pairs)}
        sounds = {f"clip{i}/vocoded": wave for i, wave in enumerate(outputs)}
        sounds |= {f"clip{i}/true": wave for i, wave in enumerate(waves)}
        return Previews(pictures, sounds, self.config.mel.sample_rate)

    def clip_ids(self, batch: dict[str, Tensor]) -> list[str]:
        return [self.cache.ids[int(index)] for index in batch["index"]]

    def input_mel(self, wave: Tensor, chance: Tensor | None = None) -> Tensor:
        """(B, samples) -> the log-mel the generator gets, (B, n_mels, L); `chance` (B,) is uniform in [0, 1)."""
        mel = self.log_mel.to(wave.device)(wave)
        if self.autoencoder is None:
            return mel
        decoded = self.autoencoder.to(wave.device)(mel)[0]
        if chance is None:
            return decoded
        return torch.where(chance[:, None, None] < self.config.autoencoder_share, decoded, mel)

    def _frozen_autoencoder(self, path: str) -> MelAutoencoder:
        if not Path(path).is_dir():
            raise VocalgenError(f"no autoencoder in {path}; train one with recipes/train_autoencoder.py first")
        autoencoder: MelAutoencoder = load_part(Path(path), "MelAutoencoder")
        autoencoder.front_end.require_equal(self.config.mel, f"autoencoder {path}", "the vocoder")
        frames = self.config.data.frames + 2 * self.config.context
        if frames % autoencoder.downsampling:
            raise VocalgenError(
                f"data.frames + 2 * context = {frames} is not a multiple of the "
                f"autoencoder's {autoencoder.downsampling}"
            )
        return autoencoder

    def _whole_clips(self, count: int) -> Tensor:
        """Training clips, chosen evenly: (count, samples of two seconds)."""
        hop = self.config.mel.hop_length
        whole = WaveWindows(self.cache, 2 * self.config.mel.sample_rate // (16 * hop) * 16 * hop, "start")
        chosen = self.indices[:: max(len(self.indices) // count, 1)][:count]
        return torch.stack([whole[(int(index), 0)]["wave"] for index in chosen])


class HifiganObjective(VocoderObjective):
    """Trains `SpeechT5HifiGan`."""

    def new_generator(self) -> torch.nn.Module:
        config = self.config
        generator: torch.nn.Module = hifigan_generator(config.mel, config.model)
        if config.init is not None:
            generator = load_vocoder(config.init, config.mel).train().requires_grad_(True)
            if type(generator).__name__ != "SpeechT5HifiGan" or generator_size(generator) != config.model:
                raise VocalgenError(f"init: {config.init} is no HiFi-GAN of the sizes of `model`: {config.model}")
        if config.weight_norm:
            apply_weight_norm(generator)
        return generator

    def render(self, wave: Tensor, mel: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """HiFi-GAN needs no context: its input is cut to the judged frames."""
        mel = mel[..., self.config.context :][..., : self.config.data.frames]
        return self.networks["generator"](mel.transpose(1, 2)).float(), {}

    def export(self, folder: Path) -> None:
        """Save the averaged generator with plain weights, for `SpeechT5HifiGan.from_pretrained`."""
        fold_weight_norm(self.average("generator")).save_pretrained(folder)


class SourceFilterObjective(VocoderObjective):
    """Trains `SourceFilterVocoder`: the true pitch drives its oscillator while it learns to read it from the mel."""

    def new_generator(self) -> torch.nn.Module:
        config = self.config
        fresh = SourceFilterVocoder(config.mel.to_dict(), **asdict(config.source_filter))
        if config.init is None:
            return fresh
        generator = load_vocoder(config.init, config.mel).train().requires_grad_(True)
        if not isinstance(generator, SourceFilterVocoder) or dict(generator.config) != dict(fresh.config):
            raise VocalgenError(
                f"init: {config.init} is no source-filter vocoder of the sizes of `source_filter`: "
                f"{config.source_filter}"
            )
        return generator

    def render(self, wave: Tensor, mel: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The whole window is synthesised and its context cut off, for the first frames lack their past."""
        config, network = self.config, self.plain("generator")
        f0, periodicity = track_pitch(
            wave, config.mel.sample_rate, config.mel.hop_length, network.config.f_min, network.config.f_max
        )
        phase = 2 * torch.pi * uniform(len(wave), generator=generator)
        noise = normal(*wave.shape, generator=generator)
        output, logits = self.networks["generator"](mel.transpose(1, 2), Source(f0, periodicity, phase, noise))
        pitch = config.pitch_weight * network.pitch_loss(logits, f0, periodicity)
        return self.without_context(output), {"pitch": pitch}

    def export(self, folder: Path) -> None:
        """Save the averaged generator."""
        self.average("generator").save_pretrained(folder)
