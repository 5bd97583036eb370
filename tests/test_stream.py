"""MODULATE-STREAM: the table, tar shards, resuming, filters, and reading them back."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from bursts import burst
from typer.testing import CliRunner

from vocalgen import VocalgenError, atomic, audio
from vocalgen.cli.data import data_app
from vocalgen.corpora.shards import problems, read
from vocalgen.corpora.stream import CLIPS, COLUMNS, Packing, pack
from vocalgen.ownership import INDEX

RATE = 16_000


def row(name: str, child: str = "0.1", transcript: str = "hi") -> str:
    return "\t".join([name, "250", transcript, child, "0.5", '{"game": "x"}'])


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Ten clips in two folders, one of them gone, and rows that cannot be used."""
    folder = tmp_path / "clips"
    rows = []
    for number in range(10):
        name = f"{number % 2}/clip {number}.opus"
        if number != 7:
            audio.write(folder / name, burst(number % 3, 0.25, RATE, number), RATE)
        rows.append(row(name, f"{number / 10}", 'he said "no"\N{SNOWMAN}'))
    rows += [row("../clips/0/clip 0.opus"), row("0/clip 0.opus", "often"), "0/clip 2.opus\t250", row("")]
    rows += [row("0/clip 4"), row("1/clip 1.opus").replace("\t250\t", "\t0\t"), row("0\\clip 0.opus")]
    (tmp_path / "clips.tsv").write_text("\n".join(["\t".join(COLUMNS), *rows]) + "\n", encoding="utf-8")
    return tmp_path


def packed(corpus: Path, name: str = "out", processes: int = 1, **options: float) -> Path:
    packing = Packing(**{"rows": 4, **options})  # type: ignore[arg-type]
    pack(corpus / "clips", corpus / "clips.tsv", corpus / name, packing, processes)
    return corpus / name


def index(out: Path) -> dict[str, float]:
    counts: dict[str, float] = json.loads((out / "index.json").read_text())
    return {name: counts[name] for name in ("clips", "child", "repeated", "missing", "wrong", "seconds")}


def skipped(out: Path) -> list[list[str]]:
    """Rows of all lists: line of the table, name, reason."""
    found = []
    for path in sorted(out.glob("shard-*.skipped.tsv")):
        header, *lines = path.read_text(encoding="utf-8").splitlines()
        assert header == "row\tclip_name\treason"
        found += [line.split("\t") for line in lines]
    return found


def test_every_clip_is_packed_once_with_its_row(corpus: Path) -> None:
    out = packed(corpus)
    assert index(out) == {"clips": 9, "child": 0, "repeated": 2, "missing": 1, "wrong": 5, "seconds": 2.25}
    clips = list(read(out))
    assert [clip.key for clip in clips] == [f"{number:08d}" for number in range(10) if number != 7]
    for clip in clips:
        number = int(clip.key)
        path = corpus / "clips" / f"{number % 2}" / f"clip {number}.opus"
        assert clip.sound == path.read_bytes() and clip.suffix == ".opus"
        assert clip.row["transcript"] == 'he said "no"\N{SNOWMAN}' and clip.row["clip_name"].endswith(f"{number}.opus")
    wave, rate = clips[3].wave()
    np.testing.assert_array_equal(wave, audio.read(corpus / "clips" / "1" / "clip 3.opus")[0])
    assert rate == RATE
    names = tarfile.open(out / "shard-00000.tar").getnames()  # noqa: SIM115
    assert names[:2] == ["00000000.opus", "00000000.json"]


def test_what_is_left_out_is_listed(corpus: Path) -> None:
    assert skipped(packed(corpus)) == [
        ["9", "1/clip 7.opus", "cannot read 1/clip 7.opus (No such file or directory)"],
        ["12", "../clips/0/clip 0.opus", "clip_name '../clips/0/clip 0.opus' is no path below the folder"],
        ["13", "0/clip 0.opus", "is_child_probability is 'often', not a number from 0 to 1"],
        ["14", "0/clip 2.opus", "2 cells, the header has 6"],
        ["15", "", "clip_name '' is no path below the folder"],
        ["16", "0/clip 4", "the clip of row 6"],
        ["17", "1/clip 1.opus", "clip_duration_msec is '0', not a number above 0"],
        ["18", "0\\clip 0.opus", "the clip of row 2"],
    ]
    listed = skipped(packed(corpus, "all", rows=100))
    assert listed == skipped(corpus / "out")


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_a_clip_named_twice_is_packed_once(corpus: Path, rows: int) -> None:
    """A row that cannot be used does not stand in the way of a later one with its clip."""
    lines = [row("a"), row("b", "often"), row("a.opus"), row("b"), row("a"), row("b")]
    for name in "ab":
        (corpus / "clips" / f"{name}.opus").write_bytes(name.encode())
    (corpus / "clips.tsv").write_text("\n".join(["\t".join(COLUMNS), *lines]))
    out = packed(corpus, rows=rows)
    assert [(clip.key, clip.sound) for clip in read(out)] == [("00000000", b"a"), ("00000003", b"b")]
    assert [(number, reason) for number, _, reason in skipped(out) if number != "3"] == [
        ("4", "the clip of row 2"), ("6", "the clip of row 2"), ("7", "the clip of row 5"),
    ]  # fmt: skip


def test_voices_of_children_can_be_left_out(corpus: Path) -> None:
    out = packed(corpus, most_child=0.45)
    assert index(out)["child"] == 5 and index(out)["clips"] == 5
    assert ["11", "1/clip 9.opus", "is_child_probability is 0.9"] in skipped(out)
    assert all(float(clip.row["is_child_probability"]) <= 0.45 for clip in read(out))


def test_names_without_a_suffix_and_tables_with_more_columns(corpus: Path) -> None:
    header = ["Player", *(name.upper() for name in COLUMNS)]
    lines = ["\t".join(header), "p1\t" + row("0/clip 2", child=""), "p2\t" + row("1/clip 3.5")]
    audio.write(corpus / "clips" / "1" / "clip 3.5.opus", burst(1, 0.25, RATE, 1), RATE)
    (corpus / "clips.tsv").write_text("\n".join(lines))
    clips = list(read(packed(corpus)))
    assert [clip.row["Player"] for clip in clips] == ["p1", "p2"] and set(COLUMNS) < set(clips[0].row)


@pytest.mark.parametrize("column", COLUMNS)
def test_every_column_is_needed(corpus: Path, column: str) -> None:
    table = corpus / "clips.tsv"
    table.write_text(table.read_text(encoding="utf-8").replace(column, column[3:], 1), encoding="utf-8")
    with pytest.raises(VocalgenError, match=rf"column {column} is missing; is '{column[3:]}' meant for it\?"):
        packed(corpus)
    assert not (corpus / "out").exists()


def test_processes_make_the_same_shards(corpus: Path) -> None:
    one, two = packed(corpus, "one"), packed(corpus, "two", processes=2)
    names = sorted(path.name for path in one.glob("[!.]*"))
    assert names == sorted(path.name for path in two.glob("[!.]*"))
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)


def test_processes_read_every_clip_once(corpus: Path) -> None:
    out = packed(corpus)
    shares = [[clip.key for clip in read(out, rank, 3)] for rank in range(3)]
    assert sorted(key for share in shares for key in share) == [clip.key for clip in read(out)]
    assert all(shares[:2])
    with pytest.raises(VocalgenError, match="rank 3 of 3 processes: ranks are 0 to 2"):
        next(read(out, 3, 3))


def test_two_running_processes_see_every_clip_once(corpus: Path) -> None:
    out = packed(corpus)
    script = (
        "import sys; from vocalgen.corpora.shards import read\n"
        "for clip in read(sys.argv[1], int(sys.argv[2]), 2): print(clip.key)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(out), str(rank)], stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    shares = [process.communicate()[0].split() for process in running]
    assert [process.returncode for process in running] == [0, 0] and all(shares)
    assert sorted(shares[0] + shares[1]) == [clip.key for clip in read(out)]


def test_what_is_packed_stays(corpus: Path) -> None:
    out = packed(corpus)
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.glob("shard*")}
    (out / "shard-00001.json").unlink()
    (out / "index.json").unlink()
    with pytest.raises(VocalgenError, match="no complete packing"):
        list(read(out))
    packed(corpus)
    after = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.glob("shard*")}
    assert {name: content for name, (_, content) in before.items()} == {name: c for name, (_, c) in after.items()}
    again = {name for name in before if before[name][0] != after[name][0]}
    assert again == {"shard-00001.json", "shard-00001.tar", "shard-00001.skipped.tsv"}


def alive(left: Path) -> bool:
    """Whether the process that was writing a temporary file is still about to die."""
    found = re.search(r"-(\d+)\.part", left.name)
    return found is not None and atomic._alive(int(found[1]))


@pytest.mark.skipif(sys.platform == "win32", reason="named pipes and signals")
@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_run_goes_on(corpus: Path, processes: int) -> None:
    """A clip that is a pipe nobody writes to holds the second shard up; the run is killed there."""
    whole, out = packed(corpus, "whole"), corpus / "out"
    clip = corpus / "clips" / "0" / "clip 6.opus"
    sound = clip.read_bytes()
    clip.unlink()
    os.mkfifo(clip)
    script = (
        "import sys; from vocalgen.corpora.stream import Packing, pack\n"
        f"if __name__ == '__main__': pack(*sys.argv[1:], Packing(4), {processes})"
    )
    (corpus / "run.py").write_text(script)
    command = [sys.executable, str(corpus / "run.py"), str(corpus / "clips"), str(corpus / "clips.tsv"), str(out)]
    process = subprocess.Popen(command, start_new_session=True)
    first, second = out / "shard-00000.json", ".shard-00001.*.part.tar"
    deadline = time.monotonic() + 60
    while not (first.exists() and list(out.glob(second))) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    while any(alive(path) for path in out.glob(".*")) and time.monotonic() < deadline + 60:
        time.sleep(0.02)
    assert list(out.glob(second)) and not (out / "shard-00001.tar").exists()
    kept = first.stat().st_mtime_ns
    clip.unlink()
    clip.write_bytes(sound)
    packed(corpus, processes=processes)
    assert first.stat().st_mtime_ns == kept
    contents = [{path.name: path.read_bytes() for path in folder.glob("[!.]*")} for folder in (out, whole)]
    assert contents[0] == contents[1]
    assert [path.name for path in out.glob(".*")] == [INDEX]  # nor of other processes, which nobody may have buried


@pytest.mark.parametrize("content", ["{}", "[]", '{"packed": 4}', '{"packed": 4, "child": 0, "seconds": 1}', "\x00"])
def test_counts_of_another_kind_are_damaged(corpus: Path, content: str) -> None:
    """A shard is packed again, and an index is none."""
    out = packed(corpus)
    before = index(out)
    (out / "shard-00001.json").write_text(content)
    packed(corpus)
    assert index(out) == before
    (out / "index.json").write_text(content)
    for reading in (problems, lambda folder: list(read(folder))):
        with pytest.raises(VocalgenError, match="holds no complete packing"):
            reading(out)


@pytest.mark.parametrize("size", [None, 0, 700, 1 << 11])
def test_a_shard_that_was_cut_is_packed_again(corpus: Path, size: int | None) -> None:
    shard = packed(corpus) / "shard-00001.tar"
    whole = shard.read_bytes()
    assert len(whole) > 1 << 11
    if size is None:
        shard.unlink()
    else:
        os.truncate(shard, size)
    packed(corpus)
    assert shard.read_bytes() == whole


def test_a_table_in_utf_16_is_refused(corpus: Path) -> None:
    table = corpus / "clips.tsv"
    table.write_text(table.read_text(encoding="utf-8"), encoding="utf-16")
    with pytest.raises(VocalgenError, match=r"clips\.tsv: its first line is no UTF-8; save it as UTF-8"):
        packed(corpus)


def test_what_is_no_packing_is_not_written_over(corpus: Path) -> None:
    out = corpus / "out"
    out.mkdir()
    (out / "shard-00000.tar").write_text("mine")
    with pytest.raises(VocalgenError, match=r"holds 'shard-00000.tar', which vocalgen did not write"):
        packed(corpus)
    assert [path.read_text() for path in out.iterdir()] == ["mine"]
    with pytest.raises(VocalgenError, match="is a file; give a new or empty folder"):
        packed(corpus, "clips.tsv")


@pytest.mark.parametrize("content", [b"", b"row\n", b"row\tclip_name\treason\n9\n", b"\xff", None])
def test_a_shard_with_a_damaged_list_is_packed_again(corpus: Path, content: bytes | None) -> None:
    listed = packed(corpus) / "shard-00001.skipped.tsv"
    whole = listed.read_bytes()
    if content is None:
        listed.unlink()
    else:
        listed.write_bytes(content)
    packed(corpus)
    assert listed.read_bytes() == whole


def test_rows_are_counted_before_they_are_packed(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vocalgen.corpora.stream._COUNTED", 5)
    done: list[tuple[str, int]] = []
    packing = Packing(rows=10)
    counted = (lambda rows: done.append(("packed", rows)), lambda rows: done.append(("read", rows)))
    pack(corpus / "clips", corpus / "clips.tsv", corpus / "out", packing, 1, *counted)
    assert done == [("read", 5), ("read", 5), ("read", 5), ("read", 2), ("packed", 10), ("packed", 7)]


def test_another_packing_takes_another_folder(corpus: Path) -> None:
    packed(corpus)
    with pytest.raises(VocalgenError, match="shards of another table or packing; choose another folder"):
        packed(corpus, most_child=0.3)
    (corpus / "clips.tsv").write_text((corpus / "clips.tsv").read_text() + row("0/clip 2.opus"))
    with pytest.raises(VocalgenError, match="another table"):
        packed(corpus)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "column clip_name, .* is missing"),
        ("\t".join(COLUMNS), "has no rows"),
        ("a\tb\nc\td", "column clip_name"),
        (",".join(COLUMNS) + "\na,250,,0.1,0.5,", "separated by commas: save it with tabs"),
        ("\t".join([*COLUMNS, COLUMNS[0]]) + "\n", "column clip_name appears twice"),
    ],
)
def test_tables_that_are_none(corpus: Path, text: str, words: str) -> None:
    (corpus / "clips.tsv").write_text(text)
    with pytest.raises(VocalgenError, match=words):
        packed(corpus)
    assert not (corpus / "out").exists()


def test_bad_options(corpus: Path) -> None:
    for options, words in (({"rows": 0}, "one row at least"), ({"most_child": 1.5}, r"in \[0, 1\], got 1.5")):
        with pytest.raises(VocalgenError, match=words):
            Packing(**options)  # type: ignore[arg-type]
    with pytest.raises(VocalgenError, match="cannot read"):
        pack(corpus, corpus / "absent.tsv", corpus / "out")


def test_clips_that_cannot_be_decoded_are_named(corpus: Path) -> None:
    (corpus / "clips" / "0" / "clip 0.opus").write_bytes(b"nothing")
    with pytest.raises(VocalgenError, match=r"cannot read clip 0/clip 0\.opus as audio"):
        next(read(packed(corpus))).wave()


def boundaries(path: Path) -> list[int]:
    with tarfile.open(path) as tar:
        return [member.offset for member in tar.getmembers()]


@pytest.mark.parametrize(
    ("place", "clips"),
    [("0+0", 0), ("0+700", 0), ("2+0", 1), ("3+0", 1), ("4+0", 2), ("5+100", 2), ("none", 0)],
)
def test_damaged_shards_lose_no_clip_silently(corpus: Path, place: str, clips: int) -> None:
    """Cut off between two members as well as within one, or gone: what is left is read, and the shard named."""
    out = packed(corpus)
    shard = out / "shard-00001.tar"  # three clips: one of its rows has no file
    if place == "none":
        shard.unlink()
    else:
        member, more = map(int, place.split("+"))
        shard.write_bytes(shard.read_bytes()[: boundaries(shard)[member] + more])
    words = rf"shard-00001\.tar is damaged: {clips} of its 3 clips are there.*; remove it with its \.json, pack again"
    keys: list[str] = []
    with pytest.raises(VocalgenError, match=words):
        keys.extend(clip.key for clip in read(out))
    told: list[str] = []
    keys = [clip.key for clip in read(out, damaged=told.append)]
    assert keys == [f"{number:08d}" for number in [0, 1, 2, 3, *[4, 5, 6][:clips], 8, 9]]
    assert len(told) == 1 and re.search(words, told[0])


def test_a_shard_of_other_clips_is_damaged(corpus: Path) -> None:
    out = packed(corpus)
    (out / "shard-00001.tar").write_bytes((out / "shard-00000.tar").read_bytes())
    with pytest.raises(VocalgenError, match="4 of its 3 clips"):
        list(read(out))


def test_shards_beside_their_index(corpus: Path) -> None:
    out = packed(corpus)
    (out / "shard-00002.tar").unlink()
    advanced: list[int] = []
    found = problems(out, advance=advanced.append)
    assert found[:4] == [
        f"17 rows, published are {CLIPS:,}",
        "2 rows with a clip of an earlier row: see shard-*.skipped.tsv",
        "1 row without an audio file: see shard-*.skipped.tsv",
        "5 rows unusable: see shard-*.skipped.tsv",
    ]
    assert len(found) == 5 and f"{out / 'shard-00002.tar'} is damaged: 0 of its 2 clips are there (No such" in found[4]
    assert len(advanced) == 5 and problems(out, processes=2) == found
    done = CliRunner().invoke(data_app, ["verify", str(out), "--processes", "1"])
    assert done.exit_code == 1 and all(line in done.output for line in found)


def test_a_whole_corpus_is_as_published(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (corpus / "clips.tsv").write_text("\n".join(["\t".join(COLUMNS), row("0/clip 0"), row("0/clip 2", "0.7")]))
    out = packed(corpus, most_child=0.5)
    monkeypatch.setattr("vocalgen.corpora.shards.CLIPS", 2)
    done = CliRunner().invoke(data_app, ["verify", str(out), "--processes", "1"])
    assert done.exit_code == 0 and "as published" in done.output


def test_the_command(corpus: Path) -> None:
    out = corpus / "out"
    command = ["prepare", "modulate-stream", str(corpus / "clips"), "--table", str(corpus / "clips.tsv")]
    done = CliRunner().invoke(data_app, [*command, "--out", str(out), "--rows", "4", "--processes", "1"])
    assert done.exit_code == 0, done.output
    assert "9 clips of 0.0 h in 5 shards" in done.output
    assert "2 there already, 1 without a file, 5 rows that cannot be used" in done.output
    assert f"listed in {out / 'shard-*.skipped.tsv'}" in done.output
    (corpus / "elsewhere").mkdir()
    command[2] = str(corpus / "elsewhere")
    done = CliRunner().invoke(data_app, [*command, "--out", str(corpus / "none"), "--processes", "1"])
    assert done.exit_code != 0 and "could be packed; is" in str(done.exception)
    command[2] = str(corpus / "clips")
    done = CliRunner().invoke(data_app, [*command, "--out", str(corpus / "none"), "--processes", "1"])
    assert done.exit_code == 0 and "9 clips of 0.0 h" in done.output  # clips that have come are packed
    (corpus / "none" / "shard-00000.json").write_text("{")
    done = CliRunner().invoke(data_app, [*command, "--out", str(corpus / "none"), "--processes", "1"])
    assert done.exit_code == 0 and "9 clips of 0.0 h" in done.output
    (corpus / "none" / "made-of.json").write_text("{")
    done = CliRunner().invoke(data_app, [*command, "--out", str(corpus / "none"), "--processes", "1"])
    assert "made-of.json is damaged" in str(done.exception)


def test_memory_does_not_grow_with_the_table(tmp_path: Path) -> None:
    """Peak memory of packing 20,000 rows is within 8 MB of that of 1,000."""
    (tmp_path / "clips" / "0").mkdir(parents=True)
    for number in range(200):
        (tmp_path / "clips" / "0" / f"{number}.opus").write_bytes(b"x" * 200)
    for number in range(1, 100):
        (tmp_path / "clips" / str(number)).symlink_to("0")
    script = (
        "import resource, sys; from vocalgen.corpora.stream import Packing, pack;"
        "pack(sys.argv[1], sys.argv[2], sys.argv[3], Packing(rows=1000));"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for count in (1_000, 20_000):
        table = tmp_path / f"{count}.tsv"
        table.write_text(
            "\n".join(["\t".join(COLUMNS), *(row(f"{number // 200}/{number % 200}") for number in range(count))])
        )
        command = [sys.executable, "-c", script, str(tmp_path / "clips"), str(table), str(tmp_path / f"out{count}")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ})
        peaks.append(int(done.stdout) / 1024)
    assert len(list((tmp_path / "out20000").glob("*.tar"))) == 20
    assert peaks[1] < peaks[0] + 8
