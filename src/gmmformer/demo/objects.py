"""Coloured objects in small frames: where they stand, how large they are, what their outline is like, what they did."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Complex, Float, Int, UInt8

BASIC_COLOURS = (
    "black", "white", "grey", "red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "brown",
)  # fmt: skip
"""The basic colours that pixels are sorted into; a frame's label map holds index + 1, and 0 for the background."""
OUTLINES = ("disc", "square", "triangle", "star", "hexagon", "ring", "cross", "bar")
"""The outlines that an object is compared with, whatever its place, size and turn."""
MOST = 12
"""Objects kept per frame: the largest."""
ORDERS = range(2, 7)
"""Orders of the outline's angular harmonics: a triangle shows in the third, a square in the fourth, and so on."""
EVENTS = ("left", "right", "up", "down", "grow", "shrink", "turn", "still")
"""What a matched object can have done since the frame before."""
SIZES = (0.05, 0.1, 0.2)
"""Radii, in shorter sides of the frame, that an object's size is read against."""
PLACES = (0.2, 0.5, 0.8)
"""Places along an axis, in shares of the frame, that an object's centre is read against."""

_LEAST_AREA = 12
_SIDE_SHARE = 0.02
_STRIP = 8


class Objects(NamedTuple):
    """The largest objects of each frame; rows without one are zero. Lengths are in shorter sides of the frame."""

    present: Float[np.ndarray, "frames objects"]
    """1 where there is an object."""
    colour: Int[np.ndarray, "frames objects"]
    """Index into BASIC_COLOURS."""
    centre: Complex[np.ndarray, "frames objects"]
    """x + iy, y downwards."""
    place: Float[np.ndarray, "frames objects axes"]
    """The centre as shares of width and height, in [0, 1]."""
    radius: Float[np.ndarray, "frames objects"]
    """Radius of the disc of the same area."""
    spread: Float[np.ndarray, "frames objects powers"]
    """Mean of |z / radius|^2 and of |z / radius|^4 over its pixels z, from its centre: 1/2 and 1/3 for a disc."""
    harmonics: Complex[np.ndarray, "frames objects orders"]
    """Mean of (z / radius)^k for k in ORDERS: the size of k-fold corners and, in the phase, k times their direction
    (complex moments, Flusser 2000)."""
    shape: Float[np.ndarray, "frames objects shapes"]
    """How likely each of OUTLINES is; sums to 1."""


def foreground(codes: Int[np.ndarray, "frames height width"]) -> Bool[np.ndarray, "frames height width"]:
    """Pixels whose colour does not belong to the background.

    A colour is background where it fills at least 2 % of the frame's margin on two sides or more; so stripes, checks,
    dots and gradients are background, and an object that leaves through one side is not.

    Args:
        codes: Colours with 4 bits per channel, 0 to 4095.
    """
    frames = len(codes)
    strips = (codes[:, :_STRIP], codes[:, -_STRIP:], codes[:, :, :_STRIP], codes[:, :, -_STRIP:])
    shares = np.empty((4, frames, 4096), np.float32)
    first = np.arange(frames)[:, None] * 4096
    for side, strip in enumerate(strips):
        pixels = strip.reshape(frames, -1)
        counts = np.bincount((pixels + first).ravel(), minlength=frames * 4096)
        shares[side] = counts.reshape(frames, 4096) / np.float32(pixels.shape[1])
    near = shares.reshape(4, frames, 16, 16, 16)
    for axis in (2, 3, 4):
        near = _three_sum(near, axis)
    low, high = np.minimum(near[0], near[1]), np.maximum(near[0], near[1])
    low2, high2 = np.minimum(near[2], near[3]), np.maximum(near[2], near[3])
    second = np.maximum(np.minimum(high, high2), np.maximum(low, low2)).reshape(frames, 4096)
    return np.asarray((second < _SIDE_SHARE).ravel()[codes + first[:, :, None]])


def find_objects(labels: UInt8[np.ndarray, "frames height width"], aspect: Float[np.ndarray, "frames axes"]) -> Objects:
    """The connected areas of one colour, with their outlines' moments.

    Args:
        labels: Index into BASIC_COLOURS plus 1, and 0 where there is background.
        aspect: Width and height of a pixel of each frame, in shorter sides of that frame.
    """
    found = _moments(labels, aspect)
    mean, deviation = _outlines()
    away = (_outline(found)[:, :, None, :] - mean) / deviation
    likely = -0.5 * (away**2).sum(-1) - np.log(deviation).sum(-1)
    likely = np.exp(0.5 * (likely - likely.max(-1, keepdims=True)))
    shape = likely / likely.sum(-1, keepdims=True) * found.present[:, :, None]
    return found._replace(shape=shape)


def _moments(labels: UInt8[np.ndarray, "frames height width"], aspect: Float[np.ndarray, "frames axes"]) -> Objects:
    """The kept objects of each frame, without their likeness to OUTLINES."""
    frames, height, width = labels.shape
    owner, row, areas, frame_of = _components(labels)
    order = np.lexsort((-areas, frame_of))
    rank = np.arange(len(order)) - np.searchsorted(frame_of[order], frame_of[order])
    order, rank = order[rank < MOST], rank[rank < MOST]
    slots = np.full(len(areas) + 1, -1)
    slots[order] = frame_of[order] * MOST + rank
    pixels = np.flatnonzero(slots[owner] >= 0)
    slot, row = slots[owner[pixels]], row[pixels]
    y, x = row // width % height, row % width

    def mean(value: Float[np.ndarray, "pixels"]) -> Float[np.ndarray, "slots"]:
        return np.asarray(np.bincount(slot, value, frames * MOST) / area)

    area = np.maximum(np.bincount(slot, minlength=frames * MOST), 1).astype(np.float64)
    across, down = mean(x + 0.5), mean(y + 0.5)
    unit = np.repeat(aspect, MOST, axis=0)
    radius = np.sqrt(area * unit[:, 0] * unit[:, 1] / np.pi)
    z = (x + 0.5 - across[slot]) * (unit[:, 0] / radius)[slot] + 1j * (
        (y + 0.5 - down[slot]) * (unit[:, 1] / radius)[slot]
    )
    spread = z.real**2 + z.imag**2
    power, harmonics = z, []
    for _ in ORDERS:
        power = power * z
        harmonics.append(mean(power.real) + 1j * mean(power.imag))
    colour = np.zeros(frames * MOST, np.int64)
    colour[slot] = labels.ravel()[row].astype(np.int64) - 1
    present = (np.bincount(slot, minlength=frames * MOST) > 0).astype(np.float64)
    table = (frames, MOST)
    return Objects(
        present.reshape(table),
        colour.reshape(table),
        ((across * unit[:, 0] + 1j * down * unit[:, 1]) * present).reshape(table),
        (np.stack([across / width, down / height], axis=-1) * present[:, None]).reshape(*table, 2),
        (radius * present).reshape(table),
        np.stack([mean(spread), mean(spread**2)], axis=-1).reshape(*table, 2),
        np.stack(harmonics, axis=-1).reshape(*table, -1),
        np.zeros((*table, len(OUTLINES))),
    )


def _components(
    labels: UInt8[np.ndarray, "frames height width"],
) -> tuple[Int[np.ndarray, "pixels"], Int[np.ndarray, "pixels"], Int[np.ndarray, "areas"], Int[np.ndarray, "areas"]]:
    """Connected areas (4 neighbours) of one label: each pixel's area (the last + 1 if it is too small), the pixel's
    place in the flat array, and each area's pixels and frame.

    Rows are cut into runs; runs that touch the same label in the next row are joined, all frames at once.
    """
    height, width = labels.shape[1:]
    filled = labels > 0
    begins = filled.copy()
    begins[:, :, 1:] &= labels[:, :, 1:] != labels[:, :, :-1]
    touches = filled[:, 1:] & (labels[:, 1:] == labels[:, :-1])
    run = (np.cumsum(begins.ravel()) - 1).reshape(labels.shape)
    links = touches & (begins[:, 1:] | begins[:, :-1])
    parent = _join(int(begins.sum()), run[:, :-1][links], run[:, 1:][links])
    inside = filled.copy()
    inside[:, 1:] &= touches
    inside[:, :-1] &= touches
    inside[:, (0, -1)] = False
    alike = labels[:, :, 1:] == labels[:, :, :-1]
    inside[:, :, 1:] &= alike
    inside[:, :, :-1] &= alike
    inside[:, :, (0, -1)] = False
    row = np.flatnonzero(filled)
    owner = parent[run.ravel()[row]]
    pixels = np.bincount(owner, minlength=len(parent))
    core = np.bincount(owner[inside.ravel()[row]], minlength=len(parent))
    kept = np.flatnonzero((pixels >= _LEAST_AREA) & (core >= np.maximum(4, 0.2 * pixels)))
    number = np.full(len(parent), len(kept))
    number[kept] = np.arange(len(kept))
    first = np.flatnonzero(begins)[kept]
    return number[owner], row, pixels[kept], first // (height * width)


def _join(count: int, one: Int[np.ndarray, "links"], other: Int[np.ndarray, "links"]) -> Int[np.ndarray, "runs"]:
    """The lowest number that each of `count` runs is linked to, over any number of links."""
    parent = np.arange(count)
    while len(one):
        one, other = parent[one], parent[other]
        open_links = one != other
        one, other = one[open_links], other[open_links]
        np.minimum.at(parent, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(parent, up := parent[parent]):
            parent = up
    return parent


@lru_cache(maxsize=1)
def _outlines() -> tuple[Float[np.ndarray, "shapes moments"], Float[np.ndarray, "shapes moments"]]:
    """Mean and deviation of the moments of OUTLINES, drawn at several sizes and turns on the pixel grid."""
    radii, turns = (7.0, 10.0, 14.0, 20.0), np.arange(8) / 8
    y, x = np.mgrid[:64, :64] + 0.5
    means, deviations = [], []
    for name in OUTLINES:
        drawn = []
        for radius in radii:
            for turn in turns:
                z = (x - 31.8 - turn / 2) + 1j * (y - 32.1 + turn / 3)
                drawn.append(_drawn(name, np.abs(z) / radius, np.angle(z) + 2.4 * turn))
        labels = np.stack(drawn).astype(np.uint8)
        moments = _outline(_moments(labels, np.full((len(labels), 2), 1 / 64)))[:, 0]
        means.append(moments.mean(0))
        deviations.append(moments.std(0) + 0.03)
    return np.stack(means), np.stack(deviations)


def _drawn(
    name: str, radius: Float[np.ndarray, "height width"], angle: Float[np.ndarray, "height width"]
) -> Bool[np.ndarray, "height width"]:
    """Pixels inside an outline of about radius 1."""
    x, y = np.abs(radius * np.cos(angle)), np.abs(radius * np.sin(angle))
    corners = {"square": 4, "triangle": 3, "hexagon": 6}.get(name)
    if corners:
        within = (angle % (2 * np.pi / corners)) - np.pi / corners
        return np.asarray(radius * np.cos(within) <= 1.15 * np.cos(np.pi / corners))
    if name == "star":
        within = np.abs((angle % (2 * np.pi / 5)) - np.pi / 5) / (np.pi / 5)
        inner = 0.45
        edge = inner * np.sin(np.pi / 5) / (inner * np.sin(np.pi / 5 * within) + np.sin(np.pi / 5 * (1 - within)))
        return np.asarray(radius <= 1.3 * edge)
    if name == "cross":
        return np.asarray((np.minimum(x, y) <= 0.35) & (np.maximum(x, y) <= 1.1))
    if name == "bar":
        return np.asarray((x <= 1.3) & (y <= 0.6))
    return np.asarray((radius <= 1.1) & (radius >= (0.6 if name == "ring" else 0)))


def _outline(objects: Objects) -> Float[np.ndarray, "frames objects moments"]:
    """Moments that do not change with place, size and turn, on scales alike."""
    spread = 2 * objects.spread ** (1.0, 0.5)
    return np.concatenate([spread, np.sqrt(np.abs(objects.harmonics) + 1e-4)], axis=-1)


def _three_sum(cube: Float[np.ndarray, "..."], axis: int) -> Float[np.ndarray, "..."]:
    """Each bin plus its two neighbours along an axis."""
    total = cube.copy()
    move, put = np.moveaxis(cube, axis, -1), np.moveaxis(total, axis, -1)
    put[..., 1:] += move[..., :-1]
    put[..., :-1] += move[..., 1:]
    return total


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
    return np.asarray((objects.colour[:, :, None] == np.arange(len(BASIC_COLOURS))) * objects.present[:, :, None])


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
