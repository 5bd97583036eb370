"""`vocalgen rate`: a listening study, from the choice of clips to the ratings."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from vocalgen.errors import VocalgenError


class _InOrder(TyperGroup):
    """Lists what comes first in the work first."""

    def list_commands(self, ctx: Any) -> list[str]:
        return ["new", "invite", "serve", "export", "report"]


rate_app = typer.Typer(
    cls=_InOrder, help="Run a listening study in the browser.", no_args_is_help=True, add_completion=False
)
StudyArgument = Annotated[Path, typer.Argument(metavar="STUDY", help="Folder of the study.")]
PortOption = Annotated[int, typer.Option(min=1, max=65535, metavar="N", help="Port.")]
HostOption = Annotated[
    str, typer.Option(metavar="NAME", help="Address to listen on; 0.0.0.0 lets other machines in: put TLS before it.")
]
LOOPBACK = "127.0.0.1"


@rate_app.command("new")
def new(
    study: StudyArgument,
    clips: Annotated[Path, typer.Option(metavar="DIR", help="Clips as DIR/EMOTION/*.wav, as `generate` makes them.")],
    per_emotion: Annotated[int, typer.Option(min=1, metavar="N", help="Clips of each emotion.")] = 5,
    raters_per_clip: Annotated[int, typer.Option(min=1, metavar="N", help="Ratings wanted of each clip.")] = 10,
    clips_per_rater: Annotated[int | None, typer.Option(min=1, metavar="N", help="Default: all.")] = None,
    emotions: Annotated[
        str | None,
        typer.Option("--emotions", "-e", metavar="NAMES", help="To be rated; default: those of the folders."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the choice and of all orders.")] = 0,
) -> None:
    """Freeze a study: choose clips, copy them at one loudness under names that tell nothing.

    Then look at STUDY/study.yaml: title, consent and instructions are yours to write before the first rater comes.

    Example: vocalgen rate new study --clips clips --per-emotion 5
    """
    from vocalgen.emotions import VOCABULARIES
    from vocalgen.rating.study import Settings, create_study

    names = [path.name for path in sorted(clips.iterdir()) if path.is_dir()] if clips.is_dir() else []
    able = [vocabulary for vocabulary in VOCABULARIES.values() if any(name in vocabulary for name in names)]
    if not able:
        raise VocalgenError(f"{clips} has no folders of emotions; the layout is DIR/<emotion>/*.wav")
    vocabulary = max(able, key=lambda entry: sum(name in entry for name in names))
    asked = [name.strip() for name in emotions.split(",")] if emotions else [n for n in names if n in vocabulary]
    rated = tuple(vocabulary.emotions[vocabulary.index(name)] for name in asked)
    settings = Settings(emotions=rated, raters_per_clip=raters_per_clip, clips_per_rater=clips_per_rater, seed=seed)
    made = create_study(study, clips, settings, per_emotion, vocabulary)
    print(f"{study}: {len(made.rated)} clips to rate, {len(made.practice)} for practice, {len(rated)} emotions")
    print(f"next: edit {study / 'study.yaml'}, then: vocalgen rate serve {study} --invite {raters_per_clip}")


@rate_app.command("invite")
def invite(
    study: StudyArgument,
    raters: Annotated[int, typer.Option("--raters", "-n", min=1, metavar="N", help="How many.")] = 1,
    address: Annotated[str, typer.Option(metavar="URL", help="How raters reach the server.")] = "http://127.0.0.1:8000",
) -> None:
    """Print links of new raters, one each; only hashes of them are stored, so keep them."""
    from vocalgen.rating.store import Store
    from vocalgen.rating.study import open_study

    for token in Store(open_study(study)).invite(raters):
        print(f"{address.rstrip('/')}/r/{token}")


@rate_app.command("serve")
def serve(
    study: StudyArgument,
    host: HostOption = LOOPBACK,
    port: PortOption = 8000,
    name: Annotated[
        list[str] | None, typer.Option("--name", metavar="HOST", help="Name raters reach it by; repeatable.")
    ] = None,
    raters: Annotated[int, typer.Option("--invite", min=0, metavar="N", help="Print links of new raters.")] = 0,
) -> None:
    """Serve the page of the study and print the links; Ctrl-C ends it, and it goes on where it stopped.

    Example: vocalgen rate serve study --invite 10
    """
    try:
        import uvicorn

        from vocalgen.rating.app import make_app
    except ImportError as error:
        raise VocalgenError("the study's server needs: pip install 'vocalgen[rate]'") from error
    from vocalgen.rating.store import Store
    from vocalgen.rating.study import open_study

    opened, key = open_study(study), secrets.token_urlsafe(16)
    names = name or [LOOPBACK, "localhost"]
    address = f"http://{names[0]}:{port}"
    for token in Store(opened).invite(raters) if raters else []:
        print(f"rater: {address}/r/{token}")
    print(f"experimenter: {address}/experiment#{key}", flush=True)
    uvicorn.run(make_app(opened, key, names), host=host, port=port, log_level="warning", server_header=False)


@rate_app.command("export")
def export(
    study: StudyArgument,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for the files.")],
) -> None:
    """Write the ratings for `vocalgen metrics heep` and `vocalgen evaluate --ratings`: long and wide CSV, NPZ."""
    from vocalgen.rating.export import export as write
    from vocalgen.rating.store import Store
    from vocalgen.rating.study import open_study

    opened = open_study(study)
    for file in write(opened, Store(opened).answers(), out):
        print(file)


@rate_app.command("report")
def report(
    study: StudyArgument,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print all of it as JSON.")] = False,
) -> None:
    """Print HEEP with intervals, agreement, agreement with oneself, and how many pages were answered in haste.

    S_GEN needs distances too: vocalgen evaluate CLIPS --ratings FILE of `rate export`.
    """
    import json

    from vocalgen.rating.report import study_report
    from vocalgen.rating.store import Store
    from vocalgen.rating.study import open_study

    opened = open_study(study)
    found = study_report(opened, Store(opened).answers())
    if as_json:
        print(json.dumps(found, indent=1))
        return
    print(f"{found['raters']} raters, {found['clips']} clips, {found['ratings']} ratings")
    for reading, scores in found["heep"].items():
        print(f"HEEP ({reading}): {_interval(scores['overall'])}")
        for name, interval in scores["emotions"].items():
            print(f"  {name}: {_interval(interval)}")
    print(f"Krippendorff's alpha: {_score(found['krippendorff_alpha'])}")
    for name, value in (found["icc"] or {}).items():
        print(f"ICC, {name}: {_score(value)}")
    again = found["with_themselves"]
    if again is not None:
        print(f"second times with first times: r = {_score(again['pearson'])} ({again['pages']} pages)")
    print(f"pages answered before the clip could have ended: {found['hasty']['pages']}")


def _interval(values: list[float | None]) -> str:
    value, low, high = map(_score, values)
    return f"{value} [{low}, {high}]"


def _score(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
