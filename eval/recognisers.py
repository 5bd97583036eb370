"""Measure classifiers on real clips of held-out speakers: accuracy, top-3, UAR, recall and confusions.

    python eval/recognisers.py emogator-classifier-24k runs/mine/export --out eval/reports/recognisers

Writes recognisers.json, recognisers.md and confusion.png (of the last split).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from vocalgen.atomic import atomic_write_text, published
from vocalgen.corpora.manifest import Manifest
from vocalgen.evaluation import figures
from vocalgen.evaluation.recognisers import columns_of, logits_of, recognisers_markdown, recognition_row
from vocalgen.ownership import FolderKind, require_publishable
from vocalgen.pictures import require_matplotlib
from vocalgen.recognition.clips import RealClips
from vocalgen.recognition.encoders import load_encoder
from vocalgen.script import add_debug, expand_home, reported, settle_process

REPORT = FolderKind("a report of recognisers")


def main() -> None:
    """Parse, measure and write."""
    settle_process()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recognisers", nargs="+", metavar="MODEL", help="shipped names or folders")
    parser.add_argument("--out", required=True, help="folder for the report")
    parser.add_argument("--overwrite", action="store_true", help="replace files that vocalgen did not write")
    parser.add_argument("--manifest", default="data/emogator.csv")
    parser.add_argument("--splits", nargs="+", default=["validation", "test"], metavar="SPLIT")
    parser.add_argument("--device", default="cpu")
    add_debug(parser)
    options = parser.parse_args(expand_home())
    with reported("stopped; no report was written", options.debug):
        run(options)


def run(options: argparse.Namespace) -> None:
    """Measure and write."""
    require_matplotlib()
    require_publishable(options.out, REPORT, overwrite=options.overwrite)
    vocabulary = Manifest.load(options.manifest).emotions
    report: dict[str, Any] = {
        "manifest": Path(options.manifest).name,
        "splits": options.splits,
        "classes": len(vocabulary),
        "emotions": vocabulary.emotions,
        "checksums": {},
        "recognisers": {},
    }
    for name in options.recognisers:
        encoder = load_encoder(name, options.device)
        columns = columns_of(encoder, vocabulary)
        report["checksums"][encoder.name] = encoder.checksum
        rows = report["recognisers"][encoder.name] = {}
        for split in options.splits:
            clips = RealClips(options.manifest, [split], vocabulary, encoder.prepare)
            logits = logits_of(encoder, clips)[:, columns]
            rows[split] = recognition_row(logits, clips.labels, clips.speakers, vocabulary.emotions)
    last = options.splits[-1]
    confusion = {name: splits[last]["confusion"] for name, splits in report["recognisers"].items()}
    with published(options.out, REPORT, options.overwrite) as out:
        atomic_write_text(out / "recognisers.json", json.dumps(report, indent=1) + "\n")
        figures.confusions({"confusion": confusion, "emotions": vocabulary.emotions}, out / "confusion.png")
        atomic_write_text(out / "recognisers.md", recognisers_markdown(report))
    print(recognisers_markdown(report))


if __name__ == "__main__":
    main()
