"""What failed for the network is tried again: by itself, when the server is back, and when it is asked for."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from page_helpers import SENTENCE, change_answers, films_by_page, pick, search, until_video, with_moment
from playwright.sync_api import Page, Route, expect
from tests_web_helpers import until


class Kind(NamedTuple):
    """A kind of request: which ones, what comes before, what asks for them, what is seen once they were answered."""

    pattern: str
    before: Callable[[Page], Any]
    act: Callable[[Page], Any]
    healed: Callable[[Page], Any]
    ask: Callable[[Page], Any] | None = None
    """What a person does to have it tried again."""


def ask_for(page: Page, sentence: str) -> None:
    page.locator("#query").fill(sentence)
    page.keyboard.press("Enter")


def button(name: str) -> Callable[[Page], None]:
    return lambda page: page.get_by_role("button", name=name).first.click()


def press(selector: str) -> Callable[[Page], None]:
    return lambda page: page.locator(selector).first.click()


def says(selector: str, text: str) -> Callable[[Page], None]:
    return lambda page: expect(page.locator(selector).first).to_contain_text(re.compile(text))


def plays(page: Page) -> None:
    until_video(page, "v.readyState > 2 && v.currentTime > 0.1")


def playable(yes: bool) -> Callable[[Page], Any]:
    return lambda page: (with_moment(page, 3.0, 4.5, playable=yes), search(page))


def with_shots(page: Page) -> None:
    change_answers(page, "**/shots?*", lambda answer: answer.update(shots=[3.0]))
    playable(True)(page)


def library(page: Page) -> None:
    page.goto("/?view=library")


KINDS = {
    "search": Kind(
        "/api/search",
        search,
        lambda page: ask_for(page, "a star"),
        lambda page: (
            expect(page).to_have_title(re.compile("a star")),
            says("#search-view .status", "best first")(page),
        ),
        lambda page: page.locator("#query").press("Enter"),
    ),
    "first search": Kind(
        "/api/search",
        lambda page: None,
        lambda page: page.goto(f"/?q={SENTENCE}"),
        says("#search-view .status", "best first"),
        button("Try again"),
    ),
    "more results": Kind(
        "/api/search",
        lambda page: (films_by_page(page, 15), search(page)),
        button("More results"),
        says("#search-view .status", "All 15 films"),
        press("#search-view .more"),
    ),
    "thumbnails": Kind(
        "/thumbnail",
        lambda page: None,
        search,
        lambda page: expect(page.locator("#search-view .screen").first).to_have_class(re.compile("loaded")),
    ),
    "strip": Kind(
        "/thumbnail",
        lambda page: (search(page), page.wait_for_load_state("networkidle")),
        lambda page: page.locator(".strip").first.hover(position={"x": 61, "y": 12}),
        lambda page: page.wait_for_function("() => document.querySelector('.tip img').naturalWidth > 0"),
    ),
    "film": Kind(
        r"/api/films/\d+$",
        lambda page: (pick(page, 1), page.wait_for_load_state("networkidle")),
        press("#tray .thumb"),
        lambda page: expect(page.locator("#tray .details")).to_be_visible(),
        press("#tray .thumb"),
    ),
    "media": Kind("/media/", playable(True), press(".toggle"), plays, press(".toggle")),
    "preview": Kind("/preview", playable(False), press(".toggle"), plays, press(".toggle")),
    "export": Kind(
        "/api/export",
        lambda page: pick(page, 2),
        button("Export"),
        says("#messages .message:last-child", r"Saved 2 moments as moments\.(?!zip)"),
        press("#tray form .strong"),
    ),
    "zip": Kind(
        "/api/cuts",
        lambda page: pick(page, 2),
        button("Save all as mp4"),
        says("#messages .message:last-child", r"Saved 2 moments as moments\.zip"),
        button("Try now"),
    ),
    "cut": Kind(
        "/api/cut$",
        search,
        button("Save this moment"),
        says("#messages", "Saved 0"),
        button("Save this moment"),
    ),
    "films": Kind(
        r"/api/films\?",
        lambda page: None,
        library,
        lambda page: expect(page.locator("#library-view .film")).to_have_count(10),
        button("Try again"),
    ),
    "shelf": Kind(
        r"/api/films\?",
        lambda page: None,
        lambda page: page.goto("/"),
        lambda page: expect(page.locator(".start .film")).to_have_count(10),
    ),
    "facts": Kind("/api/library", lambda page: None, library, says(".facts", r"Films\s*10")),
    "inside": Kind(
        "/clips",
        search,
        button("Trim"),
        says(".finder [role=status]", "best first"),
        lambda page: page.locator("#inside").press("Enter"),
    ),
    "shots": Kind(
        "/shots",
        with_shots,
        button("Trim"),
        lambda page: expect(page.locator(".lens path.shots")).to_have_attribute("d", re.compile("^M")),
    ),
    "events": Kind(
        "/api/events",
        lambda page: None,
        lambda page: page.goto("/"),
        lambda page: page.wait_for_event("response", lambda response: "/api/events" in response.url),
    ),
}


def cut(page: Page, pattern: str, once: bool = False) -> tuple[list[str], Callable[[], None]]:
    """Cut the network under some requests, or only the first time for each; what was cut, and what mends it."""
    away: list[str] = []
    matching = re.compile(pattern)

    def refuse(route: Route) -> None:
        if once and route.request.url in away:
            return route.fallback()
        away.append(route.request.url)
        return route.abort("connectionrefused")

    page.route(matching, refuse)
    return away, lambda: page.unroute(matching, refuse)


IN_TURN = [["strip", "cut", "search", "inside"], ["export", "zip"]]
"""Kinds that are tried one after the other on one page, as loading one is what is dear."""
AT_ONCE = [["films", "facts"], ["events", "shelf"]]
"""Kinds that one address asks for."""


def rows(*more: list[str]) -> list[list[str]]:
    """All kinds: these, and each other by itself."""
    shared = [*IN_TURN, *AT_ONCE, *more]
    return shared + [[name] for name in KINDS if not any(name in row for row in shared)]


def steps(row: list[str]) -> list[list[Kind]]:
    """The kinds of a row that are cut together, in turn."""
    return [[KINDS[name]] for name in row] if row in IN_TURN else [[KINDS[name] for name in row]]


@pytest.mark.parametrize("row", rows(["first search", "thumbnails"]), ids=" ".join)
def test_one_hiccup_heals_by_itself(page: Page, row: list[str]) -> None:
    KINDS[row[0]].before(page)
    for kinds in steps(row):
        away, mend = cut(page, "|".join(kind.pattern for kind in kinds), once=True)
        kinds[0].act(page)
        for kind in kinds:
            kind.healed(page)
            assert any(re.search(kind.pattern, url) for url in away)
        expect(page.locator("#gone")).to_be_hidden()
        mend()


@pytest.mark.parametrize("row", rows(), ids=" ".join)
def test_a_server_that_comes_back_is_asked_again(page: Page, row: list[str]) -> None:
    KINDS[row[0]].before(page)
    for kinds in steps(row):
        away, mend = cut(page, "|".join(["/healthz", *(kind.pattern for kind in kinds)]))
        kinds[0].act(page)
        for pattern in ("/healthz", *(kind.pattern for kind in kinds)):
            until(lambda: page.wait_for_timeout(50) or any(re.search(pattern, url) for url in away))  # noqa: B023
        mend()
        for kind in kinds:
            kind.healed(page)
        expect(page.locator("#gone")).to_be_hidden()


ASKED = [asked for row in rows() if (asked := [name for name in row if KINDS[name].ask])]


@pytest.mark.parametrize("row", ASKED, ids=" ".join)
def test_it_is_tried_again_when_it_is_asked_for(page: Page, row: list[str]) -> None:
    page.add_init_script(
        """const patient = window.setTimeout;
           window.setTimeout = (job, wait, ...rest) => (wait >= 1000 ? 0 : patient(job, wait, ...rest));"""
    )
    KINDS[row[0]].before(page)
    for kind in (KINDS[name] for name in row):
        away, mend = cut(page, kind.pattern)
        kind.act(page)
        until(lambda: page.wait_for_timeout(50) or away)  # noqa: B023
        page.wait_for_timeout(500)
        mend()
        assert kind.ask is not None
        kind.ask(page)
        kind.healed(page)


def test_a_film_that_stops_coming_goes_on_where_it_was(page: Page) -> None:
    with_moment(page, 3.0, 9.0, playable=False)
    card = search(page).first
    card.locator(".toggle").click()
    until_video(page, "v.currentTime > 0.5")
    away, mend = cut(page, "/preview|/healthz")
    card.get_by_role("slider").first.click(position={"x": 5, "y": 10})
    expect(card.locator(".screen-note")).to_contain_text("The server does not answer")
    expect(page.locator("#gone")).to_be_visible()
    mend()
    page.get_by_role("button", name="Try now").click()
    until_video(page, "v.src.includes('start=0') && v.currentTime > 0.1")
    assert away


def test_what_is_closed_is_tried_no_more(page: Page) -> None:
    search(page)
    away, _ = cut(page, "/api/cut$")
    button("Save this moment")(page)
    expect(page.locator(".message.error")).to_contain_text("It is tried again as soon as it can be.")
    page.get_by_role("button", name="Close the message").click()
    count = len(away)
    page.wait_for_timeout(3000)
    assert len(away) == count
    expect(page.locator("[aria-busy=true]")).to_have_count(0)


def test_a_frame_that_cannot_be_had_is_not_asked_for_again(page: Page) -> None:
    asked: list[str] = []

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(status=410, json={"status": 410, "title": "Gone", "detail": "The film's file is gone."})

    page.route("**/thumbnail?*", refuse)
    card = search(page).first
    expect(card.locator(".screen")).to_have_class(re.compile("frameless"))
    page.wait_for_timeout(2500)
    assert max(asked.count(url) for url in asked) == 2  # the image, and why it did not come
