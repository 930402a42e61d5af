"""The library on disk: what goes in comes out, whole or not at all."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests_search_helpers import Plain, compacted, drawn_film, put, unit_queries

from gmmformer.errors import InputError
from gmmformer.search import Library, verify
from gmmformer.search.database import DATABASE, FORMAT
from type_checks import unchecked


def contents(library: Library) -> dict[str, tuple[bytes, bytes | None]]:
    """Everything that the library holds of each film."""
    snapshot = library.store.snapshot()
    held = {}
    for index, film in enumerate(library.store.films()):
        kept = library.store.features_of(film.path)
        fused = snapshot.fused(snapshot.slots_of(np.array([index]))).numpy().tobytes()
        held[film.path] = (fused, None if kept is None else kept[0].tobytes())
    return held


def test_what_goes_in_comes_out(library: Library) -> None:
    held = contents(library)
    assert list(held) == [f"film-{seed:04d}.mp4" for seed in range(40)]
    for seed in (0, 17, 39):
        film = drawn_film(seed, rows=8 + seed % 45)
        assert film.features is not None
        vectors, features = held[film.path]
        assert vectors == film.vectors.numpy().tobytes()
        assert features == film.features.astype(np.float16).tobytes()
    assert verify(library.store) == []


def test_a_film_of_the_same_path_replaces_the_old_one(library: Library) -> None:
    newer = drawn_film(100, rows=30, name="film-0003.mp4")
    put(library, [newer])
    assert len(library.store.films()) == 40
    assert contents(library)["film-0003.mp4"][0] == newer.vectors.numpy().tobytes()
    assert verify(library.store) == []


def test_removed_films_are_gone_and_compaction_gives_back_their_room(library: Library) -> None:
    before = contents(library)
    gone = [f"film-{seed:04d}.mp4" for seed in range(0, 40, 3)]
    assert library.remove([*gone, "never-there.mp4"]) == len(gone)
    size = library.info().bytes
    kept = {path: held for path, held in before.items() if path not in gone}
    assert contents(library) == kept
    found = library.search_vectors(unit_queries(5), 40)
    assert all({hit.film.path for hit in hits} == set(kept) for hits in found)
    freed = compacted(library)
    assert freed.films == len(gone)
    assert freed.freed_bytes > 0
    assert library.info().bytes < size
    assert contents(library) == kept
    again = library.search_vectors(unit_queries(5), 40)
    assert [[(hit.film.path, hit.score) for hit in hits] for hits in again] == [
        [(hit.film.path, hit.score) for hit in hits] for hits in found
    ]
    assert verify(library.store) == []


def test_an_open_library_sees_what_others_do(library: Library, plain: Plain) -> None:
    with Library.open(library.folder, plain) as other:
        assert len(other.search_vectors(unit_queries(1), 100)[0]) == 40
        put(library, [drawn_film(50)])
        assert len(other.search_vectors(unit_queries(1), 100)[0]) == 41
        library.remove(["film-0001.mp4", "film-0050.mp4"])
        assert len(other.search_vectors(unit_queries(1), 100)[0]) == 39
        compacted(library)
        put(library, [drawn_film(51)])
        assert contents(other) == contents(library)


def test_a_snapshot_outlives_compaction(library: Library) -> None:
    snapshot = library.store.snapshot()
    before = snapshot.fused(np.arange(len(snapshot.windows)))
    library.remove([film.path for film in library.store.films()[:39]])
    compacted(library)
    torch.testing.assert_close(snapshot.fused(np.arange(len(snapshot.windows))), before, atol=0, rtol=0)


def test_features_can_be_left_out(tmp_path: Path, plain: Plain) -> None:
    with Library.create(tmp_path / "lean", plain, keep_features=False) as library:
        put(library, [drawn_film(1)])
        assert library.store.features_of("film-0001.mp4") is None
        with pytest.raises(InputError, match="no such film"):
            library.store.features_of("film-0002.mp4")


def test_the_second_writer_is_refused(library: Library, plain: Plain) -> None:
    with Library.open(library.folder, plain) as other, library.writing() as into:
        into.add([drawn_film(60)])
        with pytest.raises(InputError, match=r"this process itself is writing there; wait until it is done"):
            library.remove(["film-0001.mp4"])
        with pytest.raises(InputError, match=r"this process itself is writing there; wait until it is done"):
            put(other, [drawn_film(61)])
        assert len(other.store.films()) == 41
    with Library.open(library.folder, plain) as other:
        put(other, [drawn_film(61)])


def test_threads_that_write_through_one_library_wait_for_each_other(library: Library) -> None:
    with ThreadPoolExecutor(6) as pool:
        films = [[drawn_film(100 * thread + turn)] for thread in range(1, 7) for turn in range(5)]
        for done in [pool.submit(put, library, some) for some in films]:
            done.result()
        removed = [pool.submit(library.remove, [f"film-{seed:04d}.mp4"]) for seed in range(6)]
        assert [one.result() for one in removed] == [1] * 6
    assert len(library.store.films()) == 40 + 30 - 6
    assert verify(library.store) == []


def test_readers_see_whole_states_while_films_come_and_go(library: Library, plain: Plain) -> None:
    """A film's score is either that of its old vectors or of its new ones, and pairs come and go together."""
    query = unit_queries(1)
    stop, problems = threading.Event(), []

    def read() -> None:
        with Library.open(library.folder, plain) as other:
            while not stop.is_set():
                names = [hit.film.path for hit in other.search_vectors(query, 100)[0]]
                pairs = [name for name in names if name.startswith("pair")]
                if len(pairs) not in (0, 2) or len(names) - len(pairs) != 40:
                    problems.append(names)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for turn in range(12):
        put(library, [drawn_film(turn, name="pair-1"), drawn_film(turn + 1, name="pair-2", rows=40)])
        library.remove(["pair-1", "pair-2"])
        if turn % 5 == 4:
            compacted(library)
    stop.set()
    for reader in readers:
        reader.join()
    assert problems == []
    assert verify(library.store) == []


KILLED = """
import sys
sys.path.insert(0, sys.argv[1])
from tests_search_helpers import Plain, compacted, drawn_film, put
from gmmformer.search import Library, verify
library = Library.open(sys.argv[2], Plain())
print("ready", flush=True)
for seed in range(int(sys.argv[3]), 100_000):
    put(library, [drawn_film(seed, rows=8 + seed % 45)])
    print("added", seed, flush=True)
    if seed % 3 == 2:
        library.remove([f"film-{seed - 1:04d}.mp4"])
        print("removed", seed - 1, flush=True)
    if seed % 4 == 3:
        compacted(library)
"""


def test_killed_at_any_moment_nothing_is_lost_or_half(
    library: Library, plain: Plain, tmp_path: Path, drawn: np.random.Generator
) -> None:
    expected = set(range(40))
    script = tmp_path / "writer.py"
    script.write_text(KILLED)
    start = 40
    for _ in range(4):
        command = [sys.executable, str(script), str(Path(__file__).parent), str(library.folder), str(start)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            timer = threading.Timer(drawn.uniform(0, 0.4), writer.kill)
            timer.start()
            reported = [line.split() for line in writer.stdout if line.endswith("\n")]
            timer.cancel()
        assert verify(library.store) == []
        for what, seed in reported:
            (expected.add if what == "added" else expected.discard)(int(seed))
            start = max(start, int(seed) + 1)
        found = {int(film.path[5:9]) for film in library.store.films()}
        unreported = found ^ expected  # done, but killed before it could say so
        assert unreported <= {start, start - 2, start - 1}
        for seed in found & {start - 1, start}:
            film = drawn_film(seed, rows=8 + seed % 45)
            assert contents(library)[film.path][0] == film.vectors.numpy().tobytes()
        start, expected = max([start, *(seed + 1 for seed in found)]), found
        put(library, [drawn_film(0)])
    held = contents(library)
    for seed in expected - {0}:
        film = drawn_film(seed, rows=8 + seed % 45)
        assert held[film.path][0] == film.vectors.numpy().tobytes()


@pytest.mark.parametrize("name", ["vectors", "heads", "features", DATABASE])
def test_flipped_bytes_are_found(library: Library, plain: Plain, tmp_path: Path, name: str) -> None:
    with Library.create(tmp_path / "int8", plain, store="int8") as small:
        put(small, [drawn_film(seed) for seed in range(5)])
        assert verify(small.store) == []
        (path,) = small.folder.glob(f"*{name}*")
    whole = path.read_bytes()
    drawn = np.random.default_rng(4)
    places = drawn.integers(0, len(whole), 40)
    if name == DATABASE:  # what the database says of a film
        places = np.array([whole.index(b"film-0003"), whole.index(b"film-0003") + 7])
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        with Library.open(small.folder, plain) as damaged:
            assert verify(damaged.store) != []
    path.write_bytes(whole)


def test_a_part_cut_off_is_named(library: Library, plain: Plain) -> None:
    (path,) = library.folder.glob("*vectors*")
    os.truncate(path, path.stat().st_size - 10)
    with unchecked(), Library.open(library.folder, plain) as cut_off:  # to check an engine's type is to ask its name
        with pytest.raises(InputError, match="was cut off"):
            cut_off.search_vectors(unit_queries(1))
        assert "was cut off" in verify(cut_off.store)[0]
        path.unlink()
    with unchecked(), Library.open(library.folder, plain) as missing, pytest.raises(InputError, match="is missing"):
        missing.search_vectors(unit_queries(1))


FULL = """
import resource, signal, sys
sys.path.insert(0, sys.argv[1])
from tests_search_helpers import Plain, compacted, drawn_film, put
from gmmformer.errors import InputError
from gmmformer.search import Library, verify
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
library = Library.open(sys.argv[2], Plain())
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    put(library, [drawn_film(seed, rows=50) for seed in range(200, 300)])
except InputError as error:
    print(error)
"""


def test_a_full_disk_changes_nothing(library: Library, tmp_path: Path) -> None:
    before, sizes = contents(library), {path.name: path.stat().st_size for path in library.folder.glob("part*")}
    script = tmp_path / "full.py"
    script.write_text(FULL)
    for limit in (max(sizes.values()) + 5_000, (library.folder / DATABASE).stat().st_size + 1):
        command = [sys.executable, str(script), str(Path(__file__).parent), str(library.folder), str(limit)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert str(library.folder) in said
        assert contents(library) == before
        assert {path.name: path.stat().st_size for path in library.folder.glob("part*")} == sizes
        assert verify(library.store) == []
    put(library, [drawn_film(300)])


READ_ONLY = """
import os, sys
sys.path.insert(0, sys.argv[1])
from tests_search_helpers import Plain, compacted, drawn_film, put, unit_queries
from gmmformer.search import kernels, verify
kernels.scorer('int8'), kernels._handler()  # compiled while Python's own modules can be read for sure
from gmmformer.errors import InputError
from gmmformer.search import Library, verify
if os.getuid() == 0:
    os.setgid(65534), os.setuid(65534)
library = Library.open(sys.argv[2], Plain())
print(len(library.search_vectors(unit_queries(1), 100)[0]))
try:
    put(library, [drawn_film(1)])
except InputError as error:
    print(error)
"""


def test_reading_needs_no_write_permission(library: Library, tmp_path: Path) -> None:
    script = tmp_path / "reader.py"
    script.write_text(READ_ONLY)
    for folder in [tmp_path, *tmp_path.parents][:4]:
        if folder.stat().st_uid == os.getuid() and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o055)
    for path in library.folder.iterdir():
        path.chmod(0o444)
    library.folder.chmod(0o555)
    command = [sys.executable, str(script), str(Path(__file__).parent), str(library.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    library.folder.chmod(0o755)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0] == "40"
    assert "cannot be written" in said[1]


def test_what_is_no_library_is_refused_by_name(library: Library, plain: Plain, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    empty = tmp_path / "empty"
    empty.mkdir()
    for path, what in ((file, "is a file"), (tmp_path / "none", "no such folder"), (empty, "is no library")):
        with pytest.raises(InputError, match=what):
            Library.open(path, plain)
    with pytest.raises(InputError, match="is a file"):
        Library.create(file, plain)
    with pytest.raises(InputError, match="is a library already"):
        Library.create(library.folder, plain)
    (empty / "film.mp4").write_text("x")
    with pytest.raises(InputError, match=r"is not empty \(film\.mp4"):
        Library.create(empty, plain)


def test_a_library_without_its_database_or_of_another_kind_is_refused(
    library: Library, plain: Plain, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"belongs to the model plain .* not to plain"):
        Library.open(library.folder, Plain(dim=64))
    database = library.folder / DATABASE
    whole = database.read_bytes()
    with sqlite3.connect(database) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
    connection.close()
    with pytest.raises(InputError, match=rf"format {FORMAT + 1}.* update gmmformer"):
        Library.open(library.folder, plain)
    database.write_bytes(whole[:300])
    with pytest.raises(InputError, match="is damaged"):
        Library.open(library.folder, plain)
    database.write_bytes(b"no database at all, but long enough to look at" * 20)
    with pytest.raises(InputError, match="is damaged"):
        Library.open(library.folder, plain)
    database.unlink()
    with pytest.raises(InputError, match=r"its database library\.sqlite is missing"):
        Library.open(library.folder, plain)


@pytest.mark.parametrize(
    ("there", "asked"), [("u\u0308ber/cafe\u0301.mp4", "*caf\u00e9*"), ("\u00fcber/x.mp4", "u\u0308*")]
)
def test_a_glob_and_a_path_may_write_an_accent_differently(
    tmp_path: Path, plain: Plain, there: str, asked: str
) -> None:
    with Library.create(tmp_path / "library", plain) as library:
        names = [there, "cafe.mp4", os.fsdecode(b"\xff.mp4")]
        put(library, [drawn_film(seed, name=name) for seed, name in enumerate(names)])
        assert [hit.film.path for hit in library.search_vectors(unit_queries(1), where=asked)[0]] == [there]


def test_odd_paths_are_films_like_others(tmp_path: Path, plain: Plain) -> None:
    names = ["new\nline.mp4", 'it\'s "quoted".mp4', os.fsdecode(b"not-\xff-utf8.mp4"), "'; DROP TABLE films; --", "é😀"]
    with Library.create(tmp_path / "odd ?#%' \udcff", plain) as library:
        put(library, [drawn_film(seed, name=name) for seed, name in enumerate(names)])
        assert [film.path for film in library.store.films()] == names
        assert {hit.film.path for hit in library.search_vectors(unit_queries(1))[0]} == set(names)
        assert [hit.film.path for hit in library.search_vectors(unit_queries(1), where="not-*")[0]] == [names[2]]
        assert [hit.film.path for hit in library.search_vectors(unit_queries(1), where=names[2])[0]] == [names[2]]
        assert library.search_vectors(unit_queries(1), where="x' OR 1=1; DROP TABLE films; --")[0] == []
        assert library.remove(names[:2]) == 2
        assert verify(library.store) == []
        assert len(library.store.films()) == 3


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", ["int8", "bf16", "float32"])
def test_vectors_that_are_not_finite_are_refused_and_told_and_never_a_score(tmp_path, plain, dtype, value):
    with Library.create(tmp_path / "library", plain, store=dtype) as library:
        put(library, [drawn_film(seed) for seed in range(8)])
        broken = drawn_film(9)
        broken.vectors[0, 0, 3] = value  # after it was looked at: as a library of an older version has it
        with pytest.raises(InputError, match=r"film-0009\.mp4: the model makes NaN or infinity of it"):
            replace(broken)
        put(library, [broken])
        (problem,) = verify(library.store)
        assert "film-0009.mp4: its vectors are not finite" in problem
        queries = unit_queries(5)
        if dtype == "int8":  # noughts lie in their place
            for hits in [*library.search_vectors(queries, 10), library.search_vectors(queries[:1], 10)[0]]:
                assert len({hit.film.path for hit in hits} - {"film-0009.mp4"}) == 8
                json.dumps([hit.to_dict() for hit in hits], allow_nan=False)
        else:
            for asked in (queries, queries[:1]):
                with pytest.raises(InputError, match="not all its vectors are finite numbers"):
                    library.search_vectors(asked, 10)
