"""What every engine does: the best films of a snapshot for some queries."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from gmmformer.model.pooling import concatenated_ranges
from gmmformer.search.snapshot import Snapshot

Item = TypeVar("Item")
Result = TypeVar("Result")

_LEAST_PIECE, _PIECE_BYTES = 64, 2**23
_MOST_QUERIES, _SCORE_BYTES = 64, 2**28
_LAST_DIGITS = 1e-5


class Found(NamedTuple):
    """The best films for one query, best first; fewer than asked for only where there are no more."""

    films: Int[np.ndarray, "found"]
    """Indices into the snapshot's films."""
    scores: Float[np.ndarray, "found"]
    """Exact: of the vectors as they are stored, in float32, whatever the engine."""


class Engine(Protocol):
    """Finds films; may be shared by threads."""

    @property
    def name(self) -> str:
        """What a person calls it."""
        ...

    def search(
        self,
        snapshot: Snapshot,
        queries: Float[np.ndarray, "queries dim"],
        k: int,
        allowed: Bool[np.ndarray, "films"] | None = None,
    ) -> list[Found]:
        """The k best films for each query; films of one score in the order in which they came.

        Args:
            snapshot: The library, as the search is to see it.
            queries: Unit vectors.
            k: At least 1.
            allowed: Which films may be found; all without it.
        """
        ...


def best_films(
    snapshot: Snapshot, queries: Float[np.ndarray, "queries dim"], slots: Int[np.ndarray, "slots"], k: int
) -> list[Found]:
    """For each query the k best of the films that some slots, which are in order, belong to; the cores share the work.

    Queries that share a pass have their scores summed in another order, so what may be best is then scored again, query
    by query: whatever the engine, and however many ask at once, the answer is the same to the last digit.
    """
    if not len(slots):
        return [Found(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))] * len(queries)
    starts = snapshot.films_among(slots)
    films, counts = snapshot.film_of[slots[starts]].astype(np.int64), np.diff(starts, append=len(slots))
    found: list[Found] = []
    step = max(1, min(_MOST_QUERIES, _SCORE_BYTES // (4 * len(slots))))
    for first in range(0, len(queries), step):
        some = np.ascontiguousarray(queries[first : first + step], dtype=np.float32)
        scores = np.maximum.reduceat(best_scores(snapshot, some, slots), starts, axis=1)
        for query, row in zip(some, scores, strict=True):
            if len(some) > 1:
                good = np.flatnonzero(row >= least_of(k, row) - _LAST_DIGITS)
                found += best_films(snapshot, query[None], slots[concatenated_ranges(starts[good], counts[good])], k)
            else:
                good = np.flatnonzero(row >= least_of(k, row))
                order = good[np.argsort(-row[good], kind="stable")[:k]]  # of films that are alike the first
                found.append(Found(films[order], row[order]))
    return found


def best_scores(
    snapshot: Snapshot,
    queries: Float[np.ndarray, "queries dim"],
    slots: Int[np.ndarray, "slots"],
    firsts: Int[np.ndarray, "slots"] | None = None,
) -> Float[np.ndarray, "queries slots"]:
    """As `Snapshot.best_scores`, on all cores."""
    threads = torch.get_num_threads()
    piece = max(_LEAST_PIECE, min(_PIECE_BYTES // snapshot.format.vector_bytes, -(-len(slots) // (2 * threads))))

    def score(first: int) -> Float[np.ndarray, "queries some"]:
        piece_of_firsts = None if firsts is None else firsts[first : first + piece]
        return snapshot.best_scores(queries, slots[first : first + piece], piece_of_firsts)

    return np.concatenate(shared_out(score, range(0, len(slots), piece)), axis=1)


def least_of(k: int, scores: Float[np.ndarray, "films"]) -> float:
    """The k-th best score, or the worst where there are not so many."""
    last = len(scores) - min(k, len(scores))
    return float(np.partition(scores, last)[last])


def shared_out(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """What some work makes of each item, on all cores.

    The calling thread begins at once and does not wait for a helper that has not begun when nothing is left to do.
    """
    done: dict[int, Result] = {}
    left = iter(range(len(items)))

    def help_out() -> None:
        for index in left:
            done[index] = work(items[index])

    helpers = min(torch.get_num_threads(), len(items)) - 1
    asked = [_pool(helpers).submit(help_out) for _ in range(helpers)]
    help_out()
    for helper in asked:
        if not helper.cancel():
            helper.result()
    return [done[index] for index in range(len(items))]


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="gmmformer-search")
