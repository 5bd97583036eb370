"""Does a manifest hold what its corpus is published to hold, and has it all of its labels and clips?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from vocalgen.corpora import emogator, hume_prosody, hume_vocalburst, sonata
from vocalgen.corpora.cells import Column
from vocalgen.corpora.manifest import EXCLUDING_FLAGS, FLAGS, SPLITS, Manifest
from vocalgen.corpora.names import similar_hint
from vocalgen.corpora.words import count, some
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
        together: labels of one table, which a release has or has not.
        partial: labels of which a clip may have some only.
        digits: length of ids that are numbers, as submissions need them; 0 where any will do.
    """

    vocabulary: Vocabulary
    counts: Mapping[str, Counts]
    peaked: bool = False
    values: Mapping[str, Column] = field(default_factory=dict)
    together: Sequence[Sequence[str]] = ()
    partial: Sequence[str] = ()
    digits: int = 0


CORPORA = {
    "emogator": Corpus(EMOGATOR30, {split: Counts(*found) for split, found in emogator.EXPECTED.items()}, True),
    "hume-vocalburst": Corpus(
        HUME10,
        {name: Counts(*found) for name, found in hume_vocalburst.EXPECTED.items()},
        True,
        hume_vocalburst.VALUES,
        (("Valence", "Arousal"), hume_vocalburst.CULTURE),
        hume_vocalburst.CULTURE,
        hume_vocalburst.ID_DIGITS,
    ),
    "hume-prosody": Corpus(PROSODY9, {name: Counts(clips, None) for name, clips in hume_prosody.EXPECTED.items()}),
    "modulate-sonata": Corpus(SONATA25, {name: Counts(*found) for name, found in sonata.EXPECTED.items()}, True),
}
"""By the name `vocalgen data prepare` calls them."""

OWN = "folder"
"""Name of anybody's own clips, of which nothing is published."""


def corpus_of(manifest: Manifest, name: str | None = None) -> Corpus:
    """The corpus by name; without one that whose emotions the manifest has, or else anybody's own.

    Raises:
        VocalgenError: unknown name; a manifest of other emotions.
    """
    own = Corpus(manifest.emotions, {})
    if name is not None and name not in (*CORPORA, OWN):
        raise VocalgenError(f"unknown corpus {name!r}; choose one of {', '.join((*CORPORA, OWN))}")
    fitting = [corpus for corpus in CORPORA.values() if corpus.vocabulary.emotions == manifest.emotions.emotions]
    if name is None:
        return fitting[0] if fitting else own
    if name != OWN and CORPORA[name] not in fitting:
        raise VocalgenError(f"the manifest has the emotions of {manifest.emotions.name}, not those of {name}")
    return CORPORA.get(name, own)


def problems(manifest: Manifest, corpus: Corpus) -> list[str]:
    """What differs from the published tables; missing audio; labels that cannot be, or that are lost.

    That no speaker is in two splits and every intensity in [0, 1] is checked by `Manifest` itself.
    """
    found = []
    for split, published in corpus.counts.items():
        part = manifest.split(split)
        if len(part) != published.clips:
            found.append(f"{split}: {count(len(part), 'clip')}, published are {published.clips:,}")
        if published.speakers is not None and part.speakers and len(part.speakers) != published.speakers:
            found.append(f"{split}: {count(len(part.speakers), 'speaker')}, published are {published.speakers:,}")
    try:
        found += missing_files(manifest)
    except VocalgenError as error:
        found.append(str(error))
    files = Counter(clip.file for clip in manifest)
    shared = [clip.id for clip in manifest if files[clip.file] > 1]
    if shared:
        found.append(f"{count(len(shared), 'clip')} with the file of another: {some(shared)}")
    if corpus.peaked:
        labelled = ~np.isnan(manifest.intensities).any(axis=1)
        low = np.flatnonzero(labelled & (np.nan_to_num(manifest.intensities).max(axis=1, initial=0.0) < 0.999))
        if len(low):
            first = manifest.rows[low[0]].id
            found.append(f"{count(len(low), 'labelled clip')} without an emotion of intensity 1, the first: {first}")
    cut = [clip.id for clip in manifest if clip.id.isdecimal() and len(clip.id) != (corpus.digits or len(clip.id))]
    if cut:
        found.append(
            f"{count(len(cut), 'id')} without {corpus.digits} digits: {some(cut)}; did a spreadsheet drop zeros?"
        )
    found += _impossible(manifest, corpus) + _lost(manifest, corpus)
    return found + [f"{what}: {some(clips)}" for what, clips in incomplete(manifest, corpus).items()]


def flagged(manifest: Manifest) -> list[str]:
    """A line for every flag for which clips are left out, and one if none was measured."""
    by_flag = {flag: [clip.id for clip in manifest if flag in clip.flags] for flag in FLAGS if flag in EXCLUDING_FLAGS}
    found = [f"{count(len(clips), 'clip')} left out, {flag}: {some(clips)}" for flag, clips in by_flag.items() if clips]
    if all(np.isnan(clip.seconds) and not clip.flags for clip in manifest):
        found.append("no clip was listened to; prepare the corpus without --no-verify")
    return found


def incomplete(manifest: Manifest, corpus: Corpus) -> dict[str, list[str]]:
    """Ids of training and validation clips that lack what others of their split have, by what they lack.

    That is speakers, emotions, and the further labels whose values the corpus gives.
    """
    found = {}
    for split in SPLITS[:2]:
        part = manifest.split(split)
        for what, known in _known(part, corpus):
            clips = [clip.id for clip, knows in zip(part, known, strict=True) if not knows]
            if 0 < len(clips) < len(part):
                found[f"{count(len(clips), f'{split} clip')} with unknown {what}"] = clips
    return found


def unseen_emotions(manifest: Manifest) -> list[str]:
    """Return a line for each split that lacks emotions which another split has; a split without labels has none.

    A split of few speakers may have been drawn so; recognisers cannot learn, and measures cannot tell, what it lacks.
    """
    present: dict[str, list[str]] = {}
    for split in SPLITS:
        values = manifest.split(split).intensities
        if not np.isnan(values).all():
            places = np.flatnonzero((values > 0).any(axis=0))
            present[split] = [manifest.emotions.emotions[place] for place in places]
    anywhere = dict.fromkeys(name for names in present.values() for name in names)
    lacking = {split: [name for name in anywhere if name not in names] for split, names in present.items()}
    return [f"{split} has no clip of {some(names)}" for split, names in lacking.items() if names]


def missing_files(manifest: Manifest) -> list[str]:
    """Return a line about clips whose file is not there, with what may be meant for the first.

    Raises:
        VocalgenError: none of the files is there.
    """
    missing = [clip.file for clip in manifest if not clip.file.is_file()]
    if not missing:
        return []
    meant = similar_hint(missing[0])
    if len(missing) == len(manifest):
        raise VocalgenError(
            f"none of the audio files is there ({len(manifest):,} in all), the first is {missing[0]}"
            f"{meant or '; check the paths of the table'}"
        )
    return [f"{count(len(missing), 'audio file')} missing, the first: {missing[0]}{meant}"]


def _known(part: Manifest, corpus: Corpus) -> Iterator[tuple[str, Sequence[bool]]]:
    """Whether each clip has what a release tells of it."""
    yield "speaker", [bool(clip.speaker) for clip in part]
    known = ~np.isnan(part.intensities)
    carried = known[:, known.any(axis=0)]
    yield "emotions", (carried.all(axis=1) & (carried.shape[1] > 0)).tolist()
    for label in (label for label in part.labels if label in corpus.values and label not in corpus.partial):
        yield label, [bool(text) for text in part.texts(label)]
    partial = [part.texts(label) for label in part.labels if label in corpus.partial]
    if partial:
        yield some(corpus.partial), [any(texts) for texts in zip(*partial, strict=True)]


def _impossible(manifest: Manifest, corpus: Corpus) -> list[str]:
    """Labels that cannot be."""
    found = []
    for label in (label for label in manifest.labels if label in corpus.values):
        told = ((clip, corpus.values[label].problem(t)) for clip, t in zip(manifest, manifest.texts(label)) if t)
        wrong = [(clip, problem) for clip, problem in told if problem]
        if wrong:
            clip, problem = wrong[0]
            found.append(f"{count(len(wrong), 'clip')} with impossible {label}, the first: {clip.id}, {problem}")
    return found


def _lost(manifest: Manifest, corpus: Corpus) -> list[str]:
    """Emotions and labels that no training clip has, though it has others of their table, or another split has them.

    A release has emotions, unless it has but a table of other labels.
    """
    if not len(manifest.split("train")):
        return []
    told, anywhere = _told(manifest.split("train")), _told(manifest)
    emotions = manifest.emotions.emotions
    tables = [emotions, *corpus.together]
    tables += [(label,) for label in manifest.labels if not any(label in table for table in corpus.together)]
    found = []
    for table in tables:
        lost = [name for name in table if name in (*emotions, *manifest.labels) and name not in told]
        needed = anywhere.intersection(table) or (table is emotions and not (corpus.together and told))
        if lost and needed:
            found.append(f"no training clip has {some(lost)}: is a column of the table renamed or empty?")
    return found


def _told(part: Manifest) -> set[str]:
    """Emotions and labels that a clip has."""
    known = np.flatnonzero(~np.isnan(part.intensities).all(axis=0))
    labels = {label for label in part.labels if any(part.texts(label))}
    return labels | {part.emotions.emotions[place] for place in known}
