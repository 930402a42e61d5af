"""Films over HTTP: lists, bytes, pictures, previews, cuts."""

import io
import os
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import httpx
import numpy as np
import pytest
from PIL import Image
from tests_web_helpers import FILMS, MARKED_UP, OLD_FILM, of_a_big_film, patient, served, until

from gmmformer.config import DecodeLimits
from gmmformer.demo.world import plan_films
from gmmformer.media.frames import frame_at
from gmmformer.search import Film, Library, choose_encoders
from gmmformer.web import ServeConfig, film_work
from gmmformer.web.choosing import chosen
from gmmformer.web.problems import ProblemError
from gmmformer.web.schemas import FilmsQuery


def named(library: Library, name: str) -> Film:
    return next(film for film in library.store.films() if Path(film.path).name == name)


@pytest.fixture
def plain(library: Library) -> Film:
    return named(library, MARKED_UP)


@pytest.fixture
def old(library: Library) -> Film:
    return named(library, OLD_FILM)


def test_films_are_listed_by_page(client: httpx.Client, library: Library) -> None:
    films = library.store.films()
    first = client.get("/api/films", params={"limit": 4}).json()
    rest = client.get("/api/films", params={"offset": 4, "limit": 500}).json()
    assert first["total"] == rest["total"] == 10
    assert [film["id"] for film in first["films"] + rest["films"]] == [film.id for film in films]
    assert client.get("/api/films", params={"offset": 10**15}).json() == {"total": 10, "films": [], "unlooked": 0}
    found = client.get("/api/films", params={"q": "OLD cam"}).json()
    assert [film["name"] for film in found["films"]] == [OLD_FILM]
    for bad in ({"limit": 0}, {"limit": 501}, {"offset": -1}, {"offset": 2**70}, {"q": "x" * 1_001}):
        assert client.get("/api/films", params=bad).status_code == 422


def test_films_are_put_in_order_and_held_to_a_folder(
    client: httpx.Client, library: Library, films_folder: Path
) -> None:
    films = library.store.films()

    def asked(**wanted: object) -> list[int]:
        return [film["id"] for film in client.get("/api/films", params=wanted).json()["films"]]

    by_length = [film.id for film in sorted(films, key=lambda film: film.length)]
    assert asked(sort="length") == by_length
    assert asked(sort="length", descending=True) == by_length[::-1]
    assert asked(descending=True) == [film.id for film in films][::-1]
    assert asked(sort="name")[0] == named(library, MARKED_UP).id
    dates = [
        Path(film.path).stat().st_mtime_ns for film in sorted(films, key=lambda film: asked(sort="date").index(film.id))
    ]
    assert dates == sorted(dates)
    assert len(asked(folder=str(films_folder))) == 10  # what is below counts
    assert len(asked(folder=f"{films_folder}/shapes/", sort="length")) == 8
    assert asked(folder=str(films_folder / "shap")) == []
    assert client.get("/api/films", params={"sort": "size"}).status_code == 422


def test_films_are_held_to_the_size_of_their_frames(client: httpx.Client) -> None:
    def asked(**question: int) -> dict[str, Any]:
        told: dict[str, Any] = {}
        until(lambda: not told.update(client.get("/api/films", params=question).json()) and not told["unlooked"])
        return told

    assert {film["lines"] for film in asked(min_lines=144, max_lines=144)["films"]} == {144}
    assert asked(min_lines=1)["total"] == asked(max_lines=144)["total"] == 10
    assert asked(min_lines=145)["total"] == asked(max_lines=143)["total"] == 0


def test_a_film_that_browsers_do_not_play_says_so(client: httpx.Client, old: Film, plain: Film) -> None:
    def told(film: Film) -> dict[str, object]:
        for _ in range(200):  # the first answers need not wait for the film to be looked at
            found: dict[str, object] = client.get(f"/api/films/{film.id}").json()
            if found["reason"] != "avi file":
                break
        return found

    assert told(old) == {
        "id": old.id,
        "film": old.path,
        "name": OLD_FILM,
        "folder": str(Path(old.path).parent),
        "length": 12.0,
        "available": True,
        "playable": False,
        "reason": "AVI container",
        "lines": 144,
    }
    playable = told(plain)
    assert (playable["available"], playable["playable"], playable["reason"]) == (True, True, None)
    assert playable["name"] == MARKED_UP


def test_the_library_is_described(client: httpx.Client, library: Library, films_folder: Path) -> None:
    told = client.get("/api/library").json()
    assert told["failures"] == [
        {"film": str(films_folder / "broken.mp4"), "reason": library.store.failures()[0].reason},
    ]
    assert told["folders"] == [str(films_folder), str(films_folder / "shapes")]
    assert (told["films"], told["activity"], told["engine"]) == (10, None, "exact")
    assert told["seconds"] == pytest.approx(library.info().seconds)


@pytest.mark.parametrize(
    "identity", ["0", "-1", "999", "1.5", "x", "%2e%2e", "9" * 30, "1%00", "..%2f..%2fetc%2fpasswd"]
)
@pytest.mark.parametrize("route", ["/media/{}", "/api/films/{}", "/api/films/{}/thumbnail", "/api/films/{}/clips?q=a"])
def test_ids_that_are_none(client: httpx.Client, route: str, identity: str) -> None:
    answer = client.get(route.format(identity))
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_bytes_of_a_film(client: httpx.Client, plain: Film) -> None:
    content = Path(plain.path).read_bytes()
    whole = client.get(f"/media/{plain.id}")
    assert (whole.status_code, whole.headers["content-type"], whole.content) == (200, "video/mp4", content)
    tag = whole.headers["etag"]

    def asked(**headers: str) -> httpx.Response:
        return client.get(
            f"/media/{plain.id}", headers={name.replace("_", "-"): text for name, text in headers.items()}
        )

    part = asked(range="bytes=1000-1999")
    assert (part.status_code, part.content) == (206, content[1000:2000])
    assert part.headers["content-range"] == f"bytes 1000-1999/{len(content)}"
    assert asked(range="bytes=-7").content == content[-7:]
    assert asked(range="bytes=5-", if_range=tag).status_code == 206
    assert asked(range="bytes=5-", if_range='"other"').status_code == 200
    assert asked(if_none_match=tag).status_code == 304
    assert asked(if_none_match=tag).content == b""
    head = client.head(f"/media/{plain.id}", headers={"range": "bytes=0-9"})
    assert (head.status_code, head.headers["content-length"], head.content) == (206, "10", b"")
    for lie in (f"bytes={len(content)}-", "bytes=9-1", "bytes=-", "bytes=1e3-", f"bytes={'9' * 4000}-"):
        refused = asked(range=lie)
        assert (refused.status_code, refused.headers["content-range"]) == (416, f"bytes */{len(content)}")
        assert refused.json()["status"] == 416
    assert asked(range="bytes=0-1,3-4").content == content


def test_thumbnails(client: httpx.Client, plain: Film) -> None:
    answer = client.get(f"/api/films/{plain.id}/thumbnail", params={"t": 3, "height": 72})
    assert answer.headers["content-type"] == "image/jpeg"
    assert "max-age" in answer.headers["cache-control"]
    image = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"), dtype=float)
    assert image.shape == (72, 96, 3)
    frame = Image.fromarray(frame_at(plain.path, 3.0, size=None).image).resize((96, 72))
    assert np.abs(image - np.asarray(frame, dtype=float)).mean() < 6
    tag = answer.headers["etag"]
    again = client.get(f"/api/films/{plain.id}/thumbnail?t=3&height=72", headers={"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")
    late = client.get(f"/api/films/{plain.id}/thumbnail", params={"t": 9_999})
    assert late.status_code == 200
    for bad in ({"t": -1}, {"t": "nan"}, {"t": 1e300}, {"height": 10}, {"height": 10_000}, {"t": "../x"}):
        assert client.get(f"/api/films/{plain.id}/thumbnail", params=bad).status_code == 422


def frames_of(content: bytes) -> list[av.VideoFrame]:
    with av.open(io.BytesIO(content)) as container:
        assert container.streams.video[0].codec.canonical_name == "h264"
        return list(container.decode(video=0))


def likeness(frame: av.VideoFrame, film: Film, second: float) -> float:
    """Mean difference of a frame and what a film shows at a second."""
    wanted = frame_at(film.path, second, size=None).image.astype(float)
    return float(np.abs(frame.to_ndarray(format="rgb24").astype(float) - wanted).mean())


def test_a_preview_begins_where_it_was_asked_to(client: httpx.Client, old: Film) -> None:
    where = f"/api/films/{old.id}/preview?start=4.5&end=6.5"
    answer = client.get(where)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")
    assert answer.headers["x-preview-start"] == "4.500"
    frames = frames_of(answer.content)
    assert len(frames) == 24
    assert likeness(frames[0], old, 4.5) < 8 < likeness(frames[0], old, 3.5)
    part = client.get(where, headers={"range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"ftyp")


def test_a_cut_is_a_file_to_save(client: httpx.Client, plain: Film) -> None:
    answer = client.post("/api/cut", json={"id": plain.id, "start": 5.25, "end": 7.25, "exact": True})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "video/mp4"
    disposition = answer.headers["content-disposition"]
    assert disposition.startswith('attachment; filename="img-src-x-onerror-alert')
    assert disposition.isascii()
    assert "<" not in disposition
    frames = frames_of(answer.content)
    assert len(frames) == 24
    assert likeness(frames[0], plain, 5.25) < 8


@pytest.mark.parametrize(
    ("start", "end"),
    [(-1, 3), (3, 3), (5, 4), (0, 36_000), (0, 600.01), (9_000, 9_001), ("nan", 1), (0, "inf"), (1e300, 2e300)],
)
def test_spans_that_make_no_sense(client: httpx.Client, plain: Film, start: object, end: object) -> None:
    preview = client.get(f"/api/films/{plain.id}/preview", params={"start": start, "end": end})
    body = f'{{"id": {plain.id}, "start": {start}, "end": {end}}}'.replace("nan", "NaN").replace("inf", "Infinity")
    cut = client.post("/api/cut", content=body, headers={"content-type": "application/json"})
    assert (preview.status_code, cut.status_code) == (422, 422)
    for answer in (preview, cut):
        assert any(name in answer.json()["detail"] for name in ("start", "end"))


def test_the_same_work_is_done_once_and_too_much_of_it_is_refused(
    library: Library, plain: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(film_work, "CUTTERS", 1)
    with served(library, ServeConfig(port=0)) as url, patient.Client(base_url=url) as asking:

        def ask_together(ends: Sequence[float]) -> list[httpx.Response]:
            where = f"/api/films/{plain.id}/preview?start=0&end="
            with ThreadPoolExecutor(len(ends)) as threads:
                return list(threads.map(lambda end: asking.get(f"{where}{end}"), ends))

        same = ask_together([12.0] * 8)
        assert {answer.status_code for answer in same} == {200}
        assert len({answer.content for answer in same}) == 1
        made = 'gmmformer_film_work_total{kind="preview",outcome="done"} '
        assert f"{made}1.0" in asking.get("/metrics").text
        many = ask_together([5 + number / 10 for number in range(30)])
        refused = [answer for answer in many if answer.status_code == 429]
        assert {answer.status_code for answer in many} == {200, 429}
        assert {answer.headers["retry-after"] for answer in refused} == {"2"}
        assert f"{made}{1 + len(many) - len(refused)}.0" in asking.get("/metrics").text


@pytest.fixture
def passing(tmp_path: Path, plain: Film, library: Library) -> Iterator[tuple[Path, str]]:
    """A film that may be changed, and the address of a server that has it as film 1."""
    path = tmp_path / "passing.mp4"
    shutil.copy(plain.path, path)
    with Library.create(tmp_path / "own", choose_encoders(library.folder / "model")) as ours:
        ours.add([path], limits=DecodeLimits(decoders=1))
        with served(ours, ServeConfig(port=0)) as url:
            yield path, url


def test_a_film_that_is_replaced_or_removed_while_it_plays(passing: tuple[Path, str]) -> None:
    path, url = passing
    content = path.read_bytes()
    assert patient.get(f"{url}/media/1", headers={"range": "bytes=0-99"}).content == content[:100]
    other = path.with_suffix(".new")
    other.write_bytes(content[::-1])
    other.replace(path)
    asked = (
        patient.get(f"{url}/media/1", headers={"range": "bytes=100-199"}),
        patient.get(f"{url}/api/films/1/thumbnail?t=1"),
        patient.get(f"{url}/api/films/1/preview?start=0&end=1"),
        patient.post(f"{url}/api/cut", json={"id": 1, "start": 0, "end": 1}),
    )
    for answer in asked:
        assert answer.status_code == 409
        assert (
            answer.json()["detail"]
            == "The film's file has changed since it was indexed, or cannot be read; index it again."
        )
    path.unlink()
    gone = patient.get(f"{url}/media/1")
    assert gone.status_code == 410
    assert str(path.parent) not in gone.text
    (hit,) = patient.get(f"{url}/api/search?q=a").json()["hits"]
    assert (hit["available"], hit["playable"]) == (False, False)
    assert hit["reason"] == gone.json()["detail"]


def test_a_film_that_is_written_to_while_it_is_sent_is_not_sent_as_whole(tmp_path: Path, library: Library) -> None:
    with (
        of_a_big_film(library, tmp_path) as ours,
        served(ours, ServeConfig(port=0)) as url,
        patient.stream("GET", f"{url}/media/1") as answer,
    ):
        parts = answer.iter_raw(1 << 16)
        next(parts)
        os.utime(tmp_path / "big.mp4", ns=(1, 1))
        with pytest.raises(httpx.RemoteProtocolError):
            for _ in parts:
                pass


@pytest.mark.parametrize("asked", ["caf\u00e9", "CAFE\u0301", " caf\u00c9.mp4 "])
def test_a_film_is_found_by_its_name_however_its_accents_are_written(asked):
    films = [SimpleNamespace(path=path) for path in ("u/cafe\u0301.mp4", "u/cafe.mp4", "u/\udcff.mp4")]
    assert chosen(films, FilmsQuery(q=asked)) == films[:1]


def test_shots_of_a_part_of_a_film(client: httpx.Client, plain: Film, old: Film) -> None:
    told = client.get(f"/api/films/{plain.id}/shots", params={"start": 0, "end": 60}).json()
    plan = sorted(plan_films(40, seed=3), key=lambda plan: plan.duration)[FILMS]
    cuts = [scene.start for scene in plan.scenes[1:]]
    assert cuts
    assert told["id"] == plain.id
    assert told["rate"] == 12.0
    assert told["shots"] == pytest.approx(cuts, abs=0.001)
    assert client.get(f"/api/films/{old.id}/shots", params={"start": 2, "end": 9}).json()["shots"] == []
    for bad in ({"start": 0, "end": 61}, {"start": 3, "end": 3}, {"start": 1e6, "end": 1e6 + 1}, {"start": 1}):
        assert client.get(f"/api/films/{plain.id}/shots", params=bad).status_code == 422
    assert client.get("/api/films/99/shots", params={"start": 0, "end": 10}).status_code == 404


def test_several_moments_are_one_zip_that_names_what_is_missing(
    client: httpx.Client, plain: Film, old: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = film_work.FilmWork.cut

    async def refusing(work: film_work.FilmWork, film: Film, start: float, end: float, exact: bool | None) -> object:
        if film.id == old.id:
            raise ProblemError(410)
        return await cut(work, film, start, end, exact)

    monkeypatch.setattr(film_work.FilmWork, "cut", refusing)
    moments = [{"id": plain.id, "start": 1.0, "end": 2.5}, {"id": old.id, "start": 0, "end": 1}]
    moments.append({"id": plain.id, "start": 4.0, "end": 5.0})
    answer = client.post("/api/cuts", json={"moments": moments})
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        first, third, missing = archive.namelist()
        assert (first[:3], third[:3], missing) == ("01_", "03_", "not saved.txt")
        with av.open(io.BytesIO(archive.read(first))) as container:
            assert float(container.duration or 0) / 1e6 == pytest.approx(1.5, abs=0.1)
        told = archive.read(missing).decode()
        assert told.startswith("02_old-camera")
        assert told.endswith("The film's file is not where it was when it was indexed.\n")
    for bad, status in (({"id": plain.id, "start": 2, "end": 1}, 422), ({"id": 99, "start": 0, "end": 1}, 404)):
        refused = client.post("/api/cuts", json={"moments": [moments[0], bad]})
        assert refused.status_code == status
    assert client.post("/api/cuts", json={"moments": [moments[0] | {"end": 5_000}]}).json()["detail"] == (
        "moments.0.end: must be at most 600 s after start."
    )
