"""A file of a library that is cut off while the library is open costs a sentence, not the process."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests_search_helpers import Plain, clustered, drawn_film, put, ranked, rebuild, unit_queries

from gmmformer.errors import InputError
from gmmformer.search import Library
from gmmformer.search.database import DATABASE
from gmmformer.search.vectors import DTYPES

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has the guard")

CUT = """
import sys
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[1])
from tests_search_helpers import Plain, put, ranked, rebuild, unit_queries
from gmmformer.errors import InputError
from gmmformer.search import Library
from gmmformer.search.engines import exact as finding
finding.FEW = 0
queries = unit_queries(3)

def cut(folder, engine):
    library = Library.open(folder, Plain(), engine=engine)
    every = np.arange(len(library.store.snapshot().windows))

    def opened(state):
        with Library.open(library.folder, Plain(), engine=engine) as other:
            return ranked(other, queries, 20)

    QUESTIONS = [
        opened,
        lambda _: ranked(library, queries, 20),
        lambda _: library.search_vectors(queries, 5),
        lambda _: library.store.features_of("film-0039.mp4")[0].tobytes(),
        lambda state: state.score(queries, every).tobytes(),  # with no look at the files before it reads
        lambda state: state.clip_scores(queries[0], every[:70]).tobytes(),
        lambda state: state.fused(every).numpy().tobytes(),
    ]
    state = library.store.snapshot()
    before = [ask(state) for ask in QUESTIONS]
    refused = 0
    for path in sorted(library.folder.iterdir()):
        if path.suffix not in (".bin", ".faiss", ".sqlite"):
            continue
        whole = path.read_bytes()
        for size in (0, 1, len(whole) // 2, len(whole) - 1):
            for ask, right in zip(QUESTIONS, before):
                state = library.store.snapshot()
                with path.open("r+b") as file:
                    file.truncate(size)
                try:
                    if ask(state) != right:
                        print("wrong", folder, path.name, size, ask)
                except InputError as error:
                    refused += 1
                    if path.name not in str(error) or "\\n" in str(error):
                        print("not named", folder, path.name, size, ask, error)
                path.write_bytes(whole)  # as cp writes over a file
                if ask(library.store.snapshot()) != right:
                    print("not as before", folder, path.name, size, ask)
    print("lives", folder, refused >= 30, flush=True)

for place in sys.argv[2:]:
    cut(place, Path(place).name.partition('-')[2])
"""


def test_a_file_cut_off_under_an_open_library_is_named(tmp_path: Path, plain: Plain) -> None:
    pytest.importorskip("faiss")
    folders = [tmp_path / f"{dtype}-exact" for dtype in DTYPES] + [tmp_path / "int8-ann"]
    for folder in folders:
        dtype: Any = folder.name.partition("-")[0]
        with Library.create(folder, plain, store=dtype) as library:
            put(library, [*(drawn_film(seed, rows=8 + seed % 45) for seed in range(40)), *clustered(60, plain)])
            rebuild(library)
    script = tmp_path / "cut.py"
    script.write_text(CUT)
    command = [sys.executable, str(script), str(Path(__file__).parent), *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    lives = "".join(f"lives {folder} True\n" for folder in folders)
    assert (done.returncode, done.stdout, done.stderr) == (0, lives, "")


def test_searches_live_while_a_part_is_written_over_again_and_again(tmp_path: Path, plain: Plain) -> None:
    """Whatever the moment: an answer is right, or a sentence."""
    with Library.create(tmp_path / "library", plain, store="float32", engine="exact") as library:
        put(library, clustered(2000, plain))
        queries = unit_queries(2)
        right = ranked(library, queries, 10)
        (path,) = library.folder.glob("part-*-vectors.bin")
        script = tmp_path / "over.py"
        script.write_text(
            "import sys, pathlib\npath = pathlib.Path(sys.argv[1]); whole = path.read_bytes()\n"
            "for _ in range(60): path.write_bytes(whole)\n"
        )
        answered = refused = 0
        with subprocess.Popen([sys.executable, str(script), str(path)]) as writer:
            while writer.poll() is None:
                try:
                    assert ranked(library, queries, 10) == right
                    answered += 1
                except InputError as error:
                    assert path.name in str(error)  # noqa: PT017 - it may come or not
                    refused += 1
        assert answered + refused > 0
        assert ranked(library, queries, 10) == right


def test_faults_that_are_not_ours_end_the_process_as_before(tmp_path: Path) -> None:
    code = f"""
import mmap, os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from tests_search_helpers import Plain, drawn_film, put, ranked, rebuild, unit_queries
from gmmformer.search import Library
library = Library.create({str(tmp_path / "library")!r}, Plain(), store="float32")
put(library, [drawn_film(1)])
library.search_vectors(unit_queries(1))
with open({str(tmp_path / "other")!r}, "w+b") as file:
    file.write(b"x" * 10_000)
    file.flush()
    memory = mmap.mmap(file.fileno(), 10_000)
    file.truncate(0)
    print(memory[5_000])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -7, done.stderr
    assert done.stdout == ""


def test_a_database_cut_off_is_named(library: Library, plain: Plain) -> None:
    path = library.folder / DATABASE
    whole = path.read_bytes()
    for size in (0, 1, 50, 4096, len(whole) // 2):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=DATABASE):
            library.search_vectors(unit_queries(1))
        with pytest.raises(InputError, match=DATABASE):
            Library.open(library.folder, plain).search_vectors(unit_queries(1))
    path.write_bytes(whole)
    assert len(library.search_vectors(unit_queries(1), 100)[0]) == 40
