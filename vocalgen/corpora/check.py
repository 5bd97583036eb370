"""Does a manifest hold what its corpus is published to hold, and does the name of a file give its label away?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vocalgen.corpora import emogator, hume_prosody, hume_vocalburst, sonata
from vocalgen.corpora.manifest import SPLITS, Manifest
from vocalgen.corpora.table import Column
from vocalgen.emotions import EMOGATOR30, HUME10, PROSODY9, SONATA25, Vocabulary
from vocalgen.errors import VocalgenError


class Counts(NamedTuple):
    """Clips and speakers of a split; None where nothing is published."""

    clips: int
    speakers: int | None


@dataclass(frozen=True)
class Corpus:
    """What is published about a corpus.

    Args:
        vocabulary: its emotions.
        counts: by split.
        peaked: whether every labelled clip has an emotion of intensity 1.
        values: what its further labels may be.
        together: labels that are known together or not at all, being of one table.
    """

    vocabulary: Vocabulary
    counts: Mapping[str, Counts]
    peaked: bool = False
    values: Mapping[str, Column] = field(default_factory=dict)
    together: Sequence[Sequence[str]] = ()


CORPORA = {
    "emogator": Corpus(EMOGATOR30, {split: Counts(*found) for split, found in emogator.EXPECTED.items()}, True),
    "hume-vocalburst": Corpus(
        HUME10,
        {name: Counts(*found) for name, found in hume_vocalburst.EXPECTED.items()},
        True,
        hume_vocalburst.VALUES,
        (("Valence", "Arousal"), hume_vocalburst.CULTURE),
    ),
    "hume-prosody": Corpus(PROSODY9, {name: Counts(clips, None) for name, clips in hume_prosody.EXPECTED.items()}),
    "modulate-sonata": Corpus(SONATA25, {name: Counts(*found) for name, found in sonata.EXPECTED.items()}, True),
}
"""By the name `vocalgen data prepare` calls them."""

SHOWN = 5
"""Labels that are listed by name."""

FEWEST = 30
"""Labelled clips of a split below which nothing is said about leaks."""

NOTICEABLE = 0.05
"""How much better than its rival a guess from the name must be."""


@dataclass(frozen=True)
class Leak:
    """A label that the nearest training clip by file number tells.

    Args:
        label: its name.
        split: the clips guessed.
        score: share of right guesses (words), or correlation (numbers).
        chance: the same of guessing the commonest value; 0 for numbers.
        n: clips.
    """

    label: str
    split: str
    score: float
    chance: float
    n: int

    def __str__(self) -> str:
        kind = "right" if self.chance else "correlation"
        return (
            f"file numbers give {self.label} away: the nearest training clip by number has it {kind} "
            f"{self.score:.2f} in {self.split} (n = {self.n}, chance {self.chance:.2f}); never use or sort by them"
        )


def corpus_of(manifest: Manifest, name: str | None = None) -> Corpus:
    """The corpus by name, or the one whose emotions the manifest has.

    Raises:
        VocalgenError: unknown name; no corpus of these emotions; a manifest of others.
    """
    if name is not None and name not in CORPORA:
        raise VocalgenError(f"unknown corpus {name!r}; choose one of {', '.join(CORPORA)}")
    fitting = [corpus for corpus in CORPORA.values() if corpus.vocabulary.emotions == manifest.emotions.emotions]
    if name is None:
        if not fitting:
            raise VocalgenError(f"no published corpus has these emotions; its name is one of {', '.join(CORPORA)}")
        return fitting[0]
    if CORPORA[name] not in fitting:
        raise VocalgenError(f"the manifest has the emotions of {manifest.emotions.name}, not those of {name}")
    return CORPORA[name]


def problems(manifest: Manifest, corpus: Corpus) -> list[str]:
    """What differs from the published tables, missing audio, labels that cannot be or that training clips lack.

    That no speaker is in two splits and every intensity in [0, 1] is checked by `Manifest` itself.
    """
    found = []
    for split, published in corpus.counts.items():
        part = manifest.split(split)
        if len(part) != published.clips:
            found.append(f"{split}: {len(part):,} clips, published are {published.clips:,}")
        if published.speakers is not None and part.speakers and len(part.speakers) != published.speakers:
            found.append(f"{split}: {len(part.speakers):,} speakers, published are {published.speakers:,}")
    missing = [clip for clip in manifest if not clip.file.is_file()]
    if missing:
        found.append(f"{len(missing):,} audio files are missing, the first: {missing[0].file}")
    if corpus.peaked:
        labelled = ~np.isnan(manifest.intensities).any(axis=1)
        low = np.flatnonzero(labelled & (np.nan_to_num(manifest.intensities).max(axis=1) < 0.999))
        if len(low):
            first = manifest.rows[low[0]].id
            found.append(f"{len(low):,} labelled clips have no emotion of intensity 1, the first: {first}")
    return found + _impossible(manifest, corpus) + _lost(manifest, corpus)


def unknown(manifest: Manifest) -> list[str]:
    """One line about the further labels that no training clip has, if there are some: no release has all of them."""
    blank = _blank(manifest)
    labels = [label for label in manifest.labels if label in blank]
    return [f"no training clip has these labels: {_some(labels)}"] if labels else []


def _impossible(manifest: Manifest, corpus: Corpus) -> list[str]:
    """Labels that cannot be."""
    found = []
    for label in (label for label in manifest.labels if label in corpus.values):
        told = ((clip, corpus.values[label].problem(t)) for clip, t in zip(manifest, manifest.texts(label)) if t)
        wrong = [(clip, problem) for clip, problem in told if problem]
        if wrong:
            clip, problem = wrong[0]
            found.append(f"{len(wrong):,} clips have a {label} that cannot be, the first: {clip.id}, {problem}")
    return found


def _lost(manifest: Manifest, corpus: Corpus) -> list[str]:
    """Emotions that no training clip has, and labels that none has though it has others of their table."""
    blank = _blank(manifest)
    found = []
    for labels in (manifest.emotions.emotions, *corpus.together):
        lost = [label for label in labels if label in blank]
        if lost and (len(lost) < len(labels) or labels is manifest.emotions.emotions):
            found.append(f"no training clip has {_some(lost)}: is a column of the table renamed or empty?")
    return found


def _blank(manifest: Manifest) -> set[str]:
    """Emotions and labels that are unknown in all training clips."""
    train = manifest.split("train")
    if not len(train):
        return set()
    unknown = np.flatnonzero(np.isnan(train.intensities).all(axis=0))
    return {manifest.emotions.emotions[place] for place in unknown} | {
        label for label in manifest.labels if not any(train.texts(label))
    }


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def leaks(manifest: Manifest) -> list[Leak]:
    """Labels of validation and test clips that the nearest training clip by file number tells better than chance.

    Every group of digits in the ids is tried. In HUME-VOCALBURST the number follows country and split: three fifths of
    the validation clips have the country of the nearest training clip. EmoGator's names spell the category.
    """
    groups = [re.findall(r"\d+", clip.id) for clip in manifest]
    shared = min((len(group) for group in groups), default=0)
    numbers = [np.array([float(group[place][:300]) for group in groups]) for place in range(shared)]
    splits = np.array([clip.split for clip in manifest])
    found = []
    for name, values in _labels(manifest).items():
        for split in SPLITS[1:]:
            tried = [leak for column in numbers if (leak := _leak(name, split, column, values, splits)) is not None]
            found += sorted(tried, key=lambda leak: leak.score)[-1:]
    return found


def _labels(manifest: Manifest) -> dict[str, NDArray[np.float64] | NDArray[np.str_]]:
    """Strongest emotion, and every further label: numbers if all of its values are."""
    intensities = np.nan_to_num(manifest.intensities)
    strongest = np.array(["", *manifest.emotions.emotions])[np.where(intensities.any(1), intensities.argmax(1) + 1, 0)]
    found: dict[str, NDArray[np.float64] | NDArray[np.str_]] = {"the strongest emotion": strongest}
    for label in manifest.labels:
        try:
            found[label] = manifest.numbers(label)[:, 0]
        except VocalgenError:
            found[label] = np.array(manifest.texts(label))
    return found


def _leak(
    name: str,
    split: str,
    numbers: NDArray[np.float64],
    values: NDArray[np.float64] | NDArray[np.str_],
    splits: NDArray[np.str_],
) -> Leak | None:
    known = ~np.isnan(values.astype(np.float64)) if values.dtype.kind == "f" else values != ""
    train, asked = np.flatnonzero(known & (splits == "train")), np.flatnonzero(known & (splits == split))
    if min(len(train), len(asked)) < FEWEST:
        return None
    guessed = values[train[_nearest(numbers[train], numbers[asked])]]
    actual, n = values[asked], len(asked)
    if values.dtype.kind == "f":
        if guessed.std() == 0 or actual.std() == 0:
            return None
        told, true = guessed.astype(np.float64), actual.astype(np.float64)
        score, chance, error = float(np.corrcoef(told, true)[0, 1]), 0.0, 1 / np.sqrt(n)
    else:
        kinds, counts = np.unique(values[train], return_counts=True)
        score, chance = float((guessed == actual).mean()), float((actual == kinds[counts.argmax()]).mean())
        error = np.sqrt(max(chance * (1 - chance), 1 / n) / n)
    noticeable = score > chance + max(NOTICEABLE, 5 * float(error))
    return Leak(name, split, score, chance, n) if noticeable else None


def _nearest(known: NDArray[np.float64], asked: NDArray[np.float64]) -> NDArray[np.int64]:
    """Place in `known` of the number nearest to each asked one."""
    order = np.argsort(known, kind="stable")
    after = np.clip(np.searchsorted(known[order], asked), 1, len(known) - 1)
    before = after - 1
    nearer = asked - known[order][before] <= known[order][after] - asked
    return order[np.where(nearer, before, after)]
