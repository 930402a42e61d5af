"""The best films of a snapshot for some queries: by looking at every window, or at those that an index names.

Whatever names them, they are scored here.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gmmformer.model.pooling import concatenated_ranges
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
GROUP = 2
"""Neighbouring clips that share one vector of an index, their mean: what the index finds is scored clip by clip anyway.
Half as many vectors take half the memory and half the time to build."""

Nearest = Callable[[Float[np.ndarray, "queries dim"], int], Int[np.ndarray, "queries count"]]
"""The `count` nearest vectors to each query, named as by `vector_ids`, in any order; -1 where there are no more."""

_LEAST_PIECE, _PIECE_BYTES = 64, 2**23
_MOST_QUERIES, _SCORE_BYTES = 64, 2**28
_LAST_DIGITS = 1e-5


class Found(NamedTuple):
    """The best films for one query, best first; fewer than asked for only where there are no more."""

    films: Int[np.ndarray, "found"]
    """Indices into the snapshot's films."""
    scores: Float[np.ndarray, "found"]
    """Exact: of the vectors as they are stored, in float32, whatever the engine."""


def search_all(
    snapshot: Snapshot, queries: Float[np.ndarray, "queries dim"], k: int, allowed: Bool[np.ndarray, "films"] | None
) -> list[Found]:
    """The k best films for each query, always: one pass over the mapped vectors, which several queries share."""
    every = np.arange(len(snapshot.windows))
    return best_films(snapshot, queries, every if allowed is None else every[allowed[snapshot.film_of]], k)


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
    """As `Snapshot.score`, on all cores.

    The calling thread begins at once and does not wait for a helper that has not begun when nothing is left to do.
    """
    threads = torch.get_num_threads()
    piece = max(_LEAST_PIECE, min(_PIECE_BYTES // snapshot.format.vector_bytes, -(-len(slots) // (2 * threads))))
    pieces = range(0, len(slots), piece)
    done: dict[int, Float[np.ndarray, "queries some"]] = {}
    left = iter(pieces)

    def help_out() -> None:
        for at in left:
            some = slice(at, at + piece)
            done[at] = snapshot.score(queries, slots[some], None if firsts is None else firsts[some])

    helpers = min(threads, len(pieces)) - 1
    asked = [_pool(helpers).submit(help_out) for _ in range(helpers)]
    help_out()
    for helper in asked:
        if not helper.cancel():
            helper.result()
    return np.concatenate([done[at] for at in pieces], axis=1)


def least_of(k: int, scores: Float[np.ndarray, "films"]) -> float:
    """The k-th best score, or the worst where there are not so many."""
    last = len(scores) - min(k, len(scores))
    return float(np.partition(scores, last)[last])


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="gmmformer-search")


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
    windows = len(snapshot.windows)
    eligible = windows if allowed is None else int(snapshot.counts[allowed].sum())
    if eligible <= FEW:
        return search_all(snapshot, queries, k, allowed)
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
        found.update(zip(left.tolist(), search_all(snapshot, queries[left], k, allowed), strict=True))
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


def group_count(clips: int) -> int:
    """Vectors of an index for each window."""
    return clips // GROUP if clips % GROUP == 0 else clips


def vector_ids(windows: Int[np.ndarray, "n"], clips: int) -> Int[np.ndarray, "vectors"]:
    """What an index calls the vectors of some windows (ids), window after window."""
    groups = group_count(clips)
    return np.asarray((windows[:, None] * groups + np.arange(groups)).ravel())


def grouped(fused: Float[Tensor, "windows clips dim"]) -> Float[np.ndarray, "windows groups dim"]:
    """The vectors of an index: means of neighbouring clips."""
    windows, clips, dim = fused.shape
    groups = group_count(clips)
    return np.asarray(fused.reshape(windows, groups, clips // groups, dim).mean(2).numpy())
