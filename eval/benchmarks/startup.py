"""How long the commands take to start, and the memory they need.

python eval/benchmarks/startup.py [--checkpoint DIR] [--repeats 5]

Every command runs in a new process; wall time and peak resident memory are medians. The first run of each is left out:
it fills the disk cache.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="shipped name, local folder or hub id; default: the shipped model")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        sample = ["sample", "--emotion", "awe", "--out", place, "--overwrite"]
        if options.checkpoint:
            sample += ["--checkpoint", options.checkpoint]
        vocalgen = [sys.executable, "-m", "vocalgen"]
        measure("vocalgen --help", [*vocalgen, "--help"], options.repeats)
        measure("import torch", [sys.executable, "-c", "import torch"], options.repeats)
        measure("vocalgen sample --emotion awe", [*vocalgen, *sample], options.repeats)


def measure(name: str, command: list[str], repeats: int) -> None:
    """Run a command and print its medians."""
    runs = [run(command) for _ in range(repeats + 1)][1:]
    wall, busy, memory = (statistics.median(column) for column in zip(*runs, strict=True))
    print(f"{name}: {wall:.2f} s wall, {busy:.2f} s of processor, {memory:.0f} MB at the peak")


def run(command: list[str]) -> tuple[float, float, float]:
    """Wall seconds, processor seconds and peak resident MB of one process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with exit code {process.returncode}")
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit


if __name__ == "__main__":
    main()
