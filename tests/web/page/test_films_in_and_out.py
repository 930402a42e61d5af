"""The library view of a server that has roots: films are added, watched, cancelled, taken out and brought back."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from page_helpers import close, hold, search, width_of_all
from playwright.sync_api import APIResponse, BrowserContext, Page, Route, expect
from tests_web_helpers import served, until

from gmmformer.demo.render import render_film
from gmmformer.demo.world import plan_films
from gmmformer.search import Library, choose_encoders
from gmmformer.web import ServeConfig


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two films in a folder of the root, and one that is none."""
    (tmp_path / "films" / "evening").mkdir(parents=True)
    shortest = sorted(plan_films(40, seed=5), key=lambda plan: plan.duration)
    for name, plan in zip(("door.mp4", "lamp.mp4"), shortest, strict=False):
        render_film(plan, tmp_path / "films" / "evening" / name)
    (tmp_path / "films" / "broken.mp4").write_bytes(b"this is no film" * 100)
    return tmp_path / "films"


@pytest.fixture
def own_page(
    library: Library, root: Path, tmp_path: Path, open_context: Callable[..., BrowserContext]
) -> Iterator[Page]:
    """A page of a server of an empty library with that root."""
    with (
        Library.create(tmp_path / "own", choose_encoders(library.folder / "model")) as made,
        served(made, ServeConfig(port=0, roots=(root,), uploads=1)) as url,
    ):
        context = open_context(url)
        yield context.new_page()
        close(context)


def test_films_are_added_found_taken_out_and_brought_back(own_page: Page, root: Path) -> None:
    page = own_page
    page.goto("/?view=library")
    expect(page.locator("#library-view .status")).to_have_text("No films yet. “Add films” takes them in.")
    page.get_by_role("button", name="Add films").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#browse h2")).to_have_text(str(root))
    page.get_by_role("button", name="Open evening").press("Enter")
    expect(page.locator("#browse h2")).to_have_text(str(root / "evening"))
    expect(page.locator("#browse h2")).to_be_focused()
    expect(page.locator("#browse .name")).to_have_text(["door.mp4", "lamp.mp4"])
    page.get_by_role("button", name="Up", exact=True).click()
    page.get_by_role("button", name=f"Add this folder: {root}").click()
    expect(page.locator(".outcome")).to_contain_text("films: 2 films added, 1 could not be read")
    expect(page.locator("#library-view .film h2")).to_have_count(2)
    page.get_by_role("button", name="Open evening").click()
    expect(page.locator("#browse").get_by_text("In the library")).to_have_count(2)

    cards = search(page)
    cards.filter(has_text="door.mp4").get_by_role("button", name="Keep this moment").click()
    page.get_by_role("link", name="Library").click()
    door = page.locator("#library-view .film").filter(has_text="door.mp4")
    expect(door.get_by_role("button", name="Take door.mp4 out of the library")).to_be_visible()
    door.locator(".toggle").focus()
    page.keyboard.press("Delete")
    expect(page.locator("#library-view .film h2")).to_have_text(["lamp.mp4"])
    expect(page.locator("#library-view .film .toggle")).to_be_focused()
    expect(page.locator(".message")).to_contain_text("door.mp4 is out of the library; its file stays where it is.")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#library-view .film h2")).to_have_count(2)
    page.get_by_role("button", name="Tray, 1 moment").click()
    expect(page.locator("#tray .name")).to_have_text(["door.mp4"])
    expect(page.locator("#tray li.gone")).to_have_count(0)

    page.get_by_role("button", name="Take lamp.mp4 out of the library").click()
    expect(page.locator("#library-view .film h2")).to_have_text(["door.mp4"])
    page.get_by_role("button", name="Removed films").click()
    page.get_by_role("button", name="Bring back lamp.mp4").click()
    expect(page.locator("#removed h2")).to_have_text("No film was taken out")
    expect(page.locator("#library-view .film h2")).to_have_count(2)
    assert sorted(path.name for path in root.rglob("*.mp4")) == ["broken.mp4", "door.mp4", "lamp.mp4"]

    answers = list[tuple[Route, APIResponse]]()
    page.route(re.compile("/api/removed"), lambda route: answers.append((route, route.fetch())))
    for count, name in enumerate(("door.mp4", "lamp.mp4"), 1):
        page.get_by_role("button", name=f"Take {name} out of the library").click()
        until(lambda: page.wait_for_timeout(20) or len(answers) >= count)  # noqa: B023
    while answers:  # the first comes last
        route, answer = answers.pop()
        route.fulfill(response=answer)
        page.wait_for_timeout(200)
    expect(page.locator("#removed .name")).to_have_text(["lamp.mp4", "door.mp4"])


def test_films_are_sent_from_this_machine(own_page: Page, root: Path, tmp_path: Path) -> None:
    page = own_page
    (root / "evening" / "door.mp4").rename(tmp_path / "new film.mp4")
    page.goto("/?view=library")
    page.get_by_role("button", name="Add films").click()
    page.get_by_role("button", name="Open evening").click()
    sending = page.get_by_role("list", name="Films on their way").locator("li")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name=f"Send films from this machine to {root / 'evening'}").press("Enter")
    chooser.value.set_files([tmp_path / "new film.mp4", root / "evening" / "lamp.mp4"])
    expect(sending).to_have_count(1)
    expect(sending).to_contain_text("there is a file of this name in the folder; give yours another one.")
    expect(page.locator("#library-view .film h2")).to_have_text(["new film.mp4"])
    assert (root / "evening" / "new film.mp4").read_bytes() == (tmp_path / "new film.mp4").read_bytes()
    page.get_by_role("button", name="Close what is said of lamp.mp4").click()
    expect(sending).to_have_count(0)

    away: list[str] = []
    page.route("**/api/upload?*", lambda route: (away.append(route.request.url), route.abort("connectionrefused")))
    (tmp_path / "new film.mp4").rename(tmp_path / "other.mp4")
    page.locator("#browse input[type=file]").set_input_files(tmp_path / "other.mp4")
    expect(sending).to_contain_text("It is sent again as soon as it can be.")
    page.unroute_all(behavior="wait")
    expect(page.locator("#library-view .film h2")).to_have_count(2)
    assert away
    held = hold(page, re.compile("/api/upload"))
    page.locator("#browse input[type=file]").set_input_files(root / "broken.mp4")
    until(lambda: page.wait_for_timeout(20) or held)
    page.get_by_role("button", name="Do not send broken.mp4").press("Enter")
    expect(sending).to_have_count(0)
    assert not (root / "evening" / "broken.mp4").exists()


def test_what_failed_for_the_network_is_done_when_the_server_is_back(own_page: Page, root: Path) -> None:
    page, away = own_page, list[str]()

    def refuse(route: Route) -> None:
        away.append(route.request.url)
        route.abort("connectionrefused")

    def once(pattern: str, act: Callable[[], None]) -> None:
        """Cut the network under these requests, until the server is seen to be gone."""
        away.clear()
        page.route(re.compile(f"{pattern}|/healthz"), refuse)
        act()
        until(lambda: page.wait_for_timeout(20) or any("healthz" in url for url in away))
        page.unroute(re.compile(f"{pattern}|/healthz"), refuse)

    page.goto("/?view=library")
    once("/api/folders", lambda: page.get_by_role("button", name="Add films").click())
    expect(page.locator("#browse h2")).to_have_text(str(root))
    page.get_by_role("button", name="Removed films").click()
    page.get_by_role("button", name="Open evening").click()
    once("/api/(folders|removed)", lambda: page.get_by_role("button", name=re.compile("^Add this folder")).click())
    expect(page.locator("#browse").get_by_text("In the library")).to_have_count(2)
    once("/api/remove$", lambda: page.get_by_role("button", name="Take door.mp4 out of the library").click())
    expect(page.locator("#removed .name")).to_have_text(["door.mp4"])
    once("/api/restore", lambda: page.get_by_role("button", name="Undo").click())
    expect(page.locator("#removed h2")).to_have_text("No film was taken out")
    expect(page.locator("#library-view .film h2")).to_have_count(2)


def test_the_folder_that_was_opened_last_is_shown_whichever_answer_comes_last(own_page: Page, root: Path) -> None:
    page = own_page
    page.goto("/?view=library")
    page.get_by_role("button", name="Add films").click()
    expect(page.locator("#browse h2")).to_have_text(str(root))
    held = hold(page, re.compile("/api/folders"))
    page.get_by_role("button", name=re.compile("^Add: .*broken.mp4")).click()
    until(lambda: page.wait_for_timeout(20) or held)
    page.get_by_role("button", name="Open evening").click()
    until(lambda: page.wait_for_timeout(20) or len(held) == 2)
    while held:
        held.pop().continue_()
        page.wait_for_timeout(300)
    expect(page.locator("#browse h2")).to_have_text(str(root / "evening"))


def test_what_is_at_work_can_be_cancelled(own_page: Page, root: Path) -> None:
    page = own_page
    state = {
        "doing": {"number": 7, "what": "add", "places": [str(root / "evening")]},
        "stopping": False,
        "waiting": [{"number": 8, "what": "again", "places": []}],
        "last": None,
    }
    asked = []
    page.route(
        "**/api/intake/cancel",
        lambda route: (asked.append(route.request.post_data_json), route.fulfill(json={**state, "waiting": []})),
    )
    page.route("**/api/intake/again", lambda route: route.fulfill(status=202, json=state))
    page.goto("/?view=library")
    page.get_by_role("button", name="Look again").click()
    expect(page.locator(".wishes li span")).to_have_text(
        ["Now: adding evening", "Then: looking again at what failed or has changed"]
    )
    page.get_by_role("button", name="Cancel looking again").press("Enter")
    expect(page.locator(".wishes li span")).to_have_text(["Now: adding evening"])
    assert asked == [{"number": 8}]


def test_a_refusal_is_said_and_nothing_goes_off_the_screen(own_page: Page, root: Path) -> None:
    page = own_page
    page.set_viewport_size({"width": 320, "height": 700})
    page.goto("/?view=library")
    page.get_by_role("button", name="Add films").click()
    expect(page.locator("#browse h2")).to_be_visible()
    assert width_of_all(page) <= 320
    page.get_by_role("button", name="Removed films").click()
    expect(page.locator("#removed h2")).to_be_visible()
    found = Axe().run(page)
    assert [(one["id"], one["nodes"][0]["html"]) for one in found.response["violations"]] == []
    (root / "broken.mp4").unlink()
    page.get_by_role("button", name=re.compile("^Add: .*broken.mp4")).click()
    expect(page.locator(".message.error")).to_contain_text("broken.mp4: there is no such folder or film.")


def test_without_roots_there_is_nothing_of_it(page: Page) -> None:
    page.goto("/?view=library")
    expect(page.locator("#library-view .film").first).to_be_visible()
    expect(page.get_by_role("button", name="Add films")).to_have_count(0)
    expect(page.get_by_role("button", name=re.compile("out of the library"))).to_have_count(0)
