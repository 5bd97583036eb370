"""Put generators side by side: quality from a report of `vocalgen evaluate`, speed and size of their checkpoints.

    vocalgen evaluate diffusion=clips/diffusion stylegan2=clips/stylegan2 --out eval/reports/comparison
    python eval/comparison.py eval/reports/comparison diffusion=emogator-diffusion-24k stylegan2=my-gan

The names are those of the evaluation. Writes comparison.json, comparison.md and comparison.png beside the report.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import torch

from vocalgen.atomic import atomic_write_text
from vocalgen.errors import VocalgenError
from vocalgen.evaluation.comparison import comparison_markdown, draw_comparison
from vocalgen.generation.checkpoint import resolve_checkpoint
from vocalgen.generation.loading import choose_device, load_synthesiser
from vocalgen.generation.speed import speeds
from vocalgen.ownership import require_replaceable
from vocalgen.pictures import is_own_picture, require_matplotlib
from vocalgen.script import add_debug, expand_home, reported, settle_process
from vocalgen.weights import read_json

WRITTEN = ("comparison.json", "comparison.md", "comparison.png")
"""Files of the report."""


def main() -> None:
    """Parse, measure and write."""
    settle_process()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, help="folder of an evaluation")
    parser.add_argument("systems", nargs="+", metavar="NAME=CHECKPOINT", help="shipped names, folders or hub ids")
    parser.add_argument("--per-emotion", type=int, default=8, help="clips of an emotion in a run")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device")
    parser.add_argument("--overwrite", action="store_true", help="replace files that vocalgen did not write")
    add_debug(parser)
    options = parser.parse_args(expand_home())
    with reported("stopped; no report was written", options.debug):
        run(options)


def run(options: argparse.Namespace) -> None:
    """Measure and write."""
    require_matplotlib()
    for name in WRITTEN:
        require_replaceable(options.report / name, options.overwrite, is_own_picture)
    torch.set_num_threads(options.threads)
    report = read_json(options.report / "report.json")
    named = [entry.partition("=") for entry in options.systems]
    unknown = [name for name, _, _ in named if name not in report["systems"]]
    if unknown:
        raise VocalgenError(f"no system {', '.join(unknown)} in the report; it has {', '.join(report['systems'])}")
    device = choose_device(options.device)
    systems = {name: load_synthesiser(Path(resolve_checkpoint(path))).to(device) for name, _, path in named}
    measured = speeds(systems, report["emotions"], options.per_emotion, options.repeats)
    clips = options.per_emotion * len(report["emotions"])
    conditions = [
        f"Quality: {report['conditions']['clips_of_an_emotion']} clips of each of {len(report['emotions'])} emotions, "
        f"see [report.md](report.md). Speed: medians of {options.repeats} runs of {clips} clips in turns, from noise "
        f"to files, {options.threads} threads of {device.type.upper()}; real-time factors count silence that is cut."
    ]
    values = {"conditions": conditions, "systems": measured}
    atomic_write_text(options.report / "comparison.json", json.dumps(values, indent=1) + "\n", options.overwrite)
    atomic_write_text(
        options.report / "comparison.md", comparison_markdown(report, measured, conditions), options.overwrite
    )
    draw_comparison(report, measured, options.report / "comparison.png", options.overwrite)
    print((options.report / "comparison.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
