"""Films that are found by name: all words of a sentence stand in the film's path."""

import os
import sqlite3
from array import array
from pathlib import Path

import numpy as np
from jaxtyping import Int

from gmmformer.files import words_in
from gmmformer.search.database import rows_of

SLIGHT = frozenset(
    words_in(
        "a an and are as at be by for from has he her his in into is it its me my of off on or our her some that the "
        "their them there they this to up was we were while who with you your"
    )
)
"""Words that a name need not have, unless there are no others."""


class Names:
    """Which words stand in the paths of a library's films; kept, and only what is new is read. Whoever uses it from
    several threads holds a lock.
    """

    def __init__(self, folder: Path) -> None:
        """Nothing is read yet."""
        self._folder = folder
        self._words: dict[str, array[int]] = {}
        self._last, self._layout = 0, 0

    def matching(
        self, connection: sqlite3.Connection, layout: int, films: Int[np.ndarray, "films"], sentence: str
    ) -> Int[np.ndarray, "named"]:
        """Those of some films (ids, ascending), by index, whose paths have all words of a sentence that say something.

        Words are compared whole, without case and accents. Those that stand in all paths tell no film from another.
        """
        words = set(words_in(sentence))
        words = words - SLIGHT or words
        self._read(connection, layout, films)
        ids = [np.array(self._words.get(word, ()), dtype=np.int64) for word in words]
        some: list[np.ndarray] = []
        for one in sorted(ids, key=len):
            places = np.searchsorted(films, one).clip(max=len(films) - 1)
            there = places[films[places] == one]
            if len(there) < len(films):
                some.append(np.intersect1d(some[-1], there, assume_unique=True) if some else there)
            if not len(there) or (some and not len(some[-1])):
                break
        return some[-1] if some else np.empty(0, dtype=np.int64)

    def _read(self, connection: sqlite3.Connection, layout: int, films: Int[np.ndarray, "films"]) -> None:
        if layout != self._layout:
            self._words, self._last, self._layout = {}, 0, layout
        if not len(films) or films[-1] <= self._last:
            return
        which = "WHERE removed IS NULL AND id > ? ORDER BY id"
        rows = list(rows_of(connection, self._folder, "films", "id, path", which, (self._last,)))
        for film, path in rows:
            for word in set(words_in(os.fsdecode(os.path.splitext(path)[0]))):  # noqa: PTH122 - any bytes
                self._words.setdefault(word, array("q")).append(film)
            self._last = film
