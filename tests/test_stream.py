"""MODULATE-STREAM: the table, tar shards, resuming, filters, and reading them back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from bursts import burst
from typer.testing import CliRunner

from vocalgen import VocalgenError, audio
from vocalgen.cli.data import data_app
from vocalgen.corpora.stream import COLUMNS, Packing, pack, read

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
    (tmp_path / "clips.tsv").write_text("\n".join(["\t".join(COLUMNS), *rows]) + "\n", encoding="utf-8")
    return tmp_path


def packed(corpus: Path, name: str = "out", processes: int = 1, **options: float) -> Path:
    packing = Packing(**{"rows": 4, **options})  # type: ignore[arg-type]
    pack(corpus / "clips", corpus / "clips.tsv", corpus / name, packing, processes)
    return corpus / name


def index(out: Path) -> dict[str, float]:
    counts: dict[str, float] = json.loads((out / "index.json").read_text())
    return {name: counts[name] for name in ("clips", "child", "missing", "wrong", "seconds")}


def test_every_clip_is_packed_once_with_its_row(corpus: Path) -> None:
    out = packed(corpus)
    assert index(out) == {"clips": 9, "child": 0, "missing": 1, "wrong": 4, "seconds": 2.25}
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


def test_voices_of_children_can_be_left_out(corpus: Path) -> None:
    out = packed(corpus, most_child=0.45)
    assert index(out)["child"] == 5 and index(out)["clips"] == 5
    assert all(float(clip.row["is_child_probability"]) <= 0.45 for clip in read(out))


def test_names_without_a_suffix_and_tables_with_more_columns(corpus: Path) -> None:
    lines = ["\t".join(["player", *COLUMNS]), "p1\t" + row("0/clip 2", child=""), "p2\t" + row("1/clip 3.5")]
    audio.write(corpus / "clips" / "1" / "clip 3.5.opus", burst(1, 0.25, RATE, 1), RATE)
    (corpus / "clips.tsv").write_text("\n".join(lines))
    out = packed(corpus)
    assert [clip.row["player"] for clip in read(out)] == ["p1", "p2"]


def test_processes_make_the_same_shards(corpus: Path) -> None:
    one, two = packed(corpus, "one"), packed(corpus, "two", processes=2)
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in two.iterdir())
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)


def test_processes_read_every_clip_once(corpus: Path) -> None:
    out = packed(corpus)
    shares = [[clip.key for clip in read(out, rank, 3)] for rank in range(3)]
    assert sorted(key for share in shares for key in share) == [clip.key for clip in read(out)]
    assert all(shares[:2])


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
    assert again == {"shard-00001.json", "shard-00001.tar"}


def test_another_packing_takes_another_folder(corpus: Path) -> None:
    packed(corpus)
    with pytest.raises(VocalgenError, match="shards of another table or packing; choose another folder"):
        packed(corpus, most_child=0.3)
    (corpus / "clips.tsv").write_text((corpus / "clips.tsv").read_text() + row("0/clip 2.opus"))
    with pytest.raises(VocalgenError, match="another table"):
        packed(corpus)


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "column clip_name is missing"), ("\t".join(COLUMNS), "has no rows"), ("a\tb\nc\td", "column clip_name")],
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


def test_damaged_shards_and_clips_are_named(corpus: Path) -> None:
    (corpus / "clips" / "0" / "clip 0.opus").write_bytes(b"nothing")
    out = packed(corpus)
    with pytest.raises(VocalgenError, match=r"cannot read clip 0/clip 0\.opus as audio"):
        next(read(out)).wave()
    content = (out / "shard-00001.tar").read_bytes()
    (out / "shard-00001.tar").write_bytes(content[:700])
    with pytest.raises(VocalgenError, match=r"shard-00001\.tar is damaged"):
        list(read(out))


def test_the_command(corpus: Path) -> None:
    command = ["prepare", "modulate-stream", str(corpus / "clips"), "--table", str(corpus / "clips.tsv")]
    done = CliRunner().invoke(data_app, [*command, "--out", str(corpus / "out"), "--rows", "4", "--processes", "1"])
    assert done.exit_code == 0, done.output
    assert "9 clips of 0.0 h in 4 shards" in done.output and "1 without a file, 4 rows" in done.output


def test_memory_does_not_grow_with_the_table(tmp_path: Path) -> None:
    """Peak memory of packing 40,000 rows is within 8 MB of that of 2,000."""
    (tmp_path / "a.opus").write_bytes(b"x" * 200)
    script = (
        "import resource, sys; from vocalgen.corpora.stream import Packing, pack;"
        "pack(sys.argv[1], sys.argv[2], sys.argv[3], Packing(rows=1000));"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for count in (2_000, 40_000):
        table = tmp_path / f"{count}.tsv"
        table.write_text("\n".join(["\t".join(COLUMNS), *[row("a")] * count]))
        command = [sys.executable, "-c", script, str(tmp_path), str(table), str(tmp_path / f"out{count}")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ})
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] < peaks[0] + 8
