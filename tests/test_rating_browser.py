"""A rater in a real browser: Chromium of the system, driven by Playwright (`pip install playwright`)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bursts import burst

from vocalgen import audio
from vocalgen.emotions import HUME10
from vocalgen.rating.store import Store
from vocalgen.rating.study import Settings, create_study

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
pytest.importorskip("uvicorn")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Store, str, str]]:
    """A study of three clips, a rater's link and the experimenter's."""
    for kind, emotion in enumerate(("awe", "fear")):
        for number in range(2):
            audio.write(tmp_path / "clips" / emotion / f"{number}.wav", burst(kind, 0.3, 16_000, number), 16_000)
    settings = Settings(title="<i>Sounds</i>", emotions=("Awe", "Fear"), practice=1, repeats=0)
    study = create_study(tmp_path / "study", tmp_path / "clips", settings, 1, HUME10)
    command = [sys.executable, "-m", "vocalgen", "rate", "serve", str(study.folder), "--invite", "1", "--port", "8765"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    links = [process.stdout.readline().split()[-1] for _ in range(2)]
    try:
        yield Store(study), links[0], links[1]
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--mute-audio"]
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield opened
        opened.close()


def arrive(page: Any, link: str) -> None:
    """Open a link of a server that is still starting."""
    for _ in range(50):
        try:
            page.goto(link)
            return
        except sync_api.Error:
            page.wait_for_timeout(200)
    raise AssertionError("the server did not start")


def test_a_rater_completes_the_study_by_keyboard(server: tuple[Store, str, str], browser: Any) -> None:
    store, link, experiment = server
    page, problems = browser.new_page(viewport={"width": 390, "height": 800}), []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    arrive(page, link)
    page.get_by_role("button", name="I agree").press("Enter")
    assert page.text_content("#title") == "<i>Sounds</i>"  # text, not markup
    page.get_by_role("button", name="Play a sound").press("Enter")
    page.get_by_role("button", name="I hear it well").click()  # waits until it was heard
    for place in range(3):
        page.wait_for_selector(f"text={place + 1} of 3")
        following = page.get_by_role("button", name="Next")
        for number, slider in enumerate(page.query_selector_all("input[type=range]")):
            assert slider.get_attribute("aria-valuetext") == "not answered"
            slider.focus()
            page.keyboard.press("0" if number else "ArrowRight")
        assert following.is_disabled()  # it was not heard yet
        page.get_by_role("button", name="Play").press("Enter")
        page.wait_for_selector("text=Play again")
        if place == 1:
            page.reload()
            page.wait_for_selector("text=Play again")  # what was entered is still there
        following.press("Enter")
    page.wait_for_selector("text=Thank you")
    token = link.rpartition("/")[2]
    assert page.text_content(".code") == store.code(token)
    answers = store.answers()
    assert [answer.kind for answer in answers] == ["practice", "rating", "rating"]
    assert all(sorted(answer.values.values())[0] == 1 < max(answer.values.values()) for answer in answers)
    assert problems == []
    watcher = browser.new_page()
    watcher.goto(experiment)
    watcher.wait_for_selector("text=1 finished")


def test_a_lost_connection_loses_nothing(server: tuple[Store, str, str], browser: Any) -> None:
    store, link, _ = server
    context = browser.new_context()
    page = context.new_page()
    arrive(page, link)
    token = link.rpartition("/")[2]
    store.consent(token)
    page.evaluate(f"sessionStorage.setItem('volume-{token}', 'set')")
    page.reload()
    page.get_by_role("button", name="Play").click()
    for slider in page.query_selector_all("input[type=range]"):
        slider.focus()
        page.keyboard.press("0")
    page.wait_for_selector("text=Play again")
    context.set_offline(True)
    page.get_by_role("button", name="Next").click()
    page.wait_for_selector("text=Your answer is kept")
    assert store.answers() == []
    context.set_offline(False)
    page.wait_for_selector("text=2 of 3")
    assert re.search("kept", page.text_content("#trouble") or "") is None
    assert len(store.answers()) == 1
