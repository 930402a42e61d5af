"""From an index that knows vectors only roughly to the k best films, exactly scored."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from gmmformer.search.engines.exact import ExactEngine
from gmmformer.search.engines.grouping import group_count
from gmmformer.search.engines.protocol import Found, best_films, best_scores, least_of
from gmmformer.search.snapshot import Snapshot
from gmmformer.search.vectors import STRETCH

FIRST = 256
"""Vectors asked for at least."""
PER_FILM = 128
"""Vectors asked for at first, for each film wanted."""
KEPT, KEPT_AT_LEAST = 8, 40
"""Films, for each film wanted and beyond, that are scored as a whole after stretches of them."""
CROWDED = 100_000
"""In a library of more windows films are nearer to each other: the list grows with the square root of their number, and
what is kept of it with the cube root, which keeps the recall@10 at 0.99 for a million."""
FEW = 5_000
"""So few windows are looked at one by one rather than searched for."""
LONGEST = 65_536
"""No list is longer; where k films are not in it, every window is looked at."""

Nearest = Callable[[Float[np.ndarray, "queries dim"], int], Int[np.ndarray, "queries count"]]
"""The `count` nearest vectors to each query, named as by `vector_ids`, in any order; -1 where there are no more."""


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
    k films of a list sorted by score are the answer. What the list names is scored a stretch of a window at a time, and
    the windows with the best stretches are then scored as a whole. Where the index cannot name k films, all windows are
    looked at.

    Args:
        nearest: The index.
        snapshot: The library, as the search is to see it; what else the index has is passed over.
        queries: Unit vectors.
        k: Films wanted.
        allowed: Which films may be found; all without it.
        covers: The last window that the index has; all later ones are looked at.
        most: The longest list that can be asked for, for instance all vectors of the index.
    """
    exact, windows = ExactEngine(), len(snapshot.windows)
    eligible = windows if allowed is None else int(snapshot.counts[allowed].sum())
    if eligible <= FEW:
        return exact.search(snapshot, queries, k, allowed)
    since = int(np.searchsorted(snapshot.windows, covers, side="right"))
    tail = np.arange(since, windows)
    tail = tail if allowed is None else tail[allowed[snapshot.film_of[tail]]]
    enough = min(k, len(snapshot.films) if allowed is None else int(allowed.sum()))
    found: dict[int, Found] = {}
    left, most = np.arange(len(queries)), min(most, LONGEST)
    crowd = max(1.0, windows / CROWDED)
    count = min(most, max(FIRST, round(PER_FILM * crowd ** (1 / 2)) * k) * windows // eligible)
    kept = round((KEPT * k + KEPT_AT_LEAST) * crowd ** (1 / 3))
    while len(left) and 0 < count <= most:
        vectors = nearest(np.ascontiguousarray(queries[left]), count)
        for query, row in zip(left.tolist(), vectors, strict=True):
            slots, firsts = _stretches(snapshot, row, allowed)
            if len(snapshot.films_among(np.union1d(slots, tail) if len(tail) else slots)) >= enough:
                some = np.union1d(_promising(snapshot, queries[query][None], slots, firsts, kept), tail)
                found[query] = best_films(snapshot, queries[query][None], some, k)[0]
        left, count = np.array([query for query in left.tolist() if query not in found], dtype=np.int64), 2 * count
    if len(left):
        found.update(zip(left.tolist(), exact.search(snapshot, queries[left], k, allowed), strict=True))
    return [found[query] for query in range(len(queries))]


def _stretches(
    snapshot: Snapshot, vectors: Int[np.ndarray, "count"], allowed: Bool[np.ndarray, "films"] | None
) -> tuple[Int[np.ndarray, "some"], Int[np.ndarray, "some"]]:
    """The stretches that some vectors of an index are of, each once, of windows that are there and allowed.

    Returns:
        Their slots, ascending, and the clips that they begin with.
    """
    clips, groups = snapshot.format.clips, group_count(snapshot.format.clips)
    windows, group = np.divmod(vectors, groups)
    wanted = np.sort(windows * clips + group * (clips // groups) // STRETCH * STRETCH)
    windows, firsts = np.divmod(wanted[np.diff(wanted, prepend=wanted[:1] - 1) > 0], clips)
    slots, there = snapshot.slots_of_windows(windows)
    if allowed is not None:
        there &= allowed[snapshot.film_of[slots]]
    return slots[there], firsts[there]


def _promising(
    snapshot: Snapshot,
    query: Float[np.ndarray, "1 dim"],
    slots: Int[np.ndarray, "some"],
    firsts: Int[np.ndarray, "some"],
    kept: int,
) -> Int[np.ndarray, "fewer"]:
    """The slots, ascending, of the films that may be the best, so many of them, judged by stretches of them."""
    if len(slots) <= kept:
        return np.unique(slots)
    scores = best_scores(snapshot, query, slots, firsts)[0]
    starts = snapshot.films_among(slots)
    films = np.maximum.reduceat(scores, starts)
    good = films >= least_of(kept, films)
    return np.unique(slots[np.repeat(good, np.diff(starts, append=len(slots)))])
