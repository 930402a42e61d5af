"""Films into the library and out of it over HTTP: the whole way, and every refusal."""

import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests_web_helpers import BEARER, TOKEN, patient, served, until

from gmmformer.demo.render import render_film
from gmmformer.demo.world import plan_films
from gmmformer.errors import InputError
from gmmformer.files import locked
from gmmformer.media.featurise import FilmFeatures
from gmmformer.search import Library, choose_encoders, compact
from gmmformer.web import ServeConfig, app, intake, serve
from gmmformer.web.roots import NONE

WRITING = [
    ("/api/intake", {"paths": ["/"]}),
    ("/api/intake/again", None),
    ("/api/intake/cancel", {"number": 1}),
    ("/api/remove", {"ids": [1]}),
    ("/api/restore", {"ids": [1]}),
]
READING = ["/api/folders", "/api/intake", "/api/removed"]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four short films."""
    folder = tmp_path_factory.mktemp("rendered")
    shortest = sorted(plan_films(40, seed=5), key=lambda plan: plan.duration)[:4]
    for plan in shortest:
        render_film(plan, folder / f"{plan.name}.mp4")
    return sorted(folder.iterdir())


@pytest.fixture
def root(tmp_path: Path, rendered: list[Path]) -> Path:
    """A root: two films in it, one below, one that is none; the fourth outside, with links to it."""
    root, outside = tmp_path / "films", tmp_path / "outside"
    (root / "evening").mkdir(parents=True)
    outside.mkdir()
    for name, film in zip(
        ("films/a.mp4", "films/b.mp4", "films/evening/c.mp4", "outside/d.mp4"), rendered, strict=True
    ):
        (tmp_path / name).write_bytes(film.read_bytes())
    (root / "evening" / "broken.mp4").write_bytes(b"this is no film" * 100)
    (root / "link.mp4").symlink_to(outside / "d.mp4")
    (root / "linked").symlink_to(outside)
    return root


@pytest.fixture
def own(library: Library, tmp_path: Path) -> Iterator[Library]:
    with Library.create(tmp_path / "own", choose_encoders(library.folder / "model")) as made:
        yield made


@pytest.fixture
def served_root(own: Library, root: Path) -> Iterator[httpx.Client]:
    with served(own, ServeConfig(port=0, roots=(root,))) as url, patient.Client(base_url=url) as client:
        yield client


def done(client: httpx.Client) -> dict[str, Any]:
    """How the last wish ended, once nothing is at work any more."""
    states: list[dict[str, Any]] = []

    def rests() -> bool:
        states.append(client.get("/api/intake").json())
        return states[-1]["doing"] is None and not states[-1]["waiting"]

    until(rests)
    last: dict[str, Any] = states[-1]["last"]
    return last


def names(client: httpx.Client) -> dict[str, int]:
    return {film["name"]: film["id"] for film in client.get("/api/films").json()["films"]}


def found(client: httpx.Client) -> set[str]:
    return {
        hit["name"] for hit in client.get("/api/search", params={"q": "a red circle", "fold": False}).json()["hits"]
    }


def files_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.lstat().st_mtime_ns) for path in folder.rglob("*.mp4")}


def hold_up(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Let taking films in stand still after the first of them: set once it stands; to be set to let it go on."""
    standing, go_on, real = threading.Event(), threading.Event(), intake.film_source

    def source_of(*given: Any, on_frames: Any) -> Any:
        def source(films: Iterable[Path]) -> Iterator[Any]:
            for seen in real(*given, on_frames=on_frames)(films):
                yield seen
                standing.set()
                while not go_on.wait(0.01):
                    on_frames(1)

        return source

    monkeypatch.setattr(intake, "film_source", source_of)
    return standing, go_on


def test_the_whole_way(served_root: httpx.Client, own: Library, root: Path) -> None:
    client, before = served_root, files_of(root.parent)
    assert client.get("/api/library").json()["changeable"] is True
    assert [entry["path"] for entry in client.get("/api/folders").json()["folders"]] == [str(root)]
    listed = client.get("/api/folders", params={"path": str(root)}).json()
    assert [entry["name"] for entry in listed["folders"]] == ["evening"]
    assert [(entry["name"], entry["known"]) for entry in listed["films"]] == [("a.mp4", False), ("b.mp4", False)]
    answer = client.post("/api/intake", json={"paths": [str(root)]})
    assert answer.status_code == 202
    assert answer.json()["waiting"] or answer.json()["doing"] or answer.json()["last"]
    last = done(client)
    assert (last["added"], last["failed"], last["error"], last["cancelled"]) == (3, 1, None, False)
    assert [film["film"] for film in last["left_out"]] == [str(root / "link.mp4")]
    assert "leads out of the folders" in last["left_out"][0]["reason"]
    assert found(client) == {"a.mp4", "b.mp4", "c.mp4"}
    listed = client.get("/api/folders", params={"path": str(root)}).json()
    assert [entry["known"] for entry in listed["films"]] == [True, True]
    ids = names(client)
    scores = {hit["name"]: hit["score"] for hit in client.get("/api/search?q=a+red+circle&fold=false").json()["hits"]}

    removed = client.post("/api/remove", json={"ids": [ids["b.mp4"], 999]})
    assert removed.json() == {"ids": [ids["b.mp4"]]}
    assert set(names(client)) == found(client) == {"a.mp4", "c.mp4"}
    back = client.get("/api/removed").json()
    assert (back["total"], [film["name"] for film in back["films"]]) == (1, ["b.mp4"])
    told = client.post("/api/restore", json=removed.json()).json()["films"]
    assert told == [{"was": ids["b.mp4"], "id": names(client)["b.mp4"]}]
    assert {
        hit["name"]: hit["score"] for hit in client.get("/api/search?q=a+red+circle&fold=false").json()["hits"]
    } == scores
    assert client.get(f"/media/{names(client)['b.mp4']}").status_code == 200
    assert client.post("/api/restore", json=removed.json()).status_code == 404

    client.post("/api/remove", json={"ids": [ids["a.mp4"]]})
    with own.writing() as into:
        compact(into, purge=True)
    assert client.get("/api/removed").json() == {"total": 0, "films": []}
    problem = client.post("/api/restore", json={"ids": [ids["a.mp4"]]})
    assert problem.status_code == 404
    assert "compacted" in problem.json()["detail"]
    assert files_of(root.parent) == before


def test_what_failed_or_changed_is_looked_at_again(served_root: httpx.Client, root: Path, rendered: list[Path]) -> None:
    client = served_root
    client.post("/api/intake", json={"paths": [str(root / "a.mp4"), str(root / "evening")]})
    assert (done(client)["added"], names(client).keys()) == (2, {"a.mp4", "c.mp4"})
    (root / "evening" / "broken.mp4").write_bytes(rendered[3].read_bytes())
    (root / "a.mp4").write_bytes(rendered[1].read_bytes())
    assert client.post("/api/intake/again").status_code == 202
    last = done(client)
    assert (last["what"], last["added"], last["replaced"], last["unchanged"], last["failed"]) == ("again", 1, 1, 1, 0)
    assert names(client).keys() == {"a.mp4", "c.mp4", "broken.mp4"}  # b.mp4 is new, and nobody asked for it
    os.unlink(root / "a.mp4")  # noqa: PTH108
    client.post("/api/intake/again")
    assert done(client)["gone"] == 1
    assert "a.mp4" in names(client)


def test_films_outside_the_roots_are_not_looked_at_again(served_root: httpx.Client, own: Library, root: Path) -> None:
    outside = root.parent / "outside" / "d.mp4"
    own.add([outside])
    stamp = own.store.films()[0].stamp
    outside.touch()
    served_root.post("/api/intake/again")
    last = done(served_root)
    assert (last["unchanged"], last["replaced"], last["error"]) == (0, 0, None)
    assert own.store.films()[0].stamp == stamp


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("{outside}", 403, "does not lie in a folder that this server may read"),
        ("{outside}/d.mp4", 403, "does not lie in a folder that this server may read"),
        ("{root}/../outside/d.mp4", 403, "does not lie in a folder that this server may read"),
        ("/etc/passwd", 403, "does not lie in a folder that this server may read"),
        ("{root}/link.mp4", 403, "a link leads out of the folders"),
        ("{root}/linked", 403, "a link leads out of the folders"),
        ("{root}/linked/d.mp4", 403, "a link leads out of the folders"),
        ("{root}/nothing", 404, "there is no such folder or film"),
        ("a.mp4", 422, "must be a whole path"),
    ],
)
def test_a_path_outside_is_refused_by_name(
    served_root: httpx.Client, own: Library, root: Path, path: str, status: int, detail: str
) -> None:
    path = path.format(root=root, outside=root.parent / "outside")
    answer = served_root.post("/api/intake", json={"paths": [str(root), path]})  # the good one does not help
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert detail in answer.json()["detail"]
    assert status == 422 or path in answer.json()["detail"]
    assert served_root.get("/api/intake").json() == {"doing": None, "stopping": False, "waiting": [], "last": None}
    assert len(own) == 0
    if status == 403:
        assert served_root.get("/api/folders", params={"path": path}).status_code == 403


def test_without_roots_nothing_can_be_changed(client: httpx.Client, library: Library) -> None:
    for path, body in WRITING:
        answer = client.post(path, json=body)
        assert (answer.status_code, answer.json()["detail"]) == (403, NONE), path
    for path in READING:
        assert client.get(path).status_code == 403, path
    assert len(library) == 10
    assert client.get("/api/library").json()["changeable"] is False


def test_whoever_shows_no_token_or_comes_from_elsewhere_changes_nothing(own: Library, root: Path) -> None:
    evil = {**BEARER, "origin": "https://evil.example"}
    with served(own, ServeConfig(port=0, token=TOKEN, roots=(root,))) as url:
        for path, body in WRITING:
            assert patient.post(url + path, json=body).status_code == 401, path
            assert patient.post(url + path, json=body, headers=evil).status_code == 403, path
            crossed = {**BEARER, "sec-fetch-site": "cross-site"}
            assert patient.post(url + path, json=body, headers=crossed).status_code == 403, path
            if body is not None:
                form = {**BEARER, "content-type": "text/plain"}
                assert patient.post(url + path, content="{}", headers=form).status_code in (415, 422), path
        for path in READING:
            assert patient.get(url + path).status_code == 401, path
            assert patient.get(url + path, headers=BEARER).status_code == 200, path
        assert patient.get(url + "/api/intake", headers=BEARER).json()["last"] is None
        assert patient.post(f"{url}/api/intake", json={"paths": [f"{root}/a.mp4"]}, headers=BEARER).status_code == 202
        until(lambda: len(own) == 1)


def test_one_after_the_other_and_each_can_be_cancelled(
    served_root: httpx.Client, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = served_root
    client.post("/api/intake", json={"paths": [str(root / "b.mp4")]})
    ids = [done(client) and names(client)["b.mp4"]]
    standing, go_on = hold_up(monkeypatch)
    client.post("/api/intake", json={"paths": [str(root)]})
    assert standing.wait(60)
    for path in ("evening", "a.mp4", "evening"):  # the last is wished already
        state = client.post("/api/intake", json={"paths": [str(root / path)]}).json()
    assert state["doing"]["places"] == [str(root)]
    first, second = state["waiting"]
    assert (first["places"], second["places"]) == ([str(root / "evening")], [str(root / "a.mp4")])
    for path in ("/api/remove", "/api/restore"):  # a second writer is told
        answer = client.post(path, json={"ids": ids})
        assert (answer.status_code, answer.json()["detail"]) == (409, intake._BUSY)
    assert names(client).keys() >= {"b.mp4"}
    state = client.post("/api/intake/cancel", json={"number": second["number"]}).json()
    assert [wish["number"] for wish in state["waiting"]] == [first["number"]]
    doing = state["doing"]["number"]
    client.post("/api/intake/cancel", json={"number": doing})
    until(lambda: (client.get("/api/intake").json()["last"] or {}).get("number") == doing)
    last = client.get("/api/intake").json()["last"]
    assert (last["cancelled"], last["error"]) == (True, None)
    go_on.set()
    until(lambda: client.get("/api/intake").json()["last"]["number"] == first["number"])
    last = client.get("/api/intake").json()["last"]
    assert (last["cancelled"], last["added"] + last["unchanged"]) == (False, 1)
    assert client.post("/api/remove", json={"ids": ids}).json() == {"ids": ids}
    assert client.post("/api/intake/cancel", json={"number": doing}).status_code == 200


def test_too_many_wishes_are_refused(served_root: httpx.Client, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    standing, go_on = hold_up(monkeypatch)
    monkeypatch.setattr(intake, "MOST_WAITING", 1)
    served_root.post("/api/intake", json={"paths": [str(root)]})
    assert standing.wait(60)
    assert served_root.post("/api/intake", json={"paths": [str(root / "a.mp4")]}).status_code == 202
    answer = served_root.post("/api/intake", json={"paths": [str(root / "b.mp4")]})
    assert answer.status_code == 429
    assert answer.headers["retry-after"]
    go_on.set()
    assert done(served_root)["error"] is None


def test_a_writer_elsewhere_is_told_of(served_root: httpx.Client, own: Library, root: Path) -> None:
    served_root.post("/api/intake", json={"paths": [str(root / "a.mp4")]})
    done(served_root)
    with locked(own.folder, "writing"):
        served_root.post("/api/intake", json={"paths": [str(root)]})
        assert "is writing there; wait until it is done" in done(served_root)["error"]
        answer = served_root.post("/api/remove", json={"ids": list(names(served_root).values())})
        assert answer.status_code == 409
        assert "The library cannot be changed" in answer.json()["detail"]
    assert len(own) == 1


def test_a_server_that_ends_leaves_off(own: Library, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    standing, _ = hold_up(monkeypatch)
    with served(own, ServeConfig(port=0, roots=(root,))) as url:
        patient.post(f"{url}/api/intake", json={"paths": [str(root)]})
        assert standing.wait(60)
    until(lambda: not any(thread.name == "gmmformer-intake" for thread in threading.enumerate()), 10)
    own.add([root])  # nothing holds it
    assert len(own) == 4  # with the link, which is the command line's business


def test_progress_is_told_as_it_goes(served_root: httpx.Client, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    standing, go_on = hold_up(monkeypatch)
    with served_root.stream("GET", "/api/events") as events:
        lines = events.iter_lines()
        assert "event: intake" in (next(lines) for _ in range(9))
        served_root.post("/api/intake", json={"paths": [str(root)]})
        assert standing.wait(60)
        told = next(line for line in lines if line.startswith('data: {"doing":{'))
        assert str(root) in told
        go_on.set()
        assert next(line for line in lines if line.startswith('data: {"doing":null')).count('"added":3')


def test_what_goes_wrong_is_an_outcome(served_root: httpx.Client, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> FilmFeatures:
        raise RuntimeError("a defect")

    monkeypatch.setattr(intake, "film_source", broken)
    served_root.post("/api/intake", json={"paths": [str(root)]})
    assert done(served_root)["error"] == "Something went wrong in the server; its log says what."
    monkeypatch.undo()
    served_root.post("/api/intake", json={"paths": [str(root)]})
    assert done(served_root)["added"] == 3


def test_a_library_that_cannot_be_read_is_an_outcome_and_the_next_wish_is_done(
    served_root: httpx.Client, own: Library, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable() -> None:
        raise InputError("the disk is away")

    monkeypatch.setattr(own.store, "known", unreadable)
    served_root.post("/api/intake", json={"paths": [str(root / "a.mp4")]})
    assert done(served_root)["error"] == "the disk is away."
    monkeypatch.undo()
    served_root.post("/api/intake", json={"paths": [str(root / "a.mp4")]})
    assert done(served_root)["added"] == 1


def test_a_library_that_cannot_be_written_to_has_no_roots(
    own: Library, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "writable", lambda folder: folder != own.folder)
    with pytest.raises(InputError, match=r"--roots: films cannot be added to .*own, which cannot be written to"):
        serve(own, ServeConfig(port=0, roots=(root,)))
