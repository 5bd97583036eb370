"""`vocalgen info`: the tags of generated clips."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from vocalgen.tags import TaggedFile


def info(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Audio files.")],
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print a JSON list.")] = False,
) -> None:
    """Show which model, emotion, seed and settings made a clip, its licence, and whether it was edited since.

    Example: vocalgen info awe-0.wav
    """
    from vocalgen import tags

    found = [(file, tags.read(file)) for file in files]
    if as_json:
        typer.echo(json.dumps([_entry(file, tagged) for file, tagged in found], indent=2))
        return
    for number, (file, tagged) in enumerate(found):
        if number:
            typer.echo()
        for line in _lines(file, tagged):
            typer.echo(line)


def _entry(file: Path, tagged: TaggedFile | None) -> dict[str, Any]:
    if tagged is None:
        return {"file": str(file), "tagged": False}
    edits = {"unchanged": tagged.unchanged, "tags_edited": tagged.tags_edited}
    return {"file": str(file), "tagged": True, **asdict(tagged.tags), **edits}


def _lines(file: Path, tagged: TaggedFile | None) -> Iterator[str]:
    yield str(file)
    if tagged is None:
        yield "  no tags of vocalgen: it was not written by vocalgen, or its tags were removed"
        return
    tags = tagged.tags
    audio = "changed since vocalgen wrote it" if tagged.audio_edited else "as vocalgen wrote it"
    if tagged.tags_edited:
        audio += "; tags edited"
    settings = {f"  {name}": value for name, value in tags.settings.items()}
    head = {"model": tags.model, "emotion": tags.emotion, "seed": tags.seed, "settings": "" if settings else "none"}
    rows = {**head, **settings, "licence": tags.licence, "software": tags.software, "audio": audio}
    width = max(map(len, rows))
    for name, value in rows.items():
        yield f"  {name:<{width}}  {value}".rstrip()
