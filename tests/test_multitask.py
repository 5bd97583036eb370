"""Recipes of networks with several outputs: what they learn from, how they are trained, and what is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Launch
from safetensors.torch import load_file
from small_recipes import SMALL, overrides, recipe_config, trained
from test_encoders import whisper
from torch import Tensor

from vocalgen import VocalgenError
from vocalgen.config import build, load_config
from vocalgen.data import StepSampler, collate
from vocalgen.models.heads import HeadOptions
from vocalgen.models.mobilenet import MobileNetClassifier, _stored_names
from vocalgen.recognition.multitask import Listener
from vocalgen.tasks.labels import labelled_clips, multitask_objective
from vocalgen.tasks.task import TASKS
from vocalgen.training.augment import SpecAugment
from vocalgen.training.loop import Trainer
from vocalgen.training.multitask import MultitaskConfig, MultitaskObjective, ResidualEncoder

pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")


@pytest.mark.parametrize("name", SMALL)
def test_every_recipe_trains(name: str, root: Path, wavlm: Path, corpora: Any, tmp_path: Path) -> None:
    config = recipe_config(name, root, wavlm, corpora, tmp_path / "run")
    objective = multitask_objective(config)
    objective.forward_once()
    before = {key: value.clone() for key, value in objective.networks["network"].state_dict().items()}
    trainer = Trainer(objective, config.loop, config)
    trainer.train()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert [line["step"] for line in lines] == [1, 2, 2]
    assert -1 <= lines[-1]["validation"] <= 1
    names = {output.name for output in objective.clips.outputs}
    assert {f"loss_{entry}" for entry in names} <= lines[0].keys()
    listener = Listener.load(tmp_path / "run" / "export")
    assert {output.name for output in listener.network.outputs} == names
    rows = objective.clips.validation
    found = listener.predict(len(rows), lambda place: objective.cache.wave(int(rows[place])))
    assert objective.clips.score(found)["validation"] == pytest.approx(lines[-1]["validation"], abs=1e-5)
    after = objective.plain("network").state_dict()
    moved = {key for key, value in after.items() if not torch.equal(value, before[key])}
    assert any(key.startswith("heads.readers") for key in moved)
    frozen = config.speech is not None and config.speech.tuning == "frozen"
    assert any(key.startswith("trunk.") for key in moved) != frozen
    assert not any("feature_extractor" in key for key in moved)


def test_whisper_learns_and_is_heard_again(root: Path, corpora: Any, tmp_path: Path) -> None:
    encoder = whisper(tmp_path / "whisper")
    config = recipe_config("emogator/ssl_multitask", root, encoder, corpora, tmp_path / "run")
    objective = multitask_objective(config)
    before = {key: value.clone() for key, value in objective.networks["network"].state_dict().items()}
    own = load_file(encoder / "model.safetensors")
    original = "layers.0.self_attn.q_proj.parametrizations.weight.original"
    assert torch.equal(before[f"trunk.network.{original}"], own["encoder.layers.0.self_attn.q_proj.weight"])
    Trainer(objective, config.loop, config).train()
    moved = {
        key for key, value in objective.plain("network").state_dict().items() if not torch.equal(value, before[key])
    }
    learnt = {key for key in moved if key.startswith("trunk.")}
    assert learnt and all(key.endswith((".down", ".up")) for key in learnt)
    rows = objective.clips.validation[:3]
    heard = [
        listener.predict(3, lambda place: objective.cache.wave(int(rows[place])))["emotion"]
        for listener in (Listener.load(tmp_path / "run" / "export"), Listener(objective.average("network")))
    ]
    np.testing.assert_allclose(heard[0], heard[1], atol=1e-6)


@pytest.mark.parametrize("name", ["hume_vocalburst/ssl_multitask", "hume_vocalburst/end2you_exvo"])
def test_resume_equals_never_having_stopped(name: str, root: Path, wavlm: Path, corpora: Any, tmp_path: Path) -> None:
    whole = trained(recipe_config(name, root, wavlm, corpora, tmp_path / "whole", 5))
    trained(recipe_config(name, root, wavlm, corpora, tmp_path / "parts", 3))
    parts = trained(recipe_config(name, root, wavlm, corpora, tmp_path / "parts", 5))
    for kind in ("network", "weights"):
        states = [trainer.objective.plain(kind).state_dict() for trainer in (whole, parts)]
        assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    assert all(torch.equal(value, parts.objective.state[key]) for key, value in whole.objective.state.items())
    exports = [load_file(run / "export" / "diffusion_pytorch_model.safetensors") for run in (whole.run, parts.run)]
    assert all(torch.equal(value, exports[1][key]) for key, value in exports[0].items())


def test_the_best_preview_is_exported(root: Path, wavlm: Path, corpora: Any, tmp_path: Path) -> None:
    """The second of three previews is the best; a later export is still that one."""
    config = recipe_config("emogator/residual_multitask", root, wavlm, corpora, tmp_path / "run", 7)
    objective = multitask_objective(config)
    seen: list[dict[str, Tensor]] = []

    def score(prediction: Any) -> dict[str, float]:
        seen.append({key: value.clone() for key, value in objective.average("network").state_dict().items()})
        return {"validation": (0.2, 0.5, 0.3)[len(seen) - 1]}

    object.__setattr__(objective.clips, "score", score)
    Trainer(objective, config.loop, config).train()
    stored = load_file(tmp_path / "run" / "export" / "diffusion_pytorch_model.safetensors")
    assert len(seen) == 3 and all(torch.equal(value, seen[1][key]) for key, value in stored.items())
    assert any(not torch.equal(value, seen[2][key]) for key, value in stored.items())


def test_the_last_average_can_be_exported(root: Path, wavlm: Path, corpora: Any, tmp_path: Path) -> None:
    config = recipe_config("modulate_sonata/ssl_multitask", root, wavlm, corpora, tmp_path / "run", 5)
    assert config.select == "last"
    trainer = trained(config)
    stored = load_file(tmp_path / "run" / "export" / "diffusion_pytorch_model.safetensors")
    average = trainer.objective.average("network").state_dict()
    assert all(torch.equal(value, average[key]) for key, value in stored.items())


def test_networks_of_mels_start_from_what_others_learnt(root: Path, wavlm: Path, corpora: Any, tmp_path: Path) -> None:
    """An exported recogniser, and EfficientAT's file."""
    config = recipe_config("hume_vocalburst/residual_multitask", root, wavlm, corpora, tmp_path)
    found = multitask_objective(config).networks["network"].trunk.state_dict()  # type: ignore[union-attr]
    stored = load_file(root / "checkpoints" / "emogator-classifier-24k" / "diffusion_pytorch_model.safetensors")
    assert len(found) > 40 and all(torch.equal(value, stored[key].to(value)) for key, value in found.items())
    with pytest.raises(VocalgenError, match="of other sizes or another kind"):
        multitask_objective(replace(config, residual=ResidualEncoder((8, 16), (1, 1))))

    torch.manual_seed(5)
    config = recipe_config("hume_vocalburst/mobilenet_multitask", root, wavlm, corpora, tmp_path)
    other = MobileNetClassifier(config.mel.to_dict(), ("a",), width=0.1)
    names = dict(_stored_names(other))
    own = other.state_dict()
    torch.save({theirs: own[ours] for ours, theirs in names.items()}, tmp_path / "mn01.pt")
    started = multitask_objective(replace(config, init=str(tmp_path / "mn01.pt"))).networks["network"]
    found = started.trunk.state_dict()  # type: ignore[union-attr]
    assert all(torch.equal(found[ours], own[ours]) for ours in names)


@pytest.mark.parametrize("kind", ["residual", "speech"])
def test_networks_learn(kind: str, root: Path, wavlm: Path, corpora: Any, tmp_path: Path) -> None:
    """Sixteen clips by heart: all three losses of ExVo-MultiTask fall, and its scores rise."""
    name = {"residual": "hume_vocalburst/mobilenet_multitask", "speech": "hume_vocalburst/ssl_multitask"}[kind]
    config = recipe_config(name, root, wavlm, corpora, tmp_path, 40)
    data = replace(config.data, frames=64 if kind == "residual" else 4, max_shift=0.0, gain_db=(0.0, 0.0))
    loop = replace(config.loop, batch_size=16, warmup=5, preview_every=40, ema_decay=0.8)
    config = replace(
        config, data=data, loop=loop, weighing="uncertainty", learning_rate=1e-2, speed=(1.0, 1.0), time_mask=0.0
    )
    if kind == "residual":
        config = replace(config, mobilenet=None, residual=ResidualEncoder((8, 16, 24), (1, 1, 1)))
    trainer = trained(config)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
    first, last = lines[0], lines[-2]
    for target, share in (("emotions", 0.6), ("country", 0.5), ("age", 0.5)):
        assert last[f"loss_{target}"] < share * first[f"loss_{target}"]
    objective = trainer.objective
    listener, rows = Listener(objective.average("network")), objective.clips.train
    found = listener.predict(len(rows), lambda place: objective.cache.wave(int(rows[place])))
    truth = {name: values[rows] for name, values in objective.clips.truth.items()}
    scores = TASKS["exvo-multitask"].score(truth, found)
    assert scores["CCC"] > 0.5 and scores["UAR"] > 0.8 and scores["MAE"] < 3


@pytest.mark.parametrize("name", ["hume_vocalburst/ssl_multitask", "hume_vocalburst/mobilenet_multitask"])
def test_windows_are_cropped_masked_and_repeatable(
    name: str, root: Path, wavlm: Path, corpora: Any, tmp_path: Path
) -> None:
    config = recipe_config(name, root, wavlm, corpora, tmp_path)
    clips = labelled_clips(config, [TASKS["exvo-multitask"]])
    config = replace(config, speed=(1.0, 1.0), data=replace(config.data, gain_db=(0.0, 0.0), max_shift=0.0))
    plain = MultitaskObjective(replace(config, time_mask=0.0), clips).dataset
    masked = MultitaskObjective(replace(config, time_mask=0.8), clips).dataset
    key = (int(clips.train[0]), 7)
    found, again, other = masked[key], masked[key], masked[key[0], 8]
    assert torch.equal(found["x"], again["x"]) and not torch.equal(found["x"], other["x"])
    changed = found["x"] != plain[key]["x"]
    silence = config.mel.log_floor if config.hears_mels else 0.0
    assert changed.any() and (found["x"][changed] == silence).all()
    frames = changed.any(0) if config.hears_mels else changed
    assert 0 < int(frames.sum()) <= 0.8 * found["length"]
    assert torch.equal(found["label age"], torch.tensor(clips.truth["age"][key[0]], dtype=torch.float32))
    if not config.hears_mels:
        short = MultitaskObjective(replace(config, time_mask=0.0, data=replace(config.data, frames=1)), clips).dataset
        wave, part = clips.cache.wave(key[0]), short[key]["x"].numpy()
        assert short[key]["length"] == len(part) == 1600
        assert any(np.array_equal(wave[k : k + 1600], part) for k in range(len(wave) - 1599))


def test_networks_of_mels_see_bands_and_frames_masked(root: Path, wavlm: Path, corpora: Any, tmp_path: Path) -> None:
    config = recipe_config("emogator/residual_multitask", root, wavlm, corpora, tmp_path, 1)
    config = replace(config, speed=(1.0, 1.0), augmentation=SpecAugment(0, 1, 60, 20))
    objective = multitask_objective(config)
    seen: list[Tensor] = []
    objective.networks["network"].register_forward_pre_hook(lambda network, inputs: seen.append(inputs[0]))
    Trainer(objective, config.loop, config).train()
    shown = next(iter(StepSampler(objective.indices, config.loop.batch_size, 0, 0, 1)))
    plain = collate([objective.dataset[key] for key in shown])["x"]
    changed = seen[0] != plain
    assert (seen[0][changed] == config.mel.log_floor).all()
    silenced = changed | (plain == config.mel.log_floor)
    bands, frames = silenced.all(2), silenced.all(1)
    assert changed.any() and torch.equal(silenced & changed, (bands[:, :, None] | frames[:, None]) & changed)


@pytest.mark.slow
def test_two_processes_train(root: Path, corpora: Any, tmp_path: Path, launch: Launch, wavlm: Path) -> None:
    name = "hume_vocalburst/ssl_multitask"
    manifest = corpora("exvo-multitask")
    done = launch(
        "--cpu", "--num_processes", 2, "--num_cpu_threads_per_process", 1, "recipes/train_recogniser.py",
        f"recipes/{name}.yaml", *overrides(name, root / "recipes" / f"{name}.yaml", wavlm, tmp_path / "run"),
        f"data.manifest={manifest}", f"data.cache={tmp_path / 'cache'}", "loop.steps=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "export" / "config.json").is_file()


def test_predictions_do_not_depend_on_company(root: Path, wavlm: Path, corpora: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    waves = [rng.normal(0, 0.1, n).astype(np.float32) for n in (3000, 9000, 5000, 700)]
    for name in ("hume_vocalburst/ssl_multitask", "hume_vocalburst/end2you", "hume_vocalburst/mobilenet_multitask"):
        config = recipe_config(name, root, wavlm, corpora, tmp_path / name)
        listener = Listener(multitask_objective(config).networks["network"])  # type: ignore[arg-type]
        together = listener.predict(4, lambda place: waves[place])
        for place in range(4):
            alone = listener.predict(1, lambda _, place=place: waves[place])
            for target, values in alone.items():
                np.testing.assert_allclose(together[target][place], values[0], atol=2e-5, err_msg=f"{name} {target}")


def test_labels_are_joined_by_name_and_missing_ones_left_out(
    root: Path, wavlm: Path, corpora: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = recipe_config("hume_vocalburst/ssl_multitask", root, wavlm, corpora, tmp_path)
    clips = labelled_clips(config, [TASKS["exvo-multitask"]])
    assert [output.name for output in clips.outputs] == ["emotions", "country", "age"]
    assert "no training clip has a label of affect" in caplog.text
    row = clips.cache.ids.index("00003")
    assert clips.truth["emotions"][row, 3] == 1.0 and clips.truth["country"][row] == 3
    assert clips.truth["age"][row, 0] == 23.5
    age = clips.outputs[2]
    assert (age.first, age.first + age.size - 1) == (20 - 2, 36 + 2)
    assert {clips.cache.splits[row] for row in clips.train} == {"train"}
    assert {clips.cache.splits[row] for row in clips.validation} == {"validation"}


def test_mistakes_in_recipes(root: Path, wavlm: Path, corpora: Any, tmp_path: Path) -> None:
    base = {"data": {"manifest": "m", "cache": "c", "frames": 4}, "loop": {"run": "r", "steps": 1, "batch_size": 1}}
    for more, words in (
        ({}, "one of the sections emo18, residual, mobilenet and speech is needed; there is none"),
        ({"emo18": {}, "residual": {}}, "there is emo18, residual"),
        ({"emo18": {}, "init": "x"}, "init is for residual and mobilenet only"),
        ({"emo18": {}, "augmentation": {}}, "augmentation is for residual and mobilenet only"),
        ({"emo18": {}, "ccc": 0.0, "mse": 0.0}, "one must be positive"),
        ({"emo18": {}, "time_mask": 1.5}, "time_mask is 1.5"),
    ):
        with pytest.raises(VocalgenError, match=words):
            build(MultitaskConfig, {**base, "tasks": ["avb-high"], **more}, "test")
    name = "hume_vocalburst/end2you"
    config = recipe_config(name, root, wavlm, corpora, tmp_path)
    wrong = load_config(MultitaskConfig, root / "recipes" / f"{name}.yaml", ["tasks=[avb-high, emotion-share]"])
    with pytest.raises(VocalgenError, match="predict emotions from different labels"):
        multitask_objective(wrong)
    object.__setattr__(config, "heads", HeadOptions(levels=(("emotion", "feelings"),)))
    with pytest.raises(VocalgenError, match="feelings is no target"):
        multitask_objective(config)
