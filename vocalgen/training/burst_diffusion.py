"""Objective of the burst transformer: flow matching on latents of variable length, conditions may be absent."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from vocalgen.data import LengthSampler, StepSampler, WaveCache
from vocalgen.errors import VocalgenError
from vocalgen.float32 import normal
from vocalgen.generation.durations import QUANTILES, draw_seconds
from vocalgen.generation.loading import load_part
from vocalgen.generation.samplers import dpmpp_2m, guided, karras_sigmas
from vocalgen.mel import MelConfig
from vocalgen.models.burst_transformer import ACOUSTICS, BurstCondition, BurstTransformer
from vocalgen.models.denoiser import levels_at, preconditioning
from vocalgen.models.griffin_lim import griffin_lim
from vocalgen.models.speaker import SpeakerEncoder
from vocalgen.noise import gaussian_noise
from vocalgen.training.burst_conditions import Dropout, TwoLevels
from vocalgen.training.burst_data import BurstClips, Variation, collate_bursts, measured_acoustics
from vocalgen.training.diffusion import PreconditioningConfig
from vocalgen.training.entry import DataConfig
from vocalgen.training.kept import groups
from vocalgen.training.latents import load_codec
from vocalgen.training.loop_config import LoopConfig
from vocalgen.training.objective import Objective
from vocalgen.training.record import Previews

logger = logging.getLogger(__name__)

LAST = "last"
"""Folder in an export with the weights that were not averaged."""


@dataclass(frozen=True)
class BurstModel:
    """Sizes, see `BurstTransformer`."""

    patch: int = 2
    dim: int = 384
    depth: int = 7
    heads: int = 6
    kernel_size: int = 5
    voice_dim: int = 64
    style_dim: int = 8


@dataclass(frozen=True)
class BurstDiffusionConfig:
    """Configuration of `recipes/train_diffusion.py` for `kind: burst`.

    Args:
        autoencoder: folder of a trained autoencoder, whose encoder stays as it is.
        speaker_encoder: folder of a trained speaker encoder; null trains without voices.
        latents: folder for the caches of latents, acoustics and voices.
        variants: encoded random gains and shifts of every clip.
        tail: seconds of silence kept behind every clip.
        max_seconds: longest clip that can be asked for.
        init: folder of an export of this recipe to go on from: weights, averages and the count of clips.
        data.frames: longest clip of the training, in mel frames; longer ones are left out.
        dropout: see `Dropout`.
        two_levels: see `TwoLevels`.
        voice_noise, style_noise: deviation of the noise on the embeddings, relative to theirs.
        validation_split: split whose loss is logged every `loop.preview_every` steps.
        validation_clips: clips of it that are used.
    """

    data: DataConfig
    loop: LoopConfig
    kind: Literal["burst"] = "burst"
    autoencoder: str | None = None
    speaker_encoder: str | None = None
    latents: str = "data/burst-latents"
    variants: int = 2
    tail: float = 0.06
    max_seconds: float = 4.0
    init: str | None = None
    mel: MelConfig = field(default_factory=MelConfig)
    model: BurstModel = field(default_factory=BurstModel)
    preconditioning: PreconditioningConfig = field(default_factory=PreconditioningConfig)
    dropout: Dropout = field(default_factory=Dropout)
    two_levels: TwoLevels = field(default_factory=TwoLevels)
    voice_noise: float = 0.3
    style_noise: float = 0.5
    learning_rate: float = 6e-4
    weight_decay: float = 0.01
    validation_split: str = "validation"
    validation_clips: int = 512

    def __post_init__(self) -> None:
        for name in ("variants", "validation_clips"):
            if getattr(self, name) < 1:
                raise VocalgenError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("tail", "voice_noise", "style_noise"):
            if not getattr(self, name) >= 0:
                raise VocalgenError(f"{name} is {getattr(self, name)}; it must not be negative")


class BurstDiffusionObjective(Objective):
    """Trains `BurstTransformer` as a denoiser."""

    averaged = ("transformer",)

    def __init__(self, config: BurstDiffusionConfig) -> None:
        self.config = config
        self.cache: WaveCache = config.data.open(config.mel)
        self.collate = partial(collate_bursts, multiple=config.model.patch)
        self.preconditioning = preconditioning(**config.preconditioning.arguments())
        self.autoencoder = load_codec(config.autoencoder, config.mel)
        self.speaker_encoder = self._speaker_encoder()
        self.indices = self._short_enough(config.data.split)
        validation = self._short_enough(config.validation_split)
        self.held_out = validation[np.unique(np.linspace(0, len(validation) - 1, config.validation_clips).astype(int))]
        self.stored = np.concatenate([self.indices, validation])
        initial = None if config.init is None else self._initial(config.init)
        torch.manual_seed(config.loop.seed)
        transformer = BurstTransformer(
            config.mel.to_dict(),
            self.cache.emotions.emotions,
            self.autoencoder.latent_dim,
            self._longest(),
            **asdict(config.model),
            preconditioning=config.preconditioning.arguments(),
            tail=config.tail,
            **self._statistics(initial),
        )
        self.started: dict[str, Any] = {"clips": 0, "hours": 0.0}
        if initial is not None:
            transformer.load_state_dict(initial.state_dict())
            self.started |= {key: (initial.config.training or {}).get(key, 0) for key in self.started}
        self.networks = {"transformer": transformer}
        plain = [p for p in transformer.parameters() if p.ndim < 2]
        matrices = [p for p in transformer.parameters() if p.ndim >= 2]
        self.optimizers = {
            "transformer": torch.optim.AdamW(
                [{"params": matrices, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}],
                config.learning_rate,
                betas=(0.9, 0.98),
            )
        }
        self.state = {"clips": torch.zeros((), dtype=torch.int64), "latents": torch.zeros((), dtype=torch.int64)}

    def training_data(self) -> BurstClips:
        """Encoded clips of both splits (encoded on first use)."""
        data, config = self.config.data, self.config
        self.clips = BurstClips(
            Path(config.latents),
            self.cache,
            self.stored,
            Variation(config.variants, data.gain_db, data.max_shift, config.tail),
            self.autoencoder,
            self.speaker_encoder,
            config.model.voice_dim,
            self.accelerator.device,
        )
        return self.clips

    def batches(self, first_step: int) -> StepSampler:
        """Batches of clips of similar length."""
        loop, accelerator = self.config.loop, self.accelerator
        return LengthSampler(
            self.indices,
            np.diff(self.cache.offsets),
            loop.batch_size,
            loop.seed,
            first_step,
            loop.steps,
            accelerator.process_index,
            accelerator.num_processes,
        )

    def forward_once(self) -> None:
        """One clip of average length through the network, for counting."""
        network = self.networks["transformer"]
        seconds = float(np.diff(self.cache.offsets)[self.indices].mean()) / self.cache.sample_rate
        mask = torch.ones(1, self._latents(seconds + self.config.tail), dtype=torch.bool)
        x = torch.zeros(1, mask.shape[1], self.autoencoder.latent_dim)
        network(x, torch.zeros(1), network.absent(mask, torch.zeros(1, len(self.cache.emotions))))  # type: ignore[operator]

    def step(self, batch: dict[str, Tensor], step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """One step on {x (B, L, C), mask (B, L), intensities (B, K), voice (B, V), acoustics (B, A)}."""
        config, clean, mask = self.config, batch["x"], batch["mask"]
        given = self._condition(self.plain("transformer"), batch, generator)
        condition = config.dropout.applied(given, generator)
        sigma, learnt = config.two_levels.levels(self.preconditioning, mask, config.model.patch, generator)
        noise = normal(*clean.shape, generator=generator)
        errors = self.preconditioning.errors(self.networks["transformer"], clean, noise, sigma, condition)
        loss = clip_means(errors, learnt).mean()
        world = self.accelerator.num_processes
        heard = {"clips": len(clean) * world, "latents": int(mask.sum()) * world}
        self.state = {name: self.state[name].cpu() + count for name, count in heard.items()}
        return {"loss": loss, "grad_norm": self.update("transformer", loss, "transformer")}

    def preview(self, step: int) -> Previews:
        """Validation losses of all averages, and one clip of the first for each of eight emotions."""
        mels = self._samples()
        sounds = {name: griffin_lim(mel[None], self.config.mel)[0] for name, mel in mels.items()}
        losses: dict[str, float] = {}
        for key in self.ema:
            suffix = key.removeprefix("transformer").replace("@", "_ema")
            losses[f"validation_loss{suffix}"] = self.validation_loss(self.average(key), conditions=False)
            losses[f"validation_loss_conditions{suffix}"] = self.validation_loss(self.average(key), conditions=True)
        return Previews(mels, sounds, self.config.mel.sample_rate, losses)

    @torch.no_grad()
    def validation_loss(self, network: BurstTransformer, conditions: bool) -> float:
        """Mean loss of held-out clips at fixed noise and noise levels.

        Args:
            network: weights to be judged.
            conditions: give all conditions; otherwise emotion and duration alone, as the default sampling does.
        """
        device = next(network.parameters()).device
        count = len(self.held_out)
        random = torch.Generator().manual_seed(0)
        share = (torch.randperm(count, generator=random) + 0.5) / count  # evenly over the levels of the training
        sigma = levels_at(torch.special.ndtri(share), self.config.preconditioning.mean, self.config.preconditioning.std)
        items = [self.clips[int(index), 0] for index in self.held_out]
        total = 0.0
        for places in groups([len(item["x"]) for item in items], 64):
            batch = {key: value.to(device) for key, value in self.collate([items[place] for place in places]).items()}
            noise = torch.stack([_noise_of(place, batch["x"].shape[1:]) for place in places]).to(device)
            condition = self._condition(network, batch, None)
            if not conditions:
                condition = without_extras(condition)
            errors = self.preconditioning.errors(network, batch["x"], noise, sigma[places].to(device), condition)
            total += float(clip_means(errors, batch["mask"]).sum())
        return total / count

    def earlier_averages(self) -> dict[str, tuple[dict[str, Tensor], int]]:
        """Averages in `init`, so that long ones need not begin anew."""
        earlier: dict[str, tuple[dict[str, Tensor], int]] = {}
        for key in self.ema if self.config.init is not None else ():
            folder = Path(str(self.config.init)) / _folder_of(key)
            if not folder.is_dir():
                logger.warning("init: %s holds no average %s; it begins with the weights", self.config.init, key)
                continue
            stored: BurstTransformer = load_part(folder, "BurstTransformer")
            earlier[key] = stored.state_dict(), int((stored.config.training or {}).get("averaged_steps", 0))
        return earlier

    def export(self, folder: Path) -> None:
        """Save the first average for use; beside it the others and the weights themselves, for going on elsewhere."""
        hop = self.config.mel.hop_length * self.autoencoder.downsampling
        history = {
            "clips": self.started["clips"] + int(self.state["clips"]),
            "hours": self.started["hours"] + float(self.state["latents"]) * hop / self.config.mel.sample_rate / 3600,
        }
        for key, average in self.ema.items():
            steps = int(average.n_averaged)
            self._save(self.average(key), folder / _folder_of(key), {**history, "averaged_steps": steps})
        self._save(self.plain("transformer"), folder / LAST, history)

    def clip_ids(self, batch: dict[str, Tensor]) -> list[str]:
        """Manifest ids of the batch."""
        return [self.cache.ids[int(index)] for index in batch["index"]]

    def _condition(
        self, network: BurstTransformer, batch: dict[str, Tensor], generator: torch.Generator | None
    ) -> BurstCondition:
        """All conditions of a batch; with a generator embeddings are noised."""
        style = network.style_of(batch["x"], batch["mask"])
        voice = batch["voice"]
        if generator is not None:
            style = style + self.config.style_noise * _normal_like(style, generator)
            scale = self.config.voice_noise * voice.shape[-1] ** -0.5
            voice = torch.nn.functional.normalize(voice + scale * _normal_like(voice, generator), dim=-1)
        condition = network.absent(batch["mask"], batch["intensities"])
        return condition._replace(voice=voice, acoustics=batch["acoustics"], style=style)

    @torch.no_grad()
    def _samples(self) -> dict[str, Tensor]:
        """Log-mels (n_mels, L) of eight emotions at their median durations, decoded one by one."""
        network = self.average("transformer")
        device = next(network.parameters()).device
        names = self.cache.emotions.emotions
        chosen = np.unique(np.linspace(0, len(names) - 1, 8).astype(int))
        intensities = torch.eye(len(names), device=device)[torch.from_numpy(chosen)]
        lengths = []
        for row in intensities.cpu():
            seconds = draw_seconds(network.config.duration_quantiles, row.tolist(), 0.5)
            lengths.append(self._latents(seconds + self.config.tail))
        mask = torch.arange(max(lengths), device=device) < torch.tensor(lengths, device=device)[:, None]
        noise = torch.stack([_noise_of(0, (max(lengths), self.autoencoder.latent_dim))] * len(chosen)).to(device)
        sigmas = karras_sigmas(16)
        denoise = guided(network, self.preconditioning, network.absent(mask, intensities), 2.0, (0.3, 8.0))
        codec = self.autoencoder.to(device)
        latents = codec.denormalise(dpmpp_2m(denoise, noise * sigmas[0], sigmas))
        decoded = [codec.decode(row[None, :length])[0] for row, length in zip(latents, lengths, strict=True)]
        floor = self.config.mel.log_floor
        return {names[index]: mel.clamp(min=floor) for index, mel in zip(chosen, decoded, strict=True)}

    def _latents(self, seconds: float) -> int:
        """Latents for a number of seconds, a multiple of the patch."""
        config, patch = self.config, self.config.model.patch
        rate = config.mel.frame_rate / self.autoencoder.downsampling
        return -(-int(np.ceil(seconds * rate)) // patch) * patch

    def _longest(self) -> int:
        """Most latents of a clip, in training or when sampling."""
        config = self.config
        trained = config.data.frames / config.mel.frame_rate + config.data.max_shift
        return self._latents(max(config.max_seconds, trained) + config.tail)

    def _short_enough(self, split: str) -> np.ndarray:
        """Clips of a split that have labels and are not longer than `data.frames`.

        Raises:
            VocalgenError: labels are missing, or all clips are too long.
        """
        indices = self.cache.select(split)
        unlabelled = np.isnan(self.cache.intensities[indices]).any(axis=1)
        if unlabelled.any():
            first = self.cache.ids[indices[np.flatnonzero(unlabelled)[0]]]
            raise VocalgenError(
                f"{int(unlabelled.sum())} clips of split {split!r} lack intensities, first {first}; fill them in the "
                f"manifest"
            )
        short = np.diff(self.cache.offsets)[indices] <= self.config.data.frames * self.config.mel.hop_length
        if not short.all():
            logger.warning(
                "%d of %d clips of split %r are longer than data.frames (%d) and left out",
                *(int((~short).sum()), len(indices), split, self.config.data.frames),
            )
        if not short.any():
            raise VocalgenError(f"all clips of split {split!r} are longer than data.frames; raise it")
        return indices[short]

    def _speaker_encoder(self) -> SpeakerEncoder | None:
        folder = self.config.speaker_encoder
        if folder is None:
            return None
        if not Path(folder).is_dir():
            raise VocalgenError(f"no speaker encoder in {folder}; train one with recipes/train_speaker.py first")
        encoder: SpeakerEncoder = load_part(Path(folder), "SpeakerEncoder")
        encoder.front_end.require_equal(self.config.mel, folder, "the configuration")
        if encoder.embedding_dim != self.config.model.voice_dim:
            raise VocalgenError(
                f"model.voice_dim is {self.config.model.voice_dim}, but embeddings of {folder} have "
                f"{encoder.embedding_dim} values"
            )
        return encoder

    def _statistics(self, initial: BurstTransformer | None) -> dict[str, Any]:
        """Quantiles of the durations of the training clips; normalisation of their acoustics, or that of `init`."""
        values = measured_acoustics(Path(self.config.latents), self.cache, self.stored)[: len(self.indices)]
        mean, deviation = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
        seconds = values[:, ACOUSTICS.index("seconds")]
        strongest = self.cache.intensities[self.indices].argmax(axis=1)
        tables = []
        for emotion in range(len(self.cache.emotions)):
            own = seconds[strongest == emotion]
            tables.append(np.quantile(own if len(own) else seconds, np.linspace(0, 1, QUANTILES)))
        scales = {
            "acoustics_mean": tuple(round(float(value), 4) for value in np.nan_to_num(mean)),
            "acoustics_std": tuple(round(max(float(value), 1e-2), 4) for value in np.nan_to_num(deviation, nan=1.0)),
        }
        if initial is not None:  # its weights know acoustics in these terms
            scales = {name: tuple(initial.config[name]) for name in scales}
        quantiles = tuple(tuple(round(float(value), 3) for value in table) for table in tables)
        return {**scales, "duration_quantiles": quantiles}

    def _initial(self, path: str) -> BurstTransformer:
        """Network of an export, with the weights that were not averaged where it has them.

        Raises:
            VocalgenError: it is damaged, or was trained with other sizes, emotions, latents or noise levels.
        """
        last = Path(path) / LAST
        stored: BurstTransformer = load_part(last if last.is_dir() else Path(path), "BurstTransformer")
        stored.front_end.require_equal(self.config.mel, path, "the configuration")
        wanted = {
            "emotions": self.cache.emotions.emotions,
            "in_channels": self.autoencoder.latent_dim,
            **asdict(self.config.model),
            "preconditioning": self.config.preconditioning.arguments(),
        }
        for key, value in wanted.items():
            found = tuple(stored.config[key]) if key == "emotions" else stored.config[key]
            if found != value:
                raise VocalgenError(f"init: {path} was trained with {key} {found}, the configuration has {value}")
        return stored

    def _save(self, network: BurstTransformer, folder: Path, history: dict[str, Any]) -> None:
        network.register_to_config(training=history)
        network.save_pretrained(folder)


def clip_means(errors: Tensor, mask: Tensor) -> Tensor:
    """Mean over the latents of each clip: (B, L, C) errors and (B, L) bool -> (B,)."""
    own = mask.to(errors.dtype)
    return (errors.mean(-1).masked_fill(~mask, 0.0)).sum(1) / own.sum(1).clamp(min=1.0)


def without_extras(condition: BurstCondition) -> BurstCondition:
    """Emotion and duration alone."""
    acoustics = torch.full_like(condition.acoustics, torch.nan)
    duration = ACOUSTICS.index("seconds")
    acoustics[:, duration] = condition.acoustics[:, duration]
    nothing = {name: torch.full_like(getattr(condition, name), torch.nan) for name in ("voice", "style")}
    return condition._replace(acoustics=acoustics, **nothing)


def _folder_of(average: str) -> str:
    """Folder of an average in an export; the first lies in the export itself."""
    _, _, decay = average.partition("@")
    return f"ema-{decay}" if decay else ""


def _normal_like(value: Tensor, generator: torch.Generator) -> Tensor:
    return normal(*value.shape, generator=generator)


def _noise_of(place: int, shape: Any) -> Tensor:
    """Noise of a validation clip, the same however long its batch is."""
    return torch.from_numpy(gaussian_noise(place, *shape))
