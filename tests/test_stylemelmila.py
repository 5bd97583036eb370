"""The winner's recipe for HUME-VOCALBURST: its settings, and that the faults of its released code are not repeated."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from bursts import burst

from vocalgen import VocalgenError, audio
from vocalgen.config import build, load_config
from vocalgen.corpora.folder import scan
from vocalgen.corpora.manifest import Clip, Manifest
from vocalgen.corpora.verify import verify
from vocalgen.emotions import HUME10
from vocalgen.models.griffin_lim import griffin_lim
from vocalgen.models.stylegan2 import StyleGAN2Generator
from vocalgen.training.loop import Trainer
from vocalgen.training.stylegan2 import StyleGAN2Config, StyleGAN2Objective

RECIPE = Path("recipes") / "hume_vocalburst" / "stylegan2_stylemelmila.yaml"
RATE = 16_000


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty bursts a split with ten intensities each, the strongest at 1, as the labels of HUME-VOCALBURST are."""
    folder = tmp_path_factory.mktemp("hume")
    rng = np.random.default_rng(0)
    clips = []
    for number in range(40):
        intensities = rng.uniform(0.0, 0.9, 10)
        intensities[number % 10] = 1.0
        file = folder / f"{number:05d}.wav"
        wave = burst(number % 3, 0.3 + 0.03 * number, RATE, seed=number)
        audio.write(file, wave, RATE)
        split = "train" if number < 20 else "validation"
        clips.append(Clip(file.stem, file, split, f"s{number}", len(wave) / RATE, (), tuple(intensities)))
    Manifest(HUME10, tuple(clips)).save(folder / "manifest.csv")
    return folder


def small(root: Path, corpus: Path, run: Path, **changes: Any) -> StyleGAN2Config:
    """The recipe with its networks made small."""
    values = yaml.safe_load((root / RECIPE).read_text())
    values["data"] |= {"manifest": str(corpus / "manifest.csv"), "cache": str(run / "cache")}
    values["loop"] |= {"run": str(run / "run"), "steps": 1, "batch_size": 4}
    values["model"] |= {"channels": [4], "z_dim": 8, "w_dim": 8, "mapping_depth": 2}
    values["discriminator"] |= {"channels": [4]}
    return build(StyleGAN2Config, {**values, **changes}, "test")


@pytest.fixture
def objective(root: Path, corpus: Path, tmp_path: Path) -> StyleGAN2Objective:
    return StyleGAN2Objective(small(root, corpus, tmp_path))


def test_the_settings_are_the_published_ones(root: Path) -> None:
    config = load_config(StyleGAN2Config, root / RECIPE)
    mel, loop = config.mel, config.loop
    assert (mel.sample_rate, mel.n_fft, mel.hop_length, mel.n_mels, config.data.frames) == (RATE, 512, 256, 128, 128)
    assert mel.log_floor == pytest.approx(-6.91, abs=0.01) and config.data.prepare.top_db == 40.0
    assert (config.model.z_dim, config.model.w_dim, config.model.mapping_depth) == (512, 512, 8)
    sizes = [4, 8, 16, 32, 64, 128]
    assert list(config.model.channels) == [min(512, 32768 // size) for size in sizes]
    assert config.model.channels == config.discriminator.channels
    assert config.learning_rate == config.discriminator_learning_rate == 0.002
    assert (config.r1_interval, config.path_length_interval, config.style_mixing) == (16, 4, 0.9)
    scale = (4.86 - -6.91) / 2  # nat for one unit of theirs
    assert config.r1_gamma == pytest.approx(0.0512 * scale**2, rel=1e-3)
    assert config.path_length_weight == pytest.approx(2 / scale**2, rel=2e-3)
    assert loop.steps * loop.batch_size == 4_800_000 and loop.batch_size == 32
    assert loop.ema_decay == pytest.approx(0.5 ** (32 / 10_000), abs=1e-5)
    assert config.augmentation.target == 1.0
    assert config.emotions is not None and len(config.emotions) == 9


def test_networks_of_the_recipe_are_square_images(root: Path) -> None:
    config = load_config(StyleGAN2Config, root / RECIPE)
    model = replace(config.model, channels=(4,))
    generator = StyleGAN2Generator(config.mel.to_dict(), config.emotions, config.data.frames, layout=model.layout,
                                   patch=model.patch, base=model.base, channels=model.channels)  # fmt: skip
    assert generator.sizes == [(4 << level, 4 << level) for level in range(6)]


def test_strongest_emotions_alone_of_nine(objective: StyleGAN2Objective) -> None:
    triumph = HUME10.index("Triumph")
    assert {int(objective.cache.ids[index]) % 10 for index in objective.indices} == set(range(10)) - {triumph}
    for index in objective.indices:
        item = objective.dataset[int(index), 0]
        assert sorted(item["intensities"].tolist()) == [0.0] * 8 + [1.0]
        strongest = HUME10.emotions[int(objective.cache.intensities[index].argmax())]
        assert objective.emotions.emotions[int(item["intensities"].argmax())] == strongest


def test_soft_labels_stay_where_they_are_wanted(root: Path, corpus: Path, tmp_path: Path) -> None:
    objective = StyleGAN2Objective(small(root, corpus, tmp_path, emotions=["Fear", "Awe"], strongest_only=False))
    assert objective.emotions.emotions == ("Fear", "Awe")
    columns = [HUME10.index(name) for name in ("Fear", "Awe")]
    assert {int(objective.cache.ids[index]) % 10 for index in objective.indices} == set(columns)
    index = int(objective.indices[0])
    kept = objective.dataset[index, 0]["intensities"]
    np.testing.assert_allclose(kept, objective.cache.intensities[index][columns])


def test_two_steps(root: Path, corpus: Path, tmp_path: Path) -> None:
    config = small(root, corpus, tmp_path)
    config = replace(config, loop=replace(config.loop, steps=2, log_every=1, preview_every=2))
    Trainer(StyleGAN2Objective(config), config.loop, config).train()
    run = tmp_path / "run"
    names = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert {"export/config.json", "samples/grid.png", "samples/Awe.wav", "state/step-2/state.pt"} <= names
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {"r1", "path_length", "augmentation"} <= logged[0].keys() and logged[-1]["augmentation"] == 0.0


# The faults


def test_1_the_first_class_is_a_class(objective: StyleGAN2Objective) -> None:
    generator: Any = objective.networks["generator"]
    z, first = torch.randn(1, 8), torch.eye(9)[:1]
    assert objective.emotions.emotions[0] == "Awe"
    with torch.no_grad():
        w = [generator.mapping(z, condition) for condition in (first, torch.zeros(1, 9), torch.eye(9)[1:2])]
    assert not torch.allclose(w[0], w[1], atol=1e-3) and not torch.allclose(w[0], w[2], atol=1e-3)
    (slope,) = torch.autograd.grad(generator.mapping(z, first).sum(), generator.mapping.embed.weight)
    assert float(slope[:, 0].abs().sum()) > 0


def test_2_padding_is_silence(objective: StyleGAN2Objective) -> None:
    floor = objective.config.mel.log_floor
    item = objective.dataset[int(objective.indices[0]), 0]
    frames = item["frames"]
    assert frames < 128 and bool((item["mel"][:, frames:] == np.float32(floor)).all())
    assert float(item["mel"][:, :frames].max()) > floor + 3
    generator: Any = objective.networks["generator"]
    z, noise = objective._latents(2, torch.Generator().manual_seed(0))
    assert float(generator(z, torch.eye(9)[:2], noise)[0].detach().min()) >= np.float32(floor)


@pytest.mark.parametrize("level", [1.0, 0.01])
def test_3_empty_clips_are_found_in_the_wave(tmp_path: Path, level: float) -> None:
    wave = burst(0, 0.6, RATE, seed=1)
    audio.write(tmp_path / "sound.wav", level * wave, RATE)
    audio.write(tmp_path / "nothing.wav", np.zeros(RATE, dtype=np.float32), RATE)
    (tmp_path / "table.csv").write_text("file,emotion:Awe,emotion:Fear\nsound.wav,1,0\nnothing.wav,1,0\n")
    manifest, _ = verify(scan(tmp_path / "table.csv", split="train"))
    flags = {clip.file.stem: clip.usable for clip in manifest.rows}
    assert flags == {"sound": True, "nothing": False}


def test_4_all_is_joined_by_id(root: Path, corpus: Path, objective: StyleGAN2Objective, tmp_path: Path) -> None:
    manifest = Manifest.load(corpus / "manifest.csv")
    shuffled = tmp_path / "shuffled"
    shuffled.mkdir()
    Manifest(HUME10, tuple(reversed(manifest.rows))).save(shuffled / "manifest.csv")
    other = StyleGAN2Objective(small(root, shuffled, tmp_path / "other"))
    for index in objective.indices[:5]:
        there = other.cache.ids.index(objective.cache.ids[index])
        mine, theirs = objective.dataset[int(index), 0], other.dataset[there, 0]
        assert mine["frames"] == theirs["frames"]
        for key in ("mel", "intensities"):
            assert torch.equal(mine[key], theirs[key])


def test_5_validation_clips_are_not_trained_on(objective: StyleGAN2Objective) -> None:
    assert {objective.cache.splits[index] for index in objective.indices} == {"train"}
    assert len(objective.indices) == 18  # of 20, two are of Triumph


def test_6_levels_survive_both_ways(objective: StyleGAN2Objective) -> None:
    generator: Any = objective.networks["generator"]
    loud = objective.dataset[int(objective.indices[0]), 0]["mel"][None]
    soft = torch.where(loud > loud.min(), (loud - 2.0).clamp(min=objective.floor), loud)
    back = [generator.maps.mel(generator.maps.of(mel)) for mel in (loud, soft)]
    torch.testing.assert_close(back[0], loud, atol=1e-4, rtol=0)
    torch.testing.assert_close(back[1], soft, atol=1e-4, rtol=0)
    peaks = [float(griffin_lim(mel, objective.config.mel).abs().max()) for mel in back]
    assert peaks[0] > 3 * peaks[1]


def test_an_emotion_without_clips_is_refused(root: Path, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(VocalgenError, match="unknown emotion 'Pride'"):
        StyleGAN2Objective(small(root, corpus, tmp_path, emotions=["Awe", "Pride"]))
