"""From an emotion to audio, whichever network makes the mel: checks, tiles, vocoding, trimming."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vocalgen import audio
from vocalgen.emotions import Condition, Vocabulary, condition_from_labels, match_vocabulary, parse_condition
from vocalgen.errors import VocalgenError
from vocalgen.float32 import float32_default
from vocalgen.generation.settings import (
    Settings,
    real_number,
    require_duration,
    require_seeds,
    settings,
    whole_number,
    whole_numbers,
)
from vocalgen.mel import MelConfig
from vocalgen.models.vocoder import vocode

if TYPE_CHECKING:
    from typing_extensions import Self

    from vocalgen.models.vocoder import Vocoder

TRIM_DB, TRIM_MARGIN = 36.0, 0.04
"""What counts as silence at the ends of a clip, and the seconds of it that stay."""

SILENCE_NAT, SILENCE_MARGIN = 7.0, 16
"""What is not vocoded: frames this far (61 dB) below the loudest band of the clip, but for this many of them."""

RANDOM_SEEDS = 2**31
"""Seeds that `seed=None` draws from."""

CPU_TILE, DEVICE_TILE = 8, 64
"""Clips that go through the sampler together: on a CPU more of them are no faster."""


Emotion: TypeAlias = str | Condition | Mapping[str, float]
"""Condition of a clip: a name, a mixture as text or by name, or a parsed condition."""


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


class Synthesis(ABC):
    """Emotion -> log-mel -> vocoder -> audio: what all pipelines share.

    A family says what its `network` is, how long its clips are, and how it samples them.
    """

    vocoder: Vocoder
    folder: Path | None = None
    """Where the weights came from."""
    kind: type[Settings]
    """What it can be asked for."""

    @property
    @abstractmethod
    def network(self) -> Any:
        """The network that knows the emotions."""

    @property
    @abstractmethod
    def seconds(self) -> float:
        """Longest clip the model can make."""

    @property
    @abstractmethod
    def defaults(self) -> dict[str, Any]:
        """Settings the checkpoint carries."""

    @abstractmethod
    def sample_mels(self, intensities: Tensor, seeds: Sequence[int], duration: float | None, settings: Any) -> Tensor:
        """A tile of clips: (B, K) intensities and B seeds -> (B, n_mels, frames) log-mels, not below the floor.

        What is random in clip i is drawn on the CPU from a generator of its own with seed i, so that every device
        starts alike.
        """

    def widths(self, intensities: Sequence[Sequence[float]], seeds: Sequence[int], duration: float | None) -> list[int]:
        """How wide a tile each clip needs; clips of equal width go through the network in the same shape."""
        return [0] * len(seeds)

    @abstractmethod
    def between(self, intensities: Tensor, seeds: tuple[int, int], shares: Tensor, settings: Any) -> Tensor:
        """Log-mels (n, n_mels, frames) on the way from one clip (share 0) to another (share 1).

        Args:
            intensities: (2, K) of both ends.
            seeds: of both ends.
            shares: (n,) in [0, 1].
        """

    def require_duration(self, duration: float | None) -> None:
        """Raise VocalgenError unless clips of this length can be asked for."""
        require_duration(duration, self.seconds)

    @property
    def emotions(self) -> Vocabulary:
        """What the model can be asked for."""
        return match_vocabulary(self.network.config.emotions)

    @property
    def mel(self) -> MelConfig:
        """The log-mel front end."""
        return self.network.front_end

    @property
    def sample_rate(self) -> int:
        """Hz of the audio."""
        return self.mel.sample_rate

    @property
    def execution_device(self) -> torch.device:
        """Device on which the networks run."""
        return torch.device(self.network.device)

    @property
    def tile(self) -> int:
        """Clips that go through the network together."""
        return CPU_TILE if self.execution_device.type == "cpu" else DEVICE_TILE

    @property
    def exact_tile(self) -> int:
        """The same for clips that must not depend on each other to the last bit."""
        return self.tile

    def settings(self, **changes: Any) -> Settings:
        """The checkpoint's settings with `changes`; a change of None keeps the default."""
        return settings(self.kind, self.defaults, **changes)

    def condition(self, emotion: Emotion) -> Condition:
        """Intensity vector of an emotion or a mixture, see `vocalgen.emotions.parse_condition`.

        Raises:
            VocalgenError: a name or a weight that cannot be, or a vector of another length.
        """
        if isinstance(emotion, str):
            return parse_condition(emotion, self.emotions)
        if isinstance(emotion, Mapping):
            return condition_from_labels(emotion, self.emotions)
        if len(emotion.intensities) != len(self.emotions):
            raise VocalgenError(
                f"condition {emotion.label} has {len(emotion.intensities)} intensities, "
                f"the model knows {len(self.emotions)} emotions; parse it with the model's vocabulary"
            )
        return emotion

    def __call__(
        self,
        emotion: Emotion | Iterable[Emotion],
        num_samples: int = 1,
        seed: int | None = 0,
        *,
        seeds: Iterable[int] | None = None,
        duration: float | None = None,
        trim: bool = True,
        normalise: bool = True,
        exact: bool = False,
        **changes: Any,
    ) -> VocalBurstOutput:
        """Make clips.

        A clip depends on its emotion, its seed and the settings alone. How many are made together changes the order of
        some sums, and with it the last bits: less than one step of 16-bit audio. `exact` excludes even that.

        Args:
            emotion: a name, a mixture such as "awe=0.7,fear=0.3" or {"awe": 0.7, "fear": 0.3}, or a sequence of them.
            num_samples: clips per emotion.
            seed: clip i of an emotion uses seed + i; None draws a seed, which `VocalBurstOutput.seeds` tells.
            seeds: one seed per clip instead (emotion by emotion): a sequence, an array or a tensor.
            duration: seconds the burst should last; None lets the model decide.
            trim: cut the silence before and after the burst.
            normalise: bring the peak to -3 dB.
            exact: see `mels`.
            changes: to the checkpoint's settings, e.g. steps=32 for diffusion (`Sampling`) or psi=0.7 (`Truncation`).

        Raises:
            VocalgenError: unknown emotion, num_samples < 1, seed out of range, duration or settings out of range.
        """
        wanted = [emotion] if isinstance(emotion, (str, Condition, Mapping)) else list(emotion)
        count = whole_number(num_samples, "num_samples")
        if not wanted or count < 1:
            raise VocalgenError(f"need at least one emotion and one clip of it, got {len(wanted)} and {count}")
        conditions = [condition for item in wanted for condition in [self.condition(item)] * count]
        if seeds is None:
            first = secrets.randbelow(RANDOM_SEEDS) if seed is None else whole_number(seed, "seed")
            chosen = [first + i for _ in wanted for i in range(count)]
        else:
            chosen = whole_numbers(seeds, "seeds")
        mels = self.mels(conditions, chosen, duration, self.settings(**changes), exact)
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
    @float32_default()
    def mels(
        self,
        conditions: Sequence[Condition],
        seeds: Sequence[int],
        duration: float | None = None,
        chosen: Settings | None = None,
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
        duration = None if duration is None else real_number(duration, "duration")
        self.require_duration(duration)
        conditions = [self.condition(condition) for condition in conditions]
        for seed in seeds:
            require_seeds(seed)
        mels: list[Tensor] = [torch.empty(0)] * len(seeds)
        widths = self.widths([condition.intensities for condition in conditions], seeds, duration)
        size = self.exact_tile if exact else self.tile
        for rows in tiles(widths, size, exact):
            filled = rows + [rows[-1]] * (size - len(rows)) if exact else rows
            tile = self.sample_mels(
                torch.tensor([conditions[row].intensities for row in filled], device=self.execution_device),
                [seeds[row] for row in filled],
                duration,
                chosen or self.settings(),
            )
            for row, mel in zip(rows, tile):
                mels[row] = mel
        return to_frames(mels, max(mel.shape[-1] for mel in mels), self.mel.log_floor)

    @float32_default()
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


def tiles(widths: Sequence[int], size: int, exact: bool) -> list[list[int]]:
    """Rows in tiles of up to `size` clips, the narrowest first; with `exact` clips of one width alone share a tile."""
    order = sorted(range(len(widths)), key=lambda row: widths[row])
    groups = [list(rows) for _, rows in groupby(order, key=lambda row: widths[row] if exact else 0)]
    return [rows[start : start + size] for rows in groups for start in range(0, len(rows), size)]


def to_frames(mels: Sequence[Tensor], frames: int, floor: float) -> Tensor:
    """Stack log-mels (n_mels, L) of up to `frames` frames: (n, n_mels, frames), silent behind their ends."""
    return torch.stack([F.pad(mel, (0, frames - mel.shape[-1]), value=floor) for mel in mels])


def sounding(mel: Tensor) -> Tensor:
    """(n_mels, L) without what lies behind its last sounding frame and the margin."""
    last = (mel.amax(0) > mel.max() - SILENCE_NAT).nonzero()[-1]
    return mel[:, : int(last) + 1 + SILENCE_MARGIN]


class Synthesiser(Synthesis):
    """The parts of a checkpoint without a pipeline class around them: the command line uses it, for it starts faster.

    Args:
        defaults: settings the checkpoint carries.
        parts: networks by the names of their attributes.
    """

    def __init__(self, defaults: dict[str, Any], **parts: Any) -> None:
        self._defaults, self._parts = defaults, parts
        for name, part in parts.items():
            setattr(self, name, part)

    @property
    def defaults(self) -> dict[str, Any]:
        """Settings the checkpoint carries."""
        return self._defaults

    def parameters(self) -> Iterator[Tensor]:
        """Of all parts."""
        for part in filter(None, self._parts.values()):
            yield from part.parameters()

    def to(self, device: torch.device) -> Self:
        """Move all parts."""
        for part in filter(None, self._parts.values()):
            part.to(device)
        return self
