"""What can be seen in a scene of the demo's films: its words, and which of them go together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

Shape = Literal["circle", "square", "triangle", "star", "ring", "cross"]
Size = Literal["small", "large"]
Movement = Literal["left", "right", "up", "down", "grows", "shrinks", "spins", "blinks", "waits"]
Pattern = Literal["plain", "striped", "checkered", "dotted", "gradient"]
Band = Literal["top", "bottom", "left", "right"]

SHAPES: tuple[Shape, ...] = get_args(Shape)
SIZES: tuple[Size, ...] = get_args(Size)
MOVEMENTS: tuple[Movement, ...] = get_args(Movement)
PATTERNS: tuple[Pattern, ...] = get_args(Pattern)
COUNTS = (1, 2, 3)

ROUND: tuple[Shape, ...] = ("circle", "ring")
"""Shapes that look the same however they are turned: they never spin."""
RESIZED: tuple[Movement, ...] = ("grows", "shrinks")
"""Movements during which a shape has no one size: it is large at its largest, and no sentence says so."""
VERTICAL: tuple[Movement, ...] = ("up", "down")
HORIZONTAL: tuple[Movement, ...] = ("left", "right")


class Colour(NamedTuple):
    """Red, green and blue, 0 to 255."""

    red: int
    green: int
    blue: int


COLOURS: Mapping[str, Colour] = {
    "red": Colour(222, 52, 56),
    "orange": Colour(246, 138, 30),
    "yellow": Colour(255, 218, 58),
    "green": Colour(52, 168, 74),
    "turquoise": Colour(40, 202, 196),
    "blue": Colour(47, 107, 255),
    "purple": Colour(140, 66, 200),
    "pink": Colour(255, 128, 192),
    "white": Colour(252, 252, 252),
}
"""Colours of shapes."""

BACKGROUND_COLOURS: Mapping[str, Colour] = {
    "beige": Colour(233, 220, 195),
    "grey": Colour(139, 146, 156),
    "navy": Colour(30, 42, 80),
    "brown": Colour(92, 66, 50),
    "mint": Colour(189, 229, 208),
    "lavender": Colour(205, 195, 238),
}
"""Colours of backgrounds; none is a colour of shapes."""

LEAST_CONTRAST = 100
"""Distance in RGB between a shape and what it lies on, below which the two are not put together."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """One to three equal shapes that do the same."""

    count: int
    size: Size
    colour: str
    shape: Shape
    movement: Movement


@dataclass(frozen=True, kw_only=True)
class Background:
    """What everything lies on."""

    pattern: Pattern
    colour: str


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is seen between two cuts. The first three fields can be said in a sentence, the last two cannot."""

    main: Group
    """The shapes that the scene is about."""
    waiting: Group | None
    """Small shapes that stand in a row at one edge, if there are any."""
    background: Background
    band: Band
    """The edge that the waiting shapes stand at; it crosses no path of the main ones."""
    place: tuple[float, float]
    """Where the main shapes are in the room they have, across and down, 0 to 1; a movement overrides its own axis."""


def stands_out(colour: str, background: str) -> bool:
    """Whether shapes of one colour are easily seen on a background of another.

    >>> stands_out("white", "navy"), stands_out("white", "beige")
    (True, False)
    """
    pairs = zip(COLOURS[colour], BACKGROUND_COLOURS[background], strict=True)
    return sum((one - other) ** 2 for one, other in pairs) >= LEAST_CONTRAST**2


def possible(scene: Scene) -> bool:
    """Whether a scene can be shown so that all that is in it can be seen and told apart."""
    main, waiting = scene.main, scene.waiting
    groups = (main,) if waiting is None else (main, waiting)
    if main.movement == "spins" and main.shape in ROUND:
        return False
    if main.movement in RESIZED and main.size != "large":
        return False
    if (scene.band in ("left", "right")) != (main.movement in VERTICAL):
        return False
    if waiting is not None and (waiting.shape == main.shape or waiting.size != "small" or waiting.movement != "waits"):
        return False
    return all(stands_out(group.colour, scene.background.colour) for group in groups)
