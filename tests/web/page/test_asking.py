"""Asking by a picture, by a moment, and by several sentences about one film."""

import base64
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from page_helpers import search
from PIL import Image
from playwright.sync_api import Page, expect

from gmmformer.media.frames import frame_at
from gmmformer.search import Library

CARDS = "#search-view .card:not(.skeleton)"


def asked(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def png(library: Library, tmp_path: Path, place: int = 0) -> tuple[Path, str]:
    """A large still of a film, as a file, and the film's name."""

    film = [film for film in library.store.films() if "shapes" in film.path][place]
    path = tmp_path / "still.png"
    Image.fromarray(frame_at(film.path, 3.0, size=None).image).resize((2_400, 1_800)).save(path)
    return path, Path(film.path).name


def test_a_picture_is_chosen_dropped_or_pasted_and_taken_away(page: Page, library: Library, tmp_path: Path) -> None:
    path, name = png(library, tmp_path)
    page.add_init_script(
        "const f = fetch; fetch = (a, o) => { window.sent = o?.body?.size ?? window.sent; return f(a, o); }"
    )
    page.goto("/")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Search by a picture").press("Enter")
    with page.expect_response("**/api/like?*"):
        chooser.value.set_files(path)
    assert 1_000 < page.evaluate("window.sent") < 200_000, "it was not made smaller"
    chip = page.locator(".example")
    expect(chip).to_contain_text("More like still.png")
    expect(page.locator(CARDS).first.locator("h2")).to_have_text(name)
    assert asked(page) == {}
    page.get_by_role("searchbox", name="Describe a moment").fill("a star")
    expect(page.locator("#search-view .status")).to_contain_text("best first")
    page.wait_for_function("() => location.search.includes('q=a+star')")
    expect(chip).to_be_visible()
    page.get_by_role("button", name="Search without the picture").click()
    expect(chip).to_be_hidden()
    expect(page.get_by_role("searchbox", name="Describe a moment")).to_be_focused()

    data = base64.b64encode(path.read_bytes()).decode()
    transfer = page.evaluate_handle(
        """data => {
            const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
            return transfer;
        }""",
        data,
    )
    page.dispatch_event("main", "dragover", {"dataTransfer": transfer})
    expect(page.locator("body[data-drop]")).to_be_attached()
    page.dispatch_event("main", "drop", {"dataTransfer": transfer})
    expect(page.locator("body[data-drop]")).to_have_count(0)
    expect(chip).to_contain_text("dropped.png")
    page.reload()
    expect(page.locator(CARDS).first).to_be_visible()
    expect(chip).to_have_count(0)
    (tmp_path / "text.png").write_text("no picture")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Search by a picture").click()
    chooser.value.set_files(tmp_path / "text.png")
    expect(page.locator(".message.error")).to_contain_text("That is no picture that this browser can read")


def test_more_like_a_moment_is_in_the_address(page: Page) -> None:
    card = search(page).first
    name = card.locator("h2").text_content() or ""
    card.get_by_role("button", name=re.compile("^More like this moment")).click()
    expect(page.locator(".example")).to_contain_text(name)
    expect(page.locator("#search-view .status")).to_contain_text("best first")
    expect(page.locator(f"{CARDS} h2", has_text=name)).to_have_count(0)
    (like,) = asked(page)["like"]
    assert re.fullmatch(r"\d+@[\d.]+", like)
    assert "q" not in asked(page)
    first = page.locator(f"{CARDS} h2").first.text_content()
    page.reload()
    expect(page.locator(f"{CARDS} h2").first).to_have_text(first or "")
    expect(page.locator(".example")).to_contain_text(name)
    page.go_back()
    expect(page.locator(".example")).to_be_hidden()
    expect(page.locator(f"{CARDS} h2").first).to_have_text(name)


def test_several_sentences_are_about_one_film(page: Page) -> None:
    search(page, "a red circle")
    page.get_by_role("button", name="Then, also, without").press("Enter")
    box = page.get_by_label("Another sentence")
    expect(box).to_be_focused()
    page.keyboard.type("a blue square")
    parts = page.locator(f"{CARDS} .part")
    expect(parts.first).to_contain_text("a red circle")
    expect(page.locator(CARDS).first.locator(".part")).to_have_count(2)
    assert asked(page)["then"] == ["a blue square"]
    page.get_by_label("How it goes with the first sentence").select_option("but not")
    expect(page.locator(CARDS).first.locator(".part")).to_have_count(1)
    assert asked(page) == {"q": ["a red circle"], "without": ["a blue square"]}
    page.goto("/?q=a+red+circle&then=a+blue+square&also=a+star")
    expect(page.locator(CARDS).first.locator(".part")).to_have_count(3)
    expect(page.get_by_label("Another sentence")).to_have_count(2)
    parts.nth(1).click()
    expect(page.locator("video")).to_have_count(1)
    page.get_by_role("button", name="Leave this sentence out").last.click()
    expect(page.locator(CARDS).first.locator(".part")).to_have_count(2)
    expect(page.get_by_label("Another sentence")).to_be_focused()
    page.get_by_role("button", name="Leave this sentence out").click()
    expect(parts).to_have_count(0)
    expect(page.get_by_role("button", name="Then, also, without")).to_be_focused()
    assert asked(page) == {"q": ["a red circle"]}
