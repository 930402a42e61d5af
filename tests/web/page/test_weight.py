"""What the page asks the server for: little at first, nothing for half sentences."""

import re
from collections import Counter
from datetime import datetime, timedelta

from page_helpers import SENTENCE, search
from playwright.sync_api import Page, Request, expect

LETTER = 250
"""Milliseconds between two letters of somebody who types 50 words a minute."""


def noted(page: Page) -> list[str]:
    """The addresses that are asked for from now on, as far as they say what kind of thing it is."""
    asked: list[str] = []

    def note(request: Request) -> None:
        path = request.url.partition("?")[0]
        asked.append(path.rpartition("/")[2])

    page.on("request", note)
    return asked


def test_a_first_result_needs_few_requests(page: Page) -> None:
    asked = noted(page)
    page.add_init_script(
        """new MutationObserver(() => {
          const card = document.querySelector('#search-view .card:not(.skeleton)');
          window.early ??= card && performance.getEntriesByType('resource').length;
        }).observe(document, { childList: true, subtree: true })"""
    )
    search(page)
    assert page.evaluate("window.early") <= 6
    assert len([name for name in asked if name.endswith((".js", ".css"))]) == 2


def test_a_second_visit_takes_nothing_that_it_has(page: Page) -> None:
    search(page)
    page.reload()
    expect(page.locator("#search-view .card:not(.skeleton)").first).to_be_visible()
    sizes = page.evaluate(
        """performance.getEntriesByType('resource').filter(({ name }) => /page-\\w+\\.(js|css)$/.test(name))
             .map(({ transferSize }) => transferSize)"""
    )
    assert sizes == [0, 0]


def test_half_sentences_fetch_nothing(page: Page) -> None:
    page.clock.install()
    page.goto("/")
    expect(page.get_by_role("list", name="Films of the library").locator("img").first).to_be_visible()
    page.wait_for_load_state("networkidle")
    asked = noted(page)
    page.clock.pause_at(datetime.now() + timedelta(hours=1))
    for letter in SENTENCE:
        page.keyboard.type(letter)
        page.clock.run_for(LETTER)
    assert not {"search", "thumbnail"} & set(asked)
    page.clock.resume()
    results = page.get_by_role("list", name="Results").locator(".card:not(.skeleton)")
    expect(results.first).to_be_visible()
    page.wait_for_function("() => [...document.querySelectorAll('.cards img')].every((image) => image.complete)")
    counts = Counter(asked)
    assert counts["search"] == 1
    assert counts["thumbnail"] <= 2 * results.count()


def test_enter_searches_at_once_and_the_address_says_so(page: Page) -> None:
    page.goto("/")
    page.evaluate("() => { window.setTimeout = () => 0; }")
    page.locator("#query").fill(SENTENCE)
    page.keyboard.press("Enter")
    expect(page.get_by_role("list", name="Results").locator(".card:not(.skeleton)").first).to_be_visible()
    expect(page).to_have_url(re.compile("q=two"))
