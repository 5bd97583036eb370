"""An evaluation as report.json, report.md and report.html."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vocalgen.atomic import atomic_write_text
from vocalgen.evaluation.page import Player, html_page
from vocalgen.evaluation.schema import check_report
from vocalgen.evaluation.tables import (
    ARROW,
    DIFFERENCE_NOTE,
    PUBLISHED_CAVEAT,
    Grid,
    caption,
    differences,
    emotion_grids,
    emotion_legend,
    heading,
    legend,
    line_of,
    number,
    overall_grid,
    picture_section,
    published_heads,
    text,
)


def write_report(
    report: Mapping[str, Any],
    folder: str | Path,
    pictures: Sequence[str] = (),
    players: Iterable[Player] = (),
) -> None:
    """Write report.json, report.md and the self-contained report.html.

    Args:
        report: of the schema of `evaluation.columns`.
        folder: is made where it is missing.
        pictures: names of PNG files in `folder`, see `PICTURES`.
        players: clips for the page, as far as its size limit goes.

    Raises:
        VocalgenError: a report that does not follow the schema, a picture that cannot be read, or a folder that cannot
            be written.
    """
    check_report(report)
    folder = Path(folder)
    page = html_page(report, [folder / name for name in pictures], players)
    atomic_write_text(folder / "report.json", json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    atomic_write_text(folder / "report.md", markdown(report, pictures))
    atomic_write_text(folder / "report.html", page)


def markdown(report: Mapping[str, Any], pictures: Sequence[str] = ()) -> str:
    """The report for people, without its clips."""
    lines = [f"# {title(report)}", "", "Square brackets: 95 % intervals. ↓ less is better, ↑ more is better.", ""]
    if report["warnings"]:
        lines += ["## Warnings", "", *(f"- {safe(warning)}" for warning in report["warnings"]), ""]
    lines += ["## Conditions", "", *_outline(report["conditions"]), ""]
    left = list(pictures)
    for key, section in report["sections"].items():
        lines += [f"## {safe(heading(report, key))}", "", *_grid(overall_grid(report, section), "system"), ""]
        lines += _meanings(legend(section))
        for picture in [name for name in left if picture_section(name) == section["kind"]]:
            left.remove(picture)
            lines += [f"![{safe(caption(picture))}]({picture})", ""]
        for system, grid in emotion_grids(report, section):
            lines += [f"### {safe(system)} by emotion", "", *_grid(grid, "emotion"), ""]
        lines += _meanings(emotion_legend(section))
    if report["differences"]:
        rows = [
            [safe(found.a), safe(found.b), safe(found.what), f"**{found.value}**" if found.clear else found.value]
            for found in differences(report)
        ]
        lines += ["## Differences", "", DIFFERENCE_NOTE, "", *table(("a", "b", "of", "a − b"), rows), ""]
    if report["published"]:
        heads = published_heads(report)
        rows = [[safe(text(row.get(head))) for head in heads] for row in report["published"]]
        lines += ["## Published results", "", PUBLISHED_CAVEAT, "", *table([safe(head) for head in heads], rows), ""]
    for picture in left:
        lines += [f"![{safe(caption(picture))}]({picture})", ""]
    return "\n".join(lines)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a markdown table; the first column is text, the others are numbers."""
    rule = "|".join(["", "---", *["---:"] * (len(header) - 1), ""])
    return [f"| {' | '.join(header)} |", rule, *(f"| {' | '.join(row)} |" for row in rows)]


def safe(words: str) -> str:
    """Text for markdown: no table rule, no HTML, no new line, no formatting, no link."""
    words = " ".join(words.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for mark in ("\\", "|", "*", "[", "]", "`"):
        words = words.replace(mark, f"\\{mark}")
    return words


def title(report: Mapping[str, Any]) -> str:
    """What the report is about, safe for markdown."""
    return "Evaluation of " + ", ".join(safe(system) for system in report["systems"])


def _grid(grid: Grid, what: str) -> list[str]:
    header = [what, *(safe(column.title) + ARROW[column.better] for column in grid.columns)]
    rows = []
    for name, values in grid.rows:
        cells = [number(value, column.form) for column, value in zip(grid.columns, values, strict=True)]
        cells = [safe(cell) if column.form == "{}" else cell for column, cell in zip(grid.columns, cells, strict=True)]
        rows.append([f"**{safe(name)}**" if name in grid.bold else safe(name), *cells])
    return table(header, rows)


def _meanings(legend: Iterable[tuple[str, str]]) -> list[str]:
    lines = [f"- **{safe(head)}**: {safe(meaning)}" for head, meaning in legend]
    return [*lines, ""] if lines else []


def _outline(values: Mapping[str, Any], indent: str = "") -> list[str]:
    """Nested conditions as nested lists; what holds plain values only stands in one line."""
    lines = []
    for key, value in values.items():
        head = f"{indent}- {safe(key.replace('_', ' '))}:"
        flat = line_of(value)
        if flat is not None:
            lines.append(f"{head} {safe(flat)}")
        elif isinstance(value, Mapping):
            lines += [head, *_outline(value, indent + "  ")]
        else:
            lines += [head, *_outline({str(place): entry for place, entry in enumerate(value, 1)}, indent + "  ")]
    return lines
