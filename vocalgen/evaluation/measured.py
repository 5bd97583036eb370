"""Clips turned, in one pass, into the numbers that every comparison needs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocalgen.errors import VocalgenError
from vocalgen.evaluation.acoustics import acoustics_of
from vocalgen.evaluation.memory import fingerprint
from vocalgen.mel import MEL_16K_EXVO, MEL_24K, LogMel, MelConfig, log_mels
from vocalgen.progress import progress
from vocalgen.recognition.clips import Clips, Wave
from vocalgen.recognition.encoders import Encoder
from vocalgen.recognition.scores import NO_VALUES, Scores, too_short

CHUNK = 256
"""Clips held in memory at once."""


@dataclass(frozen=True)
class Measured:
    """n clips as numbers.

    Args:
        labels: (n,) index of the emotion each clip was made or asked for.
        speakers: (n,) cluster of each clip: a speaker, or the clip itself.
        ids: (n,) names.
        acoustics: (n, 4), see `evaluation.acoustics`.
        prints: (n, f) float16, see `evaluation.memory.fingerprint`.
        digests: (n,) hashes of the prepared audio, equal for copies.
        scores: what each encoder says, by its name.
        skipped: one line about each clip that could not be measured.
    """

    labels: NDArray[np.int64]
    speakers: NDArray[np.str_]
    ids: NDArray[np.str_]
    acoustics: NDArray[np.float64]
    prints: NDArray[np.float16]
    digests: NDArray[np.str_]
    scores: dict[str, Scores]
    skipped: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Measured:
        rows = {name: getattr(self, name)[index] for name in ROWS}
        return Measured(**rows, scores={name: scores[index] for name, scores in self.scores.items()})

    def of(self, emotion: int) -> Measured:
        """The clips of one emotion."""
        return self[self.labels == emotion]

    @cached_property
    def counts(self) -> dict[int, int]:
        """Clips of each emotion that has any."""
        labels, counts = np.unique(self.labels, return_counts=True)
        return {int(label): int(count) for label, count in zip(labels, counts, strict=True)}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything but `skipped` as named arrays, for storage."""
        arrays = {name: getattr(self, name) for name in ROWS}
        for name, scores in self.scores.items():
            arrays |= {f"embeddings/{name}": scores.embeddings, f"logits/{name}": scores.logits}
        return arrays

    @classmethod
    def of_arrays(cls, arrays: dict[str, NDArray[Any]], skipped: list[str]) -> Measured:
        """What `arrays` came from."""
        names = [key.partition("/")[2] for key in arrays if key.startswith("embeddings/")]
        scores = {name: Scores(arrays[f"embeddings/{name}"], arrays[f"logits/{name}"]) for name in names}
        return cls(**{name: arrays[name] for name in ROWS}, scores=scores, skipped=skipped)


ROWS = tuple(entry.name for entry in fields(Measured) if entry.name not in ("scores", "skipped"))


def measure(clips: Clips, encoders: Sequence[Encoder], description: str) -> Measured:
    """Read every clip once for each way in which the encoders want it prepared; shows a progress bar.

    Clips that cannot be read, hold no sound, or are too short for an encoder, are left out and named in `skipped`.
    Memory grows with the numbers, not with the audio.

    Raises:
        VocalgenError: no clip could be measured.
    """
    main = encoders[0].prepare
    log_mel = LogMel(_front_end(encoders[0]))
    kept: list[int] = []
    sounds: list[NDArray[np.float64]] = []
    prints: list[NDArray[np.float16]] = []
    digests: list[str] = []
    scores: dict[str, list[Scores]] = {encoder.name: [] for encoder in encoders}
    skipped: list[str] = []
    with progress(description, total=len(clips)) as (advance,):
        for start in range(0, len(clips), CHUNK):
            indices = range(start, min(start + CHUNK, len(clips)))
            waves = _read(clips, indices, main, skipped)
            if waves:
                for name, found in _scores(clips, waves, encoders, skipped).items():
                    scores[name].append(found)
            kept += waves
            sounds.append(acoustics_of(list(waves.values()), main.sample_rate))
            prints += [fingerprint(mel.numpy()).astype(np.float16) for mel in log_mels(list(waves.values()), log_mel)]
            digests += [hashlib.sha256(wave.tobytes()).hexdigest()[:16] for wave in waves.values()]
            advance(len(indices))
    if not kept:
        reason = f"; the first: {skipped[0]}" if skipped else ""
        raise VocalgenError(f"{description}: none of the {len(clips)} clips could be measured{reason}")
    return Measured(
        clips.labels[kept],
        np.array([clips.speakers[index] for index in kept]),
        np.array([clips.ids[index] for index in kept]),
        np.concatenate(sounds),
        np.stack(prints),
        np.array(digests),
        {name: Scores.joined(parts) for name, parts in scores.items()},
        skipped,
    )


def _front_end(encoder: Encoder) -> MelConfig:
    """The log-mel that fingerprints are made of: the encoder's own where it has one."""
    own = getattr(encoder, "mel", None)
    return own or (MEL_16K_EXVO if encoder.prepare.sample_rate == MEL_16K_EXVO.sample_rate else MEL_24K)


def _scores(clips: Clips, waves: dict[int, Wave], encoders: Sequence[Encoder], skipped: list[str]) -> dict[str, Scores]:
    """Scores by encoder of clips whose waves are prepared for the first one; each preparation is read once.

    Clips that lack values of an encoder are removed from `waves`.
    """
    found: dict[str, Scores] = {}
    ids = [clips.ids[index] for index in waves]
    complete = np.ones(len(waves), dtype=bool)
    for prepare in {encoder.prepare: None for encoder in encoders}:
        prepared = waves if prepare == encoders[0].prepare else {index: clips.wave(index, prepare) for index in waves}
        for encoder in encoders:
            if encoder.prepare == prepare:
                found[encoder.name] = encoder.score(list(prepared.values()))
                short = too_short(found[encoder.name], list(prepared.values()), prepare.sample_rate, encoder.name, ids)
                why = NO_VALUES.format(encoder=encoder.name)
                skipped += [f"{clip}: {why}" for clip, new in zip(ids, short & complete, strict=True) if new]
                complete &= ~short
    for index in [index for index, whole in zip(waves, complete, strict=True) if not whole]:
        del waves[index]
    return {name: scores[complete] for name, scores in found.items()}


def _read(clips: Clips, indices: range, prepare: Any, skipped: list[str]) -> dict[int, Wave]:
    waves = {}
    for index in indices:
        try:
            waves[index] = clips.wave(index, prepare)
        except VocalgenError as error:
            skipped.append(f"{clips.ids[index]}: {error}")
    return waves
