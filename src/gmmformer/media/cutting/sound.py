"""The sound of a moment: its packets as they are, or its samples, cut where the picture is cut."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from typing import Any, NamedTuple

import av
import numpy as np

from gmmformer.media.container import open_film
from gmmformer.media.cutting.reading import Span
from gmmformer.media.packets import demuxed
from gmmformer.media.timeline import Clock

RATES = (44100, 48000)
LAYOUTS = frozenset(("mono", "stereo", "5.1", "7.1"))
"""What is kept as it is; other rates become 48000 samples a second, other layouts stereo."""
RUN_UP = Fraction(1, 2)
"""Seconds before a moment from which sound is decoded: a decoder needs some packets to come right."""
SOUND_BITS = 96_000
"""A second and channel."""
JITTER = Fraction(1, 50)
"""Seconds by which the timestamps of sound may be off without a gap being meant."""
COPIED_CODECS = frozenset(("aac", "mp3", "ac3", "eac3"))
"""Sound that may lie in mp4 and that players expect there."""


class Source(NamedTuple):
    """A film's sound, opened on its own."""

    container: Any
    stream: Any
    clock: Clock | None
    """Puts its packets, from the first on, on the film's clock; None where the container's clock is never set anew."""

    @property
    def copyable(self) -> bool:
        """Whether its packets may lie in mp4."""
        return self.stream.codec.canonical_name in COPIED_CODECS


@contextmanager
def sound_of(path: Any, wanted: bool) -> Iterator[Source | None]:
    """Open a film's sound, the stream that ffmpeg takes for the best; None where there is none or it is not wanted.

    Raises:
        DecodeError: It is not a film that can be read.
    """
    if not wanted:
        yield None
        return
    with open_film(path) as film:
        stream = film.container.streams.best("audio")
        if stream is None or stream.codec_context is None:
            yield None
            return
        film.stream.discard = av.stream.Discard.all
        stream.discard = av.stream.Discard.default
        yield Source(film.container, stream, film.clock_for(stream, max(1, round(JITTER / stream.time_base))))


def copied_packets(source: Source, span: Span) -> Iterator[Any]:
    """The packets heard within a span and the one before, their times counted from the span's start.

    The first may thus have times below zero: players decode but do not play it.
    """
    time_base = source.stream.time_base
    start, end = round(span.start / time_base), round(span.end / time_base)
    before, last = None, None
    for packet in _packets(source, span.start):
        if packet.pts is None or packet.dts is None:
            continue
        if packet.pts + (packet.duration or 0) <= start:
            before = packet
            continue
        if packet.pts >= end:
            return
        for kept in (before, packet):
            if kept is not None and (last is None or kept.dts > last):
                last = kept.dts
                kept.pts, kept.dts = kept.pts - start, kept.dts - start
                yield kept
        before = None


def encoded_sound(container: Any, source: Source, span: Span, *, stereo: bool) -> Iterator[Any] | None:
    """Add a stream of AAC to `container`; give its packets, or None where no sample can be decoded.

    Raises:
        av.FFmpegError: While packets are taken: the samples cannot be encoded.
    """
    context = source.stream.codec_context
    rate = context.sample_rate if context.sample_rate in RATES else max(RATES)
    layout = context.layout.name if context.layout.name in LAYOUTS and not stereo else "stereo"
    frames = samples(source, span, rate, layout)
    first = next(frames, None)
    if first is None:
        return None
    stream = container.add_stream("aac", rate=rate, layout=layout)
    stream.codec_context.bit_rate = SOUND_BITS * first.layout.nb_channels

    def packets() -> Iterator[Any]:
        for frame in chain([first], frames):
            yield from stream.encode(frame)
        yield from stream.encode(None)

    return packets()


def samples(source: Source, span: Span, rate: int, layout: str) -> Iterator["av.AudioFrame"]:
    """The samples heard within a span, one after the other from its start, silence where the film has none.

    What cannot be decoded is silent; nothing comes where nothing can be decoded.
    """
    total, written = round((span.end - span.start) * rate), 0
    for frame in _resampled(_frames(source, span.start), rate, layout):
        values = np.nan_to_num(frame.to_ndarray(), nan=0.0, posinf=0.0, neginf=0.0)
        place = written if frame.pts is None else round((frame.pts * frame.time_base - span.start) * rate)
        if written and abs(place - written) <= JITTER * rate:
            place = written
        values = values[:, max(0, written - place) : max(0, total - place)]
        if not values.shape[1]:
            if place >= total:
                return
            continue
        while written < place:
            silent = np.zeros((len(values), min(rate, place - written)), dtype=np.float32)
            yield _audio_frame(silent, rate, layout, written)
            written += silent.shape[1]
        yield _audio_frame(values, rate, layout, written)
        written += values.shape[1]


def _audio_frame(values: np.ndarray, rate: int, layout: str, place: int) -> "av.AudioFrame":
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(values), format="fltp", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, place, Fraction(1, rate)
    return frame


def _resampled(frames: Iterator[Any], rate: int, layout: str) -> Iterator[Any]:
    resampler, form = None, None
    for frame in frames:
        if resampler is None or (frame.format.name, frame.layout.name, frame.sample_rate) != form:
            form = (frame.format.name, frame.layout.name, frame.sample_rate)
            resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
        yield from resampler.resample(frame)
    if resampler is not None:
        yield from resampler.resample(None)


def _frames(source: Source, start: Fraction) -> Iterator[Any]:
    for packet in chain(_packets(source, start), [None]):
        try:
            yield from source.stream.codec_context.decode(packet)
        except MemoryError:
            raise
        except av.FFmpegError:
            continue


def _packets(source: Source, start: Fraction) -> Iterator[Any]:
    """The packets from a little before a time on; from the first where jumping there comes out too late."""
    container, stream, clock = source
    time = round((start - RUN_UP) / stream.time_base)
    beginning = stream.start_time or 0
    for seek_to in (time, beginning) if time > beginning and clock is None else (None,):
        try:
            if seek_to is not None:
                container.seek(seek_to, stream=stream)
        except av.FFmpegError:
            continue
        for number, packet in enumerate(demuxed(container, stream, container.name)):
            if clock is not None:
                clock.mend(packet)
            if packet.pts is not None and packet.pts * stream.time_base < start - RUN_UP:
                continue
            if number == 0 and seek_to == time and packet.pts is not None and packet.pts * stream.time_base > start:
                break
            yield packet
        else:
            return
