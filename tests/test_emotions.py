"""Vocabularies, names, mixtures."""

from __future__ import annotations

import doctest
import subprocess
import sys

import pytest

from vocalgen import VocalgenError, emotions
from vocalgen.emotions import (
    EMOGATOR30,
    HUME10,
    PROSODY9,
    SONATA25,
    VOCABULARIES,
    Vocabulary,
    condition_from_labels,
    get_vocabulary,
    match_vocabulary,
    one_hot,
    parse_condition,
    slug,
)

ALL = list(VOCABULARIES.values())


def test_docstring_examples() -> None:
    assert doctest.testmod(emotions).failed == 0


def test_sizes_and_official_order() -> None:
    assert [len(v) for v in ALL] == [10, 9, 25, 30]
    assert HUME10.emotions[0] == "Awe" and HUME10.emotions[-1] == "Surprise"
    assert PROSODY9.emotions[1] == "Boredom"
    assert EMOGATOR30.emotions[0] == "Adoration" and EMOGATOR30.emotions[17] == "Neutral"
    assert EMOGATOR30.emotions[29] == "Triumph"
    assert SONATA25.index("seductionecstasy") == 20 and SONATA25.index("surprisenegative") == 21


@pytest.mark.parametrize("vocabulary", ALL, ids=lambda v: v.name)
def test_every_name_and_slug_parses_to_its_own_one_hot(vocabulary: Vocabulary) -> None:
    for position, emotion in enumerate(vocabulary.emotions):
        for spelling in (
            emotion,
            slug(emotion),
            emotion.upper(),
            slug(emotion).replace("-", "_"),
            f" {emotion} ",
        ):
            condition = parse_condition(spelling, vocabulary)
            assert condition.intensities == one_hot(emotion, vocabulary)
            assert condition.intensities[position] == 1.0 and sum(condition.intensities) == 1.0
            assert condition.label == slug(emotion) and condition.notes == ()


def test_class_zero_is_a_condition_like_any_other() -> None:
    assert parse_condition("awe", HUME10).intensities[0] == 1.0
    assert parse_condition("adoration", EMOGATOR30).label == "adoration"


def test_mixture() -> None:
    condition = parse_condition("fear=0.3, Awe=0.70", HUME10)
    assert condition.intensities[0] == 0.7 and condition.intensities[4] == 0.3
    assert condition.label == "awe=0.7,fear=0.3"
    assert parse_condition(condition.label, HUME10) == condition
    assert parse_condition("awe,fear=0.5", HUME10).label == "awe=1,fear=0.5"
    assert parse_condition("awe=1", HUME10).label == "awe"
    assert parse_condition("awe=0.4", HUME10).label == "awe=0.4"
    assert parse_condition("awe=1,fear=0", HUME10).label == "awe"


@pytest.mark.parametrize(
    "text", ["surprise", "surprise=0.5,awe=0.25", "awkwardness", "excitement=0.1", "romantic love"]
)
def test_labels_parse_back(text: str) -> None:
    condition = parse_condition(text, EMOGATOR30)
    assert parse_condition(condition.label, EMOGATOR30).intensities == condition.intensities
    assert "/" not in condition.label and " " not in condition.label


def test_surprise_is_both_surprises_and_says_so() -> None:
    condition = parse_condition("Surprise", EMOGATOR30)
    assert [EMOGATOR30.emotions[k] for k, value in enumerate(condition.intensities) if value == 1.0] == [
        "Surprise (Negative)",
        "Surprise (Positive)",
    ]
    assert condition.label == "surprise"
    assert "approximated" in condition.notes[0]


@pytest.mark.parametrize(("asked", "given"), [("awkwardness", "Embarrassment"), ("EXCITEMENT", "Elation")])
def test_approximated_names(asked: str, given: str) -> None:
    condition = parse_condition(asked, EMOGATOR30)
    assert condition.intensities == one_hot(given, EMOGATOR30)
    assert given in condition.notes[0] and condition.label == asked.lower()
    assert parse_condition(asked, HUME10).notes == ()
    assert parse_condition(given, HUME10).notes != ()


def test_horror_explains_itself() -> None:
    with pytest.raises(VocalgenError, match=r"Horror has no counterpart in emogator-30.*nearest.*Fear"):
        parse_condition("horror", EMOGATOR30)
    assert parse_condition("horror", HUME10).label == "horror"


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(VocalgenError, match="did you mean triumph"):
        parse_condition("triumf", HUME10)
    with pytest.raises(VocalgenError, match="did you mean excitement"):
        parse_condition("exitement", EMOGATOR30)
    with pytest.raises(VocalgenError, match="known: awe, excitement"):
        parse_condition("zzz", HUME10)
    with pytest.raises(VocalgenError, match=r"did you mean surprise-(negative|positive) or"):
        EMOGATOR30.index("surprise")  # exact names only, so no approximated ones are suggested


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("awe,", "empty"),
        ("=0.3", "empty"),
        ("awe=1.5", "from 0 to 1"),
        ("awe=-0.1", "from 0 to 1"),
        ("awe=nan", "from 0 to 1"),
        ("awe=", "from 0 to 1"),
        ("awe=much", "from 0 to 1"),
        ("awe=0", "no weight above 0"),
        ("awe=0.2,awe=0.3", "twice"),
        ("awe=0.2,AWE=0.3", "twice"),
        ("embarrassment,awkwardness", "twice"),
        ("surprise,surprise-positive", "twice"),
    ],
)
def test_bad_text(text: str, message: str) -> None:
    with pytest.raises(VocalgenError, match=message) as caught:
        parse_condition(text, EMOGATOR30)
    assert "\n" not in str(caught.value)


def test_condition_from_labels() -> None:
    assert condition_from_labels({"Fear": 0.5, "awe": 1.0}, HUME10) == parse_condition("awe=1,fear=0.5", HUME10)
    with pytest.raises(VocalgenError, match="no weight"):
        condition_from_labels({}, HUME10)


def test_vocabulary_by_name_and_by_columns() -> None:
    assert get_vocabulary("EmoGator_30") is EMOGATOR30
    with pytest.raises(VocalgenError, match="choose one of hume-10"):
        get_vocabulary("hume-11")
    assert match_vocabulary(name.lower() for name in HUME10.emotions) is HUME10
    assert match_vocabulary(("b", "a"), "mine") == Vocabulary("mine", ("b", "a"))
    with pytest.raises(VocalgenError, match="same name"):
        Vocabulary("twice", ("Romantic Love", "romantic-love"))


def test_import_is_light() -> None:
    code = "import sys, vocalgen.emotions; sys.exit(bool({'numpy', 'torch', 'soundfile'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
