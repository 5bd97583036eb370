"""Training of the burst transformer and the speaker encoder on synthetic bursts."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bursts import burst
from small_corpus import MEL, PREPARE, RATE, write_corpus

import vocalgen.training.burst_data as burst_data
from vocalgen.acoustics import acoustic_conditions
from vocalgen.config import build, load_config
from vocalgen.data import LengthSampler, WaveCache
from vocalgen.errors import VocalgenError
from vocalgen.generation.durations import draw_seconds, seconds_of_seed
from vocalgen.metrics.verification import equal_error_rate, pair_scores
from vocalgen.models.autoencoder import MelAutoencoder
from vocalgen.models.burst_transformer import ACOUSTICS, BurstTransformer
from vocalgen.models.denoiser import Flow
from vocalgen.models.speaker import AngularMargin, SpeakerEncoder
from vocalgen.training.burst_conditions import Dropout, TwoLevels, span
from vocalgen.training.burst_data import BurstClips, Variation, collate_bursts
from vocalgen.training.burst_diffusion import BurstDiffusionConfig, BurstDiffusionObjective
from vocalgen.training.loop import Trainer
from vocalgen.training.speaker import SpeakerConfig, SpeakerObjective

SPEAKER = {"embedding_dim": 6, "stem": [4, 6], "widths": [16, 16], "depths": [1, 1], "expansion": 2}
TRANSFORMER = {"patch": 2, "dim": 16, "depth": 2, "heads": 2, "voice_dim": 6, "style_dim": 3}
MEL_VALUES = {key: value for key, value in MEL.to_dict().items() if key != "fingerprint"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Corpus, its cache, an autoencoder and a speaker encoder of random weights."""
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        MelAutoencoder(MEL.to_dict(), 4, widths=(8, 8, 8), depths=(1, 1, 1)).save_pretrained(folder / "autoencoder")
        SpeakerEncoder(MEL.to_dict(), **SPEAKER).save_pretrained(folder / "speaker")
    return folder


def values_of(corpus: Path, run: Path, steps: int, **changes: Any) -> dict[str, Any]:
    loop = {"run": str(run), "steps": steps, "batch_size": 8, "warmup": 2, "log_every": 1, "save_every": 3,
            "preview_every": 4, "ema_decay": 0.05, "ema_decays": [0.99]}  # fmt: skip
    return {
        "data": {"manifest": str(corpus / "manifest.csv"), "cache": str(corpus / "cache"), "frames": 40,
                 "max_shift": 0.05, "prepare": PREPARE},
        "autoencoder": str(corpus / "autoencoder"),
        "speaker_encoder": str(corpus / "speaker"),
        "latents": str(corpus / "latents"),
        "mel": MEL_VALUES,
        "model": TRANSFORMER,
        "two_levels": {"share": 0.5},
        "max_seconds": 1.0,
        "validation_clips": 12,
        **changes,
        "loop": {**loop, **changes.get("loop", {})},
    }  # fmt: skip


def objective_of(corpus: Path, run: Path, steps: int = 3, **changes: Any) -> BurstDiffusionObjective:
    return BurstDiffusionObjective(build(BurstDiffusionConfig, values_of(corpus, run, steps, **changes), "test"))


def trained(corpus: Path, run: Path, steps: int, **changes: Any) -> Trainer:
    objective = objective_of(corpus, run, steps, **changes)
    trainer = Trainer(objective, objective.config.loop, objective.config)
    trainer.train()
    return trainer


def clips_of(corpus: Path, folder: Path, indices: np.ndarray, variants: int = 2) -> BurstClips:
    autoencoder = MelAutoencoder.from_pretrained(corpus / "autoencoder")
    speaker = SpeakerEncoder.from_pretrained(corpus / "speaker").eval()
    variation = Variation(variants, (-3.0, 0.0), 0.05, 0.06)
    cache = WaveCache(corpus / "cache")
    return BurstClips(folder, cache, indices, variation, autoencoder, speaker, 6, torch.device("cpu"))


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return all(torch.equal(value, second[key]) for key, value in first.items())


def test_burst_training_resumed_equals_never_having_stopped(corpus: Path, tmp_path: Path) -> None:
    whole = trained(corpus, tmp_path / "whole", 5)
    trained(corpus, tmp_path / "parts", 2)
    parts = trained(corpus, tmp_path / "parts", 5)
    first, second = whole.objective, parts.objective
    assert same(first.plain("transformer").state_dict(), second.plain("transformer").state_dict())
    assert list(first.ema) == ["transformer", "transformer@0.99"]
    for key, average in first.ema.items():
        assert same(average.state_dict(), second.ema[key].state_dict())
    assert first.state == second.state and int(first.state["clips"]) == 40
    logs = [[json.loads(line) for line in (run / "metrics.jsonl").open()] for run in (whole.run, parts.run)]
    strip = [[{k: v for k, v in line.items() if k != "clips_per_second"} for line in log] for log in logs]
    assert strip[0] == strip[1]
    losses = next(line for line in strip[0] if "validation_loss" in line)
    assert {"validation_loss_ema0.99", "validation_loss_conditions"} <= set(losses)


def test_burst_batches_can_be_made_in_loading_processes(corpus: Path, tmp_path: Path) -> None:
    objective = objective_of(corpus, tmp_path / "run")
    assert pickle.loads(pickle.dumps(objective.collate)).keywords == {"multiple": 2}


def test_burst_export_counts_clips_and_init_goes_on_from_it(corpus: Path, tmp_path: Path) -> None:
    first = trained(corpus, tmp_path / "first", 3)
    export = tmp_path / "first" / "export"
    history = BurstTransformer.from_pretrained(export).config.training
    assert history["clips"] == 24 and history["averaged_steps"] == 3
    assert 24 * 0.3 / 3600 < history["hours"] < 24 * 0.8 / 3600
    long = BurstTransformer.from_pretrained(export / "ema-0.99")
    assert not same(long.state_dict(), BurstTransformer.from_pretrained(export).state_dict())
    objective = objective_of(corpus, tmp_path / "second", 1, init=str(export))
    trainer = Trainer(objective, objective.config.loop, objective.config)
    assert same(objective.plain("transformer").state_dict(), first.objective.plain("transformer").state_dict())
    assert same(objective.average("transformer@0.99").state_dict(), long.state_dict())
    trainer.train()
    history = BurstTransformer.from_pretrained(tmp_path / "second" / "export").config.training
    assert history["clips"] == 32 and history["averaged_steps"] == 4


def test_burst_init_of_other_sizes_is_rejected(corpus: Path, tmp_path: Path) -> None:
    trained(corpus, tmp_path / "first", 1)
    with pytest.raises(VocalgenError, match="trained with depth 2, the configuration has 1"):
        objective_of(
            corpus, tmp_path / "second", init=str(tmp_path / "first" / "export"), model={**TRANSFORMER, "depth": 1}
        )


def test_burst_training_without_speaker_encoder(corpus: Path, tmp_path: Path) -> None:
    objective = trained(corpus, tmp_path / "run", 1, speaker_encoder=None).objective
    assert isinstance(objective, BurstDiffusionObjective)
    assert np.isnan(objective.clips.voices).all()
    with pytest.raises(VocalgenError, match=r"no speaker encoder in .*; train one with recipes/train_speaker\.py"):
        objective_of(corpus, tmp_path / "other", speaker_encoder=str(tmp_path / "nothing"))
    with pytest.raises(VocalgenError, match=r"voice_dim is 5, but embeddings of .* have 6 values"):
        objective_of(corpus, tmp_path / "other", model={**TRANSFORMER, "voice_dim": 5})


def test_validation_loss_is_deterministic_and_ignores_batches(corpus: Path, tmp_path: Path) -> None:
    objective = trained(corpus, tmp_path / "run", 1).objective
    assert isinstance(objective, BurstDiffusionObjective)
    network = objective.average("transformer")
    loss = objective.validation_loss(network, conditions=True)
    torch.manual_seed(5)
    assert objective.validation_loss(network, conditions=True) == loss
    assert 0.3 < loss < 3.0


def test_statistics_of_the_corpus_are_stored_with_the_transformer(corpus: Path, tmp_path: Path) -> None:
    config = objective_of(corpus, tmp_path / "run").networks["transformer"].config
    assert len(config.duration_quantiles) == 3
    assert all(0.2 < table[0] < table[-1] < 0.6 for table in config.duration_quantiles)
    assert config.acoustics_mean[ACOUSTICS.index("seconds")] == pytest.approx(0.35, abs=0.1)
    assert config.noise == "philox" and config.tail == 0.06


def test_clips_that_are_too_long_are_left_out(corpus: Path, tmp_path: Path) -> None:
    values = values_of(corpus, tmp_path, 1)
    values["data"]["frames"] = 21
    objective = BurstDiffusionObjective(build(BurstDiffusionConfig, values, "test"))
    lengths = np.diff(objective.cache.offsets)[objective.indices]
    assert 0 < len(lengths) < 96 and lengths.max() <= 21 * MEL.hop_length


def test_latents_do_not_depend_on_the_other_clips(corpus: Path, tmp_path: Path) -> None:
    objective_of(corpus, tmp_path / "run")  # prepares the audio
    few = clips_of(corpus, tmp_path / "few", np.array([3, 50]))
    many = clips_of(corpus, tmp_path / "many", np.arange(60))
    for index in (3, 50):
        for seed in (0, 1):
            first, second = few[index, seed], many[index, seed]
            torch.testing.assert_close(first["x"], second["x"], atol=4e-3, rtol=4e-3)
            assert torch.equal(first["acoustics"], second["acoustics"])
    assert not torch.equal(many[3, 0]["x"][:4], many[3, 1]["x"][:4])


def test_latents_end_with_the_clip(corpus: Path, tmp_path: Path) -> None:
    objective_of(corpus, tmp_path / "run")
    clips = clips_of(corpus, tmp_path / "clips", np.arange(20), variants=1)
    hop = 4 * MEL.hop_length
    for index in range(20):
        own = len(clips[index, 0]["x"]) * hop
        wave = len(clips.cache.wave(index))
        assert own - wave + 1 >= 0.06 * RATE and own - wave < (0.06 + 0.05) * RATE + hop
    assert clips.lengths[5] == len(clips[5, 0]["x"]) and clips.lengths[30] == 0


def test_voices_come_from_another_clip_of_the_speaker(corpus: Path, tmp_path: Path) -> None:
    objective_of(corpus, tmp_path / "run")
    clips = clips_of(corpus, tmp_path / "clips", np.arange(24))
    speakers = clips.cache.speakers
    seen = set()
    for seed in range(60):
        voice = clips[5, seed]["voice"].numpy()
        place = int(np.flatnonzero((clips.voices == voice).all(axis=1))[0])
        assert place != 5 and speakers[place] == speakers[5]
        seen.add(place)
    assert len(seen) == 11
    alone = clips_of(corpus, tmp_path / "alone", np.array([0, 12]))
    assert alone[0, 3]["voice"].isnan().all()


def test_burst_caches_are_kept_and_made_again_when_what_they_depend_on_changes(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective_of(corpus, tmp_path / "run")
    made: list[str] = []
    for name in ("encode", "embed_voices", "acoustic_conditions"):
        original = getattr(burst_data, name)
        monkeypatch.setattr(
            burst_data, name, lambda *a, name=name, original=original: made.append(name) or original(*a)
        )
    indices = np.arange(2)
    clips_of(corpus, tmp_path / "clips", indices)
    assert sorted(set(made)) == ["acoustic_conditions", "embed_voices", "encode"]
    made.clear()
    clips_of(corpus, tmp_path / "clips", indices)
    assert not made
    clips_of(corpus, tmp_path / "clips", indices, variants=1)
    assert made == ["encode"]
    made.clear()
    file = tmp_path / "clips" / "latents" / "latents.npy"
    file.write_bytes(file.read_bytes()[:-8])
    clips_of(corpus, tmp_path / "clips", indices, variants=1)
    assert made == ["encode"]


def test_burst_caches_do_not_replace_files_of_the_user(corpus: Path, tmp_path: Path) -> None:
    objective_of(corpus, tmp_path / "run")
    (tmp_path / "clips" / "latents").mkdir(parents=True)
    (tmp_path / "clips" / "latents" / "thesis.txt").write_text("mine")
    with pytest.raises(VocalgenError, match=r"thesis\.txt"):
        clips_of(corpus, tmp_path / "clips", np.arange(2))


def test_collate_bursts_pads_and_masks() -> None:
    def item(length: int, index: int) -> dict[str, Any]:
        row = torch.ones(length, 2)
        return {
            "x": row,
            "intensities": torch.ones(3),
            "voice": torch.ones(4),
            "acoustics": torch.ones(4),
            "index": index,
        }

    batch = collate_bursts([item(3, 7), item(5, 8)], 2)
    assert batch["x"].shape == (2, 6, 2) and batch["mask"].sum(1).tolist() == [3, 5]
    assert torch.equal(batch["x"][..., 0] != 0, batch["mask"]) and batch["index"].tolist() == [7, 8]


def sampler(first: int, last: int, rank: int = 0, world: int = 1) -> list[list[tuple[int, int]]]:
    lengths = np.random.default_rng(0).integers(5, 50, 90)
    return list(LengthSampler(np.arange(10, 90), lengths, 4, 3, first, last, rank, world, pool=5))


def test_length_sampler_depends_on_seed_and_step_only() -> None:
    whole = sampler(0, 40)
    assert sampler(13, 40) == whole[13:]
    halves = [sampler(0, 40, rank, 2) for rank in (0, 1)]
    assert [sorted(a + b) for a, b in zip(*halves, strict=True)] == [sorted(batch) for batch in whole]


def test_length_sampler_takes_every_clip_once_per_epoch_in_batches_of_similar_length() -> None:
    batches = sampler(0, 20)  # one epoch
    assert sorted(index for batch in batches for index, _ in batch) == list(range(10, 90))
    lengths = np.random.default_rng(0).integers(5, 50, 90)
    spread = np.mean([np.ptp(lengths[[index for index, _ in batch]]) for batch in batches])
    assert spread < 0.4 * np.ptp(lengths)
    order = [lengths[batch[0][0]] for batch in batches[:5]]
    assert order != sorted(order) or [lengths[batch[0][0]] for batch in batches[5:10]] != sorted(order)


def test_dropout_is_per_clip_and_per_condition() -> None:
    network = BurstTransformer(MEL.to_dict(), ("a", "b", "c"), 4, 8, dim=16, depth=1, heads=2, voice_dim=6)
    count = 4000
    full = network.absent(torch.ones(count, 8, dtype=torch.bool), torch.ones(count, 3))
    full = full._replace(voice=torch.ones(count, 6), style=torch.ones(count, 8), acoustics=torch.ones(count, 4))
    dropout = Dropout(emotion=0.1, extras=0.4, voice=0.5, style=0.2, acoustics=0.3, seconds=0.25)
    result = dropout.applied(full, torch.Generator().manual_seed(0))
    missing = {name: getattr(result, name).isnan().all(1).float().mean() for name in ("intensities", "voice", "style")}
    assert missing["intensities"] == pytest.approx(0.1, abs=0.03)
    assert missing["voice"] == pytest.approx(1 - 0.6 * 0.5, abs=0.03)
    assert missing["style"] == pytest.approx(1 - 0.6 * 0.8, abs=0.03)
    shares = result.acoustics.isnan().float().mean(0)
    assert shares[:3] == pytest.approx([1 - 0.6 * 0.7] * 3, abs=0.03) and shares[3] == pytest.approx(0.25, abs=0.03)
    bare = result.voice.isnan().all(1) & result.style.isnan().all(1) & result.acoustics[:, :3].isnan().all(1)
    assert bare.float().mean() > 0.4


def test_two_levels_hold_a_cleaner_span() -> None:
    mask = torch.arange(20) < torch.tensor([20, 11, 3, 2])[:, None]
    options = TwoLevels(share=1.0, context=0.5)
    kinds = set()
    for seed in range(40):
        sigma, learnt = options.levels(Flow(), mask, 2, torch.Generator().manual_seed(seed))
        assert sigma.shape == mask.shape and not (learnt & ~mask).any()
        assert learnt.any(1).tolist() == [True, True, True, True]
        own = sigma[0].unique()
        assert len(own) == 2
        is_context = bool((mask[0] & ~learnt[0]).any())
        kinds.add(is_context)
        if is_context:
            assert own[0] <= options.context_sigma
            assert torch.equal(learnt[0], sigma[0] == own[1])
    assert kinds == {True, False}
    plain, learnt = TwoLevels(share=0.0).levels(Flow(), mask, 2, torch.Generator().manual_seed(0))
    assert plain.shape == (4,) and torch.equal(learnt, mask)


def test_spans_end_between_tokens_and_leave_a_token() -> None:
    mask = torch.arange(12) < torch.tensor([12, 7, 2])[:, None]
    for place in torch.rand(30, 2, 3, generator=torch.Generator().manual_seed(0)):
        inside = span(mask, 2, 0.2, 1.0, place).unflatten(1, (-1, 2))
        assert torch.equal(inside[..., 0], inside[..., 1])
        tokens = inside[..., 0].sum(1)
        assert 1 <= tokens[0] <= 5 and 1 <= tokens[1] <= 3 and tokens[2] == 0


def test_durations_follow_the_emotion_and_the_seed() -> None:
    tables = ((0.5, 0.6, 0.7), (1.0, 1.5, 2.0))
    assert draw_seconds(tables, [1, 0], 0.5) == pytest.approx(0.6)
    assert draw_seconds(tables, [0.5, 0.5], 0.5) == draw_seconds(tables, [0, 0], 0.5) == pytest.approx(1.05)
    drawn = [seconds_of_seed(tables, [0, 1], seed) for seed in range(300)]
    assert drawn[7] == seconds_of_seed(tables, [0, 1], 7) and min(drawn) > 1.0 and max(drawn) < 2.0
    assert np.mean(drawn) == pytest.approx(1.5, abs=0.05)


def test_acoustic_conditions_of_a_tone_and_of_noise() -> None:
    time = np.arange(12_000) / 24_000
    tone = (0.5 * np.sin(2 * np.pi * 220 * time)).astype(np.float32)
    pitch, brightness, voiced, seconds = acoustic_conditions(tone, 24_000)
    assert pitch == pytest.approx(24.0, abs=0.1) and np.exp(brightness) == pytest.approx(220, rel=0.1)
    assert voiced > 0.9 and seconds == 0.5
    noise = np.random.default_rng(0).normal(0, 0.1, 12_000).astype(np.float32)
    pitch, brightness, voiced, _ = acoustic_conditions(noise, 24_000)
    assert np.isnan(pitch) and np.exp(brightness) == pytest.approx(6000, rel=0.1) and voiced == 0


def test_acoustic_conditions_do_not_depend_on_level() -> None:
    wave = burst(1, 0.6, RATE, seed=4)
    np.testing.assert_allclose(acoustic_conditions(wave, RATE), acoustic_conditions(wave / 4, RATE), atol=2e-3)


def speaker_values(corpus: Path, run: Path, steps: int) -> dict[str, Any]:
    return {
        "data": {"manifest": str(corpus / "manifest.csv"), "cache": str(corpus / "cache"), "frames": 32,
                 "prepare": PREPARE},
        "loop": {"run": str(run), "steps": steps, "batch_size": 16, "warmup": 1, "log_every": 1, "save_every": 2,
                 "preview_every": 4, "ema_decay": 0.5},
        "mel": MEL_VALUES,
        "model": SPEAKER,
        "augmentation": {"band_shift": 0, "masks": 1, "mask_bands": 3, "mask_frames": 3},
        "margin_warmup": 3,
    }  # fmt: skip


def train_speaker(corpus: Path, run: Path, steps: int) -> Trainer:
    config = build(SpeakerConfig, speaker_values(corpus, run, steps), "test")
    trainer = Trainer(SpeakerObjective(config), config.loop, config)
    trainer.train()
    return trainer


def test_speaker_training_resumed_equals_never_having_stopped(corpus: Path, tmp_path: Path) -> None:
    whole = train_speaker(corpus, tmp_path / "whole", 5)
    train_speaker(corpus, tmp_path / "parts", 2)
    parts = train_speaker(corpus, tmp_path / "parts", 5)
    for name in ("encoder", "margin"):
        assert same(whole.objective.plain(name).state_dict(), parts.objective.plain(name).state_dict())
    figures = [json.loads(line) for line in (whole.run / "metrics.jsonl").open()]
    assert 0 < next(line["validation_eer"] for line in figures if "validation_eer" in line) < 1
    loaded = SpeakerEncoder.from_pretrained(whole.run / "export")
    assert loaded.front_end == MEL


@torch.no_grad()
def test_speaker_embeddings_ignore_padding_and_have_length_one() -> None:
    torch.manual_seed(0)
    encoder = SpeakerEncoder(MEL.to_dict(), **SPEAKER).eval()
    mels = [torch.randn(MEL.n_mels, length) - 6 for length in (9, 30)]
    together = encoder.embed_clips(mels)
    torch.testing.assert_close(together[:1], encoder.embed_clips(mels[:1]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(2))


def test_angular_margin_widens_the_own_angle() -> None:
    torch.manual_seed(0)
    head = AngularMargin(4, 3, scale=10.0)
    embedding = torch.nn.functional.normalize(torch.randn(8, 4), dim=-1)
    speaker = torch.arange(8) % 3
    plain, cosine = head(embedding, speaker, 0.0)
    torch.testing.assert_close(plain, torch.nn.functional.cross_entropy(10 * cosine, speaker))
    angle = cosine.gather(1, speaker[:, None]).arccos()
    widened = cosine.scatter(1, speaker[:, None], (angle + 0.2).cos())
    torch.testing.assert_close(
        head(embedding, speaker, 0.2)[0], torch.nn.functional.cross_entropy(10 * widened, speaker)
    )
    opposite = -torch.nn.functional.normalize(head.weight[:1], dim=-1)
    assert torch.isfinite(torch.autograd.grad(head(opposite, torch.tensor([0]), 0.2)[0], head.weight)[0]).all()


def test_equal_error_rate() -> None:
    random = np.random.default_rng(0)
    scores = np.concatenate([random.normal(1, 1, 20_000), random.normal(-1, 1, 20_000)])
    same_pair = np.arange(40_000) < 20_000
    assert equal_error_rate(scores, same_pair) == pytest.approx(0.1587, abs=0.005)  # normal tail beyond one deviation
    assert equal_error_rate(-scores, same_pair) == pytest.approx(0.8413, abs=0.005)
    assert equal_error_rate([0.5, 0.5, 0.5], [True, False, False]) == pytest.approx(0.5)
    for bad, pairs, message in (
        ([1.0, 2.0], [True], "equal length"),
        ([1.0, np.nan], [True, False], "not finite"),
        ([1.0, 2.0], [True, True], "by two"),
    ):
        with pytest.raises(ValueError, match=message):
            equal_error_rate(bad, pairs)


def test_pair_scores() -> None:
    scores, pairs = pair_scores([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0]], ["a", "b", "a"])
    assert scores.tolist() == [0.0, 1.0, 0.0] and pairs.tolist() == [False, True, False]


def test_burst_recipes_are_valid(root: Path) -> None:
    for name, kind in (("diffusion2", BurstDiffusionConfig), ("speaker", SpeakerConfig)):
        config: Any = load_config(kind, root / "recipes" / "emogator" / f"{name}.yaml")
        assert config.loop.warmup + config.loop.cooldown < config.loop.steps
