"""One list of what films show, what is said in them, and what they are called."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from gmmformer.search.database import has_lines
from gmmformer.search.engines.exact import FEW, Found, best_films
from gmmformer.search.naming import Names
from gmmformer.search.quotes import WORDS, Lines, Quote
from gmmformer.search.snapshot import Snapshot
from gmmformer.search.store import Store
from gmmformer.search.words import TextHit, holds_lines, look

SURE, SURPRISING = 0.8, 1.0
"""A film in which so much of a sentence is said together, and surprisingly so, comes before those that look like it."""
SELDOM = 3
"""So does one in which all of it is said as it stands, if it is in so many at most."""
LIKELY = 0.5
"""So much of a sentence must be said in a film for that to count beside how others look. Where it was heard or read by
a machine, which errs, and no film's look stands out, so much is as good as what is surely said."""
STANDS_OUT = 0.8
"""A film whose look has this strength is shown before those in which so much is said as is said often, or in which only
what is likely was heard."""
RANKS, LATER = 10, 20
"""What is added to a place before its reciprocal is taken, and how many places later a film stands where nothing of the
sentence is said, and accordingly where some of it is."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is known of a sentence beside how films look, by their index in a snapshot."""

    named: Int[np.ndarray, "_named"] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Films that are named so."""
    quotes: dict[int, list[Quote]] = field(default_factory=dict)
    """Where it is said, best film first."""
    tells: bool = False
    """Whether hits say why they are there."""


class Texts:
    """What is said in a library's films, and their names, kept between searches. Threads may share it."""

    def __init__(self, store: Store) -> None:
        """Nothing is read yet."""
        self._store, self._lock = store, threading.Lock()
        self._names, self._lines = Names(store.folder), Lines(store.folder)

    def hits(self, sentence: str, k: int, within: frozenset[str] | None, **wanted: Any) -> list[TextHit]:
        """What is found by words alone; see `words.look`."""
        with self._lock, self._store.reading() as connection:
            folder, layout = self._store.folder, self._store.snapshot().layout
            return look(connection, folder, layout, self._names, self._lines, sentence, k, within, **wanted)

    def among(
        self,
        snapshot: Snapshot,
        allowed: Bool[np.ndarray, "films"] | None,
        sentence: str,
        within: frozenset[str] | None,
        most: int,
        moments: int,
    ) -> Asked:
        """What is known of a sentence of the films, among those allowed, of a snapshot.

        Of those in which it is said the best `most`, and as many `moments` of each.
        """
        named, quotes, tells = np.empty(0, dtype=np.int64), list[list[Quote]](), within is not None
        if not sentence:  # a vector that nobody said what it is of
            return Asked(tells=tells)
        with self._lock, self._store.reading() as connection:
            if within is None or "name" in within:
                named = self._names.matching(connection, snapshot.layout, snapshot.films, sentence)
                named = named if allowed is None else named[allowed[named]]
            words = WORDS if within is None else WORDS & within
            if words and has_lines(connection):
                films = snapshot.films if allowed is None else snapshot.films[allowed]
                quotes = self._lines.find(connection, sentence, films, most, moments, words)
                tells = tells or holds_lines(connection)
        places = np.searchsorted(snapshot.films, [some[0].film for some in quotes]).tolist()
        return Asked(named=named, quotes=dict(zip(places, quotes, strict=True)), tells=tells)


class Fused(NamedTuple):
    """Films by all that is known of them."""

    found: Found
    led: dict[int, list[Quote]]
    """Those that are shown for what is said in them rather than for how they look, by index."""


def fused(
    snapshot: Snapshot,
    query: Float[np.ndarray, "dim"],
    found: Found,
    asked: Asked,
    k: int,
    strength: Callable[[float], float | None],
) -> Fused:
    """What was found by how it looks, with what is known by words, so many films as were found.

    First those that are named so, half of k at most; then those in which surely it is said, likewise; then the rest by
    the sum of the reciprocals of their places. Where so many films are named that it would take long to tell the best,
    they stay where they are. `strength` tells how strong a score is.
    """
    count, names = len(found.films), list[int]()
    if not asked.quotes and not len(asked.named):
        return Fused(found, {})
    strongest = strength(float(found.scores[0])) if asked.quotes and count else None
    stands_out = strongest is not None and strongest >= STANDS_OUT
    heard = SURE if strongest is None or stands_out else LIKELY
    if len(asked.named) and snapshot.counts[asked.named].sum() <= FEW:
        named = best_films(snapshot, query[None], snapshot.slots_of(asked.named), (k + 1) // 2)[0]
        found, names = _with(found, named), named.films.tolist()
    best = {film: some[0] for film, some in asked.quotes.items() if some[0].score >= LIKELY}
    seldom = sum(quote.whole for quote in best.values()) <= SELDOM
    sure = [
        film
        for film, quote in best.items()
        if (quote.whole and seldom)
        or (quote.score >= (SURE if quote.exact else heard) and quote.surprise >= SURPRISING)
    ][: (k + 1) // 2]
    seen = {film: 1 / (RANKS + place) for place, film in enumerate(found.films.tolist()) if place < count}
    told = {
        film: 1 / (RANKS + place + LATER * (1 - quote.score) + (0.5 if stands_out or quote.score < SURE else -0.5))
        for place, (film, quote) in enumerate(best.items())
    }
    others = np.setdiff1d([*told], found.films)
    if len(others):
        found = _with(found, best_films(snapshot, query[None], snapshot.slots_of(others), len(others))[0])
    rest = sorted({**seen, **told}, key=lambda film: -seen.get(film, 0.0) - told.get(film, 0.0))
    order = list(dict.fromkeys([*names, *sure, *rest]))[:count]
    scores = dict(zip(found.films.tolist(), found.scores, strict=True))
    led = {film: asked.quotes[film] for film in told if film in sure or told[film] > seen.get(film, 0.0)}
    return Fused(Found(np.array(order, dtype=np.int64), np.array([scores[film] for film in order], "f4")), led)


def _with(found: Found, others: Found) -> Found:
    """What was found and others that were."""
    new = ~np.isin(others.films, found.films)
    return Found(np.append(found.films, others.films[new]), np.append(found.scores, others.scores[new]))
