"""Which films are new, changed or gone, by their names, sizes and dates, when a folder has come to rest, and what a
writer, in whatever process, is doing. All that needs no model.
"""

import json
import os
import socket
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from gmmformer.cores import Progress
from gmmformer.errors import of_extra
from gmmformer.files import composed, read_json
from gmmformer.media.films import DecodeError, find_films, path_text, printable, regular_file, stamp_of
from gmmformer.media.subtitles import beside, stamp_of_files
from gmmformer.search.database import explained, has_lines, open_database, rows_of, writable
from gmmformer.search.lines import Stamp

EXTEND = 2_000
"""Windows that may be new since the index of the "ann" engine was made; more are put into it when indexing is done."""
QUIET_SECONDS = 2.0
"""Without a change, before what changed counts as written to its end."""
LONGEST_WAIT = 60.0
"""Seconds after which it counts so even if there is no rest, so that one endless recording does not hold up others."""
Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""One path, or several."""
_ACTIVITY = ".activity.json"
_EVERY = 0.5
"""Seconds between two signs of a writer."""
_MANY = 4
"""Films of which the same is odd are counted from so many on, not named."""
_STALE = 600.0
"""Seconds after which a writer on another machine, of which nothing was heard, counts as gone."""


@dataclass(frozen=True, kw_only=True)
class IndexReport:
    """What `index_films` did, path by path."""

    added: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    """They had changed."""
    unchanged: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Why, by path; those among them that failed before and have not changed since were not tried again."""
    warnings: dict[str, str] = field(default_factory=dict)
    """What is odd about films that were taken in."""
    vanished: list[str] = field(default_factory=list)
    """In the library, but no longer where they were."""
    said: dict[str, int] = field(default_factory=dict)
    """How many lines of what is said and written were taken in, by path."""
    pruned: bool = False
    """Whether the vanished were removed."""

    @property
    def changed(self) -> bool:
        """Whether the library holds something else now."""
        return bool(self.added or self.replaced or self.said or (self.pruned and self.vanished))

    def as_dict(self) -> dict[str, Any]:
        """What `gmmformer index --json` prints; bytes of paths that are no UTF-8 as backslash escapes."""
        return {
            "added": [path_text(path) for path in self.added],
            "replaced": [path_text(path) for path in self.replaced],
            "unchanged": len(self.unchanged),
            "failed": {path_text(path): reason for path, reason in self.failed.items()},
            "warnings": {path_text(path): warning for path, warning in self.warnings.items()},
            "vanished": [path_text(path) for path in self.vanished],
            "pruned": self.pruned,
            **({"said": {path_text(path): lines for path, lines in self.said.items()}} if self.said else {}),
        }

    def table(self) -> str:
        """A few lines for people: the counts, then what failed or is gone, by name."""
        counts = f"{len(self.added):,} added, {len(self.replaced):,} replaced, {len(self.unchanged):,} unchanged"
        lines = [f"{counts}, {len(self.failed):,} failed"]
        if self.said:
            lines.append(f"what is said or written in {len(self.said):,} of them: {sum(self.said.values()):,} lines")
        lines += ["failed:"] * bool(self.failed) + [f"  {printable(film)}: {why}" for film, why in self.failed.items()]
        lines += ["taken in, but odd:"] * bool(self.warnings)
        of_reason = defaultdict[str, list[str]](list)
        for film, why in self.warnings.items():
            of_reason[why].append(printable(film))
        for why, films in of_reason.items():
            named = films if len(films) < _MANY else [f"{len(films):,} films, such as {films[0]}"]
            lines += [f"  {name}: {why}" for name in named]
        if self.vanished:
            lines.append("removed, as they are gone:" if self.pruned else "gone, but still in the library (--prune):")
            lines += [f"  {printable(path)}" for path in self.vanished]
        return "\n".join(lines)


class Failure(NamedTuple):
    """A film that could not be taken in."""

    path: str
    stamp: str
    """Size and date of the file when it was tried."""
    reason: str


class Unchanged(NamedTuple):
    """A library that is up to date."""

    report: IndexReport
    films: int
    """All that it holds."""
    seconds: float
    """Of them all."""


def unchanged(
    folder: Path, paths: Sequence[str | os.PathLike[str]], *, prune: bool = False, retry: bool = False
) -> Unchanged | None:
    """What `index_films` would report on the films at `paths` if it had nothing to do; None where it has.

    Raises:
        InputError: A path does not exist, or there is no library that can be read.
    """
    report, films = IndexReport(pruned=prune), films_at(paths)
    with closing(open_database(folder, write=writable(folder))) as connection, explained(folder):
        connection.execute("BEGIN")
        known = known_in(connection, folder)
        failures = {} if retry else {one.path: one for one in failures_in(connection, folder)}
        seconds = seconds_in(connection, folder)
        last = connection.execute("SELECT coalesce(max(id), 0) FROM windows").fetchone()[0]
        covers = min((row[0] for row in rows_of(connection, folder, "derived", "covers")), default=last)
        stamps = heard_in(connection, folder) if has_lines(connection) else None
    to_read = glance(films, known, failures, report)
    report.vanished.extend(vanished_from(known, films, paths))
    if to_read or (prune and report.vanished) or last - covers > EXTEND:
        return None
    if stamps is not None:
        there = {path: stamp.subtitles for path, stamp in stamps.items()}
        if any(there.get(path) != stamp_of_files(files) for path, files in beside(report.unchanged).items()):
            return None
    return Unchanged(report, len(known), seconds)


def several(paths: Paths) -> Sequence[str | os.PathLike[str]]:
    """One path, or several, as several."""
    return [paths] if isinstance(paths, str | os.PathLike) else paths


def films_at(paths: Sequence[str | os.PathLike[str]]) -> dict[str, None]:
    """The absolute paths of the films at `paths`, in their order.

    Raises:
        InputError: A path does not exist.
    """
    return {os.path.abspath(film): None for film in find_films(paths)}  # noqa: PTH100 - resolves no links


def glance(
    films: Iterable[str], known: dict[str, tuple[str, str]], failures: dict[str, Failure], report: IndexReport
) -> dict[str, str]:
    """The films, and their stamps, whose content must be looked into; notes the others in the report."""
    to_read = {}
    for film in films:
        try:
            stamp = stamp_of(regular_file(film))
        except DecodeError as error:
            report.failed[film] = error.reason
            continue
        if film in known and known[film][0] == stamp:
            report.unchanged.append(film)
        elif film in failures and failures[film].stamp == stamp:
            report.failed[film] = failures[film].reason
        else:
            to_read[film] = stamp
    return to_read


def vanished_from(known: Iterable[str], films: Iterable[str], paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    """The films of a library that were not found again and should have been.

    They are those at or below one of `paths`, and those that were somewhere else where no file is now.
    """
    roots = {os.path.abspath(path) for path in paths}  # noqa: PTH100
    return [path for path in known if path not in films and _gone(path, roots)]


def known_in(connection: sqlite3.Connection, folder: Path) -> dict[str, tuple[str, str]]:
    """Stamp and fingerprint of every film, by path."""
    rows = rows_of(connection, folder, "films", "path, stamp, fingerprint", "WHERE removed IS NULL")
    return {os.fsdecode(path): (stamp, fingerprint) for path, stamp, fingerprint in rows}


def heard_in(connection: sqlite3.Connection, folder: Path) -> dict[str, Stamp]:
    """What was looked at for what is said in each film, by path; none of films that were not looked at."""
    if not has_lines(connection):
        return {}
    stamps = dict(rows_of(connection, folder, "heard", "film, stamp"))
    films = rows_of(connection, folder, "films", "id, path", "WHERE removed IS NULL")
    return {os.fsdecode(path): Stamp(*stamps[film].split("/")[:3]) for film, path in films if film in stamps}


def ids_matching(
    connection: sqlite3.Connection, where: str | None, min_length: float | None
) -> Int[np.ndarray, "films"]:
    """The ids, ascending, of the films whose path fits a glob and that are at least so many seconds long."""
    conditions, values = ["removed IS NULL"], list[Any]()
    if where is not None:
        path = "path" if where.isascii() else "composed(path)"
        connection.create_function("composed", 1, lambda path: os.fsencode(composed(os.fsdecode(path))))
        conditions.append(f"CAST({path} AS TEXT) GLOB CAST(? AS TEXT)")
        values.append(os.fsencode(composed(where)))
    if min_length is not None:
        conditions.append("length >= ?")
        values.append(min_length)
    rows = connection.execute(f"SELECT id FROM films WHERE {' AND '.join(conditions)} ORDER BY id", values)
    return np.array([row[0] for row in rows], dtype=np.int64)


def seconds_in(connection: sqlite3.Connection, folder: Path) -> float:
    """Seconds of all films together."""
    return float(sum(row[0] for row in rows_of(connection, folder, "films", "length", "WHERE removed IS NULL")))


def failures_in(connection: sqlite3.Connection, folder: Path) -> list[Failure]:
    """The films that could not be taken in."""
    rows = rows_of(connection, folder, "failures", "path, stamp, reason", "ORDER BY path")
    return [Failure(os.fsdecode(path), stamp, reason) for path, stamp, reason in rows]


def _gone(path: str, roots: Set[str]) -> bool:
    if not roots.isdisjoint([path, *map(str, PurePath(path).parents)]):
        return True
    return os.path.isabs(path) and not os.path.lexists(path)  # noqa: PTH117


def settled_changes(paths: Sequence[str | os.PathLike[str]], stop: threading.Event | None = None) -> Iterator[None]:
    """Yield whenever files below `paths` changed and have come to rest; end when `stop` is set.

    The first time comes by itself after a quiet moment, so that nothing that changed before the watch began is missed.

    Raises:
        MissingExtraError: watchfiles is not installed.
    """
    changes = of_extra("watchfiles", "watching folders", "search").watch(
        *map(Path, paths),
        stop_event=stop,
        rust_timeout=int(1000 * QUIET_SECONDS),
        yield_on_timeout=True,
        raise_interrupt=True,
        watch_filter=None,
    )
    return _settled(changes)


def _settled(changes: Iterator[object]) -> Iterator[None]:
    since: float | None = time.monotonic()
    for seen in changes:
        now = time.monotonic()
        if seen:
            since = since or now
        if since is not None and (not seen or now - since >= LONGEST_WAIT):
            since = None
            yield


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
            (folder / _ACTIVITY).unlink()


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
        beside = self._folder / f"{_ACTIVITY}.part"
        with suppress(OSError):  # it is only for show
            beside.write_text(json.dumps(record), encoding="utf-8")
            beside.replace(self._folder / _ACTIVITY)


def activity_in(folder: Path) -> Activity | None:
    """What is being done to the library in `folder`; None if nothing is."""
    path = folder / _ACTIVITY
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
