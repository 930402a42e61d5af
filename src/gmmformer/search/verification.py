"""Looking a library through for damage."""

import sqlite3
from collections import deque
from pathlib import Path

import numpy as np

from gmmformer.data.progress import Progress, silent
from gmmformer.errors import InputError
from gmmformer.media.films import printable
from gmmformer.search.mapped import MappedPart
from gmmformer.search.parts import checksum, file_checksum, part_path
from gmmformer.search.schema import every_table, rows_of
from gmmformer.search.store import FEATURES, LIVE_WINDOWS, WINDOWS, Store, live_features, table
from gmmformer.search.vectors import Records
from gmmformer.search.windows import Window
from gmmformer.search.writer import film_checksum, window_checksum

_CHUNK_BYTES = 2**25
_FILMS = (
    "SELECT path, fingerprint, windows, rows, first, step, length, seconds, checksum FROM films WHERE removed IS NULL"
)


def verify(store: Store, progress: Progress = silent) -> list[str]:
    """Read everything once and say what is damaged; a sentence each, none if all is well."""
    try:
        with store.reading() as connection:
            problems = _integrity_problems(connection)
            for name, columns in every_table().items():
                deque(rows_of(connection, store.folder, name, columns), maxlen=0)
            problems += _film_problems(connection)
            windows = table(store.folder, connection.execute(LIVE_WINDOWS))
            features = live_features(connection, store.folder)
            parts = connection.execute("SELECT id, kind, records FROM parts").fetchall()
            derived = connection.execute("SELECT file, checksum FROM derived").fetchall()
            names = {film: printable(path) for film, path in connection.execute("SELECT id, path FROM films")}
            expected = dict(connection.execute("SELECT id, windows FROM films WHERE removed IS NULL"))
        store.films()
    except InputError as error:  # nothing else can be looked for where its rows say what cannot be
        return [str(error)]
    total, done = windows.shape[1] + len(features), 0
    progress("verifying", done, total)
    for number, kind, records in parts:
        if kind == WINDOWS:
            here = windows[:, windows[4] == number].T.tolist()
            problems += _window_problems(store, number, records, here, names)
        else:
            kept = [row for row in features if row[3] == number]
            problems += _feature_problems(store, number, records, kept, names)
        done += len(here if kind == WINDOWS else kept)
        progress("verifying", done, total)
    listed = [number for number, _, _ in parts]
    found = dict(zip(*np.unique(windows[1][np.isin(windows[4], listed)], return_counts=True), strict=True))
    for film, count in expected.items():
        if found.get(film, 0) != count:
            problems.append(f"{names[film]}: has {found.get(film, 0)} windows, not {count}; index it again")
    for file, check in derived:
        problems += _derived_problems(store.folder / file, check)
    return problems


def _integrity_problems(connection: sqlite3.Connection) -> list[str]:
    found = [row[0] for row in connection.execute("PRAGMA integrity_check(20)")]
    return [f"the database is damaged: {what}; restore it from a backup" for what in found if what != "ok"]


def _film_problems(connection: sqlite3.Connection) -> list[str]:
    return [
        f"{printable(row[0])}: what the database says of this film is damaged; index it again"
        for row in connection.execute(_FILMS)
        if film_checksum(row[:-1]) != row[-1]
    ]


def _window_problems(
    store: Store, part: int, records: int, rows: list[tuple[int, ...]], names: dict[int, str]
) -> list[str]:
    vectors = store.settings.format
    problems = []
    try:
        codes = MappedPart(part_path(store.folder, "vectors", part), records, vectors.vector_bytes)
        heads = MappedPart(part_path(store.folder, "heads", part), records, vectors.head_bytes)
    except InputError as error:
        return [str(error)]
    step = max(1, _CHUNK_BYTES // vectors.vector_bytes)
    for some in (rows[first : first + step] for first in range(0, len(rows), step)):
        there = [row[5] for row in some if row[5] < records]
        try:
            at = np.array(there, dtype=np.int64)
            read = Records(codes.copied(at), heads.copied(at))
            copies = dict(zip(there, zip(read.vectors, read.heads, strict=True), strict=True))
            finite = dict(zip(there, vectors.finite(read), strict=True))
        except InputError as error:
            problems.append(str(error))
            continue
        for _, film, first, count, _, record, check in some:
            whole = record < records and check == window_checksum(film, Window(first, count), *copies[record])
            if not whole or not finite[record]:
                called, what = names.get(film, f"film {film}"), "not finite" if whole else "damaged"
                problems.append(f"{called}: its vectors are {what} (part {part}, record {record}); index it again")
    return problems


def _feature_problems(
    store: Store, part: int, records: int, rows: list[tuple[int, bytes, int, int, int, int]], names: dict[int, str]
) -> list[str]:
    problems = []
    try:
        mapped = MappedPart(part_path(store.folder, FEATURES, part), records, 2 * store.settings.feature_dim)
    except InputError as error:
        return [str(error)]
    for film, path, count, _, first, check in rows:
        whole = first + count <= records and checksum(path, mapped.copied(np.arange(first, first + count))) == check
        if not whole:
            problems.append(f"{names.get(film, path)}: its kept features are damaged (part {part}); index it again")
    return problems


def _derived_problems(path: Path, check: int) -> list[str]:
    remedy = "make it again with `gmmformer library DIR rebuild`"
    try:
        return [] if file_checksum(path) == check else [f"{path}: is damaged; {remedy}"]
    except InputError as error:
        return [str(error)]
    except OSError as error:
        return [f"{path}: cannot be read ({error.strerror or error}); {remedy}"]
