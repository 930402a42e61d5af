"""The ends of a moment moved: by handles, keys, numbers and shots, in the viewer and on a card; what is kept of it."""

import json
import re
from pathlib import Path

import httpx
import pytest
from page_helpers import change_answers, hold, search, until_video, video, with_moment
from playwright.sync_api import Locator, Page, expect

RATE = 12
"""Frames per second of the films."""


def trimming(page: Page, start: float = 4.0, end: float = 6.0) -> Locator:
    """Open the viewer on a moment of the first result; the viewer, once its film can be moved in."""
    with_moment(page, start, end)
    search(page).first.get_by_role("button", name="Trim").click()
    viewer = page.get_by_role("dialog")
    until_video(page, "v.readyState > 1 && !v.seeking && v.paused")
    return viewer


def ends(viewer: Locator) -> tuple[str, str]:
    return viewer.get_by_label("Start", exact=True).input_value(), viewer.get_by_label("End", exact=True).input_value()


def expect_ends(viewer: Locator, start: str, end: str) -> None:
    expect(viewer.get_by_label("Start", exact=True)).to_have_value(start)
    expect(viewer.get_by_label("End", exact=True)).to_have_value(end)


def no_shots(page: Page, *seconds: float) -> None:
    """Let the films have shots at these seconds and nowhere else."""
    change_answers(page, "**/shots?*", lambda answer: answer.update(shots=list(seconds)))


def test_frames_are_stepped_through_and_keys_set_both_ends(page: Page) -> None:
    viewer = trimming(page)
    assert ends(viewer) == ("00:04.00", "00:06.00")
    for _ in range(3):
        before = video(page, "v.currentTime")
        page.keyboard.press(".")
        until_video(page, f"v.currentTime > {before + 0.04} && !v.seeking")
    assert video(page, "Math.floor(v.currentTime * 12 + 0.01)") == 4 * RATE + 3
    page.keyboard.press(",")
    until_video(page, f"v.currentTime < {(4 * RATE + 3) / RATE} && !v.seeking")
    page.keyboard.press("i")
    expect_ends(viewer, "00:04.17", "00:06.00")  # the frame on screen is the first, from second 4 and two frames on
    page.keyboard.press("ArrowRight")
    until_video(page, "!v.paused && v.currentTime > 9")
    page.keyboard.press("Space")
    until_video(page, "v.paused && !v.seeking")
    at = video(page, "Math.floor(v.currentTime * 12 + 0.01) + 1")
    page.keyboard.press("o")  # the frame on screen is the last: the moment ends where the next begins
    expect_ends(viewer, "00:04.17", f"00:{round(at / RATE * 100) / 100:05.2f}")
    viewer.get_by_role("button", name="As it was found").click()
    expect_ends(viewer, "00:04.00", "00:06.00")


def test_numbers_can_be_typed_and_nonsense_is_not_taken(page: Page) -> None:
    viewer = trimming(page)
    for typed, shown in (("0:03.5", "00:03.50"), ("2,25", "00:02.25"), ("soon", "00:02.25"), ("-3", "00:02.25")):
        viewer.get_by_label("Start", exact=True).fill(typed)
        page.keyboard.press("Enter")
        expect_ends(viewer, shown, "00:06.00")
    viewer.get_by_label("End", exact=True).fill("1:00:00")  # longer than the film
    page.keyboard.press("Enter")
    length = float(viewer.get_by_role("slider", name="End of").get_attribute("aria-valuemax") or 0)
    assert float(viewer.get_by_role("slider", name="End of").get_attribute("aria-valuenow") or 0) == pytest.approx(
        length, abs=0.6
    )
    viewer.get_by_label("End", exact=True).fill("1")  # before it starts: it is moved there, as long as it was
    page.keyboard.press("Enter")
    start, end = ends(viewer)
    assert (start, end) == ("00:00.00", "00:01.00")


def test_handles_are_dragged_and_snap_to_shots(page: Page) -> None:
    no_shots(page, 3.0, 7.5)
    viewer = trimming(page)
    lens, handle = viewer.locator(".lens"), viewer.get_by_role("slider", name="Start of")
    expect(lens.locator("path.shots")).to_have_attribute("d", r"M250.0 0V100M625.0 0V100")  # of seconds 0 to 12
    box = lens.bounding_box()
    assert box is not None
    at = {second: box["x"] + box["width"] * second / 12 for second in range(13)}
    page.mouse.move(at[4] - 5, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(at[2] - 5, box["y"] + 30, steps=4)
    expect(viewer.get_by_label("Start", exact=True)).to_have_value("00:02.00")
    until_video(page, "v.paused && !v.seeking && Math.abs(v.currentTime - 2.04) < 0.09")
    page.mouse.move(at[3] - 5 + 6, box["y"] + 30)
    expect(viewer.get_by_label("Start", exact=True)).to_have_value("00:03.00")
    page.mouse.up()
    expect(handle).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(viewer.get_by_label("Start", exact=True)).to_have_value("00:02.92")
    page.keyboard.press("Shift+ArrowRight")
    expect(viewer.get_by_label("Start", exact=True)).to_have_value("00:03.92")
    page.keyboard.press("PageDown")
    expect(viewer.get_by_label("Start", exact=True)).to_have_value("00:03.00")
    viewer.get_by_role("slider", name="End of").focus()
    page.keyboard.press("PageUp")
    expect_ends(viewer, "00:03.00", "00:07.50")


def test_shots_are_gone_to_by_keys_and_buttons(page: Page) -> None:
    no_shots(page, 3.0, 7.5)
    viewer = trimming(page)
    page.keyboard.press("]")
    until_video(page, "Math.abs(v.currentTime - 7.5 - 1 / 24) < 0.01 && v.paused")
    viewer.get_by_role("button", name="To the shot before").click()
    until_video(page, "Math.abs(v.currentTime - 3 - 1 / 24) < 0.01 && v.paused")


def test_the_enlarged_part_is_enlarged_further_and_moved(page: Page) -> None:
    def change(answer: dict) -> None:
        for hit in answer["hits"]:
            hit |= {"start": 1800.0, "end": 1803.0, "length": 3600.0}

    change_answers(page, "**/api/search?*", change)
    page.route("**/shots?*", lambda route: route.fulfill(json={"id": 1, "rate": 25.0, "shots": []}))
    hold(page, "**/media/*")
    search(page).first.get_by_role("button", name="Trim").click()
    marks = page.locator(".ruler span")
    expect(marks.first).to_have_text("29:56")  # 12 seconds of an hour
    expect(marks).to_have_count(6)
    page.get_by_role("button", name="Show less, but larger").click()
    page.get_by_role("button", name="Show less, but larger").click()
    expect(marks.first).to_have_text("29:58")
    for _ in range(5):
        page.get_by_role("button", name="Show more of the film").click()
    expect(marks.first).not_to_have_text("29:58")
    page.locator(".lens").hover()
    page.mouse.wheel(0, -300)
    page.get_by_role("button", name="Show the moment").click()
    expect(marks.first).to_have_text("29:56")


def test_what_was_trimmed_is_kept_saved_and_exported(page: Page) -> None:
    viewer = trimming(page)
    viewer.get_by_role("button", name="Keep this moment of").click()
    viewer.get_by_label("Start", exact=True).fill("3.5")
    page.keyboard.press("Enter")
    with page.expect_request("**/api/cut") as cut, page.expect_download():
        viewer.get_by_role("button", name="as mp4").click()
    viewer.locator(".message").get_by_role("button", name="Close the message").click()
    assert {name: cut.value.post_data_json[name] for name in ("start", "end")} == {"start": 3.5, "end": 6}
    page.keyboard.press("Escape")
    card = page.locator("#search-view .card").first
    expect(viewer).to_be_hidden()
    expect(card.get_by_role("button", name="Trim")).to_be_focused()
    expect(card.locator(".times")).to_contain_text("00:03 – 00:06 trimmed")
    page.unroute_all(behavior="wait")
    page.reload()
    page.get_by_role("button", name="Tray, 1 moment").click()
    expect(page.locator("#tray .times")).to_contain_text("00:03 – 00:06")
    page.get_by_label("For an editing program").select_option("json")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Export").click()
    told = json.loads(Path(waiting.value.path()).read_text())["moments"]
    assert [(one["start"], one["end"]) for one in told] == [(3.5, 6.0)]


def test_on_a_card_the_same_keys_trim_while_it_plays(page: Page) -> None:
    with_moment(page, 4.0, 9.0)
    card = search(page).first
    card.locator(".toggle").click()
    until_video(page, "v.currentTime > 5.1")
    page.keyboard.press("i")
    expect(card.locator(".times")).to_contain_text("trimmed")
    page.keyboard.press("ArrowLeft")
    until_video(page, "v.currentTime < 4 && !v.paused")
    expect(card.locator(".toggle")).to_be_focused()
    page.keyboard.press("e")
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.locator("video")).to_have_count(1)


def test_a_moment_is_chosen_by_hand_from_a_film_of_the_library(page: Page, server_url: str) -> None:
    films = httpx.get(f"{server_url}/api/films").json()["films"]
    page.goto("/?view=library")
    page.locator("#library-view .film").first.get_by_role("button", name="Trim").click()
    viewer = page.get_by_role("dialog")
    viewer.get_by_label("Start", exact=True).fill("1.5")
    viewer.get_by_label("End", exact=True).fill("2.5")
    page.keyboard.press("Enter")
    viewer.get_by_role("button", name="Keep this moment of").click()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Tray, 1 moment").click()
    expect(page.locator("#tray .name")).to_have_text(films[0]["name"])
    expect(page.locator("#tray .times")).to_contain_text("00:01 – 00:02")


def test_the_ends_are_dragged_on_the_bar_of_whatever_plays(page: Page) -> None:
    def drag(strip: Locator, which: str, to: float) -> None:
        whole, grip = strip.bounding_box(), strip.locator(f".end-grip.at-{which}").bounding_box()
        assert whole is not None
        assert grip is not None
        edge = grip["x"] + (0 if which == "end" else grip["width"])
        page.mouse.move(edge + (2 if which == "end" else -2), grip["y"] + 8)
        page.mouse.down()
        page.mouse.move(whole["x"] + whole["width"] * to + (2 if which == "end" else -2), grip["y"] + 8, steps=6)
        page.mouse.up()

    no_shots(page)
    with_moment(page, 4.0, 6.0)
    card = search(page).first
    strip = card.locator(":scope > .strip")
    expect(strip.locator(".end-grip.at-end")).to_be_hidden()
    card.locator(".toggle").click()
    until_video(page, "v.currentTime > 4")
    length = video(page, "v.duration")
    drag(strip, "end", 8 / length)
    expect(card.locator(".line .times")).to_contain_text(re.compile("00:04 – 00:0[78] trimmed"))
    until_video(page, "v.paused && !v.seeking && Math.abs(v.currentTime - 8) < 0.3")
    drag(strip, "start", 2 / length)
    until_video(page, "!v.seeking && Math.abs(v.currentTime - 2) < 0.3")

    page.goto("/?view=library")
    film = page.locator("#library-view .film").first
    film.locator(".toggle").click()
    until_video(page, "v.readyState > 1")
    drag(film.get_by_role("slider", name="Seek"), "end", 0.5)
    half = video(page, "v.duration") / 2
    until_video(page, f"v.paused && !v.seeking && Math.abs(v.currentTime - {half}) < 0.5")
    film.get_by_role("button", name="Trim").click()
    said = page.get_by_role("dialog").get_by_label("End", exact=True).input_value()
    assert float(said.split(":")[1]) == pytest.approx(half, abs=0.5)
