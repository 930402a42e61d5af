"""What a frame's objects are like and what they did since the frame before, as numbers that can be summed."""

import numpy as np
from jaxtyping import Float, Int

from gmmformer.media.encoders.objects import COLOURS, MOST, Objects

EVENTS = ("left", "right", "up", "down", "grow", "shrink", "turn", "still")
"""What a matched object can have done since the frame before."""
SIZES = (0.05, 0.1, 0.2)
"""Radii, in shorter sides of the frame, that an object's size is read against."""
PLACES = (0.2, 0.5, 0.8)
"""Places along an axis, in shares of the frame, that an object's centre is read against."""


def colours_and_traits(objects: Objects) -> Float[np.ndarray, "frames traits"]:
    """What objects a frame shows: counts, colour with shape, size and place, shape with size."""
    frames = len(objects.present)
    colour = _colour(objects)
    size = _near(np.log2(np.maximum(objects.radius, 1e-6)), np.log2(SIZES)) * objects.present[:, :, None]
    across = _near(objects.place[:, :, 0], PLACES)
    down = _near(objects.place[:, :, 1], PLACES) * objects.present[:, :, None]
    place = (across[:, :, :, None] * down[:, :, None, :]).reshape(*colour.shape[:2], -1)
    count = objects.present.sum(1)
    parts = [
        np.maximum(0, 1 - np.abs(count[:, None] - np.arange(8))),
        colour.sum(1),
        objects.shape.sum(1),
        size.sum(1),
        _pairs(colour, objects.shape),
        _pairs(colour, size),
        _pairs(objects.shape, size),
        _pairs(colour, place),
    ]
    return np.concatenate([part.reshape(frames, -1) for part in parts], axis=1)


def movements(now: Objects, before: Objects, steady: Float[np.ndarray, "frames"]) -> Float[np.ndarray, "frames events"]:
    """What the objects did since the frame before, by colour and by shape.

    Objects are matched with the nearest one of the same colour, size and outline, both ways; what finds no match has
    appeared or vanished.

    Args:
        now: Objects of each frame.
        before: Objects of the frame before each of them.
        steady: 1 where the two frames are of one scene, 0 where there is no frame before or a cut between them.
    """
    frames = len(now.present)
    matched, partner = _match(now, before)
    pick = (np.arange(frames)[:, None], partner)
    moved = now.centre - before.centre[pick]
    grown = np.log(np.maximum(now.radius, 1e-6) / np.maximum(before.radius[pick], 1e-6))
    swung = now.harmonics * before.harmonics[pick].conj()
    strength = np.abs(swung)
    turn = (strength - swung.real).sum(-1) / (strength.sum(-1) + 2e-3)
    signs = [-moved.real / 0.08, moved.real / 0.08, -moved.imag / 0.08, moved.imag / 0.08, grown / 0.15, -grown / 0.15]
    happened = [np.clip(sign, 0, 1) for sign in signs] + [np.clip(turn, 0, 1)]
    still = np.clip(1 - np.abs(moved) / 0.03, 0, 1) * np.clip(1 - np.abs(grown) / 0.05, 0, 1) * (1 - happened[-1])
    events = np.stack([*happened, still], axis=-1) * matched[:, :, None]
    kept = np.zeros_like(matched)
    np.maximum.at(kept, pick, matched)
    events = np.concatenate([events, (now.present - matched)[:, :, None]], axis=-1)
    gone = (before.present - kept)[:, :, None]
    colour, parts = _colour(now), []
    for trait, trait_before in ((colour, _colour(before)), (now.shape, before.shape)):
        parts += [_pairs(trait, events), _pairs(trait_before, gone)]
    parts += [events.sum(1), gone.sum(1)]
    return np.asarray(np.concatenate([part.reshape(frames, -1) for part in parts], axis=1) * steady[:, None])


def _match(
    now: Objects, before: Objects
) -> tuple[Float[np.ndarray, "frames objects"], Int[np.ndarray, "frames objects"]]:
    """1 for each object that has a partner in the frame before, and that partner's row."""
    away = np.abs(now.centre[:, :, None] - before.centre[:, None, :])
    radii = np.log(np.maximum(now.radius, 1e-6))[:, :, None] - np.log(np.maximum(before.radius, 1e-6))[:, None, :]
    outline = np.abs(now.shape[:, :, None] - before.shape[:, None, :]).sum(-1)
    cost = away + 0.5 * np.abs(radii) + 0.2 * outline
    both = now.present[:, :, None] * before.present[:, None, :] > 0
    cost[~both | (now.colour[:, :, None] != before.colour[:, None, :]) | (cost > 1.2)] = np.inf
    partner = cost.argmin(2)
    back = cost.argmin(1)
    mutual = np.take_along_axis(back, partner, 1) == np.arange(MOST)
    possible = np.isfinite(np.take_along_axis(cost, partner[:, :, None], 2)[:, :, 0])
    return (mutual & possible).astype(np.float64), partner


def _colour(objects: Objects) -> Float[np.ndarray, "frames objects colours"]:
    return np.asarray((objects.colour[:, :, None] == np.arange(len(COLOURS))) * objects.present[:, :, None])


def _near(value: Float[np.ndarray, "frames objects"], anchors: object) -> Float[np.ndarray, "frames objects anchors"]:
    """How near a value is to each of evenly spaced anchors, the outer ones open; sums to 1."""
    points = np.asarray(anchors, dtype=np.float64)
    step = points[1] - points[0]
    inside = np.clip(value, points[0], points[-1])
    return np.asarray(np.maximum(0, 1 - np.abs(inside[:, :, None] - points) / step))


def _pairs(
    one: Float[np.ndarray, "frames objects left"], other: Float[np.ndarray, "frames objects right"]
) -> Float[np.ndarray, "frames left right"]:
    """How often two traits occur in the same object."""
    return np.asarray(one.swapaxes(1, 2) @ other)
