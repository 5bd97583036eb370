"""Sample rates of generated and real clips, beside those that encoders are given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from vocalgen.recognition.clips import Rates, rates_text

MIN_SHARE = 0.1
"""Share of the real clips that makes a rate one of the reference's."""


def rate_conditions(generated: Mapping[str, Rates], real: Rates, encoders: Mapping[str, int]) -> dict[str, object]:
    """Rates as they stand among the conditions of a report.

    Args:
        generated: clips per rate in Hz, by system.
        real: clips per rate of the reference; empty where its packed audio does not say.
        encoders: rate in Hz that each encoder is given.
    """
    return {
        "generated": {name: rates_text(rates) for name, rates in generated.items()},
        "reference": rates_text(real) or "unknown",
        "encoders": {name: f"{rate} Hz" for name, rate in encoders.items()},
    }


def rate_warnings(generated: Mapping[str, Rates], real: Rates, encoders: Mapping[str, int]) -> list[str]:
    """A sentence per system whose clips lack, or have, a band that the encoders are given and the reference has not.

    Rates above that of the encoder with the highest one make no difference. A reference of unknown rates is taken to
    have all that encoders are given.
    """
    encoder = max(encoders, key=lambda name: encoders[name])
    limit = encoders[encoder]
    reference = _limited(real, limit) or Counter({limit: 1})
    common = {rate for rate, clips in reference.items() if clips >= MIN_SHARE * reference.total()}
    found = []
    for system, rates in generated.items():
        other = Counter({rate: clips for rate, clips in _limited(rates, limit).items() if rate not in common})
        if other:
            found.append(
                f"{system}: {other.total()} of {rates.total()} clips have another sample rate ({rates_text(other)}) "
                f"than the reference ({rates_text(real) or 'unknown'}), and {encoder} is given {limit} Hz: distances "
                f"tell the rates apart; resample the side with the higher rate for a fair comparison"
            )
    return found


def _limited(rates: Rates, limit: int) -> Rates:
    limited: Rates = Counter()
    for rate, clips in rates.items():
        limited[min(rate, limit)] += clips
    return limited
