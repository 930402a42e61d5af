"""Pictures of every state of the page, at three widths, light and dark, to be looked at.

    python tools/screenshots.py LIBRARY OUT [--sentence TEXT] [--states results,playing] [--widths 360,1600]

A server of the library is started for it. States that a healthy library is not in - a server that is gone, indexing, a
lock - are brought about in the browser, by answering in the server's place. Needs Debian's chromium, and Playwright.
"""

import argparse
import json
import shutil
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.sync_api import Browser, Page, Route, sync_playwright

from gmmformer.search import Library
from gmmformer.web import ServeConfig, Server, create_app

WIDTHS = {360: 780, 900: 1000, 1600: 1000}
"""Heights by width, in pixels."""
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
WARMING, SOON = 20, 0.05
"""How often a server is asked at most before it is photographed; the seconds in which it answers once it is warm."""
SENTENCE = "three green squares grow over a checkered navy background"
ACTIVITY = {"what": "indexing", "done": 87, "total": 240, "failed": 2, "seconds_left": 41.0}


@contextmanager
def served(folder: Path, sentence: str = SENTENCE) -> Iterator[str]:
    """A server of the library on a free port; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = ServeConfig(port=port)
    with Library.open(folder) as library:
        server = Server(create_app(library, config), config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.02)
        url = f"http://127.0.0.1:{port}"
        for _ in range(WARMING):  # the first waits for the model, and has the films looked at
            with urllib.request.urlopen(f"{url}/api/search?k=12&q={quote(sentence)}") as answer:
                if json.load(answer)["seconds"] < SOON:
                    break
            time.sleep(1)
        yield url
        server.should_exit = True
        thread.join()


class States:
    """Brings a page into a state. What is public is a state."""

    def __init__(self, page: Page, sentence: str) -> None:
        self._page, self._sentence = page, sentence
        self._held: list[Route] = []

    def let_go(self) -> None:
        """Answer what was never answered, so that the page can be closed."""
        for route in self._held:
            route.abort()
        self._page.unroute_all(behavior="ignoreErrors")

    def start(self) -> None:
        self._go("")

    def results(self) -> None:
        self._go(f"?q={quote(self._sentence)}")
        self._page.locator("#search-view .card:not(.skeleton)").first.wait_for()
        self._settle()
        self._page.locator("#query").blur()

    def focus(self) -> None:
        self.results()
        self._page.locator("#query").focus()
        self._page.keyboard.press("ArrowDown")

    def playing(self) -> None:
        self.results()
        self._page.locator("#search-view .toggle").nth(0).click()
        self._page.wait_for_timeout(900)
        self._page.mouse.move(2, 2)

    def ended(self) -> None:
        self._change("**/api/search?*", lambda answer: answer["hits"][0].update(end=answer["hits"][0]["start"] + 0.6))
        self.playing()
        self._page.wait_for_timeout(900)

    def hover(self) -> None:
        self.results()
        strip = self._page.locator("#search-view .strip").nth(0)
        strip.hover(position={"x": 60, "y": 12})
        self._page.wait_for_timeout(700)

    def tour(self) -> None:
        """Playing, the strip's frame, and picked moments at once: for the README."""
        self.results()
        self._page.locator("#search-view .toggle").nth(1).click()
        for card in self._page.get_by_role("button", name="Keep this moment").all()[:2]:
            card.click()
        self._page.locator("#search-view .strip").nth(0).hover(position={"x": 150, "y": 12})
        self._page.wait_for_timeout(900)

    def tray(self) -> None:
        self.results()
        for card in self._page.get_by_role("button", name="Keep this moment").all()[:3]:
            card.click()
        self._page.locator("#to-tray").click()

    def tray_empty(self) -> None:
        self.results()
        self._page.locator("#to-tray").click()

    def moments(self) -> None:
        self.results()
        self._page.locator(".others:visible").first.click()

    def trimming(self) -> None:
        self.results()
        self._page.get_by_role("button", name="Trim").first.click()
        self._page.wait_for_timeout(1500)
        self._settle()

    def tray_unfolded(self) -> None:
        self.tray()
        self._page.locator("#tray .thumb").nth(1).click()
        self._page.wait_for_timeout(900)

    def preview(self) -> None:
        def change(answer: dict[str, Any]) -> None:
            for hit in answer["hits"][:3]:
                hit.update(playable=False, reason="HEVC video")

        self._change("**/api/search?*", change)
        self._page.route("**/preview?*", lambda route: self._held.append(route))
        self.results()
        self._page.locator("#search-view .toggle").nth(1).click()
        self._page.wait_for_timeout(900)

    def missing(self) -> None:
        def change(answer: dict[str, Any]) -> None:
            for hit in answer["hits"][:2]:
                hit.update(available=False, playable=False, reason="the file is not there any more")
            answer["hits"][2].update(name=f"{'a very long name of a film, ' * 6}.mp4")

        self._change("**/api/search?*", change)
        self.results()

    def weak(self) -> None:
        def change(answer: dict[str, Any]) -> None:
            answer["word"] = "weak"
            for hit in answer["hits"]:
                hit["word"] = "weak"

        self._change("**/api/search?*", change)
        self._go("?q=a+submarine+dives")

    def filtered(self) -> None:
        self._go(f"?q={quote(self._sentence)}&min_length=3600")

    def loading(self) -> None:
        self._page.route("**/api/search?*", lambda route: self._held.append(route))
        self._go(f"?q={quote(self._sentence)}")

    def error(self) -> None:
        body = json.dumps({"title": "Unprocessable", "status": 422, "detail": "A sentence has at most 10,000 letters."})
        self._page.route("**/api/search?*", lambda route: route.fulfill(status=422, body=body))
        self._go(f"?q={quote(self._sentence)}")

    def gone(self) -> None:
        self.results()
        for pattern in ("**/api/**", "**/healthz"):
            self._page.route(pattern, lambda route: route.abort())
        self._page.locator("#query").fill("anything else")
        self._page.wait_for_timeout(600)

    def login(self) -> None:
        body = json.dumps({"title": "Unauthorized", "status": 401, "detail": "A token is needed."})
        self._page.route("**/api/**", lambda route: route.fulfill(status=401, body=body))
        self._go("")

    def logout(self) -> None:
        self._change("**/api/library", lambda answer: answer.update(locked=True))
        self.results()
        self._page.locator("#log-out").focus()

    def library(self) -> None:
        self._go("?view=library")
        self._page.locator("#query").blur()

    def indexing(self) -> None:
        self._change("**/api/library", lambda answer: answer.update(activity=ACTIVITY))
        self._page.route("**/api/events", self._events)
        self.library()

    def empty(self) -> None:
        self._change("**/api/library", lambda answer: answer.update(films=0, seconds=0, failures=[], folders=[]))
        self._change("**/api/films?*", lambda answer: answer.update(total=0, films=[]))
        self._go("")

    def empty_library(self) -> None:
        self._change("**/api/library", lambda answer: answer.update(films=0, seconds=0, failures=[], folders=[]))
        self._change("**/api/films?*", lambda answer: answer.update(total=0, films=[]))
        self._go("?view=library")

    @staticmethod
    def names() -> list[str]:
        """All states."""
        return [name for name in vars(States) if not name.startswith("_") and name not in ("names", "let_go")]

    def _go(self, address: str) -> None:
        self._page.goto(f"/{address}")
        self._page.wait_for_timeout(400)
        self._settle()

    def _settle(self) -> None:
        self._page.wait_for_function(
            "() => [...document.images].filter(image => image.src && !image.closest('[hidden]') && "
            "image.getBoundingClientRect().top < innerHeight).every(image => image.complete)"
        )
        self._page.wait_for_timeout(250)

    def _change(self, pattern: str, change: Callable[[dict[str, Any]], None]) -> None:
        def handle(route: Route) -> None:
            response = route.fetch()
            answer = response.json()
            change(answer)
            route.fulfill(response=response, body=json.dumps(answer))

        self._page.route(pattern, handle)

    @staticmethod
    def _events(route: Route) -> None:
        body = f"retry: 60000\n\nevent: activity\ndata: {json.dumps(ACTIVITY)}\n\n"
        route.fulfill(content_type="text/event-stream", body=body)


def photograph(browser: Browser, url: str, arguments: argparse.Namespace) -> None:
    """Write OUT/STATE_WIDTH_SCHEME.png for each."""
    for width in arguments.widths:
        phone = width < 500
        for scheme in ("light", "dark"):
            for state in arguments.states:
                context = browser.new_context(
                    base_url=url,
                    color_scheme=scheme,
                    viewport={"width": width, "height": WIDTHS.get(width, 1000)},
                    device_scale_factor=arguments.scale,
                    has_touch=phone,
                    is_mobile=phone,
                )
                page = context.new_page()
                states = States(page, arguments.sentence)
                getattr(states, state)()
                page.wait_for_timeout(150)
                page.screenshot(path=arguments.out / f"{state}_{width}_{scheme}.png")
                states.let_go()
                context.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sentence", default=SENTENCE)
    parser.add_argument("--states", type=lambda text: text.split(","), default=States.names())
    parser.add_argument("--widths", type=lambda text: [int(one) for one in text.split(",")], default=list(WIDTHS))
    parser.add_argument("--scale", type=float, default=1, help="pixels of the screen for each of the page")
    arguments = parser.parse_args()
    executable = shutil.which("chromium")
    if executable is None:
        sys.exit("no chromium; apt-get install chromium")
    arguments.out.mkdir(parents=True, exist_ok=True)
    with served(arguments.library, arguments.sentence) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        photograph(browser, url, arguments)
        browser.close()


if __name__ == "__main__":
    main()
