"""The library's database: how it is opened and read, what is said when it cannot be.

Anybody can have written what is in a file, so a row is held to `tables.TABLES` whenever it is read: nothing of it
decides how long we work, how much memory that takes, or which files are opened.

A rollback journal, not a write-ahead log: a log needs shared memory and files beside the database that even readers
write to, so it works neither on a read-only disk nor over a network. Readers keep their transactions short (they copy
what they need), so a writer waits milliseconds for them, not seconds.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

from gmmformer.errors import InputError
from gmmformer.media.films import printable
from gmmformer.search.tables import CREATE, CREATE_LINES, LINES, TABLES

DATABASE = "library.sqlite"
FORMAT = 2
"""Of the folder as a whole; a library of a newer one is refused."""

_APPLICATION = 0x474D4D46
_WAIT_SECONDS = 30.0


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
    may_be = [(TABLES | LINES)[table][name][1] for name in names]
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
    return {table: ", ".join(columns) for table, columns in (TABLES | (LINES if lines else {})).items()}


def has_lines(connection: sqlite3.Connection) -> bool:
    """Whether a library has room for what is said."""
    return connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'said'").fetchone() is not None


def add_lines(connection: sqlite3.Connection) -> None:
    """Make room for what is said in a library from before; within a transaction."""
    for statement in CREATE_LINES.removesuffix(";").split(";"):
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
        connection.executescript(CREATE + (CREATE_LINES if lines else ""))
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
            f"PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {FORMAT}; BEGIN; {CREATE}{CREATE_LINES}"
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
