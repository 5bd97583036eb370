"""`vocalgen data prepare`: a manifest of a corpus, and a report about its clips."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vocalgen.atomic import require_writable
from vocalgen.cli.options import OverwriteOption
from vocalgen.cli.silence import decoders_silenced
from vocalgen.errors import VocalgenError
from vocalgen.ownership import require_replaceable
from vocalgen.progress import progress

if TYPE_CHECKING:
    from rich.console import Console

    from vocalgen.corpora.manifest import Manifest
    from vocalgen.corpora.verify import VerificationReport

prepare_app = typer.Typer(help="Make a manifest of a corpus and verify its clips.", no_args_is_help=True)

OutOption = Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Manifest (CSV) to write.")]
VerifyOption = Annotated[
    bool,
    typer.Option("--verify/--no-verify", metavar="", help="Decode every clip once: durations, and flags of bad clips."),
]
ProcessesOption = Annotated[int, typer.Option(min=1, metavar="N", help="How many clips to decode at once.")]

_SHOWN = 20
_WIDE = 300
PROCESSES = min(8, os.cpu_count() or 1)


@prepare_app.command("emogator")
def prepare_emogator(
    folder: Annotated[Path, typer.Argument(help="Folder of EmoGator's mp3 files, or its repository.")],
    out: OutOption,
    verify: VerifyOption = True,
    processes: ProcessesOption = PROCESSES,
    overwrite: OverwriteOption = False,
) -> None:
    """EmoGator: 30 emotions, split by contributor (1-284 train, 285-319 validation, 320-357 test)."""
    from vocalgen.corpora import emogator

    _prepare(lambda: emogator.scan(folder), out, verify, processes, overwrite)


@prepare_app.command("hume-vocalburst")
def prepare_hume_vocalburst(
    folder: Annotated[Path, typer.Argument(help="Folder of the ExVo or the A-VB release, or of both in one.")],
    out: OutOption,
    fewshot: Annotated[
        bool, typer.Option("--fewshot", metavar="", help="Read data_info.fewshot.csv, ExVo's few-shot variant.")
    ] = False,
    verify: VerifyOption = True,
    processes: ProcessesOption = PROCESSES,
    overwrite: OverwriteOption = False,
) -> None:
    """HUME-VOCALBURST: ten emotions, and country, age, valence, arousal, type and forty cultural labels where given."""
    from vocalgen.corpora import hume_vocalburst

    _prepare(lambda: hume_vocalburst.scan(folder, fewshot), out, verify, processes, overwrite)


@prepare_app.command("hume-prosody")
def prepare_hume_prosody(
    folder: Annotated[Path, typer.Argument(help="Folder of the ComParE 2023 release, with lab and wav.")],
    out: OutOption,
    verify: VerifyOption = True,
    processes: ProcessesOption = PROCESSES,
    overwrite: OverwriteOption = False,
) -> None:
    """HUME-PROSODY: nine emotions, official splits."""
    from vocalgen.corpora import hume_prosody

    _prepare(lambda: hume_prosody.scan(folder), out, verify, processes, overwrite)


@prepare_app.command("modulate-sonata")
def prepare_sonata(
    folder: Annotated[Path, typer.Argument(help="Folder of the recordings and their texts.")],
    mapping: Annotated[
        Path, typer.Option(metavar="FILE", help="YAML that says how files are named and times written; see recipes/.")
    ],
    out: OutOption,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the draw by actor, if the mapping has no splits.")] = 0,
    verify: VerifyOption = True,
    processes: ProcessesOption = PROCESSES,
    overwrite: OverwriteOption = False,
) -> None:
    """MODULATE-SONATA: 25 acted emotions, cut into segments (FLAC) beside the manifest."""
    from vocalgen.corpora import sonata

    _require_replaceable(out, overwrite)
    layout = sonata.read_layout(mapping)
    found, remarks = sonata.segments(folder, layout)
    target = out.with_name(f"{out.stem}-segments")

    def cut() -> Manifest:
        with progress("cutting", total=len(found)) as (advance,):
            manifest = sonata.cut(found, layout, target, seed, lambda: advance(1))
        return replace(manifest, notes=(*remarks, *manifest.notes))

    _prepare(cut, out, verify, processes, overwrite)


@prepare_app.command("modulate-stream")
def prepare_stream(
    folder: Annotated[Path, typer.Argument(help="Folder below which the opus clips lie.")],
    table: Annotated[Path, typer.Option(metavar="FILE", help="The release's table (TSV).")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for the shards and index.json.")],
    rows: Annotated[int, typer.Option(metavar="N", help="Rows of the table a shard.")] = 10_000,
    most_child: Annotated[
        float, typer.Option(metavar="P", help="Leave out clips with a greater probability of a child's voice.")
    ] = 1.0,
    processes: ProcessesOption = PROCESSES,
) -> None:
    """MODULATE-STREAM: 1.88 million clips into tar shards (WebDataset); goes on after a stop.

    Example: vocalgen data prepare modulate-stream DIR --table clips.tsv --out data/stream --most-child 0.5
    """
    from vocalgen.corpora.stream import CLIPS, INDEX, LEFT_OUT, Packing, pack
    from vocalgen.corpora.words import count

    with progress("reading rows", "packing") as (counted, advance):
        index = pack(folder, table, out, Packing(rows, most_child), processes, advance, counted)
    left_out = {kind: index[kind] for kind in LEFT_OUT}
    clips, shards = count(index["clips"], "clip"), count(len(index["shards"]), "shard")
    print(f"{out / INDEX}: {clips} of {index['seconds'] / 3600:,.1f} h in {shards}")
    if sum(left_out.values()):
        print(
            f"left out: {left_out['child']:,} maybe of children, {left_out['repeated']:,} there already, "
            f"{left_out['missing']:,} without a file, {count(left_out['wrong'], 'row')} that cannot be used; "
            f"listed in {out / 'shard-*.skipped.tsv'}"
        )
    if not index["packed"]:
        raise VocalgenError(
            f"no clip of {table} could be packed; is {folder} its folder? then remove {out}, pack again"
        )
    if index["packed"] + sum(left_out.values()) != CLIPS:
        print(f"note: the full corpus has {CLIPS:,} clips")


@prepare_app.command("folder")
def prepare_folder(
    source: Annotated[
        Path,
        typer.Argument(help="A CSV or JSONL table, the folder it lies in, or one folder of audio per emotion."),
    ],
    out: OutOption,
    vocabulary: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="hume-10, prosody-9, sonata-25 or emogator-30; default: the names that occur."
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="SPLIT", help="Put every clip into train, validation or test.")
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Seed of the draw by speaker when the table has no split.")
    ] = 0,
    verify: VerifyOption = True,
    processes: ProcessesOption = PROCESSES,
    overwrite: OverwriteOption = False,
) -> None:
    """Your own clips: columns file, emotion (or intensities emotion:<Name>), speaker, split."""
    from vocalgen.corpora import folder
    from vocalgen.emotions import get_vocabulary

    known = get_vocabulary(vocabulary) if vocabulary else None
    _prepare(lambda: folder.scan(source, known, split, seed), out, verify, processes, overwrite, source)


def _prepare(
    scan: Callable[[], Manifest],
    out: Path,
    verify: bool,
    processes: int,
    overwrite: bool,
    source: Path | None = None,
) -> None:
    from rich.console import Console

    from vocalgen.atomic import atomic_write_text
    from vocalgen.corpora.check import corpus_of, incomplete, missing_files, unseen_emotions
    from vocalgen.corpora.verify import is_report
    from vocalgen.corpora.words import count

    console = Console()
    if out.suffix.lower() != ".csv":
        raise VocalgenError(f"{out}: a manifest is a CSV; give --out a name that ends in .csv")
    report_path = _report_path(out)
    _require_other(out, source)
    _require_replaceable(out, overwrite)
    _require_writable(out)
    with decoders_silenced():
        manifest = scan()
    lacking = incomplete(manifest, corpus_of(manifest))
    further = [*(f"{k}: {', '.join(ids)}" for k, ids in lacking.items()), *unseen_emotions(manifest)]
    absent = missing_files(manifest) if verify else ()
    manifest = replace(manifest, notes=(*manifest.notes, *further, *absent))
    if verify:
        manifest, report = _verify(manifest, processes)
        manifest.save(out, overwrite)
        atomic_write_text(report_path, json.dumps(report.to_dict(), indent=1) + "\n", overwrite)
        _print_report(report, report_path, console)
    else:
        manifest.save(out, overwrite)
        if report_path.is_file() and is_report(report_path):  # it would speak of other clips
            report_path.unlink()
        for note in (*manifest.notes, "not verified: durations and flags are unknown"):
            console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    splits = ", ".join(f"{len(manifest.split(name)):,} {name}" for name in ("train", "validation", "test"))
    unusable = len(manifest) - len(manifest.usable())
    left_out = f"; {count(unusable, 'clip')} left out, listed in {report_path}" if unusable else ""
    wrote = f"wrote {out}: {count(len(manifest), 'clip')} ({splits}){left_out}"
    console.print(wrote, highlight=False, markup=False, soft_wrap=True)


def _verify(manifest: Manifest, processes: int) -> tuple[Manifest, VerificationReport]:
    from vocalgen.corpora.verify import verify

    with decoders_silenced(), progress("verifying", total=len(manifest)) as (advance,):
        return verify(manifest, processes, advance)


def _print_report(report: VerificationReport, path: Path, console: Console) -> None:
    from rich.table import Table

    from vocalgen.corpora.manifest import EXCLUDING_FLAGS
    from vocalgen.corpora.words import count

    table = Table("flag", "clips", "consequence", title=f"{count(report.clips, 'clip')}, {report.seconds / 3600:.2f} h")
    table.columns[1].justify = "right"
    for flag, clips in report.counts.items():
        table.add_row(flag, f"{clips:,}", "left out of training" if flag in EXCLUDING_FLAGS else "kept")
    table.add_row("usable", f"{report.usable:,}", "", style="bold")
    console.print(table)
    # Clips that are left out come first; the rest only tells of quality.
    problems = sorted(report.problems, key=lambda problem: problem.flag not in EXCLUDING_FLAGS)
    lines = [f"{problem.flag}: {problem.id} ({problem.detail})" for problem in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        lines.append(f"... and {len(problems) - _SHOWN:,} more, all listed in {path}")
    whole = f" ... all of it in {path}"
    lines += [f"note: {note if len(note) <= _WIDE else note[:_WIDE] + whole}" for note in report.notes]
    if not report.usable:
        lines.append("note: no usable clip is left")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _report_path(out: Path) -> Path:
    return out.with_suffix(".report.json")


def _require_replaceable(out: Path, overwrite: bool) -> None:
    for path in (out, _report_path(out)):
        require_replaceable(path, overwrite)


def _require_other(out: Path, source: Path | None) -> None:
    """Refuse to write the manifest over the table that is read."""
    from vocalgen.corpora.folder import table_in

    table = table_in(source) if source is not None and source.is_dir() else source
    if table is not None and out.exists() and table.exists() and out.samefile(table):
        raise VocalgenError(f"{out} is the table that is read; choose another --out")


def _require_writable(out: Path) -> None:
    """Fail before the long verification, not after it, when the manifest could not be written."""
    if out.is_dir():
        raise VocalgenError(f"cannot write {out}: it is a folder; choose another place")
    require_writable(out.parent)
