"""Pictures where matplotlib is installed, and a clear word where it is not."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from vocalgen.errors import VocalgenError
from vocalgen.pictures import FORMATS, is_own_picture, new_figure, require_picture, save_figure

BEGINNINGS = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.mark.parametrize("format", FORMATS)
def test_formats(format: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figure = new_figure(2, 1)
    figure.subplots().plot([0, 1])
    save_figure(figure, tmp_path / f"new/picture.{format}")
    assert (tmp_path / f"new/picture.{format}").read_bytes().startswith(BEGINNINGS[format])


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(VocalgenError, match=r"unknown picture format; use one of \.png, \.svg, \.pdf"):
        save_figure(new_figure(2, 1), tmp_path / "picture.bmpx")
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    for drawing in (lambda: new_figure(2, 1), lambda: require_picture("a.png")):
        with pytest.raises(VocalgenError, match=r"pip install 'vocalgen\[train\]'"):
            drawing()


def test_is_own_picture_compares_text_fields(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from PIL import Image, PngImagePlugin

    path, edited = tmp_path / "picture.png", tmp_path / "edited.png"
    figure = new_figure(2, 1)
    figure.subplots().plot([0, 1])
    save_figure(figure, path)
    assert is_own_picture(path)
    with Image.open(path) as image:
        description = Image.Exif()
        description[0x010E] = "a description"
        for author, options in (("", {}), ("somebody", {}), ("", {"exif": description})):
            texts = PngImagePlugin.PngInfo()
            for name, text in {**image.text, **({"Author": author} if author else {})}.items():
                texts.add_text(name, text)
            image.save(edited, pnginfo=texts, **options)
            assert is_own_picture(edited) == (not author and not options)
