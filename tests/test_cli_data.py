"""`vocalgen data`: what it writes, what it prints, what it refuses."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import typer
from bursts import burst, write_emogator_tree
from typer.testing import CliRunner

from vocalgen import VocalgenError, audio
from vocalgen.cli.data import data_app
from vocalgen.cli.silence import decoders_silenced
from vocalgen.corpora.manifest import Manifest
from vocalgen.corpora.stats import describe
from vocalgen.progress import progress

ONE_PROCESS = ("--processes", "1")


def run(*arguments: object) -> str:
    result = CliRunner().invoke(data_app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def refusal(*arguments: object) -> str:
    with pytest.raises(VocalgenError) as caught:
        run(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "mp3"
    write_emogator_tree(folder, speakers=(1, 285, 320), categories=(1, 4), seconds=0.3)
    (folder / "000002-01-1.mp3").write_bytes(b"not audio at all")
    (folder / "000003-01-1.mp3").write_bytes((folder / "000001-01-1.mp3").read_bytes())
    audio.write(folder / "000004-01-1.mp3", np.zeros(14_400), 48_000)
    return folder


def test_prepare_emogator(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "made" / "manifest.csv"
    printed = run("prepare", "emogator", corpus, "--out", out, *ONE_PROCESS)
    manifest = Manifest.load(out)
    assert len(manifest) == 9 and len(manifest.usable()) == 6
    assert {clip.id: clip.flags for clip in manifest if not clip.usable} == {
        "000002-01-1": ("unreadable",),
        "000003-01-1": ("duplicate",),
        "000004-01-1": ("silent",),
    }
    manifest.check_files()
    report = json.loads((out.parent / "manifest.report.json").read_text())
    assert report["counts"]["duplicate"] == report["counts"]["silent"] == report["counts"]["unreadable"] == 1
    assert {problem["id"] for problem in report["problems"]} >= {"000002-01-1", "000003-01-1", "000004-01-1"}
    assert "duplicate: 000003-01-1 (same audio as 000001-01-1)" in printed
    listed = out.with_name("manifest.report.json")
    assert f"9 clips (5 train, 2 validation, 2 test); 3 clips left out, listed in {listed}\n" in printed
    assert sorted(entry.name for entry in out.parent.iterdir()) == ["manifest.csv", "manifest.report.json"]


def test_prepare_without_verification(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "manifest.csv"
    report = {"clips": 1, "counts": {}, "problems": []}
    (tmp_path / "manifest.report.json").write_text(json.dumps(report))
    printed = run("prepare", "emogator", corpus, "--out", out, "--no-verify", "--overwrite")
    assert "not verified" in printed
    manifest = Manifest.load(out)
    assert np.isnan([clip.seconds for clip in manifest]).all() and len(manifest.usable()) == 9
    assert not (tmp_path / "manifest.report.json").exists()
    assert "9 usable clips" in run("stats", out)


def test_prepare_folder_twice_with_the_manifest_beside_the_table(tmp_path: Path) -> None:
    lines = ["file,emotion,speaker"]
    for speaker in range(4):
        audio.write(tmp_path / f"{speaker}.wav", burst(0, 0.2, seed=speaker), 24_000)
        lines.append(f"{speaker}.wav,awkwardness,s{speaker}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    out = tmp_path / "manifest.csv"
    for _ in range(2):
        printed = run(
            "prepare", "folder", tmp_path, "-o", out, "--vocabulary", "emogator-30", "--overwrite", *ONE_PROCESS
        )
        assert "Awkwardness is approximated by Embarrassment" in printed
        assert "splits drawn by speaker" in printed
    assert [len(Manifest.load(out).split(name)) for name in ("train", "validation", "test")] == [2, 1, 1]


def test_nothing_of_the_decoders_and_of_bars_is_shown_without_a_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "awe").mkdir()
    (tmp_path / "awe" / "a.mp3").write_bytes(b"\xff\xfb" + bytes(99))
    audio.inspect(tmp_path / "awe" / "a.mp3")
    assert "Trying to resync" in capfd.readouterr().err
    result = CliRunner().invoke(
        data_app, ["prepare", "folder", str(tmp_path), "-o", str(tmp_path / "m.csv"), "--split", "test", *ONE_PROCESS]
    )
    assert result.exit_code == 0 and result.stderr == "" and capfd.readouterr().err == ""


def test_python_writes_on_while_decoders_are_silenced(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with os.fdopen(2, "w", closefd=False) as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with decoders_silenced():
            os.write(2, b"noise ")
            print("shown ", file=sys.stderr, end="")
        assert sys.stderr is terminal
    os.write(2, b"again")
    assert capfd.readouterr().err == "shown again"


def test_bars_follow_one_another_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("TERM", "xterm")
    with progress("reading rows", "packing") as (counted, advance):
        counted(7)
        counted(5)
        advance(3)
    text = shown.getvalue()
    assert "reading rows" in text and "12/?" in text and "packing" in text and "3/?" in text


def test_prepare_lists_clips_without_labels(tmp_path: Path) -> None:
    lines = [f"{k:040d}.wav,{'' if k < 9 else 1},train,{'s' if k else ''}" for k in range(12)]
    (tmp_path / "own.csv").write_text("\n".join(["file,emotion:Awe,split,speaker", *lines]))
    audio.write(tmp_path / f"{0:040d}.wav", burst(0, 0.2), 24_000)
    out = tmp_path / "made.csv"
    printed = run("prepare", "folder", tmp_path / "own.csv", "-o", out, *ONE_PROCESS)
    assert f"note: 1 train clip with unknown speaker: {0:040d}\n" in printed
    assert f" ... all of it in {out.with_suffix('.report.json')}\n" in printed
    notes = json.loads(out.with_suffix(".report.json").read_text())["notes"]
    assert notes[1] == f"9 train clips with unknown emotions: {', '.join(f'{k:040d}' for k in range(9))}"
    assert f"note: {notes[1]}\n" in run(
        "prepare", "folder", tmp_path / "own.csv", "-o", out, "--no-verify", "--overwrite"
    )


def test_prepare_overwrites_on_request_only(tmp_path: Path) -> None:
    text = "file,emotion,split\na.wav,awe,train\n"
    table, report = tmp_path / "own.csv", tmp_path / "made.report.json"
    table.write_text(text)
    for source, words in (
        (["folder", table], "is the table that"),
        (["folder", tmp_path], "is the table that"),
    ):
        assert words in refusal("prepare", *source, "--out", table, "--no-verify")
    assert table.read_text() == text
    report.write_text('{"weights": 3}')
    arguments = ["prepare", "folder", table, "--out", tmp_path / "made.csv", "--no-verify"]
    assert "made.report.json exists and was not written by vocalgen" in refusal(*arguments)
    assert json.loads(report.read_text()) == {"weights": 3} and not (tmp_path / "made.csv").exists()
    report.unlink()
    run(*arguments)
    assert "made.csv exists" in refusal(*arguments)
    run(*arguments, "--overwrite")
    made = (tmp_path / "made.csv").read_text()
    again = ["prepare", "folder", tmp_path / "made.csv", "--no-verify", "--out"]
    assert "is the table that is read" in refusal(*again, tmp_path / "made.csv", "--overwrite")
    assert (tmp_path / "made.csv").read_text() == made


def test_stats_table_and_figure(corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "manifest.csv"
    run("prepare", "emogator", corpus, "--out", out, *ONE_PROCESS)
    printed = run("stats", out, "--figure", tmp_path / "stats.png")
    assert "6 usable clips, 3 speakers" in printed and "3 left out" in printed and "1 duplicate" in printed
    assert "…" not in printed
    assert (tmp_path / "stats.png").read_bytes()[:4] == b"\x89PNG"
    assert "picture format" in refusal("stats", out, "--figure", tmp_path / "stats.bmpx")
    stats = describe(Manifest.load(out))
    assert stats.per_emotion["Awe", "train"].clips == 1 and stats.per_split["test"].speakers == 1
    assert stats.total.seconds == pytest.approx(6 * 0.3, abs=0.3)


def test_figure_of_unverified_and_soft_labels(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    header = "file,split,emotion:Joy,emotion:Grief,emotion:Envy"
    (tmp_path / "labels.csv").write_text(f"{header}\na.wav,train,1,1,0\nb.wav,test,,0.2,\nc.wav,test,0,0,0\n")
    run("prepare", "folder", tmp_path, "-o", tmp_path / "m.csv", "--no-verify")
    assert "3 usable clips, 0 speakers" in run("stats", tmp_path / "m.csv", "--figure", tmp_path / "m.svg")
    stats = describe(Manifest.load(tmp_path / "m.csv"))
    joy, grief = stats.per_emotion["Joy", "train"], stats.per_emotion["Grief", "test"]
    assert (joy.clips, grief.clips, stats.per_emotion["Envy", "test"].clips) == (1, 1, 0)


def test_refusals_leave_nothing_behind(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "made" / "manifest.csv"
    assert "not a folder" in refusal("prepare", "emogator", tmp_path / "missing", "--out", out)
    assert "unknown vocabulary" in refusal("prepare", "folder", corpus, "--out", out, "--vocabulary", "x")
    assert "unknown split" in refusal("prepare", "folder", corpus, "--out", out, "--split", "x")
    assert "ends in .csv" in refusal("prepare", "emogator", corpus, "--out", corpus)
    assert "cannot write" in refusal("prepare", "emogator", corpus, "--out", corpus / "000001-01-1.mp3" / "m.csv")
    assert "cannot read the manifest" in refusal("stats", tmp_path / "missing.csv")

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    assert "No space left" in refusal("prepare", "emogator", corpus, "--out", out, *ONE_PROCESS)
    assert list(out.parent.iterdir()) == []


def parents() -> list[str]:
    """Ids of all processes that have a child."""
    return subprocess.run(["ps", "-A", "-o", "ppid="], capture_output=True, text=True).stdout.split()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    clips = write_emogator_tree(tmp_path / "mp3", speakers=(1,), categories=(1,), seconds=1.0)
    for contributor in range(2, 280):
        for category in range(1, 31):
            os.link(clips[0], tmp_path / "mp3" / f"{contributor:06d}-{category:02d}-1.mp3")
    out = tmp_path / "out" / "manifest.csv"
    arguments = ["data", "prepare", "emogator", str(tmp_path / "mp3"), "--out", str(out), "--processes", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "vocalgen", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 30
    while str(process.pid) not in parents() and time.monotonic() < deadline:  # its processes read the clips
        time.sleep(0.1)
    time.sleep(1.0)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the whole group
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert not out.parent.exists()


def test_module_is_light() -> None:
    heavy = "{'numpy', 'torch', 'soundfile', 'matplotlib', 'rich.table'}"
    code = f"import sys, vocalgen.cli.data; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert isinstance(data_app, typer.Typer)
