"""Long films cut into windows, the seconds that rows, windows and clips stand for, and from scores to moments."""

from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from gmmformer.errors import InputError
from gmmformer.model import segment_edges
from gmmformer.model.pooling import concatenated_ranges
from gmmformer.search.database import LONGEST, MOST_ROWS

EVEN = 1e-3
"""Seconds by which rows may be off an even spacing and still count as evenly spaced."""
_INSTANT = 1e-6
CLOSE = 0.5
"""How far below the best clip a moment's clips may score, as a share of the way down to the film's median clip.

This is the one place that says how long a moment is: 0 is the best clip alone, 1 all around it that is better than
half of the film.
"""


class Window(NamedTuple):
    """Some rows of a film, a video to the model."""

    first: int
    rows: int


def cut(rows: int, longest: int, overlap: float = 0.25) -> list[Window]:
    """The windows of a film: all of it if it fits, else `longest` rows each.

    Each repeats the given share of the one before, and the last as much more as it takes to be a whole one.

    >>> cut(100, 128), cut(230, 128)
    ([Window(first=0, rows=100)], [Window(first=0, rows=128), Window(first=96, rows=128), Window(first=102, rows=128)])
    """
    if rows <= longest:
        return [Window(0, rows)]
    stride = max(1, longest - round(longest * overlap))
    return [Window(first, longest) for first in [*range(0, rows - longest, stride), rows - longest]]


@dataclass(frozen=True)
class Timing:
    """When a film's rows were taken."""

    first: float
    """Second of the first row."""
    step: float
    """Seconds from row to row; on average if they are not evenly spaced."""
    length: float
    """Seconds of the film."""
    seconds: Float[np.ndarray, "rows"] | None = field(default=None, compare=False)
    """The second of every row, if they are not evenly spaced."""

    def taken(self, rows: int) -> Float[np.ndarray, "rows"]:
        """The second at which each row was taken."""
        return self.first + self.step * np.arange(rows) if self.seconds is None else self.seconds

    def row_edges(self, rows: int) -> Float[np.ndarray, "edges"]:
        """The rows + 1 seconds between which each row stands for its film.

        A row stands for all that is nearer to it than to another row, the first and last from the film's beginning and
        to its end.
        """
        taken = self.taken(rows)
        inner = (taken[1:] + taken[:-1]) / 2
        begin, end = max(0.0, self.first - self.step / 2), max(self.length, float(taken[-1]))
        edges = np.maximum.accumulate(np.concatenate([[begin], inner, [end]]))
        if (np.diff(edges) > 0).all():
            return np.asarray(edges)
        return np.asarray(edges + _INSTANT * np.arange(rows + 1))  # rows taken at one second still follow each other


def timing(rows: int, seconds: Float[np.ndarray, "rows"] | None, length: float | None, name: str) -> Timing:
    """When the rows of a film were taken, in the form that the library keeps.

    Without `seconds` nothing is known, and each row is taken to stand for one second: what is called a second is a row
    then. Without `length` the film ends half a step after its last row.

    Raises:
        InputError: The seconds are not one per row, finite, 0 or more, in order.
    """
    if rows > MOST_ROWS:
        raise InputError(f"{name}: has {rows:,} rows, and no film of more than {MOST_ROWS:,} is taken in; cut it")
    if length is not None and not 0 <= length <= LONGEST:
        raise InputError(f"{name}: its length of {length} seconds must be from 0 to {LONGEST:,.0f}; leave it out")
    if seconds is None:
        return Timing(0.5, 1.0, float(rows) if length is None else float(length))
    seconds = np.asarray(seconds, dtype=np.float64)
    if seconds.shape != (rows,) or not are_seconds(seconds):
        raise InputError(
            f"{name}: the seconds of its rows must be one for each of the {rows} rows, finite, 0 or more, and in "
            "order; extract its features again"
        )
    first = float(seconds[0])
    step = float(seconds[-1] - first) / (rows - 1) if rows > 1 else (2 * first or 1.0)
    end = float(seconds[-1]) + step / 2 if length is None else float(length)
    even = first + step * np.arange(rows)
    return Timing(first, step, end, None if np.allclose(seconds, even, rtol=0, atol=EVEN) else seconds)


def are_seconds(seconds: Float[np.ndarray, "rows"]) -> bool:
    """Whether these can be when the rows of a film were taken: at least one, 0 or more, in order, within `LONGEST`."""
    return bool(len(seconds) and seconds[0] >= 0 and seconds[-1] <= LONGEST and (np.diff(seconds) >= 0).all())


def clip_spans(edges: Float[np.ndarray, "edges"], window: Window, clips: int) -> Float[np.ndarray, "clips 2"]:
    """The second at which each clip of a window begins and the one at which it ends.

    `edges` are the film's `row_edges`. A clip stands for its rows, the last one for all that is left of the window; in
    a window of fewer rows than clips, clips made of the same row stand for the same seconds.
    """
    return np.asarray(edges[window.first + _clip_rows(window.rows, clips)])


def clips_at(
    spans: Float[np.ndarray, "windows clips 2"], count: int
) -> tuple[Int[np.ndarray, "count"], Int[np.ndarray, "count"]]:
    """The windows and the clips in them that stand for seconds of a film, so many of them, evenly spaced."""
    ends = spans.reshape(-1, 2)
    begin, end = float(ends.min()), float(ends.max())
    seconds = (begin + (end - begin) * (np.arange(count) + 0.5) / count)[:, None]
    windows, clips = np.divmod(np.argmax((ends[:, 0] <= seconds) & (seconds < ends[:, 1]), axis=1), spans.shape[1])
    return windows, clips


@cache
def _clip_rows(rows: int, clips: int) -> Int[np.ndarray, "clips 2"]:
    """The row of a window that each clip begins with, and the one that it ends before."""
    starts = segment_edges(rows, clips)[:-1]
    stops = np.append(starts, rows)[np.searchsorted(starts, starts, side="right")]
    return np.stack([starts, stops], axis=1)


class Moment(NamedTuple):
    """A stretch of a film."""

    start: float
    """Seconds."""
    end: float
    """Seconds; after `start`."""
    score: float
    """Of its best clip."""
    peak: float
    """The second in the middle of its best clip."""


class ScoreCurve(NamedTuple):
    """How each second of a film scores for a query: stretches that follow each other, each with one score."""

    edges: Float[np.ndarray, "edges"]
    """Seconds, ascending: one more than there are scores."""
    scores: Float[np.ndarray, "stretches"]


def score_curve(spans: Float[np.ndarray, "windows clips 2"], scores: Float[np.ndarray, "windows clips"]) -> ScoreCurve:
    """What the clips of all of a film's windows say about each of its seconds: the best score of the clips over it.

    Where windows overlap, so do their clips; clips made of the same row count as one.
    """
    if len(spans) == 1 and (spans[0, 1:, 0] == spans[0, :-1, 1]).all():
        return ScoreCurve(np.append(spans[0, :, 0], spans[0, -1, 1]), scores[0])
    edges = np.unique(spans)
    best = np.full(len(edges) - 1, -np.inf, dtype=np.float32)
    starts, stops = np.searchsorted(edges, spans[..., 0]), np.searchsorted(edges, spans[..., 1])
    for start, stop, score in zip(starts, stops, scores, strict=True):
        lengths = stop - start
        np.maximum.at(best, concatenated_ranges(start, lengths), np.repeat(score, lengths))
    return ScoreCurve(edges, best)


def moments_of(curve: ScoreCurve, count: int = 1, close: float = CLOSE) -> list[Moment]:
    """The best moments of a film, best first, at most `count`.

    A moment is the run of neighbouring stretches around the best one that score at least
    best - close * (best - the film's median). The next is looked for outside the hill on which the last one stands,
    that is, past the points to both sides where the score rises again, and only while it is better than the median.
    """
    scores = curve.scores
    ascending = np.sort(scores)
    middle = float(ascending[(len(scores) - 1) // 2] + ascending[len(scores) // 2]) / 2
    free = np.ones(len(scores), dtype=bool)
    found: list[Moment] = []
    while len(found) < count and free.any():
        peak = int(np.argmax(np.where(free, scores, -np.inf)))
        best = float(scores[peak])
        if found and best <= middle:
            break
        good = free & (scores >= best - close * (best - middle))
        left, right = _run(good, peak)
        found.append(
            Moment(
                float(curve.edges[left]),
                float(curve.edges[right]),
                best,
                float(curve.edges[peak] + curve.edges[peak + 1]) / 2,
            )
        )
        left, right = _hill(scores, left, right)
        free[left:right] = False
    return found


def _run(good: Bool[np.ndarray, "stretches"], peak: int) -> tuple[int, int]:
    """The stretches [left, right) around `peak` that are all good."""
    bad = np.flatnonzero(~good)
    place = int(np.searchsorted(bad, peak))
    left = int(bad[place - 1]) + 1 if place else 0
    return left, int(bad[place]) if place < len(bad) else len(good)


def _hill(scores: Float[np.ndarray, "stretches"], left: int, right: int) -> tuple[int, int]:
    """[left, right) with the slopes on both sides, down to where they rise again."""
    while left > 0 and scores[left - 1] <= scores[left]:
        left -= 1
    while right < len(scores) and scores[right] <= scores[right - 1]:
        right += 1
    return left, right
