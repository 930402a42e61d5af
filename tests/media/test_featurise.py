import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gmmformer.media.featurise as featurising
from gmmformer.config import DecodeConfig
from gmmformer.demo.encoders import ShapeFrames
from gmmformer.media.decoding import FilmChunk, FilmEnd
from gmmformer.media.featurise import FilmFeatures, featurise
from gmmformer.media.frames import sampled_frames

ONE = DecodeConfig(decoders=1)


class Numbers:
    """An encoder: the number in a frame, the number in the one before (-1 for none)."""

    name = identity = "numbers"
    dim, size, needs_previous = 2, 8, True

    def __init__(self) -> None:
        self.batches: list[int] = []

    def encode(self, images: Any, previous: Any = None) -> np.ndarray:
        self.batches.append(len(images))
        before = [-1 if image is None else image[0, 0, 0] for image in previous or [None] * len(images)]
        now = [image[0, 0, 0] for image in images]
        return np.array([now, before], dtype=np.float32).T


def chunk(film: str, numbers: Sequence[int]) -> FilmChunk:
    images = np.array(numbers, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    return FilmChunk(Path(film), np.array(numbers, dtype=np.float64), images)


def end(film: str, frames: int, reason: str | None = None) -> FilmEnd:
    return FilmEnd(path=Path(film), reason=reason, frames=frames, seconds=float(frames))


@pytest.fixture
def featurised(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Featurise what a decoder would give; the results by film, the encoder, the frames that were told."""

    def run(parts: list[FilmChunk | FilmEnd], batch: int) -> tuple[dict[str, Any], Numbers, list[int]]:
        def decode(films: Any, **settings: Any) -> Iterator[FilmChunk | FilmEnd]:
            yield from parts

        monkeypatch.setattr(featurising, "decode_films", decode)
        encoder, told = Numbers(), []
        found = list(featurise([], encoder, ONE, batch=batch, on_frames=told.append))
        assert len({result.path for result in found}) == len(found)
        return {result.path.name: result for result in found}, encoder, told

    return run


@pytest.mark.parametrize("batch", [1, 3, 5, 7, 100])
@pytest.mark.parametrize("order", range(5))
def test_films_whose_chunks_come_mixed_are_put_together(featurised, batch, order):
    """However chunks interleave, every frame meets its own film's frame before, across chunks too."""
    queues = [
        [chunk("a", range(4)), chunk("a", range(4, 6)), chunk("a", range(6, 7)), end("a", 7)],
        [chunk("b", range(50, 51)), end("b", 1)],
        [chunk("c", range(100, 103)), chunk("c", range(103, 105)), end("c", 5, "crashes the decoder")],
        [end("d", 0, "is not a film")],
        [chunk("e", range(200, 205)), chunk("e", range(205, 210)), end("e", 10)],
    ]
    chance, parts = random.Random(order), []
    while queues:
        queue = chance.choice(queues)
        parts.append(queue.pop(0))
        queues = [queue for queue in queues if queue]
    found, encoder, told = featurised(parts, batch)
    assert set(found) == set("abcde")
    for name, numbers in (("a", range(7)), ("b", range(50, 51)), ("e", range(200, 210))):
        film = found[name]
        assert isinstance(film, FilmFeatures)
        np.testing.assert_array_equal(film.features, list(zip(numbers, [-1, *numbers[:-1]], strict=True)))
        np.testing.assert_array_equal(film.seconds, list(numbers))
        assert film.duration == len(numbers)
    assert (found["c"].reason, found["d"].reason) == ("crashes the decoder", "is not a film")
    assert sum(told) == sum(encoder.batches)
    assert 18 <= sum(told) <= 23


@pytest.mark.parametrize("batch", [1, 4, 100])
@pytest.mark.parametrize("needs_previous", [False, True])
def test_a_frame_like_the_one_before_is_encoded_once(featurised, monkeypatch, batch, needs_previous):
    """Features are those of every frame encoded; what comes again later, or in another film, is encoded again."""
    monkeypatch.setattr(Numbers, "needs_previous", needs_previous)
    a, b = [3, 3, 3, 7, 7, 3, 3, 3, 3, 9], [9, 9, 9, 9]
    last_pixel = chunk("c", [5, 5, 5])
    last_pixel.images[1, 1, 1, 2] += 1
    parts = [chunk("a", a[:3]), chunk("b", b[:2]), chunk("a", a[3:7]), chunk("a", a[7:8]), chunk("b", b[2:])]
    parts += [end("b", 4), chunk("a", a[8:]), end("a", 10), last_pixel, end("c", 3)]
    found, encoder, told = featurised(parts, batch)
    for name, numbers in (("a", a), ("b", b), ("c", [5, 5, 5])):
        before = [-1, *numbers[:-1]] if needs_previous else [-1] * len(numbers)
        np.testing.assert_array_equal(found[name].features, list(zip(numbers, before, strict=True)))
        assert len(found[name].seconds) == found[name].duration == len(numbers)
    assert sum(encoder.batches) == (17 if needs_previous else 4 + 1 + 3)
    assert sum(told) == 17


def test_short_films_share_a_batch(featurised):
    parts = [part for n in range(20) for part in (chunk(f"f{n}", range(n, n + 3)), end(f"f{n}", 3))]
    found, encoder, told = featurised(parts, 16)
    assert encoder.batches == [18, 18, 18, 6]
    assert [count for count in told if count] == encoder.batches
    assert list(found) == [f"f{n}" for n in range(20)]


def test_a_film_without_a_frame_is_not_taken_for_one(featurised):
    found, _, _ = featurised([end("empty", 0), chunk("a", range(2)), end("a", 2)], 4)
    assert found["empty"].reason == "no frame could be decoded"
    assert len(found["a"].features) == 2


def test_what_is_odd_about_a_film_is_passed_on(featurised):
    parts = [chunk("a", range(2)), FilmEnd(path=Path("a"), reason=None, warning="is odd", frames=2, seconds=1.5)]
    found, _, _ = featurised(parts, 4)
    assert (found["a"].warning, found["a"].duration) == ("is odd", 1.5)


def test_real_films_through_the_built_in_encoder(films_folder, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a film")
    films = [films_folder / "a.mp4", broken, films_folder / "c.mp4"]
    encoder = ShapeFrames()
    found = {result.path: result for result in featurise(films, encoder, DecodeConfig(decoders=2, fps=4.0), batch=5)}
    assert set(found) == set(films)
    assert "not a film" in found[broken].reason
    for film, seconds in ((films[0], 2), (films[2], 4)):
        frames = list(sampled_frames(film, fps=4.0, size=encoder.size))
        images = [frame.image for frame in frames]
        assert len(images) == 4 * seconds
        np.testing.assert_allclose(found[film].features, encoder.encode(images, [None, *images[:-1]]), atol=1e-6)
        np.testing.assert_array_equal(found[film].seconds, np.arange(4 * seconds) / 4)
        assert found[film].duration == pytest.approx(seconds)
