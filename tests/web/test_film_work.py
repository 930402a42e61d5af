"""Work on films that hang, crash, swell and fail: each costs its own request, in bounded time."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tests_web_tasks as tasks
from prometheus_client import generate_latest

from gmmformer.search import Library
from gmmformer.web import film_work
from gmmformer.web.film_work import FilmWork, Lane
from gmmformer.web.problems import ProblemError
from gmmformer.web.server import Counters


@pytest.fixture(scope="module")
def lane() -> Iterator[Lane]:
    made = Lane(workers=1, most=3, seconds=1.5, memory=1.0, counters=Counters())
    yield made
    made.stop()


@pytest.mark.parametrize(
    ("task", "told"),
    [
        (tasks.hang, "The film took more than 2 s; it may be damaged."),
        (tasks.crash, "The film broke its decoder; it is damaged."),
        (tasks.swell, "The film cannot be used: it needs more memory than a film may take."),
        (tasks.fail, "The film cannot be used: its decoder failed."),
    ],
)
def test_one_bad_film_costs_one_request(
    lane: Lane, task: Callable[[], Any], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def ask() -> tuple[ProblemError, Any]:
        bad, good = await asyncio.gather(lane.do("task", task), lane.do("fine", tasks.fine, 3), return_exceptions=True)
        return bad, good  # type: ignore[return-value]

    bad, good = asyncio.run(ask())
    assert (bad.status, bad.detail) == (422, told)
    assert good[0] == 3
    assert ("UnpicklableError" in caplog.text) is (task is tasks.fail)
    assert lane.idle


def test_more_than_may_wait_are_turned_away(lane: Lane) -> None:
    async def ask() -> list[Any]:
        return await asyncio.gather(
            *(lane.do("fine", tasks.fine, number) for number in range(5)), return_exceptions=True
        )

    answers = asyncio.run(ask())
    assert [answer[0] for answer in answers[:3]] == [0, 1, 2]
    assert [answer.status for answer in answers[3:]] == [429, 429]


def test_who_leaves_alone_frees_the_process(lane: Lane) -> None:
    async def ask() -> Any:
        asked = asyncio.create_task(lane.do("hang", tasks.hang))
        waiting = asyncio.create_task(lane.do("hang", tasks.hang))
        await asyncio.sleep(0.1)
        waiting.cancel()
        asked.cancel()
        return [*await asyncio.gather(asked, waiting, return_exceptions=True), await lane.do("fine", tasks.fine, 5)]

    *left, good = asyncio.run(ask())
    assert all(isinstance(gone, asyncio.CancelledError) for gone in left)
    assert good[0] == 5
    assert lane.idle


def test_who_leaves_does_not_stop_the_work_for_others(library: Library) -> None:
    film = library.store.films()[0]

    async def ask() -> list[Any]:
        work = FilmWork(Counters())
        try:
            first = asyncio.create_task(work.thumbnail(film, 1.0, 60))
            second = asyncio.create_task(work.thumbnail(film, 1.0, 60))
            await asyncio.sleep(0)
            first.cancel()
            return await asyncio.gather(first, second, return_exceptions=True)
        finally:
            work.stop()

    gone, image = asyncio.run(ask())
    assert isinstance(gone, asyncio.CancelledError)
    assert image.startswith(b"\xff\xd8")


def test_what_is_kept_is_bounded(library: Library, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for bytes_of in ("PREVIEW_BYTES", "THUMBNAIL_BYTES"):
        monkeypatch.setattr(film_work, bytes_of, 1)
    film = library.store.films()[0]
    content: dict[float, bytes] = {}

    async def ask() -> tuple[list[Path], int]:
        work = FilmWork(Counters())
        try:
            for start in (0.0, 1.0, 0.0):
                opened = await work.preview(film, start, start + 1)
                content.setdefault(start, opened.file.read())
                opened.file.close()
                await work.thumbnail(film, start, 60)
            cut = await work.cut(film, 0.0, 1.0, exact=True)
            size = len(cut.file.read())
            cut.file.close()
            return [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"], size
        finally:
            work.stop()

    kept, size = asyncio.run(ask())
    assert len(kept) == 1
    assert size > 1_000
    assert len(set(content.values())) == 2
    assert not list(tmp_path.iterdir())


def test_what_a_film_is_is_asked_once(library: Library) -> None:
    counters = Counters()
    old = next(film for film in library.store.films() if film.path.endswith(".avi"))

    async def ask() -> list[Any]:
        work = FilmWork(counters)
        try:
            together = await asyncio.gather(*(work.plays(old) for _ in range(3)))
            return [*together, await work.plays(old), await work.info(old), await work.info(old)]
        finally:
            work.stop()

    *reasons, info, again = asyncio.run(ask())
    assert reasons == ["AVI container"] * 4
    assert info == again
    assert (info.rate, info.sounds, info.timecode) == (12, (), None)
    told = generate_latest(counters.registry).decode()
    assert 'gmmformer_film_work_total{kind="plays",outcome="done"} 1.0' in told
    assert 'gmmformer_film_work_total{kind="info",outcome="done"} 1.0' in told


HOLDS = """
import time
from gmmformer.web import film_work
from gmmformer.web.film_work import FilmWork
from gmmformer.web.server import Counters
work = FilmWork(Counters())
print(work._new_path(), flush=True)
time.sleep(600)
"""


def test_what_killed_servers_left_is_removed_by_the_next_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "not ours"
    elsewhere.mkdir()
    (tmp_path / "gmmformer-serve-link").symlink_to(elsewhere)
    (tmp_path / "gmmformer-serve-killed at once").mkdir()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", HOLDS],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )
        for _ in range(2)
    ]
    try:
        folders = []
        for process in processes:
            assert process.stdout is not None
            path = Path(process.stdout.readline().strip())
            path.write_bytes(b"a preview")
            folders.append(path.parent.parent)
        processes[0].kill()
        processes[0].wait()
        assert all(folder.parent == tmp_path and folder.exists() for folder in folders)
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        work = FilmWork(Counters())
        assert [folder.exists() for folder in folders] == [False, True]
        assert elsewhere.exists()
        assert not (tmp_path / "gmmformer-serve-killed at once").exists()
        assert len(list(tmp_path.glob("gmmformer-serve-*"))) == 3  # the link, the one that lives, and the new
        work.stop()
        assert len(list(tmp_path.glob("gmmformer-serve-*"))) == 2
    finally:
        for process in processes:
            process.kill()
            process.communicate()
