"""Pictures that show their own second as a bar code, and the reading of them."""

import zlib
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

WIDTH, HEIGHT = 160, 96
ROWS, COLUMNS = 2, 16
NEVER = Fraction(160_000)
"""What a picture shows that must never be seen."""
RED, GREEN, BLUE = (200, 0, 0), (0, 160, 0), (30, 30, 160)
INK, PAPER = 20, 235
REACH = 3
"""Pixels across and down that are looked at to know one bar."""
STEPS = np.linspace(-1, 1, REACH)


class Reading(NamedTuple):
    """What a picture says of itself."""

    second: Fraction
    """When it is to be on screen, to a hundredth."""
    shape: float
    """Width of the red square in units of its height: 1 where the picture is in proportion."""
    colours: np.ndarray
    """RGB of the red, the green and the blue, [3, 3]."""


class MisreadError(AssertionError):
    """There is no bar code, or not the right way up."""


@lru_cache(1024)
def picture(second: Fraction, width: int = WIDTH, height: int = HEIGHT, sample_aspect: Fraction = Fraction(1)) -> Any:
    """Green with a red square at the left, the bar code, blue; RGB [height, width, 3]; do not write to it.

    The bar code has 24 bits of hundredths of a second, so 46 hours at most, and 8 that are worked out of them, the
    highest first.
    """
    hundredths = round(second * 100)
    code = hundredths << 8 | _check(hundredths)
    bits = np.array([code >> place & 1 for place in reversed(range(ROWS * COLUMNS))]).reshape(ROWS, COLUMNS)
    image = np.zeros((height, width, 3), np.uint8)
    top, bottom = height // 4, height * 3 // 4
    image[:top], image[bottom:] = GREEN, BLUE
    image[:top, : round(top / sample_aspect)] = RED
    rows = np.arange(bottom - top) * ROWS // (bottom - top)
    columns = np.arange(width) * COLUMNS // width
    image[top:bottom] = np.where(bits[np.ix_(rows, columns)], PAPER, INK)[..., None]
    return image


def read(image: np.ndarray) -> Reading:
    """Read a picture, of any size and perhaps with black around it.

    Raises:
        MisreadError: It does not stand upright, or is not what was drawn.
    """
    lit = np.maximum(np.maximum(image[..., 0], image[..., 1]), image[..., 2]) > 70
    if not lit.any():
        raise MisreadError("the picture is black")
    down, across = (np.flatnonzero(np.count_nonzero(lit, axis=axis) > 0.1 * lit.shape[axis]) for axis in (1, 0))
    image = image[down[0] : down[-1] + 1, across[0] : across[-1] + 1]
    height, width = image.shape[:2]
    side = height / 4
    red = int(_reddish(image[round(side / 2)]).sum())
    middles = np.array([[side / 2, red / 2], [side / 2, width - side / 4], [height - side / 2, width / 2]])
    down, across = (_around(middles[:, axis], side / 8).reshape(len(middles), REACH) for axis in (0, 1))
    colours = image[down[:, :, None], across[:, None, :]].mean(axis=(1, 2))
    if [int(colour.argmax()) for colour in colours] != [0, 1, 2]:
        raise MisreadError(f"the picture does not stand upright: {colours.round().tolist()}")
    rows = _around(height * (0.25 + (np.arange(ROWS) + 0.5) / (2 * ROWS)), width / COLUMNS / 5)
    columns = _around(width * (np.arange(COLUMNS) + 0.5) / COLUMNS, width / COLUMNS / 5)
    greys = image[np.ix_(rows, columns)].mean(axis=-1).reshape(ROWS, REACH, COLUMNS, REACH).mean(axis=(1, 3))
    if ((greys > 100) & (greys < 155)).any():
        raise MisreadError(f"bars are grey: {greys.round().tolist()}")
    code = int("".join("1" if grey > 127 else "0" for grey in greys.ravel()), 2)
    if code & 255 != _check(code >> 8):
        raise MisreadError(f"the bar code does not add up: {code:#x}")
    shape = float(red / max(1, _reddish(image[: height // 2, round(red / 2)]).sum()))
    return Reading(Fraction(code >> 8, 100), shape, colours)


def _check(hundredths: int) -> int:
    return zlib.crc32(hundredths.to_bytes(3, "big")) & 255


def _reddish(line: np.ndarray) -> np.ndarray:
    return np.asarray(line[:, 0] > line[:, 1].astype(int) + 40)


def _around(places: np.ndarray, reach: float) -> np.ndarray:
    """REACH whole places around each."""
    return np.asarray((places[:, None] + reach * STEPS).astype(int).ravel())
