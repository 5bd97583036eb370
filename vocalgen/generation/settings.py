"""Settings of the generators, checked without loading any network."""

from __future__ import annotations

import math
import operator
from dataclasses import asdict, dataclass
from typing import Any

from vocalgen.errors import VocalgenError

SOLVER_NAMES = ("dpm++", "heun")
"""Solvers: DPM-Solver++(2M) and Heun."""

SHORTEST_SECONDS = 0.1
"""Shortest burst that can be asked for."""


@dataclass(frozen=True)
class Sampling:
    """Sampler settings of diffusion; a checkpoint carries its defaults.

    Args:
        steps: noise levels.
        solver: `dpm++` (one network evaluation a step) or `heun` (two).
        guidance: classifier-free guidance; 1 is none.
        guidance_low, guidance_high: noise levels between which guidance acts.
        sigma_min, sigma_max, rho: noise schedule (EDM eq. 5).

    Raises:
        VocalgenError: a value out of range.
    """

    steps: int = 16
    solver: str = "dpm++"
    guidance: float = 2.0
    guidance_low: float = 0.3
    guidance_high: float = 8.0
    sigma_min: float = 0.02
    sigma_max: float = 40.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", whole_number(self.steps, "steps"))
        for name in ("guidance", "guidance_low", "guidance_high", "sigma_min", "sigma_max", "rho"):
            object.__setattr__(self, name, real_number(getattr(self, name), name))
        if self.solver not in SOLVER_NAMES:
            raise VocalgenError(f"unknown solver {self.solver!r}; choose one of {', '.join(SOLVER_NAMES)}")
        if not 1 <= self.steps <= 1000:
            raise VocalgenError(f"steps must lie between 1 and 1000, got {self.steps}")
        if not 0 <= self.guidance <= 50:
            raise VocalgenError(f"guidance must lie between 0 and 50, got {self.guidance}")
        if not 0 < self.sigma_min < self.sigma_max < math.inf or not self.rho > 0:
            raise VocalgenError(
                f"noise levels must rise from sigma_min above 0 to sigma_max with rho above 0, "
                f"got {self.sigma_min}, {self.sigma_max}, {self.rho}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Fields by name, as manifests store them."""
        return asdict(self)


@dataclass(frozen=True)
class Truncation:
    """Settings of StyleGAN2; a checkpoint carries its defaults.

    Args:
        psi: how far a clip may be from the mean of its emotion in the latent space w: 1 is free, 0 not at all.

    Raises:
        VocalgenError: a value out of range.
    """

    psi: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "psi", real_number(self.psi, "psi"))
        if not 0 <= self.psi <= 1:
            raise VocalgenError(f"psi must lie between 0 and 1, got {self.psi}")

    def to_dict(self) -> dict[str, Any]:
        """Fields by name, as manifests store them."""
        return asdict(self)


@dataclass(frozen=True)
class Plain:
    """Settings of MSG-GAN: there are none."""

    def to_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}


Settings = Sampling | Truncation | Plain


def settings(kind: type[Settings], defaults: dict[str, Any], **changes: Any) -> Settings:
    """`defaults` of a checkpoint with `changes`; a change of None keeps the default.

    Raises:
        VocalgenError: a setting the kind does not have, or a value out of range.
    """
    chosen = {**defaults, **{name: value for name, value in changes.items() if value is not None}}
    unknown = sorted(set(chosen) - set(kind.__dataclass_fields__))
    if unknown:
        known = ", ".join(kind.__dataclass_fields__) or "none"
        raise VocalgenError(f"this model has no setting {', '.join(unknown)}; it has {known}")
    return kind(**chosen)


def whole_number(value: Any, name: str) -> int:
    """Convert a count or a seed to `int`: Python's, numpy's and torch's integers, and arrays of one of them.

    Args:
        name: argument that the error names.

    Raises:
        VocalgenError: not an integer.
    """
    try:
        return operator.index(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError) as error:  # torch raises RuntimeError for several values
        raise VocalgenError(f"{name} must be a whole number, got {value!r}") from error


def real_number(value: Any, name: str) -> float:
    """Convert a setting to `float`; integers stay integers, so that checkpoints keep how a number is written.

    Raises:
        VocalgenError: not a number.
    """
    try:
        number = value.item() if hasattr(value, "item") else value
    except (ValueError, RuntimeError):  # several values, of numpy or of torch
        number = None
    if isinstance(number, (int, float)):
        return number
    raise VocalgenError(f"{name} must be a number, got {value!r}")


def whole_numbers(values: Any, name: str) -> list[int]:
    """Convert a sequence, array or tensor of one dimension to a list of `int`.

    Raises:
        VocalgenError: not a sequence, or one of its values is not an integer.
    """
    try:
        items = list(values)
    except TypeError as error:
        raise VocalgenError(f"{name} must be a sequence of whole numbers, got {values!r}") from error
    return [whole_number(item, name) for item in items]


def require_no_duration(duration: float | None) -> None:
    """Raise VocalgenError if a length is asked for: some models decide it themselves."""
    if duration is not None:
        raise VocalgenError("this model decides itself how long a burst is; leave the duration out")


def require_duration(duration: float | None, longest: float = math.inf, shortest: float = SHORTEST_SECONDS) -> None:
    """Raise VocalgenError unless `duration` is None or lies between `shortest` and `longest` seconds."""
    if duration is not None and not shortest <= duration <= longest:
        raise VocalgenError(
            f"duration must lie between {shortest} and {longest:.2f} seconds, got {duration}"
            if longest < math.inf
            else f"duration must be at least {shortest} seconds, got {duration}"
        )


def require_seeds(first: int, count: int = 1) -> None:
    """Raise VocalgenError unless seeds `first` to `first + count - 1` lie between 0 and 2^63 - 1."""
    if not 0 <= first <= 2**63 - count:
        last = f" to {first + count - 1}" if count > 1 else ""
        raise VocalgenError(f"seeds must lie between 0 and 2^63 - 1, got {first}{last}")
