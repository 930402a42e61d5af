"""When a frame is on screen, and which moments of a film are asked for."""

import math
from dataclasses import dataclass
from fractions import Fraction

from gmmformer.errors import InputError

LEAST_FPS, MOST_FPS = 0.0001, 1000
LONGEST_GAP = 3600
"""Seconds. A timestamp further ahead than this is taken for an error."""
ROUNDING = Fraction(1, 2000)
"""Seconds by which the coarsest clock that still rounds frame times, Matroska's, may be off."""
RESTART = 1
"""Seconds. A timestamp further back than this means that the clock was set anew."""


@dataclass(frozen=True, kw_only=True)
class Ticks:
    """The moments asked for, counted from the film's first frame: start, start + 1/rate, start + 2/rate, ..."""

    rate: Fraction
    """Per second."""
    start: Fraction = Fraction(0)
    """Seconds."""
    end: Fraction | None = None
    """Seconds; no moment is at or after it."""

    def moment(self, tick: int) -> Fraction:
        """Seconds of a tick."""
        return self.start + tick / self.rate

    def threshold(self, tick: int, time_base: Fraction) -> int | None:
        """The latest time, in units of `time_base` from the film's first frame, of the frame shown at a tick.

        Half a unit, and at most half a millisecond, later than the tick, so that a time which the container rounded up
        still counts; None past the end.
        """
        moment = self.moment(tick)
        if self.end is not None and moment >= self.end:
            return None
        return math.floor((moment + min(time_base / 2, ROUNDING)) / time_base)


def requested_ticks(fps: float | None, start: float | None, end: float | None) -> Ticks:
    """The moments that a caller asks for; without `fps` one a second, which nobody looks at.

    Raises:
        InputError: The numbers make no sense.
    """
    if fps is not None and not LEAST_FPS <= fps <= MOST_FPS:
        raise InputError(f"fps {fps} must be at least {LEAST_FPS} and at most {MOST_FPS}")
    if start is not None and not 0 <= start < math.inf:
        raise InputError(f"start {start} must be a number of seconds, at least 0")
    if end is not None and not (start or 0) < end < math.inf:
        raise InputError(f"end {end} must be a number of seconds after start {start or 0}")
    return Ticks(
        rate=Fraction(fps or 1).limit_denominator(1_000_000),
        start=Fraction(start or 0),
        end=None if end is None else Fraction(end),
    )


def end_of_film(last: int, duration: int) -> Fraction:
    """When a film is over whose last frame is shown at `last` for `duration`, all in the same unit.

    A unit early, or half of a very short duration, as containers round both.
    """
    return last + duration - min(Fraction(1), Fraction(duration, 2))


class Timeline:
    """Puts frames, in the order of showing, on a clock that starts at the first and never runs backwards.

    A frame without a timestamp comes one usual frame after the one before. A timestamp up to a second back puts the
    frame at the same moment as the one before; one further back, or over an hour ahead, means a clock that was set anew
    (joined recordings, a broken clock): the film goes on one usual frame later.
    """

    def __init__(self, time_base: Fraction, frame_ticks: int) -> None:
        self._usual = frame_ticks
        self._restart = math.ceil(RESTART / time_base)
        self._gap = math.floor(LONGEST_GAP / time_base)
        self._origin: int | None = None
        self._last = -frame_ticks

    def place(self, pts: int | None) -> int:
        """The time of the next frame, in units of the stream's time base from the first frame."""
        following = self._last + self._usual
        if pts is None:
            time = following
        else:
            if self._origin is None:
                self._origin = pts - following
            time = pts - self._origin
            if time < self._last - self._restart or time > self._last + self._gap:
                self._origin = pts - following
                time = following
        self._last = max(time, self._last, 0)
        return self._last
