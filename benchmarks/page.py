"""The page: how long after the last letter its results are there, in Debian's Chromium.

    gmmformer serve demo-out/library --port 8000
    python benchmarks/page.py http://127.0.0.1:8000

Of each wait it prints the parts too: until the page asks (it waits for the typing to stop), until the answer is there,
and until it is drawn.
"""

import argparse
import statistics

from playwright.sync_api import Page, sync_playwright

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
