"""The address says how many results are shown, what plays and which film is open large; a link leads to a moment."""

import re
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from page_helpers import films_by_page, search, until_video, video, with_moment
from playwright.sync_api import BrowserContext, Page, expect
from tests_web_helpers import TOKEN


def told(page: Page) -> dict[str, str]:
    """The fields of the address."""
    address = str(page.evaluate("location.href"))
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}


def says(page: Page, **fields: str) -> None:
    """Wait until the address has these fields, with the sentence, and no others."""
    page.wait_for_function(
        "wanted => { const told = new URLSearchParams(location.search);"
        " const same = Object.entries(wanted).every(([name, value]) => told.get(name) === value);"
        " return same && told.size === Object.keys(wanted).length; }",
        arg={"q": "two red circles grow", **fields},
    )


def test_a_link_opens_the_moment_where_it_was_sent_from(
    open_context: Callable[..., BrowserContext], locked_url: str
) -> None:
    context = open_context(locked_url)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    with_moment(page, 3.0, 7.0)
    page.goto(f"/?token={TOKEN}")
    card = search(page).first
    card.locator(".toggle").click()
    until_video(page, "v.currentTime > 4")
    page.keyboard.press(" ")
    until_video(page, "v.paused")
    card.get_by_role("button", name="Copy a link to this moment").click()
    expect(page.locator(".message")).to_contain_text("A link to this moment is copied.")
    link, second = page.evaluate("navigator.clipboard.readText()"), video(page, "v.currentTime")
    name = card.locator("h2").text_content()

    other = open_context(locked_url, viewport={"width": 390, "height": 844}).new_page()
    other.goto(link)
    expect(other.locator(".login p").first).to_contain_text("Then you come to the moment that your link leads to.")
    other.get_by_label("Access key", exact=True).fill(TOKEN)
    other.keyboard.press("Enter")
    viewer = other.get_by_role("dialog")
    expect(viewer.locator("h2")).to_have_text(name or "")
    expect(viewer.get_by_label("Start", exact=True)).to_have_value("00:03.00")
    expect(viewer.get_by_label("End", exact=True)).to_have_value("00:07.00")
    expect(viewer.get_by_label("Search inside this film")).to_have_value("two red circles grow")
    until_video(other, f"v.paused && !v.seeking && Math.abs(v.currentTime - {second}) < 0.15")
    other.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    says(other)
    expect(other.locator("#query")).to_have_value("two red circles grow")


def test_back_closes_the_film_and_forward_opens_it_as_it_was_trimmed(page: Page) -> None:
    with_moment(page, 3.0, 7.0)
    card = search(page).first
    card.get_by_role("button", name="Trim").click()
    viewer = page.get_by_role("dialog")
    expect(viewer).to_be_visible()
    film = told(page)["film"]
    assert re.fullmatch(r"\d+:3:7", film)
    viewer.get_by_label("End", exact=True).fill("6.5")
    page.keyboard.press("Enter")
    says(page, film=film.replace(":7", ":6.5"))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/api/search" in request.url else None)
    page.go_back()
    expect(viewer).to_be_hidden()
    says(page)
    page.go_forward()
    expect(viewer.get_by_label("End", exact=True)).to_have_value("00:06.50")
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    says(page)
    assert asked == []  # what is behind it stayed as it was


def test_the_address_brings_back_results_and_what_plays(page: Page) -> None:
    films_by_page(page, 40)
    cards = search(page)
    page.get_by_role("button", name="More results").click()
    expect(cards).to_have_count(24)
    says(page, results="24")
    cards.nth(13).locator(".toggle").click()
    page.wait_for_function("() => new URLSearchParams(location.search).has('play')")
    page.get_by_role("link", name="Library").click()
    expect(page.locator("#library-view .film").first).to_be_visible()
    assert told(page) == {"view": "library"}
    page.go_back()
    expect(cards).to_have_count(24)
    expect(cards.nth(13).locator(".screen")).to_have_class(re.compile("open"))
    cards.nth(13).get_by_role("button", name="Close the player").click()
    says(page, results="24")
    page.locator("#query").fill("something else")
    page.wait_for_function("() => location.search === '?q=something+else'")
    expect(cards).to_have_count(12)


def test_a_link_to_a_film_that_is_gone_says_so(page: Page) -> None:
    search(page, extra="&film=999:1:2")
    expect(page.locator(".message.error")).to_contain_text(
        "The film that this link leads to is no longer in the library."
    )
