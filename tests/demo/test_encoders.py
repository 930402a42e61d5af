"""The built-in pair: what can be read from its vectors, and that they depend on nothing else."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmmformer.demo.drawing import background, frames
from gmmformer.demo.encoders import ShapeFrames, ShapeWords, happened, see
from gmmformer.demo.scenes import COLOURS, MOVEMENTS, PATTERNS, SHAPES, Background, Group, Pattern, Scene
from gmmformer.demo.world import plan_films

EVENTS = ("left", "right", "up", "down", "grows", "shrinks", "spins", "waits", "appears", "vanishes")


def _scene(movement: str = "waits", pattern: Pattern = "plain", colour: str = "red", shape: str = "square") -> Scene:
    return Scene(
        main=Group(count=1, size="large", colour=colour, shape=shape, movement=movement),  # type: ignore[arg-type]
        waiting=None,
        background=Background(pattern=pattern, colour="navy"),
        band="left" if movement in ("up", "down") else "top",
        place=(0.5, 0.5),
    )


def _shown(scene: Scene, second: float) -> np.ndarray:
    return list(frames(scene, 8.0))[int(12 * second)]


def _events(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """How much each event shows in the second frame, over all its objects."""
    told = happened(see(after), see(before))[: -(12 + 2)]  # light, cut and first come last
    return dict(zip(EVENTS, told[-len(EVENTS) :] / 2, strict=True))


def test_the_objects_of_the_demo_are_found_with_their_colours_and_shapes() -> None:
    right = total = 0
    for film in plan_films(8, 3):
        for planned in film.scenes:
            groups = [group for group in (planned.scene.main, planned.scene.waiting) if group is not None]
            seen = see(list(frames(planned.scene, 6.0))[40])
            wanted = sorted((group.colour, group.shape) for group in groups for _ in range(group.count))
            told = [(list(COLOURS)[kind[:9].argmax()], SHAPES[kind[9:].argmax()]) for kind in seen.kind]
            right, total = right + (sorted(told) == wanted), total + 1
    assert right >= 0.9 * total


def test_where_an_object_is_and_how_large() -> None:
    seen = see(_shown(_scene("right", "dotted", "yellow", "circle"), 4.0))
    np.testing.assert_allclose(seen.centre, [96 / 144 + 72j / 144], atol=0.02)
    np.testing.assert_allclose(seen.radius, [0.9 * 21 / 144], atol=0.02)


@pytest.mark.parametrize("movement", [movement for movement in MOVEMENTS if movement != "blinks"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_movement_shows(movement: str, pattern: Pattern) -> None:
    scene = _scene(movement, pattern)
    events = _events(_shown(scene, 3.0), _shown(scene, 4.0))
    assert max(events, key=events.__getitem__) == movement
    assert events[movement] > 0.5


def test_blinking_shows() -> None:
    ground, scene = background(_scene().background), _scene("waits", colour="green", shape="star")
    image = _shown(scene, 1.0)
    assert _events(ground, image)["appears"] == 1
    assert _events(image, ground)["vanishes"] == 1
    assert _events(image, image)["vanishes"] == _events(image, image)["appears"] == 0


def test_across_a_cut_nothing_moves() -> None:
    dark, bright = background(_scene().background), background(Background(pattern="plain", colour="beige"))
    told = happened(see(bright), see(dark))
    assert not told[:-2].any()
    assert told[-2] == 1  # the cut


@cache
def _frames() -> list[np.ndarray]:
    sizes = [(128, 228), (90, 120), (228, 128), (1, 1), (3, 700)]
    draw = np.random.default_rng(0)
    images = [draw.integers(0, 256, (*size, 3)).astype(np.uint8) for size in sizes]
    return images + [_shown(_scene("right", pattern), 2.0) for pattern in PATTERNS]


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.data())
def test_a_vector_depends_on_the_frame_and_the_one_before_alone(rows: list[int], data: st.DataObject) -> None:
    images, encoder = _frames(), ShapeFrames()
    before = [data.draw(st.none() | st.integers(0, 9)) for _ in rows]
    earlier = [None if row is None else images[row] for row in before]
    together = encoder.encode([images[row] for row in rows], earlier)
    assert together.shape == (len(rows), encoder.dim)
    assert together.dtype == np.float32
    for row, image, vector in zip(rows, earlier, together, strict=True):
        alone = encoder.encode([images[row]], [None if image is None else image.copy()])[0]
        np.testing.assert_array_equal(vector, alone)


def test_a_film_in_chunks_is_the_film_whole() -> None:
    encoder = ShapeFrames()
    film = list(frames(_scene("right", "dotted"), 8.0))[:80:4]
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
    images = [_shown(_scene("spins", "checkered", "green", "star"), 2.0), _shown(_scene("up", "striped"), 3.0)]
    vectors = ShapeFrames().encode(images, [None, images[0]]).astype(np.float64)
    probe = np.cos(np.arange(vectors.shape[1]) * 0.37)
    np.testing.assert_allclose(vectors @ probe, [-0.43502965, -3.08860065], atol=2e-3)


def test_ground_and_object_can_be_read_linearly() -> None:
    scenes = [planned.scene for film in plan_films(60, 1) for planned in film.scenes if planned.scene.waiting is None]
    vectors = ShapeFrames().encode([list(frames(scene, 6.0))[30] for scene in scenes]).astype(np.float64)
    known_here = len(scenes) * 2 // 3
    vectors = np.c_[vectors - vectors[:known_here].mean(0), np.ones(len(vectors))]
    inner = vectors[:known_here] @ vectors[:known_here].T + 3 * np.eye(known_here)
    for told, least in (
        ([scene.background.pattern for scene in scenes], 0.9),
        ([scene.main.colour for scene in scenes], 0.9),
        ([scene.main.shape for scene in scenes], 0.85),
    ):
        _, known = np.unique(told, return_inverse=True)
        weights = np.linalg.solve(inner, np.eye(known.max() + 1)[known[:known_here]])
        guess = (vectors[known_here:] @ vectors[:known_here].T @ weights).argmax(1)
        assert (guess == known[known_here:]).mean() >= least


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
