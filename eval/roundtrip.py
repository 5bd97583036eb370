"""Measure what vocoders and the mel autoencoder lose on clips of held-out speakers, beside Griffin-Lim.

    python eval/roundtrip.py --vocoder light=runs/emogator-hifigan/export \
        --autoencoder runs/emogator-autoencoder/export --out eval/reports/roundtrip

Writes roundtrip.json and roundtrip.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from vocalgen.atomic import atomic_write_text, published
from vocalgen.data import CacheConfig, WaveCache, prepare_wave
from vocalgen.evaluation.roundtrip import mel_round_trip, roundtrip_markdown, vocoder_round_trips
from vocalgen.generation.loading import load_part, load_vocoder
from vocalgen.mel import LogMel, MelConfig
from vocalgen.models.autoencoder import MelAutoencoder
from vocalgen.models.griffin_lim import griffin_lim
from vocalgen.models.vocoder import vocode
from vocalgen.ownership import FolderKind, require_publishable
from vocalgen.recognition.scorer import Scorer
from vocalgen.script import add_debug, expand_home, reported, settle_process

ALIGN = 16
"""Clips are cut to a multiple of this many frames, so that every model takes them whole."""

Render = Callable[[np.ndarray], np.ndarray]


REPORT = FolderKind("a report of round trips")


def main() -> None:
    """Parse, measure and write."""
    settle_process()
    options = _parser().parse_args(expand_home())
    with reported("stopped; no report was written", options.debug):
        run(options)


@torch.no_grad()
def run(options: argparse.Namespace) -> None:
    """Measure and write."""
    require_publishable(options.out, REPORT, overwrite=options.overwrite)
    mel = MelConfig()
    log_mel = LogMel(mel)
    cache = WaveCache.of(options.manifest, options.cache, CacheConfig(sample_rate=mel.sample_rate))
    indices = held_out(cache, options.splits, options.clips, ALIGN * mel.hop_length, options.seed)
    waves = [cut(cache.wave(int(index)), ALIGN * mel.hop_length) for index in indices]
    speakers = [cache.speakers[int(index)] for index in indices]

    def analyse(wave: np.ndarray) -> np.ndarray:
        return log_mel(torch.from_numpy(wave)[None])[0].numpy()

    systems: dict[str, Render] = {
        "Griffin-Lim, 32 iterations": lambda m: griffin_lim(torch.from_numpy(m)[None], mel)[0].numpy(),
    }
    for entry in options.vocoder:
        name, separator, path = entry.partition("=")
        systems[name] = _vocoder(path if separator else entry, mel)
    results = {}
    if options.autoencoder is not None:
        encode = _autoencoder(options.autoencoder, mel)
        results["autoencoder (mel only)"] = mel_round_trip([analyse(wave) for wave in waves], speakers, encode)
        systems |= {f"autoencoder + {name}": _after(encode, render) for name, render in systems.items()}
    embed = None if options.classifier is None else _embedding(Scorer.load(options.classifier), cache.config)
    results |= vocoder_round_trips(waves, speakers, analyse, systems, mel.sample_rate, mel.hop_length, embed)
    report = {
        "n": len(waves),
        "splits": options.splits,
        "speakers": len(set(speakers)),
        "threads": torch.get_num_threads(),
        "mel": mel.to_dict(),
        "seed": options.seed,
        "systems": results,
    }
    with published(options.out, REPORT, options.overwrite) as out:
        atomic_write_text(out / "roundtrip.json", json.dumps(report, indent=2) + "\n")
        atomic_write_text(out / "roundtrip.md", roundtrip_markdown(report))
    print(roundtrip_markdown(report))


def held_out(cache: WaveCache, splits: list[str], count: int, shortest: int, seed: int) -> np.ndarray:
    """`count` random clips of some splits with at least `shortest` samples, ascending."""
    chosen = np.concatenate([cache.select(split) for split in splits])
    long_enough = chosen[np.diff(cache.offsets)[chosen] >= shortest]
    return np.sort(np.random.default_rng(seed).permutation(long_enough)[:count])


def cut(wave: np.ndarray, multiple: int) -> np.ndarray:
    """Whole multiples of `multiple` samples from the start."""
    return wave[: len(wave) // multiple * multiple]


def _after(encode: Render, render: Render) -> Render:
    return lambda m: render(encode(m))


def _vocoder(path: str, mel: MelConfig) -> Render:
    vocoder = load_vocoder(path, mel)
    return lambda m: vocode(vocoder, torch.from_numpy(m)[None])[0].numpy()


def _autoencoder(path: str, mel: MelConfig) -> Render:
    autoencoder: MelAutoencoder = load_part(Path(path), "MelAutoencoder")
    autoencoder.front_end.require_equal(mel, f"autoencoder {path}", "this measurement")
    return lambda m: autoencoder(torch.from_numpy(m)[None])[0][0].numpy()


def _embedding(scorer: Scorer, config: CacheConfig) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
    return lambda waves: scorer.score(prepare_wave(wave, config) for wave in waves).embeddings


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocoder", action="append", default=[], metavar="[NAME=]FOLDER", help="repeatable")
    parser.add_argument("--autoencoder", metavar="FOLDER")
    parser.add_argument("--classifier", metavar="FOLDER", help="for the Fréchet distance to the true clips")
    parser.add_argument("--out", required=True, help="folder for the report")
    parser.add_argument("--overwrite", action="store_true", help="replace files that vocalgen did not write")
    parser.add_argument("--manifest", default="data/emogator.csv")
    parser.add_argument("--cache", default="data/emogator-24k")
    parser.add_argument("--splits", nargs="+", default=["validation", "test"], metavar="SPLIT")
    parser.add_argument("--clips", type=int, default=300, help="random clips to measure")
    parser.add_argument("--seed", type=int, default=0)
    add_debug(parser)
    return parser


if __name__ == "__main__":
    main()
