"""Frames of a film by the second: the frame that a viewer would see at each moment asked for."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from gmmformer.errors import InputError
from gmmformer.media.container import OpenFilm, open_film
from gmmformer.media.films import DecodeError, DecodeReport, regular_file
from gmmformer.media.pictures import PictureMaker
from gmmformer.media.skipping import UnskippableError, picked_by_skipping, skippable
from gmmformer.media.timeline import LONGEST_GAP, Ticks, Timeline, end_of_film, requested_ticks

MOST_RATE = 300
"""Frames per second; what claims more means the ticks of its clock."""
SEEK_FROM = 2
"""Seconds into a film from which jumping there is worth the trouble."""
STILL_SECONDS = 100
"""A film is sampled for a day, and this much longer for each picture in it: what its clock claims beyond is no film."""


class Sound(NamedTuple):
    """A sound stream."""

    channels: int
    rate: int
    """Samples per second."""


@dataclass(frozen=True, kw_only=True)
class FilmInfo:
    """What a film's header and its first frame say."""

    path: Path
    duration: float | None
    """Seconds that the header claims; None where it does not say. Often a lie: decoding alone tells."""
    width: int
    """Pixels across as shown: upright, samples square."""
    height: int
    """Pixels down as shown."""
    codec: str
    pixel_format: str
    """Of the stored frames, in ffmpeg's names."""
    rotation: int
    """Degrees counter-clockwise by which a stored frame is turned upright, mirroring aside: 0, 90, 180 or 270."""
    rate: Fraction | None
    """Frames per second: of a varying rate the likeliest; None where nobody can say."""
    container: str
    """The file format, in ffmpeg's names."""
    timecode: str | None
    """The time code that the container gives its first frame, such as 10:00:00:00, or 10:00:00;00 where names of
    frames are left out; as it stands there."""
    reel: str | None
    """The name of the tape or card that it came from, as it stands in the container."""
    sounds: tuple[Sound, ...]
    """Its sound streams, in their order."""


class Frame(NamedTuple):
    """What is on screen at one moment of a film."""

    seconds: float
    """The moment asked for, or with fps=None the frame's own time; counted from the film's first frame."""
    image: UInt8[np.ndarray, "height width 3"]
    """Upright RGB for an ordinary screen. Moments that see the same frame share the array: do not write to it."""


def probe(path: str | os.PathLike[str]) -> FilmInfo:
    """What a film is, after decoding its first frame.

    Raises:
        DecodeError: Nothing in it can be decoded; the reason says why.
    """
    with open_film(path) as film:
        frame, stream = film.first_frame(), film.stream
        width, height = film.display_size(frame)
        return FilmInfo(
            path=Path(path),
            duration=film.duration,
            width=width,
            height=height,
            codec=stream.codec.canonical_name,
            pixel_format=frame.format.name,
            rotation=film.orientation(frame).degrees,
            rate=next(
                (rate for rate in (stream.guessed_rate, stream.average_rate) if rate and rate <= MOST_RATE), None
            ),
            container=film.container.format.name,
            timecode=_told(film, "timecode"),
            reel=_told(film, "reel_name"),
            sounds=tuple(
                Sound(max(1, sound.channels), sound.rate)
                for sound in film.container.streams.audio
                if sound.codec_context is not None
            ),
        )


def _told(film: OpenFilm, name: str) -> str | None:
    """What is said under a name of the film's stream, else of the file, else of another stream."""
    for part in (film.stream, film.container, *film.container.streams):
        for known, value in part.metadata.items():
            if known.lower() == name:
                return str(value)
    return None


def sampled_frames(
    path: str | os.PathLike[str],
    *,
    fps: float | None = 1.0,
    size: int | None = 256,
    start: float | None = None,
    end: float | None = None,
    threads: int = 1,
    report: DecodeReport | None = None,
) -> Iterator[Frame]:
    """The frames on screen at start, start + 1/fps, start + 2/fps, ... seconds after the film's first frame.

    The frame on screen at a moment is the last one whose presentation time is not later, give or take half a unit of
    the container's clock (at most half a millisecond); the last frame stays for its own duration. It is the frame that
    decoding the whole film would give: where the packets tell which frames are needed (see skipping.py) the
    others are not decoded, and a film that turns out to be damaged is decoded whole. Damage in frames that nobody needs
    is not noticed. Where the container's clock is set anew, as in joined recordings, the film goes on (timeline.py).
    Memory does not grow with the length of the film.

    Args:
        path: The film.
        fps: Moments per second; None for every frame at its own time.
        size: Length of the shorter side; a smaller film is never enlarged; None for the film's own size.
        start: Seconds; None for 0.
        end: Seconds, not included; None for the film's end.
        threads: Threads of the decoder; 0 for one per core. With more than one, a damaged film may lose other frames.
        report: Filled while the frames are taken.

    Raises:
        InputError: fps, size, start or end make no sense.
        DecodeError: Nothing can be decoded, the file changed while it was read, or its few pictures claim to last for
            days.
    """
    ticks = requested_ticks(fps, start, end)
    if size is not None and size < 1:
        raise InputError(f"size {size} must be at least 1")
    report = report or DecodeReport()
    before = regular_file(path)
    maker: PictureMaker | None = None
    last: Any = None
    for seconds, frame, film in _picked(path, ticks, fps is None, threads, report):
        if fps is not None and seconds - ticks.start > LONGEST_GAP + STILL_SECONDS * report.packets:
            raise DecodeError(path, _too_long(seconds, report.packets))
        if maker is None or maker.film is not film:
            maker = PictureMaker(film, size=size)
        if frame is not last:
            last, image = frame, maker.picture(frame)
        yield Frame(seconds, image)
    after = regular_file(path)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise DecodeError(
            path, "changed while it was read: it is still being written or copied; run again when it is whole"
        )


def frame_at(path: str | os.PathLike[str], seconds: float, size: int | None = 256) -> Frame:
    """The frame on screen `seconds` after the film's first frame, or the last one where the film ends before.

    Raises:
        InputError: `seconds` is negative or not a number.
        DecodeError: Nothing can be decoded.
    """
    report = DecodeReport()
    for moment in (seconds, None):
        start = report.last_frame if moment is None else moment
        for frame in sampled_frames(path, size=size, start=start, end=start + 0.5, report=report):
            return frame
    raise DecodeError(path, "its last frame cannot be decoded")


def _picked(
    path: str | os.PathLike[str], ticks: Ticks, every_frame: bool, threads: int, report: DecodeReport
) -> Iterator[tuple[float, Any, OpenFilm]]:
    """Moments with their frames: by skipping while that works, else by decoding everything."""
    given = 0
    attempts = [True, False] if ticks.start > SEEK_FROM else [False]
    for seek in [] if every_frame else attempts:
        with open_film(path, threads=threads, report=report) as film:
            if not skippable(film):
                break
            try:
                for tick, frame in picked_by_skipping(film, ticks, seek=seek):
                    if tick >= given:
                        yield float(ticks.moment(tick)), frame, film
                        given = tick + 1
                if not report.frames_decoded:
                    raise film.nothing_decodable()
                return
            except UnskippableError:
                report.start_over()
    with open_film(path, threads=threads, report=report) as film:
        every = placed(film)
        if every_frame:
            for time, frame in every:
                seconds = time * film.time_base
                if seconds >= ticks.start and (ticks.end is None or seconds < ticks.end):
                    yield float(seconds), frame, film
        else:
            for tick, frame in _picked_from_all(film, every, ticks):
                if tick >= given:
                    yield float(ticks.moment(tick)), frame, film
        if not report.frames_decoded:
            raise film.nothing_decodable()


def _too_long(seconds: float, pictures: int) -> str:
    return (
        f"claims that its first {pictures} pictures last {seconds / 86_400:.1f} days and more; its clock is wrong, "
        "write it anew with its true frame rate"
    )


def placed(film: OpenFilm) -> Iterator[tuple[int, Any]]:
    """Every frame with its time; reports the film's length at the end."""
    timeline = Timeline(film.time_base, film.frame_ticks)
    time, duration = 0, 0
    for frame in film.frames():
        time, duration = timeline.place(frame.pts), film.time_on_screen(frame.duration)
        yield time, frame
    film.report.last_frame = float(time * film.time_base)
    film.report.seconds = float((time + duration) * film.time_base)


def _picked_from_all(film: OpenFilm, every: Iterator[tuple[int, Any]], ticks: Ticks) -> Iterator[tuple[int, Any]]:
    tick, shown, at = 0, None, 0
    for time, frame in every:
        threshold = ticks.threshold(tick, film.time_base)
        while shown is not None and threshold is not None and threshold < time:
            yield tick, shown
            tick += 1
            threshold = ticks.threshold(tick, film.time_base)
        if threshold is None:
            return
        shown, at = frame, time
    if shown is None:
        return
    over = end_of_film(at, film.time_on_screen(shown.duration))
    while ticks.threshold(tick, film.time_base) is not None and ticks.moment(tick) / film.time_base < over:
        yield tick, shown
        tick += 1
