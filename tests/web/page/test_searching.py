"""Searching: from a sentence to cards, the address bar, the filters, and what is shown where nothing is found."""

import itertools
import json
import re

from page_helpers import SENTENCE, best_of_each, change_answers, films_by_page, hold, search
from playwright.sync_api import Page, Route, expect
from tests_web_helpers import patient


def test_box_has_the_focus_and_finds_while_typing(page: Page, server_url: str) -> None:
    page.goto("/")
    box = page.get_by_role("searchbox", name="Describe a moment")
    expect(box).to_be_focused()
    page.keyboard.type(SENTENCE)
    cards = page.get_by_role("list", name="Results").get_by_role("listitem")
    hits = patient.get(f"{server_url}/api/search", params={"q": SENTENCE, "k": 12}).json()["hits"]
    assert len(hits) == 10
    expect(cards.locator("h2")).to_have_text([hit["name"] for hit in hits])
    start, end = (f"{int(second) // 60:02d}:{int(second) % 60:02d}" for second in (hits[0]["start"], hits[0]["end"]))
    expect(cards.first.locator(".line .times")).to_contain_text(f"{start} – {end}")
    expect(page.locator("#announcer")).to_have_text(re.compile("^All 10 films, best first\\."))
    assert page.title() == f"{SENTENCE} – gmmformer"


def test_fast_typing_asks_once(page: Page) -> None:
    page.goto("/")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/api/search" in request.url else None)
    page.evaluate(
        """sentence => {
      const box = document.querySelector('#query');
      for (let end = 1; end <= sentence.length; end += 1) {
        box.value = sentence.slice(0, end);
        box.dispatchEvent(new InputEvent('input'));
      }
    }""",
        SENTENCE,
    )
    expect(page.get_by_role("list", name="Results").locator(".card:not(.skeleton)").first).to_be_visible()
    assert len(asked) == 1


def test_words_say_how_well_it_matches(page: Page) -> None:
    words = ["strong", "possible", "weak", None]

    def change(answer: dict) -> None:
        answer["hits"] = best_of_each(answer)[:4]
        answer["word"] = "strong"
        for hit, word in zip(answer["hits"], words, strict=True):
            hit["word"] = word

    change_answers(page, "**/api/search?*", change)
    cards = search(page)
    for card, text in zip(cards.all(), ["strong match", "possible match", "weak match"], strict=False):
        expect(card.locator(".word")).to_have_text(text)
    expect(cards.nth(3).locator(".word")).to_be_hidden()
    expect(page.locator(".notice")).to_be_hidden()


def test_no_match_is_said_and_the_closest_shown(page: Page) -> None:
    def change(answer: dict) -> None:
        answer["word"] = "weak"
        for hit in answer["hits"]:
            hit["word"] = "weak"

    change_answers(page, "**/api/search?*", change)
    cards = search(page)
    expect(page.locator(".notice")).to_contain_text("Nothing in this library stands out for this sentence.")
    expect(cards.first).to_be_visible()
    expect(page.locator("#announcer")).to_contain_text("Nothing stands out.")


def test_stale_answers_are_dropped(page: Page) -> None:
    held = hold(page, re.compile(r"/api/search\?q=slow"))
    page.goto("/")
    with page.expect_request(re.compile("q=slow")):
        page.locator("#query").fill("slow")
    page.locator("#query").fill("quick")
    expect(page.locator("#search-view .card h2").first).to_be_visible()
    assert len(held) == 1
    assert held[0].request.failure is not None, "the question that is no longer wanted was not taken back"
    expect(page.locator("#search-view .status")).to_contain_text("films")
    assert "q=quick" in page.url


def test_back_leads_to_the_sentence_before(page: Page) -> None:
    search(page, "a green square")
    page.locator("#query").fill("a blue star")
    page.keyboard.press("Enter")
    page.locator("#query").fill("a white cross")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("q=a.white.cross"))
    page.go_back()
    expect(page.locator("#query")).to_have_value("a blue star")
    page.go_back()
    expect(page.locator("#query")).to_have_value("a green square")
    expect(page).to_have_title(re.compile("a green square"))
    page.go_forward()
    expect(page.locator("#query")).to_have_value("a blue star")


def test_filters_are_in_the_address_and_can_be_shared(page: Page, server_url: str) -> None:
    cards = search(page)
    everything = cards.count()
    shapes = next(one for one in patient.get(f"{server_url}/api/library").json()["folders"] if one.endswith("shapes"))
    page.get_by_label("Folder").select_option(shapes)
    expect(cards).to_have_count(8)
    page.get_by_label("Film length").select_option("30")
    expect(page).to_have_url(re.compile("min_length=30"))
    expected = patient.get(
        f"{server_url}/api/search", params={"q": SENTENCE, "k": 12, "min_length": 30, "where": f"{shapes}/*"}
    ).json()["hits"]
    expect(cards).to_have_count(len(expected))
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.get_by_label("Folder")).to_have_value(shapes)
    expect(other.get_by_label("Film length")).to_have_value("30")
    page.go_back()
    expect(cards).to_have_count(8)
    page.get_by_role("button", name="Remove filters").click()
    expect(cards).to_have_count(everything)


def test_filters_that_leave_nothing_can_be_removed(page: Page) -> None:
    page.goto(f"/?q={SENTENCE}&min_length=36000")
    expect(page.locator(".notice")).to_contain_text("No film fits these filters.")
    page.locator(".notice").get_by_role("button", name="Remove filters").click()
    expect(page.locator("#search-view .card").first).to_be_visible()
    assert "min_length" not in page.url


def test_results_go_on_without_end_page_by_page(page: Page) -> None:
    asked = films_by_page(page, 115)
    cards = search(page)
    expect(cards).to_have_count(12)
    expect(page.locator("#search-view .status")).to_contain_text("The 12 best films of 115")
    more = page.get_by_role("button", name="More results")
    for shown in (24, 36, 48, 60, 72, 84, 96, 108):
        more.click()
        expect(cards).to_have_count(shown)
        expect(cards.nth(shown - 12).locator(".toggle")).to_be_focused()
    more.click()
    expect(cards).to_have_count(115)
    expect(more).to_be_hidden()
    expect(page.locator("#search-view .status")).to_contain_text("All 115 films, best first")
    assert len(asked) == 10, "a page was asked for twice"
    page.locator("#query").fill("another sentence")
    expect(cards).to_have_count(12)


def test_errors_are_told_in_the_servers_words(page: Page) -> None:
    problem = {"type": "about:blank", "title": "Unprocessable", "status": 422, "detail": "The sentence is <b>odd</b>."}
    page.route(
        "**/api/search?*",
        lambda route: route.fulfill(status=422, content_type="application/problem+json", body=json.dumps(problem)),
    )
    page.goto("/?q=odd")
    expect(page.get_by_role("alert").filter(has_text="The sentence is <b>odd</b>.")).to_be_visible()


def test_busy_server_is_asked_again(page: Page) -> None:
    statuses = itertools.cycle([429, 503])
    busy = [True]

    def handle(route: Route) -> None:
        if not busy:
            route.continue_()
        else:
            status = next(statuses)
            body = json.dumps({"status": status, "title": "Busy", "detail": "Busy."})
            route.fulfill(
                status=status, headers={"Retry-After": "1"}, content_type="application/problem+json", body=body
            )

    page.route("**/api/search?*", handle)
    page.goto(f"/?q={SENTENCE}")
    expect(page.locator("#search-view .status")).to_contain_text("busy")
    busy.clear()
    expect(page.locator("#search-view .card:not(.skeleton)").first).to_be_visible()


def test_skeletons_have_the_size_of_what_replaces_them(page: Page) -> None:
    held = hold(page, "**/api/search?*")
    page.goto(f"/?q={SENTENCE}")
    bones = page.locator("#search-view .skeleton")
    expect(bones.first).to_be_visible()
    before = bones.first.bounding_box()
    held.pop(0).continue_()
    card = page.locator("#search-view .card:not(.skeleton)").first
    expect(card).to_be_visible()
    after = card.bounding_box()
    assert before is not None
    assert after is not None
    assert abs(before["y"] - after["y"]) < 1
    assert abs(before["height"] - after["height"]) < 1


def test_film_names_are_text(page: Page) -> None:
    cards = search(page)
    name = "<img src=x onerror=alert(1)>&amp;.mp4"
    card = cards.filter(has=page.get_by_role("heading", name=name, exact=True))
    expect(card).to_have_count(1)
    card.get_by_role("button", name="in the tray").click()
    page.get_by_role("button", name="Tray, 1 moment").click()
    expect(page.locator("#tray .name")).to_have_text(name)
    assert page.evaluate("document.querySelectorAll('img[src=x]').length") == 0


def test_start_shows_the_library(page: Page, server_url: str) -> None:
    page.goto("/")
    total = patient.get(f"{server_url}/api/films").json()["total"]
    expect(page.locator(".start")).to_contain_text(f"{total} films")
    expect(page.get_by_role("list", name="Films of the library").locator(".film")).to_have_count(total)
    page.locator("#query").fill("a star")
    expect(page.locator(".start")).to_be_hidden()
    page.locator("#query").fill("")
    expect(page.locator(".start")).to_be_visible()
