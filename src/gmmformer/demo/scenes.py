"""What can be seen in a scene of the demo's films, and sentences about it: what they claim, where it is true."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

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


Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

COLOURS: Mapping[str, Colour] = {
    "red": (222, 52, 56),
    "orange": (246, 138, 30),
    "yellow": (255, 218, 58),
    "green": (52, 168, 74),
    "turquoise": (40, 202, 196),
    "blue": (47, 107, 255),
    "purple": (140, 66, 200),
    "pink": (255, 128, 192),
    "white": (252, 252, 252),
}
"""Colours of shapes."""

BACKGROUND_COLOURS: Mapping[str, Colour] = {
    "beige": (233, 220, 195),
    "grey": (139, 146, 156),
    "navy": (30, 42, 80),
    "brown": (92, 66, 50),
    "mint": (189, 229, 208),
    "lavender": (205, 195, 238),
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


def second_tone(colour: Colour) -> Float[np.ndarray, "3"]:
    """The other colour of a background's pattern: darker than a bright one, brighter than a dark one."""
    tone = np.array(colour, dtype=np.float32)
    return np.asarray(tone * 0.8 if tone.mean() > 100 else tone + 0.16 * (255 - tone))


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


Topic = tuple[int, str, Shape, Movement]
"""What every sentence says of the shapes it is about: count, colour, shape, movement."""

_COUNT_WORDS = {2: "two", 3: "three"}
_SIZE_WORDS: Mapping[Size, tuple[str, ...]] = {"small": ("small", "little"), "large": ("large", "big")}
_VERBS: Mapping[Movement, tuple[str, ...]] = {
    "left": ("move to the left", "slide to the left", "move left"),
    "right": ("move to the right", "slide to the right", "move right"),
    "up": ("move up", "rise", "climb"),
    "down": ("move down", "sink", "descend"),
    "grows": ("grow", "become larger"),
    "shrinks": ("shrink", "become smaller"),
    "spins": ("spin", "rotate"),
    "blinks": ("blink", "flash"),
    "waits": ("wait", "stand still", "rest"),
}
_GROUNDS: Mapping[Pattern, tuple[str, ...]] = {
    "plain": ("over a plain {colour} background", "on plain {colour}"),
    "striped": ("over a striped {colour} background", "over {colour} stripes"),
    "checkered": ("over a checkered {colour} background", "over {colour} checks"),
    "dotted": ("over a dotted {colour} background", "over {colour} dots"),
    "gradient": ("over a background with a {colour} gradient", "over a {colour} gradient"),
}
_COLOURLESS_GROUNDS: Mapping[Pattern, tuple[str, ...]] = {
    "plain": ("over a plain background",),
    "striped": ("over a striped background", "over stripes"),
    "checkered": ("over a checkered background", "over checks"),
    "dotted": ("over a dotted background", "over dots"),
    "gradient": ("over a background with a gradient", "over a gradient"),
}


@dataclass(frozen=True, kw_only=True)
class Companions:
    """What a sentence claims of the shapes that wait beside those it is about."""

    count: int
    shape: Shape
    colour: str | None
    """None where the sentence does not say."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a sentence claims. Counts are exact; None stands for what it does not say."""

    topic: Topic
    size: Size | None
    pattern: Pattern
    background: str | None
    companions: Companions | None


def full_claim(scene: Scene) -> Claim:
    """All that can be said of a scene."""
    main, waiting = scene.main, scene.waiting
    companions = None
    if waiting is not None:
        companions = Companions(count=waiting.count, shape=waiting.shape, colour=waiting.colour)
    return Claim(
        topic=topic(main),
        size=None if main.movement in RESIZED else main.size,
        pattern=scene.background.pattern,
        background=scene.background.colour,
        companions=companions,
    )


def topic(group: Group) -> Topic:
    """What every sentence about a group says of it."""
    return (group.count, group.colour, group.shape, group.movement)


def topics(scene: Scene) -> tuple[Topic, ...]:
    """All topics of sentences that can be true of a scene: waiting shapes may be what a sentence is about."""
    return (topic(scene.main),) if scene.waiting is None else (topic(scene.main), topic(scene.waiting))


def is_true(claim: Claim, scene: Scene) -> bool:
    """Whether all of a claim holds in a scene, whichever of the scene's groups it takes for its own."""
    if claim.pattern != scene.background.pattern or claim.background not in (None, scene.background.colour):
        return False
    pairs = [(scene.main, scene.waiting), (scene.waiting, scene.main)]
    return any(_fits(claim, own) and _accompanies(claim.companions, other) for own, other in pairs)


def claims(scene: Scene, rng: random.Random) -> Iterator[Claim]:
    """Claims that are true of a scene, from one that leaves details out to the one that leaves out nothing."""
    whole = full_claim(scene)
    for _ in range(3):
        companions = whole.companions
        if companions is not None:
            colour = companions.colour if rng.random() < 0.5 else None
            companions = replace(companions, colour=colour) if rng.random() < 0.7 else None
        yield replace(
            whole,
            size=whole.size if rng.random() < 0.8 else None,
            background=whole.background if rng.random() < 0.5 else None,
            companions=companions,
        )
    yield whole


def worded(claim: Claim, rng: random.Random) -> str:
    """A sentence that says what is claimed, nothing more or less, in one of several wordings."""
    count, colour, shape, movement = claim.topic
    one = count == 1
    size = [] if claim.size is None else [rng.choice(_SIZE_WORDS[claim.size])]
    subject = _counted(count, [*size, colour], shape)
    verb = rng.choice(_VERBS[movement])
    if claim.background is None:
        ground = rng.choice(_COLOURLESS_GROUNDS[claim.pattern])
    else:
        ground = rng.choice(_GROUNDS[claim.pattern]).format(colour=claim.background)
    sentence = f"{subject} {_third_person(verb) if one else verb} {ground}"
    others = claim.companions
    if others is None:
        return sentence
    beside = _counted(others.count, [] if others.colour is None else [others.colour], others.shape)
    if movement == "waits":
        return f"{sentence} beside {beside}"
    verb = rng.choice(_VERBS["waits"])
    return f"{sentence} while {beside} {_third_person(verb) if others.count == 1 else verb}"


def _fits(claim: Claim, group: Group | None) -> bool:
    return group is not None and claim.topic == topic(group) and claim.size in (None, group.size)


def _accompanies(companions: Companions | None, group: Group | None) -> bool:
    if companions is None:
        return True
    if group is None or group.movement != "waits":
        return False
    same = (companions.count, companions.shape) == (group.count, group.shape)
    return same and companions.colour in (None, group.colour)


def _counted(count: int, adjectives: list[str], shape: Shape) -> str:
    if count > 1:
        return " ".join((_COUNT_WORDS[count], *adjectives, _several(shape)))
    words = " ".join((*adjectives, shape))
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def _third_person(verb: str) -> str:
    first, *rest = verb.split()
    return " ".join((_several(first), *rest))


def _several(word: str) -> str:
    return word + ("es" if word.endswith(("s", "sh")) else "s")
