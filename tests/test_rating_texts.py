"""The words of the page: what ships is whole, and what is wrong with a file of one's own is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bursts import burst

from vocalgen import audio
from vocalgen.emotions import EMOGATOR30, HUME10, PROSODY9, SONATA25
from vocalgen.errors import VocalgenError
from vocalgen.rating.freeze import create_study
from vocalgen.rating.study import Settings, open_study
from vocalgen.rating.texts import Texts, parse_texts, read_texts, shipped_languages, shipped_text

EVERY = {name for vocabulary in (HUME10, PROSODY9, SONATA25, EMOGATOR30) for name in vocabulary.emotions}


@pytest.mark.parametrize("code", shipped_languages())
def test_shipped_texts(code: str) -> None:
    texts = parse_texts(shipped_text(code), code)
    assert texts.direction == "ltr"
    if code != "en":
        assert set(texts.emotions) == EVERY
        english = parse_texts(shipped_text("en"), "en")
        same = {name for name in Texts.__dataclass_fields__ if getattr(texts, name) == getattr(english, name)}
        assert same <= {"direction"}
    for vocabulary in (HUME10, PROSODY9, SONATA25, EMOGATOR30):
        called = texts.named(vocabulary.emotions)
        assert len(set(called.values())) == len(vocabulary)


def test_english_german_and_spanish_ship() -> None:
    assert {"en", "de", "es"} <= set(shipped_languages())


def test_the_page_uses_every_text_and_no_other(root: Path) -> None:
    scripts = [file.read_text(encoding="utf-8") for file in (root / "vocalgen/rating/page").glob("*.js")]
    used = set(re.findall(r"texts\.([a-z_]+)", "".join(scripts)))
    assert used | {"language"} == set(Texts.__dataclass_fields__)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("agree: I agree, begin\n", ""), "en.yaml: texts are missing: agree"),
        (("agree: I agree, begin\n", "agre: I agree\n"), "unknown text 'agre'; did you mean 'agree'"),
        (("agree: I agree, begin\n", "agree:\n"), "agree is None; a text is needed"),
        (("agree: I agree, begin\n", "agree: yes\n"), "agree is True; a text is needed, in quotes"),
        (("{page} of {pages}\"", "{page} of {all}\""), r"progress must hold \{page\}, \{pages\}"),
        (("next: Next", "next: Next {page}"), "next must hold no words in braces"),
        (("direction: ltr", "direction: left"), "must be ltr or rtl"),
        (("direction: ltr", "direction: [ltr"), "not valid YAML"),
        (("low: not at all", "low: not at all\nemotions: [Fear]"), "emotions must hold"),
        (("low: not at all", "low: not at all\nemotions: {Fear: 3}"), "'Fear' is called 3"),
    ],
)  # fmt: skip
def test_texts_that_cannot_be(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    english = shipped_text("en")
    assert change[0] in english
    file = tmp_path / "en.yaml"
    file.write_text(english.replace(*change), encoding="utf-8")
    with pytest.raises(VocalgenError, match=words):
        read_texts(file)


def test_a_study_brings_its_own_language(tmp_path: Path) -> None:
    audio.write(tmp_path / "clips" / "awe" / "0.wav", burst(0, 0.3, 16_000, 0), 16_000)
    hebrew = shipped_text("en").replace("language: English", "language: עברית").replace("ltr", "rtl")
    settings = Settings(emotions=("Awe", "Fear"), languages=("he", "de"), practice=0)
    study = create_study(tmp_path / "study", tmp_path / "clips", settings, 1, HUME10, {"he": hebrew})
    assert study.texts["he"].direction == "rtl" and list(study.texts) == ["he", "de"]
    file = study.folder / "texts" / "de.yaml"
    file.write_text(file.read_text("utf-8").replace("Fear: Angst", "Fear: Ehrfurcht"), "utf-8")
    with pytest.raises(VocalgenError, match=r"de\.yaml: Awe and Fear are both called 'Ehrfurcht'"):
        open_study(study.folder)
    file.unlink()
    with pytest.raises(VocalgenError, match="cannot read the texts"):
        open_study(study.folder)
    with pytest.raises(VocalgenError, match=r"give it by --texts he\.yaml"):
        create_study(tmp_path / "other", tmp_path / "clips", settings, 1, HUME10)
