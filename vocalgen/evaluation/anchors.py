"""What every table is read against: real draws, vocoder round trip, class means, noise and silence."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from vocalgen.errors import VocalgenError
from vocalgen.evaluation.duplicates import fingerprint
from vocalgen.evaluation.measured import Measured, measure_waves
from vocalgen.recognition.clips import ClipSet
from vocalgen.recognition.scorer import Scorer

NOISE_SECONDS = 1.2
"""Length of noise and silence, about that of a burst."""


def draws(labels: NDArray[np.int64], counts: dict[int, int], sets: int, seed: int) -> list[NDArray[np.int64]]:
    """Up to `sets` disjoint draws without replacement, each with `counts[label]` clips of every label.

    Raises:
        VocalgenError: fewer clips of a label than one draw needs.
    """
    rng = np.random.default_rng(seed)
    shuffled = {label: rng.permutation(np.flatnonzero(labels == label)) for label in counts}
    possible = min(len(shuffled[label]) // count for label, count in counts.items())
    if possible < 1:
        label = min(counts, key=lambda label: len(shuffled[label]) / counts[label])
        raise VocalgenError(
            f"the floor needs {counts[label]} real clips of class {label}, there are {len(shuffled[label])}; "
            f"generate fewer clips an emotion or choose a larger floor split"
        )
    return [
        np.concatenate([shuffled[label][s * count : (s + 1) * count] for label, count in counts.items()])
        for s in range(min(sets, possible))
    ]


def vocoded(
    clips: ClipSet, round_trip: Callable[[NDArray[np.float32]], NDArray[np.float32]], scorer: Scorer
) -> Measured:
    """Real clips through a vocoder."""
    waves = (round_trip(wave) for wave in clips.waves)
    return measure_waves(waves, clips.labels, clips.speakers, scorer)


def class_mean(clips: ClipSet, scorer: Scorer, emotions: list[int]) -> Measured:
    """The mean log-mel of each emotion's clips, brought to their median length, once for each clip."""
    means = []
    for emotion in emotions:
        mels = scorer.mels([clips.waves[int(index)] for index in np.flatnonzero(clips.labels == emotion)])
        frames = int(np.median([mel.shape[1] for mel in mels]))
        equal = [fingerprint(mel.cpu().numpy(), frames) for mel in mels]
        means.append(torch.from_numpy(np.mean(equal, axis=0).reshape(-1, frames)))
    row_of = {emotion: row for row, emotion in enumerate(emotions)}
    return _repeated(means, np.array([row_of[int(label)] for label in clips.labels]), clips.labels, scorer)


def silence(labels: NDArray[np.int64], scorer: Scorer) -> Measured:
    """Digital silence, once for each label."""
    mels = scorer.mels([np.zeros(int(NOISE_SECONDS * scorer.mel.sample_rate), dtype=np.float32)])
    return _repeated(mels, np.zeros(len(labels), dtype=np.int64), labels, scorer)


def noise(labels: NDArray[np.int64], scorer: Scorer, seed: int) -> Measured:
    """White Gaussian noise with a peak near -3 dB, anew for each label."""
    rng = np.random.default_rng((seed, 1))
    samples = int(NOISE_SECONDS * scorer.mel.sample_rate)
    waves = (np.float32(0.17) * rng.standard_normal(samples, dtype=np.float32) for _ in labels)
    return measure_waves(waves, labels, [str(index) for index in range(len(labels))], scorer)


def _repeated(mels: list[torch.Tensor], rows: NDArray[np.int64], labels: NDArray[np.int64], scorer: Scorer) -> Measured:
    """Log-mels that stand for many clips: scored once, counted as often as `rows` names them."""
    prints = np.stack([fingerprint(mel.cpu().numpy()) for mel in mels])
    seconds = np.array([mel.shape[1] / scorer.mel.frame_rate for mel in mels])
    clusters = np.array([str(index) for index in range(len(rows))])
    return Measured(scorer.score_mels(mels)[rows], labels, clusters, seconds[rows], prints[rows])
