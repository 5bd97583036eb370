"""Small trees in the official layouts of every task's corpus, with synthetic clips, and their manifests."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from bursts import burst

from vocalgen import audio
from vocalgen.corpora import emogator, hume_prosody, hume_vocalburst, sonata
from vocalgen.corpora.hume_vocalburst import COUNTRIES, CULTURE, TYPES
from vocalgen.corpora.manifest import Manifest
from vocalgen.emotions import HUME10, PROSODY9, SONATA25

RATE = 16_000
SPLITS = ("Train", "Val", "Test")
ROOT = Path(__file__).resolve().parents[1]


def manifest_of(task: str, folder: Path) -> Path:
    """Manifest of a made corpus for a task, `folder/corpus.csv`; the test clips of official corpora have no labels."""
    path = folder / "corpus.csv"
    corpus = folder / "corpus"
    makers = {"emotion-share": _prosody, "sonata": _sonata, "emogator": _emogator}
    made = makers[task](corpus) if task in makers else _vocalburst(task, corpus)
    made.save(path)
    return path


def labelled(path: Path, task: str) -> Path:
    """A copy with labels for the test clips: those of a training clip of the same place each."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    known = [row for row in rows if row["split"] == "train"]
    named = [name for name in rows[0] if name.startswith(("emotion:", "label:"))]
    for place, row in enumerate(row for row in rows if row["split"] == "test"):
        row |= {name: known[place % len(known)][name] for name in named}
    other = path.with_name(f"{task}-labelled.csv")
    _write(other, rows)
    return other


def _vocalburst(task: str, folder: Path, each: int = 16) -> Manifest:
    rows: list[dict[str, Any]] = []
    for number in range(3 * each):
        split, place = SPLITS[number // each], number % each
        values = np.round(np.random.default_rng(number).uniform(0, 0.9, 10), 3)
        values[number % 10] = 1.0
        row = {
            "File_ID": f"[{number:05d}]", "Split": split,
            "Subject_ID": f"Speaker_{10 * (number // each) + place // 4}",
            "Country": number % 4, "Country_string": COUNTRIES[number % 4], "Age": 20.5 + number % 16,
            **dict(zip(HUME10.emotions, values.tolist(), strict=True)),
            "Valence": round(0.05 * (number % 16), 3), "Arousal": round(1 - values[0], 3),
            "Voc_Type": TYPES[number % 8],
            **{name: round(float(values[k % 10]) * 0.9, 4) for k, name in enumerate(CULTURE)},
        }  # fmt: skip
        # The few-shot release labels two test clips a speaker.
        if split == "Test":
            kept = place % 4 < 2 and task == "exvo-fewshot"
            row |= {name: "" for name in list(row)[3:] if not (kept and name in HUME10.emotions)}
        rows.append(row)
    exvo = ["File_ID", "Split", "Subject_ID", "Country", "Country_string", "Age", *HUME10.emotions]
    if task.startswith("exvo"):
        name = "data_info.fewshot.csv" if task == "exvo-fewshot" else "data_info.csv"
        _write(folder / name, rows, exvo)
        _clips(folder / "wav", [f"{number:05d}" for number in range(3 * each)])
    else:
        extra = {"high": HUME10.emotions, "two": ("Valence", "Arousal"), "culture": CULTURE, "type": ("Voc_Type",)}
        for name, columns in extra.items():
            _write(folder / "labels" / f"{name}_info.csv", rows, ["File_ID", "Split", *columns])
        _clips(folder / "audio" / "wav", [f"{number:05d}" for number in range(3 * each)])
    return hume_vocalburst.scan(folder, task == "exvo-fewshot")


def _prosody(folder: Path, each: int = 12) -> Manifest:
    for turn, (table, stem) in enumerate((("train", "train"), ("devel", "devel"), ("test", "test"))):
        rows = []
        for number in range(each):
            values = np.random.default_rng((turn, number)).uniform(0, 1, 9).round(3).tolist()
            cells = values if table != "test" else [""] * 9
            rows.append({"filename": f"{stem}_{number}.wav", **dict(zip(PROSODY9.emotions, cells, strict=True))})
        _write(folder / "lab" / f"{table}.csv", rows)
        _clips(folder / "wav", [f"{stem}_{number}" for number in range(each)])
    return hume_prosody.scan(folder)


def _sonata(folder: Path) -> Manifest:
    actors = {"anna": "train", "ben": "train", "cora": "validation", "dan": "test"}
    spoken = SONATA25.emotions[:4]
    for number, actor in enumerate(actors):
        (folder / actor).mkdir(parents=True)
        wave = np.concatenate([burst(k, 0.5, RATE, number) for k in range(len(spoken))])
        audio.write(folder / actor / "king.mp3", wave, RATE)
        lines = [f"{0.5 * k}-{0.5 * k + 0.5} {name}: Said by {actor}." for k, name in enumerate(spoken)]
        (folder / actor / "king.txt").write_text("\n".join(lines) + "\n")
    values = yaml.safe_load((ROOT / "recipes" / "modulate_sonata" / "layout.yaml").read_text())
    values["splits"] = {s: [a for a, own in actors.items() if own == s] for s in ("train", "validation", "test")}
    (folder / "layout.yaml").write_text(yaml.safe_dump(values))
    layout = sonata.read_layout(folder / "layout.yaml")
    return sonata.cut(sonata.segments(folder, layout)[0], layout, folder / "segments")


def _emogator(folder: Path) -> Manifest:
    for speaker in (1, 2, 285, 286, 320, 321):
        for category in (1, 2, 4):
            wave = burst(category - 1, 0.4, RATE, speaker)
            audio.write(folder / f"{speaker:06d}-{category:02d}-1.mp3", wave, RATE)
    return emogator.scan(folder)


def _clips(folder: Path, names: Iterable[str]) -> None:
    for number, name in enumerate(names):
        audio.write(folder / f"{name}.wav", burst(number % 5, 0.3, RATE, number), RATE)


def _write(path: Path, table: Sequence[dict[str, Any]], columns: Sequence[str] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns or list(table[0]), extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
