"""How fast the Fréchet distance of two Gaussians is, beside scipy's sqrtm form, in turns in the same run.

python eval/benchmarks/metrics.py [--dim 2048] [--repeats 5]

Both get the same covariances, of correlated samples with variances over several orders of magnitude. Prints medians
over the repeats, their ratio, and how far the two results are apart. Threads are those of the linear algebra library
(OMP_NUM_THREADS).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from vocalgen.errors import VocalgenError
from vocalgen.metrics.frechet import Statistics, gaussian_distance
from vocalgen.script import add_debug, reported

Gaussian = tuple[NDArray[np.float64], NDArray[np.float64]]
OURS, SQRTM = "vocalgen.metrics.frechet.gaussian_distance", "scipy.linalg.sqrtm of the product"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=2048, help="dimension of the Gaussians")
    parser.add_argument("--repeats", type=int, default=5)
    add_debug(parser)
    options = parser.parse_args()
    with reported("interrupted", options.debug):
        if options.dim < 1 or options.repeats < 1:
            raise VocalgenError("--dim and --repeats must be one or more")
        compare(options.dim, options.repeats)


def compare(dim: int, repeats: int) -> None:
    """Time both forms in turns and print."""
    rng = np.random.default_rng(0)
    pair = gaussian(rng, dim), gaussian(rng, dim)
    times: dict[str, list[float]] = {OURS: [], SQRTM: []}
    values = {}
    for _ in range(repeats):
        for name, form in ((OURS, ours), (SQRTM, by_sqrtm)):
            seconds, values[name] = timed(form, *pair)
            times[name].append(seconds)
    print(f"two Gaussians of dimension {dim}, {repeats} repeats")
    for name, taken in times.items():
        print(f"{name}: {statistics.median(taken):.2f} s ({min(taken):.2f} to {max(taken):.2f})")
    print(f"ratio of the medians: {statistics.median(times[SQRTM]) / statistics.median(times[OURS]):.1f}")
    print(f"relative difference of the results: {abs(values[OURS] / values[SQRTM] - 1):.1e}")


def gaussian(rng: np.random.Generator, dim: int) -> Gaussian:
    """Mean (dim,) and covariance (dim, dim) of 2 dim samples."""
    scales = np.exp(rng.normal(size=dim))
    samples = Statistics.of(rng.normal(size=(2 * dim, dim)) * scales + rng.normal(size=dim))
    return samples.mean, samples.covariance()


def timed(form: Callable[[Gaussian, Gaussian], float], a: Gaussian, b: Gaussian) -> tuple[float, float]:
    """Seconds and result of one distance."""
    start = time.perf_counter()
    value = form(a, b)
    return time.perf_counter() - start, value


def ours(a: Gaussian, b: Gaussian) -> float:
    """The form of the package."""
    return gaussian_distance(*a, *b)


def by_sqrtm(a: Gaussian, b: Gaussian) -> float:
    """The form as it is written: Tr(A + B - 2 (A B)^(1/2)) by scipy's matrix square root."""
    difference = a[0] - b[0]
    root = linalg.sqrtm(a[1] @ b[1])
    return float(difference @ difference + np.trace(a[1] + b[1] - 2 * root.real))


if __name__ == "__main__":
    main()
