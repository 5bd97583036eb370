"""`vocalgen sample`: files, what is printed, and mistakes found before the slow work."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Command, Line

from vocalgen import VocalBurstPipeline, audio
from vocalgen.cli import outputs


@pytest.fixture
def no_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a checkpoint fails the test: the mistake has to be found before."""
    monkeypatch.setattr(outputs, "load", lambda *_: pytest.fail("loaded the networks before looking"))


def test_formats_are_those_of_audio() -> None:
    assert outputs.FORMATS == audio.FORMATS


def test_files_are_named_after_emotion_and_seed(debug_checkpoint: Path, tmp_path: Path, command: Command) -> None:
    code, out, err = command(
        "sample",
        "-e",
        "awe",
        "-e",
        "fear=0.5, Awe=0.7",
        "-n",
        2,
        "--seed",
        7,
        "-o",
        tmp_path,
        "--checkpoint",
        debug_checkpoint,
    )
    assert (code, err) == (0, "")
    names = [f"{label}-{seed}.wav" for label in ("awe", "awe=0.7,fear=0.5") for seed in (7, 8)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    expected = VocalBurstPipeline.from_pretrained(debug_checkpoint)(["awe", "awe=0.7,fear=0.5"], 2, seed=7)
    for line, name, clip, seed in zip(out.splitlines(), names, expected.clips, expected.seeds, strict=True):
        wave, rate = audio.read(tmp_path / name)
        assert rate == 24_000 and abs(wave - clip).max() < 2 / 32768
        assert line == f"{tmp_path / name}  {len(wave) / rate:.2f} s  seed {seed}"


def test_the_current_folder_is_the_default(
    debug_checkpoint: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = command("sample", "--emotion", "awe", "--checkpoint", debug_checkpoint)
    assert code == 0 and out.startswith("awe-0.wav  ")
    assert (tmp_path / "awe-0.wav").is_file()


@pytest.mark.parametrize("format", audio.FORMATS)
def test_formats(format: str, debug_checkpoint: Path, tmp_path: Path, command: Command) -> None:
    base = ["-e", "awe", "--checkpoint", debug_checkpoint, "--no-trim"]
    assert command("sample", *base, "-o", tmp_path / f"clip.{format}").code == 0
    assert command("sample", *base, "-o", tmp_path / "new" / "folder", "--format", format.upper()).code == 0
    for path in (tmp_path / f"clip.{format}", tmp_path / "new" / "folder" / f"awe-0.{format}"):
        report = audio.inspect(path)
        assert report.flags == () and report.seconds == pytest.approx(1.024, abs=0.1)


def test_sampler_options_reach_the_sampler(debug_checkpoint: Path, tmp_path: Path, command: Command) -> None:
    base = ["-e", "awe", "--checkpoint", debug_checkpoint]
    variants = [[], ["--steps", 5], ["--guidance", 4], ["--solver", "heun"], ["--duration", 0.5], ["--seed", 1]]
    seen = set()
    for number, options in enumerate(variants):
        assert command("sample", *base, "-o", tmp_path / f"{number}.flac", *options).code == 0
        seen.add(audio.inspect(tmp_path / f"{number}.flac").digest)
    assert len(seen) == len(variants)


def test_approximated_names_are_noted_on_stderr(debug_checkpoint: Path, tmp_path: Path, command: Command) -> None:
    code, out, err = command("sample", "-e", "awkwardness", "-o", tmp_path, "--checkpoint", debug_checkpoint)
    assert code == 0 and err.startswith("note: Awkwardness is approximated by Embarrassment") and "note" not in out


def test_plot_draws_beside_the_clip(debug_checkpoint: Path, tmp_path: Path, done: Line) -> None:
    pytest.importorskip("matplotlib")
    done("sample", "-e", "awe", "-o", tmp_path / "a.ogg", "--plot", "--checkpoint", debug_checkpoint)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("no_loading")
def test_plot_without_matplotlib_says_what_to_install(
    debug_checkpoint: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    code, _, err = command("sample", "-e", "awe", "-o", tmp_path, "--plot", "--checkpoint", debug_checkpoint)
    assert code == 2 and "pip install 'vocalgen[train]'" in err and err.count("\n") == 1


@pytest.mark.usefixtures("no_loading")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-e", "aww"], "did you mean awe"),
        (["-e", "horror"], "no counterpart"),
        (["-e", "awe=1.2"], "0 to 1"),
        (["-e", "awe=-0.1"], "0 to 1"),
        (["-e", "awe=nan"], "0 to 1"),
        (["-e", "awe=loud"], "0 to 1"),
        (["-e", "awe,,fear"], "empty part"),
        (["-e", "awe=0"], "above 0"),
        (["-e", "awe", "-n", "0"], "-n must be at least 1"),
        (["-e", "awe", "-n", "-3"], "-n must be at least 1"),
        (["-e", "awe", "-n", "two"], "--number"),
        (["-e", "awe", "--seed", "-1"], "2^63 - 1, got -1\n"),
        (["-e", "awe", "--seed", "-1", "-n", "5"], "2^63 - 1, got -1 to 3\n"),
        (["-e", "awe", "--steps", "0"], "steps"),
        (["-e", "awe", "--guidance", "nan"], "guidance"),
        (["-e", "awe", "--solver", "euler"], "unknown solver 'euler'"),
        (["-e", "awe", "--duration", "0"], "duration"),
        (["-e", "awe", "--format", "aac"], "unknown audio format 'aac'"),
        (["-e", "awe", "--out", "x.aac"], "unknown audio format 'aac'"),
        (["-e", "awe", "--out", "x.wav", "--format", "mp3"], "disagree"),
        (["-e", "awe", "--out", "x.wav", "-n", "2"], "several clips"),
        (["-e", "awe", "-e", "fear", "--out", "x.wav"], "several clips"),
        (["-e", "awe", "--out", "taken"], "file without an audio suffix"),
        (["-e", "awe", "--out", "taken/deeper"], "cannot write into taken/deeper"),
        (["-e", "awe", "--checkpoint", "nonsense"], "no checkpoint 'nonsense'"),
        (["-e", "awe", "--checkpoint", "emogator-classifier-24k"], "not a vocalgen checkpoint for making clips"),
        (["-e", "awe", "--checkpoint", "."], "not a vocalgen checkpoint"),
        ([], "--emotion"),
    ],
)
def test_mistakes_are_found_before_anything_loads(
    debug_checkpoint: Path,
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("")
    code, out, err = command("sample", "--checkpoint", debug_checkpoint, *arguments)
    assert (code, out) == (2, "")
    assert words in err and err.startswith("error: ") and err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_mistakes_do_not_load_torch(debug_checkpoint: Path) -> None:
    script = (
        "import sys\nfrom vocalgen.cli.main import run\n"
        f"try:\n    run(['sample', '-e', 'aww', '--checkpoint', {str(debug_checkpoint)!r}])\n"
        "except SystemExit as stop:\n    print(stop.code, sorted({'torch', 'numpy', 'diffusers'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "2 []\n", done.stderr


@pytest.mark.usefixtures("no_loading")
def test_a_read_only_folder_is_found_before_anything_loads(
    debug_checkpoint: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:  # root may write anywhere, so permissions alone prove nothing
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("vocalgen.atomic.tempfile.TemporaryFile", refuse)
    code, _, err = command("sample", "-e", "awe", "-o", tmp_path, "--checkpoint", debug_checkpoint)
    assert code == 2 and f"cannot write into {tmp_path}: Permission denied" in err and err.count("\n") == 1


def test_a_disk_that_fills_up_leaves_no_half_file(
    debug_checkpoint: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, count = Path.write_bytes, 0

    def full(self: Path, data: bytes) -> int:
        nonlocal count
        count += 1
        if count == 2:
            write(self, data[:100])
            raise OSError(28, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    code, out, err = command("sample", "-e", "awe", "-n", 3, "-o", tmp_path, "--checkpoint", debug_checkpoint)
    assert code == 2 and "awe-1.wav: No space left" in err and err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["awe-0.wav"] and out.count("\n") == 1


@pytest.mark.parametrize("part", ["transformer", "vocoder"])
def test_a_damaged_checkpoint_is_one_line(part: str, debug_checkpoint: Path, tmp_path: Path, command: Command) -> None:
    copy = Path(shutil.copytree(debug_checkpoint, tmp_path / "copy"))
    weights = next((copy / part).glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-50])
    code, _, err = command("sample", "-e", "awe", "-o", tmp_path / "out", "--checkpoint", copy)
    assert code == 2 and str(weights) in err and "damaged" in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_device_that_is_not_there_is_one_line(debug_checkpoint: Path, tmp_path: Path, refused: Line) -> None:
    wrong = ("--device", "cuda:99")
    assert "--device cpu" in refused("sample", "-e", "awe", "-o", tmp_path, "--checkpoint", debug_checkpoint, *wrong)


def test_ctrl_c_in_the_middle(debug_checkpoint: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "vocalgen",
            "sample",
            "-e",
            "awe",
            "-n",
            "100000",
            "-o",
            str(tmp_path / "out"),
            "--checkpoint",
            debug_checkpoint,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "error: interrupted\n")
    assert list((tmp_path / "out").iterdir())
    for path in (tmp_path / "out").iterdir():
        assert path.suffix == ".wav" and not path.name.startswith(".")
        audio.read(path)
