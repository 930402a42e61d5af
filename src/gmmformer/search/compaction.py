"""Giving back the room of films that were removed."""

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from gmmformer.data.progress import Progress, silent
from gmmformer.errors import InputError
from gmmformer.media.films import printable
from gmmformer.search.mapped import MappedPart
from gmmformer.search.parts import PATTERN, append, checksum, part_path
from gmmformer.search.store import (
    FEATURES,
    LIVE_WINDOWS,
    WINDOWS,
    Store,
    check_places,
    live_features,
    records_in,
    table,
)
from gmmformer.search.windows import Window
from gmmformer.search.writer import PART_BYTES, Writer, window_checksum

_CHUNK_BYTES = 2**25


class Compacted(NamedTuple):
    """What `compact` gave back."""

    films: int
    """Removed films whose room was still taken."""
    freed_bytes: int


def compact(store: Store, writer: Writer, progress: Progress = silent) -> Compacted:
    """Copy what is there into new parts, and remove the old ones; readers keep what they have mapped.

    The new parts count from one transaction on; if anything goes wrong before it, everything is as it was.

    Raises:
        InputError: The disk is full, or a record is damaged.
    """
    before = _part_bytes(store)
    try:
        with writer.transaction() as connection:
            gone = int(connection.execute("SELECT count(*) FROM films WHERE removed IS NOT NULL").fetchone()[0])
            old = connection.execute("SELECT id FROM parts").fetchall()
            windows = np.ascontiguousarray(table(store.folder, connection.execute(LIVE_WINDOWS)).T)
            films = live_features(connection, store.folder)
            _Copy(store, connection, progress, len(windows) + len(films)).run(windows, films)
            connection.execute("DELETE FROM windows WHERE film IN (SELECT id FROM films WHERE removed IS NOT NULL)")
            connection.execute("DELETE FROM films WHERE removed IS NOT NULL")
            connection.executemany("DELETE FROM parts WHERE id = ?", old)
            connection.execute("UPDATE state SET layout = layout + 1")
    finally:
        writer.sweep()
    return Compacted(gone, max(0, before - _part_bytes(store)))


class _Copy:
    """Copies records into new parts, checking each on the way."""

    def __init__(self, store: Store, connection: sqlite3.Connection, progress: Progress, total: int) -> None:
        self.store, self.connection, self.progress = store, connection, progress
        self.done, self.total = 0, total
        self._sizes = {kind: records_in(connection, store.folder, kind) for kind in (WINDOWS, FEATURES)}

    def run(self, windows: Int[np.ndarray, "windows 7"], films: list[tuple[int, bytes, int, int, int, int]]) -> None:
        vectors, folder = self.store.settings.format, self.store.folder
        check_places(folder, windows[:, 0], windows[:, 4], windows[:, 5], self._sizes[WINDOWS])
        for number, at, chunk in self._places(WINDOWS, windows, vectors.vector_bytes):
            codes = self._records("vectors", chunk, vectors.vector_bytes)
            heads = self._records("heads", chunk, vectors.head_bytes)
            for index, (_, film, first, rows, _, _, check) in enumerate(chunk.tolist()):
                if window_checksum(film, Window(first, rows), codes[index], heads[index]) != check:
                    raise self._damaged(film)
            append(part_path(folder, "vectors", number), at, codes)
            append(part_path(folder, "heads", number), at, heads)
            moved = np.stack([np.full(len(chunk), number), at + np.arange(len(chunk)), chunk[:, 0]], axis=1)
            self.connection.executemany("UPDATE windows SET part = ?, record = ? WHERE id = ?", moved.tolist())
            self._grow(number, at + len(chunk), len(chunk))
        self._copy_features(films)

    def _copy_features(self, films: list[tuple[int, bytes, int, int, int, int]]) -> None:
        width, number, at = 2 * self.store.settings.feature_dim, 0, 0
        for film, path, rows, part, first, check in films:
            if first + rows > self._sizes[FEATURES].get(part, 0):
                raise self._damaged(film)
            mapped = MappedPart(part_path(self.store.folder, FEATURES, part), first + rows, width)
            data = mapped.copied(np.arange(first, first + rows))
            if checksum(path, data) != check:
                raise self._damaged(film)
            if not number or at * width >= PART_BYTES:
                number, at = self._new_part(FEATURES), 0
            append(part_path(self.store.folder, FEATURES, number), at, data)
            self.connection.execute(
                "UPDATE films SET feature_part = ?, feature_row = ? WHERE id = ?", (number, at, film)
            )
            at += rows
            self._grow(number, at, 1)

    def _places(
        self, kind: str, windows: Int[np.ndarray, "windows 7"], record_bytes: int
    ) -> Iterator[tuple[int, int, Int[np.ndarray, "chunk 7"]]]:
        """A new part, how many records it has, and those to append next."""
        step, number, at = max(1, _CHUNK_BYTES // record_bytes), 0, 0
        for first in range(0, len(windows), step):
            if not number or at * record_bytes >= PART_BYTES:
                number, at = self._new_part(kind), 0
            chunk = windows[first : first + step]
            yield number, at, chunk
            at += len(chunk)

    def _records(self, name: str, chunk: Int[np.ndarray, "chunk 7"], width: int) -> UInt8[np.ndarray, "chunk bytes"]:
        records = np.empty((len(chunk), width), dtype=np.uint8)
        for part in np.unique(chunk[:, 4]).tolist():
            here = chunk[:, 4] == part
            mapped = MappedPart(part_path(self.store.folder, name, part), self._sizes[WINDOWS][part], width)
            records[here] = mapped.copied(chunk[here, 5])
        return records

    def _new_part(self, kind: str) -> int:
        cursor = self.connection.execute("INSERT INTO parts (kind, records) VALUES (?, 0)", (kind,))
        return int(cursor.lastrowid or 0)

    def _grow(self, number: int, records: int, done: int) -> None:
        self.connection.execute("UPDATE parts SET records = ? WHERE id = ?", (records, number))
        self.done += done
        self.progress("compacting", self.done, self.total)

    def _damaged(self, film: int) -> InputError:
        row = self.connection.execute("SELECT path FROM films WHERE id = ?", (film,)).fetchone()
        return InputError(
            f"{printable(row[0]) if row else f'film {film}'}: what the library keeps of it is damaged, so nothing was "
            "moved; index it again or remove it, then compact again"
        )


def _part_bytes(store: Store) -> int:
    return sum(path.lstat().st_size for path in store.folder.glob(PATTERN))
