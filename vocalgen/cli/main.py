"""The `vocalgen` command: a table of verbs that are imported when called, and errors that are for people."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from vocalgen import __version__
from vocalgen.script import expand_home, explain, settle_process


@dataclass(frozen=True)
class Verb:
    """Where a verb lives: `target` in `module` is a function with typer parameters, or a `typer.Typer`."""

    module: str
    target: str
    help: str


VERBS = {
    "sample": Verb("vocalgen.cli.sample", "sample", "Make clips for an emotion or a mixture and write them."),
    "generate": Verb("vocalgen.cli.generate", "generate", "Make a balanced set of clips for evaluation."),
    "interpolate": Verb("vocalgen.cli.interpolate", "interpolate", "Make clips on the way from one burst to another."),
    "invert": Verb("vocalgen.cli.invert", "invert", "Find a real clip in the latents of StyleGAN2."),
    "evaluate": Verb("vocalgen.cli.evaluate", "evaluate", "Score folders of clips, of any system, beside real ones."),
    "benchmark": Verb("vocalgen.cli.benchmark", "benchmark", "Train a recogniser on a challenge's task and score it."),
    "classify": Verb("vocalgen.cli.classify", "classify", "Predict emotions of audio files by a trained recogniser."),
    "embed": Verb("vocalgen.cli.embed", "embed", "Write embeddings of clips to a file."),
    "metrics": Verb("vocalgen.cli.metrics", "metrics_app", "Single numbers for scripts: fid, kad, heep, s-gen, ccc..."),
    "rate": Verb("vocalgen.cli.rate", "rate_app", "Run a listening study: clips, raters, a page, ratings."),
    "data": Verb("vocalgen.cli.data", "data_app", "Prepare, verify and describe a corpus."),
    "submission": Verb("vocalgen.cli.submission", "submission_app", "Check submission files of the challenges."),
    "info": Verb("vocalgen.cli.info", "info", "Show what made a clip, from the tags in its file."),
    "doctor": Verb("vocalgen.cli.doctor", "doctor", "Check this installation and say how to mend it."),
}


class LazyGroup(TyperGroup):
    """A group whose help comes from `VERBS`; a verb's module is imported when the verb is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        # Stand-ins: enough for the list of verbs and for "did you mean".
        self.commands = {name: TyperCommand(name, help=verb.help) for name, verb in VERBS.items()}

    def list_commands(self, ctx: Any) -> list[str]:
        """Verbs in the order of the table."""
        return list(VERBS)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb that is about to run, imported now; an unknown verb is a usage error."""
        name, stand_in, rest = super().resolve_command(ctx, args)
        return name, load_verb(name) if name else stand_in, rest


def load_verb(name: str) -> Any:
    """Import a verb of the table and make a command of it."""
    verb = VERBS[name]
    target = getattr(importlib.import_module(verb.module), verb.target)
    if not isinstance(target, typer.Typer):
        function, target = target, typer.Typer(add_completion=False)
        target.command(name)(function)
    command = typer.main.get_command(target)
    command.name = name
    return command


app = typer.Typer(name="vocalgen", cls=LazyGroup, add_completion=False)


@app.callback()
def main(
    version: bool = typer.Option(False, "--version", is_eager=True, metavar="", help="Print the version and exit."),
    debug: bool = typer.Option(
        False, "--debug", metavar="", help="Show the traceback of an error; may stand anywhere."
    ),
) -> None:
    """Make and measure affective vocal bursts: laughs, gasps, cries and sighs, conditioned on emotion."""


def run(arguments: Sequence[str] | None = None) -> None:
    """Entry point: run a verb, print errors as one line on stderr, exit.

    Exit codes: 0 done; 1 a check that found something, or a bug in vocalgen; 2 something the user can mend;
    130 Ctrl-C; 141 the reader of a pipe has left.
    """
    settle_process()
    args = expand_home(arguments)
    debug = "--debug" in args
    try:
        code = _invoke([argument for argument in args if argument != "--debug"])
        if sys.stdout is not None:  # it is None when the caller closed it
            sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        code = _report(error)
        _settle_stdout()
    sys.exit(code)


def _invoke(args: list[str]) -> int:
    """Run the command line `args`; an exit code, or whatever the verb raises."""
    if args[:1] == ["--version"]:
        typer.echo(f"vocalgen {__version__}")
        return 0
    command = typer.main.get_command(app)
    try:
        with command.make_context("vocalgen", args or ["--help"]) as context:
            command.invoke(context)
    except typer.Exit as stop:
        return stop.exit_code
    return 0


def _report(error: BaseException) -> int:
    """Print `error` in one line for a person; the exit code that goes with it."""
    if hasattr(error, "format_message"):  # click's usage errors, whose module differs between typer releases
        return _report_usage(error)
    explained = explain(KeyboardInterrupt() if isinstance(error, typer.Abort) else error)
    if explained is not None:
        return _fail(*explained)
    return _fail(f"this is a bug in vocalgen: {type(error).__name__}: {error} (--debug shows the traceback)", 1)


def _report_usage(error: Any) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":  # a group called without a verb; the message is its help
        typer.echo(error.format_message(), err=True)
        return 2
    path = error.ctx.command_path if getattr(error, "ctx", None) else "vocalgen"
    return _fail(f"{error.format_message().rstrip('.')}; see {path} --help", 2)


def _fail(message: str, code: int) -> int:
    if message:
        typer.secho(f"error: {' '.join(message.split())}", fg=typer.colors.RED, err=True)
    return code


def _settle_stdout() -> None:
    """Flush stdout; what nobody can take (pipe gone, disk full) goes nowhere, not into a traceback."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
