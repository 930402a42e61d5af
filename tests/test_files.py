"""Files are whole or not there."""

import errno
import os
from pathlib import Path

import pytest

from gmmformer.errors import InputError, MissingExtraError, suggest
from gmmformer.files import unwritable, write_bytes, write_text, written_whole


def test_written_and_replaced(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "früher")
    assert path.read_text(encoding="utf-8") == "früher"
    write_bytes(path, b"later")
    assert path.read_bytes() == b"later"
    assert list(tmp_path.iterdir()) == [path]


def test_seen_by_others_only_when_it_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with written_whole(path) as beside:
        beside.write_text("ne")
        assert path.read_text() == "old"
        assert beside.parent == path.parent  # or the rename could be a copy
        beside.write_text("new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MemoryError])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with written_whole(path) as beside:
            beside.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "part"),
    [
        (errno.ENOSPC, "the disk is full; nothing was changed there"),
        (errno.EDQUOT, "the disk is full; nothing was changed there"),
        (errno.EACCES, "cannot be written (Permission denied)"),
        (errno.EROFS, "cannot be written (Read-only file system)"),
    ],
)
def test_what_the_system_says_becomes_one_sentence(tmp_path, monkeypatch, number, part):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(self: Path, data: bytes) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(InputError) as error:
        write_bytes(path, b"new")
    assert str(error.value).startswith(f"{path}: ")
    assert part in str(error.value)
    assert "\n" not in str(error.value)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_shows_when_the_data_go_there(tmp_path, monkeypatch):
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(InputError, match="disk is full"):
        write_text(tmp_path / "a.txt", "new")
    assert list(tmp_path.iterdir()) == []


def test_a_real_limit(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(InputError, match="nothing was changed there"):
            write_bytes(path, bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_missing_or_in_the_way(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        write_text(tmp_path / "nowhere" / "a.txt", "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_text(tmp_path / "folder", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_an_error_without_words():
    assert "cannot be written" in str(unwritable(Path("x"), OSError("odd")))


def test_what_kinds_of_error_there_are():
    assert not issubclass(InputError, ValueError)  # tyro would report those in its own form
    assert str(MissingExtraError("TensorBoard", "train")) == (
        "TensorBoard needs the extra 'train': pip install 'gmmformer[train]'"
    )
    with pytest.raises(ImportError):
        raise MissingExtraError("x", "y")


def test_suggest_nothing_where_nothing_is_near():
    assert suggest("zzz", ["b", "a"]) == "known: a, b"
    assert suggest("tva", {"tvr", "charades"}) == "did you mean 'tvr'?"
