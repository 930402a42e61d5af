import numpy as np
import pytest

from gmmformer.media.pictures import Transfer, to_screen

TRANSFERS = list(Transfer)


def grey(code):
    return np.full((1, 1, 3), round(code * 65535), dtype=np.uint16)


def pq(nits):
    """SMPTE ST 2084, inverse EOTF."""
    y = (nits / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375


@pytest.mark.parametrize(
    ("transfer", "code", "expected"),
    [
        (Transfer.PQ, 0.0, 0),
        (Transfer.PQ, pq(20.3), round(255 * 0.1 ** (1 / 2.4))),
        (Transfer.PQ, pq(101.5), round(255 * 0.5 ** (1 / 2.4))),
        (Transfer.PQ, pq(203), 233),
        (Transfer.PQ, pq(1000), 255),
        (Transfer.PQ, 1.0, 255),
        (Transfer.HLG, 0.0, 0),
        (Transfer.HLG, 0.75, 233),
        (Transfer.HLG, 1.0, 255),
        (Transfer.SDR, 0.5, 128),
        (Transfer.SDR, 1.0, 255),
    ],
)
def test_greys_by_hand(transfer, code, expected):
    pixel = to_screen(grey(code), transfer)[0, 0]
    assert np.abs(pixel.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_brighter_codes_are_never_darker(transfer):
    ramp = np.repeat(np.linspace(0, 65535, 4096).astype(np.uint16)[None, :, None], 3, axis=-1)
    values = to_screen(ramp, transfer)[0, :, 0].astype(int)
    assert (np.diff(values) >= 0).all()
    assert values[0] == 0
    assert values[-1] == 255


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_wide_colours_keep_their_hue(transfer):
    red = to_screen(np.array([[[50000, 9000, 9000]]], dtype=np.uint16), transfer)[0, 0]
    assert red[0] > 120
    assert abs(int(red[1]) - int(red[2])) < 25
    assert red[0] > int(red[1]) + 80
