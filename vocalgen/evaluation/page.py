"""An evaluation as one HTML file that loads nothing: tables, pictures and clips are inside."""

from __future__ import annotations

import base64
import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from vocalgen import audio
from vocalgen.audio import Wave
from vocalgen.errors import VocalgenError
from vocalgen.evaluation.style import CSS, SCRIPT
from vocalgen.evaluation.tables import (
    ARROW,
    DIFFERENCE_NOTE,
    PUBLISHED_CAVEAT,
    Grid,
    caption,
    differences,
    emotion_grids,
    emotion_legend,
    heading,
    legend,
    line_of,
    number,
    overall_grid,
    picture_section,
    published_heads,
    text,
)

AUDIO_LIMIT = 6_000_000
"""Bytes of encoded clips in a page; base64 makes them a third larger."""

PLAYER_RATE = 24_000
"""Hz of the clips in the page."""


@dataclass(frozen=True)
class Player:
    """A clip that can be played in the page.

    Args:
        system: whose clip, or what it is ("real clips").
        emotion: what it was made or recorded for.
        name: file name or clip id.
        wave: (samples,) in [-1, 1].
        sample_rate: Hz.
    """

    system: str
    emotion: str
    name: str
    wave: Wave
    sample_rate: int


def html_page(
    report: Mapping[str, Any],
    pictures: Sequence[Path] = (),
    players: Iterable[Player] = (),
    audio_limit: int = AUDIO_LIMIT,
) -> str:
    """The page. Nothing in it comes from elsewhere, and its content security policy forbids that anything does.

    Args:
        report: of the schema of `evaluation.columns`.
        pictures: PNG files.
        players: clips; where they take more than `audio_limit` bytes, every emotion loses its last ones.

    Raises:
        VocalgenError: a picture cannot be read, or a clip cannot be encoded.
    """
    title = escape("Evaluation of " + ", ".join(report["systems"]))
    clips = _listen(report, list(players), audio_limit)
    body = [f"<h1>{title}</h1>", _contents(report, bool(clips)), _warnings(report), _conditions(report["conditions"])]
    left = list(pictures)
    for key, section in report["sections"].items():
        own = [path for path in left if picture_section(path.name) == section["kind"]]
        left = [path for path in left if path not in own]
        body.append(_section(report, key, own))
    body += [_differences(report), _published(report)]
    body += [_picture(path) for path in left]
    body.append(clips)
    policy = (
        f"default-src 'none'; img-src data:; media-src data:; style-src {_digest(CSS)}; script-src {_digest(SCRIPT)}; "
        f"base-uri 'none'; form-action 'none'"
    )
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>",
            *(part for part in body if part),
            f"</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
        ]
    )


def _digest(content: str) -> str:
    """Source expression that allows this inline content alone."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _contents(report: Mapping[str, Any], clips: bool) -> str:
    links = {f"section-{place}": heading(report, key) for place, key in enumerate(report["sections"])}
    more = {"differences": "Differences", "published": "Published results"}
    links |= {key: words for key, words in more.items() if report[key]} | ({"listen": "Listen"} if clips else {})
    return "<nav>" + " ".join(f'<a href="#{key}">{escape(words)}</a>' for key, words in links.items()) + "</nav>"


def _warnings(report: Mapping[str, Any]) -> str:
    if not report["warnings"]:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in report["warnings"])
    return f'<section class="warnings"><h2>Warnings</h2><ul>{items}</ul></section>'


def _conditions(conditions: Mapping[str, Any]) -> str:
    return (
        f'<section class="conditions"><h2>Conditions</h2>{_outline(conditions)}</section>'
        '<p class="note">In the tables, small numbers in square brackets are 95 % intervals. '
        "↓ less is better, ↑ more is better. A click on a head sorts.</p>"
    )


def _outline(values: Mapping[str, Any]) -> str:
    items = []
    for key, value in values.items():
        flat = line_of(value)
        if flat is None and not isinstance(value, Mapping):
            value = {str(place): entry for place, entry in enumerate(value, 1)}
        inner = escape(flat) if flat is not None else _outline(value)
        items.append(f'<li><span class="key">{escape(key.replace("_", " "))}:</span> {inner}</li>')
    return f"<ul>{''.join(items)}</ul>"


def _section(report: Mapping[str, Any], key: str, pictures: Sequence[Path]) -> str:
    section = report["sections"][key]
    order = list(report["sections"]).index(key)
    parts = [f'<section id="section-{order}"><h2>{escape(heading(report, key))}</h2>']
    parts.append(_table(overall_grid(report, section), "system"))
    parts.append(_meanings(legend(section)))
    parts += [_picture(path) for path in pictures]
    for place, (system, grid) in enumerate(emotion_grids(report, section)):
        opened = " open" if not place and section["kind"] == "distance" else ""
        parts.append(
            f"<details{opened}><summary>{escape(system)} by emotion</summary>{_table(grid, 'emotion')}"
            f"{_meanings(emotion_legend(section))}</details>"
        )
    return "\n".join([*parts, "</section>"])


def _meanings(legend: Iterable[tuple[str, str]]) -> str:
    lines = "".join(f"<div><b>{escape(head)}</b>: {escape(words)}</div>" for head, words in legend)
    return f'<div class="legend">{lines}</div>' if lines else ""


def _table(grid: Grid, what: str) -> str:
    head = "".join(
        f'<th scope="col" title="{escape(column.meaning)}">{escape(column.title)}{ARROW[column.better]}</th>'
        for column in grid.columns
    )
    bodies: dict[str, list[str]] = defaultdict(list)
    for name, values in grid.rows:
        kind = "bold" if name in grid.bold else "faint" if name in grid.faint else "plain"
        cells = "".join(_cell(value, column.form) for column, value in zip(grid.columns, values, strict=True))
        bodies[kind].append(
            f'<tr class="{kind}"><th scope="row" data-value="{escape(name)}">{escape(name)}</th>{cells}</tr>'
        )
    rows = "".join(f"<tbody>{''.join(lines)}</tbody>" for lines in bodies.values())
    return _scrolling(f'<table class="sorts"><thead><tr><th scope="col">{what}</th>{head}</tr></thead>{rows}</table>')


def _cell(value: Any, form: str) -> str:
    if value is None:
        return "<td>–</td>"
    if isinstance(value, str):
        return f'<td class="words" data-value="{escape(value)}">{escape(value)}</td>'
    if isinstance(value, (list, tuple)):
        centre, _, limits = number(value, form).partition(" ")
        return f'<td data-value="{value[0]}">{centre}<small>{limits}</small></td>'
    return f'<td data-value="{value}">{number(value, form)}</td>'


def _scrolling(content: str) -> str:
    return f'<div class="scroll" tabindex="0">{content}</div>'


def _picture(path: Path) -> str:
    try:
        data = base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise VocalgenError(f"cannot read the picture {path}: {error.strerror}") from error
    words = escape(caption(path.name))
    image = f'<img alt="{words}" src="data:image/png;base64,{data}">'
    return f'<figure><div class="picture" tabindex="0">{image}</div><figcaption>{words}</figcaption></figure>'


def _differences(report: Mapping[str, Any]) -> str:
    if not report["differences"]:
        return ""
    emphasis = {True: "bold", False: "plain"}
    rows = "".join(
        f'<tr class="{emphasis[found.clear]}"><th scope="row">{escape(found.a)} − {escape(found.b)}</th>'
        f'<td class="words">{escape(found.what)}</td><td>{escape(found.value)}</td></tr>'
        for found in differences(report)
    )
    head = '<th scope="col">systems</th><th scope="col" class="words">of</th><th scope="col">a − b</th>'
    grid = _scrolling(f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")
    note = f'<p class="note">{escape(DIFFERENCE_NOTE)}</p>'
    return f'<section id="differences"><h2>Differences</h2>{note}{grid}</section>'


def _published(report: Mapping[str, Any]) -> str:
    if not report["published"]:
        return ""
    heads = published_heads(report)
    head = "".join(f'<th scope="col">{escape(words)}</th>' for words in heads)
    rows = ""
    for row in report["published"]:
        first, *others = (escape(text(row.get(key))) for key in heads)
        cells = "".join(f"<td>{cell}</td>" for cell in others)
        rows += f'<tr><th scope="row">{first}</th>{cells}</tr>'
    grid = f'<table class="published"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return (
        f'<section id="published"><h2>Published results</h2><p class="note">{escape(PUBLISHED_CAVEAT)}</p>'
        f"{_scrolling(grid)}</section>"
    )


def _listen(report: Mapping[str, Any], players: Sequence[Player], limit: int) -> str:
    """The clips, an emotion after the other, systems side by side."""
    if not players:
        return ""
    chosen, spent = _within(players, limit)
    emotions = [emotion for emotion in report["emotions"] if any(p.emotion == emotion for p, _ in chosen)]
    parts = [
        '<section id="listen"><h2>Listen</h2>'
        f'<p class="note">{len(chosen)} of {len(players)} clips, {spent / 1e6:.1f} MB as mp3; a page holds at most '
        f"{limit / 1e6:.1f} MB of them. Compression and a rate of {PLAYER_RATE / 1000:g} kHz are the page's, "
        "not the systems'.</p>"
    ]
    for emotion in emotions:
        by_system: dict[str, list[str]] = defaultdict(list)
        for player, data in chosen:
            if player.emotion == emotion:
                label = escape(f"{player.system}, {emotion}: {player.name}")
                source = f"data:audio/mpeg;base64,{base64.b64encode(data).decode()}"
                by_system[player.system].append(
                    f'<audio controls preload="none" aria-label="{label}" title="{label}" src="{source}"></audio>'
                )
        columns = "".join(
            f"<div><h4>{escape(system)}</h4>{''.join(clips)}</div>" for system, clips in by_system.items()
        )
        parts.append(f'<h3>{escape(emotion)}</h3><div class="clips">{columns}</div>')
    return "\n".join([*parts, "</section>"])


def _within(players: Sequence[Player], limit: int) -> tuple[list[tuple[Player, bytes]], int]:
    """The clips that fit, in their order, and their bytes: first the first clip of each emotion and system, then the
    second ones, and so on."""
    turn: dict[tuple[str, str], int] = defaultdict(int)
    turns = []
    for place, player in enumerate(players):
        turns.append((turn[player.system, player.emotion], place))
        turn[player.system, player.emotion] += 1
    kept: dict[int, bytes] = {}
    spent = 0
    for _, place in sorted(turns):
        data = _encoded(players[place])
        if spent + len(data) > limit:
            break
        kept[place] = data
        spent += len(data)
    return [(players[place], kept[place]) for place in sorted(kept)], spent


def _encoded(player: Player) -> bytes:
    """mp3, which every browser plays."""
    wave = audio.resample(player.wave, player.sample_rate, PLAYER_RATE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp3"
        audio.write(path, wave, PLAYER_RATE)
        return path.read_bytes()
