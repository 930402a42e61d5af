"""Work on film files: bounded in number, time and memory, done once for all who ask, kept while there is room."""

import asyncio
import fcntl
import os
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

from gmmformer.media import browsers, cutting, shots
from gmmformer.media.frames import FilmInfo, probe
from gmmformer.media.pool import GIB, Done, LostError, Pool, TooLongError, Worker
from gmmformer.search import Film
from gmmformer.web.files import OpenFile, open_regular, state_of
from gmmformer.web.problems import LOG, ProblemError, busy
from gmmformer.web.server import Counters

LOOKERS, CUTTERS = 2, 2
"""Films looked at, and cuts and previews made, at a time."""
LOOK_SECONDS, CUT_SECONDS = 20.0, 300.0
"""That looking at one film may take, for a thumbnail or to tell whether a browser plays it, and making one cut."""
MEMORY = 4.0
"""GiB that work on one film may take."""
PREVIEW_BYTES, THUMBNAIL_BYTES = 2 << 30, 64 << 20
"""Of all previews that are kept on disk, and of all thumbnails in memory."""
_MOST_WAITING_LOOKS = 200
_WAITING_CUTS = 8
"""For each cut in progress; more are answered 429."""
_MOST_KNOWN = 200_000
"""Films whose nature is remembered."""
_NICE = 5
"""How far work on films stands back for answers to queries."""
_PREFIX, _LOCK = "gmmformer-serve-", ".lock"


class Lane:
    """Tasks of one kind, each done by a worker."""

    def __init__(self, *, workers: int, most: int, seconds: float, memory: float, counters: Counters) -> None:
        """At most `most` tasks wait or run; each may take `seconds`, and its worker `memory` GiB."""
        self._pool, self._threads = Pool(workers, int(memory * GIB), _NICE), ThreadPoolExecutor(workers)
        self._most, self._seconds, self._counters, self._tasks = most, seconds, counters, 0
        self._leaving = threading.Lock()

    @property
    def idle(self) -> bool:
        """Whether nothing is to be done."""
        return not self._tasks

    async def do(self, kind: str, task: Callable[..., Any], *args: Any) -> Any:
        """What the task gives.

        Raises:
            ProblemError: Too much waits (429), or the film cannot be used (422).
        """
        if self._tasks >= self._most:
            raise busy(429, seconds=2)
        self._tasks += 1
        outcome, at_it = "failed", list[Worker]()
        try:
            done = await asyncio.wrap_future(self._threads.submit(self._done, at_it, task, args))
            outcome = "refused" if done.failed else "done"
        except TooLongError:
            outcome = "too slow"
            raise ProblemError(422, f"The film took more than {self._seconds:.0f} s; it may be damaged.") from None
        except LostError:
            raise ProblemError(422, "The film broke its decoder; it is damaged.") from None
        except asyncio.CancelledError:
            outcome = "cancelled"
            with self._leaving:
                for worker in at_it:
                    worker.kill()
            raise
        finally:
            self._tasks -= 1
            self._counters.film_work.labels(kind, outcome).inc()
        if done.failed == "failed":
            LOG.warning("%s of a film failed: %s", kind, done.why)
        if done.failed is not None:
            raise ProblemError(422, f"The film cannot be used: {_reason(done)}.")
        return done.value

    def _done(self, at_it: list[Worker], task: Callable[..., Any], args: tuple[Any, ...]) -> Done:
        with self._pool.worker() as worker:
            at_it.append(worker)
            try:
                done: Done = list(worker.run(task, *args, limit=self._seconds))[-1]
                return done
            finally:
                with self._leaving:  # nobody may kill it any more: the next task is another's
                    at_it.clear()

    def stop(self) -> None:
        """End all processes, whatever they do."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._pool.stop()


class _Kept(OrderedDict[Any, Any]):
    """What was asked for last, as far as there is room; the newest stays however large it is."""

    def __init__(self, room: int, size: Callable[[Any], int] = lambda value: 1) -> None:
        super().__init__()
        self._left, self._size = room, size

    def keep(self, key: Any, value: Any) -> list[Any]:
        """Add a value; gives those that had to go for it."""
        self[key], gone = value, []
        self._left -= self._size(value)
        while self._left < 0 and len(self) > 1:
            gone.append(self.popitem(last=False)[1])
            self._left += self._size(gone[-1])
        return gone

    def forget(self, key: Any) -> None:
        """Drop a value, if it is there."""
        self._left += self._size(self.pop(key)) if key in self else 0


class FilmWork:
    """Thumbnails, previews and cuts of films, and what browsers make of them."""

    def __init__(self, counters: Counters) -> None:
        """Nothing is started before something is asked for."""
        limits: dict[str, Any] = {"memory": MEMORY, "counters": counters}
        self._looks = Lane(workers=LOOKERS, most=_MOST_WAITING_LOOKS, seconds=LOOK_SECONDS, **limits)
        most = (1 + _WAITING_CUTS) * CUTTERS
        self._cuts = Lane(workers=CUTTERS, most=most, seconds=CUT_SECONDS, **limits)
        self._folder, self._lock = _own_folder()
        self._plays, self._infos = _Kept(_MOST_KNOWN), _Kept(_MOST_KNOWN)
        self._shots = _Kept(_MOST_KNOWN)
        self._thumbnails = _Kept(THUMBNAIL_BYTES, len)
        self._previews = _Kept(PREVIEW_BYTES, lambda preview: int(preview[1]))
        self._under_way: dict[Any, asyncio.Task[Any]] = {}
        self._written = 0

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

    def known(self, film: Film) -> browsers.Look | None:
        """What is known of a film at a glance; None if it was not looked at."""
        look: browsers.Look | None = self._plays.get((film.id, film.stamp))
        return look

    async def plays(self, film: Film) -> str | None:
        """None if browsers play a film as it is, else why not."""
        nothing = browsers.Look("it cannot be decoded", None)
        look = partial(self._look, "plays", browsers.glance, film, otherwise=nothing)
        told: browsers.Look = await self._once(self._plays, (film.id, film.stamp), look)
        return told.reason

    async def info(self, film: Film) -> FilmInfo | None:
        """What the film's file says of itself; None where it is not there or cannot be read."""
        key = (film.id, film.stamp)
        if key not in self._infos and await asyncio.to_thread(state_of, film) is not None:
            return None
        found: FilmInfo | None = await self._once(
            self._infos, key, partial(self._look, "info", probe, film, otherwise=None)
        )
        return found

    async def thumbnail(self, film: Film, second: float, height: int) -> bytes:
        """A JPEG of the frame at a second.

        Raises:
            ProblemError: The film is not there as it was (409, 410), cannot be decoded (422), or too much waits (429).
        """
        look = partial(_of_film, film, self._looks, "thumbnail", browsers.thumbnail, second, height)
        image: bytes = await self._once(self._thumbnails, (film.id, film.stamp, second, height), look)
        return image

    async def shots(self, film: Film, start: float, end: float) -> tuple[float | None, list[float]]:
        """A film's frames per second, where known, and the seconds between these two at which its shots begin.

        Raises:
            ProblemError: As for `thumbnail`.
        """
        look = partial(_of_film, film, self._looks, "shots", shots.shots, start, end)
        found: tuple[float | None, list[float]] = await self._once(self._shots, (film.id, film.stamp, start, end), look)
        return found

    async def preview(self, film: Film, start: float, end: float) -> OpenFile:
        """What any browser plays, of those seconds.

        Raises:
            ProblemError: As for `thumbnail`.
        """
        key = (film.id, film.stamp, start, end)
        if key in self._previews and not await asyncio.to_thread(self._previews[key][0].exists):
            self._previews.forget(key)  # somebody cleared the folder of temporary files
        path, _ = await self._once(self._previews, key, partial(self._make_preview, film, start, end))
        return await asyncio.to_thread(open_regular, path)

    async def cut(self, film: Film, start: float, end: float, exact: bool | None) -> OpenFile:
        """Those seconds as a file, which is gone when it is closed.

        Raises:
            ProblemError: As for `thumbnail`.
        """
        path = self._new_path()
        try:
            await _of_film(film, self._cuts, "cut", partial(cutting.cut_moment, exact=exact), start, end, path)
            return await asyncio.to_thread(_opened, path)
        finally:
            await asyncio.to_thread(_remove, path)

    async def _make_preview(self, film: Film, start: float, end: float) -> tuple[Path, int]:
        path = self._new_path()
        try:
            await _of_film(film, self._cuts, "preview", cutting.browser_preview, start, end, path)
            return path, (await asyncio.to_thread(path.stat)).st_size
        except BaseException:
            _remove(path)
            raise

    async def _look(self, kind: str, task: Callable[..., Any], film: Film, *, otherwise: Any) -> Any:
        """What the task gives, or something else where the film cannot be used."""
        try:
            return await self._looks.do(kind, task, film.path)
        except ProblemError as error:
            if error.status == 429:
                raise
            return otherwise

    async def _once(self, kept: _Kept, key: Any, work: Callable[[], Awaitable[Any]]) -> Any:
        """What is kept, or what the work gives: done once for all who ask, to its end even when the first has gone."""
        if key in kept:
            kept.move_to_end(key)
            return kept[key]

        async def make() -> Any:
            value = await work()
            for gone in kept.keep(key, value):
                if kept is self._previews:
                    await asyncio.to_thread(_remove, gone[0])
            return value

        asked = (id(kept), key)
        if asked not in self._under_way:
            task = self._under_way[asked] = asyncio.ensure_future(make())
            task.add_done_callback(lambda _: self._under_way.pop(asked, None))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be waiting any more
        return await asyncio.shield(self._under_way[asked])

    def _new_path(self) -> Path:
        """A place for one file, in a folder of its own for what a task that is killed leaves behind."""
        self._written += 1
        folder = self._folder / f"{self._written:08d}"
        folder.mkdir()
        return folder / "film.mp4"


async def _of_film(film: Film, lane: Lane, kind: str, task: Callable[..., Any], *args: Any) -> Any:
    """Work on a film's file, which must be the one that was indexed before and after."""
    value = None
    for work in (True, False):
        state = await asyncio.to_thread(state_of, film)
        if state is not None:
            raise ProblemError(state)
        value = await lane.do(kind, task, film.path, *args) if work else value
    return value


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


def _reason(done: Done) -> str:
    """Why a film cannot be used, without its path."""
    if done.failed == "out of memory":
        return "it needs more memory than a film may take"
    if done.failed == "failed":
        return "its decoder failed"
    return done.why or "its seconds, or the server's disk, do not allow it"
