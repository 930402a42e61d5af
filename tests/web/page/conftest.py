"""A browser for the page's tests: Debian's Chromium, and for a few its Firefox, driven by Playwright."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).parent))

from page_helpers import close

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 30_000
"""Milliseconds that anything may take on a machine that has other work too."""
EXPECTED = ("Failed to load resource", "Password forms should", "net::ERR", "establish a connection to the server")
"""Console messages about answers that a test brings about itself."""


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the browser puts what it is given to save."""
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(request: pytest.FixtureRequest, downloads: Path) -> Iterator[Browser]:
    """One for each file, Chromium where a test names none: Playwright's event loop must not be there in other tests."""
    which = getattr(request, "param", "chromium")
    package = {"chromium": "chromium", "firefox": "firefox-esr"}[which]
    executable = shutil.which(package)
    if executable is None:
        give_up = pytest.fail if os.environ.get("CI") else pytest.skip  # where nobody reads what was skipped
        give_up(f"browser tests skipped: apt-get install {package}")
    options: dict[str, Any] = {"args": FLAGS}
    if which == "firefox":  # driven by WebDriver BiDi, which has no word for motion yet
        options = {"channel": "moz-firefox", "firefox_user_prefs": {"ui.prefersReducedMotion": 1}}
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        starts = getattr(playwright, which)
        launched = starts.launch(executable_path=executable, downloads_path=downloads, **options)
        yield launched
        launched.close()


@pytest.fixture
def open_context(browser: Browser, server_url: str) -> Iterator[Callable[..., BrowserContext]]:
    """Makes contexts; when the test is over, none of their pages may have thrown or been refused by the CSP.

    They ask for little motion: what moves while a page waits is drawn anew all the time, a tenth of what pages cost.
    """
    contexts, wrong = [], []

    def note(text: str) -> None:
        if not any(known in text for known in EXPECTED):
            wrong.append(text)

    def make(url: str = server_url, **options: object) -> BrowserContext:
        usual = {"viewport": {"width": 1280, "height": 900}, "accept_downloads": True, "reduced_motion": "reduce"}
        options = {**usual, **options}
        context = browser.new_context(base_url=url, **options)
        context.set_default_timeout(PATIENCE)
        context.on("weberror", lambda error: note(str(error.error)))
        context.on("console", lambda message: message.type in ("error", "warning") and note(message.text))
        contexts.append(context)
        return context

    yield make
    for context in contexts:
        close(context)
    assert wrong == []


@pytest.fixture
def page(open_context: Callable[..., BrowserContext]) -> Page:
    """A page, 1280 pixels wide, that has not gone anywhere."""
    return open_context().new_page()
