"""The loop: resume equals never having stopped, bad losses stop the run, recipes leave the right files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from bursts import write_emogator_corpus
from conftest import Launch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vocalgen import audio
from vocalgen.config import build, load_config
from vocalgen.errors import VocalgenError
from vocalgen.mel import MEL_16K_EXVO
from vocalgen.models.autoencoder import MelAutoencoder
from vocalgen.models.denoiser import preconditioning
from vocalgen.models.transformer import Conditioning, MelTransformer
from vocalgen.ownership import own_folder
from vocalgen.training import entry
from vocalgen.training.autoencoder import AutoencoderConfig, AutoencoderObjective
from vocalgen.training.classifier import ClassifierConfig
from vocalgen.training.diffusion import DiffusionConfig, DiffusionObjective
from vocalgen.training.entry import DataConfig
from vocalgen.training.loop import LoopConfig, Trainer
from vocalgen.training.resume import RUN

SMALL_AUTOENCODER = {"latent_dim": 4, "widths": [8, 12], "depths": [1, 1], "expansion": 2}
SMALL_TRANSFORMER = {"dim": 16, "depth": 1, "heads": 2}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_emogator_corpus(tmp_path_factory.mktemp("corpus"), speakers=(1, 2, 3, 285))


def autoencoder_values(corpus: Path, run: Path, steps: int) -> dict[str, Any]:
    return {
        "data": {"manifest": str(corpus / "manifest.csv"), "cache": str(corpus / "cache"), "frames": 16},
        "loop": {"run": str(run), "steps": steps, "batch_size": 4, "warmup": 2, "log_every": 1, "save_every": 3,
                 "preview_every": 2},
        "model": SMALL_AUTOENCODER,
        "adversarial_start": 2,
    }  # fmt: skip


def diffusion_values(corpus: Path, run: Path, steps: int) -> dict[str, Any]:
    values = autoencoder_values(corpus, run, steps)
    del values["adversarial_start"]
    values["data"]["frames"] = 64
    return {
        **values,
        "autoencoder": None,
        "latents": str(corpus / "latents"),
        "variants": 2,
        "model": SMALL_TRANSFORMER,
    }


Builder = Callable[[Path, Path, int], dict[str, Any]]
KINDS: dict[str, tuple[Any, Any, Builder]] = {
    "autoencoder": (AutoencoderConfig, AutoencoderObjective, autoencoder_values),
    "diffusion": (DiffusionConfig, DiffusionObjective, diffusion_values),
}


def trained(kind: str, corpus: Path, run: Path, steps: int) -> Trainer:
    config_class, objective_class, values = KINDS[kind]
    config = build(config_class, values(corpus, run, steps), "test")
    trainer = Trainer(objective_class(config), config.loop, config)
    trainer.train()
    return trainer


@pytest.mark.parametrize("kind", KINDS)
def test_resume_equals_never_having_stopped(kind: str, corpus: Path, tmp_path: Path) -> None:
    whole = trained(kind, corpus, tmp_path / "whole", 5)
    trained(kind, corpus, tmp_path / "parts", 2)
    parts = trained(kind, corpus, tmp_path / "parts", 5)
    assert whole.step == parts.step == 5
    for name in whole.objective.networks:
        for key, value in whole.objective.plain(name).state_dict().items():
            assert torch.equal(value, parts.objective.plain(name).state_dict()[key]), (name, key)
    for name, average in whole.objective.ema.items():
        for key, value in average.state_dict().items():
            assert torch.equal(value, parts.objective.ema[name].state_dict()[key]), (name, key)
    logs = [[json.loads(line) for line in (run / "metrics.jsonl").open()] for run in (whole.run, parts.run)]
    strip = [[{k: v for k, v in line.items() if k != "clips_per_second"} for line in log] for log in logs]
    assert strip[0] == strip[1]


@pytest.mark.parametrize("moment", [2, 4])
def test_a_killed_run_ends_as_one_that_was_not(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Killed before its first resume point (after step 3), and one step behind it: work is lost, nothing else."""
    whole = trained("diffusion", corpus, tmp_path / "whole", 5)
    step = DiffusionObjective.step

    class Killed(BaseException):
        """Stands for a kill: nothing in the package may handle it."""

    def dying(self: DiffusionObjective, batch: Any, number: int, generator: torch.Generator) -> Any:
        if number == moment:
            raise Killed
        return step(self, batch, number, generator)

    with monkeypatch.context() as patch:
        patch.setattr(DiffusionObjective, "step", dying)
        with pytest.raises(Killed):
            trained("diffusion", corpus, tmp_path / "parts", 5)
    parts = trained("diffusion", corpus, tmp_path / "parts", 5)
    networks = [trainer.objective.plain("transformer").state_dict() for trainer in (whole, parts)]
    assert all(torch.equal(value, networks[1][key]) for key, value in networks[0].items())
    kept = [load_file(run / "export" / "diffusion_pytorch_model.safetensors") for run in (whole.run, parts.run)]
    assert all(torch.equal(value, kept[1][key]) for key, value in kept[0].items())


def test_conditions_are_dropped_per_sample(corpus: Path, tmp_path: Path) -> None:
    """Also those of the first emotion; what is dropped follows from the step's generator."""
    values = {**diffusion_values(corpus, tmp_path, 1), "emotion_dropout": 0.5, "seconds_dropout": 0.25}
    objective = DiffusionObjective(build(DiffusionConfig, values, "test"))
    seen = []

    def spy(x: torch.Tensor, noise: torch.Tensor, condition: Conditioning) -> torch.Tensor:
        seen.append(condition)
        return torch.zeros_like(x)

    objective.networks["transformer"] = spy  # type: ignore[assignment]
    objective.update = lambda *_: torch.zeros(())  # type: ignore[method-assign]
    count = 400
    first = torch.zeros(count, len(objective.cache.emotions))
    first[:, 0] = 1.0
    batch = {"x": torch.zeros(count, *objective.shape), "intensities": first, "seconds": torch.full((count,), 0.5)}
    for seed in (0, 0, 1):
        objective.step(batch, 0, torch.Generator().manual_seed(seed))
    assert 0.4 < seen[0].keep.float().mean() < 0.6
    assert 0.15 < seen[0].seconds.isnan().float().mean() < 0.35
    assert torch.equal(seen[0].intensities, first)
    assert torch.equal(seen[0].keep, seen[1].keep) and not torch.equal(seen[0].keep, seen[2].keep)


@pytest.mark.parametrize(
    "name",
    [
        "autoencoder", "autoencoder_16k", "autoencoder_decoder", "autoencoder_pitch", "autoencoder_pitch_decoder",
        "classifier",
        "diffusion", "diffusion_16k", "diffusion_edm", "diffusion_mel",
    ],
)  # fmt: skip
def test_shipped_recipes_are_valid(name: str, root: Path) -> None:
    kinds = {"autoencoder": AutoencoderConfig, "classifier": ClassifierConfig, "diffusion": DiffusionConfig}
    config: Any = load_config(kinds[name.split("_")[0]], root / "recipes" / "emogator" / f"{name}.yaml")
    assert config.loop.warmup + config.loop.cooldown < config.loop.steps
    if isinstance(config, DiffusionConfig):
        preconditioning(**config.preconditioning.arguments())
        assert config.data.frames % (4 * config.model.patch) == 0


def test_16_khz_recipes_train(corpus: Path, tmp_path: Path, root: Path) -> None:
    """The second front end, all the way to samples."""
    data = [f"data.manifest={corpus / 'manifest.csv'}", f"data.cache={tmp_path / 'cache'}"]
    loop = ["loop.steps=2", "loop.batch_size=2", "loop.warmup=1", "loop.cooldown=0", "loop.preview_every=2"]
    recipes = root / "recipes" / "emogator"
    first = [*data, *loop, f"loop.run={tmp_path / 'a'}", "model={latent_dim: 4, widths: [8, 8, 8], depths: [1, 1, 1]}"]
    config: Any = load_config(AutoencoderConfig, recipes / "autoencoder_16k.yaml", first)
    Trainer(AutoencoderObjective(config), config.loop, config).train()
    paths = [
        f"loop.run={tmp_path / 'd'}",
        f"autoencoder={tmp_path / 'a' / 'export'}",
        f"latents={tmp_path / 'latents'}",
    ]
    second = [*data, *loop, *paths, "model={patch: 2, dim: 16, depth: 1, heads: 2}"]
    config = load_config(DiffusionConfig, recipes / "diffusion_16k.yaml", second)
    Trainer(DiffusionObjective(config), config.loop, config).train()
    assert MelTransformer.from_pretrained(tmp_path / "d" / "export").front_end == MEL_16K_EXVO
    report = audio.inspect(next((tmp_path / "d" / "samples").glob("*.wav")))
    assert (report.sample_rate, report.seconds) == (16_000, pytest.approx(1.92))
    with pytest.raises(VocalgenError, match=r"sample_rate is 24000, mel\.sample_rate 16000"):
        build(DataConfig, {"manifest": "m", "cache": "c", "frames": 8}, "test").open(MEL_16K_EXVO)


def test_training_changes_weights_and_the_average_follows(corpus: Path, tmp_path: Path) -> None:
    early, late = (trained("autoencoder", corpus, tmp_path / str(steps), steps) for steps in (1, 6))
    key = "encoder.0.weight"
    now = late.objective.plain("autoencoder").state_dict()[key]
    before = early.objective.plain("autoencoder").state_dict()[key]
    average = late.objective.ema["autoencoder"].module.state_dict()[key]
    assert not torch.equal(now, before)
    assert 0 < (average - now).norm() < (before - now).norm()


def test_a_decoder_is_trained_on_and_its_latents_stay(corpus: Path, tmp_path: Path) -> None:
    trained("autoencoder", corpus, tmp_path / "first", 2)
    values = autoencoder_values(corpus, tmp_path / "second", 4) | {"decoder_of": str(tmp_path / "first" / "export")}
    config = build(AutoencoderConfig, values, "test")
    Trainer(AutoencoderObjective(config), config.loop, config).train()
    first, second = (MelAutoencoder.from_pretrained(tmp_path / run / "export") for run in ("first", "second"))
    changed = {
        key.split(".")[0]
        for key, value in second.state_dict().items()
        if not torch.equal(value, first.state_dict()[key])
    }
    assert changed == {"decoder"}
    with pytest.raises(VocalgenError, match="has 4 latent channels, `model` 5"):
        AutoencoderObjective(build(AutoencoderConfig, values | {"model": SMALL_AUTOENCODER | {"latent_dim": 5}}, "t"))


def test_run_folder(corpus: Path, tmp_path: Path) -> None:
    trained("autoencoder", corpus, tmp_path / "run", 4)
    run = tmp_path / "run"
    assert yaml.safe_load((run / "config.yaml").read_text())["model"]["widths"] == [8, 12]
    assert json.loads((run / "environment.json").read_text())["torch"] == torch.__version__
    assert [folder.name for folder in (run / "state").iterdir()] == ["step-4"]
    events = EventAccumulator(str(run / "tensorboard")).Reload().Tags()
    assert {"l1", "grad_norm"} <= set(events["scalars"])
    assert "clip0" in events["images"]
    assert "clip0" in events["audio"]
    assert {"clip0.png", "clip0.wav"} <= {path.name for path in (run / "samples").iterdir()}
    assert audio.inspect(run / "samples" / "clip0.wav").seconds > 0.5
    exported = MelAutoencoder.from_pretrained(run / "export")
    assert exported.config.mel["fingerprint"] == exported.front_end.fingerprint
    assert exported.latent_std.std() > 0
    assert set(load_file(run / "export" / "diffusion_pytorch_model.safetensors")) == set(exported.state_dict())


def test_non_finite_loss_names_step_and_clips(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = build(DiffusionConfig, diffusion_values(corpus, tmp_path / "run", 3), "test")
    objective = DiffusionObjective(config)
    trainer = Trainer(objective, config.loop, config)
    torch.nn.init.constant_(objective.plain("transformer").head.bias, torch.nan)
    with pytest.raises(VocalgenError, match=r"step 0: transformer loss is nan; the batch held 00000\d-0\d-1"):
        trainer.train()
    assert not list((tmp_path / "run").glob("state/*"))


def test_the_log_has_every_step_once_after_a_kill(corpus: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trained("autoencoder", corpus, run, 3)
    with open(run / "metrics.jsonl", "a") as file:  # step 4 was noted but not saved, step 5 half noted
        file.write('{"step": 4, "l1": 1.0}\n{"step": 5, "l')
    trained("autoencoder", corpus, run, 5)
    assert [json.loads(line)["step"] for line in (run / "metrics.jsonl").open()] == [1, 2, 3, 4, 5]


def test_leftovers_of_killed_runs_are_swept(corpus: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = [
        run / f".export.vocalgen-{ended.pid}.part",
        run / "state" / f".step-3.vocalgen-{ended.pid}.part",
        run / ".config.vocalgen-1.part.yaml",
    ]
    own_folder(run, RUN)
    for path in left[:2]:
        path.mkdir(parents=True)
        (path / "half").write_text("")
    left[2].write_text("of a living process")
    (run / ".keep").write_text("somebody's")
    trained("autoencoder", corpus, run, 1)
    assert [path.exists() for path in left] == [False, False, True]
    assert (run / ".keep").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keep": 0}, "loop.keep is 0; it must be at least 1"),
        ({"steps": 0}, "loop.steps is 0"),
        ({"warmup": -1}, "loop.warmup is -1; it must not be negative"),
        ({"ema_decay": 1.0}, "loop.ema_decay is 1.0"),
        ({"grad_clip": 0.0}, "loop.grad_clip is 0.0; it must be positive"),
    ],
)
def test_impossible_loops_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(VocalgenError, match=message):
        build(LoopConfig, {"run": str(tmp_path), "steps": 1, "batch_size": 1, **change}, "test")


def test_the_scaler_of_half_precision_goes_on(corpus: Path, tmp_path: Path) -> None:
    """float16 needs a GPU; its scaler is put in by hand."""
    config = build(AutoencoderConfig, autoencoder_values(corpus, tmp_path / "run", 1), "test")

    def trainer(scale: float) -> Trainer:
        made = Trainer(AutoencoderObjective(config), config.loop, config)
        made.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        return made

    own_folder(tmp_path / "run", RUN)
    first = trainer(2.0**10)
    first.accelerator.scaler.scale(torch.ones(()))  # its state is made on first use
    first._save_state()
    second = trainer(2.0**5)
    second._resume()
    assert second.accelerator.scaler.state_dict()["scale"] == 2.0**10


def test_lost_export_is_made_again(corpus: Path, tmp_path: Path) -> None:
    """A kill between the last resume point and the export: repeating the command makes the export."""
    trained("autoencoder", corpus, tmp_path / "run", 2)
    shutil.rmtree(tmp_path / "run" / "export")
    trained("autoencoder", corpus, tmp_path / "run", 2)
    assert (tmp_path / "run" / "export" / "config.json").is_file()


def test_damaged_state_and_other_start_are_named(corpus: Path, tmp_path: Path) -> None:
    trained("diffusion", corpus, tmp_path / "run", 1)
    values = {**diffusion_values(corpus, tmp_path / "next", 1), "init": str(tmp_path / "run" / "export")}
    DiffusionObjective(build(DiffusionConfig, values, "test"))
    with pytest.raises(VocalgenError, match="was trained with preconditioning"):
        DiffusionObjective(build(DiffusionConfig, {**values, "preconditioning": {"kind": "edm"}}, "test"))
    state = tmp_path / "run" / "state" / "step-1" / "state.pt"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(VocalgenError, match="is damaged"):
        trained("diffusion", corpus, tmp_path / "run", 2)


def test_gradients_are_clipped(corpus: Path, tmp_path: Path) -> None:
    """With a tiny limit the logged norm stays what it was, while a step of plain SGD shrinks to the limit."""
    values = autoencoder_values(corpus, tmp_path / "run", 1)
    values["loop"]["grad_clip"] = 1e-3
    config = build(AutoencoderConfig, values, "test")
    objective = AutoencoderObjective(config)
    network = objective.networks["autoencoder"]
    objective.optimizers["autoencoder"] = torch.optim.SGD(network.parameters(), 1.0)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    trainer = Trainer(objective, build(type(config.loop), {**values["loop"], "warmup": 0}, "test"), config)
    trainer.train()
    moved = (
        torch.stack([(p - q).square().sum() for p, q in zip(network.parameters(), before, strict=True)]).sum().sqrt()
    )
    assert moved.item() == pytest.approx(1e-3, rel=0.01)


def test_state_of_another_model_is_refused(corpus: Path, tmp_path: Path) -> None:
    trained("diffusion", corpus, tmp_path / "run", 1)
    values = diffusion_values(corpus, tmp_path / "run", 2)
    config = build(DiffusionConfig, {**values, "model": {**SMALL_TRANSFORMER, "dim": 24}}, "test")
    with pytest.raises(VocalgenError, match="belongs to another model"):
        Trainer(DiffusionObjective(config), config.loop, config)


def test_latents_follow_the_autoencoder(corpus: Path, tmp_path: Path) -> None:
    """Diffusion on latents: exported shapes fit, and another autoencoder means encoding again."""
    trained("autoencoder", corpus, tmp_path / "ae", 1)
    values = diffusion_values(corpus, tmp_path / "run", 1)
    values |= {"autoencoder": str(tmp_path / "ae" / "export"), "latents": str(tmp_path / "latents")}
    config = build(DiffusionConfig, values, "test")
    Trainer(DiffusionObjective(config), config.loop, config).train()
    first = (tmp_path / "latents" / "key").read_text()
    assert MelTransformer.from_pretrained(tmp_path / "run" / "export").config.length == 32
    trained("autoencoder", corpus, tmp_path / "ae", 2)
    Trainer(DiffusionObjective(config), build(type(config.loop), {**values["loop"], "steps": 2}, "t"), config).train()
    assert (tmp_path / "latents" / "key").read_text() != first


def test_missing_autoencoder_says_what_to_do(corpus: Path, tmp_path: Path) -> None:
    values = {**diffusion_values(corpus, tmp_path, 1), "autoencoder": str(tmp_path / "absent")}
    with pytest.raises(VocalgenError, match=r"train_autoencoder\.py first"):
        DiffusionObjective(build(DiffusionConfig, values, "test"))


@pytest.mark.parametrize(("kind", "export"), [("autoencoder", "config.json"), ("diffusion", "config.json")])
def test_recipe_runs_two_steps_and_resumes(kind: str, export: str, corpus: Path, tmp_path: Path, root: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(KINDS[kind][2](corpus, tmp_path / "run", 2)))
    command = [sys.executable, str(root / "recipes" / f"train_{kind}.py"), str(config)]
    subprocess.run(command, check=True, capture_output=True, cwd=root)
    again = subprocess.run([*command, "loop.steps=3"], check=True, capture_output=True, text=True, cwd=root)
    assert "going on from step 2" in again.stderr
    assert (tmp_path / "run" / "export" / export).is_file()
    assert [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").open()] == [1, 2, 3]


def test_bfloat16_learns_and_exports_float32(corpus: Path, tmp_path: Path, root: Path, launch: Launch) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(diffusion_values(corpus, tmp_path / "run", 2)))
    done = launch("--cpu", "--mixed_precision", "bf16", root / "recipes" / "train_diffusion.py", config)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["mixed_precision"] == "bf16"
    assert all(0 < json.loads(line)["loss"] < 10 for line in (tmp_path / "run" / "metrics.jsonl").open())
    tensors = load_file(tmp_path / "run" / "export" / "diffusion_pytorch_model.safetensors").values()
    assert all(tensor.dtype == torch.float32 for tensor in tensors)


def test_dry_run(corpus: Path, tmp_path: Path, root: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(diffusion_values(corpus, tmp_path / "run", 2)))
    command = [sys.executable, str(root / "recipes" / "train_diffusion.py"), str(config)]
    described = subprocess.run([*command, "--dry-run"], check=True, capture_output=True, text=True, cwd=root)
    for part in ("parameters", "GFLOP", "steps per epoch", "preconditioning"):
        assert part in described.stdout
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("loop.step=3", "did you mean 'steps'"),
        ("model.heads=3", "must divide"),
        ("data.manifest=absent.csv", "cannot read the manifest absent.csv"),
        ("loop.run=/dev/null/run", "/dev/null"),
    ],
)
def test_mistakes_are_one_line(
    corpus: Path, tmp_path: Path, override: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(diffusion_values(corpus, tmp_path / "run", 1)))
    with pytest.raises(SystemExit) as stop:
        entry.main(DiffusionConfig, DiffusionObjective, [str(config), override])
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert stop.value.code == 2
    assert len(said) == 1 and words in said[0]
    with pytest.raises((VocalgenError, OSError)):
        entry.main(DiffusionConfig, DiffusionObjective, [str(config), override, "--debug"])


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (OSError(28, "No space left"), 2)])
def test_interruptions_are_one_line(
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(diffusion_values(corpus, tmp_path / "run", 2)))

    def failing(*_: Any) -> None:
        raise error

    monkeypatch.setattr(DiffusionObjective, "step", failing)
    with pytest.raises(SystemExit) as stop:
        entry.main(DiffusionConfig, DiffusionObjective, [str(config)])
    assert stop.value.code == code
    assert "Traceback" not in capsys.readouterr().err
    assert not list(tmp_path.glob("run/state/*")) and not list(tmp_path.rglob("*.part*"))
