"""What a rater's page does about taps beside, sounds that stop, other windows, and a browser that keeps nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import rating_page
from rating_page import Serve, answer, arrive, begin, start_server

from vocalgen.rating.answers import Answer
from vocalgen.rating.flags import FAST
from vocalgen.rating.store import Store
from vocalgen.rating.texts import shipped_text

pytestmark = rating_page.needs_browser
browser, problems, serve, started = (
    rating_page.browser,
    rating_page.problems,
    rating_page.serve,
    rating_page.started,
)

MARKUP = "<img src=x onerror=document.title=1>"

SOUNDS = """
window.sounds = [];
window.Audio = class extends Audio {
  constructor(address) {
    super(address);
    sounds.push(this);
    this.addEventListener("playing", () => { if (window.happens === "pause") this.pause(); });
  }
  play() {
    if (window.happens === "refusal") return Promise.reject(new DOMException("no", "NotAllowedError"));
    return window.happens === "nothing" ? new Promise(() => {}) : super.play();
  }
};
"""
"""The page's sounds, and what happens to the next."""

REFUSED = """
for (const name of ["localStorage", "sessionStorage"])
  Object.defineProperty(window, name, {get() { throw new DOMException("refused", "SecurityError"); }});
"""
FULL = 'Storage.prototype.setItem = () => { throw new DOMException("full", "QuotaExceededError"); };'


class Served(NamedTuple):
    """A server that runs: its study's store and the link of the experimenter."""

    store: Store
    experiment: str

    def link(self) -> str:
        """The link of a new rater."""
        return f"{self.experiment.partition('/experiment')[0]}/r/{self.store.invite(1)[0]}"

    def answers(self) -> list[Answer]:
        """What the rater who was invited last has answered."""
        last = len(self.store.raters())
        return [answer for answer in self.store.answers() if answer.rater == last]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    english = shipped_text("en") + f'emotions: {{Sadness: "{MARKUP}"}}\n'
    folder = tmp_path_factory.mktemp("served")
    store, process, (_, experiment) = start_server(folder, texts={"en": english}, names=(MARKUP, f"2{MARKUP}"))
    yield Served(store, experiment)
    process.terminate()
    process.wait()


def rating(browser: Any, link: str, problems: list[str], script: str = "", **options: Any) -> Any:
    """A page at the first clip, its time in the test's hands; `script` runs before the page's own."""
    page = arrive(browser, link, problems, **options)
    page.clock.install()
    page.add_init_script(script)
    page.reload()
    begin(page)
    page.wait_for_selector(".emotion")
    return page


def play(page: Any) -> None:
    page.locator("button.sound").click()
    page.wait_for_selector("button.sound:text('Play again')")


def shown(page: Any) -> list[str]:
    return page.locator(".emotion output").all_text_contents()  # type: ignore[no-any-return]


def test_nothing_is_answered_by_accident(served: Served, browser: Any, problems: list[str]) -> None:
    page = rating(browser, served.link(), problems, has_touch=True)
    play(page)
    for label in page.locator(".emotion label").all():
        label.click()
        label.tap()
    slider = page.locator("input[type=range]").first
    slider.evaluate("slider => slider.click()")
    for key in ("Enter", " ", "Tab", "a"):
        slider.press(key)
    box = slider.bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 20)
    page.mouse.down(button="right")
    page.mouse.up(button="right")
    page.mouse.move(box["x"] + 100, box["y"] - 30)
    page.mouse.down()
    page.mouse.move(box["x"] + 100, box["y"] + 20)
    page.mouse.up()
    assert shown(page) == ["not answered"] * 3
    assert page.text_content("#hint") == "3 left to answer"
    assert problems == []


@pytest.mark.parametrize("touch", [False, True])
def test_a_slider_goes_where_it_is_tapped(served: Served, browser: Any, problems: list[str], touch: bool) -> None:
    page = rating(browser, served.link(), problems, has_touch=touch)
    slider = page.locator("input[type=range]").first
    box = slider.bounding_box()

    def tap(x: float) -> int:
        place = box["x"] + x, box["y"] + box["height"] / 2
        (page.touchscreen.tap if touch else page.mouse.click)(*place)
        page.wait_for_selector(".emotion output:not(:text('not answered'))")
        return int(shown(page)[0])

    assert tap(3) == 1  # where a browser that has the slider at its low end tells of no change
    assert tap(box["width"] / 2) in (50, 51)
    if not touch:
        assert tap(box["width"] / 2 + 9) in (50, 51)  # the thumb is there already
    assert tap(box["width"] - 3) == 100
    assert shown(page)[1:] == ["not answered"] * 2


@pytest.mark.parametrize(
    ("key", "value"),
    [("ArrowRight", 2), ("ArrowUp", 2), ("ArrowLeft", 1), ("ArrowDown", 1), ("PageUp", 11), ("PageDown", 1),
     ("Home", 1), ("End", 100), ("0", 1)],
)  # fmt: skip
def test_keys_begin_at_the_low_end(served: Served, browser: Any, problems: list[str], key: str, value: int) -> None:
    page = rating(browser, served.link(), problems)
    slider = page.locator("input[type=range]").first
    slider.press(key)
    assert shown(page)[0] == slider.input_value() == slider.get_attribute("aria-valuetext") == str(value)
    page.close()


def test_the_ends_are_one_tap(served: Served, browser: Any, problems: list[str]) -> None:
    page = rating(browser, served.link(), problems, has_touch=True, is_mobile=True)
    low = page.get_by_role("button", name="Awe: not at all", exact=True)
    high = page.get_by_role("button", name="Awe: extremely", exact=True)
    slider = page.get_by_role("slider", name="Awe")
    low.tap()
    assert slider.get_attribute("aria-valuetext") == "1"
    assert [end.get_attribute("aria-pressed") for end in (low, high)] == ["true", "false"]
    high.tap()
    assert slider.get_attribute("aria-valuetext") == "100"
    assert [end.get_attribute("aria-pressed") for end in (low, high)] == ["false", "true"]
    assert page.is_hidden("text=the key 0")  # there is no keyboard
    desktop = rating(browser, served.link(), problems)
    assert desktop.is_visible("text=the key 0 sets it to “not at all”")


@pytest.mark.parametrize("happens", ["pause", "refusal", "nothing"])
def test_a_first_play_that_stops_can_be_repeated(
    served: Served, browser: Any, problems: list[str], happens: str
) -> None:
    page = rating(browser, served.link(), problems, SOUNDS)
    page.wait_for_function("sounds.at(-1).readyState === HTMLMediaElement.HAVE_ENOUGH_DATA")
    page.evaluate("happens => { window.happens = happens; }", happens)
    sound = page.locator("button.sound")
    sound.click()
    if happens == "nothing":
        page.wait_for_selector("button.sound:text('Playing…')")
        assert sound.get_attribute("aria-disabled") == "true"
        page.clock.fast_forward(8000)
    page.wait_for_selector("#trouble:text('stopped before its end')")
    assert sound.text_content() == "Play" and sound.get_attribute("aria-disabled") == "false"
    assert page.text_content("#hint") == "Please listen to the end first."
    page.evaluate("window.happens = null")
    play(page)
    assert page.is_hidden("#trouble")
    assert problems == []


def test_what_went_wrong_hides_nothing_that_has_the_focus(served: Served, browser: Any, problems: list[str]) -> None:
    page = rating(browser, served.link(), problems, SOUNDS, viewport={"width": 390, "height": 560})
    play(page)
    for slider in page.query_selector_all("input[type=range]"):
        slider.press("0")
    page.evaluate("window.happens = 'refusal'")
    page.locator("button.sound").click()
    page.wait_for_selector("#trouble:text('stopped before its end')")
    page.evaluate("""() => {
      const next = document.querySelector(".next button");
      next.scrollIntoView({block: "start"});
      window.scrollBy(0, next.getBoundingClientRect().bottom - innerHeight + 4);
    }""")
    following = page.locator(".next button")
    assert not is_above_trouble(page, following)
    following.focus()
    assert is_above_trouble(page, following)


def is_above_trouble(page: Any, element: Any) -> bool:
    box, told = element.bounding_box(), page.locator("#trouble").bounding_box()
    return bool(box["y"] + box["height"] <= told["y"])


def test_a_sound_that_does_not_load_can_be_tried_again(served: Served, browser: Any, problems: list[str]) -> None:
    link = served.link()
    page = arrive(browser, link, problems)
    for pattern in ("**/clips/*", "**/volume"):
        page.route(pattern, lambda route: route.abort())
    page.get_by_role("button", name="I agree").click()
    page.get_by_role("button", name="Play a sound").click()
    page.wait_for_selector("#trouble:text('could not be loaded')")
    assert page.get_by_role("button", name="I hear it well").is_disabled()
    page.unroute("**/volume")
    page.get_by_role("button", name="Play a sound").click()
    page.get_by_role("button", name="I hear it well").click()
    page.wait_for_selector(".emotion")
    assert page.is_hidden("#trouble")
    for _ in range(2):
        page.locator("button.sound").click()
        page.wait_for_selector("#trouble:text('could not be loaded')")
    page.unroute("**/clips/*")
    play(page)
    assert page.is_hidden("#trouble")


def test_nothing_changes_while_it_is_saved(served: Served, browser: Any, problems: list[str]) -> None:
    page = rating(browser, served.link(), problems)
    held: list[Any] = []
    page.route("**/pages/0", lambda route: held.append(route))
    answer(page)
    page.wait_for_selector(".next button:text('Saving…')")
    assert page.locator("main button:enabled, main input:enabled").count() == 0
    box = page.locator("input[type=range]").first.bounding_box()
    page.mouse.click(box["x"] + 200, box["y"] + 20)
    page.locator("input[type=range]").first.press("End")
    page.get_by_role("button", name="Awe: extremely").click(force=True)
    assert shown(page) == ["1", "1", "1"]
    held[0].continue_()
    page.wait_for_selector("text=Ready to start")
    assert len(held) == 1 and set(served.answers()[0].values.values()) == {1}


def test_a_request_that_hangs_is_told_and_tried_again(served: Served, browser: Any, problems: list[str]) -> None:
    page = rating(browser, served.link(), problems)
    asked: list[Any] = []

    def hang_once(route: Any) -> None:
        asked.append(route)
        if len(asked) > 1:
            route.continue_()

    page.route("**/pages/0", hang_once)
    answer(page)
    page.wait_for_selector(".next button:text('Saving…')")
    page.clock.fast_forward(19_000)
    assert page.is_hidden("#trouble")
    page.clock.fast_forward(1000)
    page.wait_for_selector("#trouble:text('cannot be reached')")
    page.clock.fast_forward(1000)
    page.wait_for_selector("text=Ready to start")
    assert page.is_hidden("#trouble") and len(served.answers()) == 1


@pytest.mark.parametrize("script", [REFUSED, FULL])
def test_a_browser_that_keeps_nothing_is_enough(served: Served, browser: Any, problems: list[str], script: str) -> None:
    page = rating(browser, served.link(), problems, script)
    answer(page)
    page.get_by_role("button", name="Go on").click()
    for place in (2, 3):
        page.wait_for_selector(f"text={place} of 3")
        answer(page)
    page.wait_for_selector("text=Thank you")
    assert len(served.answers()) == 3 and problems == []


def test_time_before_a_reload_counts(served: Served, browser: Any, problems: list[str]) -> None:
    page = rating(browser, served.link(), problems)
    page.clock.fast_forward(60_000)
    for slider in page.locator("input[type=range]").all():
        slider.press("End")
    play(page)
    page.reload()
    page.get_by_role("button", name="Next").click()
    page.wait_for_selector("text=Ready to start")
    assert 60 <= served.answers()[0].seconds < 120 and set(served.answers()[0].values.values()) == {100}


def test_the_volume_is_set_once_a_visit_and_by_no_clip(served: Served, browser: Any, problems: list[str]) -> None:
    link = served.link()
    page = rating(browser, link, problems)
    answer(page)
    page.get_by_role("button", name="Go on").click()
    page.wait_for_selector("text=2 of 3")
    page.reload()
    page.wait_for_selector("text=2 of 3")
    page.wait_for_selector(".emotion")  # the same visit
    other = browser.new_context(locale="en-GB").new_page()
    asked: list[str] = []
    other.on("request", lambda request: asked.append(request.url))
    other.goto(link)
    other.get_by_role("button", name="Play a sound").click()
    other.wait_for_selector("button:text('I hear it well'):enabled")
    assert any(url.endswith("/volume") for url in asked) and not any("/clips/" in url for url in asked)
    other.get_by_role("button", name="I hear it well").click()
    other.wait_for_selector("text=2 of 3")
    other.wait_for_selector(".emotion")
    assert problems == []


def test_two_windows_end_at_one_page(served: Served, browser: Any, problems: list[str]) -> None:
    first = rating(browser, served.link(), problems)
    second = first.context.new_page()
    second.goto(first.url)
    second.get_by_role("button", name="Play a sound").click()
    second.get_by_role("button", name="I hear it well").click()
    second.wait_for_selector(".emotion")
    answer(first)
    first.wait_for_selector("text=Ready to start")
    answer(second, {"Awe": "End", "Fear": "End"})
    second.wait_for_selector("text=2 of 3")
    second.wait_for_selector("#trouble:text('open in another window')")
    assert shown(second) == ["not answered"] * 3
    answer(second)
    second.wait_for_selector("text=3 of 3")
    assert second.is_hidden("#trouble")
    assert [set(answer.values.values()) for answer in served.answers()] == [{1}, {1}]


KEPT = "Object.keys(localStorage).length + Object.keys(sessionStorage).length"


def test_a_browser_forgets_who_withdraws(served: Served, browser: Any, problems: list[str]) -> None:
    page = rating(browser, served.link(), problems, SOUNDS)
    play(page)
    assert page.evaluate(KEPT) == 2  # an answer, and that the volume is set
    page.evaluate("sounds.at(-1).loop = true")
    page.locator("button.sound").click()
    page.wait_for_function("!sounds.at(-1).paused && sounds.at(-1).currentTime > 0")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Withdraw").click()
    page.wait_for_selector("text=You have withdrawn")
    assert page.evaluate("sounds.every(sound => sound.paused)")  # no sound goes on behind another screen
    assert page.evaluate(KEPT) == 0


def test_a_browser_forgets_who_is_done(served: Served, browser: Any, problems: list[str]) -> None:
    page = rating(browser, served.link(), problems)
    for place in (1, 2, 3):
        page.wait_for_selector(f"text={place} of 3")
        answer(page)
        if place == 1:
            page.get_by_role("button", name="Go on").click()
    page.wait_for_selector("text=Thank you")
    assert page.evaluate(KEPT) == 0 and problems == []


def test_withdrawing_does_not_wait_for_a_save(served: Served, browser: Any, problems: list[str]) -> None:
    page = rating(browser, served.link(), problems)
    asked: list[str] = []
    page.route("**/pages/0", lambda route: (asked.append(route.request.method), route.abort()))
    answer(page)
    page.wait_for_selector("#trouble:text('cannot be reached')")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Withdraw").click()
    page.wait_for_selector("text=You have withdrawn")
    before = len(asked)
    page.wait_for_timeout(4500)  # longer than the time to the next try
    assert len(asked) == before and page.is_hidden("#trouble") and page.is_visible("text=You have withdrawn")


def test_markup_in_names_is_shown_as_text(served: Served, browser: Any, problems: list[str]) -> None:
    page = rating(browser, served.link(), problems)
    assert MARKUP in page.locator(".emotion label").all_text_contents()
    assert page.get_by_role("button", name=f"{MARKUP}: not at all").count() == 1
    watcher = arrive(browser, served.experiment, problems)
    watcher.wait_for_selector("td:has-text('onerror')")
    names = watcher.locator("td").filter(has_text=re.compile(r"onerror")).all_text_contents()
    assert len(names) == 2 and all(MARKUP in name for name in names)
    for shown_page in (page, watcher):
        assert shown_page.locator("img").count() == 0 and shown_page.title() != "1"
    assert problems == []


def test_the_experimenter_is_told_what_is_missing(serve: Serve, browser: Any, problems: list[str]) -> None:
    store, link, experiment = serve()
    token = link.rpartition("/")[2]
    store.consent(token)
    while (page := store.next_page(token)) is not None:
        store.save(token, page.place, {"Awe": 1 + page.place, "Fear": 50, "Sadness": 100}, 1, 9.0)
    store.lift(1, FAST)
    watcher = arrive(browser, experiment, problems)
    for name, value in (("invited", 1), ("ratings still wanted", 18), ("raters still wanted", 9)):
        watcher.wait_for_selector(f"li:has(span:text-is('{name}')) b:text-is('{value}')")
    for reason in (
        "ICC (1, k): no clip was rated by two raters yet.",
        "ICC (2, k): no two raters have rated every clip.",
    ):
        assert watcher.is_visible(f"p:text-is('{reason}')")
    assert problems == []
