"""From an index that knows vectors only roughly to the k best films, exactly scored."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from gmmformer.search.engines.exact import ExactEngine
from gmmformer.search.engines.protocol import Found, best_films
from gmmformer.search.snapshot import Snapshot

FIRST = 256
"""Vectors asked for at least."""
PER_FILM, PER_FILM_OF = 128, 100_000
"""Vectors asked for at first, for each film wanted, in a library of so many windows; in a larger one films are nearer
to each other, and the list grows with the root of their number, which keeps the recall@10 at 0.99 for a million."""
FEW = 5_000
"""So few windows are looked at one by one rather than searched for."""
LONGEST = 65_536
"""No list is longer; where k films are not in it, every window is looked at."""

Nearest = Callable[[Float[np.ndarray, "queries dim"], int], Int[np.ndarray, "queries count"]]
"""The windows (ids) of the `count` nearest vectors to each query, in any order; -1 where there are no more."""


def search_candidates(
    nearest: Nearest,
    snapshot: Snapshot,
    queries: Float[np.ndarray, "queries dim"],
    k: int,
    allowed: Bool[np.ndarray, "films"] | None,
    covers: int,
    most: int,
) -> list[Found]:
    """The k best films among the windows that an index finds, and those that it does not have yet.

    A film with many good clips can fill the list of vectors, so the list is doubled until k films are in it: the first
    k films of a list sorted by score are the answer. The windows of the list are then scored exactly. Where the index
    cannot name k films, all windows are looked at.

    Args:
        nearest: The index.
        snapshot: The library, as the search is to see it; what else the index has is passed over.
        queries: Unit vectors.
        k: Films wanted.
        allowed: Which films may be found; all without it.
        covers: The last window that the index has; all later ones are looked at.
        most: The longest list that can be asked for, for instance all vectors of the index.
    """
    exact, slots = ExactEngine(), len(snapshot.windows)
    eligible = slots if allowed is None else int(snapshot.counts[allowed].sum())
    if eligible <= FEW:
        return exact.search(snapshot, queries, k, allowed)
    since = int(np.searchsorted(snapshot.windows, covers, side="right"))
    tail = np.arange(since, slots)
    tail = tail if allowed is None else tail[allowed[snapshot.film_of[tail]]]
    enough = min(k, len(snapshot.films) if allowed is None else int(allowed.sum()))
    found: dict[int, Found] = {}
    left, most = np.arange(len(queries)), min(most, LONGEST)
    per_film = round(PER_FILM * max(1.0, slots / PER_FILM_OF) ** 0.5)
    count = min(most, max(FIRST, per_film * k) * slots // eligible)
    while len(left) and 0 < count <= most:
        windows = nearest(np.ascontiguousarray(queries[left]), count)
        for query, row in zip(left.tolist(), windows, strict=True):
            some = _slots(snapshot, row, allowed)
            some = np.union1d(some, tail) if len(tail) else some
            if np.count_nonzero(np.diff(snapshot.film_of[some], prepend=-1)) >= enough:  # slots of a film are in a row
                found[query] = best_films(snapshot, queries[query : query + 1], some, k)[0]
        left, count = np.array([query for query in left.tolist() if query not in found], dtype=np.int64), 2 * count
    if len(left):
        found.update(zip(left.tolist(), exact.search(snapshot, queries[left], k, allowed), strict=True))
    return [found[query] for query in range(len(queries))]


def _slots(
    snapshot: Snapshot, windows: Int[np.ndarray, "count"], allowed: Bool[np.ndarray, "films"] | None
) -> Int[np.ndarray, "some"]:
    """The slots of those windows that are there and allowed, ascending, each once."""
    wanted = np.sort(windows)
    slots = snapshot.slots_of_windows(wanted[np.diff(wanted, prepend=-2) > 0])
    return slots if allowed is None else slots[allowed[snapshot.film_of[slots]]]
