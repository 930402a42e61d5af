"""Byte ranges and files that are not what they were."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmmformer.search import Film
from gmmformer.search.windows import Timing
from gmmformer.web import files
from gmmformer.web.files import UnsatisfiableError, byte_range, media_type_of, open_film, open_regular, state_of
from gmmformer.web.problems import ProblemError


def film_at(path: Path | str, stamp: str | None = None) -> Film:
    if stamp is None:
        status = Path(path).stat()
        stamp = f"{status.st_size}-{status.st_mtime_ns}"
    return Film(7, str(path), 10, Timing(0.5, 1.0, 10.0), stamp, "content")


@pytest.fixture
def film(tmp_path: Path) -> Film:
    (tmp_path / "film.mp4").write_bytes(bytes(range(100)))
    return film_at(tmp_path / "film.mp4")


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-", (0, 100)),
        ("bytes=10-19", (10, 20)),
        ("bytes=99-99", (99, 100)),
        ("bytes=99-", (99, 100)),
        ("bytes=0-999999999999999999", (0, 100)),
        ("bytes=-1", (99, 100)),
        ("bytes=-100", (0, 100)),
        ("bytes=-999", (0, 100)),
        ("BYTES = 5-6", (5, 7)),
        ("bytes=0-1,5-6", None),
        ("bytes=" + ",".join(["0-"] * 1000), None),
        ("seconds=1-2", None),
        ("bytes", None),
        ("", None),
    ],
)
def test_ranges(header: str, wanted: tuple[int, int] | None) -> None:
    assert byte_range(header, 100) == wanted


@pytest.mark.parametrize(
    "header",
    [
        "bytes=100-",
        "bytes=100-200",
        "bytes=20-10",
        "bytes=-0",
        "bytes=-",
        "bytes=",
        "bytes=a-b",
        "bytes=0x1-2",
        "bytes=1.5-2",
        "bytes=--5",
        "bytes=5--1",
        "bytes=+1-2",
        "bytes=٣-٤",
        "bytes=1_0-20",
        "bytes=" + "9" * 5_000 + "-",
        "bytes=0-" + "9" * 5_000,
    ],
)
def test_ranges_that_lie(header: str) -> None:
    with pytest.raises(UnsatisfiableError):
        byte_range(header, 100)


@given(st.text(max_size=30) | st.from_regex(r"bytes=[0-9]{0,4}-[0-9]{0,4}", fullmatch=True), st.integers(0, 5_000))
def test_a_range_is_always_within_the_file(header: str, size: int) -> None:
    try:
        found = byte_range(header, size)
    except UnsatisfiableError:
        return
    assert found is None or 0 <= found[0] < found[1] <= size


def test_the_film_that_was_indexed_is_opened(film: Film) -> None:
    assert state_of(film) is None
    opened = open_film(film)
    assert (opened.size, opened.file.read(3), opened.changed) == (100, b"\x00\x01\x02", False)
    with Path(film.path).open("ab") as file:
        file.write(b"more")
    assert opened.changed
    opened.file.close()


def status_of(film: Film) -> int:
    with pytest.raises(ProblemError) as error:
        open_film(film)
    assert state_of(film) == error.value.status
    return error.value.status


def test_films_that_are_gone_or_changed(film: Film, tmp_path: Path) -> None:
    path = Path(film.path)
    os.utime(path, ns=(1, 1))
    assert status_of(film) == 409
    path.unlink()
    assert status_of(film) == 410
    path.symlink_to("/etc/passwd")
    assert status_of(film) == 409
    path.unlink()
    path.symlink_to(path)
    assert status_of(film) == 409
    path.unlink()
    path.mkdir()
    assert status_of(film) == 409
    assert status_of(film_at(tmp_path / "film.mp4" / "deeper.mp4", "1-1")) == 410
    assert status_of(film_at(str(tmp_path / "nul\0.mp4"), "1-1")) == 409
    assert status_of(film_at(str(tmp_path / ("x" * 300)), "1-1")) == 409


def test_films_that_change_between_the_look_and_the_opening(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "state_of", lambda film: None)
    os.utime(film.path, ns=(1, 1))
    for status in (409, 410):
        with pytest.raises(ProblemError) as error:
            open_film(film)
        assert error.value.status == status
        Path(film.path).unlink(missing_ok=True)


def test_what_was_never_a_file_is_not_opened(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(film.path).parent)
    assert status_of(film._replace(path="film.mp4")) == 410
    assert status_of(film._replace(stamp="")) == 410


def test_pipes_sockets_and_devices_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for path in (tmp_path / "pipe.mp4", Path("/dev/zero"), tmp_path):
        with pytest.raises(ProblemError):
            open_regular(path)
        assert state_of(film_at(path)) == 409
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        with pytest.raises(OSError, match="socket"):
            open_regular(tmp_path / "socket")
        assert status_of(film_at(tmp_path / "socket")) == 409


def test_no_film_is_sent_as_something_that_runs() -> None:
    assert media_type_of("/films/A.MP4") == "video/mp4"
    assert media_type_of("/films/a.html") == "application/octet-stream"
    assert media_type_of("/films/a.svg") == "application/octet-stream"
    assert media_type_of("/films/\udcff.webm") == "video/webm"
