import json
import resource
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from gmmformer.demo.render import render_film, render_films, write_captions
from gmmformer.demo.scenes import BACKGROUND_COLOURS, COLOURS, Background, Group, Scene
from gmmformer.demo.world import FilmPlan, ScenePlan, plan_films
from gmmformer.errors import InputError, MissingExtraError


def scene(colour: str, movement: str, ground: str) -> Scene:
    return Scene(
        main=Group(count=1, size="large", colour=colour, shape="square", movement=movement),
        waiting=None,
        background=Background(pattern="plain", colour=ground),
        band="top" if movement in ("left", "right") else "left",
        place=(0.5, 0.5),
    )


def film(number: int, *scenes: Scene, seconds: float = 3.0) -> FilmPlan:
    plans = tuple(
        ScenePlan(start=seconds * i, end=seconds * (i + 1), scene=each, sentences=(f"scene {i} of film {number}",))
        for i, each in enumerate(scenes)
    )
    return FilmPlan(name=f"film_{number:04d}", split="train", scenes=plans)


PLAN = film(0, scene("red", "left", "navy"), scene("yellow", "down", "brown"))
SHORT = [
    film(number, scene(colour, "left", "navy"), seconds=0.5) for number, colour in enumerate(("red", "green", "pink"))
]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films") / "film_0000.mp4"
    render_film(PLAN, path)
    return path


@pytest.fixture(scope="module")
def images(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]


def middle(image: np.ndarray, colour: str) -> tuple[float, float]:
    """The middle of all that has a colour, across and down."""
    down, across = np.nonzero(np.abs(image - COLOURS[colour]).max(axis=2) < 25)
    assert len(down) > 400
    return float(across.mean()), float(down.mean())


def test_the_file_is_what_was_promised(path: Path):
    with av.open(str(path)) as container:
        (stream,) = container.streams
        assert (stream.codec_context.name, stream.pix_fmt, stream.width, stream.height) == ("h264", "yuv420p", 192, 144)
        assert stream.average_rate == 12
        frames = list(container.decode(stream))
    assert [frame.time for frame in frames] == pytest.approx([number / 12 for number in range(72)])
    assert [number for number, frame in enumerate(frames) if frame.key_frame] == [0, 24, 48]
    content = path.read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_shapes_are_where_they_should_be_and_go_where_they_should(images: list[np.ndarray]):
    assert middle(images[18], "red") == pytest.approx((96, 72), abs=2)
    assert middle(images[3], "red")[0] > 130 > 62 > middle(images[33], "red")[0]
    assert middle(images[54], "yellow") == pytest.approx((96, 72), abs=2)
    assert middle(images[39], "yellow")[1] < 50 < 94 < middle(images[69], "yellow")[1]


def test_the_cut_falls_on_its_second(images: list[np.ndarray]):
    corner = np.array([image[5, 5] for image in images])
    assert np.abs(corner[:36] - BACKGROUND_COLOURS["navy"]).max() < 6
    assert np.abs(corner[36:] - BACKGROUND_COLOURS["brown"]).max() < 6


def test_the_same_plan_gives_the_same_bytes(path: Path, tmp_path: Path):
    render_film(replace(PLAN, name="film_0001", split="test"), tmp_path / "again.mp4")
    assert (tmp_path / "again.mp4").read_bytes() == path.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["again.mp4"]


def test_processes_render_what_one_does(tmp_path: Path):
    told: list[tuple[int, int]] = []
    one = render_films(SHORT, tmp_path / "one", progress=lambda done, films: told.append((done, films)))
    two = render_films(SHORT, tmp_path / "two", workers=2)
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert [path.name for path in one.paths] == ["film_0000.mp4", "film_0001.mp4", "film_0002.mp4"]
    assert [path.read_bytes() for path in one.paths] == [path.read_bytes() for path in two.paths]
    assert sorted((tmp_path / "two").iterdir()) == two.paths


def test_what_is_there_is_kept_unless_its_plan_changed_or_it_is_broken(tmp_path: Path):
    first = render_films(SHORT, tmp_path)
    assert (first.kept, first.removed) == (0, 0)
    before = [path.stat().st_ino for path in first.paths]
    told: list[tuple[int, int]] = []
    assert render_films(SHORT, tmp_path, progress=lambda *now: told.append(now)).kept == 3
    assert told == [(3, 3)]
    assert [path.stat().st_ino for path in first.paths] == before
    first.paths[1].write_bytes(first.paths[1].read_bytes()[:700])
    changed = [*SHORT[:2], film(2, scene("white", "left", "navy"), seconds=0.5)]
    assert render_films(changed, tmp_path).kept == 1
    assert first.paths[0].stat().st_ino == before[0]
    with av.open(str(first.paths[2])) as container:
        middle(next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int), "white")
    with av.open(str(first.paths[1])) as container:
        assert sum(1 for _ in container.decode(video=0)) == 6


def test_films_of_other_plans_go_and_films_of_other_people_stay(tmp_path: Path):
    render_films(SHORT, tmp_path)
    theirs = tmp_path / "film_0099.mp4"
    theirs.write_bytes(b"mine")
    assert render_films(SHORT[:1], tmp_path).removed == 2
    assert sorted(file.name for file in tmp_path.iterdir()) == ["film_0000.mp4", "film_0099.mp4"]
    assert theirs.read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["file/film.mp4", "missing/film.mp4"])
def test_a_place_that_cannot_be_written_to_is_named(name: str, tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match=f"{name}: cannot be written"):
        render_film(SHORT[0], tmp_path / name)
    assert (tmp_path / "file").read_text() == "not a folder"


def test_a_folder_that_cannot_be_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="file: cannot be written"):
        render_films(SHORT, tmp_path / "file")


def test_no_room_leaves_what_was_there(tmp_path: Path):
    path = tmp_path / "film.mp4"
    path.write_bytes(b"before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with pytest.raises(InputError, match=r"film\.mp4: the file is larger than the disk or this account"):
            render_film(PLAN, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_captions_are_one_record_a_line(tmp_path: Path):
    films = plan_films(5, 1)
    write_captions(films, tmp_path / "captions.jsonl")
    records = [json.loads(line) for line in (tmp_path / "captions.jsonl").read_text().splitlines()]
    assert len(records) == sum(len(scene.sentences) for film in films for scene in film.scenes)
    second = films[0].scenes[1]
    assert {
        "video": "film_0000",
        "sentence": second.sentences[0],
        "start": second.start,
        "end": second.end,
        "split": films[0].split,
    } in records


def test_without_pyav_the_line_that_installs_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"gmmformer\[films\]"):
        render_films(SHORT, tmp_path / "films")
    assert not (tmp_path / "films").exists()
