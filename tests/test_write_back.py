"""What counts on something is not done before that is on the disk.

A kill cannot show it, for the system keeps what a killed process has written; only a failing power supply could. So the
calls are watched: nothing takes its name, and nothing is committed, before what it holds has been synced.
"""

import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gmmformer import files
from gmmformer.config import ModelConfig
from gmmformer.data import simulate
from gmmformer.files import swapped_whole, written_whole
from gmmformer.model import GMMFormer
from gmmformer.search import Library, verify
from gmmformer.search.database import DATABASE
from gmmformer.training.run_folder import RunFolder

sys.path.insert(0, str(Path(__file__).parent / "search"))

from tests_search_helpers import Plain, clustered, compacted, drawn_film, put, rebuild

Key = tuple[int, int]


class Watched:
    """The calls that bring something to the disk, and those that count on it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.problems: list[str] = []
        self.moved = self.commits = self.removed = 0
        self._files: dict[Key, tuple[int, int]] = {}
        self._names: dict[Key, set[str]] = {}
        self._new: dict[Path, set[str]] = {}
        self._writing = False
        for name, watched in (("fsync", self._sync), ("replace", self._move), ("rename", self._move)):
            monkeypatch.setattr(os, name, self._around(getattr(os, name), watched))
        monkeypatch.setattr(os, "unlink", self._around(os.unlink, self._remove))
        monkeypatch.setattr(shutil, "rmtree", self._around(shutil.rmtree, self._remove))
        connect = sqlite3.connect

        def connected(*arguments: Any, **options: Any) -> sqlite3.Connection:
            connection = connect(*arguments, **options)
            connection.set_trace_callback(lambda said: self._said(connection, said))
            return connection

        monkeypatch.setattr(sqlite3, "connect", connected)

    @staticmethod
    def _around(call: Callable[..., Any], watched: Callable[..., None]) -> Callable[..., Any]:
        def both(*arguments: Any, **options: Any) -> Any:
            if call is os.fsync or call.__name__ == "fsync":
                call(*arguments)
                return watched(*arguments)
            watched(*arguments)
            return call(*arguments, **options)

        return both

    def _sync(self, file: int) -> None:
        status = os.fstat(file)
        place = Path(f"/proc/self/fd/{file}").readlink()
        if place.is_dir():
            self._names[_key(status)] = {path.name for path in place.iterdir()}
            self._new.pop(place, None)
        else:
            self._files[_key(status)] = (status.st_mtime_ns, status.st_size)

    def _move(self, source: Any, target: Any) -> None:
        source, target = Path(source), Path(target)
        self.moved += 1
        if not source.name.endswith(".new") and not target.name.endswith(".old"):  # SQLite's own syncs are its own
            self.counts_on(source, f"{target.name} took its name")
        self._new.setdefault(target.parent.resolve(), set()).add(target.name)

    def _remove(self, path: Any, *_: Any) -> None:
        path = Path(path)
        if not path.exists():
            return
        self.removed += 1
        if self._writing and path.name.startswith(("part-", "ann-")):
            self.problems.append(f"{path.name} was removed before that was committed")
        if path.name.endswith(".old") and self._new.get(path.parent.resolve()):
            self.problems.append(f"{path.name} was removed before what replaces it was there for sure")

    def _said(self, connection: sqlite3.Connection, said: str) -> None:
        if said.startswith("BEGIN IMMEDIATE"):
            self._writing = True
        if said != "COMMIT":
            return
        self.commits, self._writing = self.commits + 1, False
        (_, _, file), *_ = connection.execute("PRAGMA database_list").fetchall()
        if Path(file).name == DATABASE:
            folder = Path(file).parent
            for path in folder.iterdir():
                if path.name.startswith(("part-", "ann-")):
                    self.counts_on(path, "a transaction was committed")
                    if path.name not in self._names.get(_key(folder.stat()), ()):
                        self.problems.append(f"a transaction was committed before the name {path.name} was synced")

    def counts_on(self, path: Path, what: str) -> None:
        """Note what of a file or a folder has not been synced as it is."""
        for one in [path, *path.rglob("*")]:
            status = one.stat()
            if one.is_dir():
                if not {path.name for path in one.iterdir()} <= self._names.get(_key(status), set()):
                    self.problems.append(f"{what} before the names in {one.name} were synced")
            elif self._files.get(_key(status)) != (status.st_mtime_ns, status.st_size):
                self.problems.append(f"{what} before {one.name} was synced")

    def check(self) -> None:
        """Nothing was out of order, and nothing is left to be synced."""
        assert self.problems == []
        assert not self._new, "names that a power failure could take back"


def _key(status: os.stat_result) -> Key:
    return status.st_dev, status.st_ino


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux says which file a descriptor is of")
    return Watched(monkeypatch)


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_a_library_counts_on_nothing_that_is_not_on_the_disk(tmp_path: Path, watched: Watched, dtype: Any) -> None:
    pytest.importorskip("faiss")
    plain = Plain()
    with Library.create(tmp_path / "library", plain, store=dtype) as library:
        put(library, [drawn_film(seed, rows=30) for seed in range(10)])
        put(library, [drawn_film(3, rows=20), *clustered(40, plain)])
        rebuild(library)
        library.remove(["film-0001.mp4", "film-0002.mp4"])
        compacted(library)
        rebuild(library)
        put(library, [drawn_film(50)])
        assert verify(library.store) == []
    watched.check()
    assert watched.commits >= 7
    assert watched.removed >= 3


def test_a_library_that_keeps_its_model_has_it_before_it_is_one(tmp_path: Path, watched: Watched) -> None:
    from gmmformer.search import choose_encoders

    config = ModelConfig(feature_dim=16, query_dim=12, hidden=8, heads=2, map_size=4, max_ctx_l=8)
    GMMFormer(config).save_pretrained(tmp_path / "saved")
    Library.create(tmp_path / "library", choose_encoders(tmp_path / "saved", films=False)).close()
    watched.check()
    assert watched.moved >= 8


def test_saved_models_and_runs_are_on_the_disk_before_they_have_their_names(tmp_path: Path, watched: Watched) -> None:
    (tmp_path / "run").mkdir()
    run = RunFolder(tmp_path / "run")
    run.log({"kind": "step", "loss": 1.0}, 1)
    run.save_state({"step": 1, "weights": torch.zeros(3)})
    watched.counts_on(tmp_path / "run/metrics.jsonl", "the state was saved")
    watched.check()


def test_a_simulated_collection_is_on_the_disk_before_it_has_its_name(tmp_path: Path, watched: Watched) -> None:
    simulate(tmp_path, name="tiny", videos=(3, 2, 2), feature_dim=4, query_dim=3)
    watched.check()
    assert watched.moved


def test_what_replaces_a_file_or_a_folder_is_there_for_sure(tmp_path: Path, watched: Watched) -> None:
    for turn in range(2):
        with written_whole(tmp_path / "file") as beside:
            beside.write_text(str(turn))
        with swapped_whole(tmp_path / "folder") as beside:
            (beside / "deep").mkdir()
            np.save(beside / "deep/numbers.npy", np.arange(turn + 3))
    watched.check()
    assert watched.moved == 5
    assert len(np.load(tmp_path / "folder/deep/numbers.npy")) == 4


@pytest.mark.parametrize("forgotten", ["file", "folder"])
def test_the_watch_sees_what_is_forgotten(
    tmp_path: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch, forgotten: str
) -> None:
    synced = files.synced
    skipped = Path.is_file if forgotten == "file" else Path.is_dir
    monkeypatch.setattr(files, "synced", lambda path: None if skipped(path) else synced(path))
    with written_whole(tmp_path / "file") as beside:
        beside.write_text("x")
    with pytest.raises(AssertionError):
        watched.check()
