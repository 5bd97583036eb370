"""Generators side by side: speeds in turns, sizes, the table and the figure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from debug import debug_pipeline, debug_stylegan2

from vocalgen import VocalgenError
from vocalgen.evaluation.comparison import comparison_markdown, draw_comparison
from vocalgen.generation.loading import load_synthesiser
from vocalgen.generation.speed import speeds


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    debug_pipeline().save_pretrained(folder / "diffusion")
    debug_stylegan2().save_pretrained(folder / "gan")
    return {name: folder / name for name in ("diffusion", "gan")}


def report() -> dict[str, Any]:
    def row(ratio: float) -> dict[str, Any]:
        return {"overall": {"ratio": [ratio, ratio - 0.1, ratio + 0.1], "kad": ratio / 2, "coverage": 0.9}}

    distances = {"diffusion": row(1.27), "gan": row(2.5), "real clips (floor)": row(1.0)}
    heard = {name: {"overall": {"top1": [share, share - 0.02, share + 0.02]}} for name, share in
             (("diffusion", 0.31), ("gan", 0.2), ("real clips, held out", 0.29))}  # fmt: skip
    return {
        "systems": ["diffusion", "gan"],
        "anchors": ["real clips, held out", "real clips (floor)"],
        "emotions": ["Awe", "Fear"],
        "conditions": {"clips_of_an_emotion": 100},
        "sections": {"distance": {"rows": distances}, "recognition": {"rows": heard}},
    }


def test_speeds_and_sizes(checkpoints: dict[str, Path]) -> None:
    systems = {name: load_synthesiser(folder) for name, folder in checkpoints.items()}
    measured = speeds(systems, ["Awe", "Fear"], per_emotion=1, repeats=3)
    for name, row in measured.items():
        for key in ("clips_per_second", "real_time", "generator_real_time"):
            middle, least, most = row[key]
            assert 0 < least <= middle <= most
        assert row["generator_real_time"][0] > row["real_time"][0]
        parts = ("transformer", "autoencoder", "vocoder") if name == "diffusion" else ("generator", "vocoder")
        networks = [getattr(systems[name], part) for part in parts]
        assert row["parameters"] == sum(value.numel() for net in networks for value in net.parameters())
        bytes_of_weights = sum(file.stat().st_size for file in checkpoints[name].rglob("*.safetensors"))
        assert row["megabytes"] == pytest.approx(bytes_of_weights / 1e6)


def test_the_table_and_the_figure(tmp_path: Path) -> None:
    times = {"clips_per_second": (12.0, 11.0, 13.0), "generator_real_time": (150.0, 140.0, 160.0),
             "real_time": (24.0, 22.0, 26.0), "megabytes": 31.5}  # fmt: skip
    lines = comparison_markdown(report(), {"gan": times}, ["How."]).splitlines()
    rows = {line.split(" | ")[0].strip("|* "): line for line in lines if line.startswith("| ")}
    assert list(rows) == ["system", "diffusion", "gan", "real clips, held out", "real clips (floor)"]
    assert "2.50 [2.40, 2.60]" in rows["gan"] and "| 12.0 | 150x | 24x | 31.5 MB |" in rows["gan"]
    assert rows["diffusion"].endswith("| – | – | – | – |") and "0.31 [0.29, 0.33]" in rows["diffusion"]
    draw_comparison(report(), {"gan": times, "diffusion": times}, tmp_path / "comparison.png")
    assert (tmp_path / "comparison.png").stat().st_size > 5000
    with pytest.raises(VocalgenError, match="give the same names to both"):
        draw_comparison(report(), {"other": times}, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_names_must_be_those_of_the_report(tmp_path: Path, root: Path) -> None:
    (tmp_path / "report.json").write_text('{"systems": ["diffusion"], "emotions": ["Awe"]}')
    command = [sys.executable, str(root / "eval" / "comparison.py"), str(tmp_path), "gan=absent"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert done.returncode == 2 and done.stderr == "error: no system gan in the report; it has diffusion\n"
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]
