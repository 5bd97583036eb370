"""How well classifiers recognise the emotions of real clips: accuracy, recall, confusions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocalgen.emotions import Vocabulary
from vocalgen.errors import VocalgenError
from vocalgen.evaluation.report import table
from vocalgen.metrics.intervals import clustered_mean
from vocalgen.metrics.prediction import bootstrap, uar
from vocalgen.progress import track
from vocalgen.recognition.clips import Clips
from vocalgen.recognition.encoders import Encoder

CHUNK = 256
"""Clips held in memory at once."""

Logits = NDArray[np.float64]


def logits_of(encoder: Encoder, clips: Clips) -> Logits:
    """(n, K) scores of a set of clips; shows a progress bar."""
    parts = []
    starts = range(0, len(clips), CHUNK)
    for start in track(starts, encoder.name, len(starts)):
        waves = [clips.wave(index, encoder.prepare) for index in range(start, min(start + CHUNK, len(clips)))]
        parts.append(encoder.score(waves).logits)
    return np.concatenate(parts)


def recognition_row(
    logits: Logits, labels: NDArray[np.int64], speakers: Sequence[str], names: Sequence[str]
) -> dict[str, Any]:
    """Accuracy, top-3 accuracy and unweighted average recall with 95 % intervals over speakers; recall by emotion.

    Args:
        logits: (n, K).
        labels: (n,) columns of the true emotions.
        names: of the K columns.
    """
    order = np.argsort(-logits, axis=1, kind="stable")
    hits = order[:, :3] == labels[:, None]
    guess = order[:, 0]
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts, (labels, guess), 1)
    present = counts.sum(axis=1)
    recall = np.divide(np.diag(counts), present, out=np.full(len(names), np.nan), where=present > 0)
    return {
        "n": len(labels),
        "speakers": len(set(speakers)),
        "accuracy": clustered_mean(hits[:, 0], speakers),
        "top3": clustered_mean(hits.any(axis=1), speakers),
        "uar": bootstrap(uar, labels, guess, speakers),
        "recall": {name: float(value) for name, value in zip(names, recall, strict=True) if not np.isnan(value)},
        "confusion": counts.tolist(),
    }


def columns_of(encoder: Encoder, vocabulary: Vocabulary) -> NDArray[np.int64]:
    """(len(vocabulary),) column of each emotion in an encoder's logits.

    Raises:
        VocalgenError: the encoder has no head, or lacks an emotion.
    """
    if encoder.emotions is None:
        raise VocalgenError(f"{encoder.name} has no classes; give a classifier")
    missing = [name for name in vocabulary.emotions if name not in encoder.emotions]
    if missing:
        raise VocalgenError(f"{encoder.name} does not know {', '.join(missing)}; give clips of its own emotions")
    return np.array([encoder.emotions.index(name) for name in vocabulary.emotions])


def recognisers_markdown(report: Mapping[str, Any]) -> str:
    """The report of `eval/recognisers.py` for people."""

    def cell(value: Sequence[float]) -> str:
        return "{:.3f} [{:.3f}, {:.3f}]".format(*value)

    rows = [
        (name, split, str(row["n"]), cell(row["accuracy"]), cell(row["top3"]), cell(row["uar"]))
        for name, splits in report["recognisers"].items()
        for split, row in splits.items()
    ]
    names = list(report["recognisers"])
    last = report["splits"][-1]
    recalls = {name: report["recognisers"][name][last]["recall"] for name in names}
    by_emotion = [(emotion, *(f"{recalls[name][emotion]:.2f}" for name in names)) for emotion in recalls[names[0]]]
    return "\n".join(
        [
            "# Recognition of real clips",
            "",
            f"Clips of {report['manifest']}, speakers that no recogniser was trained on. Square brackets: 95 % "
            f"intervals by bootstrap over speakers. Chance is {1 / report['classes']:.3f}.",
            "",
            *table(("recogniser", "split", "clips", "accuracy", "top-3", "UAR"), rows),
            "",
            *(f"- {name}: sha256 {checksum}" for name, checksum in report["checksums"].items()),
            "",
            f"![Shares of the clips of an emotion (row) heard as each (column), {last} speakers.](confusion.png)",
            "",
            f"## Recall by emotion, {last} speakers",
            "",
            *table(("emotion", *names), by_emotion),
            "",
        ]
    )
