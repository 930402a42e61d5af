"""A moment encoded anew: H.264 and AAC in mp4, every frame at its own time, upright and for an ordinary screen."""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av

from gmmformer.errors import InputError
from gmmformer.media.container import UPRIGHT, OpenFilm, open_film
from gmmformer.media.cutting.reading import Cut, Shown, Span, shown_between
from gmmformer.media.cutting.sound import encoded_sound, sound_of
from gmmformer.media.pictures import (
    BT470BG,
    BT709,
    BT2020,
    TRANSFERS,
    UNSPECIFIED,
    PictureMaker,
    fitted,
    matrix_of,
)

CLOCK = 90000
"""Units a second of the times written; whole for all usual frame rates."""
MOST_RATE = Fraction(240)
"""Frames a second that the header claims at most: it decides the H.264 level, and films with odd clocks claim a lot."""
ENCODERS = ("libx264", "libopenh264")
"""H.264, in order of preference."""
LIMITED_RANGE = 1
"""AVColorRange: black is 16, white 235."""
YUV_MATRICES = frozenset((BT709, BT470BG, 6, 7))
"""AVColorSpace (ITU-T H.273) of ordinary screens."""
SCREEN_COLOURS = frozenset((BT709, 4, BT470BG, 6, 7, 8, 11, 12, 13))
"""AVColorPrimaries and AVColorTransferCharacteristic that are passed on; others are left open."""
MP4_OPTIONS = {"movflags": "+faststart", "movie_timescale": str(CLOCK)}
"""The index before the pictures, so that a browser can start at once."""


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a moment is encoded."""

    quality: int
    """Constant rate factor of x264: less is better, 18 is hard to tell from the film."""
    preset: str
    """Of x264: how much work goes into making it small."""
    most_width: int | None = None
    """Pixels across; None for the film's own."""
    most_height: int | None = None
    """Pixels down; None for the film's own."""
    stereo: bool = False
    """Two channels whatever the film has; else mono, stereo, 5.1 and 7.1 stay."""
    key_every: float | None = None
    """Seconds from key frame to key frame at the usual frame rate; None for x264's own choice."""


def encode(path: Path, span: Span, out: Path, style: Style, *, seek: bool, audio: bool) -> Cut:
    """Write what a viewer sees and hears between two seconds of a film.

    Second t of the cut shows what second start + t of the film shows: the first frame is the one on screen at the
    start, and every later one comes at its own time. Pictures are turned upright, their samples made square, their
    sides even, interlaced ones reduced to their first field, high dynamic range toned down (see pictures.py).

    Raises:
        DecodeError: Nothing can be decoded.
        InputError: The film is over at the span's start, or there is no encoder.
        UnskippableError: With `seek`: only decoding the film from its beginning is right.
        av.FFmpegError: The sound cannot be encoded, or the file cannot be written.
    """
    with open_film(path) as film:
        shown = shown_between(film, span, seek=seek)
        first = next(shown)
        clock = Span(first.clock + span.start, first.clock + span.end) if first.clock is not None else None
        with (
            sound_of(path, audio and clock is not None) as source,
            av.open(f"file:{out.absolute()}", "w", format="mp4", options=MP4_OPTIONS) as container,
        ):
            pictures = _PictureEncoder(container, film, first, style)
            heard = encoded_sound(container, source, clock, stereo=style.stereo) if source and clock else None
            packets = pictures.packets(chain([first], shown), span)
            mux_in_order(container, packets, heard or iter(()), lambda: pictures.end - span.start)
        return Cut(path=out, start=float(span.start), end=float(pictures.end), copied=False, audio=heard is not None)


def mux_in_order(container: Any, pictures: Iterator[Any], sound: Iterator[Any], end: Callable[[], Fraction]) -> None:
    """Write packets of pictures and of sound, each in order of decoding, in that order over both.

    Sound ends with the pictures: at the cut's second that `end` gives once all of them are there.
    """
    last_seen = False

    def to_the_last() -> Iterator[Any]:
        nonlocal last_seen
        yield from pictures
        last_seen = True

    for packet in heapq.merge(to_the_last(), sound, key=lambda packet: packet.dts * packet.time_base):
        if last_seen:
            left = round(end() / packet.time_base) - packet.pts
            if left <= 0:
                return
            packet.duration = min(packet.duration or left, left)
        container.mux_one(packet)


class _PictureEncoder:
    """The stream of pictures of one cut."""

    def __init__(self, container: Any, film: OpenFilm, first: Shown, style: Style) -> None:
        self.end = first.end
        self._fit = _Fitter(film, first.frame, style)
        rate = min(MOST_RATE, max(Fraction(1), film.stream.average_rate or Fraction(25)))
        self._stream = container.add_stream(_encoder(), rate=rate)
        context = self._stream.codec_context
        context.width, context.height = self._fit.width, self._fit.height
        context.pix_fmt, context.time_base = "yuv420p", Fraction(1, CLOCK)
        context.color_range, context.colorspace = LIMITED_RANGE, self._fit.matrix
        context.color_primaries, context.color_trc = self._fit.primaries, self._fit.transfer
        # Without B frames the last frame shown is the last one stored: of no other does mp4 keep the time on screen.
        self._stream.options = {"crf": str(style.quality), "preset": style.preset, "bf": "0"}
        if style.key_every is not None:
            context.gop_size = round(style.key_every * rate)

    def packets(self, shown: Iterator[Shown], span: Span) -> Iterator[Any]:
        """Every frame's packet, with its time from the span's start and its time on screen."""
        durations: dict[int, int] = {}
        last = -1
        for item in shown:
            frame = self._fit.fitted(item.frame)
            last = max(last + 1, round((item.start - span.start) * CLOCK))
            frame.pts, frame.time_base, frame.pict_type = last, Fraction(1, CLOCK), 0
            durations[last] = max(1, round((item.end - span.start) * CLOCK) - last)
            self.end = item.end
            yield from self._timed(self._stream.encode(frame), durations)
        yield from self._timed(self._stream.encode(None), durations)

    @staticmethod
    def _timed(packets: list[Any], durations: dict[int, int]) -> Iterator[Any]:
        for packet in packets:
            packet.duration = durations.pop(packet.pts, 0)
            yield packet


class _Fitter:
    """Makes the frames of one film what the encoder takes: one even size, 8 bits, 4:2:0, limited range."""

    def __init__(self, film: OpenFilm, frame: Any, style: Style) -> None:
        assert film.size is not None
        self._size = width, height = film.size
        scale = min(
            Fraction(1), Fraction(style.most_width or width, width), Fraction(style.most_height or height, height)
        )
        self.width, self.height = _even(width * scale), _even(height * scale)
        matrix = BT709 if _wide(frame) else matrix_of(frame)[0]
        self.matrix = matrix if matrix in YUV_MATRICES else BT709
        self.primaries, self.transfer = (
            BT709 if _wide(frame) else value if value in SCREEN_COLOURS else UNSPECIFIED
            for value in (frame.color_primaries, frame.color_trc)
        )
        self._film, self._maker = film, PictureMaker(film, size=min(self.width, self.height))

    def fitted(self, frame: Any) -> Any:
        """The frame made over; its time is not."""
        matrix = matrix_of(frame)[0]
        if not self._plain(frame):
            frame = av.VideoFrame.from_ndarray(self._maker.picture(frame), format="rgb24")
            matrix = self.matrix
        interpolation = av.video.reformatter.Interpolation
        made = frame.reformat(
            width=self.width,
            height=self.height,
            format="yuv420p",
            src_colorspace=matrix,
            dst_colorspace=self.matrix,
            dst_color_range=LIMITED_RANGE,
            interpolation=interpolation.AREA | interpolation.ACCURATE_RND,
            threads=1,
        )
        made.colorspace, made.color_range = self.matrix, LIMITED_RANGE
        return made

    def _plain(self, frame: Any) -> bool:
        """Whether scaling alone makes the frame what a viewer sees."""
        return not (
            _wide(frame)
            or frame.interlaced_frame
            or frame.format.has_palette
            or any(component.is_alpha for component in frame.format.components)
            or self._film.orientation(frame) != UPRIGHT
            or fitted(self._film.display_size(frame), self._size) != self._size
        )


def _encoder() -> str:
    for name in ENCODERS:
        if name in av.codecs_available:
            return name
    raise InputError("this build of PyAV has no encoder for H.264; install the wheel from PyPI: pip install av")


def _even(pixels: Fraction) -> int:
    return max(2, round(pixels / 2) * 2)


def _wide(frame: Any) -> bool:
    """Whether the frame has a range or gamut that an ordinary screen does not show."""
    return frame.color_trc in TRANSFERS or frame.color_primaries == BT2020
