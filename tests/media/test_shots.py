"""Where shots of a film begin."""

from pathlib import Path

import av
import numpy as np
import pytest

from gmmformer.errors import InputError
from gmmformer.media.shots import shots

RATE = 25


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four shots, from frames 0, 40, 100 and 150 to 200; something moves in all of them, and one becomes brighter."""
    path = tmp_path_factory.mktemp("shots") / "film.mp4"
    random = np.random.default_rng(5)
    grounds = [np.kron(random.integers(0, 255, (6, 8, 3)), np.ones((16, 16, 1))).astype(np.uint8) for _ in range(4)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for number in range(200):
            shot = sum(number >= first for first in (40, 100, 150))
            image = grounds[shot].copy()
            if shot == 1:
                image = (image * (0.5 + 0.5 * (number - 40) / 60)).astype(np.uint8)
            left = 2 * abs(40 - number % 80)
            image[30:60, left : left + 20] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_each_hard_cut_is_found_at_its_frame(film: Path) -> None:
    assert shots(film, 0.0, 8.0) == (RATE, [1.6, 4.0, 6.0])


def test_a_part_of_a_film_has_the_shots_of_the_whole(film: Path) -> None:
    whole = shots(film, 0.0, 8.0)[1]
    for start in np.arange(0.0, 7.5, 0.37):
        end = float(start) + 0.9
        assert shots(film, float(start), end)[1] == [one for one in whole if start <= one < end]


def test_a_cut_at_the_very_end_of_what_is_asked_for_is_of_the_next_part(film: Path) -> None:
    assert shots(film, 2.0, 4.0)[1] == []
    assert shots(film, 4.0, 6.0)[1] == [4.0]


def test_nonsense_is_refused(film: Path) -> None:
    with pytest.raises(InputError):
        shots(film, 3.0, 2.0)
