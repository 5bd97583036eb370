"""Every word of the page, in files of one language each: `texts/en.yaml` and so on."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from vocalgen.errors import VocalgenError

CODE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
"""Names of languages (BCP 47): de, pt-BR."""

PLACEHOLDER = re.compile(r"\{(\w*)\}")


@dataclass(frozen=True)
class Texts:
    """The page in one language; what stands in braces in a text is put in by the page.

    Args:
        language: what its speakers call it.
        direction: "ltr" or "rtl".
        emotions: what emotions are called; those that are not named keep their names.
    """

    language: str
    direction: str
    title: str
    choose_language: str
    consent_heading: str
    consent: str
    agree: str
    volume_heading: str
    volume: str
    play_sound: str
    heard_well: str
    practice: str
    practice_over_heading: str
    practice_over: str
    pause_heading: str
    pause: str
    go_on: str
    progress: str
    instructions: str
    asked: str
    keys: str
    play: str
    play_again: str
    playing: str
    listen_first: str
    left: str
    ready: str
    not_answered: str
    low: str
    high: str
    next: str
    saving: str
    done_heading: str
    done: str
    code: str
    completion: str
    withdraw: str
    withdraw_question: str
    withdrawn_heading: str
    withdrawn_unused: str
    withdrawn_removed: str
    not_stored: str
    not_reached: str
    not_loaded: str
    interrupted: str
    not_accepted: str
    emotions: Mapping[str, str] = field(default_factory=dict)

    def named(self, emotions: Sequence[str]) -> dict[str, str]:
        """What each of these emotions is called."""
        return {name: self.emotions.get(name, name) for name in emotions}


LATER = ("keys", "interrupted", "completion")
"""Texts that came after the first studies: where a study lacks them, its page shows those of the package."""

PLACEHOLDERS = {
    "progress": {"page", "pages"},
    "pause": {"page", "pages"},
    "left": {"count"},
    "asked": {"emotion", "high", "low"},
    "keys": {"low"},
}
"""Words in braces that a text must hold; others hold none."""


def shipped_languages() -> tuple[str, ...]:
    """Codes of the languages that come with the package."""
    return tuple(sorted(file.name.removesuffix(".yaml") for file in (files("vocalgen.rating") / "texts").iterdir()))


def shipped_text(code: str) -> str:
    """The file of a language that comes with the package.

    Raises:
        VocalgenError: there is none.
    """
    known = shipped_languages()
    if code not in known:
        raise VocalgenError(
            f"no texts in {code!r} come with the package, only {', '.join(known)}; copy one, translate it, and "
            f"give it by --texts {code}.yaml"
        )
    return (files("vocalgen.rating") / "texts" / f"{code}.yaml").read_text(encoding="utf-8")


def read_texts(path: str | Path) -> Texts:
    """Read a file of texts of a study, whose name is the code of the language.

    Texts of `LATER` that it lacks are those of the package in that language, or else in English.

    Raises:
        VocalgenError: it cannot be read; a text is missing, unknown, empty, or lacks a word in braces; two emotions
            are called alike.
    """
    path = Path(path)
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise VocalgenError(f"cannot read the texts {path}: {getattr(error, 'strerror', None) or error}") from error
    shipped = next((code for code in (path.stem, path.stem.split("-")[0]) if code in shipped_languages()), "en")
    given = asdict(parse_texts(shipped_text(shipped), shipped))
    return parse_texts(content, str(path), {name: given[name] for name in LATER})


def parse_texts(content: str, where: str, others: Mapping[str, str] | None = None) -> Texts:
    """As `read_texts`.

    Args:
        where: names the source in errors.
        others: texts for what the content may lack.
    """
    try:
        values = yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise VocalgenError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise VocalgenError(f"{where}: `key: text` lines are needed")
    values = {**(others or {}), **values}
    names = [entry.name for entry in fields(Texts)]
    for key in values:
        if key not in names:
            near = difflib.get_close_matches(str(key), names, n=1)
            raise VocalgenError(f"{where}: unknown text {key!r}{f'; did you mean {near[0]!r}?' if near else ''}")
    missing = [name for name in names if name not in values and name != "emotions"]
    if missing:
        raise VocalgenError(f"{where}: texts are missing: {', '.join(missing)}; the file en.yaml has them all")
    for key, value in values.items():
        if key != "emotions":
            _check_text(key, value, where)
    if values["direction"] not in ("ltr", "rtl"):
        raise VocalgenError(f"{where}: direction is {values['direction']!r}; it must be ltr or rtl")
    return Texts(**{**values, "emotions": _emotions(values.get("emotions"), where)})


def _check_text(key: str, value: Any, where: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise VocalgenError(f"{where}: {key} is {value!r}; a text is needed, in quotes if YAML takes it for another")
    found, wanted = set(PLACEHOLDER.findall(value)), PLACEHOLDERS.get(key, set())
    if found != wanted:
        shown = ", ".join(f"{{{name}}}" for name in sorted(wanted)) or "no words in braces"
        raise VocalgenError(f"{where}: {key} must hold {shown}; it is {value!r}")


def _emotions(values: Any, where: str) -> dict[str, str]:
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise VocalgenError(f"{where}: emotions must hold `name: translation` lines")
    for name, value in values.items():
        if not isinstance(name, str) or not isinstance(value, str) or not value.strip():
            raise VocalgenError(f"{where}: emotions: {name!r} is called {value!r}; texts are needed")
    return values
