"""How fast vocoders turn mels into waves, beside Griffin-Lim with 32 iterations, in turns in the same run.

python eval/benchmarks/vocoder.py [source-filter light v1 v2 DIR ...]
    [--repeats 7] [--seconds 2] [--batch 8] [--threads N]

A kind or size by name has random weights: speed does not depend on them. Prints medians over the repeats: milliseconds
a batch, x real time with its range, and speed over Griffin-Lim's in the same repeat.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from vocalgen.generation.loading import load_vocoder
from vocalgen.mel import MEL_24K, LogMel
from vocalgen.models.griffin_lim import griffin_lim
from vocalgen.models.hifigan import SIZES, hifigan_generator
from vocalgen.models.source_filter import SourceFilterVocoder
from vocalgen.models.vocoder import vocode

BASELINE = "Griffin-Lim, 32 iterations"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = "source-filter, a size of HiFi-GAN (light, v1, v2), or an exported vocoder"
    parser.add_argument("vocoders", nargs="*", default=["source-filter", "light"], help=kinds)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a clip")
    parser.add_argument("--batch", type=int, default=8, help="clips at a time")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    frames = max(round(options.seconds * MEL_24K.frame_rate), 4)
    mel = LogMel(MEL_24K)(0.1 * torch.randn(options.batch, frames * MEL_24K.hop_length))
    systems = {BASELINE: griffin_lim} | {name: system(name) for name in options.vocoders}
    times = measure(systems, mel, options.repeats)
    length = frames / MEL_24K.frame_rate
    print(f"{options.batch} clips of {length:.2f} s, {options.repeats} repeats, {options.threads} threads")
    print(f"{'system':<28}{'ms':>9}{'x real time':>14}{'range':>18}{'over Griffin-Lim':>19}")
    for name, taken in times.items():
        speeds = [options.batch * length / seconds for seconds in taken]
        ratios = [baseline / seconds for baseline, seconds in zip(times[BASELINE], taken, strict=True)]
        print(
            f"{name[-27:]:<28}{1000 * statistics.median(taken):>9.1f}{statistics.median(speeds):>14.1f}"
            f"{f'{min(speeds):.1f} to {max(speeds):.1f}':>18}{statistics.median(ratios):>19.2f}"
        )


def system(name: str) -> Callable[[Tensor], Tensor]:
    """Log-mels to waves by random weights or by an exported vocoder."""
    if name == "source-filter":
        vocoder: torch.nn.Module = SourceFilterVocoder(MEL_24K.to_dict()).eval()
    else:
        vocoder = hifigan_generator(MEL_24K, SIZES[name]).eval() if name in SIZES else load_vocoder(name, MEL_24K)
    return lambda mel: vocode(vocoder, mel)


def measure(systems: dict[str, Callable[[Tensor], Tensor]], mel: Tensor, repeats: int) -> dict[str, list[float]]:
    """Seconds of every system in every repeat, in turns; the first round, which pays for set-up, is left out."""
    times: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(repeats + 1):
        for name, render in systems.items():
            start = time.perf_counter()
            render(mel)
            times[name].append(time.perf_counter() - start)
    return {name: taken[1:] for name, taken in times.items()}


if __name__ == "__main__":
    main()
