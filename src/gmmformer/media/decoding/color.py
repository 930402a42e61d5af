"""High dynamic range and wide gamut pictures to the range and gamut of an ordinary screen."""

import enum
from functools import cache

import numpy as np
from jaxtyping import Float, UInt8, UInt16

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
