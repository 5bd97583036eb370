"""Decode every clip once: find unreadable, empty, truncated, silent, clipped, short and duplicate ones, and more."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vocalgen.audio import inspect
from vocalgen.corpora.manifest import FLAGS, Clip, Manifest
from vocalgen.corpora.parallel import parallel_map
from vocalgen.errors import VocalgenError

_CHUNK = 64


@dataclass(frozen=True)
class Problem:
    """One flag of one clip, with a line of explanation."""

    id: str
    file: str
    split: str
    flag: str
    detail: str


@dataclass(frozen=True)
class VerificationReport:
    """What verification found.

    Args:
        clips: clips looked at.
        usable: clips left for training and evaluation.
        seconds: decoded audio in all clips.
        counts: clips per flag, every flag present (a clip may carry several).
        sample_rates, channels: clips per sample rate in Hz and per channel count, unreadable ones left out.
        problems: every flag of every clip, in manifest order.
        notes: the manifest's own remarks, and duplicates across splits or labels.
    """

    clips: int
    usable: int
    seconds: float
    counts: dict[str, int]
    sample_rates: dict[int, int]
    channels: dict[int, int]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


def is_report(path: Path) -> bool:
    """Whether a file is a report that was written as JSON."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.keys() >= {"clips", "counts", "problems"}


def verify(
    manifest: Manifest, processes: int = 1, progress: Callable[[int], object] | None = None
) -> tuple[Manifest, VerificationReport]:
    """Decode every clip once, measure its duration and mark its flags. No clip is dropped.

    A duplicate has the same decoded audio (at 16 bit) as an earlier row; the earlier one stays unmarked.

    Args:
        manifest: durations and flags it already has are replaced.
        processes: how many decode at once.
        progress: called with the number of further clips done.

    Returns:
        The marked manifest and the report.
    """
    if processes < 1:
        raise VocalgenError(f"{processes} processes cannot verify anything; give 1 or more")
    first_with: dict[str, Clip] = {}
    clips: list[Clip] = []
    problems: list[Problem] = []
    shared_notes: Counter[str] = Counter()
    sample_rates: Counter[int] = Counter()
    channels: Counter[int] = Counter()
    reports = parallel_map(inspect, [clip.file for clip in manifest.rows], processes, _CHUNK)
    for clip, report in zip(manifest.rows, reports, strict=True):
        flags, details = report.flags, dict.fromkeys(report.flags, report.detail)
        original = first_with.setdefault(report.digest, clip) if report.digest else clip
        if original is not clip:
            flags = (*flags, "duplicate")
            details["duplicate"] = f"same audio as {original.id}"
            shared_notes.update(_clash(clip, original))
        readable = "unreadable" not in flags
        clips.append(replace(clip, seconds=report.seconds if readable else math.nan, flags=flags))
        problems += [Problem(clip.id, str(clip.file), clip.split, flag, details[flag]) for flag in flags]
        if readable:
            sample_rates[report.sample_rate] += 1
            channels[report.channels] += 1
        if progress:
            progress(1)
    marked = replace(manifest, rows=tuple(clips))
    notes = (*manifest.notes, *(f"{count} {what}" for what, count in shared_notes.items()))
    return marked, VerificationReport(
        clips=len(clips),
        usable=len(marked.usable()),
        seconds=round(math.fsum(clip.seconds for clip in clips if not math.isnan(clip.seconds)), 3),
        counts={flag: sum(flag in clip.flags for clip in clips) for flag in FLAGS},
        sample_rates=dict(sorted(sample_rates.items())),
        channels=dict(sorted(channels.items())),
        problems=tuple(problems),
        notes=notes,
    )


def _clash(clip: Clip, original: Clip) -> Iterator[str]:
    if clip.split != original.split:
        yield "duplicates lie in another split than their original"
    if clip.speaker != original.speaker:
        yield "duplicates carry another speaker than their original"
    if clip.intensities != original.intensities:
        yield "duplicates carry another label than their original"
