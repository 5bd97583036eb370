"""From an emotion to audio: sampler, autoencoder and vocoder put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vocalgen import audio
from vocalgen.emotions import Condition, Vocabulary, match_vocabulary, parse_condition
from vocalgen.errors import VocalgenError
from vocalgen.generation.samplers import SOLVERS, guided, karras_sigmas
from vocalgen.generation.settings import Sampling, require_duration, require_seeds, sampling
from vocalgen.mel import MelConfig
from vocalgen.models.autoencoder import MelAutoencoder, MelFrames
from vocalgen.models.denoiser import preconditioning
from vocalgen.models.transformer import Conditioning, MelTransformer
from vocalgen.models.vocoder import vocode, vocoder_mel

if TYPE_CHECKING:
    from vocalgen.models.vocoder import Vocoder

TRIM_DB, TRIM_MARGIN = 36.0, 0.04
"""What counts as silence at the ends of a clip, and the seconds of it that stay."""

SILENCE_NAT, SILENCE_MARGIN = 7.0, 16
"""What is not vocoded: frames this far (61 dB) below the loudest band of the clip, but for this many of them."""

CPU_TILE, DEVICE_TILE = 8, 64
"""Clips that go through the sampler together: on a CPU more of them are no faster."""


@dataclass
class VocalBurstOutput:
    """What the pipeline returns.

    Attributes:
        audio: (n, samples) float32 in [-1, 1], silent after each clip's end.
        lengths: (n,) samples of each clip.
        mels: (n, n_mels, frames) log-mels before the vocoder, not trimmed.
        seeds: the seed of each clip.
        labels: the condition of each clip.
        notes: remarks about approximated emotion names.
        sample_rate: Hz.
    """

    audio: NDArray[np.float32]
    lengths: NDArray[np.int64]
    mels: NDArray[np.float32]
    seeds: list[int]
    labels: list[str]
    notes: list[str]
    sample_rate: int

    @property
    def clips(self) -> list[NDArray[np.float32]]:
        """Each clip (samples,) without the silence behind it."""
        return [wave[:length] for wave, length in zip(self.audio, self.lengths)]


class Synthesis:
    """Emotion -> diffusion -> log-mel -> vocoder -> audio: what `VocalBurstPipeline` and `Synthesiser` share."""

    transformer: MelTransformer
    autoencoder: MelAutoencoder | MelFrames
    vocoder: Vocoder
    folder: Path | None = None
    """Where the weights came from."""

    @property
    def defaults(self) -> dict[str, Any]:
        """Sampler settings the checkpoint carries."""
        raise NotImplementedError

    @property
    def emotions(self) -> Vocabulary:
        """What the model can be asked for."""
        return match_vocabulary(self.transformer.config.emotions)

    @property
    def mel(self) -> MelConfig:
        """The log-mel front end."""
        return self.transformer.front_end

    @property
    def sample_rate(self) -> int:
        """Hz of the audio."""
        return self.mel.sample_rate

    @property
    def seconds(self) -> float:
        """Longest clip the model can make."""
        return int(self.transformer.config.length) * self.autoencoder.downsampling / self.mel.frame_rate

    @property
    def tile(self) -> int:
        """Clips that go through the sampler together."""
        return CPU_TILE if self.transformer.device.type == "cpu" else DEVICE_TILE

    def settings(self, **changes: Any) -> Sampling:
        """The checkpoint's sampler settings with `changes`; a change of None keeps the default."""
        return sampling(self.defaults, **changes)

    def condition(self, emotion: str | Condition) -> Condition:
        """`emotion` as this model's intensity vector, see `vocalgen.emotions.parse_condition`.

        Raises:
            VocalgenError: a name or a weight that cannot be, or a vector of another length.
        """
        if isinstance(emotion, str):
            return parse_condition(emotion, self.emotions)
        if len(emotion.intensities) != len(self.emotions):
            raise VocalgenError(
                f"condition {emotion.label} has {len(emotion.intensities)} intensities, "
                f"the model knows {len(self.emotions)} emotions; parse it with the model's vocabulary"
            )
        return emotion

    def __call__(
        self,
        emotion: str | Condition | Sequence[str | Condition],
        num_samples: int = 1,
        seed: int = 0,
        *,
        seeds: Sequence[int] | None = None,
        duration: float | None = None,
        trim: bool = True,
        normalise: bool = True,
        exact: bool = False,
        **settings: Any,
    ) -> VocalBurstOutput:
        """Make clips.

        A clip depends on its emotion, its seed and the settings alone. How many are made together changes the order of
        some sums, and with it the last bits: less than one step of 16-bit audio. `exact` excludes even that.

        Args:
            emotion: a name, a mixture such as "awe=0.7,fear=0.3", or a sequence of them.
            num_samples: clips for each emotion.
            seed: clip i of an emotion uses seed + i.
            seeds: one seed for each clip instead (emotion by emotion).
            duration: seconds the burst should last; None lets the model decide.
            trim: cut the silence before and after the burst.
            normalise: bring the peak to -3 dB.
            exact: see `mels`.
            settings: changes to `Sampling`, e.g. steps=32, guidance=1.

        Raises:
            VocalgenError: unknown emotion, num_samples < 1, seed out of range, duration or settings out of range.
        """
        wanted = [emotion] if isinstance(emotion, (str, Condition)) else list(emotion)
        if not wanted or num_samples < 1:
            raise VocalgenError(f"need at least one emotion and one clip of it, got {len(wanted)} and {num_samples}")
        conditions = [self.condition(item) for item in wanted for _ in range(num_samples)]
        chosen = [seed + i for _ in wanted for i in range(num_samples)] if seeds is None else list(seeds)
        mels = self.mels(conditions, chosen, duration, self.settings(**settings), exact)
        clips = [self.finish(wave, trim, normalise) for wave in self.waves(mels)]
        lengths = np.array([len(clip) for clip in clips])
        padded = np.zeros((len(clips), lengths.max()), dtype=np.float32)
        for row, clip in zip(padded, clips):
            row[: len(clip)] = clip
        return VocalBurstOutput(
            audio=padded,
            lengths=lengths,
            mels=mels.cpu().numpy(),
            seeds=chosen,
            labels=[condition.label for condition in conditions],
            notes=sorted({note for condition in conditions for note in condition.notes}),
            sample_rate=self.sample_rate,
        )

    @torch.no_grad()
    def mels(
        self,
        conditions: Sequence[Condition],
        seeds: Sequence[int],
        duration: float | None = None,
        sampling: Sampling | None = None,
        exact: bool = False,
    ) -> Tensor:
        """Sample log-mels, one a condition and seed: (n, n_mels, frames) float32.

        Args:
            exact: fill the last tile up with repeats, so that every clip goes through the same arithmetic whatever n is
                and comes out the same to the last bit; a few clips then cost as much as a tile of them.

        Raises:
            VocalgenError: as `__call__`.
        """
        if len(seeds) != len(conditions):
            raise VocalgenError(f"{len(seeds)} seeds for {len(conditions)} clips; give one for each")
        require_duration(duration, self.seconds)
        for seed in seeds:
            require_seeds(seed)
        parts = []
        for start in range(0, len(seeds), self.tile):
            rows = list(range(start, min(start + self.tile, len(seeds))))
            filled = rows + [rows[-1]] * (self.tile - len(rows)) if exact else rows
            tile = self._sample(
                [conditions[row].intensities for row in filled],
                [seeds[row] for row in filled],
                duration,
                sampling or self.settings(),
            )
            parts.append(tile[: len(rows)])
        return torch.cat(parts)

    def waves(self, mels: Tensor) -> NDArray[np.float32]:
        """Vocode (n, n_mels, frames) -> (n, frames * hop_length) float32.

        On a CPU clip by clip, and only to where its sound ends: one clip's activations fit the caches, which is faster
        than any batch, and two fifths of what the generator makes is silence behind the burst.
        """
        mels = mels.to(self.vocoder.dtype)
        if mels.device.type != "cpu":
            return torch.cat([vocode(self.vocoder, batch).float() for batch in mels.split(DEVICE_TILE)]).cpu().numpy()
        hop = self.mel.hop_length
        waves = np.zeros((len(mels), mels.shape[-1] * hop), dtype=np.float32)
        for wave, mel in zip(waves, mels, strict=True):
            kept = sounding(mel)
            wave[: kept.shape[-1] * hop] = vocode(self.vocoder, kept[None])[0].float().numpy()
        return waves

    def finish(self, wave: NDArray[np.float32], trim: bool = True, normalise: bool = True) -> NDArray[np.float32]:
        """Cut the silence of a wave (samples,) and bring its peak to -3 dB."""
        if trim:
            wave = audio.trim_silence(wave, self.sample_rate, TRIM_DB, TRIM_MARGIN)
        return audio.peak_normalise(wave) if normalise else np.clip(wave, -1.0, 1.0)

    def _sample(
        self,
        intensities: Sequence[Sequence[float]],
        seeds: Sequence[int],
        duration: float | None,
        sampling: Sampling,
    ) -> Tensor:
        device, count = self.transformer.device, len(seeds)
        conditioning = Conditioning(
            torch.tensor(intensities, device=device),
            torch.ones(count, dtype=torch.bool, device=device),
            torch.full((count,), torch.nan if duration is None else duration, device=device),
        )
        sigmas = karras_sigmas(sampling.steps, sampling.sigma_min, sampling.sigma_max, sampling.rho)
        denoise = guided(
            self._network,
            preconditioning(**(self.transformer.config.preconditioning or {})),
            conditioning,
            sampling.guidance,
            (sampling.guidance_low, sampling.guidance_high),
        )
        noise = torch.stack([self._noise(seed) for seed in seeds]).to(device)
        sample = SOLVERS[sampling.solver](denoise, noise * sigmas[0], sigmas)
        latent = self.autoencoder.denormalise(sample.to(self.autoencoder.dtype))
        return self.autoencoder.decode(latent).float().clamp(min=self.mel.log_floor)

    def _network(self, x: Tensor, noise: Tensor, condition: Conditioning) -> Tensor:
        """The transformer in its own precision; the sampler around it stays in float32."""
        dtype = self.transformer.dtype
        cast = Conditioning(condition.intensities.to(dtype), condition.keep, condition.seconds.to(dtype))
        return self.transformer(x.to(dtype), noise.to(dtype), cast).float()

    def _noise(self, seed: int) -> Tensor:
        """Starting noise of one clip, drawn on the CPU so that every device starts alike."""
        shape = (int(self.transformer.config.length), int(self.transformer.config.in_channels))
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def sounding(mel: Tensor) -> Tensor:
    """(n_mels, L) without what lies behind its last sounding frame and the margin."""
    last = (mel.amax(0) > mel.max() - SILENCE_NAT).nonzero()[-1]
    return mel[:, : int(last) + 1 + SILENCE_MARGIN]


def require_one_front_end(
    transformer: MelTransformer, autoencoder: MelAutoencoder | MelFrames, vocoder: Vocoder
) -> None:
    """Raise VocalgenError, printing both, unless the three parts were trained on the same log-mel."""
    front_end = transformer.front_end
    autoencoder.front_end.require_equal(front_end, "autoencoder", "transformer")
    vocoder_mel(vocoder).require_equal(front_end, "vocoder", "transformer")


class Synthesiser(Synthesis):
    """The three parts without the pipeline class around them: what the command line uses, for it starts faster.

    Raises:
        VocalgenError: the three parts were trained on different mel front ends.
    """

    def __init__(
        self,
        transformer: MelTransformer,
        autoencoder: MelAutoencoder | MelFrames,
        vocoder: Vocoder,
        sampling: dict[str, Any] | None = None,
    ) -> None:
        require_one_front_end(transformer, autoencoder, vocoder)
        self.transformer, self.autoencoder, self.vocoder = transformer, autoencoder, vocoder
        self._sampling = dict(sampling or {})

    @property
    def defaults(self) -> dict[str, Any]:
        """Sampler settings the checkpoint carries."""
        return self._sampling

    def to(self, device: torch.device) -> Synthesiser:
        """Move all parts."""
        for part in (self.transformer, self.autoencoder, self.vocoder):
            part.to(device)
        return self
