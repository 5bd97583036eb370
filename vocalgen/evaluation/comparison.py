"""Generators side by side: quality from an evaluation beside speed and size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vocalgen.errors import VocalgenError
from vocalgen.evaluation.figures import GREY, INK, SERIES
from vocalgen.evaluation.report import safe, table
from vocalgen.evaluation.tables import number
from vocalgen.pictures import new_figure, save_figure

QUALITY = {
    "distance / floor ↓": ("distance", "ratio"),
    "pooled / floor ↓": ("distance", "pooled_ratio"),
    "KAD ↓": ("distance", "kad"),
    "coverage ↑": ("distance", "coverage"),
    "accuracy ↑": ("recognition", "top1"),
    "Vendi ↑": ("distance", "vendi"),
}
"""Columns taken from an evaluation: section and key of the row's mean over emotions."""


def comparison_markdown(report: Mapping[str, Any], measured: Mapping[str, Any], conditions: Sequence[str]) -> str:
    """The table of `eval/comparison.py`.

    Args:
        report: of `vocalgen evaluate`, with the same systems.
        measured: by system, as `vocalgen.generation.speed.speeds` gives it.
        conditions: lines about how it was measured.
    """
    rows = []
    for name in [*report["systems"], *report["anchors"]]:
        values = [_quality(report, name, *column) for column in QUALITY.values()]
        if all(value is None for value in values):
            continue
        row = measured.get(name)
        cells = [number(value) for value in values]
        cells += (
            ["–"] * 4
            if row is None
            else [
                f"{row['clips_per_second'][0]:.1f}",
                f"{row['generator_real_time'][0]:.0f}x",
                f"{row['real_time'][0]:.0f}x",
                f"{row['megabytes']:.1f} MB",
            ]
        )
        rows.append([f"**{safe(name)}**" if name in report["systems"] else safe(name), *cells])
    header = ("system", *QUALITY, "clips a second", "generator", "with vocoder", "size")
    return "\n".join(["# Generators side by side", "", *conditions, "", *table(header, rows), ""])


def draw_comparison(
    report: Mapping[str, Any], measured: Mapping[str, Any], path: str | Path, overwrite: bool | None = None
) -> None:
    """Quality against speed: distance / floor with its interval, and accuracy, over clips a second; lines: real clips.

    Raises:
        VocalgenError: no system has both, or the file cannot be written.
    """
    systems = [name for name in report["systems"] if name in measured]
    if not systems:
        raise VocalgenError("no system of the evaluation was measured for speed; give the same names to both")
    figure = new_figure(8.5, 3.6)
    left, right = figure.subplots(1, 2)
    real = _quality(report, report["anchors"][0], "recognition", "top1")
    panels = (
        (left, ("distance", "ratio"), "Fréchet distance / floor (less is better)", 1.0),
        (right, ("recognition", "top1"), "heard as meant (more is better)", _middle(real)),
    )
    for axis, column, title, level in panels:
        if level is not None:
            axis.axhline(level, color=INK, linewidth=1)
            axis.annotate("real clips", (0.01, level), xycoords=("axes fraction", "data"), fontsize=7, color=INK,
                          xytext=(0, 3), textcoords="offset points")  # fmt: skip
        for rank, name in enumerate(systems):
            value = _quality(report, name, *column)
            if value is None:
                continue
            centre, low, high = value if isinstance(value, (list, tuple)) else (value, value, value)
            speed, colour = measured[name]["clips_per_second"][0], SERIES[rank % len(SERIES)]
            axis.plot([speed, speed], [low, high], color=colour, linewidth=1.6, alpha=0.6)
            axis.plot(speed, centre, "o", color=colour, markersize=6)
            place = (6, (5, -11)[rank % 2])  # neighbours' names on either side
            axis.annotate(name, (speed, centre), fontsize=7, color=colour, xytext=place, textcoords="offset points")
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter("{x:g}")
        axis.margins(x=0.35, y=0.2)
        axis.set_xlabel("clips a second", fontsize=8, color=INK)
        axis.set_title(title, fontsize=9, color=INK, loc="left")
        axis.tick_params(which="both", labelsize=7, colors=GREY)
        axis.spines[["top", "right"]].set_visible(False)
    left.set_ylim(bottom=min(0.9, left.get_ylim()[0]))
    figure.tight_layout()
    save_figure(figure, path, overwrite)


def _quality(report: Mapping[str, Any], name: str, section: str, key: str) -> Any:
    return report["sections"].get(section, {}).get("rows", {}).get(name, {}).get("overall", {}).get(key)


def _middle(value: Any) -> float | None:
    return value[0] if isinstance(value, (list, tuple)) else value
