"""`vocalgen rate`: a listening study, from the choice of clips to the ratings."""

from __future__ import annotations

import csv
import secrets
import sys
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from vocalgen.cli.numbers import warn
from vocalgen.cli.printed import command
from vocalgen.cli.rate_results import StudyArgument, content, export, report
from vocalgen.errors import VocalgenError


class _InOrder(TyperGroup):
    """Lists what comes first in the work first."""

    def list_commands(self, ctx: Any) -> list[str]:
        return ["new", "invite", "serve", "codes", "flag", "report", "export"]


rate_app = typer.Typer(
    cls=_InOrder, help="Run a listening study in the browser.", no_args_is_help=True, add_completion=False
)
rate_app.command("report")(report)
rate_app.command("export")(export)
PortOption = Annotated[int, typer.Option(min=1, max=65535, metavar="N", help="Port.")]
LOOPBACK = "127.0.0.1"


@rate_app.command("new")
def new(
    study: StudyArgument,
    clips: Annotated[
        Path,
        typer.Option(metavar="DIR|FILE", help="Clips as DIR/EMOTION/FILE, a manifest, or a table of file and emotion."),
    ],
    per_emotion: Annotated[int, typer.Option(min=1, metavar="N", help="Clips of each emotion.")] = 5,
    raters_per_clip: Annotated[int, typer.Option(min=1, metavar="N", help="Ratings wanted of each clip.")] = 10,
    clips_per_rater: Annotated[int | None, typer.Option(min=1, metavar="N", help="Default: all.")] = None,
    emotions: Annotated[
        str | None,
        typer.Option("--emotions", "-e", metavar="NAMES", help="To be rated; default: those of the clips."),
    ] = None,
    practice: Annotated[
        int, typer.Option(min=0, metavar="N", help="Further clips, at the beginning, that do not count.")
    ] = 2,
    repeats: Annotated[
        int, typer.Option(min=0, metavar="N", help="Clips that a rater hears twice, of half at most.")
    ] = 3,
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
    from vocalgen.corpora.layout import EXPECTED, emotion_folders
    from vocalgen.emotions import VOCABULARIES
    from vocalgen.rating.freeze import LOUDNESS, create_study, read_sources
    from vocalgen.rating.order import plan
    from vocalgen.rating.study import Settings

    found = Counter(source.emotion for source in read_sources(clips, None))
    asked = [name.strip() for name in emotions.split(",")] if emotions else []
    able = [vocabulary for vocabulary in VOCABULARIES.values() if any(name in vocabulary for name in found)]
    if not able:
        raise VocalgenError(f"{clips} has no clips of known emotions; {EXPECTED}")
    vocabulary = max(able, key=lambda entry: sum(name in entry for name in [*found, *asked]))
    asked = asked or sorted(name for name in found if name in vocabulary)
    try:
        rated = tuple(dict.fromkeys(vocabulary.emotions[vocabulary.index(name)] for name in asked))
    except VocalgenError as error:
        raise VocalgenError(f"{error} (words of your own go into study.yaml, before the first rater begins)") from error
    own = {file.stem: content(file) for file in texts or []}
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
    warn(emotion_folders(clips).left_out if clips.is_dir() else ())
    warn(
        f"{name!r} is no emotion of {vocabulary.name}: clips left out: {count}"
        for name, count in sorted(found.items())
        if name not in vocabulary
    )
    copies: dict[str, list[str]] = {}
    for clip in made.clips:
        copies.setdefault(clip.sha256, []).append(clip.clip)
    warn(f"one recording is there as {' and as '.join(sorted(names))}" for names in copies.values() if len(names) > 1)
    print(f"{study}: {len(made.rated)} clips to rate, {len(made.practice)} for practice, {len(rated)} emotions")
    print(f"a rater answers {len(plan(made, 1, {}))} pages, on each of them for every emotion")
    softer = [clip for clip in made.clips if clip.lufs + clip.gain_db < LOUDNESS - 0.1]
    if softer:
        least = min(clip.lufs + clip.gain_db for clip in softer)
        print(f"below {LOUDNESS:g} LUFS, as their peaks allow no more: {len(softer)} clips, the softest at {least:.1f}")
    print(f"next: read {study / 'study.yaml'} and {study / 'texts'}, then:")
    print(f"  {command('rate', 'serve', study, '--invite', made.raters_needed)}")


@rate_app.command("invite")
def invite(
    study: StudyArgument,
    raters: Annotated[int, typer.Option("--raters", "-n", min=1, metavar="N", help="How many.")] = 1,
    address: Annotated[str, typer.Option(metavar="URL", help="How raters reach the server.")] = "http://127.0.0.1:8000",
) -> None:
    """Print links of new raters, one each; only hashes of them are stored, so keep them."""
    from vocalgen.rating.address import origin
    from vocalgen.rating.store import Store
    from vocalgen.rating.study import open_study

    reached = origin(address)
    with closing(Store(open_study(study))) as store:
        for token in _shuffled(store.invite(raters)):
            print(f"{reached}/r/{token}")


@rate_app.command("serve")
def serve(
    study: StudyArgument,
    host: Annotated[
        str, typer.Option(metavar="IP", help="Address to listen on; 0.0.0.0 lets other machines in.")
    ] = LOOPBACK,
    port: PortOption = 8000,
    address: Annotated[
        list[str] | None,
        typer.Option(
            "--address",
            metavar="URL",
            help="How raters reach it, such as https://lab.example; repeatable, links get the first.",
        ),
    ] = None,
    raters: Annotated[
        int | None,
        typer.Option(
            "--invite", min=0, metavar="N", help="Print links of new raters; default: all, where none is invited."
        ),
    ] = None,
    entrance: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Admit by one link: prolific, sona, mturk or a parameter with their ids."),
    ] = None,
    entrance_raters: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Largest number of raters who come by that link.")
    ] = None,
    completion_link: Annotated[
        str | None, typer.Option(metavar="URL", help="Link shown to them at the end; may hold {participant}, {code}.")
    ] = None,
) -> None:
    """Serve the page of the study and print the links; Ctrl-C ends it, and it goes on where it stopped.

    Other machines should reach it through a reverse proxy with TLS on this one, say by which address: --address.

    Participants of a crowd platform share one link, if --entrance or study.yaml names the platform.

    Example: vocalgen rate serve study --address https://lab.example
    """
    try:
        from vocalgen.rating import serving
        from vocalgen.rating.app import make_app
    except ImportError as error:
        raise VocalgenError("the study's server needs: pip install 'vocalgen[rate]'") from error
    from vocalgen.rating.address import is_loopback, loopback, origin
    from vocalgen.rating.entrance import entrance_path
    from vocalgen.rating.store import Store
    from vocalgen.rating.study import open_study

    if not address and not is_loopback(host):
        raise VocalgenError(
            f"--host {host} lets other machines in; say by which address they come, such as --address "
            f"http://NAME:{port}; or better leave --host out, put a proxy with TLS before, and say --address https://NAME"
        )
    origins = [*map(origin, address or []), *loopback(host, port)]
    opened, key = open_study(study), secrets.token_urlsafe(16)
    given = {"entrance": entrance, "entrance_raters": entrance_raters, "completion_link": completion_link}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    opened = replace(opened, settings=replace(opened.settings, **changes))
    admits = opened.settings.entrance
    with closing(Store(opened)) as store:
        listening = serving.listen(host, port)
        if raters is None:
            raters = 0 if admits or store.raters() else opened.raters_needed
        for token in _shuffled(store.invite(raters)):
            print(f"rater: {origins[0]}/r/{token}")
    if admits is not None:
        print(f"participants: {origins[0]}{entrance_path(admits)}")
    print(f"experimenter: {origins[0]}/experiment#{key}", flush=True)
    serving.serve(make_app(opened, key, origins), listening)


def _shuffled(tokens: list[str]) -> list[str]:
    """In an order that does not tell which rater of an export had which link."""
    return secrets.SystemRandom().sample(tokens, len(tokens))


@rate_app.command("codes")
def codes(study: StudyArgument) -> None:
    """Print raters' completion codes as CSV, to tell who has finished from the codes that are handed in.

    Participants of a crowd platform have their id there too. Codes tell who a rater is, so exports do not have them.
    """
    from vocalgen.rating.answers import rater_name
    from vocalgen.rating.store import Store
    from vocalgen.rating.study import open_study

    with closing(Store(open_study(study), reading=True)) as store:
        entries = store.raters()
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("rater", "code", "finished", "withdrawn", "participant"))
    for entry in entries:
        finished, withdrawn = ("no" if moment is None else "yes" for moment in (entry.finished, entry.withdrawn))
        writer.writerow((rater_name(entry.number), entry.code, finished, withdrawn, entry.participant or ""))


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

    with closing(Store(open_study(study), reading=rater is None)) as store:
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
