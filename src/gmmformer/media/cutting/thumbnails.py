"""Small pictures of films for a page."""

import io
import os

from PIL import Image

from gmmformer.errors import InputError
from gmmformer.media.films import printable
from gmmformer.media.frames import frame_at

LEAST_HEIGHT, MOST_HEIGHT = 32, 720
MOST_WIDTH = 4096
QUALITY = 82


def thumbnail(film: str | os.PathLike[str], second: float, height: int = 180) -> bytes:
    """The frame on screen at a second of a film as a JPEG, upright and for an ordinary screen.

    Args:
        film: The film.
        second: Counted from the film's first frame; past the film's end, its last frame is taken.
        height: Pixels down, 32 to 720, exactly; the width follows from the film's aspect, up to 4096.

    Raises:
        InputError: `second` is negative or no number, or `height` is out of bounds.
        DecodeError: The film cannot be read or decoded.
    """
    if not LEAST_HEIGHT <= height <= MOST_HEIGHT:
        raise InputError(
            f"{printable(film)}: a thumbnail's height {height} must be at least {LEAST_HEIGHT} "
            f"and at most {MOST_HEIGHT}"
        )
    image = Image.fromarray(frame_at(film, second, size=height).image)
    width = min(MOST_WIDTH, max(1, round(image.width * height / image.height)))
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    image.save(written, "JPEG", quality=QUALITY, optimize=True)
    return written.getvalue()
