"""The whole way on real recordings: prepare, train a few steps, export, sample; as the commands of the guides do it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vocalgen import audio
from vocalgen.corpora import emogator as corpus
from vocalgen.corpora.manifest import Manifest
from vocalgen.models.autoencoder import MelAutoencoder
from vocalgen.models.transformer import MelTransformer

SPEAKERS = ("000001", "000002", "000003", "000285", "000320")
"""Three of train, one of validation, one of test."""

LOOP = (
    "loop.steps=3",
    "loop.batch_size=4",
    "loop.warmup=1",
    "loop.cooldown=1",
    "loop.log_every=1",
    "loop.save_every=3",
)


@pytest.fixture
def recordings(emogator: Path, tmp_path: Path) -> Path:
    """The first takes of a few contributors, under their own names."""
    found = [clip for clip in corpus.scan(emogator) if clip.speaker in SPEAKERS and clip.id.endswith("-1")]
    assert {clip.speaker for clip in found} == set(SPEAKERS)
    (tmp_path / "mp3").mkdir()
    for clip in found:
        (tmp_path / "mp3" / clip.file.name).symlink_to(clip.file)
    return tmp_path / "mp3"


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.corpus
@pytest.mark.slow
def test_from_recordings_to_a_clip(recordings: Path, tmp_path: Path, root: Path) -> None:
    recipes = root / "recipes"
    data = ("data.manifest=data/emogator.csv", "data.cache=data/cache")
    vocalgen = ("-m", "vocalgen")

    said = run(*vocalgen, "data", "prepare", "emogator", recordings, "--out", "data/emogator.csv", cwd=tmp_path)
    clips = len(list(recordings.iterdir()))
    manifest = Manifest.load(tmp_path / "data" / "emogator.csv")
    assert f"{clips} clips" in said and len(manifest) == clips
    assert {(clip.speaker, clip.split) for clip in manifest} == {
        (speaker, corpus.split_of(int(speaker))) for speaker in SPEAKERS
    }
    usable = manifest.usable()
    assert len(usable) > 0.8 * clips and all(0.05 < clip.seconds < 30 for clip in usable)

    autoencoder = (
        "model.widths=[12,16]",
        "model.depths=[1,1]",
        "model.latent_dim=4",
        "data.frames=32",
        "loop.run=runs/a",
    )
    run(
        recipes / "train_autoencoder.py",
        recipes / "emogator/autoencoder.yaml",
        *data,
        *LOOP,
        *autoencoder,
        cwd=tmp_path,
    )
    assert MelAutoencoder.from_pretrained(tmp_path / "runs/a/export").latent_std.isfinite().all()

    diffusion = ("autoencoder=runs/a/export", "latents=data/latents", "model.dim=16", "model.depth=1", "model.heads=2",
                 "data.frames=96", "loop.run=runs/d")  # fmt: skip
    run(recipes / "train_diffusion.py", recipes / "emogator/diffusion.yaml", *data, *LOOP, *diffusion, cwd=tmp_path)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "runs/d/metrics.jsonl").open()]
    assert len(losses) == 3 and all(0 < loss < 10 for loss in losses)
    assert len(MelTransformer.from_pretrained(tmp_path / "runs/d/export").config.emotions) == 30

    parts = ("--transformer", "runs/d/export", "--autoencoder", "runs/a/export")
    run(recipes / "export.py", "pipeline", *parts, "--out", "made", "steps=2", cwd=tmp_path)
    sample = (
        "sample",
        "--checkpoint",
        "made",
        "-e",
        "awe",
        "-e",
        "amusement=0.7,fear=0.3",
        "--out",
        "clips",
        "--no-trim",
    )
    said = run(*vocalgen, *sample, cwd=tmp_path)
    files = sorted((tmp_path / "clips").iterdir())
    assert [file.name for file in files] == ["amusement=0.7,fear=0.3-0.wav", "awe-0.wav"]
    for file in files:
        report = audio.inspect(file)
        assert report.flags == () and report.seconds == pytest.approx(96 * 256 / 24_000)
        assert report.peak == pytest.approx(10 ** (-3 / 20), abs=1e-3)
        assert f"clips/{file.name}  1.02 s  seed 0" in said
