"""Work on film files: bounded in number, time and memory, done once for all who ask, kept while there is room."""

import asyncio
import fcntl
import multiprocessing
import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import TimeoutError as TaskTimeoutError
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from pebble import ProcessExpired, ProcessPool

from gmmformer.search import Film
from gmmformer.web import film_tasks
from gmmformer.web.files import OpenFile, open_regular, state_of
from gmmformer.web.problems import LOG, ProblemError, busy
from gmmformer.web.server import Counters, ServeConfig

LOOKERS = 2
"""Films looked at at a time."""
_MOST_WAITING_LOOKS = 200
_WAITING_CUTS = 8
"""For each cut in progress."""
_RENEW_AFTER = 500
"""Tasks after which a process is replaced, so that what libraries leak does not add up."""
_MOST_KNOWN = 200_000
"""Films whose nature is remembered."""
_MODULE = "gmmformer.media.cutting"
_PREFIX, _LOCK = "gmmformer-serve-", ".lock"


class Lane:
    """A pool of processes for tasks of one kind."""

    def __init__(self, *, workers: int, most: int, seconds: float, memory: float, counters: Counters) -> None:
        """At most `most` tasks wait or run; each may take `seconds`, and its process `memory` GiB."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([_MODULE])
        self._pool = ProcessPool(
            max_workers=workers,
            max_tasks=_RENEW_AFTER,
            initializer=film_tasks.start,
            initargs=[int(memory * 2**30)],
            context=context,
        )
        self._most, self._seconds, self._counters, self._tasks = most, seconds, counters, 0

    @property
    def idle(self) -> bool:
        """Whether nothing is to be done."""
        return not self._tasks

    async def do(self, task: Callable[..., film_tasks.Done], *args: Any) -> Any:
        """What the task gives.

        Raises:
            ProblemError: Too much waits (429), or the film cannot be used (422).
        """
        if self._tasks >= self._most:
            raise busy(429, seconds=2)
        self._tasks += 1
        outcome = "failed"
        try:
            scheduled = await asyncio.to_thread(self._pool.schedule, task, args=args, timeout=self._seconds)
            done = await asyncio.wrap_future(scheduled)
            outcome = "done" if done.refused is None else "refused"
        except TaskTimeoutError:
            outcome = "too slow"
            raise ProblemError(422, f"The film took more than {self._seconds:.0f} s; it may be damaged.") from None
        except (ProcessExpired, MemoryError):
            raise ProblemError(422, "The film broke its decoder; it is damaged.") from None
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            self._tasks -= 1
            self._counters.film_work.labels(task.__name__, outcome).inc()
        if done.trace is not None:
            LOG.warning("%s of a film failed: %s", task.__name__, done.trace)
        if done.refused is not None:
            raise ProblemError(422, f"The film cannot be used: {done.refused}.")
        return done.value

    def stop(self) -> None:
        """End all processes, whatever they do."""
        self._pool.stop()
        self._pool.join(timeout=5)


class FilmWork:
    """Thumbnails, previews and cuts of films, and what browsers make of them."""

    def __init__(self, config: ServeConfig, counters: Counters) -> None:
        """Nothing is started before something is asked for."""
        memory = config.memory_limit
        self._looks = Lane(
            workers=LOOKERS, most=_MOST_WAITING_LOOKS, seconds=config.look_seconds, memory=memory, counters=counters
        )
        self._cuts = Lane(
            workers=config.cutters,
            most=(1 + _WAITING_CUTS) * config.cutters,
            seconds=config.cut_seconds,
            memory=memory,
            counters=counters,
        )
        self._folder, self._lock = _own_folder()
        self._plays: OrderedDict[tuple[int, str], str | None] = OrderedDict()
        self._rates: OrderedDict[tuple[int, str], float | None] = OrderedDict()
        self._thumbnails: OrderedDict[Any, bytes] = OrderedDict()
        self._previews: OrderedDict[Any, tuple[Path, int]] = OrderedDict()
        self._under_way: dict[Any, asyncio.Task[Any]] = {}
        self._config, self._written = config, 0

    def stop(self) -> None:
        """End all work and remove what was kept."""
        for lane in (self._looks, self._cuts):
            lane.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.close()

    @property
    def idle(self) -> bool:
        """Whether no film is looked at now."""
        return self._looks.idle

    def known_plays(self, film: Film) -> tuple[bool, str | None]:
        """Whether it is known what browsers make of a film, and if so what."""
        key = (film.id, film.stamp)
        return key in self._plays, self._plays.get(key)

    async def plays(self, film: Film) -> str | None:
        """None if browsers play a film as it is, else why not."""
        key = (film.id, film.stamp)
        if key not in self._plays:
            try:
                reason = await self._once(("plays", key), lambda: self._looks.do(film_tasks.plays, film.path))
            except ProblemError as error:
                if error.status == 429:
                    raise
                reason = "it cannot be decoded"
            _keep(self._plays, key, reason)
        return self._plays[key]

    async def frame_rate(self, film: Film) -> float | None:
        """Frames per second, if anybody knows and the film's file is there."""
        key = (film.id, film.stamp)
        if key not in self._rates:
            try:
                if await asyncio.to_thread(state_of, film) is not None:
                    return None
                rate = await self._once(("rate", key), lambda: self._looks.do(film_tasks.frame_rate, film.path))
            except ProblemError as error:
                if error.status == 429:
                    raise
                rate = None
            _keep(self._rates, key, rate)
        return self._rates[key]

    async def thumbnail(self, film: Film, second: float, height: int) -> bytes:
        """A JPEG of the frame at a second.

        Raises:
            ProblemError: The film is not there as it was (409, 410), cannot be decoded (422), or too much waits (429).
        """
        key = (film.id, film.stamp, second, height)
        if key in self._thumbnails:
            self._thumbnails.move_to_end(key)
            return self._thumbnails[key]
        image: bytes = await self._once(
            ("thumbnail", key),
            lambda: self._of_film(film, lambda: self._looks.do(film_tasks.thumbnail, film.path, second, height)),
        )
        if key not in self._thumbnails:
            self._thumbnails[key] = image
            while sum(map(len, self._thumbnails.values())) > self._config.thumbnail_bytes and len(self._thumbnails) > 1:
                self._thumbnails.popitem(last=False)
        return image

    async def preview(self, film: Film, start: float, end: float) -> OpenFile:
        """What any browser plays, of those seconds.

        Raises:
            ProblemError: As for `thumbnail`.
        """
        key = (film.id, film.stamp, start, end)
        if key in self._previews:
            self._previews.move_to_end(key)
            try:
                return await asyncio.to_thread(open_regular, self._previews[key][0])
            except OSError:  # somebody cleared the folder of temporary files
                del self._previews[key]
        path = await self._once(("preview", key), lambda: self._make_preview(film, start, end, key))
        return await asyncio.to_thread(open_regular, path)

    async def cut(self, film: Film, start: float, end: float, exact: bool | None) -> OpenFile:
        """Those seconds as a file, which is gone when it is closed.

        Raises:
            ProblemError: As for `thumbnail`.
        """
        path = self._new_path()
        try:
            await self._of_film(film, lambda: self._cuts.do(film_tasks.cut, film.path, start, end, str(path), exact))
            return await asyncio.to_thread(_opened, path)
        finally:
            await asyncio.to_thread(_remove, path)

    async def _make_preview(self, film: Film, start: float, end: float, key: Any) -> Path:
        path = self._new_path()
        try:
            await self._of_film(film, lambda: self._cuts.do(film_tasks.preview, film.path, start, end, str(path)))
            size = (await asyncio.to_thread(path.stat)).st_size
        except BaseException:
            _remove(path)
            raise
        self._previews[key] = path, size
        while sum(size for _, size in self._previews.values()) > self._config.preview_bytes and len(self._previews) > 1:
            _, (oldest, _) = self._previews.popitem(last=False)
            await asyncio.to_thread(_remove, oldest)
        return path

    async def _of_film(self, film: Film, work: Callable[[], Awaitable[Any]]) -> Any:
        """Work on a film's file, which must be the one that was indexed before and after."""
        for attempt in (work, None):
            state = await asyncio.to_thread(state_of, film)
            if state is not None:
                raise ProblemError(state)
            if attempt is not None:
                value = await attempt()
        return value

    async def _once(self, key: Any, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do the work, or wait for whoever does the same; it goes on when the one who asked first has gone."""
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.ensure_future(work())
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
            task.add_done_callback(_looked_at)
        return await asyncio.shield(task)

    def _new_path(self) -> Path:
        """A place for one file, in a folder of its own for what a task that is killed leaves behind."""
        self._written += 1
        folder = self._folder / f"{self._written:08d}"
        folder.mkdir()
        return folder / "film.mp4"


def _own_folder() -> tuple[Path, IO[str]]:
    """A folder for this process, and the lock that shows that it lives; those of servers that were killed are removed.

    The system gives up a lock when its process ends, however that comes about.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another user's, one that is in use, or one that goes at this moment
            if folder.lstat().st_uid == os.getuid() and not folder.is_symlink():
                _remove_left(folder)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        with suppress(
            FileNotFoundError, BlockingIOError
        ):  # whoever begins at the same time may take an empty one for left behind
            lock = (folder / _LOCK).open("w")
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (folder / _LOCK).exists():
                return folder, lock


def _remove_left(folder: Path) -> None:
    """Remove a server's folder if that server is gone; OSError if it is not."""
    try:
        lock = (folder / _LOCK).open("r+")
    except FileNotFoundError:
        folder.rmdir()  # killed before it had its lock: nothing is in it
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)


def _opened(path: Path) -> OpenFile:
    try:
        return open_regular(path)
    except OSError:
        LOG.exception("a cut was not written")
        raise ProblemError(500) from None


def _remove(path: Path) -> None:
    """Remove a file that `_new_path` named, with its folder; whoever has it open can still read it."""
    shutil.rmtree(path.parent, ignore_errors=True)


def _keep(known: OrderedDict[tuple[int, str], Any], key: tuple[int, str], value: Any) -> None:
    known[key] = value
    while len(known) > _MOST_KNOWN:
        known.popitem(last=False)


def _looked_at(task: "asyncio.Task[Any]") -> None:
    """Nobody may be waiting any more; then asyncio would complain that nobody looked at the error."""
    if not task.cancelled():
        task.exception()
