"""The page in Debian's Chromium: how soon it is there, what that costs, how soon results follow the last letter.

    gmmformer serve demo-out/library --port 8000
    python benchmarks/page.py http://127.0.0.1:8000

A telephone that has never been here, without limit and on Chromium's "Fast 3G" and "Slow 3G": the milliseconds until
the first result or film is there, and the requests and bytes until then. What a sentence of 23 letters costs that is
typed at 100 words a minute. And how long after the last letter results are drawn; of each wait the parts too: until the
page asks (it waits for the typing to stop), until the answer is there, and until it is drawn.
"""

import argparse
import statistics
from collections import Counter
from typing import Any

from playwright.sync_api import Browser, Page, Request, sync_playwright

SENTENCES = (
    "two red circles",
    "a big white star blinks",
    "three blue rings fall over brown stripes",
    "green crosses",
    "a yellow triangle rotates",
    "two pink squares grow over dots",
    "small orange circle",
    "turquoise rings rest",
    "navy checks",
    "a purple star slides",
)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking")
LINES: dict[str, dict[str, float]] = {
    "no limit": {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1},
    "Fast 3G": {"latency": 562.5, "downloadThroughput": 180_000, "uploadThroughput": 84_375},
    "Slow 3G": {"latency": 2_000, "downloadThroughput": 50_000, "uploadThroughput": 50_000},
}
"""As Chromium's developer tools have them: milliseconds, bytes a second."""
VIEWS = {
    "/": ".start .film h2",
    "/?q=two+red+circles": "#search-view .card:not(.skeleton)",
    "/?view=library": "#library-view .film h2",
}
"""Addresses, and what is looked for there."""
TELEPHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 3, "is_mobile": True}
LETTER = 120
"""Milliseconds between letters at 100 words a minute."""
WATCH = """() => {
  const [box, status] = [document.querySelector('#query'), document.querySelector('#search-view .status')];
  box.addEventListener('input', () => { window.typed = performance.now(); });
  new MutationObserver(() => requestAnimationFrame(() => { window.shown = performance.now(); }))
    .observe(status, {childList: true});
}"""
PARTS = """() => {
  const asked = performance.getEntriesByType('resource').filter((entry) => entry.name.includes('api/search')).at(-1);
  return [asked.startTime - window.typed, asked.responseEnd - asked.startTime, window.shown - asked.responseEnd];
}"""


def cold(browser: Browser, address: str, path: str, line: dict[str, float]) -> tuple[float, int, int]:
    """Milliseconds until the first result of a first visit, and the requests and bytes until then."""
    context = browser.new_context(base_url=address, has_touch=True, **TELEPHONE)
    page = context.new_page()
    talk = context.new_cdp_session(page)
    talk.send("Network.enable")
    talk.send("Network.emulateNetworkConditions", {"offline": False, **line})
    taken: list[float] = []
    talk.on("Network.loadingFinished", lambda done: taken.append(done["encodedDataLength"]))
    page.goto(path, wait_until="commit")
    there = page.wait_for_function(
        "(wanted) => document.querySelector(wanted) && performance.now()", arg=VIEWS[path], polling="raf"
    )
    found = float(there.json_value()), len(taken), int(sum(taken))
    context.close()
    return found


def typed(browser: Browser, address: str) -> tuple[int, int]:
    """The requests for a sentence that is typed, all and those that search."""
    page = browser.new_page(base_url=address)
    page.goto("/")
    page.wait_for_load_state("networkidle")
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url.partition("?")[0])

    page.on("request", note)
    page.locator("#query").press_sequentially("a big white star blinks", delay=LETTER)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1_500)
    page.close()
    return len(asked), Counter(asked)[f"{address.rstrip('/')}/api/search"]


def waits(page: Page, rounds: int) -> list[list[float]]:
    """Milliseconds of each search: until asked, until answered, until drawn."""
    found = []
    for sentence in SENTENCES * rounds:
        page.locator("#query").fill(sentence)
        page.wait_for_function("() => window.shown > window.typed")
        found.append(page.evaluate(PARTS))
        page.wait_for_timeout(400)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(FLAGS))
        for path in VIEWS:
            for name, line in LINES.items():
                visits = [cold(browser, options.address, path, line) for _ in range(options.rounds)]
                took, requests, size = (statistics.median(column) for column in zip(*visits, strict=True))
                print(f"{path:>20}, {name}: {took:.0f} ms, {requests:.0f} requests, {size:,.0f} bytes")
        print("23 letters: {} requests, {} of them searches".format(*typed(browser, options.address)))
        page = browser.new_page(base_url=options.address, viewport={"width": 1600, "height": 1000})
        page.goto("/?q=warm")
        page.locator(".card:not(.skeleton)").first.wait_for()
        page.evaluate(WATCH)
        found = waits(page, options.rounds)
        browser.close()
    totals = sorted(map(sum, found))
    print(
        f"{len(totals)} searches: p50 {statistics.median(totals):.0f} ms, p95 {totals[int(0.95 * len(totals))]:.0f} ms"
    )
    for name, column in zip(
        ("until it asks", "until the answer", "until drawn"), zip(*found, strict=True), strict=True
    ):
        print(f"{name:>18}  p50 {statistics.median(column):.0f} ms")


if __name__ == "__main__":
    main()
