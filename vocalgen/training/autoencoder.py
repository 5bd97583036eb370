"""Objective of the mel autoencoder: L1, small KL, and late in the run a light patch discriminator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from vocalgen.data import WaveWindows
from vocalgen.errors import VocalgenError
from vocalgen.float32 import normal
from vocalgen.generation.loading import load_part, load_vocoder
from vocalgen.mel import LogMel, MelConfig
from vocalgen.models.autoencoder import MelAutoencoder, PatchDiscriminator
from vocalgen.models.griffin_lim import griffin_lim
from vocalgen.models.source_filter import SourceFilterVocoder
from vocalgen.training.entry import DataConfig
from vocalgen.training.loop_config import LoopConfig
from vocalgen.training.objective import Objective
from vocalgen.training.record import Previews


@dataclass(frozen=True)
class AutoencoderModel:
    """Sizes, see `MelAutoencoder`."""

    latent_dim: int = 32
    widths: tuple[int, ...] = (128, 256, 384)
    depths: tuple[int, ...] = (1, 2, 3)
    expansion: int = 3


@dataclass(frozen=True)
class AutoencoderConfig:
    """Configuration of `recipes/train_autoencoder.py`.

    Args:
        kl_weight: weight of the mean KL divergence a latent value.
        adversarial_weight: weight of the least-squares adversarial loss (arXiv 1611.04076).
        feature_weight: weight of the feature-matching loss, active with the adversarial one.
        adversarial_start: first step with the discriminator.
        decoder_of: folder of a trained autoencoder whose decoder is trained further; its encoder and the statistics of
            its latents stay, so that generators trained on them stay valid. None trains both from nothing.
        pitch_of: folder of a trained `SourceFilterVocoder` whose frozen pitch head compares true and decoded log-mels.
        pitch_weight: weight of that pitch loss, see `SourceFilterVocoder.pitch_distance`.
    """

    data: DataConfig
    loop: LoopConfig
    mel: MelConfig = field(default_factory=MelConfig)
    model: AutoencoderModel = field(default_factory=AutoencoderModel)
    learning_rate: float = 1e-3
    discriminator_learning_rate: float = 3e-4
    kl_weight: float = 3e-3
    adversarial_weight: float = 0.02
    feature_weight: float = 0.05
    adversarial_start: int = 1_000_000_000
    decoder_of: str | None = None
    pitch_of: str | None = None
    pitch_weight: float = 0.05


class AutoencoderObjective(Objective):
    """Trains `MelAutoencoder` on random crops."""

    averaged = ("autoencoder",)

    def __init__(self, config: AutoencoderConfig) -> None:
        self.config = config
        self.cache = config.data.open(config.mel)
        self.indices = self.cache.select(config.data.split)
        samples = config.data.frames * config.mel.hop_length
        self.dataset = WaveWindows(self.cache, samples, "crop", config.data.gain_db)
        torch.manual_seed(config.loop.seed)
        autoencoder = self._autoencoder()
        discriminator = PatchDiscriminator()
        self.log_mel = LogMel(config.mel)
        self.pitch_reader = None if config.pitch_of is None else self._pitch_reader(config.pitch_of)
        self.networks = {"autoencoder": autoencoder, "discriminator": discriminator}
        self.optimizers = {
            "autoencoder": torch.optim.AdamW(
                [p for p in autoencoder.parameters() if p.requires_grad],
                config.learning_rate,
                betas=(0.8, 0.99),
                weight_decay=1e-3,
            ),
            "discriminator": torch.optim.AdamW(
                discriminator.parameters(), config.discriminator_learning_rate, betas=(0.5, 0.9), weight_decay=1e-3
            ),
        }

    def forward_once(self) -> None:
        """One clip through the network, for counting."""
        self.networks["autoencoder"](torch.zeros(1, self.config.mel.n_mels, self.config.data.frames))

    def step(self, batch: dict[str, Tensor], step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """One step on {wave (B, samples)}."""
        config = self.config
        mel = self.log_mel.to(batch["wave"].device)(batch["wave"])
        shape = (len(mel), mel.shape[-1] // self.plain("autoencoder").downsampling, config.model.latent_dim)
        noise = normal(*shape, generator=generator)
        output, mean, log_variance = self.networks["autoencoder"](mel, noise)
        l1 = (output - mel).abs().mean()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        loss = l1 + config.kl_weight * kl
        logs = {"l1": l1, "kl": kl}
        if self.pitch_reader is not None:
            logs["pitch"] = self.pitch_reader.to(mel.device).pitch_distance(mel, output)
            loss = loss + config.pitch_weight * logs["pitch"]
        if step >= config.adversarial_start:
            logs |= self._adversarial(mel, output, loss)
        else:
            logs["grad_norm"] = self.update("autoencoder", loss, "autoencoder")
        return logs

    def _adversarial(self, mel: Tensor, output: Tensor, loss: Tensor) -> dict[str, Tensor]:
        discriminator = self.networks["discriminator"]
        real, _ = discriminator(mel)
        fake, _ = discriminator(output.detach())
        loss_d = (real - 1).square().mean() + fake.square().mean()
        self.update("discriminator", loss_d, "discriminator")
        with torch.no_grad():
            _, targets = discriminator(mel)
        fake, features = discriminator(output)
        adversarial = (fake - 1).square().mean()
        matching = sum(
            ((f - t).abs().mean() / t.abs().mean() for f, t in zip(features, targets, strict=True)), fake.new_zeros(())
        )
        total = loss + self.config.adversarial_weight * adversarial + self.config.feature_weight * matching
        norm = self.update("autoencoder", total, "autoencoder")
        return {"grad_norm": norm, "discriminator": loss_d, "adversarial": adversarial, "matching": matching}

    def preview(self, step: int) -> Previews:
        """Four training clips beside their reconstructions."""
        (mel,) = self._windows(4)
        output, _, _ = self.average("autoencoder")(mel)
        pictures = {f"clip{i}": torch.cat([mel[i], output[i]], dim=1) for i in range(len(mel))}
        sounds = {f"clip{i}": wave for i, wave in enumerate(griffin_lim(output, self.config.mel))}
        return Previews(pictures, sounds, self.config.mel.sample_rate)

    def export(self, folder: Path) -> None:
        """Save the averaged autoencoder with the statistics of its latents."""
        average = self.average("autoencoder")
        if self.config.decoder_of is not None:
            average.save_pretrained(folder)
            return
        with torch.no_grad():
            latents = torch.cat([average.encode(part)[0].flatten(0, 1) for part in self._windows(384)])
        average.latent_mean.copy_(latents.mean(0))
        average.latent_std.copy_(latents.std(0))
        average.save_pretrained(folder)

    def _autoencoder(self) -> MelAutoencoder:
        config = self.config
        if config.decoder_of is None:
            return MelAutoencoder(config.mel.to_dict(), **asdict(config.model))
        autoencoder: MelAutoencoder = load_part(Path(config.decoder_of), "MelAutoencoder").train()
        autoencoder.front_end.require_equal(config.mel, config.decoder_of, "the configuration")
        if autoencoder.latent_dim != config.model.latent_dim:
            raise VocalgenError(
                f"decoder_of: {config.decoder_of} has {autoencoder.latent_dim} latent channels, `model` "
                f"{config.model.latent_dim}; give both the same"
            )
        autoencoder.decoder.requires_grad_(True)
        return autoencoder

    def _pitch_reader(self, folder: str) -> SourceFilterVocoder:
        if not Path(folder).is_dir():
            raise VocalgenError(
                f"pitch_of: there is no folder {folder}; train a source-filter vocoder with recipes/train_vocoder.py"
            )
        reader = load_vocoder(folder, self.config.mel)
        if not isinstance(reader, SourceFilterVocoder):
            raise VocalgenError(
                f"pitch_of: {folder} is a {type(reader).__name__}, which has no pitch head; give the folder of a "
                f"source-filter vocoder"
            )
        return reader

    def _windows(self, count: int) -> Iterator[Tensor]:
        """Log-mels of whole training clips, chosen evenly, in parts of up to 32: (B, n_mels, frames of two seconds)."""
        samples = 2 * self.config.mel.sample_rate // (16 * self.config.mel.hop_length) * 16 * self.config.mel.hop_length
        whole = WaveWindows(self.cache, samples, "start")
        chosen = self.indices[:: max(len(self.indices) // count, 1)][:count]
        device = next(self.average("autoencoder").parameters()).device
        for start in range(0, len(chosen), 32):
            waves = torch.stack([whole[(int(index), 0)]["wave"] for index in chosen[start : start + 32]])
            yield self.log_mel.to(device)(waves.to(device))
