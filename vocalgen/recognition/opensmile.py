"""openSMILE functionals (Eyben et al. 2010) as an encoder: ComParE_2016 (6373 values) and eGeMAPSv02 (88).

The `opensmile` package is an extra (`pip install 'vocalgen[opensmile]'`): its licence is for research only.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocalgen.corpora.parallel import workers
from vocalgen.data import CacheConfig
from vocalgen.errors import VocalgenError
from vocalgen.recognition.scores import Scores

FEATURE_SETS = ("ComParE_2016", "eGeMAPSv02")
"""Names of the sets that `load_encoder` takes."""

SAMPLE_RATE = 16_000
CHUNK = 8
"""Clips handed to a process at a time."""

WORTH = 32
"""Clips below which one process does it all."""


class OpenSmileEncoder:
    """Functionals over a whole clip, in several processes.

    A clip that is too short for all values (below 60 ms) has a row of NaN. Single values that openSMILE cannot compute
    are 0.

    Args:
        feature_set: one of `FEATURE_SETS`.
        processes: how many work at once; None: as many as there are cores.

    Raises:
        VocalgenError: unknown set; the package is not installed.
    """

    emotions = None

    def __init__(self, feature_set: str, processes: int | None = None) -> None:
        if feature_set not in FEATURE_SETS:
            raise VocalgenError(f"unknown feature set {feature_set!r}; choose one of {', '.join(FEATURE_SETS)}")
        try:
            import opensmile
        except ImportError as error:
            raise VocalgenError(
                f"{feature_set} needs openSMILE, whose licence is for research only; install it with: "
                f"pip install 'vocalgen[opensmile]'"
            ) from error
        self.name = feature_set
        self.checksum = hashlib.sha256(f"opensmile {opensmile.__version__} {feature_set}".encode()).hexdigest()
        self.prepare = CacheConfig(sample_rate=SAMPLE_RATE)
        self.processes = processes or os.cpu_count() or 1
        self._pool: ProcessPoolExecutor | None = None

    @property
    def columns(self) -> list[str]:
        """Names of the values."""
        return list(_smile(self.name).feature_names)

    def score(self, waves: Sequence[NDArray[np.float32]]) -> Scores:
        """Functionals of waves (samples,) at 16 kHz."""
        work = partial(_functionals, self.name)
        if self.processes == 1 or len(waves) < WORTH:
            rows = [work(wave) for wave in waves]
        else:
            rows = list(self._workers().map(work, waves, chunksize=CHUNK))
        return Scores(
            np.array(rows, dtype=np.float64).reshape(len(waves), len(self.columns)), np.zeros((len(waves), 0))
        )

    def _workers(self) -> ProcessPoolExecutor:
        """Started when first needed, and kept: a process takes a second to start."""
        if self._pool is None:
            self._pool = workers(self.processes)
            atexit.register(self._pool.shutdown, cancel_futures=True)
        return self._pool


@lru_cache(maxsize=len(FEATURE_SETS))
def _smile(feature_set: str) -> Any:
    import opensmile

    return opensmile.Smile(
        feature_set=getattr(opensmile.FeatureSet, feature_set), feature_level=opensmile.FeatureLevel.Functionals
    )


def _functionals(feature_set: str, wave: NDArray[np.float32]) -> NDArray[np.float64]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of clips that are too short
        found = _smile(feature_set).process_signal(wave, SAMPLE_RATE).to_numpy()[0]
    values = np.asarray(found, dtype=np.float64)
    return values if np.isnan(values).all() else np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
