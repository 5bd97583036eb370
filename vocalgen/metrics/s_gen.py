"""S_GEN, the score of ExVo-Generate (arXiv 2205.01780): distance from real clips and what listeners hear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Missing = Literal["zero", "skip", "error"]
Undefined = Literal["zero", "nan"]


@dataclass(frozen=True)
class SGen:
    """The score with what the policies did.

    Args:
        total: mean over the emotions.
        emotions: (1 / FID + HEEP) / 2 of each, of missing ones what the policy says.
        notes: one sentence about each emotion that a policy changed.
    """

    total: float
    emotions: dict[str, float]
    notes: list[str] = field(default_factory=list)


def s_gen(
    fid: Mapping[str, float],
    heep: Mapping[str, float],
    emotions: tuple[str, ...],
    missing: Missing = "zero",
    cap: float | None = None,
    undefined: Undefined = "zero",
) -> SGen:
    """S_GEN = mean over e of (1 / FID_e + HEEP_e) / 2.

    Args:
        fid: Fréchet distance by emotion, above zero.
        heep: HEEP by emotion, NaN where it is not defined.
        emotions: all that count.
        missing: an emotion without distance or HEEP counts "zero" (official), is left out ("skip"), or is an "error".
        cap: largest 1 / FID; None is the official rule. Without it a tiny distance outweighs every listener.
        undefined: a HEEP of NaN counts as "zero", or makes the score "nan".

    Raises:
        ValueError: a distance or a cap that is not positive, a HEEP outside [-1, 1], a missing emotion under "error",
            or nothing left.

    Examples:
        >>> round(s_gen({"Awe": 4.81}, {"Awe": 0.46}, ("Awe", "Triumph")).total, 4)
        0.167
    """
    if cap is not None and not cap > 0:
        raise ValueError(f"the cap of 1 / FID must be positive, got {cap}")
    scores: dict[str, float] = {}
    notes = []
    for name in emotions:
        if name not in fid or name not in heep:
            what = "FID" if name not in fid else "HEEP"
            if missing == "error":
                raise ValueError(f"{name} has no {what}")
            notes.append(f"{name} has no {what} and {'counts 0' if missing == 'zero' else 'is left out'}")
            if missing == "zero":
                scores[name] = 0.0
            continue
        if not fid[name] > 0:
            raise ValueError(f"{name}: the Fréchet distance must be positive, got {fid[name]}")
        if not (np.isnan(heep[name]) or -1 <= heep[name] <= 1):
            raise ValueError(f"{name}: HEEP is a correlation in [-1, 1], got {heep[name]}")
        inverse, heard = 1 / fid[name], heep[name]
        if cap is not None and inverse > cap:
            notes.append(f"{name}: 1 / FID {inverse:.3g} was capped at {cap:g}")
            inverse = cap
        if np.isnan(heard):
            notes.append(f"{name}: its HEEP is not defined and {'counts 0' if undefined == 'zero' else 'stays so'}")
            heard = 0.0 if undefined == "zero" else heard
        scores[name] = (inverse + heard) / 2
    if not scores:
        raise ValueError("no emotion has both a distance and a HEEP")
    return SGen(float(np.mean(list(scores.values()))), scores, notes)
