"""Work that may hang, crash or eat memory, each piece in a process that can be lost: decoding, cutting, thumbnails.

A worker is a Python of its own that is told functions and their arguments over a socket, and tells what comes of them.
It is not one of multiprocessing's, which would run the user's own script once more in every worker, nor of a pool on
them: a film's frames come while it is decoded, and how long it may take depends on how far it has come.
"""

import os
import pickle
import queue
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from gmmformer.errors import InputError

GIB = 1 << 30
START_LIMIT = 120.0
"""Seconds in which a worker must have started."""
RENEW_AFTER = 500
"""Tasks after which a worker is replaced, so that what libraries leak does not add up."""


class Done(NamedTuple):
    """How a task ended."""

    value: Any = None
    """What the function gave."""
    failed: Literal["refused", "out of memory", "failed"] | None = None
    """Refused: it raised an InputError. Failed: an error that nobody foresaw."""
    why: str = ""
    """The reason of a DecodeError without the film's name, or where an error came from that nobody foresaw."""


class LostError(Exception):
    """A task cost its worker; the message is a clause that says how, without the film's name."""


class TooLongError(LostError):
    """It took too long, or hung."""


class Worker:
    """One process, for one thread to drive; any may kill it."""

    def __init__(self, memory_limit: int, nice: int = 0) -> None:
        """Start it, and do not wait for it.

        Args:
            memory_limit: Bytes that it may allocate beyond its own start, in address space (Linux only).
            nice: How far it stands back for other processes.
        """
        self.limit, self.waited = 0.0, 0.0
        self._tasks, self._started, self._failed = 0, False, False
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._socket, theirs = socket.socketpair()
        self._channel = self._socket.makefile("rwb")
        threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        with theirs:
            handle = theirs.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", f"import {__name__} as pool; pool.work({handle}, {memory_limit}, {nice})"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                pass_fds=[handle],
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **threads},
            )

    @property
    def over(self) -> bool:
        """Whether it is to be given no more tasks."""
        return self._failed or self._tasks >= RENEW_AFTER or self._process.poll() is not None

    def run(self, task: Callable[..., Any], *args: Any, limit: float, silence: float = threading.TIMEOUT_MAX) -> Any:
        """Have `task(*args)` done: gives what it tells by `tell` as it comes, and last of all a Done.

        Args:
            task: A function that can be imported.
            args: For it.
            limit: Seconds that it may take, not counting those in which what it told waits to be taken. It is in
                `self.limit` and can be raised there meanwhile; `self.waited` counts up to it.
            silence: Seconds that it may tell nothing.

        Raises:
            LostError: The process ended, or was ended.
            RuntimeError: It did not start.
        """
        self._failed = True
        self._tasks += 1
        try:
            self._begin(task, args)
            self.limit, self.waited = limit, 0.0
            while not isinstance(message := self._received(silence), Done):
                yield message
        except TimeoutError:
            if self.waited < self.limit:
                raise TooLongError(f"hangs: nothing was read or decoded for {silence:.0f} s") from None
            raise TooLongError(f"takes longer to decode than the time limit of {self.limit:.0f} s") from None
        except (EOFError, OSError, pickle.UnpicklingError):
            raise LostError(self._death()) from None
        self._failed = message.failed == "out of memory"
        yield message

    def kill(self) -> None:
        """End the process, whatever it does; whoever drives it meets a LostError."""
        self._process.kill()

    def close(self) -> None:
        """End it and let go of all that it holds here; only for who drives it."""
        self._process.kill()
        self._process.wait()
        for file in (self._channel, self._socket, self._errors):
            try:
                file.close()
            except OSError:  # what was not sent yet is not sent any more
                continue

    def _begin(self, task: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """Send a task; the first one has started once all that it imports is there."""
        self.limit, self.waited = START_LIMIT, 0.0
        try:
            _send(self._channel, (task, args))
            self._started = self._started or self._received(START_LIMIT)
        except (EOFError, OSError) as error:
            if self._started:
                raise
            raise RuntimeError(f"the process that decodes films did not start: {self._last_words()}") from error

    def _received(self, silence: float) -> Any:
        began = time.monotonic()
        left = self.limit - self.waited
        try:
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(min(silence, left))
            return _receive(self._channel)
        finally:
            self.waited += time.monotonic() - began

    def _death(self) -> str:
        code = self._process.wait()
        if code == -signal.SIGKILL:
            return "its decoder was killed from outside (SIGKILL), as happens when the machine runs out of memory"
        return f"crashes the decoder ({signal.Signals(-code).name if code < 0 else self._last_words()})"

    def _last_words(self) -> str:
        self._process.kill()
        self._process.wait()
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip().rpartition("\n")[2] or "it gave no reason"


class Pool:
    """As many workers as may work at a time; each is started when it is first needed, and replaced when it is lost."""

    def __init__(self, size: int, memory_limit: int, nice: int = 0) -> None:
        """Nothing is started yet; for the limits see Worker."""
        self._size, self._limits, self._stopped = size, (memory_limit, nice), False
        self._alive: set[Worker] = set()
        self._free: queue.SimpleQueue[Worker | None] = queue.SimpleQueue()
        for _ in range(size):
            self._free.put(None)

    @contextmanager
    def worker(self) -> Iterator[Worker]:
        """One that is free, for this thread alone; waits for it."""
        worker = self._free.get()
        try:
            if worker is None:
                worker = Worker(*self._limits)
                self._alive.add(worker)
            if self._stopped:
                worker.kill()
            yield worker
        finally:
            if worker is not None and worker.over:
                self._alive.discard(worker)
                worker.close()
                worker = None
            self._free.put(worker)

    def kill(self) -> None:
        """End all processes, whatever they do; those who drive them meet a LostError."""
        self._stopped = True
        for worker in list(self._alive):
            worker.kill()

    def stop(self) -> None:
        """End all processes, and wait until nobody drives them."""
        self.kill()
        for _ in range(self._size):
            worker = self._free.get()
            if worker is not None:
                worker.close()


def _send(channel: Any, message: Any) -> None:
    """Arrays go as they are, beside the pickle."""
    buffers: list[pickle.PickleBuffer] = []
    content = pickle.dumps(message, 5, buffer_callback=buffers.append)
    raw = [buffer.raw() for buffer in buffers]
    pickle.dump([view.nbytes for view in raw], channel)
    for part in (*raw, content):
        channel.write(part)
    channel.flush()


def _receive(channel: Any) -> Any:
    buffers = []
    for size in pickle.load(channel):
        buffers.append(bytearray(size))
        if channel.readinto(buffers[-1]) < size:
            raise EOFError
    return pickle.load(channel, buffers=buffers)


_parent: Any = None
"""In a worker, the way to whoever drives it."""


def tell(message: Any) -> None:
    """From within a task: a sign of life, or a part of what comes of it."""
    _send(_parent, message)


def work(handle: int, memory_limit: int, nice: int) -> None:
    """A worker's whole life: tasks come over the socket `handle`; when that ends, however busy it is, so does this."""
    global _parent
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(nice)
    _parent = socket.socket(fileno=handle).makefile("rwb")
    tasks: queue.SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(tasks,), daemon=True).start()
    task, args = tasks.get()
    tell(True)
    _limit_memory(memory_limit)  # beyond what is imported by now
    while True:
        tell(_done(task, args))
        task, args = tasks.get()


def _read(tasks: Any) -> None:
    try:
        while True:
            tasks.put(_receive(_parent))
    except EOFError:
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _done(task: Callable[..., Any], args: tuple[Any, ...]) -> Done:
    try:
        return Done(task(*args))
    except InputError as error:
        return Done(failed="refused", why=getattr(error, "reason", ""))
    except MemoryError:
        return Done(failed="out of memory")
    except Exception:  # films bring libraries to errors of all kinds, and not all of those can be pickled
        return Done(failed="failed", why=traceback.format_exc())


def _limit_memory(limit: int) -> None:
    """Let this process allocate `limit` bytes more of address space than it has now, where the system knows how."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + limit
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    except (OSError, ValueError):
        return
