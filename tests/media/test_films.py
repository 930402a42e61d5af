import os
import socket
from pathlib import Path

import pytest

from gmmformer.errors import InputError
from gmmformer.media.films import DecodeError, find_films, fingerprint, printable


def test_a_folder_gives_its_films_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.mp4", "A.MKV", "-dash.webm", "a\nb.mov", ".hidden.mp4", "notes.txt", "noending", "deep/er/c.ts"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"")
    Path("x.mp4").mkdir()
    Path("x.mp4/inside.avi").write_bytes(b"")
    Path(".cache").mkdir()
    Path(".cache/c.mp4").write_bytes(b"")
    os.mkfifo("pipe.mp4")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.mp4")
    Path("loop").symlink_to(".")
    Path("self.mp4").symlink_to("self.mp4")
    Path("dangling.mp4").symlink_to("nowhere")
    Path("link.mp4").symlink_to("notes.txt")
    Path(os.fsdecode(b"\xff.mp4")).write_bytes(b"")
    found = [os.fsencode(path) for path in find_films(["."])]
    assert found == sorted(found, key=lambda name: name.split(b"/"))
    assert set(found) == {
        b"b.mp4", b"A.MKV", b"-dash.webm", b"a\nb.mov", b"deep/er/c.ts", b"x.mp4/inside.avi", b"link.mp4", b"\xff.mp4",
    }  # fmt: skip


def test_named_files_are_taken_as_they_are_and_once(tmp_path):
    text, film = tmp_path / "notes.txt", tmp_path / "b.mp4"
    for path in (text, film):
        path.write_bytes(b"")
    assert find_films([text, tmp_path, film]) == [text, film]


def test_a_missing_name_is_an_error(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        find_films([tmp_path / "none.mp4"])
    (tmp_path / "cafe\u0301.mp4").write_bytes(b"")
    with pytest.raises(InputError, match=r"written 'caf\\xe9.mp4', what is there is written 'cafe\\u0301.mp4'"):
        find_films([tmp_path / "caf\u00e9.mp4"])
    with pytest.raises(InputError, match="No such file"):
        find_films([tmp_path / "nowhere" / "none.mp4"])


def test_content_alone_makes_the_fingerprint(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"x" * 1000)
    other.write_bytes(b"x" * 1000)
    os.utime(other, (0, 0))
    assert fingerprint(one) == fingerprint(other)
    assert len(fingerprint(one)) == 32
    other.write_bytes(b"x" * 999 + b"y")
    assert fingerprint(one) != fingerprint(other)


@pytest.mark.parametrize("place", [0, 100, (5 << 20) // 15 * 7, (5 << 20) - 1])
def test_changes_in_a_large_file_are_seen(tmp_path, place):
    film = tmp_path / "film"
    film.write_bytes(bytes(5 << 20))
    before = fingerprint(film)
    with film.open("r+b") as file:
        file.seek(place)
        file.write(b"\1")
    assert fingerprint(film) != before
    with film.open("r+b") as file:
        file.truncate((5 << 20) - 1)
    assert fingerprint(film) != before


def test_a_pipe_has_no_fingerprint(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DecodeError, match="pipe"):
        fingerprint(tmp_path / "pipe")


def test_names_are_printed_on_one_line():
    assert printable(os.fsdecode(b"a\n\xff\x1b[31m b.mp4")) == r"a\n\udcff\x1b[31m b.mp4"
    assert printable("été/電影.mp4") == "été/電影.mp4"
