"""What is said in films: looked in by itself, shown where it was found, and read along with what plays."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from page_helpers import close, search
from playwright.sync_api import BrowserContext, Page, expect
from tests_web_helpers import served

from gmmformer.search import Library, choose_encoders
from gmmformer.web import ServeConfig

SUBTITLES = """1
00:00:00,500 --> 00:00:02,000
Never mind the \U0001f34a marmalade

2
00:00:02,500 --> 00:00:04,000
It is only Tuesday

3
00:00:05,000 --> 00:00:06,000
Then bring the toast
"""


@pytest.fixture
def spoken_page(
    library: Library, films_folder: Path, tmp_path: Path, open_context: Callable[..., BrowserContext]
) -> Iterator[Page]:
    """A page of two films, in one of which something is said in two languages."""
    folder = tmp_path / "films"
    folder.mkdir()
    for film, name in zip(sorted((films_folder / "shapes").iterdir()), ("talk.mp4", "mute.mp4"), strict=False):
        shutil.copy(film, folder / name)
    (folder / "talk.en.srt").write_text(SUBTITLES)
    (folder / "talk.de.srt").write_text("1\n00:00:02,500 --> 00:00:04,000\nEs ist erst Dienstag\n")
    with Library.create(tmp_path / "library", choose_encoders(library.folder / "model")) as spoken:
        spoken.add([folder])
        with served(spoken, ServeConfig(port=0)) as url:
            context = open_context(url)
            yield context.new_page()
            close(context)


def test_what_is_said_is_looked_in_alone_and_shown_where_it_was_found(spoken_page: Page) -> None:
    page = spoken_page
    cards = search(page, "marmalade")
    expect(cards).to_have_count(2)
    card = cards.filter(has_text="talk.mp4")
    expect(card.locator(".quote")).to_have_text("saidNever mind the \U0001f34a marmalade")
    expect(card.locator(".quote mark")).to_have_text("marmalade")
    expect(cards.filter(has_text="mute.mp4").locator(".quote")).to_have_count(0)

    assert Axe().run(page).response["violations"] == []
    chips = page.get_by_role("group", name="Look in").get_by_role("button")
    expect(chips).to_have_text(["Picture", "Said", "Name"])
    page.get_by_role("button", name="Said", exact=True).press("Enter")
    expect(cards).to_have_count(1)
    expect(page).to_have_url(re.compile("[?&]in=said(&|$)"))
    expect(card.locator(".times")).to_contain_text("00:00 – 00:02")
    page.reload()
    expect(page.get_by_role("button", name="Said", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(cards).to_have_count(1)
    page.get_by_role("button", name="Name", exact=True).click()
    expect(page).to_have_url(re.compile("[?&]in=said%2Cname(&|$)"))
    page.get_by_role("button", name="Remove filters").click()
    expect(cards).to_have_count(2)
    page.get_by_role("button", name="Picture", exact=True).click()
    expect(card.locator(".quote")).to_have_count(0)


def test_the_transcript_follows_what_plays_and_leads_there(spoken_page: Page) -> None:
    page = spoken_page
    card = search(page, "marmalade").filter(has_text="talk.mp4")
    card.get_by_role("button", name=re.compile("^Trim")).click()
    transcript = page.get_by_role("region", name="What is said in this film")
    tracks = transcript.get_by_role("combobox", name="Which lines")
    expect(tracks.locator("option")).to_have_text(["de · talk.de.srt", "en · talk.en.srt"])
    expect(transcript.get_by_role("listitem")).to_have_count(1)
    tracks.select_option("en · talk.en.srt")
    said = transcript.get_by_role("listitem").get_by_role("button")
    expect(said).to_have_count(3)
    assert Axe().run(page).response["violations"] == []
    said.nth(1).press("Enter")
    expect(said.nth(1)).to_have_attribute("aria-current", "true")
    assert page.locator("dialog video").evaluate("video => video.currentTime") >= 2.4
    expect(said.nth(2)).to_have_attribute("aria-current", "true")
    expect(said.nth(1)).not_to_have_attribute("aria-current", "true")


def test_where_nothing_is_said_nothing_of_it_is_shown(page: Page) -> None:
    card = search(page).first
    expect(page.get_by_role("group", name="Look in")).to_have_count(0)
    card.get_by_role("button", name=re.compile("^Trim")).click()
    expect(page.get_by_role("searchbox", name="Search inside this film")).to_be_visible()
    page.wait_for_load_state("networkidle")
    expect(page.get_by_role("region", name="What is said in this film")).to_have_count(0)
