"""How stored pictures are turned to stand upright, and how large they then are."""

from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np


class Orientation(NamedTuple):
    """How a stored picture is turned to stand upright: transposed first, then mirrored."""

    transpose: bool
    mirror_x: bool
    mirror_y: bool

    @property
    def degrees(self) -> int:
        """The turn alone, counter-clockwise: 0, 90, 180 or 270."""
        if self.transpose:
            return 270 if self.mirror_x else 90
        return 180 if self.mirror_x and self.mirror_y else 0


UPRIGHT = Orientation(transpose=False, mirror_x=False, mirror_y=False)


def display_size(width: int, height: int, sample_aspect: Fraction, orientation: Orientation) -> tuple[int, int]:
    """Width and height of a stored picture once its samples are square and it stands upright."""
    width = max(1, round(width * sample_aspect))
    return (height, width) if orientation.transpose else (width, height)


def orientation_of(frame: "av.VideoFrame") -> Orientation | None:
    """What the frame's display matrix asks for; None where it has none.

    A matrix that is no right-angled turn or mirroring asks for nothing.
    """
    for side_data in frame.side_data:
        if side_data.type.name == "DISPLAYMATRIX":
            return _orientation(np.frombuffer(bytes(side_data), dtype="=i4").astype(np.int64))
    return None


def _orientation(matrix: np.ndarray) -> Orientation:
    # A stored point (x, y), y downwards, is shown at (a x + c y, b x + d y).
    a, b, c, d = (int(matrix[place]) for place in (0, 1, 3, 4))
    if a and d and max(abs(b), abs(c)) * 100 < min(abs(a), abs(d)):
        return Orientation(transpose=False, mirror_x=a < 0, mirror_y=d < 0)
    if b and c and max(abs(a), abs(d)) * 100 < min(abs(b), abs(c)):
        return Orientation(transpose=True, mirror_x=c < 0, mirror_y=b < 0)
    return UPRIGHT
