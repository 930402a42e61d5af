"""From the films that an engine found to hits: their moments, and how they stand against the library."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int

from gmmformer.media.films import printable
from gmmformer.search.engines.protocol import Found
from gmmformer.search.hits import Background, Hit, background_of
from gmmformer.search.moments import Timeline, moments_of, timeline
from gmmformer.search.schema import damaged
from gmmformer.search.snapshot import Snapshot
from gmmformer.search.store import Film, Store
from gmmformer.search.windows import clip_spans


def hits_of(
    store: Store, snapshot: Snapshot, queries: Float[np.ndarray, "queries dim"], found: Sequence[Found], moments: int
) -> list[list[Hit]]:
    """The best moments of each query's films, at most `moments` a film, best film first."""
    spans = _spans(store, snapshot, np.unique(np.concatenate([some.films for some in found])))
    answers: list[list[Hit]] = []
    for query, some, background in zip(queries, found, _backgrounds(snapshot, queries), strict=True):
        scores = snapshot.clip_scores(query, snapshot.slots_of(some.films))
        hits: list[Hit] = []
        end = 0
        for index in some.films.tolist():
            start, end = end, end + int(snapshot.counts[index])
            if index in spans:
                hits += _moments(*spans[index], scores[start:end], background, moments)
        answers.append(hits)
    return answers


def timeline_of(store: Store, snapshot: Snapshot, query: Float[np.ndarray, "dim"], film: int) -> Timeline | None:
    """The scores of all clips of a film, given by its id, along its seconds; None where there is no such film."""
    indices = np.flatnonzero(snapshot.films == film)
    spans = _spans(store, snapshot, indices)
    if not spans:
        return None
    scores = snapshot.clip_scores(query, snapshot.slots_of(indices))
    return timeline(spans[int(indices[0])][1], scores)


def _spans(
    store: Store, snapshot: Snapshot, indices: Int[np.ndarray, "films"]
) -> dict[int, tuple[Film, Float[np.ndarray, "windows clips 2"]]]:
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
    background: Background,
    count: int,
) -> Iterator[Hit]:
    line = timeline(spans, scores)
    for moment in moments_of(line, count):
        over = (spans[..., 0] <= moment.peak) & (moment.peak < spans[..., 1])
        window = int(np.argmax(np.where(over, scores, -np.inf).max(axis=1)))
        yield Hit(
            id=film.id,
            film=film.path,
            start=moment.start,
            end=moment.end,
            score=moment.score,
            strength=background.strength(moment.score),
            word=background.word(moment.score),
            length=film.timing.length,
            clip_scores=scores[window],
            clip_spans=spans[window],
            timeline=line,
        )


def _backgrounds(snapshot: Snapshot, queries: Float[np.ndarray, "queries dim"]) -> list[Background]:
    """How the library scores at large for each query, from a sample drawn once for all."""
    sampled = snapshot.sampled
    scores = snapshot.format.best_scores(queries, sampled, np.arange(len(sampled.vectors)))
    return background_of(scores, len(snapshot.windows), snapshot.typical_spread)
