"""Many films decoded side by side, each in a process that may hang, crash or run out of memory alone."""

import importlib.util
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, UInt8

from gmmformer.errors import InputError, MissingExtraError, one_line
from gmmformer.media.films import DecodeError, DecodeReport
from gmmformer.media.pool import GIB, Done, LostError, Pool, Worker, tell
from gmmformer.media.timeline import requested_ticks

if TYPE_CHECKING:
    from gmmformer.media.frames import Frame

SILENCE_LIMIT = 60.0
"""Seconds without a packet read or a frame decoded after which a film is taken to hang."""
BASE_TIME = 120.0
TIME_PER_PICTURE = 1.0
"""Without a time limit a film may take 120 s and a second for each picture read; a header's claims buy nothing."""


CHUNK_FRAMES = 64
CHUNK_BYTES = 32 << 20
"""A chunk holds no more frames and no more pixels than these, but one frame at least."""
BYTES_AHEAD = 64 << 20
"""How much may wait to be taken. Not so many chunks: those of short films are small, and decoding would stand still."""
BEAT_SECONDS = 1.0
HEADER_BELIEVED = 0.95
"""A film that ends before this share of what its header promises is remarked on."""


@dataclass(frozen=True)
class FilmChunk:
    """Some frames of a film, in the order of time; a film's next chunk goes on where this one ends."""

    path: Path
    seconds: Float64[np.ndarray, "frames"]
    """Counted from the film's first frame."""
    images: UInt8[np.ndarray, "frames height width 3"]
    """Upright RGB; the size is the same in all chunks of a film."""


@dataclass(frozen=True, kw_only=True)
class FilmEnd:
    """What became of a film. After a failure its chunks so far are not the whole film."""

    path: Path
    reason: str | None
    """Why it failed, in words, without the film's name; None where it did not."""
    warning: str | None = None
    """What is odd about a film that did not fail."""
    frames: int = 0
    """Frames in its chunks."""
    seconds: float = 0.0
    """Length of the film as it was read."""
    packet_errors: int = 0
    """Damaged packets that were passed over."""
    frames_decoded: int = 0
    """Frames that the decoder gave out to find those in the chunks."""
    text: bool = False
    """Whether there is text beside the pictures, as subtitles are."""

    @property
    def ok(self) -> bool:
        """Whether the whole film was decoded."""
        return self.reason is None


def decode_films(
    paths: Iterable[str | os.PathLike[str]],
    *,
    fps: float | None = 1.0,
    size: int | None = 256,
    workers: int = 1,
    time_limit: float | None = None,
    memory_limit: int = 4 * GIB,
) -> Iterator[FilmChunk | FilmEnd]:
    """Decode films in `workers` processes; chunks of different films come interleaved, each film ends with a FilmEnd.

    Chunks hold at most 64 frames and 32 MiB (but one frame at least). Chunks of 64 MiB in all, and two more for each
    worker, wait here; when they are not taken, decoding waits. A worker that dies is replaced. The processes end when
    the iterator is closed, and by themselves when this process dies.

    Args:
        paths: Films; taken one by one as workers become free.
        fps: See gmmformer.media.frames.sampled_frames.
        size: See there.
        workers: Films decoded at a time, each with one thread: what comes of a damaged film depends on the number of
            threads, and must not depend on the machine.
        time_limit: Seconds that decoding one film may take, not counting the time its frames wait to be taken. None:
            120 s and a second for each of its pictures. A film that does not get on for 60 s always fails.
        memory_limit: Bytes that a worker may allocate beyond its own start, in address space (Linux only).

    Raises:
        InputError: A setting makes no sense.
        MissingExtraError: PyAV is not installed.
        RuntimeError: Workers cannot be started.
    """
    requested_ticks(fps, None, None)
    for name, value in (("size", size), ("workers", workers), ("time_limit", time_limit)):
        if value is not None and not value > 0:
            raise InputError(f"{name} {value} must be above 0")
    if memory_limit < 64 << 20:
        raise InputError(f"memory_limit {memory_limit} must be at least 64 MiB")
    if importlib.util.find_spec("av") is None:
        raise MissingExtraError("Decoding films", "films")
    from gmmformer.media.frames import sampled_frames  # imported by the workers too before memory is limited

    def drive(path: Path, worker: Worker) -> Iterator[FilmChunk | FilmEnd]:
        frames, limit = 0, BASE_TIME if time_limit is None else time_limit
        try:
            for message in worker.run(_decode, sampled_frames, path, fps, size, limit=limit, silence=SILENCE_LIMIT):
                match message:
                    case Done(value=FilmEnd() as end):
                        yield end
                    case Done(failed="out of memory"):
                        gib = f"{memory_limit / GIB:.3g} GiB"
                        reason = f"needs more than the {gib} of memory that a film may take"
                        yield FilmEnd(path=path, reason=reason, frames=frames)
                    case Done(why=why):
                        last = (why.strip().splitlines() or ["it gave no reason"])[-1]
                        reason = f"crashes the decoder ({one_line(last)})"
                        yield FilmEnd(path=path, reason=reason, frames=frames)
                    case pictures, chunk:
                        if time_limit is None:
                            worker.limit = BASE_TIME + TIME_PER_PICTURE * pictures
                        if chunk is not None:
                            frames += len(chunk.images)
                            yield chunk
        except LostError as error:
            yield FilmEnd(path=path, reason=str(error), frames=frames)

    return _results(map(Path, paths), drive, Pool(workers, memory_limit), workers)


class _Ahead(queue.Queue[FilmChunk | FilmEnd | BaseException | None]):
    """A queue that is full when what waits in it has so many bytes; whatever is no chunk counts as one."""

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self._bytes = 0

    def _qsize(self) -> int:
        return self._bytes

    def _put(self, item: FilmChunk | FilmEnd | BaseException | None) -> None:
        super()._put(item)
        self._bytes += _bytes(item)

    def _get(self) -> FilmChunk | FilmEnd | BaseException | None:
        item = super()._get()
        self._bytes -= _bytes(item)
        return item


def _bytes(item: FilmChunk | FilmEnd | BaseException | None) -> int:
    return item.images.nbytes if isinstance(item, FilmChunk) else 1


def _results(
    paths: Iterator[Path],
    drive: Callable[[Path, Worker], Iterator[FilmChunk | FilmEnd]],
    pool: Pool,
    workers: int,
) -> Iterator[FilmChunk | FilmEnd]:
    """What comes of all films, out of a thread for each worker."""
    results = _Ahead(BYTES_AHEAD)
    taking, stopped = threading.Lock(), False

    def take() -> None:
        try:
            while not stopped:
                with taking:
                    path = next(paths, None)
                if path is None:
                    break
                with pool.worker() as worker:
                    for result in drive(path, worker):
                        results.put(result)
                        if stopped:
                            return
            results.put(None)
        except BaseException as error:
            results.put(error)

    threads = [threading.Thread(target=take, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    try:
        running = workers
        while running:
            result = results.get()
            if result is None:
                running -= 1
            elif isinstance(result, BaseException):
                raise result
            else:
                yield result
    finally:
        stopped = True
        pool.kill()
        for thread in threads:
            while thread.is_alive():
                with suppress(queue.Empty):  # it may wait for room
                    results.get(timeout=0.01)
        pool.stop()


def _decode(
    sampled_frames: Callable[..., Iterator["Frame"]], path: Path, fps: float | None, size: int | None
) -> FilmEnd:
    """Tell a film's chunks, and at least every second whether there is one or not, how many of its pictures were read.

    The messages are pairs: the number of pictures, and a FilmChunk or None.
    """
    report, reason = DecodeReport(), None
    frames, last = 0, time.monotonic()

    def beat() -> None:
        nonlocal last
        if time.monotonic() - last > BEAT_SECONDS:
            tell((report.packets, None))
            last = time.monotonic()

    report.on_progress = beat
    try:
        for chunk in _chunks(sampled_frames(path, fps=fps, size=size, report=report)):
            seconds = np.array([frame.seconds for frame in chunk])
            tell((report.packets, FilmChunk(path, seconds, np.stack([frame.image for frame in chunk]))))
            frames, last = frames + len(chunk), time.monotonic()
    except DecodeError as error:
        reason = error.reason
    promised, read = report.promised or 0, report.seconds
    if read < promised * HEADER_BELIEVED and promised - read > 1:
        report.remark(f"its header promises {promised:.0f} s, {read:.0f} s could be read")
    return FilmEnd(
        path=path,
        reason=reason,
        warning="; ".join(report.remarks) if reason is None and report.remarks else None,
        frames=frames,
        seconds=report.seconds,
        packet_errors=report.packet_errors,
        frames_decoded=report.frames_decoded,
        text=report.text,
    )


def _chunks(frames: Iterator["Frame"]) -> Iterator[list["Frame"]]:
    chunk: list[Frame] = []
    for frame in frames:
        chunk.append(frame)
        if len(chunk) == CHUNK_FRAMES or (len(chunk) + 1) * frame.image.nbytes > CHUNK_BYTES:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
