import random
from dataclasses import replace

import pytest

from gmmformer.demo.scenes import (
    Background,
    Claim,
    Companions,
    Group,
    Scene,
    claims,
    full_claim,
    is_true,
    worded,
)

SQUARE = Group(count=1, size="large", colour="red", shape="square", movement="left")
CIRCLES = Group(count=2, size="small", colour="blue", shape="circle", movement="waits")
STRIPES = Background(pattern="striped", colour="grey")
SCENE = Scene(main=SQUARE, waiting=CIRCLES, background=STRIPES, band="top", place=(0.5, 0.5))
CLAIM = Claim(
    topic=(1, "red", "square", "left"),
    size="large",
    pattern="striped",
    background="grey",
    companions=Companions(count=2, shape="circle", colour="blue"),
)


def test_the_full_claim_says_everything():
    assert full_claim(SCENE) == CLAIM
    growing = replace(SCENE, main=replace(SQUARE, movement="grows"))
    assert full_claim(growing).size is None


@pytest.mark.parametrize(
    ("claim", "true"),
    [
        (CLAIM, True),
        (replace(CLAIM, size=None, background=None, companions=None), True),
        (replace(CLAIM, topic=(2, "red", "square", "left")), False),
        (replace(CLAIM, topic=(1, "red", "square", "right")), False),
        (replace(CLAIM, size="small"), False),
        (replace(CLAIM, pattern="plain"), False),
        (replace(CLAIM, background="navy"), False),
        (replace(CLAIM, companions=Companions(count=2, shape="circle", colour=None)), True),
        (replace(CLAIM, companions=Companions(count=2, shape="circle", colour="red")), False),
        (replace(CLAIM, companions=Companions(count=3, shape="circle", colour=None)), False),
        (replace(CLAIM, topic=(2, "blue", "circle", "waits"), size="small", companions=None), True),
        (
            replace(
                CLAIM,
                topic=(2, "blue", "circle", "waits"),
                size="small",
                companions=Companions(count=1, shape="square", colour="red"),
            ),
            False,
        ),
    ],
)
def test_truth(claim: Claim, true: bool):
    assert is_true(claim, SCENE) is true


def test_waiting_shapes_can_be_the_companions_of_each_other():
    both = replace(SCENE, main=replace(SQUARE, movement="waits"))
    said = replace(
        CLAIM,
        topic=(2, "blue", "circle", "waits"),
        size="small",
        companions=Companions(count=1, shape="square", colour="red"),
    )
    assert is_true(said, both)


def test_wordings():
    rng = random.Random(0)
    said = {worded(CLAIM, rng) for _ in range(500)}
    assert "a large red square moves to the left over a striped grey background while two blue circles wait" in said
    assert len(said) == 2 * 3 * 2 * 3
    waits = replace(CLAIM, topic=(3, "orange", "cross", "waits"), size=None, background=None)
    assert "three orange crosses stand still over stripes beside two blue circles" in {
        worded(waits, rng) for _ in range(100)
    }
    flashes = replace(CLAIM, topic=(1, "orange", "star", "blinks"), size=None, companions=None)
    assert "an orange star flashes over grey stripes" in {worded(flashes, rng) for _ in range(100)}


def test_claims_hold_and_end_with_the_whole():
    drawn = list(claims(SCENE, random.Random(1)))
    assert all(is_true(claim, SCENE) for claim in drawn)
    assert drawn[-1] == CLAIM
