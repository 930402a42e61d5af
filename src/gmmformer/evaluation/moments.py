"""From scores to moments: from where to where the clips of a film, or of a collection's video, answer a query.

The one rule, for searching and for measuring; whether places along a film are seconds or rows is all the same to it.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from gmmformer.model.pooling import concatenated_ranges, segment_edges

CLOSE = 0.5
"""How far below the best clip a moment's clips may score, as a share of the way down to the film's median clip.

This is the one place that says how long a moment is: 0 is the best clip alone, 1 all around it that is better than
half of the film.
"""


@cache
def clip_rows(rows: int, clips: int) -> Int[np.ndarray, "clips 2"]:
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
    scores, middle = curve.scores, _middle(curve.scores)
    free = np.ones(len(scores), dtype=bool)
    found: list[Moment] = []
    while len(found) < count and free.any():
        peak = int(np.argmax(np.where(free, scores, -np.inf)))
        best = float(scores[peak])
        if found and best <= middle:
            break
        left, right = _run(free & (scores >= best - close * (best - middle)), peak)
        found.append(_moment(curve, left, right, peak))
        left, right = _hill(scores, left, right)
        free[left:right] = False
    return found


def moment_at(curve: ScoreCurve, second: float, close: float = CLOSE) -> Moment:
    """The moment around a second of a film, by the same rule; a stretch below the median is one by itself."""
    peak = int(np.clip(np.searchsorted(curve.edges, second, side="right") - 1, 0, len(curve.scores) - 1))
    best = float(curve.scores[peak])
    good = curve.scores >= best - close * (best - _middle(curve.scores))
    left, right = _run(good, peak) if good[peak] else (peak, peak + 1)
    return _moment(curve, left, right, peak)


def _moment(curve: ScoreCurve, left: int, right: int, peak: int) -> Moment:
    """The stretches [left, right) of a film, whose best is `peak`."""
    begin, end = curve.edges[left], curve.edges[right]
    return Moment(float(begin), float(end), float(curve.scores[peak]), float(curve.edges[peak : peak + 2].mean()))


def _middle(scores: Float[np.ndarray, "stretches"]) -> float:
    """The median."""
    ascending = np.sort(scores)
    return float(ascending[(len(scores) - 1) // 2] + ascending[len(scores) // 2]) / 2


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
