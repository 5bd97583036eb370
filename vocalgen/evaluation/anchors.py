"""What every table is read against: draws of real clips, vocoder round trip, class means, noise and silence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from vocalgen.data import CacheConfig
from vocalgen.errors import VocalgenError
from vocalgen.mel import LogMel, MelConfig
from vocalgen.recognition.clips import Changed, Clips, Made, Wave

SECONDS = 1.2
"""Length of noise and silence, about that of a burst."""

LEVEL = 0.17
"""Standard deviation of the noise: its peak is then near -3 dB."""

HELD_OUT = "real clips, held out"
FLOOR = "real clips (floor)"
ROUND_TRIP = "vocoder round trip of real clips"
CLASS_MEAN = "class-mean mel"
NOISE = "white noise"
SILENCE = "silence"
OTHERS = "other-emotion real clips"
ANCHORS = (FLOOR, ROUND_TRIP, CLASS_MEAN, NOISE, SILENCE, OTHERS)
"""Names of the rows, in the order of the tables."""

BAD = (CLASS_MEAN, NOISE, SILENCE)
"""Those that stand for the bad end of the scale."""


@dataclass(frozen=True)
class Voice:
    """A vocoder with its front end.

    Args:
        name: what makes it, with its checksum, for fingerprints and reports.
        mel: front end.
        render: log-mel (n_mels, frames) -> wave (frames * hop_length,).
    """

    name: str
    mel: MelConfig
    render: Callable[[NDArray[np.float32]], Wave]


def draws(
    labels: NDArray[np.int64], counts: dict[int, int], sets: int, seed: int, names: Sequence[str]
) -> list[NDArray[np.int64]]:
    """Up to `sets` disjoint draws without replacement, each with `counts[label]` clips of every label.

    Args:
        names: of the labels, for messages.

    Raises:
        VocalgenError: fewer clips of a label than one draw needs.
    """
    rng = np.random.default_rng(seed)
    shuffled = {label: rng.permutation(np.flatnonzero(labels == label)) for label in counts}
    possible = min(len(shuffled[label]) // count for label, count in counts.items())
    if possible < 1:
        label = min(counts, key=lambda label: len(shuffled[label]) / counts[label])
        raise VocalgenError(
            f"the floor needs {counts[label]} real clips of {names[label]}, there are {len(shuffled[label])}; "
            f"evaluate other emotions (--emotions), fewer clips of each, or choose a larger floor split"
        )
    return [
        np.concatenate([shuffled[label][s * count : (s + 1) * count] for label, count in counts.items()])
        for s in range(min(sets, possible))
    ]


def made(clips: Clips, voice: Voice, prepare: CacheConfig, seed: int) -> dict[str, Callable[[], Clips]]:
    """Makers of the anchors that are sounds, by name; each has as many clips of each label as `clips`, a draw."""
    labels = clips.labels
    return {
        ROUND_TRIP: lambda: Changed(clips, _round_trip(voice)),
        CLASS_MEAN: lambda: class_means(clips, voice, prepare),
        NOISE: lambda: Made(labels, lambda index: (_noise(seed, index, voice.mel.sample_rate), voice.mel.sample_rate)),
        SILENCE: lambda: Made(labels, lambda _: (_silence(voice.mel.sample_rate), voice.mel.sample_rate)),
    }


def class_means(clips: Clips, voice: Voice, prepare: CacheConfig) -> Clips:
    """The mean log-mel of each emotion's clips, brought to their median length, as one wave, once for each clip."""
    if prepare.sample_rate != voice.mel.sample_rate:
        prepare = CacheConfig(sample_rate=voice.mel.sample_rate)
    log_mel = LogMel(voice.mel)
    waves = {}
    for label in np.unique(clips.labels):
        mels = [
            log_mel(torch.from_numpy(clips.wave(int(index), prepare))[None])[0].numpy()
            for index in np.flatnonzero(clips.labels == label)
        ]
        frames = int(np.median([mel.shape[1] for mel in mels]))
        waves[int(label)] = voice.render(np.mean([stretched(mel, frames) for mel in mels], axis=0))
    return Made(clips.labels, lambda index: (waves[int(clips.labels[index])], voice.mel.sample_rate))


def stretched(mel: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """(n_mels, L) -> (n_mels, frames) by linear interpolation along time."""
    place = np.linspace(0, mel.shape[1] - 1, frames)
    before = np.minimum(place.astype(int), max(mel.shape[1] - 2, 0))
    after = np.minimum(before + 1, mel.shape[1] - 1)
    share = (place - before).astype(np.float32)
    return (mel[:, before] * (1 - share) + mel[:, after] * share).astype(np.float32)


def _round_trip(voice: Voice) -> Callable[[Wave, int], Wave]:
    from vocalgen import audio

    log_mel = LogMel(voice.mel)

    def change(wave: Wave, rate: int) -> Wave:
        own = audio.resample(wave, rate, voice.mel.sample_rate)
        made = voice.render(log_mel(torch.from_numpy(own)[None])[0].numpy())[: len(own)]
        return audio.resample(made, voice.mel.sample_rate, rate)

    return change


def _noise(seed: int, index: int, rate: int) -> Wave:
    rng = np.random.default_rng((seed, 1, index))
    return np.float32(LEVEL) * rng.standard_normal(int(SECONDS * rate), dtype=np.float32)


def _silence(rate: int) -> Wave:
    return np.zeros(int(SECONDS * rate), dtype=np.float32)
