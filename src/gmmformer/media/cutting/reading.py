"""The part of a film that a moment needs: packets from a key frame on, and frames with their seconds on screen."""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av

from gmmformer.errors import InputError
from gmmformer.media.container import OpenFilm
from gmmformer.media.films import printable
from gmmformer.media.frames import SEEK_FROM, placed
from gmmformer.media.packets import PacketReader
from gmmformer.media.skipping import UnskippableError, skippable
from gmmformer.media.timeline import LONGEST_GAP, RESTART, ROUNDING, Ticks, end_of_film

LOOK_BACK = (0, 2, 16, 128)
"""Seconds before a moment from which a key frame is looked for, one after the other, and then from the film's start."""


class Span(NamedTuple):
    """From when to when: seconds counted from the film's first frame, or of its clock (OpenFilm.packets)."""

    start: Fraction
    end: Fraction


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A piece of a film that was written as a file of its own."""

    path: Path
    start: float
    """Second of the film that the cut's second 0 shows."""
    end: float
    """Second of the film at which the cut is over."""
    copied: bool
    """The pictures are the film's own packets, rather than encoded anew."""
    audio: bool
    """It has sound. False where the film has none, or none that can be decoded or matched to the pictures."""


class KeyFrame(NamedTuple):
    """A packet that decoding can start at; times in units of the stream's time base, on the film's clock."""

    pts: int
    seek_to: int
    """Jumping here and reading on comes past the packet."""
    film_end: Fraction | None
    """When the film is over; None where its end was not seen while looking for the packet."""


class Shown(NamedTuple):
    """A frame and when it is on screen within a span, in seconds of the film."""

    frame: Any
    start: Fraction
    end: Fraction
    clock: Fraction | None
    """What the film's clock (OpenFilm.packets) shows at second 0, by this frame's time; None where it has none."""


def key_frame_before(film: OpenFilm, origin: int, start: Fraction) -> KeyFrame | None:
    """The last packet at or before a second that decoding can start at; None where there is none.

    Args:
        film: One for which skippable is true.
        origin: Time of the film's first frame.
        start: Seconds of the film.

    Raises:
        UnskippableError: Its packets do not say when they are shown.
    """
    target = origin + _threshold(start, film.time_base)
    nearby = [target - round(back / film.time_base) for back in LOOK_BACK]
    times = (*(time for time in nearby if time > origin), origin - round(LOOK_BACK[1] / film.time_base))
    for seek_to in times:
        pts, film_end = _last_key_frame(film, seek_to, target)
        if film_end is not None and film_end <= origin + start / film.time_base and film.clock_changes():
            # Only a part was jumped in, the one to whose end the container's clock is not set anew.
            pts, film_end = _last_key_frame(film, seek_to, target)
        if pts is not None:
            return KeyFrame(pts, seek_to, film_end)
    return None


def packets_from(film: OpenFilm, key: KeyFrame) -> Iterator[Any]:
    """The packets from a key frame to the film's end, without those that are shown before it.

    Raises:
        UnskippableError: As key_frame_before.
    """
    film.jump(key.seek_to)
    begun = False
    for packet in film.packets():
        if packet.pts is None:
            raise UnskippableError
        begun = begun or packet.pts == key.pts
        if begun and packet.pts >= key.pts:
            yield packet


def decoded_from(film: OpenFilm, packets: Iterable[Any]) -> Iterator[Any]:
    """The frames of packets that begin with a key frame.

    Raises:
        UnskippableError: They are damaged: what comes out depends on the frames before, or is none.
    """
    film.decoder.flush_buffers()
    for packet in packets:
        try:
            frames = film.decode(packet)
        except MemoryError:
            raise
        except av.FFmpegError as error:
            raise UnskippableError from error
        yield from _undamaged(frames)
    yield from _undamaged(film.last_frames())


def shown_between(film: OpenFilm, span: Span, *, seek: bool) -> Generator[Shown, None, None]:
    """Every frame that is on screen between two seconds of a film, from the one on screen at the first.

    Args:
        film: Freshly opened.
        span: Where it ends after the film, the film's end counts.
        seek: Jump to the moment where the film allows it, rather than decode all before it.

    Raises:
        DecodeError: Nothing can be decoded.
        InputError: The film is over at the span's start.
        UnskippableError: With `seek`: the film does not keep what its packets promise.
    """
    time_base = film.time_base
    first, last = _threshold(span.start, time_base), span.end - min(time_base / 2, ROUNDING)
    frame, at = None, 0
    for time, following in _sought(film, span.start) if seek else placed(film):
        if frame is not None and time > max(first, at):
            yield _shown(frame, at, span, time_base, time)
        if time > first and time * time_base >= last:
            return
        frame, at = following, time
    if frame is None:
        raise film.nothing_decodable()
    duration = film.time_on_screen(frame.duration)
    if end_of_film(at, duration) * time_base <= span.start:
        raise past_end(film, span.start, (at + duration) * time_base)
    yield _shown(frame, at, span, time_base, at + duration)


def past_end(film: OpenFilm, start: Fraction, length: Fraction) -> InputError:
    """The error for a moment that begins after the film."""
    return InputError(
        f"{printable(film.path)}: start {float(start):g} s is past the film's end at {float(length):.3f} s; "
        "choose an earlier start"
    )


def _shown(frame: Any, at: int, span: Span, time_base: Fraction, until: int) -> Shown:
    start = max(at * time_base, span.start)
    clock = None if frame.pts is None else (frame.pts - at) * time_base
    return Shown(frame, start, max(start, min(until * time_base, span.end)), clock)


def _sought(film: OpenFilm, start: Fraction) -> Iterator[tuple[int, Any]]:
    if start <= SEEK_FROM or not skippable(film):
        yield from placed(film)
        return
    origin: int | None = film.first_frame().pts
    key = None if origin is None else key_frame_before(film, origin, start)
    if origin is None or key is None:
        raise UnskippableError
    last: int | None = None
    for frame in decoded_from(film, packets_from(film, key)):
        if frame.pts is None or (
            last is not None and not -RESTART <= (frame.pts - last) * film.time_base <= LONGEST_GAP
        ):
            raise UnskippableError
        last = max(frame.pts, frame.pts if last is None else last)
        yield last - origin, frame


def _undamaged(frames: list[Any]) -> list[Any]:
    if any(frame.is_corrupt for frame in frames):
        raise UnskippableError
    return frames


def _last_key_frame(film: OpenFilm, seek_to: int, target: int) -> tuple[int | None, Fraction | None]:
    """Time of the last start of decoding in what is read from `seek_to` to `target`, and the film's end if it came."""
    film.jump(seek_to)
    reader = PacketReader(film.stream.codec.canonical_name, film.stream.codec_context.extradata)
    found: int | None = None
    latest: int | None = None
    film_end: Fraction | None = None
    for packet in film.packets():
        if packet.pts is None:
            raise UnskippableError
        if packet.pts <= target and (packet.is_keyframe or reader.reads_all):
            role = reader.role(bytes(packet), packet.is_keyframe)
            if role.packed:
                raise UnskippableError
            found = packet.pts if role.starts else found
        if latest is None or packet.pts > latest:
            latest = packet.pts
            film_end = end_of_film(latest, film.time_on_screen(packet.duration))
        if packet.dts is not None and packet.dts > target:
            return found, None
    return found, film_end


def _threshold(second: Fraction, time_base: Fraction) -> int:
    """The latest time of the frame that is on screen at a second, in units of `time_base` from the first frame."""
    return Ticks(rate=Fraction(1), start=second).threshold(0, time_base) or 0
