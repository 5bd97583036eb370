"""What a rater hears, and in which order: a function of the study's seed, the rater, and what others have heard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from vocalgen.rating.study import Study


class Planned(NamedTuple):
    """A page.

    Args:
        clip: key of the copy.
        kind: "practice", "rating", "repeat" or "instructed".
        asked: emotion that an instructed page asks for.
    """

    clip: str
    kind: str
    asked: str | None = None


def emotion_order(study: Study, rater: int) -> list[str]:
    """The emotions as this rater sees them on every page."""
    emotions = study.settings.emotions
    return [emotions[index] for index in _random(study, rater, 0).permutation(len(emotions))]


def plan(study: Study, rater: int, heard: Mapping[str, int]) -> list[Planned]:
    """Practice, then the clips that fewest raters have or will have heard, shuffled, some of them once more at the end.

    Among all but the first of these are instructed pages, spread evenly: they play what was heard before, so that no
    clip is heard earlier than it should be, and ask for an emotion that it was not made for, if there is another.

    Args:
        heard: by key of a clip, how many count it as theirs.
    """
    settings, rng = study.settings, _random(study, rater, 1)
    rated = [clip.key for clip in study.rated]
    chance = rng.random(len(rated))
    fewest = sorted(range(len(rated)), key=lambda index: (heard.get(rated[index], 0), chance[index]))
    chosen = [rated[index] for index in fewest[: settings.clips_per_rater]]
    order = [chosen[index] for index in rng.permutation(len(chosen))]
    again = [order[index] for index in rng.permutation(len(order))[: settings.repeats]]
    practice = [Planned(clip.key, "practice") for clip in study.practice]
    main = [*(Planned(clip, "rating") for clip in order), *(Planned(clip, "repeat") for clip in again)]
    edges = np.linspace(1, len(main) + 1, settings.instructed + 1)  # behind the first page, at the earliest
    before = sorted(int(rng.uniform(*edges[turn : turn + 2])) for turn in range(settings.instructed))
    pages: list[Planned] = []
    for place, page in enumerate([*main, None]):
        pages += [_instructed(study, [*practice, *pages], rng) for _ in range(before.count(place))]
        pages += [] if page is None else [page]
    return [*practice, *pages]


def _instructed(study: Study, heard: list[Planned], rng: np.random.Generator) -> Planned:
    known = [page.clip for page in heard if page.kind == "practice"] or [page.clip for page in heard]
    clip = known[int(rng.integers(len(known)))]
    others = [name for name in study.settings.emotions if name != study.by_key[clip].emotion]
    asked = others or list(study.settings.emotions)
    return Planned(clip, "instructed", asked[int(rng.integers(len(asked)))])


def _random(study: Study, rater: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([study.settings.seed, rater, purpose])
