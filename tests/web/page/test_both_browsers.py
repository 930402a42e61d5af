"""In Chromium and in Firefox: from a sentence to the cut on the timeline, and nothing that axe finds in any view."""

import re
from collections.abc import Callable
from pathlib import Path

import opentimelineio as otio
import pytest
from axe_playwright_python.sync_playwright import Axe
from page_helpers import VIEWS, search, show, until_video
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect
from tests_web_helpers import until

pytestmark = pytest.mark.parametrize("browser", ["chromium", "firefox"], indirect=True)
STRICT = {"rules": {"label-content-name-mismatch": {"enabled": True}}, "resultTypes": ["violations"]}
"""What axe is asked for beyond what it looks for anyway, and that it need not collect what is as it should be."""
CONTRAST = {"runOnly": ["color-contrast"], "resultTypes": ["violations"]}


def retype(box: Locator, text: str) -> None:
    """Type over what stands in a box: Firefox has it as changed only if keys did it."""
    box.press("ControlOrMeta+a")
    box.page.keyboard.type(text)
    box.page.keyboard.press("Enter")


def saved(downloads: Path, press: Callable[[], None]) -> str:
    """What the browser has put into the folder of downloads once it is done; Firefox does not tell Playwright of it."""
    before = set(downloads.iterdir())
    press()
    done: list[Path] = []
    while not done or not done[0].stat().st_size:
        until(lambda: set(downloads.iterdir()) - before)
        done = [path for path in set(downloads.iterdir()) - before if path.suffix not in (".part", ".crdownload")]
    return done[0].read_text()


def test_from_sentences_to_the_timeline_in_one_sitting(
    open_context: Callable[..., BrowserContext], downloads: Path
) -> None:
    """Find, look at three moments of one film, trim, keep twelve, order them, undo, export, and read that back.

    With all motion, as most people have it.
    """
    page = open_context(reduced_motion="no-preference").new_page()
    cards = search(page)
    several = page.get_by_role("button", name=re.compile(r"^[2-9] more moments"))
    card = cards.filter(has=several, has_text="film_").first  # which has sound, and begins at ten o'clock
    card.locator(".others").click()
    for choose in card.locator(".moments").get_by_role("button", name="Show").all()[:3]:
        choose.click()
        until_video(page, "v.currentTime > 0 && !v.paused")
    for keep in card.locator(".moments").get_by_role("button", name="Keep").all()[:3]:
        keep.click()
    page.keyboard.press("Escape")
    for one in [one for one in cards.all() if one.locator(".actions [aria-pressed=true]").count() == 0][:9]:
        one.get_by_role("button", name="Keep this").click()
    page.get_by_role("button", name="Tray, 12 moments").click()
    tray = page.locator("#tray")
    tray.locator(".thumb").first.click()
    tray.get_by_role("button", name="Trim").click()
    dialog = page.get_by_role("dialog")
    retype(dialog.get_by_label("Start", exact=True), "1")
    retype(dialog.get_by_label("End", exact=True), "2.5")
    page.keyboard.press("Escape")
    expect(tray.locator(".thumb").first).to_be_focused()  # given back when the dialog has closed, a little later
    tray.locator(".grip").first.focus()
    page.keyboard.press("End")
    tray.get_by_role("button", name=re.compile("^Take ")).first.click()
    expect(tray.locator("li")).to_have_count(11)
    page.keyboard.press("Control+z")
    expect(tray.locator("li")).to_have_count(12)
    names = tray.locator(".name").all_text_contents()
    page.get_by_label("For an editing program").select_option("otio")
    written = saved(downloads, page.get_by_role("button", name="Export").click)
    timeline = otio.adapters.read_from_string(written, "otio_json")
    clips = list(timeline.video_tracks()[0].find_clips())
    assert [clip.name for clip in clips] == names
    begins, a_second = otio.opentime.RationalTime(36_000 * 12, 12), otio.opentime.RationalTime(12, 12)
    taken = otio.opentime.TimeRange(begins + a_second, otio.opentime.RationalTime(18, 12))
    assert clips[-1].source_range == taken
    assert clips[-1].media_reference.available_range.start_time == begins
    (heard,) = timeline.audio_tracks()
    assert heard[len(heard) - 1].source_range == taken
    assert [isinstance(item, otio.schema.Gap) for item in heard].count(False) == sum(
        name.startswith("film_") for name in names
    )


def test_a_part_of_the_page_that_did_not_come_comes_later(page: Page) -> None:
    """Some browsers keep it in mind that a module could not be fetched."""
    card = search(page).first
    page.route("**/static/*.js", lambda route: route.abort())
    card.get_by_role("button", name="Trim").click()
    expect(page.locator(".message.error")).to_contain_text("A part of the page did not come. It is tried again")
    page.unroute_all(behavior="wait")
    expect(page.get_by_role("dialog").get_by_label("Start", exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Library").click()
    expect(page.locator("#library-view .film").first).to_be_visible()


def test_axe_finds_nothing(
    browser: Browser, open_context: Callable[..., BrowserContext], locked_url: str, server_url: str
) -> None:
    """In either theme; Firefox has the light one here, and is shown the views in which it draws most by itself."""
    axe = Axe()
    chromium = browser.browser_type.name == "chromium"
    page = open_context(server_url).new_page()
    for view in VIEWS if chromium else ("film", "trimming", "tray"):
        shown = open_context(locked_url).new_page() if view == "login" else page
        show(shown, view)
        shown.wait_for_timeout(250)
        found = axe.run(shown, options=STRICT)
        assert found.violations_count == 0, f"{view}: {found.generate_report()}"
        if chromium:
            shown.emulate_media(color_scheme="dark", reduced_motion="reduce")
            contrast = axe.run(shown, options=CONTRAST)
            assert contrast.violations_count == 0, f"{view}: {contrast.generate_report()}"
            shown.emulate_media(color_scheme="light", reduced_motion="reduce")
        shown.evaluate("localStorage.clear()")  # what was put into the tray
