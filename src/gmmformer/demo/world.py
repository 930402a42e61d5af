"""What the demo's films show and the sentences about them: everything but the pixels."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

from gmmformer.demo.scenes import (
    BACKGROUND_COLOURS,
    COLOURS,
    COUNTS,
    MOVEMENTS,
    PATTERNS,
    RESIZED,
    SHAPES,
    SIZES,
    VERTICAL,
    Background,
    Band,
    Group,
    Movement,
    Scene,
    Topic,
    claims,
    full_claim,
    is_true,
    possible,
    topic,
    topics,
    worded,
)
from gmmformer.errors import InputError

Split = Literal["train", "val", "test"]

DEFAULT_FILMS = 240
"""Films of the demo: 156 to train on, 36 to stop by, 48 to test with, so that chance finds 2 % of the sentences."""
MOST_FILMS = 2000
"""Up to this many, scenes that differ are found at once."""
SHORTEST, LONGEST = 20.0, 90.0
"""Seconds of a film."""

_SHARES: dict[Split, float] = {"val": 0.15, "test": 0.2}
_SCENES = {3: 50, 4: 28, 5: 13, 6: 6, 7: 3}
_SCENE_SECONDS = (6.0, 15.0)
_WAITING = 0.45
_TWINS = 0.35
_SECOND_SENTENCE = 0.6


@dataclass(frozen=True, kw_only=True)
class ScenePlan:
    """A scene of a film and the sentences that are true of it and of no other scene of the same plan."""

    start: float
    """Seconds from the film's beginning; a multiple of 0.5."""
    end: float
    """Where the next scene or nothing begins."""
    scene: Scene
    sentences: tuple[str, ...]
    """One or two."""


@dataclass(frozen=True, kw_only=True)
class FilmPlan:
    """A film: scenes one after another, with hard cuts."""

    name: str
    """`film_0042`; the file is called so too."""
    split: Split
    scenes: tuple[ScenePlan, ...]

    @property
    def duration(self) -> float:
        """Seconds, 20 to 90."""
        return self.scenes[-1].end


_SAID = (
    ("Did you hear that", "Nobody believes that", "My sister swears that", "They wrote to me that", "I only know that",
     "The neighbours say that", "It was on the radio that", "You promised that"),
    ("the last ferry", "the old baker", "our piano", "the letter from Lisbon", "the lighthouse keeper", "that suitcase",
     "the orchestra", "the wedding cake", "the night train", "your umbrella"),
    ("leaves before midnight", "came back on Tuesday", "was never paid for", "is behind the church",
     "sank in the harbour", "waits for nobody", "costs more than the house", "has been here all along"),
)  # fmt: skip
_WRITTEN = (
    ("HARBOUR", "MUSEUM", "CINEMA", "BAKERY", "LIBRARY", "THEATRE", "AIRPORT", "MARKET", "GARDEN", "STATION"),
    ("CLOSED", "OPEN", "UPSTAIRS", "NORTH GATE", "PLATFORM", "NO ENTRY", "EXIT", "ROOM"),
)
_LEAST_SAID = 2.5
"""Seconds of a scene in which something is said."""


def dialogue(plan: FilmPlan) -> list[tuple[float, float, str]]:
    """What is said in a film, nothing about what it shows: from when to when, and a line; one in each scene."""
    rng = random.Random(plan.name)
    said = [(scene.start, scene.end, " ".join(rng.choice(part) for part in _SAID) + ".") for scene in plan.scenes]
    return [(start + 0.5, min(end, start + 4.0), line) for start, end, line in said if end - start >= _LEAST_SAID]


def sign(plan: FilmPlan) -> tuple[float, float, str]:
    """What is written in a film for some seconds of its last scene, nothing about what it shows: from when to when."""
    rng, scene = random.Random(f"{plan.name} written"), plan.scenes[-1]
    start = scene.start + min(1.0, (scene.end - scene.start) / 4)
    return start, min(scene.end, start + 3.0), " ".join([*map(rng.choice, _WRITTEN), str(rng.randint(10, 99))])


def plan_films(count: int = DEFAULT_FILMS, seed: int = 0) -> list[FilmPlan]:
    """Draw the films of a small world; the same count and seed give the same films.

    About a third of the scenes are near twins: they differ in one detail from a scene of another film of the same
    split. A sentence is true of one scene only, so that a search for it has one right answer.

    Args:
        count: Films, 3 to 2,000, over all splits.
        seed: Where the drawing starts from.

    Raises:
        InputError: `count` is out of its range.
    """
    if not 3 <= count <= MOST_FILMS:
        raise InputError(f"--films {count} must be at least 3, one for each split, and at most {MOST_FILMS}")
    rng = random.Random(seed)
    splits = _splits(count, rng)
    cast = _Cast()
    films = [[(start, end, cast.add(film, splits[film], rng)) for start, end in _cuts(rng)] for film in range(count)]
    return [
        FilmPlan(
            name=f"film_{number:04d}",
            split=split,
            scenes=tuple(
                ScenePlan(start=start, end=end, scene=scene, sentences=cast.sentences(scene, rng))
                for start, end, scene in scenes
            ),
        )
        for number, (split, scenes) in enumerate(zip(splits, films, strict=True))
    ]


class _Cast:
    """All scenes drawn so far, no two of which the same full description fits."""

    def __init__(self) -> None:
        self._untwinned: dict[Split, list[tuple[int, Scene]]] = defaultdict(list)
        self._of_topic: dict[Topic, list[Scene]] = defaultdict(list)

    def add(self, film: int, split: Split, rng: random.Random) -> Scene:
        """Draw a scene for a film: a new one, or the near twin of one in another film of the split."""
        models = [drawn for drawn in self._untwinned[split] if drawn[0] != film] if rng.random() < _TWINS else []
        if models:
            model = rng.choice(models)
            self._untwinned[split].remove(model)
        while True:
            scene = _near_twin(model[1], rng) if models else _fresh(rng)
            if possible(scene) and self._is_new(scene):
                break
        self._untwinned[split].append((film, scene))
        for about in topics(scene):
            self._of_topic[about].append(scene)
        return scene

    def sentences(self, scene: Scene, rng: random.Random) -> tuple[str, ...]:
        """One or two sentences that are true of this scene alone."""
        about = self._of_topic[topic(scene.main)]
        wanted = 2 if rng.random() < _SECOND_SENTENCE else 1
        found: list[str] = []
        while len(found) < wanted:
            claim = next(claim for claim in claims(scene, rng) if sum(is_true(claim, other) for other in about) == 1)
            sentence = worded(claim, rng)
            if sentence not in found:
                found.append(sentence)
        return tuple(found)

    def _is_new(self, scene: Scene) -> bool:
        near = [other for about in topics(scene) for other in self._of_topic[about]]
        claim = full_claim(scene)
        return not any(is_true(claim, other) or is_true(full_claim(other), scene) for other in near)


def _fresh(rng: random.Random) -> Scene:
    movement = rng.choice(MOVEMENTS)
    main = Group(
        count=rng.choice(COUNTS),
        size="large" if movement in RESIZED else rng.choice(SIZES),
        colour=rng.choice(list(COLOURS)),
        shape=rng.choice(SHAPES),
        movement=movement,
    )
    waiting = None
    if rng.random() < _WAITING:
        waiting = Group(
            count=rng.choice(COUNTS),
            size="small",
            colour=rng.choice(list(COLOURS)),
            shape=rng.choice([shape for shape in SHAPES if shape != main.shape]),
            movement="waits",
        )
    background = Background(pattern=rng.choice(PATTERNS), colour=rng.choice(list(BACKGROUND_COLOURS)))
    return Scene(
        main=main, waiting=waiting, background=background, band=_band(movement, rng), place=(rng.random(), rng.random())
    )


def _near_twin(scene: Scene, rng: random.Random) -> Scene:
    """A scene that differs in one detail; it need not be a possible one."""
    values: dict[tuple[str, str], Sequence[object]] = {
        ("main", "count"): COUNTS,
        ("main", "size"): SIZES,
        ("main", "colour"): list(COLOURS),
        ("main", "shape"): SHAPES,
        ("main", "movement"): MOVEMENTS,
        ("background", "pattern"): PATTERNS,
        ("background", "colour"): list(BACKGROUND_COLOURS),
    }
    if scene.waiting is not None:
        values["waiting", "colour"] = list(COLOURS)
    part, detail = rng.choice(list(values))
    whole: Any = getattr(scene, part)
    other = rng.choice([value for value in values[part, detail] if value != getattr(whole, detail)])
    changed = replace(scene, **{part: replace(whole, **{detail: other})})
    return replace(changed, band=_band(changed.main.movement, rng), place=(rng.random(), rng.random()))


def _band(movement: Movement, rng: random.Random) -> Band:
    return rng.choice(("left", "right")) if movement in VERTICAL else rng.choice(("top", "bottom"))


def _cuts(rng: random.Random) -> list[tuple[float, float]]:
    """Start and end of each scene of a film; shorter scenes are likelier."""
    shortest, longest = _SCENE_SECONDS
    while True:
        (scenes,) = rng.choices(list(_SCENES), weights=list(_SCENES.values()))
        edges = [0.0]
        for _ in range(scenes):
            edges.append(edges[-1] + round(2 * rng.triangular(shortest, longest, shortest + 1)) / 2)
        if SHORTEST <= edges[-1] <= LONGEST:
            return list(pairwise(edges))


def _splits(count: int, rng: random.Random) -> list[Split]:
    splits: list[Split] = [split for split, share in _SHARES.items() for _ in range(max(1, round(share * count)))]
    splits += ["train"] * (count - len(splits))
    rng.shuffle(splits)
    return splits
