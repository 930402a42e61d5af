"""What a writer, in whatever process, is doing to a library now: for pages that show it."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from gmmformer.data.progress import Progress
from gmmformer.files import read_json

_FILE = ".activity.json"
_EVERY = 0.5
_STALE = 600.0
"""Seconds after which a writer on another machine, of which nothing was heard, counts as gone."""


class Activity(NamedTuple):
    """Long work on a library."""

    what: str
    """Such as "indexing"."""
    done: int
    total: int
    failed: int
    """Films that could not be taken in."""
    seconds_left: float | None
    """At the rate so far; None at the beginning."""


@contextmanager
def shown(folder: Path, progress: Progress) -> Iterator["Shown"]:
    """Let others see, as long as the block lasts, what is told to the progress that it yields."""
    told = Shown(folder, progress)
    try:
        yield told
    finally:
        with suppress(OSError):
            (folder / _FILE).unlink()


class Shown:
    """A `Progress` that others see too."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self.failed = 0
        self._folder, self._progress = folder, progress
        self._what, self._first, self._began, self._last = "", 0, 0.0, 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        """As `Progress`."""
        self._progress(what, done, total)
        now = time.monotonic()
        if what != self._what:
            self._what, self._first, self._began, self._last = what, done, now, 0.0
        if now - self._last < _EVERY:
            return
        self._last = now
        left = (total - done) * (now - self._began) / (done - self._first) if done > self._first else None
        record = {
            "activity": Activity(what, done, total, self.failed, None if left is None else round(left, 1)),
            "process": os.getpid(),
            "host": socket.gethostname(),
        }
        beside = self._folder / f"{_FILE}.part"
        with suppress(OSError):  # it is only for show
            beside.write_text(json.dumps(record), encoding="utf-8")
            beside.replace(self._folder / _FILE)


def activity_in(folder: Path) -> Activity | None:
    """What is being done to the library in `folder`; None if nothing is."""
    path = folder / _FILE
    try:
        age = time.time() - path.stat().st_mtime
        record = read_json(path)
        alive = _runs(record["process"]) if record["host"] == socket.gethostname() else age < _STALE
        what, done, total, failed, left = record["activity"]
        if [type(told) for told in (what, done, total, failed)] != [str, int, int, int]:
            return None
        return Activity(what, done, total, failed, None if left is None else float(left)) if alive else None
    except (OSError, ValueError, KeyError, TypeError, OverflowError):  # it is only for show
        return None


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
