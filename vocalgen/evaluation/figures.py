"""Pictures for reports and model cards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocalgen.errors import VocalgenError
from vocalgen.pictures import new_figure, save_figure

Mel = NDArray[np.float32]

INK, GREY = "#1f2430", "#8a8f98"
SERIES = ("#2f6f9f", "#c8553d", "#5b8e4f", "#8d6ab8")


def mel_grid(
    generated: Mapping[str, Sequence[Mel]],
    real: Mapping[str, Sequence[Mel]],
    path: str | Path,
    frame_rate: float,
    columns: int = 3,
) -> None:
    """Log-mels (n_mels, frames) of generated clips beside real ones: a row an emotion, one grey scale for all.

    Args:
        generated, real: clips by emotion; the first `columns` of each are shown.
        frame_rate: frames a second.

    Raises:
        VocalgenError: no emotion has clips of both kinds, or the file cannot be written.
    """
    emotions = [name for name, mels in generated.items() if len(mels) and len(real.get(name, ()))]
    if not emotions:
        raise VocalgenError("no emotion has both generated and real clips to draw")
    everything = [mel for mels in (*generated.values(), *real.values()) for mel in mels[:columns]]
    low, high = np.quantile(np.concatenate([mel.ravel() for mel in everything]), [0.05, 0.999])
    width = max(mel.shape[1] for mel in everything)
    height = 1.05 * len(emotions) + 0.6
    figure = new_figure(1.7 * 2 * columns, height)
    axes = figure.subplots(len(emotions), 2 * columns, squeeze=False)
    for row, emotion in enumerate(emotions):
        for side, (kind, mels) in enumerate((("generated", generated[emotion]), ("real", real[emotion]))):
            for column in range(columns):
                axis = axes[row][side * columns + column]
                axis.set_xticks([])
                axis.set_yticks([])
                for spine in axis.spines.values():
                    spine.set_visible(False)
                if column < len(mels):
                    mel = np.full((mels[column].shape[0], width), low, dtype=np.float32)
                    mel[:, : mels[column].shape[1]] = mels[column]
                    axis.imshow(mel, origin="lower", aspect="auto", cmap="magma", vmin=low, vmax=high)
                if row == 0 and column == 0:
                    axis.set_title(kind, loc="left", fontsize=10, color=INK)
                if side == 0 and column == 0:
                    axis.set_ylabel(emotion, rotation=0, ha="right", va="center", fontsize=9, color=INK)
    note = f"log-mel, {width / frame_rate:.1f} s wide; one scale for all pictures"
    figure.supxlabel(note, fontsize=8, color=GREY, y=0.06 / height)
    figure.subplots_adjust(left=0.14, right=0.995, top=1 - 0.3 / height, bottom=0.28 / height, wspace=0.05, hspace=0.08)
    save_figure(figure, path)


def loss_curves(run: str | Path, path: str | Path, keys: Sequence[str] | None = None) -> None:
    """Curves of a run folder's metrics.jsonl, one panel a quantity, logarithmic where it spans a decade.

    Args:
        run: run folder.
        keys: what to draw; None draws all but speed and gradient norm.

    Raises:
        VocalgenError: no readable metrics.jsonl, or none of `keys` in it.
    """
    lines = read_metrics(run)
    found = dict.fromkeys(key for line in lines for key in line)
    chosen = [key for key in found if key not in ("step", "clips_per_second", "grad_norm")]
    if keys is not None:
        chosen = [key for key in keys if key in found]
    if not chosen:
        raise VocalgenError(f"{run}: metrics.jsonl holds none of {', '.join(keys or ('any loss',))}")
    columns = min(len(chosen), 3)
    rows = -(-len(chosen) // columns)
    figure = new_figure(3.4 * columns, 2.4 * rows)
    axes = figure.subplots(rows, columns, squeeze=False)
    for place, axis in enumerate(axes.ravel()):
        if place >= len(chosen):
            axis.set_visible(False)
            continue
        key = chosen[place]
        points = np.array([(line["step"], line[key]) for line in lines if key in line], dtype=float)
        axis.plot(points[:, 0], points[:, 1], color=SERIES[0], linewidth=1.2)
        axis.set_title(key.replace("_", " "), loc="left", fontsize=9, color=INK)
        if points[:, 1].min() > 0 and points[:, 1].max() > 10 * points[:, 1].min():
            axis.set_yscale("log")
        axis.tick_params(labelsize=7, colors=GREY)
        axis.spines[["top", "right"]].set_visible(False)
        if place >= len(chosen) - columns:
            axis.set_xlabel("step", fontsize=8, color=GREY)
    figure.tight_layout()
    save_figure(figure, path)


def quality_bars(report: dict[str, Any], path: str | Path) -> None:
    """Two panels from `quality.evaluate`: distance / floor and accuracy by emotion, worst ratio on top."""
    entries = report["rows"][report["system"]]["emotions"]
    names = sorted(entries, key=lambda name: entries[name]["ratio"])
    place = np.arange(len(names))
    figure = new_figure(8.5, 0.24 * len(names) + 1.1)
    left, right = figure.subplots(1, 2, sharey=True)
    left.barh(place, [entries[name]["ratio"] for name in names], color=SERIES[0], height=0.65)
    left.axvline(1.0, color=INK, linewidth=1)
    left.set_title("Fréchet distance / floor (line: real clips)", loc="left", fontsize=9, color=INK)
    left.set_yticks(place, names, fontsize=8)
    real = [report["real_accuracy_by_emotion"][name]["top1"] for name in names]
    made = [entries[name]["top1"] for name in names]
    for offset, values, colour, label in ((0.17, made, SERIES[0], "generated"), (-0.17, real, GREY, "real")):
        centre = np.array([value[0] for value in values])
        error = np.array([(max(v[0] - v[1], 0), max(v[2] - v[0], 0)) for v in values]).T
        right.errorbar(
            centre, place + offset, xerr=error, fmt="o", color=colour, label=label, markersize=3, linewidth=1
        )
    right.set_xlim(0, 1)
    right.set_title("top-1 accuracy", loc="left", fontsize=9, color=INK)
    right.legend(fontsize=7, frameon=False, loc="lower right")
    for axis in (left, right):
        axis.tick_params(axis="x", labelsize=7, colors=GREY)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    save_figure(figure, path)


def read_metrics(run: str | Path) -> list[dict[str, float]]:
    """Lines of a run folder's metrics.jsonl in order of steps; of repeated steps the last counts.

    Raises:
        VocalgenError: missing, empty or malformed file.
    """
    file = Path(run) / "metrics.jsonl"
    try:
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise VocalgenError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise VocalgenError(f"{file}: not JSON lines: {error}") from error
    merged: dict[int, dict[str, float]] = {}
    for line in lines:
        merged.setdefault(int(line["step"]), {}).update(line)
    if not merged:
        raise VocalgenError(f"{file} is empty; the run has not logged yet")
    return [merged[step] for step in sorted(merged)]
