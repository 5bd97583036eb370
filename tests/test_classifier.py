"""The mel classifier: masks, padding, augmentation, training, and the scorer that loads it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bursts import burst
from safetensors.torch import load_file
from small_corpus import EMOTIONS, MEL, RATE, classifier_values, write_corpus
from torch.utils.flop_counter import FlopCounterMode

from vocalgen.config import build, load_config
from vocalgen.corpora.manifest import Manifest
from vocalgen.data import CacheConfig, StepSampler, WaveCache, collate
from vocalgen.errors import VocalgenError
from vocalgen.mel import LogMel, log_mels
from vocalgen.models.autoencoder import MelFrames
from vocalgen.models.classifier import MelClassifier, Recogniser, ResidualClassifier
from vocalgen.models.mobilenet import MobileNetClassifier
from vocalgen.recognition.scorer import Scorer, Scores
from vocalgen.training.augment import mask, shift_bands
from vocalgen.training.classifier import (
    ClassifierConfig,
    ClassifierObjective,
    MobileNetConfig,
    ResidualConfig,
    labelled_clips,
    mixup,
    targets,
)
from vocalgen.training.loop import Trainer


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus")).parent


KINDS = ("mel", "residual", "mobilenet")


def small_classifier(kind: str = "mel") -> Recogniser:
    if kind == "mobilenet":
        network = MobileNetClassifier(MEL.to_dict(), EMOTIONS.emotions, 4, 0.1)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0  # statistics of one batch, without which so many layers let nothing through
        network(2 * torch.randn(8, MEL.n_mels, 96) - 6)
        return network.eval()
    if kind == "residual":
        return ResidualClassifier(MEL.to_dict(), EMOTIONS.emotions, 4, (8, 12, 16), (1, 2, 1)).eval()
    return MelClassifier(MEL.to_dict(), EMOTIONS.emotions, 4, (4, 6), (16, 24, 24), (1, 1, 1)).eval()


def config_of(corpus: Path, run: Path, steps: int, kind: str = "mel", **changes: Any) -> Any:
    values = {**classifier_values(corpus, run, steps), **changes}
    if kind == "mel":
        return build(ClassifierConfig, values, "test")
    if kind == "mobilenet":
        model = {"embedding_dim": 4, "width": 0.1, "dropout": 0.1}
        return build(MobileNetConfig, {**values, "kind": "mobilenet", "model": model}, "test")
    model = {"embedding_dim": 4, "widths": [8, 16], "depths": [1, 1], "dropout": 0.1, **changes.get("model", {})}
    return build(ResidualConfig, {**values, "kind": "residual", "model": model}, "test")


def trained(corpus: Path, run: Path, steps: int, kind: str = "mel", **changes: Any) -> Trainer:
    config = config_of(corpus, run, steps, kind, **changes)
    trainer = Trainer(ClassifierObjective(config), config.loop, config)
    trainer.train()
    return trainer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frames", [1, 5, 37, 64])
def test_embedding_does_not_depend_on_padding(frames: int, kind: str) -> None:
    classifier = small_classifier(kind)
    mel = 2 * torch.randn(2, MEL.n_mels, frames) - 6
    padded = torch.nn.functional.pad(mel, (0, 29), value=3.0)
    own = torch.full((2,), frames)
    with torch.no_grad():
        alone, together = classifier.embed(mel), classifier.embed(padded, own)
        counted = classifier.embed(padded)
    assert torch.allclose(alone, together, atol=1e-5)
    assert not torch.allclose(alone, counted, atol=1e-3)


def test_a_mel_configuration_that_was_edited_is_refused() -> None:
    edited = {**MEL.to_dict(), "hop_length": 64}
    for network in (MelClassifier, ResidualClassifier, MobileNetClassifier):
        with pytest.raises(VocalgenError, match="was edited"):
            network(edited, EMOTIONS.emotions)


def test_stages_need_a_width_and_a_depth_each() -> None:
    for network in (MelClassifier, ResidualClassifier):
        with pytest.raises(ValueError, match="differ in length"):
            network(MEL.to_dict(), EMOTIONS.emotions, widths=(8, 8), depths=(1,))


def test_log_mels_do_not_depend_on_the_batch() -> None:
    waves = [burst(1, seconds, RATE) for seconds in (0.5, 0.2, 0.31, 0.9)]
    log_mel = LogMel(MEL)
    together, alone = log_mels(waves, log_mel), [log_mels([wave], log_mel)[0] for wave in waves]
    for wave, one, other in zip(waves, together, alone):
        assert one.shape == (MEL.n_mels, -(-len(wave) // MEL.hop_length))
        assert torch.allclose(one, other, atol=1e-5)
        inner = log_mel(torch.from_numpy(wave)[None])[0][:, :-1]
        assert torch.allclose(one[:, : inner.shape[1]], inner, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_one_clip_is_enough_to_count_operations(corpus: Path, tmp_path: Path, kind: str) -> None:
    with FlopCounterMode(display=False) as counter:
        ClassifierObjective(config_of(corpus, tmp_path, 1, kind)).forward_once()
    assert counter.get_total_flops() > 1e5


def test_targets_are_distributions_and_unknown_is_zero() -> None:
    result = targets(torch.tensor([[1.0, 0.5, float("nan")], [0.0, 0.0, 1.0]]))
    assert torch.allclose(result, torch.tensor([[2 / 3, 1 / 3, 0.0], [0.0, 0.0, 1.0]]))


def test_mixup_mixes_neighbours_with_at_least_half_of_the_clip_itself() -> None:
    mel = torch.arange(64.0)[:, None, None].expand(64, 2, 3)
    frames, target = torch.arange(64), torch.eye(64)
    mixed, longest, labels = mixup(mel, frames, target, 0.2, torch.Generator().manual_seed(0))
    weights = labels.diagonal()
    assert torch.allclose(labels.sum(1), torch.ones(64))
    assert weights.min() >= 0.5
    assert 0.1 < (weights < 0.95).float().mean() < 0.6
    assert torch.allclose(mixed[1:, 0, 0], torch.arange(1.0, 64) - (1 - weights[1:]), atol=1e-4)
    assert (longest >= frames).all()
    assert mixup(mel, frames, target, 0.0, torch.Generator())[0] is mel


def test_mixup_weights_are_beta_distributed() -> None:
    one = torch.zeros(20_000, 1, 1)
    labels = torch.zeros(20_000, 2)
    labels[:, 0] = torch.arange(20_000) % 2
    _, _, mixed = mixup(one, one[:, 0, 0].long(), labels, 0.4, torch.Generator().manual_seed(0))
    weights = torch.maximum(mixed[:, 0], 1 - mixed[:, 0])
    drawn = np.random.default_rng(0).beta(0.4, 0.4, 20_000)
    expected = np.maximum(drawn, 1 - drawn)
    for share in (0.1, 0.3, 0.5, 0.7):
        assert np.quantile(weights, share) == pytest.approx(np.quantile(expected, share), abs=0.02)


def test_masks_and_shifts() -> None:
    mel = torch.randn(16, 24, 40)
    hidden = mask(mel, 2, 8, -11.0, torch.Generator().manual_seed(0)) == -11.0
    widths = hidden[:, 0].sum(1)
    assert widths.max() <= 8 < widths.sum()
    assert torch.equal(hidden.all(1), hidden.any(1))
    shifted = shift_bands(mel, 3, torch.Generator().manual_seed(0))
    moves = [
        next(s for s in range(-3, 4) if torch.equal(new[4:-4], old[4 + s : 20 + s])) for new, old in zip(shifted, mel)
    ]
    assert len(set(moves)) > 3
    assert torch.equal(shift_bands(mel, 0, torch.Generator()), mel)


def test_clips_of_a_step_depend_on_the_step_alone(corpus: Path, tmp_path: Path) -> None:
    config = config_of(corpus, tmp_path, 1)
    objective = ClassifierObjective(config)
    keys = next(iter(StepSampler(objective.indices, 6, 0, 3, 4)))
    first, second = (collate([objective.dataset[key] for key in keys]) for _ in range(2))
    assert torch.equal(first["mel"], second["mel"])
    assert first["mel"].shape == (6, MEL.n_mels, 32)
    for mel, frames in zip(first["mel"], first["frames"]):
        assert (mel[:, frames:] == np.float32(MEL.log_floor)).all()
        assert mel[:, : int(frames)].mean() > MEL.log_floor + 2


@pytest.mark.parametrize("kind", KINDS)
def test_resume_equals_never_having_stopped(corpus: Path, tmp_path: Path, kind: str) -> None:
    trained(corpus, tmp_path / "whole", 5, kind)
    trained(corpus, tmp_path / "parts", 2, kind)
    trained(corpus, tmp_path / "parts", 5, kind)
    name = "export/diffusion_pytorch_model.safetensors"
    whole, parts = load_file(tmp_path / "whole" / name), load_file(tmp_path / "parts" / name)
    assert whole.keys() == parts.keys()
    for key in whole:
        assert torch.equal(whole[key], parts[key]), key
    lines = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert 0 <= lines[-1]["validation_accuracy"] <= lines[-1]["validation_top3"] == 1
    assert lines[-1]["step"] == 5


@pytest.mark.parametrize("kind", ["mel", "residual"])  # the deep one takes thousands of steps from nothing
def test_training_learns(corpus: Path, tmp_path: Path, kind: str) -> None:
    trainer = trained(corpus, tmp_path / "run", 60, kind)
    with torch.no_grad():
        figures = trainer.objective.preview(60).scalars
    assert figures["validation_accuracy"] > 0.7


class Fixed(torch.nn.Module):
    """A teacher that always says the same."""

    def forward(self, mel: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        return torch.tensor([0.0, 0.0, 1.0]).log().clamp(min=-30).expand(len(mel), -1)


def test_a_teacher_is_part_of_the_target(corpus: Path, tmp_path: Path) -> None:
    taught = small_classifier("residual")
    taught.save_pretrained(tmp_path / "teacher")
    options = {"teacher": str(tmp_path / "teacher"), "teacher_share": 0.75, "label_smoothing": 0.0}
    options |= {"augmentation": {"mixup": 0.0, "masks": 0, "band_shift": 0, "stretch": [1.0, 1.0]}}
    config = config_of(corpus, tmp_path / "run", 1, **options)
    objective = ClassifierObjective(config)
    assert type(objective.teacher) is ResidualClassifier
    assert not any(value.requires_grad for value in objective.teacher.parameters())
    Trainer(objective, config.loop, config)
    batch = collate([objective.dataset[key] for key in next(iter(StepSampler(objective.indices, 6, 0, 0, 1)))])
    objective.teacher = Fixed()
    objective.networks["classifier"].eval()
    with torch.no_grad():
        log = objective.networks["classifier"](batch["mel"], batch["frames"]).log_softmax(1)
    expected = -(0.25 * (log * batch["intensities"]).sum(1) + 0.75 * log[:, 2]).mean()
    loss = objective.step(batch, 0, torch.Generator().manual_seed(0))["loss"]
    assert float(loss.detach()) == pytest.approx(float(expected), abs=1e-5)


def test_a_student_learns_from_a_teacher_alone(corpus: Path, tmp_path: Path) -> None:
    trained(corpus, tmp_path / "first", 60)
    options = {"teacher": str(tmp_path / "first" / "export"), "teacher_share": 1.0}
    student = trained(corpus, tmp_path / "second", 60, "residual", **options)
    with torch.no_grad():
        figures = student.objective.preview(60).scalars
    assert figures["validation_accuracy"] > 0.7


def test_teachers_that_cannot_teach(corpus: Path, tmp_path: Path) -> None:
    small_classifier().save_pretrained(tmp_path / "same")
    others = tuple(reversed(EMOTIONS.emotions))
    MelClassifier(MEL.to_dict(), others, 4, (4, 6), (16, 24), (1, 1)).save_pretrained(tmp_path / "reversed")
    wrong = [
        ({"teacher": str(tmp_path / "reversed")}, "knows other emotions"),
        ({"teacher": str(tmp_path / "absent")}, "cannot read"),
        ({"teacher": str(tmp_path / "same"), "mel": {**MEL_VALUES, "f_min": 60.0}}, "mel mismatch"),
        ({"teacher": str(tmp_path / "same"), "teacher_share": 1.5}, r"teacher_share is 1.5; it must be in \[0, 1\]"),
    ]
    for changes, words in wrong:
        with pytest.raises(VocalgenError, match=words):
            ClassifierObjective(config_of(corpus, tmp_path / "run", 1, **changes))


def test_training_goes_on_from_an_export(corpus: Path, tmp_path: Path) -> None:
    first = trained(corpus, tmp_path / "first", 3, "residual").objective.average("classifier").state_dict()
    config = config_of(corpus, tmp_path / "second", 1, "residual", init=str(tmp_path / "first" / "export"))
    second = ClassifierObjective(config).networks["classifier"].state_dict()
    assert all(torch.equal(first[key], second[key]) for key in second)
    with pytest.raises(VocalgenError, match=r"init: .*first/export is a ResidualClassifier of other sizes"):
        ClassifierObjective(config_of(corpus, tmp_path / "third", 1, "mel", init=str(tmp_path / "first" / "export")))


def test_a_wide_network_starts_as_its_narrow_one(corpus: Path, tmp_path: Path) -> None:
    first = trained(corpus, tmp_path / "first", 3, "residual").objective.average("classifier").eval()
    init = str(tmp_path / "first" / "export")
    config = config_of(corpus, tmp_path / "second", 1, "residual", init=init, model={"widths": [12, 20]})
    wide = ClassifierObjective(config).networks["classifier"].eval()
    mel, frames = torch.randn(3, MEL.n_mels, 30) - 6, torch.tensor([30, 17, 8])
    with torch.no_grad():
        torch.testing.assert_close(wide(mel, frames), first(mel, frames), atol=1e-5, rtol=1e-4)
    loss = wide(mel, frames).square().sum()
    loss.backward()
    assert len(wide.stem.weight.grad.flatten(1).unique(dim=0)) == 12  # no two channels learn the same


MEL_VALUES = {key: value for key, value in MEL.to_dict().items() if key != "fingerprint"}


def test_each_recipe_starts_from_the_one_it_names(root: Path) -> None:
    folder = root / "recipes" / "emogator"
    first = load_config(ClassifierConfig, folder / "classifier.yaml")
    second = load_config(ResidualConfig, folder / "classifier_residual.yaml")
    third = load_config(ResidualConfig, folder / "classifier_wide.yaml")
    assert second.teacher == f"{first.loop.run}/export"
    assert third.init == third.teacher == f"{second.loop.run}/export"


@pytest.fixture(params=KINDS)
def exported(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    small_classifier(request.param).save_pretrained(tmp_path / "classifier")
    return tmp_path / "classifier"


def test_a_folder_of_another_network_is_no_classifier(tmp_path: Path) -> None:
    MelFrames(MEL.to_dict()).save_pretrained(tmp_path / "frames")
    with pytest.raises(VocalgenError, match="describes MelFrames; a classifier is one of MelClassifier, Residual"):
        Scorer.load(tmp_path / "frames")


def test_scores_do_not_depend_on_the_batch(exported: Path) -> None:
    scorer = Scorer.load(exported)
    waves = [burst(i % 3, 1.0 - 0.1 * i, RATE, seed=i) for i in range(7)]
    together, alone = scorer.score(waves), scorer.score(waves, batch_size=1)
    assert together.embeddings.shape == (7, 4)
    assert together.logits.shape == (7, 3)
    assert np.allclose(together.embeddings, alone.embeddings, atol=1e-5)
    assert len(scorer.checksum) == 64
    assert scorer.emotions.emotions == EMOTIONS.emotions
    assert scorer.score([]).embeddings.shape == (0, 4)


def test_hits_count_the_highest_logits() -> None:
    logits = np.array([[0.1, 0.9, 0.5], [0.1, 0.9, 0.5], [0.7, 0.1, 0.2]])
    scores = Scores(np.zeros((3, 1)), logits)
    assert scores.hits([1, 2, 0]).tolist() == [True, False, True]
    assert scores.hits([1, 2, 1], 2).tolist() == [True, True, False]


def test_foreign_and_damaged_checkpoints_are_refused(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(VocalgenError, match="not a vocalgen checkpoint"):
        Scorer.load(tmp_path / "nothing")
    weights = exported / "diffusion_pytorch_model.safetensors"
    whole, config = weights.read_bytes(), json.loads((exported / "config.json").read_text())
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VocalgenError, match="is damaged"):
        Scorer.load(exported)
    weights.write_bytes(whole)
    (exported / "config.json").write_text(json.dumps({**config, "mel": {**config["mel"], "floor": 1e-3}}))
    with pytest.raises(VocalgenError, match="was edited"):
        Scorer.load(exported)
    (exported / "config.json").write_text(json.dumps({**config, "embedding_dim": 5}))
    with pytest.raises(VocalgenError, match="belong to another network"):
        Scorer.load(exported)


def test_labelled_clips_leaves_out_unknown_emotions_and_refuses_one_class(corpus: Path, tmp_path: Path) -> None:
    made = Manifest.load(corpus / "manifest.csv")
    unknown = (float("nan"),) * 3

    def cache(emotions: str) -> WaveCache:
        kept = [clip.split != "test" and clip.id.split("-")[1] in emotions for clip in made]
        rows = [clip if keeps else replace(clip, intensities=unknown) for clip, keeps in zip(made, kept, strict=True)]
        path = tmp_path / f"{emotions}.csv"
        replace(made, rows=tuple(rows)).save(path)
        return WaveCache.of(path, tmp_path / emotions, CacheConfig(sample_rate=RATE))

    two, one = cache("01"), cache("0")
    assert len(labelled_clips(two, "train", learnt=True)) == 64 < len(two.select("train"))
    with pytest.raises(VocalgenError, match="none of the 36 clips in split 'test' has a label"):
        labelled_clips(two, "test")
    assert len(labelled_clips(one, "train")) == 32
    with pytest.raises(VocalgenError, match=r"all clips in split 'train' are of Amusement; .* at least two emotions"):
        labelled_clips(one, "train", learnt=True)
