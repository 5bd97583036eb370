"""Systems of the benchmark as scorers of `vocalgen evaluate`: personalised ones, means of several, and others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Line
from task_corpora import manifest_of
from test_benchmark_cli import Tiny, tiny, trained

from vocalgen import VocalgenError, audio
from vocalgen.corpora.manifest import Manifest
from vocalgen.data import CacheConfig, prepared
from vocalgen.emotions import EMOGATOR30, HUME10
from vocalgen.tasks.as_encoder import load_scorer
from vocalgen.tasks.registry import load_system

__all__ = ["tiny"]  # a fixture of all tests here

MLP = ("--system", "mlp", "--encoder", "tiny", "epochs=1", "--seeds", "1")
LR = ("--system", "lr", "costs=[1]")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return manifest_of("emogator", tmp_path_factory.mktemp("emogator"))


def fusion(*runs: Path) -> tuple[object, ...]:
    return ("--system", "late-fusion", *(part for run in runs for part in ("--run", run)))


def test_the_mean_of_systems_scores_clips(manifest: Path, tmp_path: Path, capsys: Any) -> None:
    a, b, both, again = (tmp_path / name for name in ("a", "b", "both", "again"))
    trained(capsys, manifest, a, "emogator", *MLP)
    trained(capsys, manifest, b, "emogator", *LR, "--encoder", "tiny")
    trained(capsys, manifest, both, "emogator", *fusion(a, b))
    trained(capsys, manifest, again, "emogator", *fusion(both, a))
    clips = [audio.read(clip.file) for clip in Manifest.load(manifest).rows[:3]]
    scorers = {folder: load_scorer(str(folder)) for folder in (a, b, both, again)}
    assert len({scorer.checksum for scorer in scorers.values()}) == 4 and scorers[both].emotions == EMOGATOR30
    waves = [prepared(*clip, scorers[both].prepare) for clip in clips]
    scores = {folder: scorer.score(waves) for folder, scorer in scorers.items()}
    p, q, mean, twice = (np.exp(scores[folder].logits) for folder in (a, b, both, again))
    np.testing.assert_allclose(mean, (p + q) / 2, atol=1e-9)
    np.testing.assert_allclose(twice, (mean + p) / 2, atol=1e-9)
    expected = np.hstack([scores[a].embeddings, scores[b].embeddings])
    np.testing.assert_allclose(scores[both].embeddings, expected, atol=1e-5)


def test_systems_that_prepare_clips_in_several_ways_have_no_mean_here(
    manifest: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Low(Tiny):
        def __init__(self, name: str) -> None:
            super().__init__(name)
            self.prepare = CacheConfig(sample_rate=8_000 if name == "low" else 16_000)

    for place in ("vocalgen.recognition.features", "vocalgen.recognition.encoders"):
        monkeypatch.setattr(f"{place}.load_encoder", lambda name, device="cpu": Low(name))
    a, b, both = (tmp_path / name for name in ("a", "b", "both"))
    trained(capsys, manifest, a, "emogator", *MLP)
    trained(capsys, manifest, b, "emogator", *LR, "--encoder", "low")
    trained(capsys, manifest, both, "emogator", *fusion(a, b))
    with pytest.raises(VocalgenError, match=r"both cannot score clips: .* or as the mean of such"):
        load_scorer(str(both))


def test_a_personalised_system_scores_strangers_and_tells_where_it_helps_nobody(tmp_path: Path, capsys: Any) -> None:
    manifest, out = manifest_of("exvo-fewshot", tmp_path), tmp_path / "out"
    enrolled = ("--system", "mlp-enrolled", "--encoder", "tiny", "epochs=1", "--seeds", "2")
    trained(capsys, manifest, out, "exvo-fewshot", *enrolled)
    clips = [audio.read(clip.file) for clip in Manifest.load(manifest).split("test").rows[:4]]
    scorer = load_scorer(str(out))
    assert scorer.emotions == HUME10
    found = scorer.score([prepared(*clip, scorer.prepare) for clip in clips])
    expected = load_system(out / "model" / "speaker-independent").score(clips)["emotions"]
    np.testing.assert_allclose(1 / (1 + np.exp(-found.logits)), expected, atol=1e-6)
    assert found.embeddings.shape == (4, 64)

    for chosen, words in (
        ((0.1, 1e9), ""),
        ((0.1, 1e9), "- enrolment changes nothing in seed 102: validation was predicted best without any correction"),
        ((1e9, 1e9), "- enrolment changes nothing in seeds 101, 102: "),
    ):
        for seed, strength in zip((101, 102), chosen, strict=True):
            path = out / "seeds" / f"seed-{seed}" / "model" / "system.json"
            offset = strength if words else 0.1  # one of both is enough to change something
            path.write_text(json.dumps({**json.loads(path.read_text()), "slope": strength, "offset": offset}))
        report = trained(capsys, manifest, out, "exvo-fewshot", *enrolled)
        page = (out / "report.md").read_text()
        assert words in page and any("enrolment" in line for line in report["warnings"]) == bool(words)


def test_a_classifier_that_is_nowhere(manifest: Path, tmp_path: Path, refused: Line) -> None:
    said = refused(
        "evaluate", tmp_path / "clips", "--reference", manifest, "--classifier", "/nope", "--out", tmp_path / "report",
        "--vocoder", "griffin-lim",
    )  # fmt: skip
    assert "/nope: no such folder" in said
