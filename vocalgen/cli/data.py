"""`vocalgen data`: verify and describe what `prepare` makes, and compute its features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from vocalgen.cli.numbers import warn
from vocalgen.cli.options import DeviceOption, OverwriteOption
from vocalgen.cli.prepare import PROCESSES, prepare_app
from vocalgen.ownership import require_replaceable
from vocalgen.pictures import is_own_picture, require_picture
from vocalgen.progress import progress

if TYPE_CHECKING:
    from rich.console import Console

    from vocalgen.corpora.stats import CorpusStats


class _InOrder(TyperGroup):
    """Lists what comes first in the work first."""

    def list_commands(self, ctx: Any) -> list[str]:
        return ["prepare", "verify", "stats", "features"]


data_app = typer.Typer(
    cls=_InOrder, help="Prepare, verify and describe a corpus.", no_args_is_help=True, add_completion=False
)
data_app.add_typer(prepare_app, name="prepare")


@data_app.command("verify")
def verify(
    manifest: Annotated[
        Path,
        typer.Argument(help="Manifest (CSV) made by `vocalgen data prepare`, or a folder of MODULATE-STREAM's shards."),
    ],
    corpus: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="emogator, hume-vocalburst, hume-prosody, modulate-sonata, or folder for your own clips; default: by "
            "the emotions.",
        ),
    ] = None,
    processes: Annotated[int, typer.Option(min=1, metavar="N", help="How many shards to read at once.")] = PROCESSES,
) -> None:
    """Hold a corpus against what is published of it: clips, speakers, audio, labels; shards also against their index.

    Ends with status 1 if they differ, audio is missing, or training and validation clips lack labels. Also warns of
    clips that are left out, and of labels that the numbers in the files' names give away.
    """
    right = "as published"
    if manifest.is_dir():
        found = _shard_problems(manifest, processes)
    else:
        found, published = _manifest_problems(manifest, corpus)
        right = right if published else "in order; there are no published counts"
    for problem in found:
        print(problem)
    if found:
        raise typer.Exit(1)
    print(f"{manifest}: {right}")


def _manifest_problems(path: Path, corpus: str | None) -> tuple[list[str], bool]:
    """What is wrong, and whether anything is published about the corpus."""
    from vocalgen.corpora.check import corpus_of, flagged, problems
    from vocalgen.corpora.leaks import leaks
    from vocalgen.corpora.manifest import Manifest

    manifest = Manifest.load(path)
    chosen = corpus_of(manifest, corpus)
    warn([*flagged(manifest), *map(str, leaks(manifest))])
    return problems(manifest, chosen), bool(chosen.counts)


def _shard_problems(folder: Path, processes: int) -> list[str]:
    from vocalgen.corpora.shards import problems

    with progress("reading shards") as (advance,):
        return problems(folder, processes, advance)


@data_app.command("stats")
def stats(
    manifest: Annotated[Path, typer.Argument(help="Manifest (CSV) made by `vocalgen data prepare`.")],
    figure: Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw a picture (.png, .svg, .pdf).")] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Clips, speakers and seconds per split and emotion."""
    from rich.console import Console

    from vocalgen.corpora.manifest import Manifest
    from vocalgen.corpora.stats import describe, draw

    if figure is not None:
        require_picture(figure)
        require_replaceable(figure, overwrite, is_own_picture)
    loaded, console = Manifest.load(manifest), Console()
    _print_stats(describe(loaded), console)
    if figure is not None:
        draw(loaded, figure, overwrite)
        console.print(f"wrote {figure}", highlight=False, markup=False, soft_wrap=True)


@data_app.command("features")
def features(
    manifest: Annotated[Path, typer.Argument(help="Manifest (CSV) made by `vocalgen data prepare`.")],
    encoder: Annotated[
        list[str],
        typer.Option(
            "--encoder",
            metavar="MODEL",
            help="ComParE_2016, eGeMAPSv02, log-mel, a shipped name, folder, hub id or torchaudio:BUNDLE "
            "(NAME@LAYER: a hidden layer), or features given with the corpus (CSV, folder of CSV); repeatable.",
        ),
    ],
    device: DeviceOption = None,
) -> None:
    """Compute the features of all clips beside the manifest, once; goes on after a stop.

    Example: vocalgen data features data/emogator.csv --encoder eGeMAPSv02
    """
    from vocalgen.generation.loading import choose_device
    from vocalgen.recognition.given import corpus_features

    for name in encoder:
        found = corpus_features(manifest, name, device=str(choose_device(device)))
        clips, dim = found.values.shape
        print(f"{found.name}: {clips:,} clips x {dim:,} values, {found.new:,} of them new: {found.file}")


def _print_stats(stats: CorpusStats, console: Console) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from vocalgen.corpora.words import count

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_footer=True)
    table.add_column("emotion", footer="all", no_wrap=True)
    for split, tally in stats.per_split.items():
        table.add_column(f"{split[:5]}\nclips", justify="right", footer=f"{tally.clips:,}", no_wrap=True)
        table.add_column("\nspk", justify="right", footer=f"{tally.speakers:,}", no_wrap=True)
        table.add_column("\nsec", justify="right", footer=f"{tally.seconds:,.0f}", no_wrap=True)
    for emotion in stats.emotions:
        cells = []
        for split in stats.per_split:
            tally = stats.per_emotion[emotion, split]
            cells += [f"{tally.clips:,}", f"{tally.speakers:,}", f"{tally.seconds:,.0f}"]
        table.add_row(escape(emotion), *cells)
    console.print(table)
    total = stats.total
    flags = ", ".join(f"{count:,} {flag}" for flag, count in stats.flags.items()) or "none"
    console.print(
        f"{count(total.clips, 'usable clip')}, {count(total.speakers, 'speaker')}, {total.seconds / 3600:.2f} h; "
        f"{stats.excluded:,} left out; flags: {flags}",
        highlight=False,
        soft_wrap=True,
    )
