"""Where moments lie, in frames: how frames are counted and called, and each moment on its film and on one timeline.

Nothing else turns seconds into frames for an editing program.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path, PureWindowsPath
from typing import NamedTuple
from urllib.parse import quote

from gmmformer.files import lies_in
from gmmformer.media.films import printable
from gmmformer.media.frames import FilmInfo, Sound
from gmmformer.search import Film

TITLE = "gmmformer moments"
STANDARD_RATES = tuple(map(Fraction, ("24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60")))
"""Frames per second that the timeline of an editing program can have."""
NTSC_MULTIPLES = (24, 30)
"""Of these, and of what is a whole number of times as fast, there are rates slower by 1000/1001."""
USUAL_RATE = Fraction(25)
MOST_SOUNDS = 16
"""Sound tracks of a timeline, and channels of a film on it."""
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\", re.ASCII)
_LABEL = re.compile(r"(\d{1,2})[:;.](\d{1,2})[:;.](\d{1,2})([:;.])(\d{1,3})", re.ASCII)
_DAY = 24


class StartCode(NamedTuple):
    """The time code of a film's first frame."""

    hours: int
    minutes: int
    seconds: int
    frames: int
    per_second: int
    """Names in a second."""


MIDNIGHT = StartCode(0, 0, 0, 0, 1)


class Counting(NamedTuple):
    """How frames are counted: so many a second, and whether some of their names are left out to keep up with clocks."""

    rate: Fraction
    """Frames per second."""
    drop: bool = False

    @property
    def nominal(self) -> int:
        """Names in a second of time code: 30 for 29.97."""
        return max(1, round(self.rate))

    @property
    def _dropped(self) -> int:
        """Names left out in a minute, except each tenth: 2 of 29.97, 4 of 59.94."""
        return self.nominal // 15 if self.drop else 0

    def frame(self, code: StartCode) -> int:
        """The number of the frame that a time code names, from 00:00:00:00; of another rate, that of its moment."""
        minutes = code.hours * 60 + code.minutes
        frames = code.frames * self.nominal // code.per_second
        named = (minutes * 60 + code.seconds) * self.nominal + frames
        return named - self._dropped * (minutes - minutes // 10)

    def label(self, frame: int) -> str:
        """The time code of a frame; after a day it begins anew.

        >>> Counting(Fraction(25)).label(90_000), Counting(Fraction(30_000, 1001), drop=True).label(1800)
        ('01:00:00:00', '00:01:00;02')
        """
        ten_minutes = self.nominal * 600 - 9 * self._dropped
        tens, rest = divmod(frame % (ten_minutes * 6 * _DAY), ten_minutes)
        first = self.nominal * 60  # the tenth minute has all its names
        minutes = 0 if rest < first else 1 + (rest - first) // (first - self._dropped)
        seconds, frames = divmod(tens * self.nominal * 600 + rest + minutes * self._dropped, self.nominal)
        mark = ";" if self.drop else ":"
        return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{mark}{frames:02d}"

    def span(self, start: float, end: float) -> tuple[int, int]:
        """The frames from a second to another, counted from the film's first: the nearest ones, one at least."""
        first = round(start * self.rate)
        return first, max(first + 1, round(end * self.rate))


def counting_of(rate: Fraction | None, code: str | None, otherwise: Fraction) -> tuple[Counting, StartCode | None]:
    """How a film's frames are counted, and the time code of its first.

    Args:
        rate: Frames per second that the film claims, if it does.
        code: The time code that it claims, such as 10:00:00;00, if it does; what is none is no time code.
        otherwise: The rate where the film has none.
    """
    rate = otherwise if rate is None else nearest_rate(rate)
    counting = Counting(rate)
    found = _LABEL.fullmatch((code or "").strip())
    if found is None:
        return counting, None
    hours, minutes, seconds, frames = (int(found[place]) for place in (1, 2, 3, 5))
    if hours >= _DAY or minutes >= 60 or seconds >= 60:
        return counting, None
    drop = found[4] != ":" and rate.denominator == 1001 and counting.nominal % 30 == 0
    frames = min(frames, counting.nominal - 1)
    return counting._replace(drop=drop), StartCode(hours, minutes, seconds, frames, counting.nominal)


def nearest_rate(rate: Fraction) -> Fraction:
    """The rate nearest to one that was measured: whole, or slower than a whole one by 1000/1001.

    >>> nearest_rate(Fraction(2997, 100)), nearest_rate(Fraction(12)), nearest_rate(Fraction(1, 3))
    (Fraction(30000, 1001), Fraction(12, 1), Fraction(1, 1))
    """
    whole = max(1, round(rate))
    slower = Fraction(max(1, round(rate * 1001 / 1000)) * 1000, 1001)
    known = [Fraction(whole)]
    if any(slower * 1001 / 1000 % multiple == 0 for multiple in NTSC_MULTIPLES):
        known.append(slower)
    return min(known, key=lambda one: abs(one - rate))


def _standard_rate(rate: Fraction) -> Fraction:
    """The nearest standard rate, one that shows each frame equally often if there is one: 24 for 12."""
    return min(STANDARD_RATES, key=lambda one: ((one / rate).denominator > 1, abs(one - rate)))


def common_counting(films: Iterable[tuple[Counting, StartCode | None]]) -> Counting:
    """The standard rate that suits most films, counted as most of them that say so are.

    >>> common_counting([(Counting(Fraction(rate)), None) for rate in (12, 25, 25)])
    Counting(rate=Fraction(25, 1), drop=False)
    """
    films = list(films)
    near = Counter(_standard_rate(film.rate) for film, _ in films)
    rate = near.most_common(1)[0][0] if near else USUAL_RATE
    told = Counter(film.drop for film, code in films if code is not None and film.rate == rate)
    return Counting(rate, drop=bool(told) and told.most_common(1)[0][0])


class Picked(NamedTuple):
    """A moment to export."""

    film: Film
    start: float
    """Seconds."""
    end: float
    query: str = ""
    name: str = ""
    """What the person calls it."""
    note: str = ""
    info: FilmInfo | None = None
    """What the film's file says of itself, where it could be asked."""


class Elsewhere(NamedTuple):
    """Where films of a folder lie for the machine that the file is for."""

    here: str
    there: str

    def holds(self, path: str) -> bool:
        """Whether a film lies in that folder."""
        return lies_in(path, self.here)

    def path(self, path: str) -> str:
        """The path of a film on that machine."""
        if not self.holds(path):
            return path
        rest = path[len(self.here.rstrip("/")) :]
        if _WINDOWS.match(self.there):
            return self.there.rstrip("\\/") + rest.replace("/", "\\")
        return self.there.rstrip("/") + rest


class Wanted(NamedTuple):
    """What is wanted beside the moments themselves."""

    handles: float = 0.0
    """Seconds that a clip has before and after its moment, as far as its film has them."""
    elsewhere: Elsewhere | None = None


class Placed(NamedTuple):
    """A moment on its film and on the timeline, in frames."""

    one: Picked
    start: float
    """Seconds, handles included."""
    end: float
    path: str
    """Of the film, where the file is for."""
    own: Counting
    """How the film's frames are counted."""
    code: StartCode
    timeline: Counting
    record: int
    """The frame of the timeline at which the clip begins."""

    def source(self, counting: Counting) -> tuple[int, int]:
        """From which frame to which the clip goes, counted from the film's first."""
        return counting.span(self.start, self.end)

    @property
    def frames(self) -> int:
        """Frames that the clip has on the timeline."""
        first, last = self.source(self.timeline)
        return last - first

    @property
    def moment(self) -> tuple[int, int]:
        """The moment without handles, in frames of the timeline, counted from where the clip begins."""
        first = self.source(self.timeline)[0]
        begins, ends = self.timeline.span(self.one.start, self.one.end)
        return begins - first, max(1, min(ends - begins, self.frames))

    @property
    def length(self) -> int:
        """Frames of the whole film."""
        return max(self.source(self.own)[1], self.own.span(0, self.one.film.timing.length)[1])

    @property
    def name(self) -> str:
        """What the clip is called."""
        return printable(self.one.name) or film_name(self.one.film)

    @property
    def told(self) -> str:
        """What its marker says."""
        return printable(self.one.query) or self.name

    @property
    def sounds(self) -> tuple[Sound, ...]:
        """The film's sound streams, as far as a timeline takes them."""
        taken, channels = list[Sound](), 0
        for sound in self.one.info.sounds if self.one.info else ():
            channels += sound.channels
            if channels > MOST_SOUNDS:
                break
            taken.append(sound)
        return tuple(taken)

    @property
    def reel(self) -> str | None:
        """The film's reel, if it has one."""
        return printable(self.one.info.reel) if self.one.info and self.one.info.reel else None


def placed(moments: Sequence[Picked], wanted: Wanted) -> list[Placed]:
    """The moments one after another on a timeline."""
    usual = common_counting(_counted(one, USUAL_RATE) for one in moments if one.info and one.info.rate)
    counted = [_counted(one, usual.rate) for one in moments]
    timeline = common_counting(counted)
    clips, record = list[Placed](), 0
    for one, (own, code) in zip(moments, counted, strict=True):
        start, end = widened(one, wanted)
        clips.append(Placed(one, start, end, path_of(one, wanted), own, code or MIDNIGHT, timeline, record))
        record += clips[-1].frames
    return clips


def _counted(one: Picked, otherwise: Fraction) -> tuple[Counting, StartCode | None]:
    rate, code = (one.info.rate, one.info.timecode) if one.info else (None, None)
    return counting_of(rate, code, otherwise)


def widened(one: Picked, wanted: Wanted) -> tuple[float, float]:
    """From which second to which its clip goes, handles included."""
    length = one.film.timing.length
    return max(0.0, one.start - wanted.handles), max(one.end, min(length, one.end + wanted.handles))


def path_of(one: Picked, wanted: Wanted) -> str:
    """Where its film lies for the machine that the file is for."""
    return one.film.path if wanted.elsewhere is None else wanted.elsewhere.path(one.film.path)


def film_name(film: Film) -> str:
    """The name of a film's file as a line of text."""
    return printable(os.path.basename(film.path))  # noqa: PTH119 - may hold any bytes


def address(path: str) -> str:
    """A film's path as a URL."""
    if _WINDOWS.match(path):
        return PureWindowsPath(path).as_uri()
    return Path(path).as_uri() if Path(path).is_absolute() else quote(os.fsencode(path))
