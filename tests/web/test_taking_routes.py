"""Moments taken away over HTTP: what is answered to what is asked, and what is refused."""

from pathlib import Path

import httpx
import opentimelineio as otio
import pytest
from tests_web_helpers import patient, served, with_sound_and_time_code, write_old_film

from gmmformer.search import Library, choose_encoders
from gmmformer.web import ServeConfig


@pytest.mark.parametrize("kind", ["edl", "fcpxml", "xml", "otio", "csv", "json"])
def test_over_http(client: httpx.Client, library: Library, kind: str) -> None:
    films = library.store.films()[:2]
    moments = [{"id": film.id, "start": 1.5, "end": 4.0, "query": ""} for film in films]
    posted = client.post("/api/export", params={"format": kind}, json={"moments": moments})
    linked = client.get("/api/export", params={"format": kind, "m": [f"{film.id}:1.5:4" for film in films]})
    assert posted.status_code == linked.status_code == 200
    assert posted.content == linked.content
    assert posted.headers["content-disposition"] == f'attachment; filename="moments.{kind}"'
    if kind == "otio":  # the demo's films have 12 frames per second
        clips = list(otio.adapters.read_from_string(posted.text, "otio_json").find_clips())
        assert [(clip.source_range.start_time.value, clip.source_range.duration.value) for clip in clips] == [
            (18, 30)
        ] * 2


@pytest.mark.parametrize(
    ("moments", "status"),
    [
        ([], 422),
        ([{"id": 1, "start": 3, "end": 2}], 422),
        ([{"id": 1, "start": -1, "end": 2}], 422),
        ([{"id": 999, "start": 1, "end": 2}], 404),
        ([{"id": 1, "start": 1, "end": 2, "film": "/etc/passwd"}], 422),
        ([{"id": 1, "start": 1, "end": 2}] * 1_001, 422),
        ([{"id": "../1", "start": 1, "end": 2}], 422),
    ],
)
def test_moments_that_make_no_sense(client: httpx.Client, moments: list[object], status: int) -> None:
    assert client.post("/api/export?format=edl", json={"moments": moments}).status_code == status


@pytest.mark.parametrize(
    "link",
    [
        "",
        "&m=1",
        "&m=1:2",
        "&m=1:2:1",
        "&m=1:-1:2",
        "&m=x:1:2",
        "&m=1:1e3:2e3",
        "&m=1:nan:inf",
        "&m=0:1:2",
        "&m=1:99999999:99999999.5",
    ],
)
def test_links_that_make_no_sense(client: httpx.Client, link: str) -> None:
    assert client.get(f"/api/export?format=csv{link}").status_code == 422


def test_what_the_person_wants_beside_the_moments(client: httpx.Client, library: Library) -> None:
    film = library.store.films()[0]
    folder = str(Path(film.path).parent)
    moment = {"id": film.id, "start": 1.5, "end": 4.0, "query": "a bird", "name": "Bird", "note": "the best"}
    asked = {"moments": [moment], "handles": 0.5, "elsewhere": {"here": folder, "there": "Z:\\Films"}}
    answer = client.post("/api/export?format=json", json=asked).json()["moments"]
    name = Path(film.path).name
    assert answer == [{**moment, "film": f"Z:\\Films\\{name}", "start": 1.0, "end": 4.5}]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"handles": -1}, "handles: "),
        ({"handles": 61}, "handles: "),
        ({"handles": "NaN"}, "handles: "),
        ({"elsewhere": {"here": "/nowhere", "there": "/x"}}, "elsewhere.here: none of these films lies in /nowhere."),
        ({"elsewhere": {"here": "/", "there": "films"}}, "elsewhere.there: must be a whole path in plain text, such"),
        ({"elsewhere": {"here": "", "there": "/x"}}, "elsewhere.here: must be a whole path in plain text, such"),
        ({"elsewhere": {"here": "/", "there": "/x\n* evil"}}, "elsewhere.there: must be a whole path in plain text"),
        ({"elsewhere": {"here": "/", "there": "/\u202e"}}, "elsewhere.there: must be a whole path in plain text"),
        ({"elsewhere": {"here": "/", "there": "/" * 1_001}}, "elsewhere.there: "),
        ({"elsewhere": {"here": "/"}}, "elsewhere.there: "),
    ],
)
def test_what_cannot_be_wanted_is_told(client: httpx.Client, wrong: dict[str, object], told: str) -> None:
    asked = {"moments": [{"id": 1, "start": 1, "end": 2}], **wrong}
    answer = client.post("/api/export?format=edl", json=asked)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(told)


def test_a_film_with_sound_and_time_code_conforms(library: Library, tmp_path: Path) -> None:
    """From the file itself to the list: what is asked of a film is what stands in it."""
    write_old_film(tmp_path / "plain.avi")
    path = tmp_path / "card.mov"
    with_sound_and_time_code(tmp_path / "plain.avi", path)
    with Library.create(tmp_path / "own", choose_encoders(library.folder / "model")) as ours:
        ours.add([path])
        with served(ours, ServeConfig(port=0)) as url:
            asked = {"moments": [{"id": 1, "start": 2.5, "end": 4.0}]}
            text = patient.post(f"{url}/api/export?format=edl", json=asked).text
    event = next(line for line in text.splitlines() if line.startswith("001"))
    assert event == "001  A001     AA/V  C        10:00:02:12 10:00:04:00 01:00:00:00 01:00:01:12"
