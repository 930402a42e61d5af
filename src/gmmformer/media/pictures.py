"""Decoded frames as a person would see them: upright, in proportion, in RGB, at the size asked for."""

import enum
from fractions import Fraction
from functools import cache

import av
import numpy as np
from jaxtyping import Float, UInt8, UInt16

from gmmformer.media.container import OpenFilm

BT709, BT470BG, UNSPECIFIED, BT2020 = 1, 5, 2, 9
MATRICES = frozenset((BT709, 4, BT470BG, 6, 7, BT2020))
"""AVColorSpace (ITU-T H.273) that swscale knows."""
BT2020_KINDS = frozenset((10, 14))
"""BT.2020 of constant luminance and ICtCp."""
HD_HEIGHT = 720
"""Pictures of this height or more are BT.709 where they do not say, smaller ones BT.601."""
REFERENCE_WHITE = 203.0
"""Candela per square metre of white paper in an HDR picture (ITU-R BT.2408)."""
PEAK = 1000.0 / REFERENCE_WHITE
"""The brightest light that is still told apart, in reference whites: that of a 1000 cd/m2 screen."""
KNEE = 0.6
"""Light below this share of white is left as it is; all above is bent into the rest."""
SCREEN_GAMMA = 2.4
"""Exponent of an ordinary screen (ITU-R BT.1886)."""
BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], dtype=np.float32
)
"""Linear RGB to linear RGB (ITU-R BT.2087)."""
BT2020_LUMA = np.array([0.2627, 0.6780, 0.0593], dtype=np.float32)


class Transfer(enum.Enum):
    """How code values stand for light."""

    PQ = "pq"
    """Perceptual quantiser, absolute light (SMPTE ST 2084)."""
    HLG = "hlg"
    """Hybrid log-gamma, light of the scene (ITU-R BT.2100)."""
    SDR = "sdr"
    """An ordinary screen's power law; only the gamut is wide."""


TRANSFERS = {16: Transfer.PQ, 18: Transfer.HLG}
"""AVColorTransferCharacteristic (ITU-T H.273) of high dynamic range."""


class PictureMaker:
    """Turns the decoded frames of one film into pictures of one size, that of the film or smaller.

    A frame of another shape, where size, aspect or orientation change within the film, keeps its own and is shown
    as large as fits, on black. Transparent films are laid over black. An interlaced frame is shown by the field that
    comes first, which is what is on screen at the frame's time, its missing lines interpolated: no neighbour is needed,
    so the picture is the same whichever frames around it were decoded.
    """

    def __init__(self, film: OpenFilm, *, size: int | None) -> None:
        """For a film whose first frame was decoded.

        Args:
            film: Where the frames come from.
            size: The shorter side of the pictures; None for the film's own. A smaller film is not enlarged.
        """
        assert film.size is not None
        self.film = film
        self._field = "bottom" if film.bottom_field_first else "top"
        shorter = min(film.size)
        scale = 1 if size is None or shorter <= size else Fraction(size, shorter)
        self._size = tuple(max(1, round(side * scale)) for side in film.size)

    def picture(self, frame: "av.VideoFrame") -> UInt8[np.ndarray, "height width 3"]:
        """The frame upright, sample aspect applied, high dynamic range toned down to an ordinary screen's."""
        orientation = self.film.orientation(frame)
        inner = fitted(self.film.display_size(frame), self._size)
        width, height = reversed(inner) if orientation.transpose else inner
        if frame.interlaced_frame and frame.height > 1:
            frame = _one_field(frame, self._field)
        matrix, doubt = matrix_of(frame)
        if doubt is not None:
            self.film.report.remark(doubt)
        image = _rgb(frame, width, height, matrix)
        if orientation.transpose:
            image = image.swapaxes(0, 1)
        image = image[:: -1 if orientation.mirror_y else 1, :: -1 if orientation.mirror_x else 1]
        if inner == self._size:
            return np.ascontiguousarray(image)
        across, down = self._size
        whole = np.zeros((down, across, 3), dtype=np.uint8)
        left, top = (across - inner[0]) // 2, (down - inner[1]) // 2
        whole[top : top + inner[1], left : left + inner[0]] = image
        return whole


def fitted(size: tuple[int, int], into: tuple[int, ...]) -> tuple[int, ...]:
    """A width and height made as large as fits into others; those, where the shape is the same but for a pixel."""
    scale = min(Fraction(most, side) for side, most in zip(size, into, strict=True))
    inner = tuple(max(1, round(side * scale)) for side in size)
    return into if all(most - side <= 1 for side, most in zip(inner, into, strict=True)) else inner


def matrix_of(frame: "av.VideoFrame") -> tuple[int, str | None]:
    """By which matrix a frame is brought to RGB (AVColorSpace, ITU-T H.273), and a remark where it asks for another.

    Frames that do not say are BT.709 from HD_HEIGHT on, else BT.601, as players have it; so are those that ask for a
    matrix which swscale does not know, or for RGB where they hold none, but for kinds of BT.2020, which are taken for
    its plain one.
    """
    asked, height = int(frame.colorspace), frame.height
    if frame.format.is_rgb or frame.format.has_palette:
        return UNSPECIFIED, None
    if asked in MATRICES:
        return asked, None
    used = BT709 if height >= HD_HEIGHT else BT470BG
    if asked == UNSPECIFIED:
        return used, None
    if asked in BT2020_KINDS or frame.color_primaries == BT2020:
        used = BT2020
    return used, f"its colours are marked with matrix {asked}, and shown by matrix {used} instead, as players do"


def _one_field(frame: "av.VideoFrame", field: str) -> "av.VideoFrame":
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 90000)
    )
    graph.link_nodes(source, graph.add("field", f"type={field}"), graph.add("buffersink")).configure()
    graph.push(frame)
    return graph.pull()


def _rgb(frame: "av.VideoFrame", width: int, height: int, matrix: int) -> UInt8[np.ndarray, "height width 3"]:
    transfer = TRANSFERS.get(frame.color_trc)
    if transfer is None and frame.color_primaries == BT2020:
        transfer = Transfer.SDR
    transparent = frame.format.has_palette or any(component.is_alpha for component in frame.format.components)
    if transfer is not None:
        return to_screen(_scaled(frame, width, height, "gbrp16le", matrix), transfer)
    if transparent:
        rgba = _scaled(frame, width, height, "rgba", matrix).astype(np.uint16)
        return ((rgba[..., :3] * rgba[..., 3:] + 127) // 255).astype(np.uint8)
    return _scaled(frame, width, height, "rgb24", matrix)


def _scaled(frame: "av.VideoFrame", width: int, height: int, pixel_format: str, matrix: int) -> np.ndarray:
    interpolation = av.video.reformatter.Interpolation
    scaled = frame.reformat(
        width=width,
        height=height,
        format=pixel_format,
        src_colorspace=matrix,
        interpolation=interpolation.AREA | interpolation.ACCURATE_RND | interpolation.FULL_CHR_H_INT,
        threads=1,
    )
    array: np.ndarray = scaled.to_ndarray()
    return array


def to_screen(codes: UInt16[np.ndarray, "height width 3"], transfer: Transfer) -> UInt8[np.ndarray, "height width 3"]:
    """A BT.2020 picture as BT.709 code values for an ordinary (SDR) screen.

    Code values become light on a 1000 cd/m2 screen, in units of reference white; the gamut is converted and what
    lies outside is cut off; where the brightest channel of a pixel passes the knee, the pixel is dimmed as a whole,
    so its hue stays, by a curve that meets the knee without a kink and takes PEAK to white. White paper in HDR thus
    shows at about 91 % of code range. Light is then encoded for BT.1886.

    Args:
        codes: Full-range RGB, 0 to 65535.
        transfer: What the code values stand for.
    """
    light = _light_of_codes(transfer)[codes]
    if transfer is Transfer.HLG:
        light *= (light @ BT2020_LUMA)[..., None] ** 0.2 * np.float32(PEAK)
    light = np.clip(light @ BT2020_TO_BT709.T, 0.0, None)
    if transfer is not Transfer.SDR:
        brightest = light.max(axis=-1, keepdims=True)
        light *= _bent(brightest) / np.maximum(brightest, 1e-6)
    encoded: UInt8[np.ndarray, "height width 3"] = np.rint(
        np.clip(light, 0.0, 1.0) ** np.float32(1 / SCREEN_GAMMA) * 255
    ).astype(np.uint8)
    return encoded


def _bent(light: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
    """Extended Reinhard above the knee, with slope 1 there and value 1 at PEAK."""
    above = np.maximum(light - KNEE, 0.0) / (1 - KNEE)
    top = (PEAK - KNEE) / (1 - KNEE)
    bent: Float[np.ndarray, "*any"] = np.minimum(light, KNEE) + (1 - KNEE) * above * (1 + above / top**2) / (1 + above)
    return bent


@cache
def _light_of_codes(transfer: Transfer) -> Float[np.ndarray, "65536"]:
    """Light of every code value: reference whites for PQ and SDR, share of the scene's brightest for HLG."""
    code = np.linspace(0.0, 1.0, 65536)
    match transfer:
        case Transfer.PQ:
            m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
            root = code ** (1 / m2)
            light = (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1) * 10000 / REFERENCE_WHITE
        case Transfer.HLG:
            a, b, c = 0.17883277, 0.28466892, 0.55991073
            light = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
        case Transfer.SDR:
            light = code**SCREEN_GAMMA
    return light.astype(np.float32)
