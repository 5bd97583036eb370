"""Published results: every file parses, has sources, and says what the papers say."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from vocalgen.emotions import HUME10
from vocalgen.errors import VocalgenError
from vocalgen.evaluation import published as module
from vocalgen.evaluation.published import published
from vocalgen.metrics.prediction import s_mtl

COLUMNS = ["task", "table", "system", "split", "emotion", "metric", "value", "deviation", "source", "remark"]
METRICS = {"CCC", "UAR", "MAE", "S_MTL", "Spearman", "FID", "HEEP", "S_GEN"}
WHITE_PAPER = "arXiv 2403.14048"

# Tables 8 and 9 of the white paper: scores on the test set.
TESTED = {
    ("exvo-multitask", "S_MTL"): {"organisers": 0.335, "TeamAtmaja": 0.378, "IdiapTeam": 0.379, "EIHW-MM": 0.394,
                                  "0xAC": 0.407, "CMU_MLSP": 0.412, "NLPros": 0.435},
    ("exvo-fewshot", "CCC"): {"organisers": 0.444, "EIHW-MM": 0.650, "SaruLab": 0.739},
    ("exvo-generate", "S_GEN"): {"organisers": 0.090, "Resemble": 0.119, "StyleMelMila": 0.408},
    ("avb-high", "CCC"): {"organisers": 0.569, "TeamEP-ITS": 0.655, "EIHW": 0.736, "Anonymous": 0.730, "HCCL": 0.724,
                          "HCAI": 0.685, "SclabCNU": 0.668},
    ("avb-two", "CCC"): {"organisers": 0.508, "TeamEP-ITS": 0.629, "EIHW": 0.707, "HCCL": 0.685, "SclabCNU": 0.620},
    ("avb-culture", "CCC"): {"organisers": 0.440, "TeamEP-ITS": 0.520, "EIHW": 0.620, "HCCL": 0.602, "HCAI": 0.526,
                             "SclabCNU": 0.550},
    ("avb-type", "UAR"): {"organisers": 0.417, "TeamEP-ITS": 0.490, "EIHW": 0.562, "HCAI": 0.586, "SclabCNU": 0.497,
                          "Team-AVB": 0.519},
}  # fmt: skip

# Baselines of the organisers: (validation, test) by system.
BASELINES = {
    ("avb-high", "CCC"): {"ComParE": (0.515, 0.521), "End2You": (0.564, 0.569)},
    ("avb-two", "CCC"): {"ComParE": (0.496, 0.499), "End2You": (0.499, 0.508)},
    ("avb-culture", "CCC"): {"ComParE": (0.387, 0.380), "End2You": (0.436, 0.440)},
    ("avb-type", "UAR"): {"ComParE": (0.391, 0.384), "End2You": (0.417, 0.417)},
    ("exvo-multitask", "S_MTL"): {"ComParE": (0.349, 0.335), "eGeMAPS": (0.324, 0.314)},
    ("emotion-share", "Spearman"): {"wav2vec2 + SVR": (0.500, 0.514), "ComParE": (0.359, 0.365),
                                    "late fusion": (0.470, 0.476)},
    ("sonata", "UAR"): {"wav2vec2": (0.60, 0.84), "HuBERT": (0.64, 0.73), "early fusion": (0.5, 0.5)},
}  # fmt: skip

# Table 6b: FID, HEEP and S_GEN of the organisers' generator; nothing was made for Triumph.
TABLE_6B = {
    "Amusement": (4.92, 0.49, 0.345), "Awe": (4.81, 0.46, 0.33), "Awkwardness": (8.27, 0.04, 0.08),
    "Distress": (6.11, 0.32, 0.24), "Excitement": (6.00, 0.08, 0.13), "Fear": (5.71, 0.04, 0.11),
    "Horror": (5.64, 0.27, 0.22), "Sadness": (5.00, -0.03, 0.08), "Surprise": (6.08, 0.22, 0.19),
}  # fmt: skip

TASKS = sorted({task for task, _ in (*TESTED, *BASELINES)})


def values(task: str, metric: str, split: str) -> dict[str, float]:
    """Overall values by system; of two rows of a system (a table, and its baseline's name) both are there."""
    rows = [row for row in published(task) if row["metric"] == metric and row["split"] == split]
    return {str(row["system"]): float(row["value"]) for row in rows if "emotion" not in row}


def test_every_task_has_its_file(root: Path) -> None:
    assert sorted(path.stem for path in (root / "eval" / "published").glob("*.csv")) == TASKS


@pytest.mark.parametrize("task", TASKS)
def test_rows_are_whole_and_have_a_source(task: str, root: Path) -> None:
    with open(root / "eval" / "published" / f"{task}.csv", newline="", encoding="utf-8") as file:
        raw = list(csv.reader(file))
    assert raw[0] == COLUMNS
    assert {len(row) for row in raw} == {len(COLUMNS)}
    rows = published(task)
    assert len(rows) == len(raw) - 1 > 2
    for row in rows:
        assert set(row) <= set(COLUMNS) and "" not in row.values()
        assert row["task"] == task
        assert re.fullmatch(r"arXiv \d{4}\.\d{5}", str(row["source"])), row
        assert row["metric"] in METRICS and row["split"] in ("validation", "test") and row["system"]
        assert isinstance(row["value"], float) and np.isfinite(row["value"])
        high = np.inf if row["metric"] in ("FID", "MAE") else 1.0
        assert -0.1 < row["value"] <= high
        assert row.get("emotion", "Awe") in HUME10
        assert ("table" in row) <= (row["source"] == WHITE_PAPER)
    keys = ("table", "system", "split", "emotion", "metric")
    assert len({tuple(row.get(key) for key in keys) for row in rows}) == len(rows)


@pytest.mark.parametrize(("task", "metric"), TESTED)
def test_scores_of_the_teams(task: str, metric: str) -> None:
    rows = [row for row in published(task) if row.get("table") in ("8", "9")]
    assert {str(row["system"]): row["value"] for row in rows} == TESTED[task, metric]
    assert {(row["metric"], row["split"], row["source"]) for row in rows} == {(metric, "test", WHITE_PAPER)}


@pytest.mark.parametrize(("task", "metric"), BASELINES)
def test_scores_of_the_baselines(task: str, metric: str) -> None:
    for split, place in (("validation", 0), ("test", 1)):
        found = {name.removeprefix("organisers, "): value for name, value in values(task, metric, split).items()}
        for system, expected in BASELINES[task, metric].items():
            assert found[system] == expected[place], (system, split)


def test_deviations_over_seeds() -> None:
    found = {
        (row["task"], row["system"], row["split"], row["metric"]): row["deviation"]
        for task in TASKS
        for row in published(task)
        if "deviation" in row
    }
    assert found == {
        ("exvo-multitask", "organisers, ComParE", "validation", "S_MTL"): 0.003,
        ("exvo-multitask", "organisers, ComParE", "test", "S_MTL"): 0.002,
        ("exvo-multitask", "organisers, eGeMAPS", "validation", "S_MTL"): 0.005,
        ("exvo-fewshot", "organisers", "test", "CCC"): 0.006,
    }


def test_the_parts_of_s_mtl() -> None:
    """.349 follows from its parts; .324 does not (.326), and the row says so."""
    rows = {(str(row["system"]), str(row["metric"])): row for row in published("exvo-multitask")
            if row["split"] == "validation"}  # fmt: skip
    parts = {"organisers, ComParE": (0.416, 0.506, 4.22), "organisers, eGeMAPS": (0.353, 0.423, 4.01)}
    for system, expected in parts.items():
        assert tuple(rows[system, name]["value"] for name in ("CCC", "UAR", "MAE")) == expected
        score, row = round(s_mtl(*expected), 3), rows[system, "S_MTL"]
        if score != row["value"]:
            assert f"{score:.3f}"[1:] in str(row["remark"])
    assert round(s_mtl(*parts["organisers, ComParE"]), 3) == rows["organisers, ComParE", "S_MTL"]["value"]


def test_table_6b_and_its_contradiction() -> None:
    rows = [row for row in published("exvo-generate") if row.get("table") == "6b"]
    cells = {(row["emotion"], row["metric"]): float(row["value"]) for row in rows}
    expected = {
        (emotion, metric): value
        for emotion, three in TABLE_6B.items()
        for metric, value in zip(("FID", "HEEP", "S_GEN"), three, strict=True)
    }
    assert cells == {**expected, ("Triumph", "S_GEN"): 0.0}
    for emotion, (fid, heep, printed) in TABLE_6B.items():
        low, high = ((1 / (fid - d) + heep + d) / 2 for d in (-0.005, 0.005))  # all three were rounded
        assert low - 0.005 <= printed <= high + 0.005, emotion
    mean = np.mean([cells[name, "S_GEN"] for name in HUME10.emotions])
    assert mean == pytest.approx(0.1725)
    printed = next(row for row in published("exvo-generate") if row["system"] == "organisers" and row["table"] == "8")
    assert printed["value"] == 0.09 and ".1725" in str(printed["remark"])


def test_figures_of_other_papers() -> None:
    awe = {row["system"]: row for row in published("exvo-generate") if row["source"] == "arXiv 2206.12563"}
    assert awe["StyleMelMila"]["value"] == 1.76 and awe["real train clips"]["value"] == 0.776
    assert f"{1.76 / 0.776:.2f}" in str(awe["real train clips"]["remark"])
    best = [row for row in published("emotion-share") if row["source"] == "arXiv 2310.10179"]
    assert [(row["value"], row["split"]) for row in best] == [(0.614, "test")]


def test_doubtful_rows_say_so() -> None:
    for row in published("sonata"):
        assert ("placeholder" if row["system"] == "early fusion" else "sentences") in str(row["remark"])
    first = published("emotion-share")[0]
    assert "Spearman" in str(first["remark"]) and "Pearson" in str(first["remark"])
    assert "not reproducible" in str(published("exvo-fewshot")[0]["remark"])


def test_a_task_without_a_table_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(VocalgenError, match=f"no published results of 'exvo'; there are those of {', '.join(TASKS)}"):
        published("exvo")
    with pytest.raises(VocalgenError, match="no published results"):
        published("../published/sonata")
    for folder in (None, tmp_path):
        monkeypatch.setattr(module, "shipped_folder", lambda name, folder=folder: folder)
        with pytest.raises(VocalgenError, match="no published results of 'sonata'; there are those of no task"):
            published("sonata")
