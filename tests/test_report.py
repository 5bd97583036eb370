"""Report files and pictures from a made-up report that follows the schema, with hostile names in it."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bursts import burst

from vocalgen import audio
from vocalgen.errors import VocalgenError
from vocalgen.evaluation import figures
from vocalgen.evaluation.columns import SCHEMA, SECTIONS
from vocalgen.evaluation.page import html_page
from vocalgen.evaluation.report import Player, markdown, number, write_report
from vocalgen.evaluation.schema import check_report

EVIL = "<script>alert('x')</script>"
FLOOR = "real clips (floor)"


def made_report(
    systems: tuple[str, ...] = ("ours", "theirs"), emotions: tuple[str, ...] = ("Amusement", "Awe", "Fear")
) -> dict[str, Any]:
    """A report with every section; the numbers are drawn, but ratios belong to their distances."""
    rng = np.random.default_rng(0)
    anchors = [FLOOR, "silence"]

    def value(key: str, form: str, wide: bool) -> Any:
        if form == "{}":
            return str(rng.choice(emotions))
        number = float(rng.uniform(0.1, 0.9)) * (10 if form in ("{:.1f}", "{:.0f}") else 1)
        return [number, number - 0.05, number + 0.05] if wide and key in ("top1", "top3", "ratio") else number

    def row(kind: str, name: str) -> dict[str, Any]:
        real = name in systems
        entry = {
            "overall": {key: value(key, c.form, real) for key, c in SECTIONS[kind].overall.items()},
            "emotions": {
                emotion: {key: value(key, c.form, real) for key, c in SECTIONS[kind].emotions.items()}
                for emotion in emotions
            },
        }
        if kind == "distance":
            far = {FLOOR: 1.0, "silence": 40.0}.get(name, 1.7 + 0.5 * list((*systems, name)).index(name))
            for emotion in emotions:
                floor, distance = 2.0, 2.0 * far * float(rng.uniform(0.8, 1.3) if name != FLOOR else 1)
                spread = [distance, 0.9 * distance, 1.1 * distance] if real else distance
                entry["emotions"][emotion] |= {"frechet": spread, "floor": floor, "ratio": distance / floor}
            entry["overall"]["ratio"] = [far, 0.9 * far, 1.1 * far] if real else far
        return entry

    sections: dict[str, Any] = {}
    for kind in SECTIONS:
        named = [*systems, *(anchors if kind not in ("memory", "ratings") else [])]
        rows = {name: row(kind, name) for name in named}
        encoder = "emo18" if kind in ("distance", "recognition") else None
        sections[kind] = {"kind": kind, "encoder": encoder, "rows": rows}
    size = len(emotions)
    return {
        "schema": SCHEMA,
        "systems": list(systems),
        "anchors": anchors,
        "emotions": list(emotions),
        "heard": [*emotions, "Neutral"],
        "conditions": {
            "protocol": {"per_emotion": 100, "reference": ["test"], "fid_cap": None},
            "encoders": [{"name": "emo18", "sha256": "0f" * 32, "prepare": {"sample_rate": 24_000}}],
            "skipped": {system: [] for system in systems},
        },
        "warnings": [f"{systems[0]}: 3 clips left out"],
        "sections": sections,
        "confusion": {
            name: (rng.integers(0, 9, (size, size + 1)) + 20 * np.eye(size, size + 1, dtype=int)).tolist()
            for name in (systems[0], FLOOR)
        },
        "between": {name: rng.uniform(2, 9, (size, size)).tolist() for name in (systems[0], FLOOR)},
        "differences": [
            {"a": systems[0], "b": systems[-1], "section": "distance", "column": "ratio", "value": [-0.5, -0.8, -0.2]},
            {"a": systems[0], "b": systems[-1], "section": "distance", "column": "pooled", "value": [0.1, -0.2, 0.4]},
        ],
        "published": [
            {"source": "Table 8", "system": "StyleMelMila", "S_GEN": 0.408, "remark": "test set"},
            {"source": "Table 6b", "emotion": "Awe", "FID": 4.81},
        ],
    }


def drawn_pictures(report: dict[str, Any], folder: Path) -> list[str]:
    figures.distance_bars(report, folder / "distances.png")
    figures.confusions(report, folder / "confusion.png")
    figures.between(report, folder / "between.png")
    return ["distances.png", "confusion.png", "between.png"]


def made_players(report: dict[str, Any], clips: int, rate: int = 16_000) -> list[Player]:
    return [
        Player(system, emotion, f"{clip:03d}.wav", burst(clip % 3, 0.4, rate, seed=clip), rate)
        for system in (*report["systems"], "real clips")
        for emotion in report["emotions"]
        for clip in range(clips)
    ]


class Page(HTMLParser):
    """Tags, attributes and text of a page; every tag must be closed in its order."""

    VOID = {"meta", "img", "br"}

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_three_files_hold_the_report(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report = made_report()
    pictures = drawn_pictures(report, tmp_path)
    write_report(report, tmp_path, pictures, made_players(report, 1))
    assert {path.name for path in tmp_path.iterdir()} == {"report.json", "report.md", "report.html", *pictures}
    stored = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    check_report(stored)
    assert stored == report
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert len(page.of("img")) == 3 and len(page.of("audio")) == 9
    for kind, section in SECTIONS.items():
        title = section.title + (" (emo18)" if kind in ("distance", "recognition") else "")
        assert f"\n## {title}\n" in text and title in page.text
        for column in section.overall.values():
            assert column.meaning in page.text
    row = report["sections"]["distance"]["rows"]
    assert f"| **ours** | {row['ours']['overall']['frechet']:.2f} | 1.70 [1.53, 1.87] |" in text
    assert f"| silence | {row['silence']['overall']['frechet']:.2f} | 40.00 |" in text
    assert "**-0.50 [-0.80, -0.20]**" in text and " +0.10 [-0.20, +0.40] " in text
    assert "| Table 8 | StyleMelMila | 0.408 | test set | – | – |" in text
    assert "![Shares of" in text and "(confusion.png)" in text
    assert "- protocol: per emotion 100, reference test, fid cap –" not in text  # nested: a list of its own
    assert "- protocol:\n  - per emotion: 100\n  - reference: test\n  - fid cap: –" in text
    for words in ("3 clips left out", "StyleMelMila", "1.70", "[1.53, 1.87]", "share no scale"):
        assert words in page.text, words


def test_columns_without_a_value_are_left_out() -> None:
    report = made_report(("ours",))
    for row in report["sections"]["distance"]["rows"].values():
        del row["overall"]["vendi"]
        row["overall"]["fd_infinity"] = None
    section = markdown(report).split("## Is the emotion")[0]
    head = next(line for line in section.splitlines() if "pooled / floor" in line)
    assert "Vendi" not in head and "FD∞" not in head and "coverage ↑" in head
    assert "Vendi" in section  # the emotions still have it


def test_names_from_outside_stay_text(tmp_path: Path) -> None:
    """Hostile systems, emotions, clips, conditions, warnings and remarks: no tag, no table rule, nothing loaded."""
    evil = ("a|b " + EVIL, 'c" onload="alert(1)')
    report = made_report(evil, (EVIL, "Awe & 'Fear'", "Fear"))
    report["warnings"].append(f"{EVIL} | ![x](http://example.org/x.png)")
    report["conditions"][EVIL] = {"path": "</style><script src='http://example.org/x.js'></script>"}
    report["published"].append({"source": "https://example.org", EVIL: '"><img src=x onerror=alert(1)>'})
    check_report(report)
    players = made_players(report, 1)
    plain = Page(html_page(made_report(("a", "b"), ("c", "d", "e")), [], players[:0]))
    page = Page(html_page(report, [], players))
    assert len(page.of("script")) == len(plain.of("script")) == 1
    assert len(page.of("style")) == 1 and page.of("img") == page.of("link") == page.of("iframe") == []
    assert page.text.count(EVIL) > 10
    allowed = {"class", "id", "href", "src", "title", "alt", "scope", "tabindex", "data-value", "open", "controls",
               "preload", "aria-label", "charset", "http-equiv", "content", "name", "lang"}  # fmt: skip
    for _, attributes in page.tags:
        assert set(attributes) <= allowed
        assert (attributes.get("src") or "data:").startswith("data:")
        assert (attributes.get("href") or "#").startswith("#")
    text = markdown(report)
    assert "<script" not in text and "![x](" not in text
    lines = [line for line in text.splitlines() if line.startswith("| **a\\|b")]
    heads = [line for line in text.splitlines() if line.startswith("| system |")]
    bare = re.compile(r"(?<!\\)\|")
    assert [len(bare.findall(line)) for line in lines] == [len(bare.findall(line)) for line in heads]


def test_the_policy_allows_the_own_style_and_script_only() -> None:
    page = html_page(made_report())
    policy = next(tag["content"] for tag in Page(page).of("meta") if tag.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'; img-src data:; media-src data:;")
    assert "unsafe" not in policy and "http" not in policy
    for tag in ("style", "script"):
        content = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert content is not None
        digest = base64.b64encode(hashlib.sha256(content[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert " style=" not in page and " onclick=" not in page


def test_clips_are_playable_and_keep_to_the_limit(tmp_path: Path) -> None:
    report = made_report(("ours",))
    players = made_players(report, 2)
    sources = [tag["src"] or "" for tag in Page(html_page(report, [], players)).of("audio")]
    assert len(sources) == len(players) == 12
    (tmp_path / "clip.mp3").write_bytes(base64.b64decode(sources[0].removeprefix("data:audio/mpeg;base64,")))
    wave, rate = audio.read(tmp_path / "clip.mp3")
    assert rate == 24_000
    assert len(wave) / rate == pytest.approx(0.4, abs=0.1)
    sizes = [len(base64.b64decode(source.partition(",")[2])) for source in sources]
    page = Page(html_page(report, [], players, audio_limit=sum(sizes) // 2 + 200))
    kept = page.of("audio")
    assert 5 <= len(kept) <= 7
    first = [tag["title"] for tag in kept if (tag["title"] or "").endswith("000.wav")]
    assert len(first) == min(len(kept), 6)  # the first clips of all emotions come before any second one
    assert f"{len(kept)} of 12 clips" in page.text
    assert Page(html_page(report)).of("audio") == []


def test_numbers() -> None:
    assert number([0.5, 0.25, 0.75], "{:.3f}") == "0.500 [0.250, 0.750]"
    assert number(None) == "–"
    assert number(12.345, "{:.1f}") == "12.3"
    assert number("Awe", "{}") == "Awe"


Damage = Callable[[dict[str, Any]], Any]
DAMAGES: dict[str, tuple[str, Damage]] = {
    "other schema": ("the schema is 'x/2'", lambda r: r.update(schema="x/2")),
    "missing part": ("published is missing", lambda r: r.pop("published")),
    "no system": ("systems must be different names", lambda r: r.update(systems=[])),
    "warning": ("warnings must be a list of texts", lambda r: r.update(warnings=[1])),
    "kind": ("sections.memory.kind is 'x'", lambda r: r["sections"]["memory"].update(kind="x")),
    "stranger": (
        "rows.you is neither a system nor an anchor",
        lambda r: r["sections"]["memory"]["rows"].update(you={"overall": {}, "emotions": {}}),
    ),
    "column": ("overall.fid is not a column", lambda r: row_of(r)["overall"].update(fid=1.0)),
    "emotion": ("emotions.Joy is no emotion", lambda r: row_of(r)["emotions"].update(Joy={})),
    "nan": ("overall.kad is nan, not a finite", lambda r: row_of(r)["overall"].update(kad=float("nan"))),
    "text": ("overall.kad is '1', not a finite", lambda r: row_of(r)["overall"].update(kad="1")),
    "numpy": ("overall.kad is np.int64", lambda r: row_of(r)["overall"].update(kad=np.int64(1))),
    "pair": ("is \\[1, 2\\], not an interval", lambda r: row_of(r)["overall"].update(kad=[1, 2])),
    "upside down": ("low lies above high", lambda r: row_of(r)["overall"].update(kad=[1, 2, 0])),
    "number for a text": (
        "confused must be a text",
        lambda r: r["sections"]["recognition"]["rows"]["ours"]["emotions"]["Awe"].update(confused=1),
    ),
    "counts": ("confusion.ours holds -1", lambda r: r["confusion"]["ours"][0].__setitem__(0, -1)),
    "shape": ("between.ours must have 3 rows of 3", lambda r: r["between"]["ours"].pop()),
    "difference": ("differences.0.b is no system", lambda r: r["differences"][0].update(b="silence")),
    "its column": ("differences.0.column is no column", lambda r: r["differences"][0].update(column="fid")),
    "published": ("published.0.x must be a text", lambda r: r["published"][0].update(x=[1])),
    "condition": ("conditions.path is", lambda r: r["conditions"].update(path=Path("x"))),
}


def row_of(report: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = report["sections"]["distance"]["rows"]["ours"]
    return row


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_report_is_refused(name: str, tmp_path: Path) -> None:
    message, damage = DAMAGES[name]
    report = made_report()
    check_report(report)
    damage(report)
    with pytest.raises(VocalgenError, match=message):
        check_report(report)
    with pytest.raises(VocalgenError):
        write_report(report, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_rows_may_lack_what_is_not_defined() -> None:
    report = made_report()
    report["between"]["ours"][0][0] = None
    del report["heard"]
    report["confusion"] = {}
    row_of(report)["emotions"].clear()
    row_of(report)["overall"].update(kad=None)
    check_report(report)
    assert "ours by emotion" not in markdown(report).split("## Is the emotion")[0]


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(VocalgenError, match=r"cannot read the picture .*none\.png"):
        write_report(made_report(), tmp_path, ["none.png"])


def test_pictures_are_drawn(tmp_path: Path) -> None:
    image = pytest.importorskip("matplotlib.image")
    many = made_report(("ours",), tuple(f"emotion {place}" for place in range(30)))
    few = made_report()
    for report, folder in ((few, tmp_path / "few"), (many, tmp_path / "many")):
        folder.mkdir()
        for name in drawn_pictures(report, folder):
            pixels = image.imread(folder / name)
            assert pixels.std() > 0.02 and min(pixels.shape[:2]) > 150
    assert (
        image.imread(tmp_path / "many/distances.png").shape[0] > image.imread(tmp_path / "few/distances.png").shape[0]
    )
    empty = copy.deepcopy(few)
    empty |= {"sections": {}, "confusion": {}, "between": {}}
    for draw in (figures.distance_bars, figures.confusions, figures.between):
        with pytest.raises(VocalgenError, match="to draw"):
            draw(empty, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_a_mel_grid_of_all_emotions_is_a_small_file(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    smooth = np.cumsum(rng.normal(size=(100, 110)), axis=1).astype(np.float32) / 3
    mels = {f"emotion {row}": [np.roll(smooth, row + k, axis=0)[:, : 60 + row] for k in range(3)] for row in range(30)}
    figures.mel_grid(mels, mels, tmp_path / "mels.png", 90.0)
    picture = image.open(tmp_path / "mels.png")
    assert picture.mode == "P"
    assert (tmp_path / "mels.png").stat().st_size < 700_000
    colours = {colour for _, colour in picture.convert("RGB").getcolors()}
    assert {(255, 255, 255), (0x1F, 0x24, 0x30)} <= colours  # paper and ink keep theirs
    assert len(colours) <= figures.SHADES + figures.GREYS


def test_ratios_carry_the_interval_of_their_distance() -> None:
    row = {
        "overall": {"ratio": [2.0, 1.5, 2.5]},
        "emotions": {"Awe": {"frechet": [4.0, 3.0, 6.0], "floor": 2.0, "ratio": 2.0}, "Fear": {"ratio": 3.0}},
    }
    expected = {"Awe": (2.0, 1.5, 3.0), "Fear": (3.0, 3.0, 3.0), figures.MEAN: (2.0, 1.5, 2.5)}
    assert figures._ratios(row) == expected
