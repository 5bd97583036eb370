"""`vocalgen embed`: embeddings of clips as a file, for `vocalgen metrics` and for anything else that reads npz."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vocalgen.cli import outputs
from vocalgen.cli.numbers import warn
from vocalgen.cli.options import DeviceOption, OverwriteOption
from vocalgen.errors import VocalgenError
from vocalgen.ownership import require_replaceable

if TYPE_CHECKING:
    from vocalgen.emotions import Vocabulary
    from vocalgen.recognition.clips import Clips
    from vocalgen.recognition.encoders import Encoder


def embed(
    source: Annotated[Path, typer.Argument(metavar="DIR|FILE", help="Clips as DIR/EMOTION/FILE, or a manifest.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Embeddings to write (.npz).")],
    encoder: Annotated[
        str,
        typer.Option(
            metavar="MODEL", help="Shipped name, folder, official checkpoint file, hub id or torchaudio:BUNDLE."
        ),
    ] = "emogator-classifier-24k",
    split: Annotated[
        list[str] | None, typer.Option(metavar="SPLIT", help="Of the manifest: train, validation, test; repeatable.")
    ] = None,
    vocabulary: Annotated[
        str | None, typer.Option(metavar="NAME", help="Emotions of the folders; default: one that has them all.")
    ] = None,
    device: DeviceOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write embeddings, ids, labels and logits of clips to a file, with the name and checksum of the encoder.

    Example: vocalgen embed clips --out clips.npz
    """
    if out.suffix != ".npz":
        raise VocalgenError(f"{out}: embeddings are written as .npz; give such a name to --out")
    if source.is_dir() and split:
        raise VocalgenError(f"{source} is a folder and has no splits; leave out --split")
    if not source.is_dir() and not source.is_file():
        raise VocalgenError(f"{source}: no such folder of clips and no such manifest")
    if source.is_file() and (not split or vocabulary):
        raise VocalgenError(
            f"{source} is a manifest: say which --split; its emotions are its own, without --vocabulary"
        )
    require_replaceable(out, overwrite)
    outputs.require_folder(out.parent)

    from vocalgen.evaluation.embedding import embed as embedded
    from vocalgen.evaluation.stored import save_embeddings
    from vocalgen.generation.loading import choose_device
    from vocalgen.recognition.clips import UNLABELLED
    from vocalgen.recognition.encoders import load_encoder

    chosen = load_encoder(encoder, str(choose_device(device)))
    clips, emotions = _clips(source, split, vocabulary, chosen)
    found = embedded(clips, chosen, emotions)
    save_embeddings(out, found, overwrite)
    warn([*clips.remarks(), *(f"left out {line}" for line in found.source.skipped)])
    unlabelled = int((found.labels == UNLABELLED).sum())
    if unlabelled:
        warn([f"{unlabelled} of the {len(found)} clips have no label; metrics of one emotion leave them out"])
    print(f"{out}: {len(found)} embeddings of dimension {found.embeddings.shape[1]} by {chosen.name}")


def _clips(source: Path, split: list[str] | None, vocabulary: str | None, encoder: Encoder) -> tuple[Clips, Vocabulary]:
    from vocalgen.corpora.manifest import Manifest
    from vocalgen.emotions import get_vocabulary
    from vocalgen.evaluation.embedding import folder_emotions
    from vocalgen.recognition.clips import FolderClips, RealClips

    if split:
        emotions = Manifest.load(source).emotions
        return RealClips(source, split, emotions, encoder.prepare, unlabelled=True), emotions
    emotions = get_vocabulary(vocabulary) if vocabulary else folder_emotions(source, encoder.emotions)
    return FolderClips(source, emotions), emotions
