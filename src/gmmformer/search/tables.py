"""The tables of a library's database: their columns, and what their values may be."""

from collections.abc import Callable
from typing import Any

WINDOWS, FEATURES = "windows", "features"
"""Kinds of parts."""
SAID, WRITTEN = ("subtitles", "speech"), "text"
KINDS = (*SAID, WRITTEN)
"""Of tracks: what is said, and what is written on the screen."""
MOST_ROWS = 10_000_000
"""Of a film: at one a second, some 115 days."""
LONGEST = 1e9
"""Seconds of a film."""


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
Tables = dict[str, dict[str, tuple[str, Callable[[Any], bool]]]]
TABLES: Tables = {
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
LINES: Tables = {
    "tracks": {
        "id": (_IDENTITY, _whole()),
        "film": _COUNT,
        "kind": ("TEXT NOT NULL", lambda value: value in KINDS),
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


def _created(tables: Tables) -> str:
    told = {
        table: ", ".join(f"{name} {kind}" for name, (kind, _) in columns.items()) for table, columns in tables.items()
    }
    return "".join(f"CREATE TABLE {table} ({columns});" for table, columns in told.items())


CREATE = _created(TABLES) + (
    "INSERT INTO state VALUES (1, 1);"
    "CREATE UNIQUE INDEX films_by_path ON films (path) WHERE removed IS NULL;"
    "CREATE INDEX films_removed ON films (removed) WHERE removed IS NOT NULL;"
)
CREATE_LINES = _created(LINES) + (
    "CREATE INDEX tracks_by_film ON tracks (film);"
    "CREATE VIRTUAL TABLE said USING fts5(words, content='', "
    "tokenize=\"unicode61 remove_diacritics 0 categories 'L* M* N* Co'\");"
)
