"""Objective of the HiFi-GAN vocoder: mel and STFT distances, later joined by two discriminators."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from vocalgen.data import WaveWindows
from vocalgen.errors import VocalgenError
from vocalgen.generation.loading import load_part
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
    load_vocoder,
    vocode,
)
from vocalgen.training.entry import DataConfig
from vocalgen.training.loop import LoopConfig, Objective, Previews
from vocalgen.training.spectral_loss import MultiResolutionSTFTLoss


@dataclass(frozen=True)
class VocoderConfig:
    """Configuration of `recipes/train_vocoder.py`; `data.frames` is the length the generator sees.

    Args:
        context: frames of true audio on both sides of them from which the input mel is computed too.
        autoencoder: exported `MelAutoencoder`; the generator then learns from its round trip of the true mel.
        init: exported vocoder to start from; its sizes must be those of `model`.
        weight_norm: parametrise the generator's weights as direction times length (folded on export).
        mel_weight, stft_weight: weights of the L1 distance of log-mels (nat) and of the multi-resolution STFT loss.
        adversarial_weight, feature_weight: weights of the least-squares adversarial and feature-matching losses.
        adversarial_start: first step with the discriminators; steps before it are several times cheaper.
    """

    data: DataConfig
    loop: LoopConfig
    mel: MelConfig = field(default_factory=MelConfig)
    model: GeneratorSize = field(default_factory=GeneratorSize)
    discriminator: DiscriminatorSize = field(default_factory=DiscriminatorSize)
    context: int = 4
    autoencoder: str | None = None
    init: str | None = None
    weight_norm: bool = True
    learning_rate: float = 2e-4
    discriminator_learning_rate: float = 2e-4
    mel_weight: float = 45.0
    stft_weight: float = 1.0
    adversarial_weight: float = 1.0
    feature_weight: float = 2.0
    adversarial_start: int = 0
    fft_sizes: tuple[int, ...] = (512, 1024, 2048)


class VocoderObjective(Objective):
    """Trains a HiFi-GAN generator on random crops with random gain."""

    averaged = ("generator",)

    def __init__(self, config: VocoderConfig) -> None:
        self.config = config
        self.cache = config.data.open()
        self.indices = self.cache.select(config.data.split)
        window = (config.data.frames + 2 * config.context) * config.mel.hop_length
        self.dataset = WaveWindows(self.cache, window, "crop", config.data.gain_db)
        torch.manual_seed(config.loop.seed)
        generator = hifigan_generator(config.mel, config.model)
        discriminator = WaveDiscriminator(config.discriminator)
        if config.init is not None:
            generator = self._initial(config.init)
        if config.weight_norm:
            apply_weight_norm(generator)
        self.autoencoder = None if config.autoencoder is None else self._frozen_autoencoder(config.autoencoder)
        self.log_mel = LogMel(config.mel)
        self.stft_loss = MultiResolutionSTFTLoss(config.fft_sizes)
        self.networks = {"generator": generator, "discriminator": discriminator}
        rates = {"generator": config.learning_rate, "discriminator": config.discriminator_learning_rate}
        self.optimizers = {
            name: torch.optim.AdamW(network.parameters(), rates[name], betas=(0.8, 0.99), weight_decay=0.01)
            for name, network in self.networks.items()
        }

    def forward_once(self) -> None:
        """One clip through the generator, for counting."""
        self.networks["generator"](torch.zeros(1, self.config.data.frames, self.config.mel.n_mels))

    def step(self, batch: dict[str, Tensor], step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """One step on {wave (B, samples)}, samples being frames and context on both sides."""
        config, wave = self.config, batch["wave"]
        trim = config.context * config.mel.hop_length
        target = wave[:, trim : wave.shape[-1] - trim]
        log_mel, stft_loss = self.log_mel.to(wave.device), self.stft_loss.to(wave.device)
        with torch.no_grad():
            mel = self._input(wave)[..., config.context : config.context + config.data.frames]
            target_mel = log_mel(target)
        output = self.networks["generator"](mel.transpose(1, 2)).float()
        mel_l1 = (log_mel(output) - target_mel).abs().mean()
        log_magnitude, convergence = stft_loss(output, target)
        loss = config.mel_weight * mel_l1 + config.stft_weight * (log_magnitude + convergence)
        logs = {"mel_l1": mel_l1, "log_magnitude": log_magnitude, "convergence": convergence}
        if step >= config.adversarial_start:
            return logs | self._adversarial(target, output, loss)
        return logs | {"grad_norm": self.update("generator", loss, "generator")}

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
        mel = self._input(waves)
        outputs = vocode(average, mel)
        pairs = torch.cat([self.log_mel(waves), self.log_mel(outputs)], dim=2)
        pictures = {f"clip{i}": pair for i, pair in enumerate(pairs)}
        sounds = {f"clip{i}/vocoded": wave for i, wave in enumerate(outputs)}
        sounds |= {f"clip{i}/true": wave for i, wave in enumerate(waves)}
        return Previews(pictures, sounds, self.config.mel.sample_rate)

    def export(self, folder: Path) -> None:
        """Save the averaged generator with plain weights, for `SpeechT5HifiGan.from_pretrained`."""
        fold_weight_norm(self.average("generator")).save_pretrained(folder)

    def clip_ids(self, batch: dict[str, Tensor]) -> list[str]:
        return [self.cache.ids[int(index)] for index in batch["index"]]

    def _input(self, wave: Tensor) -> Tensor:
        """(B, samples) -> the log-mel the generator gets, (B, n_mels, L)."""
        mel = self.log_mel.to(wave.device)(wave)
        if self.autoencoder is None:
            return mel
        return self.autoencoder.to(wave.device)(mel)[0]

    def _initial(self, path: str) -> torch.nn.Module:
        generator = load_vocoder(path, self.config.mel)
        if generator_size(generator) != self.config.model:
            raise VocalgenError(f"init: {path} has {generator_size(generator)}, `model` says {self.config.model}")
        return generator

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
