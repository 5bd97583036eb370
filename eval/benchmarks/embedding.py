"""How fast clips are embedded: 1000 two-second clips through the default scorer, from prepared waves to embeddings.

    python eval/benchmarks/embedding.py [--encoder emogator-classifier-24k] [--clips 1000] [--repeats 3] [--threads 2]

Prints the processor, the median and range over the repeats, and clips per second.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch

from vocalgen.doctor import processor_name
from vocalgen.errors import VocalgenError
from vocalgen.recognition.encoders import load_encoder
from vocalgen.script import add_debug, reported

SECONDS = 2.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="emogator-classifier-24k")
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    add_debug(parser)
    options = parser.parse_args()
    with reported("interrupted", options.debug):
        if min(options.clips, options.repeats, options.threads) < 1:
            raise VocalgenError("--clips, --repeats and --threads must be one or more")
        torch.set_num_threads(options.threads)
        run(options.encoder, options.clips, options.repeats, options.device)


def run(name: str, clips: int, repeats: int, device: str) -> None:
    """Time the encoder on noise of a clip's length and level."""
    encoder = load_encoder(name, device)
    rng = np.random.default_rng(0)
    samples = int(SECONDS * encoder.prepare.sample_rate)
    waves = [rng.normal(0, 0.1, samples).astype(np.float32) for _ in range(clips)]
    encoder.score(waves[:64])
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for first in range(0, clips, 256):
            encoder.score(waves[first : first + 256])
        times.append(time.perf_counter() - start)
    middle = statistics.median(times)
    print(f"{encoder.name}: {clips} clips of {SECONDS:g} s, {repeats} repeats, {torch.get_num_threads()} threads")
    print(hardware(torch.device(device)))
    print(f"{middle:.1f} s ({min(times):.1f} to {max(times):.1f}), {clips / middle:.0f} clips a second")


def hardware(device: torch.device) -> str:
    """Name of the device that embeds the clips, for a processor with its vector instructions."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor_name()}, {torch.backends.cpu.get_cpu_capability()}"


if __name__ == "__main__":
    main()
