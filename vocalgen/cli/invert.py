"""`vocalgen invert`: what StyleGAN2 makes of a real clip."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vocalgen.cli import outputs
from vocalgen.cli.numbers import warn
from vocalgen.cli.options import DeviceOption
from vocalgen.emotions import parse_condition
from vocalgen.errors import VocalgenError
from vocalgen.progress import progress
from vocalgen.shipped import file_sha256

if TYPE_CHECKING:
    from vocalgen.generation.inversion_files import Reader


def invert(
    clip: Annotated[Path, typer.Argument(metavar="CLIP", help="Recording of a burst.")],
    emotion: Annotated[str, typer.Option("--emotion", "-e", metavar="EMOTION", help="Where the search starts.")],
    checkpoint: Annotated[
        str, typer.Option("--checkpoint", "--generator", metavar="MODEL", help="A StyleGAN2 checkpoint.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="For the clip as the model has it, and its w.")
    ] = Path("inversion"),
    steps: Annotated[int, typer.Option(metavar="N", help="Steps of the search.")] = 300,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the search and of the noise.")] = 0,
    device: DeviceOption = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", metavar="", help="Replace other files of these names than results for CLIP."),
    ] = False,
) -> None:
    """Search the latents of StyleGAN2 for a real clip: writes CLIP.wav as the model makes it and w as safetensors.

    Example: vocalgen invert laugh.wav --emotion amusement --checkpoint my-gan
    """
    from vocalgen.generation.checkpoint import family_of, read_vocabulary
    from vocalgen.generation.settings import Truncation, require_seeds

    if steps < 1:
        raise VocalgenError(f"--steps must be at least 1, got {steps}")
    require_seeds(seed)
    folder = outputs.find_folder(checkpoint)
    if family_of(folder).settings is not Truncation:
        raise VocalgenError(f"{checkpoint} is no StyleGAN2 checkpoint; only these have a space to search")
    condition = parse_condition(emotion, read_vocabulary(folder))
    for note in condition.notes:
        print(f"note: {note}", file=sys.stderr)
    path, latent = out / f"{clip.stem}.wav", out / f"{clip.stem}.safetensors"
    if path.exists() and clip.exists() and path.samefile(clip):
        raise VocalgenError(f"{path} is the recording that is read; choose another --out")
    outputs.require_folder(out)

    from vocalgen.generation.inversion_files import RECORDING, recording_of_clip, recording_of_latent, save_latent

    recording = file_sha256(clip)
    earlier = [
        target
        for target, read in ((path, recording_of_clip), (latent, recording_of_latent))
        if _is_earlier(target, read, clip, recording, overwrite)
    ]
    for target in earlier:
        print(f"note: {target} is an earlier result for {clip}; it will be replaced", file=sys.stderr)

    import torch

    from vocalgen import audio
    from vocalgen.data import CacheConfig, prepare_wave
    from vocalgen.generation.inversion import invert as search
    from vocalgen.generation.inversion import samples_of
    from vocalgen.generation.stylegan2 import StyleGAN2Synthesis
    from vocalgen.generation.tagging import clip_tags

    synthesis = outputs.load(folder, device)
    assert isinstance(synthesis, StyleGAN2Synthesis)
    wave, _ = audio.read(clip, synthesis.sample_rate)
    if audio.is_silent(wave):
        raise VocalgenError(f"{clip} is silent; there is nothing to search for")
    wave = prepare_wave(wave, CacheConfig(sample_rate=synthesis.sample_rate))
    fitting = samples_of(synthesis)
    if len(wave) > fitting:
        lasts, kept = len(wave) / synthesis.sample_rate, fitting / synthesis.sample_rate
        warn(
            [
                f"{clip} lasts {lasts:.2f} s without silence, but the model makes {kept:.2f} s: the last "
                f"{lasts - kept:.2f} s ({100 * (1 - kept / lasts):.0f} %) are cut, and the distance is that of the rest"
            ]
        )
    with progress("searching", total=steps) as (advance,):
        intensities = torch.tensor(condition.intensities)
        found = search(synthesis, wave, intensities, steps, seed, lambda: advance(1))
    made = synthesis.finish(synthesis.waves(found.mel[None])[0])
    search_settings = {"inversion_steps": steps, RECORDING: recording}
    tags = clip_tags(synthesis, condition.label, seed, synthesis.settings(), **search_settings)
    audio.write(path, made, synthesis.sample_rate, overwrite=overwrite, tags=tags)
    save_latent(latent, found.w.cpu().numpy(), recording, overwrite)
    print(f"{path}  log-mel distance {found.distance:.3f} nat, {found.start:.3f} before the search")


def _is_earlier(target: Path, read: Reader, clip: Path, recording: str, overwrite: bool) -> bool:
    """Whether a file is an earlier result for a recording.

    Args:
        target: file to be written.
        read: reads the recording's SHA-256 from such a file.
        clip, recording: the recording and its SHA-256.
        overwrite: whether another file may be replaced.

    Raises:
        VocalgenError: another file or a folder is there.
    """
    outputs.require_file(target, overwrite, lambda there: read(there) is not None)
    if not target.exists():
        return False
    found = read(target)
    if found != recording and not overwrite:
        raise VocalgenError(f"{target} was not made from {clip}; choose another --out, or pass --overwrite")
    return found == recording
