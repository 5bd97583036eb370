"""Scaling of features by what their training clips show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from vocalgen.errors import VocalgenError
from vocalgen.tasks.system import Rows

Kind = Literal["standard", "min-max", "none"]

CHUNK = 2048
"""Clips that are looked at together: ComParE features of a whole corpus would fill a small machine."""


class Inputs(Protocol):
    """Features of all clips, read when asked for."""

    def __getitem__(self, rows: Rows) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Scaling:
    """(x - shift) / scale, by column."""

    shift: NDArray[np.float64]
    scale: NDArray[np.float64]

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, d) -> (n, d)."""
        return ((x - self.shift) / self.scale).astype(np.float32)

    def tensors(self) -> dict[str, NDArray[np.float64]]:
        """For a file."""
        return {"shift": self.shift, "scale": self.scale}

    @classmethod
    def of(cls, tensors: Mapping[str, NDArray[np.float64]]) -> Scaling:
        """From a file.

        Raises:
            VocalgenError: it lacks them.
        """
        if not {"shift", "scale"} <= tensors.keys() or tensors["shift"].shape != tensors["scale"].shape:
            raise VocalgenError("the weights lack the scaling of the features; the model is damaged, train it again")
        return cls(tensors["shift"], tensors["scale"])


def scaling(kind: Kind, inputs: Inputs, rows: Rows) -> Scaling:
    """Fit to some clips: zero mean and unit variance, [0, 1], or nothing at all. A constant column is only shifted."""
    if kind == "standard":
        return standard(inputs, rows)
    if kind == "min-max":
        low = np.min([inputs[part].min(axis=0) for part in _parts(rows)], axis=0).astype(np.float64)
        high = np.max([inputs[part].max(axis=0) for part in _parts(rows)], axis=0).astype(np.float64)
        return Scaling(low, _not_zero(high - low))
    dim = inputs[rows[:1]].shape[1]
    return Scaling(np.zeros(dim), np.ones(dim))


def standard(inputs: Inputs, rows: Rows) -> Scaling:
    """Zero mean, unit variance (ddof 0)."""
    mean = np.sum([inputs[part].sum(axis=0, dtype=np.float64) for part in _parts(rows)], axis=0) / len(rows)
    squares = [np.square(inputs[part] - mean).sum(axis=0) for part in _parts(rows)]
    deviation = np.sqrt(np.sum(squares, axis=0) / len(rows))
    # What is constant but for rounding must not become noise of unit variance.
    return Scaling(mean, _not_zero(np.where(deviation > 1e-7 * np.abs(mean), deviation, 0.0)))


def _parts(rows: Rows) -> list[Rows]:
    return [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]


def _not_zero(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values > 0, values, 1.0)
