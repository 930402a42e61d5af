"""Long films cut into windows, and the seconds that rows, windows and clips stand for."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gmmformer.errors import InputError
from gmmformer.evaluation.moments import clip_rows
from gmmformer.search.tables import LONGEST, MOST_ROWS

EVEN = 1e-3
"""Seconds by which rows may be off an even spacing and still count as evenly spaced."""
_INSTANT = 1e-6


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
    return np.asarray(edges[window.first + clip_rows(window.rows, clips)])


def clips_at(
    spans: Float[np.ndarray, "windows clips 2"], count: int
) -> tuple[Int[np.ndarray, "count"], Int[np.ndarray, "count"]]:
    """The windows and the clips in them that stand for seconds of a film, so many of them, evenly spaced."""
    ends = spans.reshape(-1, 2)
    begin, end = float(ends.min()), float(ends.max())
    seconds = (begin + (end - begin) * (np.arange(count) + 0.5) / count)[:, None]
    windows, clips = np.divmod(np.argmax((ends[:, 0] <= seconds) & (seconds < ends[:, 1]), axis=1), spans.shape[1])
    return windows, clips
