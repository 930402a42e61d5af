"""What the page's tests do again and again."""

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from playwright.sync_api import BrowserContext, Locator, Page, Route, expect

SENTENCE = "two red circles grow"
Answer = dict[str, Any]
_HELD: dict[Page, list[Route]] = {}
_BUSY: Counter[Page] = Counter()
"""How many requests of a page are being answered by `change_answers`."""
VIEWS = [
    "start",
    "results",
    "playing",
    "trimming",
    "film",
    "tray",
    "unfolded",
    "nothing",
    "library",
    "login",
    "skeletons",
]
"""States of the page that `show` brings about."""


def search(page: Page, sentence: str = SENTENCE, extra: str = "") -> Locator:
    """Open the address of a search; the cards, once they are there."""
    page.goto(f"/?q={quote(sentence)}{extra}")
    cards = page.locator("#search-view .card:not(.skeleton)")
    expect(cards.first).to_be_visible()
    return cards


def pick(page: Page, count: int) -> list[str]:
    """Put the first results into the tray and open it; their film names."""
    cards = search(page)
    for card in cards.all()[:count]:
        card.get_by_role("button", name="in the tray").click()
    page.get_by_role("button", name=re.compile("^Tray, ")).click()
    return [card.locator("h2").text_content() or "" for card in cards.all()[:count]]


def close(context: BrowserContext) -> None:
    """Close a context once nobody answers its requests any more: else what a handler still does is done to nothing.

    The error of that would come up in whatever test Playwright is used next.
    """
    for page in context.pages:
        for route in _HELD.pop(page, []):
            route.abort()
        while _BUSY[page] > 0:  # Playwright 1.64 lets go of requests that are still being answered, and waits for them
            page.wait_for_timeout(10)
        page.unroute_all(behavior="wait")
    context.close()


def hold(page: Page, pattern: "str | re.Pattern[str]") -> list[Route]:
    """Answer nothing to these requests; they collect in the list. Take out of it what is answered after all."""
    held = _HELD.setdefault(page, [])
    page.route(pattern, lambda route: held.append(route))
    return held


def change_answers(page: Page, pattern: "str | re.Pattern[str]", change: Callable[[Answer], None]) -> None:
    """Let the real server answer, and change what it says before the page hears it."""

    def handle(route: Route) -> None:
        _BUSY[page] += 1
        try:
            response = route.fetch()
            answer = response.json()
            change(answer)
            route.fulfill(response=response, body=json.dumps(answer))
        finally:
            _BUSY[page] -= 1

    page.route(pattern, handle)


def best_of_each(answer: Answer) -> list[Answer]:
    """The best moment of each film."""
    return list({hit["id"]: hit for hit in reversed(answer["hits"])}.values())[::-1]


def films_by_page(page: Page, count: int) -> list[str]:
    """Let the library have so many films, each with one moment; what was asked for."""
    asked: list[str] = []
    hits: list[Answer] = []

    def handle(route: Route) -> None:
        response = route.fetch()
        answer = response.json()
        given = parse_qs(urlsplit(route.request.url).query)
        skip, k = int(given.get("skip", ["0"])[0]), int(given["k"][0])
        hits.extend(answer["hits"][:1])
        answer["films"] = count
        answer["hits"] = [
            {**hits[0], "id": 1_000 + place, "name": f"{place}.mp4"} for place in range(skip, min(skip + k, count))
        ]
        route.fulfill(response=response, body=json.dumps(answer))

    page.on("request", lambda request: asked.append(request.url) if "/api/search" in request.url else None)
    page.route("**/api/search?*", handle)
    return asked


def with_moment(page: Page, start: float, end: float, *, playable: bool = True, place: int = 0) -> None:
    """Put a film of the wanted kind that is long enough in this place of the answer, and make its moment this one."""

    def change(answer: Answer) -> None:
        hits = sorted(
            best_of_each(answer), key=lambda hit: (hit["playable"] != playable, hit["length"] < end + 2, hit["id"])
        )
        hits[0] |= {"start": start, "end": end}
        answer["hits"] = [*hits[1 : place + 1], hits[0], *hits[place + 1 :]]

    change_answers(page, "**/api/search?*", change)


def note_plays(page: Page) -> None:
    """From the next address on, remember where a film first plays, however late anybody looks: `played_from`."""
    page.add_init_script(
        "document.addEventListener('playing', (event) => { window.playedFrom ??= event.target.currentTime; }, true)"
    )


def played_from(page: Page) -> float:
    """The second at which a film first played, once one does."""
    page.wait_for_function("() => window.playedFrom !== undefined")
    return float(page.evaluate("window.playedFrom"))


def video(page: Page, expression: str) -> Any:
    """Evaluate an expression of the one film that plays, `v`."""
    return page.evaluate(f"() => {{ const v = document.querySelector('video'); return {expression}; }}")


def until_video(page: Page, expression: str) -> None:
    """Wait until an expression of the one film that plays, `v`, holds."""
    page.wait_for_function(f"() => {{ const v = document.querySelector('video'); return v && ({expression}); }}")


def width_of_all(page: Page) -> int:
    """Pixels that the page takes, whether they fit on the screen or not."""
    return int(page.evaluate("document.documentElement.scrollWidth"))


def show(page: Page, view: str) -> None:
    """Bring the page into one of its states."""
    if view == "start":
        page.goto("/")
        expect(page.locator(".start .film").first).to_be_visible()
    elif view == "results":
        search(page).nth(1).locator(".toggle").focus()
    elif view == "playing":
        card = search(page).first
        card.locator(".toggle").click()
        card.get_by_role("slider").hover()
    elif view == "trimming":
        search(page).first.get_by_role("button", name="Trim").click()
        until_video(page, "v.readyState > 1")
    elif view == "film":
        page.goto("/?view=library")
        page.locator("#library-view .toggle").first.click()
        page.get_by_role("slider", name="Seek").hover()
    elif view == "tray":
        pick(page, 2)
    elif view == "unfolded":
        pick(page, 2)
        page.locator("#tray .thumb").first.click()
        page.locator(".others:visible").first.click()
        until_video(page, "v.readyState > 1")
    elif view == "nothing":
        page.goto("/?q=x&min_length=36000")
        expect(page.locator(".notice")).to_be_visible()
    elif view == "library":
        page.goto("/?view=library")
        expect(page.locator("#library-view .film").first).to_be_visible()
    elif view == "login":
        page.goto("/")
        expect(page.get_by_label("Access key", exact=True)).to_be_visible()
    else:
        hold(page, "**/api/search?*")
        page.goto("/?q=x")
        expect(page.locator("#search-view .skeleton").first).to_be_visible()
