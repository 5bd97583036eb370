"""Labels that the names of files give away."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocalgen.corpora.manifest import SPLITS, Manifest
from vocalgen.errors import VocalgenError

FEWEST = 30
"""Labelled clips of a split below which nothing is said."""

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
