"""The library's films as one list, however many there are."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from page_helpers import Answer, hold
from playwright.sync_api import Page, Route, expect

MANY = 10_000


@pytest.fixture
def asked(page: Page) -> list[int]:
    """A library of many films; the places from which some were asked for."""
    places: list[int] = []

    def film(place: int) -> Answer:
        named = {"id": place + 1, "film": f"/a/{place}.mp4", "name": f"{place}.mp4", "folder": "/a", "length": 9.0}
        return named | {"playable": True, "reason": None, "available": True}

    def answer(route: Route) -> None:
        given = parse_qs(urlsplit(route.request.url).query)
        offset, limit = int(given["offset"][0]), int(given["limit"][0])
        total = 3 if "q" in given else MANY
        places.append(offset)
        route.fulfill(json={"total": total, "films": [film(n) for n in range(offset, min(offset + limit, total))]})

    page.route("**/api/films?*", answer)
    page.route("**/thumbnail?*", lambda route: route.fulfill(status=404))
    page.goto("/?view=library")
    expect(page.locator("#library-view .film").first).to_be_visible()
    return places


def test_few_of_many_films_are_there_and_few_are_asked_for(page: Page, asked: list[int]) -> None:
    films = page.locator("#library-view .film")
    expect(page.locator("#library-view .status")).to_have_text("10,000 films")
    assert films.count() < 60
    height = page.evaluate("document.documentElement.scrollHeight")
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight / 2)")
    middle = page.locator("#library-view .film:has-text('49')").first
    expect(middle).to_be_visible()
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    expect(films.last.locator("h2")).to_have_text("9999.mp4")
    expect(films.last).to_be_in_viewport()
    assert films.count() < 60
    assert len(asked) <= 9
    assert page.evaluate("document.documentElement.scrollHeight") == pytest.approx(height, rel=0.001)
    expect(films.last).to_have_attribute("aria-posinset", "10000")
    expect(films.last).to_have_attribute("aria-setsize", "10000")


def test_keys_lead_through_all_of_them(page: Page, asked: list[int]) -> None:
    films = page.locator("#library-view .film")
    films.first.locator(".toggle").focus()
    page.keyboard.press("End")
    expect(page.locator("#library-view .film:has-text('9999.mp4') .toggle")).to_be_focused()
    page.keyboard.press("Home")
    expect(page.locator("#library-view .film .toggle[title]").first).to_be_focused()
    for _ in range(20):
        page.keyboard.press("ArrowDown")
        page.wait_for_timeout(100)
    focused = page.evaluate("document.activeElement.closest('.film').ariaPosInSet")
    assert int(focused) > 50
    assert asked


def test_the_address_says_which_films_are_seen(page: Page, asked: list[int]) -> None:
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight / 2)")
    expect(page).to_have_url(re.compile(r"view=library&from=\d{4}$"))
    place = int(page.url.rpartition("=")[2])
    other = page.context.new_page()
    other.route("**/thumbnail?*", lambda route: route.fulfill(status=404))
    page.reload()
    expect(page.locator(f"#library-view .film:has-text('{place}.mp4')")).to_be_in_viewport()
    assert max(asked) >= place - 24
    page.evaluate("scrollTo(0, 0)")
    page.get_by_label("Find films").fill("some")
    expect(page.locator("#library-view .film")).to_have_count(3)
    expect(page).to_have_url(re.compile(r"view=library&films=some$"))


def test_what_plays_goes_on_when_it_is_scrolled_away(page: Page, asked: list[int]) -> None:
    hold(page, "**/media/*")
    page.locator("#library-view .toggle").first.click()
    page.evaluate("document.querySelector('video').marked = true")
    page.evaluate("scrollTo(0, 6000)")
    page.wait_for_timeout(500)
    assert page.evaluate("document.querySelector('video').marked") is True
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight / 2)")
    expect(page.locator("video")).to_have_count(0)
    assert asked


def test_the_list_is_narrowed_and_put_in_order_and_the_address_says_how(page: Page) -> None:
    page.goto("/?view=library")
    films = page.locator("#library-view .film")
    expect(films).to_have_count(10)
    page.get_by_label("Resolution").select_option("720 and more")
    expect(page.locator("#library-view .status")).to_have_text("No film fits.")
    page.get_by_label("Resolution").select_option("below 720")
    expect(films).to_have_count(10)
    expect(films.first.locator(".times")).to_have_text(re.compile(r"^\d\d:\d\d · \d+p$"))
    page.get_by_label("Order").select_option("Length: longest first")
    page.wait_for_function("() => new URLSearchParams(location.search).get('sort') === '-length'")
    page.wait_for_function(
        """() => { const shown = [...document.querySelectorAll("#library-view .times")].map((one) => one.textContent);
                   return shown.length === 10 && String(shown) === String(shown.toSorted().toReversed()); }"""
    )
    folders = page.locator("#in-folder")
    assert folders.locator("option").count() == 3  # all, the one above, and the one in it
    folders.select_option(index=2)
    expect(films).to_have_count(8)
    page.reload()
    expect(films).to_have_count(8)
    expect(page.get_by_label("Order")).to_have_value("-length")
    page.go_back()
    expect(films).to_have_count(10)
    expect(folders).to_have_value("")
