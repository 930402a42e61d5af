"""For everybody: little to tab through, narrow screens, large letters. What axe finds: test_both_browsers.py."""

from collections.abc import Callable

import pytest
from page_helpers import VIEWS, pick, search, show, width_of_all
from playwright.sync_api import BrowserContext, Locator, Page, expect
from tests_web_helpers import TOKEN


def test_no_view_is_wider_than_320_pixels(
    open_context: Callable[..., BrowserContext], locked_url: str, server_url: str
) -> None:
    narrow = {"viewport": {"width": 320, "height": 640}, "has_touch": True, "is_mobile": True}
    page = open_context(server_url, **narrow).new_page()
    for view in VIEWS:
        shown = open_context(locked_url, **narrow).new_page() if view == "login" else page
        show(shown, view)
        shown.wait_for_timeout(250)
        assert width_of_all(shown) == 320, view
        beyond = shown.evaluate(
            "[...document.querySelectorAll('dialog, #tray, #tray ol')].filter((e) => e.scrollWidth > e.clientWidth)"
        )
        assert beyond == [], view
        shown.evaluate("localStorage.clear()")  # what was put into the tray


def test_who_is_logged_in_can_log_out_on_a_phone(open_context: Callable[..., BrowserContext], locked_url: str) -> None:
    phone = {"viewport": {"width": 320, "height": 640}, "has_touch": True, "is_mobile": True}
    page = open_context(locked_url, **phone).new_page()
    page.goto(f"/?token={TOKEN}")
    expect(page.get_by_role("button", name="Log out")).to_be_in_viewport(ratio=1)
    assert width_of_all(page) == 320


def tab_stops(part: Locator) -> int:
    """How often Tab stops in something."""
    return int(
        part.evaluate(
            """part => [...part.querySelectorAll('a, button, input, select, summary, video, [tabindex]')]
                 .filter((one) => one.tabIndex >= 0 && !one.disabled && one.checkVisibility()).length"""
        )
    )


def test_a_card_has_two_tab_stops_and_arrows_reach_the_rest(page: Page) -> None:
    cards = search(page)
    card = cards.first
    assert {tab_stops(one) for one in cards.all()} == {2}
    card.locator(".toggle").focus()
    for name in ("Trim", "Keep this moment", "Save this moment"):
        page.keyboard.press("Tab" if name == "Trim" else "ArrowRight")
        expect(card.get_by_role("button", name=name)).to_be_focused()
    page.keyboard.press("ArrowUp")
    strip = card.get_by_role("slider")
    expect(strip).to_be_focused()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(strip).to_have_attribute("aria-valuenow", "1")
    page.keyboard.press("ArrowDown")
    expect(card.get_by_role("button", name="Save this moment")).to_be_focused()
    page.keyboard.press("Tab")
    expect(cards.nth(1).locator(".toggle")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(card.get_by_role("button", name="Save this moment")).to_be_focused()


def test_a_card_that_plays_and_is_unfolded_has_no_more_of_them(page: Page) -> None:
    card = search(page).filter(has=page.locator(".others:visible")).first
    card.locator(".others").click()
    card.locator(".toggle").click()
    expect(card.get_by_role("button", name="Close the player")).to_be_visible()
    page.wait_for_function("() => document.querySelector('.controls .shut').tabIndex < 0")
    assert tab_stops(card) == 2
    card.locator(".toggle").focus()
    page.keyboard.press("Tab")
    expect(card.locator(".others")).to_be_focused()  # where it was last
    reached = set()
    for _ in range(40):
        page.keyboard.press("ArrowLeft")
        reached.add(page.evaluate("document.activeElement.getAttribute('aria-label')"))
    assert {"Close the player", "Speed", "From the start of the moment"} <= reached
    page.keyboard.press("End")
    expect(card.locator("video")).to_be_attached()


def test_films_of_the_library_and_rows_of_the_tray_have_few_tab_stops(page: Page) -> None:
    pick(page, 2)
    rows = page.locator("#tray li")
    assert {tab_stops(row) for row in rows.all()} == {1}
    rows.first.locator(".thumb").focus()
    page.keyboard.press("ArrowRight")
    expect(rows.first.locator(".remove")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(rows.first.locator(".grip")).to_be_focused()
    page.goto("/?view=library")
    films = page.locator("#library-view .film")
    expect(films).to_have_count(10)
    assert {tab_stops(film) for film in films.all()} == {2}
    films.first.locator(".toggle").click()
    page.wait_for_function("() => document.querySelector('.controls .shut').tabIndex < 0")
    assert tab_stops(films.first) == 2


def test_the_first_stop_skips_to_what_was_found(page: Page) -> None:
    search(page)
    skip = page.get_by_role("link", name="Skip to the results")
    page.locator("#query").focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport(ratio=1)
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


def test_everything_grows_with_the_letters_that_somebody_likes(page: Page) -> None:
    card = search(page).first
    sizes = """() => ['.card h2', '.card .times', '.card .small', '#query', '.status'].map((name) => {
      const one = document.querySelector(name);
      return [parseFloat(getComputedStyle(one).fontSize), one.getBoundingClientRect().height];
    })"""
    before = page.evaluate(sizes)
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    for (letters, height), (more, higher) in zip(before, page.evaluate(sizes), strict=True):
        assert more == pytest.approx(2 * letters)
        assert higher > 1.8 * height
    assert width_of_all(page) == 1280
    expect(card).to_be_visible()
