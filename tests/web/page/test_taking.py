"""Exports and cuts of the tray; the library view; login; a server that goes away."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

from page_helpers import SENTENCE, change_answers, close, pick, search
from playwright.sync_api import BrowserContext, Download, Page, Route, expect
from tests_web_helpers import TOKEN


def content_of(download: Download) -> bytes:
    return Path(download.path()).read_bytes()


def export(page: Page, form: str) -> Download:
    page.get_by_label("For an editing program").select_option(form)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Export").click()
    return waiting.value


def test_tray_exports_what_was_picked_in_each_form(page: Page) -> None:
    names = pick(page, 3)
    expect(page.locator("#tray .name")).to_have_text(names)
    told = json.loads(content_of(export(page, "json")))
    moments = told["moments"] if isinstance(told, dict) else told
    assert [Path(moment["film"]).name for moment in moments] == names
    assert {moment["query"] for moment in moments} == {SENTENCE}
    table = content_of(export(page, "csv")).decode().splitlines()
    assert len(list(csv.reader(table))) == 4
    for form, mark in (("edl", b"TITLE"), ("fcpxml", b"<fcpxml"), ("xml", b"<xmeml"), ("otio", b"OTIO_SCHEMA")):
        download = export(page, form)
        assert download.suggested_filename.endswith(f".{form}")
        assert mark in content_of(download)
        expect(page.locator("#messages")).to_contain_text(f"as {download.suggested_filename}")


def test_exports_are_for_the_editors_machine_and_it_is_remembered(page: Page) -> None:
    pick(page, 1)
    moment = json.loads(content_of(export(page, "json")))["moments"][0]
    folder = str(Path(moment["film"]).parent)
    page.locator("#tray summary").press("Enter")
    page.get_by_label("Seconds before and after").fill("0.25")
    page.get_by_label("Films that are here in").fill(folder)
    page.get_by_label("are there, for the editing program, in").fill("Z:\\Films")
    page.keyboard.press("Tab")
    wider = json.loads(content_of(export(page, "json")))["moments"][0]
    assert wider["film"] == "Z:\\Films\\" + Path(moment["film"]).name
    assert wider["end"] - wider["start"] > moment["end"] - moment["start"]
    page.reload()
    page.get_by_role("button", name="Tray, 1 moment").click()
    expect(page.locator("#tray summary")).to_contain_text(f"0.25 s · {folder} → Z:\\Films")
    expect(page.get_by_label("For an editing program")).to_have_value("json")
    page.locator("#tray summary").click()
    page.get_by_label("are there, for the editing program, in").fill("Films")
    page.keyboard.press("Enter")
    expect(page.locator("#messages")).to_contain_text("elsewhere.there: must be a whole path in plain text, such as")


def test_tray_outlives_the_page_and_can_be_emptied(page: Page) -> None:
    names = pick(page, 2)
    page.reload()
    page.get_by_role("button", name="Tray, 2 moments").click()
    expect(page.locator("#tray .name")).to_have_text(names)
    page.get_by_role("button", name=re.compile(f"^Take {re.escape(names[0])}")).click()
    expect(page.locator("#tray .name")).to_have_text(names[1:])
    expect(page.locator("#tray li button").last).to_be_focused()
    page.get_by_role("button", name="Empty the tray").click()
    expect(page.locator("#tray")).to_contain_text("Nothing picked yet.")
    page.keyboard.press("Escape")
    expect(page.locator("#tray")).to_be_hidden()
    expect(page.locator(".small[aria-pressed=true]")).to_have_count(0)


def test_tray_marks_films_that_are_not_in_the_library_and_does_not_export_them(page: Page) -> None:
    pick(page, 1)
    (kept,) = page.evaluate("JSON.parse(localStorage.getItem('gmmformer.trays'))")["trays"][0]["items"]
    stranger = {"id": 999_999, "film": "x.mp4", "name": "x.mp4", "start": 1, "end": 2, "query": ""}
    page.evaluate(
        "items => { localStorage.clear(); localStorage.setItem('gmmformer.tray', JSON.stringify(items)); }",
        [stranger, 7, {}, None, kept],
    )
    page.reload()
    page.get_by_role("button", name="Tray, 2 moments").click()
    expect(page.locator("#tray li.gone .asked")).to_have_text("No longer in this library")
    expect(page.locator("#tray li:not(.gone) .name")).to_have_text(kept["name"])
    assert [one["id"] for one in json.loads(content_of(export(page, "json")))["moments"]] == [kept["id"]]


def test_moment_is_saved_as_mp4(page: Page) -> None:
    card = search(page).first
    with page.expect_download() as waiting:
        card.get_by_role("button", name="as mp4").click()
    assert content_of(waiting.value)[4:8] == b"ftyp"
    assert waiting.value.suggested_filename.endswith(".mp4")


def test_cut_that_fails_is_told(page: Page) -> None:
    body = json.dumps({"status": 422, "title": "No", "detail": "This film cannot be cut."})
    page.route(
        "**/api/cut", lambda route: route.fulfill(status=422, content_type="application/problem+json", body=body)
    )
    search(page).first.get_by_role("button", name="as mp4").click()
    expect(page.locator(".message.error")).to_contain_text("This film cannot be cut.")
    page.get_by_role("button", name="Close the message").click()
    expect(page.locator(".message")).to_have_count(0)


def test_library_view(page: Page) -> None:
    page.goto("/")
    page.get_by_role("link", name="Library").click()
    expect(page).to_have_url(re.compile(r"\?view=library$"))
    facts = page.locator(".facts")
    expect(facts).to_contain_text(re.compile(r"Films\s*10"))
    expect(facts).to_contain_text(re.compile(r"Not readable\s*1"))
    expect(page.locator(".failures")).to_contain_text("broken.mp4")
    expect(page.locator("#library-view .film")).to_have_count(10)
    page.get_by_label("Find films").fill("old cam")
    expect(page.locator("#library-view .film h2")).to_have_text(["old camera.avi"])
    expect(page).to_have_url(re.compile("films=old"))
    page.get_by_label("Find films").fill("nothing like it")
    expect(page.locator("#library-view .status")).to_have_text("No film has that in its name.")
    page.locator("#query").fill("a star")
    expect(page.locator("#search-view .card").first).to_be_visible()
    page.go_back()
    expect(page.locator("#library-view")).to_be_visible()


def test_indexing_is_shown_as_it_goes(page: Page) -> None:
    activity = {"what": "indexing", "done": 30, "total": 120, "failed": 2, "seconds_left": 95.0}
    body = f"retry: 60000\n\nevent: activity\ndata: {json.dumps(activity)}\n\n"
    page.route("**/api/events", lambda route: route.fulfill(content_type="text/event-stream", body=body))
    change_answers(page, "**/api/library", lambda answer: answer.update(activity=activity))
    page.goto("/?view=library")
    expect(page.locator(".activity")).to_contain_text("30 of 120 films · 2 failed · about 2 min left")
    assert page.get_by_role("progressbar").evaluate("bar => bar.value / bar.max") == 0.25
    expect(page.locator("#busy")).to_be_visible()


def test_login_and_logout(open_context: Callable[..., BrowserContext], locked_url: str) -> None:
    page = open_context(locked_url).new_page()
    page.goto("/?q=a+star")
    token = page.get_by_label("Access key", exact=True)
    expect(token).to_be_focused()
    token.fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").filter(has_text="That is not the key.")).to_be_visible()
    token.fill(f" {TOKEN} ")
    page.get_by_role("button", name="Show the key").click()
    expect(token).to_have_attribute("type", "text")
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("#search-view .card:not(.skeleton)").first).to_be_visible()
    expect(page.locator("#query")).to_have_value("a star")
    page.reload()
    expect(page.locator("#search-view .card:not(.skeleton)").first).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Access key", exact=True)).to_be_focused()
    expect(page.get_by_role("button", name="Log out")).to_be_hidden()
    assert page.evaluate("fetch('api/films').then((answer) => answer.status)") == 401
    page.go_back()
    expect(page.locator("#search-view .card")).to_have_count(0)


def test_link_with_the_token_leads_to_the_search_and_leaves_no_token(
    open_context: Callable[..., BrowserContext], locked_url: str
) -> None:
    page = open_context(locked_url).new_page()
    page.goto(f"/?q=a+star&token={TOKEN}&min_length=1")
    expect(page.locator("#search-view .card:not(.skeleton)").first).to_be_visible()
    assert page.url == f"{locked_url}/?q=a+star&min_length=1"
    assert page.evaluate("history.length") <= 2  # the blank page before it, and this one


def test_nobody_can_log_out_where_nobody_logs_in(page: Page) -> None:
    with page.expect_response("**/api/library"):
        search(page)
    expect(page.get_by_role("button", name="Log out")).to_be_hidden()


def test_a_page_may_close_while_its_requests_are_answered(open_context: Callable[..., BrowserContext]) -> None:
    for _ in range(2):
        context = open_context()
        page = context.new_page()
        change_answers(page, "**/api/films?*", lambda answer: answer.update(total=1))
        page.goto("/")
        page.evaluate("() => { for (let n = 0; n < 20; n += 1) fetch(`api/films?limit=${n + 1}`); }")
        close(context)
    open_context().new_page().goto("/")  # where an error of those would come up


def test_server_that_goes_away_and_comes_back(page: Page) -> None:
    cards = search(page)
    away: list[str] = []

    def refuse(route: Route) -> None:
        away.append(route.request.url)
        route.abort("connectionrefused")

    there = re.compile("/(api|healthz)")
    page.route(there, refuse)
    page.locator("#query").fill("is it there")
    expect(page.locator("#gone")).to_be_visible()
    expect(cards.first).to_be_visible()
    assert page.url.endswith("q=is+it+there")
    page.unroute_all(behavior="wait")
    expect(page.locator("#gone")).to_be_hidden()
    expect(page).to_have_title("is it there – gmmformer")
    expect(page.locator("#search-view .status")).to_contain_text("films")
    assert any("healthz" in url for url in away)
