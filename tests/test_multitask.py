"""Networks with several outputs: heads, chains, losses, encoders, and the recipes that train them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Launch
from safetensors.torch import load_file
from task_corpora import manifest_of
from test_encoders import SIZES, waveform_encoder
from torch import Tensor

from vocalgen import VocalgenError, audio
from vocalgen.config import build, load_config, read_values
from vocalgen.corpora.manifest import Manifest
from vocalgen.data import StepSampler, collate
from vocalgen.metrics.prediction import ccc
from vocalgen.models.heads import Chain, HeadOptions, Heads, Output, Pooling
from vocalgen.models.mobilenet import MobileNetClassifier, _stored_names
from vocalgen.models.speech import LowRank, SpeechEncoder
from vocalgen.recognition.multitask import Listener
from vocalgen.tasks.deep import RECIPES, make_deep, shipped_recipe
from vocalgen.tasks.labels import labelled_clips, multitask_objective
from vocalgen.tasks.registry import load_system, make_system
from vocalgen.tasks.system import Options, task_data
from vocalgen.tasks.task import TASKS
from vocalgen.training.augment import SpecAugment
from vocalgen.training.loop import Trainer
from vocalgen.training.losses import Weights, ccc_loss, dynamic_weights, loss_of
from vocalgen.training.multitask import MultitaskConfig, MultitaskObjective, ResidualEncoder

transformers = pytest.importorskip("transformers")

VALUES, CLASSES, YEARS = Output("emotions", "values", 3), Output("type", "classes", 4), Output("age", "years", 30, 18)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Losses.


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_the_ccc_loss_is_one_minus_the_metric(offset: float) -> None:
    """Also far from zero, where moments of raw values would lose all digits, and where labels are missing."""
    prediction, truth = random(40, 3) + offset, random(40, 3, seed=1) * 0.5 + offset
    truth[:20, 0] = torch.nan
    truth[:, 2] = torch.nan
    expected = [1 - ccc(truth[20:, 0], prediction[20:, 0]), 1 - ccc(truth[:, 1], prediction[:, 1])]
    assert float(ccc_loss(prediction, truth)) == pytest.approx(np.mean(expected), abs=2e-4 if offset else 1e-6)
    assert float(ccc_loss(truth[:, :2].nan_to_num(), truth[:, :2])) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("output", [VALUES, CLASSES, YEARS], ids=lambda output: output.kind)
def test_a_clip_without_a_label_teaches_nothing(output: Output) -> None:
    raw = random(4, output.size).requires_grad_(True)
    truth = {
        "values": torch.tensor([[0.1, 0.2, 0.9], [torch.nan] * 3, [0.5, torch.nan, 0.3], [0.7, 0.4, 0.2]]),
        "classes": torch.tensor([1, -1, 0, 3]),
        "years": torch.tensor([[25.0], [torch.nan], [31.5], [20.0]]),
    }[output.kind]
    loss_of(output, raw, truth, 1.0, 0.5).backward()
    assert raw.grad is not None and torch.isfinite(raw.grad).all()
    assert (raw.grad[1] == 0).all() and (raw.grad[[0, 2, 3]].abs().sum(1) > 0).all()
    if output.kind == "values":
        assert raw.grad[2, 1] == 0 and raw.grad[2, 0] != 0
    without = loss_of(output, raw.detach()[[0, 2, 3]], truth[[0, 2, 3]], 1.0, 0.5)
    assert float(loss_of(output, raw.detach(), truth, 1.0, 0.5)) == pytest.approx(float(without), rel=1e-6)


@pytest.mark.parametrize("output", [VALUES, CLASSES, YEARS], ids=lambda output: output.kind)
def test_a_batch_without_any_label_is_no_loss(output: Output) -> None:
    raw = random(4, output.size).requires_grad_(True)
    truth = torch.full((4,), -1) if output.kind == "classes" else torch.full((4, output.size), torch.nan)
    loss = loss_of(output, raw, truth[:, :1] if output.kind == "years" else truth, 1.0, 0.5)
    loss.backward()
    assert float(loss.detach()) == 0 and raw.grad is not None and not raw.grad.any()


def test_values_and_classes_have_the_losses_of_their_names() -> None:
    raw, truth = random(5, 3), random(5, 3, seed=1)
    assert float(loss_of(VALUES, raw, truth, 0.0, 1.0)) == pytest.approx(float(F.mse_loss(raw, truth)))
    both = float(ccc_loss(raw, truth)) + 0.5 * float(F.mse_loss(raw, truth))
    assert float(loss_of(VALUES, raw, truth, 1.0, 0.5)) == pytest.approx(both)
    logits, classes = random(5, 4), torch.tensor([0, 1, 2, 3, 0])
    assert float(loss_of(CLASSES, logits, classes, 1.0, 1.0)) == pytest.approx(float(F.cross_entropy(logits, classes)))


def test_age_is_the_expected_year() -> None:
    logits = torch.full((2, 30), -1e9)
    logits[0, 7] = 0.0  # 25 years
    logits[1, [2, 12]] = torch.tensor([0.0, np.log(3.0)], dtype=torch.float32)  # a quarter 20, the rest 30
    torch.testing.assert_close(YEARS.readout(logits), torch.tensor([[25.0], [27.5]]))
    near, far = (loss_of(YEARS, logits[:1].clamp(min=-20), torch.tensor([[age]]), 1.0, 1.0) for age in (25.0, 28.0))
    assert far > near + 3  # the absolute error, and a distribution that is off
    raw = torch.zeros(1, 30, requires_grad=True)
    for _ in range(200):
        raw = (raw - torch.autograd.grad(loss_of(YEARS, raw, torch.tensor([[33.4]]), 1.0, 1.0), raw)[0]).detach()
        raw.requires_grad_(True)
    assert float(YEARS.readout(raw.detach())) == pytest.approx(33.4, abs=0.3)


def test_weights_of_losses_follow_the_published_formulas() -> None:
    losses, none = {"a": torch.tensor(2.0), "b": torch.tensor(0.5)}, torch.full((2, 2), torch.nan)
    assert float(Weights(("a", "b"), "equal")(losses, none)) == 2.5
    uncertainty = Weights(("a", "b"), "uncertainty")
    expected = sum(loss / (2 * np.exp(-0.33)) - 0.33 / 2 for loss in (2.0, 0.5))
    assert float(uncertainty(losses, none).detach()) == pytest.approx(expected, rel=1e-6)
    uncertainty(losses, none).backward()
    np.testing.assert_allclose(uncertainty.s.grad, [0.5 - loss / (2 * np.exp(-0.33)) for loss in (2.0, 0.5)], rtol=1e-5)
    restrained = Weights(("a", "b"), "restrained")
    with torch.no_grad():
        restrained.v.copy_(torch.tensor([0.8, -0.6]))
    expected = sum((1 + 1 / (2 * v**2)) * loss + np.log(1 + v**2) for v, loss in ((0.8, 2.0), (-0.6, 0.5)))
    assert float(restrained(losses, none).detach()) == pytest.approx(expected + abs(1 - 1.4), rel=1e-6)


def test_dynamic_weights_favour_what_falls_slowly() -> None:
    found = dynamic_weights(torch.tensor([[1.0, 1.0], [2.0, 1.0]])).numpy()
    expected = 2 * np.exp([0.05, 0.1]) / np.exp([0.05, 0.1]).sum()
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found[1] > found[0]
    assert dynamic_weights(torch.tensor([[0.0, 1.0], [0.0, 1.0]])).isfinite().all()


# Heads.

OUTPUTS = (VALUES, CLASSES, Output("affect", "values", 2), YEARS)


def heads(**options: Any) -> Heads:
    torch.manual_seed(0)
    made = Heads(OUTPUTS, 6, HeadOptions(hidden=8, dropout=0.0, **options))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return made


def answers(made: Heads, **truth: Tensor) -> dict[str, Tensor]:
    features = {output.name: random(5, 6, seed=3) for output in OUTPUTS}
    labels = {"emotions": torch.full((5, 3), 0.5), "type": torch.zeros(5, dtype=torch.long),
              "affect": torch.full((5, 2), 0.5), "age": torch.full((5, 1), 30.0)}  # fmt: skip
    return made(features, labels | truth)


@pytest.mark.parametrize("within", ["none", "forward", "bidirectional"])
def test_earlier_levels_move_later_ones_and_never_the_other_way(within: Any) -> None:
    made = heads(levels=(("type",), ("affect",), ("emotions",)), within=within)
    plain = answers(made)
    changed = answers(made, affect=torch.full((5, 2), 0.9))
    assert torch.equal(plain["type"], changed["type"]) and torch.equal(plain["age"], changed["age"])
    assert (plain["emotions"] != changed["emotions"]).all()
    changed = answers(made, type=torch.ones(5, dtype=torch.long))
    assert torch.equal(plain["type"], changed["type"])
    assert (plain["affect"] != changed["affect"]).all() and (plain["emotions"] != changed["emotions"]).all()
    changed = answers(made, emotions=torch.full((5, 3), 0.9))
    assert all(torch.equal(plain[name], changed[name]) for name in ("type", "affect", "age"))


@pytest.mark.parametrize("reverse", [False, True])
def test_a_chain_sees_the_columns_before(reverse: bool) -> None:
    torch.manual_seed(0)
    chain = Chain(4, 5, squash=True, reverse=reverse)
    torch.nn.init.normal_(chain.links)
    x, truth = random(3, 4), torch.full((3, 5), 0.3)
    plain = chain(x, truth)
    for column in range(5):
        other = truth.clone()
        other[:, column] = 0.8
        moved = (chain(x, other) != plain).any(0).tolist()
        assert moved == [k < column if reverse else k > column for k in range(5)]
    expected = chain.linear(x)  # by the definition, column by column
    order = list(range(5))[:: -1 if reverse else 1]
    for place, column in enumerate(order):
        logit = expected[:, column] + sum(0.3 * chain.links[column, k] for k in range(place))
        torch.testing.assert_close(plain[:, column], torch.sigmoid(logit))


def test_what_is_fed() -> None:
    """Labels where they are known, in training alone; otherwise predictions, which carry gradients."""
    levels = (("affect", "type"), ("emotions",))
    made = heads(levels=levels)
    unknown = {"affect": torch.full((5, 2), torch.nan), "type": torch.full((5,), -1)}
    predicted = answers(made, **unknown)
    assert not torch.equal(answers(made)["emotions"], predicted["emotions"])
    features = {output.name: random(5, 6, seed=3) for output in OUTPUTS}
    torch.testing.assert_close(made(features)["emotions"], predicted["emotions"])
    always = heads(levels=levels, feed="prediction")
    torch.testing.assert_close(answers(always)["emotions"], predicted["emotions"])
    made.eval()
    in_use = made(features)
    assert all(torch.equal(value, in_use[name]) for name, value in answers(made).items())
    predicted["emotions"].sum().backward()
    assert made.readers["to_affect"].weight.grad.abs().sum() > 0
    assert answers(made)["type"].shape == (5, 4)


def test_levels_that_cannot_be() -> None:
    for levels, words in (((("awe",),), "awe is no output"), ((("type",), ("type",)), "twice"), ((("age",),), "years")):
        with pytest.raises(ValueError, match=words):
            heads(levels=levels)


def test_layers_are_mixed_for_each_output() -> None:
    pooling = Pooling(3, 8)
    states, mask = random(3, 2, 6, 8), torch.ones(2, 6, 1)
    mask[1, 4:] = 0
    assert pooling.mix is not None
    first = pooling(states, mask)
    assert torch.equal(first, pooling(states, mask))
    with torch.no_grad():
        pooling.mix.copy_(torch.tensor([0.0, 100.0, 0.0]))
    torch.testing.assert_close(pooling(states, mask), pooling.pool(F.layer_norm(states[1], (8,)), mask))
    states[:, 1, 4:] = 100.0  # beyond the second clip's end
    torch.testing.assert_close(pooling(states, mask)[1], pooling(states[:, 1:, :4], mask[1:, :4])[0])


# Speech encoders.

KINDS = ("Wav2Vec2", "Hubert", "WavLM", "Data2VecAudio")


def speech(kind: str, tuning: Any = "frozen", **more: Any) -> SpeechEncoder:
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**SIZES, **more)
    return SpeechEncoder(config.to_dict(), normalise=True, tuning=tuning, rank=2)


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_company_changes_no_clip(kind: str, norm: str) -> None:
    """Group normalisation hears padding in the library's own batches; here nothing does."""
    encoder = speech(kind, **({} if kind == "Data2VecAudio" else {"feat_extract_norm": norm})).eval()
    waves, samples = random(3, 8000), torch.tensor([3000, 8000, 70])
    states, mask = encoder(waves, samples)
    for place, count in enumerate(samples.tolist()):
        alone, own = encoder(waves[place : place + 1, :count], samples[place : place + 1])
        assert int(mask[place].sum()) == own.shape[1] == alone.shape[2]
        torch.testing.assert_close(alone[:, 0], states[:, place, : alone.shape[2]], atol=2e-6, rtol=1e-5)
    wave = (waves[1] - waves[1].mean()) / (waves[1].var(unbiased=False) + 1e-7).sqrt()
    official = encoder.network(wave[None], output_hidden_states=True).hidden_states
    for layer in range(3):
        torch.testing.assert_close(states[layer, 1], official[layer][0], atol=2e-6, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
@pytest.mark.parametrize("kind", KINDS)
def test_lora_starts_as_the_frozen_network_and_learns_alone(kind: str) -> None:
    frozen, lora = speech(kind).train(), speech(kind, "lora").train()
    lora.load_pretrained(frozen.network.state_dict())
    waves, samples = random(2, 4000), torch.tensor([4000, 2500])
    states, _ = lora(waves, samples)
    torch.testing.assert_close(states, frozen(waves, samples)[0])
    states.square().sum().backward()
    learnt = {name for name, value in lora.named_parameters() if value.grad is not None}
    assert learnt and all(name.endswith((".down", ".up")) for name in learnt)
    assert learnt == {name for name, value in lora.named_parameters() if value.requires_grad}
    assert len(learnt) == 2 * 4 * 2  # of two layers' four projections, two matrices each
    assert not [name for name, value in frozen.named_parameters() if value.requires_grad]
    for module in (module for module in lora.modules() if isinstance(module, LowRank)):
        torch.nn.init.normal_(module.up)
    assert (lora(waves, samples)[0][1:] - states[1:]).abs().max() > 1e-3


def test_a_whole_encoder_learns_but_its_convolutions() -> None:
    encoder = speech("Wav2Vec2", "full", do_stable_layer_norm=True).train()
    states, _ = encoder(random(2, 4000), torch.tensor([4000, 2500]))
    states.square().sum().backward()
    wanted = {name for name, value in encoder.named_parameters() if value.requires_grad}
    assert wanted == {name for name, value in encoder.named_parameters() if value.grad is not None}
    assert not any("feature_extractor" in name for name in wanted) and len(wanted) > 20


def test_other_encoders_are_refused() -> None:
    with pytest.raises(ValueError, match="an encoder whisper cannot be used; take one of wav2vec2"):
        SpeechEncoder(transformers.WhisperConfig().to_dict(), False)


# Recipes.

SMALL: dict[str, list[str]] = {
    "hume_vocalburst/end2you": ["emo18={hidden: 8}", "data.frames=6"],
    "hume_vocalburst/end2you_exvo": ["emo18={hidden: 8}", "data.frames=6"],
    "hume_vocalburst/fewshot": ["emo18={hidden: 8}", "data.frames=6"],
    "hume_vocalburst/ssl_multitask": ["data.frames=4"],
    "hume_vocalburst/ssl_chain": ["data.frames=4"],
    "hume_vocalburst/ssl_order": ["data.frames=4"],
    "hume_vocalburst/mobilenet_multitask": ["data.frames=32", "mobilenet.width=0.1"],
    "hume_vocalburst/residual_multitask": ["data.frames=32"],
    "hume_prosody/ssl_multitask": ["data.frames=4"],
    "modulate_sonata/ssl_multitask": ["data.frames=6"],
    "emogator/ssl_multitask": ["data.frames=4"],
    "emogator/residual_multitask": ["data.frames=32", "residual={widths: [8, 8], depths: [1, 1]}"],
}
LOOP = ["loop.batch_size=4", "loop.warmup=0", "loop.cooldown=0", "loop.log_every=1", "loop.preview_every=2"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return waveform_encoder("WavLM", tmp_path_factory.mktemp("encoders") / "wavlm")


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Manifest of a task's made corpus, each made once."""
    folder = tmp_path_factory.mktemp("corpora")

    def of(task: str) -> Path:
        corpus = TASKS[task].corpus + (
            "-exvo" if task == "exvo-multitask" else "-few" if task == "exvo-fewshot" else ""
        )
        if not (folder / corpus / "corpus.csv").is_file():
            (folder / corpus).mkdir()
            manifest_of(task, folder / corpus)
        return folder / corpus / "corpus.csv"

    return of


def overrides(name: str, recipe: Path, encoder: Path, run: Path) -> list[str]:
    values = read_values(recipe)
    path = [f"speech.path={encoder}"] if "speech" in values else []
    path += [f"init={recipe.parents[2] / values['init']}"] if "init" in values else []
    return [*SMALL[name], *LOOP, *path, f"loop.run={run}"]


def recipe_config(name: str, root: Path, encoder: Path, corpora: Any, run: Path, steps: int = 2) -> MultitaskConfig:
    recipe = root / "recipes" / f"{name}.yaml"
    manifest = corpora(read_values(recipe)["tasks"][-1])
    rate = read_values(recipe)["data"].get("prepare", {}).get("sample_rate", 24_000)
    data = [f"data.manifest={manifest}", f"data.cache={manifest.parent / str(rate)}", f"loop.steps={steps}"]
    return load_config(MultitaskConfig, recipe, [*overrides(name, recipe, encoder, run), *data])


def trained(config: MultitaskConfig) -> Trainer:
    trainer = Trainer(multitask_objective(config), config.loop, config)
    trainer.train()
    return trainer


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
@pytest.mark.parametrize("name", SMALL)
def test_every_recipe_trains(name: str, root: Path, encoder: Path, corpora: Any, tmp_path: Path) -> None:
    config = recipe_config(name, root, encoder, corpora, tmp_path / "run")
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


@pytest.mark.parametrize("name", ["hume_vocalburst/ssl_multitask", "hume_vocalburst/end2you_exvo"])
@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
def test_resume_equals_never_having_stopped(name: str, root: Path, encoder: Path, corpora: Any, tmp_path: Path) -> None:
    whole = trained(recipe_config(name, root, encoder, corpora, tmp_path / "whole", 5))
    trained(recipe_config(name, root, encoder, corpora, tmp_path / "parts", 3))
    parts = trained(recipe_config(name, root, encoder, corpora, tmp_path / "parts", 5))
    for kind in ("network", "weights"):
        states = [trainer.objective.plain(kind).state_dict() for trainer in (whole, parts)]
        assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    assert all(torch.equal(value, parts.objective.state[key]) for key, value in whole.objective.state.items())
    exports = [load_file(run / "export" / "diffusion_pytorch_model.safetensors") for run in (whole.run, parts.run)]
    assert all(torch.equal(value, exports[1][key]) for key, value in exports[0].items())


def test_the_best_preview_is_exported(root: Path, encoder: Path, corpora: Any, tmp_path: Path) -> None:
    """The second of three previews is the best; a later export is still that one."""
    config = recipe_config("emogator/residual_multitask", root, encoder, corpora, tmp_path / "run", 7)
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


def test_the_last_average_can_be_exported(root: Path, encoder: Path, corpora: Any, tmp_path: Path) -> None:
    config = recipe_config("modulate_sonata/ssl_multitask", root, encoder, corpora, tmp_path / "run", 5)
    assert config.select == "last"
    trainer = trained(config)
    stored = load_file(tmp_path / "run" / "export" / "diffusion_pytorch_model.safetensors")
    average = trainer.objective.average("network").state_dict()
    assert all(torch.equal(value, average[key]) for key, value in stored.items())


def test_networks_of_mels_start_from_what_others_learnt(
    root: Path, encoder: Path, corpora: Any, tmp_path: Path
) -> None:
    """An exported recogniser, and EfficientAT's file."""
    config = recipe_config("hume_vocalburst/residual_multitask", root, encoder, corpora, tmp_path)
    found = multitask_objective(config).networks["network"].trunk.state_dict()  # type: ignore[union-attr]
    stored = load_file(root / "checkpoints" / "emogator-classifier-24k" / "diffusion_pytorch_model.safetensors")
    assert len(found) > 40 and all(torch.equal(value, stored[key].to(value)) for key, value in found.items())
    with pytest.raises(VocalgenError, match="of other sizes or another kind"):
        multitask_objective(replace(config, residual=ResidualEncoder((8, 16), (1, 1))))

    torch.manual_seed(5)
    config = recipe_config("hume_vocalburst/mobilenet_multitask", root, encoder, corpora, tmp_path)
    other = MobileNetClassifier(config.mel.to_dict(), ("a",), width=0.1)
    names = dict(_stored_names(other))
    own = other.state_dict()
    torch.save({theirs: own[ours] for ours, theirs in names.items()}, tmp_path / "mn01.pt")
    started = multitask_objective(replace(config, init=str(tmp_path / "mn01.pt"))).networks["network"]
    found = started.trunk.state_dict()  # type: ignore[union-attr]
    assert all(torch.equal(found[ours], own[ours]) for ours in names)


@pytest.mark.parametrize("kind", ["residual", "speech"])
@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
def test_networks_learn(kind: str, root: Path, encoder: Path, corpora: Any, tmp_path: Path) -> None:
    """Sixteen clips by heart: all three losses of ExVo-MultiTask fall, and its scores rise."""
    name = {"residual": "hume_vocalburst/mobilenet_multitask", "speech": "hume_vocalburst/ssl_multitask"}[kind]
    config = recipe_config(name, root, encoder, corpora, tmp_path, 60)
    data = replace(config.data, frames=64 if kind == "residual" else 4, max_shift=0.0, gain_db=(0.0, 0.0))
    loop = replace(config.loop, batch_size=16, warmup=5, preview_every=60, ema_decay=0.8)
    config = replace(
        config, data=data, loop=loop, weighing="uncertainty", learning_rate=5e-3, speed=(1.0, 1.0), time_mask=0.0
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
    assert scores["CCC"] > 0.3 and scores["UAR"] > 0.6 and scores["MAE"] < 4


@pytest.mark.parametrize("name", ["hume_vocalburst/ssl_multitask", "hume_vocalburst/mobilenet_multitask"])
def test_windows_are_cropped_masked_and_repeatable(
    name: str, root: Path, encoder: Path, corpora: Any, tmp_path: Path
) -> None:
    config = recipe_config(name, root, encoder, corpora, tmp_path)
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


def test_networks_of_mels_see_bands_and_frames_masked(root: Path, encoder: Path, corpora: Any, tmp_path: Path) -> None:
    config = recipe_config("emogator/residual_multitask", root, encoder, corpora, tmp_path, 1)
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
def test_two_processes_train(root: Path, corpora: Any, tmp_path: Path, launch: Launch, encoder: Path) -> None:
    name = "hume_vocalburst/ssl_multitask"
    manifest = corpora("exvo-multitask")
    done = launch(
        "--cpu", "--num_processes", 2, "--num_cpu_threads_per_process", 1, "recipes/train_recogniser.py",
        f"recipes/{name}.yaml", *overrides(name, root / "recipes" / f"{name}.yaml", encoder, tmp_path / "run"),
        f"data.manifest={manifest}", f"data.cache={tmp_path / 'cache'}", "loop.steps=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "export" / "config.json").is_file()


def test_predictions_do_not_depend_on_company(root: Path, encoder: Path, corpora: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    waves = [rng.normal(0, 0.1, n).astype(np.float32) for n in (3000, 9000, 5000, 700)]
    for name in ("hume_vocalburst/ssl_multitask", "hume_vocalburst/end2you", "hume_vocalburst/mobilenet_multitask"):
        config = recipe_config(name, root, encoder, corpora, tmp_path / name)
        listener = Listener(multitask_objective(config).networks["network"])  # type: ignore[arg-type]
        together = listener.predict(4, lambda place: waves[place])
        for place in range(4):
            alone = listener.predict(1, lambda _, place=place: waves[place])
            for target, values in alone.items():
                np.testing.assert_allclose(together[target][place], values[0], atol=2e-5, err_msg=f"{name} {target}")


def test_labels_are_joined_by_name_and_missing_ones_left_out(
    root: Path, encoder: Path, corpora: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = recipe_config("hume_vocalburst/ssl_multitask", root, encoder, corpora, tmp_path)
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


def test_mistakes_in_recipes(root: Path, encoder: Path, corpora: Any, tmp_path: Path) -> None:
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
    config = recipe_config(name, root, encoder, corpora, tmp_path)
    wrong = load_config(MultitaskConfig, root / "recipes" / f"{name}.yaml", ["tasks=[avb-high, emotion-share]"])
    with pytest.raises(VocalgenError, match="predict emotions from different labels"):
        multitask_objective(wrong)
    object.__setattr__(config, "heads", HeadOptions(levels=(("emotion", "feelings"),)))
    with pytest.raises(VocalgenError, match="feelings is no target"):
        multitask_objective(config)


# The benchmark.


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
@pytest.mark.parametrize(
    ("system", "task"), [("end2you", "avb-type"), ("ssl", "exvo-multitask"), ("residual", "emogator")]
)
def test_systems_of_the_benchmark(
    system: str, task: str, root: Path, encoder: Path, corpora: Any, tmp_path: Path
) -> None:
    recipe = RECIPES[system].get(task, RECIPES[system][""]).removesuffix(".yaml")
    settings = [*SMALL[recipe], *LOOP, "loop.steps=2"]
    manifest = corpora(task)
    data, _ = task_data(TASKS[task], manifest)
    options = Options((str(encoder),) if system == "ssl" else (), overrides=tuple(settings), manifest=manifest)
    made = make_system(system, TASKS[task], options)
    assert json.loads(json.dumps(made.settings)) and str(manifest) not in json.dumps(made.settings)
    if system == "ssl":
        assert made.settings["speech"]["path"] == encoder.name and len(made.settings["speech"]["checksum"]) == 64
    fitted = made.fit(data, 101, tmp_path)
    again = made.fit(data, 101, tmp_path)  # nothing is left to do
    rows = data.rows("test")
    found = fitted.predict(rows)
    for target in TASKS[task].targets:
        assert found[target.name].shape == (len(rows), len(target.columns))
        np.testing.assert_allclose(again.predict(rows)[target.name], found[target.name], atol=1e-6)
        if target.classes:
            np.testing.assert_allclose(found[target.name].sum(1), 1, atol=1e-5)
    fitted.save(tmp_path / "model")
    assert not any(str(encoder.parent) in file.read_text() for file in (tmp_path / "model").glob("*.json"))
    heard = load_system(tmp_path / "model").score([audio.read(Manifest.load(manifest).usable().rows[rows[0]].file)])
    for name, values in heard.items():
        np.testing.assert_allclose(values[0], found[name][0], atol=1e-4)


def test_what_systems_refuse_and_are_made_of(encoder: Path, root: Path) -> None:
    with pytest.raises(VocalgenError, match="hears clips itself; leave --encoder out"):
        make_deep("end2you", TASKS["avb-high"], Options((str(encoder),)))
    with pytest.raises(VocalgenError, match="learns from one speech encoder"):
        make_deep("ssl", TASKS["avb-high"], Options(("a", "b")))
    started = Options(overrides=(f"init={root / 'checkpoints' / 'emogator-classifier-24k'}",), config=None)
    init = make_deep("mobilenet", TASKS["avb-high"], started).settings["init"]
    assert init["path"] == "emogator-classifier-24k" and len(init["checksums"][0]) == 64
    single = make_deep("end2you", TASKS["avb-two"], Options())
    joint = make_deep("ssl", TASKS["avb-two"], Options((str(encoder),)))
    assert single.config.tasks == ("avb-two",) and len(joint.config.tasks) == 5
    few = make_deep("ssl", TASKS["exvo-fewshot"], Options((str(encoder),)))
    assert few.config.tasks == joint.config.tasks  # which have its targets
    nine = make_deep("ssl", TASKS["emotion-share"], Options((str(encoder),), config=shipped_recipe("ssl", few.task)))
    assert nine.config.tasks == ("emotion-share",)
    assert joint.config.speech is not None and joint.config.speech.path == str(encoder)
