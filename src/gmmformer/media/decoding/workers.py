"""Many films decoded side by side, each in a process that may hang, crash or run out of memory alone."""

import importlib.util
import json
import os
import queue
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from jaxtyping import Float64, UInt8

import gmmformer
from gmmformer.errors import InputError, MissingExtraError
from gmmformer.media.timeline import requested_ticks

START_LIMIT = 120.0
"""Seconds in which a worker must have started."""
SILENCE_LIMIT = 60.0
"""Seconds without a packet read or a frame decoded after which a film is taken to hang."""
BASE_TIME = 120.0
TIME_PER_PICTURE = 1.0
"""Without a time limit a film may take 120 s and a second for each picture read; a header's claims buy nothing."""
GIB = 1 << 30


class FilmChunk(NamedTuple):
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

    Chunks hold at most 64 frames and 32 MiB (but one frame at least), and at most 2 for each worker wait here: when
    they are not taken, decoding waits. A worker that dies is replaced. The processes end when the iterator is closed,
    and by themselves when this process dies.

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
    settings = {"fps": fps, "size": size, "memory_limit": memory_limit}
    return _Pool(paths, settings, workers, time_limit).results()


class _Pool:
    """Threads that each drive one worker, and the queue that they fill."""

    def __init__(
        self, paths: Iterable[str | os.PathLike[str]], settings: dict[str, Any], workers: int, time_limit: float | None
    ) -> None:
        self._paths = iter(paths)
        self._settings = settings
        self._time_limit = time_limit
        self._taking = threading.Lock()
        self._stopped = threading.Event()
        self._results: queue.Queue[FilmChunk | FilmEnd | BaseException | None] = queue.Queue(workers)
        self._threads = [threading.Thread(target=self._drive, daemon=True) for _ in range(workers)]

    def results(self) -> Iterator[FilmChunk | FilmEnd]:
        running = len(self._threads)
        for thread in self._threads:
            thread.start()
        try:
            while running:
                result = self._results.get()
                if result is None:
                    running -= 1
                elif isinstance(result, BaseException):
                    raise result
                else:
                    yield result
        finally:
            self._stopped.set()
            for thread in self._threads:
                thread.join()

    def _drive(self) -> None:
        worker: _Worker | None = None
        try:
            while (path := self._next_path()) is not None:
                if worker is not None and worker.over:
                    worker.kill()
                    worker = None
                worker = worker or _Worker(self._settings, self._stopped)
                for result in worker.decode(path, self._time_limit):
                    self._put(result)
            self._put(None)
        except _StoppedError:
            pass
        except BaseException as error:
            self._put(error)
        finally:
            if worker is not None:
                worker.kill()

    def _next_path(self) -> Path | None:
        with self._taking:
            given = next(self._paths, None)
        return None if given is None else Path(given)

    def _put(self, result: FilmChunk | FilmEnd | BaseException | None) -> None:
        while not self._stopped.is_set():
            try:
                return self._results.put(result, timeout=0.1)
            except queue.Full:
                continue
        raise _StoppedError


class _StoppedError(Exception):
    """Nobody takes results any more."""


class _TooLongError(Exception):
    """A worker did not answer in time."""


class _Worker:
    """One worker process and the pipes to it."""

    def __init__(self, settings: dict[str, Any], stopped: threading.Event) -> None:
        self._failed = False
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        package_root = str(Path(gmmformer.__file__).parent.parent)
        path = os.pathsep.join(filter(None, (package_root, os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "gmmformer.media.decoding.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        self._reader = _Reader(self._process.stdout, stopped)
        try:
            self._tell(settings)
            self._reader.message(START_LIMIT)
        except (EOFError, BrokenPipeError, _TooLongError) as error:
            raise RuntimeError(f"the process that decodes films did not start: {self._last_words()}") from error
        except BaseException:
            self.kill()
            raise

    @property
    def over(self) -> bool:
        """Whether it can decode no more films."""
        return self._failed or self._process.poll() is not None

    def decode(self, path: Path, time_limit: float | None) -> Iterator[FilmChunk | FilmEnd]:
        """Have one film decoded; where it fails in a way that the worker does not survive, `over` becomes true."""
        self._reader.waited = 0.0
        limit = BASE_TIME if time_limit is None else time_limit
        frames = pictures = 0
        try:
            self._tell({"path": os.fspath(path)})
            while True:
                message = self._reader.message(min(SILENCE_LIMIT, limit - self._reader.waited))
                if time_limit is None:
                    pictures = max(pictures, message.get("pictures", 0))
                    limit = BASE_TIME + TIME_PER_PICTURE * pictures
                match message.pop("kind"):
                    case "chunk":
                        images = self._reader.array(message["shape"], min(SILENCE_LIMIT, limit - self._reader.waited))
                        frames += len(images)
                        yield FilmChunk(path, np.array(message["seconds"], dtype=np.float64), images)
                    case "end":
                        self._failed = message.pop("out_of_memory")
                        yield FilmEnd(path=path, **message)
                        return
        except (EOFError, BrokenPipeError):
            reason = self._death()
        except _TooLongError:
            if self._reader.waited < limit:
                reason = f"hangs: nothing was read or decoded for {SILENCE_LIMIT:.0f} s"
            else:
                reason = f"takes longer to decode than the time limit of {limit:.0f} s"
        self._failed = True
        yield FilmEnd(path=path, reason=reason, frames=frames)

    def kill(self) -> None:
        """End the process whatever it does."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._reader, self._errors):
            if pipe is not None:
                pipe.close()

    def _last_words(self) -> str:
        self._process.kill()
        self._process.wait()
        self._errors.seek(0)
        words = self._errors.read().decode(errors="replace").strip()
        self.kill()
        return words.rpartition("\n")[2] or "it gave no reason"

    def _tell(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode("ascii") + b"\n")

    def _death(self) -> str:
        code = self._process.wait()
        if code == -signal.SIGKILL:
            return "its decoder was killed from outside (SIGKILL), as happens when the machine runs out of memory"
        name = signal.Signals(-code).name if code < 0 else self._last_words()
        return f"crashes the decoder ({name})"


class _Reader:
    """Reads a worker's messages, and counts the seconds spent waiting for them."""

    def __init__(self, pipe: Any, stopped: threading.Event) -> None:
        self.waited = 0.0
        self._file = pipe.fileno()
        self._stopped = stopped
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._file, selectors.EVENT_READ)
        self._buffer = bytearray()

    def close(self) -> None:
        """Watch the pipe no longer."""
        self._selector.close()

    def message(self, limit: float) -> dict[str, Any]:
        """The next message; see `_wait` for what is raised."""
        while (end := self._buffer.find(b"\n")) < 0:
            self._wait(limit)
            self._buffer += self._some(os.read(self._file, 1 << 16))
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        message: dict[str, Any] = json.loads(line)
        return message

    def array(self, shape: list[int], limit: float) -> UInt8[np.ndarray, "..."]:
        """The pixels that follow a message."""
        array: Any = np.empty(shape, dtype=np.uint8)
        view = memoryview(array).cast("B")
        had = min(len(self._buffer), len(view))
        view[:had] = self._buffer[:had]
        del self._buffer[:had]
        while had < len(view):
            self._wait(limit)
            read = os.readv(self._file, [view[had:]])
            if not read:
                raise EOFError
            had += read
        pixels: UInt8[np.ndarray, ...] = array
        return pixels

    def _wait(self, limit: float) -> None:
        """Until there is something to read; raises when it takes longer than `limit` seconds, or nobody wants it."""
        began = time.monotonic()
        try:
            while not self._selector.select(max(0.0, min(0.2, began + limit - time.monotonic()))):
                if self._stopped.is_set():
                    raise _StoppedError
                if time.monotonic() - began >= limit:
                    raise _TooLongError
        finally:
            self.waited += time.monotonic() - began

    @staticmethod
    def _some(data: bytes) -> bytes:
        if not data:
            raise EOFError
        return data
