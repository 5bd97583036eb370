"""`vocalgen benchmark`: train a system on a task of the challenges, score it, write report, model and submission."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from vocalgen.cli import outputs
from vocalgen.cli.numbers import warn
from vocalgen.cli.options import DeviceOption
from vocalgen.cli.printed import command
from vocalgen.errors import VocalgenError


def benchmark(
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK",
            help="emotion-share, exvo-multitask, exvo-fewshot, avb-high, avb-two, avb-culture, avb-type, sonata or "
            "emogator.",
        ),
    ],
    data: Annotated[Path, typer.Option(metavar="MANIFEST", help="Of the corpus, from `vocalgen data prepare`.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]", help="Settings of the system, such as epochs=10 or costs=[1e-3]."),
    ] = None,
    system: Annotated[
        str, typer.Option(metavar="NAME", help="What is trained; an unknown name lists all.")
    ] = "egemaps-mlp",
    encoder: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="Of the features; several are put side by side, MODEL@LAYER picks a layer."),
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="YAML of the system's settings.")] = None,
    run: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="--out of a finished benchmark, for late-fusion.")
    ] = None,
    seeds: Annotated[int, typer.Option(metavar="N", help="How many, from 101.")] = 3,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="Default: runs/benchmark/TASK/SYSTEM."),
    ] = None,
    team: Annotated[str, typer.Option(metavar="NAME", help="In the name of the submission.")] = "our-team",
    draws: Annotated[int, typer.Option(metavar="N", help="Resamples of speakers for the intervals.")] = 1000,
    device: DeviceOption = None,
) -> None:
    """Train a system with several seeds, choose on validation, score validation and test beside the published rows.

    Writes report.md, report.json, the submission for the test clips and the model; what is done is not done again.

    Example: vocalgen benchmark emogator --data data/emogator.csv --system egemaps-mlp
    """
    from vocalgen.tasks.registry import SYSTEMS, describe_systems
    from vocalgen.tasks.task import task_of

    chosen = task_of(task)
    if system not in SYSTEMS:
        raise VocalgenError(f"no system {system!r}; choose one of {describe_systems(chosen)}")
    if not data.is_file():
        raise VocalgenError(f"{data}: no such manifest; make it with `{command('data', 'prepare', chosen.corpus)}`")
    folder = out or Path("runs") / "benchmark" / task / _name(system, encoder)
    outputs.require_folder(folder)

    from vocalgen.generation.loading import choose_device
    from vocalgen.tasks.registry import make_system
    from vocalgen.tasks.run import Plan
    from vocalgen.tasks.run import benchmark as run_benchmark
    from vocalgen.tasks.system import Options

    options = Options(
        tuple(encoder or ()), str(choose_device(device)), config, tuple(settings or ()), data, tuple(run or ())
    )
    plan = Plan(chosen, data, folder, seeds, team, _published(chosen.name), draws)
    report = run_benchmark(plan, make_system(system, chosen, options))
    warn(report["warnings"])
    _print(report)
    for name in ("report.md", report.get("submission"), "model"):
        if name:
            print(folder / name)


def _name(system: str, encoders: list[str] | None) -> str:
    """Folder of a system; features that were chosen by hand have their own, tables that of the folder they lie in."""
    from vocalgen.emotions import slug

    names = (
        "-".join(Path(entry).parts[-2:]) if entry.endswith(".csv") else Path(entry).name for entry in encoders or ()
    )
    return "-".join([system, *map(slug, names)])


def _published(task: str) -> list[dict[str, str | float]]:
    from vocalgen.evaluation.published import published, published_tasks

    return published(task) if task in published_tasks() else []


def _print(report: Mapping[str, Any]) -> None:
    """Our numbers, then the published ones."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from vocalgen.tasks.report import CAVEAT, number, span

    console = Console()
    ours = Table(title=f"{report['task']}, {report['system']}", box=box.SIMPLE_HEAD)
    for title in ("metric", "split", "mean", "deviation", "best seed, 95 %"):
        ours.add_column(title, justify="left" if title in ("metric", "split") else "right")
    for split, metrics in report["summary"].items():
        intervals = report["best"][split]["intervals"]
        for name, entry in metrics.items():
            found = intervals.get(name)
            cell = f"{number(found[0])} ({span(*found[1:])})" if found else ""
            ours.add_row(name, split, number(entry["mean"]), number(entry["deviation"]), cell)
    console.print(ours)
    if report["published"]:
        theirs = Table(title="published", box=box.SIMPLE_HEAD)
        for title in ("system", "split", "metric", "value"):
            theirs.add_column(title, justify="right" if title == "value" else "left")
        for row in report["published"]:
            theirs.add_row(*(str(row.get(key, "")) for key in ("system", "split", "metric")), number(row.get("value")))
        console.print(theirs)
        console.print(CAVEAT, highlight=False)
