"""`vocalgen rate`: a listening study, from the choice of clips to the ratings."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from vocalgen.errors import VocalgenError

if TYPE_CHECKING:
    from vocalgen.rating.answers import Answer


class _InOrder(TyperGroup):
    """Lists what comes first in the work first."""

    def list_commands(self, ctx: Any) -> list[str]:
        return ["new", "invite", "serve", "flag", "report", "export"]


rate_app = typer.Typer(
    cls=_InOrder, help="Run a listening study in the browser.", no_args_is_help=True, add_completion=False
)
StudyArgument = Annotated[Path, typer.Argument(metavar="STUDY", help="Folder of the study.")]
PortOption = Annotated[int, typer.Option(min=1, max=65535, metavar="N", help="Port.")]
HostOption = Annotated[
    str, typer.Option(metavar="NAME", help="Address to listen on; 0.0.0.0 lets other machines in: put TLS before it.")
]
FlaggedOption = Annotated[
    bool, typer.Option("--without-flagged", metavar="", help="Leave out what flagged raters said.")
]
LOOPBACK = "127.0.0.1"
THOUGHTFUL = 75
"""Seconds for which a rater's connection is kept open without a request."""


@rate_app.command("new")
def new(
    study: StudyArgument,
    clips: Annotated[
        Path,
        typer.Option(metavar="DIR|FILE", help="DIR/EMOTION/*.wav, or a manifest with file and emotion (JSONL, CSV)."),
    ],
    per_emotion: Annotated[int, typer.Option(min=1, metavar="N", help="Clips of each emotion.")] = 5,
    raters_per_clip: Annotated[int, typer.Option(min=1, metavar="N", help="Ratings wanted of each clip.")] = 10,
    clips_per_rater: Annotated[int | None, typer.Option(min=1, metavar="N", help="Default: all.")] = None,
    emotions: Annotated[
        str | None,
        typer.Option("--emotions", "-e", metavar="NAMES", help="To be rated; default: those of the clips."),
    ] = None,
    practice: Annotated[int, typer.Option(min=0, metavar="N", help="Clips at the beginning that do not count.")] = 2,
    repeats: Annotated[int, typer.Option(min=0, metavar="N", help="Clips that a rater hears a second time.")] = 3,
    instructed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Pages that ask for a certain answer, to see who reads.")
    ] = 2,
    languages: Annotated[
        str,
        typer.Option(metavar="CODES", help="Languages of the page; the first is the default."),
    ] = "en",
    texts: Annotated[
        list[Path] | None,
        typer.Option("--texts", metavar="FILE", help="CODE.yaml with the page in a language, repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the choice and of all orders.")] = 0,
) -> None:
    """Freeze a study: choose clips, copy them at one loudness under names that tell nothing.

    Then look at STUDY/study.yaml and STUDY/texts: title, consent and instructions are yours to write before the first
    rater comes.

    Example: vocalgen rate new study --clips clips --per-emotion 5
    """
    from vocalgen.emotions import VOCABULARIES
    from vocalgen.rating.freeze import LOUDNESS, create_study, read_sources
    from vocalgen.rating.study import Settings

    names = sorted({source.emotion for source in read_sources(clips, None)})
    able = [vocabulary for vocabulary in VOCABULARIES.values() if any(name in vocabulary for name in names)]
    if not able:
        raise VocalgenError(f"{clips} has no clips of known emotions; the layout is DIR/<emotion>/*.wav")
    vocabulary = max(able, key=lambda entry: sum(name in entry for name in names))
    asked = [name.strip() for name in emotions.split(",")] if emotions else [n for n in names if n in vocabulary]
    rated = tuple(dict.fromkeys(vocabulary.emotions[vocabulary.index(name)] for name in asked))
    own = {file.stem: _content(file) for file in texts or []}
    codes = tuple(dict.fromkeys([*(code.strip() for code in languages.split(",")), *own]))
    settings = Settings(
        emotions=rated,
        languages=codes,
        raters_per_clip=raters_per_clip,
        clips_per_rater=clips_per_rater,
        practice=practice,
        repeats=repeats,
        instructed=instructed,
        seed=seed,
    )
    made = create_study(study, clips, settings, per_emotion, vocabulary, own)
    print(f"{study}: {len(made.rated)} clips to rate, {len(made.practice)} for practice, {len(rated)} emotions")
    softer = [clip for clip in made.clips if clip.lufs + clip.gain_db < LOUDNESS - 0.1]
    if softer:
        least = min(clip.lufs + clip.gain_db for clip in softer)
        print(f"{len(softer)} clips stay below {LOUDNESS:g} LUFS, one at {least:.1f}: their peaks allow no more")
    print(f"next: read {study / 'study.yaml'} and {study / 'texts'}, then:")
    print(f"  vocalgen rate serve {study} --invite {raters_per_clip}")


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
    uvicorn.run(
        make_app(opened, key, names),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=THOUGHTFUL,
    )


@rate_app.command("flag")
def flag(
    study: StudyArgument,
    rater: Annotated[str | None, typer.Argument(metavar="[RATER]", help="rater-0003; none: list all flags.")] = None,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why the rater should perhaps not count.")] = None,
    lift: Annotated[bool, typer.Option("--lift", metavar="", help="Take the flag of that reason back.")] = False,
) -> None:
    """Flag a rater, take a flag back, or list all flags. Nothing is deleted: reports and exports leave flagged raters
    out when they are told to.

    Example: vocalgen rate flag study rater-0003 --reason "says the headphones were broken"
    """
    from vocalgen.rating.answers import rater_name, rater_number
    from vocalgen.rating.store import Store
    from vocalgen.rating.study import open_study

    store = Store(open_study(study))
    if rater is not None:
        if reason is None:
            raise VocalgenError("--reason is needed: why, or which flag is to be taken back")
        (store.lift if lift else store.flag)(rater_number(rater), reason)
    flagged = [entry for entry in store.raters() if entry.flags]
    for entry in flagged:
        for found in entry.flags:
            state = "" if found.lifted is None else ", lifted"
            print(f"{rater_name(entry.number)}: {found.reason} (by {found.source}{state})")
    if not flagged:
        print("nobody is flagged")


@rate_app.command("export")
def export(
    study: StudyArgument,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for the files.")],
    without_flagged: FlaggedOption = False,
) -> None:
    """Write the ratings for `vocalgen metrics heep` and `vocalgen evaluate --ratings`: long and wide CSV, NPZ; and
    tables of all pages and raters.
    """
    from vocalgen.rating.export import export as write
    from vocalgen.rating.store import Store
    from vocalgen.rating.study import open_study

    opened = open_study(study)
    store = Store(opened)
    answers = store.answers()
    for file in write(opened, answers, store.raters(), out, not without_flagged):
        print(file)
    print(_left_out(answers, without_flagged))


@rate_app.command("report")
def report(
    study: StudyArgument,
    without_flagged: FlaggedOption = False,
    evaluation: Annotated[
        Path | None, typer.Option(metavar="FILE", help="report.json of `vocalgen evaluate` on these clips, for S_GEN.")
    ] = None,
    system: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which system of the evaluation, where it has several.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw target by rated emotion (PNG, SVG or PDF).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print all of it as JSON.")] = False,
) -> None:
    """Print HEEP with intervals, S_GEN, agreement, agreement with oneself, missed instructions and hasty pages.

    Example: vocalgen rate report study --evaluation report/report.json --figure heard.svg
    """
    import json

    from vocalgen.rating.report import distances_of, study_report
    from vocalgen.rating.store import Store
    from vocalgen.rating.study import open_study

    opened, distances = open_study(study), None
    if evaluation is not None:
        try:
            distances = distances_of(json.loads(_content(evaluation)), system)
        except ValueError as error:
            raise VocalgenError(f"{evaluation} is no JSON ({error})") from error
    answers = Store(opened).answers()
    found = study_report(opened, answers, flagged=not without_flagged, distances=distances)
    if figure is not None:
        from vocalgen.evaluation.figures import rated

        rated(found["heard"], figure)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    print(f"{found['raters']} raters, {found['clips']} clips, {found['ratings']} ratings")
    print(_left_out(answers, without_flagged))
    for reading, scores in found["heep"].items():
        print(f"HEEP ({reading}): {_interval(scores['overall'])}")
        for name, interval in scores["emotions"].items():
            print(f"  {name}: {_interval(interval)}")
    if found["s_gen"] is not None:
        print(f"S_GEN: {_score(found['s_gen']['overall'])}")
        for name, value in found["s_gen"]["emotions"].items():
            print(f"  {name}: {_score(value)}")
        for note in found["s_gen"]["notes"]:
            print(f"  {note}")
    print(f"Krippendorff's alpha: {_score(found['krippendorff_alpha'])}")
    for name, value in found["alpha_by_emotion"].items():
        print(f"  {name}: {_score(value)}")
    for name, value in (found["icc"] or {}).items():
        print(f"ICC, {name}: {_score(value)}")
    again = found["with_themselves"]
    if again is not None:
        print(f"second times with first times: r = {_score(again['pearson'])} ({again['pages']} pages)")
    asked = found["instructed"]
    print(f"instructed pages answered otherwise: {asked['missed']['pages']} of {asked['pages']}")
    print(f"pages answered too fast: {found['hasty']['pages']}")


def _left_out(answers: list[Answer], without_flagged: bool) -> str:
    flagged = len({answer.rater for answer in answers if answer.flagged and not answer.withdrawn})
    withdrawn = len({answer.rater for answer in answers if answer.withdrawn})
    what = "left out" if without_flagged else "counted; --without-flagged leaves them out"
    return f"raters who withdrew: {withdrawn} (left out); flagged: {flagged} ({what})"


def _content(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise VocalgenError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from error


def _interval(values: list[float | None]) -> str:
    value, low, high = map(_score, values)
    return f"{value} [{low}, {high}]"


def _score(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
