"""How fast a checkpoint generates: ten emotions, 100 clips of each, from noise to files.

python eval/benchmarks/generation.py [--checkpoint DIR] [--per-emotion 100] [--repeats 3] [--threads N] [--device cpu]

Real time counts twice: seconds of audio delivered (after trimming) and seconds vocoded (with the silence that is cut
afterwards), both divided by the time from noise to files. Prints medians over the repeats and, beside them, the vocoder
alone and Griffin-Lim with 32 iterations on the same mels.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

import torch

from vocalgen.emotions import HUME10, Vocabulary
from vocalgen.generation.checkpoint import resolve_checkpoint
from vocalgen.generation.loading import choose_device, load_synthesiser
from vocalgen.generation.speed import generate
from vocalgen.generation.synthesis import Synthesis
from vocalgen.models.griffin_lim import griffin_lim

GRIFFIN_LIM_CLIPS = 20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="shipped name or local folder; default: the shipped model")
    parser.add_argument("--per-emotion", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    synthesis = load_synthesiser(Path(resolve_checkpoint(options.checkpoint))).to(choose_device(options.device))
    emotions = ten_emotions(synthesis.emotions)
    synthesis(emotions[0], exact=True)  # first calls pay for set-up
    runs = [generate(synthesis, emotions, options.per_emotion) for _ in range(options.repeats)]
    clips = len(emotions) * options.per_emotion
    print(f"{clips} clips, {options.repeats} repeats, {options.threads} threads, {synthesis.network.device}")
    print(f"settings: {synthesis.settings()}")
    show("clips a second", [run.clips / run.wall for run in runs])
    show("x real time, delivered audio", [run.audio / run.wall for run in runs])
    show("x real time, with the silence that is cut", [run.untrimmed / run.wall for run in runs])
    for part in ("generator", "vocoder", "writing"):
        show(f"share of {part}, per cent", [100 * getattr(run, part) / run.wall for run in runs])
    compare_vocoders(synthesis, emotions, options.repeats)


def ten_emotions(known: Vocabulary) -> list[str]:
    """Names of HUME-10 the model knows, filled up to ten with others."""
    shared = [name for name in HUME10.emotions if name in known]
    return (shared + [name for name in known.emotions if name not in shared])[:10]


def compare_vocoders(synthesis: Synthesis, emotions: list[str], repeats: int) -> None:
    """Vocoder against Griffin-Lim, in turns on the same mels."""
    conditions = [synthesis.condition(emotions[i % len(emotions)]) for i in range(GRIFFIN_LIM_CLIPS)]
    mels = synthesis.mels(conditions, list(range(GRIFFIN_LIM_CLIPS)))
    seconds = len(mels) * mels.shape[-1] / synthesis.mel.frame_rate
    neural, classical = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        synthesis.waves(mels)
        middle = time.perf_counter()
        for mel in mels:
            griffin_lim(mel[None], synthesis.mel, 32)
        neural.append(seconds / (middle - start))
        classical.append(seconds / (time.perf_counter() - middle))
    show("vocoder alone, x real time", neural)
    show("Griffin-Lim (32 iterations), x real time", classical)


def show(name: str, values: list[float]) -> None:
    """One line: median, and the range."""
    print(f"{name}: {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})")


if __name__ == "__main__":
    main()
