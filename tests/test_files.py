"""Files are whole or not there."""

import errno
import json
import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmmformer.errors import InputError, MissingExtraError, one_line, suggest
from gmmformer.files import (
    DEEPEST_JSON,
    parsed_json,
    read_bounded,
    read_json,
    unwritable,
    write_bytes,
    write_text,
    written_whole,
)


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


NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES, st.booleans())
def test_json_is_read_as_python_reads_it(value, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert parsed_json(text) == value
    if ascii_only:
        assert parsed_json(b"\xef\xbb\xbf" + text.encode()) == value


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "Expecting value"),
        ('{"a": 1', "delimiter"),
        ("[" * 200_000, "deep"),
        ('{"a":' * 200_000, "deep"),
        ("[" * (DEEPEST_JSON + 1) + "]" * (DEEPEST_JSON + 1), "deep"),
        ("[[]," * DEEPEST_JSON + "[{}]" + "]" * DEEPEST_JSON, "deep"),
        ("[" * 950 + "]" * 950, "deep"),
        ("9" * 5000, "64 bits"),
        ("-" + "9" * 5000, "64 bits"),
        (str(2**64), "64 bits"),
        ("[1.0e999]", "too large"),
        ("1" * 5000 + ".0", "too large"),
        ("[NaN]", "NaN"),
        ('{"a": Infinity}', "Infinity"),
        ('{"a": -Infinity}', "-Infinity"),
        ('{"a": 1, "b": 2, "a": 1}', "'a' is there twice"),
        (b'{"a": "\xff"}', "utf-8"),
        ('{"a": 1}'.encode("utf-16"), "utf-8"),
        ('{"a": 1} {"b": 2}', "Extra data"),
        ('{"a\n": 1}', "control"),
    ],
)
def test_what_is_no_json_of_ours_is_refused_in_one_line(text, part):
    with pytest.raises(ValueError, match=part) as error:
        parsed_json(text)
    assert len(one_line(error.value)) < 250
    assert "\n" not in str(error.value)


def test_as_deep_as_it_may_be():
    parsed_json("[" * DEEPEST_JSON + "1" + "]" * DEEPEST_JSON)


def test_reading_is_bounded_by_what_is_asked_for(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("[" + " " * 100 + "]")
    assert read_json(path) == []
    assert read_json(path, 102) == []
    with pytest.raises(ValueError, match="larger than 101 bytes"):
        read_json(path, 101)
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 2**40)
    with pytest.raises(ValueError, match="larger than"):
        read_bounded(tmp_path / "sparse")


def test_reading_takes_no_more_memory_than_there_is_in_the_file(tmp_path):
    (tmp_path / "short").write_bytes(b"abc")
    tracemalloc.start()
    try:
        assert read_bounded(tmp_path / "short", 2**30) == b"abc"
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


def test_only_ordinary_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # reading it would wait for ever
    (tmp_path / "endless").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe", tmp_path / "endless", tmp_path):
        with pytest.raises(ValueError, match="not an ordinary file"):
            read_bounded(path)
    with pytest.raises(FileNotFoundError):
        read_bounded(tmp_path / "nothing")


def test_what_a_library_says_on_one_short_line():
    assert one_line(ValueError("a\n\x1b[31mb")) == "a [31mb"
    assert len(one_line(ValueError("x" * 10**6))) < 250
    assert one_line(KeyError()) == "KeyError"
