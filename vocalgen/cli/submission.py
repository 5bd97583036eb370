"""`vocalgen submission`: look at a challenge's submission file before it is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vocalgen.errors import VocalgenError

SHARE = "emotion-share"

submission_app = typer.Typer(help="Check submission files of the challenges.", no_args_is_help=True)


@submission_app.callback()
def _submission() -> None:
    """Check submission files of the challenges."""


@submission_app.command("check")
def check(
    file: Annotated[Path, typer.Argument(help="PREFIX_TEAM_NUMBER.csv.")],
    task: Annotated[
        str | None,
        typer.Option(
            metavar="TASK",
            help="exvo-multitask, exvo-fewshot, avb-high, avb-two, avb-culture, avb-type or emotion-share; "
            "default: what the file's name says.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="MANIFEST", help="Of the corpus: all test clips must be there, and no others."),
    ] = None,
) -> None:
    """Header, names, values and, with --data, the clips of a submission file. Ends with status 1 if something is wrong.

    Example: vocalgen submission check A-VB-High_our-team_1.csv --data data/hume_vocalburst.csv
    """
    if not file.is_file():
        what = "it is a folder; give the CSV file in it" if file.is_dir() else "no such file"
        raise VocalgenError(f"{file}: {what}")

    from vocalgen.corpora.manifest import Manifest
    from vocalgen.corpora.submission import FORMATS, check_submission

    found = check_submission(file, task, Manifest.load(data) if data else None)
    for problem in found:
        print(problem)
    if found:
        raise typer.Exit(1)
    print(f"{file}: in order")
    if task == SHARE or file.name.startswith(FORMATS[SHARE].prefix):
        print("any numbers are, also below 0 and above 1: the challenge scores their ranks (Spearman's correlation)")
