"""Emotion vocabularies, names people type, and conditions: "awe=0.7,fear=0.3" -> an intensity vector.

A vocabulary is an ordered tuple of names; the order is that of label columns and of the condition vector.
Case, spaces and punctuation in names do not matter: "surprise-negative" is "Surprise (Negative)".
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

from vocalgen.errors import VocalgenError


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def _key(name: str) -> str:
    return "".join(re.findall(r"[^\W_]+", _plain(name)))


@dataclass(frozen=True)
class Vocabulary:
    """An ordered set of emotion names.

    Args:
        name: how commands and files refer to it, e.g. "hume-10".
        emotions: names in their official order.

    Raises:
        VocalgenError: no names, or two names that differ only in case or punctuation.
    """

    name: str
    emotions: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.emotions:
            raise VocalgenError(f"vocabulary {self.name} has no emotions; give at least one name")
        seen: dict[str, str] = {}
        for emotion in self.emotions:
            key = _key(emotion)
            if not key:
                raise VocalgenError(f"vocabulary {self.name}: {emotion!r} is not a name; use letters or digits")
            if key in seen:
                raise VocalgenError(
                    f"vocabulary {self.name}: {seen[key]!r} and {emotion!r} are the same name; drop one"
                )
            seen[key] = emotion

    def __len__(self) -> int:
        return len(self.emotions)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _key(name) in self._positions

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {_key(emotion): position for position, emotion in enumerate(self.emotions)}

    @property
    def slugs(self) -> tuple[str, ...]:
        """File-name friendly names, in order."""
        return tuple(slug(emotion) for emotion in self.emotions)

    def index(self, name: str) -> int:
        """Position of `name`, exact names only (see `parse_condition` for approximations).

        Raises:
            VocalgenError: unknown name; the message holds the nearest known ones.

        >>> HUME10.index("AWE"), EMOGATOR30.index("surprise_positive")
        (0, 27)
        """
        try:
            return self._positions[_key(name)]
        except KeyError:
            raise _unknown(name, self, approximations=False) from None


HUME10 = Vocabulary(
    "hume-10",
    (
        "Awe", "Excitement", "Amusement", "Awkwardness", "Fear", "Horror", "Distress", "Triumph", "Sadness",
        "Surprise",
    ),
)  # fmt: skip
"""HUME-VOCALBURST, ExVo and A-VB order (arXiv 2205.01780)."""

PROSODY9 = Vocabulary(
    "prosody-9",
    (
        "Anger", "Boredom", "Calmness", "Concentration", "Determination", "Excitement", "Interest",
        "Sadness", "Tiredness",
    ),
)  # fmt: skip
"""HUME-PROSODY as used by the ComParE 2023 Emotion Share task."""

SONATA25 = Vocabulary(
    "sonata-25",
    (
        "Adoration", "Amusement", "Anger", "Awe", "Confusion", "Contempt", "Contentment", "Desire",
        "Disappointment", "Disgust", "Distress", "Elation", "Embarrassment", "Fear", "Hype", "Interest",
        "Pain", "Realization", "Relief", "Sadness", "Seduction/Ecstasy", "Surprise (Negative)",
        "Surprise (Positive)", "Sympathy", "Triumph",
    ),
)  # fmt: skip
"""MODULATE-SONATA's 25 acted emotions (arXiv 2403.14048, section 2.3), in alphabetical order."""

EMOGATOR30 = Vocabulary(
    "emogator-30",
    (
        "Adoration", "Amusement", "Anger", "Awe", "Confusion", "Contempt", "Contentment", "Desire",
        "Disappointment", "Disgust", "Distress", "Ecstasy", "Elation", "Embarrassment", "Fear", "Guilt",
        "Interest", "Neutral", "Pain", "Pride", "Realization", "Relief", "Romantic Love", "Sadness",
        "Serenity", "Shame", "Surprise (Negative)", "Surprise (Positive)", "Sympathy", "Triumph",
    ),
)  # fmt: skip
"""EmoGator's categories 01-30 (arXiv 2301.00508)."""

VOCABULARIES: dict[str, Vocabulary] = {v.name: v for v in (HUME10, PROSODY9, SONATA25, EMOGATOR30)}

# A name one vocabulary has and another lacks -> the names that come close enough to stand in, with a note.
# Looked up only after an exact match failed, and taken only if all of them are there.
_APPROXIMATIONS: dict[str, tuple[str, ...]] = {
    "surprise": ("Surprise (Negative)", "Surprise (Positive)"),
    "surprisenegative": ("Surprise",),
    "surprisepositive": ("Surprise",),
    "awkwardness": ("Embarrassment",),
    "embarrassment": ("Awkwardness",),
    "excitement": ("Elation",),
    "elation": ("Excitement",),
}

# Names that deserve an explanation rather than a substitute.
_NO_COUNTERPART: dict[str, str] = {"horror": "Fear"}

_RESPELLED: dict[str, str] = {"realisation": "Realization"}


@dataclass(frozen=True)
class Condition:
    """What a clip shall express.

    Args:
        intensities: one value in [0, 1] per emotion of the vocabulary, not all zero.
        label: file-name friendly canonical text, e.g. "awe" or "awe=0.7,fear=0.3"; parses back to the same.
        notes: sentences for the user about names that were approximated.
    """

    intensities: tuple[float, ...]
    label: str
    notes: tuple[str, ...] = ()


def slug(name: str) -> str:
    """Lower-case name with hyphens, safe in file names.

    >>> slug("Surprise (Negative)"), slug("Romantic Love"), slug("Seduction/Ecstasy")
    ('surprise-negative', 'romantic-love', 'seduction-ecstasy')
    """
    return "-".join(re.findall(r"\w+", _plain(name).replace("_", " ")))


def get_vocabulary(name: str) -> Vocabulary:
    """The vocabulary called `name` ("hume-10", "prosody-9", "sonata-25", "emogator-30").

    Raises:
        VocalgenError: unknown name.
    """
    by_key = {_key(known): vocabulary for known, vocabulary in VOCABULARIES.items()}
    if _key(name) not in by_key:
        raise VocalgenError(f"unknown vocabulary {name!r}; choose one of {', '.join(VOCABULARIES)}")
    return by_key[_key(name)]


def match_vocabulary(emotions: Iterable[str], otherwise: str = "custom") -> Vocabulary:
    """The known vocabulary with exactly these names in this order, or a new one called `otherwise`."""
    names = tuple(emotions)
    for vocabulary in VOCABULARIES.values():
        if tuple(map(_key, vocabulary.emotions)) == tuple(map(_key, names)):
            return vocabulary
    return Vocabulary(otherwise, names)


def one_hot(name: str, vocabulary: Vocabulary) -> tuple[float, ...]:
    """Intensity 1.0 for `name` (an exact name of the vocabulary), 0.0 elsewhere; length `len(vocabulary)`."""
    position = vocabulary.index(name)
    return tuple(float(k == position) for k in range(len(vocabulary)))


def parse_condition(text: str, vocabulary: Vocabulary) -> Condition:
    """Read an emotion or a mixture as people type it.

    Args:
        text: "awe", or comma-separated names with weights in [0, 1], "awe=0.7,fear=0.3"; a bare name has 1.
        vocabulary: the names the model or corpus knows. Some names it lacks are approximated, with a note:
            Surprise by both surprises, Awkwardness by Embarrassment, Excitement by Elation, and back.

    Raises:
        VocalgenError: unknown name (the nearest are suggested), a name without counterpart (Horror on
            EmoGator), a weight outside [0, 1] or not a number, an emotion named twice, nothing above 0.

    >>> parse_condition("fear=.30, Awe=0.7", HUME10).label
    'awe=0.7,fear=0.3'
    >>> parse_condition("surprise", EMOGATOR30).notes
    ('Surprise is approximated by Surprise (Negative) + Surprise (Positive): emogator-30 has no Surprise',)
    """
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not name:
            raise VocalgenError(
                f"emotion {text!r} has an empty part; write a name, or a mixture such as awe=0.7,fear=0.3"
            )
        if name in weights:
            raise VocalgenError(f"emotion {text!r} names {name} twice; give it one weight")
        weights[name] = _weight(value, name, text) if equals else 1.0
    return condition_from_labels(weights, vocabulary)


def condition_from_labels(labels: Mapping[str, float], vocabulary: Vocabulary) -> Condition:
    """Condition from emotion names and intensities in [0, 1]; names and errors as in `parse_condition`.

    >>> condition_from_labels({"Awe": 0.25, "Fear": 0.0}, HUME10).label
    'awe=0.25'
    """
    text = ",".join(f"{name}={value}" for name, value in labels.items())
    intensities = [0.0] * len(vocabulary)
    named_by: dict[int, str] = {}
    spoken: list[tuple[int, str, float]] = []
    notes: list[str] = []
    for name, value in labels.items():
        weight = _weight(value, name, text)
        positions, note = _resolve(name, vocabulary)
        for position in positions:
            if position in named_by:
                emotion = vocabulary.emotions[position]
                raise VocalgenError(
                    f"emotion {text!r} sets {emotion} twice (as {named_by[position]} and {name}); drop one"
                )
            named_by[position] = name
            intensities[position] = weight
        if weight > 0:
            exact = len(positions) == 1 and not note
            spoken.append((positions[0], slug(vocabulary.emotions[positions[0]] if exact else name), weight))
            if note:
                notes.append(note)
    if not spoken:
        raise VocalgenError(f"emotion {text!r} has no weight above 0; raise at least one to at most 1")
    return Condition(tuple(intensities), _label(spoken), tuple(notes))


def _label(spoken: list[tuple[int, str, float]]) -> str:
    spoken = sorted(spoken)
    if len(spoken) == 1 and spoken[0][2] == 1.0:
        return spoken[0][1]
    return ",".join(f"{name}={int(weight) if weight == 1 else repr(weight)}" for _, name, weight in spoken)


def _resolve(name: str, vocabulary: Vocabulary) -> tuple[tuple[int, ...], str]:
    """Positions a name stands for, and the note that says how it was approximated (empty when exact)."""
    key = _key(name)
    if key in _RESPELLED and name not in vocabulary:
        name, key = _RESPELLED[key], _key(_RESPELLED[key])
    if name in vocabulary:
        return (vocabulary.index(name),), ""
    title = slug(name).replace("-", " ").title()
    names = _APPROXIMATIONS.get(key, ())
    if names and all(candidate in vocabulary for candidate in names):
        note = f"{title} is approximated by {' + '.join(names)}: {vocabulary.name} has no {title}"
        return tuple(vocabulary.index(candidate) for candidate in names), note
    nearest = _NO_COUNTERPART.get(key)
    if nearest is not None and nearest in vocabulary:
        raise VocalgenError(
            f"{title} has no counterpart in {vocabulary.name}: it holds no clips of {title.lower()}, and the "
            f"nearest of its {len(vocabulary)} emotions, {nearest}, is not the same; "
            f"ask for {slug(nearest)} if that will do"
        )
    raise _unknown(name, vocabulary)


def _weight(value: object, name: str, text: str) -> float:
    try:
        weight = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        weight = math.nan
    if not 0.0 <= weight <= 1.0:
        raise VocalgenError(f"emotion {text!r}: the weight of {name} is {value!r}; give a number from 0 to 1")
    return weight + 0.0  # -0.0 becomes 0.0


def _unknown(name: str, vocabulary: Vocabulary, approximations: bool = True) -> VocalgenError:
    keys = {_key(emotion): slug(emotion) for emotion in vocabulary.emotions}
    for alias, names in _APPROXIMATIONS.items() if approximations else ():
        if all(candidate in vocabulary for candidate in names):
            keys.setdefault(alias, alias)
    near = [keys[key] for key in get_close_matches(_key(name), keys, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(vocabulary.slugs)}"
    return VocalgenError(f"unknown emotion {name!r} for {vocabulary.name}; {hint}")
