"""`vocalgen doctor`: is this installation in working order?"""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from vocalgen.doctor import Check, examine

_COLOURS = {"ok": typer.colors.GREEN, "warn": typer.colors.YELLOW, "fail": typer.colors.RED}


def doctor(
    as_json: bool = typer.Option(False, "--json", metavar="", help="Print a JSON object instead of the table."),
) -> None:
    """Check versions, extras, audio codecs, device, shipped checkpoints and disk; exit code 2 if one is broken."""
    rows = examine()
    healthy = all(row.status != "fail" for row in rows)
    if as_json:
        typer.echo(json.dumps({"healthy": healthy, "checks": [asdict(row) for row in rows]}, indent=2))
    else:
        _print_table(rows)
    if not healthy:
        raise typer.Exit(2)


def _print_table(rows: list[Check]) -> None:
    for row in rows:
        typer.echo(f"{typer.style(f'{row.status:4}', fg=_COLOURS[row.status])}  {row.name}: {row.detail}")
        if row.remedy:
            typer.echo(f"      -> {row.remedy}")
