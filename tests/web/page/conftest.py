"""A browser for the page's tests: Debian's chromium, driven by Playwright."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

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
EXPECTED = ("Failed to load resource", "Password forms should", "net::ERR")
"""Console messages about answers that a test brings about itself."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for each file: Playwright's event loop must not be there when other tests run theirs."""
    executable = shutil.which("chromium")
    if executable is None:
        give_up = pytest.fail if os.environ.get("CI") else pytest.skip  # where nobody reads what was skipped
        give_up("browser tests skipped: apt-get install chromium")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def open_context(browser: Browser, server_url: str) -> Iterator[Callable[..., BrowserContext]]:
    """Makes contexts; when the test is over, none of their pages may have thrown or been refused by the CSP."""
    contexts, wrong = [], []

    def make(url: str = server_url, **options: object) -> BrowserContext:
        options = {"viewport": {"width": 1280, "height": 900}, "accept_downloads": True, **options}
        context = browser.new_context(base_url=url, **options)
        context.set_default_timeout(PATIENCE)
        context.on("weberror", lambda error: wrong.append(str(error.error)))
        context.on(
            "console",
            lambda message: (
                message.type in ("error", "warning")
                and not any(known in message.text for known in EXPECTED)
                and wrong.append(message.text)
            ),
        )
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
