"""The library's database: its tables, what their rows may say, how it is opened, what is said when it cannot be.

Anybody can have written what is in a file, so a row is held to `_TABLES` whenever it is read: nothing of it decides how
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

WINDOWS, FEATURES = "windows", "features"
"""Kinds of parts."""
MOST_ROWS = 10_000_000
"""Of a film: at one a second, some 115 days."""
LONGEST = 1e9
"""Seconds of a film."""

_APPLICATION = 0x474D4D46
_WAIT_SECONDS = 30.0


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


_CHECKSUM = ("INTEGER NOT NULL", _whole(0, 2**32 - 1))
_COUNT = ("INTEGER NOT NULL", _whole())
_ROWS = ("INTEGER NOT NULL", _whole(1, MOST_ROWS))
_SECONDS = ("REAL NOT NULL", _seconds)
_TEXT = ("TEXT NOT NULL", _text)
_IDENTITY = "INTEGER PRIMARY KEY AUTOINCREMENT"
_Tables = dict[str, dict[str, tuple[str, Callable[[Any], bool]]]]
_TABLES: _Tables = {
    "settings": {"value": _TEXT, "checksum": _CHECKSUM},
    "state": {"generation": _COUNT, "layout": _COUNT},
    "films": {
        "id": (_IDENTITY, _whole()),
        "path": ("BLOB NOT NULL", _path),
        "stamp": _TEXT,  # size and date of the file, to see at a glance that it is the same
        "fingerprint": _TEXT,  # of its content
        "windows": _ROWS,  # how many it has
        "rows": _ROWS,
        "first": _SECONDS,  # of the first row
        "step": _SECONDS,  # between rows
        "length": _SECONDS,  # of the film
        # float64 per row, where they are not evenly spaced
        "seconds": ("BLOB", _or_nothing(lambda value: type(value) is bytes and len(value) <= 8 * MOST_ROWS)),
        "feature_part": ("INTEGER", _or_nothing(_whole(1, 2**31 - 1))),
        "feature_row": ("INTEGER", _or_nothing(_whole())),
        "feature_checksum": ("INTEGER", _or_nothing(_CHECKSUM[1])),
        "checksum": _CHECKSUM,
        "added": _COUNT,  # generation
        "removed": ("INTEGER", _or_nothing(_whole())),  # generation, or NULL while it is there
    },
    "windows": {
        "id": (_IDENTITY, _whole()),
        "film": _COUNT,
        "first": ("INTEGER NOT NULL", _whole(0, MOST_ROWS)),  # row of the film
        "rows": _ROWS,
        "part": ("INTEGER NOT NULL", _whole(1, 2**31 - 1)),
        "record": _COUNT,
        "checksum": _CHECKSUM,
    },
    "parts": {
        "id": (_IDENTITY, _whole(1, 2**31 - 1)),
        "kind": ("TEXT NOT NULL", lambda value: value in (WINDOWS, FEATURES)),
        "records": _COUNT,
    },
    "failures": {"path": ("BLOB PRIMARY KEY", _path), "stamp": _TEXT, "reason": _TEXT},
    "derived": {
        "name": ("TEXT PRIMARY KEY", _text),
        "file": ("TEXT NOT NULL", _file),
        "covers": _COUNT,  # the last window in it
        "trained": _COUNT,  # the last window that it was trained with
        "checksum": _CHECKSUM,
    },
    # the last window that a server has, and how often that was noted
    "served": {"address": ("TEXT PRIMARY KEY", _text), "covers": _COUNT, "writes": _COUNT},
}
"""The columns of each table: what they are to SQLite, and what their values may be."""
_TABLES_OF_LINES: _Tables = {
    "tracks": {
        "id": (_IDENTITY, _whole()),
        "film": _COUNT,
        "kind": ("TEXT NOT NULL", lambda value: value in ("subtitles", "speech")),
        "name": _TEXT,
        "language": _TEXT,
        "first": _COUNT,  # passage; the others follow it
        "passages": _COUNT,
        "lines": _COUNT,
        "checksum": _CHECKSUM,  # of the passages
    },
    "passages": {
        "id": (_IDENTITY, _whole()),
        "track": _COUNT,
        "own": ("INTEGER NOT NULL", _whole(1, 1_000)),  # lines that are in no passage after it
        "times": ("BLOB NOT NULL", lambda value: type(value) is bytes and len(value) <= 16_000),  # float64: start, end
        "text": ("TEXT NOT NULL", lambda value: type(value) is str and len(value) <= 1_000_000),  # a line each
    },
    # what was looked at for the lines of a film, and what of it could not be taken
    "heard": {"film": ("INTEGER PRIMARY KEY", _whole()), "stamp": _TEXT, "problem": _TEXT},
}
"""Those of what is said; libraries from before have none until they are added."""


def _created(tables: _Tables) -> str:
    told = {
        table: ", ".join(f"{name} {kind}" for name, (kind, _) in columns.items()) for table, columns in tables.items()
    }
    return "".join(f"CREATE TABLE {table} ({columns});" for table, columns in told.items())


_CREATE = _created(_TABLES) + (
    "INSERT INTO state VALUES (1, 1);"
    "CREATE UNIQUE INDEX films_by_path ON films (path) WHERE removed IS NULL;"
    "CREATE INDEX films_removed ON films (removed) WHERE removed IS NOT NULL;"
)
_CREATE_LINES = _created(_TABLES_OF_LINES) + (
    "CREATE INDEX tracks_by_film ON tracks (film);"
    "CREATE VIRTUAL TABLE said USING fts5(words, content='', "
    "tokenize=\"unicode61 remove_diacritics 0 categories 'L* M* N* Co'\");"
)


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
    may_be = [(_TABLES | _TABLES_OF_LINES)[table][name][1] for name in names]
    for row in connection.execute(f"SELECT {columns} FROM {table} {which}", values):
        for column, value in enumerate(row):
            if not may_be[column](value):
                raise damaged(
                    folder,
                    f"in the row of {table} whose {names[0]} is {_shown(row[0])}, {names[column]} is "
                    f"{_shown(value)}, which cannot be",
                )
        yield row


def records_in(connection: sqlite3.Connection, folder: Path, kind: str) -> dict[int, int]:
    """How many records the parts of a kind have, by number."""
    return dict(rows_of(connection, folder, "parts", "id, records", "WHERE kind = ? ORDER BY id", (kind,)))


def damaged(folder: Path, what: str) -> InputError:
    """The sentence for a database that says what cannot be."""
    return InputError(
        f"{printable(folder / DATABASE)}: is damaged ({what}); restore it from a backup, or index the films into a new "
        "folder"
    )


def every_table(lines: bool = True) -> dict[str, str]:
    """Their names, and those of their columns, as `rows_of` takes them; with those of lines or without."""
    return {table: ", ".join(columns) for table, columns in (_TABLES | (_TABLES_OF_LINES if lines else {})).items()}


def has_lines(connection: sqlite3.Connection) -> bool:
    """Whether a library has room for what is said."""
    return connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'said'").fetchone() is not None


def add_lines(connection: sqlite3.Connection) -> None:
    """Make room for what is said in a library from before; within a transaction."""
    for statement in _CREATE_LINES.removesuffix(";").split(";"):
        connection.execute(statement)


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
        if name.startswith("said_"):  # where the index keeps itself
            found[f"{kind} {name}"] = None
        elif str(sql).upper().startswith("CREATE VIRTUAL"):
            found[f"{kind} {name}"] = sql
        else:
            columns = connection.execute('SELECT name, type, "notnull", pk FROM pragma_table_info(?)', (name,))
            found[f"{kind} {name}"] = columns.fetchall() if kind == "table" else None
    return found


@cache
def _right_shape(lines: bool) -> dict[str, Any]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(_CREATE + (_CREATE_LINES if lines else ""))
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
            f"PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {FORMAT}; BEGIN; {_CREATE}{_CREATE_LINES}"
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
    right = _right_shape("table said" in shape)
    if shape != right:
        connection.close()
        wrong = sorted(name for name in shape.keys() | right if shape.get(name, 0) != right.get(name, 0))
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
    connection.execute("PRAGMA cache_size = -16384")  # KiB; the words of a search lie in many places
    return connection
