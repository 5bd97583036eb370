"""MODULATE-SONATA: recordings with timed texts, described by a mapping, cut into segments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from bursts import burst
from typer.testing import CliRunner

from vocalgen import VocalgenError, audio
from vocalgen.cli.data import data_app
from vocalgen.corpora.manifest import Manifest
from vocalgen.corpora.sonata import LABELS, cut, read_layout, seconds, segments

RATE = 16_000
TEXTS = {
    "anna/king": "0:00.5 - 0:01.25 Awe: Look at that.\n\n1.25-2.0 seductionecstasy: Oh.\n# made by hand\n",
    "anna/maid": "0-0.75 surprisenegative: No!\n",
    "ben/king": "0.2-1 Hype: Go, go, go!\n1-1.9 Sadness:\n",
}
EMOTIONS = {
    "anna-king-0000500": "Awe",
    "anna-king-0001250": "Seduction/Ecstasy",
    "anna-maid-0000000": "Surprise (Negative)",
    "ben-king-0000200": "Hype",
    "ben-king-0001000": "Sadness",
}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "sonata"
    for number, (name, text) in enumerate(TEXTS.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        audio.write(folder / f"{name}.mp3", burst(number, 2.0, RATE, number), RATE)
        (folder / f"{name}.txt").write_text(text)
    (folder / "notes.txt").write_text("nothing")
    return folder


@pytest.fixture
def layout_file(tmp_path: Path, root: Path) -> Path:
    values = yaml.safe_load((root / "recipes" / "modulate_sonata" / "layout.yaml").read_text())
    values["splits"] = {"train": ["anna"], "test": ["ben"]}
    (tmp_path / "layout.yaml").write_text(yaml.safe_dump(values))
    return tmp_path / "layout.yaml"


def test_a_segment_that_ends_behind_its_recording_is_refused(corpus: Path, layout_file: Path, tmp_path: Path) -> None:
    text = corpus / "ben" / "king.txt"
    layout = read_layout(layout_file)
    for end, fits in (("2.3", True), ("9:00", False)):
        text.write_text(f"0:00.2-0:{end} Hype: Oh." if fits else f"0:00.2-{end} Hype: Oh.")
        found, _ = segments(corpus, layout)
        if fits:
            assert len(cut(found, layout, tmp_path / "out")) == len(found)
        else:
            with pytest.raises(VocalgenError, match=r"has 2\.0 s, but segment ben-king-0000200 ends at 540 s"):
                cut(found, layout, tmp_path / "out")


def test_a_text_without_sentences_is_told(corpus: Path, layout_file: Path) -> None:
    (corpus / "ben" / "king.txt").write_text("")
    found, remarks = segments(corpus, read_layout(layout_file))
    assert {segment.actor for segment in found} == {"anna"}
    assert remarks[0].startswith("2 lines of text not understood: ")


def test_what_lacks_a_recording_is_told(corpus: Path, layout_file: Path, tmp_path: Path) -> None:
    (corpus / "ben" / "king.mp3").unlink()
    layout = read_layout(layout_file)
    found, remarks = segments(corpus, layout)
    assert remarks[1:] == ("1 text without a recording: ben/king.txt",)
    assert "actors of the mapping without a recording: ben" in cut(found, layout, tmp_path / "out").notes


def test_segments_that_overlap_stay_and_are_listed(corpus: Path, layout_file: Path) -> None:
    (corpus / "anna" / "king.txt").write_text("1-1.9 Awe: c\n0-0.6 Fear: a\n0.5-1.25 Awe: b\n")
    found, remarks = segments(corpus, read_layout(layout_file))
    assert [segment.end for segment in found[:3]] == [1.9, 0.6, 1.25]
    assert remarks == ("2 segments overlapping the next: anna-king-0000000, anna-king-0000500",)


def test_segments_are_what_the_texts_say(corpus: Path, layout_file: Path, tmp_path: Path) -> None:
    layout = read_layout(layout_file)
    found, remarks = segments(corpus, layout)
    assert {segment.id: segment.emotion for segment in found} == EMOTIONS
    assert remarks == ("1 line of text not understood: anna/king.txt:4",)
    manifest = cut(found, layout, tmp_path / "out")
    assert [clip.split for clip in manifest] == ["train"] * 3 + ["test"] * 2
    assert [clip.speaker for clip in manifest] == ["anna"] * 3 + ["ben"] * 2
    assert manifest.labels == LABELS and manifest.texts("Sentence")[:2] == ("Look at that.", "Oh.")
    assert manifest.texts("Role") == ("king", "king", "maid", "king", "king")
    whole, rate = audio.read(corpus / "anna" / "king.mp3")
    part, own = audio.read(manifest.rows[0].file)
    assert rate == own and len(part) == round(0.75 * rate)
    np.testing.assert_allclose(part, whole[rate // 2 : rate // 2 + len(part)], atol=1e-4)
    assert "train: 3 segments of 1 actor; published are 516 of 16" in manifest.notes


def test_a_sentence_lasts_until_the_next(corpus: Path, layout_file: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(layout_file.read_text())
    values["line"] = "(?P<start>[0-9:.]+) (?P<emotion>[a-z]+)"
    layout_file.write_text(yaml.safe_dump(values))
    for name in TEXTS:
        (corpus / f"{name}.txt").write_text("0.5 awe\n1.5 fear\n")
    layout = read_layout(layout_file)
    found, _ = segments(corpus, layout)
    assert [segment.end for segment in found[:2]] == [1.5, float("inf")]
    manifest = cut(found, layout, tmp_path / "out")
    lengths = [len(audio.read(clip.file)[0]) / RATE for clip in manifest.rows[:2]]
    assert lengths == pytest.approx([1.0, 0.5], abs=0.1)
    (corpus / "anna" / "king.txt").write_text("0.5 awe\n0.5 fear\n")
    with pytest.raises(VocalgenError, match=r"anna-king-0000500 lasts from 0\.5 s to 0\.5 s; mend the times"):
        segments(corpus, layout)


def test_what_is_cut_already_stays(corpus: Path, layout_file: Path, tmp_path: Path) -> None:
    layout = read_layout(layout_file)
    found, _ = segments(corpus, layout)
    first = cut(found, layout, tmp_path / "out")
    times = [clip.file.stat().st_mtime_ns for clip in first]
    first.rows[1].file.unlink()
    cut_short = first.rows[3].file
    whole = cut_short.read_bytes()
    cut_short.write_bytes(whole[: len(whole) // 2])
    done: list[int] = []
    again = cut(found, layout, tmp_path / "out", advance=lambda: done.append(1))
    after = [clip.file.stat().st_mtime_ns for clip in again]
    assert [old == new for old, new in zip(times, after, strict=True)] == [True, False, True, False, True]
    assert len(done) == 5 and cut_short.read_bytes() == whole


def test_what_has_changed_is_cut_again(corpus: Path, layout_file: Path, tmp_path: Path) -> None:
    layout = read_layout(layout_file)
    out = tmp_path / "out"

    def files() -> dict[str, Path]:
        made = cut(segments(corpus, layout)[0], layout, out)
        assert {clip.file for clip in made} == set(out.glob("[!.]*"))
        return {clip.id: clip.file for clip in made}

    before = {name: file.stat().st_mtime_ns for name, file in files().items()}
    (corpus / "anna" / "king.txt").write_text(TEXTS["anna/king"].replace("1.25-2.0", "1.25-1.75"))
    audio.write(corpus / "anna" / "maid.mp3", burst(5, 2.0, RATE, 9), RATE, overwrite=True)
    again = files()
    assert len(audio.read(again["anna-king-0001250"])[0]) == RATE // 2
    heard = audio.read(corpus / "anna" / "maid.mp3")[0][: 3 * RATE // 4]
    np.testing.assert_allclose(audio.read(again["anna-maid-0000000"])[0], heard, atol=1e-4)
    stayed = {name for name, file in again.items() if file.stat().st_mtime_ns == before[name]}
    assert stayed == {"anna-king-0000500", "ben-king-0000200", "ben-king-0001000"}


def test_the_command(corpus: Path, layout_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "data" / "sonata.csv"
    command = ["prepare", "modulate-sonata", str(corpus), "--mapping", str(layout_file), "--out", str(out)]
    done = CliRunner().invoke(data_app, [*command, "--processes", "1"])
    assert done.exit_code == 0, done.output
    manifest = Manifest.load(out)
    assert {clip.id for clip in manifest} == set(EMOTIONS) and manifest.labels == LABELS
    assert {clip.file.parent for clip in manifest} == {tmp_path / "data" / "sonata-segments"}
    assert all(clip.seconds > 0.5 for clip in manifest)


@pytest.mark.parametrize("text", ["", "x", "1:2:3:4", "-3", "1:-2", "nan", "1:61", "1:60", "1:60:02"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(VocalgenError, match="is no time"):
        seconds(text)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recording": "(?P<speaker>.*)[.]mp3"}, r"recording lacks the group \(\?P<actor>"),
        ({"line": "("}, "line is no regular expression"),
        ({"text": "{person}.txt"}, "text has {person}, which is no group"),
        ({"text": None}, "cannot read"),
        ({"splits": {"training": ["anna"]}}, "split 'training' is none of"),
        ({"splits": {"train": ["anna"], "test": ["anna"]}}, "actor anna is in (train and in test|test and in train)"),
        ({"splits": {"train": ["anna"]}}, "puts these actors into no split: ben; name every"),
        ({"recording": "(?P<actor>[^/]+)[.]ogg", "text": "x"}, "no recording with a sentence matches"),
        ({"recording": "(?P<actor>anna)/[^/]+[.]mp3", "text": "ben/king.txt"}, "make a segment anna-0000200"),
        ({"lines": "x"}, "'lines' is unknown"),
        ({"text": "../{actor}/{role}.txt"}, "leads to .*, which is not below"),
        ({"text": "/{actor}/{role}.txt"}, "leads to /anna/king.txt, which is not below"),
        ({"splits": "train"}, "splits is no table of actors by split"),
    ],
)
def test_layouts_that_do_not_fit(
    corpus: Path, layout_file: Path, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    values = {**yaml.safe_load(layout_file.read_text()), **changes}
    layout_file.write_text(yaml.safe_dump(values))
    with pytest.raises(VocalgenError, match=words):
        layout = read_layout(layout_file)
        cut(segments(corpus, layout)[0], layout, tmp_path / "out")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("1.0-0.5 Awe: x", "lasts from 1 s to 0.5 s; mend the times"),
        ("1.0-1.0 Awe: x", "lasts from 1 s to 1 s; mend the times"),
        ("1-1.5 Awe: x\n1-1.9 Fear: y", "king.mp3: two sentences begin at 1 s; mend the times"),
        ("1.0-1.5 Joy: x", "king.txt, line 1: unknown emotion 'Joy'"),
        ("3.5-4.5 Awe: x", "king.mp3 ends before segment anna-king-0003500"),
        ("1..2-4 Awe: x", "line 1: '1..2' is no time"),
        ("0.1-0.2 Awe: x\n0:61-1:62 Awe: y", "king.txt, line 2: '0:61' is no time"),
    ],
)
def test_texts_that_do_not_fit(corpus: Path, layout_file: Path, tmp_path: Path, line: str, words: str) -> None:
    (corpus / "anna" / "king.txt").write_text(line)
    layout = read_layout(layout_file)
    with pytest.raises(VocalgenError) as caught:
        cut(segments(corpus, layout)[0], layout, tmp_path / "out")
    assert words in str(caught.value)
