"""What a search finds, for Python, JSON and people alike: moments of films, and how they stand against the library."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import compress
from typing import Any, NamedTuple, TypedDict

import numpy as np
from jaxtyping import Bool, Float, Int

from gmmformer.evaluation.moments import ScoreCurve, moments_of, score_curve
from gmmformer.media.films import path_text, printable
from gmmformer.search.calibration import Calibration, Word, calibration_of
from gmmformer.search.database import damaged
from gmmformer.search.engines.exact import Found
from gmmformer.search.folding import Folded, Spans, search_folded
from gmmformer.search.fusing import Asked, Texts, fused
from gmmformer.search.quotes import Quote
from gmmformer.search.snapshot import Snapshot
from gmmformer.search.store import Film, Store
from gmmformer.search.windows import clip_spans
from gmmformer.search.words import Source, TextHit, in_words_alone, why

_SEEN: frozenset[Source] = frozenset({"picture"})


class Wanted(TypedDict, total=False):
    """What is wanted of a search beside k films; see `Library.search_vectors`."""

    skip: int
    moments: int
    where: str | None
    min_length: float | None
    fold: bool
    within: Sequence[str] | None


class Part(NamedTuple):
    """The moment of a film for one of several sentences (`search_composed`)."""

    sentence: str
    start: float
    """Seconds."""
    end: float
    score: float
    """Of the clip that it was found for."""


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A moment of a film."""

    film: Film
    """Where it is: its path, or its name in the collection it comes from; its id, another once it is replaced."""
    start: float
    """Seconds."""
    end: float
    """Seconds."""
    score: float
    """Retrieval score of the moment's best clip, in [-1, 1]."""
    strength: float | None
    """Which share of general sentences has a best film that stands out less: it says what the score alone does not,
    whether this is more than chance. None in a library that is not calibrated (`Library.calibrate`)."""
    word: Word | None
    """The strength in words; None too where it was not seen that they mean something (`Calibration.words`)."""
    sources: frozenset[Source] = frozenset()
    """What it was found in: the picture, what is said or written, its name; empty where there are no lines at all."""
    quotes: tuple[Quote, ...] = ()
    """What is said there, or elsewhere in the film, of what was asked for, if it is there for that too."""
    copies: tuple[Film, ...] = ()
    """Other films that were found and show the same thing, best first (`Library.search`, `fold`)."""
    named: bool = False
    """Whether the words of the sentence stand in the path of the film, or of a copy."""
    parts: tuple[Part, ...] = ()
    """The moment for each sentence, where several were asked for together; then it goes over those in order, and the
    score is what `search_composed` says."""
    clip_scores: Float[np.ndarray, "clips"] = field(compare=False, repr=False)
    """Score of each clip of the window that holds the moment's best clip."""
    clip_spans: Float[np.ndarray, "clips 2"] = field(compare=False, repr=False)
    """The seconds from which to which each of them goes."""
    curve: ScoreCurve = field(compare=False, repr=False)
    """The scores of all clips of the film, of all its windows, along its seconds."""

    def to_dict(self) -> dict[str, Any]:
        """The hit as JSON has it: times in seconds, bytes of paths that are no UTF-8 as backslash escapes.

        `named`, `copies`, `why` and `parts` are there only where it is named, has copies, sources and parts.
        """
        return {
            "film": path_text(self.film.path),
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "score": round(self.score, 6),
            "strength": None if self.strength is None else round(self.strength, 3),
            "word": self.word,
            "length": round(self.film.length, 3),
            "id": self.film.id,
            **({"named": True} if self.named else {}),
            **({"copies": [path_text(film.path) for film in self.copies]} if self.copies else {}),
            **({"why": why("name" in self.sources, "picture" in self.sources, self.quotes)} if self.sources else {}),
            **({"parts": [_rounded(part) for part in self.parts]} if self.parts else {}),
        }


def _rounded(part: Part) -> dict[str, Any]:
    return part._asdict() | {"start": round(part.start, 3), "end": round(part.end, 3), "score": round(part.score, 6)}


def hits_of(
    store: Store,
    snapshot: Snapshot,
    queries: Float[np.ndarray, "queries dim"],
    find: Callable[[Float[np.ndarray, "some dim"], int], list[Found]],
    k: int,
    skip: int,
    moments: int,
    fold: bool,
    asked: Sequence[Asked],
) -> list[list[Hit]]:
    """The best moments of the k films that `find` finds for each query after the first `skip`, best film first.

    At most `moments` a film. What is known by words of each is `fused` with these; with `fold` each is shown once.
    """
    spans: Spans = {}
    led: dict[int, dict[int, list[Quote]]] = {}

    def known(films: Int[np.ndarray, "films"]) -> Spans:
        spans.update(film_spans(store, snapshot, films[~np.isin(films, list(spans))]))
        return spans

    calibration = calibration_of(store.folder)
    medians = snapshot.medians(queries) if calibration else np.zeros(len(queries))

    def strength(query: int, score: float) -> float | None:
        return calibration.strength(score - medians[query]) if calibration else None

    def best(which: Int[np.ndarray, "some"], count: int) -> list[Found]:
        films = []
        for query, some in zip(which.tolist(), find(queries[which], count), strict=True):
            both, led[query] = fused(snapshot, queries[query], some, asked[query], k, partial(strength, query))
            films.append(both)
        return films

    if fold:
        found = search_folded(snapshot, len(queries), skip + k, best, known)
    else:
        found = [Folded(some, {}) for some in best(np.arange(len(queries)), skip + k)]
    found = [Folded(Found(some.films[skip:], some.scores[skip:]), alike) for some, alike in found]
    shown = [film for all_of, alike in found for some in (all_of.films.tolist(), *alike.values()) for film in some]
    known(np.unique(np.array(shown, dtype=np.int64)))
    answers: list[list[Hit]] = []
    for place, (query, (some, alike), median, words) in enumerate(
        zip(queries, found, medians.tolist(), asked, strict=True)
    ):
        scores = snapshot.clip_scores(query, snapshot.slots_of(some.films))
        hits: list[Hit] = []
        end = 0
        for index in some.films.tolist():
            start, end = end, end + int(snapshot.counts[index])
            if index in spans:
                copies = tuple(spans[film][0] for film in alike.get(index, ()) if film in spans)
                by_name = bool(np.isin([index, *alike.get(index, ())], words.named).any())
                own = list(
                    _moments(
                        *spans[index], scores[start:end], moments, calibration, median, copies=copies, named=by_name
                    )
                )
                hits += _with_words(own, words, led[place].get(index), index, moments) if words.tells else own
        answers.append(hits)
    return answers


def _with_words(
    hits: Sequence[Hit], asked: Asked, led: Sequence[Quote] | None, index: int, moments: int
) -> Iterator[Hit]:
    """The moments of a film with why they are there; those of what is said in it where it is there for that."""
    named: frozenset[Source] = frozenset({"name"} if hits[0].named else ())
    for quote in (led or ())[:moments]:
        yield replace(
            hits[0],
            start=quote.start,
            end=quote.end,
            score=quote.score,
            strength=None,
            word=None,
            sources=named | {quote.source},
            quotes=(quote,),
            clip_scores=np.empty(0, dtype=np.float32),
            clip_spans=np.empty((0, 2)),
        )
    if not led:
        quotes = tuple(asked.quotes.get(index, ())[:1])
        for hit in hits:
            yield replace(hit, sources=named | _SEEN | {quote.source for quote in quotes}, quotes=quotes)


def hits_for(
    store: Store,
    texts: Texts,
    snapshot: Snapshot,
    queries: Float[np.ndarray, "queries dim"],
    sentences: Sequence[str],
    find: Callable[[Float[np.ndarray, "some dim"], int], list[Found]],
    k: int,
    *,
    allowed: Bool[np.ndarray, "films"] | None,
    within: frozenset[Source] | None,
    fold: bool,
    skip: int,
    moments: int,
    **which: Any,
) -> list[list[Hit]]:
    """The moments of the k best films for each sentence; see `Library.search_vectors`.

    Where words alone are looked in its vector is not.
    """
    seen = [not in_words_alone(store.reading, one, within) for one in sentences]
    words = [texts.among(snapshot, allowed, one, within, skip + k, moments) for one in compress(sentences, seen)]
    looked = iter(hits_of(store, snapshot, queries[seen], find, k, skip, moments, fold, words))
    return [
        next(looked) if by_look else by_words(store, texts.hits(one, k, within, skip=skip, moments=moments, **which))
        for one, by_look in zip(sentences, seen, strict=True)
    ]


def by_words(store: Store, found: Sequence[TextHit]) -> list[Hit]:
    """Hits of what was found by words alone; nothing is known of how they look."""
    films = {film.id: film for film in store.films({hit.film.id for hit in found})}
    return [
        Hit(
            film=films[hit.film.id],
            start=hit.start,
            end=hit.end,
            score=hit.score,
            strength=None,
            word=None,
            named=hit.named,
            sources=hit.sources,
            quotes=hit.quotes,
            clip_scores=np.empty(0, dtype=np.float32),
            clip_spans=np.empty((0, 2)),
            curve=ScoreCurve(np.empty(0), np.empty(0)),
        )
        for hit in found
        if hit.film.id in films
    ]


def hits_in(store: Store, snapshot: Snapshot, query: Float[np.ndarray, "dim"], film_id: int, moments: int) -> list[Hit]:
    """The best moments of a film, given by its id, at most so many; none where there is no such film."""
    indices = np.flatnonzero(snapshot.films == film_id)
    spans = film_spans(store, snapshot, indices)
    if not spans:
        return []
    scores = snapshot.clip_scores(query, snapshot.slots_of(indices))
    calibration = calibration_of(store.folder)
    median = float(snapshot.medians(query[None])[0]) if calibration else 0.0
    return list(_moments(*spans[int(indices[0])], scores, moments, calibration, median))


def clip_at(store: Store, snapshot: Snapshot, film_id: int, second: float) -> Float[np.ndarray, "dim"]:
    """The vector of the clip over a second of a film that is there, of the one whose middle is nearest."""
    indices = np.flatnonzero(snapshot.films == film_id)
    ((_, spans),) = film_spans(store, snapshot, indices).values()
    window, clip = np.unravel_index(np.abs(spans.mean(2) - second).argmin(), spans.shape[:2])
    return np.asarray(snapshot.fused(snapshot.slots_of(indices)[[window]])[0, clip].numpy())


def film_spans(store: Store, snapshot: Snapshot, indices: Int[np.ndarray, "films"]) -> Spans:
    """Some films (indices into the snapshot's), each with the seconds of the clips of its windows."""
    with store.reading():
        films = {film.id: film for film in store.films(snapshot.films[indices].tolist())}
        windows = store.windows_of(snapshot.windows[snapshot.slots_of(indices)].tolist())
    spans = {}
    for index in indices.tolist():
        film = films.get(int(snapshot.films[index]))
        start = int(snapshot.starts[index])
        own = [windows.get(int(window)) for window in snapshot.windows[start : start + int(snapshot.counts[index])]]
        if film is not None and None not in own:  # else removed, and compacted away, since the snapshot was taken
            if any(part and part.first + part.rows > film.rows for part in own):
                raise damaged(store.folder, f"a window of film {film.id}, {printable(film.path)}, goes beyond its rows")
            edges = film.timing.row_edges(film.rows)
            spans[index] = film, np.stack([clip_spans(edges, part, snapshot.format.clips) for part in own if part])
    return spans


def _moments(
    film: Film,
    spans: Float[np.ndarray, "windows clips 2"],
    scores: Float[np.ndarray, "windows clips"],
    count: int,
    calibration: Calibration | None,
    median: float,
    **told: Any,
) -> Iterator[Hit]:
    curve = score_curve(spans, scores)
    for moment in moments_of(curve, count):
        over = (spans[..., 0] <= moment.peak) & (moment.peak < spans[..., 1])
        window = int(np.argmax(np.where(over, scores, -np.inf).max(axis=1)))
        strength = calibration.strength(moment.score - median) if calibration else None
        yield Hit(
            film=film,
            start=moment.start,
            end=moment.end,
            score=moment.score,
            strength=strength,
            word=None if calibration is None or strength is None else calibration.word(strength),
            **told,
            clip_scores=scores[window],
            clip_spans=spans[window],
            curve=curve,
        )
