"""Peak memory of every training recipe at its own batch size: a few steps each, in a process of its own.

    python eval/benchmarks/training.py [--recipes emogator/autoencoder ...] [--steps 3] [--threads 2]

The corpus is synthetic, with EmoGator's emotions and lengths. Discriminators join at the second step, and the last step
ends with previews, a resume point and the export, so that all of them count. Prints the processor and a Markdown table.
Recipes that need a speech encoder from the hub are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vocalgen import audio
from vocalgen.config import read_values
from vocalgen.corpora import emogator
from vocalgen.doctor import processor_name
from vocalgen.errors import VocalgenError
from vocalgen.script import add_debug, reported

ROOT = Path(__file__).resolve().parents[2]

DIFFUSION = "checkpoints/emogator-diffusion-24k"
CLASSIFIER = "emogator-classifier-24k"

RATE, SECONDS, MEDIAN, SPREAD = 24_000, 1.92, 0.96, 0.48
"""Hz and length of most of EmoGator's files; median and logarithmic deviation of the length of the sound in them."""

SPEAKERS = (*range(1, 8), *range(285, 289), 320)
"""Numbers of contributors, which decide the split."""


@dataclass(frozen=True)
class Recipe:
    """A configuration, its script, and what it starts from here."""

    script: str
    overrides: tuple[str, ...] = ()


RECIPES: dict[str, Recipe] = {
    "emogator/autoencoder": Recipe("autoencoder", ("adversarial_start=1",)),
    "emogator/autoencoder_pitch": Recipe("autoencoder", ("adversarial_start=1",)),
    "emogator/diffusion": Recipe("diffusion", (f"autoencoder={DIFFUSION}/autoencoder",)),
    "emogator/diffusion_mel": Recipe("diffusion"),
    "emogator/source_filter": Recipe("vocoder", (f"autoencoder={DIFFUSION}/autoencoder", "adversarial_start=1")),
    "emogator/hifigan": Recipe("vocoder", ("adversarial_start=1",)),
    "emogator/stylegan2": Recipe("gan"),
    "emogator/stylegan2_mel": Recipe("gan"),
    "emogator/msggan": Recipe("gan", ("emotions=[Awe]", "scorer=null")),
    "emogator/classifier": Recipe("recogniser"),
    "emogator/classifier_residual": Recipe("recogniser", (f"teacher={CLASSIFIER}",)),
    "emogator/classifier_wide": Recipe("recogniser", ("init=null", f"teacher={CLASSIFIER}")),
    "emogator/classifier_mobilenet": Recipe("recogniser", ("init=null",)),
    "emogator/emo18": Recipe("recogniser"),
    "emogator/residual_multitask": Recipe("recogniser"),
}
"""By the name of the configuration in `recipes`."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), metavar="NAME", help="default: all")
    parser.add_argument("--steps", type=int, default=3, help="optimiser steps of each recipe")
    parser.add_argument("--threads", type=int, default=2, help="threads of each process")
    add_debug(parser)
    options = parser.parse_args()
    with reported("interrupted", options.debug):
        unknown = [name for name in options.recipes if name not in RECIPES]
        if unknown:
            raise VocalgenError(f"--recipes {unknown[0]} is not measured; choose from {', '.join(RECIPES)}")
        if min(options.steps, options.threads) < 1:
            raise VocalgenError("--steps and --threads must be at least 1")
        run(options.recipes, options.steps, options.threads)


def run(names: list[str], steps: int, threads: int) -> None:
    """Measure the recipes one after the other."""
    hardware = f"{processor_name()}, {torch.backends.cpu.get_cpu_capability()}"
    print(f"{hardware}, {threads} threads, torch {torch.__version__}, {steps} steps\n", flush=True)
    print("| configuration | clips per step | peak memory | seconds per step |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        write_corpus(Path(folder))
        for name in names:
            batch, peak, seconds = measure(name, Path(folder), steps, threads)
            print(f"| `{name}.yaml` | {batch} | {peak / 2**30:.1f} GiB | {seconds:.1f} |", flush=True)


def write_corpus(folder: Path) -> None:
    """Noise with the lengths of EmoGator's sounds, in files of its length and with its names."""
    random = np.random.default_rng(0)
    samples = round(SECONDS * RATE)
    for speaker in SPEAKERS:
        for category in range(1, 31):
            sounding = min(round(MEDIAN * RATE * np.exp(SPREAD * random.standard_normal())), samples)
            wave = np.zeros(samples, dtype=np.float32)
            wave[:sounding] = 0.1 * random.standard_normal(sounding) * np.hanning(sounding)
            audio.write(folder / "mp3" / f"{speaker:06d}-{category:02d}-1.mp3", wave, RATE)
    emogator.scan(folder / "mp3").save(folder / "manifest.csv")


def measure(name: str, folder: Path, steps: int, threads: int) -> tuple[int, int, float]:
    """Clips per step, peak resident memory in bytes and seconds per step of a recipe.

    Raises:
        VocalgenError: it ended with an error.
    """
    recipe, own = RECIPES[name], name.replace("/", "-")
    rate = read_values(ROOT / "recipes" / f"{name}.yaml")["data"].get("prepare", {}).get("sample_rate", RATE)
    overrides = [
        f"data.manifest={folder / 'manifest.csv'}",
        f"data.cache={folder / f'cache-{rate}'}",
        f"loop.run={folder / own}",
        f"loop.steps={steps}",
        f"loop.preview_every={steps}",
        "loop.log_every=1",
        "loop.warmup=0",
        "loop.cooldown=0",
        *recipe.overrides,
    ]
    if recipe.script == "diffusion" or name == "emogator/stylegan2":
        overrides.append(f"latents={folder / f'latents-{own}'}")
    script = ROOT / "recipes" / f"train_{recipe.script}.py"
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    with open(folder / f"{own}.log", "w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, script, ROOT / "recipes" / f"{name}.yaml", *overrides],
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env=environment,
        )
        _, status, usage = os.wait4(process.pid, 0)  # of this child alone
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            last = log.read().strip().splitlines()[-1:] or ["no output"]
            raise VocalgenError(f"{name} ended with status {process.returncode}: {last[0]}")
    lines = [json.loads(line) for line in (folder / own / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    rates = [line["clips_per_second"] for line in lines if "clips_per_second" in line]
    batch = read_values(folder / own / "config.yaml")["loop"]["batch_size"]
    unit = 1 if sys.platform == "darwin" else 1024
    return batch, usage.ru_maxrss * unit, batch / max(rates)


if __name__ == "__main__":
    main()
