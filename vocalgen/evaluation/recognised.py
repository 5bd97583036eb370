"""Whether a classifier hears the emotion that was meant: the rows of the section "recognition"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from vocalgen.emotions import Vocabulary
from vocalgen.evaluation.measured import Measured
from vocalgen.metrics.heep import heep
from vocalgen.metrics.intervals import Interval, clustered_mean, wilson
from vocalgen.metrics.probe import linear_probe
from vocalgen.recognition.encoders import Encoder

Row = dict[str, Any]


class Recognition:
    """What one classifier says about sets of clips.

    Args:
        encoder: with a head; its classes include all of `vocabulary`.
        vocabulary: what labels refer to.
        reference: real held-out clips.
        emotions: which are compared.
    """

    def __init__(self, encoder: Encoder, vocabulary: Vocabulary, reference: Measured, emotions: Sequence[int]) -> None:
        assert encoder.emotions is not None
        self.encoder, self.emotions = encoder, list(emotions)
        self.names = encoder.emotions.emotions
        self.place = np.array([encoder.emotions.index(name) for name in vocabulary.emotions])
        self.reference = reference[np.isin(reference.labels, emotions)]

    def row(self, clips: Measured) -> Row:
        """All columns of a set, for the emotions it has."""
        emotions = [e for e in self.emotions if (clips.labels == e).any()]
        clips = clips[np.isin(clips.labels, emotions)]
        by_emotion = {e: self._shares(clips.of(e)) | {"confused": self._confused(clips.of(e))} for e in emotions}
        overall = self._shares(clips)
        overall["uar"] = float(np.mean([entry["top1"].value for entry in by_emotion.values()]))
        overall["cas"] = self._cas(clips)
        overall["proxy_heep"] = self._proxy(clips, emotions)
        return {"overall": overall, "emotions": by_emotion}

    def confusion(self, clips: Measured) -> NDArray[np.int64]:
        """(K, classes of the classifier) counts: rows are what was asked for."""
        table = np.zeros((len(self.emotions), len(self.names)), dtype=np.int64)
        row_of = {emotion: row for row, emotion in enumerate(self.emotions)}
        for label, heard in zip(clips.labels, self._logits(clips).argmax(axis=1), strict=True):
            if int(label) in row_of:
                table[row_of[int(label)], heard] += 1
        return table

    def _shares(self, clips: Measured) -> Row:
        return {f"top{k}": self._share(clips, k) for k in (1, 3)}

    def _share(self, clips: Measured, k: int) -> Interval:
        """With a bootstrap over speakers, or Wilson's interval where every clip is its own cluster."""
        hits = clips.scores[self.encoder.name].hits(self.place[clips.labels], k)
        if len(set(clips.speakers)) == len(hits):
            return wilson(int(hits.sum()), len(hits))
        return clustered_mean(hits, clips.speakers.tolist())

    def _confused(self, clips: Measured) -> str | None:
        heard = self._logits(clips).argmax(axis=1)
        others = heard[heard != self.place[clips.labels]]
        return self.names[int(np.bincount(others).argmax())] if len(others) else None

    def _cas(self, clips: Measured) -> float | None:
        train, test = clips.scores[self.encoder.name], self.reference.scores[self.encoder.name]
        try:
            return linear_probe(train.embeddings, clips.labels, test.embeddings, self.reference.labels).accuracy
        except ValueError:  # a set of one point, or of one emotion
            return None

    def _proxy(self, clips: Measured, emotions: Sequence[int]) -> float | None:
        """HEEP of the classifier's probabilities, over the emotions that are compared."""
        heard = softmax(self._logits(clips), axis=1)[:, self.place[list(self.emotions)]]
        meant = np.equal.outer(clips.labels, np.array(self.emotions)).astype(np.float64)
        value = heep(meant, heard).overall
        return None if np.isnan(value) else float(value)

    def _logits(self, clips: Measured) -> NDArray[np.float64]:
        return clips.scores[self.encoder.name].logits
