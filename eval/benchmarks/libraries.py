"""How fast torchaudio and librosa do what vocalgen once did by itself, and what they are not used for.

python eval/benchmarks/libraries.py [--repeats 9] [--batch 64] [--threads 1]

Prints medians over the repeats in milliseconds, of both in turns in the same run, and how far the results lie apart.
Then come tasks that vocalgen keeps to itself: the library is slower there, or its import would slow the commands down.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import librosa
import numpy as np
import torch
import torchaudio
from torch import Tensor

from vocalgen.acoustics import RATE, levels
from vocalgen.mel import MEL_24K, LogMel, mel_filterbank
from vocalgen.models.griffin_lim import griffin_lim, linear_amplitude
from vocalgen.models.mobilenet import BANDS, EDGE, FFT, audioset_banks
from vocalgen.models.mobilenet import RATE as AUDIOSET_RATE
from vocalgen.pitch import track_pitch
from vocalgen.training.augment import mask
from vocalgen.training.waves import at_random_speed


class Task(NamedTuple):
    """One task, done by own code and by a library.

    Args:
        name: what is done.
        own, library: both ways, without arguments.
        distance: how far their results lie apart; None where they are random.
    """

    name: str
    own: Callable[[], Any]
    library: Callable[[], Any]
    distance: Callable[[Any, Any], float] | None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--batch", type=int, default=64, help="clips at a time")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    random = np.random.default_rng(0)
    wave = (0.1 * np.sin(2 * np.pi * 330 / RATE * np.arange(2 * RATE)) + random.normal(0, 0.01, 2 * RATE)).astype("f4")
    mels = LogMel()(0.1 * torch.randn(options.batch, 184 * MEL_24K.hop_length))
    print(f"{'replaced':<34}{'own, ms':>12}{'library, ms':>14}{'distance':>12}")
    for task in replaced(wave, mels):
        report(task, options.repeats)
    print(f"\n{'kept':<34}{'own, ms':>12}{'library, ms':>14}{'distance':>12}")
    for task in kept(wave, mels[:8]):
        report(task, options.repeats)
    print("\nimport, ms, median of new processes")
    for line in ("import torch", "import torch, torchaudio", "import librosa; librosa.filters.mel"):
        print(f"{line:<48}{1000 * statistics.median(start(line) for _ in range(3)):>12.0f}")


def replaced(wave: np.ndarray, mels: Tensor) -> list[Task]:
    """Tasks that torchaudio and librosa do."""
    generator = torch.Generator().manual_seed(0)
    low, hop = torch.from_numpy(wave), RATE // 100
    masks = [
        Task(
            f"masks of {name}, {len(mels)} log-mels",
            partial(own_mask, mels, axis, 16, generator),
            partial(mask, mels, axis, 16, -11.5, generator),
            None,
        )
        for axis, name in ((1, "bands"), (2, "frames"))
    ]
    return [
        *masks,
        Task(
            "speed of a clip of 2 s",
            partial(own_speed, wave, 1.12),
            partial(at_random_speed, wave, (1.12, 1.12), np.random.default_rng(0)),
            lambda a, b: float(np.abs(a[:20_000] - b[:20_000]).max()),
        ),
        Task("Kaldi's filterbank", own_banks, lambda: audioset_banks()[0], apart),
        Task("levels of a clip of 2 s", partial(own_levels, low, hop), partial(levels, low, hop), apart),
    ]


def kept(wave: np.ndarray, mels: Tensor) -> list[Task]:
    """Tasks that vocalgen does by itself."""
    scale = torchaudio.transforms.InverseMelScale(
        513, 100, 24_000, 0.0, 12_000.0, norm="slaney", mel_scale="slaney", driver="gelsd"
    )
    settings = {"norm": "slaney", "mel_scale": "slaney"}
    bank = partial(torchaudio.functional.melscale_fbanks, 513, 0.0, 12_000.0, 100, 24_000, **settings)
    lim = torchaudio.transforms.GriffinLim(1024, 32, 1024, 256, power=1.0)
    pyin = partial(librosa.pyin, wave, fmin=60, fmax=1500, sr=RATE, frame_length=1024, hop_length=RATE // 100)
    return [
        Task("mel filterbank", partial(mel_filterbank, MEL_24K), lambda: bank().T, apart),
        Task("inverse mel scale", partial(linear_amplitude, mels, MEL_24K), lambda: scale(mels.exp()), apart),
        Task("Griffin-Lim", partial(griffin_lim, mels), lambda: lim(linear_amplitude(mels, MEL_24K)), None),
        Task(
            "pitch of a clip of 2 s, semitones",
            lambda: track_pitch(torch.from_numpy(wave)[None], RATE, RATE // 100)[0][0].numpy(),
            lambda: pyin()[0],
            lambda a, b: float(np.nanmedian(np.abs(12 * np.log2(a[:190] / b[:190])))),
        ),
    ]


def own_mask(mel: Tensor, axis: int, largest: int, generator: torch.Generator) -> Tensor:
    """Masks of bands or frames as vocalgen once made them."""
    size, count = mel.shape[axis], len(mel)
    width = torch.randint(0, largest + 1, (count, 1), generator=generator)
    start = torch.rand(count, 1, generator=generator) * (size - width + 1)
    place = torch.arange(size)
    hidden = (place >= start.floor()) & (place < start.floor() + width)
    return mel.masked_fill(hidden.unsqueeze(3 - axis), -11.5)


def own_speed(wave: np.ndarray, factor: float) -> np.ndarray:
    """Speed changed by linear interpolation, as vocalgen once did."""
    return np.interp(np.arange(0, len(wave) - 1, factor), np.arange(len(wave)), wave).astype(np.float32)


def own_banks() -> Tensor:
    """Kaldi's filterbank as vocalgen once computed it."""
    edges = torch.linspace(0, 1127 * math.log1p(EDGE / 700), BANDS + 2, dtype=torch.float64)
    bins = 1127 * torch.log1p(torch.arange(FFT // 2, dtype=torch.float64) * AUDIOSET_RATE / FFT / 700)
    place = (bins - edges[:, None]) / edges[1]
    return torch.minimum(place[:-2], -place[2:]).clamp(min=0)


def own_levels(wave: Tensor, hop: int) -> Tensor:
    """Levels of frames as vocalgen once took them."""
    frames = torch.nn.functional.pad(wave.double(), (hop // 2, hop // 2)).unfold(0, 2 * hop, hop)
    return 10 * frames.square().mean(-1).clamp(min=1e-10).log10()


def apart(a: Tensor, b: Tensor) -> float:
    """Largest absolute difference."""
    return float((a.double() - b.double()).abs().max())


def report(task: Task, repeats: int) -> None:
    """Print the medians of both ways; the first round, which pays for imports and caches, is left out."""
    times: dict[str, list[float]] = {"own": [], "library": []}
    for _ in range(repeats + 1):
        results = {}
        for way, work in (("own", task.own), ("library", task.library)):
            begin = time.perf_counter()
            results[way] = work()
            times[way].append(time.perf_counter() - begin)
    own, library = (1000 * statistics.median(taken[1:]) for taken in times.values())
    distance = "random" if task.distance is None else f"{task.distance(results['own'], results['library']):.1e}"
    print(f"{task.name:<34}{own:>12.2f}{library:>14.2f}{distance:>12}")


def start(line: str) -> float:
    """Seconds that a new process takes to run a line."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", line], check=True)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
