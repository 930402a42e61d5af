"""The frames shown at given moments, decoding only what they need.

Packets are read in one pass but held back until it is known which frame a moment shows; then decoding goes from the
last key frame before it, or from where it stands, to that frame, and leaves out frames that no other is predicted from.
Decoded this way a frame is the same, bit for bit, as when everything is decoded. Where a film does not behave as
the packets promise (damage, timestamps missing, twice or backwards), UnskippableError asks for full decoding.
"""

import heapq
import math
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import av

from gmmformer.media.container import OpenFilm
from gmmformer.media.packets import INTRA_CODECS, SKIPPABLE_CODECS, PacketReader, PacketRole
from gmmformer.media.timeline import LONGEST_GAP, Ticks, end_of_film

TIMED_FORMATS = frozenset(("flv", "gxf", "ivf", "matroska", "mov", "mpegts", "mxf", "nut", "webm"))
"""Containers that keep presentation times; in the others they are guessed."""
REORDERING = 33
"""A packet is never followed by one to be shown before it once this many are to be shown after it: twice the 16 frames
of ITU-T H.264 A.3.1 (fields may come one by one), and one more."""
HELD_BYTES, HELD_PACKETS = 64 << 20, 10_000
"""Most that is held back while nothing is decided; past this the older half is decoded."""


ORDINARY = PacketRole(starts=False, unreferenced=False)
"""What a packet that is no key frame is taken for until it matters whether others need it."""


class UnskippableError(Exception):
    """The film does not behave as its packets promise; only decoding every frame is right."""


class _Held(NamedTuple):
    packet: Any
    pts: int


def skippable(film: OpenFilm) -> bool:
    """Whether the packets of this kind of film tell what decoding needs."""
    codec = film.stream.codec.canonical_name
    timed = bool(TIMED_FORMATS & set(film.container.format.name.split(",")))
    return codec in INTRA_CODECS or (timed and codec in SKIPPABLE_CODECS)


def picked_by_skipping(film: OpenFilm, ticks: Ticks, *, seek: bool) -> Iterator[tuple[int, Any]]:
    """Each tick with the frame shown at it, in order.

    Args:
        film: One for which skippable is true.
        ticks: The moments.
        seek: Jump in the file to the first moment, rather than read up to it.

    Raises:
        UnskippableError: The film must be decoded whole; what came out before is right.
    """
    picker = _Picker(film, ticks)
    packets = film.packets()
    for packet in packets:
        picker.find_origin(packet)
        if picker.origin is not None:
            break
    if seek and picker.origin is not None:
        packets.close()
        picker.seek()
        packets = film.packets()
    for packet in packets:
        yield from picker.add(packet)
        if picker.done:
            return
    yield from picker.finish()


class _Picker:
    """The state of one pass; times are presentation times in units of the stream's time base."""

    def __init__(self, film: OpenFilm, ticks: Ticks) -> None:
        self.origin: int | None = None
        self.done = False
        self._film, self._ticks = film, ticks
        self._reader = PacketReader(film.stream.codec.canonical_name, film.stream.codec_context.extradata)
        self._gap = math.floor(LONGEST_GAP / film.time_base)
        self._tick = 0
        self._threshold = ticks.threshold(0, film.time_base)
        self._held: deque[_Held] = deque()
        self._held_times: set[int] = set()
        self._held_bytes = 0
        self._starts: deque[int] = deque()
        """Times of the held packets that decoding can start at."""
        self._candidates: list[int] = []
        """Times of frames later than the last one chosen, sorted."""
        self._latest: list[int] = []
        """A heap of the latest REORDERING times seen."""
        self._last: tuple[int, int] | None = None
        """Time and duration of the film's last frame so far."""
        self._chosen: tuple[int, Any] | None = None
        """Time of the frame chosen last, and the frame once it is decoded."""
        self._wanted: deque[tuple[int, list[int]]] = deque()
        """Frames in the decoder that were chosen, with their ticks."""
        self._ahead: dict[int, Any] = {}
        """Frames that were decoded before it was known whether they are wanted."""
        self._broken_off = False
        """Frames that others need were left out since the decoder was last fed."""
        self._floor: int | None = None
        """Frames before this time cannot be decoded right."""

    def find_origin(self, packet: Any) -> None:
        """Decode from the film's beginning until its first frame comes out."""
        self._note(packet, shown=self._role(packet).shown and not packet.is_discard)
        try:
            frames = self._film.decode(packet)
        except MemoryError:
            raise
        except av.FFmpegError:
            self._film.report.packet_errors += 1
            return
        self._begin(frames)

    def seek(self) -> None:
        """Jump to a key frame at or before the first tick."""
        film, target = self._film, self._target()
        if target is None:
            return
        film.jump(target)
        self._candidates, self._latest, self._last, self._ahead = [], [], None, {}
        self._broken_off = True
        self._floor = None

    def add(self, packet: Any) -> Iterator[tuple[int, Any]]:
        """Hold one more packet; choose and decode what is decided by it."""
        role = self._role(packet) if packet.is_keyframe or self._reader.reads_all else ORDINARY
        if self._last is None:
            if not role.starts:
                return
            self._floor = packet.pts
        previous = self._last
        self._note(packet, shown=role.shown and not packet.is_discard)
        if role.starts:
            if previous is not None and packet.pts <= previous[0]:
                raise UnskippableError
            self._starts.append(packet.pts)
        self._held.append(_Held(packet, packet.pts))
        self._held_times.add(packet.pts)
        self._held_bytes += packet.size
        yield from self._advance(finished=False)
        if self._held_bytes > HELD_BYTES or len(self._held) > HELD_PACKETS:
            yield from self._feed(len(self._held) // 2, target=None)

    def finish(self) -> Iterator[tuple[int, Any]]:
        """Choose what the film's end decides; nothing is left in the decoder after it."""
        if self.origin is None:
            self._begin(self._film.last_frames())
        if self.origin is None:
            return
        if self._last is None:
            raise UnskippableError
        yield from self._advance(finished=True)
        yield from self._drained()
        last, duration = self._last
        report = self._film.report
        report.last_frame = float((last - self.origin) * self._film.time_base)
        report.seconds = float((last - self.origin + duration) * self._film.time_base)

    def _begin(self, frames: list[Any]) -> None:
        for frame in frames:
            if frame.pts is None:
                raise UnskippableError
            if self.origin is None:
                self.origin = frame.pts
                del self._candidates[: bisect_left(self._candidates, self.origin)]
            self._ahead[frame.pts] = frame

    def _role(self, packet: Any) -> PacketRole:
        role = self._reader.role(bytes(packet), packet.is_keyframe)
        if role.packed:
            raise UnskippableError
        return role

    def _note(self, packet: Any, *, shown: bool) -> None:
        """Enter a packet's time, which must be one that no earlier decision excluded."""
        pts = packet.pts
        if pts is None or (len(self._latest) == REORDERING and pts <= self._latest[0]):
            raise UnskippableError
        if not shown or (self._floor is not None and pts < self._floor):
            return
        place = bisect_left(self._candidates, pts)
        if self._candidates[place : place + 1] == [pts]:
            raise UnskippableError
        insort(self._candidates, pts)
        push = heapq.heappush if len(self._latest) < REORDERING else heapq.heappushpop
        push(self._latest, pts)
        if self._last is None or pts > self._last[0]:
            self._last = (pts, self._film.time_on_screen(packet.duration))

    def _target(self) -> int | None:
        """The latest time of the frame shown at the tick that is next to be decided; None past the last tick."""
        return None if self._threshold is None or self.origin is None else self._threshold + self.origin

    def _advance(self, *, finished: bool) -> Iterator[tuple[int, Any]]:
        """Choose the frame of every tick that no later packet can change."""
        while not self.done:
            target = self._target()
            if target is None or (finished and self._past_end()):
                self.done = True
                yield from self._drained()
                return
            self._start_at_key(target)
            if not finished and (len(self._latest) < REORDERING or self._latest[0] <= target):
                return
            yield from self._choose(target)
            self._tick += 1
            self._threshold = self._ticks.threshold(self._tick, self._film.time_base)

    def _past_end(self) -> bool:
        if self._last is None or self.origin is None:
            return True
        last, duration = self._last
        moment = self._ticks.moment(self._tick) / self._film.time_base
        return moment >= end_of_film(last - self.origin, duration)

    def _start_at_key(self, target: int) -> None:
        """Let go of all that comes before the last key frame at or before `target`: it cannot be shown then."""
        key = None
        while self._starts and self._starts[0] <= target:
            key = self._starts.popleft()
        if key is None:
            return
        while self._held[0].pts != key:
            held = self._let_go()
            self._broken_off = self._broken_off or not self._role(held.packet).unreferenced
        if self._broken_off:
            self._floor = key
        del self._candidates[: bisect_left(self._candidates, key)]
        self._ahead = {pts: frame for pts, frame in self._ahead.items() if pts >= key}

    def _let_go(self) -> _Held:
        held = self._held.popleft()
        self._held_times.discard(held.pts)
        self._held_bytes -= held.packet.size
        return held

    def _choose(self, target: int) -> Iterator[tuple[int, Any]]:
        chosen = bisect_right(self._candidates, target) - 1
        if chosen >= 0:
            pts = self._candidates[chosen]
            del self._candidates[: chosen + 1]
            self._chosen = (pts, self._ahead.pop(pts, None))
            if self._chosen[1] is None:
                yield from self._decoded_up_to(pts)
        if self._chosen is None or target - self._chosen[0] > self._gap:
            raise UnskippableError
        pts, frame = self._chosen
        if frame is not None:
            if self._wanted:
                raise UnskippableError
            yield self._tick, frame
        else:
            self._wanted[-1][1].append(self._tick)

    def _decoded_up_to(self, pts: int) -> Iterator[tuple[int, Any]]:
        if pts not in self._held_times:
            self._wanted.append((pts, []))
            return
        yield from self._mended()
        self._wanted.append((pts, []))
        yield from self._feed(len(self._held), target=pts)

    def _mended(self) -> Iterator[tuple[int, Any]]:
        """Take out what is still in the decoder and make it ready for a key frame, if it is to begin at one."""
        if self._broken_off:
            yield from self._drained()
            self._film.decoder.flush_buffers()
            self._broken_off = False

    def _feed(self, count: int, *, target: int | None) -> Iterator[tuple[int, Any]]:
        """Decode up to `count` of the held packets, to `target`; without one every frame may yet be wanted."""
        yield from self._mended()
        for _ in range(count):
            held = self._let_go()
            if self._starts and self._starts[0] == held.pts:
                self._starts.popleft()
            reached = held.pts == target
            early = self._floor is not None and held.pts < self._floor
            if not early and (reached or target is None or not self._role(held.packet).unreferenced):
                try:
                    frames = self._film.decode(held.packet)
                except MemoryError:
                    raise
                except av.FFmpegError as error:
                    raise UnskippableError from error
                yield from self._came_out(frames)
            if reached:
                return

    def _drained(self) -> Iterator[tuple[int, Any]]:
        yield from self._came_out(self._film.last_frames())
        if self._wanted:
            raise UnskippableError

    def _came_out(self, frames: list[Any]) -> Iterator[tuple[int, Any]]:
        for frame in frames:
            pts = frame.pts
            if pts is None or frame.is_corrupt or (self._wanted and pts > self._wanted[0][0]):
                raise UnskippableError
            if self._wanted and pts == self._wanted[0][0]:
                wanted, its_ticks = self._wanted.popleft()
                if self._chosen is not None and self._chosen[0] == wanted:
                    self._chosen = (wanted, frame)
                yield from ((tick, frame) for tick in its_ticks)
            elif self._chosen is None or pts > self._chosen[0]:
                target = self._target()
                if target is not None and pts <= target:
                    self._ahead.clear()
                self._ahead[pts] = frame
