"""What tests of raters in a real browser share: Chromium of the system, driven by Playwright.

VOCALGEN_SCREENSHOTS=FOLDER keeps pictures of the pages there.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from bursts import burst

from vocalgen import audio
from vocalgen.emotions import HUME10
from vocalgen.rating.freeze import create_study
from vocalgen.rating.store import Store
from vocalgen.rating.study import Settings

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
pytest.importorskip("uvicorn")

PHONE, DESKTOP = {"width": 390, "height": 800}, {"width": 1280, "height": 900}
SERVED = Settings(emotions=("Awe", "Fear", "Sadness"), practice=1, repeats=0, instructed=0)

Serve = Callable[..., tuple[Store, str, str]]


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Servers; they end with the test."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.terminate()
        process.wait()


@pytest.fixture
def serve(tmp_path: Path, started: list[subprocess.Popen[str]]) -> Serve:
    """Start a server of a study of two clips and one for practice: its store, a rater's link and the experimenter's."""

    def start(settings: Settings = SERVED, texts: dict[str, str] | None = None) -> tuple[Store, str, str]:
        store, process, links = start_server(tmp_path, settings, texts)
        started.append(process)
        return store, *links

    return start


def start_server(
    folder: Path,
    settings: Settings = SERVED,
    texts: dict[str, str] | None = None,
    names: Sequence[str] = ("0", "1"),
) -> tuple[Store, subprocess.Popen[str], tuple[str, str]]:
    """A server of a study, one clip an emotion and some for practice of those of these names; the store; the links."""
    for kind, emotion in enumerate(("awe", "fear")):
        for number, name in enumerate(names):
            audio.write(folder / "clips" / emotion / f"{name}.wav", burst(kind, 0.3, 16_000, number), 16_000)
    study = create_study(folder / "study", folder / "clips", settings, 1, HUME10, texts)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    arguments = ["rate", "serve", str(study.folder), "--invite", "1", "--port", port]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "vocalgen", *arguments], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    rater, experimenter = (process.stdout.readline().split()[-1] for _ in range(2))
    return Store(study), process, (rater, experimenter)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--mute-audio"]
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield opened
        opened.close()


@pytest.fixture
def problems() -> list[str]:
    return []


def arrive(browser: Any, link: str, problems: list[str], **options: Any) -> Any:
    """A page at a link of a server that is still starting; what goes wrong in it is added to `problems`."""
    page = browser.new_context(**{"viewport": PHONE, "locale": "en-GB", **options}).new_page()
    for _ in range(150):
        try:
            page.goto(link)
            break
        except sync_api.Error:
            page.wait_for_timeout(200)
    else:
        raise AssertionError("the server did not start")
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.reload()
    return page


def begin(page: Any, agree: str = "I agree", play: str = "Play a sound", well: str = "I hear it well") -> None:
    page.get_by_role("button", name=agree).press("Enter")
    page.get_by_role("button", name=play).press("Enter")
    page.get_by_role("button", name=well).click()  # waits until it was heard


def answer(page: Any, keys: dict[str, str] | None = None, heard: bool = False) -> None:
    """Hear, if it was not yet, and answer a page by keyboard: 0 where `keys` does not say otherwise."""
    for slider in page.query_selector_all("input[type=range]"):
        slider.focus()
        name = page.evaluate("e => e.labels[0].textContent", slider)
        page.keyboard.press((keys or {}).get(name, "0"))
    if not heard:
        page.locator("button.sound").press("Enter")
    page.wait_for_selector(".next button:enabled")
    page.locator(".next button").press("Enter")


def keep(page: Any, name: str) -> None:
    folder = os.environ.get("VOCALGEN_SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def assert_fits(page: Any) -> None:
    """Nothing is wider than the window, and what is tapped is large enough for a finger (44 CSS pixels)."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for target in page.query_selector_all("button:visible, input:visible, select:visible"):
        box = target.bounding_box()
        assert box["height"] >= 44 and box["width"] >= 44, page.evaluate("e => e.outerHTML", target)
