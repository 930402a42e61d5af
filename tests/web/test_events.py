"""Server-sent events: what is told, when, and how the telling ends."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests_web_helpers import patient, served

from gmmformer.search import Library, choose_encoders
from gmmformer.search.changes import Activity
from gmmformer.web import ServeConfig, catalogue


def told(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """Events as they come."""
    event = ""
    for line in lines:
        if line.startswith("event: "):
            event = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield event, json.loads(line.removeprefix("data: "))
        elif line.startswith(": "):
            yield "comment", line


@pytest.fixture
def own(library: Library, tmp_path: Path) -> Iterator[Library]:
    with Library.create(tmp_path / "own", choose_encoders(library.folder / "model")) as made:
        yield made


def test_changes_are_told_as_they_come(own: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.ones((20, own.settings.feature_dim), dtype=np.float32)
    with served(own, ServeConfig(port=0)) as url, patient.stream("GET", f"{url}/api/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        events = told(answer.iter_lines())
        assert next(events) == ("library", {"films": 0, "seconds": 0.0, "failed": 0})
        assert next(events) == ("activity", None)
        own.add_film("a.mp4", rows)
        assert next(events) == ("library", {"films": 1, "seconds": 20.0, "failed": 0})
        monkeypatch.setattr(catalogue, "activity_in", lambda _: Activity("indexing", 3, 9, 1, 12.5))
        activity = {"what": "indexing", "done": 3, "total": 9, "failed": 1, "seconds_left": 12.5}
        assert next(events) == ("activity", activity)
        assert patient.get(f"{url}/api/library").json()["activity"] == activity
        monkeypatch.undo()
        assert next(events) == ("activity", None)


def test_what_has_not_changed_is_not_read_again(own: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []
    films = own.store.films
    monkeypatch.setattr(catalogue, "FRESH", 0.0)
    monkeypatch.setattr(own.store, "films", lambda *ids: read.append(ids) or films(*ids))
    with served(own, ServeConfig(port=0)) as url:
        for count in range(3):
            assert [patient.get(f"{url}/api/films").json()["total"] for _ in range(3)] == [count] * 3
            assert read.count(()) == count + 1
            own.add_film(f"{count}.mp4", np.ones((20, own.settings.feature_dim), dtype=np.float32))


def test_a_quiet_stream_shows_that_it_lives(own: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "QUIET", 0.05)
    with served(own, ServeConfig(port=0)) as url, patient.stream("GET", f"{url}/api/events") as answer:
        events = told(answer.iter_lines())
        assert [next(events)[0] for _ in range(4)] == ["library", "activity", "comment", "comment"]


def test_a_library_that_cannot_be_looked_at_is_looked_at_again(own: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "EVERY", 0.02)
    with served(own, ServeConfig(port=0)) as url, patient.stream("GET", f"{url}/api/events") as answer:
        events = told(answer.iter_lines())
        next(events)
        next(events)
        failed = []

        def fail(_: object) -> None:
            failed.append(True)
            if len(failed) > 2:
                monkeypatch.undo()
            raise OSError("the disk is away")

        monkeypatch.setattr(catalogue, "activity_in", fail)
        own.add_film("a.mp4", np.ones((20, own.settings.feature_dim), dtype=np.float32))
        assert next(events) == ("library", {"films": 1, "seconds": 20.0, "failed": 0})
        assert len(failed) >= 2


def test_more_listeners_than_allowed_are_turned_away(own: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "STREAMS", 1)
    with served(own, ServeConfig(port=0)) as url:
        with patient.stream("GET", f"{url}/api/events") as answer:
            assert answer.status_code == 200
            lines = answer.iter_lines()
            next(lines)
            assert patient.get(f"{url}/api/events").status_code == 503
        while True:
            with patient.stream("GET", f"{url}/api/events") as answer:
                if answer.status_code == 200:
                    break
