"""A picture of a clip: its log-mel over time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vocalgen.mel import LogMel, MelConfig
from vocalgen.pictures import new_figure, save_figure


def draw_mel(
    wave: NDArray[np.float32], config: MelConfig, path: Path, title: str = "", overwrite: bool | None = None
) -> None:
    """Draw the log-mel of a wave (samples,) to `path` (.png, .svg, .pdf); `overwrite` as for `save_figure`.

    Raises:
        VocalgenError: matplotlib is missing, the wave is shorter than a window, or the file cannot be written.
    """
    mel = LogMel(config)(torch.from_numpy(wave)[None])[0].numpy()
    seconds = len(wave) / config.sample_rate
    figure = new_figure(1.5 + 4 * max(seconds, 0.4), 3, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(
        mel,
        origin="lower",
        aspect="auto",
        extent=(0, seconds, 0, config.n_mels),
        cmap="magma",
        vmin=config.log_floor,
        vmax=1.0,
    )
    axes.set(xlabel="seconds", ylabel="mel band", title=title)
    figure.colorbar(image, label="ln amplitude")
    save_figure(figure, path, overwrite)
