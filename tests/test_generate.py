"""Batch generation: exact manifests, resuming, the same clips however the work is cut."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, Launch
from debug import debug_pipeline

from vocalgen import VocalgenError, audio
from vocalgen.emotions import EMOGATOR30
from vocalgen.generation import batch
from vocalgen.generation.batch import (
    CLIPS,
    MANIFEST,
    PARTS,
    RUN,
    Job,
    Recipe,
    Run,
    conclude,
    damaged,
    finished,
    plan,
    prepare,
)
from vocalgen.generation.checkpoint import checkpoint_sha256
from vocalgen.generation.settings import Sampling
from vocalgen.generation.synthesis import Synthesis
from vocalgen.ownership import INDEX, own_folder

EMOTIONS = ("awe", "fear", "relief")


@pytest.fixture(scope="module")
def synthesis(debug_checkpoint: Path) -> Synthesis:
    pipeline = debug_pipeline()
    pipeline.folder = debug_checkpoint  # its name stands in the tags of every clip
    return pipeline


def fill(synthesis: Synthesis, folder: Path, per_emotion: int = 4, world: int = 1, **options: Any) -> list[Job]:
    recipe = Recipe("0" * 64, 0, synthesis.settings(), format="wav")
    jobs = plan(EMOTIONS, per_emotion, EMOGATOR30, 0, "wav")
    prepare(folder, recipe)
    for rank in range(world):
        Run(synthesis, recipe, folder, jobs, rank, world, **options).fill()
    conclude(folder)
    return jobs


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != INDEX]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def read_manifest(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / MANIFEST).read_text().splitlines()]


@pytest.fixture(scope="module")
def complete(synthesis: Synthesis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("complete") / "clips"
    fill(synthesis, folder)
    return folder


def test_the_manifest_tells_the_truth(synthesis: Synthesis, complete: Path) -> None:
    lines = read_manifest(complete)
    assert [line["file"] for line in lines] == [
        f"{name}/{name}-{30 * i + EMOGATOR30.index(name)}.wav" for name in EMOTIONS for i in range(4)
    ]
    assert {path for path in digests(complete)} == {line["file"] for line in lines} | {MANIFEST, RUN}
    for line in lines:
        wave, rate = audio.read(complete / line["file"])
        assert (rate, len(wave) / rate) == (line["sample_rate"], pytest.approx(line["seconds"], abs=1e-6))
        assert abs(wave).max() == pytest.approx(line["peak"], abs=1e-4)
        assert line["intensities"] == [float(name == line["emotion"]) for name in EMOGATOR30.slugs]
        assert line["sampling"] == synthesis.settings().to_dict()
    first = lines[0]
    again = synthesis(first["emotion"], seed=first["seed"])
    assert abs(audio.read(complete / first["file"])[0] - again.clips[0]).max() < 2 / 32768


def test_no_two_clips_share_a_seed() -> None:
    jobs = plan(EMOGATOR30.slugs, 7, EMOGATOR30, 100, "wav")
    assert len({job.seed for job in jobs}) == len(jobs) == 210
    assert min(job.seed for job in jobs) == 100


def test_seeds_do_not_depend_on_what_else_is_made() -> None:
    alone = {job.file: job for job in plan(["fear"], 2, EMOGATOR30, 9, "wav")}
    amid = {job.file: job for job in plan(["relief", "fear", "awe"], 5, EMOGATOR30, 9, "wav")}
    assert alone.items() <= amid.items()


@pytest.mark.parametrize(
    ("emotions", "per_emotion", "seed", "words"),
    [
        (["aww"], 1, 0, "did you mean awe"),
        ([], 1, 0, "at least one"),
        (["awe"], 0, 0, "at least one"),
        (["awe", "Awe"], 1, 0, "twice"),
        (["awe"], 1, -1, "seeds"),
    ],
)
def test_bad_plans(emotions: list[str], per_emotion: int, seed: int, words: str) -> None:
    with pytest.raises(VocalgenError, match=words):
        plan(emotions, per_emotion, EMOGATOR30, seed, "wav")


@pytest.mark.parametrize("options", [{"world": 2}, {"world": 5}, {"batch_size": 1}, {"batch_size": 100}])
def test_clips_are_the_same_however_the_work_is_cut(
    synthesis: Synthesis, complete: Path, tmp_path: Path, options: dict[str, int]
) -> None:
    fill(synthesis, tmp_path / "clips", **options)
    assert digests(tmp_path / "clips") == digests(complete)


def test_a_set_can_be_extended(synthesis: Synthesis, complete: Path, tmp_path: Path) -> None:
    fill(synthesis, tmp_path / "clips", per_emotion=2)
    before = digests(tmp_path / "clips")
    stamps = {file: (tmp_path / "clips" / file).stat().st_mtime_ns for file in before}
    fill(synthesis, tmp_path / "clips", per_emotion=4)
    assert digests(tmp_path / "clips") == digests(complete)
    for file in before.keys() - {MANIFEST}:
        assert (tmp_path / "clips" / file).stat().st_mtime_ns == stamps[file]


class Killed(BaseException):
    """Stands for a kill: nothing in the package may handle it."""


@pytest.mark.parametrize("moment", range(0, 16, 3))
@pytest.mark.parametrize("world", [1, 2])
def test_a_run_killed_at_any_write_is_resumed(
    synthesis: Synthesis,
    complete: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: int,
    world: int,
) -> None:
    """Twelve clips, two part manifests, run.json and the manifest: sixteen atomic writes; die at one of them."""
    folder, count = tmp_path / "clips", 0
    replace = Path.replace

    def dying(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count > moment:
            self.with_name(".leftover.vocalgen-4194303.part.wav").write_bytes(b"half")  # as a real kill leaves it
            raise Killed
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dying)
        with pytest.raises(Killed):
            fill(synthesis, folder, world=world)
    for path in folder.rglob("*.wav"):
        if not path.name.startswith("."):
            audio.read(path)
    if not (folder / RUN).exists():  # killed before it began
        for path in folder.iterdir():
            path.unlink()
    safe = {file: (folder / file).stat().st_mtime_ns for file in finished(folder)}
    fill(synthesis, folder)
    assert digests(folder) == digests(complete)
    assert {file: (folder / file).stat().st_mtime_ns for file in safe} == safe


def test_a_lost_clip_is_made_again(synthesis: Synthesis, complete: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    fill(synthesis, folder)
    (folder / "fear/fear-14.wav").unlink()
    fill(synthesis, folder)
    assert digests(folder) == digests(complete)


@pytest.mark.parametrize("size", [0, 3000])
def test_generate_makes_cut_clips_again(synthesis: Synthesis, complete: Path, tmp_path: Path, size: int) -> None:
    folder = tmp_path / "clips"
    fill(synthesis, folder)
    (folder / "fear/fear-14.wav").write_bytes((folder / "fear/fear-14.wav").read_bytes()[:size])
    (folder / "awe/awe-3.wav").write_bytes((folder / "awe/awe-3.wav").read_bytes()[:-1])
    assert sorted(damaged(folder)) == ["awe/awe-3.wav", "fear/fear-14.wav"]
    fill(synthesis, folder)
    assert digests(folder) == digests(complete) and damaged(folder) == []


def test_generate_takes_other_settings_where_no_clip_is_there(
    synthesis: Synthesis, complete: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "clips"
    other = Recipe("0" * 64, 0, Sampling(steps=20))
    prepare(folder, other)
    fill(synthesis, folder)
    assert digests(folder) == digests(complete)
    for clip in folder.glob("*/*.wav"):
        clip.unlink()
    prepare(folder, other)  # the manifest listed clips that were removed
    assert not (folder / MANIFEST).exists() and json.loads((folder / RUN).read_text())["sampling"]["steps"] == 20
    (folder / "awe").mkdir(exist_ok=True)
    (folder / "awe" / "awe-3.wav").write_bytes(b"of a batch that was killed before its manifest was written")
    with pytest.raises(VocalgenError, match="steps: 20 there"):
        fill(synthesis, folder)


def test_generate_stops_where_another_process_has_begun_anew(
    synthesis: Synthesis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, folder = Recipe("0" * 64, 0, synthesis.settings()), tmp_path / "clips"
    waves = Run._waves

    def taken_over(self: Run, jobs: list[Job]) -> Any:
        prepare(folder, Recipe("0" * 64, 0, Sampling(steps=20)))
        (folder / "awe").mkdir(exist_ok=True)
        (folder / "awe" / "awe-3.wav").touch()
        return waves(self, jobs)

    prepare(folder, recipe)
    monkeypatch.setattr(Run, "_waves", taken_over)
    with pytest.raises(VocalgenError, match="steps: 20 there"):
        Run(synthesis, recipe, folder, plan(["fear"], 1, EMOGATOR30, 0, "wav")).fill()
    assert [path.name for path in folder.glob("*/*.wav")] == ["awe-3.wav"]


def test_nothing_is_left_to_do(synthesis: Synthesis, complete: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "mels", None, raising=False)
    before = digests(complete)
    fill(synthesis, complete)
    assert digests(complete) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"checkpoint": "1" * 64}, "checkpoint: 0{16} there, 1{16} now"),
        ({"seed": 1}, "seed: 0 there, 1 now"),
        ({"sampling": Sampling(steps=5)}, r"other settings \(.*steps: \d+ there, 5 now.*\)"),
        ({"duration": 0.5}, "duration: not set there, 0.5 now"),
        ({"trim": False}, "trim: true there, false now"),
        ({"format": "mp3"}, "format: wav there, mp3 now"),
    ],
)
def test_a_folder_of_other_clips_is_refused(
    synthesis: Synthesis, complete: Path, change: dict[str, Any], words: str
) -> None:
    wanted = {"checkpoint": "0" * 64, "seed": 0, "sampling": synthesis.settings(), **change}
    with pytest.raises(VocalgenError, match=words):
        prepare(complete, Recipe(**wanted))


def test_a_folder_of_unknown_files_is_refused(synthesis: Synthesis, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(VocalgenError, match=r"thesis\.tex"):
        prepare(tmp_path, Recipe("0", 0, synthesis.settings()))
    (tmp_path / "thesis.tex").unlink()
    own_folder(tmp_path, CLIPS)
    for text in ("{", "[]"):
        (tmp_path / RUN).write_text(text)
        with pytest.raises(VocalgenError, match="damaged"):
            prepare(tmp_path, Recipe("0", 0, synthesis.settings()))


def test_a_full_disk_stops_the_run_and_leaves_it_resumable(
    synthesis: Synthesis, complete: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, count = tmp_path / "clips", 0
    write = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        nonlocal count
        count += 1
        if count == 10:
            write(self, data[:100])
            raise OSError(28, "No space left on device")
        return write(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(VocalgenError, match=r"cannot write .*\.wav: No space left"):
            fill(synthesis, folder)
    assert not list(folder.rglob("*.part.*"))
    assert len(finished(folder)) == 8 and not (folder / MANIFEST).exists()
    fill(synthesis, folder)
    assert digests(folder) == digests(complete)


def test_timing_adds_up(synthesis: Synthesis, tmp_path: Path) -> None:
    recipe = Recipe("0", 0, synthesis.settings())
    jobs = plan(["awe"], 3, EMOGATOR30, 0, "wav")
    prepare(tmp_path, recipe)
    timing = Run(synthesis, recipe, tmp_path, jobs).fill()
    assert timing.clips == 3 and min(timing.generator, timing.vocoder, timing.writing) > 0
    seconds = [line["seconds"] for line in finished(tmp_path).values()]
    assert timing.audio == pytest.approx(sum(seconds), abs=1e-4)
    assert timing.untrimmed == pytest.approx(3 * synthesis.seconds)


def test_the_command(debug_checkpoint: Path, tmp_path: Path, command: Command) -> None:
    arguments = [
        "--out",
        tmp_path / "g",
        "-n",
        2,
        "-e",
        "awe",
        "-e",
        "Fear",
        "--checkpoint",
        debug_checkpoint,
        "--device",
        "cpu",
    ]
    code, out, _ = command("generate", *arguments, "--format", "flac", "--steps", 2)
    assert code == 0
    assert "4 clips" in out and "x real time" in out and "vocoder" in out
    lines = read_manifest(tmp_path / "g")
    assert [line["file"] for line in lines] == [
        "awe/awe-3.flac", "awe/awe-33.flac", "fear/fear-14.flac", "fear/fear-44.flac"
    ]  # fmt: skip
    assert lines[0]["checkpoint"] == checkpoint_sha256(debug_checkpoint)
    assert lines[0]["sampling"]["steps"] == 2
    code, out, _ = command("generate", *arguments, "--format", "flac", "--steps", 2)
    assert (code, "nothing was left to do" in out) == (0, True)
    (tmp_path / "g" / lines[1]["file"]).write_bytes(b"")
    code, out, err = command("generate", *arguments, "--format", "flac", "--steps", 2)
    assert code == 0 and "1 clip cut or empty, made again; the first: awe/awe-33.flac" in err
    assert (tmp_path / "g" / lines[1]["file"]).stat().st_size == lines[1]["bytes"]
    code, _, err = command("generate", *arguments, "--format", "flac", "--steps", 3)
    assert code == 2 and "made with other settings (sampling.steps: 2 there, 3 now);" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-n", 0], "--per-emotion must be at least 1"),
        (["--batch-size", 0], "--batch-size must be at least 1"),
        (["-e", "awe,wonder"], "unknown emotion 'wonder'"),
        (["-e", "awe,"], "unknown emotion ''"),
        (["--format", "aac"], "unknown audio format 'aac'"),
        (["--solver", "euler"], "unknown solver"),
        (["--steps", 0], "steps"),
        (["--duration", 0.01], "duration"),
        (["--seed", -1], "seeds"),
        (["--checkpoint", "nonsense"], "no checkpoint 'nonsense'"),
        (["--device", "nonsense"], "cannot use device"),
        (["--duration", 5], "0.1 and 1.02"),
    ],
)
def test_bad_arguments(
    debug_checkpoint: Path,
    tmp_path: Path,
    command: Command,
    arguments: list[object],
    words: str,
) -> None:
    code, _, err = command("generate", "--out", tmp_path / "g", "--checkpoint", debug_checkpoint, *arguments)
    assert code == 2 and words in err and err.startswith("error: ") and err.count("\n") == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]  # the folder takes other settings


def test_two_processes_make_the_same_clips(
    debug_checkpoint: Path, complete: Path, tmp_path: Path, root: Path, launch: Launch
) -> None:
    launcher = ("--config_file", root / "recipes" / "accelerate" / "multi_cpu.yaml", "-m", "vocalgen", "generate")
    arguments = ("-n", 4, "-e", ",".join(EMOTIONS), "--checkpoint", debug_checkpoint, "--device", "cpu")
    done = launch(*launcher, *arguments, "--out", tmp_path / "clips")
    assert done.returncode == 0, done.stderr
    assert "(the first of 2 processes)" in done.stdout
    there, here = digests(tmp_path / "clips"), digests(complete)
    assert {file: there[file] for file in here if file.endswith(".wav")} == {
        file: here[file] for file in here if file.endswith(".wav")
    }
    assert [line["file"] for line in read_manifest(tmp_path / "clips")] == [
        line["file"] for line in read_manifest(complete)
    ]
    assert not (tmp_path / "clips" / PARTS).exists()


def test_ctrl_c_leaves_a_folder_that_can_be_resumed(debug_checkpoint: Path, tmp_path: Path) -> None:
    arguments = [
        "generate",
        "--out",
        str(tmp_path / "clips"),
        "-n",
        "2000",
        "-e",
        "awe",
        "--checkpoint",
        str(debug_checkpoint),
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "vocalgen", *arguments],
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 300
    while len(list(tmp_path.glob("clips/.parts/*.jsonl"))) < 2 and time.monotonic() < until:
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "Traceback" not in said and said.rstrip().endswith("error: interrupted")
    done = finished(tmp_path / "clips")
    assert 16 <= len(done) < 2000 and not (tmp_path / "clips" / MANIFEST).exists()
    assert not list(tmp_path.rglob("*.part.*"))
    for path in tmp_path.rglob("*.wav"):
        audio.read(path)


def test_the_manifest_names_are_a_format() -> None:
    assert (batch.MANIFEST, batch.RUN) == ("manifest.jsonl", "run.json")
