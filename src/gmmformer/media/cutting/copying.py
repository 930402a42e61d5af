"""A moment copied out of a film packet by packet: fast, and without any loss of quality."""

import math
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np

from gmmformer.media.container import ENCRYPTION, OpenFilm, open_film
from gmmformer.media.cutting.encoding import MP4_OPTIONS, mux_in_order
from gmmformer.media.cutting.reading import Cut, Span, decoded_from, key_frame_before, packets_from, past_end
from gmmformer.media.cutting.sound import copied_packets, encoded_sound, sound_of
from gmmformer.media.skipping import REORDERING, UnskippableError, skippable

COPIED_CODECS = frozenset(("av1", "h264", "hevc", "mpeg4", "vp9"))
"""Pictures that may lie in mp4 and that players expect there."""


class UncopyableError(Exception):
    """The film's packets cannot make the cut; the message is a clause that says why."""


def copy(
    path: Path, span: Span, out: Path, *, audio: Literal["copied", "encoded"] | None, most_before: Fraction | None
) -> Cut:
    """Write the packets from the key frame before a span up to the last one that is shown within it.

    Where frames within the span are predicted from one after it, the frames up to that one come too.

    Args:
        path: The film.
        span: Seconds of the film.
        out: A file to make.
        audio: Whether sound is copied where mp4 may hold it, or always encoded anew; None for no sound.
        most_before: How many seconds before the span the cut may begin; None for any.

    Raises:
        DecodeError: Nothing can be decoded.
        InputError: The film is over at the span's start.
        UncopyableError: The packets cannot make the cut, or there is no key frame near enough.
        av.FFmpegError: The packets are not what mp4 takes, or the file cannot be written.
    """
    with open_film(path) as film:
        codec = film.stream.codec.canonical_name
        if codec not in COPIED_CODECS or not skippable(film):
            raise UncopyableError(f"{codec} from {film.container.format.name} is not copied into mp4")
        if film.decoder is not film.stream.codec_context:
            raise UncopyableError("mp4 does not hold its transparency")
        try:
            pictures = _Pictures(film, span, most_before)
        except UnskippableError as error:
            raise UncopyableError("its packets are damaged or do not say when they are shown") from error
        clock = Span(pictures.zero * film.time_base, (pictures.origin * film.time_base) + span.end)
        with (
            sound_of(path, audio is not None) as source,
            av.open(f"file:{out.absolute()}", "w", format="mp4", options=MP4_OPTIONS) as container,
        ):
            stream = container.add_stream_from_template(film.stream, opaque=True)
            if codec == "hevc":
                stream.codec_context.codec_tag = "hvc1"
            if pictures.display_matrix is not None:
                stream.set_display_matrix(pictures.display_matrix)
            heard: Iterator[Any] | None = None
            if source is not None and audio == "copied" and source.copyable:
                packets = copied_packets(source, clock)
                first = next(packets, None)
                if first is not None:
                    sound = container.add_stream_from_template(source.stream, opaque=True)
                    heard = _into(sound, chain([first], packets))
            elif source is not None:
                heard = encoded_sound(container, source, clock, stereo=False)
            shown = _into(stream, pictures.packets())
            mux_in_order(container, shown, heard or iter(()), lambda: pictures.end - pictures.start)
        start, end = float(pictures.start), float(pictures.end)
        return Cut(path=out, start=start, end=end, copied=True, audio=heard is not None)


class _Pictures:
    """The packets of the pictures of one cut; `end` is right once all are taken."""

    def __init__(self, film: OpenFilm, span: Span, most_before: Fraction | None) -> None:
        frame = film.first_frame()
        if frame.pts is None:
            raise UnskippableError
        self.display_matrix = _display_matrix(frame)
        self._shape = _shape(film, frame)
        self.origin: int = frame.pts
        key = key_frame_before(film, self.origin, span.start)
        if key is None:
            raise UncopyableError("no key frame lies before the start")
        over = None if key.film_end is None else key.film_end - self.origin
        if over is not None and over * film.time_base <= span.start:
            raise past_end(film, span.start, over * film.time_base)
        self.zero = max(key.pts, self.origin)
        """Time of the cut's first frame on the container's clock."""
        self.start = (self.zero - self.origin) * film.time_base
        if most_before is not None and span.start - self.start > most_before:
            raise UncopyableError("no key frame lies near enough before the start")
        self._film, self._key, self._span = film, key, span
        head = next(packets_from(film, key))
        if not self._checked(head) and not head.is_discard:
            raise UncopyableError("the key frame before the start is damaged")
        self.end = self.start

    def _checked(self, key_packet: Any) -> int:
        """How many frames come out of a key frame's packet; all must have the shape that the cut's header tells."""
        count = 0
        for frame in decoded_from(self._film, [key_packet]):
            count += 1
            if _shape(self._film, frame) != self._shape:
                raise UncopyableError("its pictures change their size or orientation")
        return count

    def packets(self) -> Iterator[Any]:
        """The cut's packets; the last stays on screen to the span's end where the film shows nothing new before."""
        film, held = self._film, list[Any]()
        span_end = self.origin + self._span.end / film.time_base
        end: Fraction | int = span_end
        previous, last, latest, hidden = None, None, self.zero, False
        may_change = "mp4" not in film.container.format.name
        for packet in _with_decoding_times(packets_from(film, self._key), film.frame_ticks):
            if last is not None and packet.dts <= last:
                raise UncopyableError("its timestamps do not run forwards")
            if any(packet.has_sidedata(kind) for kind in ENCRYPTION):
                raise UncopyableError("it is encrypted")
            last = packet.dts
            if packet.is_discard and packet.pts >= self.zero:
                hidden = True
                continue
            if hidden and packet.dts < end:
                raise UncopyableError("its edit list hides pictures that others need")
            if packet.is_keyframe and (may_change or packet.has_sidedata("new_extradata")):
                self._checked(packet)
            held.append(packet)
            if packet.dts >= end:
                break
            latest = max(latest, packet.pts)
            if packet.pts < end:
                end = max(end, latest)
                for kept in held:
                    over = kept.pts + film.time_on_screen(kept.duration) - self.origin
                    self.end = max(self.end, over * film.time_base)
                    kept.pts, kept.dts = kept.pts - self.zero, kept.dts - self.zero
                    if previous is not None:
                        yield previous
                    previous = kept
                held.clear()
        if previous is not None:
            if held and self.end < self._span.end:
                self.end = self._span.end
                previous.duration = max(1, math.floor(span_end) - self.zero - previous.pts)
            yield previous


def _with_decoding_times(packets: Iterator[Any], frame_ticks: int) -> Iterator[Any]:
    """Packets whose first ones get times of decoding too: after a jump, containers without them leave these out."""
    held = list[Any]()
    for packet in packets:
        held.append(packet)
        if packet.dts is None:
            if len(held) > REORDERING:
                break
            continue
        for place, early in enumerate(held[:-1]):
            early.dts = packet.dts - (len(held) - 1 - place) * frame_ticks
        yield from held
        held.clear()
    if held:
        raise UncopyableError("its packets do not say when they are decoded")


def _into(stream: Any, packets: Iterator[Any]) -> Iterator[Any]:
    for packet in packets:
        packet.stream = stream
        yield packet


def _shape(film: OpenFilm, frame: Any) -> tuple[Any, ...]:
    return frame.width, frame.height, film.display_size(frame), film.orientation(frame)


def _display_matrix(frame: Any) -> list[int] | None:
    for side_data in frame.side_data:
        if side_data.type.name == "DISPLAYMATRIX":
            return [int(value) for value in np.frombuffer(bytes(side_data), dtype="=i4")]
    return None
