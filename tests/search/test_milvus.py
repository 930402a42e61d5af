"""Libraries on a real Milvus server, which hangs, dies and comes back."""

import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests_search_helpers import Plain, clustered, compacted, index_split, put, ranked, rebuild, unit_queries, update

import milvus_servers
from gmmformer.data import Collection
from gmmformer.errors import InputError
from gmmformer.search import Library, ModelEmbedder, NewFilm, verify
from gmmformer.search.engines import exact as finding
from gmmformer.search.engines import milvus
from gmmformer.search.windows import Window, timing
from milvus_servers import Server

pytest.importorskip("pymilvus")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with milvus_servers.milvus(tmp_path_factory.mktemp("milvus")) as started:
        yield started


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small libraries are put to the server too."""
    monkeypatch.setattr(finding, "FEW", 0)


@pytest.fixture(scope="module")
def filled(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """Films of one window and of several, on the server."""
    plain = Plain()
    with Library.create(
        tmp_path_factory.mktemp("filled") / "library", plain, store="float32", engine=server.address
    ) as made:
        put(made, [*clustered(300, plain), *(long_film(f"long-{windows}", windows, plain) for windows in range(2, 30))])
        update(made)
        yield made


def covers(library: Library) -> int:
    return library.store.served(library.engine.name).covers


def agreement(library: Library, queries: np.ndarray | None = None) -> float:
    """The share of the ten best films that are found, whose scores and order must be those of the exact engine."""
    queries = unit_queries(20) if queries is None else queries
    with Library.open(library.folder, engine="exact") as exact:
        everything = [dict(zip(*ranked, strict=True)) for ranked in ranked(exact, queries, 10_000)]
    shared = 0.0
    for (found, scores), wanted in zip(ranked(library, queries, 10), everything, strict=True):
        assert len(set(found)) == min(10, len(wanted))
        assert scores == [wanted[film] for film in found]
        assert found == sorted(found, key=list(wanted).index)
        shared += len(set(found) & set(list(wanted)[:10])) / len(found)
    return shared / len(queries)


def long_film(name: str, windows: int, plain: Plain) -> NewFilm:
    """A film of several windows, each like one of another film."""
    some = clustered(windows, plain, seed=1000 + windows)
    return replace(
        some[0],
        path=name,
        windows=[Window(8 * index, 8) for index in range(windows)],
        vectors=torch.cat([one.vectors for one in some]),
        rows=8 * windows,
        timing=timing(8 * windows, None, None, name),
    )


def test_what_the_server_names_is_found(filled: Library, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the server was not asked")

    assert covers(filled) == filled.store.snapshot().windows[-1]
    monkeypatch.setattr(milvus, "search_all", never)
    monkeypatch.setattr(finding, "search_all", never)
    filled.search_vectors(unit_queries(3), 10)
    monkeypatch.undo()
    monkeypatch.setattr(finding, "FEW", 0)
    assert agreement(filled) >= 0.99
    assert agreement(filled, unit_queries(300)) >= 0.99
    only = {hit.film.path for hits in filled.search_vectors(unit_queries(3), where="long-1[12]") for hit in hits}
    assert only == {"long-11", "long-12"}
    assert filled.info().engine == server.address


def test_new_removed_and_replaced_films(filled: Library, plain: Plain) -> None:
    queries = unit_queries(10)
    put(filled, clustered(30, plain, seed=7))
    assert covers(filled) < filled.store.snapshot().windows[-1]
    assert agreement(filled) >= 0.99  # the new ones are not on the server yet
    update(filled)
    assert covers(filled) == filled.store.snapshot().windows[-1]
    assert agreement(filled) >= 0.99

    gone = {hits[0].film.path for hits in filled.search_vectors(queries, 1)}
    filled.remove(sorted(gone))
    changed = filled.search_vectors(queries[:1], 1)[0][0].film.path
    put(filled, [replace(clustered(1, plain, seed=8)[0], path=changed)])
    for _ in range(2):  # passed over while the server has them, and when it has them no more
        assert not gone & {hit.film.path for hits in filled.search_vectors(queries, 100) for hit in hits}
        assert agreement(filled) >= 0.99
        update(filled)
    held = int(
        filled.engine._look(
            "query",
            filled.engine._collection,
            filter="id >= 0",
            output_fields=["count(*)"],
            consistency_level="Strong",
        )[0]["count(*)"]
    )
    assert held == 4 * len(filled.store.snapshot().windows)
    assert compacted(filled).films == len(gone) + 1
    assert agreement(filled) >= 0.99


def test_several_search_while_one_writes(filled: Library, server: Server, plain: Plain) -> None:
    queries = unit_queries(4)
    before = [films for films, _ in ranked(filled, queries, 10)]

    def ask(number: int) -> list[list[str]]:
        with Library.open(filled.folder, engine=server.address) as own:
            searched = own if number % 2 else filled
            return [films for _ in range(5) for films, _ in ranked(searched, queries, 10)]

    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(ask, number) for number in range(6)]
        put(filled, clustered(20, plain, seed=9))
        update(filled)
    known = {film for films in before for film in films}
    for answer in answers:
        for index, films in enumerate(answer.result()):
            assert len(set(films)) == 10
            assert [film for film in films if film in known] == [film for film in before[index % 4] if film in films]
    assert agreement(filled) >= 0.99


def test_two_libraries_and_a_copy_of_one(
    filled: Library,
    server: Server,
    tiny_collection: Collection,
    tiny_model: ModelEmbedder,
    tmp_path: Path,
    plain: Plain,
) -> None:
    with Library.create(tmp_path / "other", tiny_model, engine=server.address) as other:
        assert index_split(other, tiny_collection, "train") == 24
        assert covers(other) == 24
        queries = unit_queries(10, tiny_model.dim)
        assert agreement(other, queries) >= 0.99
        shutil.copytree(tmp_path / "other", tmp_path / "copy")
        films = {film.path for film in other.store.films()}
        assert {hit.film.path for hits in other.search_vectors(queries, 24) for hit in hits} == films

        with Library.open(tmp_path / "copy", tiny_model, engine=server.address) as copy:
            assert agreement(copy, queries) >= 0.99
            index_split(other, tiny_collection, "test")
            copy.add_film("mine.mp4", np.ones((40, tiny_model.feature_dim), dtype=np.float32))
            with pytest.raises(InputError, match=rf"{server.address}: what the server holds .* rebuild --engine http"):
                update(copy)
            rebuild(copy)
            assert agreement(copy, queries) >= 0.99
        with Library.open(tmp_path / "other", tiny_model, engine=server.address) as again:
            with pytest.raises(InputError, match=r"what the server holds .* a copy of the library"):
                again.search_vectors(queries)
            engine = again.engine
            engine._look("drop_collection", engine._collection)
            with pytest.raises(InputError, match=r"what the server holds .*emptied"):
                again.search_vectors(queries)
            update(again)
            assert agreement(again, queries) >= 0.99
    assert agreement(filled) >= 0.99


def test_a_server_that_hangs_dies_and_comes_back(
    filled: Library, server: Server, plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milvus, "_ROWS", 80)
    monkeypatch.setattr(milvus, "_NOTED", 2)
    monkeypatch.setattr(milvus, "SEARCH_PATIENCE", 1.0)
    monkeypatch.setattr(milvus, "FILL_PATIENCE", 1.0)
    queries = unit_queries(1)
    away = rf"{server.address}: the Milvus server does not answer \([^\n]+\); "

    server.signal(signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(InputError, match=away + "start it, or search with --engine exact"):
        filled.search_vectors(queries)
    assert time.monotonic() - began < 12
    server.signal(signal.SIGCONT)

    monkeypatch.setattr(milvus, "FILL_PATIENCE", 30.0)
    put(filled, clustered(200, plain, seed=10))
    old, seen = covers(filled), []

    def progress(what: str, done: int, total: int) -> None:
        seen.append((done, total))
        if done == 100:
            monkeypatch.setattr(milvus, "FILL_PATIENCE", 1.0)
            server.kill()

    began = time.monotonic()
    with pytest.raises(InputError, match=away + "start it and run the same command again"):
        update(filled, progress)
    assert seen[-1] == (100, 200)
    assert covers(filled) == old + 80
    with pytest.raises(InputError, match=away + "start it, or search with --engine exact"):
        filled.search_vectors(queries)
    with (
        Library.open(filled.folder, engine=server.address) as stranger,
        pytest.raises(InputError, match=away + "start it, or"),
    ):
        stranger.search_vectors(queries)
    assert time.monotonic() - began < 20

    monkeypatch.setattr(milvus, "SEARCH_PATIENCE", 140.0)
    monkeypatch.setattr(milvus, "FILL_PATIENCE", 60.0)
    starting = threading.Thread(target=server.start)
    starting.start()
    assert agreement(filled) >= 0.99  # the same library, waiting for its server
    starting.join()
    rest: list[tuple[int, int]] = []
    update(filled, lambda what, done, total: rest.append((done, total)))
    assert rest[-1] == (120, 120)
    assert covers(filled) == filled.store.snapshot().windows[-1]
    assert agreement(filled) >= 0.99
    assert verify(filled.store) == []


def test_where_nothing_listens_it_says_so(tmp_path: Path, plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(milvus, "UNKNOWN_PATIENCE", 0.5)
    began = time.monotonic()
    with Library.create(tmp_path / "library", plain, engine="http://ada:secret@127.0.0.1:1/") as library:
        put(library, clustered(30, plain))
        with pytest.raises(InputError, match=r"^http://127.0.0.1:1: the Milvus server does not answer \(.*\); start"):
            rebuild(library)
        assert library.info().engine == "http://127.0.0.1:1"
        assert b"secret" not in (library.folder / "library.sqlite").read_bytes()
        assert len(library.search_vectors(unit_queries(1))[0]) == 10  # nothing is there yet, so nothing is asked
    assert time.monotonic() - began < 5
    for wrong in ("http://", "http://host:port", "https://:19530"):
        with pytest.raises(InputError, match="address of a Milvus"):
            Library.open(library.folder, engine=wrong)


def test_credentials_come_from_the_address_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GMMFORMER_MILVUS_TOKEN", "key")
    shown = milvus.MilvusServer("http://Example.org", "films")
    assert (shown.address, shown._token) == ("http://example.org:19530", "key")
    own = milvus.MilvusServer("https://ada:p%40ss@[::1]/films", "films")
    assert (own.address, own._token) == ("https://[::1]:443/films", "ada:p@ss")
