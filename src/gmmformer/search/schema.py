"""The library's database: its tables, what their rows may say, how it is opened, what is said when it cannot be.

Anybody can have written what is in a file, so a row is held to `_MAY_BE` whenever it is read: nothing of it decides how
long we work, how much memory that takes, or which files are opened.

A rollback journal, not a write-ahead log: a log needs shared memory and files beside the database that even readers
write to, so it works neither on a read-only disk nor over a network. Readers keep their transactions short (they copy
what they need), so a writer waits milliseconds for them, not seconds.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

from gmmformer.errors import InputError
from gmmformer.media.films import printable

DATABASE = "library.sqlite"
FORMAT = 2
"""Of the folder as a whole; a library of a newer one is refused."""

MOST_ROWS = 10_000_000
"""Of a film: at one a second, some 115 days."""
LONGEST = 1e9
"""Seconds of a film."""

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


def _whole(least: int = 0, most: int = 2**40) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value <= most


def _seconds(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= LONGEST


def _text(value: Any) -> bool:
    return type(value) is str


def _path(value: Any) -> bool:
    return type(value) is bytes and bool(value) and b"\0" not in value


def _file(value: Any) -> bool:
    return type(value) is str and value.startswith("ann-") and value.isprintable() and "/" not in value


def _or_nothing(may_be: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or may_be(value)


_CHECKSUM = _whole(0, 2**32 - 1)
_MAY_BE: dict[str, dict[str, Callable[[Any], bool]]] = {
    "settings": {"value": _text, "checksum": _CHECKSUM},
    "state": {"generation": _whole(), "layout": _whole()},
    "films": {
        "id": _whole(),
        "path": _path,
        "stamp": _text,
        "fingerprint": _text,
        "windows": _whole(1, MOST_ROWS),
        "rows": _whole(1, MOST_ROWS),
        "first": _seconds,
        "step": _seconds,
        "length": _seconds,
        "seconds": _or_nothing(lambda value: type(value) is bytes and len(value) <= 8 * MOST_ROWS),
        "feature_part": _or_nothing(_whole(1, 2**31 - 1)),
        "feature_row": _or_nothing(_whole()),
        "feature_checksum": _or_nothing(_CHECKSUM),
        "checksum": _CHECKSUM,
        "added": _whole(),
        "removed": _or_nothing(_whole()),
    },
    "windows": {
        "id": _whole(),
        "film": _whole(),
        "first": _whole(0, MOST_ROWS),
        "rows": _whole(1, MOST_ROWS),
        "part": _whole(1, 2**31 - 1),
        "record": _whole(),
        "checksum": _CHECKSUM,
    },
    "parts": {"id": _whole(1, 2**31 - 1), "kind": lambda value: value in ("windows", "features"), "records": _whole()},
    "failures": {"path": _path, "stamp": _text, "reason": _text},
    "derived": {"name": _text, "file": _file, "covers": _whole(), "trained": _whole(), "checksum": _CHECKSUM},
    "served": {"address": _text, "covers": _whole(), "writes": _whole()},
}
"""What each column of each table may be."""


def rows_of(
    connection: sqlite3.Connection, folder: Path, table: str, columns: str, which: str = "", values: Sequence[Any] = ()
) -> Iterator[tuple[Any, ...]]:
    """Rows of a table: the one way to read it.

    Args:
        connection: To the database.
        folder: Of the library.
        table: Its name.
        columns: Their names, with commas between them.
        which: The rest of the question.
        values: For the question marks in it.

    Raises:
        InputError: What a row says cannot be.
    """
    names = columns.split(", ")
    may_be = [_MAY_BE[table][name] for name in names]
    for row in connection.execute(f"SELECT {columns} FROM {table} {which}", values):
        for column, value in enumerate(row):
            if not may_be[column](value):
                raise damaged(
                    folder,
                    f"in the row of {table} whose {names[0]} is {_shown(row[0])}, {names[column]} is "
                    f"{_shown(value)}, which cannot be",
                )
        yield row


def damaged(folder: Path, what: str) -> InputError:
    """The sentence for a database that says what cannot be."""
    return InputError(
        f"{printable(folder / DATABASE)}: is damaged ({what}); restore it from a backup, or index the films into a new "
        "folder"
    )


def every_table() -> dict[str, str]:
    """Their names, and those of their columns, as `rows_of` takes them."""
    return {table: ", ".join(columns) for table, columns in _MAY_BE.items()}


def _shown(value: object) -> str:
    """A value as a message has it: on one line, and not all of a long one."""
    if isinstance(value, bytes | str):
        return f"{type(value).__name__} '{printable(os.fsdecode(value[:60]))}'"
    return str(value)[:60]


def _shape(connection: sqlite3.Connection) -> dict[str, Any]:
    """The tables and indexes that there are, the tables with their columns."""
    found: dict[str, Any] = {}
    for kind, name, sql in connection.execute(
        "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'"
    ):
        real = kind == "table" and not str(sql).upper().startswith("CREATE VIRTUAL")
        columns = connection.execute('SELECT name, type, "notnull", pk FROM pragma_table_info(?)', (name,)).fetchall()
        found[f"{kind} {name}"] = columns if real else None
    return found


@cache
def _right_shape() -> dict[str, Any]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(_TABLES)
        return _shape(connection)


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
    if path.is_symlink():
        raise InputError(f"{printable(path)}: is a link; put the file itself there, with the library's other files")
    if not path.is_file():
        if any(folder.glob("part-*.bin")):
            raise InputError(
                f"{called}: its database {DATABASE} is missing, and the vectors beside it mean nothing without it; "
                "restore it from a backup, or index the films into a new folder"
            )
        raise InputError(f"{called}: is no library, it has no {DATABASE}; make one with `gmmformer index`")
    if not path.stat().st_size:
        raise damaged(folder, "it is empty")
    with explained(folder):
        connection = _connect(path, "rw" if write else "ro")
        try:
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            shape = _shape(connection) if (application, version) == (_APPLICATION, FORMAT) else {}
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
    if shape != _right_shape():
        connection.close()
        wrong = sorted(
            name for name in shape.keys() | _right_shape() if shape.get(name, 0) != _right_shape().get(name, 0)
        )
        raise damaged(folder, f"the {printable(wrong[0][:60])} is not what it should be")
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
    damage = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR", "SQLITE_MISMATCH", "SQLITE_CONSTRAINT")
    if code.startswith((*damage, "SQLITE_IOERR_SHORT")) or "decode to UTF-8" in str(error):
        return str(damaged(folder, printable(str(error))))
    return f"{called}: cannot be read or written ({error}); check the disk, then run `gmmformer library DIR verify`"


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    address = f"file:{quote_from_bytes(bytes(path.absolute()))}?mode={mode}"
    connection = sqlite3.connect(
        address, uri=True, isolation_level=None, timeout=_WAIT_SECONDS, check_same_thread=False
    )
    connection.execute("PRAGMA synchronous = EXTRA")
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection
