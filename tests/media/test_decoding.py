import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import gmmformer.media.decoding as decoding
import gmmformer.media.frames as decode
from barcode_films import FILMS
from gmmformer.errors import InputError
from gmmformer.media.decoding import FilmChunk, FilmEnd, decode_films
from gmmformer.media.films import DecodeError
from gmmformer.media.frames import frame_at, sampled_frames


@pytest.fixture(scope="module")
def film(tmp_path_factory, make_film):
    """Ten seconds whose frames at full size and rate need many chunks and fill any pipe."""
    folder = tmp_path_factory.mktemp("films")
    pictures = (np.full((240, 320, 3), n, dtype=np.uint8) for n in range(250))
    return make_film(folder / "long.mp4", range(250), pictures=pictures, options={"g": "25"})


OTHERS = set()
"""Workers that were there before a test: of a server that other tests in this process still use, say."""


@pytest.fixture(autouse=True)
def little_ahead(request, monkeypatch):
    """Of a film as long as `film` most waits in its worker."""
    if "ahead_by_bytes" not in request.node.name:
        monkeypatch.setattr(decoding, "BYTES_AHEAD", 2)


@pytest.fixture(autouse=True)
def others(film):
    OTHERS.clear()
    OTHERS.update(children())


def children():
    """The decoding processes of a test."""
    pids = [pid for task in Path("/proc/self/task").glob("*/children") for pid in task.read_text().split()]
    workers = [int(pid) for pid in pids if b"gmmformer.media.pool" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return [pid for pid in workers if pid not in OTHERS]


def gone(pid, seconds=10):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


def collected(results):
    chunks, ends = {}, {}
    for result in results:
        if isinstance(result, FilmEnd):
            ends[result.path] = result
        else:
            assert result.path not in ends
            chunks.setdefault(result.path, []).append(result)
    return chunks, ends


def test_films_come_whole_in_order_and_as_decoded_here(tmp_path, make_film, film):
    other = make_film(tmp_path / "-other\n.mp4", range(60))
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a film")
    chunks, ends = collected(decode_films([film, broken, other], fps=25, size=48, workers=2))
    assert set(ends) == {film, other, broken}
    assert "not a film" in ends[broken].reason
    assert not ends[broken].ok
    for path, count in ((film, 250), (other, 60)):
        expected = list(sampled_frames(path, fps=25, size=48))
        assert ends[path].ok
        assert ends[path].frames == count == len(expected)
        assert ends[path].seconds == pytest.approx(count / 25)
        assert max(len(chunk.images) for chunk in chunks[path]) <= 64
        assert all(chunk.images.flags.writeable for chunk in chunks[path])
        images = np.concatenate([chunk.images for chunk in chunks[path]])
        np.testing.assert_array_equal(images, [frame.image for frame in expected])
        seconds = np.concatenate([chunk.seconds for chunk in chunks[path]])
        np.testing.assert_array_equal(seconds, [frame.seconds for frame in expected])


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        (signal.SIGSEGV, "crashes the decoder (SIGSEGV)"),
        (signal.SIGKILL, "killed from outside"),
        (signal.SIGSTOP, "time limit"),
    ],
)
def test_a_film_that_ends_or_stops_its_worker_costs_that_film_only(tmp_path, make_film, film, what, reason):
    small = make_film(tmp_path / "small.mp4", range(30))
    results = decode_films([film, small], fps=None, size=None, time_limit=3)
    assert isinstance(next(results), FilmChunk)
    (pid,) = children()
    os.kill(pid, what)
    chunks, ends = collected(results)
    assert reason in ends[film].reason
    assert ends[film].frames < 250
    assert ends[small].ok
    assert sum(len(chunk.images) for chunk in chunks[small]) == 30
    assert gone(pid)


def test_an_error_that_nobody_foresaw_costs_that_film_only(film, tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "sampled_frames", json.loads)
    _, ends = collected(decode_films([film, tmp_path / "other.mp4"]))
    assert [end.reason.partition(":")[0] for end in ends.values()] == ["crashes the decoder (TypeError"] * 2


def test_silence_is_a_hang(film, monkeypatch):
    monkeypatch.setattr(decoding, "SILENCE_LIMIT", 0.5)
    results = decode_films([film], fps=None, size=None)
    next(results)
    os.kill(children()[0], signal.SIGSTOP)
    (end,) = (result for result in results if isinstance(result, FilmEnd))
    assert end.reason.startswith("hangs")


def test_short_films_are_decoded_ahead_by_bytes_and_not_by_chunks(tmp_path, make_film):
    """While nobody takes anything, as while frames are encoded, a worker goes on to the next films, up to a limit."""
    films = [make_film(tmp_path / f"{n}.mp4", range(30)) for n in range(8)]
    begun = []
    results = decode_films(begun.append(film) or film for film in films)
    next(results)
    until = time.monotonic() + 60
    while len(begun) < len(films) and time.monotonic() < until:
        time.sleep(0.02)
    assert begun == films
    assert sum(isinstance(result, FilmEnd) and result.ok for result in results) == len(films)

    queue = decoding._Ahead(2 * 2 * 2 * 3)
    for full in (False, True):
        queue.put(FilmChunk(films[0], np.zeros(1), np.zeros((1, 2, 2, 3), np.uint8)))
        assert queue.full() == full
    queue.get()
    assert not queue.full()


def test_time_that_frames_wait_to_be_taken_does_not_count(film):
    results = decode_films([film], fps=None, size=None, time_limit=3)
    next(results)
    time.sleep(3.2)
    _, ends = collected(results)
    assert ends[film].ok


def test_a_film_that_eats_memory_costs_that_film_only(tmp_path, make_film):
    huge = make_film(
        tmp_path / "huge.avi",
        [0],
        pictures=[np.zeros((5000, 5000, 3), dtype=np.uint8)],
        codec="mjpeg",
        pixel_format="yuvj420p",
    )
    small = make_film(tmp_path / "small.mp4", range(30))
    _, ends = collected(decode_films([huge, small, huge], size=None, memory_limit=64 << 20))
    assert "0.0625 GiB of memory" in ends[huge].reason
    assert ends[small].ok
    _, ends = collected(decode_films([huge], size=None))
    assert ends[huge].ok


def test_closing_ends_the_processes(film):
    results = decode_films([film, film], fps=None, size=None, workers=2)
    next(results)
    pids = children()
    assert len(pids) == 2
    results.close()
    assert children() == []
    assert all(gone(pid) for pid in pids)


def test_the_processes_end_with_their_parent(film):
    script = f"""
        from pathlib import Path
        from gmmformer.media.decoding import decode_films
        results = decode_films([{str(film)!r}], fps=None, size=None)
        next(results)
        for children in Path("/proc/self/task").glob("*/children"):
            print(children.read_text(), end="", flush=True)
        print(flush=True)
        import time; time.sleep(60)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        parent.kill()
    assert gone(pid)


def test_a_script_without_a_guard_runs_once(film, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from gmmformer.media.decoding import decode_films\n"
        "print('here')\n"
        f"print(sum(len(part.images) for part in decode_films([{str(film)!r}]) if hasattr(part, 'images')))\n"
    )
    assert subprocess.run([sys.executable, str(script)], capture_output=True, text=True).stdout.split() == [
        "here",
        "10",
    ]


def test_films_are_taken_as_they_are_needed(film):
    taken = []

    def films():
        for number in range(10):
            taken.append(number)
            yield film

    results = decode_films(films(), fps=None, size=None)
    next(results)
    time.sleep(0.5)
    assert taken == [0]
    results.close()


def test_workers_that_cannot_start_are_an_error(film, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="did not start"):
        list(decode_films([film]))


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"fps": -1}, {"fps": 1e9}, {"time_limit": 0}, {"memory_limit": 1}])
def test_senseless_settings_are_refused_at_once(wrong):
    with pytest.raises(InputError):
        decode_films([], **wrong)


def y4m(path, rate, pictures):
    """A film whose header claims `rate` and nothing else counts the time."""
    path.write_bytes(f"YUV4MPEG2 W16 H16 F{rate} C420jpeg\n".encode() + (b"FRAME\n" + bytes(384)) * pictures)
    return path


def test_what_a_header_claims_sets_neither_samples_nor_time(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "LONGEST_GAP", 1000)
    films = [
        y4m(tmp_path / "slow.y4m", "1:1000000000", 50),
        y4m(tmp_path / "slower.y4m", "1:500", 50),
        y4m(tmp_path / "fast.y4m", "1000000000:1", 50),
    ]
    for film in films[:2]:
        with pytest.raises(DecodeError, match="its clock is wrong"):
            list(sampled_frames(film))
        assert frame_at(film, 0).seconds == 0
    assert len(list(sampled_frames(films[2]))) == 1


def test_the_time_limit_grows_with_the_pictures_that_are_read(tmp_path, make_film, monkeypatch):
    monkeypatch.setattr(decoding, "BASE_TIME", 0.0)
    monkeypatch.setattr(decoding, "TIME_PER_PICTURE", 0.0)
    _, ends = collected(decode_films([y4m(tmp_path / "slow.y4m", "1:1000", 50)]))
    assert "takes longer to decode than the time limit" in ends[tmp_path / "slow.y4m"].reason


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("matrix 13", "marked with matrix 13, and shown by matrix 5"),
        ("matrix 8", "marked with matrix 8, and shown by matrix 5"),
        ("matrix 14, ts", "marked with matrix 14, and shown by matrix 9"),
        ("still first and larger, mkv", "video stream 0 has few pictures"),
        ("still larger, mp4", None),
        ("mp4", None),
    ],
)
def test_odd_colours_and_still_pictures_are_remarked_on(tmp_path, name, said):
    film = FILMS[name](tmp_path).path
    _, ends = collected(decode_films([film]))
    assert ends[film].ok
    assert said is None or said in ends[film].warning
    assert said is not None or ends[film].warning is None
