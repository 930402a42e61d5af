"""Libraries of films, as they are searched, looked after and added to."""

import sqlite3
from pathlib import Path
from typing import NamedTuple

from fuzz_hunt import Hunt
from fuzz_material import Spoilt, spoilt
from fuzz_mutations import Json, Mutation, Sql, of_json
from fuzz_outcomes import Mother, Tree, attempt
from hypothesis import strategies as st

from gmmformer.search.parts import checksum

DATABASE = "library/library.sqlite"
COMMANDS = (
    ("search", "library", "a red star", "--json"),
    ("search", "library", "a red star", "--engine", "exact", "--moments", "3", "--min-length", "1", "--json"),
    ("search", "library", "a red star", "--engine", "ann", "--where", "*film*", "--json"),
    *(
        ("library", "library", action, "--json")
        for action in ("info", "list", "failures", "verify", "compact", "rebuild")
    ),
    ("library", "library", "verify"),
    ("library", "library", "list"),
    ("library", "library", "remove", "*.mp4", "--json"),
    ("index", "library", "films", "--json"),
    ("index", "new", "--features-of", "library", "--model", "library/model", "--json"),
)
VALUES = (
    *(
        "NULL",
        "-1",
        "0",
        "1",
        "3",
        "1000000000000",
        "9223372036854775807",
        "-9223372036854775808",
        "0.5",
        "1e308",
        "9e999",
    ),
    *("'text'", "''", "x'ff00'", "zeroblob(40)", "zeroblob(50000000)", "'../../../../etc/passwd'", "'/dev/zero'"),
    *("2147483648", "1099511627776", "'7'", "x''", "zeroblob(80)", "x'000000000000f87f'", "x'2e2e2f75702e6d7034'"),
    *(
        "'part' || char(0) || '.bin'",
        "'ann-v2-000001.faiss/../../x'",
        "'{\"clips\": 1e999}'",
        "printf('%.*c', 99999, '[')",
    ),
    *("'1-1'", "'[]'", "char(10)", "char(0)", "x'edb080'", "'windows'", "'features'"),
)


def statements(database: bytes) -> st.SearchStrategy[Mutation]:
    """What SQL can do to a database: wrong values and types, rows and tables too few, too many, or endless."""
    connection = sqlite3.connect(":memory:")
    connection.deserialize(database)
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    columns = {
        table: [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        for table in tables
        if not table.startswith("sqlite_")
    }
    connection.close()
    pairs = [(table, column) for table in columns for column in columns[table]]
    loose = "PRAGMA writable_schema = 1; UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '')"
    loose += " WHERE type = 'table'; PRAGMA writable_schema = RESET;"

    def update(pair: tuple[str, str], value: str, row: int | None) -> Mutation:
        where = "" if row is None else f" WHERE rowid = (SELECT rowid FROM {pair[0]} LIMIT 1 OFFSET {row})"
        return Sql(f"{loose} UPDATE {pair[0]} SET {pair[1]} = {value}{where};")

    def whole(table: str, form: str) -> Mutation:
        listed = ", ".join(columns[table])
        numbers = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
        ones = ", ".join(f"x AS {column}" for column in columns[table])
        return Sql(form.format(table=table, listed=listed, numbers=numbers, ones=ones, first=columns[table][0]))

    forms = (
        "DELETE FROM {table};",
        "DELETE FROM {table} WHERE rowid = (SELECT max(rowid) FROM {table});",
        "DROP TABLE {table};",
        "ALTER TABLE {table} RENAME COLUMN {first} TO other;",
        "INSERT INTO {table} SELECT * FROM {table};",
        "CREATE TEMP TABLE t AS SELECT * FROM {table}; UPDATE t SET {first} = {first} + 100;"
        " INSERT INTO {table} SELECT * FROM t;",
        "DROP TABLE {table}; CREATE VIEW {table} AS {numbers} SELECT {ones} FROM n;",
    )
    pragmas = ("application_id = 0", "user_version = 99", "user_version = -1", "encoding = 'UTF-16'")
    return st.one_of(
        st.builds(update, st.sampled_from(pairs), st.sampled_from(VALUES), st.none() | st.integers(0, 6)),
        st.builds(whole, st.sampled_from(sorted(columns)), st.sampled_from(forms)),
        st.sampled_from(pragmas).map(lambda pragma: Sql(f"PRAGMA {pragma};")),
        st.builds(Settings, of_json()),
    )


class Settings(NamedTuple):
    """Spoils a library's settings, with a checksum that fits."""

    change: Json

    def __call__(self, data: bytes) -> bytes:
        connection = sqlite3.connect(":memory:", isolation_level=None)
        try:
            connection.deserialize(data)
            (text,) = connection.execute("SELECT value FROM settings").fetchone()
            changed = self.change(text.encode()).decode("utf-8", "replace")
            connection.execute("UPDATE settings SET value = ?, checksum = ?", (changed, checksum(changed)))
            return bytes(connection.serialize())
        except (sqlite3.Error, TypeError, AttributeError):
            return data
        finally:
            connection.close()


def use_of(mother: Mother, library: Tree):
    def use(case: tuple[Spoilt, tuple[str, ...]], folder: Path):
        case[0].write(folder, library)
        return case[1], attempt(mother, folder, *case[1], changes=("library",), makes=("new",))[1]

    return use


def test_databases(hunt: Hunt, mother: Mother, library: Tree) -> None:
    data = library[DATABASE]
    assert isinstance(data, bytes)
    changes = st.lists(statements(data), min_size=1, max_size=2).map(tuple)
    cases = st.builds(Spoilt, st.just(DATABASE), changes)
    hunt(st.tuples(cases, st.sampled_from(COMMANDS)), use_of(mother, library), examples=10)


def test_library_files(hunt: Hunt, mother: Mother, library: Tree) -> None:
    """Its database as bytes, parts, the index, the model in it."""
    cases = spoilt(library, "library/")
    hunt(st.tuples(cases, st.sampled_from(COMMANDS)), use_of(mother, library), examples=8)
