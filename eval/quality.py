"""Measure generated clips: accuracy, Fréchet distance against its floor, anchors, durations, near-duplicates.

    python eval/quality.py CLIPS --classifier checkpoints/emogator-classifier-24k --out eval/reports/NAME

CLIPS is a folder CLIPS/<emotion>/*.wav made by any system, for instance by
`vocalgen generate --per-emotion 100 --out CLIPS`; or a vocalgen checkpoint, from which `--per-emotion` clips of each
of its emotions are made first, into OUT/clips. Writes report.json, report.md and pictures.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from vocalgen.data import CacheConfig, WaveCache
from vocalgen.errors import VocalgenError
from vocalgen.evaluation.figures import mel_grid, quality_bars
from vocalgen.evaluation.quality import Protocol, RoundTrip, evaluate
from vocalgen.evaluation.report import write_report
from vocalgen.pictures import require_matplotlib
from vocalgen.recognition.clips import ClipSet, generated_clips, real_clips
from vocalgen.recognition.scorer import Scorer
from vocalgen.script import add_debug, reported

TEN = ("Amusement", "Anger", "Awe", "Disgust", "Distress", "Fear", "Pain", "Sadness", "Surprise (Positive)", "Triumph")
"""Emotions of the mel grid, where present."""


def main() -> None:
    """Parse, measure and write."""
    options = _parser().parse_args()
    with reported("stopped; no report was written", options.debug):
        run(options)


def run(options: argparse.Namespace) -> None:
    """Measure and write."""
    require_matplotlib()  # said now, not after the measurement
    out, clips = Path(options.out), Path(options.clips)
    scorer = Scorer.load(options.classifier, options.device)
    cache = WaveCache.of(options.manifest, options.cache, CacheConfig(sample_rate=scorer.mel.sample_rate))
    if (clips / "model_index.json").is_file():
        clips = make_clips(clips, out / "clips", options.per_emotion, options.seed, options.device)
    generated = generated_clips(clips, scorer.emotions, cache.config)
    vocoder = None if options.vocoder is None else round_trip(options.vocoder, scorer)
    report = evaluate(
        generated,
        lambda splits: real_clips(cache, splits, scorer.emotions),
        scorer,
        Protocol(tuple(options.reference), options.floor, options.draws, options.shrinkage, options.seed),
        vocoder,
        options.name or Path(options.clips).resolve().name,
    )
    out.mkdir(parents=True, exist_ok=True)
    quality_bars(report, out / "emotions.png")
    real = real_clips(cache, options.reference, scorer.emotions)
    emotions = [name for name in TEN if name in scorer.emotions] or list(scorer.emotions.emotions[:10])
    columns = [pick(part, scorer, emotions, options.seed) for part in (generated, real)]
    mel_grid(columns[0], columns[1], out / "mels.png", scorer.mel.frame_rate)
    write_report(report, out, ("emotions.png", "mels.png"))
    print(f"{out / 'report.md'}")


def make_clips(checkpoint: Path, folder: Path, per_emotion: int, seed: int, device: str) -> Path:
    """Clips of every emotion of a checkpoint by `vocalgen generate`; what is there already is not made again."""
    command = [sys.executable, "-m", "vocalgen", "generate", "--checkpoint", str(checkpoint), "--out", str(folder)]
    command += ["--per-emotion", str(per_emotion), "--seed", str(seed), "--device", device]
    if subprocess.run(command).returncode:
        raise VocalgenError(f"`vocalgen generate` did not finish; repeat the command to go on in {folder}")
    return folder


def round_trip(path: str, scorer: Scorer) -> RoundTrip:
    """A vocoder as a function from a wave to its rendering of the wave's log-mel."""
    from vocalgen.generation.loading import load_vocoder
    from vocalgen.models.griffin_lim import GriffinLim
    from vocalgen.models.vocoder import vocode

    vocoder = GriffinLim(scorer.mel.to_dict()) if path == "griffin-lim" else load_vocoder(path, scorer.mel)
    vocoder = vocoder.to(scorer.device)

    def render(wave: np.ndarray) -> np.ndarray:
        mel = scorer.mels([wave])[0][None].to(scorer.device)
        return vocode(vocoder, mel)[0, : len(wave)].cpu().numpy().astype(np.float32)

    return render


def pick(clips: ClipSet, scorer: Scorer, emotions: list[str], seed: int) -> dict[str, list[np.ndarray]]:
    """Log-mels of three random clips of each emotion, for the grid: chosen by the seed, not by eye."""
    rng = np.random.default_rng(seed)
    chosen = {}
    for name in emotions:
        indices = rng.permutation(np.flatnonzero(clips.labels == scorer.emotions.index(name)))[:3]
        chosen[name] = [mel.cpu().numpy() for mel in scorer.mels([clips.waves[int(index)] for index in indices])]
    return chosen


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", help="folder of generated clips, or a vocalgen checkpoint")
    parser.add_argument("--classifier", required=True, help="exported classifier")
    parser.add_argument("--out", required=True, help="folder for the report")
    parser.add_argument("--name", help="what the report calls the system (default: the folder's name)")
    parser.add_argument("--manifest", default="data/emogator.csv")
    parser.add_argument("--cache", default="data/emogator-24k")
    parser.add_argument("--vocoder", help="exported vocoder or `griffin-lim`, for the round-trip anchor")
    parser.add_argument("--reference", nargs="+", default=["validation", "test"], metavar="SPLIT")
    parser.add_argument("--floor", default="train", metavar="SPLIT")
    parser.add_argument("--draws", type=int, default=4, help="sets of real clips that the floor is the mean of")
    parser.add_argument("--shrinkage", choices=("auto", "none", "ledoit-wolf"), default="auto")
    parser.add_argument("--per-emotion", type=int, default=100, help="clips to make from a checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add_debug(parser)
    return parser


if __name__ == "__main__":
    main()
