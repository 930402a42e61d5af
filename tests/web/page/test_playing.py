"""Playing: in place, from the start of the moment to its end and on; strips; keys; what browsers cannot play."""

import json
import re

import pytest
from page_helpers import change_answers, note_plays, played_from, search, until_video, video, with_moment
from playwright.sync_api import Page, Route, expect

FRAME = 1 / 12
"""Seconds of a frame of the films."""


def test_plays_the_moment_stops_at_its_end_and_goes_on(page: Page) -> None:
    note_plays(page)
    with_moment(page, 4.0, 5.25)
    card = search(page).first
    card.locator(".toggle").click()
    assert 4.0 - FRAME <= played_from(page) < 5.25
    assert re.search(r"/media/\d+$", video(page, "v.src"))
    until_video(page, "v.paused")
    until_video(page, "!v.seeking")
    assert video(page, "v.currentTime") == pytest.approx(5.25, abs=FRAME)
    expect(card.locator(".screen-note")).to_contain_text("Play again to go on")
    assert page.evaluate("document.activeElement.className") == "toggle"
    page.keyboard.press("Space")
    until_video(page, "!v.paused && v.currentTime > 5.6")
    page.keyboard.press("Space")
    until_video(page, "v.paused")
    page.keyboard.press("Escape")
    expect(page.locator("video")).to_have_count(0)
    expect(card.locator(".toggle")).to_be_focused()


def test_only_one_film_plays(page: Page) -> None:
    cards = search(page)
    cards.nth(0).locator(".toggle").click()
    until_video(page, "v.readyState > 0")
    cards.nth(1).locator(".toggle").click()
    expect(page.locator("video")).to_have_count(1)
    expect(cards.nth(1).locator("video")).to_be_attached()


def test_what_plays_goes_on_when_the_next_answer_has_it_too(page: Page) -> None:
    with_moment(page, 2.0, 12.0)
    cards = search(page)
    cards.first.locator(".toggle").click()
    until_video(page, "v.currentTime > 2.2")
    name = cards.first.locator("h2").text_content()
    page.unroute_all(behavior="wait")
    with_moment(page, 2.0, 12.0, place=3)
    page.evaluate("document.querySelector('video').marked = true")
    page.locator("#query").fill("something else")
    expect(cards.nth(3).locator("h2")).to_have_text(name or "")
    expect(cards.nth(3).locator("video")).to_be_attached()
    assert video(page, "v.marked && !v.paused")


def test_film_that_browsers_cannot_play_plays_through_a_preview(page: Page) -> None:
    with_moment(page, 3.0, 4.5, playable=False)
    card = search(page).first
    expect(card.locator(".badge")).to_contain_text("AVI container: plays as a preview")
    card.locator(".toggle").click()
    until_video(page, "v.readyState > 2 && v.currentTime > 0.3")
    assert re.search(r"/api/films/\d+/preview\?start=3&end=4.5$", video(page, "v.src"))
    assert video(page, "v.videoWidth") > 0
    expect(card.locator(".clock")).to_have_text(re.compile(r"^00:0[34] / 00:12$"))
    expect(card.locator(".screen-note")).to_contain_text("Play again to go on")
    card.locator(".toggle").click()
    until_video(page, "v.src.includes('start=4.5&end=12') && v.currentTime > 0.2")
    page.evaluate("document.querySelector('video').pause()")
    expect(card.locator(".clock")).to_have_text(f"00:{int(4.5 + video(page, 'v.currentTime')):02d} / 00:12")


def test_film_that_the_browser_turns_out_not_to_play_is_tried_as_a_preview(page: Page) -> None:
    with_moment(page, 3.0, 4.5, playable=False)

    def claim(answer: dict) -> None:
        answer["hits"].sort(key=lambda hit: hit["playable"])
        answer["hits"][0] |= {"start": 3.0, "end": 4.5, "playable": True, "reason": None}

    change_answers(page, "**/api/search?*", claim)
    search(page).first.locator(".toggle").click()
    until_video(page, "v.src.includes('/preview?') && v.currentTime > 0.2")


def test_film_that_is_gone_says_so(page: Page) -> None:
    problem = {"status": 404, "title": "Not Found", "detail": "There is no such film in the library."}
    body = json.dumps(problem)
    page.route(
        "**/media/*", lambda route: route.fulfill(status=404, content_type="application/problem+json", body=body)
    )
    with_moment(page, 1.0, 2.0)
    card = search(page).first
    card.locator(".toggle").click()
    expect(card.locator(".screen-note")).to_have_text("There is no such film in the library.")

    def lose(answer: dict) -> None:
        answer["hits"][0] |= {"available": False, "playable": False, "reason": "the file is gone"}

    change_answers(page, "**/api/search?*", lose)
    card = search(page, "another").first
    expect(card.locator(".screen-note")).to_have_text("The file is gone.")
    expect(card.locator(".toggle")).to_be_disabled()


def test_strip_shows_time_and_frame_and_plays_from_there(page: Page) -> None:
    note_plays(page)
    with_moment(page, 1.0, 2.0)
    card = search(page).first
    strip = card.get_by_role("slider")
    length = int(strip.get_attribute("aria-valuemax") or 0)
    box = strip.bounding_box()
    assert box is not None
    strip.hover(position={"x": box["width"] * 0.5, "y": 10})
    tip = strip.locator(".tip")
    expect(tip).to_be_visible()
    minutes, seconds = (tip.locator("span").text_content() or "").split(":")
    assert 60 * int(minutes) + int(seconds) == pytest.approx(length / 2, abs=1)
    page.wait_for_function("() => document.querySelector('.tip img').naturalWidth > 0")
    assert "/thumbnail?t=" in (tip.locator("img").get_attribute("src") or "")
    strip.click(position={"x": box["width"] * 0.5, "y": 10})
    assert played_from(page) == pytest.approx(length / 2, abs=1.0)
    until_video(page, f"v.currentTime > {length / 2 + 0.7}")
    expect(strip.locator(".head")).to_be_visible()
    page.mouse.move(0, 0)
    expect(tip).to_be_hidden()


def test_strip_marks_the_moment(page: Page) -> None:
    def change(answer: dict) -> None:
        hit = answer["hits"][0]
        hit |= {"start": 2.0, "end": 4.0, "length": 10.0}
        hit["strip"] = {"edges": [0, 2, 4, 10], "scores": [0.1, 0.9, 0.2]}
        answer["hits"] = [hit]

    change_answers(page, "**/api/search?*", change)
    card = search(page).first
    places = card.locator(".strip path").evaluate_all(
        "paths => paths.map(path => [path.getBBox().x, path.getBBox().width])"
    )
    (all_left, all_width), (left, width) = places
    assert all_left == pytest.approx(0, abs=20)
    assert all_width == pytest.approx(1000, abs=80)
    assert left == pytest.approx(200, abs=20)
    assert width == pytest.approx(200, abs=40)
    band = card.locator(".strip .band")
    assert (band.get_attribute("x"), band.get_attribute("width")) == ("200", "200")


def test_strip_by_keyboard(page: Page) -> None:
    note_plays(page)
    with_moment(page, 1.0, 2.0)
    strip = search(page).first.get_by_role("slider")
    strip.focus()
    page.keyboard.press("Home")
    expect(strip).to_have_attribute("aria-valuetext", "0 seconds")
    page.keyboard.press("ArrowRight")
    expect(strip).to_have_attribute("aria-valuetext", "1 second, in the moment")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    expect(strip).to_have_attribute("aria-valuenow", "6")
    page.keyboard.press("Enter")
    assert played_from(page) == pytest.approx(6.0, abs=1.0)
    assert page.locator("#search-view .card").nth(1).locator(".toggle").evaluate("e => e !== document.activeElement")


def test_keys(page: Page) -> None:
    cards = search(page)
    page.keyboard.press("ArrowDown")
    expect(cards.nth(0).locator(".toggle")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(cards.nth(1).locator(".toggle")).to_be_focused()
    tops = [card.bounding_box()["y"] for card in cards.all()]  # type: ignore[index]
    columns = sum(top == tops[0] for top in tops)
    page.keyboard.press("ArrowDown")
    expect(cards.nth(1 + columns).locator(".toggle")).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("t")
    expect(cards.nth(1).get_by_role("button", name="in the tray")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Space")
    expect(cards.nth(1).locator("video")).to_be_attached()
    page.keyboard.press("/")
    expect(page.locator("#query")).to_be_focused()
    assert page.locator("#query").input_value() == "two red circles grow"
    page.keyboard.press("Escape")
    expect(page.locator("video")).to_have_count(0)
    page.keyboard.press("ArrowUp")
    page.locator("#query").focus()
    page.keyboard.press("/")
    expect(page.locator("#query")).to_have_value("/")


def test_busy_preview_is_waited_for(page: Page) -> None:
    busy = [True]

    def handle(route: Route) -> None:
        if not busy:
            route.continue_()
        else:
            body = json.dumps({"status": 429, "title": "Busy", "detail": "Busy."})
            route.fulfill(status=429, headers={"Retry-After": "1"}, content_type="application/problem+json", body=body)

    page.route("**/preview?*", handle)
    with_moment(page, 3.0, 4.0, playable=False)
    card = search(page).first
    card.locator(".toggle").click()
    expect(card.locator(".screen-note")).to_have_text("The server is busy; waiting")
    busy.clear()
    until_video(page, "v.currentTime > 0.2")
