"""Settings and fixtures of all tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

# Before torch or numpy load: one thread gives the same sums everywhere, and nothing asks a network.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest

if TYPE_CHECKING:
    from vocalgen.rating.study import Study

# A shell that starts pytest in the background has it ignore Ctrl-C, and so would every process the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _settled_torch() -> Iterator[None]:
    """A test finds torch with one thread and a fixed seed, whatever ran before it."""
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(1)
        torch.manual_seed(0)
    yield


@pytest.fixture(scope="session")
def root() -> Path:
    """The source tree: the folder of pyproject.toml."""
    return ROOT


class Ran(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Ran]
Line = Callable[..., str]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """The command line, in this process."""
    from vocalgen.cli.main import run

    def ran(*arguments: object) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            run([str(argument) for argument in arguments])
        code = stopped.value.code
        assert isinstance(code, int)
        return Ran(code, *capsys.readouterr())

    return ran


@pytest.fixture
def done(command: Command) -> Line:
    """A command that must succeed: what it prints."""

    def printed(*arguments: object) -> str:
        ran = command(*arguments)
        assert ran.code == 0, ran.err
        return ran.out.strip()

    return printed


@pytest.fixture
def refused(command: Command) -> Line:
    """A command that must be refused: its one line."""

    def said(*arguments: object) -> str:
        ran = command(*arguments)
        lines = [line for line in ran.err.splitlines() if not line.startswith("warning: ")]
        assert (ran.code, ran.out) == (2, ""), ran
        assert len(lines) == 1 and lines[0].startswith("error: "), ran.err
        return lines[0]

    return said


Launch = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def launch(root: Path) -> Launch:
    """`accelerate launch` with these arguments, on a free port, from the source tree."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", "0"]
        environment = os.environ | {"PYTHONPATH": str(root)}
        return subprocess.run(
            [*command, *map(str, arguments)], capture_output=True, text=True, cwd=root, env=environment
        )

    return run


@pytest.fixture(scope="session")
def emogator() -> Path:
    """The folder of the EmoGator recordings, for tests marked `corpus`; skips where there is none."""
    folder = Path(os.environ.get("VOCALGEN_EMOGATOR") or ROOT.parent / "shared" / "emogator")
    if not folder.is_dir():
        pytest.skip("no EmoGator recordings here; set VOCALGEN_EMOGATOR to their folder")
    return folder


@pytest.fixture(scope="session")
def debug_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random checkpoint (tests/debug.py); copy it before changing it."""
    from debug import save_debug_checkpoint

    return save_debug_checkpoint(tmp_path_factory.mktemp("debug"))


@pytest.fixture(scope="session")
def debug_gan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random StyleGAN2 checkpoint (tests/debug.py)."""
    from debug import debug_stylegan2

    folder = tmp_path_factory.mktemp("debug") / "gan"
    debug_stylegan2().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Manifest of the corpus of a task, made once (tests/task_corpora.py)."""
    from task_corpora import manifest_of

    from vocalgen.tasks.task import TASKS

    folder = tmp_path_factory.mktemp("corpora")
    variants = {"exvo-multitask": "-exvo", "exvo-fewshot": "-few"}

    def of(task: str) -> Path:
        corpus = folder / (TASKS[task].corpus + variants.get(task, ""))
        if not (corpus / "corpus.csv").is_file():
            corpus.mkdir()
            manifest_of(task, corpus)
        return corpus / "corpus.csv"

    return of


@pytest.fixture(scope="session")
def wavlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random speech encoder."""
    from test_encoders import waveform_encoder

    return waveform_encoder("WavLM", tmp_path_factory.mktemp("encoders") / "wavlm")


@pytest.fixture(scope="session")
def study_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the clips of a small listening study (tests/small_study.py)."""
    from small_study import write_clips

    return write_clips(tmp_path_factory.mktemp("study-clips"))


@pytest.fixture
def study(study_clips: Path, tmp_path: Path) -> Study:
    """A small listening study that nobody has begun."""
    from small_study import SETTINGS

    from vocalgen.emotions import HUME10
    from vocalgen.rating.freeze import create_study

    return create_study(tmp_path / "study", study_clips, SETTINGS, 4, HUME10)
