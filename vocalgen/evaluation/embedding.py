"""Clips turned into embeddings alone, for `vocalgen embed`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vocalgen.corpora.layout import emotion_folders
from vocalgen.emotions import VOCABULARIES, Vocabulary
from vocalgen.errors import VocalgenError
from vocalgen.evaluation.stored import Embedded, Source
from vocalgen.progress import track
from vocalgen.recognition.clips import Clips
from vocalgen.recognition.encoders import Encoder
from vocalgen.recognition.scores import NO_VALUES, Scores, too_short

CHUNK = 256
"""Clips held in memory at once."""


def embed(clips: Clips, encoder: Encoder, emotions: Vocabulary) -> Embedded:
    """Embeddings and logits of every clip that can be read and is long enough; shows a progress bar.

    Memory grows with the embeddings, not with the audio.

    Args:
        clips: whose labels refer to `emotions`.

    Raises:
        VocalgenError: no clip could be embedded.
    """
    kept: list[int] = []
    skipped: list[str] = []
    parts: list[Scores] = []
    starts = range(0, len(clips), CHUNK)
    for start in track(starts, "embedding", len(starts)):
        waves = {}
        for index in range(start, min(start + CHUNK, len(clips))):
            try:
                waves[index] = clips.wave(index, encoder.prepare)
            except VocalgenError as error:
                skipped.append(f"{clips.ids[index]}: {error}")
        if waves:
            scores = encoder.score(list(waves.values()))
            ids = [clips.ids[index] for index in waves]
            short = too_short(scores, list(waves.values()), encoder.prepare.sample_rate, encoder.name, ids)
            parts.append(scores[~short])
            kept += [index for index, lacks in zip(waves, short, strict=True) if not lacks]
            why = NO_VALUES.format(encoder=encoder.name)
            skipped += [f"{clip}: {why}" for clip, lacks in zip(ids, short, strict=True) if lacks]
    if not kept:
        raise VocalgenError(f"none of the {len(clips)} clips could be embedded; the first: {skipped[0]}")
    joined = Scores.joined(parts)
    classes = encoder.emotions.emotions if encoder.emotions else ()
    return Embedded(
        joined.embeddings,
        joined.logits,
        clips.labels[kept],
        np.array([clips.ids[index] for index in kept]),
        np.array([clips.speakers[index] for index in kept]),
        Source(encoder.name, encoder.checksum, emotions.emotions, classes, tuple(skipped)),
    )


def folder_emotions(folder: str | Path, preferred: Vocabulary | None = None) -> Vocabulary:
    """Return the first vocabulary, of the preferred and the known ones, that has every emotion folder of `folder`.

    Where none has, the folder names are a vocabulary of their own, so that no folder is left out.

    Raises:
        VocalgenError: what `emotion_folders` refuses.
    """
    names = tuple(emotion_folders(folder).clips)
    known = [preferred, *VOCABULARIES.values()] if preferred else list(VOCABULARIES.values())
    for vocabulary in known:
        if vocabulary is not None and all(name in vocabulary for name in names):
            return vocabulary
    return Vocabulary("folders", names)
