"""Decoded frames as a person would see them: upright, in proportion, in RGB, at the size asked for."""

from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
from jaxtyping import UInt8

from gmmformer.media.decoding.color import Transfer, to_screen

BT709, BT470BG, UNSPECIFIED, BT2020 = 1, 5, 2, 9
TRANSFERS = {16: Transfer.PQ, 18: Transfer.HLG}
"""AVColorTransferCharacteristic (ITU-T H.273) of high dynamic range."""
HD_HEIGHT = 720
"""Pictures of this height or more are BT.709 where they do not say, smaller ones BT.601."""


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


class PictureMaker:
    """Turns the decoded frames of one film into pictures of one size.

    The first frame's display size settles the size of all. Transparent films are laid over black. An interlaced
    frame is shown by the field that comes first, which is what is on screen at the frame's time, its missing lines
    interpolated: no neighbour is needed, so the picture is the same whichever frames around it were decoded.
    """

    def __init__(self, *, size: int | None, sample_aspect: Fraction, bottom_field_first: bool) -> None:
        self._shorter_side = size
        self._sample_aspect = sample_aspect
        self._field = "bottom" if bottom_field_first else "top"
        self._size: tuple[int, int] | None = None

    def picture(self, frame: "av.VideoFrame") -> UInt8[np.ndarray, "height width 3"]:
        """The frame upright, sample aspect applied, high dynamic range toned down to an ordinary screen's."""
        orientation = orientation_of(frame)
        if self._size is None:
            self._size = self._output_size(frame.width, frame.height, orientation)
        width, height = reversed(self._size) if orientation.transpose else self._size
        if frame.interlaced_frame and frame.height > 1:
            frame = _one_field(frame, self._field)
        image = _rgb(frame, width, height)
        if orientation.transpose:
            image = image.swapaxes(0, 1)
        image = image[:: -1 if orientation.mirror_y else 1, :: -1 if orientation.mirror_x else 1]
        return np.ascontiguousarray(image)

    def _output_size(self, width: int, height: int, orientation: Orientation) -> tuple[int, int]:
        size = display_size(width, height, self._sample_aspect, orientation)
        shorter = min(size)
        if self._shorter_side is None or shorter <= self._shorter_side:
            return size
        across, down = (max(1, round(side * self._shorter_side / shorter)) for side in size)
        return across, down


def display_size(width: int, height: int, sample_aspect: Fraction, orientation: Orientation) -> tuple[int, int]:
    """Width and height of a stored picture once its samples are square and it stands upright."""
    width = max(1, round(width * sample_aspect))
    return (height, width) if orientation.transpose else (width, height)


def orientation_of(frame: "av.VideoFrame") -> Orientation:
    """What the frame's display matrix asks for; a matrix that is no right-angled turn or mirroring asks for nothing."""
    for side_data in frame.side_data:
        if side_data.type.name == "DISPLAYMATRIX":
            return _orientation(np.frombuffer(bytes(side_data), dtype="=i4").astype(np.int64))
    return Orientation(transpose=False, mirror_x=False, mirror_y=False)


def _orientation(matrix: np.ndarray) -> Orientation:
    # A stored point (x, y), y downwards, is shown at (a x + c y, b x + d y).
    a, b, c, d = (int(matrix[place]) for place in (0, 1, 3, 4))
    if a and d and max(abs(b), abs(c)) * 100 < min(abs(a), abs(d)):
        return Orientation(transpose=False, mirror_x=a < 0, mirror_y=d < 0)
    if b and c and max(abs(a), abs(d)) * 100 < min(abs(b), abs(c)):
        return Orientation(transpose=True, mirror_x=c < 0, mirror_y=b < 0)
    return Orientation(transpose=False, mirror_x=False, mirror_y=False)


def _one_field(frame: "av.VideoFrame", field: str) -> "av.VideoFrame":
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 90000)
    )
    graph.link_nodes(source, graph.add("field", f"type={field}"), graph.add("buffersink")).configure()
    graph.push(frame)
    return graph.pull()


def _rgb(frame: "av.VideoFrame", width: int, height: int) -> UInt8[np.ndarray, "height width 3"]:
    transfer = TRANSFERS.get(frame.color_trc)
    if transfer is None and frame.color_primaries == BT2020:
        transfer = Transfer.SDR
    transparent = frame.format.has_palette or any(component.is_alpha for component in frame.format.components)
    if transfer is not None:
        return to_screen(_scaled(frame, width, height, "gbrp16le"), transfer)
    if transparent:
        rgba = _scaled(frame, width, height, "rgba").astype(np.uint16)
        return ((rgba[..., :3] * rgba[..., 3:] + 127) // 255).astype(np.uint8)
    return _scaled(frame, width, height, "rgb24")


def _scaled(frame: "av.VideoFrame", width: int, height: int, pixel_format: str) -> np.ndarray:
    interpolation = av.video.reformatter.Interpolation
    colorspace = frame.colorspace
    if colorspace == UNSPECIFIED and not frame.format.is_rgb:
        colorspace = BT709 if frame.height >= HD_HEIGHT else BT470BG
    scaled = frame.reformat(
        width=width,
        height=height,
        format=pixel_format,
        src_colorspace=colorspace,
        interpolation=interpolation.AREA | interpolation.ACCURATE_RND | interpolation.FULL_CHR_H_INT,
        threads=1,
    )
    array: np.ndarray = scaled.to_ndarray()
    return array
