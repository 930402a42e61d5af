"""What every engine does: the best films of a snapshot for some queries."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from gmmformer.search.snapshot import Snapshot

_FEW, _PIECE = 16, 256


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


def exact_scores(snapshot: Snapshot, query: Float[np.ndarray, "dim"], slots: Int[np.ndarray, "slots"], k: int) -> Found:
    """The k best of the films that some slots belong to, by the exact score of these slots, which are in order.

    Where they are many they are scored roughly first, which tells those that cannot matter.
    """
    if not len(slots):
        return Found(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
    if len(slots) > _FEW + 2 * k:
        slots = _narrowed(snapshot, query, slots, k)
    with one_thread():
        scores = snapshot.clip_scores(query, slots).max(axis=1)
    films, scores = _best_of_films(snapshot, slots, scores)
    order = np.lexsort((films, -scores))[:k]
    return Found(films[order], scores[order])


def _narrowed(
    snapshot: Snapshot, query: Float[np.ndarray, "dim"], slots: Int[np.ndarray, "slots"], k: int
) -> Int[np.ndarray, "some"]:
    """Those of some slots, which are in order, that the k best of their films may owe their scores to."""
    vector = torch.from_numpy(query)[None]

    def rough(first: int) -> tuple[Float[np.ndarray, "some"], float]:
        with one_thread():
            scores, margin = snapshot.format.estimates(vector, snapshot.records(slots[first : first + _PIECE]))
            return scores[0].amax(-1).numpy(), float(margin[0])

    pieces = list(pool(torch.get_num_threads()).map(rough, range(0, len(slots), _PIECE)))
    scores, margin = np.concatenate([some for some, _ in pieces]), max(margin for _, margin in pieces)
    _, best = _best_of_films(snapshot, slots, scores)
    last = len(best) - min(k, len(best))
    return np.asarray(slots[scores >= np.partition(best, last)[last] - 2 * margin])


def _best_of_films(
    snapshot: Snapshot, slots: Int[np.ndarray, "slots"], scores: Float[np.ndarray, "slots"]
) -> tuple[Int[np.ndarray, "films"], Float[np.ndarray, "films"]]:
    film = snapshot.film_of[slots]
    starts = np.flatnonzero(np.diff(film, prepend=-1))
    return film[starts].astype(np.int64), np.maximum.reduceat(scores, starts)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch takes no other thread to help this one: for work so small that waiting for help takes longer.

    It matters most where other programs run: then a helper may wait for its turn on a core while all wait for it.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@cache
def pool(threads: int) -> ThreadPoolExecutor:
    """Threads that share the work on one query."""
    return ThreadPoolExecutor(threads, thread_name_prefix="gmmformer-search")
