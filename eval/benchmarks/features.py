"""How fast openSMILE describes clips in one process and in two, and how fast features that are known are read.

python eval/benchmarks/features.py [--clips 1000] [--processes 2] [--corpus 200] [--repeats 3]

Prints medians, in turns, of clips of two seconds a second, and their ratio; processes are started before the clock is.
Then, of a manifest, the time of the first call for its features; of a call that finds them complete by comparing them
with the audio, as after a change of the manifest; and of a call that finds nothing changed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from vocalgen import audio
from vocalgen.corpora.manifest import Clip, Manifest
from vocalgen.emotions import HUME10
from vocalgen.recognition.features import features_of
from vocalgen.recognition.opensmile import FEATURE_SETS, SAMPLE_RATE, WORTH, OpenSmileEncoder

SECONDS = 2.0


def main() -> None:
    """Make clips, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--corpus", type=int, default=200, help="clips of the manifest")
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
    with tempfile.TemporaryDirectory() as folder:
        manifest = write_manifest(Path(folder), options.corpus)
        for name in options.sets:
            first, compared, unchanged = read_again(manifest, name, options.repeats)
            print(
                f"{name} of {options.corpus} clips: {first:.2f} s at first, {1000 * compared:.1f} ms compared with the "
                f"audio, {1000 * unchanged:.1f} ms unchanged: {first / unchanged:.0f} and {compared / unchanged:.1f} "
                f"times as fast"
            )


def read_again(manifest: Path, name: str, repeats: int) -> tuple[float, float, float]:
    """Seconds of the first call, and medians, in turns, of calls that compare with the audio and that need not."""
    first, file = timed(manifest, name)
    compared, unchanged = [], []
    for _ in range(repeats):
        file.with_suffix(".seal").unlink()
        compared.append(timed(manifest, name)[0])
        unchanged.append(timed(manifest, name)[0])
    return first, statistics.median(compared), statistics.median(unchanged)


def timed(manifest: Path, name: str) -> tuple[float, Path]:
    """Seconds until all features are in memory, and their file."""
    start = time.perf_counter()
    found = features_of(manifest, name, progress=False)
    np.array(found.values)
    return time.perf_counter() - start, found.file


def write_manifest(folder: Path, count: int) -> Path:
    """A manifest of clips without labels."""
    unknown = (float("nan"),) * len(HUME10)
    clips = []
    for seed in range(count):
        file = folder / f"{seed:05d}.wav"
        audio.write(file, clip(seed), SAMPLE_RATE)
        clips.append(Clip(file.stem, file, "train", f"s{seed % 10}", SECONDS, (), unknown))
    Manifest(HUME10, tuple(clips)).save(folder / "manifest.csv")
    return folder / "manifest.csv"


def clip(seed: int) -> np.ndarray:
    """Two seconds of a buzz in noise, so that pitch and spectra have something to find."""
    rng = np.random.default_rng(seed)
    time_axis = np.arange(int(SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    pitch = rng.uniform(100, 400) * (1 + 0.1 * np.sin(2 * np.pi * rng.uniform(1, 5) * time_axis))
    phase = np.cumsum(pitch) / SAMPLE_RATE % 1
    return (0.3 * (phase - 0.5) + 0.01 * rng.standard_normal(len(time_axis))).astype(np.float32)


if __name__ == "__main__":
    main()
