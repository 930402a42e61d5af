"""Queries that arrive together are embedded and searched together: while one batch is at work, the next gathers."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np

from gmmformer.errors import InputError
from gmmformer.search import Hit, Library
from gmmformer.web.problems import LOG, ProblemError, busy
from gmmformer.web.schemas import MOST_QUERIES

TOGETHER, THREADS = MOST_QUERIES, 1
"""Sentences of a batch, and batches at work at a time: with 1 and several each query is answered by itself."""
WAITING = 1_024
"""Sentences that may wait; more are answered 503."""
T = TypeVar("T")


class SearchOptions(NamedTuple):
    """Queries of the same options are searched for in one pass."""

    k: int
    skip: int = 0
    moments: int = 1
    where: str | None = None
    min_length: float | None = None
    fold: bool = False
    within: tuple[str, ...] | None = None


class Answer(NamedTuple):
    """A sentence's vector, and its hits if they were asked for."""

    vector: np.ndarray
    hits: list[Hit] | None


@dataclass(eq=False)
class _Waiting:
    sentence: str
    options: SearchOptions | None
    answer: "asyncio.Future[Answer]"


class Batcher:
    """Answers queries on threads of its own, not the event loop's; nothing waits for company when nothing is done."""

    def __init__(self, library: Library, on_batch: Callable[[int], None] = lambda size: None) -> None:
        """Use within a running event loop, after `start`; `on_batch` is told how many sentences each batch has."""
        self._library, self._on_batch = library, on_batch
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="search")
        self._workers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to answer."""
        self._workers = [asyncio.create_task(self._work()) for _ in range(THREADS)]

    async def stop(self) -> None:
        """Stop answering; who still waits is told that the server is busy."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        while not self._queue.empty():
            _settle(self._queue.get_nowait(), busy(503))
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def ask(self, sentences: Sequence[str], options: SearchOptions | None) -> list[Answer]:
        """An answer for each sentence; without options only its vector.

        Raises:
            ProblemError: Too many wait, or the library cannot be searched (503).
        """
        if self._queue.qsize() + len(sentences) > WAITING:
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

    async def do(self, work: Callable[[], T]) -> T:
        """Something else that searches, between two batches.

        Raises:
            ProblemError: The library cannot be searched (503).
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except Exception as error:
            raise _told(error) from None

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._queue.get()]
            while len(batch) < TOGETHER and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            batch = [one for one in batch if not one.answer.done()]
            if not batch:
                continue
            asked = [(one.sentence, one.options) for one in batch]
            self._on_batch(len(asked))
            answers: Sequence[Answer | ProblemError] = [busy(503)] * len(batch)
            try:
                answers = await loop.run_in_executor(self._threads, self._answers, asked)
            finally:
                for one, answer in zip(batch, answers, strict=True):
                    _settle(one, answer)

    def _answers(self, asked: Sequence[tuple[str, SearchOptions | None]]) -> list[Answer | ProblemError]:
        """An answer, or what went wrong, for each of a batch."""
        vectors = self._vectors(list(dict.fromkeys(sentence for sentence, _ in asked)))
        alike: dict[SearchOptions, dict[str, np.ndarray]] = defaultdict(dict)
        for sentence, options in asked:
            vector = vectors[sentence]
            if options is not None and isinstance(vector, np.ndarray):
                alike[options][sentence] = vector
        hits: dict[tuple[str, SearchOptions], list[Hit] | ProblemError] = {}
        trouble: InputError | None = None
        for options, chosen in alike.items():
            some: Sequence[list[Hit] | ProblemError]
            try:
                if trouble is not None:  # such as a server that does not answer: who else asks need not wait for it
                    raise trouble
                some = self._library.search_vectors(
                    np.stack(list(chosen.values())), sentences=list(chosen), **options._asdict()
                )
            except Exception as error:
                trouble = error if isinstance(error, InputError) else None
                some = [_told(error)] * len(chosen)
            hits.update(zip(((sentence, options) for sentence in chosen), some, strict=True))
        return [_answer(vectors[one[0]], None if one[1] is None else hits.get((one[0], one[1]))) for one in asked]

    def _vectors(self, sentences: list[str]) -> dict[str, np.ndarray | ProblemError]:
        """The vector of each sentence; one that has none does not spoil the others."""
        try:
            return dict(zip(sentences, self._library.embed(sentences), strict=True))
        except Exception as error:
            if len(sentences) == 1:
                return {sentences[0]: _told(error)}
        return {sentence: self._vectors([sentence])[sentence] for sentence in sentences}


def _answer(vector: np.ndarray | ProblemError, hits: list[Hit] | ProblemError | None) -> Answer | ProblemError:
    if isinstance(vector, ProblemError):
        return vector
    return hits if isinstance(hits, ProblemError) else Answer(vector, hits)


def _settle(waiting: _Waiting, answer: Answer | ProblemError) -> None:
    if waiting.answer.done():
        return
    if isinstance(answer, ProblemError):
        waiting.answer.set_exception(answer)
    else:
        waiting.answer.set_result(answer)


def _told(error: Exception) -> ProblemError:
    if isinstance(error, InputError):
        LOG.warning("a search failed: %s", error)
        return ProblemError(503, "The library cannot be searched just now; the server's log says why.")
    LOG.error("a search failed", exc_info=error)
    return ProblemError(500)
