"""Run folders: resume points and what they depend on, one process per folder, damaged files, full disks."""

from __future__ import annotations

import errno
import json
import logging
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from bursts import write_emogator_corpus
from test_training import autoencoder_values

from vocalgen.config import build
from vocalgen.errors import NoSpaceLeft, VocalgenError
from vocalgen.training import entry
from vocalgen.training.autoencoder import AutoencoderConfig, AutoencoderObjective
from vocalgen.training.loop import Trainer
from vocalgen.training.resume import ResumePoints, changes

HOLDER = """
import sys, time
from pathlib import Path
from vocalgen.training.resume import alone

with alone(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def trainer(corpus: Path, run: Path, steps: int, loop: dict[str, Any] | None = None, **values: Any) -> Trainer:
    given = {**autoencoder_values(corpus, run, steps), "adversarial_start": 99, **values}
    given["loop"] |= {"preview_every": 99, **(loop or {})}
    config = build(AutoencoderConfig, given, "test")
    return Trainer(AutoencoderObjective(config), config.loop, config)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_emogator_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def two_steps(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a resume point at step 2."""
    run = tmp_path_factory.mktemp("runs") / "run"
    trainer(corpus, run, 2).train()
    return run


@pytest.fixture
def run(two_steps: Path, tmp_path: Path) -> Path:
    """A copy of that folder."""
    return shutil.copytree(two_steps, tmp_path / "run")


def logged_steps(run: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run / "metrics.jsonl").open()]


def test_resume_points_are_the_folders_step_number_alone(corpus: Path, run: Path) -> None:
    state = run / "state"
    for name in ("step-2-good", "step-best", "step-", "step-007", "step-1e3", "best"):
        shutil.copytree(state / "step-2", state / name)
    (state / "step-9").write_text("a file")
    points = ResumePoints(run, 1)
    assert (points.steps(), points.newest()) == ([2], 2)
    trainer(corpus, run, 3).train()
    kept = {"step-3", "step-2-good", "step-best", "step-", "step-007", "step-1e3", "best", "step-9"}
    assert {path.name for path in state.iterdir()} == kept


@pytest.mark.parametrize(
    "line", ["\0\0\0", '{"step": 3, "l1', "", "null", '"step"', "[3]", '{"l1": 1.0}', '{"step": "3"}', "\udcff"]
)
def test_damaged_lines_of_the_log_are_dropped_with_a_warning(
    corpus: Path,
    run: Path,
    line: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = run / "metrics.jsonl"
    first, second = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(first + line.encode(errors="surrogateescape") + b"\n" + second)
    with caplog.at_level(logging.WARNING):
        trainer(corpus, run, 3).train()
    assert logged_steps(run) == [1, 2, 3]
    (warning,) = [record.getMessage() for record in caplog.records if "metrics.jsonl" in record.getMessage()]
    assert "dropped 1 damaged line (torn or not JSON), first line 2" in warning


def test_a_sound_log_is_resumed_without_a_warning(
    corpus: Path,
    run: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        trainer(corpus, run, 3).train()
    assert not [record for record in caplog.records if record.name.startswith("vocalgen.training.re")]


def test_optimiser_options_follow_the_configuration_after_a_resume(corpus: Path, run: Path) -> None:
    resumed = trainer(corpus, run, 3)
    (group,) = resumed.objective.optimizers["discriminator"].param_groups
    moments = resumed.objective.optimizers["autoencoder"].state_dict()["state"]
    assert group["weight_decay"] == 1e-3 and moments[0]["step"] == 2
    state = torch.load(run / "state" / "step-2" / "state.pt", weights_only=True)
    for saved in state["optimizers"].values():
        saved["param_groups"][0] |= {"weight_decay": 0.7, "betas": (0.1, 0.2), "eps": 1.0}
    torch.save(state, run / "state" / "step-2" / "state.pt")
    resumed = trainer(corpus, run, 3)
    for name, betas in (("autoencoder", (0.8, 0.99)), ("discriminator", (0.5, 0.9))):
        (group,) = resumed.objective.optimizers[name].param_groups
        assert (group["weight_decay"], group["betas"], group["eps"]) == (1e-3, betas, 1e-8)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kl_weight": 0.5}, "kl_weight: 0.003 there, 0.5 now"),
        ({"loop": {"batch_size": 2}}, "loop.batch_size: 4 there, 2 now; clips of the current epoch may be drawn twice"),
        ({"loop": {"seed": 5}}, "loop.seed: 0 there, 5 now; clips of the current epoch"),
    ],
)
def test_changed_settings_are_told_on_resume(
    corpus: Path,
    run: Path,
    change: dict[str, Any],
    words: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        trainer(corpus, run, 3, **change)
    (warning,) = [record.getMessage() for record in caplog.records if record.name == "vocalgen.training.resume"]
    assert warning.startswith(f"changed since step 2 was saved, and in force from here on: {words}")


def test_changed_clips_are_told_on_resume(
    corpus: Path,
    run: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A manifest may move; other clips in it are told."""
    rows = (corpus / "manifest.csv").read_text().splitlines(keepends=True)
    kept = [row for row in rows if ",train," not in row or "000001" not in row]
    assert 1 < len(kept) < len(rows)
    for name, lines in (("same", rows), ("fewer", kept)):
        data = {"manifest": str(tmp_path / f"{name}.csv"), "cache": str(tmp_path / name), "frames": 16}
        shutil.copytree(corpus / "mp3", tmp_path / "mp3", dirs_exist_ok=True)
        (tmp_path / f"{name}.csv").write_text("".join(lines))
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            trainer(corpus, run, 3, data=data)
        told = [record.getMessage() for record in caplog.records if record.name == "vocalgen.training.resume"]
        assert len(told) == (name == "fewer")
    words = (
        r"training clips: [0-9a-f]{16} there, [0-9a-f]{16} now; clips of the current epoch may be drawn twice or not"
    )
    assert re.search(words, told[0])


def test_other_weights_of_a_frozen_network_are_a_change(corpus: Path, tmp_path: Path) -> None:
    made = trainer(corpus, tmp_path / "run", 1)
    made.objective.teacher = network = torch.nn.Linear(2, 2)  # type: ignore[attr-defined]
    before = made.dependencies
    del made.dependencies
    assert changes(before, made.dependencies) == []
    network.weight.data.add_(1)
    del made.dependencies
    (change,) = changes(before, made.dependencies)
    assert change.name == "teacher.sha256" and change.stored != change.present
    del before["teacher.sha256"]  # an earlier release did not store it
    assert changes(before, made.dependencies) == []


def test_fewer_steps_than_done_are_told(
    corpus: Path,
    run: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = (run / "metrics.jsonl").read_bytes()
    with caplog.at_level(logging.WARNING):
        trainer(corpus, run, 1).train()
    assert f"loop.steps is 1, but {run} is at step 2; nothing is trained" in caplog.text
    assert (run / "metrics.jsonl").read_bytes() == before
    assert [path.name for path in (run / "state").iterdir()] == ["step-2"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
def test_a_run_folder_is_for_one_process(corpus: Path, run: Path) -> None:
    waiting = trainer(corpus, run, 3)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    other = subprocess.Popen([sys.executable, "-c", HOLDER, str(run)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "held\n"
    try:
        for begin in (waiting.train, lambda: trainer(corpus, run, 3)):
            with pytest.raises(VocalgenError, match=f"another process trains in {run}; wait until it ends, or choose"):
                begin()
        assert {path: path.read_bytes() for path in before} == before
    finally:
        other.kill()
        other.wait()
    waiting.train()
    assert logged_steps(run) == [1, 2, 3]


def test_a_trainer_goes_on_from_what_another_process_has_saved_meanwhile(corpus: Path, run: Path) -> None:
    waiting = trainer(corpus, run, 4)
    trainer(corpus, run, 3).train()
    waiting.train()
    assert logged_steps(run) == [1, 2, 3, 4]


def test_training_never_begins_again_over_an_export(corpus: Path, run: Path) -> None:
    shutil.rmtree(run / "state" / "step-2")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(VocalgenError, match="no resume point in state/, but export/ holds the weights of an earlier"):
        trainer(corpus, run, 3)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    shutil.rmtree(run / "export")
    with pytest.raises(VocalgenError, match=r"but metrics\.jsonl tells of step 5; training would begin at step 0"):
        (run / "metrics.jsonl").write_text('{"step": 5}\n')
        trainer(corpus, run, 3)
    (run / "metrics.jsonl").write_text('{"step": 1}\n')  # killed before the first resume point: nothing is lost
    trainer(corpus, run, 2).train()
    assert logged_steps(run) == [1, 2]


def test_a_damaged_resume_point_says_what_is_left(corpus: Path, run: Path) -> None:
    trainer(corpus, run, 3, {"keep": 2}).train()
    last, first = (run / "state" / f"step-{step}" / "state.pt" for step in (3, 2))
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(VocalgenError, match=f"{last} is damaged .*; remove {last.parent} to go on from step 2$"):
        trainer(corpus, run, 4)
    shutil.rmtree(last.parent)
    first.unlink()
    with pytest.raises(VocalgenError, match=f"there is no other resume point, but {run / 'export'} is whole: start a"):
        trainer(corpus, run, 4)
    weights = next((run / "export").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(VocalgenError, match="there is no other resume point; start again in a new"):
        ResumePoints(run, 1).load()


def full_for(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(f"vocalgen.{name}", failing)


@pytest.mark.parametrize(
    ("name", "error", "known"),
    [
        ("training.resume.torch.save", RuntimeError("[enforce fail at inline_container.cc:858] . "), False),
        ("training.autoencoder.MelAutoencoder.save_pretrained", RuntimeError("I/O error: full (os error 28)"), True),
        ("training.loop.Record.scalars", OSError(errno.ENOSPC, "No space left on device"), True),
    ],
)
def test_a_full_disk_is_one_line_with_the_last_safe_step(
    corpus: Path,
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    error: BaseException,
    known: bool,
) -> None:
    resumed = trainer(corpus, run, 3)
    if not known:
        monkeypatch.setattr("vocalgen.atomic._has_no_room", lambda folder: True)
    full_for(monkeypatch, name, error)
    safe = 3 if "Autoencoder" in name else 2
    with pytest.raises(
        NoSpaceLeft, match=f"^no space left on device for {run} at step 3: step {safe} is the last safe"
    ):
        resumed.train()
    assert ResumePoints(run, 1).steps() == [safe]
    assert not list(run.rglob("*.part*"))


def test_a_disk_that_is_full_from_the_start_leaves_no_step(
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full_for(monkeypatch, "training.resume.torch.save", OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(NoSpaceLeft, match="at step 1: no step is safe yet; free some space"):
        trainer(corpus, tmp_path / "run", 1).train()


def test_other_failures_keep_their_exception(
    corpus: Path,
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full_for(monkeypatch, "training.resume.torch.save", RuntimeError("a fault of another kind"))
    with pytest.raises(RuntimeError, match="of another kind"):
        trainer(corpus, run, 3).train()


def test_seeds_beyond_64_bits_are_refused(corpus: Path, tmp_path: Path) -> None:
    trainer(corpus, tmp_path / "run", 1, {"seed": 2**63 - 1}).train()
    with pytest.raises(VocalgenError, match=r"loop\.seed is 9223372036854775808; it must not exceed 2\^63 - 1"):
        trainer(corpus, tmp_path / "other", 1, {"seed": 2**63})


@pytest.mark.parametrize(
    "words",
    [
        ["python", "-m", "accelerate.commands.launch", "--gradient_accumulation_steps", "4", "train.py"],
        ["/bin/python", "/bin/accelerate", "launch", "--gradient-accumulation-steps=4", "train.py"],
    ],
)
def test_gradient_accumulation_of_the_launch_is_refused(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    """Also where accelerate drops the option, as it does without DeepSpeed."""
    monkeypatch.setattr("psutil.Process.cmdline", lambda self: words)
    with pytest.raises(VocalgenError, match="--gradient_accumulation_steps 4 is not supported; leave it out"):
        trainer(corpus, tmp_path / "run", 1)
    monkeypatch.setattr("psutil.Process.cmdline", lambda self: [*words[:3], "train.py"])
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    with pytest.raises(VocalgenError, match="--gradient_accumulation_steps 4 is not supported"):
        trainer(corpus, tmp_path / "run", 1)
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")
    trainer(corpus, tmp_path / "run", 1)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
def test_recipe_ends_at_once_where_another_process_trains(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the clips are prepared; a dry run is no training."""

    def unwanted(config: AutoencoderConfig) -> AutoencoderObjective:
        raise AssertionError("the objective was made")

    file = run / "config.yaml"
    other = subprocess.Popen([sys.executable, "-c", HOLDER, str(run)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "held\n"
    try:
        with pytest.raises(SystemExit) as stop:
            entry.main(AutoencoderConfig, unwanted, [str(file), f"loop.run={run}"])
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert stop.value.code == 2 and said[0].startswith(f"error: another process trains in {run}")
        with pytest.raises(AssertionError, match="the objective was made"):
            entry.main(AutoencoderConfig, unwanted, [str(file), f"loop.run={run}", "--dry-run"])
    finally:
        other.kill()
        other.wait()


def test_impossible_batches_leave_no_run_folder(corpus: Path, tmp_path: Path) -> None:
    made = trainer(corpus, tmp_path / "run", 1)
    made._batches = lambda: (_ for _ in ()).throw(VocalgenError("not a multiple"))  # type: ignore[method-assign]
    with pytest.raises(VocalgenError, match="not a multiple"):
        made.train()
    assert not (tmp_path / "run").exists()
