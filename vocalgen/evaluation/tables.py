"""What the tables, legends and captions of an evaluation report say, before they are markdown or HTML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vocalgen.evaluation.columns import SECTIONS, Column

PICTURES = {
    "distances": ("distance", "Fréchet distance / floor by emotion, with 95 % intervals, beside the anchors."),
    "between": ("distance", "Fréchet distances of the clips of each emotion (row) from real clips of each (column)."),
    "confusion": ("recognition", "Shares of the clips asked for as one emotion (row) that are heard as each (column)."),
    "mels": ("acoustics", "Log-mels of generated clips beside real ones, chosen at random."),
}
"""Section and caption of a picture by the first word of its file name; others stand at the end."""

PUBLISHED_CAVEAT = (
    "These rows are from other data, scored by another classifier: their distances share no scale with those above. "
    "Only unit-free numbers, such as distance / floor, carry over."
)

DIFFERENCE_NOTE = (
    "a − b with its 95 % interval; the same clips of the reference are left out for both. Bold where the interval "
    "excludes 0."
)

LISTED = 40
"""Entries of a list among the conditions that are written out."""

ARROW = {"low": " ↓", "high": " ↑", None: ""}
"""Beside the head of a column: which way is better."""


@dataclass(frozen=True)
class Grid:
    """A table before it is text.

    Args:
        columns: those that any row has a value for.
        rows: (name, value of each column).
        bold, faint: names of rows that stand out, or back.
    """

    columns: list[Column]
    rows: list[tuple[str, list[Any]]]
    bold: Sequence[str] = ()
    faint: Sequence[str] = ()


@dataclass(frozen=True)
class Difference:
    """System a - system b in a column, with its interval.

    Args:
        what: section and column.
        clear: whether the interval excludes 0.
    """

    a: str
    b: str
    what: str
    value: str
    clear: bool


def number(value: Any, form: str = "{:.2f}") -> str:
    """A value as `form` says, an interval as `value [low, high]`, a dash for what is missing."""
    if value is None:
        return "–"
    if not isinstance(value, (list, tuple)):
        return form.format(value)
    centre, low, high = value
    return f"{form.format(centre)} [{form.format(low)}, {form.format(high)}]"


def text(value: Any) -> str:
    """Any plain value for people."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def heading(report: Mapping[str, Any], key: str) -> str:
    """Title of a section, with its encoder."""
    section = report["sections"][key]
    encoder = f" ({section['encoder']})" if section["encoder"] else ""
    return SECTIONS[section["kind"]].title + encoder


def overall_grid(report: Mapping[str, Any], section: Mapping[str, Any]) -> Grid:
    """The table of all rows: systems, then anchors."""
    names = [name for name in (*report["systems"], *report["anchors"]) if name in section["rows"]]
    values = {name: section["rows"][name]["overall"] for name in names}
    return _selected(SECTIONS[section["kind"]].overall, values, report["systems"], report["anchors"])


def emotion_grids(report: Mapping[str, Any], section: Mapping[str, Any]) -> Iterator[tuple[str, Grid]]:
    """The table of emotions of each system that has one."""
    for system in report["systems"]:
        entries = section["rows"].get(system, {}).get("emotions", {})
        values = {emotion: entries[emotion] for emotion in report["emotions"] if emotion in entries}
        if values:
            yield system, _selected(SECTIONS[section["kind"]].emotions, values)


def legend(section: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(head, meaning) of the columns of the table of all rows."""
    kind = SECTIONS[section["kind"]]
    return _meanings(kind.overall, [row["overall"] for row in section["rows"].values()])


def emotion_legend(section: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(head, meaning) of the columns of the tables of emotions, without those that `legend` has."""
    kind = SECTIONS[section["kind"]]
    entries = [entry for row in section["rows"].values() for entry in row["emotions"].values()]
    known = legend(section)
    return [line for line in _meanings(kind.emotions, entries) if line not in known]


def differences(report: Mapping[str, Any]) -> Iterator[Difference]:
    """The differences between systems, ready to be written."""
    for entry in report["differences"]:
        kind = report["sections"][entry["section"]]["kind"]
        column = SECTIONS[kind].overall[entry["column"]]
        what = f"{heading(report, entry['section'])}: {column.title}{ARROW[column.better]}"
        clear = entry["value"][1] > 0 or entry["value"][2] < 0
        yield Difference(entry["a"], entry["b"], what, number(entry["value"], column.form.replace("{:", "{:+")), clear)


def published_heads(report: Mapping[str, Any]) -> list[str]:
    """Columns of the published rows, in the order in which they first appear."""
    return list(dict.fromkeys(key for row in report["published"] for key in row))


def picture_section(name: str) -> str | None:
    """Kind of the section a picture belongs to."""
    return PICTURES.get(Path(name).stem.split("-")[0], (None, ""))[0]


def caption(name: str) -> str:
    """What a picture shows; of several of a kind, the file name says whose."""
    kind, _, which = Path(name).stem.partition("-")
    words = PICTURES.get(kind, (None, kind))[1]
    return f"{words} ({which})" if which else words


def line_of(value: Any) -> str | None:
    """A plain value, or a list or mapping of plain values, in one line; None for what is nested deeper."""
    if isinstance(value, Mapping):
        parts = {key.replace("_", " "): entry for key, entry in value.items()}
        if any(isinstance(entry, (Mapping, list, tuple)) and len(entry) for entry in parts.values()):
            return None
        return ", ".join(f"{key} {line_of(entry)}" for key, entry in parts.items()) or "–"
    if isinstance(value, (list, tuple)):
        if any(isinstance(entry, (Mapping, list, tuple)) for entry in value):
            return None
        shown = [text(entry) for entry in value[:LISTED]]
        more = [f"and {len(value) - LISTED} more (report.json has all)"] if len(value) > LISTED else []
        return ", ".join(shown + more) or "–"
    return text(value)


def _meanings(columns: Mapping[str, Column], rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    filled = _filled(rows)
    return [(column.title, column.meaning) for key, column in columns.items() if key in filled]


def _selected(
    columns: Mapping[str, Column], values: Mapping[str, Mapping[str, Any]], bold: Sequence[str] = (),
    faint: Sequence[str] = (),
) -> Grid:  # fmt: skip
    filled = _filled(values.values())
    chosen = [key for key in columns if key in filled]
    rows = [(name, [entry.get(key) for key in chosen]) for name, entry in values.items()]
    return Grid([columns[key] for key in chosen], rows, bold, faint)


def _filled(rows: Iterable[Mapping[str, Any]]) -> set[str]:
    return {key for row in rows for key, value in row.items() if value is not None}
