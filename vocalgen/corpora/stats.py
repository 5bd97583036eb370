"""What a manifest holds: clips, speakers and seconds per split and emotion, as numbers and as a figure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vocalgen.corpora.manifest import FLAGS, SPLITS, Clip, Manifest
from vocalgen.pictures import new_figure, require_picture, save_figure

COLOURS = {"train": "#0072B2", "validation": "#E69F00", "test": "#009E73"}
"""One colour per split, distinct for colour-blind readers (Okabe and Ito 2008)."""


@dataclass(frozen=True)
class Tally:
    """Totals of a group of usable clips.

    Args:
        clips: how many.
        speakers: known ones among them.
        seconds: decoded audio; clips of unknown duration add nothing.
    """

    clips: int
    speakers: int
    seconds: float

    @classmethod
    def of(cls, clips: Iterable[Clip]) -> Tally:
        """Count a group of clips."""
        group = list(clips)
        speakers = {clip.speaker for clip in group} - {""}
        seconds = math.fsum(clip.seconds for clip in group if not math.isnan(clip.seconds))
        return cls(len(group), len(speakers), seconds)


@dataclass(frozen=True)
class CorpusStats:
    """Everything `vocalgen data stats` shows.

    Args:
        emotions: names, in the order of the vocabulary.
        per_emotion: usable clips by (emotion, split). A clip counts for its strongest emotion, for each of
            them if several are equally strong, and for none if all are zero or unknown.
        per_split: usable clips by split.
        total: all usable clips.
        flags: clips per flag, usable or not, flags that do not occur left out.
        excluded: clips that are not usable.
    """

    emotions: tuple[str, ...]
    per_emotion: dict[tuple[str, str], Tally]
    per_split: dict[str, Tally]
    total: Tally
    flags: dict[str, int]
    excluded: int


def describe(manifest: Manifest) -> CorpusStats:
    """Count a manifest."""
    usable = manifest.usable()
    groups: dict[tuple[str, str], list[Clip]] = {}
    for clip in usable:
        for emotion in strongest(clip, manifest.emotions.emotions):
            groups.setdefault((emotion, clip.split), []).append(clip)
    flags = Counter(flag for clip in manifest for flag in clip.flags)
    return CorpusStats(
        emotions=manifest.emotions.emotions,
        per_emotion={
            (emotion, split): Tally.of(groups.get((emotion, split), ()))
            for emotion in manifest.emotions.emotions
            for split in SPLITS
        },
        per_split={split: Tally.of(usable.split(split)) for split in SPLITS},
        total=Tally.of(usable),
        flags={flag: flags[flag] for flag in FLAGS if flags[flag]},
        excluded=len(manifest) - len(usable),
    )


def strongest(clip: Clip, emotions: tuple[str, ...]) -> list[str]:
    """The emotions with a clip's highest intensity; none if that is zero or nothing is known."""
    top = max((value for value in clip.intensities if not math.isnan(value)), default=0.0)
    return [name for name, value in zip(emotions, clip.intensities, strict=True) if value == top > 0.0]


def draw(manifest: Manifest, path: str | Path, overwrite: bool | None = None) -> None:
    """Write a picture: clips per emotion and split, clip durations, flags per split. `overwrite` as for `save_figure`.

    Raises:
        VocalgenError: matplotlib is missing, the suffix is no picture format, or the file cannot be written.
    """
    require_picture(path)
    stats = describe(manifest)
    figure = new_figure(11.0, max(4.5, 1.6 + 0.22 * len(stats.emotions)), layout="constrained")
    panels: Any = figure.subfigures(1, 2, width_ratios=(3, 2))
    _draw_emotions(panels[0].subplots(), stats)
    upper, lower = panels[1].subplots(2, 1)
    _draw_durations(upper, manifest.usable())
    _draw_flags(lower, manifest)
    total = stats.total
    figure.suptitle(
        f"{total.clips:,} usable clips, {total.speakers:,} speakers, {total.seconds / 3600:.2f} h"
        f" ({stats.excluded:,} clips left out)"
    )
    save_figure(figure, path, overwrite)


def _draw_emotions(axes: Any, stats: CorpusStats) -> None:
    offset = np.zeros(len(stats.emotions))
    for split in SPLITS:
        clips = np.array([stats.per_emotion[emotion, split].clips for emotion in stats.emotions])
        tally = stats.per_split[split]
        label = f"{split}: {tally.clips:,} clips, {tally.speakers:,} speakers"
        axes.barh(stats.emotions, clips, left=offset, color=COLOURS[split], label=label)
        offset += clips
    axes.invert_yaxis()
    axes.set_xlabel("usable clips (by strongest emotion)")
    axes.margins(y=0.01)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=1, frameon=False, fontsize="small")


def _draw_durations(axes: Any, usable: Manifest) -> None:
    seconds = {split: np.array([clip.seconds for clip in usable.split(split)]) for split in SPLITS}
    known = {split: values[~np.isnan(values)] for split, values in seconds.items() if len(values)}
    everything = np.concatenate([*known.values(), np.zeros(0)])
    axes.set_xlabel("duration in s")
    axes.set_ylabel("clips")
    axes.spines[["top", "right"]].set_visible(False)
    if not len(everything):
        axes.text(0.5, 0.5, "durations unknown: not verified", ha="center", transform=axes.transAxes)
        return
    edges = np.linspace(0.0, float(np.quantile(everything, 0.999)) * 1.02, 25)
    clipped = [np.minimum(values, edges[-1]) for values in known.values()]
    axes.hist(clipped, edges, histtype="step", linewidth=1.5, color=[COLOURS[split] for split in known])
    axes.set_yscale("log")
    axes.set_title(f"median {np.median(everything):.2f} s, longest {everything.max():.2f} s", fontsize="medium")


def _draw_flags(axes: Any, manifest: Manifest) -> None:
    counts = {split: Counter(flag for clip in manifest.split(split) for flag in clip.flags) for split in SPLITS}
    shown = [flag for flag in FLAGS if any(counter[flag] for counter in counts.values())]
    axes.set_xlabel("flagged clips")
    axes.spines[["top", "right"]].set_visible(False)
    if not shown:
        axes.text(0.5, 0.5, "no clip is flagged", ha="center", transform=axes.transAxes)
        axes.set_yticks([])
        return
    offset = np.zeros(len(shown))
    for split in SPLITS:
        values = np.array([counts[split][flag] for flag in shown])
        axes.barh(shown, values, left=offset, color=COLOURS[split])
        offset += values
    axes.bar_label(axes.containers[-1], labels=[f" {int(value):,}" for value in offset])
    axes.margins(x=0.15)
    axes.invert_yaxis()
