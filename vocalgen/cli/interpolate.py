"""`vocalgen interpolate`: clips on the way from one burst to another."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from vocalgen.atomic import published
from vocalgen.cli import outputs
from vocalgen.cli.options import CheckpointOption, DeviceOption, FormatOption, OverwriteOption, PsiOption
from vocalgen.emotions import parse_condition
from vocalgen.errors import VocalgenError
from vocalgen.ownership import FolderKind, require_publishable

INTERPOLATION = FolderKind("an interpolation")


def interpolate(
    start: Annotated[str, typer.Option("--from", metavar="EMOTION", help="A name or a mixture.")],
    end: Annotated[
        str | None, typer.Option("--to", metavar="EMOTION", help="The same at the other end; default: as --from.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the first clip.")] = 0,
    to_seed: Annotated[int | None, typer.Option(metavar="N", help="Of the last clip; default: as --seed.")] = None,
    clips: Annotated[int, typer.Option("--clips", "-n", metavar="N", help="Clips, both ends included.")] = 7,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="PATH", help="Folder for one file a clip, or one long file.")
    ] = Path("interpolation"),
    format: FormatOption = None,
    psi: PsiOption = None,
    checkpoint: CheckpointOption = None,
    device: DeviceOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Go from one emotion or seed to another in equal steps.

    Example: vocalgen interpolate --from awe --to fear --out awe-to-fear.wav
    """
    from vocalgen.generation.checkpoint import read_settings, read_vocabulary
    from vocalgen.generation.settings import require_seeds

    last_seed = seed if to_seed is None else to_seed
    for number in (seed, last_seed):
        require_seeds(number)
    if clips < 2:
        raise VocalgenError(f"-n must be at least 2, got {clips}")
    if end is None and last_seed == seed:
        raise VocalgenError("both ends are the same; give --to, --to-seed or both")
    target = outputs.target(out, format)
    folder = outputs.find_folder(checkpoint)
    changes: dict[str, Any] = {"psi": psi}
    read_settings(folder, **changes)
    vocabulary = read_vocabulary(folder)
    ends = [parse_condition(text, vocabulary) for text in (start, end or start)]
    for note in dict.fromkeys(note for condition in ends for note in condition.notes):
        print(f"note: {note}", file=sys.stderr)
    names = [f"{number:03d}.{target.format}" for number in range(clips)]
    if target.file:
        outputs.require_file(target.file, overwrite)
    else:
        require_publishable(target.folder, INTERPOLATION, names, overwrite)  # numbers do not tell whose clips they are
    outputs.require_folder(target.folder)

    from vocalgen import audio
    from vocalgen.generation.interpolation import End, joined
    from vocalgen.generation.interpolation import interpolate as go
    from vocalgen.generation.tagging import clip_tags

    synthesis = outputs.load(folder, device)
    settings = synthesis.settings(**changes)
    waves = go(synthesis, End(ends[0], seed), End(ends[1], last_seed), clips, settings)
    route = f"{ends[0].label} to {ends[1].label}"
    if target.file:
        tags = clip_tags(synthesis, route, seed, settings, to_seed=last_seed, clips=clips)
        whole = joined(waves, synthesis.sample_rate)
        audio.write(target.file, whole, synthesis.sample_rate, target.format, overwrite, tags)
        print(f"{target.file}  {clips} clips")
        return
    with published(target.folder, INTERPOLATION, overwrite) as made:
        for number, (name, wave) in enumerate(zip(names, waves, strict=True)):
            tags = clip_tags(synthesis, route, seed, settings, to_seed=last_seed, clips=clips, clip=number)
            audio.write(made / name, wave, synthesis.sample_rate, target.format, tags=tags)
    for name, wave in zip(names, waves, strict=True):
        print(f"{target.folder / name}  {len(wave) / synthesis.sample_rate:.2f} s")
