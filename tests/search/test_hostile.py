"""Whatever is in a library's files: each command succeeds, or says in one sentence what is wrong and what to do."""

import json
import logging
import os
import resource
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests_search_helpers import Plain, clustered, compacted, drawn_film, put, rebuild, unit_queries, update

from gmmformer.errors import InputError
from gmmformer.media.subtitles import Line, Track
from gmmformer.search import Library, unchanged, verify
from gmmformer.search.changes import activity_in
from gmmformer.search.database import DATABASE, every_table
from gmmformer.search.engines import ann
from gmmformer.search.engines import exact as finding
from gmmformer.search.lines import Said
from gmmformer.search.parts import checksum
from type_checks import unchecked

pytest.importorskip("faiss")


@pytest.fixture(autouse=True)
def as_users_have_it() -> Iterator[None]:
    """Nothing but the package's own checks."""
    with unchecked():
        yield


LOG, NO_SENTENCE = logging.getLogger(__name__), "no sentence with a name and a remedy: "
MOST_MORE = 2**28
"""Bytes that a command on what is small may take."""
VALUES: list[Any] = [
    None,
    "",
    "text",
    "7",
    b"",
    b"\xff\x00blob",
    0,
    1,
    -1,
    2**31,
    2**40,
    2**63 - 1,
    -(2**63),
    0.5,
    1e308,
    float("inf"),
    float("nan"),
    "../../../../etc/passwd",
    "/dev/zero",
    "/etc/passwd",
    "part\0.bin",
    b"../up.mp4",
    "ann-v2-000001.faiss/../../x",
    "{" * 100_000,
    "[" * 5_000,
    "{}",
    '{"clips": 1e999}',
    b"\x00" * 80,
    np.full(10, np.nan).tobytes(),
    np.array([3.0, 1.0]).tobytes(),
]
COLUMNS = [(table, column) for table, columns in every_table().items() for column in columns.split(", ")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with something in every table, and an index."""
    folder = tmp_path_factory.mktemp("made") / "library"
    plain = Plain()
    with Library.create(folder, plain) as library:
        put(library, [drawn_film(seed, rows=8 + 9 * seed) for seed in range(5)])
        put(library, clustered(20, plain))
        lines = [Line(float(at), at + 1.0, f"word{at} said") for at in range(12)]
        tracks = [Track(kind="subtitles", name="x.srt", language="en", lines=lines)]
        put(library, [replace(drawn_film(9), said=Said(tracks, "stamp"))])
        library.add_film("uneven.mp4", np.ones((10, 4), dtype=np.float32), seconds=np.arange(10.0) ** 2)
        rebuild(library)
        library.remove(["film-0002.mp4"])
        with library.writing() as writer:
            writer.fail("broken.mp4", "1 2", "it is broken")
            writer.serve("http://localhost:19530", 3)
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(finding, "FEW", 0)
    return Path(shutil.copytree(made, tmp_path / "library"))


def ask(library: Library) -> None:
    for moments in (1, 3):
        for hits in library.search_vectors(unit_queries(2), 30, moments=moments):
            for hit in hits:
                json.dumps(hit.to_dict(), allow_nan=False)
    library.search_film(unit_queries(1)[0], 1)
    for hit in library.search("word3 said", 3, within=["said"], moments=3):
        json.dumps(hit.to_dict(), allow_nan=False)
    library.search_vectors(unit_queries(1), 5, where="film*", min_length=1.0)


def features(library: Library) -> None:
    for film in library.store.films():
        library.store.features_of(film.path)


COMMANDS: dict[str, Callable[[Library], object]] = {
    "search": ask,
    "info": lambda library: json.dumps(vars(library.info()) | {"recipe": None}, allow_nan=False),
    "list": lambda library: json.dumps([film.timing.length for film in library.store.films()], allow_nan=False),
    "failures": lambda library: library.store.failures(),
    "features": features,
    "verify": lambda library: verify(library.store),
    "index": lambda library: unchanged(library.folder, [library.folder.parent]),
    "add": lambda library: put(library, [drawn_film(90)]),
    "remove": lambda library: library.remove(["film-0001.mp4"]),
    "compact": lambda library: compacted(library),
    "extend": lambda library: update(library),
    "rebuild": lambda library: rebuild(library),
}


def try_all(folder: Path) -> Iterator[tuple[str, str]]:
    """Each command, and what it said if it was refused."""
    for engine in ("exact", "ann", "auto"):
        for name, command in COMMANDS.items():
            if engine != "exact" and name != "search":
                continue
            try:
                with Library.open(folder, Plain(), engine=engine) as library:
                    command(library)
            except InputError as error:
                said = str(error)
                right = "\n" not in said and (folder.name in said or "film" in said) and ";" in said
                yield name, said if right else NO_SENTENCE + said


def change(folder: Path, said: str, values: tuple[Any, ...] = ()) -> bool:
    """Change the database; False where SQLite itself does not take it."""
    with closing(sqlite3.connect(folder / DATABASE, isolation_level=None)) as connection:
        try:
            connection.execute(said, values)
        except sqlite3.IntegrityError:
            return False
    return True


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_no_value_of_any_column_does_harm(
    made: Path, copy: Path, table: str, column: str, drawn: np.random.Generator
) -> None:
    """Two values each time; `tests/fuzz` tries as many as there is time for."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for at in drawn.permutation(len(VALUES))[:2]:
        for which in [drawn.choice(["", " WHERE rowid = 3"])]:
            shutil.copy(made / DATABASE, copy / DATABASE)
            value = VALUES[at]
            LOG.warning("%s.%s = %.80r%s", table, column, value, which)
            if change(copy, f"UPDATE OR REPLACE {table} SET {column} = ?{which}", (value,)):
                for name, said in try_all(copy):
                    LOG.warning("  %s: %s", name, said[-200:])
                    assert not said.startswith(NO_SENTENCE), said
            for path in copy.iterdir():
                if not (made / path.name).exists():
                    path.unlink()
            shutil.copytree(made, copy, dirs_exist_ok=True)
    more = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert more < MOST_MORE, f"{more:,} bytes"


@pytest.mark.parametrize(
    ("column", "value", "what"),
    [
        ("films.rows", 10**9, "rows is 1000000000"),
        ("films.length", float("inf"), "length is inf"),
        ("films.path", b"a\0b", "path is bytes"),
        ("films.seconds", b"12345678", "seconds of the rows"),
        ("films.stamp", b"x", "stamp is bytes"),
        ("windows.record", 10**6, "uneven.mp4: its vectors are damaged"),
        ("windows.part", 77, "uneven.mp4: has 0 windows"),
        ("windows.film", "x", "film is str 'x'"),
        ("parts.records", 10**10, "was cut off"),
        ("parts.kind", "windows ", "kind is str"),
        ("derived.file", "../../etc/passwd", "file is str"),
        ("derived.covers", -1, "covers is -1"),
        ("state.layout", 0.5, "layout is 0.5"),
        ("served.writes", "many", "writes is str 'many'"),
        ("failures.reason", b"x", "reason is bytes"),
        ("settings.value", "{}", "settings are damaged"),
    ],
)
def test_verify_names_what_cannot_be(copy: Path, column: str, value: Any, what: str) -> None:
    table, _, name = column.partition(".")
    assert change(copy, f"UPDATE {table} SET {name} = ? WHERE rowid = (SELECT max(rowid) FROM {table})", (value,))
    try:
        with Library.open(copy, Plain()) as library:
            (said, *_) = verify(library.store)
    except InputError as error:
        said = str(error)
    assert what in said
    assert ";" in said


@pytest.mark.parametrize(
    "said",
    [
        *(f"DROP TABLE {table}" for table in every_table()),
        *(f"DELETE FROM {table}" for table in every_table()),
        "ALTER TABLE films RENAME COLUMN length TO long",
        "ALTER TABLE windows DROP COLUMN checksum",
        "ALTER TABLE films ADD COLUMN more TEXT",
        "DROP INDEX films_by_path",
        "CREATE TRIGGER more AFTER UPDATE ON state BEGIN DELETE FROM films; END",
        "CREATE VIEW endless AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
        "INSERT INTO settings SELECT * FROM settings",
        "UPDATE windows SET film = 1 + abs(random()) % 5",
        "UPDATE windows SET first = 5000",
        "UPDATE films SET rows = 1",
    ],
)
def test_tables_that_are_not_ours_are_refused(copy: Path, said: str) -> None:
    assert change(copy, said)
    refused = dict(try_all(copy))
    if said.startswith(("DROP", "ALTER", "CREATE", "INSERT")):
        assert refused.keys() == COMMANDS.keys()
        assert all("is damaged (" in sentence for sentence in refused.values())
    if said.startswith("CREATE TRIGGER"):
        with closing(sqlite3.connect(copy / DATABASE)) as connection:
            assert connection.execute("SELECT count(*) FROM films").fetchone()[0] > 20


def settings_of(folder: Path) -> dict[str, Any]:
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        value: dict[str, Any] = json.loads(connection.execute("SELECT value FROM settings").fetchone()[0])
    return value


RECIPE = {"trained": False, "dual_encoder": "clip", "mix": 0.5, "fps": 1.0, "identities": {}}


@pytest.mark.parametrize(
    "changed",
    [
        *({name: value} for name in ("clips", "dim", "feature_dim") for value in (0, -1, 10**12, 1.5, "8", None, [])),
        *({name: 5} for name in ("model", "fingerprint", "dtype", "identity", "keep_features", "recipe")),
        {"overlap": 1.0},
        {"overlap": "x"},
        {"dtype": "int9"},
        {"identity": "../x"},
        {"unknown": 1},
        {"clips": 8192, "dim": 10**7},
        {"recipe": {}},
        {"recipe": {**RECIPE, "dual_encoder": None}},
        {"recipe": {**RECIPE, "fps": 0}},
        {"recipe": {**RECIPE, "mix": 2}},
        {"recipe": {**RECIPE, "dual_encoder": "a\0b"}},
        {"recipe": {**RECIPE, "identities": {"a": 1}}},
        {"recipe": {**RECIPE, "dual_encoder": "a" * 100_000}},
        {"model": "a" * 100_000},
        "[" * 100_000,
        "[]",
        "null",
        '{"clips": ' + "1" * 5_000 + "}",
        '{"overlap": NaN}',
    ],
)
def test_settings_that_cannot_be_are_refused(copy: Path, changed: Any) -> None:
    text = changed if isinstance(changed, str) else json.dumps(settings_of(copy) | changed)
    assert change(copy, "UPDATE settings SET value = ?, checksum = ?", (text, checksum(text)))
    with pytest.raises(InputError, match=r"library: its settings are damaged \(.*\); restore it") as error:
        Library.open(copy)
    assert len(str(error.value)) < 1_000


@pytest.mark.parametrize("kind", ["link", "zero", "pipe", "folder", "empty", "noise"])
@pytest.mark.parametrize("name", ["vectors", "heads", "features", ".faiss", DATABASE, ".lock", ".activity.json"])
def test_what_lies_in_a_files_place_is_not_followed(copy: Path, kind: str, name: str, tmp_path: Path) -> None:
    path = next((path for path in copy.iterdir() if name in path.name), copy / name)
    whole = path.read_bytes() if path.exists() else b""
    path.unlink(missing_ok=True)
    outside = tmp_path / "outside"
    outside.write_bytes(whole)
    if kind in ("link", "zero"):
        path.symlink_to(outside if kind == "link" else "/dev/zero")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"" if kind == "empty" else np.random.default_rng(1).bytes(len(whole)))
    assert activity_in(copy) is None
    refused = dict(try_all(copy))
    assert outside.read_bytes() == whole
    if name in ("vectors", "heads"):
        assert {"search", "compact"} <= refused.keys() or kind == "noise"
        assert kind == "noise" or path.name in refused["search"]
    elif name == DATABASE:
        assert refused.keys() == COMMANDS.keys()
    elif name == ".faiss" and kind != "folder":
        with Library.open(copy, Plain(), engine="ann") as library:
            assert ann.index_of(library.store) is not None
            rebuild(library) if not path.is_symlink() else None


def test_verify_reads_no_more_of_a_derived_file_than_there_is(copy: Path) -> None:
    """A file that grows while it is read is not read for ever."""
    (path,) = copy.glob("*.faiss")
    path.unlink()
    path.symlink_to("/dev/zero")
    with Library.open(copy, Plain()) as library:
        assert any(path.name in said and "is a link" in said for said in verify(library.store))


def test_names_that_no_film_has_are_refused_where_they_enter(copy: Path) -> None:
    with Library.open(copy, Plain()) as library:
        for name in ("", "a\0b.mp4"):
            with pytest.raises(InputError, match="no name of a film"):
                library.add_film(name, np.ones((3, 4), dtype=np.float32))
        for length in (float("nan"), float("inf"), -1.0, 1e12):
            with pytest.raises(InputError, match="length"):
                library.add_film("film.mp4", np.ones((3, 4), dtype=np.float32), length=length)
        assert verify(library.store) == []
