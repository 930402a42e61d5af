"""A film opened for decoding: its stream, its decoder, its clock, and why it fails when it fails."""

import heapq
import math
import os
from bisect import bisect_right, insort
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

import av
import numpy as np

from gmmformer.media.films import DecodeError, DecodeReport, regular_file, stamp_of
from gmmformer.media.packets import PacketReader, chosen_stream, demuxed, opened
from gmmformer.media.timeline import LONGEST_GAP, Clock

ASPECT_LIMIT = 10
"""Samples more oblong than this are taken for an error and shown square."""
BOTTOM_FIRST = frozenset((3, 4))
"""AVFieldOrder: the bottom field is shown first."""
ENCRYPTION = ("encryption_info", "encryption_init_info")
CLOCK_JUMPS = 0x200
"""AVFMT_TS_DISCONT: the container's clock may be set anew at any time (transport and program streams, Ogg)."""
ORDERLESS = "avi"
"""The container that knows when packets are decoded, but not in which order their pictures are shown."""
KNOWN_CLOCKS = 4096
"""Films of which the changes of the clock are remembered."""


class Orientation(NamedTuple):
    """How a stored picture is turned to stand upright: transposed first, then mirrored."""

    transpose: bool
    mirror_x: bool
    mirror_y: bool

    @property
    def degrees(self) -> int:
        """The turn alone, counter-clockwise: 0, 90, 180 or 270."""
        if self.transpose:
            return 270 if self.mirror_x else 90
        return 180 if self.mirror_x and self.mirror_y else 0


UPRIGHT = Orientation(transpose=False, mirror_x=False, mirror_y=False)


def display_size(width: int, height: int, sample_aspect: Fraction, orientation: Orientation) -> tuple[int, int]:
    """Width and height of a stored picture once its samples are square and it stands upright."""
    width = max(1, round(width * sample_aspect))
    return (height, width) if orientation.transpose else (width, height)


def orientation_of(frame: "av.VideoFrame") -> Orientation | None:
    """What the frame's display matrix asks for; None where it has none.

    A matrix that is no right-angled turn or mirroring asks for nothing.
    """
    for side_data in frame.side_data:
        if side_data.type.name == "DISPLAYMATRIX":
            return _orientation(np.frombuffer(bytes(side_data), dtype="=i4").astype(np.int64))
    return None


def _orientation(matrix: np.ndarray) -> Orientation:
    # A stored point (x, y), y downwards, is shown at (a x + c y, b x + d y).
    a, b, c, d = (int(matrix[place]) for place in (0, 1, 3, 4))
    if a and d and max(abs(b), abs(c)) * 100 < min(abs(a), abs(d)):
        return Orientation(transpose=False, mirror_x=a < 0, mirror_y=d < 0)
    if b and c and max(abs(a), abs(d)) * 100 < min(abs(b), abs(c)):
        return Orientation(transpose=True, mirror_x=c < 0, mirror_y=b < 0)
    return UPRIGHT


class _Governing:
    """What holds for the frames of a film from a time on, until something else does."""

    def __init__(self) -> None:
        self._from: list[tuple[int, int]] = []
        """Times, sorted, each with the place of what holds from it on."""
        self._values: list[Any] = []

    def at(self, pts: int | None) -> Any:
        """What holds at a time, without one what was noted last; None where nothing was."""
        if pts is None:
            return self._values[-1] if self._values else None
        place = bisect_right(self._from, (pts, len(self._values))) - 1
        return self._values[self._from[place][1]] if place >= 0 else None

    def note(self, pts: int | None, value: Any) -> None:
        """Have a value hold from a time on."""
        if pts is not None and self.at(pts) != value:
            self._values.append(value)
            insort(self._from, (pts, len(self._values) - 1))


class OpenFilm:
    """One film being read: packets of its stream on one clock, the decoder for them, and how its frames are shown."""

    container: Any
    stream: Any
    decoder: Any

    def __init__(self, path: str | os.PathLike[str], threads: int, report: DecodeReport) -> None:
        self.path = path
        self.report = report
        self._threads = threads
        self._choice: Any = None
        self._changes: tuple[Fraction, ...] | None = None
        self._open()
        stream = self.stream
        self.time_base: Fraction = stream.time_base or Fraction(1, 90000)
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        self.frame_ticks = max(1, min(round(1 / (rate * self.time_base)), math.floor(LONGEST_GAP / self.time_base)))
        """A usual frame's time on screen, in units of `time_base`."""
        report.promised = self.duration
        self._clock_jumps = bool(int(self.container.format.flags) & CLOCK_JUMPS)
        self._clock = self._new_clock()
        self._unshown: list[int] | None = [] if self.container.format.name == ORDERLESS else None
        """Times of the pictures inside the decoder, where it is the decoder alone that knows their order."""
        self.bottom_field_first = getattr(self.decoder, "field_order", 0) in BOTTOM_FIRST
        self._encrypted = stream.codec_tag == "encv"
        self._aspect = _believed(stream.sample_aspect_ratio)
        self._first_aspect: Fraction | None = None
        self._aspects, self._orientations = _Governing(), _Governing()
        self.size: tuple[int, int] | None = None
        """Width and height of the film as shown, which are those of its first frame; None before that is decoded."""

    def _open(self) -> None:
        self.container = opened(self.path)
        try:
            if self._choice is None:
                self._choice = chosen_stream(self.path, self.container)
                if self._choice.doubt is not None:
                    self.report.remark(self._choice.doubt)
                if len(self.container.streams.video) > 1:
                    self.container.close()
                    self.container = opened(self.path)
            self.stream = self.container.streams[self._choice.stream]
            self.report.text = bool(self.container.streams.subtitles)
            for other in self.container.streams:
                if other is not self.stream:
                    other.discard = av.stream.Discard.all
            self.decoder = self.stream.codec_context
            tags = {key.lower(): value for key, value in self.stream.metadata.items()}
            if tags.get("alpha_mode") == "1" and self.decoder.name in ("vp8", "vp9"):
                self.decoder = av.CodecContext.create({"vp8": "libvpx", "vp9": "libvpx-vp9"}[self.decoder.name], "r")
            self.decoder.thread_count = self._threads
            self.decoder.thread_type = "AUTO"
        except BaseException:
            self.container.close()
            raise

    @property
    def duration(self) -> float | None:
        """Seconds that the header claims; None where it does not say."""
        if self.stream.duration:
            return float(self.stream.duration * self.time_base)
        return self.container.duration / 1_000_000 if self.container.duration else None

    def time_on_screen(self, duration: int | None) -> int:
        """How long a frame with this duration stays, in units of `time_base`: a usual time where it is not known."""
        return min(duration or self.frame_ticks, math.floor(LONGEST_GAP / self.time_base))

    def packets(self) -> Generator[Any, None, None]:
        """The stream's packets, on one clock, to its end, or to where the file is too damaged to read on."""
        for packet in demuxed(self.container, self.stream, self.path, self._packet_error):
            self._clock.mend(packet)
            self.report.packets += 1
            if not self.report.frames_decoded and any(packet.has_sidedata(kind) for kind in ENCRYPTION):
                self._encrypted = True
            if self.report.on_progress:
                self.report.on_progress()
            yield packet

    def _packet_error(self) -> None:
        self.report.packet_errors += 1

    def clock_changes(self) -> tuple[Fraction, ...]:
        """See Clock.changes, of the whole film: its packets are read through once, and the answer is remembered."""
        if self._changes is None:
            stamp = stamp_of(regular_file(self.path))
            self._changes = _clock_changes(os.path.abspath(os.fsdecode(self.path)), stamp)  # noqa: PTH100
        return self._changes

    def jump(self, time: int) -> None:
        """Have `packets` go on from before a time, in units of `time_base` on the film's one clock.

        That is its beginning where the container's clock is set anew in the film, or the container cannot be jumped in.
        """
        if self._clock_jumps:
            self.clock_changes()
        if self._changes or not self._jumped(time):
            self.container.close()
            self._open()
        self._clock = self._new_clock()
        self._unshown = None if self._unshown is None else []

    def _jumped(self, time: int) -> bool:
        try:
            self.container.seek(time, stream=self.stream)
        except MemoryError:
            raise
        except av.FFmpegError:
            return False
        self.decoder.flush_buffers()
        return True

    def _new_clock(self) -> Clock:
        return Clock(self.time_base, self.frame_ticks, jumps=self._clock_jumps)

    def clock_for(self, stream: Any, frame_ticks: int) -> Clock | None:
        """A clock for another stream, to be set anew where this one's is; None where this one's never is."""
        if not self._clock_jumps or not self.clock_changes():
            return None
        return Clock(stream.time_base, frame_ticks, jumps=True, changes=self.clock_changes())

    def decode(self, packet: Any | None) -> list[Any]:
        """The frames that come out when `packet` goes in; None takes out those that are still inside.

        Raises:
            av.FFmpegError: The packet is damaged.
            MemoryError: There is none left.
        """
        if packet is not None and self._unshown is None and self.size is None and self._packed(packet):
            self._unshown = []
        if packet is not None and packet.pts is None:
            self._unshown = None
        frames: list[Any] = self.decoder.decode(packet)
        if self._unshown is not None:
            self._order(self._unshown, packet, frames)
        self.report.frames_decoded += len(frames)
        if packet is not None:
            self._note_aspect(packet.pts)
        for frame in frames:
            self._orientations.note(frame.pts, orientation_of(frame) or self._orientations.at(frame.pts) or UPRIGHT)
            if self.size is None:
                self.size = self.display_size(frame)
        return frames

    def _packed(self, packet: Any) -> bool:
        codec = self.stream.codec.canonical_name
        return codec == "mpeg4" and PacketReader(codec, self.decoder.extradata).role(bytes(packet), True).packed

    @staticmethod
    def _order(unshown: list[int], packet: Any | None, frames: list[Any]) -> None:
        """Give frames, which come in the order of showing, the times of their packets in that order."""
        if packet is not None:
            heapq.heappush(unshown, packet.pts)
        for frame in frames:
            while frame.key_frame and frame.pts is not None and len(unshown) > 1 and unshown[0] < frame.pts:
                heapq.heappop(unshown)  # of pictures that were lost
            if unshown:
                frame.pts = heapq.heappop(unshown)

    def _note_aspect(self, pts: int | None) -> None:
        aspect = self.decoder.sample_aspect_ratio
        if self._first_aspect is None and self.size is None:
            self._first_aspect = aspect
        # The container may overrule what is said within the stream, until that says something else.
        self._aspects.note(pts, self._aspect if aspect == self._first_aspect else _believed(aspect))

    def display_size(self, frame: Any) -> tuple[int, int]:
        """Width and height of a decoded frame once its samples are square and it stands upright."""
        aspect = self._aspects.at(frame.pts) or self._aspect
        return display_size(frame.width, frame.height, aspect, self.orientation(frame))

    def orientation(self, frame: Any) -> Orientation:
        """How a decoded frame is turned: as it says itself, or as the last one did that said anything."""
        return orientation_of(frame) or self._orientations.at(frame.pts) or UPRIGHT

    def frames(self) -> Iterator[Any]:
        """Every frame in the order of showing; damaged packets are counted and passed over."""
        for packet in self.packets():
            try:
                yield from self.decode(packet)
            except MemoryError:
                raise
            except av.FFmpegError:
                self.report.packet_errors += 1
        yield from self.last_frames()

    def first_frame(self) -> Any:
        """The frame whose time is the film's second 0; a DecodeError is raised where nothing can be decoded."""
        frame = next(self.frames(), None)
        if frame is None:
            raise self.nothing_decodable()
        return frame

    def last_frames(self) -> list[Any]:
        """The frames still inside the decoder at the end."""
        try:
            return self.decode(None)
        except MemoryError:
            raise
        except av.FFmpegError:
            return []

    def nothing_decodable(self) -> DecodeError:
        """The error for a film that gave no frame, when all its packets have been read."""
        codec, packets = self.stream.codec_context.name, self.report.packets
        if self._encrypted:
            why = "is encrypted; only a copy without protection can be read"
        elif not packets:
            why = "has a header that describes a film but no pictures after it; it was cut off, or is only a piece"
        elif not self.stream.codec_context.width:
            why = "has frames of no size, or larger than about 16000 x 16000, which ffmpeg refuses"
        else:
            why = f"none of its {packets} pictures ({codec}) can be decoded; it is damaged or encrypted, try a new copy"
        return DecodeError(self.path, why)


@contextmanager
def open_film(
    path: str | os.PathLike[str], *, threads: int = 1, report: DecodeReport | None = None
) -> Iterator[OpenFilm]:
    """Open a film; closed at the end of the block.

    The stream is chosen by chosen_stream. VP8 and VP9 with transparency are given to the decoder that knows it.

    Args:
        path: Any name, also one that looks like an option or an address: it is only ever a file.
        threads: Threads of the decoder; 0 for one per core.
        report: What to count in.

    Raises:
        DecodeError: It is not a film that can be read; the reason says why.
    """
    film = OpenFilm(path, threads, report or DecodeReport())
    try:
        yield film
    finally:
        film.container.close()


@lru_cache(KNOWN_CLOCKS)
def _clock_changes(path: str, stamp: str) -> tuple[Fraction, ...]:
    with open_film(path) as film:
        for _ in film.packets():
            pass
        return tuple(film._clock.changes)


def _believed(aspect: Fraction | None) -> Fraction:
    aspect = aspect or Fraction(1)
    return aspect if Fraction(1, ASPECT_LIMIT) <= aspect <= ASPECT_LIMIT else Fraction(1)
