"""The built-in pair: what can be read from its vectors, and that they depend on nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmmformer.demo.descriptor import describe
from gmmformer.demo.encoders import ShapeFrames, ShapeWords
from gmmformer.demo.objects import BASIC_COLOURS, EVENTS, OUTLINES, colours_and_traits, find_objects, movements

PAINT = {"red": (220, 40, 40), "green": (50, 170, 70), "blue": (50, 80, 210), "yellow": (245, 225, 60)}
GROUNDS = ("plain", "stripes", "checks", "dots", "slope")


def _ground(kind: str, seed: int = 0, height: int = 128, width: int = 228) -> np.ndarray:
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    period, turn = draw.uniform(14, 26), draw.uniform(0, np.pi)
    along = x * np.cos(turn) + y * np.sin(turn)
    share = {
        "plain": np.zeros_like(x),
        "stripes": along / period % 1 < 0.5,
        "checks": (x // period + y // period) % 2,
        "dots": np.hypot(x % period - period / 2, y % period - period / 2) < period / 4,
        "slope": (along - along.min()) / np.ptp(along),
    }[kind][:, :, None]
    one, other = draw.uniform(90, 140, 3), draw.uniform(190, 240, 3)
    return (one * (1 - share) + other * share).astype(np.uint8)


def _put(
    image: np.ndarray, shape: str, colour: str, x: float, y: float, radius: float, turn: float = 0.0
) -> np.ndarray:
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    away, angle = np.hypot(columns - x, rows - y) / radius, np.arctan2(rows - y, columns - x) - turn
    corners = {"square": 4, "triangle": 3}.get(shape)
    edge = np.ones_like(away)
    if corners:
        edge = 1.2 * np.cos(np.pi / corners) / np.cos(angle % (2 * np.pi / corners) - np.pi / corners)
    if shape == "star":
        edge = 1.5 - 0.8 * np.abs(angle % (2 * np.pi / 5) / (np.pi / 5) - 1)
    return np.where((away <= edge)[:, :, None], np.uint8(PAINT[colour]), image)


def _event(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """How much each event shows in the second frame, its one object being matched."""
    now, earlier = describe([after]).objects, describe([before]).objects
    told = movements(now, earlier, np.ones(1))[0]
    return dict(zip((*EVENTS, "appear", "vanish"), told[-len(EVENTS) - 2 :], strict=True))


@pytest.mark.parametrize("kind", GROUNDS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_objects_are_found_on_every_ground(kind: str, seed: int) -> None:
    image = _put(_ground(kind, seed), "square", "red", 60, 50, 14, 0.3)
    image = _put(_put(image, "disc", "blue", 150, 80, 20), "triangle", "yellow", 110, 30, 14, 0.5)
    objects = describe([image]).objects
    there = objects.present[0] > 0
    assert [BASIC_COLOURS[colour] for colour in objects.colour[0][there]] == ["blue", "red", "yellow"]
    assert [OUTLINES[shape] for shape in objects.shape[0][there].argmax(1)] == ["disc", "square", "triangle"]
    places = np.array([[150 / 228, 80 / 128], [60 / 228, 50 / 128]])
    np.testing.assert_allclose(objects.place[0][there][:2], places, atol=0.02)
    assert abs(objects.radius[0, 0] - 20 / 128) < 0.02
    assert colours_and_traits(objects)[0, :8].argmax() == 3


def test_shapes_keep_their_proportions_in_portrait() -> None:
    image = _put(_ground("plain", height=400, width=200), "disc", "red", 100, 200, 40)
    objects = describe([image]).objects
    assert OUTLINES[objects.shape[0, 0].argmax()] == "disc"
    assert abs(objects.radius[0, 0] - 0.2) < 0.01


@pytest.mark.parametrize(
    ("event", "change"),
    [
        ("left", {"x": 80}),
        ("right", {"x": 120}),
        ("up", {"y": 44}),
        ("down", {"y": 84}),
        ("grow", {"radius": 22}),
        ("shrink", {"radius": 11}),
        ("turn", {"turn": 0.5}),
        ("still", {}),
    ],
)
@pytest.mark.parametrize("kind", GROUNDS)
def test_movement_shows(event: str, change: dict[str, float], kind: str) -> None:
    place = {"x": 100.0, "y": 64.0, "radius": 16.0, "turn": 0.1}
    events = _event(*(_put(_ground(kind), "square", "red", **at) for at in (place, place | change)))  # type: ignore[arg-type]
    assert max(events, key=events.__getitem__) == event
    assert events[event] > 0.6


def test_blinking_shows() -> None:
    ground = _ground("plain")
    image = _put(ground, "star", "green", 90, 60, 16)
    assert _event(ground, image)["appear"] == 1
    assert _event(image, ground)["vanish"] == 1
    assert _event(image, image)["vanish"] == _event(image, image)["appear"] == 0


def _frames() -> list[np.ndarray]:
    sizes = [(128, 228), (90, 120), (228, 128), (1, 1), (3, 700)]
    draw = np.random.default_rng(0)
    images = [draw.integers(0, 256, (*size, 3)).astype(np.uint8) for size in sizes]
    return images + [_put(_ground(kind), "star", "red", 90, 60, 16) for kind in GROUNDS]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=24), st.data())
def test_a_vector_depends_on_the_frame_and_the_one_before_alone(rows: list[int], data: st.DataObject) -> None:
    images, encoder = _frames(), ShapeFrames()
    before = [data.draw(st.none() | st.integers(0, 9)) for _ in rows]
    earlier = [None if row is None else images[row] for row in before]
    together = encoder.encode([images[row] for row in rows], earlier)
    assert together.shape == (len(rows), encoder.dim)
    assert together.dtype == np.float32
    for row, image, vector in zip(rows, earlier, together, strict=True):
        alone = encoder.encode([images[row]], [None if image is None else image.copy()])[0]
        np.testing.assert_allclose(vector, alone, atol=1e-5)


def test_a_film_in_chunks_is_the_film_whole() -> None:
    encoder = ShapeFrames()
    film = [_put(_ground("dots"), "disc", "red", 40 + 5 * step, 60, 14) for step in range(20)]
    whole = encoder.encode(film, [None, *film[:-1]])
    parts = [encoder.encode(film[:7], [None, *film[:6]]), encoder.encode(film[7:], film[6:-1])]
    np.testing.assert_allclose(whole, np.concatenate(parts), atol=1e-5)
    assert np.abs(whole - encoder.encode(film)).max() > 0.1


def test_vectors_are_finite_and_say_something() -> None:
    images = [*_frames(), np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)]
    vectors = ShapeFrames().encode(images, [None, *images[:-1]])
    assert np.isfinite(vectors).all()
    assert (np.linalg.norm(vectors, axis=1) > 1).all()
    assert ShapeFrames().encode([]).shape == (0, ShapeFrames().dim)


def test_vectors_are_the_same_on_every_machine() -> None:
    images = [
        _put(_ground("checks"), "star", "green", 90, 60, 16),
        _put(_ground("stripes"), "disc", "blue", 120, 60, 20),
    ]
    vectors = ShapeFrames().encode(images, [None, images[0]]).astype(np.float64)
    probe = np.cos(np.arange(vectors.shape[1]) * 0.37)
    np.testing.assert_allclose(vectors @ probe, [-4.31164292, -0.64558004], atol=2e-3)


def test_ground_and_object_can_be_read_linearly() -> None:
    draw = np.random.default_rng(0)
    images, kinds, colours, shapes = [], [], [], []
    for number in range(200):
        kind, colour = GROUNDS[number % 5], draw.choice(list(PAINT))
        shape = draw.choice(["disc", "square", "triangle", "star"])
        place = (draw.uniform(40, 180), draw.uniform(35, 90), draw.uniform(9, 22), draw.uniform(0, 6))
        images.append(_put(_ground(kind, number), shape, colour, *place))
        kinds.append(GROUNDS.index(kind))
        colours.append(list(PAINT).index(colour))
        shapes.append(OUTLINES.index(shape))
    vectors = ShapeFrames().encode(images).astype(np.float64)
    vectors = np.c_[vectors - vectors[:140].mean(0), np.ones(200)]
    inner = vectors[:140] @ vectors[:140].T + 3 * np.eye(140)
    for known, least in ((kinds, 0.95), (colours, 0.95), (shapes, 0.85)):
        weights = np.linalg.solve(inner, np.eye(max(known) + 1)[known[:140]])
        guess = (vectors[140:] @ vectors[:140].T @ weights).argmax(1)
        assert (guess == known[140:]).mean() >= least


def test_touching_runs_are_one_object_and_diagonal_ones_are_not() -> None:
    labels = np.zeros((2, 40, 40), np.uint8)
    labels[0, 2:30, 2:6] = labels[0, 2:30, 20:24] = labels[0, 26:30, 2:24] = 4
    labels[1, 2:10, 2:10] = labels[1, 10:18, 10:18] = 4
    labels[1, 20:30, 20:30] = 5
    objects = find_objects(labels, np.full((2, 2), 1 / 40))
    assert objects.present.sum(1).tolist() == [1, 3]
    assert objects.colour[1, :3].tolist() == [4, 3, 3]
    area = np.pi * objects.radius**2 * 1600
    np.testing.assert_allclose(area[0, 0], 28 * 4 * 2 + 4 * 14)
    np.testing.assert_allclose(area[1, :3], [100, 64, 64])


def test_words_are_tokens_of_length_one() -> None:
    found = ShapeWords().encode(["A large, red square's edge!", "", "…", "ＲＥＤ"])
    assert [array.shape for array in found] == [(5, 256), (1, 256), (1, 256), (1, 256)]
    assert all(array.dtype == np.float32 for array in found)
    np.testing.assert_allclose(np.linalg.norm(np.concatenate(found), axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(found[3][0], found[0][2])
    np.testing.assert_array_equal(found[1], found[2])


def test_words_of_like_letters_are_near() -> None:
    square, squares, squared, triangle, red = ShapeWords().encode(["square squares squared triangle red"])[0]
    assert square @ squares > 0.3
    assert squared @ squares > 0.3
    assert abs(square @ triangle) < 0.25
    assert abs(square @ red) < 0.25


def test_a_word_is_the_same_on_every_machine() -> None:
    word = ShapeWords().encode(["square"])[0][0]
    np.testing.assert_allclose(word[:4], [0.05679816, -0.00967109, 0.00967109, -0.07614034], atol=1e-6)


@given(st.lists(st.text(max_size=30), max_size=4))
def test_any_text_is_encoded_by_itself(sentences: list[str]) -> None:
    encoder = ShapeWords()
    found = encoder.encode(sentences)
    assert len(found) == len(sentences)
    for sentence, array in zip(sentences, found, strict=True):
        assert len(array) >= 1
        np.testing.assert_array_equal(array, encoder.encode([sentence])[0])
