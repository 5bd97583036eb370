"""How fast and in how much memory clips are packed into shards, and how fast they are read back.

python eval/benchmarks/stream.py [--clips 200000] [--read 2000] [--processes 2]

Makes a table of that many clips, all of them links to a few files of opus, in folders of a thousand. Prints rows a
second and the peak memory of this process and of the largest of the others, and seconds of audio decoded a second of
time by all processes together.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vocalgen import audio
from vocalgen.corpora.shards import read
from vocalgen.corpora.stream import COLUMNS, Packing, pack

RATE, SECONDS, KINDS = 24_000, 2.0, 16


def main() -> None:
    """Make, pack, read and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=200_000)
    parser.add_argument("--read", type=int, default=2_000, help="clips that are decoded")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(folder, options.clips)
        start = time.perf_counter()
        pack(folder / "clips", folder / "clips.tsv", folder / "shards", Packing(1000), options.processes)
        spent = time.perf_counter() - start
        for worker in multiprocessing.active_children():
            worker.join()  # the memory of a process counts once it has ended
        own, largest = (peak(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        print(
            f"packing {options.clips} clips, {options.processes} processes: {options.clips / spent:.0f} clips a second"
        )
        others = options.processes if options.processes > 1 else 0
        print(
            f"peak memory: {own:.0f} MB, the largest of {others} others {largest:.0f} MB, "
            f"together at most {own + others * largest:.0f} MB"
        )
        start = time.perf_counter()
        share = -(-options.read // options.processes)
        decoded = sum(
            together(decode, [(folder / "shards", rank, options.processes, share) for rank in range(options.processes)])
        )
        spent = time.perf_counter() - start
        print(f"reading and decoding: {decoded / spent:.0f} x real time ({decoded:.0f} s of audio in {spent:.1f} s)")


def make(folder: Path, clips: int) -> None:
    """The clips and their table."""
    rng = np.random.default_rng(0)
    for kind in range(KINDS):
        audio.write(folder / f"{kind}.opus", 0.1 * rng.standard_normal(int(SECONDS * RATE)).astype(np.float32), RATE)
    with (folder / "clips.tsv").open("w") as table:
        table.write("\t".join(COLUMNS) + "\n")
        for clip in range(clips):
            name = f"{clip // 1000:05d}/{clip:07d}.opus"
            path = folder / "clips" / name
            if clip % 1000 == 0:
                path.parent.mkdir(parents=True)
            path.hardlink_to(folder / f"{clip // 1000 % KINDS}.opus")
            table.write(f"{name}\t{1000 * SECONDS:.0f}\t\t0.1\t0.5\t\n")


def decode(folder: Path, rank: int, world: int, clips: int) -> float:
    """Seconds of audio in the first clips of a process."""
    total = 0.0
    for _, clip in zip(range(clips), read(folder, rank, world)):
        wave, rate = clip.wave()
        total += len(wave) / rate
    return total


def together(function: Callable[..., float], arguments: list[tuple[object, ...]]) -> list[float]:
    """One process for each."""
    with multiprocessing.get_context("spawn").Pool(len(arguments)) as pool:
        return pool.starmap(function, arguments)


def peak(who: int) -> float:
    """Peak memory in MB."""
    return resource.getrusage(who).ru_maxrss / 1024


if __name__ == "__main__":
    main()
