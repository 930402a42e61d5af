"""Text on the screen of films."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from film_making import steady, write
from gmmformer.media import written
from gmmformer.media.subtitles import Line
from gmmformer.media.written import Written

Titles = Sequence[tuple[float, float, str]]


def titled(path: Path, seconds: int, titles: Titles, moving: bool = False) -> Path:
    """A film of grey pictures with text from some second to another, over something that moves or not."""
    font = ImageFont.truetype("DejaVuSans.ttf", 30)

    def frame(second: Fraction) -> av.VideoFrame:
        image = Image.new("RGB", (640, 360), (70, 70, 70))
        draw = ImageDraw.Draw(image)
        if moving:
            left = int(second * 90) % 500
            draw.rectangle((left, 20, left + 90, 110), fill=(130, 40, 40))
        for place, (start, end, text) in enumerate(titles):
            if start <= second < end:
                draw.text((40, 150 + 50 * (place % 3)), text, font=font, fill="white")
        return av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")

    return write(path, steady(seconds * 25), frame=frame)


@pytest.fixture(scope="module")
def reader() -> Written:
    return Written()


def read(reader: Written, film: Path, length: float) -> list[Line]:
    tracks, problems = reader.of(str(film), length)
    assert problems == []
    (track,) = tracks
    assert (track.kind, track.name) == ("text", "screen")
    return list(track.lines)


def test_titles_are_lines_from_their_first_second_to_their_last(reader: Written, tmp_path: Path) -> None:
    titles = [(1.0, 3.0, "Harbour closed until Monday"), (2.0, 5.0, "Marmalade 250 g"), (4.0, 5.0, "Exit")]
    lines = read(reader, titled(tmp_path / "film.mp4", 6, titles, moving=True), 6.0)
    assert [(line.start, line.end) for line in lines] == [(start, end) for start, end, _ in titles]
    assert [line.text.replace(" ", "") for line in lines] == [text.replace(" ", "") for *_, text in titles]


class Readings:
    """Says, in the place of the reader, what it was told to say, and counts how often it was asked."""

    def __init__(self, *readings: str | tuple[str, float]) -> None:
        self.readings, self.asked = list(readings), 0

    def __call__(self, image: np.ndarray, **how: Any) -> tuple[list[Any] | None, float]:
        said = self.readings[min(self.asked, len(self.readings) - 1)]
        self.asked += 1
        text, sure = said if isinstance(said, tuple) else (said, 0.9)
        return ([[None, text, sure]] if text else None), 0.0


@pytest.fixture
def reading(reader: Written, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Readings]:
    def put(*readings: str | tuple[str, float]) -> Readings:
        made = Readings(*readings)
        monkeypatch.setattr(reader, "_read", made)
        return made

    return put


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return titled(tmp_path_factory.mktemp("film") / "moving.mp4", 6, [], moving=True)


def test_pictures_that_have_not_changed_are_not_read_again(
    reader: Written, reading: Callable[..., Readings], tmp_path: Path
) -> None:
    asked = reading("", "A title")
    lines = read(reader, titled(tmp_path / "film.mp4", 9, [(3.0, 9.0, "A TITLE THAT STANDS")]), 9.0)
    assert (lines, asked.asked) == ([Line(3.0, 9.0, "A title")], 2)


@pytest.mark.parametrize(
    ("readings", "lines"),
    [
        # of two readings the surer one
        (["Harb0ur c1osed", ("Harbor closed", 0.8), ("Harbour closed", 0.95)], [(0, 1), (1, 6)]),
        (["Good morning", "", "Good morning", ""], [(0, 3)]),  # overlooked once
        (["Good morning", "", "", "", "Good morning", ""], [(0, 1), (4, 5)]),
        (["12:01", "12:02", "12:02", ""], [(0, 1), (1, 3)]),  # numbers apart
        (["...", "|", "-", ""], []),
    ],
)
def test_readings_of_one_text_are_one_line(
    reader: Written,
    reading: Callable[..., Readings],
    moving: Path,
    readings: list[str | tuple[str, float]],
    lines: list[tuple[float, float]],
) -> None:
    reading(*readings)
    tracks, problems = reader.of(str(moving), 6.0)
    assert problems == []
    assert [(line.start, line.end) for track in tracks for line in track.lines] == lines
    if "Harb0ur c1osed" in readings:
        assert tracks[0].lines[1].text == "Harbour closed"


def test_a_film_that_cannot_be_decoded_costs_a_sentence(reader: Written, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no film")
    tracks, (problem,) = reader.of(str(broken), 5.0)
    assert tracks == []
    assert problem.startswith("what is written in it was left out: ")


def test_seconds_are_told_as_they_are_read(reader: Written, reading: Callable[..., Readings], moving: Path) -> None:
    seconds: list[float] = []
    reading("")
    assert reader.of(str(moving), 6.0, seconds.append) == ([], [])
    assert seconds == [0, 1, 2, 3, 4, 5]
    assert "/" not in reader.identity
    assert written.FPS == 1
