"""MODULATE-SONATA (arXiv 2403.14048, section 2.3): long recordings of actors in roles, cut into emotional sentences.

A recording comes with a text that says at what time which sentence of which emotion is spoken. How the release names
its files and writes its times is not public, so both are described by a mapping, a YAML file:

    recording: "(?P<actor>[^/]+)/(?P<role>[^/]+)[.]mp3"     # whole path below the corpus folder
    text: "{actor}/{role}.txt"                              # the text of a recording
    line: "(?P<start>[0-9:.]+)-(?P<end>[0-9:.]+) +(?P<emotion>[A-Za-z/ ()]+): *(?P<sentence>.*)"
    splits: {train: [anna, ben], validation: [cleo], test: [dan]}      # actors; left out: drawn by actor

`end` may be missing from the line: a sentence then lasts until the next one begins. Lines that do not match are
left out and listed; sentences that overlap are listed and stay.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import yaml

from vocalgen import audio
from vocalgen.corpora.folder import draw_splits
from vocalgen.corpora.manifest import SPLITS, Clip, Manifest
from vocalgen.corpora.table import read_text
from vocalgen.corpora.words import count
from vocalgen.emotions import SONATA25, one_hot
from vocalgen.errors import VocalgenError
from vocalgen.ownership import FolderKind, begin_index, remove

EXPECTED = {"train": (516, 16), "validation": (125, 4), "test": (115, 3)}
"""Segments and actors of each split (white paper, table 3, which sums to 756; table 4 gives another split of 753)."""

LABELS = ("Role", "Sentence")
"""Further labels. Every emotion has sentences of its own: a recogniser may read the words and not the voice."""

SHORTEST = 0.1
"""Seconds below which a segment is a mistake."""

BEYOND = 0.5
"""Seconds by which a segment may end behind its recording, whose codec may have cut it."""

_MARK = 12


SEGMENTS = FolderKind("segments of recordings")


@dataclass(frozen=True)
class Layout:
    """What the YAML file says, checked."""

    recording: re.Pattern[str]
    text: str
    line: re.Pattern[str]
    splits: Mapping[str, str]
    """Split by actor; empty: they are drawn."""


@dataclass(frozen=True)
class Segment:
    """One sentence of a recording.

    Args:
        id: actor, role and start in milliseconds.
        recording: audio file.
        start, end: seconds; `end` is infinite for the last one of a recording whose lines have no ends.
    """

    id: str
    recording: Path
    actor: str
    role: str
    emotion: str
    sentence: str
    start: float
    end: float


def read_layout(path: str | os.PathLike[str]) -> Layout:
    """Read the YAML file.

    Raises:
        VocalgenError: it cannot be read, has unknown or missing keys, or a pattern that is none or lacks a group.
    """
    try:
        values = yaml.safe_load(read_text(Path(path), "mapping"))
    except yaml.YAMLError as error:
        raise VocalgenError(f"cannot read the mapping {path} ({' '.join(str(error).split())})") from error
    if not isinstance(values, dict):
        raise VocalgenError(f"{path} is no mapping of keys to values")
    known = {"recording", "text", "line", "splits"}
    wrong = sorted(set(values) - known) or sorted({"recording", "text", "line"} - set(values))
    if wrong:
        problem = "missing" if wrong[0] in known else "unknown"
        raise VocalgenError(
            f"{path}: {wrong[0]!r} is {problem}; a mapping has recording, text, line and, maybe, splits"
        )
    recording = _pattern(path, "recording", values["recording"], ("actor",))
    text = str(values["text"])
    unnamed = set(re.findall(r"{(\w*)}", text)) - set(recording.groupindex)
    if unnamed:
        raise VocalgenError(f"{path}: text has {{{sorted(unnamed)[0]}}}, which is no group of recording")
    splits = values.get("splits") or {}
    if not isinstance(splits, dict) or not all(isinstance(actors, list) for actors in splits.values()):
        raise VocalgenError(f"{path}: splits is no table of actors by split, such as {{train: [anna], test: [ben]}}")
    unknown = sorted(set(splits) - set(SPLITS))
    if unknown:
        raise VocalgenError(f"{path}: split {unknown[0]!r} is none of {', '.join(SPLITS)}")
    by_actor: dict[str, str] = {}
    for split, actors in splits.items():
        for actor in map(str, actors or ()):
            if by_actor.setdefault(actor, split) != split:
                raise VocalgenError(f"{path}: actor {actor} is in {by_actor[actor]} and in {split}")
    return Layout(recording, text, _pattern(path, "line", values["line"], ("start", "emotion")), by_actor)


def _pattern(path: str | os.PathLike[str], key: str, text: object, groups: tuple[str, ...]) -> re.Pattern[str]:
    try:
        pattern = re.compile(str(text))
    except re.error as error:
        raise VocalgenError(f"{path}: {key} is no regular expression ({error})") from error
    lacking = [group for group in groups if group not in pattern.groupindex]
    if lacking:
        raise VocalgenError(f"{path}: {key} lacks the group (?P<{lacking[0]}>...)")
    return pattern


def segments(folder: str | os.PathLike[str], mapping: Layout) -> tuple[list[Segment], tuple[str, ...]]:
    """All sentences of all recordings, and remarks about lines that were not understood and sentences that overlap.

    Raises:
        VocalgenError: no recording matches; a text is missing, cannot be read or lies elsewhere than below the folder;
            a time that is none, or that ends before it begins; an emotion that is none of the 25; two segments of one
            name.
    """
    root = Path(os.path.abspath(folder))
    if not root.is_dir():
        raise VocalgenError(f"{folder} is not a folder")
    found: list[Segment] = []
    skipped: list[str] = []
    names = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}
    texts: set[Path] = set()
    for name, path in names.items():
        match = mapping.recording.fullmatch(name)
        if match is not None:
            text = _text_of(match.groupdict(), root, mapping)
            found += _of_recording(path, text, match.groupdict(), root, mapping, skipped)
            texts.add(text)
    if not found:
        raise VocalgenError(f"{folder}: no recording with a sentence matches {mapping.recording.pattern!r}")
    by_name: dict[str, Segment] = {}
    for segment in found:
        first = by_name.setdefault(segment.id, segment)
        if first.recording != segment.recording:
            raise VocalgenError(f"two recordings make a segment {first.id}; let `recording` name actor and role apart")
        if first is not segment:
            raise VocalgenError(f"{first.recording}: two sentences begin at {first.start:g} s; mend the times")
    pattern = re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(mapping.text)))
    alone = [name for name, path in names.items() if pattern.fullmatch(name) and path not in texts]
    overlapping = list(_overlapping(found))
    remarks = [f"{count(len(skipped), 'line')} of text not understood: {', '.join(skipped)}"] if skipped else []
    if overlapping:
        remarks.append(f"{count(len(overlapping), 'segment')} overlapping the next: {', '.join(overlapping)}")
    if alone:
        remarks.append(f"{count(len(alone), 'text')} without a recording: {', '.join(alone)}")
    return found, tuple(remarks)


def _text_of(groups: Mapping[str, str | None], root: Path, mapping: Layout) -> Path:
    named = {key: value or "" for key, value in groups.items()}
    return Path(os.path.normpath(root / re.sub(r"{(\w+)}", lambda field: named[field[1]], mapping.text)))


def _overlapping(found: Iterable[Segment]) -> Iterator[str]:
    """Ids of the segments that end behind the beginning of the next one of their recording."""
    for one, following in pairwise(sorted(found, key=lambda segment: (segment.recording, segment.start))):
        if one.recording == following.recording and one.end > following.start:
            yield one.id


def _of_recording(
    path: Path, text: Path, groups: Mapping[str, str | None], root: Path, mapping: Layout, skipped: list[str]
) -> list[Segment]:
    named = {key: value or "" for key, value in groups.items()}
    if not text.is_relative_to(root):
        raise VocalgenError(f"text {mapping.text!r} of the mapping leads to {text}, which is not below {root}; mend it")
    lines = read_text(text, f"text of {path.name}").splitlines()
    actor, role = named["actor"], named.get("role", "")
    spoken: list[Segment] = []
    for number, line in enumerate(lines, start=1):
        match = mapping.line.fullmatch(line.strip())
        if match is None:
            skipped += [f"{text.relative_to(root).as_posix()}:{number}"] if line.strip() else []
            continue
        where, given = f"{text}, line {number}", match.groupdict()
        start, end = seconds(given["start"], where), seconds(given.get("end") or "inf", where)
        name = "-".join([*(_safe(part) for part in (actor, role) if part), f"{round(1000 * start):07d}"])
        sentence = (given.get("sentence") or "").strip()
        spoken.append(Segment(name, path, actor, role, _emotion(given["emotion"], where), sentence, start, end))
    skipped += [] if spoken else [f"{text.relative_to(root).as_posix()}, which has no sentence"]
    return list(_closed(spoken, text))


def _closed(spoken: list[Segment], text: Path) -> Iterator[Segment]:
    """Segments with the missing ends taken from the beginnings behind them."""
    for segment, following in zip(spoken, [*spoken[1:], None]):
        end = segment.end
        if math.isinf(end) and following is not None:
            end = following.start
        if end - segment.start < SHORTEST:
            lasts = f"from {segment.start:g} s to {end:g} s"
            raise VocalgenError(f"{text}: segment {segment.id} lasts {lasts}; mend the times")
        yield Segment(**{**vars(segment), "end": end})


def seconds(text: str, where: str = "time") -> float:
    """12.5, 1:02.5 or 1:00:02.5 as seconds.

    Raises:
        VocalgenError: it is none of these, as 1:61 is not.

    >>> seconds("1:02.5"), seconds("1:00:02")
    (62.5, 3602.0)
    """
    try:
        parts = [float(part) for part in text.strip().split(":")]
    except ValueError:
        parts = []
    impossible = any(part < 0 or math.isnan(part) for part in parts) or any(part >= 60 for part in parts[1:])
    if not 1 <= len(parts) <= 3 or impossible:
        raise VocalgenError(f"{where}: {text!r} is no time; write 12.5, 1:02.5 or 1:00:02.5")
    return sum(part * 60**place for place, part in enumerate(reversed(parts)))


def _emotion(text: str, where: str) -> str:
    """The official name; `seductionecstasy` and the like are the release's spellings."""
    try:
        return SONATA25.emotions[SONATA25.index(text)]
    except VocalgenError as error:
        raise VocalgenError(f"{where}: {error}") from error


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "_", name) or "_"


def cut(
    found: list[Segment], mapping: Layout, out: Path, seed: int = 0, advance: Callable[[], None] = lambda: None
) -> Manifest:
    """Write every segment as FLAC into `out` and list them; those that are there already stay.

    A file's name tells of which recording, by its content, and which times it was cut; one of others is cut again.

    Args:
        seed: of the draw by actor, where the mapping has no splits.
        advance: called after every segment.

    Raises:
        VocalgenError: a recording cannot be read, or ends before a segment; an actor without a split; no space.
    """
    splits = dict(mapping.splits) or draw_splits({segment.actor for segment in found}, seed)
    missing = sorted({segment.actor for segment in found} - set(splits))
    if missing:
        raise VocalgenError(f"the mapping puts these actors into no split: {', '.join(missing)}; name every actor")
    begin_index(out, SEGMENTS)
    clips: list[Clip] = []
    opened: tuple[Path, audio.Wave, int] | None = None
    contents = {recording: _digest(recording) for recording in {segment.recording for segment in found}}
    for segment in found:
        mark = hashlib.sha256(f"{contents[segment.recording]} {segment.start} {segment.end}".encode()).hexdigest()
        file = out / f"{segment.id}-{mark[:_MARK]}.flac"
        if not _is_whole(file):
            for stale in out.glob(f"{segment.id}-{'?' * _MARK}.flac"):
                remove(stale)
            if opened is None or opened[0] != segment.recording:
                opened = (segment.recording, *audio.read(segment.recording))
            _, wave, rate = opened
            part = wave[round(segment.start * rate) : None if math.isinf(segment.end) else round(segment.end * rate)]
            if len(part) < SHORTEST * rate:
                raise VocalgenError(f"{segment.recording} ends before segment {segment.id} at {segment.start:g} s")
            if math.isfinite(segment.end) and segment.end > len(wave) / rate + BEYOND:
                lasts = f"{len(wave) / rate:.1f} s"
                raise VocalgenError(
                    f"{segment.recording} has {lasts}, but segment {segment.id} ends at {segment.end:g} s"
                )
            audio.write(file, part, rate, "flac")
        clips.append(
            Clip(
                id=segment.id,
                file=file,
                split=splits[segment.actor],
                speaker=segment.actor,
                seconds=math.nan,
                flags=(),
                intensities=one_hot(segment.emotion, SONATA25),
                labels=(segment.role, segment.sentence),
            )
        )
        advance()
    nobody = sorted(set(mapping.splits) - {segment.actor for segment in found})
    silent = (f"actors of the mapping without a recording: {', '.join(nobody)}",) if nobody else ()
    return Manifest(SONATA25, tuple(clips), (*_notes(clips), *silent), LABELS)


def _digest(recording: Path) -> str:
    try:
        return hashlib.sha256(recording.read_bytes()).hexdigest()
    except OSError as error:
        raise VocalgenError(f"cannot read {recording} ({error.strerror or error})") from error


def _is_whole(segment: Path) -> bool:
    """Whether a segment was cut before; a file that a full disk or a broken copy has shortened was not."""
    try:
        audio.read(segment)
    except VocalgenError:
        return False
    return True


def _notes(clips: list[Clip]) -> tuple[str, ...]:
    notes = []
    for split, published in EXPECTED.items():
        chosen = [clip for clip in clips if clip.split == split]
        found = (len(chosen), len({clip.speaker for clip in chosen}))
        if found != published:
            here = f"{count(found[0], 'segment')} of {count(found[1], 'actor')}"
            notes.append(f"{split}: {here}; published are {published[0]} of {published[1]}")
    return tuple(notes)
