"""The tray as a bin: it plays in place, is put in order, named, annotated, undone, saved; and there are several."""

import io
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

from page_helpers import close, pick, search, until_video, video, width_of_all
from playwright.sync_api import BrowserContext, Locator, Page, expect
from tests_web_helpers import TOKEN, served

from gmmformer.search import Library
from gmmformer.web import ServeConfig


def filled(page: Page, count: int = 3) -> tuple[Locator, list[str]]:
    """An open tray of the first results, and the names of their films."""
    cards = search(page)
    for card in cards.all()[:count]:
        card.get_by_role("button", name="Keep this moment").click()
    page.get_by_role("button", name=f"Tray, {count} moments").click()
    return page.locator("#tray"), [card.locator("h2").text_content() or "" for card in cards.all()[:count]]


def test_moments_are_put_in_order_by_keys_and_by_dragging(page: Page) -> None:
    tray, (first, second, third) = filled(page)
    names = tray.locator(".name")
    grip = tray.get_by_role("button", name=re.compile(f"^Move {re.escape(first)}"))
    grip.focus()
    page.keyboard.press("ArrowDown")
    expect(names).to_have_text([second, first, third])
    expect(grip).to_be_focused()
    page.keyboard.press("End")
    expect(names).to_have_text([second, third, first])
    box, above = grip.bounding_box(), tray.locator("li").first.bounding_box()
    assert box is not None
    assert above is not None
    page.mouse.move(box["x"] + 10, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + 10, above["y"] + 8, steps=12)
    expect(names).to_have_text([first, second, third])
    page.mouse.up()
    page.reload()
    page.get_by_role("button", name="Tray, 3 moments").click()
    expect(names).to_have_text([first, second, third])


def test_a_moment_plays_in_the_tray_and_has_a_name_and_a_note(page: Page) -> None:
    tray, (first, _) = filled(page, 2)
    row = tray.locator("li").first
    row.locator(".thumb").click()
    until_video(page, "v.currentTime > 0 && !v.paused")
    expect(row.locator("video")).to_be_attached()
    row.get_by_label("Name", exact=True).fill("The opening")
    row.get_by_label("Note").fill("louder")
    page.keyboard.press("Enter")
    expect(row.locator(".name")).to_have_text("The opening")
    expect(row.locator(".asked")).to_have_text("louder")
    assert video(page, "!v.paused || v.currentTime > 0"), "what plays was rebuilt"
    page.keyboard.press("Escape")
    expect(page.locator("video")).to_have_count(0)
    expect(tray).to_be_visible()
    page.reload()
    page.get_by_role("button", name="Tray, 2 moments").click()
    expect(row.locator(".name")).to_have_text("The opening")
    expect(row.locator(".name")).to_have_attribute("title", re.compile(re.escape(first)))


def test_a_moment_is_trimmed_from_the_tray_and_its_result_follows(page: Page) -> None:
    tray, _ = filled(page, 2)
    tray.locator(".thumb").first.click()
    tray.get_by_role("button", name="Trim").click()
    page.get_by_role("dialog").get_by_label("Start", exact=True).fill("0.5")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    expect(tray.locator(".thumb").first).to_be_focused()
    expect(tray.locator(".times").first).to_contain_text("00:00 – ")
    expect(page.locator("#search-view .card").first.locator(".line .times")).to_contain_text("trimmed")
    card = page.locator("#search-view .card").first
    card.get_by_role("button", name="Trim").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Start", exact=True)).to_have_value("00:00.50")
    dialog.get_by_role("button", name="New moment").focus()
    page.keyboard.press("Control+z")
    expect(dialog.get_by_label("Start", exact=True)).not_to_have_value("00:00.50")
    page.keyboard.press("Escape")
    expect(page.locator("#search-view .card").first.locator(".line .times")).not_to_contain_text("trimmed")


def test_everything_is_undone(page: Page) -> None:
    tray, names = filled(page)
    shown = tray.locator(".name")
    tray.get_by_role("button", name=re.compile("^Take ")).first.click()
    page.locator(".message").get_by_role("button", name="Undo").click()
    expect(shown).to_have_text(names)
    tray.get_by_role("button", name="Empty the tray").click()
    expect(shown).to_have_count(0)
    tray.get_by_role("button", name="Undo emptying the tray").click()
    expect(shown).to_have_text(names)
    tray.locator(".grip").first.focus()
    page.keyboard.press("ArrowDown")
    expect(shown).to_have_text([names[1], names[0], names[2]])
    page.keyboard.press("Control+z")
    expect(shown).to_have_text(names)
    for left in (2, 1, 0):
        tray.get_by_role("button", name="Undo picking a moment").click()
        expect(shown).to_have_count(left)
    expect(tray.get_by_role("button", name="Nothing to undo")).to_be_disabled()
    expect(page.locator("#search-view .small[aria-pressed=true]")).to_have_count(0)


def test_there_are_several_trays_each_with_a_name(page: Page) -> None:
    tray, names = filled(page, 2)
    tray.get_by_role("button", name="Another tray").click()
    expect(tray).to_contain_text("Nothing picked yet.")
    tray.get_by_role("button", name="Rename the tray").click()
    tray.get_by_label("Name of the tray").fill("Second act")
    page.keyboard.press("Enter")
    which = tray.get_by_label("Which tray")
    expect(which).to_be_focused()
    page.locator("#search-view .card").nth(2).get_by_role("button", name="Keep this moment").click()
    page.reload()
    page.get_by_role("button", name="Tray, 1 moment").click()
    assert which.locator("option").all_text_contents() == ["Tray", "Second act"]
    expect(which).to_have_value("Second act")
    which.select_option("Tray")
    expect(tray.locator(".name")).to_have_text(names)
    expect(page.locator("#search-view .small[aria-pressed=true]")).to_have_count(2)
    tray.get_by_role("button", name="Throw the tray away").click()
    assert which.locator("option").all_text_contents() == ["Second act"]
    page.locator(".message").get_by_role("button", name="Undo").click()
    expect(tray.locator(".name")).to_have_text(names)


def test_all_are_saved_as_one_zip(page: Page) -> None:
    tray, _ = filled(page)
    with page.expect_download() as waiting:
        tray.get_by_role("button", name="Save all as mp4").click()
    assert waiting.value.suggested_filename == "moments.zip"
    with zipfile.ZipFile(io.BytesIO(Path(waiting.value.path()).read_bytes())) as archive:
        assert [name[:3] for name in archive.namelist()] == ["01_", "02_", "03_"]
        assert all(archive.read(name)[4:8] == b"ftyp" for name in archive.namelist())


def test_a_tray_follows_its_person_to_another_browser(
    library: Library, tmp_path: Path, open_context: Callable[..., BrowserContext]
) -> None:
    shutil.copytree(library.folder, tmp_path / "own")
    with Library.open(tmp_path / "own") as own, served(own, ServeConfig(port=0, token=TOKEN)) as url:
        contexts = [open_context(url), open_context(url, viewport={"width": 390, "height": 844})]
        here, there = (context.new_page() for context in contexts)
        for page in (here, there):
            page.goto(f"/?token={TOKEN}")
        names = pick(here, 2)
        expect(here.locator("#tray .kept")).to_contain_text("Kept in this browser alone.")
        here.get_by_role("button", name="Keep on the server").click()
        here.get_by_label("Your name").fill("Anna")
        here.keyboard.press("Enter")
        expect(here.locator("#tray .kept")).to_contain_text("Kept on the server for Anna.")

        with there.expect_response("**/api/trays"):
            third = search(there).nth(2)
            third.get_by_role("button", name="Keep this moment").click()
            there.get_by_role("button", name="Tray, 1 moment").click()
            there.get_by_role("button", name="Keep on the server").press("Enter")
            there.get_by_label("Your name").fill("anna")
            there.keyboard.press("Enter")
        names.append(third.locator("h2").text_content() or "")
        expect(there.locator("#tray .name")).to_have_text(names)
        assert width_of_all(there) <= 390
        with there.expect_response(lambda answer: answer.request.method == "POST" and "/api/trays" in answer.url):
            there.get_by_role("button", name=re.compile(f"^Take {re.escape(names[0])}")).click()

        with here.expect_response(lambda answer: answer.request.method == "POST" and "/api/trays" in answer.url):
            row = here.locator("#tray li").nth(1)  # changed here before it is known what was changed there
            row.locator(".thumb").click()
            row.get_by_label("Note").fill("the best")
            here.keyboard.press("Enter")
        expect(here.locator("#tray .name")).to_have_text(names[1:])
        here.get_by_role("button", name=re.compile("^Undo")).click()
        expect(here.locator("#tray .name")).to_have_text(names[1:])  # what was done there stays done
        there.evaluate("document.dispatchEvent(new Event('visibilitychange', { bubbles: true }))")
        expect(there.locator("#tray .name")).to_have_text(names[1:])
        for context in contexts:
            close(context)
