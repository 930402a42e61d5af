"""Small films of bar codes: with any clock, in any container, and odd in the ways films are."""

import heapq
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.bitstream import BitStreamFilterContext

from barcodes import picture

RATE = 25
MILLISECOND = Fraction(1, 1000)
OPTIONS = {
    "libx264": {"preset": "ultrafast", "crf": "18", "g": "12", "bf": "2"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:pools=none:keyint=12:bframes=2:crf=18"},
    "libvpx": {"g": "12", "cpu-used": "8", "deadline": "realtime", "b": "2000000"},
    "libvpx-vp9": {"g": "12", "cpu-used": "8", "deadline": "realtime", "b": "2000000"},
    "mpeg2video": {"g": "12", "bf": "2", "b": "3000000"},
    "mpeg4": {"g": "12", "bf": "2", "b": "3000000"},
}
PICTURES_OF_HEVC = range(32)
ORIENTATION_OF_HEVC = 47
"""Payload type of a supplemental message (ITU-T H.265 D.2.17)."""
VOP = b"\0\0\1\xb6"
B_VOP = 2
TIME_BITS = 5
"""Of a clock of 25 units a second."""


def steady(count: int, rate: int = RATE) -> list[Fraction]:
    """Seconds of `count` pictures, one after the other."""
    return [Fraction(number, rate) for number in range(count)]


def upright(second: Fraction) -> "av.VideoFrame":
    """The picture of a second as it is drawn."""
    return av.VideoFrame.from_ndarray(picture(second), format="rgb24")


def altered(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Fraction], "av.VideoFrame"]:
    """Pictures that are stored otherwise than they are to be seen."""
    return lambda second: av.VideoFrame.from_ndarray(np.ascontiguousarray(change(picture(second))), format="rgb24")


def write(
    path: Path,
    shown: Sequence[Fraction],
    *,
    clock: Fraction | int = 0,
    stamps: Sequence[Fraction] | None = None,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pixel_format: str = "yuv420p",
    time_base: Fraction = MILLISECOND,
    container: str | None = None,
    muxing: dict[str, str] | None = None,
    frame: Callable[[Fraction], "av.VideoFrame"] = upright,
    prepare: Callable[[Any], None] = lambda stream: None,
    change: Callable[[Any], Iterable[Any]] = lambda packet: [packet],
) -> Path:
    """Write a film whose pictures show the seconds `shown`.

    Args:
        path: The file to make.
        shown: What the pictures show, in the order of time.
        clock: What the container's clock shows at second 0.
        stamps: When the pictures are shown by that clock, instead.
        codec: The encoder.
        options: For it, over the usual ones.
        pixel_format: Of what is stored.
        time_base: Of the encoder.
        container: Where the name does not say.
        muxing: Options of the container.
        frame: Makes what is stored for a second.
        prepare: Told of the stream before anything is written.
        change: Makes packets out of a packet.
    """
    stamps = [second + clock for second in shown] if stamps is None else stamps
    units = [round(stamp / time_base) for stamp in stamps]
    stays = {now: then - now for now, then in pairwise([*units, units[-1] + round(1 / (RATE * time_base))])}

    def made(packets: Iterable[Any]) -> Iterator[Any]:
        for packet in packets:
            packet.duration = stays[packet.pts]
            yield from change(packet)

    with av.open(str(path), "w", format=container, options=muxing or {}) as film:
        stream = None
        for second, unit in zip(shown, units, strict=True):
            stored = frame(second)
            if stream is None:
                stream = film.add_stream(codec, rate=RATE)
                stream.width, stream.height, stream.pix_fmt = stored.width, stored.height, pixel_format
                stream.codec_context.time_base = time_base
                stream.codec_context.thread_count = 1
                stream.options = OPTIONS.get(codec, {}) | (options or {})
                prepare(stream)
            stored.pts, stored.time_base = unit, time_base
            film.mux(list(made(stream.encode(stored))))
        assert stream is not None
        film.mux(list(made(stream.encode(None))))
    return path


def silence(
    path: Path,
    seconds: float,
    *,
    clock: Fraction | int = 0,
    codec: str = "aac",
    tones: Iterable[tuple[float, float]] = (),
) -> Path:
    """A file of sound alone, silent but for a tone from some second to another."""
    times = np.arange(round(seconds * 50) * 960) / 48000
    heard = sum((((times >= start) & (times < end)) for start, end in tones), np.zeros(len(times), bool))
    sound = np.where(heard, np.sin(2 * np.pi * 440 * times) / 2, 0).astype(np.float32)
    with av.open(str(path), "w") as film:
        stream = film.add_stream(codec, rate=48000, layout="mono")
        for first in range(0, len(sound), 960):
            frame = av.AudioFrame.from_ndarray(sound[None, first : first + 960], format="fltp", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = 48000, Fraction(1, 48000), round(clock * 48000) + first
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    return path


def combined(
    path: Path,
    parts: Sequence[Path],
    *,
    container: str | None = None,
    muxing: dict[str, str] | None = None,
    prepare: Callable[[list[Any]], None] = lambda streams: None,
    change: Callable[[Any], Iterable[Any]] = lambda packet: [packet],
) -> Path:
    """The streams of several files in one, their packets as they are."""
    opened = [av.open(str(part)) for part in parts]
    with av.open(str(path), "w", format=container, options=muxing or {}) as film:
        streams = [film.add_stream_from_template(part.streams[0], opaque=True) for part in opened]
        for stream in streams:
            if stream.type == "video":
                stream.codec_context.framerate = Fraction(RATE)
        prepare(streams)
        packets = heapq.merge(
            *(_packets(part, stream) for part, stream in zip(opened, streams, strict=True)),
            key=lambda packet: packet.dts * packet.time_base,
        )
        for packet in packets:
            film.mux(list(change(packet)))
    for part in opened:
        part.close()
    return path


def filtered(path: Path, source: Path, description: str) -> Path:
    """A film whose packets went through one of ffmpeg's bitstream filters."""
    with av.open(str(source)) as film, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(film.streams[0], opaque=True)
        bits = BitStreamFilterContext(description, film.streams[0], stream)
        for packet in _packets(film, None):
            for made in bits.filter(packet):
                made.stream = stream
                target.mux(made)
    return path


def joined(path: Path, parts: Iterable[Path]) -> Path:
    """Files one after the other, as `cat` does it."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def edited(path: Path, edits: Sequence[tuple[Fraction | int, Fraction | int | None]]) -> Path:
    """Give an mp4 of one stream, whose index comes last, an edit list (ISO/IEC 14496-12, 8.6.6).

    Args:
        path: The film.
        edits: Length in seconds, and from which second of the media; None for nothing on screen.
    """
    content = path.read_bytes()
    at, end = _box(content, 0, len(content), "moov")
    movie, tail = content[at:end], content[end:]
    assert not tail.strip(b"\0") or at > content.index(b"mdat")
    (movie_scale,) = struct.unpack_from(">I", movie, movie.index(b"mvhd") + 16)
    (media_scale,) = struct.unpack_from(">I", movie, movie.index(b"mdhd") + 16)
    track_at, track_end = _box(movie, 8, len(movie), "trak")
    track, zero = movie[track_at:track_end], 0
    if b"edts" in track:
        old_at, old_end = _box(track, 8, len(track), "edts")
        (zero,) = struct.unpack_from(">i", track, track.index(b"elst") + 4 + 4 + 4 + 4)
        track = track[:old_at] + track[old_end:]
    rows = b""
    for length, media in edits:
        begins = -1 if media is None else max(zero, 0) + round(media * media_scale)
        rows += struct.pack(">IiI", round(length * movie_scale), begins, 1 << 16)
    edts = _boxed("edts", _boxed("elst", struct.pack(">II", 0, len(edits)) + rows))
    after_header = _box(track, 8, len(track), "tkhd")[1]
    track = _boxed("trak", track[8:after_header] + edts + track[after_header:])
    movie = _boxed("moov", movie[8:track_at] + track + movie[track_end:])
    path.write_bytes(content[:at] + movie + tail)
    return path


def hevc_orientation(turn: int, mirrored: bool = False) -> Callable[[Any], Iterable[Any]]:
    """Puts a message about orientation before the first picture of every key frame.

    Args:
        turn: Degrees counter-clockwise.
        mirrored: Left and right.
    """
    bits = f"0{mirrored:d}0{turn * 65536 // 360:016b}1"
    payload = int(bits.ljust(24, "0"), 2).to_bytes(3, "big")
    unit = bytes((39 << 1, 1, ORIENTATION_OF_HEVC, len(payload))) + _escaped(payload) + b"\x80"

    def change(packet: Any) -> Iterator[Any]:
        content = bytes(packet)
        if packet.is_keyframe:
            at = next(
                at
                for at in range(len(content) - 4)
                if content[at : at + 3] == b"\0\0\1" and content[at + 3] >> 1 & 63 in PICTURES_OF_HEVC
            )
            content = content[:at] + b"\0\0\1" + unit + content[at:]
        yield repacked(packet, content)

    return change


class Packer:
    """Packs MPEG-4 part 2 with one B frame at a time as DivX did for AVI; the clock must count pictures.

    A B frame rides in the packet of the picture after it, which is decoded before it, and an empty picture takes the
    place that it leaves. A note in the header tells decoders.
    """

    def __init__(self) -> None:
        self._later: Any = None

    def __call__(self, packet: Any) -> Iterator[Any]:
        """The packets to write for one of the encoder's, of which the last must be no B frame."""
        content = bytes(packet)
        head = content.index(VOP)
        kind = content[head + 4] >> 6
        if packet.is_keyframe:
            content = content[:head] + b"\0\0\1\xb2DivX503b1393p" + content[head:]
        packet = repacked(packet, content)
        if kind == B_VOP:
            yield repacked(self._later, bytes(self._later) + content)
            yield repacked(packet, _empty_vop(bytes(self._later)))
            self._later = None
            return
        if self._later is not None:
            yield self._later
        self._later = packet

    def last(self) -> Any:
        """The packet still held back."""
        return self._later


def repacked(packet: Any, content: bytes) -> Any:
    """A packet with other content and all else as it was."""
    made = av.Packet(content)
    made.pts, made.dts, made.duration, made.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
    made.stream, made.is_keyframe = packet.stream, packet.is_keyframe
    return made


def _empty_vop(content: bytes) -> bytes:
    """A predicted picture that repeats the one before, at the time of the given one (ISO/IEC 14496-2, 6.2.5)."""
    head = content.index(VOP) + 4
    bits = "".join(f"{byte:08b}" for byte in content[head : head + 8])
    end = bits.index("0", 2) + 1 + 1 + TIME_BITS + 1
    empty = "01" + bits[2:end] + "0" + "0"
    padded = empty.ljust(-(-len(empty) // 8) * 8, "1")
    return VOP + int(padded, 2).to_bytes(len(padded) // 8, "big")


def _packets(film: Any, stream: Any) -> Iterator[Any]:
    for packet in film.demux(film.streams[0]):
        if packet.size:
            if stream is not None:
                packet.stream = stream
            yield packet


def _box(content: bytes, start: int, end: int, name: str) -> tuple[int, int]:
    """From where to where a box lies within another."""
    while start < end:
        size, found = struct.unpack_from(">I4s", content, start)
        if found == name.encode():
            return start, start + size
        start += size
    raise AssertionError(f"no {name}")


def _boxed(name: str, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name.encode()) + content


def _escaped(payload: bytes) -> bytes:
    return payload.replace(b"\0\0\0", b"\0\0\3\0").replace(b"\0\0\1", b"\0\0\3\1")
