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
    """Practice, then the clips that fewest raters have or will have heard, shuffled, some of them heard once more.

    Of clips that equally many have heard, those come first whose emotion this rater hears least. Clips that are heard
    again come from the first half of the order, at most all of it, and are spread through the second half; at least a
    quarter of the order, `n // 4` clips of n, lies between both times. Among all pages but the first of these are
    instructed pages, spread evenly: they play what was heard before, so that no clip is heard earlier than it should
    be, and ask for an emotion that it was not made for, if there is another.

    Args:
        heard: by key of a clip, how many count it as theirs.
    """
    settings, rng = study.settings, _random(study, rater, 1)
    chosen = _choose(study, heard, rng)
    order = [chosen[index] for index in rng.permutation(len(chosen))]
    practice = [Planned(clip.key, "practice") for clip in study.practice]
    main = _with_repeats(order, settings.repeats, rng)
    edges = np.linspace(1, len(main) + 1, settings.instructed + 1)  # behind the first page, at the earliest
    before = sorted(int(rng.uniform(*edges[turn : turn + 2])) for turn in range(settings.instructed))
    pages: list[Planned] = []
    for place, page in enumerate([*main, None]):
        pages += [_instructed(study, [*practice, *pages], rng) for _ in range(before.count(place))]
        pages += [] if page is None else [page]
    return [*practice, *pages]


def _choose(study: Study, heard: Mapping[str, int], rng: np.random.Generator) -> list[str]:
    """Clips for a rater, from those that wait: by emotion (heard by how many, chance, clip), the next one last."""
    waiting: dict[str, list[tuple[int, float, str]]] = {}
    for clip in study.rated:
        waiting.setdefault(clip.emotion, []).append((heard.get(clip.key, 0), rng.random(), clip.key))
    for clips in waiting.values():
        clips.sort(reverse=True)
    own = dict.fromkeys(waiting, 0)
    chosen: list[str] = []
    while waiting and len(chosen) != study.settings.clips_per_rater:
        emotion = min(waiting, key=lambda name: (waiting[name][-1][0], own[name], waiting[name][-1][1]))
        chosen.append(waiting[emotion].pop()[2])
        own[emotion] += 1
        if not waiting[emotion]:
            del waiting[emotion]
    return chosen


def _with_repeats(order: list[str], repeats: int, rng: np.random.Generator) -> list[Planned]:
    clips, half = len(order), (len(order) + 1) // 2
    firsts = sorted(int(index) for index in rng.permutation(half)[:repeats])
    edges = np.linspace(half, clips, len(firsts) + 1)
    after = [  # how many clips of the order are heard before each second time
        max(int(rng.integers(int(edges[turn]), int(edges[turn + 1]) + 1)), first + 1 + clips // 4)
        for turn, first in enumerate(firsts)
    ]
    pages: list[Planned] = []
    for place, clip in enumerate([*order, None]):
        pages += [Planned(order[first], "repeat") for first, count in zip(firsts, after, strict=True) if count == place]
        pages += [] if clip is None else [Planned(clip, "rating")]
    return pages


def _instructed(study: Study, heard: list[Planned], rng: np.random.Generator) -> Planned:
    known = [page.clip for page in heard if page.kind == "practice"] or [page.clip for page in heard]
    clip = known[int(rng.integers(len(known)))]
    others = [name for name in study.settings.emotions if name != study.by_key[clip].emotion]
    asked = others or list(study.settings.emotions)
    return Planned(clip, "instructed", asked[int(rng.integers(len(asked)))])


def _random(study: Study, rater: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([study.settings.seed, rater, purpose])
