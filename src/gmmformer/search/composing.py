"""Searching for several sentences at once: films that show one thing and then another, all of some, none of others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from gmmformer.errors import InputError, shown
from gmmformer.evaluation.moments import clip_rows, moment_at, score_curve
from gmmformer.search.embedding import checked_sentences
from gmmformer.search.engines.exact import Found, best_scores, least_of
from gmmformer.search.fusing import Asked
from gmmformer.search.hits import Hit, Part, film_spans, hits_of
from gmmformer.search.library import Library
from gmmformer.search.lines import quotes_words
from gmmformer.search.snapshot import Snapshot
from gmmformer.search.store import Store
from gmmformer.search.words import check_counts

MOST_PARTS = 16
"""Sentences of one question."""
AGAINST = 0.35
"""What counts against a film of how it scores for a sentence that it is not to show."""
_FEWEST = 64
"""Films whose clips are put in order at a time."""


def search_composed(
    library: Library,
    then: str | Sequence[str],
    k: int = 10,
    *,
    also: Sequence[str] = (),
    without: Sequence[str] = (),
    skip: int = 0,
    where: str | None = None,
    min_length: float | None = None,
    fold: bool = True,
) -> list[Hit]:
    """The k films that show one thing and after it another, some things anywhere, and others not; best film first.

    A sentence's scores are taken above the median of the library's windows, so that none drowns another because all
    films are near to it. The score of a hit is the best sum for clips of the film in the order of `then`, none of which
    begins before the one before it ends, and of the film's best clips for `also`, less AGAINST times that of its best
    clip for each sentence of `without`, where that is above the median. `parts` of a hit are the moments for `then` and
    `also`, in this order; it goes from the first of `then` to the last. It has no strength and no word, which are about
    one sentence. Every window is looked at, whatever the engine, and nothing but the picture.

    Args:
        library: Opened with its model.
        then: Sentences in the order in which what they describe is to be seen; one at least.
        k: Films; fewer are found only if there are no more, or where films are too short for so many parts.
        also: What is to be seen too, at any time.
        without: What is not to be seen anywhere in the film.
        skip: As for `Library.search_vectors`.
        where: As for `Library.search_vectors`.
        min_length: As for `Library.search_vectors`.
        fold: Whether films that show the same thing are one hit.

    Raises:
        InputError: A sentence is empty or has words in quotes, which are looked for in what is said; there are too
            many; a number is out of range; or the library has no model that reads sentences.
    """
    then = [then] if isinstance(then, str) else list(then)
    check_counts(k, 1, skip)
    sentences = checked_parts(then, also, without)
    snapshot, store = library.store.snapshot(), library.store
    if not len(snapshot.windows):
        return []
    allowed = store.matching(snapshot, where=where, min_length=min_length)
    asked = _Question(store, snapshot, library.embed(sentences), len(then), len(also), allowed)
    (found,) = hits_of(store, snapshot, asked.queries[:1], asked.find, k, skip, 1, fold, [Asked()])
    return list(_composed(found, asked, [*then, *also]))


def checked_parts(then: Sequence[str], also: Sequence[str], without: Sequence[str]) -> list[str]:
    """All the sentences; errors as for `search_composed`."""
    sentences = [*then, *also, *without]
    if not then or len(sentences) > MOST_PARTS:
        raise InputError(
            f"{len(sentences)} sentences to be seen together: give 1 to {MOST_PARTS}, the first to be seen"
        )
    for sentence in checked_sentences(sentences):
        if quotes_words(sentence):
            raise InputError(
                f"{shown(sentence)}: words in quotes are looked for in what is said, and here only what is to be seen "
                "counts; leave the quotes out"
            )
    return sentences


class _Ordered(NamedTuple):
    """What clips of films come to in order."""

    scores: Float[np.ndarray, "films"]
    """-inf where a film has not so many clips that follow each other."""
    clips: Int[np.ndarray, "films parts"]
    """The clips, as places among all of them."""


def ordered(
    scores: Float[np.ndarray, "parts clips"],
    films: Int[np.ndarray, "clips"],
    starts: Int[np.ndarray, "clips"],
    ends: Int[np.ndarray, "clips"],
) -> _Ordered:
    """The best sum of each film's scores for one clip a part, none of which starts before the one before it ends.

    Args:
        scores: Of each part for each clip, finite.
        films: Which film each clip is of, ascending from 0, none left out.
        starts: Where in its film a clip starts, from 0 on.
        ends: Where it ends; after its start.
    """
    count, span = scores.shape[1], int(ends.max()) + 1
    firsts = np.flatnonzero(np.diff(films, prepend=-1))
    by_end = np.argsort(films * span + ends, kind="stable")
    ended = np.searchsorted((films * span + ends)[by_end], films * span + starts, side="right") - 1
    there = ended >= firsts[films]
    total, came = scores[0].astype(np.float64), list[Int[np.ndarray, "clips"]]()
    for part in scores[1:]:
        came.append(by_end[_best_so_far(total[by_end], films)[ended]])
        total = np.where(there, part + total[came[-1]], -np.inf)
    lasts = np.append(firsts[1:], count) - 1
    clips = [_best_so_far(total, films)[lasts]]
    best = total[clips[0]]
    for before in reversed(came):
        clips.append(before[clips[-1]])
    return _Ordered(best, np.stack(clips[::-1], axis=1))


def _best_so_far(values: Float[np.ndarray, "clips"], films: Int[np.ndarray, "clips"]) -> Int[np.ndarray, "clips"]:
    """For each clip the best of its film up to it: its place."""
    order, rank = np.argsort(values, kind="stable"), np.empty(len(values), dtype=np.int64)
    rank[order] = np.arange(len(values))
    ahead = films.astype(np.int64) * len(values)
    return np.asarray(order[np.maximum.accumulate(ahead + rank) - ahead])


@dataclass(eq=False)
class _Question:
    """What is asked of films: queries for what is to be seen in order, then for that at any time, then for that not."""

    store: Store
    snapshot: Snapshot
    queries: Float[np.ndarray, "queries dim"]
    then: int
    also: int
    allowed: Bool[np.ndarray, "films"] | None
    scores: Float[np.ndarray, "some"] = field(default_factory=lambda: np.empty(0))
    """Of the first films of `at_most`, those that were put in order."""

    @cached_property
    def medians(self) -> Float[np.ndarray, "queries 1"]:
        """What a query's scores are held against: that of the library's window in the middle."""
        return self.snapshot.medians(self.queries)[:, None]

    @cached_property
    def at_most(self) -> tuple[Int[np.ndarray, "films"], Float[np.ndarray, "films"], Float[np.ndarray, "films"]]:
        """The films that may be found, the best first that their clips, in any order, come to; that, and what of it is
        of no order.
        """
        snapshot = self.snapshot
        films = np.arange(len(snapshot.films)) if self.allowed is None else np.flatnonzero(self.allowed)
        if not len(films):
            return films, np.empty(0), np.empty(0)
        slots = snapshot.slots_of(films)
        windows = best_scores(snapshot, np.ascontiguousarray(self.queries, dtype=np.float32), slots)
        best = np.maximum.reduceat(windows, snapshot.films_among(slots), axis=1) - self.medians
        seen = self.then + self.also
        free = best[self.then : seen].sum(0) - AGAINST * np.maximum(best[seen:], 0).sum(0)
        most = best[: self.then].sum(0) + free
        order = np.argsort(-most, kind="stable")
        return films[order], most[order], free[order]

    def find(self, _: Float[np.ndarray, "one dim"], count: int) -> list[Found]:
        """The best films, so many: films are put in order until no other can be better than the last of them."""
        films, most, free = self.at_most
        if self.then == 1:
            self.scores = most
        while (place := len(self.scores)) < len(films):
            if place >= count and least_of(count, self.scores) >= most[place]:
                break
            some = slice(place, place + max(_FEWEST, count))
            self.scores = np.append(self.scores, self.in_order(films[some]).scores + free[some])
        order = np.argsort(-self.scores, kind="stable")[:count]
        order = order[np.isfinite(self.scores[order])]
        return [Found(films[order], self.scores[order].astype(np.float32))]

    def score_of(self, film: int) -> float:
        """What a film that was found comes to, by its index."""
        return float(self.scores[np.flatnonzero(self.at_most[0] == film)[0]])

    def in_order(self, films: Int[np.ndarray, "films"]) -> _Ordered:
        """What the clips of films come to in order; they are places among those of `slots_of(films)`."""
        snapshot, slots = self.snapshot, self.snapshot.slots_of(films)
        windows, clips = self.store.windows_of(snapshot.windows[slots].tolist()), snapshot.format.clips
        known = [windows.get(window, (0, 1)) for window in snapshot.windows[slots].tolist()]
        first, rows = np.array(known, dtype=np.int64).T
        kinds, kind = np.unique(rows, return_inverse=True)
        places = first[:, None, None] + np.stack([clip_rows(count, clips) for count in kinds.tolist()])[kind]
        scores = np.stack([snapshot.clip_scores(query, slots).ravel() for query in self.queries[: self.then]])
        scores -= self.medians[: self.then]
        of = np.repeat(np.arange(len(films)), snapshot.counts[films] * clips)
        return ordered(scores, of, places[..., 0].ravel(), places[..., 1].ravel())


def _composed(hits: Sequence[Hit], asked: _Question, sentences: Sequence[str]) -> Iterator[Hit]:
    """Hits with their parts; those of films that are gone by now are left out."""
    snapshot = asked.snapshot
    spans_of = film_spans(asked.store, snapshot, np.searchsorted(snapshot.films, [hit.film.id for hit in hits]))
    by_id = {film.id: (index, spans) for index, (film, spans) in spans_of.items()}
    for hit in hits:
        if hit.film.id in by_id:
            index, spans = by_id[hit.film.id]
            parts = _parts(asked, sentences, np.array([index]), spans)
            start, end, score = parts[0].start, parts[asked.then - 1].end, asked.score_of(index)
            yield replace(hit, start=start, end=end, score=score, strength=None, word=None, parts=parts)


def _parts(
    asked: _Question, sentences: Sequence[str], film: Int[np.ndarray, "1"], spans: Float[np.ndarray, "windows clips 2"]
) -> tuple[Part, ...]:
    """The moments of a film around the clips that it was found for; those in order do not overlap."""
    slots, flat, parts = asked.snapshot.slots_of(film), spans.reshape(-1, 2), list[Part]()
    scores = [asked.snapshot.clip_scores(query, slots) for query in asked.queries[: len(sentences)]]
    clips = asked.in_order(film).clips[0].tolist() + [int(score.argmax()) for score in scores[asked.then :]]
    for place, (sentence, score, clip) in enumerate(zip(sentences, scores, clips, strict=True)):
        moment = moment_at(score_curve(spans, score), float(flat[clip].mean()))
        start = moment.start
        if 0 < place < asked.then:
            border = float(flat[clips[place - 1], 1] + flat[clip, 0]) / 2
            start = max(start, border)
            parts[-1] = parts[-1]._replace(end=min(parts[-1].end, border))
        parts.append(Part(sentence, start, moment.end, float(score.ravel()[clip])))
    return tuple(parts)
