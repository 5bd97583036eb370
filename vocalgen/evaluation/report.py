"""A measurement as report.json and report.md."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from vocalgen.atomic import atomic_write_text

NUMBER = {"frechet": "{:.2f}", "share": "{:.3f}", "seconds": "{:.2f}"}


def write_report(report: dict[str, Any], folder: str | Path, pictures: Iterable[str] = ()) -> None:
    """Write report.json and report.md into `folder`; `pictures` are file names in it to be shown.

    Raises:
        VocalgenError: the folder cannot be written.
    """
    folder = Path(folder)
    atomic_write_text(folder / "report.json", json.dumps(report, indent=2) + "\n")
    atomic_write_text(folder / "report.md", quality_markdown(report, pictures))


def quality_markdown(report: dict[str, Any], pictures: Iterable[str] = ()) -> str:
    """The report of `quality.evaluate` for people."""
    system = report["system"]
    main = report["rows"][system]
    lines = [
        f"# Quality of {system}",
        "",
        *_how(report),
        "",
        "## In all",
        "",
        *_overall(report),
        "",
        f"Mean over emotions of distance / floor: **{number(main['mean_ratio'], 'frechet')}**; "
        f"accuracy on generated clips {number(main['top1'], 'share')}.",
        "",
        "## Emotions",
        "",
        *_emotions(report),
        "",
        "## Near-duplicates",
        "",
        *_duplicates(report),
        "",
    ]
    for picture in pictures:
        lines += [f"![{Path(picture).stem}]({picture})", ""]
    if report["n"]["skipped"]:
        lines += ["## Clips left out", "", *(f"- {line}" for line in report["n"]["skipped"]), ""]
    return "\n".join(lines)


def number(value: Any, kind: str) -> str:
    """A number, or an interval as `value [low, high]`; a dash for what is missing."""
    if value is None:
        return "–"
    form = NUMBER[kind]
    if isinstance(value, (int, float)):
        return form.format(value)
    centre, low, high = value
    return f"{form.format(centre)} [{form.format(low)}, {form.format(high)}]"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a markdown table; the first column is text, the others are numbers."""
    rule = "|".join(["", "---", *["---:"] * (len(header) - 1), ""])
    return [f"| {' | '.join(header)} |", rule, *(f"| {' | '.join(row)} |" for row in rows)]


def _how(report: dict[str, Any]) -> list[str]:
    n, encoder, protocol = report["n"], report["encoder"], report["protocol"]
    generated, reference = list(n["generated"].values()), list(n["reference"].values())
    return [
        f"- {sum(generated)} generated clips of {len(generated)} emotions ({_span(generated)} each); "
        f"{len(n['skipped'])} clips left out.",
        f"- Reference: {sum(reference)} real clips of held-out speakers "
        f"({' + '.join(protocol['reference'])}; {_span(reference)} an emotion).",
        f"- Floor: the mean of {n['floor_draws']} disjoint draws of real {protocol['floor']} clips, each with as many "
        f"clips an emotion as were generated, against the same reference. The classifier was trained on these "
        f"speakers, so the floor is, if anything, high.",
        f"- Encoder: `{encoder['name']}`, {encoder['dimension']}-dimensional embedding, weights sha256 "
        f"`{encoder['sha256'][:16]}`, mel `{encoder['mel']['fingerprint']}`; covariances: {encoder['covariance']}.",
        "- Generated clips are resampled, trimmed and peak-normalised as the real ones are.",
        "- Square brackets: 95 % intervals (accuracy: bootstrap over speakers for real clips, Wilson for generated "
        "ones; distances: jackknife over ten blocks of speakers and generated clips).",
        f"- vocalgen {report['vocalgen']}, seed {protocol['seed']}.",
    ]


def _span(counts: list[int]) -> str:
    return str(counts[0]) if min(counts) == max(counts) else f"{min(counts)}-{max(counts)}"


def _overall(report: dict[str, Any]) -> list[str]:
    header = ("clips", "Fréchet, mean over emotions", "distance / floor", "pooled", "pooled / floor",
              "top-1", "top-3", "seconds", "duration W1 (s)")  # fmt: skip
    rows = []
    for name, row in report["rows"].items():
        keys = [("mean_frechet", "frechet"), ("mean_ratio", "frechet"), ("pooled_frechet", "frechet"),
                ("pooled_ratio", "frechet"), ("top1", "share"), ("top3", "share"), ("seconds", "seconds"),
                ("duration_wasserstein", "seconds")]  # fmt: skip
        rows.append((name, *(number(row.get(key), kind) for key, kind in keys)))
    for split, accuracy in report["real_accuracy"].items():
        shares = (number(accuracy["top1"], "share"), number(accuracy["top3"], "share"))
        rows.append((f"real clips, {split}", *["–"] * 4, *shares, "–", "–"))
    return table(header, rows)


def _emotions(report: dict[str, Any]) -> list[str]:
    header = ("emotion", "n", "Fréchet", "floor", "ratio", "top-1", "top-3", "real top-1", "real top-3",
              "seconds", "duration W1 (s)")  # fmt: skip
    rows = []
    for emotion, entry in report["rows"][report["system"]]["emotions"].items():
        real = report["real_accuracy_by_emotion"][emotion]
        rows.append(
            (
                emotion,
                str(entry["n"]),
                number(entry["frechet"], "frechet"),
                number(entry["floor"], "frechet"),
                number(entry["ratio"], "frechet"),
                number(entry["top1"], "share"),
                number(entry["top3"][0], "share"),
                number(real["top1"], "share"),
                number(real["top3"][0], "share"),
                number(entry["seconds"], "seconds"),
                number(entry["duration_wasserstein"], "seconds"),
            )
        )
    return table(header, rows)


def _duplicates(report: dict[str, Any]) -> list[str]:
    found = report["duplicates"]
    return [
        f"Distance (log-mel at equal length, mean absolute difference) to the nearest other clip of the emotion: "
        f"median {found['median']:.2f} nat, {found['real_median']:.2f} among as many real clips. "
        f"{found['share']:.1%} of the clips are nearer than {found['threshold']:.2f} nat, as 1 % of the real ones "
        f"are; {found['exact']} are exact copies."
    ]
