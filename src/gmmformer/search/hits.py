"""What a search finds, for Python, JSON and people alike: moments of films, and how they stand against the library."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
from jaxtyping import Float, Int

from gmmformer.evaluation.moments import ScoreCurve, moments_of, score_curve
from gmmformer.media.films import path_text, printable
from gmmformer.search.calibration import Calibration, Word, calibration_of
from gmmformer.search.database import damaged
from gmmformer.search.engines.exact import Found
from gmmformer.search.folding import Folded, Spans, search_folded
from gmmformer.search.naming import named_first
from gmmformer.search.snapshot import Snapshot
from gmmformer.search.spans import clip_spans
from gmmformer.search.store import Film, Store


def clock(seconds: float) -> str:
    """A time in a film for people, to the tenth of a second.

    >>> clock(83.25), clock(3725.0)
    ('1:23.2', '1:02:05.0')
    """
    tenths = int(10 * seconds)
    hours, minutes, rest = tenths // 36_000, tenths // 600 % 60, tenths % 600
    return f"{hours}:{minutes:02d}:{rest / 10:04.1f}" if hours else f"{minutes}:{rest / 10:04.1f}"


class Wanted(TypedDict, total=False):
    """What is wanted of a search beside k films; see `Library.search_vectors`."""

    skip: int
    moments: int
    where: str | None
    min_length: float | None
    fold: bool


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
    copies: tuple[Film, ...] = ()
    """Other films that were found and show the same thing, best first (`Library.search`, `fold`)."""
    named: bool = False
    """Whether the words of the sentence stand in the path of the film, or of a copy."""
    clip_scores: Float[np.ndarray, "clips"] = field(compare=False, repr=False)
    """Score of each clip of the window that holds the moment's best clip."""
    clip_spans: Float[np.ndarray, "clips 2"] = field(compare=False, repr=False)
    """The seconds from which to which each of them goes."""
    curve: ScoreCurve = field(compare=False, repr=False)
    """The scores of all clips of the film, of all its windows, along its seconds."""

    def to_dict(self) -> dict[str, str | float | list[str] | None]:
        """The hit as JSON has it: times in seconds, bytes of paths that are no UTF-8 as backslash escapes.

        `named` and `copies` are there only where it is named, and has copies.
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
        }


def hits_of(
    store: Store,
    snapshot: Snapshot,
    queries: Float[np.ndarray, "queries dim"],
    find: Callable[[Float[np.ndarray, "some dim"], int], list[Found]],
    k: int,
    skip: int,
    moments: int,
    fold: bool,
    named: Sequence[Int[np.ndarray, "_named"]],
) -> list[list[Hit]]:
    """The best moments of the k films that `find` finds for each query after the first `skip`, best film first.

    At most `moments` a film. Films that are `named` for a query come before these (`named_first`); with `fold` each is
    shown once.
    """
    spans: Spans = {}

    def known(films: Int[np.ndarray, "films"]) -> Spans:
        spans.update(_spans(store, snapshot, films[~np.isin(films, list(spans))]))
        return spans

    def best(which: Int[np.ndarray, "some"], count: int) -> list[Found]:
        plainly = zip(which.tolist(), find(queries[which], count), strict=True)
        return [named_first(snapshot, queries[query], some, named[query], k) for query, some in plainly]

    if fold:
        found = search_folded(snapshot, len(queries), skip + k, best, known)
    else:
        found = [Folded(some, {}) for some in best(np.arange(len(queries)), skip + k)]
    found = [Folded(Found(some.films[skip:], some.scores[skip:]), alike) for some, alike in found]
    shown = [film for all_of, alike in found for some in (all_of.films.tolist(), *alike.values()) for film in some]
    known(np.unique(np.array(shown, dtype=np.int64)))
    calibration = calibration_of(store.folder)
    medians = snapshot.medians(queries) if calibration else np.zeros(len(queries))
    answers: list[list[Hit]] = []
    for query, (some, alike), median, names in zip(queries, found, medians.tolist(), named, strict=True):
        scores = snapshot.clip_scores(query, snapshot.slots_of(some.films))
        hits: list[Hit] = []
        end = 0
        for index in some.films.tolist():
            start, end = end, end + int(snapshot.counts[index])
            if index in spans:
                copies = tuple(spans[film][0] for film in alike.get(index, ()) if film in spans)
                by_name = bool(np.isin([index, *alike.get(index, ())], names).any())
                hits += _moments(
                    *spans[index], scores[start:end], moments, calibration, median, copies=copies, named=by_name
                )
        answers.append(hits)
    return answers


def hits_in(store: Store, snapshot: Snapshot, query: Float[np.ndarray, "dim"], film_id: int, moments: int) -> list[Hit]:
    """The best moments of a film, given by its id, at most so many; none where there is no such film."""
    indices = np.flatnonzero(snapshot.films == film_id)
    spans = _spans(store, snapshot, indices)
    if not spans:
        return []
    scores = snapshot.clip_scores(query, snapshot.slots_of(indices))
    calibration = calibration_of(store.folder)
    median = float(snapshot.medians(query[None])[0]) if calibration else 0.0
    return list(_moments(*spans[int(indices[0])], scores, moments, calibration, median))


def clip_at(store: Store, snapshot: Snapshot, film_id: int, second: float) -> Float[np.ndarray, "dim"]:
    """The vector of the clip over a second of a film that is there, of the one whose middle is nearest."""
    indices = np.flatnonzero(snapshot.films == film_id)
    ((_, spans),) = _spans(store, snapshot, indices).values()
    window, clip = np.unravel_index(np.abs(spans.mean(2) - second).argmin(), spans.shape[:2])
    return np.asarray(snapshot.fused(snapshot.slots_of(indices)[[window]])[0, clip].numpy())


def _spans(store: Store, snapshot: Snapshot, indices: Int[np.ndarray, "films"]) -> Spans:
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
