from dataclasses import replace

import numpy as np
import pytest

from gmmformer.demo.drawing import HEIGHT, RADII, WIDTH, background, distance, frames, pose
from gmmformer.demo.scenes import BACKGROUND_COLOURS, COLOURS, MOVEMENTS, Background, Group, Scene
from gmmformer.demo.world import plan_films

SQUARE = Group(count=1, size="large", colour="red", shape="square", movement="waits")
PLAIN = Background(pattern="plain", colour="navy")
SCENE = Scene(main=SQUARE, waiting=None, background=PLAIN, band="top", place=(0.5, 0.5))


def moving(movement: str) -> Scene:
    band = "left" if movement in ("up", "down") else "top"
    return replace(SCENE, main=replace(SQUARE, movement=movement), band=band)


@pytest.mark.parametrize(
    ("shape", "inside", "outside"),
    [
        ("circle", [(0, 0), (8, 0), (0, -8), (6, 6)], [(10, 0), (7, 7)]),
        ("ring", [(7, 0), (0, -7), (5, 5)], [(0, 0), (3, 3), (10, 0)]),
        ("square", [(0, 0), (7, 7), (-7, 7)], [(8, 0), (0, -8)]),
        ("triangle", [(0, -9), (8, 4.5), (-8, 4.5)], [(0, 5.5), (8, -4), (2, -9)]),
        ("cross", [(0, 0), (9, 0), (0, -9), (2, 2)], [(4, 4), (9, 4), (10, 0)]),
        ("star", [(0, 0), (0, -9.5), (9, -3), (5.5, 7.6)], [(0, 6), (6, -7), (9.5, 3)]),
    ],
)
def test_signed_distances(shape, inside, outside):
    x, y = np.array([inside], dtype=np.float32).transpose(2, 0, 1)
    assert (distance(shape, x, y, 10.0) < 0).all()
    x, y = np.array([outside], dtype=np.float32).transpose(2, 0, 1)
    assert (distance(shape, x, y, 10.0) > 0).all()


def test_edges_are_smooth():
    first = next(frames(replace(SCENE, main=replace(SQUARE, shape="circle")), 6.0)).astype(int)
    reds = np.unique(first[HEIGHT // 2, :, 0])
    assert len(reds) > 6


@pytest.mark.parametrize("pattern", ["striped", "checkered", "dotted", "gradient"])
def test_a_pattern_has_its_colour_and_a_second_tone(pattern):
    image = background(Background(pattern=pattern, colour="mint")).reshape(-1, 3).astype(int)
    assert (np.abs(image - BACKGROUND_COLOURS["mint"]).sum(axis=1) < 4).any()
    assert (np.abs(image - BACKGROUND_COLOURS["mint"]).sum(axis=1) > 60).any()


def test_movements():
    def went(movement: str) -> tuple[float, float]:
        (start,), (end,) = (pose(moving(movement), second, 10.0).centres for second in (1.0, 9.0))
        return end[0] - start[0], end[1] - start[1]

    assert went("left")[0] < -WIDTH / 2
    assert went("right")[0] > WIDTH / 2
    assert went("up")[1] < -HEIGHT / 3
    assert went("down")[1] > HEIGHT / 3
    assert went("left")[1] == went("up")[0] == went("waits")[0] == 0
    assert pose(moving("grows"), 9.0, 10.0).scale > 2 * pose(moving("grows"), 1.0, 10.0).scale
    assert pose(moving("shrinks"), 1.0, 10.0).scale > 2 * pose(moving("shrinks"), 9.0, 10.0).scale


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_one_frame_a_second_shows_that_a_shape_blinks_and_spins(offset):
    seconds = np.arange(6) + offset
    seen = [pose(moving("blinks"), second, 6.0).visibility for second in seconds]
    assert max(seen) == 1
    assert min(seen) < 0.2
    angles = np.array([pose(moving("spins"), second, 6.0).angle for second in seconds])
    for symmetry in (90, 120, 72):
        assert len(np.unique(np.round(angles % symmetry))) >= 3


def test_waiting_repeats_one_picture_and_every_movement_changes_it():
    for movement in MOVEMENTS:
        shown = list(frames(moving(movement), 6.0))
        assert len(shown) == 72
        changed = any(not np.array_equal(shown[0], frame) for frame in shown)
        assert changed == (movement != "waits")


def test_shapes_of_planned_scenes_lie_in_the_frame_apart_from_each_other():
    for film in plan_films(60, 2):
        for planned in film.scenes:
            scene, seconds = planned.scene, planned.end - planned.start
            radius = 1.08 * RADII[scene.main.size]
            band = 34 if scene.waiting is not None else 0
            for second in (0.0, seconds / 2, seconds):
                centres = np.array(pose(scene, second, seconds).centres)
                edges = {"left": centres[:, 0], "top": centres[:, 1]}
                edges |= {"right": WIDTH - centres[:, 0], "bottom": HEIGHT - centres[:, 1]}
                for edge, room in edges.items():
                    assert (room > radius + band * (edge == scene.band)).all()
                gaps = np.linalg.norm(centres[:, None] - centres, axis=-1)
                assert (gaps[~np.eye(len(centres), dtype=bool)] > 2 * RADII[scene.main.size]).all()


@pytest.mark.parametrize("band", ["top", "bottom"])
def test_waiting_shapes_stand_at_their_edge(band):
    waiting = Group(count=3, size="small", colour="yellow", shape="circle", movement="waits")
    image = next(frames(replace(SCENE, waiting=waiting, band=band), 6.0)).astype(int)
    rows, columns = np.nonzero(np.abs(image - COLOURS["yellow"]).sum(axis=2) < 10)
    assert set((columns // (WIDTH / 8)).astype(int)) == {1, 2, 3, 4, 5, 6}
    assert rows.max() < 34 if band == "top" else rows.min() > HEIGHT - 34
