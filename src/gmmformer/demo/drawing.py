"""The pixels of a scene: anti-aliased shapes from signed distances, over patterned backgrounds."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from gmmformer.demo.scenes import (
    BACKGROUND_COLOURS,
    COLOURS,
    HORIZONTAL,
    VERTICAL,
    Background,
    Band,
    Group,
    Movement,
    Pattern,
    Scene,
    Shape,
    Size,
    second_tone,
)

WIDTH, HEIGHT = 192, 144
FPS = 12

RADII: dict[Size, float] = {"small": 11.0, "large": 21.0}
"""Pixels from a shape's centre to its farthest point."""

_GAP = 6
_BAND = 2 * round(RADII["small"]) + 2 * _GAP
_SMALLEST = 0.35
_DEGREES_PER_SECOND = 50.0
_BLINK_PERIOD, _BLINK_ON, _BLINK_FADE, _BLINK_LEAD, _BLINK_LEAST = 2.5, 1.5, 0.15, 0.25, 0.15

Image = UInt8[np.ndarray, "height width rgb"]
Points = Float[np.ndarray, "height width"]


@dataclass(frozen=True, kw_only=True)
class Pose:
    """How a group is seen at one time."""

    centres: list[tuple[float, float]]
    """The middle of each shape, in pixels from the left and from the top edge; the shapes are whole pixels apart."""
    scale: float = 1.0
    """Of the shapes, not of the distances between them."""
    angle: float = 0.0
    """Degrees, clockwise."""
    visibility: float = 1.0
    """0 is invisible."""


def frames(scene: Scene, seconds: float) -> Iterator[Image]:
    """Yield the frames of a scene, `FPS` of them per second; while nothing moves, the same array again."""
    still = background(scene.background)
    if scene.waiting is not None:
        _paint(still, scene.waiting, Pose(centres=_waiting_centres(scene.waiting.count, scene.band)))
    frame, last = still, None
    for number in range(round(seconds * FPS)):
        now = pose(scene, number / FPS, seconds)
        if now != last:
            frame, last = still.copy(), now
            _paint(frame, scene.main, now)
        yield frame


def background(ground: Background) -> Image:
    """The picture that a scene's shapes lie on."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    colour = BACKGROUND_COLOURS[ground.colour]
    tone = _pattern(ground.pattern, x, y)[..., None] * (second_tone(colour) - colour)
    image: Image = np.rint(colour + tone).astype(np.uint8)
    return image


def pose(scene: Scene, second: float, seconds: float) -> Pose:
    """Where and how the main shapes are at a second of a scene that lasts `seconds`."""
    movement = scene.main.movement
    left, top, right, bottom = _main_room(scene)
    across, down = scene.place
    done = second / seconds
    match movement:
        case "left":
            across = 1 - done
        case "right":
            across = done
        case "up":
            down = 1 - done
        case "down":
            down = done
    x, y = left + across * (right - left), top + down * (bottom - top)
    centres = [(x + right, y + below) for right, below in _offsets(scene.main.count, scene.main.size, movement)]
    match movement:
        case "grows":
            return Pose(centres=centres, scale=_SMALLEST + (1 - _SMALLEST) * done)
        case "shrinks":
            return Pose(centres=centres, scale=1 - (1 - _SMALLEST) * done)
        case "spins":
            return Pose(centres=centres, angle=_DEGREES_PER_SECOND * second)
        case "blinks":
            return Pose(centres=centres, visibility=_lit(second))
    return Pose(centres=centres)


def distance(shape: Shape, x: Points, y: Points, radius: float) -> Points:
    """Signed distance in pixels to a shape's outline, below 0 inside; exact near the outline, but for corners.

    Args:
        shape: Upright and centred on the origin.
        x: Pixels to the right of the centre.
        y: Pixels below the centre.
        radius: Of the circle around the shape.
    """
    outline: Points
    match shape:
        case "circle":
            outline = np.hypot(x, y) - 0.9 * radius
        case "ring":
            outline = np.abs(np.hypot(x, y) - 0.7 * radius) - 0.24 * radius
        case "square":
            outline = np.maximum(np.abs(x), np.abs(y)) - 0.76 * radius
        case "triangle":
            slope = np.abs(x) * math.sqrt(0.75) - y / 2
            outline = np.maximum(slope, y) - radius / 2
        case "cross":
            wide, narrow = np.maximum(np.abs(x), np.abs(y)), np.minimum(np.abs(x), np.abs(y))
            outline = np.maximum(wide - 0.92 * radius, narrow - 0.3 * radius)
        case "star":
            outline = _star_distance(x, y, radius)
    return outline


def _offsets(count: int, size: Size, movement: Movement) -> list[tuple[float, float]]:
    """Pixels from the middle of a group to each of its shapes; a formation leaves room along its path."""
    step = RADII[size] + _GAP / 2
    rise = float(round(step * math.sqrt(0.75)))
    match count:
        case 1:
            return [(0.0, 0.0)]
        case 2:
            return [(0.0, -step), (0.0, step)] if movement in HORIZONTAL else [(-step, 0.0), (step, 0.0)]
        case _ if movement in VERTICAL:
            return [(-2 * step, 0.0), (0.0, 0.0), (2 * step, 0.0)]
        case _:
            return [(0.0, -rise), (-step, rise), (step, rise)]


def _main_room(scene: Scene) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of where the middle of the main shapes may be, in pixels."""
    main = scene.main
    across, down = np.abs(_offsets(main.count, main.size, main.movement)).max(axis=0) + RADII[main.size] + _GAP
    left, top, right, bottom = (
        _BAND * (scene.waiting is not None and scene.band == edge) for edge in ("left", "top", "right", "bottom")
    )
    return across + left, down + top, WIDTH - across - right, HEIGHT - down - bottom


def _waiting_centres(count: int, band: Band) -> list[tuple[float, float]]:
    """Where the waiting shapes stand: spread evenly along their edge."""
    shares = [(number + 1) / (count + 1) for number in range(count)]
    if band in ("top", "bottom"):
        return [(share * WIDTH, _BAND / 2 if band == "top" else HEIGHT - _BAND / 2) for share in shares]
    return [(_BAND / 2 if band == "left" else WIDTH - _BAND / 2, share * HEIGHT) for share in shares]


def _lit(second: float) -> float:
    phase = (second + _BLINK_LEAD) % _BLINK_PERIOD
    lit = np.clip(min(phase, _BLINK_ON - phase) / _BLINK_FADE + 0.5, 0, 1)
    return float(_BLINK_LEAST + (1 - _BLINK_LEAST) * lit)


def _pattern(pattern: Pattern, x: Points, y: Points) -> Points:
    """How much of the second tone is at each pixel, 0 to 1."""
    share: Points
    match pattern:
        case "plain":
            share = np.zeros_like(x)
        case "striped":
            share = np.clip(np.abs((x + y) % 32 - 16) - 7.5, 0, 1)
        case "checkered":
            share = (x // 24 + y // 24) % 2
        case "dotted":
            share = np.clip(5 - np.hypot(x % 24 - 11.5, y % 24 - 11.5), 0, 1)
        case "gradient":
            share = 1.6 * y / HEIGHT
    return share


def _star_distance(x: Points, y: Points, radius: float) -> Points:
    sector = 2 * math.pi / 5
    angle = np.arctan2(x, -y)
    folded = np.abs(angle - sector * np.round(angle / sector))
    length = np.hypot(x, y)
    along, aside = length * np.cos(folded), length * np.sin(folded)
    back, out = radius - 0.45 * radius * math.cos(sector / 2), 0.45 * radius * math.sin(sector / 2)
    outline: Points = ((along - radius) * out + aside * back) / math.hypot(back, out)
    return outline


def _paint(image: Image, group: Group, pose: Pose) -> None:
    """Draw a group over an image, in place: shadows, rims, fills. Its shapes are whole pixels apart."""
    half = int(RADII[group.size] * pose.scale) + _GAP
    left, top = pose.centres[0]
    kept, added = _stamp(group, pose, half, left % 1, top % 1)
    flat = image.reshape(HEIGHT, 3 * WIDTH)
    for across, down in pose.centres:
        x, y = int(across) - half, int(down) - half
        window = flat[y : y + 2 * half, 3 * x : 3 * (x + 2 * half)]
        window[:] = window * kept + added


def _stamp(
    group: Group, pose: Pose, half: int, right: float, below: float
) -> tuple[Float[np.ndarray, "rows values"], Float[np.ndarray, "rows values"]]:
    """What one shape leaves of the picture under it, 0 to 1, and adds to it; three values for each pixel of a row.

    The shape lies `right` and `below` of the middle of a square with sides of 2 x `half` pixels. What is added is half
    a step too much, for a sum that is then cut to whole numbers.
    """
    radius = RADII[group.size] * pose.scale
    edge = np.arange(-half, half, dtype=np.float32) + np.float32(0.5)
    x, y = np.meshgrid(edge - np.float32(right), edge - np.float32(below))
    shadow = np.clip((2 - _turned(group.shape, x - 1.5, y - 2.5, radius, pose.angle)) / 5, 0, 1)
    depth = -_turned(group.shape, x, y, radius, pose.angle)
    cover = pose.visibility * np.clip(depth + 0.5, 0, 1)
    kept = (1 - 0.35 * pose.visibility * shadow) * (1 - cover)
    light = cover * (0.62 + 0.38 * np.clip(depth - 1, 0, 1))
    fill = np.tile(np.array(COLOURS[group.colour], dtype=np.float32), 2 * half)
    return np.repeat(kept, 3, axis=1), np.repeat(light, 3, axis=1) * fill + np.float32(0.5)


def _turned(shape: Shape, x: Points, y: Points, radius: float, degrees: float) -> Points:
    if degrees:
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        x, y = cos * x + sin * y, cos * y - sin * x
    return distance(shape, x, y, radius)
