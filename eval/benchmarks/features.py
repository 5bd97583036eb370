"""How fast openSMILE describes clips in one process and in two.

python eval/benchmarks/features.py [--clips 1000] [--processes 2] [--repeats 3]

Prints medians, in turns, of clips of two seconds a second, and their ratio; processes are started before the clock is.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from vocalgen.recognition.opensmile import FEATURE_SETS, SAMPLE_RATE, WORTH, OpenSmileEncoder

SECONDS = 2.0


def main() -> None:
    """Make clips, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sets", nargs="+", default=list(FEATURE_SETS), choices=FEATURE_SETS)
    options = parser.parse_args()
    waves = [clip(seed) for seed in range(max(options.clips, WORTH))]
    for name in options.sets:
        encoders = [OpenSmileEncoder(name, processes) for processes in (1, options.processes)]
        times: list[list[float]] = [[], []]
        for repeat in range(options.repeats + 1):
            for encoder, spent in zip(encoders, times, strict=True):
                chosen = waves if repeat else waves[:WORTH]  # the first turn starts the processes
                start = time.perf_counter()
                encoder.score(chosen)
                if repeat:
                    spent.append(time.perf_counter() - start)
        one, several = (len(waves) / statistics.median(spent) for spent in times)
        print(
            f"{name}: {one:.1f} clips a second in one process, {several:.1f} in {options.processes}: "
            f"{several / one:.2f} times as many"
        )


def clip(seed: int) -> np.ndarray:
    """Two seconds of a buzz in noise, so that pitch and spectra have something to find."""
    rng = np.random.default_rng(seed)
    time_axis = np.arange(int(SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    pitch = rng.uniform(100, 400) * (1 + 0.1 * np.sin(2 * np.pi * rng.uniform(1, 5) * time_axis))
    phase = np.cumsum(pitch) / SAMPLE_RATE % 1
    return (0.3 * (phase - 0.5) + 0.01 * rng.standard_normal(len(time_axis))).astype(np.float32)


if __name__ == "__main__":
    main()
