"""Raters complete a study in a real browser, whatever happens to the connection or the disk."""

from __future__ import annotations

import re
import resource
import subprocess
from typing import Any

import pytest
import rating_page
from rating_page import DESKTOP, PHONE, SERVED, Serve, answer, arrive, assert_fits, begin, keep

from vocalgen.emotions import HUME10
from vocalgen.rating.flags import FAST, MISSED
from vocalgen.rating.study import Settings
from vocalgen.rating.texts import shipped_text

pytestmark = rating_page.needs_browser
browser, problems, serve, started = (
    rating_page.browser,
    rating_page.problems,
    rating_page.serve,
    rating_page.started,
)


def test_a_rater_completes_the_study_by_keyboard(serve: Serve, browser: Any, problems: list[str]) -> None:
    english = shipped_text("en").replace("Sounds of emotion", "<i>Sounds</i>")
    store, link, experiment = serve(texts={"en": english})
    page = arrive(browser, link, problems)
    page.wait_for_selector("text=Before you begin")
    assert page.text_content("#title") == "<i>Sounds</i>"  # text, not markup
    begin(page)
    for place in range(3):
        if place == 1:
            page.get_by_role("button", name="Go on").press("Enter")  # practice is over
        page.wait_for_selector(f"text={place + 1} of 3")
        following = page.locator(".next button")
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
    watcher = arrive(browser, experiment, problems)
    watcher.wait_for_selector("li:has-text('finished') b:text('1')")
    assert problems == []


@pytest.mark.parametrize(("name", "size"), [("phone", PHONE), ("desktop", DESKTOP)])
def test_every_page_fits(serve: Serve, browser: Any, problems: list[str], name: str, size: dict[str, int]) -> None:
    settings = Settings(
        emotions=HUME10.emotions, languages=("en", "de"), practice=1, repeats=1, instructed=1, block=2
    )  # fmt: skip
    store, link, experiment = serve(settings)
    scheme = "dark" if name == "desktop" else "light"
    page = arrive(browser, link, problems, viewport=size, color_scheme=scheme, reduced_motion="reduce")
    page.wait_for_selector("text=Before you begin")
    assert page.evaluate("document.documentElement.lang") == "en"
    assert_fits(page)
    keep(page, f"{name}-1-consent")
    page.get_by_role("button", name="I agree").click()
    page.wait_for_selector("text=Set your volume")
    assert_fits(page)
    keep(page, f"{name}-2-volume")
    page.get_by_role("button", name="Play a sound").click()
    page.get_by_role("button", name="I hear it well").click()
    page.wait_for_selector("text=Practice")
    assert_fits(page)
    keep(page, f"{name}-3-practice")
    seen = []
    while True:
        page.wait_for_selector(".emotion, .code, button:has-text('Go on')")
        if page.query_selector(".code"):
            break
        if page.query_selector("button:has-text('Go on')"):
            seen.append(page.text_content("h2"))
            assert_fits(page)
            keep(page, f"{name}-4-stop-{len(seen)}")
            page.get_by_role("button", name="Go on").click()
            continue
        asked = re.search("move “(.+?)”", page.text_content("#told") or "")
        if asked:
            assert_fits(page)
            keep(page, f"{name}-5-asked")
        half = page.query_selector_all("input[type=range]")[::2]
        if not asked:
            for slider in half:
                slider.focus()
                page.keyboard.press("PageUp")
        if len(seen) == 1:
            keep(page, f"{name}-6-half")
        place = page.text_content("#count")
        answer(page, {asked[1]: "End"} if asked else {})
        page.wait_for_selector(f"#count:not(:text-is('{place}')), .code", state="attached")
    assert seen == ["Ready to start", "Time for a break?"]
    assert_fits(page)
    keep(page, f"{name}-7-done")
    assert [answer.kind for answer in store.answers()].count("instructed") == 1
    assert not any(answer.missed for answer in store.answers())
    assert {flag.reason for flag in store.raters()[0].flags} <= {FAST}
    store.flag(1, "<b>bold</b>")
    watcher = arrive(browser, experiment, problems, viewport=size, color_scheme=scheme)
    watcher.wait_for_selector("text=rater-0001")
    assert watcher.evaluate("document.documentElement.scrollWidth <= innerWidth")
    watcher.wait_for_selector(".up:text('<b>bold</b>')")
    keep(watcher, f"{name}-8-experiment")
    watcher.get_by_role("button", name="Take back: rater-0001, <b>bold</b>").click()
    watcher.wait_for_selector(".lifted:text('<b>bold</b>')")
    watcher.on("dialog", lambda dialog: dialog.accept("spoke to me"))
    watcher.get_by_role("button", name="Flag rater-0001").click()
    watcher.wait_for_selector(".up:text('spoke to me')")
    assert store.raters()[0].flagged and MISSED not in {flag.reason for flag in store.raters()[0].flags}
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Withdraw").click()
    page.wait_for_selector("text=will not be used")
    assert problems == []


def test_the_browsers_language_is_taken_and_can_be_changed(serve: Serve, browser: Any, problems: list[str]) -> None:
    right = shipped_text("en").replace("language: English", "language: עברית").replace("ltr", "rtl")
    right = right.replace("low: not at all", "low: כלל לא").replace("high: extremely", "high: מאוד")
    settings = Settings(emotions=("Awe", "Fear"), languages=("en", "de", "he"), practice=0, repeats=0, instructed=0)
    store, link, _ = serve(settings, {"he": right})
    page = arrive(browser, link, problems, locale="de-AT")
    page.wait_for_selector("text=Bevor Sie beginnen")
    assert page.evaluate("[document.documentElement.lang, document.title]") == ["de", "Klänge von Gefühlen"]
    assert_fits(page)
    page.get_by_label("Sprache").select_option("he")
    page.wait_for_selector("text=Before you begin")
    assert page.evaluate("document.documentElement.dir") == "rtl"
    begin(page)
    page.wait_for_selector(".emotion")
    assert_fits(page)
    low, high = (page.locator("button.end").nth(side).bounding_box() for side in (0, 1))
    assert low["x"] > high["x"]
    slider = page.locator("input[type=range]").first
    box = slider.bounding_box()
    page.mouse.click(box["x"] + 10, box["y"] + box["height"] / 2)
    assert int(slider.input_value()) > 90  # the left end is the top
    keep(page, "phone-9-right-to-left")
    answer(page)
    page.wait_for_selector("text=2 of 2")
    assert store.raters()[0].language == "he"
    page.reload()
    page.wait_for_selector("text=2 of 2")
    assert page.evaluate("document.documentElement.lang") == "he"
    assert problems == []


def test_a_screen_reader_is_told(serve: Serve, browser: Any, problems: list[str]) -> None:
    _, link, _ = serve()
    page = arrive(browser, link, problems)
    begin(page)
    page.wait_for_selector(".emotion")
    for name in SERVED.emotions:
        slider = page.get_by_role("slider", name=name, exact=True)
        assert slider.get_attribute("aria-valuetext") == "not answered"
        slider.press("0")
        assert slider.get_attribute("aria-valuetext") == "1"
    described = page.get_by_role("slider", name="Awe").get_attribute("aria-describedby")
    assert page.text_content(f"#{described}") == "1: not at all. 100: extremely."
    assert page.get_by_role("progressbar", name="1 of 3").count() == 1
    play = page.locator("button.sound")
    play.press("Enter")
    page.wait_for_selector("#status:text-is('Everything is answered.')", state="attached")
    assert page.evaluate("document.activeElement.className") == "sound"  # the focus was not lost while it played
    play.press("Tab")
    ring = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert ring == "3px"
    page.locator(".next button").press("Enter")
    page.wait_for_selector("text=Ready to start")
    assert page.evaluate("document.activeElement.id") == "main"  # the new page is read from its beginning
    assert problems == []


LUMINANCES = r"""() => {
  const style = chosen => getComputedStyle(document.querySelector(chosen));
  const track = chosen => style(chosen).backgroundImage.match(/rgb\([^)]*\)/g).at(-1);
  const linear = part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  return [style("main").backgroundColor, track(".emotion input:not(.untouched)"), style("button.end").borderTopColor]
    .map(colour => colour.match(/[0-9.]+/g).slice(0, 3).map(part => linear(part / 255)))
    .map(([red, green, blue]) => 0.2126 * red + 0.7152 * green + 0.0722 * blue);
}"""
"""Of the ground, the part of a track that is not filled, and an edge: https://www.w3.org/TR/WCAG22/#dfn-relative-luminance."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_can_be_pressed_is_seen(serve: Serve, browser: Any, problems: list[str], scheme: str) -> None:
    _, link, _ = serve()
    page = arrive(browser, link, problems, color_scheme=scheme)
    begin(page)
    page.get_by_role("slider", name="Awe").press("0")
    ground, *seen = page.evaluate(LUMINANCES)
    for luminance in seen:
        assert (max(ground, luminance) + 0.05) / (min(ground, luminance) + 0.05) >= 3


def test_the_experimenter_is_left_where_they_are(serve: Serve, browser: Any, problems: list[str]) -> None:
    store, link, experiment = serve()
    store.consent(link.rpartition("/")[2])
    watcher = arrive(browser, experiment, problems)
    watcher.clock.install()
    watcher.reload()
    table = watcher.locator("#raters")
    for focused in (table, watcher.get_by_role("button", name="Flag rater-0001")):
        focused.focus()
        table.evaluate("region => { region.scrollLeft = 60; region.dataset.before = true; }")
        watcher.evaluate("window.scrollTo(0, 90)")
        watcher.clock.fast_forward(10_000)
        watcher.wait_for_selector("#raters:not([data-before])")
        assert focused.evaluate("element => element === document.activeElement")
        assert watcher.evaluate("[document.querySelector('#raters').scrollLeft, window.scrollY]") == [60, 90]
    assert problems == []


def test_a_lost_connection_loses_nothing(serve: Serve, browser: Any, problems: list[str]) -> None:
    store, link, _ = serve()
    page = arrive(browser, link, problems)
    begin(page)
    page.wait_for_selector("text=1 of 3")
    page.wait_for_load_state("networkidle")
    page.locator("button.sound").click()
    page.wait_for_selector("text=Play again")
    page.context.set_offline(True)
    answer(page, heard=True)
    page.wait_for_selector("text=cannot be reached")
    assert store.answers() == []
    page.context.set_offline(False)
    page.wait_for_selector("text=Ready to start")
    assert page.is_hidden("#trouble") and len(store.answers()) == 1


def test_a_full_disk_is_told_and_tried_again_until_there_is_room(
    serve: Serve, started: list[subprocess.Popen[str]], browser: Any, problems: list[str]
) -> None:
    """The server may write no file beyond the size that its journal has: the system refuses, as a full disk does."""
    store, link, _ = serve()
    page = arrive(browser, link, problems)
    begin(page)
    page.wait_for_selector("text=1 of 3")
    told: list[int] = []
    page.on("response", lambda answer: told.append(answer.status) if "/pages/" in answer.url else None)
    most, room = resource.RLIM_INFINITY, store.path.with_name(f"{store.path.name}-wal").stat().st_size
    resource.prlimit(started[0].pid, resource.RLIMIT_FSIZE, (room, most))
    answer(page)
    page.wait_for_selector("text=could not store your answer")
    keep(page, "phone-10-trouble")
    while len(told) < 2:
        page.wait_for_timeout(100)
    assert store.answers() == [] and page.text_content("#count") == "1 of 3"
    resource.prlimit(started[0].pid, resource.RLIMIT_FSIZE, (most, most))
    page.wait_for_selector("text=Ready to start")
    assert page.is_hidden("#trouble") and len(store.answers()) == 1
    assert set(told[:-1]) == {503} and told[-1] == 200
