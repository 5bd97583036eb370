"""Make checkpoints for use out of trained parts: float16 weights, no local paths, checksums beside them.

A generator for `vocalgen sample --checkpoint DIR`:

    python recipes/export.py pipeline --transformer runs/emogator-diffusion/export \
        --autoencoder runs/emogator-autoencoder/export --out my-checkpoint steps=16 guidance=2

    python recipes/export.py stylegan2 --generator runs/emogator-stylegan2/export \
        --vocoder checkpoints/emogator-diffusion-24k/vocoder --out my-checkpoint psi=0.8

    python recipes/export.py msggan runs/emogator-msggan/*/export --out my-checkpoint

A recogniser of any kind for `vocalgen evaluate --encoder DIR`:

    python recipes/export.py classifier runs/emogator-classifier/export --out my-classifier

Of several snapshots of a training the mean of the weights is taken, often better than any (arXiv 2203.05482).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml

from vocalgen.atomic import atomic_write_text, published
from vocalgen.config import build
from vocalgen.errors import VocalgenError
from vocalgen.generation.loading import load_part, load_transformer, load_vocoder
from vocalgen.generation.settings import Sampling, Settings, Truncation
from vocalgen.models.autoencoder import MelFrames
from vocalgen.models.classifier import Recogniser
from vocalgen.models.emo18 import Emo18
from vocalgen.models.griffin_lim import GriffinLim
from vocalgen.models.msggan import joined
from vocalgen.ownership import INDEX, FolderKind, require_own_folder, require_replaceable
from vocalgen.recognition.encoders import OfficialEncoder, load_encoder
from vocalgen.recognition.scorer import Scorer
from vocalgen.script import add_debug, expand_home, reported, settle_process
from vocalgen.shipped import SUMS_FILE, file_sha256, weight_files
from vocalgen.weights import read_json

if TYPE_CHECKING:
    from vocalgen.generation.pipeline import MSGGANPipeline, StyleGAN2Pipeline, VocalBurstPipeline

CHECKPOINT = ("model_index.json", "config.json")
"""One of these is in every checkpoint."""


CHECKPOINT_FOLDER = FolderKind("a checkpoint")


def main(arguments: Sequence[str] | None = None) -> None:
    """Load, check and save."""
    settle_process()
    options = _parser().parse_args(expand_home(arguments))
    with reported("stopped; nothing was written", options.debug):
        if (options.out / INDEX).is_file():
            require_own_folder(options.out, CHECKPOINT_FOLDER)
        for name in CHECKPOINT:
            require_replaceable(options.out / name, options.overwrite)
        if options.checksums:
            require_replaceable(options.out.parent / SUMS_FILE, options.overwrite)
        save(options.make(options), options.out, options.overwrite, options.checksums)


def make_pipeline(options: argparse.Namespace) -> VocalBurstPipeline:
    """The parts as one pipeline."""
    from vocalgen.generation.pipeline import VocalBurstPipeline

    changes = defaults(Sampling, options.sampling)
    transformer = load_transformer(options.transformer)
    mel = transformer.front_end.to_dict()
    autoencoder = load_part(Path(options.autoencoder), "MelAutoencoder") if options.autoencoder else MelFrames(mel)
    if transformer.config.in_channels != autoencoder.latent_dim:
        raise VocalgenError(
            f"the transformer makes {transformer.config.in_channels} channels, "
            f"{'the autoencoder' if options.autoencoder else 'a log-mel'} has {autoencoder.latent_dim}; "
            f"give the --autoencoder it was trained on"
        )
    vocoder = load_vocoder(options.vocoder) if options.vocoder else GriffinLim(mel)
    return VocalBurstPipeline(transformer, autoencoder, vocoder, changes)


def make_stylegan2(options: argparse.Namespace) -> StyleGAN2Pipeline:
    """Generator and vocoder as one pipeline."""
    from vocalgen.generation.pipeline import StyleGAN2Pipeline

    generator = _generator(Path(options.generator), "StyleGAN2Generator")
    autoencoder = load_part(Path(options.autoencoder), "MelAutoencoder") if options.autoencoder else None
    return StyleGAN2Pipeline(
        generator, _vocoder(options, generator), autoencoder, defaults(Truncation, options.sampling)
    )


def make_msggan(options: argparse.Namespace) -> MSGGANPipeline:
    """The generators of all emotions and a vocoder as one pipeline."""
    from vocalgen.generation.pipeline import MSGGANPipeline

    generator = joined([_generator(Path(folder), "MSGGANGenerator") for folder in options.generators])
    return MSGGANPipeline(generator, _vocoder(options, generator))


def _generator(folder: Path, wanted: str) -> Any:
    found = read_json(folder / "config.json").get("_class_name")
    if found != wanted:  # a discriminator, say
        raise VocalgenError(f"{folder} holds a {found}, not a {wanted}; give the `export` folder of a run")
    return load_part(folder, wanted)


def _vocoder(options: argparse.Namespace, generator: Any) -> Any:
    return load_vocoder(options.vocoder) if options.vocoder else GriffinLim(generator.front_end.to_dict())


def defaults(kind: type[Settings], items: Sequence[str]) -> dict[str, Any]:
    """`key=value` items as settings of a kind of generator, checked."""
    pairs = [item.partition("=") for item in items]
    try:
        changes = {key: yaml.safe_load(value) for key, _, value in pairs}
    except yaml.YAMLError as error:
        raise VocalgenError(f"sampling {' '.join(items)}: not key=value with a plain value") from error
    build(kind, changes, "sampling")
    return changes


def make_classifier(options: argparse.Namespace) -> Recogniser | Emo18:
    """The trained recogniser; of several, the mean of their weights."""
    networks = [_recogniser(path) for path in options.classifier]
    first = networks[0]
    for path, network in zip(options.classifier, networks, strict=True):
        if _identity(network) != _identity(first):
            raise VocalgenError(f"{path} is another network than {options.classifier[0]}; there is no mean of them")
    stored = [network.state_dict() for network in networks]
    mean = {name: torch.stack([weights[name].double() for weights in stored]).mean(0) for name in stored[0]}
    first.load_state_dict(mean)
    return first


def _identity(network: Recogniser | Emo18) -> tuple[Any, ...]:
    """What two networks must share for a mean of their weights; how they were trained may differ."""
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    return type(network), tuple(network.config.emotions), dict(network.config).get("mel"), shapes


def _recogniser(path: str) -> Recogniser | Emo18:
    encoder = load_encoder(path)
    if isinstance(encoder, Scorer):
        return encoder.classifier
    if isinstance(encoder, OfficialEncoder):
        return encoder.network
    raise VocalgenError(f"{path} was not trained by vocalgen; there is nothing to export")


def save(model: Any, out: Path, overwrite: bool = False, checksums: bool = False) -> None:
    """Write a checkpoint into a folder; other files there, such as a card or a clone's `.git`, stay.

    Args:
        model: network or pipeline.
        out: folder of the checkpoint.
        overwrite: whether files that vocalgen did not write may be replaced.
        checksums: whether SHA256SUMS beside the folder is brought up to date.

    Raises:
        VocalgenError: a file of the checkpoint's names was not written by vocalgen; the folder cannot be written.
    """
    with published(out, CHECKPOINT_FOLDER, overwrite) as folder:
        for network in getattr(model, "components", {"": model}).values():
            if isinstance(network, torch.nn.Module):
                network.half()  # `to` of diffusers would warn, at length, that no module is kept in float32
        model.save_pretrained(folder)
        for path in folder.rglob("*.json"):
            values = json.loads(path.read_text(encoding="utf-8"))
            values.pop("_name_or_path", None)  # a path on the training machine
            path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    if checksums:
        sums = [f"{file_sha256(path)}  {path.relative_to(out.parent)}" for path in weight_files(out.parent)]
        atomic_write_text(out.parent / SUMS_FILE, "\n".join(sums) + "\n", overwrite)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True, metavar="pipeline | stylegan2 | msggan | classifier")
    pipeline = kinds.add_parser("pipeline", help="join a transformer, an autoencoder and a vocoder")
    pipeline.add_argument("--transformer", required=True)
    pipeline.add_argument("--autoencoder", help="leave out for a transformer on log-mel frames")
    pipeline.set_defaults(make=make_pipeline)
    stylegan2 = kinds.add_parser("stylegan2", help="join a StyleGAN2 generator and a vocoder")
    stylegan2.add_argument("--generator", required=True)
    stylegan2.add_argument("--autoencoder", help="leave out for a generator of log-mels")
    stylegan2.set_defaults(make=make_stylegan2)
    msggan = kinds.add_parser("msggan", help="join MSG-GAN generators, each of one emotion, and a vocoder")
    msggan.add_argument("generators", nargs="+", help="exported folders")
    msggan.set_defaults(make=make_msggan)
    for kind in (pipeline, stylegan2, msggan):
        kind.add_argument("--vocoder", help="leave out for Griffin-Lim")
    for kind, example in ((pipeline, "steps=16"), (stylegan2, "psi=0.8")):
        kind.add_argument("sampling", nargs="*", metavar="key=value", help=f"default settings, e.g. {example}")
    classifier = kinds.add_parser("classifier", help="a trained recogniser, or the mean of several of one run")
    classifier.add_argument("classifier", nargs="+", help="exported folders; the weights of several are averaged")
    classifier.set_defaults(make=make_classifier)
    for kind in (pipeline, stylegan2, msggan, classifier):
        kind.add_argument("--out", required=True, type=Path)
        kind.add_argument("--overwrite", action="store_true", help="replace files that vocalgen did not write")
        kind.add_argument("--checksums", action="store_true", help="also update SHA256SUMS beside the folder")
        add_debug(kind)
    return parser


if __name__ == "__main__":
    main()
