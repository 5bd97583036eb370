"""Join trained parts into one checkpoint that `vocalgen sample --checkpoint DIR` takes.

python recipes/export_pipeline.py --transformer runs/emogator-diffusion/export \
    --autoencoder runs/emogator-autoencoder/export --vocoder runs/emogator-hifigan/export \
    --out checkpoints/emogator-diffusion-24k steps=16 guidance=2
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import torch
import yaml

from vocalgen.atomic import atomic_path, atomic_write_text
from vocalgen.errors import VocalgenError
from vocalgen.generation.pipeline import Sampling, VocalBurstPipeline
from vocalgen.models.autoencoder import MelAutoencoder, MelFrames
from vocalgen.models.griffin_lim import GriffinLim
from vocalgen.models.hifigan import load_vocoder
from vocalgen.models.transformer import MelTransformer
from vocalgen.shipped import SUMS_FILE, file_sha256, weight_files
from vocalgen.training.config import build

KEPT = ("README.md", "figures")
"""What a folder keeps when its weights are replaced."""


def main() -> None:
    """Load, check and save the parts as float16."""
    parser = argparse.ArgumentParser(description="Join trained parts into one checkpoint (float16 safetensors).")
    parser.add_argument("--transformer", required=True)
    parser.add_argument("--autoencoder", help="leave out for a transformer on log-mel frames")
    parser.add_argument("--vocoder", help="leave out for Griffin-Lim")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("sampling", nargs="*", metavar="key=value", help="sampler defaults, e.g. steps=16")
    options = parser.parse_args()
    try:
        pairs = [item.partition("=") for item in options.sampling]
        changes = {key: yaml.safe_load(value) for key, _, value in pairs}
        build(Sampling, changes, "sampling")
        transformer = MelTransformer.from_pretrained(options.transformer)
        autoencoder = (
            MelAutoencoder.from_pretrained(options.autoencoder)
            if options.autoencoder
            else MelFrames(transformer.front_end.to_dict())
        )
        front_end = transformer.front_end
        vocoder = load_vocoder(options.vocoder) if options.vocoder else GriffinLim(front_end.to_dict())
        pipeline = VocalBurstPipeline(transformer, autoencoder, vocoder, changes)
        save(pipeline, options.out)
    except VocalgenError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def save(pipeline: VocalBurstPipeline, out: Path) -> None:
    """Write the folder, keep its card, and bring the checksums beside it up to date."""
    with atomic_path(out) as folder:
        pipeline.to(torch.float16).save_pretrained(folder)
        for name in KEPT:
            if (out / name).is_dir():
                shutil.copytree(out / name, folder / name)
            elif (out / name).is_file():
                shutil.copy2(out / name, folder / name)
    sums = [f"{file_sha256(path)}  {path.relative_to(out.parent)}" for path in weight_files(out.parent)]
    atomic_write_text(out.parent / SUMS_FILE, "\n".join(sums) + "\n")


if __name__ == "__main__":
    main()
