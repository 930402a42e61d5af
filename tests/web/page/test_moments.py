"""All moments of a film: under its result, and in the viewer, where another sentence is searched for inside it."""

import re
from typing import Any

import pytest
from page_helpers import change_answers, note_plays, played_from, search, until_video, video
from playwright.sync_api import Locator, Page, expect


def with_moments(page: Page, *spans: tuple[float, float]) -> Locator:
    """A search whose first film has these moments and no others; its card."""

    def change(answer: dict[str, Any]) -> None:
        hits = sorted(answer["hits"], key=lambda hit: (not hit["playable"], hit["length"] < 20, hit["id"]))
        best = next(hit for hit in hits if hit["strip"])
        own = [{**best, "start": start, "end": end, "strip": None} for start, end in spans]
        own[0]["strip"] = best["strip"]
        answer["hits"] = own + [hit for hit in hits if hit["id"] != best["id"]]

    change_answers(page, "**/api/search?*", change)
    return search(page).first


def test_a_film_comes_once_with_all_its_moments_and_each_can_be_kept(page: Page) -> None:
    note_plays(page)
    card = with_moments(page, (4.0, 6.0), (1.0, 3.0), (9.0, 12.0))
    names = page.locator("#search-view .card h2").all_text_contents()
    assert len(names) == len(set(names)) == 10
    expect(card.locator(".moments")).to_be_hidden()
    card.get_by_role("button", name="2 more moments").click()
    moments = card.locator(".moments li")
    expect(moments.locator(".times")).to_have_text(["00:04 – 00:06", "00:01 – 00:03", "00:09 – 00:12"])
    expect(moments.get_by_role("button", name="Show").first).to_have_attribute("aria-pressed", "true")
    moments.nth(2).get_by_role("button", name="Keep 9 seconds to 12 seconds in the tray").click()
    moments.nth(1).get_by_role("button", name="Show").click()
    assert played_from(page) == pytest.approx(1.0, abs=0.2)
    expect(card.locator(".line .times")).to_contain_text("00:01 – 00:03")
    until_video(page, "v.paused && v.currentTime > 2.9 && v.currentTime < 3.1")
    card.get_by_role("button", name="Keep this moment of").click()
    page.get_by_role("button", name="Tray, 2 moments").click()
    expect(page.locator("#tray .times")).to_have_text(["00:09 – 00:12", "00:01 – 00:03"])
    with page.expect_request("**/api/cut") as cut, page.expect_download():
        card.get_by_role("button", name="as mp4").click()
    assert (cut.value.post_data_json["start"], cut.value.post_data_json["end"]) == (1, 3)


def test_a_film_of_one_moment_says_nothing_of_more(page: Page) -> None:
    card = with_moments(page, (4.0, 6.0))
    expect(card.locator(".others")).to_be_hidden()


def test_the_viewer_searches_inside_its_film(page: Page) -> None:
    note_plays(page)
    card = with_moments(page, (4.0, 6.0), (1.0, 3.0))
    spans = [(2.0, 3.5), (9.0, 11.0)]

    def change(answer: dict[str, Any]) -> None:
        if answer["query"] == "something else":
            told = {"score": 0.5, "word": "strong"}
            answer["moments"] = [{"start": start, "end": end, **told} for start, end in spans]

    change_answers(page, "**/clips?*", change)
    card.get_by_role("button", name="Trim").click()
    viewer = page.get_by_role("dialog")
    box = viewer.get_by_role("searchbox", name="Search inside this film")
    expect(box).to_have_value("two red circles grow")
    expect(viewer.locator(".finder").get_by_role("status")).to_have_text(re.compile(r"^\d+ moments?, best first$"))
    assert "M" in (viewer.locator(".table > .strip path.all").get_attribute("d") or "")
    box.fill("something else")
    expect(viewer.locator(".moments .times")).to_have_text(["00:02 – 00:03", "00:09 – 00:11"])
    expect(viewer.locator(".moments .word").first).to_have_text("strong match")
    viewer.locator(".moments").get_by_role("button", name="Show").nth(1).click()
    assert played_from(page) == pytest.approx(9.0, abs=0.2)
    expect(viewer.get_by_label("Start", exact=True)).to_have_value("00:09.00")
    page.keyboard.press("t")
    expect(viewer.get_by_role("button", name="Keep 9 seconds")).to_have_attribute("aria-pressed", "true")
    until_video(page, "v.paused")
    box.fill("")
    expect(viewer.locator(".finder").get_by_role("status")).to_have_text("")
    page.keyboard.press("Escape")
    if viewer.is_visible():  # the first Escape clears a search box in some browsers
        page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    page.get_by_role("button", name="Tray, 1 moment").click()
    expect(page.locator("#tray .asked")).to_have_text("something else")


def test_another_moment_is_begun_by_hand(page: Page) -> None:
    card = with_moments(page, (4.0, 6.0))
    card.get_by_role("button", name="Trim").click()
    viewer = page.get_by_role("dialog")
    until_video(page, "v.readyState > 1 && !v.seeking")
    page.keyboard.press("t")
    viewer.get_by_role("button", name="New moment").click()
    expect(viewer.get_by_label("End", exact=True)).to_have_value("00:14.00")
    expect(viewer.get_by_role("button", name="Keep this moment of")).to_have_attribute("aria-pressed", "false")
    viewer.get_by_label("End", exact=True).fill("5")
    page.keyboard.press("Enter")
    viewer.get_by_role("button", name="Keep this moment of").click()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Tray, 2 moments").click()
    expect(page.locator("#tray .times")).to_have_text(["00:04 – 00:06", "00:04 – 00:05"])
    expect(card.locator(".line .times")).to_contain_text("00:04 – 00:06")


def test_speed_and_volume_are_remembered(page: Page) -> None:
    card = with_moments(page, (4.0, 16.0))
    card.get_by_role("button", name="Trim").click()
    viewer = page.get_by_role("dialog")
    viewer.get_by_label("Speed").select_option("0.5")
    viewer.get_by_label("Volume").fill("0.3")
    assert video(page, "[v.playbackRate, v.volume, v.muted]") == [0.5, 0.3, False]
    page.keyboard.press("Escape")
    expect(page).not_to_have_url(re.compile("film="))  # else it is opened again
    page.reload()
    card.locator(".toggle").click()
    until_video(page, "v.currentTime > 4.1")
    assert video(page, "[v.playbackRate, v.volume, v.muted]") == [0.5, 0.3, False]
    card.get_by_role("button", name="Sound off").click()
    page.keyboard.press("Escape")
    page.goto("/?view=library")
    page.locator("#library-view .toggle").first.click()
    assert video(page, "[v.playbackRate, v.volume, v.muted]") == [0.5, 0.3, True]


def test_a_film_of_the_library_is_moved_in(page: Page) -> None:
    page.goto("/?view=library")
    film = page.locator("#library-view .film").first
    film.locator(".toggle").click()
    until_video(page, "v.readyState > 1")
    bar = film.get_by_role("slider", name="Seek")
    bar.hover(position={"x": 150, "y": 8})
    page.wait_for_function("() => document.querySelector('.controls .tip img').naturalWidth > 0")
    box = bar.bounding_box()
    assert box is not None
    bar.click(position={"x": box["width"] / 2, "y": 8})
    half = video(page, "v.duration") / 2
    until_video(page, f"Math.abs(v.currentTime - {half}) < 2 && !v.seeking")
    film.locator(".toggle").focus()
    page.keyboard.press("ArrowLeft")
    until_video(page, f"v.currentTime < {half - 3} && !v.seeking")
    expect(film.locator(".toggle")).to_be_focused()
