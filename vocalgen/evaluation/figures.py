"""Pictures for reports and model cards."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vocalgen.atomic import atomic_path
from vocalgen.errors import VocalgenError
from vocalgen.pictures import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Mel = NDArray[np.float32]

INK, GREY = "#1f2430", "#8a8f98"
SERIES = ("#2f6f9f", "#c8553d", "#5b8e4f", "#8d6ab8")
SYMBOLS = ("x", "s", "D", "^", "v", "+", "*")
"""Marks of the anchors, all grey."""

SHADES, GREYS = 56, 8
"""Colours of a mel grid's pictures, and of its words: with so few the file is a quarter as large."""


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
    height = 0.56 * len(emotions) + 0.5
    figure = new_figure(1.25 * 2 * columns + 1.2, height)
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
                    axis.set_title(kind, loc="left", fontsize=9, color=INK)
                if side == 0 and column == 0:
                    axis.set_ylabel(emotion, rotation=0, ha="right", va="center", fontsize=8, color=INK)
    note = f"log-mel, {width / frame_rate:.1f} s wide; one scale for all pictures"
    figure.supxlabel(note, fontsize=7, color=INK, y=0.05 / height)
    edges = {"top": 1 - 0.24 / height, "bottom": 0.22 / height, "right": 0.995}
    figure.subplots_adjust(left=1.2 / (1.25 * 2 * columns + 1.2), wspace=0.04, hspace=0.08, **edges)
    _save_in_few_colours(figure, path)


def _save_in_few_colours(figure: Figure, path: str | Path) -> None:
    """`save_figure`, but a PNG is given a palette."""
    if Path(path).suffix.lower() != ".png":
        save_figure(figure, path)
        return
    from matplotlib import colormaps, colors
    from PIL import Image

    words = np.linspace(colors.to_rgb(INK), (1.0, 1.0, 1.0), GREYS)
    colours = np.concatenate([colormaps["magma"](np.linspace(0, 1, SHADES))[:, :3], words])
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.rint(255 * colours).astype(np.uint8).tobytes())
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=120, facecolor="white")
    image = Image.open(drawn).convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE)
    with atomic_path(path) as temporary:
        image.save(temporary, optimize=True)


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


def distance_bars(report: Mapping[str, Any], path: str | Path) -> None:
    """Distance / floor by emotion: systems in colour with 95 % intervals, anchors in grey, a line at the real clips.

    The first system's worst emotion is on top, the mean over emotions above it. The axis is logarithmic: anchors may be
    a hundred times as far as real clips. An interval is cut off at a quarter of its value.

    Args:
        report: of the schema of `evaluation.columns`; its first section of distances is drawn.

    Raises:
        VocalgenError: no system has distances, or the file cannot be written.
    """
    rows: Mapping[str, Any] = next((s["rows"] for s in report["sections"].values() if s["kind"] == "distance"), {})
    systems = [name for name in report["systems"] if rows.get(name, {}).get("emotions")]
    if not systems:
        raise VocalgenError("no system has distances by emotion to draw")
    ratios = {name: _ratios(row) for name, row in rows.items()}
    order = sorted(ratios[systems[0]], key=lambda emotion: ratios[systems[0]][emotion][0])
    order = [emotion for emotion in order if emotion != MEAN] + [MEAN]
    anchors = [name for name in report["anchors"] if name in ratios and set(ratios[name].values()) != {(1.0, 1.0, 1.0)}]
    legend = 0.1 + 0.16 * -(-(len(anchors) + len(systems)) // 3)
    figure = new_figure(7.5, 0.26 * len(order) + 0.6 + legend)
    axis = figure.subplots()
    axis.axvline(1.0, color=INK, linewidth=1)
    axis.axhline(len(order) - 1.5, color=GREY, linewidth=0.5)
    for name, symbol in zip(anchors, _cycle(SYMBOLS, len(anchors))):
        points = [(ratios[name][e][0], place) for place, e in enumerate(order) if e in ratios[name]]
        axis.plot(*zip(*points), symbol, color=GREY, markersize=4.5, label=name, markerfacecolor="none")
    height = 0.6 / len(systems)
    for rank, (name, colour) in enumerate(zip(systems, _cycle(SERIES, len(systems)))):
        for place, emotion in enumerate(order):
            if emotion in ratios[name]:
                value, low, high = ratios[name][emotion]
                y = place + 0.3 - height * (rank + 0.5)
                axis.plot([max(low, value / 4), high], [y, y], color=colour, linewidth=1.6, alpha=0.6)
                axis.plot(value, y, "o", color=colour, markersize=4.5, label=name if place == 0 else None)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_yticks(range(len(order)), order, fontsize=8, color=INK)
    axis.set_ylim(-0.7, len(order) - 0.3)
    axis.grid(axis="x", which="major", color="#e6e8ec", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.set_xlabel("Fréchet distance / floor (line: real clips)", fontsize=8, color=INK)
    axis.tick_params(axis="x", labelsize=7, colors=GREY)
    axis.tick_params(axis="y", length=0)
    axis.spines[["top", "right", "left"]].set_visible(False)
    figure.tight_layout(rect=(0, 0, 1, 1 - legend / figure.get_figheight()))
    figure.legend(loc="upper center", ncols=3, fontsize=7, frameon=False)
    save_figure(figure, path)


MEAN = "mean over emotions"


def _ratios(row: Mapping[str, Any]) -> dict[str, tuple[float, float, float]]:
    """Distance / floor with its interval (of no width where none is known), by emotion and for the mean."""
    found = {}
    for emotion, entry in row["emotions"].items():
        ratio, distance, floor = (entry.get(key) for key in ("ratio", "frechet", "floor"))
        if isinstance(distance, (list, tuple)) and not isinstance(ratio, (list, tuple)) and floor:
            ratio = [value / floor for value in distance]
        if ratio is not None:
            found[emotion] = _triple(ratio)
    if row["overall"].get("ratio") is not None:
        found[MEAN] = _triple(row["overall"]["ratio"])
    return {emotion: values for emotion, values in found.items() if values[0] > 0}


def _triple(value: Any) -> tuple[float, float, float]:
    value, low, high = value if isinstance(value, (list, tuple)) else (value, value, value)
    return float(value), float(low), float(high)


def _cycle(values: Sequence[str], count: int) -> list[str]:
    return [values[place % len(values)] for place in range(count)]


def confusions(report: Mapping[str, Any], path: str | Path) -> None:
    """What clips are heard as, a matrix a set: rows are what was asked for and sum to 1.

    Raises:
        VocalgenError: the report has no confusion matrices, or the file cannot be written.
    """
    shares = {}
    for name, counts in report["confusion"].items():
        matrix = np.array(counts, dtype=float)
        total = matrix.sum(axis=1, keepdims=True)
        shares[name] = np.divide(matrix, total, out=np.full_like(matrix, np.nan), where=total > 0)
    heard = report.get("heard") or report["emotions"]
    _matrices(shares, report["emotions"], heard, path, "share of the clips asked for (row) heard as (column)", "Blues")


def between(report: Mapping[str, Any], path: str | Path) -> None:
    """Distances of the clips of each emotion from the real clips of each, a matrix a set, one scale for all.

    Raises:
        VocalgenError: the report has no such matrices, or the file cannot be written.
    """
    matrices = {name: np.array(matrix, dtype=float) for name, matrix in report["between"].items()}
    label = "Fréchet distance of the clips of an emotion (row) from real ones (column)"
    _matrices(matrices, report["emotions"], report["emotions"], path, label, "viridis_r")


def rated(heard: Mapping[str, Mapping[str, float]], path: str | Path) -> None:
    """Mean ratings of a listening study, a row an emotion that clips were made for, a column an emotion rated.

    Raises:
        VocalgenError: nothing was rated, or the file cannot be written.
    """
    columns = list(next(iter(heard.values()), {}))
    matrix = np.array([[entry[name] for name in columns] for entry in heard.values()], dtype=float)
    label = "mean rating of the clips made for an emotion (row)"
    _matrices({"heard": matrix} if matrix.size else {}, list(heard), columns, path, label, "Blues")


def _matrices(
    matrices: Mapping[str, NDArray[np.float64]],
    rows: Sequence[str],
    columns: Sequence[str],
    path: str | Path,
    label: str,
    colours: str,
) -> None:
    """Panels beside each other, at most two a line; numbers stand in the fields where these are large enough."""
    if not matrices:
        raise VocalgenError("the report has no matrices to draw")
    across = min(len(matrices), 2)
    down = -(-len(matrices) // across)
    field = 0.15 if len(columns) > 12 else 0.36
    wide, high = field * len(columns) + 0.35, field * len(rows) + 0.35
    margin = 0.056 * max(map(len, (*rows, *columns))) + 0.15
    width, height = margin + across * wide + 0.1, 0.6 + down * high + margin
    figure = new_figure(width, height)
    axes = figure.subplots(down, across, squeeze=False)
    everything = np.concatenate([matrix.ravel() for matrix in matrices.values()])
    scale = {"vmin": 0.0, "vmax": float(np.nanmax(everything)) if np.isfinite(everything).any() else 1.0}
    for place, axis in enumerate(axes.ravel()):
        if place >= len(matrices):
            axis.set_visible(False)
            continue
        name, matrix = list(matrices.items())[place]
        axis.imshow(matrix, cmap=colours, **scale)
        axis.set_title(name, loc="left", fontsize=9, color=INK)
        lowest = place + across >= len(matrices)
        axis.set_xticks(range(len(columns)), columns if lowest else [], rotation=90, fontsize=7, color=INK)
        axis.set_yticks(range(len(rows)), rows if place % across == 0 else [], fontsize=7, color=INK)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        if len(columns) <= 12:
            for (row, column), value in np.ndenumerate(matrix):
                if np.isfinite(value):
                    light = value > 0.55 * scale["vmax"]
                    number = f"{value:.2f}" if scale["vmax"] <= 1 else f"{value:.1f}"
                    axis.text(
                        column, row, number, ha="center", va="center", fontsize=6, color="white" if light else INK
                    )
    figure.subplots_adjust(
        left=margin / width, right=1 - 0.1 / width, bottom=(margin + 0.05) / height, top=1 - 0.6 / height,
        wspace=0.35 / (wide - 0.35), hspace=0.35 / (high - 0.35),
    )  # fmt: skip
    bar = figure.add_axes((margin / width, 1 - 0.22 / height, min(1.8, wide) / width, 0.09 / height))
    figure.colorbar(axes[0][0].images[0], cax=bar, orientation="horizontal").outline.set_visible(False)
    bar.tick_params(labelsize=6, colors=GREY, length=2)
    figure.text((margin + min(1.8, wide) + 0.1) / width, 1 - 0.2 / height, label, fontsize=7, color=INK, va="center")
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
