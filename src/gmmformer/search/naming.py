"""Films that are found by name: all words of a sentence stand in the film's path."""

import os
import threading
from array import array
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from gmmformer.files import words_in
from gmmformer.search.database import rows_of
from gmmformer.search.engines.exact import FEW, Found, best_films
from gmmformer.search.snapshot import Snapshot
from gmmformer.search.store import Store

_SLIGHT = (
    "a an and are as at be by for from has he her his in into is it its me my of off on or our she some that the their "
    "them there they this to up was we were while who with you your"
)
"""Words that a name need not have, unless there are no others."""


class Names:
    """Which words stand in the paths of a library's films; kept, and only what is new is read. Threads may share it."""

    def __init__(self, store: Store) -> None:
        """Nothing is read yet."""
        self._store, self._lock = store, threading.Lock()
        self._films: dict[str, array[int]] = {}
        self._last, self._layout = 0, 0

    def among(
        self, snapshot: Snapshot, allowed: Bool[np.ndarray, "films"] | None, sentences: Sequence[str]
    ) -> list[Int[np.ndarray, "_named"]]:
        """The films, among those allowed, that each sentence names; see `matching`."""
        found = [self.matching(snapshot, sentence) for sentence in sentences]
        return found if allowed is None else [some[allowed[some]] for some in found]

    def matching(self, snapshot: Snapshot, sentence: str) -> Int[np.ndarray, "named"]:
        """The films of a snapshot, by index, whose paths have all words of a sentence that say something.

        Words are compared whole, without case and accents. Those that stand in all paths tell no film from another.
        """
        words = set(words_in(sentence))
        words = words.difference(_SLIGHT.split()) or words
        with self._lock:
            self._read(snapshot)
            ids = [np.array(self._films.get(word, ()), dtype=np.int64) for word in words]
        some: list[np.ndarray] = []
        for one in sorted(ids, key=len):
            places = np.searchsorted(snapshot.films, one).clip(max=len(snapshot.films) - 1)
            there = places[snapshot.films[places] == one]
            if len(there) < len(snapshot.films):
                some.append(np.intersect1d(some[-1], there, assume_unique=True) if some else there)
            if not len(there) or (some and not len(some[-1])):
                break
        return some[-1] if some else np.empty(0, dtype=np.int64)

    def _read(self, snapshot: Snapshot) -> None:
        if snapshot.layout != self._layout:
            self._films, self._last, self._layout = {}, 0, snapshot.layout
        if not len(snapshot.films) or snapshot.films[-1] <= self._last:
            return
        with self._store.reading() as connection:
            which = "WHERE removed IS NULL AND id > ? ORDER BY id"
            rows = list(rows_of(connection, self._store.folder, "films", "id, path", which, (self._last,)))
        for film, path in rows:
            for word in set(words_in(os.fsdecode(os.path.splitext(path)[0]))):  # noqa: PTH122 - any bytes
                self._films.setdefault(word, array("q")).append(film)
            self._last = film


def named_first(
    snapshot: Snapshot, query: Float[np.ndarray, "dim"], found: Found, named: Int[np.ndarray, "named"], k: int
) -> Found:
    """What was found, with the best of the films that are found by name before the rest: half of k of them at most.

    Where so many are named that it would take long to tell the best, they stay where they are.
    """
    if not len(named) or snapshot.counts[named].sum() > FEW:
        return found
    best = best_films(snapshot, query[None], snapshot.slots_of(named), (k + 1) // 2)[0]
    rest = ~np.isin(found.films, best.films)
    films, scores = (np.concatenate([first, then[rest]]) for first, then in zip(best, found, strict=True))
    return Found(films[: len(found.films)], scores[: len(found.films)])
