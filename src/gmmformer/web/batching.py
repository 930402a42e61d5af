"""Queries that arrive together are embedded and searched together: while one batch is at work, the next gathers."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float

from gmmformer.errors import InputError
from gmmformer.search.hits import Hit
from gmmformer.web.problems import ProblemError, busy

LOG = logging.getLogger("gmmformer.web")


class Searched(Protocol):
    """What a batcher needs of a library."""

    def embed(self, sentences: Sequence[str]) -> Float[np.ndarray, "queries dim"]:
        """A unit vector for each sentence."""
        ...

    def search_vectors(
        self,
        queries: Float[np.ndarray, "queries dim"],
        k: int,
        *,
        moments: int,
        where: str | None,
        min_length: float | None,
    ) -> list[list[Hit]]:
        """The best films' moments for each vector."""
        ...


class SearchOptions(NamedTuple):
    """Queries of the same options are searched for in one pass."""

    k: int
    moments: int = 1
    where: str | None = None
    min_length: float | None = None


class Answer(NamedTuple):
    """A sentence's vector, and its hits if they were asked for."""

    vector: Float[np.ndarray, "dim"]
    hits: list[Hit] | None


@dataclass(eq=False)
class _Waiting:
    sentence: str
    options: SearchOptions | None
    answer: "asyncio.Future[Answer]"


class Batcher:
    """Answers queries on threads of its own, never on the event loop's; nothing waits for company when nothing is done.

    With `most` 1 and several threads it is the ordinary server that answers each query by itself.
    """

    def __init__(
        self,
        library: Searched,
        *,
        most: int = 64,
        threads: int = 1,
        waiting: int = 1_024,
        on_batch: Callable[[int], None] = lambda size: None,
    ) -> None:
        """Use within a running event loop, after `start`; `on_batch` is told how many sentences each batch has."""
        self._library, self._most, self._room, self._on_batch = library, most, waiting, on_batch
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="search")
        self._count = threads
        self._workers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to answer."""
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._count)]

    async def stop(self) -> None:
        """Stop answering; who still waits is told that the server is busy."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        while not self._queue.empty():
            waiting = self._queue.get_nowait()
            if not waiting.answer.done():
                waiting.answer.set_exception(busy(503))
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def ask(self, sentences: Sequence[str], options: SearchOptions | None) -> list[Answer]:
        """An answer for each sentence; without options only its vector.

        Raises:
            ProblemError: A sentence is empty (422), too many wait (503), or the library cannot be searched (503).
        """
        if self._queue.qsize() + len(sentences) > self._room:
            raise busy(503)
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(sentence, options, loop.create_future()) for sentence in sentences]
        for one in waiting:
            self._queue.put_nowait(one)
        try:
            return list(await asyncio.gather(*(one.answer for one in waiting)))
        finally:
            for one in waiting:
                one.answer.cancel()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._queue.get()]
            while len(batch) < self._most and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            batch = [one for one in batch if not one.answer.done()]
            if not batch:
                continue
            asked = [(one.sentence, one.options) for one in batch]
            self._on_batch(len(asked))
            try:
                answers: Sequence[Answer | Exception] = await loop.run_in_executor(self._threads, self._answers, asked)
            except asyncio.CancelledError:
                for one in batch:
                    if not one.answer.done():
                        one.answer.set_exception(busy(503))
                raise
            for one, answer in zip(batch, answers, strict=True):
                if one.answer.done():
                    continue
                if isinstance(answer, Exception):
                    one.answer.set_exception(answer)
                else:
                    one.answer.set_result(answer)

    def _answers(self, asked: Sequence[tuple[str, SearchOptions | None]]) -> Sequence[Answer | Exception]:
        """Answers, or what went wrong, for a batch; one that cannot be answered does not spoil the others."""
        try:
            return self._together(asked)
        except Exception as error:
            if len(asked) > 1:
                return [self._answers([one])[0] for one in asked]
            return [_told(error)]

    def _together(self, asked: Sequence[tuple[str, SearchOptions | None]]) -> list[Answer]:
        places = {sentence: place for place, sentence in enumerate(dict.fromkeys(sentence for sentence, _ in asked))}
        vectors = self._library.embed(list(places))
        alike: dict[SearchOptions, list[str]] = defaultdict(list)
        for sentence, options in dict.fromkeys(asked):
            if options is not None:
                alike[options].append(sentence)
        hits: dict[tuple[str, SearchOptions], list[Hit]] = {}
        for options, sentences in alike.items():
            chosen = vectors[[places[sentence] for sentence in sentences]]
            found = self._library.search_vectors(
                chosen, options.k, moments=options.moments, where=options.where, min_length=options.min_length
            )
            hits.update({(sentence, options): some for sentence, some in zip(sentences, found, strict=True)})
        return [
            Answer(vectors[places[sentence]], None if options is None else hits[sentence, options])
            for sentence, options in asked
        ]


def _told(error: Exception) -> ProblemError:
    if isinstance(error, InputError):
        LOG.warning("a search failed: %s", error)
        return ProblemError(503, "The library cannot be searched just now; the server's log says why.")
    LOG.error("a search failed", exc_info=error)
    return ProblemError(500)
