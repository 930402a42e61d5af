"""What every engine does: the best films of a snapshot for some queries."""

from typing import NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from gmmformer.search.snapshot import Snapshot

_FEW, _PIECE = 16, 4_096


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
    films, scores = _best_of_films(snapshot, slots, snapshot.clip_scores(query, slots).max(axis=1))
    order = np.lexsort((films, -scores))[:k]
    return Found(films[order], scores[order])


def _narrowed(
    snapshot: Snapshot, query: Float[np.ndarray, "dim"], slots: Int[np.ndarray, "slots"], k: int
) -> Int[np.ndarray, "some"]:
    vector = torch.from_numpy(query)[None]
    pieces = [
        snapshot.format.products(vector, snapshot.records(slots[first : first + _PIECE])).amax(-1)[0]
        for first in range(0, len(slots), _PIECE)
    ]
    rough = torch.cat(pieces).numpy()
    _, scores = _best_of_films(snapshot, slots, rough)
    if len(scores) <= k:
        return slots
    least = np.partition(scores, len(scores) - k)[len(scores) - k] - 2 * float(snapshot.format.margin(vector)[0])
    return np.asarray(slots[rough >= least])


def _best_of_films(
    snapshot: Snapshot, slots: Int[np.ndarray, "slots"], scores: Float[np.ndarray, "slots"]
) -> tuple[Int[np.ndarray, "films"], Float[np.ndarray, "films"]]:
    film = snapshot.film_of[slots]
    starts = np.flatnonzero(np.diff(film, prepend=-1))
    return film[starts].astype(np.int64), np.maximum.reduceat(scores, starts)
