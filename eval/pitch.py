"""Compare the pitch tracker with known signals and, on real clips, with Praat and pYIN.

    python eval/pitch.py --manifest data/emogator.csv --out eval/reports/pitch \
        --baseline before=OLD_PITCH.py --note "Why this tracker."

Writes pitch.json and pitch.md. Praat needs `pip install praat-parselmouth`; without it the comparison has pYIN alone.
A baseline is a file with another `track_pitch`, for example a former version of vocalgen/pitch.py.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import librosa
import numpy as np
import torch

from vocalgen import audio
from vocalgen.atomic import atomic_write_text, published
from vocalgen.corpora.manifest import Manifest
from vocalgen.doctor import processor_name
from vocalgen.errors import VocalgenError
from vocalgen.evaluation.pitch_signals import (
    HOP,
    RATE,
    SIGNALS,
    TONE_SETS,
    TONES,
    Array,
    Tracker,
    noise_periodicity,
    semitones,
    signal_errors,
    tone_errors,
)
from vocalgen.evaluation.report import table
from vocalgen.ownership import FolderKind, require_publishable
from vocalgen.pitch import track_pitch
from vocalgen.script import add_debug, expand_home, reported, settle_process

REPORT = FolderKind("a report of pitch tracking")

F_MIN, F_MAX = 60.0, 1500.0
PRAAT_THRESHOLDS = ((0.5, 0.0), (0.8, 0.0), (0.8, 0.8), (0.9, 0.9))
PYIN_THRESHOLDS = ((0.8, 0.0), (0.8, 0.5))
"""Smallest periodicity of our frames, and smallest strength (Praat) or voicing probability (pYIN) of theirs."""


class Track(NamedTuple):
    """Pitch of one clip by a reference tracker.

    Args:
        f0: (L,) in Hz, 0 where unvoiced.
        strength: (L,) in [0, 1], strength of voicing (Praat) or probability of it (pYIN).
    """

    f0: Array
    strength: Array


def main() -> None:
    """Parse, measure and write."""
    settle_process()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder for the report")
    parser.add_argument("--overwrite", action="store_true", help="replace files that vocalgen did not write")
    parser.add_argument("--manifest", default="data/emogator.csv")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--clips", type=int, default=300, help="real clips, evenly spaced in the sorted split")
    parser.add_argument("--pyin-every", type=int, default=3, help="pYIN is slow: it tracks every third clip by default")
    parser.add_argument("--repeats", type=int, default=15, help="repetitions of the speed measurement")
    parser.add_argument("--baseline", default=[], action="append", metavar="NAME=FILE", help="another track_pitch")
    parser.add_argument("--note", default="", help="paragraph that opens the report")
    add_debug(parser)
    options = parser.parse_args(expand_home())
    with reported("stopped; no report was written", options.debug):
        run(options)


@torch.no_grad()
def run(options: argparse.Namespace) -> None:
    """Measure and write."""
    require_publishable(options.out, REPORT, overwrite=options.overwrite)
    if min(options.clips, options.pyin_every, options.repeats) < 1:
        raise VocalgenError("--clips, --pyin-every and --repeats must be at least 1")
    torch.set_num_threads(1)
    trackers: dict[str, Tracker] = {"vocalgen": track_pitch, **dict(_load(entry) for entry in options.baseline)}
    clips = sorted(Manifest.load(options.manifest).split(options.split).usable().rows, key=lambda clip: clip.id)
    if not clips:
        raise VocalgenError(f"{options.manifest} has no usable clip in the split {options.split!r}; choose another")
    chosen = np.unique(np.linspace(0, len(clips) - 1, options.clips).round().astype(int))
    waves = [audio.read(clips[i].file, RATE)[0] for i in chosen]
    references = _references(waves, options.pyin_every)
    report: dict[str, Any] = {
        "note": options.note,
        "n": len(waves),
        "split": options.split,
        "speakers": len({clips[i].speaker for i in chosen}),
        "seconds": sum(map(len, waves)) / RATE,
        "hardware": f"{processor_name()}, {os.cpu_count()} cores, 1 thread used",
        "torch": torch.__version__,
        "references": {
            name: {"n": len(tracks), "ms_per_second": spent} for name, (tracks, spent) in references.items()
        },
        "trackers": {
            name: {
                "tones": {f"{rate} Hz, hop {hop}": tone_errors(track, rate, hop) for rate, hop in _GRIDS},
                "signals": {title: signal_errors(track, title) for title in SIGNALS},
                "noise": {str(rate): noise_periodicity(track, rate) for rate in (12_000, 24_000)},
                "clips": _real(track, waves, {key: tracks for key, (tracks, _) in references.items()}),
            }
            for name, track in trackers.items()
        },
        "between_references": _between(references),
        "speed": _speed(trackers, options.repeats),
    }
    with published(options.out, REPORT, options.overwrite) as out:
        atomic_write_text(out / "pitch.json", json.dumps(report, indent=2) + "\n")
        atomic_write_text(out / "pitch.md", _markdown(report))
    print(_markdown(report))


_GRIDS = ((12_000, 120), (24_000, 240), (RATE, HOP))


def _load(entry: str) -> tuple[str, Tracker]:
    name, _, file = entry.partition("=")
    spec = importlib.util.spec_from_file_location(f"baseline_{len(name)}", file)
    if not file or spec is None or spec.loader is None or not Path(file).is_file():
        raise VocalgenError(f"--baseline {entry}: give NAME=FILE, where FILE is a Python file with a track_pitch")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return name, module.track_pitch


# Real clips


def _references(waves: list[Any], pyin_every: int) -> dict[str, tuple[dict[int, Track], float]]:
    """Tracks of each reference by clip, and its milliseconds of CPU time per second of audio."""
    methods: dict[str, tuple[Callable[[Any], Track], int]] = {"pYIN": (_pyin, pyin_every)}
    if importlib.util.find_spec("parselmouth") is not None:
        methods = {"Praat": (_praat, 1), **methods}
    _pyin(waves[0])  # librosa compiles on the first call
    found = {}
    for name, (method, every) in methods.items():
        since = time.process_time()
        tracks = {i: method(waves[i]) for i in range(0, len(waves), every)}
        spent = time.process_time() - since
        found[name] = tracks, 1000 * spent * RATE / sum(len(waves[i]) for i in tracks)
    return found


def _praat(wave: Any) -> Track:
    """Track by Praat's autocorrelation method with its defaults, frames nearest to ours."""
    parselmouth = importlib.import_module("parselmouth")  # optional, for comparison only
    frames = len(wave) // HOP
    sound = parselmouth.Sound(wave.astype(np.float64), RATE)
    pitch = sound.to_pitch_ac(time_step=HOP / RATE, pitch_floor=F_MIN, pitch_ceiling=F_MAX)
    place = np.round(((np.arange(frames) + 0.5) * HOP / RATE - pitch.t1) / pitch.dt).astype(int)
    inside = (place >= 0) & (place < pitch.n_frames)
    values = pitch.selected_array[place.clip(0, pitch.n_frames - 1)]
    return Track(np.where(inside, values["frequency"], 0.0), np.where(inside, values["strength"], 0.0))


def _pyin(wave: Any) -> Track:
    """Track by librosa's pYIN with its defaults, frames centred as ours."""
    centred = np.pad(wave[HOP // 2 :], (0, HOP))
    f0, voiced, probability = librosa.pyin(centred, fmin=F_MIN, fmax=F_MAX, sr=RATE, hop_length=HOP, fill_na=None)
    frames = len(wave) // HOP
    return Track(np.where(voiced, f0, 0.0)[:frames], probability[:frames])


def _agreement(pairs: list[tuple[Any, Any]]) -> dict[str, float]:
    """Raw pitch and chroma accuracy within half a semitone: [(f0, f0) of one clip] -> shares of frames."""
    error = np.concatenate([semitones(found, f0) for found, f0 in pairs])
    chroma = np.abs((error + 6) % 12 - 6)
    return {"frames": len(error), "rpa": float((np.abs(error) <= 0.5).mean()), "rca": float((chroma <= 0.5).mean())}


def _real(track: Tracker, waves: list[Any], references: dict[str, dict[int, Track]]) -> dict[str, Any]:
    tracks = [tuple(values[0].numpy() for values in track(torch.from_numpy(wave)[None], RATE, HOP)) for wave in waves]
    periodicity = np.concatenate([p for _, p in tracks])
    rows = {}
    for name, theirs in references.items():
        for ours, strength in PRAAT_THRESHOLDS if name == "Praat" else PYIN_THRESHOLDS:
            pairs = []
            for i, reference in theirs.items():
                both = (tracks[i][1] >= ours) & (reference.f0 > 0) & (reference.strength >= strength)
                pairs.append((tracks[i][0][both], reference.f0[both]))
            rows[f"{name}: periodicity ≥ {ours:g}, theirs ≥ {strength:g}"] = _agreement(pairs)
    if "Praat" in references:
        pairs = []
        for i, pyin in references["pYIN"].items():
            praat = references["Praat"][i]
            both = (tracks[i][1] >= 0.8) & (praat.f0 > 0) & (pyin.f0 > 0)
            both[both] &= np.abs(semitones(pyin.f0[both], praat.f0[both])) <= 0.5
            pairs.append((tracks[i][0][both], praat.f0[both]))
        rows["Praat and pYIN agree: periodicity ≥ 0.8"] = _agreement(pairs)
    return {
        "periodicity_mean": float(periodicity.mean()),
        "voiced_share": float((periodicity >= 0.8).mean()),
        "agreement": rows,
    }


def _between(references: dict[str, tuple[dict[int, Track], float]]) -> dict[str, Any]:
    """Agreement of pYIN with Praat, where both are installed, by Praat's strength."""
    if "Praat" not in references:
        return {}
    rows = {}
    for strength, probability in ((0.0, 0.0), (0.8, 0.0), (0.8, 0.5)):
        pairs = []
        for i, pyin in references["pYIN"][0].items():
            praat = references["Praat"][0][i]
            both = (praat.f0 > 0) & (pyin.f0 > 0) & (praat.strength >= strength) & (pyin.strength >= probability)
            pairs.append((pyin.f0[both], praat.f0[both]))
        rows[f"Praat ≥ {strength:g}, pYIN ≥ {probability:g}"] = _agreement(pairs)
    return rows


def _speed(trackers: dict[str, Tracker], repeats: int) -> dict[str, dict[str, float]]:
    """Median milliseconds of CPU time per second of audio, in turns: other work beside distorts wall time."""
    rows = {}
    for batch, seconds, rate, hop in ((16, 1, RATE, HOP), (1, 2, RATE, HOP), (1, 2, 12_000, 120)):
        wave = 0.1 * torch.randn(batch, seconds * rate, generator=torch.Generator().manual_seed(0))
        times: dict[str, list[float]] = {name: [] for name in trackers}
        for _ in range(repeats + 1):
            for name, track in trackers.items():
                since = time.process_time()
                track(wave, rate, hop)
                times[name].append(1000 * (time.process_time() - since) / batch / seconds)
        title = f"{batch} x {seconds} s at {rate} Hz"
        rows[title] = {name: statistics.median(taken[1:]) for name, taken in times.items()}
    return rows


# Report


def _markdown(report: dict[str, Any]) -> str:
    names, trackers = list(report["trackers"]), report["trackers"]
    first = trackers[names[0]]

    def rows(section: str, cell: Callable[[Any], str]) -> Any:
        return [(key, *(cell(trackers[name][section][key]) for name in names)) for key in first[section]]

    def agreement(row: dict[str, float]) -> str:
        return f"{row['rpa']:.4f} / {row['rca']:.4f} ({row['frames']})"

    clips = {name: trackers[name]["clips"] for name in names}
    real = [(key, *(agreement(clips[n]["agreement"][key]) for n in names)) for key in first["clips"]["agreement"]]
    speed = [(key, *(f"{row[name]:.2f}" for name in names)) for key, row in report["speed"].items()]
    reference_speed = "; ".join(
        f"{key} ({row['n']} clips): {row['ms_per_second']:.0f} ms" for key, row in report["references"].items()
    )
    between = [(key, agreement(row)) for key, row in report["between_references"].items()]
    sections = [
        ("## Steady tones", f"Wrong of {TONES} (median f0 more than 3 % off), {TONE_SETS} sets of phases and tilts."),
        table(("grid", *names), rows("tones", lambda r: ", ".join(map(str, r["wrong"])))),
        ("## Other signals", "Share of frames more than 1 semitone off / median error in semitones."),
        table(("signal", *names), rows("signals", lambda r: f"{r['gross']:.4f} / {r['median']:.3f}")),
        ("## White noise", "Mean periodicity (maximum)."),
        table(("Hz", *names), rows("noise", lambda r: f"{r['mean']:.3f} ({r['max']:.2f})")),
        (
            "## Real clips",
            f"{report['n']} clips of the {report['split']} split, {report['speakers']} speakers, "
            f"{report['seconds']:.0f} s. Share of frames within half a semitone / the same modulo octaves (frames).",
        ),
        table(("frames that both call voiced", *names), real),
        *([("Between the references:",), table(("pYIN and Praat", "agreement"), between)] if between else []),
        ("Periodicity of all frames:",),
        table(
            ("", *names),
            [
                ("mean", *(f"{clips[n]['periodicity_mean']:.4f}" for n in names)),
                ("share ≥ 0.8", *(f"{clips[n]['voiced_share']:.4f}" for n in names)),
            ],
        ),
        ("## Speed", f"Median ms of CPU time per second of audio, in turns. {report['hardware']}.", reference_speed),
        table(("audio", *names), speed),
    ]
    note = [report["note"], ""] if report["note"] else []
    lines = ["# Pitch tracking", "", *note]
    for section in sections:
        # Paragraphs are tuples, tables are lists of lines.
        lines += ["\n\n".join(section) if isinstance(section, tuple) else "\n".join(section), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
