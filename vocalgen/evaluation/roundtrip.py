"""What a vocoder or an autoencoder loses on clips of held-out speakers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vocalgen.evaluation.report import table
from vocalgen.metrics.frechet import Statistics, frechet_distance
from vocalgen.metrics.intervals import clustered_mean
from vocalgen.metrics.spectral import log_mel_l1, roughness, stft_distance
from vocalgen.pitch import track_pitch

Wave = NDArray[np.float32]
Mel = NDArray[np.float32]

MEASURES = {
    "log_mel_l1": "log-mel L1 (nat)",
    "stft_log": "STFT log magnitude (nat)",
    "stft_convergence": "STFT convergence",
    "periodicity": "periodicity error",
    "pitch": "pitch errors",
    "roughness": "roughness / true",
    "frechet": "Fréchet",
}

VOICED = 0.8
"""Periodicity from which a frame of the true clip has a pitch to keep."""

PITCH_TOLERANCE = 50 / 1200
"""Octaves by which a pitch may differ before it counts as an error (50 cents)."""


def vocoder_round_trips(
    waves: Sequence[Wave],
    speakers: Sequence[str],
    analyse: Callable[[Wave], Mel],
    systems: Mapping[str, Callable[[Mel], Wave]],
    sample_rate: int,
    hop_length: int,
    embed: Callable[[Sequence[Wave]], NDArray[np.float64]] | None = None,
) -> dict[str, dict[str, Any]]:
    """Log-mel L1, multi-resolution STFT distance and pitch of clips against what each system makes of their log-mels.

    The periodicity error is the mean absolute difference of periodicities; pitch errors are the share of the voiced
    frames of a clip whose pitch is more than 50 cents off (clips without voiced frames do not count). Roughness is that
    of `metrics.spectral.roughness`, divided by the true clip's: below 1 the spectrum is blurred.

    Args:
        waves: clips (samples,); they are cut to whole frames.
        speakers: of each clip, for the intervals.
        analyse: wave (samples,) -> log-mel (n_mels, frames).
        systems: log-mel -> wave with the samples of that many frames, by name.
        embed: waves -> (n, d) embeddings, for the Fréchet distance between true clips and round trips.

    Returns:
        by system: `MEASURES` with intervals over speakers (`frechet` without), `real_time_factor`, `n`.
    """
    results = {}
    true = None if embed is None else Statistics.of(embed(waves))
    for name, synthesise in systems.items():
        values: dict[str, list[float]] = {key: [] for key in MEASURES if key != "frechet"}
        outputs = []
        spent = 0.0
        for wave in waves:
            mel = analyse(wave)
            since = time.perf_counter()
            output = synthesise(mel)
            spent += time.perf_counter() - since
            outputs.append(output)
            samples = min(len(output), len(wave))
            values["log_mel_l1"].append(log_mel_l1(analyse(output), mel))
            stft = stft_distance(output[:samples], wave[:samples])
            values["stft_log"].append(stft.log_magnitude)
            values["stft_convergence"].append(stft.convergence)
            periodicity, pitch = pitch_errors(output[:samples], wave[:samples], sample_rate, hop_length)
            values["periodicity"].append(periodicity)
            values["pitch"].append(pitch)
            values["roughness"].append(roughness(output[:samples]) / roughness(wave[:samples]))
        seconds = sum(len(wave) for wave in waves) / sample_rate
        distance = None if true is None or embed is None else frechet_distance(Statistics.of(embed(outputs)), true)
        results[name] = {
            **{key: _mean(numbers, speakers) for key, numbers in values.items()},
            "frechet": distance,
            "real_time_factor": seconds / spent,
            "n": len(waves),
        }
    return results


def pitch_errors(output: Wave, reference: Wave, sample_rate: int, hop_length: int) -> tuple[float, float]:
    """(periodicity error, pitch errors) of two waves (samples,); the second is NaN without a voiced frame."""
    waves = torch.from_numpy(np.stack([output, reference]).astype(np.float32))
    (found, f0), (made, periodicity) = track_pitch(waves, sample_rate, hop_length)
    voiced = periodicity > VOICED
    wrong = (found / f0).log2().abs() > PITCH_TOLERANCE
    return float((made - periodicity).abs().mean()), float(wrong[voiced].float().mean())


def _mean(values: Sequence[float], speakers: Sequence[str]) -> Any:
    """Mean and interval over the clips that have a value."""
    kept = [(value, speaker) for value, speaker in zip(values, speakers, strict=True) if not np.isnan(value)]
    return clustered_mean([value for value, _ in kept], [speaker for _, speaker in kept]) if kept else None


def mel_round_trip(mels: Sequence[Mel], speakers: Sequence[str], round_trip: Callable[[Mel], Mel]) -> dict[str, Any]:
    """Log-mel L1 (nat) of an autoencoder's round trip, no audio involved."""
    values = [log_mel_l1(round_trip(mel), mel) for mel in mels]
    return {"log_mel_l1": clustered_mean(values, list(speakers)), "n": len(mels)}


def roundtrip_markdown(report: dict[str, Any]) -> str:
    """The report of `eval/roundtrip.py` for people."""
    rows = []
    for name, row in report["systems"].items():
        cells = []
        for key in MEASURES:
            value = row.get(key)
            if isinstance(value, float):
                cells.append(f"{value:.3f}")
            else:
                cells.append("–" if value is None else "{:.3f} [{:.3f}, {:.3f}]".format(*value))
        speed = row.get("real_time_factor")
        rows.append((name, *cells, "–" if speed is None else f"{speed:.0f}x"))
    header = ("round trip", *MEASURES.values(), "real time")
    return "\n".join(
        [
            "# Round trips of real clips",
            "",
            f"{report['n']} clips of held-out speakers ({' + '.join(report['splits'])}, "
            f"{report['speakers']} speakers); "
            f"95 % intervals by bootstrap over speakers; one clip at a time on {report['threads']} threads.",
            "",
            *table(header, rows),
            "",
        ]
    )
