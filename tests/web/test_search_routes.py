"""Searching over HTTP: the answers are the library's own, whatever the sentence."""

import itertools
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests_web_helpers import patient, raw, served

from gmmformer.evaluation.moments import ScoreCurve
from gmmformer.media.subtitles import Line, Track
from gmmformer.search import Library, choose_encoders
from gmmformer.search.indexing import embedded_film
from gmmformer.search.lines import Said
from gmmformer.web import ServeConfig, transcripts
from gmmformer.web.catalogue import strip_of


def test_hits_are_the_librarys(client: httpx.Client, library: Library) -> None:
    answer = client.get("/api/search", params={"q": "a red circle", "k": 3, "moments": 2}).json()
    hits = library.search("a red circle", 3, moments=2)
    assert [{name: hit[name] for name in hits[0].to_dict()} for hit in answer["hits"]] == [
        hit.to_dict() for hit in hits
    ]
    assert answer["query"] == "a red circle"
    assert answer["films"] == 10
    assert 0 < answer["seconds"] < 30
    first = answer["hits"][0]
    assert first["name"] == os.path.basename(first["film"])  # noqa: PTH119
    assert f"{first['folder']}/{first['name']}" == first["film"]
    assert first["strip"]["edges"] == [round(edge, 3) for edge in hits[0].curve.edges.tolist()]
    np.testing.assert_allclose(first["strip"]["scores"], hits[0].curve.scores, atol=1e-4)


def test_several_sentences_are_answered_as_one_by_one(client: httpx.Client) -> None:
    sentences = ["a red circle", "a blue square moves left", "a red circle"]
    answer = client.post("/api/search", json={"queries": sentences, "k": 2, "strips": False}).json()
    alone = [client.get("/api/search", params={"q": q, "k": 2, "strips": False}).json() for q in sentences]
    assert [one["query"] for one in answer["results"]] == sentences
    for one, other in zip(answer["results"], alone, strict=True):
        scores = [[hit.pop("score") for hit in hits] for hits in (one["hits"], other["hits"])]
        np.testing.assert_allclose(*scores, atol=2e-6)  # six digits of float32 that was summed in another order
        assert one["hits"] == other["hits"]
    assert answer["results"][0]["hits"][0]["strip"] is None


def test_what_is_said_is_found_too_and_each_hit_says_why(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = library.store.features_of(next(iter(library)).path)
    assert kept is not None
    lines = [Line(2.0, 3.5, "Never mind the marmalade,"), Line(4.0, 5.0, "it is only Tuesday.")]
    said = Said([Track(kind="subtitles", name="a.en.srt", language="en", lines=lines)])
    with Library.create(tmp_path / "library", library.models.encoders) as spoken:
        with spoken.writing() as into:
            film = embedded_film(into, "a.mp4", kept[0].astype(np.float32), length=kept[1].length)
            into.add([replace(film, said=said), replace(film, path="b.mp4")])
        with served(spoken, ServeConfig(port=0)) as url, patient.Client(base_url=url) as client:

            def asked(q: str, **options: object) -> list[dict[str, Any]]:
                answer = client.get("/api/search", params={"q": q, "fold": False, **options})
                assert answer.status_code == 200, answer.text
                return list(answer.json()["hits"])

            hits = asked("never mind the marmalade")
            assert [(hit["film"], [one["source"] for one in hit["why"]]) for hit in hits] == [
                ("a.mp4", ["said"]),
                ("b.mp4", ["picture"]),
            ]
            (why,) = hits[0]["why"]
            assert (why["text"], why["marks"], why["track"]) == (lines[0].text, [[0, 5], [6, 10], [15, 24]], "a.en.srt")
            assert (hits[0]["start"], hits[0]["end"]) == (2.0, 3.5)
            (quoted,) = asked('"marmalade it is"')
            assert (quoted["start"], quoted["end"], quoted["strip"]) == (2.0, 5.0, None)
            assert asked("marmalade", within="picture")[0]["why"] == [{"source": "picture"}]
            assert [hit["film"] for hit in asked("b marmalade", within=["said", "name"])] == ["a.mp4"]
            assert client.get("/api/search", params={"q": "x", "within": "smell"}).status_code == 422
            assert client.get("/api/library").json()["sources"] == ["picture", "said", "name"]

            identities = {hit["film"]: hit["id"] for hit in hits}
            told = client.get(f"/api/films/{identities['a.mp4']}/lines").json()
            assert told["tracks"] == [{"name": "a.en.srt", "kind": "subtitles", "language": "en", "lines": 2}]
            assert (told["track"], told["lines"]) == (0, [line._asdict() for line in lines])
            monkeypatch.setattr(transcripts, "MOST_LINES", 1)
            first = client.get(f"/api/films/{identities['a.mp4']}/lines").json()
            assert (first["lines"], first["more_from"]) == (told["lines"][:1], 4.0)
            last = client.get(f"/api/films/{identities['a.mp4']}/lines", params={"start": 4.0}).json()
            assert (last["lines"], last["more_from"]) == (told["lines"][1:], None)
            silent = client.get(f"/api/films/{identities['b.mp4']}/lines").json()
            assert silent == {"tracks": [], "track": 0, "lines": [], "more_from": None}
            none = client.get(f"/api/films/{identities['a.mp4']}/lines", params={"track": 1})
            assert (none.status_code, none.json()["detail"]) == (422, "track: the film has 1, so none in place 1.")
            assert client.get("/api/films/999/lines").status_code == 404


def test_lines_that_begin_together_come_together_up_to_a_bound(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = library.store.features_of(next(iter(library)).path)
    assert kept is not None
    lines = [Line(second, second + 1, f"line {number}") for number, second in enumerate((0.0, 1.0, 1.0, 1.0, 1.0, 3.0))]
    lines[4] = lines[4]._replace(end=4.0)
    said = Said([Track(kind="subtitles", name="a.srt", lines=lines)])
    monkeypatch.setattr(transcripts, "MOST_LINES", 2)
    with Library.create(tmp_path / "library", library.models.encoders) as spoken:
        with spoken.writing() as into:
            film = embedded_film(into, "a.mp4", kept[0].astype(np.float32), length=kept[1].length)
            into.add([replace(film, said=said)])
        with served(spoken, ServeConfig(port=0)) as url, patient.Client(base_url=url) as client:
            told = client.get("/api/films/1/lines").json()
            assert [line["text"] for line in told["lines"]] == [f"line {number}" for number in range(4)]
            assert told["more_from"] == 3.0
            last = client.get("/api/films/1/lines", params={"start": 3.0}).json()
            assert [line["text"] for line in last["lines"]] == ["line 5"], (
                "a line that lasts over the border came twice"
            )


def test_copies_of_a_film_are_one_hit_unless_all_are_wanted(library: Library, tmp_path: Path) -> None:
    first, second = (library.store.features_of(film.path) for film in list(library)[:2])
    assert first is not None
    assert second is not None
    with Library.create(tmp_path / "library", library.models.encoders) as copied:
        for path, (rows, timing) in (("a.mp4", first), ("b.mp4", second), ("a.mkv", first), ("a.avi", first)):
            copied.add_film(path, rows.astype(np.float32), length=timing.length)
        with served(copied, ServeConfig(port=0)) as url, patient.Client(base_url=url) as client:
            hits = client.get("/api/search", params={"q": "a red circle"}).json()["hits"]
            assert {hit["film"]: hit["copies"] for hit in hits} == {"a.mp4": ["a.mkv", "a.avi"], "b.mp4": []}
            every = client.get("/api/search", params={"q": "a red circle", "fold": False}).json()["hits"]
            assert [hit["copies"] for hit in every] == [[]] * 4


def test_words_that_the_model_does_not_know_are_named(
    client: httpx.Client, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = library.models.embedder.text  # type: ignore[attr-defined]
    monkeypatch.setattr(text, "unknown", lambda sentence: ["asdf"] if "asdf" in sentence else [], raising=False)
    answer = client.post("/api/search", json={"queries": ["a circle", "asdf"]}).json()["results"]
    assert [one.get("unknown") for one in answer] == [None, ["asdf"]]


def test_filters(client: httpx.Client) -> None:
    everything = client.get("/api/search", params={"q": "x", "k": 100}).json()["hits"]
    assert len(everything) == 10
    avi = client.get("/api/search", params={"q": "x", "where": "*.avi"}).json()["hits"]
    assert [hit["name"] for hit in avi] == ["old camera.avi"]
    long = client.get("/api/search", params={"q": "x", "k": 100, "min_length": 24}).json()["hits"]
    assert {hit["id"] for hit in long} == {hit["id"] for hit in everything if hit["length"] >= 24}
    assert 0 < len(long) < 10
    assert client.get("/api/search", params={"q": "x", "where": "nothing"}).json() | {"seconds": 0} == {
        "query": "x",
        "hits": [],
        "seconds": 0,
        "word": None,
        "films": 10,
    }


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"q": ""},
        {"q": "   \n "},
        {"q": "\x00"},
        {"q": "x" * 10_001},
        {"q": "x", "k": 0},
        {"q": "x", "k": 101},
        {"q": "x", "k": "1e3"},
        {"q": "x", "moments": 11},
        {"q": "x", "min_length": "nan"},
        {"q": "x", "min_length": "inf"},
        {"q": "x", "min_length": -1},
        {"q": "x", "where": "*" * 1_001},
        {"q": "x", "strips": "perhaps"},
    ],
)
def test_bad_parameters_are_named(client: httpx.Client, parameters: dict[str, object]) -> None:
    answer = client.get("/api/search", params=parameters)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["title"]) == (422, "Unprocessable Entity")
    assert any(
        name in problem["detail"] for name in ("q:", "k:", "moments", "min_length", "where", "strips", "sentence")
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"[]",
        b'{"queries": []}',
        b'{"queries": ["\\ud800"]}',
        b'{"queries": ["x"], "more": 1}',
        b'{"queries": ["a", "b", "c", "d", "e", "f", "g"], "k": 100, "moments": 10}',
        b'{"queries": ["x"], "k": 1e400}',
        b'{"queries": ["x"], "k": NaN}',
        b'{"queries": "x"}',
        b'{"\\ud800": 1}',
        b"\xff\xfe",
        b"[" * 100_000,
        ('{"queries": [' + ",".join(['"x"'] * 65) + "]}").encode(),
    ],
)
def test_bad_bodies_are_refused(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/api/search", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["status"] == answer.status_code


def test_a_long_sentence_of_wide_letters_is_answered(server_url: str) -> None:
    sentence = b"%F0%9F%98%80" * 10_000
    head = b"GET /api/search?k=1&q=" + sentence + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert raw(server_url, head).startswith(b"HTTP/1.1 200 ")


ODD = [
    "\u202eright to left\u202c",
    "a\u0300" * 50,
    "\N{ZERO WIDTH SPACE}",
    "\ufeff",
    "\ufffe\uffff",
    "Z̸̡a̷l̵g̶o̵",
    "' OR 1=1 --",
    "<script>alert(1)</script>",
    "{{7*7}}",
    "../../etc/passwd",
    "%00",
    "%s%s%n",
    "\U0010ffff",
    "ﷺ" * 100,
    "\t\r\n\v\f",
    "٣٤",
    "🏳️‍🌈",
    "null",
    "*?[a-",
]


@pytest.mark.parametrize("sentence", ODD)
def test_odd_sentences(client: httpx.Client, sentence: str) -> None:
    answer = client.get("/api/search", params={"q": sentence, "where": sentence, "k": 1})
    assert answer.status_code in (200, 422)
    if answer.status_code == 200:
        assert answer.json()["query"] == sentence


@pytest.fixture(scope="module")
def odd_client(server_url: str) -> Iterator[httpx.Client]:
    with patient.Client(base_url=server_url) as opened:
        yield opened


@settings(max_examples=20)
@given(st.lists(st.text(min_size=1, max_size=60), min_size=50, max_size=50), st.text(max_size=40))
def test_a_thousand_odd_sentences(odd_client: httpx.Client, sentences: list[str], where: str) -> None:
    readable = [one for one in sentences if any(letter.isprintable() and letter != " " for letter in one)]
    body = {"queries": readable, "k": 1, "where": where or None}
    if readable:
        assert odd_client.post("/api/search", json=body).status_code == 200
    for sentence in set(sentences) - set(readable):
        assert odd_client.get("/api/search", params={"q": sentence}).status_code == 422


@pytest.mark.parametrize(
    "query", ["q=%ff%fe", "q=%ED%A0%80", "q=a&q=b", "q=a&k=1&k=2", "q=a%00b", "q=+%20a", "q=x&where=%ff"]
)
def test_odd_bytes_in_the_address(client: httpx.Client, query: str) -> None:
    assert client.get(f"/api/search?{query}").status_code in (200, 422)


def test_scores_along_a_film(client: httpx.Client, library: Library) -> None:
    film = library.store.films()[2]
    answer = client.get(f"/api/films/{film.id}/clips", params={"q": "a red circle"}).json()
    hits = library.search_film(library.embed(["a red circle"])[0], film.id)
    line = hits[0].curve
    assert (answer["id"], answer["query"]) == (film.id, "a red circle")
    np.testing.assert_allclose(answer["edges"], line.edges, atol=1e-3)
    np.testing.assert_allclose(answer["scores"], line.scores, atol=1e-6)
    told = [(round(hit.start, 3), round(hit.end, 3), round(hit.score, 6)) for hit in hits]
    assert [(one["start"], one["end"], one["score"]) for one in answer["moments"]] == told
    assert {one["word"] for one in answer["moments"]} == {hit.word for hit in hits}
    alone = client.get(f"/api/films/{film.id}/clips", params={"q": "a red circle", "moments": 1}).json()
    assert alone["moments"] == answer["moments"][:1]
    assert client.get("/api/films/999/clips", params={"q": "a"}).status_code == 404
    assert client.get(f"/api/films/{film.id}/clips", params={"q": " "}).status_code == 422


def test_films_come_page_by_page_and_each_but_once(client: httpx.Client) -> None:
    asked = {"q": "a red circle", "moments": 5}
    whole = client.get("/api/search", params={**asked, "k": 100}).json()["hits"]
    paged = [
        hit
        for skip in (0, 4, 8, 12)
        for hit in client.get("/api/search", params={**asked, "k": 4, "skip": skip}).json()["hits"]
    ]
    assert [(hit["id"], hit["start"]) for hit in paged] == [(hit["id"], hit["start"]) for hit in whole]
    assert len({hit["id"] for hit in whole}) > 8
    assert client.get("/api/search", params={**asked, "skip": 9_901}).status_code == 422


def test_a_film_s_strip_is_sent_once(client: httpx.Client) -> None:
    hits = client.get("/api/search", params={"q": "a red circle", "moments": 5}).json()["hits"]
    several = [one["id"] for one, other in itertools.pairwise(hits) if one["id"] == other["id"]]
    assert several
    first = {hit["id"]: place for place, hit in reversed(list(enumerate(hits)))}
    assert [hit["strip"] is not None for hit in hits] == [first[hit["id"]] == n for n, hit in enumerate(hits)]


def test_a_strip_holds_the_best_of_what_it_joins() -> None:
    line = ScoreCurve(np.arange(8.0), np.array([0.1, 0.5, -0.2, 0.3, 0.0, 0.9, 0.2], dtype=np.float32))
    assert strip_of(line, 3).model_dump() == {"edges": [0.0, 2.0, 4.0, 7.0], "scores": [0.5, 0.3, 0.9]}
    assert strip_of(line, 7).model_dump()["edges"] == list(range(8))
    drawn = np.random.default_rng(2).normal(size=5_000)
    strip = strip_of(ScoreCurve(np.arange(5_001.0), drawn))
    assert len(strip.scores) == 240
    assert max(strip.scores) == round(drawn.max(), 4)


def test_a_library_that_grows_is_seen(server_url: str, tmp_path: Path, library: Library) -> None:
    encoders = choose_encoders(library.folder / "model")
    with Library.create(tmp_path / "grows", encoders) as ours, served(ours, ServeConfig(port=0)) as url:
        assert patient.get(f"{url}/api/search?q=a").json()["hits"] == []
        with Library.open(tmp_path / "grows", encoders) as other:
            other.add_film("somewhere/door.mp4", np.ones((20, ours.settings.feature_dim), dtype=np.float32))
        (hit,) = patient.get(f"{url}/api/search?q=a").json()["hits"]
        assert (hit["film"], hit["available"], hit["playable"]) == ("somewhere/door.mp4", False, False)
        assert patient.get(f"{url}/media/{hit['id']}").status_code == 410


def test_the_loop_is_not_blocked_by_a_search(
    server_url: str, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, go_on = threading.Event(), threading.Event()
    search = library.search_vectors

    def slow(*arguments: object, **options: object) -> object:
        inside.set()
        assert go_on.wait(120)
        return search(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(library, "search_vectors", slow)
    asking = threading.Thread(target=lambda: patient.get(f"{server_url}/api/search?q=slow"))
    asking.start()
    assert inside.wait(60)
    assert patient.get(f"{server_url}/healthz").json() == {"status": "ok"}
    assert patient.get(f"{server_url}/api/films").status_code == 200
    go_on.set()
    asking.join()
