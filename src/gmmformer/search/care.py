"""Looking after a library: every record is read once and held to its checksum, to find damage or to give back room."""

import json
import sqlite3
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8

from gmmformer.cores import Progress, silent
from gmmformer.errors import InputError
from gmmformer.media.films import printable
from gmmformer.search.database import damaged, every_table, has_lines, records_in, rows_of
from gmmformer.search.lines import damaged_lines, forget, hand_over
from gmmformer.search.parts import PATTERN, MappedPart, append, checksum, file_checksum, part_path
from gmmformer.search.removals import long_gone
from gmmformer.search.snapshot import check_places, live_windows
from gmmformer.search.store import Store
from gmmformer.search.tables import FEATURES, WINDOWS
from gmmformer.search.vectors import Records
from gmmformer.search.windows import Window
from gmmformer.search.writer import PART_BYTES, Writer, window_checksum

_CHUNK_BYTES = 2**25
_KEPT = (
    "path, stamp, fingerprint, windows, rows, first, step, length, seconds, feature_part, feature_row,"
    " feature_checksum, checksum"
)
"""What a film that is brought back is as it was."""
_FILMS = (
    "SELECT path, fingerprint, windows, rows, first, step, length, seconds, checksum FROM films WHERE removed IS NULL"
)


class KeptRows(NamedTuple):
    """Where the feature rows of a film lie."""

    film_id: int
    path: bytes
    rows: int
    part: int
    first: int
    """Row of the part."""
    checksum: int


class Compacted(NamedTuple):
    """What `compact` gave back."""

    films: int
    """Removed films whose room was still taken."""
    freed_bytes: int
    kept: int = 0
    """Removed films whose room is still taken, since they can be brought back."""


class _Windows:
    """Some windows, a row of id, film, first, rows, part, record and checksum each, and their records."""

    def __init__(self, store: Store, windows: Int[np.ndarray, "windows 7"], parts: dict[int, int]) -> None:
        self.store, self.windows, self.parts = store, windows, parts

    def chunks(self) -> Iterator[Int[np.ndarray, "_chunk 7"]]:
        """The windows in their order, some at a time, all of one part."""
        step = max(1, _CHUNK_BYTES // self.store.settings.format.vector_bytes)
        edges = np.flatnonzero(np.diff(self.windows[:, 4])) + 1
        for run in np.split(self.windows, edges):
            yield from (run[first : first + step] for first in range(0, len(run), step))

    def records(self, chunk: Int[np.ndarray, "chunk 7"]) -> tuple[Records, Bool[np.ndarray, "chunk"]]:
        """The records of a chunk, and whether each is what was written there.

        Raises:
            InputError: Their part cannot be read.
        """
        vectors, part = self.store.settings.format, int(chunk[0, 4])
        records = self.parts.get(part, 0)
        there, read = chunk[:, 5] < records, []
        for name, width in (("vectors", vectors.vector_bytes), ("heads", vectors.head_bytes)):
            read.append(np.zeros((len(chunk), width), dtype=np.uint8))
            path = part_path(self.store.folder, name, part)
            if there.any():
                read[-1][there] = MappedPart(path, records, width).copied(chunk[there, 5])
        told = zip(chunk.tolist(), *read, strict=True)
        sums = [window_checksum(row[1], Window(row[2], row[3]), codes, heads) == row[6] for row, codes, heads in told]
        return Records(read[0], read[1]), there & np.array(sums)


class _Everything(_Windows):
    """The records that are there, as the database counts them at one moment."""

    def __init__(self, store: Store, connection: sqlite3.Connection, removed: Sequence[int] = ()) -> None:
        """Those of films that were `removed`, by their ids, come along."""
        columns = "w.id, w.film, w.first, w.rows, w.part, w.record, w.checksum"
        windows = np.ascontiguousarray(live_windows(connection, store.folder, columns, removed=removed).T)
        super().__init__(store, windows, records_in(connection, store.folder, WINDOWS))
        self.features = _kept_rows(connection, store.folder, removed)
        self.feature_parts = records_in(connection, store.folder, FEATURES)
        self.count = len(self.windows) + len(self.features)

    def rows(self, kept: KeptRows) -> UInt8[np.ndarray, "rows bytes"] | None:
        """The feature rows of a film; None if they are not what was written there.

        Raises:
            InputError: Their part cannot be read.
        """
        records = self.feature_parts.get(kept.part, 0)
        if kept.first + kept.rows > records:
            return None
        path = part_path(self.store.folder, FEATURES, kept.part)
        part = MappedPart(path, records, 2 * self.store.settings.feature_dim)
        rows = part.copied(np.arange(kept.first, kept.first + kept.rows))
        return rows if checksum(kept.path, rows) == kept.checksum else None


def verify(store: Store, progress: Progress = silent) -> list[str]:
    """Read everything once and say what is damaged; a sentence each, none if all is well."""
    try:
        with store.reading() as connection:
            problems = _database_problems(connection, store.folder)
            everything = _Everything(store, connection)
            derived = connection.execute("SELECT file, checksum FROM derived").fetchall()
            names = {film_id: printable(path) for film_id, path in connection.execute("SELECT id, path FROM films")}
            expected = dict(connection.execute("SELECT id, windows FROM films WHERE removed IS NULL"))
        store.films()
    except InputError as error:  # nothing else can be looked for where its rows say what cannot be
        return [str(error)]
    progress("verifying", 0, everything.count)
    done, found = 0, dict.fromkeys(expected, 0)
    for chunk in everything.chunks() if len(everything.windows) else ():
        if int(chunk[0, 4]) in everything.parts:
            problems += _window_problems(everything, chunk, names)
            for film_id in chunk[:, 1].tolist():
                found[film_id] += 1
        done += len(chunk)
        progress("verifying", done, everything.count)
    for kept in everything.features:
        try:
            if everything.rows(kept) is None:
                problems.append(
                    f"{names[kept.film_id]}: its kept features are damaged (part {kept.part}); index it again"
                )
        except InputError as error:
            problems.append(str(error))
        done += 1
        progress("verifying", done, everything.count)
    for film_id, count in expected.items():
        if found[film_id] != count:
            problems.append(f"{names[film_id]}: has {found[film_id]} windows, not {count}; index it again")
    problems += [problem for file, check in derived for problem in _derived_problems(store.folder / file, check)]
    return list(dict.fromkeys(problems))


def compact(writer: Writer, progress: Progress = silent, *, purge: bool = False) -> Compacted:
    """Copy what is there into new parts, and remove the old ones; readers keep what they have mapped.

    Films that were taken out in the last `removals.KEPT_DAYS` days stay, to be brought back, unless `purge`.

    The new parts count from one transaction on; if anything goes wrong before it, everything is as it was.

    Raises:
        InputError: The disk is full, a record is damaged, or a server that is to hear of removed films is away.
    """
    writer.update_engine(progress)
    store = writer.store
    before = _part_bytes(store)
    try:
        with writer.transaction() as connection:
            removed = dict(connection.execute("SELECT id, removed FROM films WHERE removed IS NOT NULL"))
            since = long_gone(store.folder)
            kept = [] if purge else [film.id for film in store.removed() if removed.get(film.id, 0) > since]
            gone = [(film,) for film in removed.keys() - {*kept}]
            old = connection.execute("SELECT id FROM parts").fetchall()
            _Copy(_Everything(store, connection, kept), connection, progress).run()
            if has_lines(connection):
                forget(connection, [film for (film,) in gone])
            for table, column in (("windows", "film"), ("films", "id")):
                connection.executemany(f"DELETE FROM {table} WHERE {column} = ?", gone)
            connection.executemany("DELETE FROM parts WHERE id = ?", old)
            connection.execute("UPDATE state SET layout = layout + 1")
    finally:
        writer.sweep()
    return Compacted(len(gone), max(0, before - _part_bytes(store)), len(kept))


def bring_back(writer: Writer, films: Sequence[int]) -> dict[int, int]:
    """Take removed films in again, with what is kept of them; none of their files is read.

    Args:
        writer: The library's, from `Library.writing`.
        films: Ids that they had; others than `Store.removed` lists are passed over.

    Returns:
        The ids that they have now, by those that they had: what was made from the library knows nothing of new ones.

    Raises:
        InputError: The disk is full or fails, or what is kept of a film is damaged; none was taken in.
    """
    store, now = writer.store, dict[int, int]()
    wanted = {film.id: film.path for film in store.removed()}
    with writer.transaction() as connection:
        parts = records_in(connection, store.folder, WINDOWS)
        for film in sorted({*films} & wanted.keys()):
            now[film] = (
                connection.execute(
                    f"INSERT INTO films ({_KEPT}, added) SELECT {_KEPT}, generation + 1 FROM films, state WHERE id = ?",
                    (film,),
                ).lastrowid
                or 0
            )
            columns, which = "id, film, first, rows, part, record, checksum", "WHERE film = ? ORDER BY id"
            rows = list(rows_of(connection, store.folder, "windows", columns, which, (film,)))
            windows = _Windows(store, np.array(rows, dtype=np.int64).reshape(-1, 7), parts)
            for chunk in windows.chunks():
                records, whole = windows.records(chunk)
                if not whole.all():
                    raise InputError(f"{printable(wanted[film])}: what was kept of it is damaged; index it again")
                for (_, _, first, count, part, record, _), *read in zip(
                    chunk.tolist(), records.vectors, records.heads, strict=True
                ):
                    check = window_checksum(now[film], Window(first, count), *read)
                    connection.execute(
                        "INSERT INTO windows (film, first, rows, part, record, checksum) VALUES (?, ?, ?, ?, ?, ?)",
                        (now[film], first, count, part, record, check),
                    )
            if has_lines(connection):
                hand_over(connection, film, now[film])
    return now


class _Copy:
    """Copies records into new parts."""

    def __init__(self, everything: _Everything, connection: sqlite3.Connection, progress: Progress) -> None:
        self.everything, self.connection, self.progress = everything, connection, progress
        self.done, self.number, self.at = 0, 0, 0

    def run(self) -> None:
        everything, folder = self.everything, self.everything.store.folder
        windows, settings = everything.windows, everything.store.settings
        check_places(folder, windows[:, 0], windows[:, 4], windows[:, 5], everything.parts)
        for chunk in everything.chunks() if len(windows) else ():
            records, whole = everything.records(chunk)
            if not whole.all():
                raise self._damaged(int(chunk[np.argmin(whole), 1]))
            self._make_room(WINDOWS, settings.format.vector_bytes)
            append(part_path(folder, "vectors", self.number), self.at, records.vectors)
            append(part_path(folder, "heads", self.number), self.at, records.heads)
            places = self.at + np.arange(len(chunk))
            moved = np.stack([np.full(len(chunk), self.number), places, chunk[:, 0]], axis=1)
            self.connection.executemany("UPDATE windows SET part = ?, record = ? WHERE id = ?", moved.tolist())
            self._grow(len(chunk), len(chunk))
        self.number = 0
        for kept in everything.features:
            rows = everything.rows(kept)
            if rows is None:
                raise self._damaged(kept.film_id)
            self._make_room(FEATURES, 2 * settings.feature_dim)
            append(part_path(folder, FEATURES, self.number), self.at, rows)
            place = self.number, self.at, kept.film_id
            self.connection.execute("UPDATE films SET feature_part = ?, feature_row = ? WHERE id = ?", place)
            self._grow(len(rows), 1)

    def _make_room(self, kind: str, record_bytes: int) -> None:
        """Begin a new part where there is none yet, or the last one is full."""
        if not self.number or self.at * record_bytes >= PART_BYTES:
            cursor = self.connection.execute("INSERT INTO parts (kind, records) VALUES (?, 0)", (kind,))
            self.number, self.at = int(cursor.lastrowid or 0), 0

    def _grow(self, records: int, done: int) -> None:
        self.at += records
        self.connection.execute("UPDATE parts SET records = ? WHERE id = ?", (self.at, self.number))
        self.done += done
        self.progress("compacting", self.done, self.everything.count)

    def _damaged(self, film_id: int) -> InputError:
        row = self.connection.execute("SELECT path, removed FROM films WHERE id = ?", (film_id,)).fetchone()
        there = not row or row[1] is None
        remedy = "index it again or remove it, then compact again" if there else "compact with --purge"
        return InputError(
            f"{printable(row[0]) if row else f'film {film_id}'}: what the library keeps of it is damaged, so nothing "
            f"was moved; {remedy}"
        )


def _kept_rows(connection: sqlite3.Connection, folder: Path, removed: Sequence[int] = ()) -> list[KeptRows]:
    columns = "id, path, rows, feature_part, feature_row, feature_checksum"
    which, ids = "WHERE removed IS NULL OR id IN (SELECT value FROM json_each(?)) ORDER BY id", json.dumps([*removed])
    rows = [
        row for row in rows_of(connection, folder, "films", columns, which, (ids,)) if row[3:] != (None, None, None)
    ]
    for row in rows:
        if None in row:
            raise damaged(folder, f"where the features of film {row[0]}, {printable(row[1])}, lie is half said")
    return [KeptRows(*row) for row in rows]


def _database_problems(connection: sqlite3.Connection, folder: Path) -> list[str]:
    found = [row[0] for row in connection.execute("PRAGMA integrity_check(20)")]
    for name, columns in every_table(lines=has_lines(connection)).items():
        deque(rows_of(connection, folder, name, columns), maxlen=0)
    of_lines = list(damaged_lines(connection, folder)) if has_lines(connection) else []
    return (
        [f"the database is damaged: {what}; restore it from a backup" for what in found if what != "ok"]
        + of_lines
        + [
            f"{printable(row[0])}: what the database says of this film is damaged; index it again"
            for row in connection.execute(_FILMS)
            if checksum(row[:-1]) != row[-1]
        ]
    )


def _window_problems(everything: _Everything, chunk: Int[np.ndarray, "chunk 7"], names: dict[int, str]) -> list[str]:
    try:
        records, whole = everything.records(chunk)
    except InputError as error:
        return [str(error)]
    finite = everything.store.settings.format.finite(records)
    bad = np.flatnonzero(~(whole & finite))
    return [
        f"{names[film_id]}: its vectors are {'not finite' if sound else 'damaged'} (part {part}, record {record}); "
        "index it again"
        for sound, (_, film_id, _, _, part, record, _) in zip(whole[bad], chunk[bad].tolist(), strict=True)
    ]


def _derived_problems(path: Path, check: int) -> list[str]:
    remedy = "make it again with `gmmformer library DIR rebuild`"
    try:
        return [] if file_checksum(path) == check else [f"{path}: is damaged; {remedy}"]
    except InputError as error:
        return [str(error)]
    except OSError as error:
        return [f"{path}: cannot be read ({error.strerror or error}); {remedy}"]


def _part_bytes(store: Store) -> int:
    return sum(path.lstat().st_size for path in store.folder.glob(PATTERN))
