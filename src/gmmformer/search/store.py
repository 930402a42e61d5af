"""The library on disk, for readers: its settings, its films, and snapshots of its windows.

The folder holds library.sqlite, which alone says what is there, part files with vectors and feature rows, which are
only ever appended to, and what can be made again from them. Vectors reach the disk before the transaction that counts
them, so whatever kills a writer, a film is there as a whole or not at all.
"""

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from gmmformer.errors import InputError
from gmmformer.media.films import printable
from gmmformer.search.changes import Failure, failures_in, ids_matching, known_in, seconds_in
from gmmformer.search.database import damaged, explained, open_database, rows_of, writable
from gmmformer.search.parts import MappedPart, part_path
from gmmformer.search.settings import Recipe, Settings
from gmmformer.search.snapshot import Snapshot, read_snapshot
from gmmformer.search.tables import FEATURES
from gmmformer.search.vectors import Dtype
from gmmformer.search.windows import Timing, Window, are_seconds

_LISTED = "(SELECT value FROM json_each(?))"
_AT_PATH = "WHERE removed IS NULL AND path = ?"
_FILM = "id, path, rows, first, step, length, seconds, stamp, fingerprint"


class Film(NamedTuple):
    """A film of the library."""

    id: int
    path: str
    rows: int
    timing: Timing
    stamp: str
    fingerprint: str

    @property
    def length(self) -> float:
        """Seconds."""
        return self.timing.length


class Derived(NamedTuple):
    """A file made from the library that can be made again."""

    file: str
    covers: int
    """The last window in it."""
    trained: int
    """The last window that it was trained with."""
    checksum: int


class Served(NamedTuple):
    """How far a server has been filled with the library's vectors."""

    covers: int
    """The last window that it has; 0 if it has none."""
    writes: int
    """How often it was written to; grows."""


@dataclass(frozen=True, kw_only=True)
class LibraryInfo:
    """What a library is and holds, for people."""

    folder: str
    model: str
    recipe: Recipe | None
    """What makes its vectors, where the library knows."""
    dtype: Dtype
    films: int
    windows: int
    seconds: float
    """Of all films."""
    failures: int
    removed: int
    """Films whose room `compact` would give back."""
    bytes: int
    """Of the whole folder."""
    keeps_features: bool
    engine: str
    """What "auto" takes now."""
    words: bool
    """Whether hits are called strong, possible or weak (`Calibration.words`)."""


class Store:
    """Reads a library. Threads may share it; it sees what writers, here or elsewhere, commit."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Open the library in `folder`.

        Raises:
            InputError: There is none, or it cannot be read.
        """
        self.folder = Path(folder)
        self._lock = threading.RLock()
        self._connection = open_database(self.folder, write=writable(self.folder))
        try:
            with explained(self.folder):
                rows = list(rows_of(self._connection, self.folder, "settings", "value, checksum"))
                state = list(rows_of(self._connection, self.folder, "state", "generation, layout"))
            if len(rows) != 1 or len(state) != 1:
                raise damaged(self.folder, f"it has {len(rows)} rows of settings and {len(state)} of state, not one")
            text, check = rows[0]
            self.settings = Settings.from_json(text, check, str(self.folder))
        except InputError:
            self._connection.close()
            raise
        self._snapshot: Snapshot | None = None
        self._doubtful = False
        """Whether the connection may hold damaged pages, which it would keep though the file were put back."""

    def close(self) -> None:
        """Give back the connection; the store cannot be used afterwards."""
        with self._lock:
            self._connection.close()
            self._snapshot = None

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One consistent state of the database, for as long as the block lasts; keep it short."""
        with self._lock, explained(self.folder):
            if self._doubtful:
                self._connection.close()
                self._connection = open_database(self.folder, write=writable(self.folder))
                self._doubtful = False
            if self._connection.in_transaction:
                yield self._connection
                return
            try:
                self._connection.execute("BEGIN")
                yield self._connection
            except (sqlite3.Error, InputError):
                self._doubtful = True
                raise
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def snapshot(self) -> Snapshot:
        """The library as it is now.

        Raises:
            InputError: A part is missing or too short.
        """
        with self.reading() as connection:  # nothing can be committed, so no part vanish, until the block ends
            if self._snapshot is not None and not self._snapshot.whole:
                self._snapshot = None  # a part was cut off; it may have been put back since
            self._snapshot = read_snapshot(connection, self.folder, self.settings.format, self._snapshot)
            return self._snapshot

    def generation(self) -> int:
        """A number that each change to the library makes larger."""
        with self.reading() as connection:
            return int(next(rows_of(connection, self.folder, "state", "generation"))[0])

    def films(self, ids: Iterable[int] | None = None) -> list[Film]:
        """The films that are there, by id: all of them, or those of `ids`."""
        among, values = ("", ()) if ids is None else (f" AND id IN {_LISTED}", (json.dumps(list(ids)),))
        with self.reading() as connection:
            rows = rows_of(connection, self.folder, "films", _FILM, f"WHERE removed IS NULL{among} ORDER BY id", values)
            return [self._film(row) for row in rows]

    def film(self, which: int | str | os.PathLike[str]) -> Film | None:
        """The film of an id, or of a path, which may be relative; None where there is none."""
        found = None
        with self.reading() as connection:
            if isinstance(which, int):
                return next(iter(self.films([which])), None)
            for path in (os.fspath(which), os.path.abspath(which)):  # noqa: PTH100 - resolves no links
                rows = rows_of(connection, self.folder, "films", _FILM, _AT_PATH, (os.fsencode(path),))
                found = found or next(map(self._film, rows), None)
        return found

    def removed(self) -> list[Film]:
        """The films that can be brought back, those that went last first: of a path the newest, if it is free."""
        which = (
            "WHERE id IN (SELECT max(id) FROM films WHERE removed IS NOT NULL GROUP BY path)"
            " AND path NOT IN (SELECT path FROM films WHERE removed IS NULL) ORDER BY removed DESC, id"
        )
        with self.reading() as connection:
            return [self._film(row) for row in rows_of(connection, self.folder, "films", _FILM, which)]

    def known(self) -> dict[str, tuple[str, str]]:
        """Stamp and fingerprint of every film, by path."""
        with self.reading() as connection:
            return known_in(connection, self.folder)

    def windows_of(self, windows: Iterable[int]) -> dict[int, Window]:
        """Which rows of their films these windows are, by id; those that are gone are left out."""
        listed = (json.dumps(list(windows)),)
        with self.reading() as connection:
            rows = rows_of(connection, self.folder, "windows", "id, first, rows", f"WHERE id IN {_LISTED}", listed)
            return {window: Window(first, count) for window, first, count in rows}

    def failures(self) -> list[Failure]:
        """The films that could not be taken in."""
        with self.reading() as connection:
            return failures_in(connection, self.folder)

    def derived(self, name: str) -> Derived | None:
        """A file made from the library, if it has been."""
        with self.reading() as connection:
            rows = rows_of(
                connection, self.folder, "derived", "file, covers, trained, checksum", "WHERE name = ?", (name,)
            )
            return next((Derived(*row) for row in rows), None)

    def served(self, address: str) -> Served:
        """What the server at an address has."""
        with self.reading() as connection:
            rows = rows_of(connection, self.folder, "served", "covers, writes", "WHERE address = ?", (address,))
            return next((Served(*row) for row in rows), Served(0, 0))

    def removed_windows(self, until: int) -> list[int]:
        """The windows, up to `until`, of films that were removed and not compacted away yet."""
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT w.id FROM windows w JOIN films f ON f.id = w.film WHERE f.removed IS NOT NULL AND w.id <= ?",
                (until,),
            )
            return [row[0] for row in rows]

    def matching(
        self, snapshot: Snapshot, *, where: str | None = None, min_length: float | None = None
    ) -> Bool[np.ndarray, "films"] | None:
        """Which films of a snapshot have a path that fits the glob and are at least that long; None: no question."""
        if where is None and min_length is None:
            return None
        with self.reading() as connection:
            return np.isin(snapshot.films, ids_matching(connection, where, min_length))

    def features_of(self, path: str) -> tuple[Float[np.ndarray, "rows dim"], Timing] | None:
        """The feature rows of a film, float16, and when they were taken; None where they were not kept.

        Raises:
            InputError: There is no such film, or its features cannot be read.
        """
        columns = f"{_FILM}, feature_part, feature_row"
        with self.reading() as connection:
            row = next(rows_of(connection, self.folder, "films", columns, _AT_PATH, (os.fsencode(path),)), None)
            if row is None:
                raise InputError(f"{path!r}: there is no such film in {self.folder}; `films()` lists them")
            film, part, first = self._film(row[:9]), row[9], row[10]
            if (part is None) != (row[10] is None):
                raise damaged(self.folder, f"where the features of {printable(path)} lie is half said")
            if part is None:
                return None
            file = part_path(self.folder, FEATURES, part)
            mapped = MappedPart(file, first + film.rows, 2 * self.settings.feature_dim)
        return mapped.copied(np.arange(first, first + film.rows)).view(np.float16), film.timing

    def info(self, engine: str, words: bool) -> LibraryInfo:
        """What the library is and holds; `engine` searches it."""
        snapshot, settings = self.snapshot(), self.settings
        with self.reading() as connection:
            seconds = seconds_in(connection, self.folder)
            removed = connection.execute("SELECT count(*) FROM films WHERE removed IS NOT NULL").fetchone()[0]
            failures = connection.execute("SELECT count(*) FROM failures").fetchone()[0]
        return LibraryInfo(
            folder=str(self.folder),
            model=settings.model,
            recipe=settings.recipe,
            dtype=settings.dtype,
            films=len(snapshot.films),
            windows=len(snapshot.windows),
            seconds=seconds,
            failures=failures,
            removed=removed,
            bytes=sum(entry.stat().st_size for entry in self.folder.iterdir() if entry.is_file()),
            keeps_features=settings.keep_features,
            engine=engine,
            words=words,
        )

    def _film(self, row: tuple[Any, ...]) -> Film:
        film, path, rows, first, step, length, seconds, stamp, fingerprint = row
        uneven = None if seconds is None else np.frombuffer(seconds[: len(seconds) // 8 * 8], dtype="<f8")
        if uneven is not None and not (len(seconds) == 8 * rows and are_seconds(uneven)):
            raise damaged(self.folder, f"the seconds of the rows of film {film}, {printable(path)}, cannot be")
        return Film(film, os.fsdecode(path), rows, Timing(first, step, length, uneven), stamp, fingerprint)
