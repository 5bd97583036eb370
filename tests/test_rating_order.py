"""What raters hear and when: balance, and how far apart both times of a clip are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from vocalgen.rating.order import Planned, plan
from vocalgen.rating.study import Settings, Study, StudyClip

EMOTIONS = ("Awe", "Fear", "Horror", "Sadness", "Triumph")


def study_of(clips: int, emotions: int = 5, **changes: object) -> Study:
    """A study without sounds; the clips in turn of each emotion."""
    names = EMOTIONS[:emotions]
    made = tuple(
        StudyClip(f"{n:016x}", f"{n}.wav", names[n % emotions], "", 1.0, -23.0, 0.0, -1.0, "", False)
        for n in range(clips)
    )
    return Study(Path(), Settings(emotions=names, **{"practice": 0, "instructed": 0, **changes}), made, {}, {})  # type: ignore[arg-type]


def places(pages: list[Planned], kind: str) -> dict[str, int]:
    return {page.clip: place for place, page in enumerate(pages) if page.kind == kind}


@pytest.mark.parametrize(
    ("clips", "repeats", "heard"),
    [(50, 3, None), (50, 3, 10), (50, 5, 20), (12, 6, None), (7, 3, None), (2, 1, None), (50, 0, 10)],
)
def test_second_times_come_late_and_spread(clips: int, repeats: int, heard: int | None) -> None:
    study, n = study_of(clips, repeats=repeats, clips_per_rater=heard), heard or clips
    where = []
    for rater in range(1, 301):
        pages = plan(study, rater, {})
        assert pages == plan(study, rater, {})  # a function of seed and rater
        first, again = places(pages, "rating"), places(pages, "repeat")
        assert len(first) == n and len(again) == repeats and len(pages) == n + repeats
        order = list(first)
        assert all(clip in order[: (n + 1) // 2] for clip in again)
        for clip, place in again.items():
            between = [page for page in pages[first[clip] + 1 : place] if page.kind == "rating"]
            assert len(between) >= n // 4
            assert sum(page.kind == "rating" for page in pages[:place]) >= (n + 1) // 2
        where.append(sorted(again.values()))
    if repeats:
        assert len({tuple(found) for found in where}) > (1 if n > 2 else 0)
    if n == 50:
        middle = np.array(where).mean(axis=0)
        assert np.diff(middle).min() > 4  # spread, not in a heap
        assert middle.max() < n  # and not all behind the last clip


def test_more_second_times_than_half_the_clips_are_not_planned() -> None:
    kinds = Counter(page.kind for page in plan(study_of(7, repeats=99), 1, {}))
    assert kinds == {"rating": 7, "repeat": 4}


@pytest.mark.parametrize("heard", [1, 4, 10, 13])
def test_a_rater_hears_all_emotions_about_equally_often(heard: int) -> None:
    study = study_of(50, clips_per_rater=heard, repeats=0)
    firsts = Counter()
    counts: Counter[str] = Counter()
    for rater in range(1, 101):
        pages = plan(study, rater, counts)
        counts.update(page.clip for page in pages)
        own = Counter(study.by_key[page.clip].emotion for page in pages)
        if rater <= 50 // heard or heard == 10:
            assert max(own.values()) - min(own[name] for name in EMOTIONS) <= 1, rater
        firsts[pages[0].clip] += 1
    assert (
        max(counts.values()) - min(counts[clip.key] for clip in study.rated) <= 1
    )  # every clip equally often, first of all
    assert len(firsts) > 20


def test_what_fewest_have_heard_comes_before_balance() -> None:
    study = study_of(10, emotions=2, clips_per_rater=4, repeats=0)
    counts = {clip.key: int(clip.emotion == "Awe") for clip in study.rated}
    pages = plan(study, 1, counts)
    assert {study.by_key[page.clip].emotion for page in pages} == {"Fear"}
