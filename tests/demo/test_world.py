import re
from collections import Counter
from dataclasses import astuple
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmmformer.demo.scenes import Background, Scene, possible
from gmmformer.demo.world import DEFAULT_FILMS, FilmPlan, plan_films
from gmmformer.errors import InputError

COUNTS = {"a": 1, "an": 1, "two": 2, "three": 3}
SIZES = {"small": "small", "little": "small", "large": "large", "big": "large"}
COLOURS = ["red", "orange", "yellow", "green", "turquoise", "blue", "purple", "pink", "white"]
GROUNDS = ["beige", "grey", "navy", "brown", "mint", "lavender"]
SHAPES = ["circle", "square", "triangle", "star", "ring", "cross"]
VERBS = {
    "moves? to the left|slides? to the left|moves? left": "left",
    "moves? to the right|slides? to the right|moves? right": "right",
    "moves? up|rises?|climbs?": "up",
    "moves? down|sinks?|descends?": "down",
    "grows?|becomes? larger": "grows",
    "shrinks?|becomes? smaller": "shrinks",
    "spins?|rotates?": "spins",
    "blinks?|flash|flashes": "blinks",
    "waits?|stands? still|rests?": "waits",
}
PATTERNS = {"plain": "plain", "stripe": "striped", "check": "checkered", "dot": "dotted", "gradient": "gradient"}
THINGS = (
    rf"(?P<count{{0}}>an?|two|three) (?:(?P<size{{0}}>{'|'.join(SIZES)}) )?(?:(?P<colour{{0}}>{'|'.join(COLOURS)}) )?"
)
THINGS += rf"(?P<shape{{0}}>{'|'.join(SHAPES)})(?P<plural{{0}}>e?s)? ?"
SENTENCE = re.compile(
    THINGS.format(1)
    + rf"(?P<verb>{'|'.join(VERBS)}) (?:over|on) (?P<ground>.*?)"
    + rf"(?: (?:beside|while) {THINGS.format(2)}(?P<waiting>waits?|stands? still|rests?)?)?$"
)


Groups = tuple[tuple[object, ...], tuple[object, ...] | None]


def read(sentence: str) -> dict[str, object]:
    """What a sentence says, read without the code that wrote it."""
    found = SENTENCE.fullmatch(sentence)
    assert found is not None, sentence
    count, other = COUNTS[found["count1"]], COUNTS.get(found["count2"])
    assert (count > 1) == (found["plural1"] is not None)
    assert (other or 1) == 1 or found["plural2"] is not None
    verb = next(movement for words, movement in VERBS.items() if re.fullmatch(words, found["verb"]))
    plural_verb = re.fullmatch(r"\w+[^s]( .*)?", found["verb"]) is not None
    assert plural_verb == (count > 1), sentence
    colours = [colour for colour in GROUNDS if colour in found["ground"]]
    (pattern,) = (pattern for word, pattern in PATTERNS.items() if word in found["ground"])
    return {
        "main": (count, SIZES.get(found["size1"]), found["colour1"], found["shape1"], verb),
        "waiting": None
        if other is None
        else (other, SIZES.get(found["size2"]), found["colour2"], found["shape2"], "waits"),
        "pattern": pattern,
        "ground": colours[0] if colours else None,
    }


def holds(said: dict[str, object], groups: Groups, background: Background) -> bool:
    """Whether what a sentence says is true of a scene with these groups."""
    if said["pattern"] != background.pattern or said["ground"] not in (None, background.colour):
        return False
    beside = said["waiting"]
    pairs = [groups, groups[::-1]]
    return any(agrees(said["main"], own) and (beside is None or agrees(beside, other)) for own, other in pairs)


def agrees(words: object, group: tuple[object, ...] | None) -> bool:
    assert isinstance(words, tuple)
    return group is not None and all(word in (None, value) for word, value in zip(words, group, strict=True))


def groups_of(scene: Scene) -> Groups:
    return astuple(scene.main), None if scene.waiting is None else astuple(scene.waiting)


@pytest.fixture(scope="module")
def films() -> list[FilmPlan]:
    return plan_films()


def test_the_same_seed_gives_the_same_films_and_another_seed_others():
    assert plan_films(12, 5) == plan_films(12, 5)
    assert plan_films(12, 5) != plan_films(12, 6)


@given(count=st.integers(3, 40), seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_scenes_tile_films_of_20_to_90_seconds(count: int, seed: int):
    films = plan_films(count, seed)
    assert [film.name for film in films] == [f"film_{number:04d}" for number in range(count)]
    assert {film.split for film in films} == {"train", "val", "test"}
    for film in films:
        assert 20 <= film.duration <= 90
        assert film.scenes[0].start == 0
        assert film.scenes[-1].end == film.duration
        assert all(before.end == after.start for before, after in pairwise(film.scenes))
        assert all(6 <= scene.end - scene.start <= 15 for scene in film.scenes)
        assert all(2 * scene.start % 1 == 0 for scene in film.scenes)
        assert all(possible(scene.scene) and len(scene.sentences) in (1, 2) for scene in film.scenes)
        assert 3 <= len(film.scenes) <= 7


@pytest.mark.parametrize("seed", [0, 1])
def test_a_sentence_is_true_of_its_own_scene_and_of_no_other(seed: int):
    planned = [scene for film in plan_films(DEFAULT_FILMS, seed) for scene in film.scenes]
    scenes = [(scene, groups_of(scene.scene), scene.scene.background) for scene in planned]
    for own in planned:
        for sentence in own.sentences:
            said = read(sentence)
            fitting = [scene for scene, groups, background in scenes if holds(said, groups, background)]
            assert len(fitting) == 1, sentence
            assert fitting[0] is own, sentence


def test_sentences_say_what_the_main_shapes_are_and_do(films: list[FilmPlan]):
    for film in films:
        for scene in film.scenes:
            for sentence in scene.sentences:
                count, size, colour, shape, movement = read(sentence)["main"]
                main = scene.scene.main
                assert (count, colour, shape, movement) == (main.count, main.colour, main.shape, main.movement)
                assert size in (None, main.size)


def test_every_word_of_the_world_is_used(films: list[FilmPlan]):
    words = Counter(
        " ".join(sentence for film in films for scene in film.scenes for sentence in scene.sentences).split()
    )
    expected = [
        *SIZES,
        *COLOURS,
        *GROUNDS,
        *SHAPES,
        "left",
        "right",
        "up",
        "down",
        "grows",
        "shrinks",
        "spins",
        "blinks",
    ]
    assert all(
        words[word] >= 5 for word in [*expected, "waits", "stripes", "checks", "dots", "gradient", "plain", "while"]
    )


def test_many_scenes_differ_in_one_detail_from_one_of_another_film_of_their_split(films: list[FilmPlan]):
    def details(scene: Scene) -> tuple[object, ...]:
        waiting = (None,) * 5 if scene.waiting is None else astuple(scene.waiting)
        return (*astuple(scene.main), *waiting, *astuple(scene.background))

    scenes = [
        (number, film.split, film.name, details(scene.scene))
        for film in films
        for number, scene in enumerate(film.scenes)
    ]
    twins = set()
    for (one, split, film, seen), (other, other_split, other_film, other_seen) in combinations(scenes, 2):
        differences = sum(mine != theirs for mine, theirs in zip(seen, other_seen, strict=True))
        assert differences > 0
        if split == other_split and film != other_film and differences == 1:
            twins |= {(film, one), (other_film, other)}
    assert len(twins) > 0.4 * len(scenes)


def test_the_default_has_enough_films_to_test_with(films: list[FilmPlan]):
    assert Counter(film.split for film in films) == {"train": 156, "val": 36, "test": 48}


@pytest.mark.parametrize("count", [-1, 0, 2, 2001])
def test_too_few_or_too_many_films_are_refused(count: int):
    with pytest.raises(InputError, match=f"--films {count} must be at least 3"):
        plan_films(count)
