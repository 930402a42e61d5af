"""Trays kept for people over HTTP."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests_web_helpers import BEARER, TOKEN, patient, served

from gmmformer.search import Library, choose_encoders, verify
from gmmformer.web import ServeConfig

TRAY = {"key": "Tray", "name": "Trailer", "items": [{"id": 1, "start": 1.5, "end": 2.0, "title": "Ärger"}]}


@pytest.fixture
def own(library: Library, tmp_path: Path) -> Iterator[tuple[httpx.Client, Library]]:
    with (
        Library.create(tmp_path / "own", choose_encoders(library.folder / "model")) as made,
        served(made, ServeConfig(port=0, token=TOKEN)) as url,
        patient.Client(base_url=url, headers=BEARER) as client,
    ):
        yield client, made


def test_they_are_kept_by_name_and_no_change_is_lost(own: tuple[httpx.Client, Library]) -> None:
    client, library = own

    def keep(name: str, revision: int, *trays: dict[str, Any]) -> httpx.Response:
        return client.post("/api/trays", json={"name": name, "revision": revision, "trays": trays})

    assert client.get("/api/library").json()["keeps_trays"] is True
    assert client.get("/api/trays?name=Anna").json() == {"revision": 0, "trays": []}
    assert keep("Anna", 0, TRAY).json() == {"revision": 1, "trays": [TRAY]}
    assert keep(" anna ", 0).status_code == 409
    assert "changed elsewhere meanwhile" in keep("Anna", 7).json()["detail"]
    assert client.get("/api/trays?name=ANNA").json() == {"revision": 1, "trays": [TRAY]}
    assert client.get("/api/trays?name=../Bert").json()["trays"] == []
    assert keep("../Bert", 0, TRAY).status_code == 200
    assert keep("", 0).status_code == 422
    kept = [*(library.folder / "trays").iterdir()]
    assert len(kept) == 2
    assert verify(library.store) == []
    for path in kept:
        path.write_text(json.dumps({"revision": "none"}))
    assert "damaged" in client.get("/api/trays?name=Anna").json()["detail"]


def test_without_a_token_nothing_is_kept(client: httpx.Client, library: Library) -> None:
    assert client.get("/api/library").json()["keeps_trays"] is False
    assert client.get("/api/trays?name=Anna").status_code == 403
    assert client.post("/api/trays", json={"name": "Anna", "revision": 0, "trays": []}).status_code == 403
    assert not (library.folder / "trays").exists()
