"""A fixed description of a frame: colour, layout, texture, objects, and what moved since the frame before."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from gmmformer.demo.objects import BASIC_COLOURS, Objects, colours_and_traits, find_objects, foreground, movements

GRID = (96, 128)
"""Rows and columns that every frame is averaged to; lengths are still measured in the frame's own proportions."""
CELLS = (3, 4)
"""Rows and columns of the coarse grid for layout and texture."""
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)


class Described(NamedTuple):
    """What is known of each frame by itself."""

    vector: Float[np.ndarray, "frames traits"]
    """Colour, layout, texture and objects."""
    light: Float[np.ndarray, "frames height width"]
    """Luminance on the grid, in [0, 1]."""
    colours: Float[np.ndarray, "frames bins"]
    """Soft colour histogram; sums to 1."""
    objects: Objects
    """The coloured objects."""


def describe(images: Sequence[UInt8[np.ndarray, "_height _width 3"]]) -> Described:
    """What each frame shows by itself.

    Args:
        images: RGB frames of any sizes.
    """
    grid = np.stack([shrink(image) for image in images])
    red, green, blue = (grid[:, channel].astype(np.int32) for channel in range(3))
    labels = _palette()[(red >> 3) << 10 | (green >> 3) << 5 | blue >> 3]
    codes = (red >> 4) << 8 | (green >> 4) << 4 | blue >> 4
    front = foreground(codes)
    sides = np.array([image.shape[1::-1] for image in images], dtype=np.float64)
    objects = find_objects((labels + 1) * front, sides / np.array(GRID[::-1]) / sides.min(1, keepdims=True))
    planes = grid.astype(np.float32) / np.float32(255)
    light = np.einsum("c,fchw->fhw", _LUMINANCE, planes)
    colours = _soft_colours(codes)
    traits = [
        3 * np.sqrt(colours),
        _shares(labels, front),
        3 * np.sqrt(_cell_colours(labels)),
        1.5 * (_means(planes, (6, 8)) - np.float32(0.5)),
        6 * _edges(light),
        3 * _pattern(planes, front),
        1.5 * colours_and_traits(objects),
    ]
    flat = [np.asarray(trait, dtype=np.float32).reshape(len(images), -1) for trait in traits]
    return Described(np.concatenate(flat, axis=1), light, colours, objects)


def compare(
    now: Described, before: Described, first: Bool[np.ndarray, "frames"]
) -> Float[np.ndarray, "frames changes"]:
    """What changed since the frame before; nothing where `first`, and nothing but the cut itself across a cut.

    Args:
        now: The frames.
        before: The frame before each of them (anything where there is none).
        first: Frames without one before.
    """
    alike = np.minimum(now.colours, before.colours).sum(1)
    steady = np.clip((alike - 0.4) / 0.3, 0, 1) * ~first
    change = np.sqrt(_means(np.abs(now.light - before.light)[:, None], CELLS)).reshape(len(first), -1)
    cut = ((1 - alike) * ~first)[:, None]
    moved = movements(now.objects, before.objects, steady)
    pan = _pan(now.light, before.light) * steady[:, None]
    parts = [2 * moved, 2 * change * steady[:, None], pan, cut, first[:, None]]
    return np.concatenate([np.asarray(part, dtype=np.float32) for part in parts], axis=1)


def _each(
    rows: Float[np.ndarray, "frames inner"], matrix: Float[np.ndarray, "inner columns"]
) -> Float[np.ndarray, "frames columns"]:
    """`rows @ matrix`, each row by itself: a product of all at once rounds with their number."""
    return np.asarray((rows[:, None] @ matrix)[:, 0])


def shrink(image: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "channels rows columns"]:
    """A frame averaged to GRID, each colour a plane of its own."""
    height, width, _ = image.shape
    rows = _averaging(height, GRID[0]) @ image.reshape(height, -1).astype(np.float32)
    columns = rows.reshape(GRID[0], width, 3).transpose(0, 2, 1).reshape(-1, width) @ _averaging(width, GRID[1]).T
    planes = np.rint(columns).astype(np.uint8).reshape(GRID[0], 3, GRID[1])
    return np.ascontiguousarray(planes.transpose(1, 0, 2))


@lru_cache(maxsize=64)
def _averaging(size: int, cells: int) -> Float[np.ndarray, "cells size"]:
    """The matrix that averages `size` pixels to `cells`; each row sums to 1."""
    edges = np.arange(cells + 1) * size / cells
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.asarray((np.maximum(overlap, 0) * cells / size).astype(np.float32))


@lru_cache(maxsize=1)
def _palette() -> UInt8[np.ndarray, "codes"]:
    """Index into BASIC_COLOURS of every colour of 5 bits per channel."""
    code = np.arange(32**3)
    rgb = np.stack([code >> 10, code >> 5 & 31, code & 31], axis=-1) * (8 / 255) + 4 / 255
    low, value = rgb.min(-1), rgb.max(-1)
    chroma = value - low
    strength = chroma / value
    red, green, blue = rgb.T
    safe = np.maximum(chroma, 1e-9)
    sextant = np.select(
        [value == red, value == green], [(green - blue) / safe % 6, (blue - red) / safe + 2], (red - green) / safe + 4
    )
    hue = 60 * sextant
    ends = [15, 45, 70, 165, 200, 255, 290, 345]
    wheel = np.array([BASIC_COLOURS.index(name) for name in (
        "red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "red"
    )])  # fmt: skip
    named = wheel[np.searchsorted(ends, hue, side="right")]
    reddish = (hue < 15) | (hue >= 345)
    named = np.where(reddish & (strength < 0.55) & (value > 0.6), BASIC_COLOURS.index("pink"), named)
    named = np.where((hue >= 10) & (hue < 45) & (value < 0.65), BASIC_COLOURS.index("brown"), named)
    faint = (chroma < 0.1) | (strength < 0.15)
    grey = np.where(value > 0.82, BASIC_COLOURS.index("white"), BASIC_COLOURS.index("grey"))
    named = np.where(faint, grey, named)
    return np.asarray(np.where(value < 0.18, BASIC_COLOURS.index("black"), named).astype(np.uint8))


@lru_cache(maxsize=1)
def _colour_bins() -> Float[np.ndarray, "codes bins"]:
    """Share of every 4-bit colour in each of 4 x 4 x 4 bins, linear between their centres."""
    level = (np.arange(16) + 0.5) / 16 * 3
    axis = np.maximum(0, 1 - np.abs(level[:, None] - np.arange(4)))
    bins = axis[:, None, None, :, None, None] * axis[None, :, None, None, :, None] * axis[None, None, :, None, None, :]
    return np.asarray(bins.reshape(4096, 64), dtype=np.float32)


def _soft_colours(codes: Int[np.ndarray, "frames height width"]) -> Float[np.ndarray, "frames bins"]:
    frames, height, width = codes.shape
    numbered = codes + 4096 * np.arange(frames)[:, None, None]
    counts = np.bincount(numbered.ravel(), minlength=4096 * frames).reshape(frames, 4096)
    return np.asarray(_each(counts.astype(np.float32), _colour_bins()) / np.float32(height * width))


def _shares(
    labels: UInt8[np.ndarray, "frames height width"], front: Bool[np.ndarray, "frames height width"]
) -> Float[np.ndarray, "frames bins"]:
    """Square root of the share of each basic colour in the background and in what stands before it."""
    frames, height, width = labels.shape
    number = labels + len(BASIC_COLOURS) * front + 2 * len(BASIC_COLOURS) * np.arange(frames)[:, None, None]
    counts = np.bincount(number.ravel(), minlength=2 * len(BASIC_COLOURS) * frames)
    return np.asarray(3 * np.sqrt(counts.reshape(frames, -1) / (height * width)))


def _cell_colours(labels: UInt8[np.ndarray, "frames height width"]) -> Float[np.ndarray, "frames bins"]:
    """Share of each basic colour in each of CELLS."""
    frames, height, width = labels.shape
    rows, columns = np.arange(height) * CELLS[0] // height, np.arange(width) * CELLS[1] // width
    cell = rows[:, None] * CELLS[1] + columns
    cells = CELLS[0] * CELLS[1]
    number = labels + len(BASIC_COLOURS) * (cell + cells * np.arange(frames)[:, None, None])
    counts = np.bincount(number.ravel(), minlength=frames * cells * len(BASIC_COLOURS))
    return np.asarray(counts.reshape(frames, -1) / (height * width))


def _means(
    planes: Float[np.ndarray, "frames channels height width"], cells: tuple[int, int]
) -> Float[np.ndarray, "frames channels rows columns"]:
    """Mean of each cell of a coarse grid that divides GRID."""
    frames, channels, height, width = planes.shape
    rows, columns = cells
    blocks = planes.reshape(frames, channels, rows, height // rows, columns, width // columns)
    return np.asarray(blocks.mean((3, 5)))


def _edges(light: Float[np.ndarray, "frames height width"]) -> Float[np.ndarray, "frames bins"]:
    """Per cell: edge energy, and the second and fourth harmonic of the edges' direction."""
    across, down = np.zeros_like(light), np.zeros_like(light)
    across[:, :, 1:-1] = light[:, :, 2:] - light[:, :, :-2]
    down[:, 1:-1] = light[:, 2:] - light[:, :-2]
    strength = np.sqrt(across**2 + down**2)
    inverse = 1 / (strength + np.float32(1e-3))
    cosine, sine = (across**2 - down**2) * inverse, 2 * across * down * inverse
    planes = np.stack([strength, cosine, sine, (cosine**2 - sine**2) * inverse, 2 * cosine * sine * inverse], axis=1)
    return np.asarray(_means(planes, CELLS).reshape(len(light), -1))


def _pattern(
    planes: Float[np.ndarray, "frames channels height width"], front: Bool[np.ndarray, "frames height width"]
) -> Float[np.ndarray, "frames traits"]:
    """The background's pattern, objects cut out, along the colour direction in which it varies most.

    Its spectrum in bins of wave length and direction; how the directions gather (2nd, 4th and 6th harmonic: stripes
    have one direction, checks two, dots several); how few waves make it up; how much of it is a plain slope.
    """
    frames = len(planes)
    back = (~front).reshape(frames, 1, -1).astype(np.float32)
    seen = np.maximum(back.sum(2, keepdims=True), 1)
    pixels = planes.reshape(frames, 3, -1)
    pixels = (pixels - (pixels * back).sum(2, keepdims=True) / seen) * back
    covariance = pixels @ pixels.swapaxes(1, 2) / seen
    main = np.linalg.eigh(covariance.astype(np.float64))[1][:, :, -1:].astype(np.float32)
    field = (pixels * main).sum(1)
    contrast = np.sqrt((field**2).sum(1) / seen[:, 0, 0])
    light = _LUMINANCE @ pixels
    slopes = _each(light, _slopes()) / np.float32(GRID[0] * GRID[1])
    slope = np.square(_each(field, _slopes())).sum(1) / np.maximum(np.square(field).sum(1) * GRID[0] * GRID[1], 1e-6)
    bins, angle, window = _waves()
    power = np.abs(np.fft.rfft2(field.reshape(frames, *GRID) * window)).reshape(frames, -1)
    power = np.square(power).astype(np.float32)[:, 1:]
    power /= power.sum(1, keepdims=True) + np.float32(10)
    spectrum = _each(power, bins)
    gathered = _each(power, angle)
    sizes = np.abs(gathered[:, :3] + 1j * gathered[:, 3:])
    strongest = -np.partition(-power, (4, 16, 64), axis=1)[:, :64]
    few = np.stack([strongest[:, :count].sum(1) for count in (4, 16, 64)], axis=1)
    seen_at = np.exp(-0.5 * np.square((np.log2(contrast + 1e-3)[:, None] - np.arange(-8, 0, 2)) / 1.5))
    scalars = np.stack([slope, contrast], axis=1)
    return np.concatenate([spectrum, gathered, sizes, few, seen_at, scalars, 5 * slopes], axis=1)


@lru_cache(maxsize=1)
def _slopes() -> Float[np.ndarray, "pixels axes"]:
    """Position across and down, each with mean 0 and mean square 1."""
    down, across = np.mgrid[: GRID[0], : GRID[1]].reshape(2, -1).astype(np.float64)
    axes = np.stack([across, down], axis=1)
    return np.asarray(((axes - axes.mean(0)) / axes.std(0)).astype(np.float32))


@lru_cache(maxsize=1)
def _waves() -> tuple[
    Float[np.ndarray, "waves bins"], Float[np.ndarray, "waves harmonics"], Float[np.ndarray, "height width"]
]:
    """For each wave of the spectrum but its mean: its bin of length and direction, and cosine and sine of 2, 4 and 6
    times its direction. Then the window before the transform.
    """
    height, width = GRID
    down, across = np.meshgrid(np.fft.fftfreq(height), np.fft.rfftfreq(width), indexing="ij")
    length, angle = np.hypot(down, across).ravel()[1:], np.arctan2(down, across).ravel()[1:]
    ring = np.clip(np.log2(length * 128), 0, 5)
    rings = np.maximum(0, 1 - np.abs(ring[:, None] - np.arange(6)))
    turn = (angle % np.pi) / np.pi * 8
    apart = np.abs(turn[:, None] - np.arange(8))
    turns = np.maximum(0, 1 - np.minimum(apart, 8 - apart))
    bins = (rings[:, :, None] * turns[:, None, :]).reshape(len(length), -1)
    angles = [np.cos(k * angle) for k in (2, 4, 6)] + [np.sin(k * angle) for k in (2, 4, 6)]
    window = np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[None, 1:-1]
    return bins.astype(np.float32), np.stack(angles, axis=1).astype(np.float32), window.astype(np.float32)


def _pan(
    now: Float[np.ndarray, "frames height width"], before: Float[np.ndarray, "frames height width"]
) -> Float[np.ndarray, "frames directions"]:
    """How far the whole picture moved left, right, up and down (phase correlation), in quarters of the frame."""
    rows, columns = GRID[0] // 4, GRID[1] // 4
    small, small_before = (_means(light[:, None], (rows, columns))[:, 0] for light in (now, before))
    cross = np.fft.rfft2(small) * np.fft.rfft2(small_before).conj()
    peaks = np.fft.irfft2(cross / (np.abs(cross) + 1e-2), s=(rows, columns)).reshape(len(now), -1)
    place = peaks.argmax(1)
    down, across = (place // columns + rows // 2) % rows - rows // 2, (place + columns // 2) % columns - columns // 2
    sure = np.clip(4 * np.take_along_axis(peaks, place[:, None], 1), 0, 1)
    across, down = across / (columns / 4), down / (rows / 4)
    return np.asarray(np.clip(np.stack([-across, across, -down, down], axis=1), 0, 1) * sure)
