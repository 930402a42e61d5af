"""Queries that arrive together: one pass for all, and the answers that each would get alone."""

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from gmmformer.errors import InputError
from gmmformer.search import Library
from gmmformer.web import batching
from gmmformer.web.batching import Batcher, SearchOptions
from gmmformer.web.problems import ProblemError


class Counting:
    """A library that counts what it is asked and takes its time."""

    def __init__(self, library: Library, seconds: float = 0.02) -> None:
        self.library, self.seconds = library, seconds
        self.embedded: list[list[str]] = []
        self.searched: list[int] = []

    def embed(self, sentences: Sequence[str]) -> Any:
        self.embedded.append(list(sentences))
        time.sleep(self.seconds)
        if "broken" in sentences:
            raise InputError("this one cannot be embedded")
        return self.library.embed(sentences)

    def search_vectors(self, queries: np.ndarray, k: int, **options: Any) -> Any:
        self.searched.append(len(queries))
        return self.library.search_vectors(queries, k, **options)


class Held(Counting):
    """One that says when it is at work, and then waits until it may go on."""

    def __init__(self, library: Library) -> None:
        super().__init__(library, 0)
        self.began, self.go_on = threading.Event(), threading.Event()

    def embed(self, sentences: Sequence[str]) -> Any:
        self.began.set()
        assert self.go_on.wait(60)
        return super().embed(sentences)


async def ask_all(counting: Counting, asked: Sequence[tuple[str, SearchOptions | None]]) -> list[Any]:
    batcher = Batcher(counting)
    batcher.start()
    try:
        return await asyncio.gather(
            *(batcher.ask([sentence], options) for sentence, options in asked), return_exceptions=True
        )
    finally:
        await batcher.stop()


def test_queries_that_wait_are_answered_together_and_as_if_alone(library: Library) -> None:
    counting = Counting(library)
    options = [SearchOptions(3), SearchOptions(2, moments=2), SearchOptions(3, where="*shapes*")]
    asked = [(f"sentence {number % 40}", options[number % 3]) for number in range(100)]
    answers = asyncio.run(ask_all(counting, asked))
    assert len(counting.embedded) <= 3
    assert max(map(len, counting.embedded)) == 40
    assert sum(counting.searched) <= 100
    assert len(counting.searched) <= 9
    for (sentence, chosen), (answer,) in zip(asked, answers, strict=True):
        vector = library.embed([sentence])
        np.testing.assert_allclose(answer.vector, vector[0], atol=1e-6)
        hits = library.search_vectors(vector, chosen.k, moments=chosen.moments, where=chosen.where)[0]
        assert [(hit.film.id, hit.start, hit.end) for hit in answer.hits] == [
            (hit.film.id, hit.start, hit.end) for hit in hits
        ]
        np.testing.assert_allclose([hit.score for hit in answer.hits], [hit.score for hit in hits], atol=1e-6)


def test_without_batching_each_is_answered_by_itself(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "TOGETHER", 1)
    monkeypatch.setattr(batching, "THREADS", 2)
    counting = Counting(library, 0)
    asyncio.run(ask_all(counting, [(f"s {number}", SearchOptions(1)) for number in range(10)]))
    assert counting.searched == [1] * 10


def test_one_that_cannot_be_answered_spoils_no_other(library: Library) -> None:
    counting = Counting(library)
    asked = [("a", SearchOptions(1)), ("broken", SearchOptions(1)), ("b", None)]
    first, second, third = asyncio.run(ask_all(counting, asked))
    assert len(first[0].hits) == 1
    assert isinstance(second, ProblemError)
    assert second.status == 503
    assert third[0].hits is None


def test_a_library_that_cannot_be_searched_is_asked_once_for_all_that_wait(library: Library) -> None:
    class Away(Counting):
        def search_vectors(self, queries: np.ndarray, k: int, **options: Any) -> Any:
            self.searched.append(len(queries))
            raise InputError("the server does not answer")

    away = Away(library)
    answers = asyncio.run(ask_all(away, [(f"s {number}", SearchOptions(1 + number % 3)) for number in range(9)]))
    assert {one.status for one in answers} == {503}
    assert len(away.searched) == len(away.embedded)  # once for each batch, whatever the options


def test_more_than_may_wait_are_turned_away(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "WAITING", 8)
    answers = asyncio.run(ask_all(Counting(library), [("a", None)] * 20))
    refused = [one for one in answers if isinstance(one, ProblemError)]
    assert {(one.status, one.headers["retry-after"]) for one in refused} == {(503, "1")}
    assert len(refused) == 12


def test_stopping_answers_everybody(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "TOGETHER", 1)

    async def stop_in_the_middle() -> list[Any]:
        counting = Held(library)
        batcher = Batcher(counting)
        batcher.start()
        asking = [asyncio.create_task(batcher.ask([f"s {number}"], None)) for number in range(5)]
        await asyncio.to_thread(counting.began.wait)
        asyncio.get_running_loop().call_soon(counting.go_on.set)  # once `stop` waits for what is under way
        await batcher.stop()
        return await asyncio.gather(*asking, return_exceptions=True)

    answers = asyncio.run(stop_in_the_middle())
    assert [getattr(one, "status", None) for one in answers] == [503] * 5


def test_who_has_gone_is_not_searched_for(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "TOGETHER", 1)

    async def leave() -> Counting:
        counting = Held(library)
        batcher = Batcher(counting)
        batcher.start()
        asking = [asyncio.create_task(batcher.ask([f"s {number}"], None)) for number in range(5)]
        await asyncio.to_thread(counting.began.wait)
        for one in asking[1:]:
            one.cancel()
        await asyncio.gather(*asking[1:], return_exceptions=True)
        last = asyncio.create_task(batcher.ask(["the last"], None))
        counting.go_on.set()
        await asyncio.gather(asking[0], last)
        await batcher.stop()
        return counting

    assert asyncio.run(leave()).embedded == [["s 0"], ["the last"]]


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_end(library: Library, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "THREADS", threads)
    before = set(threading.enumerate())
    asyncio.run(ask_all(Counting(library, 0), [("a", None)]))
    assert set(threading.enumerate()) <= before
