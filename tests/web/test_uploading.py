"""Films sent over HTTP into a root: taken whole or not at all, and refused in a sentence."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests_web_helpers import BEARER, TOKEN, patient, served, until

from gmmformer.demo.render import render_film
from gmmformer.demo.world import plan_films
from gmmformer.search import Library, choose_encoders
from gmmformer.web import ServeConfig


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "there.mp4").write_bytes(b"a film of somebody else")
    return tmp_path / "films"


@pytest.fixture
def own(library: Library, root: Path, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of a server that takes films of a megabyte."""
    config = ServeConfig(port=0, token=TOKEN, roots=(root,), uploads=1 / 1024)
    with (
        Library.create(tmp_path / "own", choose_encoders(library.folder / "model")) as made,
        served(made, config) as url,
        patient.Client(base_url=url, headers=BEARER) as client,
    ):
        yield client


def test_a_film_is_written_and_taken_in(own: httpx.Client, root: Path, tmp_path: Path) -> None:
    plan = min(plan_films(40, seed=5), key=lambda plan: plan.duration)
    render_film(plan, tmp_path / "door.mp4")
    told = {"folder": str(root), "name": "door – evening.mp4"}
    content = (tmp_path / "door.mp4").read_bytes()
    assert own.get("/api/upload", params={**told, "size": len(content)}).status_code == 204
    answer = own.post("/api/upload", params=told, content=content)
    assert answer.status_code == 202
    assert (root / told["name"]).read_bytes() == content
    until(lambda: own.get("/api/films").json()["total"] == 1)
    assert sorted(path.name for path in root.iterdir()) == [told["name"], "there.mp4"]


@pytest.mark.parametrize(
    ("folder", "name", "size", "status", "sentence"),
    [
        ("", "there.mp4", 10, 409, "there.mp4: there is a file of this name in the folder"),
        ("", "big.mp4", 2**20 + 1, 413, "big.mp4: has 0.00 GB; this server takes 0.00 GB at most."),
        ("", "letter.txt", 10, 422, "no name of a film"),
        ("", "../out.mp4", 10, 422, "no name of a film"),
        ("", ".hidden.mp4", 10, 422, "no name of a film"),
        ("/..", "out.mp4", 10, 403, "does not lie in a folder that this server may read"),
        ("/nowhere", "a.mp4", 10, 404, "there is no such folder"),
        ("/there.mp4", "a.mp4", 10, 404, "there is no such folder"),
    ],
)
def test_what_is_refused(
    own: httpx.Client, root: Path, folder: str, name: str, size: int, status: int, sentence: str
) -> None:
    told = {"folder": f"{root}{folder}", "name": name}
    for answer in (
        own.get("/api/upload", params={**told, "size": size}),
        own.post("/api/upload", params=told, content=bytes(size)),
    ):
        assert answer.status_code == status
        assert sentence in answer.json()["detail"]
    assert own.post("/api/upload", params=told, content=iter([b"no length"])).status_code == 411
    assert [path.name for path in root.iterdir()] == ["there.mp4"]
    assert own.get("/api/intake").json()["last"] is None


def test_what_breaks_off_leaves_nothing(own: httpx.Client, root: Path) -> None:
    host, port = own.base_url.host, own.base_url.port
    head = f"POST /api/upload?folder={root}&name=half.mp4 HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 1000\r\n"
    with socket.create_connection((host, int(port or 0))) as connection:
        connection.sendall(f"{head}Authorization: Bearer {TOKEN}\r\n\r\n".encode() + b"half")
        until(lambda: len([*root.iterdir()]) == 2)
        time.sleep(0.1)
        assert not (root / "half.mp4").exists()
    until(lambda: [path.name for path in root.iterdir()] == ["there.mp4"])


def test_without_uploads_nothing_is_taken(library: Library, root: Path, tmp_path: Path) -> None:
    with (
        Library.create(tmp_path / "own", choose_encoders(library.folder / "model")) as made,
        served(made, ServeConfig(port=0, roots=(root,))) as url,
    ):
        told = {"folder": str(root), "name": "a.mp4"}
        answer = patient.post(f"{url}/api/upload", params=told, content=b"film")
        assert answer.status_code == 403
        assert "started without --uploads" in answer.json()["detail"]
        assert patient.get(f"{url}/api/library").json()["uploads"] == 0
