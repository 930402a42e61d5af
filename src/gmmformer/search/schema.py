"""The library's database: its tables, how it is opened, and what is said when it cannot be.

A rollback journal, not a write-ahead log: a log needs shared memory and files beside the database that even readers
write to, so it works neither on a read-only disk nor over a network. Readers keep their transactions short (they copy
what they need), so a writer waits milliseconds for them, not seconds.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote_from_bytes

from gmmformer.errors import InputError
from gmmformer.media.decoding.films import printable

DATABASE = "library.sqlite"
FORMAT = 2
"""Of the folder as a whole; a library of a newer one is refused."""

_APPLICATION = 0x474D4D46
_WAIT_SECONDS = 30.0

_TABLES = """
CREATE TABLE settings (value TEXT NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE state (generation INTEGER NOT NULL, layout INTEGER NOT NULL);
INSERT INTO state VALUES (1, 1);
CREATE TABLE films (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    path BLOB NOT NULL,
    stamp TEXT NOT NULL,         -- size and date of the file, to see at a glance that it is the same
    fingerprint TEXT NOT NULL,   -- of its content
    windows INTEGER NOT NULL,    -- how many it has
    rows INTEGER NOT NULL,
    first REAL NOT NULL,         -- second of the first row
    step REAL NOT NULL,          -- seconds between rows
    length REAL NOT NULL,        -- seconds of the film
    seconds BLOB,                -- float64 per row, where they are not evenly spaced
    feature_part INTEGER,
    feature_row INTEGER,
    feature_checksum INTEGER,
    checksum INTEGER NOT NULL,
    added INTEGER NOT NULL,      -- generation
    removed INTEGER              -- generation, or NULL while it is there
);
CREATE UNIQUE INDEX films_by_path ON films (path) WHERE removed IS NULL;
CREATE INDEX films_removed ON films (removed) WHERE removed IS NOT NULL;
CREATE TABLE windows (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    film INTEGER NOT NULL,
    first INTEGER NOT NULL,      -- row of the film
    rows INTEGER NOT NULL,
    part INTEGER NOT NULL,
    record INTEGER NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE TABLE parts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,          -- windows or features
    records INTEGER NOT NULL
);
CREATE TABLE failures (
    path BLOB PRIMARY KEY,
    stamp TEXT NOT NULL,
    reason TEXT NOT NULL
);
CREATE TABLE derived (
    name TEXT PRIMARY KEY,
    file TEXT NOT NULL,
    covers INTEGER NOT NULL,     -- the last window in it
    trained INTEGER NOT NULL,    -- the last window that it was trained with
    checksum INTEGER NOT NULL
);
CREATE TABLE served (
    address TEXT PRIMARY KEY,
    covers INTEGER NOT NULL,     -- the last window that the server there has
    writes INTEGER NOT NULL      -- how often that was noted
);
"""


def is_library(folder: Path) -> bool:
    """Whether there is a library in a folder, whatever its state."""
    return (folder / DATABASE).exists()


def writable(folder: Path) -> bool:
    """Whether the library in a folder, if there is one, can be written to."""
    return os.access(folder, os.W_OK) and os.access(folder / DATABASE, os.W_OK)


def create_database(folder: Path, settings: str, checksum: int) -> None:
    """Make the database of a new library, whole or not at all: it appears under its name when it is complete."""
    beside = folder / f".{DATABASE}.new"
    beside.unlink(missing_ok=True)
    connection = _connect(beside, "rwc")
    try:
        connection.executescript(
            f"PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {FORMAT}; BEGIN; {_TABLES}"
        )
        connection.execute("INSERT INTO settings VALUES (?, ?)", (settings, checksum))
        connection.execute("COMMIT")
    finally:
        connection.close()
    beside.rename(folder / DATABASE)


def open_database(folder: Path, *, write: bool) -> sqlite3.Connection:
    """A connection to the library in `folder`.

    Raises:
        InputError: There is no library, or it is not to be read by this version.
    """
    path = folder / DATABASE
    called = printable(folder)
    if folder.is_file():
        raise InputError(f"{called}: is a file; a library is a folder, so name the folder")
    if not folder.is_dir():
        raise InputError(f"{called}: there is no such folder; make a library there with `gmmformer index`")
    if not path.is_file():
        if any(folder.glob("part-*.bin")):
            raise InputError(
                f"{called}: its database {DATABASE} is missing, and the vectors beside it mean nothing without it; "
                "restore it from a backup, or index the films into a new folder"
            )
        raise InputError(f"{called}: is no library, it has no {DATABASE}; make one with `gmmformer index`")
    with explained(folder):
        connection = _connect(path, "rw" if write else "ro")
        try:
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
        except BaseException:
            connection.close()
            raise
    if application != _APPLICATION:
        connection.close()
        raise InputError(f"{printable(path)}: is another program's database; choose another folder")
    if version != FORMAT:
        connection.close()
        raise InputError(
            f"{called}: is a library of format {version}, this version of gmmformer reads format {FORMAT}; "
            + ("update gmmformer" if version > FORMAT else "index the films anew")
        )
    return connection


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn what SQLite raises into a sentence."""
    try:
        yield
    except sqlite3.Error as error:
        raise InputError(_sentence(folder, error)) from error


def _sentence(folder: Path, error: sqlite3.Error) -> str:
    called, code = printable(folder / DATABASE), getattr(error, "sqlite_errorname", "") or ""
    if code.startswith("SQLITE_FULL"):
        return f"{called}: the disk is full; nothing was changed there. Free some space and run the same command again"
    if code.startswith("SQLITE_BUSY"):
        return f"{called}: somebody else has kept it locked for {_WAIT_SECONDS:.0f} s; try again when that is over"
    if code.startswith(("SQLITE_READONLY_ROLLBACK", "SQLITE_READONLY_RECOVERY")) or (
        code.startswith("SQLITE_CANTOPEN") and (folder / f"{DATABASE}-journal").exists()
    ):
        return (
            f"{called}: its last writer was killed, and what it left cannot be undone where nothing may be written; "
            "open the library once with write permission, for instance with `gmmformer library DIR verify`"
        )
    if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return f"{called}: cannot be opened ({error}); check its permissions, and whether the disk is read-only"
    if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return f"{called}: is damaged ({error}); restore it from a backup, or index the films into a new folder"
    return f"{called}: the database failed ({error}); run `gmmformer library DIR verify`"


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    address = f"file:{quote_from_bytes(bytes(path.absolute()))}?mode={mode}"
    connection = sqlite3.connect(
        address, uri=True, isolation_level=None, timeout=_WAIT_SECONDS, check_same_thread=False
    )
    connection.execute("PRAGMA synchronous = EXTRA")
    return connection
