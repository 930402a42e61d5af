"""The one timeline of a film: when each picture is on screen, and which moments of the film are asked for.

Second 0 is when the first picture that decoding shows comes on screen. Clock puts packets, as they are read, on one
clock that is never set anew; Timeline puts frames, as they are shown, on seconds. Sampling, seeking and cutting all
read their packets through the one and place their frames by what came of it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from gmmformer.errors import InputError

LEAST_FPS, MOST_FPS = 0.0001, 1000
LONGEST_GAP = 86_400
"""Seconds, a day. A timestamp further ahead of the one before is taken for an error in any container."""
CLOCK_BACK, CLOCK_AHEAD = Fraction(1, 4), 10
"""Seconds. In containers whose clock may be set anew at any time, such as transport streams (whose standard asks for a
timestamp every 0.7 s), one further back or ahead than this means another clock, as it does to ffmpeg; elsewhere one
ahead means that a picture stays."""
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


class Clock:
    """Puts a stream's packets, in the order of decoding, on one clock that goes on where the container's is set anew.

    It is set anew where the time of decoding steps back by more than RESTART, or ahead by more than LONGEST_GAP; in a
    container that allows it, by more than CLOCK_BACK or CLOCK_AHEAD. The packet's picture is then shown one usual frame
    after the latest so far.
    """

    def __init__(self, time_base: Fraction, frame_ticks: int, *, jumps: bool, changes: Sequence[Fraction] = ()) -> None:
        """For one stream, from its first packet on.

        Args:
            time_base: Seconds of a unit of its times.
            frame_ticks: A usual frame's time on screen, in those units.
            jumps: Whether the container allows its clock to jump.
            changes: What another stream's clock found, for this one to do the same; else it finds its own.
        """
        self.changes: list[Fraction] = []
        """For each time that the clock was set anew, the seconds added to the container's times from then on."""
        self._given = changes
        self._time_base, self._usual = time_base, frame_ticks
        self._back = math.ceil((CLOCK_BACK if jumps else RESTART) / time_base)
        self._ahead = math.floor((CLOCK_AHEAD if jumps else LONGEST_GAP) / time_base)
        self._offset = 0
        self._decoded: int | None = None
        self._shown: int | None = None

    def mend(self, packet: Any) -> None:
        """Put the times of the next packet on the one clock."""
        pts, dts = packet.pts, packet.dts
        if dts is not None:
            if self._decoded is not None and not -self._back <= dts + self._offset - self._decoded <= self._ahead:
                self._set_anew(dts, pts)
            time = dts + self._offset
            self._decoded = time if self._decoded is None else max(time, self._decoded)
        if pts is not None:
            self._shown = pts + self._offset if self._shown is None else max(self._shown, pts + self._offset)
        if self._offset:
            packet.pts = None if pts is None else pts + self._offset
            packet.dts = None if dts is None else dts + self._offset

    def _set_anew(self, dts: int, pts: int | None) -> None:
        if len(self.changes) < len(self._given):
            self._offset = round(self._given[len(self.changes)] / self._time_base)
        elif self._shown is not None and pts is not None:
            self._offset = self._shown + self._usual - pts
        else:
            self._offset = (self._decoded or 0) + self._usual - dts
        self._decoded = None
        self.changes.append(self._offset * self._time_base)


class Timeline:
    """Puts frames, in the order of showing, on a clock that starts at the first and never runs backwards.

    A frame without a timestamp comes one usual frame after the one before. A timestamp up to a second back puts the
    frame at the same moment as the one before; one further back, or more than LONGEST_GAP ahead, is damaged or was
    mended by no Clock: the film goes on one usual frame later.
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
