"""The report of a benchmark as a page of markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CAVEAT = (
    "The published rows are of other people's systems, trained on the full corpora and scored as the challenges did; "
    "compare only what was trained and scored on the same clips."
)


def markdown(report: Mapping[str, Any]) -> str:
    """Numbers of all seeds, intervals of the best one, the published rows beside them."""
    lines = [f"# {report['task']}: {report['system']}", "", *_intro(report), "", *_scores(report)]
    lines += ["", *_best(report)]
    if report["published"]:
        lines += ["", "## Published", "", CAVEAT, "", *published_rows(report)]
    if report["warnings"]:
        lines += ["", "## Remarks", "", *(f"- {line}" for line in report["warnings"])]
    return "\n".join(lines) + "\n"


def _intro(report: Mapping[str, Any]) -> list[str]:
    splits = report["data"]["splits"]
    counts = ", ".join(
        f"{split} {entry['labelled']:,} labelled clips of {entry['speakers']:,} speakers"
        for split, entry in splits.items()
    )
    encoders = report["settings"].get("encoders", [])
    lines = [
        f"Corpus {report['data']['corpus']}: {counts}.",
        "",
        f"Manifest sha256 {report['data']['manifest_sha256']}.",
    ]
    if encoders:
        known = ", ".join(f"{entry['name']} ({entry['checksum'][:16]})" for entry in encoders)
        lines += ["", f"Features: {known}."]
    return lines


def _scores(report: Mapping[str, Any]) -> list[str]:
    lines = ["| metric | split | mean | deviation | seeds |", "|---|---|--:|--:|--:|"]
    for split, metrics in report["summary"].items():
        for name, entry in metrics.items():
            cells = (name, split, number(entry["mean"]), number(entry["deviation"]), len(report["seeds"]))
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return ["## Over seeds", "", *lines]


def _best(report: Mapping[str, Any]) -> list[str]:
    best = report["best"]
    lines = [f"## Seed {best['seed']}, the best on validation", ""]
    lines += ["| metric | split | value | 95 % interval over speakers |", "|---|---|--:|---|"]
    for split in report["summary"]:
        for name, (value, low, high) in best[split]["intervals"].items():
            lines.append(f"| {name} | {split} | {number(value)} | {span(low, high)} |")
    for split in report["summary"]:
        for target, columns in best[split]["columns"].items():
            if len(columns) > 1:
                lines += ["", f"{target}, {split}: " + ", ".join(f"{k} {number(v)}" for k, v in columns.items())]
    return lines


def published_rows(report: Mapping[str, Any]) -> list[str]:
    """A table of the published rows."""
    lines = ["| system | split | metric | value | source | remark |", "|---|---|---|--:|---|---|"]
    for row in report["published"]:
        deviation = f" ± {number(row['deviation'])}" if "deviation" in row else ""
        metric = " ".join(str(row[key]) for key in ("metric", "emotion") if row.get(key))
        cells = (row.get("system"), row.get("split"), metric, f"{number(row.get('value'))}{deviation}")
        lines.append(f"| {' | '.join(str(cell or '') for cell in (*cells, row.get('source'), row.get('remark')))} |")
    return lines


def number(value: float | None) -> str:
    """Three decimals; a dash where there is none."""
    return "–" if value is None else f"{value:.3f}"


def span(low: float | None, high: float | None) -> str:
    """Limits of an interval; a dash where there is none."""
    return "–" if low is None or high is None else f"{number(low)} to {number(high)}"
