"""The demo's pair of encoders: no weights, no downloads, made for its small world of shapes, not for the world."""

import math
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Complex, Float, Int, UInt8

from gmmformer.config import Running
from gmmformer.demo.drawing import distance
from gmmformer.demo.scenes import BACKGROUND_COLOURS, COLOURS, SHAPES, second_tone

GRID = (96, 128)
"""Rows and columns that every frame is averaged to."""
_COLOURS, _SHAPES = len(COLOURS), len(SHAPES)
_ORDERS = np.arange(3, 7)
"""Orders of an outline's angular harmonics: a triangle shows in the third, a square in the fourth, and so on."""
_WAVES = 12
_LEAST_CELLS, _LEAST_INSIDE = 20, 0.1
"""Cells of an object, and the share of them that must have none but its own around them: blurred edges have none."""
_MOST_OBJECTS = 12
_WORD = re.compile(r"\w+(?:['’]\w+)*")


class Seen(NamedTuple):
    """What is known of a frame by itself; its objects are its coloured shapes, lengths in shares of its height."""

    vector: Float[np.ndarray, "traits"]
    light: Float[np.ndarray, "rows columns"]
    """Mean luminance of 3 x 4 parts of the frame, in [0, 1]."""
    shares: Float[np.ndarray, "colours"]
    """Of the frame that each colour of the demo fills, of shapes and then of backgrounds; they sum to 1."""
    kind: Float[np.ndarray, "objects kinds"]
    """Of each object its colour, 1 at one of COLOURS, and how likely each of SHAPES is, which sums to 1."""
    centre: Complex[np.ndarray, "objects"]
    """x + iy, y downwards."""
    radius: Float[np.ndarray, "objects"]
    """Of the disc of the same area."""
    harmonics: Complex[np.ndarray, "objects orders"]
    """Mean of (z / radius)^k over its cells z, from its centre, for k in _ORDERS: the size of k-fold corners and, in
    the phase, k times their direction (complex moments, Flusser 2000)."""


class ShapeFrames:
    """A fixed descriptor of the demo's scenes: colours, the background's pattern, coloured shapes and what they do.

    For real films take a pretrained encoder. A film of one frame per second moves far between frames, so movement is
    read from matched objects, not from optical flow. The same frames give the same vectors on every machine, but for
    rounding.
    """

    name = "gmmformer.demo.encoders:ShapeFrames"
    identity = "shape-frames-v2"
    size = 128
    needs_previous = True

    def __init__(self, running: Running | None = None) -> None:
        """Runs alike everywhere."""

    @property
    def dim(self) -> int:
        """Width of a frame's vector."""
        return _frame_dim()

    def encode(
        self,
        images: Sequence[UInt8[np.ndarray, "_height _width 3"]],
        previous: Sequence[UInt8[np.ndarray, "_height _width 3"] | None] | None = None,
    ) -> Float[np.ndarray, "frames dim"]:
        """One vector per frame, whatever other frames it is passed with.

        Args:
            images: RGB frames of any sizes.
            previous: For each of them the frame sampled before it from the same film, None for the first. One that is
                itself among `images` (the same array) is not looked at twice. Without it no frame has one before.
        """
        before = [None] * len(images) if previous is None else list(previous)
        seen = {
            id(image): None if image is None else see(image)
            for image in {id(i): i for i in [*before, *images]}.values()
        }
        vectors = np.zeros((len(images), self.dim), np.float32)
        for vector, image, earlier in zip(vectors, images, before, strict=True):
            now = seen[id(image)]
            assert now is not None
            vector[:] = np.concatenate([now.vector, happened(now, seen[id(earlier)])])
        return vectors


def see(image: UInt8[np.ndarray, "height width 3"]) -> Seen:
    """What a frame shows by itself."""
    height, width, _ = image.shape
    rows = (_averaging(height, GRID[0]) @ image.reshape(height, -1).astype(np.float32)).reshape(GRID[0], width, 3)
    grid: Float[np.ndarray, "rows columns 3"] = _averaging(width, GRID[1]) @ rows
    red, green, blue = np.moveaxis(grid.astype(np.int64) >> 3, -1, 0)
    labels = _palette()[red << 10 | green << 5 | blue]
    light = grid @ (np.array([0.299, 0.587, 0.114], np.float32) / 255)
    shares = np.bincount(labels.ravel(), minlength=_COLOURS + len(BACKGROUND_COLOURS)) / labels.size
    kind, centre, radius, harmonics = _objects(labels)
    near = np.abs(np.log2(np.maximum(radius, 1e-3))[:, None] - np.log2((0.05, 0.08, 0.13)))
    sizes = np.maximum(0, 1 - near / np.log2(1.6))
    parts = [
        1.5 * (_means(grid / 255, 6, 8) - 0.5),
        3 * np.sqrt(shares),
        0.1 * np.sqrt(_waves(light, labels < _COLOURS)),
        1.5 * kind.T @ np.concatenate([np.ones((len(kind), 1)), kind[:, _COLOURS:], sizes], axis=1),
        np.maximum(0, 1 - np.abs(len(kind) - np.arange(8))),
    ]
    vector = np.concatenate([part.ravel() for part in parts])
    return Seen(vector, _means(light[..., None], 3, 4)[..., 0], shares, kind, centre, radius, harmonics)


def happened(now: Seen, before: Seen | None) -> Float[np.ndarray, "changes"]:
    """What changed since the frame before; nothing where there is none, and nothing but the cut itself across a cut.

    Objects are matched with the nearest one of the same colour, size and shape, both ways; what finds no match has
    appeared or vanished.
    """
    first, before = float(before is None), before or now
    alike = np.minimum(now.shares, before.shares).sum()
    steady = float(np.clip((alike - 0.4) / 0.3, 0, 1)) * (1 - first)
    cost = np.abs(now.centre[:, None] - before.centre) + np.abs(np.log(now.radius[:, None] / before.radius)) / 2
    cost = cost + np.abs(now.kind[:, None] - before.kind).sum(-1) / 5
    cost[(now.kind[:, None, :_COLOURS] != before.kind[:, :_COLOURS]).any(-1) | (cost > 1.2)] = np.inf
    events = np.zeros((len(now.kind), 9))
    events[:, 8] = 1  # appeared, unless it was there
    gone = np.ones((len(before.kind), 1))
    for one, other in enumerate(cost.argmin(1) if cost.size else ()):
        if np.isfinite(cost[one, other]) and cost[:, other].argmin() == one:
            moved = now.centre[one] - before.centre[other]
            grown = math.log(now.radius[one] / before.radius[other])
            swung = now.harmonics[one] * before.harmonics[other].conj()
            turn = (np.abs(swung) - swung.real).sum() / (np.abs(swung).sum() + 2e-3)
            went = [-moved.real / 0.08, moved.real / 0.08, -moved.imag / 0.08, moved.imag / 0.08]
            still = max(0, 1 - abs(moved) / 0.03) * max(0, 1 - abs(grown) / 0.05) * (1 - turn)
            events[one] = np.clip([*went, grown / 0.15, -grown / 0.15, turn, still, 0], 0, 1)
            gone[other] = 0
    kinds = [now.kind.T @ events, before.kind.T @ gone, events.sum(0), gone.sum(0)]
    parts = [*(2 * steady * part for part in kinds), 2 * steady * np.sqrt(np.abs(now.light - before.light))]
    return np.concatenate([*(part.ravel() for part in parts), [(1 - alike) * (1 - first), first]])


@lru_cache(maxsize=64)
def _averaging(size: int, cells: int) -> Float[np.ndarray, "cells size"]:
    """The matrix that averages `size` pixels to `cells`; each row sums to 1."""
    edges, pixels = np.arange(cells + 1) * size / cells, np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.asarray((np.maximum(overlap, 0) * cells / size).astype(np.float32))


@lru_cache(maxsize=1)
def _palette() -> UInt8[np.ndarray, "codes"]:
    """For every colour of 5 bits per channel the nearest of COLOURS, in light or at a rim, or of BACKGROUND_COLOURS."""
    code = np.arange(32**3)
    rgb = np.stack([code >> 10, code >> 5 & 31, code & 31], axis=-1) * 8 + 4
    tones = [
        (index, np.multiply(colour, dim)) for index, colour in enumerate(COLOURS.values()) for dim in (1, 0.8, 0.62)
    ]
    tones = [(index, tone) for index, tone in tones if np.ptp(tone) > 1 or tone.min() > 240]  # a dim white is grey
    for index, colour in enumerate(BACKGROUND_COLOURS.values(), start=_COLOURS):
        tones += [(index, colour + share * (second_tone(colour) - colour)) for share in (0, 1, 1.6)]
    away = [np.square(rgb - tone).sum(1) for _, tone in tones]
    return np.asarray(np.array([index for index, _ in tones], np.uint8)[np.argmin(away, axis=0)])


def _means(planes: Float[np.ndarray, "height width channels"], rows: int, columns: int) -> Float[np.ndarray, "..."]:
    height, width, channels = planes.shape
    return np.asarray(planes.reshape(rows, height // rows, columns, width // columns, channels).mean((1, 3)))


def _waves(
    light: Float[np.ndarray, "rows columns"], front: Bool[np.ndarray, "rows columns"]
) -> Float[np.ndarray, "..."]:
    """How much of each longer wave the background is made of, its objects cut out."""
    mean = light[~front].mean() if not front.all() else 0.0
    window = np.hanning(GRID[0] + 2)[1:-1, None] * np.hanning(GRID[1] + 2)[1:-1]
    spectrum = np.abs(np.fft.rfft2(np.where(front, 0, light - mean) * window))
    return np.asarray(np.roll(spectrum, _WAVES, axis=0)[: 2 * _WAVES + 1, : _WAVES + 1])


def _objects(
    labels: UInt8[np.ndarray, "rows columns"],
) -> tuple[
    Float[np.ndarray, "n kinds"], Complex[np.ndarray, "n"], Float[np.ndarray, "n"], Complex[np.ndarray, "n orders"]
]:
    """See `Seen`: the largest connected areas of one colour of shapes."""
    number, inside = _areas(labels)
    cells = np.bincount(number.ravel(), minlength=labels.size)
    kept = np.flatnonzero(
        (cells >= _LEAST_CELLS) & (np.bincount(number[inside], minlength=labels.size) >= _LEAST_INSIDE * cells)
    )
    kept = kept[np.argsort(-cells[kept], kind="stable")][:_MOST_OBJECTS]
    kind, (centre, radius) = np.zeros((len(kept), _COLOURS + _SHAPES)), np.zeros((2, len(kept)), complex)
    harmonics = np.zeros((len(kept), len(_ORDERS)), complex)
    for index, area in enumerate(kept):
        y, x = np.nonzero(number == area)
        centre[index], radius[index], outline, harmonics[index] = _outline(x, y)
        away = np.square((outline - _outlines()) / 0.05).sum(1)
        likely = np.exp((away.min() - away) / 4)
        kind[index, labels.flat[area]], kind[index, _COLOURS:] = 1, likely / likely.sum()
    return kind, centre, radius.real, harmonics


def _areas(
    labels: UInt8[np.ndarray, "rows columns"],
) -> tuple[Int[np.ndarray, "rows columns"], Bool[np.ndarray, "rows columns"]]:
    """Of each cell its connected area (4 neighbours) of one colour of shapes, named by its first cell; whether all its
    neighbours are of it too.
    """
    cell = np.arange(labels.size).reshape(labels.shape)
    down = (labels[1:] == labels[:-1]) & (labels[1:] < _COLOURS)
    across = (labels[:, 1:] == labels[:, :-1]) & (labels[:, 1:] < _COLOURS)
    inside = np.zeros(labels.shape, bool)
    inside[1:-1, 1:-1] = (down[1:] & down[:-1])[:, 1:-1] & (across[:, 1:] & across[:, :-1])[1:-1]
    one = np.concatenate([cell[:-1][down], cell[:, :-1][across]])
    other = np.concatenate([cell[1:][down], cell[:, 1:][across]])
    first = cell.ravel().copy()
    while len(one):
        np.minimum.at(first, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(first, nearer := first[first]):
            first = nearer
        one, other = first[one], first[other]
        apart = one != other
        one, other = one[apart], other[apart]
    return first.reshape(labels.shape), inside


def _outline(
    x: Int[np.ndarray, "cells"], y: Int[np.ndarray, "cells"]
) -> tuple[complex, float, Float[np.ndarray, "moments"], Complex[np.ndarray, "orders"]]:
    """Centre, radius, moments that do not change with place, size and turn, and harmonics of some cells."""
    z = (x + 0.5 + 1j * (y + 0.5)) / GRID[0]
    centre, radius = z.mean(), math.sqrt(len(z) / math.pi) / GRID[0]
    z = (z - centre) / radius
    harmonics = (z[:, None] ** _ORDERS).mean(0)
    spread = [2 * np.mean(np.abs(z) ** 2), 2 * np.sqrt(np.mean(np.abs(z) ** 4))]
    return centre, radius, np.array([*spread, *np.sqrt(np.abs(harmonics) + 1e-4)]), harmonics


@lru_cache(maxsize=1)
def _outlines() -> Float[np.ndarray, "shapes moments"]:
    """The moments of SHAPES as they are drawn."""
    y, x = np.mgrid[: GRID[0], : GRID[1]].astype(np.float32)
    drawn = [np.nonzero(distance(shape, x - 64, y - 48, 12.0) < 0) for shape in SHAPES]
    return np.stack([_outline(across, down)[2] for down, across in drawn])


@lru_cache(maxsize=1)
def _frame_dim() -> int:
    seen = see(np.zeros((1, 1, 3), np.uint8))
    return len(seen.vector) + len(happened(seen, None))


class ShapeWords:
    """Hashed vectors of words and of the letters they are made of: one token per word.

    Words that share letters lie near each other ("square", "squares"), words that share a meaning do not: good enough
    to learn a small world's words from its captions. Text is put in Unicode normal form (NFKC) and lower case; a
    sentence without a word is one token for the empty word.
    """

    name = "gmmformer.demo.encoders:ShapeWords"
    identity = "shape-words-v1"
    dim = 256

    def __init__(self, running: Running | None = None) -> None:
        """Runs alike everywhere."""

    def encode(self, sentences: Sequence[str]) -> list[Float[np.ndarray, "_tokens dim"]]:
        """One (tokens, dim) array of unit rows per sentence, in the order of its words."""
        plain = (unicodedata.normalize("NFKC", sentence).casefold() for sentence in sentences)
        return [np.stack([_word(word) for word in _WORD.findall(sentence) or [""]]) for sentence in plain]


@lru_cache(maxsize=65536)
def _word(word: str) -> Float[np.ndarray, "dim"]:
    """Half of the word's own direction, half of those of its pieces of 3 to 5 letters; of length 1."""
    marked = f"<{word}>"
    pieces = [marked[at : at + size] for size in (3, 4, 5) for at in range(len(marked) - size + 1)]
    parts = np.sum([_direction(piece) for piece in pieces], axis=0) / np.sqrt(len(pieces)) if pieces else 0
    vector = _direction(f"word {word}") + parts
    unit = np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)
    unit.flags.writeable = False
    return unit


def _direction(text: str) -> Float[np.ndarray, "dim"]:
    """A direction that depends on the text alone: every component +-1/16, signs from its BLAKE2b hash."""
    bits = np.unpackbits(
        np.frombuffer(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32).digest(), np.uint8)
    )
    return (bits * 2.0 - 1.0) / 16
